//! The best layer without its optimism, and where in the network the scores lie.
//!
//! A layer that is chosen as the best on the data that scores it is scored too well. Here it is chosen for each subject and
//! outer fold by the smallest inner squared error (that of the inner folds, which alpha is chosen by, too): of the other
//! subjects, or, with one subject, of itself. What the chosen layers then score, on subjects and rows that had no say, is
//! the nested score. The naive maximum stands beside it, and their difference: the optimism.
//!
//! The scores of the other outer folds would not do: their models were trained on the rows of this one, and share its
//! chance agreements. Nor would the scores of the other subjects on the same rows, where responses have noise in common.
//!
//! Where the scores lie is their centre of mass over relative depth, Σ depth·s / Σ s with s the score above 0, from 0
//! (embedding output) to 1 (last layer). Source of the latter: Tenney, Das & Pavlick, ACL 2019 ("center of gravity").

use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

use super::inference::{Fits, Inference, Power, tests};
use super::layer::LEVEL;
use super::units::{beside, ones, predicts};
use super::{ByGroup, Comparison, LayerFit};
use crate::encoding::{Reason, Score, ScoreName};
use crate::ids::Layer;
use crate::stats::bootstrap::{Interval, Resamples, bca, expanded, weighted_means, weighted_within};
use crate::stats::flips::{SignFlips, sign_flip_test};
use crate::stats::paired::Sample;

/// A checkpoint's best layer, chosen on other data than it is scored on, in the ranking score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NestedBest {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Layers chosen, and for how many pairs of subject and outer fold each was; the most frequent first.
    pub chosen: Vec<(Layer, usize)>,
    /// The score of the chosen layers on the subjects and folds that had no say in the choice.
    pub nested: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// The nested score of each subject; empty with one subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Option<f64>>,
    /// Standard deviation of the nested score over subjects; none with one subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// The highest mean over the layers: chosen and scored on the same data.
    pub naive: Score,
    /// By how much that is better than the nested score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimism: Option<f64>,
    /// Where the scores lie: centre of mass over relative depth, 0 to 1.
    pub centre: Score,
    /// Its interval.
    pub centre_interval: Option<Interval>,
}

/// Nested best layers compared: checkpoint − its base, in the ranking score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestDifference {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// The difference of the nested scores.
    pub difference: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// What the tests say of it: p of this difference alone, p_fwe corrected for all checkpoints that have a base.
    #[serde(default)]
    pub inference: Inference,
}

/// Centres of mass compared: checkpoint − its base, in relative depth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileDifference {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Above 0: the checkpoint's scores lie deeper.
    pub difference: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Two-sided sign-flip p; with one subject only where both checkpoints have the same layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
}

/// The ranking score over the layers of one checkpoint, averaged over targets.
pub(super) struct Profile {
    layers: Vec<Layer>,
    /// (units, layers): values whose mean over units is the score less `offset`.
    pub(super) values: Array2<f64>,
    /// With one subject: each group's share of what the score is relative to, times their number.
    groups: Option<Array1<f64>>,
    offset: f64,
}

impl Profile {
    fn of(layers: &[(Layer, LayerFit)], score: ScoreName, units: usize, weights: &Array2<f64>) -> Profile {
        let columns: Vec<Array2<f64>> =
            layers.iter().map(|(_, fit)| weighted_within(&fit.per_unit(score), weights)).collect();
        let first = layers.first().and_then(|(_, fit)| fit.groups.as_ref());
        let shares = first.map(|sums| weighted_within(&sums.parts(score).shares, weights));
        let groups = shares.map(|s| s.column(0).mapv(|s| s * units as f64));
        Profile {
            layers: layers.iter().map(|(layer, _)| *layer).collect(),
            values: beside(&columns, units),
            offset: if first.is_some() && score != ScoreName::R { 1.0 } else { 0.0 },
            groups,
        }
    }

    /// The score of every layer under weights of the units (resamples, units) → (resamples, layers).
    pub(super) fn resampled(&self, weights: &Array2<f64>) -> Array2<f64> {
        let Some(shares) = &self.groups else { return weighted_means(weights, &self.values) };
        let mut scores = weights.dot(&self.values);
        let mass = weights.dot(shares);
        for (mut row, mass) in scores.rows_mut().into_iter().zip(&mass) {
            row.mapv_inplace(|v| if *mass > 0.0 { self.offset + v / mass } else { f64::NAN });
        }
        scores
    }

