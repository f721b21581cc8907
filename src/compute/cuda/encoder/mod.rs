//! `kernels/encoder.cu` and `kernels/products.cu`: encoders on a card.
//!
//! A pass works on one stream: what it makes there is read and freed there, in the order of the launches, and no other stream
//! sees it. Weights alone are read by both streams of a card. [`Stream::keep`] waits until they have arrived before anybody
//! can know of them; they are freed by the owner of the encoder, when no pass runs: one that ends, well or not, has waited for
//! its stream ([`Operations::download`], [`Operations::settle`]). So nothing hangs on the driver's own bookkeeping between
//! streams.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

mod attention;

use std::fmt;
use std::sync::{Arc, MutexGuard};

use cudarc::driver::{CudaSlice, DeviceRepr, PushKernelArg, ValidAsZeroBits};

use super::fault;
use super::gpu::{Gpu, Grid, Lane, NOTHING, extent};
use super::sources::digest_of;
use crate::compute::cpu::Activation;
use crate::compute::operations::{Attending, Matrix, Operations};
use crate::error::Result;

/// A stream of a card, for encoders.
pub(super) struct Stream {
    gpu: Arc<Gpu>,
    card: usize,
    lane: usize,
    /// Whether cuBLAS multiplies where it is found.
    blas: bool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("gpu", &self.gpu).field("lane", &self.lane).finish_non_exhaustive()
    }
}

/// A text among packed ones, as `Text` in `kernels/common.cuh`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Text {
    scores: u64,
    terms: u64,
    start: i32,
    n: i32,
    first: i32,
    reach: i32,
}

// SAFETY: integers without padding, laid out as the kernels' struct.
unsafe impl DeviceRepr for Text {}
// SAFETY: integers.
unsafe impl ValidAsZeroBits for Text {}

/// Packed texts that have tokens, and for each token its text's place among them.
fn texts(ends: &[usize]) -> Result<(Vec<Text>, Vec<i32>)> {
    let (mut texts, mut text_of, mut start) = (Vec::new(), Vec::new(), 0);
    for end in ends {
        if *end > start {
            text_of.resize(*end, extent(texts.len())?);
            texts.push(Text { start: extent(start)?, n: extent(end - start)?, ..Text::default() });
        }
        start = *end;
    }
    Ok((texts, text_of))
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

fn values(matrix: &Matrix) -> &CudaSlice<f32> {
    // INVARIANT: cards make all matrices, and here they are made of this.
    matrix.held().expect("a matrix of a CUDA card")
}

fn matrix(values: CudaSlice<f32>, rows: usize, columns: usize) -> Matrix {
    assert!(values.len() >= rows * columns, "as many values as the extents say");
    Matrix::new(values, rows, columns)
}

impl Stream {
    /// The stream of this number of a card, the one at this place in the run.
    pub(super) fn new(gpu: Arc<Gpu>, card: usize, lane: usize) -> Stream {
        Stream { gpu, card, lane, blas: true }
    }

    /// The same without cuBLAS.
    pub(super) fn with_own_products(self) -> Stream {
        Stream { blas: false, ..self }
    }

    /// [`Operations::attention`], at most so many scores and terms at a time.
    pub(super) fn attention_in_parts(&self, qkv: &Matrix, attending: &Attending<'_>, most: usize) -> Result<Matrix> {
        attention::run(&self.gpu, &self.lane(), qkv, attending, most)
    }

    fn lane(&self) -> MutexGuard<'_, Lane> {
        self.gpu.lane_at(self.lane)
    }
}

impl Operations for Stream {
    fn card(&self) -> usize {
        self.card
    }

    fn kind(&self) -> String {
        let blas = self.blas && self.lane().dense.names().contains(&"cuBLAS");
        let (card, products) = (self.gpu.card(), if blas { "cuBLAS" } else { "own products" });
        format!("{} {} {products} {}", card.name, card.architecture(), digest_of(&["encoder", "products"]))
    }

    fn upload(&self, values: &[f32], columns: usize) -> Result<Matrix> {
        assert!(columns > 0 && values.len().is_multiple_of(columns), "whole rows");
        Ok(matrix(self.lane().upload(values)?, values.len() / columns, columns))
    }

    fn keep(&self, values: &[f32], columns: usize) -> Result<Matrix> {
        let kept = self.upload(values, columns)?;
        self.lane().wait().map(|()| kept)
    }

    fn settle(&self) -> Result<()> {
        self.lane().wait()
    }

