//! Scores of whole patterns: per row, across the targets of one subject.
//!
//! The map of training means is most of any response pattern and needs no features. [`pattern_r`] and [`rank`] remove it
//! from both sides. [`legacy`] does not, and is here to show what that does to a number: it is never printed without
//! what the mean map alone reaches.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::folds::Folds;
use super::score::{Reason, Score};
use crate::compute::cpu::{Spectrum, eigh};
use crate::error::Result;
use crate::stats;

/// Fewest targets for a correlation across them.
const LEAST: usize = 3;
/// The penalties of the published analysis.
const LEGACY_ALPHAS: [f64; 4] = [1e-3, 1e-2, 1e-1, 1.0];

/// Held-out predictions of one subject beside the truth, the training means removed from both (rows, targets).
struct Relative {
    truth: Array2<f64>,
    predicted: Array2<f64>,
}

impl Relative {
    fn new(
        y: ArrayView2<'_, f64>,
        predicted: ArrayView2<'_, f64>,
        mean: ArrayView2<'_, f64>,
        folds: &Folds,
    ) -> Relative {
        let map = Array2::from_shape_fn(y.dim(), |(row, target)| mean[[folds.of_row()[row], target]]);
        Relative { truth: &y - &map, predicted: &predicted - &map }
    }
}

fn r(a: &Array2<f64>, row_a: usize, b: &Array2<f64>, row_b: usize) -> Option<f64> {
    stats::pearson(&a.row(row_a).to_vec(), &b.row(row_b).to_vec())
}

/// Mean over held-out rows of the correlation across targets, training means (folds, targets) removed from both sides.
/// The intercept-only value is undefined: nothing is left of it.
pub fn pattern_r(
    y: ArrayView2<'_, f64>,
    predicted: ArrayView2<'_, f64>,
    mean: ArrayView2<'_, f64>,
    folds: &Folds,
) -> Score {
    if y.ncols() < LEAST {
        return Score::undefined(Reason::TooFewTargets);
    }
    let all = Relative::new(y, predicted, mean, folds);
    let rs: Vec<f64> = (0..y.nrows()).filter_map(|row| r(&all.predicted, row, &all.truth, row)).collect();
    mean_of(&rs)
}

/// Mean over held-out rows of the share of the fold's other rows whose truth the prediction resembles less than its own
/// row's, ties counted half: chance, and the intercept alone, give 0.5.
pub fn rank(y: ArrayView2<'_, f64>, predicted: ArrayView2<'_, f64>, mean: ArrayView2<'_, f64>, folds: &Folds) -> Score {
    if y.ncols() < LEAST {
        return Score::undefined(Reason::TooFewTargets);
    }
    let all = Relative::new(y, predicted, mean, folds);
    let mut ranks = Vec::new();
    for fold in 0..folds.count() {
        let rows = folds.test_rows(fold);
        for row in rows.iter().filter(|_| rows.len() > 1) {
            let Some(own) = r(&all.predicted, *row, &all.truth, *row) else { continue };
            let beaten: f64 = rows
                .iter()
                .filter(|other| *other != row)
                .filter_map(|other| r(&all.predicted, *row, &all.truth, *other))
                .map(|other| if other < own { 1.0 } else { f64::from(other == own) / 2.0 })
                .sum();
            ranks.push(beaten / (rows.len() - 1) as f64);
        }
    }
    mean_of(&ranks)
}

/// A published brain score and what the mean map alone makes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Legacy {
    /// Ridge on raw features, fitted on all rows but one: mean over rows of the correlation across targets, nothing
    /// removed.
    pub value: Score,
    /// The same for the mean of the other rows, without any feature. −1 where every target was centred over just these
    /// rows: the mean of the others is then the row itself, turned round and made small.
    pub intercept_only: Score,
}

/// The predecessor's score of `y` (rows, targets) on `x` (rows, features): for every row a fit on all others, alpha per
/// target from 1e-3 … 1 by leave-one-out error, one correlation across targets per row, mean over rows. Alpha is chosen
/// over all rows, not anew without each: that changes the third digit and saves n decompositions.
///
/// It is high on noise; only its difference to `intercept_only` says anything about features.
///
/// # Errors
/// `NU-01` when the decomposition fails.
pub fn legacy(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>) -> Result<Legacy> {
    let n = y.nrows();
    if y.ncols() < LEAST || n < LEAST {
        let undefined = Score::undefined(Reason::TooFewTargets);
        return Ok(Legacy { value: undefined, intercept_only: undefined });
    }
    let centre = |m: ArrayView2<'_, f64>| &m - &m.mean_axis(Axis(0)).unwrap_or_default();
    let (x, centred) = (centre(x), centre(y));
    let Spectrum { values, vectors } = eigh(x.dot(&x.t()))?;
    let along = vectors.t().dot(&centred);
    // Of a linear smoother with an intercept the residual without row i is that with it over 1 − H_ii.
    let left_out = |alpha: f64| {
        let shrink: Array1<f64> = values.mapv(|s| s.max(0.0) / (s.max(0.0) + alpha));
        let mut residual = &centred - &vectors.dot(&(&along * &shrink.view().insert_axis(Axis(1))));
        for (row, mut values) in residual.rows_mut().into_iter().enumerate() {
            let leverage: f64 = vectors.row(row).iter().zip(&shrink).map(|(v, s)| v * v * s).sum();
            values /= (1.0 - 1.0 / n as f64 - leverage).max(1e-9);
        }
        residual
    };
    let residuals: Vec<Array2<f64>> = LEGACY_ALPHAS.iter().map(|alpha| left_out(*alpha)).collect();
    let sse: Vec<Array1<f64>> = residuals.iter().map(|r| r.mapv(|v| v * v).sum_axis(Axis(0))).collect();
    let mut predicted = y.to_owned();
    for target in 0..y.ncols() {
        let best = (0..sse.len()).reduce(|best, i| if sse[i][target] <= sse[best][target] { i } else { best });
        let mut column = predicted.column_mut(target);
        column -= &residuals[best.unwrap_or(0)].column(target);
    }
    let total = y.sum_axis(Axis(0));
    let others = (&total - &y) / (n - 1) as f64;
    let truth = y.to_owned();
    let score = |predicted: &Array2<f64>| {
        mean_of(&(0..n).filter_map(|row| r(predicted, row, &truth, row)).collect::<Vec<f64>>())
    };
    Ok(Legacy { value: score(&predicted), intercept_only: score(&others) })
}

