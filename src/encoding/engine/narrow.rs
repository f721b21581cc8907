//! The banded search for a wide band beside a narrow one, such as a layer beside a few confounds.
//!
//! With weights γ₁ (wide) and γ₂ (narrow) the kernel is γ₁ K₁ + γ₂ Z₂ Z₂ᵀ, and the second term has as few dimensions as the
//! narrow band has features: it is a correction, and one eigendecomposition of K₁ = A s Aᵀ per training set serves all
//! weights (the matrix inversion lemma). With shrink = alpha / (γ₁ s + alpha), keep = γ₁ / (γ₁ s + alpha):
//!
//! ```text
//! S(V)  = P diag(keep) Q_V                         what the wide band alone predicts, for responses V
//! M(V)  = L₂ᵀ diag(shrink) L_V + (Z₂ᵀ V − L₂ᵀ L_V)   alpha Z₂ᵀ (γ₁ K₁ + alpha I)⁻¹ V, L_V = Aᵀ V
//! w₂    = γ₂ (alpha I + γ₂ M(Z₂))⁻¹ M(Y)
//! ŷ     = S(Y) + (Z₂* − S(Z₂)) w₂
//! ```
//!
//! Narrow features are carried along as further targets. Cost per training set: one decomposition, and per pair of weights
//! and alpha 2 m k t operations for m held-out rows; the decompositions of the general search (10 k³ per draw) are gone.

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use super::banded::Best;
use super::bands::Bands;
use super::search::State;
use super::space::Space;
use super::sweep::{Errors, Scratch, stacked};
use super::system::{Block, Factor, Side};
use super::{Engine, Precision, Size};
use crate::compute::cpu::{Correction, Real, add_corrected_errors, solve_positive};
use crate::error::{Code, Error, Result};

/// Most features of a narrow band.
const MOST: usize = 32;
/// Bytes of errors that one thread holds.
const ERROR_BYTES: usize = 1 << 25;

/// Which of two bands is wide and which narrow; none where this route does not apply.
pub(super) fn applies(bands: &Bands, size: &Size, precision: Precision, memory: Option<u64>) -> Option<(usize, usize)> {
    if bands.count() != 2 {
        return None;
    }
    let widths = [bands.features(0).len(), bands.features(1).len()];
    let (wide, narrow) = if widths[0] >= widths[1] { (0, 1) } else { (1, 0) };
    let of_wide = Size { features: widths[wide], ..*size };
    let real = if precision == Precision::Single { 4 } else { 8 };
    let bytes = of_wide.inner_sets() as u64 * of_wide.factor_bytes(2) * real / 8;
    (widths[narrow] <= MOST && widths[narrow] < widths[wide] && memory.is_none_or(|m| bytes < m / 3))
        .then_some((wide, narrow))
}

/// The wide band's decomposed training set with the narrow band in its coordinates.
struct Set<T> {
    factor: Factor<T>,
    primal: bool,
    /// Z₂ of the training rows (n, c) and of the held-out rows (m, c).
    train: Array2<T>,
    held_out: Array2<T>,
    /// Uᵀ right of the narrow features (k, c), and L₂.
    coefficients: Array2<T>,
    left: Array2<T>,
    /// Z₂ᵀ Z₂ − L₂ᵀ L₂ (c, c).
    rest: Array2<T>,
}

impl<T: Real> Set<T> {
    fn new(engine: &Engine<'_, T>, narrow: &Space, block: &Block<T>, without: &[usize]) -> Result<Set<T>> {
        let factor = engine.system(without, None, false).factor()?;
        let rows = &engine.rows;
        let (train, held_out) = (rows.outside(without), without.iter().map(|f| rows.of(*f)).collect::<Vec<_>>());
        let standard = narrow.exact_standard(rows, without, None);
        let (train, held_out) = (narrow.z::<T>(&train, &standard), narrow.z::<T>(&held_out, &standard));
        let mut right = block.right(rows, without, &factor.side, &block.mean(rows, without), None);
        for mut row in right.rows_mut() {
            row.iter_mut().zip(&standard.factor).for_each(|(v, f)| *v = T::of(v.wide() * f));
        }
        let coefficients = factor.coefficients(&right);
        let primal = !matches!(factor.side, Side::Rows);
        let left = left(&coefficients, &factor.values, primal);
        let rest = train.t().dot(&train) - left.t().dot(&left);
        Ok(Set { factor, primal, train, held_out, coefficients, left, rest })
    }
}

