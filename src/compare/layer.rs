//! One layer of all checkpoints: means, intervals, paired differences.

use std::collections::{BTreeSet, HashMap};

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::{Baseline, Difference, Inference, Point, TargetMeans, Unit};
use crate::encoding::{GroupSums, Reason, Score, ScoreName, TargetScores};
use crate::ids::{Layer, TargetId};
use crate::io::binary::binary;
use crate::stats::bootstrap::{
    Interval, Resamples, bca, expanded, mean_intervals, two_way, weighted_means, weighted_within,
};

/// The scores of one feature space: every subject and target.
#[derive(Debug, Clone)]
pub struct LayerFit {
    /// Scores per subject (in the order of the run) and target.
    pub scores: Vec<Vec<TargetScores>>,
    /// Sums per stimulus group, when there is one subject.
    pub groups: Option<GroupSums>,
    /// The ranking score taken apart, averaged over targets.
    pub by_group: Option<ByGroup>,
    /// The same by ROI, averaged over targets with the ROI's weights; empty without ROIs.
    pub by_roi: Vec<ByGroup>,
    /// The banded fit of these features and the confounds together, where it was asked for.
    pub joint: Option<Box<LayerFit>>,
}

/// The ranking score of every subject by stimulus group and by outer fold, averaged over the targets that have a score.
/// Groups are numbered as in [`LayerFit::groups`] with one subject, as in the stimuli with several.
#[derive(Debug, Clone)]
pub struct ByGroup {
    /// What each group adds to a subject's score (subjects, groups), see [`crate::encoding::GroupParts::gains`].
    pub gains: Array2<f64>,
    /// Each group's share of what the score is relative to (subjects, groups), see [`crate::encoding::GroupParts::shares`].
    pub shares: Array2<f64>,
    /// Inner squared error of each outer fold, relative to the squares of a target (subjects, folds): what a layer can be
    /// chosen by without the rows of that fold.
    pub inner: Array2<f64>,
    /// The outer fold of each group.
    pub fold: Vec<usize>,
}

binary!(LayerFit { scores, groups, by_group, by_roi, joint });
binary!(ByGroup { gains, shares, inner, fold });

/// What one subject's fit gives to [`ByGroup`].
#[derive(Debug)]
pub struct SubjectParts<'a> {
    /// Its sums by group.
    pub sums: &'a GroupSums,
    /// [`crate::encoding::cv::CvFit::inner_error`] of its targets (its folds, targets).
    pub inner_error: ArrayView2<'a, f64>,
    /// The number that the run gives to each of its folds.
    pub folds: &'a [usize],
    /// Its responses (rows, targets).
    pub y: ArrayView2<'a, f64>,
    /// Its scores.
    pub scores: &'a [TargetScores],
}

impl ByGroup {
    /// For subjects and groups of which nothing is known yet; `fold` is the outer fold of each group.
    pub fn new(subjects: usize, fold: Vec<usize>) -> ByGroup {
        let folds = fold.iter().max().map_or(0, |f| f + 1);
        ByGroup {
            gains: Array2::zeros((subjects, fold.len())),
            shares: Array2::zeros((subjects, fold.len())),
            inner: Array2::from_elem((subjects, folds), f64::NAN),
            fold,
        }
    }

