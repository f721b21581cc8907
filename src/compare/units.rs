//! What a test is over: subjects, or the stimulus groups of one subject.
//!
//! With several subjects a unit's value is the subject's score. With one, a score is taken apart into what each group
//! adds to it (its squared errors, or its share of the covariance); times the number of groups, these values have the
//! score as their mean. Swapping two models' contributions of a group flips the sign of their difference there: the
//! block permutation of one subject is a sign flip over groups, and needs no refit.

use ndarray::{Array2, Axis};

use super::LayerFit;
use crate::encoding::ScoreName;
use crate::stats::bootstrap::weighted_means;

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
}

/// Paired differences per unit (units, targets).
pub(super) fn differences(of: &LayerFit, from: &LayerFit, name: ScoreName) -> Array2<f64> {
    of.per_unit(name) - from.per_unit(name)
}

/// The mean over targets of each unit, as a column; NaN where no target has a value.
pub(super) fn over_targets(values: &Array2<f64>) -> Array2<f64> {
    let ones = Array2::ones((1, values.ncols()));
    weighted_means(&ones, &values.t().to_owned()).t().to_owned()
}

/// Columns side by side.
pub(super) fn beside(columns: &[Array2<f64>], units: usize) -> Array2<f64> {
    let views: Vec<_> = columns.iter().map(|c| c.view()).collect();
    // INVARIANT: all columns come from fits over the same units.
    ndarray::concatenate(Axis(1), &views).unwrap_or_else(|_| Array2::zeros((units, 0)))
}
