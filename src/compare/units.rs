//! What a test is over: subjects, or the stimulus groups of one subject.
//!
//! With several subjects a unit's value is the subject's score. With one, a score is taken apart into what each group
//! adds to it (its squared errors, or its share of the covariance); times the number of groups, these values have the
//! score as their mean. Swapping two models' contributions of a group flips the sign of their difference there: the
//! block permutation of one subject is a sign flip over groups, and needs no refit.

use ndarray::{Array2, ArrayView1, Axis};

use super::LayerFit;
use crate::encoding::ScoreName;
use crate::stats::bootstrap::weighted_within;

impl LayerFit {
    /// Values per unit (units, targets) whose mean over units is each target's score, up to a constant that is the same
    /// for every fit; NaN where undefined.
    pub(super) fn per_unit(&self, name: ScoreName) -> Array2<f64> {
        let Some(groups) = &self.groups else { return self.matrix(name) };
        let mut values = groups.parts(name).gains * groups.groups() as f64;
        for (mut column, scores) in values.columns_mut().into_iter().zip(&self.scores[0]) {
            if scores.get(name).value().is_none() {
                column.fill(f64::NAN);
            }
        }
        values
    }

    /// Whether each target's score is above 0 as [`predicts`] has it; always true with several subjects.
    fn predicts(&self, name: ScoreName) -> Vec<bool> {
        let Some(groups) = &self.groups else { return vec![true; self.scores.first().map_or(0, Vec::len)] };
        let parts = groups.parts(name);
        let columns = parts.gains.columns().into_iter().zip(parts.shares.columns());
        columns.map(|(gains, shares)| predicts(gains, shares, parts.offset)).collect()
    }

    /// The same for weighted means over targets, one for each row of `weights` (columns, targets).
    fn predicts_weighted(&self, name: ScoreName, weights: &Array2<f64>) -> Vec<bool> {
        let Some(groups) = &self.groups else { return vec![true; weights.nrows()] };
        let parts = groups.parts(name);
        let known: Vec<usize> =
            (0..self.scores[0].len()).filter(|t| self.scores[0][*t].get(name).value().is_some()).collect();
        let average = |m: &Array2<f64>| weighted_within(&m.select(Axis(1), &known), &weights.select(Axis(1), &known));
        let (gains, shares) = (average(&parts.gains), average(&parts.shares));
        let columns = gains.columns().into_iter().zip(shares.columns());
        columns.map(|(gains, shares)| predicts(gains, shares, parts.offset)).collect()
    }
}

/// Paired differences per unit (units, targets). With one subject, NaN where neither fit [`predicts`].
pub(super) fn differences(of: &LayerFit, from: &LayerFit, name: ScoreName) -> Array2<f64> {
    let mut paired = of.per_unit(name) - from.per_unit(name);
    let (a, b) = (of.predicts(name), from.predicts(name));
    for (at, mut column) in paired.columns_mut().into_iter().enumerate() {
        if !a[at] && !b[at] {
            column.fill(f64::NAN);
        }
    }
    paired
}

/// Whether a score of one subject, given by what each stimulus group adds to it and each group's share, is above 0 by
/// more than chance allows.
///
/// Where features and response have nothing in common, what a group adds to the score depends on all others, because they
/// trained the model: every pair of groups counts in both its members, the variance of the score is twice what the groups
/// say, and swapping groups between two such models finds a difference too often (in one of five studies of noise, for r
/// at 0.05). So there is no test where neither model predicts by this measure.
pub(super) fn predicts(gains: ArrayView1<'_, f64>, shares: ArrayView1<'_, f64>, offset: f64) -> bool {
    const TWICE: f64 = 2.0;
    let n = gains.len() as f64;
    let (sum, whole) = (gains.sum(), shares.sum());
    if !(whole > 0.0 && n > 1.0) {
        return false;
    }
    let score = offset + sum / whole;
    let squares: f64 = gains.iter().zip(shares).map(|(g, s)| (g - sum / whole * s).powi(2)).sum();
    score > 1.96 * (TWICE * squares * n / (n - 1.0)).sqrt() / whole
}

/// The same for means over targets, a column: NaN where neither fit predicts.
pub(super) fn mean_differences(of: &LayerFit, from: &LayerFit, name: ScoreName) -> Array2<f64> {
    weighted_differences(of, from, name, &ones(of))
}

/// The same for weighted means over targets, a column for each row of `weights` (columns, targets).
pub(super) fn weighted_differences(
    of: &LayerFit,
    from: &LayerFit,
    name: ScoreName,
    weights: &Array2<f64>,
) -> Array2<f64> {
    let mut paired = weighted_within(&(of.per_unit(name) - from.per_unit(name)), weights);
    let (a, b) = (of.predicts_weighted(name, weights), from.predicts_weighted(name, weights));
    for (at, mut column) in paired.columns_mut().into_iter().enumerate() {
        if !a[at] && !b[at] {
            column.fill(f64::NAN);
        }
    }
    paired
}

/// The weights of the mean over a fit's targets.
pub(super) fn ones(of: &LayerFit) -> Array2<f64> {
    Array2::ones((1, of.scores.first().map_or(0, Vec::len)))
}

/// Columns side by side.
pub(super) fn beside(columns: &[Array2<f64>], units: usize) -> Array2<f64> {
    let views: Vec<_> = columns.iter().map(|c| c.view()).collect();
    // Of no columns there is nothing to join; all others come from fits over the same units.
    ndarray::concatenate(Axis(1), &views).unwrap_or_else(|_| Array2::zeros((units, 0)))
}
