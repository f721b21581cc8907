//! One feature space against all subjects: held-out predictions and scores.

use ndarray::{Array2, Axis, concatenate, s};
use rayon::prelude::*;

use super::preflight::Prepared;
use crate::compare::{LayerFit, by_subject};
use crate::encoding::cv::{self, CvFit};
use crate::encoding::{AlphaGrid, GroupSums, TargetScores, score};
use crate::error::Result;
use crate::features::FeatureSpace;
use crate::ids::SubjectId;
use crate::responses::Aligned;
use crate::stats::distinct;
use crate::watch::Watch;

/// The fits of one feature space.
pub struct SpaceFit {
    /// Scores of every subject and target.
    pub fit: LayerFit,
    /// Held-out predictions, cohort by cohort.
    pub predictions: Vec<Predictions>,
    /// The grids that were searched, fit by fit.
    pub grids: Vec<AlphaGrid>,
}

impl SpaceFit {
    /// Share of choices at an edge of the grid, over subjects and targets; none where nothing was fitted: no alpha was
    /// better than another.
    pub fn share_at_edge(&self) -> Option<f64> {
        let all = || self.fit.scores.iter().flatten();
        all().any(|t| t.cod.value().is_some()).then(|| {
            let shares: Vec<f64> = all().map(|t| t.alpha_at_edge).collect();
            crate::stats::mean(&shares).unwrap_or(0.0)
        })
    }
}

/// Held-out predictions of one cohort.
pub struct Predictions {
    /// Index of the cohort in [`Prepared::cohorts`].
    pub cohort: usize,
    /// Fold of each row.
    pub folds: Vec<usize>,
    /// Predictions (rows, subjects · targets).
    pub values: Array2<f64>,
    /// Means over the training rows (folds, subjects · targets).
    pub train_mean: Array2<f64>,
}

/// Fits a feature space to the responses of every subject.
pub fn fit_space(prepared: &Prepared, features: &FeatureSpace, watch: &dyn Watch) -> Result<SpaceFit> {
    let n_targets = prepared.targets.len();
    let mut by_id: Vec<(SubjectId, Vec<TargetScores>)> = Vec::new();
    let mut groups = None;
    let (mut predictions, mut grids) = (Vec::new(), Vec::new());
    for (index, cohort) in prepared.cohorts.iter().enumerate() {
        let folds = prepared.folds.subset(cohort.rows());
        let others = prepared.others.get(index).map(|y| y.view());
        let trained = others.unwrap_or(cohort.y().view());
        // Features that differ between subjects: every subject has a fit of its own.
        let pieces = if features.has_own() { cohort.one_by_one() } else { vec![cohort.clone()] };
        let fits: Result<Vec<CvFit>> = pieces
            .par_iter()
            .enumerate()
            .map(|(at, piece)| {
                let width = piece.y().ncols();
                let aligned = Aligned::new(features, piece)?;
                let trained = trained.slice(s![.., at * width..(at + 1) * width]);
                cv::fit(aligned.x().view(), trained, &folds, &prepared.plan.alphas, watch)
            })
            .collect();
        let mut values = Array2::zeros((cohort.rows().len(), 0));
        let mut train_mean = Array2::zeros((folds.count(), 0));
        for (piece, fit) in pieces.iter().zip(fits?) {
            let mut scores = score(piece.y().view(), &fit, &folds);
            // Fold by fold values are many; the tables hold their summary.
            scores.iter_mut().for_each(|s| s.per_fold = Vec::new());
            let subjects = piece.subjects().iter().cloned();
            by_id.extend(subjects.zip(by_subject(scores, n_targets)));
            if prepared.subjects.len() == 1 {
                // A group that shuffled folds tear apart is resampled in its pieces.
                let pieces =
                    cohort.rows().iter().zip(folds.of_row()).map(|(r, fold)| (prepared.stimuli.groups()[*r], *fold));
                let of_row = distinct(pieces);
                groups = Some(GroupSums::new(cohort.y().view(), &fit, &folds, &of_row));
            }
            values = concatenate![Axis(1), values, fit.predicted];
            train_mean = concatenate![Axis(1), train_mean, fit.train_mean];
            grids.push(fit.grid);
        }
        predictions.push(Predictions { cohort: index, folds: folds.of_row().to_vec(), values, train_mean });
    }
    // Back into the order of the study, whatever cohorts there were.
    by_id.sort_by_key(|(subject, _)| prepared.subjects.iter().position(|s| s == subject));
    let scores = by_id.into_iter().map(|(_, scores)| scores).collect();
    Ok(SpaceFit { fit: LayerFit { scores, groups }, predictions, grids })
}
