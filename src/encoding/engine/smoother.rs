//! The search for few training rows: predictions of held-out rows as matrices applied to the responses.
//!
//! In the dual, predictions are S_alpha · y with S_alpha = P diag(1 / (s + alpha)) Uᵀ (held-out rows, training rows), the
//! same for every target of every response: U annihilates constants, so that y need not be centred. With few rows the
//! smoothers of the base alphas ([`super::sweep`]) of all inner training sets fit into a cache, and Q = Uᵀ y, its
//! weighting and everything else that is done per target falls away. One set of base alphas serves all training sets.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, s};

use super::rows::Rows;
use super::sweep::{Bases, Errors, walk};
use super::system::{Block, Factor, Side};
use crate::compute::cpu::{Combination, HeldOutScratch, Real, Tiles, add_held_out_errors};

/// Most training rows: with more, a general product is as quick, and Q costs less than the smoothers.
const MOST_ROWS: usize = 256;

/// The smoothers of all inner training sets.
pub(super) struct Smoothers {
    bases: Bases,
    coefficients: Vec<f32>,
    alphas: usize,
    /// Per outer fold and alpha, the expected square of the rounding error of all predictions, in units of float32 roundoff
    /// and of Σ y².
    noise: Vec<Vec<f64>>,
    sets: Vec<Set>,
}

/// One training set.
struct Set {
    without: Vec<usize>,
    /// Places of the training rows.
    train: Vec<usize>,
    held_out: Vec<HeldOut>,
}

/// One of the two folds that a training set leaves out.
struct HeldOut {
    validation: usize,
    outer: usize,
    smoother: Tiles,
}

impl Smoothers {
    /// Whether a training set is searched in this way.
    pub(super) fn suit<T>(factor: &Factor<T>, targets: usize) -> bool {
        let (rows, k) = (factor.vectors.nrows(), factor.values.len());
        // Of few components Q is small, and a product with it cheaper than one with the responses.
        matches!(factor.side, Side::Rows) && rows <= MOST_ROWS && 2 * k > rows && targets > factor.projected.nrows()
    }

    /// From the factors of the inner training sets; `held_out` gives the folds that each leaves out (validation, outer,
    /// rows of the first among the held-out rows).
    pub(super) fn new<T: Real>(
        factors: &[&Factor<T>],
        rows: &Rows,
        alphas: &[f64],
        held_out: impl Fn(&[usize]) -> [(usize, usize, Range<usize>); 2],
    ) -> Smoothers {
        let values: Vec<f64> = factors.iter().flat_map(|f| f.values.iter().copied()).collect();
        let bases = Bases::new(&values, values.iter().copied().fold(0.0, f64::max), alphas);
        let mut noise = vec![vec![0f64; alphas.len()]; rows.folds()];
        let set = |factor: &&Factor<T>| {
            let train: Vec<usize> = rows.outside(&factor.without).into_iter().flatten().collect();
            let smoothers: Vec<Array2<T>> =
                bases.chosen.iter().map(|b| factor.smoother(|s| 1.0 / (s + alphas[*b]))).collect();
            let part = |(validation, outer, part): (usize, usize, Range<usize>)| {
                let own: Vec<_> = smoothers.iter().map(|m| m.slice(s![part.clone(), ..])).collect();
                let more = rounding_noise(&bases, factor, alphas, &part, &own);
                noise[outer].iter_mut().zip(more).for_each(|(sum, v)| *sum += v);
                let n = part.len().max(1);
                let value = |i: usize, j: usize| own[i / n][[i % n, j]].wide() as f32;
                HeldOut { validation, outer, smoother: Tiles::new(own.len() * part.len(), train.len(), value) }
            };
            let held_out = held_out(&factor.without).into_iter().map(part).collect();
            Set { without: factor.without.clone(), train, held_out }
        };
        let sets = factors.iter().map(set).collect();
        Smoothers { coefficients: bases.narrow(), alphas: alphas.len(), bases, noise, sets }
    }

    /// Number of base alphas.
    pub(super) fn bases(&self) -> usize {
        self.bases.chosen.len()
    }

