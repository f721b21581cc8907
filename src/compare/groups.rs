//! Do groups of subjects differ in their scores, or in how a checkpoint differs from the reference?

use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

use super::best::nested_values;
use super::inference::Fits;
use super::units::{beside, mean_differences, ones};
use super::{Comparison, Settings};
use crate::encoding::{Reason, Score};
use crate::ids::Layer;
use crate::stats::bootstrap::{Interval, weighted_within};
use crate::stats::labels::{Contrast, Relabelings, contrast_groups};
use crate::stats::permuter::Permuter;
use crate::subjects::SubjectGroups;

/// What is compared between groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A checkpoint's score.
    Score,
    /// A checkpoint's paired difference to the reference.
    Difference,
}

/// Two groups compared: second − first, in the ranking score averaged over targets, covariates held fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupContrast {
    /// What is compared.
    pub outcome: Outcome,
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// The layer; `None` for the nested best layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// The first group, its subjects, their mean.
    pub first: GroupMean,
    /// The second group.
    pub second: GroupMean,
    /// Second − first with the covariates held fixed.
    pub contrast: Score,
    /// 95 % interval from least squares.
    pub interval: Option<Interval>,
    /// t of the contrast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t: Option<f64>,
    /// Two-sided p by permutation of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// The same, corrected by the largest |t| over the layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_fwe: Option<f64>,
}

/// One group of subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupMean {
    /// Its name.
    pub name: String,
    /// Subjects with a value.
    pub n: usize,
    /// Their mean, covariates not held fixed.
    pub mean: Score,
}

/// How groups were compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDesign {
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Covariates held fixed.
    pub covariates: Vec<String>,
}

impl Comparison {
    /// Compares groups of subjects. `fits` holds all checkpoints; `permuter` may tally the permutations.
    pub fn contrast(
        &mut self,
        fits: &[Fits<'_>],
        subjects: &SubjectGroups,
        settings: &Settings,
        permuter: Option<&dyn Permuter>,
    ) {
        self.group_design =
            Some(GroupDesign { groups: subjects.names().to_vec(), covariates: subjects.covariate_names().to_vec() });
        let nested = nested_values(fits, self.score, self.n_units);
        for (at, (label, layers)) in fits.iter().enumerate() {
            let scores: Vec<_> =
                layers.iter().map(|(_, fit)| weighted_within(&fit.per_unit(self.score), &ones(fit))).collect();
            let of: Vec<Layer> = layers.iter().map(|(layer, _)| *layer).collect();
            let mut outcomes = vec![(Outcome::Score, of, scores, nested[at].clone())];
            if let Some(base_at) = self.base_among(fits, label) {
                let (_, reference) = fits[base_at];
                let (of, paired) = layers
                    .iter()
                    .filter_map(|(layer, fit)| {
                        let (_, base) = reference.iter().find(|(l, _)| l == layer)?;
                        Some((*layer, mean_differences(fit, base, self.score)))
                    })
                    .unzip();
                outcomes.push((Outcome::Difference, of, paired, &nested[at] - &nested[base_at]));
            }
            for (outcome, of, columns, best) in outcomes {
                let all = beside(&columns, self.n_units);
                for pair in subjects.pairs() {
                    let mut add = |layers: &[Option<Layer>], values: &Array2<f64>| {
                        let found = contrasts(subjects, pair, values, settings, permuter);
                        let rows = found.into_iter().zip(layers).map(|((contrast, first, second), layer)| {
                            let value = contrast.map_or(f64::NAN, |c| c.estimate);
                            GroupContrast {
                                outcome,
                                checkpoint: (*label).to_owned(),
                                layer: *layer,
                                first,
                                second,
                                contrast: Score::from_nan(value, Reason::NothingDefined),
                                interval: contrast.map(|c| c.interval),
                                // An infinite t says no more than its p.
                                t: contrast.map(|c| c.t).filter(|t| t.is_finite()),
                                p: contrast.map(|c| c.p),
                                p_fwe: contrast.map(|c| c.p_fwe),
                            }
                        });
                        self.group_contrasts.extend(rows);
                    };
                    add(&[None], &best);
                    add(&of.iter().copied().map(Some).collect::<Vec<_>>(), &all);
                }
            }
        }
    }
}

/// The contrasts of all columns of `values` (subjects, columns), with the groups' means.
fn contrasts(
    subjects: &SubjectGroups,
    (first, second): (usize, usize),
    values: &Array2<f64>,
    settings: &Settings,
    permuter: Option<&dyn Permuter>,
) -> Vec<(Option<Contrast>, GroupMean, GroupMean)> {
    let (rows, is_second) = subjects.pair(first, second);
    // A column without any value is no outcome; a subject without a value in another is left out of all.
    let some: Vec<usize> = (0..values.ncols()).filter(|c| rows.iter().any(|r| values[[*r, *c]].is_finite())).collect();
    let (rows, is_second): (Vec<usize>, Vec<bool>) =
        rows.into_iter().zip(is_second).filter(|(r, _)| some.iter().all(|c| values[[*r, *c]].is_finite())).unzip();
    let values = values.select(Axis(0), &rows);
    let covariates = subjects.covariates().select(Axis(0), &rows);
    let draws = Relabelings::new(&is_second, covariates.ncols() > 0, settings.permutations, settings.seed);
    let found = contrast_groups(values.view(), &is_second, covariates.view(), &draws, permuter)
        .unwrap_or_else(|| vec![None; values.ncols()]);
    found
        .into_iter()
        .enumerate()
        .map(|(c, contrast)| {
            let mean = |of: bool, group: usize| {
                let own: Vec<f64> = is_second
                    .iter()
                    .zip(values.column(c))
                    .filter(|(s, v)| **s == of && v.is_finite())
                    .map(|p| *p.1)
                    .collect();
                let mean = crate::stats::mean(&own).unwrap_or(f64::NAN);
                GroupMean {
                    name: subjects.names()[group].clone(),
                    n: own.len(),
                    mean: Score::from_nan(mean, Reason::NothingDefined),
                }
            };
            (contrast, mean(false, first), mean(true, second))
        })
        .collect()
}