    /// Enters a subject: means over the targets that have a score, all alike or with the `weights` of an ROI; NaN where
    /// there is none.
    pub fn enter(
        &mut self,
        subject: usize,
        of: &SubjectParts<'_>,
        name: ScoreName,
        weights: Option<ArrayView1<'_, f64>>,
    ) {
        let weight = |target: usize| weights.map_or(1.0, |w| w[target]);
        let known: Vec<usize> =
            (0..of.scores.len()).filter(|t| of.scores[*t].get(name).value().is_some() && weight(*t) > 0.0).collect();
        let total: f64 = known.iter().map(|t| weight(*t)).sum();
        let mean = |values: &dyn Fn(usize) -> f64| {
            // Of nothing: 0 / 0.
            known.iter().map(|t| weight(*t) * values(*t)).sum::<f64>() / total
        };
        let parts = of.sums.parts(name);
        for group in 0..parts.gains.nrows() {
            self.gains[[subject, group]] = mean(&|t| parts.gains[[group, t]]);
            self.shares[[subject, group]] = mean(&|t| parts.shares[[group, t]]);
        }
        let squares: Vec<f64> = of.y.columns().into_iter().map(|c| c.var(0.0) * c.len() as f64).collect();
        for (own, fold) in of.folds.iter().enumerate() {
            self.inner[[subject, *fold]] = mean(&|t| of.inner_error[[own, t]] / squares[t]);
        }
    }
}

/// What [`compare_layer`] found in one layer.
#[derive(Debug, Clone, Default)]
pub struct LayerScores {
    pub(super) points: Vec<(String, ScoreName, Point)>,
    pub(super) confound_gains: Vec<Difference>,
    pub(super) layer_differences: Vec<Difference>,
    pub(super) target_differences: Vec<Difference>,
    pub(super) target_means: Vec<TargetMeans>,
}

impl LayerFit {
    /// What intervals are over.
    pub fn unit(&self) -> Unit {
        if self.groups.is_some() { Unit::StimulusGroups } else { Unit::Subjects }
    }

    /// `unique cod` of a subject and target: what features add to the confounds in a joint model.
    pub fn unique(&self, confounds: &LayerFit, subject: usize, target: usize) -> Option<f64> {
        let joint = self.joint.as_ref()?.scores[subject][target].cod.value()?;
        Some(joint - confounds.scores[subject][target].cod.value()?)
    }

    /// Number of units that a bootstrap resamples.
    pub fn n_units(&self) -> usize {
        self.groups.as_ref().map_or(self.scores.len(), GroupSums::groups)
    }

    /// The mean over subjects of the mean over targets: what [`super::Comparison::best_layer`] goes by.
    pub fn mean(&self, name: ScoreName) -> Score {
        let own = weighted_within(&self.matrix(name), &super::units::ones(self));
        let mean = weighted_means(&Array2::ones((1, own.nrows())), &own)[[0, 0]];
        Score::from_nan(mean, self.first_reason(name))
    }

    /// Scores (subjects, targets); NaN where undefined.
    pub(super) fn matrix(&self, name: ScoreName) -> Array2<f64> {
        let targets = self.scores.first().map_or(0, Vec::len);
        Array2::from_shape_fn((self.scores.len(), targets), |(s, t)| self.scores[s][t].get(name).or_nan())
    }

    pub(super) fn first_reason(&self, name: ScoreName) -> Reason {
        self.first_reason_in(name, |_| true)
    }

    /// Why the first target of those that are `wanted` has no score.
    pub(super) fn first_reason_in(&self, name: ScoreName, wanted: impl Fn(usize) -> bool) -> Reason {
        let own = self.scores.iter().flat_map(|all| all.iter().enumerate().filter(|(t, _)| wanted(*t)));
        own.map(|(_, scores)| scores).find_map(|t| t.get(name).reason()).unwrap_or(Reason::NothingDefined)
    }
}

/// Per-target values of one feature space (or of a difference) with their replicates.
pub(super) struct Replicated {
    /// (subjects, targets).
    pub(super) values: Array2<f64>,
    /// (draws, targets) and (units, targets), when the units are stimulus groups; subjects are resampled from `values`.
    groups: Option<(Array2<f64>, Array2<f64>)>,
}

