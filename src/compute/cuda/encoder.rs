//! `kernels/encoder.cu`: what encoders do between their matrix products.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use cudarc::driver::PushKernelArg;

use super::gpu::{Gpu, Grid, NOTHING, extent};
use crate::compute::cpu::Activation;
use crate::error::Result;

/// Who a token of a text attends to, as the kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visible {
    /// All.
    Full,
    /// Those at most this far away.
    Near(usize),
    /// Itself and those before it.
    Causal,
    /// Itself and those before it, this many in all.
    CausalNear(usize),
}

/// What is added to attention scores before the softmax.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ScoreTerms<'a> {
    /// A relative bias (heads, 2 · longest − 1) and `longest`.
    pub(super) bias: Option<(&'a [f32], usize)>,
    /// Terms of queries with positions, and of keys with positions, (heads, n, reach) each; then the place of every
    /// distance, at index n − 1 + distance; then `reach`.
    pub(super) disentangled: Option<Disentangled<'a>>,
}

/// DeBERTa's terms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disentangled<'a> {
    /// (heads, n, reach).
    pub(super) to: &'a [f32],
    /// (heads, n, reach).
    pub(super) from: &'a [f32],
    /// Place of the distance d at index n − 1 + d.
    pub(super) places: &'a [i32],
    /// Number of places.
    pub(super) reach: usize,
}

/// Scale, shift and kind of a normalisation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm<'a> {
    /// Factors (width).
    pub(super) scale: &'a [f32],
    /// Added afterwards (width).
    pub(super) shift: Option<&'a [f32]>,
    /// RMSNorm instead of LayerNorm.
    pub(super) rms: bool,
    /// Added to the variance.
    pub(super) epsilon: f32,
}

fn number(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::GeluErf) => 1,
        Some(Activation::GeluTanh) => 2,
        Some(Activation::Relu) => 3,
        Some(Activation::Silu) => 4,
        Some(Activation::QuickGelu) => 5,
        Some(Activation::Tanh) => 6,
    }
}

impl Gpu {
    /// f(x + bias) of each row of `x` (rows, width).
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails; so for all of this file.
    pub(super) fn bias_activation(&self, x: &[f32], bias: &[f32], activation: Option<Activation>) -> Result<Vec<f32>> {
        assert!(!bias.is_empty() && x.len().is_multiple_of(bias.len()), "whole rows");
        let lane = self.lane();
        let (mut out, bias) = (lane.upload(x)?, lane.upload(bias)?);
        let (kind, count, width) = (number(activation), x.len() as u64, extent(bias.len())?);
        let kernel = self.kernel("bias_activation")?;
        // SAFETY: bias_activation(x (count), bias (width), kind, count, width).
        unsafe {
            lane.launch(&kernel, Grid::over(x.len())?, |launch| {
                launch.arg(&mut out).arg(&bias).arg(&kind).arg(&count).arg(&width);
            })?;
        }
        lane.download(&out, x.len())
    }

    /// f(first half) · second half of each row of `x` (rows, 2 · width).
    pub(super) fn gated(&self, x: &[f32], width: usize, activation: Activation) -> Result<Vec<f32>> {
        assert!(width > 0 && x.len().is_multiple_of(2 * width), "whole rows");
        let lane = self.lane();
        let count = x.len() / 2;
        let (x, mut out) = (lane.upload(x)?, lane.zeros::<f32>(count)?);
        let (kind, n, columns) = (number(Some(activation)), count as u64, extent(width)?);
        let kernel = self.kernel("gated")?;
        // SAFETY: gated(x (rows, 2 width), kind, rows · width, width, out (rows, width)).
        unsafe {
            lane.launch(&kernel, Grid::over(count)?, |launch| {
                launch.arg(&x).arg(&kind).arg(&n).arg(&columns).arg(&mut out);
            })?;
        }
        lane.download(&out, count)
    }

    /// Each row of `x` (rows, width) plus `residual`, normalised.
    pub(super) fn add_norm(&self, x: &[f32], residual: Option<&[f32]>, norm: Norm<'_>) -> Result<Vec<f32>> {
        let width = norm.scale.len();
        assert!(width > 0 && x.len().is_multiple_of(width), "whole rows");
        assert!(residual.is_none_or(|r| r.len() == x.len()) && norm.shift.is_none_or(|s| s.len() == width), "extents");
        let lane = self.lane();
        let count = x.len();
        let (x, scale, mut out) = (lane.upload(x)?, lane.upload(norm.scale)?, lane.zeros::<f32>(count)?);
        let residual = residual.map(|r| lane.upload(r)).transpose()?;
        let shift = norm.shift.map(|s| lane.upload(s)).transpose()?;
        let (rms, columns) = (i32::from(norm.rms), extent(width)?);
        let kernel = self.kernel("add_norm")?;
        if count > 0 {
            // SAFETY: add_norm(x (rows, width), residual or nothing, scale (width), shift or nothing, rms, epsilon, width, out);
            // a block per row.
            unsafe {
                lane.launch(&kernel, Grid::new(count / width, 1)?, |launch| {
                    launch.arg(&x);
                    match &residual {
                        Some(residual) => launch.arg(residual),
                        None => launch.arg(NOTHING),
                    };
                    launch.arg(&scale);
                    match &shift {
                        Some(shift) => launch.arg(shift),
                        None => launch.arg(NOTHING),
                    };
                    launch.arg(&rms).arg(&norm.epsilon).arg(&columns).arg(&mut out);
                })?;
            }
        }
        lane.download(&out, count)
    }