    fn download(&self, matrix: &Matrix) -> Result<Vec<f32>> {
        self.lane().download(values(matrix), matrix.rows * matrix.columns)
    }

    fn gather(&self, table: &Matrix, rows: &[u32]) -> Result<Matrix> {
        assert!(rows.iter().all(|r| (*r as usize) < table.rows), "rows of the table");
        let lane = self.lane();
        let count = rows.len() * table.columns;
        let (list, mut out) = (lane.upload(rows)?, lane.room::<f32>(count)?);
        let (n, width) = (count as u64, extent(table.columns)?);
        let kernel = self.gpu.kernel("gather_rows")?;
        // SAFETY: gather_rows(table (any, width), rows, rows · width, width, out (rows, width)); checked above.
        unsafe {
            lane.launch(&kernel, Grid::over(count)?, |launch| {
                launch.arg(values(table)).arg(&list).arg(&n).arg(&width).arg(&mut out);
            })?;
        }
        Ok(matrix(out, rows.len(), table.columns))
    }

    fn add(&self, x: &Matrix, y: &Matrix) -> Result<Matrix> {
        assert!(x.columns == y.columns && (y.rows == x.rows || y.rows == 1), "one row, or as many");
        let lane = self.lane();
        let count = x.rows * x.columns;
        let mut out = lane.room::<f32>(count)?;
        let (n, period) = (count as u64, (y.rows * y.columns).max(1) as u64);
        let kernel = self.gpu.kernel("add_rows")?;
        // SAFETY: add_rows(x (count), y (period), count, period, out (count)); checked above.
        unsafe {
            lane.launch(&kernel, Grid::over(count)?, |launch| {
                launch.arg(values(x)).arg(values(y)).arg(&n).arg(&period).arg(&mut out);
            })?;
        }
        Ok(matrix(out, x.rows, x.columns))
    }

    fn linear(&self, x: &Matrix, w: &Matrix, b: Option<&Matrix>, activation: Option<Activation>) -> Result<Matrix> {
        let (rows, inputs, outputs) = (x.rows, x.columns, w.rows);
        assert!(w.columns == inputs && b.is_none_or(|b| b.rows * b.columns == outputs), "a map of the inputs");
        let lane = self.lane();
        let mut out = lane.room::<f32>(rows * outputs)?;
        let (m, k, n) = (extent(rows)?, extent(inputs)?, extent(outputs)?);
        if rows == 0 {
            return Ok(matrix(out, rows, outputs));
        }
        if !(self.blas && lane.times_transposed(values(x), values(w), [m, n, k], &mut out)?) {
            let tile = if rows.min(outputs) <= 32 { 32 } else { 64 };
            let kernel = self.gpu.kernel(&format!("linear_{tile}"))?;
            // SAFETY: linear(x (m, k), w (n, k), m, n, k, out (m, n)); checked above.
            unsafe {
                lane.launch(&kernel, Grid::new(outputs.div_ceil(tile), rows.div_ceil(tile))?, |launch| {
                    launch.arg(values(x)).arg(values(w)).arg(&m).arg(&n).arg(&k).arg(&mut out);
                })?;
            }
        }
        if b.is_some() || activation.is_some() {
            let (kind, count) = (number(activation), (rows * outputs) as u64);
            let kernel = self.gpu.kernel("bias_activation")?;
            // SAFETY: bias_activation(x (count), bias (width) or nothing, kind, count, width).
            unsafe {
                lane.launch(&kernel, Grid::over(rows * outputs)?, |launch| {
                    launch.arg(&mut out);
                    match b {
                        Some(b) => launch.arg(values(b)),
                        None => launch.arg(NOTHING),
                    };
                    launch.arg(&kind).arg(&count).arg(&n);
                })?;
            }
        }
        Ok(matrix(out, rows, outputs))
    }