impl Replicated {
    pub(super) fn new(fit: &LayerFit, name: ScoreName, resamples: &Resamples) -> Replicated {
        let values = fit.matrix(name);
        let groups = fit.groups.as_ref().map(|sums| {
            let undefined = |mut m: Array2<f64>| {
                // A target that is undefined as a whole has no replicates either.
                for (t, v) in values.row(0).iter().enumerate() {
                    if v.is_nan() {
                        m.column_mut(t).fill(f64::NAN);
                    }
                }
                m
            };
            (
                undefined(sums.resampled(&resamples.bootstrap, name)),
                undefined(sums.resampled(&resamples.jackknife, name)),
            )
        });
        Replicated { values, groups }
    }

    pub(super) fn minus(&self, other: &Replicated) -> Replicated {
        let groups = match (&self.groups, &other.groups) {
            (Some((a, b)), Some((c, d))) => Some((a - c, b - d)),
            _ => None,
        };
        Replicated { values: &self.values - &other.values, groups }
    }

    /// The mean over targets, as a single column.
    fn averaged(&self) -> Replicated {
        self.weighted(&Array2::ones((1, self.values.ncols())))
    }

    /// Weighted means over targets, a column for each row of `weights` (columns, targets).
    pub(super) fn weighted(&self, weights: &Array2<f64>) -> Replicated {
        self.mapped(|m| weighted_within(m, weights))
    }

    /// One matrix for values and replicates, made from each alike.
    pub(super) fn mapped(&self, of: impl Fn(&Array2<f64>) -> Array2<f64>) -> Replicated {
        Replicated { values: of(&self.values), groups: self.groups.as_ref().map(|(boot, jack)| (of(boot), of(jack))) }
    }

    /// Mean over subjects and interval of every column.
    pub(super) fn intervals(&self, resamples: &Resamples) -> (Array1<f64>, Vec<Option<Interval>>) {
        match &self.groups {
            None => mean_intervals(&self.values, resamples, LEVEL),
            Some((boot, jack)) => {
                let means = self.values.row(0).to_owned();
                let level = expanded(LEVEL, resamples.units());
                let intervals =
                    (0..means.len()).map(|t| bca(means[t], boot.column(t), jack.column(t), level)).collect();
                (means, intervals)
            }
        }
    }
}

/// Mean over subjects of every target's score, and its interval.
pub fn target_means(fit: &LayerFit, name: ScoreName, resamples: &Resamples) -> Vec<(Score, Option<Interval>)> {
    let (means, intervals) = Replicated::new(fit, name, resamples).intervals(resamples);
    let reason = |target: usize| fit.first_reason_in(name, |t| t == target);
    let all = means.iter().enumerate().zip(intervals);
    all.map(|((target, mean), i)| (Score::from_nan(*mean, reason(target)), i)).collect()
}

/// Confidence level of all intervals.
pub const LEVEL: f64 = 0.95;

/// The baseline's mean and interval for every score.
pub fn baselines(fit: &LayerFit, resamples: &Resamples) -> Vec<Baseline> {
    ScoreName::ALL
        .into_iter()
        .map(|score| {
            let (mean, interval) = single(&Replicated::new(fit, score, resamples).averaged(), resamples);
            Baseline { score, mean: Score::from_nan(mean, fit.first_reason(score)), interval }
        })
        .collect()
}

fn single(one: &Replicated, resamples: &Resamples) -> (f64, Option<Interval>) {
    let (means, mut intervals) = one.intervals(resamples);
    (means[0], intervals.pop().flatten())
}