    /// Whether the first column is a score above 0 as [`predicts`] has it; true with several subjects.
    pub(super) fn predicts(&self) -> bool {
        let n = self.values.nrows() as f64;
        self.groups
            .as_ref()
            .is_none_or(|shares| predicts((&self.values.column(0) / n).view(), (shares / n).view(), self.offset))
    }

    /// The same profile with one column instead of its layers.
    fn with(&self, column: Array2<f64>) -> Profile {
        Profile { layers: Vec::new(), values: column, groups: self.groups.clone(), offset: self.offset }
    }

    /// One score per subject.
    #[cfg(test)]
    pub(super) fn column(values: Array2<f64>) -> Profile {
        Profile { layers: Vec::new(), values, groups: None, offset: 0.0 }
    }

    fn depth(&self) -> Vec<f64> {
        let last = self.layers.last().map_or(0, |l| l.0);
        self.layers.iter().map(|l| if last == 0 { 0.0 } else { l.0 as f64 / last as f64 }).collect()
    }

    /// The centre of mass of each row of scores (rows, layers); NaN where no score is above 0.
    fn centres(&self, scores: &Array2<f64>) -> Array1<f64> {
        let depth = self.depth();
        scores.rows().into_iter().map(|row| centre(row.iter().copied(), &depth)).collect()
    }
}

/// Σ depth·s / Σ s over the scores above 0; NaN where there is none.
fn centre(scores: impl Iterator<Item = f64>, depth: &[f64]) -> f64 {
    let (mut sum, mut mass) = (0.0, 0.0);
    for (s, d) in scores.zip(depth).filter(|(s, _)| s.is_finite() && *s > 0.0) {
        sum += s * d;
        mass += s;
    }
    if mass > 0.0 { sum / mass } else { f64::NAN }
}

/// The first place of the highest finite value.
fn highest(values: impl Iterator<Item = f64>) -> Option<usize> {
    values
        .enumerate()
        .filter(|(_, v)| v.is_finite())
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|b| b.0)
}

/// The layer chosen for each subject and outer fold (subjects, folds), and each unit's value at these layers (units, 1).
struct Nested {
    choices: Array2<Option<usize>>,
    values: Array2<f64>,
}

impl Nested {
    fn of(layers: &[(Layer, LayerFit)], score: ScoreName, roi: Option<usize>) -> Option<Nested> {
        let parts: Vec<&ByGroup> = layers
            .iter()
            .map(|(_, fit)| match roi {
                Some(roi) => fit.by_roi.get(roi),
                None => fit.by_group.as_ref(),
            })
            .collect::<Option<_>>()?;
        let (subjects, folds) = parts.first()?.inner.dim();
        let choices = Array2::from_shape_fn((subjects, folds), |(s, f)| {
            let others = |s: usize| (0..subjects).filter(move |other| subjects == 1 || *other != s);
            let errors = parts.iter().map(|p| {
                let known: Vec<f64> = others(s).map(|o| p.inner[[o, f]]).filter(|v| v.is_finite()).collect();
                -crate::stats::mean(&known).unwrap_or(f64::NAN)
            });
            highest(errors)
        });
        let at =
            |s: usize, g: usize| choices[[s, parts[0].fold[g]]].map_or(f64::NAN, |layer| parts[layer].gains[[s, g]]);
        let groups = parts[0].fold.len();
        let values = if subjects == 1 {
            Array2::from_shape_fn((groups, 1), |(g, _)| at(0, g) * groups as f64)
        } else {
            // Groups that a subject did not see add nothing, whatever would have been chosen there.
            let seen = |s: usize, g: usize| parts[0].shares[[s, g]] != 0.0;
            let offset = if score == ScoreName::R { 0.0 } else { 1.0 };
            Array2::from_shape_fn((subjects, 1), |(s, _)| {
                offset + (0..groups).filter(|g| seen(s, *g)).map(|g| at(s, g)).sum::<f64>()
            })
        };
        Some(Nested { choices, values })
    }