/// L from Uᵀ right: the primal's right-hand side is Zᵀ Y, √s times as large.
fn left<T: Real>(coefficients: &Array2<T>, values: &[f64], primal: bool) -> Array2<T> {
    let mut left = coefficients.clone();
    if primal {
        for (mut row, s) in left.rows_mut().into_iter().zip(values) {
            row.mapv_inplace(|v| T::of(v.wide() / s.sqrt()));
        }
    }
    left
}

/// The narrow search, prepared once for all alphas.
pub(super) struct Narrow<'a, 'e, T> {
    /// An engine on the wide band alone.
    engine: &'a Engine<'e, T>,
    sets: Vec<Set<T>>,
    /// Per draw, the weights of the wide and of the narrow band.
    weights: Vec<(f64, f64)>,
}

impl<'a, 'e, T: Real> Narrow<'a, 'e, T> {
    pub(super) fn new(
        engine: &'a Engine<'e, T>,
        narrow: ArrayView2<'_, f64>,
        weights: Vec<(f64, f64)>,
    ) -> Result<Narrow<'a, 'e, T>> {
        let space = Space::new(narrow, &engine.rows);
        let block = Block::new(space.x.clone(), &engine.rows, engine.grams.as_ref().map(|_| &engine.space));
        let folds = engine.rows.folds();
        let pairs: Vec<[usize; 2]> = (0..folds).flat_map(|j| (j + 1..folds).map(move |k| [j, k])).collect();
        let sets = pairs.par_iter().map(|without| {
            engine.watch.check()?;
            engine.decompositions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Set::new(engine, &space, &block, without)
        });
        Ok(Narrow { engine, sets: sets.collect::<Result<_>>()?, weights })
    }

    /// Tries all weights with the alphas of `range` (of the wide grid).
    pub(super) fn try_all(&self, range: &std::ops::Range<usize>, best: &mut [Best]) -> Result<()> {
        let alphas = &self.engine.wide.values[range.clone()];
        let (folds, draws) = (self.engine.rows.folds(), self.weights.len());
        let width = (ERROR_BYTES / (8 * folds * draws * alphas.len())).max(16);
        self.engine.places.par_iter().zip(best).try_for_each(|(place, best)| {
            let columns = place.columns.clone();
            let mut scratch = Scratch::default();
            for start in columns.clone().step_by(width) {
                let part = super::Place { response: place.response, columns: start..columns.end.min(start + width) };
                let block = self.engine.read(&part)?.block;
                // One matrix of errors per outer fold, the alphas of each draw one below the other.
                let mut errors: Vec<Array2<f64>> =
                    vec![Array2::zeros((draws * alphas.len(), part.columns.len())); folds];
                for set in &self.sets {
                    self.engine.watch.check()?;
                    self.add_errors(set, &block, alphas, &mut errors, &mut scratch)?;
                }
                let offset = start - columns.start;
                for draw in 0..draws {
                    let of_draw = |e: &Array2<f64>| {
                        let sse = e.slice(s![draw * alphas.len()..(draw + 1) * alphas.len(), ..]).to_owned();
                        Errors { noise: Array2::zeros(sse.raw_dim()), sse }
                    };
                    let state = State::found(range.clone(), errors.iter().map(of_draw).collect());
                    best.update_all(&state, offset, draw);
                }
            }
            Ok(())
        })
    }

