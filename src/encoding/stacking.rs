//! Several feature spaces as one model: their predictions, mixed by weights that are not negative and sum to 1.
//!
//! Objective, per outer fold and target: `min_w Σ_i (y_i − Σ_l w_l p_il)²` over the rows i outside the fold, w in the
//! simplex, p_il the prediction of feature space l for row i by the inner fit that left i out. The mixture is then applied
//! to the predictions of the held-out fold. Source: Breiman (1996), Stacked regressions, Machine Learning 24, 49; for
//! encoding models Lin, Naselaris, Kay & Wehbe (2023), Stacked regressions and structured variance partitioning.
//!
//! Not for: which feature space matters. Weights of correlated spaces are interchangeable.

use std::time::Instant;

use ndarray::{Array2, Array3, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use super::alphas::AlphaGrid;
use super::cv::CvFit;
use super::engine::{self, Options, Report};
use super::folds::Folds;
use crate::error::Result;
use crate::watch::Watch;

/// Steps of the search for weights; each shrinks the distance to the optimum.
const STEPS: usize = 2000;
/// Largest change of a weight at which the search ends.
const SETTLED: f64 = 1e-10;

/// A mixture of feature spaces.
#[derive(Debug, Clone)]
pub struct Stacked {
    /// Held-out predictions. Alphas and inner errors are those of the feature space with the largest weight.
    pub fit: CvFit,
    /// (outer folds, feature spaces, targets); they sum to 1 over feature spaces.
    pub weights: Array3<f64>,
    /// The work of all fits and of the mixture.
    pub report: Report,
}

/// Targets that are mixed at a time, at most all, and the bytes that they take, where `memory` bytes are free: half of them
/// are left to the engine.
pub fn width(spaces: usize, folds: usize, rows: usize, targets: usize, memory: u64) -> (usize, u64) {
    let each = bytes_per_target(spaces, folds, rows);
    let width = (memory / 2 / each.max(1)).max(1).min(targets as u64) as usize;
    (width, each * width as u64)
}

/// Bytes that [`stack`] takes for one target beside what the engine does: inner predictions of all feature spaces for all
/// folds, their residuals, the fits and the responses.
fn bytes_per_target(spaces: usize, folds: usize, rows: usize) -> u64 {
    (8 * (rows * (spaces * (folds + 3) + 4) + folds * spaces * (spaces + 4))) as u64
}

/// What is mixed, and for which responses.
#[derive(Debug, Clone, Copy)]
pub struct Stacking<'a> {
    /// Feature spaces, each (rows, features).
    pub spaces: &'a [ArrayView2<'a, f64>],
    /// The alphas of each space; a default grid is widened where it proves too narrow.
    pub grids: &'a [AlphaGrid],
    /// Responses (rows, targets).
    pub y: ArrayView2<'a, f64>,
    /// The outer folds.
    pub folds: &'a Folds,
}

/// Fits every feature space to the responses and mixes them. In memory: [`bytes_per_target`].
///
/// # Errors
/// As [`engine::fit_blocks`].
pub fn stack(of: Stacking<'_>, options: &Options, watch: &dyn Watch) -> Result<Stacked> {
    let Stacking { spaces, grids, y, folds } = of;
    assert!(!spaces.is_empty() && spaces.len() == grids.len(), "something to mix, and alphas for each");
    assert!(options.sharing.is_none(), "decompositions belong to one feature space");
    let mut fits = Vec::with_capacity(spaces.len());
    let mut inner = Vec::with_capacity(spaces.len());
    let mut report = Report::default();
    for (x, grid) in spaces.iter().zip(grids) {
        let (fit, done) = engine::fit(*x, y, folds, grid, options, watch)?;
        report.add(&done);
        let clock = Instant::now();
        inner.push(engine::inner_predictions(*x, y, folds, &fit, options, watch)?);
        report.eigendecompositions += folds.count() * (folds.count() - 1) / 2;
        report.mix_seconds += clock.elapsed().as_secs_f64();
        fits.push(fit);
    }
    let clock = Instant::now();
    let (k, targets) = (folds.count(), y.ncols());
    let mut weights = Array3::zeros((k, spaces.len(), targets));
    for fold in 0..k {
        let residuals: Vec<Array2<f64>> = inner.iter().map(|own| &y - &own[fold]).collect();
        let rows: Vec<usize> = (0..y.nrows()).filter(|r| residuals[0].row(*r).iter().all(|v| !v.is_nan())).collect();
        let found: Vec<Vec<f64>> = (0..targets)
            .into_par_iter()
            .map(|t| {
                let products = Array2::from_shape_fn((spaces.len(), spaces.len()), |(a, b)| {
                    rows.iter().map(|r| residuals[a][[*r, t]] * residuals[b][[*r, t]]).sum()
                });
                mixture(&products)
            })
            .collect();
        for (t, own) in found.iter().enumerate() {
            weights.index_axis_mut(Axis(0), fold).column_mut(t).iter_mut().zip(own).for_each(|(to, w)| *to = *w);
        }
    }
    let mut fit = fits[0].clone();
    // Grids may have been widened one way or another, all of them along the same values.
    let mut values: Vec<f64> = fits.iter().flat_map(|f| f.grid.values.iter().copied()).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    fit.grid = AlphaGrid { values, given: fit.grid.given };
    for fold in 0..k {
        for t in 0..targets {
            let own = weights.index_axis(Axis(0), fold);
            let own = own.column(t);
            let heaviest = (0..own.len()).fold(0, |best, l| if own[l] > own[best] { l } else { best });
            for row in folds.test_rows(fold) {
                fit.predicted[[row, t]] = fits.iter().zip(own).map(|(fit, w)| w * fit.predicted[[row, t]]).sum();
            }
            let alpha = fits[heaviest].grid.values[fits[heaviest].chosen[[fold, t]]];
            // A value of the grid: it is one of those that the grid was made of.
            fit.chosen[[fold, t]] = fit.grid.values.partition_point(|v| *v < alpha);
            fit.inner_error[[fold, t]] = fits[heaviest].inner_error[[fold, t]];
        }
        fit.varying[fold] = fits.iter().map(|f| f.varying[fold]).max().unwrap_or(0);
    }
    report.mix_seconds += clock.elapsed().as_secs_f64();
    Ok(Stacked { fit, weights, report })
}