fn mean_of(values: &[f64]) -> Score {
    stats::mean(values).map_or(Score::undefined(Reason::NothingDefined), |m| Score::from_nan(m, Reason::NothingDefined))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{AlphaGrid, cv};
    use crate::watch::Quiet;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    fn normal(shape: (usize, usize), rng: &mut ChaCha8Rng) -> Array2<f64> {
        Array2::from_shape_simple_fn(shape, || StandardNormal.sample(rng))
    }

    struct Scored {
        pattern: f64,
        rank: f64,
        legacy: Legacy,
    }

    /// 60 rows of 200 targets: noise, a mean map of `map` times its size, and features of `signal` times its variance.
    fn scored(wide: usize, map: f64, signal: f64) -> Scored {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (x, noise) = (normal((60, wide), &mut rng), normal((60, 200), &mut rng));
        let (mean, w) =
            (normal((1, 200), &mut rng) * map, normal((wide, 200), &mut rng) * (signal / wide as f64).sqrt());
        let y = noise + &mean + x.dot(&w);
        let folds = Folds::from_labels(&(0..60).map(|i| i * 5 / 60).collect::<Vec<_>>());
        let fit = cv::fit(x.view(), y.view(), &folds, &AlphaGrid::default(), &Quiet).unwrap();
        let of = |f: fn(ArrayView2<f64>, ArrayView2<f64>, ArrayView2<f64>, &Folds) -> Score| {
            f(y.view(), fit.predicted.view(), fit.train_mean.view(), &folds).value().unwrap()
        };
        Scored { pattern: of(pattern_r), rank: of(rank), legacy: legacy(x.view(), y.view()).unwrap() }
    }

    #[test]
    fn on_noise_only_the_legacy_score_is_high_and_the_mean_map_alone_is_higher() {
        let found = scored(768, 0.32, 0.0);
        let (legacy, alone) = (found.legacy.value.value().unwrap(), found.legacy.intercept_only.value().unwrap());
        assert!(legacy > 0.15 && alone >= legacy, "{legacy} {alone}");
        assert!(found.pattern.abs() < 0.03 && (found.rank - 0.5).abs() < 0.06, "{} {}", found.pattern, found.rank);
    }

    #[test]
    fn signal_is_seen_by_all_of_them() {
        let found = scored(10, 0.32, 1.0);
        assert!(found.pattern > 0.4 && found.rank > 0.9, "{} {}", found.pattern, found.rank);
        assert!(found.legacy.value.value().unwrap() > found.legacy.intercept_only.value().unwrap() + 0.1);
    }

    /// The shortcut equals fits on all other rows, one by one.
    #[test]
    fn leaving_one_out_is_what_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let (x, y) = (normal((12, 4), &mut rng), normal((12, 5), &mut rng));
        let fast = legacy(x.view(), y.view()).unwrap();
        let mut residuals = vec![Array2::<f64>::zeros((12, 5)); LEGACY_ALPHAS.len()];
        for row in 0..12 {
            let rows: Vec<usize> = (0..12).filter(|r| *r != row).collect();
            let (xt, yt) = (x.select(Axis(0), &rows), y.select(Axis(0), &rows));
            let (mx, my) = (xt.mean_axis(Axis(0)).unwrap(), yt.mean_axis(Axis(0)).unwrap());
            let (xc, yc) = (&xt - &mx, &yt - &my);
            for (residuals, alpha) in residuals.iter_mut().zip(LEGACY_ALPHAS) {
                let kernel = xc.dot(&xc.t()) + Array2::<f64>::eye(11) * alpha;
                let cross = xc.dot(&(&x.row(row) - &mx)).insert_axis(Axis(0));
                let weights = crate::compute::cpu::solve_positive(kernel, cross).unwrap();
                let predicted = &my + &weights.row(0).dot(&yc);
                residuals.row_mut(row).assign(&(&y.row(row) - &predicted));
            }
        }
        let error = |alpha: usize, target: usize| residuals[alpha].column(target).mapv(|v| v * v).sum();
        let best: Vec<usize> =
            (0..5).map(|t| (0..4).min_by(|a, b| error(*a, t).total_cmp(&error(*b, t))).unwrap()).collect();
        let rs: Vec<f64> = (0..12)
            .filter_map(|row| {
                let predicted: Vec<f64> = (0..5).map(|t| y[[row, t]] - residuals[best[t]][[row, t]]).collect();
                stats::pearson(&predicted, &y.row(row).to_vec())
            })
            .collect();
        let slow = stats::mean(&rs).unwrap();
        assert!((fast.value.value().unwrap() - slow).abs() < 1e-9, "{fast:?} {slow}");
    }
}
