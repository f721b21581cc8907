//! Squared errors of held-out rows whose predictions are matrices applied to responses, for few rows and many targets.
//!
//! A product of so small an inner extent (the training rows) is bound by memory when it is written out: here the
//! predictions of a few targets stay in the nearest cache from the product to the sum.

use pulp::{Arch, Simd, WithSimd};

use super::sums::{Combination, errors_of_lanes};

/// Rows of the matrix that are multiplied at once, with two vectors of targets each: their sums fill the registers.
const TILE: usize = 6;

/// A float32 matrix (rows, inner) laid out for [`add_held_out_errors`]: [`TILE`] rows at a time, column by column.
#[derive(Debug, Clone)]
pub struct Tiles {
    rows: usize,
    inner: usize,
    values: Vec<f32>,
}

impl Tiles {
    /// Lays out the matrix whose element (i, j) is `value(i, j)`.
    pub fn new(rows: usize, inner: usize, value: impl Fn(usize, usize) -> f32) -> Tiles {
        let mut values = Vec::with_capacity(rows.div_ceil(TILE) * TILE * inner);
        for tile in (0..rows).step_by(TILE) {
            for j in 0..inner {
                values.extend((tile..tile + TILE).map(|i| if i < rows { value(i, j) } else { 0.0 }));
            }
        }
        Tiles { rows, inner, values }
    }
}

/// Memory of one thread, used again and again.
#[derive(Debug, Default)]
pub struct HeldOutScratch {
    inner: Vec<f32>,
    predicted: Vec<f32>,
    truth: Vec<f64>,
    sums: Vec<f64>,
}

/// For each block of `tiles`, then for each combination of blocks: adds Σ (p − y)² over its rows to `sums`
/// (blocks + combinations, width), p = block · `y[train]`, in float32 with float64 sums.
///
/// A block has as many rows as `truth` (rows, width); `y` (n, width) are the responses, `train` the rows that the
/// columns of `tiles` multiply. Sums run over rows in their order, whatever the processor's vector width.
///
/// # Panics
/// When the lengths do not fit: a defect of the caller.
pub fn add_held_out_errors(
    tiles: &Tiles,
    y: &[f32],
    train: &[usize],
    truth: &[f64],
    combine: Combination<'_>,
    sums: &mut [f64],
    scratch: &mut HeldOutScratch,
) {
    let blocks = combine.bases + combine.coefficients.len() / combine.bases.max(1);
    assert!(combine.bases > 0 && tiles.rows.is_multiple_of(combine.bases), "whole blocks");
    let (rows, width) = (tiles.rows / combine.bases, sums.len() / blocks);
    assert!(truth.len() == rows * width && sums.len() == blocks * width, "one truth and sum per prediction");
    assert!(tiles.inner == train.len() && train.iter().all(|r| (r + 1) * width <= y.len()), "rows of y");
    if !truth.is_empty() {
        Arch::new().dispatch(HeldOutErrors { tiles, y, train, truth, width, combine, sums, scratch });
    }
}

struct HeldOutErrors<'a> {
    tiles: &'a Tiles,
    y: &'a [f32],
    train: &'a [usize],
    truth: &'a [f64],
    width: usize,
    combine: Combination<'a>,
    sums: &'a mut [f64],
    scratch: &'a mut HeldOutScratch,
}

impl WithSimd for HeldOutErrors<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.run::<S, 32>(simd),
            8 => self.run::<S, 16>(simd),
            4 => self.run::<S, 8>(simd),
            _ => self.run::<S, 2>(simd),
        }
    }
}