/// The same, as many targets at a time as fit half of [`Options::memory`]. Alphas are to be given: a default grid is widened
/// for all targets that are fitted at once.
///
/// # Errors
/// As [`stack`].
pub fn stack_in_blocks(of: Stacking<'_>, options: &Options, watch: &dyn Watch) -> Result<Stacked> {
    let (rows, targets) = of.y.dim();
    let memory = options.memory.unwrap_or(u64::MAX);
    let (width, taken) = width(of.spaces.len(), of.folds.count(), rows, targets, memory);
    let options = Options { memory: options.memory.map(|m| m.saturating_sub(taken)), ..options.clone() };
    let block = |first: usize| {
        let y = of.y.slice_move(s![.., first..(first + width).min(targets)]);
        // Every field by name: with `..of` clippy of Rust 1.95 ends in an internal error.
        stack(Stacking { spaces: of.spaces, grids: of.grids, y, folds: of.folds }, &options, watch)
    };
    let mut whole = block(0)?;
    for first in (width..targets).step_by(width.max(1)) {
        whole.beside(block(first)?);
    }
    Ok(whole)
}

impl Stacked {
    /// Adds further targets.
    fn beside(&mut self, other: Stacked) {
        let of = &other.fit;
        self.fit.predicted = concatenate![Axis(1), self.fit.predicted, of.predicted];
        self.fit.train_mean = concatenate![Axis(1), self.fit.train_mean, of.train_mean];
        self.fit.chosen = concatenate![Axis(1), self.fit.chosen, of.chosen];
        self.fit.inner_error = concatenate![Axis(1), self.fit.inner_error, of.inner_error];
        self.weights = concatenate![Axis(2), self.weights, other.weights];
        self.report.add(&other.report);
    }
}

/// `min wᵀ R w` over the simplex, R the products of residuals: accelerated projected gradient (Beck & Teboulle 2009, SIAM
/// J. Imaging Sci. 2, 183), restarted where it turns, from equal weights.
fn mixture(products: &Array2<f64>) -> Vec<f64> {
    let n = products.nrows();
    let mut weights = vec![1.0 / n as f64; n];
    // The largest eigenvalue of a positive semi-definite matrix is at most its trace.
    let bound = products.diag().sum();
    if n == 1 || bound <= 0.0 {
        return weights;
    }
    let (mut ahead, mut momentum) = (weights.clone(), 1f64);
    for _ in 0..STEPS {
        let gradient: Vec<f64> =
            products.rows().into_iter().map(|r| r.iter().zip(&ahead).map(|(a, b)| a * b).sum()).collect();
        let next = onto_simplex(ahead.iter().zip(&gradient).map(|(w, g)| w - g / bound).collect());
        let turned: f64 = (0..n).map(|i| (ahead[i] - next[i]) * (next[i] - weights[i])).sum();
        let change = next.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0f64, f64::max);
        let faster = if turned > 0.0 { 1.0 } else { (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0 };
        let carry = if turned > 0.0 { 0.0 } else { (momentum - 1.0) / faster };
        ahead = next.iter().zip(&weights).map(|(new, old)| new + carry * (new - old)).collect();
        weights = next;
        momentum = faster;
        if change < SETTLED && turned <= 0.0 {
            break;
        }
    }
    weights
}