    /// Adds the inner errors of a block of targets to `errors`, one per outer fold: float32 with float64 sums.
    pub(super) fn sweep<T: Real>(&self, block: &Block<T>, rows: &Rows, errors: &mut [Errors], scratch: &mut Scratch) {
        let (width, alphas) = (block.y.ncols(), self.alphas);
        let Scratch { y, size, sums, held_out } = scratch;
        y.clear();
        y.extend(block.y.iter().map(|v| *v as f32));
        size.clear();
        size.resize(width, 0.0);
        for row in block.y.rows() {
            size.iter_mut().zip(row).for_each(|(s, v)| *s += v * v);
        }
        sums.clear();
        sums.resize(rows.folds() * alphas * width, 0.0);
        let combine = Combination { bases: self.bases(), coefficients: &self.coefficients };
        for set in &self.sets {
            let mean = block.mean(rows, &set.without);
            for part in &set.held_out {
                let truth = block.truth::<f64>(rows, part.validation, &mean, None);
                // INVARIANT: truth is a new matrix.
                let truth = truth.as_slice().expect("truth is a new matrix");
                let sums = &mut sums[part.outer * alphas * width..][..alphas * width];
                add_held_out_errors(&part.smoother, y, &set.train, truth, combine, sums, held_out);
            }
        }
        for ((errors, sums), noise) in errors.iter_mut().zip(sums.chunks_exact(alphas * width)).zip(&self.noise) {
            for (sums, alpha) in sums.chunks_exact(width).zip(self.bases.order()) {
                errors.sse.row_mut(alpha).iter_mut().zip(sums).for_each(|(to, v)| *to += v);
            }
            for (mut to, noise) in errors.noise.rows_mut().into_iter().zip(noise) {
                to.iter_mut().zip(&*size).for_each(|(to, size)| *to += noise * size);
            }
        }
    }
}

/// Memory of one thread, used again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    y: Vec<f32>,
    /// Σ y² (targets): of all rows, which is no less than that of a training set.
    size: Vec<f64>,
    /// Squared errors (outer folds, alphas, targets).
    sums: Vec<f64>,
    held_out: HeldOutScratch,
}

/// |δ|² of the predictions of some held-out rows, in units of float32 roundoff and of Σ y², per alpha.
///
/// A product S y is off by u² [`walk`] Σ_i S_ri² y_i² in row r. These errors are independent, so that they move a squared
/// error Σ_r (y − ŷ)_r² by no more than the largest of them would alone: max S_ri² stands for their sum. What a combination
/// adds to the errors of its bases is the deviation of its filter, |P diag(d) Uᵀ y|² ≤ |P diag(d)|² |y|²; the spectral
/// norm is no more than the largest absolute row sum of P diag(d²) Pᵀ.
fn rounding_noise<T: Real>(
    bases: &Bases,
    factor: &Factor<T>,
    alphas: &[f64],
    part: &Range<usize>,
    smoothers: &[ArrayView2<'_, T>],
) -> Vec<f64> {
    let largest = |m: &ArrayView2<'_, T>| m.iter().map(|v| v.wide().powi(2)).fold(0f64, f64::max);
    let own: Vec<f64> = smoothers.iter().map(|m| largest(m) * walk(m.ncols())).collect();
    let p = factor.projected.slice(s![part.clone(), ..]).mapv(Real::wide);
    let mut noise = vec![0f64; alphas.len()];
    for (b, v) in bases.chosen.iter().zip(&own) {
        noise[*b] = *v;
    }
    for (other, a) in bases.others.iter().enumerate() {
        let combined: f64 = bases.coefficients.row(other).iter().zip(&own).map(|(c, v)| c.abs() * v.sqrt()).sum();
        let deviations: Array1<f64> =
            factor.values.iter().map(|s| bases.deviation(other, *s, alphas) / f32::ROUNDOFF).collect();
        let left = &p * &deviations;
        let norm = left.dot(&left.t()).rows().into_iter().map(|r| r.iter().map(|v| v.abs()).sum()).fold(0f64, f64::max);
        noise[*a] = combined.powi(2) + norm;
    }
    noise
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Folds;
    use crate::encoding::engine::space::Space;
    use crate::encoding::engine::system::System;

    #[test]
    fn few_rows_are_searched_by_smoothers_and_few_components_are_not() {
        let suit = |rows: usize, components: Option<usize>| {
            let x = Array2::from_shape_fn((rows, 500), |(i, j)| ((i + 1) * (j + 3) * 7919 % 10_007) as f64);
            let rows = Rows::new(&Folds::from_labels(&(0..rows).map(|i| i * 5 / rows).collect::<Vec<_>>()));
            let system = System::<f64>::new(&Space::new(x.view(), &rows), &rows, None, &[0, 1], None, None, false);
            Smoothers::suit(&System { components, ..system }.factor().unwrap(), 5000)
        };
        assert!(suit(60, None) && !suit(60, Some(5)), "36 training rows");
        assert!(suit(400, None) && !suit(400, Some(5)), "240 training rows");
        assert!(!suit(500, None), "300 training rows");
    }
}