impl HeldOutErrors<'_> {
    /// `L`: two vectors of targets.
    #[inline(always)]
    fn run<S: Simd, const L: usize>(self, simd: S) {
        let HeldOutErrors { tiles, y, train, truth, width, combine, sums, scratch } = self;
        let rows = truth.len() / width;
        let blocks = sums.len() / width;
        scratch.inner.resize(tiles.inner * L, 0.0);
        scratch.predicted.resize(tiles.rows.div_ceil(TILE) * TILE * L, 0.0);
        scratch.truth.resize(rows * L, 0.0);
        for from in (0..width).step_by(L) {
            // The last few targets are filled up with zeros.
            let used = L.min(width - from);
            for (to, row) in scratch.inner.chunks_exact_mut(L).zip(train) {
                to[..used].copy_from_slice(&y[row * width + from..][..used]);
                to[used..].fill(0.0);
            }
            for (to, row) in scratch.truth.chunks_exact_mut(L).zip(truth.chunks_exact(width)) {
                to[..used].copy_from_slice(&row[from..from + used]);
                to[used..].fill(0.0);
            }
            product(simd, tiles, &scratch.inner, &mut scratch.predicted);
            scratch.sums.clear();
            scratch.sums.resize(blocks * L, 0.0);
            let predicted = &scratch.predicted[..tiles.rows * L];
            errors_of_lanes::<L>(predicted, &scratch.truth, L, 0, combine, &mut scratch.sums);
            for (to, sum) in sums.chunks_exact_mut(width).zip(scratch.sums.chunks_exact(L)) {
                to[from..from + used].iter_mut().zip(sum).for_each(|(to, sum)| *to += sum);
            }
        }
    }
}

/// `out` (rows, two vectors) = `tiles` · `inner` (inner, two vectors).
#[inline(always)]
fn product<S: Simd>(simd: S, tiles: &Tiles, inner: &[f32], out: &mut [f32]) {
    let (inner, _) = S::as_simd_f32s(inner);
    let (out, _) = S::as_mut_simd_f32s(out);
    for (tile, out) in tiles.values.chunks_exact(TILE * tiles.inner).zip(out.chunks_exact_mut(2 * TILE)) {
        let zero = simd.splat_f32s(0.0);
        let mut sums = [[zero; 2]; TILE];
        for (factors, y) in tile.chunks_exact(TILE).zip(inner.chunks_exact(2)) {
            for (sum, factor) in sums.iter_mut().zip(factors) {
                let factor = simd.splat_f32s(*factor);
                sum[0] = simd.mul_add_f32s(factor, y[0], sum[0]);
                sum[1] = simd.mul_add_f32s(factor, y[1], sum[1]);
            }
        }
        for (out, sum) in out.chunks_exact_mut(2).zip(sums) {
            out.copy_from_slice(&sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_matrices_applied_to_rows() {
        let (rows, bases, n) = (5, 3, 9);
        let train = [0, 1, 4, 6, 7, 8, 2];
        let left = |i: usize, j: usize| ((i * 7 + j * 3) % 5) as f32 - 2.0;
        let tiles = Tiles::new(rows * bases, train.len(), left);
        for width in [1, 7, 16, 33, 70] {
            let y: Vec<f32> = (0..n * width).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
            let truth: Vec<f64> = (0..rows * width).map(|i| ((i * 5) % 11) as f64 - 5.0).collect();
            for further in 0..4 {
                let coefficients: Vec<f32> = (0..further * bases).map(|i| i as f32 - 2.0).collect();
                let combine = Combination { bases, coefficients: &coefficients };
                let mut sums = vec![1.0; (bases + further) * width];
                let mut scratch = HeldOutScratch::default();
                add_held_out_errors(&tiles, &y, &train, &truth, combine, &mut sums, &mut scratch);
                for (place, sum) in sums.iter().enumerate() {
                    let (of, t) = (place / width, place % width);
                    let at = |block: usize, row: usize| -> f64 {
                        let i = block * rows + row;
                        train.iter().enumerate().map(|(j, r)| f64::from(left(i, j) * y[r * width + t])).sum()
                    };
                    let p = |row: usize| match of.checked_sub(bases) {
                        None => at(of, row),
                        Some(q) => (0..bases).map(|b| f64::from(coefficients[q * bases + b]) * at(b, row)).sum(),
                    };
                    // Small integers: every sum is exact.
                    let exact: f64 = (0..rows).map(|r| (p(r) - truth[r * width + t]).powi(2)).sum();
                    assert_eq!(*sum, 1.0 + exact, "width {width}, prediction {of}, target {t}");
                }
            }
        }
    }
}