/// The nearest point whose coordinates are not negative and sum to 1 (Held, Wolfe & Crowder 1974).
fn onto_simplex(point: Vec<f64>) -> Vec<f64> {
    let mut sorted = point.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (0.0, 0.0);
    for (i, v) in sorted.iter().enumerate() {
        sum += v;
        let candidate = (sum - 1.0) / (i + 1) as f64;
        if *v > candidate {
            shift = candidate;
        }
    }
    point.into_iter().map(|v| (v - shift).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::score;
    use crate::watch::Quiet;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    fn noise(seed: u64, rows: usize, columns: usize) -> Array2<f64> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_simple_fn((rows, columns), || rng.random_range(-1.0..1.0))
    }

    proptest! {
        #[test]
        fn no_vertex_and_no_pair_is_better(seed in 0u64..1000, n in 2usize..7) {
            let a = noise(seed, 12, n);
            let products = a.t().dot(&a);
            let w = mixture(&products);
            let value = |w: &[f64]| -> f64 {
                (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| w[i] * w[j] * products[[i, j]]).sum()
            };
            prop_assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-9 && w.iter().all(|w| *w >= 0.0));
            for i in 0..n {
                for j in 0..n {
                    // Moving some weight from i to j does not help.
                    let step = 1e-4f64.min(w[i]);
                    let mut other = w.clone();
                    other[i] -= step;
                    other[j] += step;
                    prop_assert!(value(&other) >= value(&w) - 1e-9 * products.diag().sum());
                }
            }
        }
    }

    #[test]
    fn each_target_finds_its_own_feature_space() {
        let (a, b) = (noise(1, 120, 6), noise(2, 120, 6));
        let mut y = Array2::zeros((120, 3));
        let (of_a, of_b) = (a.dot(&noise(3, 6, 1)), b.dot(&noise(4, 6, 1)));
        y.column_mut(0).assign(&of_a.column(0));
        y.column_mut(1).assign(&of_b.column(0));
        y.column_mut(2).assign(&(&of_a.column(0) + &of_b.column(0)));
        y += &(noise(5, 120, 3) * 0.3);
        let folds = Folds::from_labels(&(0..120).map(|i| i / 30).collect::<Vec<i64>>());
        let grid = AlphaGrid::default();
        let options = Options::default();
        let grids = [grid.clone(), grid.clone()];
        let found = stack(
            Stacking { spaces: &[a.view(), b.view()], grids: &grids, y: y.view(), folds: &folds },
            &options,
            &Quiet,
        )
        .unwrap();
        // 4 folds: per space the outer fits, and the inner training sets twice.
        assert!(found.report.eigendecompositions >= 2 * 2 * 6 && found.report.choices == 2 * 4 * 3);
        assert!(found.report.search_seconds > 0.0 && found.report.mix_seconds > 0.0);
        for fold in 0..4 {
            assert!(found.weights[[fold, 0, 0]] > 0.9 && found.weights[[fold, 1, 1]] > 0.9);
            assert!((0.2..0.8).contains(&found.weights[[fold, 0, 2]]));
        }
        let cod =
            |fit: &CvFit| -> Vec<f64> { score(y.view(), fit, &folds).iter().map(|s| s.cod.value().unwrap()).collect() };
        let alone = cod(&engine::fit(a.view(), y.view(), &folds, &grid, &options, &Quiet).unwrap().0);
        let mixed = cod(&found.fit);
        assert!(mixed[0] > alone[0] - 0.02 && mixed[2] > alone[2], "{mixed:?} {alone:?}");
    }

    #[test]
    fn inner_predictions_never_saw_their_rows() {
        // The plain reference: z-score, fit and predict with two folds left out.
        let (x, y) = (noise(6, 40, 5), noise(7, 40, 2));
        let folds = Folds::from_labels(&(0..40).map(|i| i % 4).collect::<Vec<i64>>());
        let options = Options { precision: engine::Precision::Double, ..Options::default() };
        let (fit, _) = engine::fit(x.view(), y.view(), &folds, &AlphaGrid::default(), &options, &Quiet).unwrap();
        let inner = engine::inner_predictions(x.view(), y.view(), &folds, &fit, &options, &Quiet).unwrap();
        for (outer, inner) in inner.iter().enumerate() {
            for other in (0..4).filter(|f| *f != outer) {
                let train = folds.train_rows(&[outer.min(other), outer.max(other)]);
                let factor = crate::encoding::ridge::Factor::new(x.select(Axis(0), &train).view()).unwrap();
                let mut centred = y.select(Axis(0), &train);
                let mean = centred.mean_axis(Axis(0)).unwrap();
                centred -= &mean;
                let rows = folds.test_rows(other);
                let alphas: Vec<f64> = fit.chosen.row(outer).iter().map(|c| fit.grid.values[*c]).collect();
                let projected = factor.project(x.select(Axis(0), &rows).view());
                let expected = factor.predict_each(&projected, &factor.coefficients(&centred), &alphas) + &mean;
                for (row, expected) in rows.iter().zip(expected.rows()) {
                    for (a, b) in inner.row(*row).iter().zip(expected) {
                        assert!((a - b).abs() < 1e-10);
                    }
                }
            }
            assert!(folds.test_rows(outer).iter().all(|r| inner.row(*r).iter().all(|v| v.is_nan())));
        }
    }
}