    fn add_errors(
        &self,
        set: &Set<T>,
        block: &Block<T>,
        alphas: &[f64],
        errors: &mut [Array2<f64>],
        scratch: &mut Scratch<T>,
    ) -> Result<()> {
        let rows = &self.engine.rows;
        let without = &set.factor.without;
        let mean = block.mean(rows, without);
        let q = set.factor.coefficients(&block.right(rows, without, &set.factor.side, &mean, None));
        let (targets, c) = (q.ncols(), set.train.ncols());
        let joined = |a: &Array2<T>, b: &Array2<T>| {
            // INVARIANT: both have the same rows.
            concatenate(Axis(1), &[a.view(), b.view()]).expect("both have the same rows")
        };
        let left_y = left(&q, &set.factor.values, set.primal);
        let rest_y =
            block.right(rows, without, &Side::Multiplied(set.train.clone()), &mean, None) - set.left.t().dot(&left_y);
        let (q, left_all) = (joined(&q, &set.coefficients), joined(&left_y, &set.left));
        let rest_all = joined(&rest_y, &set.rest);
        let values = &set.factor.values;
        let truths: Vec<_> = self
            .engine
            .held_out(without)
            .into_iter()
            .map(|(validation, outer, range)| (block.truth::<T>(rows, validation, &mean, None), outer, range))
            .collect();
        for (draw, (wide, narrow)) in self.weights.iter().enumerate() {
            let keep = Array2::from_shape_fn((alphas.len(), values.len()), |(a, j)| {
                T::of(wide / (wide * values[j] + alphas[a]))
            });
            let mut corrections = Vec::with_capacity(alphas.len());
            for alpha in alphas {
                let mut shrunk = set.left.clone();
                for (mut row, s) in shrunk.rows_mut().into_iter().zip(values) {
                    row.mapv_inplace(|v| T::of(v.wide() * (alpha / (wide * s + alpha))));
                }
                let m = shrunk.t().dot(&left_all) + &rest_all;
                let system = Array2::from_shape_fn((c, c), |(i, j)| {
                    narrow * m[[i, targets + j]].wide() + if i == j { *alpha } else { 0.0 }
                });
                let inverse = solve_positive(system, Array2::eye(c)).ok_or_else(|| {
                    Error::new(
                        Code::Nu01,
                        "banded ridge",
                        format!("the system of the narrow band is singular at alpha {alpha}"),
                    )
                    .hint("Choose a larger smallest alpha")
                })?;
                corrections.push(inverse.mapv(|v| T::of(v * narrow)).dot(&m.slice(s![.., ..targets])));
            }
            for (truth, outer, range) in &truths {
                let mut sse = errors[*outer].slice_mut(s![draw * alphas.len()..(draw + 1) * alphas.len(), ..]);
                let p = set.factor.projected.slice(s![range.clone(), ..]);
                let fresh = set.held_out.slice(s![range.clone(), ..]);
                // INVARIANT: truth is a new matrix.
                let flat = truth.as_slice().expect("truth is a new matrix");
                stacked(p, &keep, &q, scratch, |chunk, stack| {
                    let stride = targets + c;
                    let truth = &flat[chunk.start * targets..chunk.end * targets];
                    let blocks = stack.chunks_exact(chunk.len() * stride);
                    for ((mut sums, weights), predicted) in sse.rows_mut().into_iter().zip(&corrections).zip(blocks) {
                        let mut factors = Vec::with_capacity(chunk.len() * c);
                        for (row, predicted) in chunk.clone().zip(predicted.chunks_exact(stride)) {
                            factors.extend((0..c).map(|i| fresh[[row, i]] - predicted[targets + i]));
                        }
                        // INVARIANT: a product and a row of errors are one slice each.
                        let weights = weights.as_slice().expect("a product is one slice");
                        // INVARIANT: as above.
                        let sums = sums.as_slice_mut().expect("a row is one slice");
                        let correction = Correction { factors: &factors, weights };
                        add_corrected_errors(predicted, stride, truth, targets, correction, sums);
                    }
                });
            }
        }
        Ok(())
    }
}
