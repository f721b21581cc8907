//! One feature space against all subjects: held-out predictions and scores.

use ndarray::{Array2, s};

use super::preflight::Prepared;
use crate::compare::{ByGroup, LayerFit, by_subject};
use crate::encoding::cv::{self, CvFit};
use crate::encoding::{AlphaGrid, GroupSums, TargetScores, score};
use crate::error::Result;
use crate::features::FeatureSpace;
use crate::ids::SubjectId;
use crate::responses::Aligned;
use crate::watch::Watch;

/// The fits of one feature space.
pub struct SpaceFit {
    /// Scores of every subject and target.
    pub fit: LayerFit,
    /// Held-out predictions, cohort by cohort.
    pub predictions: Vec<Predictions>,
    /// The grids that were searched, cohort by cohort.
    pub grids: Vec<AlphaGrid>,
}

/// Held-out predictions of one cohort.
pub struct Predictions {
    /// Index of the cohort in [`Prepared::cohorts`].
    pub cohort: usize,
    /// Fold of each row.
    pub folds: Vec<usize>,
    /// Predictions (rows, subjects · targets).
    pub values: Array2<f64>,
}

/// Fits a feature space to the responses of every subject.
pub fn fit_space(prepared: &Prepared, features: &FeatureSpace, watch: &dyn Watch) -> Result<SpaceFit> {
    let n_targets = prepared.targets.len();
    let mut by_id: Vec<(&SubjectId, Vec<TargetScores>)> = Vec::new();
    let mut groups = None;
    let name = prepared.plan.score;
    let mut by_group = ByGroup::zeros(prepared.subjects.len(), prepared.stimuli.n_groups());
    let (mut predictions, mut grids) = (Vec::new(), Vec::new());
    for (index, cohort) in prepared.cohorts.iter().enumerate() {
        let aligned = Aligned::new(features, cohort)?;
        let folds = prepared.folds.subset(cohort.rows());
        let fit: CvFit = cv::fit(aligned.x().view(), cohort.y().view(), &folds, &prepared.plan.alphas, watch)?;
        let mut scores = score(cohort.y().view(), &fit, &folds);
        let of_row: Vec<usize> = cohort.rows().iter().map(|r| prepared.stimuli.groups()[*r]).collect();
        if prepared.subjects.len() == 1 {
            groups = Some(GroupSums::new(cohort.y().view(), &fit, &folds, &numbered(&of_row)));
        } else {
            for (s, (subject, own)) in cohort.subjects().iter().zip(scores.chunks(n_targets)).enumerate() {
                let columns = s![.., s * n_targets..(s + 1) * n_targets];
                let (y, predicted) = (cohort.y().slice(columns), fit.predicted.slice(columns));
                let sums = GroupSums::of(y, predicted, fit.train_mean.slice(columns), &folds, &of_row);
                let at = prepared.subjects.iter().position(|s| s == subject).unwrap_or(s);
                by_group.enter(at, &sums.parts(name), own, name);
            }
        }
        // Fold by fold values are many; the tables hold their summary.
        scores.iter_mut().for_each(|s| s.per_fold = Vec::new());
        by_id.extend(cohort.subjects().iter().zip(by_subject(scores, n_targets)));
        predictions.push(Predictions { cohort: index, folds: folds.of_row().to_vec(), values: fit.predicted });
        grids.push(fit.grid);
    }
    // Back into the order of the study, whatever cohorts there were.
    by_id.sort_by_key(|(subject, _)| prepared.subjects.iter().position(|s| s == *subject));
    let scores = by_id.into_iter().map(|(_, scores)| scores).collect();
    let by_group = Some(by_group).filter(|_| groups.is_none());
    Ok(SpaceFit { fit: LayerFit { scores, groups, by_group }, predictions, grids })
}

/// Labels as numbers without gaps: a group that a subject did not see is no unit of anything.
fn numbered(labels: &[usize]) -> Vec<usize> {
    let mut seen = labels.to_vec();
    seen.sort_unstable();
    seen.dedup();
    labels.iter().map(|l| seen.partition_point(|s| s < l)).collect()
}