    /// Softmax of attention scores (heads, n, n) of one text over the visible tokens, `terms` added before.
    pub(super) fn masked_softmax(
        &self,
        scores: &[f32],
        heads: usize,
        visible: Visible,
        terms: ScoreTerms<'_>,
    ) -> Result<Vec<f32>> {
        let n = (scores.len() / heads.max(1)).isqrt();
        assert!(n > 0 && heads * n * n == scores.len(), "square scores per head");
        assert!(terms.bias.is_none_or(|(b, l)| l >= n && b.len() == heads * (2 * l - 1)), "a bias per distance");
        if let Some(d) = &terms.disentangled {
            assert!(d.to.len() == heads * n * d.reach && d.from.len() == d.to.len(), "terms per head, token and place");
            assert!(d.places.len() == 2 * n - 1 && d.places.iter().all(|p| (0..d.reach as i32).contains(p)), "places");
        }
        let lane = self.lane();
        let mut out = lane.upload(scores)?;
        let (mask, window) = match visible {
            Visible::Full => (0, 0),
            Visible::Near(window) => (1, extent(window)?),
            Visible::Causal => (2, 0),
            Visible::CausalNear(window) => (3, extent(window)?),
        };
        let bias = terms.bias.map(|(b, l)| Ok::<_, crate::error::Error>((lane.upload(b)?, extent(l)?))).transpose()?;
        let terms = match &terms.disentangled {
            None => None,
            Some(d) => Some((lane.upload(d.to)?, lane.upload(d.from)?, lane.upload(d.places)?, extent(d.reach)?)),
        };
        let (size, none) = (extent(n)?, 0i32);
        let kernel = self.kernel("masked_softmax")?;
        // SAFETY: masked_softmax(scores (heads, n, n), n, mask, window, bias (heads, 2 longest − 1) or nothing, longest, to and
        // from (heads, n, reach) or nothing, places (2 n − 1) or nothing, reach); checked above.
        unsafe {
            lane.launch(&kernel, Grid::new(n, heads)?, |launch| {
                launch.arg(&mut out).arg(&size).arg(&mask).arg(&window);
                match &bias {
                    Some((bias, longest)) => launch.arg(bias).arg(longest),
                    None => launch.arg(NOTHING).arg(&none),
                };
                match &terms {
                    Some((to, from, places, reach)) => launch.arg(to).arg(from).arg(places).arg(reach),
                    None => launch.arg(NOTHING).arg(NOTHING).arg(NOTHING).arg(&none),
                };
            })?;
        }
        lane.download(&out, scores.len())
    }

    /// Rotary positions: the first `heads` heads of each row of `x` (rows, columns) turned by `turns` (positions, size) at the
    /// row's position.
    pub(super) fn rotate(
        &self,
        x: &[f32],
        columns: usize,
        heads: usize,
        turns: &[f32],
        size: usize,
        positions: &[usize],
    ) -> Result<Vec<f32>> {
        let rows = positions.len();
        assert!(x.len() == rows * columns && heads * size <= columns && size.is_multiple_of(2), "whole heads");
        assert!(positions.iter().all(|p| (p + 1) * size <= turns.len()), "a turn per position");
        let lane = self.lane();
        let places: Vec<i32> = positions.iter().map(|p| extent(*p)).collect::<Result<_>>()?;
        let (mut out, turns, places) = (lane.upload(x)?, lane.upload(turns)?, lane.upload(&places)?);
        let pairs = rows * heads * size / 2;
        let (count, width, h, s) = (pairs as u64, extent(columns)?, extent(heads)?, extent(size)?);
        let kernel = self.kernel("rotate_half")?;
        // SAFETY: rotate_half(x (rows, columns), turns (positions, size), position (rows), pairs, columns, heads, size).
        unsafe {
            lane.launch(&kernel, Grid::over(pairs)?, |launch| {
                launch.arg(&mut out).arg(&turns).arg(&places).arg(&count).arg(&width).arg(&h).arg(&s);
            })?;
        }
        lane.download(&out, x.len())
    }
}