/// Compares the checkpoints that have this layer, each with its base. `fits` holds label and fit of each, `bases` the
/// label of what each is compared with; `baseline` is the confounds-only model.
pub fn compare_layer(
    layer: Layer,
    fits: &[(&str, &LayerFit)],
    bases: &HashMap<String, String>,
    baseline: &LayerFit,
    ranking: ScoreName,
    targets: &[TargetId],
    resamples: &Resamples,
) -> LayerScores {
    let mut out = LayerScores::default();
    let base_of = |i: usize| {
        let base = bases.get(fits[i].0)?;
        fits.iter().position(|(label, _)| label == base).filter(|base| *base != i)
    };
    for score in ScoreName::ALL {
        let replicated = |fit: &LayerFit| Replicated::new(fit, score, resamples);
        let confounds = replicated(baseline);
        // Replicates are many: those of bases are kept, all others go when their checkpoint is done.
        let of_others: BTreeSet<usize> = (0..fits.len()).filter_map(base_of).collect();
        let kept: HashMap<usize, Replicated> = of_others.into_iter().map(|i| (i, replicated(fits[i].1))).collect();
        for (i, (label, fit)) in fits.iter().enumerate() {
            let made;
            let own = match kept.get(&i) {
                Some(own) => own,
                None => {
                    made = replicated(fit);
                    &made
                }
            };
            out.points.push(((*label).to_owned(), score, point(layer, score, fit, own, resamples)));
            let difference = |target: Option<TargetId>, mean: f64, interval, n_subjects| Difference {
                checkpoint: (*label).to_owned(),
                layer,
                target,
                score,
                difference: Score::from_nan(mean, fit.first_reason(score)),
                interval,
                n_subjects,
                inference: Inference::default(),
            };
            let gain = own.minus(&confounds).averaged();
            let (mean, interval) = single(&gain, resamples);
            out.confound_gains.push(difference(None, mean, interval, defined(&gain.values, 0)));
            if score == ranking {
                let means = weighted_means(&Array2::ones((1, own.values.nrows())), &own.values);
                let means = means.row(0).iter().map(|m| Score::from_nan(*m, Reason::NothingDefined)).collect();
                out.target_means.push(TargetMeans { checkpoint: (*label).to_owned(), layer, means });
            }
            let Some(base) = base_of(i) else { continue };
            let paired = own.minus(&kept[&base]);
            let average = paired.averaged();
            let (mean, interval) = single(&average, resamples);
            let mut layer_difference = difference(None, mean, interval, defined(&average.values, 0));
            if score == ranking {
                layer_difference.inference.two_way = both_ways(fit, fits[base].1, resamples);
            }
            out.layer_differences.push(layer_difference);
            let (means, intervals) = paired.intervals(resamples);
            for (t, (mean, interval)) in means.iter().zip(intervals).enumerate() {
                let n = defined(&paired.values, t);
                out.target_differences.push(difference(Some(targets[t].clone()), *mean, interval, n));
            }
        }
    }
    out
}

/// The interval of a difference over subjects and stimulus groups at once.
fn both_ways(of: &LayerFit, from: &LayerFit, resamples: &Resamples) -> Option<Interval> {
    let (of, from) = (of.by_group.as_ref()?, from.by_group.as_ref()?);
    two_way(&(&of.gains - &from.gains), &of.shares, resamples.bootstrap.nrows(), resamples.seed(), LEVEL)
}

/// `unique cod` of a layer averaged over targets; none where the joint model was not fitted.
pub fn unique_cod(
    checkpoint: &str,
    layer: Layer,
    fit: &LayerFit,
    baseline: &LayerFit,
    resamples: &Resamples,
) -> Option<Difference> {
    let joint = Replicated::new(fit.joint.as_deref()?, ScoreName::Cod, resamples);
    let unique = joint.minus(&Replicated::new(baseline, ScoreName::Cod, resamples)).averaged();
    let (mean, interval) = single(&unique, resamples);
    Some(Difference {
        checkpoint: checkpoint.to_owned(),
        layer,
        target: None,
        score: ScoreName::Cod,
        difference: Score::from_nan(mean, fit.first_reason(ScoreName::Cod)),
        interval,
        n_subjects: defined(&unique.values, 0),
        inference: Inference::default(),
    })
}

pub(super) fn defined(values: &Array2<f64>, column: usize) -> usize {
    values.column(column).iter().filter(|v| v.is_finite()).count()
}

