//! `kernels/fold_gram.cu`: systems of training sets from the Gram matrices and products of their cells.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use cudarc::driver::PushKernelArg;
use ndarray::{Array2, ArrayView2};

use super::fault;
use super::gpu::{Gpu, Grid, extent};
use super::ridge::{PathReal, flat};
use crate::error::Result;

/// Rows and columns that a block of `fold_gram` holds.
const SIDE: usize = 16;

/// How a training set's columns are z-scored: its number of rows, their means, and 1 / sd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Centring<'a> {
    /// Rows.
    pub(super) n: f64,
    /// Means (features).
    pub(super) mean: &'a [f64],
    /// Factors (features).
    pub(super) factor: &'a [f64],
}

impl Gpu {
    /// The lower triangle of ZᵀZ of a training set, zeros above, from the Gram matrices (features, features) of its cells.
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails.
    #[allow(private_bounds, reason = "float32 or float64")]
    pub(super) fn fold_gram<T: PathReal>(
        &self,
        grams: &[ArrayView2<'_, T>],
        used: &[usize],
        by: Centring<'_>,
    ) -> Result<Array2<T>> {
        let p = by.mean.len();
        assert!(grams.iter().all(|g| g.dim() == (p, p)) && by.factor.len() == p, "one Gram matrix per cell");
        assert!(used.iter().all(|c| *c < grams.len()), "cells");
        let lane = self.lane();
        let all: Vec<T> = grams.iter().flat_map(|g| flat(*g)).collect();
        let cells: Vec<u32> = used.iter().map(|c| *c as u32).collect();
        let (all, cells) = (lane.upload(&all)?, lane.upload(&cells)?);
        let (mean, factor) = (lane.upload(by.mean)?, lane.upload(by.factor)?);
        let mut out = lane.zeros::<T>(p * p)?;
        let (count, width) = (extent(used.len())?, extent(p)?);
        let kernel = self.kernel(&format!("fold_gram_{}", T::NAME))?;
        let grid = Grid::new(p.div_ceil(SIDE), p.div_ceil(SIDE))?;
        // SAFETY: fold_gram(grams (cells, p, p), list, its length, p, n, mean (p), factor (p), out (p, p)); checked above.
        unsafe {
            lane.launch(&kernel, grid, |launch| {
                launch.arg(&all).arg(&cells).arg(&count).arg(&width).arg(&by.n).arg(&mean).arg(&factor).arg(&mut out);
            })?;
        }
        shaped(lane.download(&out, p * p)?, (p, p))
    }

    /// Zᵀ(Y − ȳ) of a training set (features, targets), from XᵀY (features, targets) of its cells.
    ///
    /// # Errors
    /// As [`Gpu::fold_gram`].
    #[allow(private_bounds, reason = "float32 or float64")]
    pub(super) fn fold_products<T: PathReal>(
        &self,
        products: &[ArrayView2<'_, T>],
        used: &[usize],
        by: Centring<'_>,
        target_mean: &[f64],
    ) -> Result<Array2<T>> {
        let (p, t) = (by.mean.len(), target_mean.len());
        assert!(products.iter().all(|g| g.dim() == (p, t)) && by.factor.len() == p, "one product per cell");
        assert!(used.iter().all(|c| *c < products.len()), "cells");
        let lane = self.lane();
        let all: Vec<T> = products.iter().flat_map(|g| flat(*g)).collect();
        let cells: Vec<u32> = used.iter().map(|c| *c as u32).collect();
        let (all, cells) = (lane.upload(&all)?, lane.upload(&cells)?);
        let (mean, factor, ymean) = (lane.upload(by.mean)?, lane.upload(by.factor)?, lane.upload(target_mean)?);
        let mut out = lane.zeros::<T>(p * t)?;
        let (count, height, width) = (extent(used.len())?, extent(p)?, extent(t)?);
        let kernel = self.kernel(&format!("fold_products_{}", T::NAME))?;
        let grid = Grid::new(t.div_ceil(super::gpu::THREADS), p)?;
        // SAFETY: fold_products(products (cells, p, t), list, its length, p, t, n, mean (p), factor (p), ymean (t), out (p, t)).
        unsafe {
            lane.launch(&kernel, grid, |launch| {
                launch.arg(&all).arg(&cells).arg(&count).arg(&height).arg(&width).arg(&by.n);
                launch.arg(&mean).arg(&factor).arg(&ymean).arg(&mut out);
            })?;
        }
        shaped(lane.download(&out, p * t)?, (p, t))
    }
}

fn shaped<T>(values: Vec<T>, shape: (usize, usize)) -> Result<Array2<T>> {
    Array2::from_shape_vec(shape, values).map_err(|e| fault::library("the card", "shaping results", e))
}
