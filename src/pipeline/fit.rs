//! One feature space against all subjects: held-out predictions and scores.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use super::preflight::Prepared;
use crate::compare::{ByGroup, LayerFit, SubjectParts, by_subject};
use crate::encoding::cv::CvFit;
use crate::encoding::engine::{self, Banded, Bands, Options, Part, Sharing, Spectra, random_weights};
use crate::encoding::{AlphaGrid, Folds, GroupSums, TargetScores, score};
use crate::error::Result;
use crate::features::{self, FeatureSpace};
use crate::ids::SubjectId;
use crate::io::binary::binary;
use crate::responses::{Aligned, Cohort};
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
binary!(SpaceFit { fit, predictions, grids });

impl SpaceFit {
    /// Share of choices at an edge of the grid, over subjects and targets; none where nothing was fitted: no alpha was
    /// better than another.
    pub fn share_at_edge(&self) -> Option<f64> {
        let all = || self.fit.scores.iter().flatten();
        all().any(|t| t.cod.value().is_some()).then(|| {
            let chosen = all().filter(|t| t.alpha_median.is_some());
            let shares: Vec<f64> = chosen.map(|t| t.alpha_at_edge).collect();
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
binary!(Predictions { cohort, folds, values, train_mean });

/// Draws of band weights that `unique cod` chooses from, and their seed.
const BAND_DRAWS: usize = 100;
const BAND_SEED: u64 = 0;

/// Fits a feature space to the responses of every subject.
pub fn fit_space(prepared: &Prepared, features: &FeatureSpace, watch: &dyn Watch) -> Result<SpaceFit> {
    let options = Options { components: components(prepared, features), ..fit_options(prepared) };
    fit_cohorts(prepared, &[features], &|one| {
        // What is shared has a quarter of the memory.
        let memory = options.memory.map(|m| if one.sharing.is_some() { m - m / 4 } else { m });
        let options = Options { sharing: one.sharing, memory, ..options.clone() };
        engine::fit(one.x, one.y, one.folds, &prepared.plan.alphas, &options, watch).map(|(fit, _)| fit)
    })
}

/// Fits a feature space and the confounds together, each a band with a weight of its own: what `unique cod` is made of.
pub fn fit_joint(
    prepared: &Prepared,
    features: &FeatureSpace,
    confounds: &FeatureSpace,
    watch: &dyn Watch,
) -> Result<LayerFit> {
    let options = fit_options(prepared);
    let weights = random_weights(2, BAND_DRAWS, BAND_SEED);
    let grid = &prepared.plan.alphas;
    let fitted = fit_cohorts(prepared, &[features, confounds], &|One { x, y, folds, .. }| {
        // Confounds may have columns of each subject's own, which only the joined features have.
        let bands = Bands::of_sizes(&[features.x().ncols(), x.ncols() - features.x().ncols()])?;
        let of = Banded { x, y, bands: &bands, weights: &weights, folds };
        engine::fit_banded(of, grid, &options, watch).map(|(banded, _)| banded.fit)
    })?;
    Ok(fitted.fit)
}

/// The components that the plan asks for are those of models: confounds are few columns.
pub(super) fn components(prepared: &Prepared, features: &FeatureSpace) -> Option<usize> {
    prepared.plan.components.filter(|_| ![features::CONFOUNDS, features::OASM].contains(&features.name()))
}

/// The engine's options for one of the feature spaces that are fitted side by side.
pub(super) fn fit_options(prepared: &Prepared) -> Options {
    let memory = prepared.plan.memory / rayon::current_num_threads().max(1) as u64;
    let offload = prepared.offload.clone();
    Options { precision: prepared.plan.precision, memory: Some(memory), offload, ..Options::default() }
}

/// What is fitted at once: the subjects of a cohort, or one of them where features differ between subjects.
pub(super) struct One<'a> {
    /// Features of its rows, one space beside the other.
    pub x: ArrayView2<'a, f64>,
    /// Their responses (rows, subjects · targets).
    pub y: ArrayView2<'a, f64>,
    /// Per column of them: how many values are missing. Such a column has no score.
    pub missing: &'a [usize],
    /// Folds of the rows.
    pub folds: &'a Folds,
    /// What it shares with others.
    pub sharing: Option<Sharing>,
    /// Its number among all, as in [`SpaceFit::grids`].
    pub number: usize,
}

type Fit<'a> = dyn Fn(One<'_>) -> Result<CvFit> + Sync + 'a;

/// The decompositions that cohorts of the study have in common in a feature space; none when there are none.
fn shared(prepared: &Prepared, features: usize) -> Option<Arc<Spectra>> {
    let folds: Vec<Folds> = prepared.cohorts.iter().map(|c| prepared.folds.subset(c.rows())).collect();
    let part = |(cohort, folds)| {
        let cohort: &Cohort = cohort;
        Part { rows: cohort.rows(), folds, targets: cohort.y().ncols() }
    };
    let parts: Vec<Part<'_>> = prepared.cohorts.iter().zip(&folds).map(part).collect();
    let spectra = Spectra::of(&parts, features, prepared.plan.alphas.values.len(), fit_options(prepared).memory);
    (!spectra.is_empty()).then(|| Arc::new(spectra))
}

/// The features of a cohort's rows, one space beside the other.
fn joined(spaces: &[&FeatureSpace], cohort: &Cohort) -> Result<Array2<f64>> {
    let mut all = Array2::zeros((cohort.rows().len(), 0));
    for space in spaces {
        let aligned = Aligned::new(space, cohort)?;
        all = concatenate![Axis(1), all, aligned.x().view()];
    }
    Ok(all)
}

/// Fits the spaces, one beside the other, to every subject by `fit`, and scores what it predicts.
pub(super) fn fit_cohorts(prepared: &Prepared, spaces: &[&FeatureSpace], fit: &Fit<'_>) -> Result<SpaceFit> {
    let n_targets = prepared.targets.len();
    let mut by_id: Vec<(SubjectId, Vec<TargetScores>)> = Vec::new();
    let mut groups = None;
    let name = prepared.plan.score;
    let alone = prepared.subjects.len() == 1;
    let units = units(prepared);
    let mut by_group = ByGroup::new(prepared.subjects.len(), fold_of_group(prepared, &units, alone));
    let mut by_roi = vec![by_group.clone(); prepared.rois.as_ref().map_or(0, |r| r.list.len())];
    let (mut predictions, mut grids) = (Vec::new(), Vec::new());
    // Features that differ between subjects: every subject has a fit of its own.
    let apart = spaces.iter().any(|space| space.has_own());
    let spectra = match spaces {
        [space] if !apart && prepared.cohorts.len() > 1 => shared(prepared, space.x().ncols()),
        _ => None,
    };
    for (index, cohort) in prepared.cohorts.iter().enumerate() {
        let folds = prepared.folds.subset(cohort.rows());
        let others = prepared.others.get(index).map(|y| y.view());
        let trained = others.unwrap_or(cohort.y().view());
        let of_row: Vec<usize> = cohort.rows().iter().map(|r| units[*r]).collect();
        let of_row = if alone { numbered(&of_row) } else { of_row };
        let fold_names: Vec<usize> =
            (0..folds.count()).map(|k| prepared.folds.of_row()[cohort.rows()[folds.test_rows(k)[0]]]).collect();
        let parts = if apart { cohort.one_by_one() } else { vec![cohort.clone()] };
        let before = grids.len();
        let fits: Result<Vec<CvFit>> = parts
            .par_iter()
            .enumerate()
            .map(|(at, part)| {
                let width = part.y().ncols();
                let y = trained.slice(s![.., at * width..(at + 1) * width]);
                let sharing =
                    spectra.as_ref().map(|s| Sharing { spectra: Arc::clone(s), rows: Arc::from(cohort.rows()) });
                let x = joined(spaces, part)?;
                fit(One { x: x.view(), y, missing: part.missing(), folds: &folds, sharing, number: before + at })
            })
            .collect();
        let mut values = Array2::zeros((cohort.rows().len(), 0));
        let mut train_mean = Array2::zeros((folds.count(), 0));
        for (part, fit) in parts.iter().zip(fits?) {
            let mut scores = score(part.y().view(), &fit, &folds);
            let lacking = scores.iter_mut().zip(part.missing()).filter(|(_, n)| **n > 0);
            lacking.for_each(|(scores, _)| scores.missing());
            for (s, (subject, own)) in part.subjects().iter().zip(scores.chunks(n_targets)).enumerate() {
                let columns = s![.., s * n_targets..(s + 1) * n_targets];
                let y = part.y().slice(columns);
                let sums =
                    GroupSums::of(y, fit.predicted.slice(columns), fit.train_mean.slice(columns), &folds, &of_row);
                let at = prepared.subjects.iter().position(|s| s == subject).unwrap_or(s);
                let entered = SubjectParts {
                    sums: &sums,
                    inner_error: fit.inner_error.slice(columns),
                    folds: &fold_names,
                    y,
                    scores: own,
                };
                by_group.enter(at, &entered, name, None);
                for (roi, weights) in by_roi.iter_mut().zip(prepared.rois.iter().flat_map(|r| r.matrix.rows().rows())) {
                    roi.enter(at, &entered, name, Some(weights));
                }
                groups = alone.then_some(sums);
            }
            // Fold by fold values are many; the tables hold their summary.
            scores.iter_mut().for_each(|s| s.per_fold = Vec::new());
            by_id.extend(part.subjects().iter().cloned().zip(by_subject(scores, n_targets)));
            values = concatenate![Axis(1), values, fit.predicted];
            train_mean = concatenate![Axis(1), train_mean, fit.train_mean];
            grids.push(fit.grid);
        }
        predictions.push(Predictions { cohort: index, folds: folds.of_row().to_vec(), values, train_mean });
    }
    // Back into the order of the study, whatever cohorts there were.
    by_id.sort_by_key(|(subject, _)| prepared.subjects.iter().position(|s| s == subject));
    let scores = by_id.into_iter().map(|(_, scores)| scores).collect();
    let fit = LayerFit { scores, groups, by_group: Some(by_group), by_roi, joint: None };
    Ok(SpaceFit { fit, predictions, grids })
}

/// What is resampled, row by row: the group; of a group that shuffled folds tear apart, its pieces.
fn units(prepared: &Prepared) -> Vec<usize> {
    let groups = prepared.stimuli.groups();
    if prepared.plan.folds.leaks() {
        return distinct(groups.iter().zip(prepared.folds.of_row()));
    }
    groups.to_vec()
}

/// The outer fold of each group; with one subject, of each group that it saw.
fn fold_of_group(prepared: &Prepared, units: &[usize], alone: bool) -> Vec<usize> {
    let rows: Vec<usize> = match prepared.cohorts.first() {
        Some(cohort) if alone => cohort.rows().to_vec(),
        _ => (0..prepared.stimuli.len()).collect(),
    };
    let groups: Vec<usize> = rows.iter().map(|r| units[*r]).collect();
    let groups = if alone { numbered(&groups) } else { groups };
    let mut fold = vec![0; groups.iter().max().map_or(0, |g| g + 1)];
    for (row, group) in rows.iter().zip(groups) {
        fold[group] = prepared.folds.of_row()[*row];
    }
    fold
}

/// Labels as numbers without gaps: a group that a subject did not see is no unit of anything.
fn numbered(labels: &[usize]) -> Vec<usize> {
    let mut seen = labels.to_vec();
    seen.sort_unstable();
    seen.dedup();
    labels.iter().map(|l| seen.partition_point(|s| s < l)).collect()
}