    fn norm(&self, rms: bool, x: &Matrix, residual: Option<&Matrix>, norm: &Matrix, epsilon: f32) -> Result<Matrix> {
        assert!(norm.columns == x.columns && norm.rows >= 1, "a scale per column");
        assert!(residual.is_none_or(|r| (r.rows, r.columns) == (x.rows, x.columns)), "a residual of the same extents");
        let lane = self.lane();
        let mut out = lane.room::<f32>(x.rows * x.columns)?;
        let (kind, width) = (i32::from(rms), extent(x.columns)?);
        let parameters = values(norm);
        let (scale, shift) =
            (parameters.slice(..x.columns), (norm.rows > 1 && !rms).then(|| parameters.slice(x.columns..)));
        let kernel = self.gpu.kernel("add_norm")?;
        if x.rows > 0 {
            // SAFETY: add_norm(x (rows, width), residual or nothing, scale (width), shift or nothing, rms, epsilon, width,
            // out); a block per row; checked above.
            unsafe {
                lane.launch(&kernel, Grid::new(x.rows, 1)?, |launch| {
                    launch.arg(values(x));
                    match residual {
                        Some(residual) => launch.arg(values(residual)),
                        None => launch.arg(NOTHING),
                    };
                    launch.arg(&scale);
                    match &shift {
                        Some(shift) => launch.arg(shift),
                        None => launch.arg(NOTHING),
                    };
                    launch.arg(&kind).arg(&epsilon).arg(&width).arg(&mut out);
                })?;
            }
        }
        Ok(matrix(out, x.rows, x.columns))
    }

    fn gated(&self, x: &Matrix, activation: Activation) -> Result<Matrix> {
        assert!(x.columns.is_multiple_of(2), "two halves");
        let (lane, width) = (self.lane(), x.columns / 2);
        let count = x.rows * width;
        let mut out = lane.room::<f32>(count)?;
        let (kind, n, columns) = (number(Some(activation)), count as u64, extent(width)?);
        let kernel = self.gpu.kernel("gated")?;
        // SAFETY: gated(x (rows, 2 width), kind, rows · width, width, out (rows, width)).
        unsafe {
            lane.launch(&kernel, Grid::over(count)?, |launch| {
                launch.arg(values(x)).arg(&kind).arg(&n).arg(&columns).arg(&mut out);
            })?;
        }
        Ok(matrix(out, x.rows, width))
    }

    fn rotate(&self, x: &Matrix, turns: &Matrix, ends: &[usize], heads: usize) -> Result<Matrix> {
        let size = turns.columns;
        assert!(heads * size <= x.columns && size.is_multiple_of(2), "whole heads");
        let mut positions = Vec::with_capacity(x.rows);
        for text in texts(ends)?.0 {
            positions.extend(0..text.n);
        }
        assert!(positions.len() == x.rows && positions.iter().all(|p| (*p as usize) < turns.rows), "a turn per token");
        let lane = self.lane();
        let places = lane.upload(&positions)?;
        let mut out = lane.stream.clone_dtod(values(x)).map_err(|e| fault::driver("copying on the card", e))?;
        let pairs = x.rows * heads * size / 2;
        let (count, width, h, s) = (pairs as u64, extent(x.columns)?, extent(heads)?, extent(size)?);
        let kernel = self.gpu.kernel("rotate_half")?;
        // SAFETY: rotate_half(x (rows, columns), turns (positions, size), position (rows), pairs, columns, heads, size);
        // checked above.
        unsafe {
            lane.launch(&kernel, Grid::over(pairs)?, |launch| {
                launch.arg(&mut out).arg(values(turns)).arg(&places).arg(&count).arg(&width).arg(&h).arg(&s);
            })?;
        }
        Ok(matrix(out, x.rows, x.columns))
    }

    fn neighbours(&self, x: &Matrix, ends: &[usize], kernel: usize) -> Result<Matrix> {
        let (texts, text_of) = texts(ends)?;
        assert!(text_of.len() == x.rows, "a text per token");
        let lane = self.lane();
        let columns = kernel * x.columns;
        let (list, of) = (lane.upload(&texts)?, lane.upload(&text_of)?);
        let mut out = lane.room::<f32>(x.rows * columns)?;
        let (count, width, reach) = ((x.rows * columns) as u64, extent(x.columns)?, extent(kernel)?);
        extent(columns)?;
        let function = self.gpu.kernel("neighbour_rows")?;
        // SAFETY: neighbour_rows(x (rows, width), texts, text of each row, rows · kernel · width, width, kernel, out);
        // checked above.
        unsafe {
            lane.launch(&function, Grid::over(x.rows * columns)?, |launch| {
                launch.arg(values(x)).arg(&list).arg(&of).arg(&count).arg(&width).arg(&reach).arg(&mut out);
            })?;
        }
        Ok(matrix(out, x.rows, columns))
    }

    fn attention(&self, qkv: &Matrix, attending: &Attending<'_>) -> Result<Matrix> {
        self.attention_in_parts(qkv, attending, attention::MOST_SCORES)
    }
}