    /// How often each layer was chosen.
    fn counts(&self, layers: &[Layer]) -> Vec<(Layer, usize)> {
        let count = |at: usize| self.choices.iter().filter(|c| **c == Some(at)).count();
        let mut counts: Vec<(Layer, usize)> =
            layers.iter().enumerate().map(|(at, layer)| (*layer, count(at))).filter(|(_, n)| *n > 0).collect();
        counts.sort_by_key(|(layer, n)| (std::cmp::Reverse(*n), *layer));
        counts
    }
}

/// Each unit's value at the layers chosen without it, a column (units, 1) per checkpoint.
pub(super) fn nested_values(fits: &[Fits<'_>], score: ScoreName, units: usize) -> Vec<Array2<f64>> {
    let values = |layers: &[(Layer, LayerFit)]| Nested::of(layers, score, None).map(|n| n.values);
    fits.iter().map(|(_, layers)| values(layers).unwrap_or_else(|| Array2::from_elem((units, 1), f64::NAN))).collect()
}

/// A statistic of weights over units, with its BCa interval.
pub(super) fn replicated(
    resamples: &Resamples,
    statistic: impl Fn(&Array2<f64>) -> Array1<f64>,
) -> (f64, Option<Interval>) {
    let value = statistic(&Array2::ones((1, resamples.units())))[0];
    let (boot, jack) = (statistic(&resamples.bootstrap), statistic(&resamples.jackknife));
    (value, bca(value, boot.view(), jack.view(), expanded(LEVEL, resamples.units())))
}

/// The layers of a checkpoint, and the one chosen among them without the data that it is scored on; of the mean over
/// targets, or of an ROI.
pub(super) struct Choice {
    /// How often each layer was chosen.
    pub chosen: Vec<(Layer, usize)>,
    profile: Profile,
    column: Profile,
}

impl Choice {
    /// `weights` (1, targets) are those of the mean, or of ROI number `roi`.
    pub fn of(
        layers: &[(Layer, LayerFit)],
        score: ScoreName,
        units: usize,
        weights: &Array2<f64>,
        roi: Option<usize>,
    ) -> Choice {
        let profile = Profile::of(layers, score, units, weights);
        let (chosen, values) = match Nested::of(layers, score, roi) {
            Some(nested) => (nested.counts(&profile.layers), nested.values),
            None => (Vec::new(), Array2::from_elem((units, 1), f64::NAN)),
        };
        let column = profile.with(values);
        Choice { chosen, profile, column }
    }

    /// The nested score and its interval.
    pub fn score(&self, resamples: &Resamples) -> (f64, Option<Interval>) {
        replicated(resamples, |w| self.column.resampled(w).column(0).to_owned())
    }

    /// The same with nested scores that are known from a finished run.
    fn with(mut self, known: Array2<f64>) -> Choice {
        self.column.values = known;
        self
    }

    /// The nested score of each subject; nothing with one subject.
    fn subjects(&self) -> Vec<Option<f64>> {
        let several = self.column.groups.is_none();
        self.column.values.iter().filter(|_| several).map(|v| Some(*v).filter(|v| v.is_finite())).collect()
    }

    /// Standard deviation of the subjects' nested scores; none with one subject.
    pub fn sd(&self) -> Option<f64> {
        let several = self.column.groups.is_none();
        several.then(|| Sample::of(&self.column.values).map(|s| s.sd)).flatten()
    }

    /// The highest mean over the layers.
    pub fn naive(&self) -> f64 {
        let means = self.profile.resampled(&Array2::ones((1, self.profile.values.nrows())));
        highest(means.iter().copied()).map_or(f64::NAN, |at| means[[0, at]])
    }

    /// Per-unit differences to another checkpoint's choice (units, 1); with one subject, NaN where neither predicts.
    pub fn paired(&self, base: &Choice) -> Array2<f64> {
        let paired = &self.column.values - &base.column.values;
        if self.column.predicts() || base.column.predicts() { paired } else { paired * f64::NAN }
    }

    /// The difference of the nested scores under weights of the units.
    pub fn difference(&self, base: &Choice, weights: &Array2<f64>) -> Array1<f64> {
        match &self.column.groups {
            None => {
                let paired = &self.column.values - &base.column.values;
                weighted_means(weights, &paired).column(0).to_owned()
            }
            Some(_) => &self.column.resampled(weights).column(0) - &base.column.resampled(weights).column(0),
        }
    }
}

impl Comparison {
    /// Chooses best layers and finds centres of mass, in the ranking score. `fits` holds all checkpoints.
    pub(super) fn choose(&mut self, fits: &[Fits<'_>], flips: &SignFlips, power: &mut Power, resamples: &Resamples) {
        let choices: Vec<Choice> = fits
            .iter()
            .map(|(label, layers)| {
                let weights = layers.first().map_or(Array2::ones((1, 0)), |(_, fit)| ones(fit));
                let choice = Choice::of(layers, self.score, self.n_units, &weights, None);
                match self.known(label) {
                    Some(known) => choice.with(known),
                    None => choice,
                }
            })
            .collect();
        let undefined = |value| Score::from_nan(value, Reason::NothingDefined);
        for ((label, _), choice) in fits.iter().zip(&choices) {
            if self.best_layers.iter().any(|b| b.checkpoint == *label) {
                continue;
            }
            let (score, interval) = choice.score(resamples);
            let naive = choice.naive();
            let (middle, middle_interval) = self.centre(&choice.profile, resamples);
            self.best_layers.push(NestedBest {
                checkpoint: (*label).to_owned(),
                chosen: choice.chosen.clone(),
                nested: undefined(score),
                interval,
                subjects: choice.subjects(),
                sd: choice.sd(),
                naive: undefined(naive),
                optimism: Some(naive - score).filter(|o| o.is_finite()),
                centre: undefined(middle),
                centre_interval: middle_interval,
            });
        }
        let pairs = self.pairs(fits);
        // Without a test there is no place in the family either.
        let paired: Vec<Array2<f64>> = pairs.iter().map(|(of, base)| choices[*of].paired(&choices[*base])).collect();
        let tested = tests(&beside(&paired, self.n_units), flips, power);
        for ((of, base), inference) in pairs.into_iter().zip(tested) {
            let (choice, base) = (&choices[of], &choices[base]);
            let (difference, interval) = replicated(resamples, |w| choice.difference(base, w));
            self.best_differences.push(BestDifference {
                checkpoint: fits[of].0.to_owned(),
                difference: undefined(difference),
                interval,
                inference,
            });
            let (difference, interval, p) = self.shift(&choice.profile, &base.profile, flips, resamples);
            self.profile_differences.push(ProfileDifference {
                checkpoint: fits[of].0.to_owned(),
                difference: undefined(difference),
                interval,
                p,
            });
        }
        let columns: Vec<(&str, &Profile)> = fits.iter().map(|f| f.0).zip(choices.iter().map(|c| &c.column)).collect();
        self.trends(&columns, flips, power, resamples);
    }

    /// The nested scores of a checkpoint whose best layers are known from a finished run.
    fn known(&self, checkpoint: &str) -> Option<Array2<f64>> {
        let best = self.best_layers.iter().find(|b| b.checkpoint == checkpoint)?;
        let values: Vec<f64> = best.subjects.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        Some(Array2::from_shape_fn((self.n_units, 1), |(s, _)| values.get(s).copied().unwrap_or(f64::NAN)))
    }

    /// The centre of mass, averaged over subjects or that of the one subject.
    fn centre(&self, profile: &Profile, resamples: &Resamples) -> (f64, Option<Interval>) {
        if profile.groups.is_some() {
            return replicated(resamples, |w| profile.centres(&profile.resampled(w)));
        }
        let each = profile.centres(&profile.values).insert_axis(Axis(1));
        replicated(resamples, |w| weighted_means(w, &each).column(0).to_owned())
    }

    /// The difference of two centres of mass, its interval, and p.
    fn shift(
        &self,
        profile: &Profile,
        base: &Profile,
        flips: &SignFlips,
        resamples: &Resamples,
    ) -> (f64, Option<Interval>, Option<f64>) {
        if profile.groups.is_none() {
            let paired = (profile.centres(&profile.values) - base.centres(&base.values)).insert_axis(Axis(1));
            let (difference, interval) = replicated(resamples, |w| weighted_means(w, &paired).column(0).to_owned());
            let test = sign_flip_test(paired.view(), flips).pop().flatten();
            return (difference, interval, test.map(|t| t.p));
        }
        let of = |w: &Array2<f64>| profile.centres(&profile.resampled(w)) - base.centres(&base.resampled(w));
        let (difference, interval) = replicated(resamples, of);
        if profile.layers != base.layers || !difference.is_finite() {
            return (difference, interval, None);
        }
        // Swapping the checkpoints' contributions of a group, in all layers at once.
        let n = self.n_units as f64;
        let middle = (&profile.values + &base.values).sum_axis(Axis(0)) / (2.0 * n) + profile.offset;
        let half = (&profile.values - &base.values) / (2.0 * n);
        let reached = flips.count_where(|signs| {
            let moved = signs.dot(&half);
            let swapped = profile.centres(&(&middle + &moved)) - base.centres(&(&middle - &moved));
            // A pattern without a positive score in either has no difference to speak of.
            swapped.iter().filter(|d| d.abs() >= difference.abs() - 1e-12).count()
        });
        (difference, interval, Some((reached + 1) as f64 / (flips.count() + 1) as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(values: Array2<f64>) -> Profile {
        Profile { layers: (0..values.ncols()).map(Layer).collect(), values, groups: None, offset: 0.0 }
    }

    /// Layers with these inner errors (subjects, folds), one group per fold; layer l adds l + 1 in every group.
    fn nested(inner: Vec<Array2<f64>>) -> Nested {
        let (subjects, folds) = inner[0].dim();
        let layers: Vec<(Layer, LayerFit)> = inner
            .into_iter()
            .enumerate()
            .map(|(l, inner)| {
                let by_group = ByGroup {
                    gains: Array2::from_elem((subjects, folds), (l + 1) as f64),
                    shares: Array2::from_elem((subjects, folds), 1.0 / folds as f64),
                    inner,
                    fold: (0..folds).collect(),
                };
                let fit = LayerFit {
                    scores: Vec::new(),
                    groups: None,
                    by_group: Some(by_group),
                    by_roi: Vec::new(),
                    joint: None,
                };
                (Layer(l), fit)
            })
            .collect();
        Nested::of(&layers, ScoreName::R, None).unwrap()
    }

    #[test]
    fn a_subject_has_no_say_in_its_own_layer() {
        // Subject 2 alone likes layer 0, very much: the mean would choose it, the others do not.
        let of_layer = |errors: [f64; 4]| Array2::from_shape_fn((4, 3), |(s, _)| errors[s]);
        let n = nested(vec![of_layer([0.9, 0.9, 0.1, 0.9]), of_layer([0.8, 0.8, 0.9, 0.8])]);
        assert_eq!(n.choices.column(0).to_vec(), [Some(0), Some(0), Some(1), Some(0)]);
        assert_eq!(n.values.column(0).to_vec(), [3.0, 3.0, 6.0, 3.0]);
        assert_eq!(n.counts(&[Layer(0), Layer(1)]), [(Layer(0), 9), (Layer(1), 3)]);
    }

    #[test]
    fn one_subject_chooses_for_each_fold_by_its_inner_error() {
        let n = nested(vec![ndarray::array![[0.2, 0.9]], ndarray::array![[0.3, 0.1]]]);
        assert_eq!(n.choices.row(0).to_vec(), [Some(0), Some(1)]);
        // Times the number of groups, so that the mean is the score.
        assert_eq!(n.values.column(0).to_vec(), [2.0, 4.0]);
    }

    #[test]
    fn the_centre_lies_where_the_scores_do() {
        let p = profile(ndarray::array![[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [-1.0, -2.0, -0.5], [-5.0, 2.0, 0.0]]);
        let centres = p.centres(&p.values);
        assert_eq!((centres[0], centres[1], centres[3]), (1.0, 0.5, 0.5));
        assert!(centres[2].is_nan(), "no score above 0, no centre");
    }
}