fn point(layer: Layer, score: ScoreName, fit: &LayerFit, own: &Replicated, resamples: &Resamples) -> Point {
    let (mean, interval) = single(&own.averaged(), resamples);
    let n_defined = own.values.iter().filter(|v| v.is_finite()).count();
    let edges: Vec<f64> =
        fit.scores.iter().flatten().filter(|t| t.alpha_median.is_some()).map(|t| t.alpha_at_edge).collect();
    Point {
        layer,
        mean: Score::from_nan(mean, fit.first_reason(score)),
        interval,
        n_defined,
        n_undefined: own.values.len() - n_defined,
        share_at_edge: crate::stats::mean(&edges).unwrap_or(0.0),
    }
}

/// Splits a fit over the joined columns of several subjects into one list of targets per subject.
pub fn by_subject(all: Vec<TargetScores>, n_targets: usize) -> Vec<Vec<TargetScores>> {
    all.chunks(n_targets).map(<[TargetScores]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::FoldScore;

    fn target(value: f64) -> TargetScores {
        let score = Score::from_nan(value, Reason::ConstantTarget);
        let per_fold = vec![FoldScore { r: score, cod: score, alpha: 1.0 }];
        TargetScores {
            n: 10,
            cod: score,
            cod_test_mean: score,
            r: score,
            alpha_median: Some(1.0),
            alpha_at_edge: 0.0,
            per_fold,
        }
    }

    fn fit(values: &[[f64; 2]]) -> LayerFit {
        LayerFit {
            scores: values.iter().map(|s| s.iter().map(|v| target(*v)).collect()).collect(),
            groups: None,
            by_group: None,
            by_roi: Vec::new(),
            joint: None,
        }
    }

    fn to(checkpoint: &str, base: &str) -> HashMap<String, String> {
        HashMap::from([(checkpoint.to_owned(), base.to_owned())])
    }

    #[test]
    fn differences_are_paired_and_undefined_targets_drop_out() {
        let base = fit(&[[0.1, 0.3], [0.2, f64::NAN], [0.3, 0.5]]);
        let tuned = fit(&[[0.2, 0.3], [0.3, f64::NAN], [0.4, 0.5]]);
        let confounds = fit(&[[0.0, 0.0], [0.0, f64::NAN], [0.0, 0.0]]);
        let resamples = Resamples::new(3, 200, 0);
        let fits = [("base", &base), ("tuned", &tuned)];
        let targets = ["a".into(), "b".into()];
        let out =
            compare_layer(Layer(2), &fits, &to("tuned", "base"), &confounds, ScoreName::Cod, &targets, &resamples);
        let a = &out.target_differences[0];
        assert!((a.difference.value().unwrap() - 0.1).abs() < 1e-12 && a.n_subjects == 3);
        let (low, high) = a.interval.unwrap();
        assert!((low - 0.1).abs() < 1e-9 && (high - 0.1).abs() < 1e-9, "every subject gains 0.1: {low} {high}");
        let b = &out.target_differences[1];
        assert_eq!((b.difference, b.n_subjects), (Score::Value(0.0), 2));
        let point = &out.points[0].2;
        assert_eq!((point.n_defined, point.n_undefined), (5, 1));
        // Subject means: 0.2, 0.2, 0.4.
        assert!((point.mean.value().unwrap() - 0.8 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_checkpoint_against_itself_differs_by_exactly_nothing() {
        let same = fit(&[[0.1, 0.3], [0.2, 0.1], [0.3, 0.5], [0.25, 0.4]]);
        let resamples = Resamples::new(4, 100, 0);
        let fits = [("a", &same), ("b", &same)];
        let targets = ["a".into(), "b".into()];
        let out = compare_layer(Layer(0), &fits, &to("b", "a"), &same, ScoreName::R, &targets, &resamples);
        assert!(
            out.layer_differences.iter().all(|d| d.difference == Score::Value(0.0) && d.interval == Some((0.0, 0.0)))
        );
        assert!(out.confound_gains.iter().all(|d| d.difference == Score::Value(0.0)));
    }
}
