//! The comparison by region of interest: scores, baselines and ceilings per ROI, paired differences tested over the
//! family of ROIs, and differences of differences, which say whether an effect is larger in one ROI than in another.
//!
//! An ROI's score is a weighted mean over targets ([`crate::roi`]), so that whatever is linear in targets (subjects'
//! scores, bootstrap replicates, what a stimulus group adds) is multiplied by one matrix.

use std::sync::Arc;

use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

use super::best::{Choice, replicated};
use super::inference::{Fits, Inference, Power, Settings, tests};
use super::layer::{LayerFit, Replicated, defined};
use super::units::{beside, weighted_differences};
use super::{Ceiling, Comparison};
use crate::encoding::ceiling::CeilingKind;
use crate::encoding::{Reason, Score, ScoreName};
use crate::ids::Layer;
use crate::roi::{Overlap, RoiInfo, Rois};
use crate::stats::bootstrap::{Interval, Resamples, weighted_means};
use crate::stats::flips::SignFlips;
use crate::stats::paired::Sample;
use crate::stats::permuter::Permuter;

/// The results per ROI.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoiResults {
    /// The ROIs.
    pub rois: Vec<RoiInfo>,
    /// What each pair of them has in common.
    pub overlaps: Vec<Overlap>,
    /// Their weights over the run's targets, row by row; rows sum to 1.
    pub matrix: Vec<Vec<f64>>,
    /// Scores per checkpoint, layer, ROI and score.
    pub points: Vec<RoiPoint>,
    /// Scores of the models that every checkpoint must beat.
    pub baselines: Vec<RoiBaseline>,
    /// How well anything could predict an ROI.
    pub ceilings: Vec<RoiCeiling>,
    /// Best layers per checkpoint and ROI, chosen on other data than they are scored on.
    pub best: Vec<RoiBest>,
    /// Difference to the confounds-only model per checkpoint, layer and ROI.
    pub confound_gains: Vec<RoiDifference>,
    /// `unique cod` per ROI, where it was computed.
    pub unique_cod: Vec<RoiDifference>,
    /// Difference to its base per checkpoint, layer (none: each at its own nested best layer) and ROI.
    pub differences: Vec<RoiDifference>,
    /// Difference of two ROIs' differences to the base, for the declared pairs.
    pub contrasts: Vec<RoiDifference>,
}

/// An ROI's score in one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoiPoint {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Name of the ROI.
    pub roi: String,
    /// The layer.
    pub layer: Layer,
    /// Which score.
    pub score: ScoreName,
    /// Mean over subjects.
    pub mean: Score,
    /// Standard deviation over subjects (divisor n − 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Subjects with a score.
    pub n_defined: usize,
    /// Mean over subjects of the share of the ROI's weight that lies in targets with a score.
    pub weight_defined: f64,
}

/// A baseline in an ROI: one number for all layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoiBaseline {
    /// `confounds` or `oasm`.
    pub baseline: String,
    /// Name of the ROI.
    pub roi: String,
    /// Which score.
    pub score: ScoreName,
    /// Mean over subjects.
    pub mean: Score,
    /// Its interval.
    pub interval: Option<Interval>,
}

/// A ceiling of an ROI: the weighted mean of its targets' ceilings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoiCeiling {
    /// Name of the ROI.
    pub roi: String,
    /// Which kind.
    pub kind: CeilingKind,
    /// Its unit.
    pub score: ScoreName,
    /// Mean over subjects.
    pub mean: Score,
    /// Its interval.
    pub interval: Option<Interval>,
}

/// A checkpoint's best layer in an ROI, chosen on other data than it is scored on, in the ranking score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoiBest {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Name of the ROI.
    pub roi: String,
    /// Layers chosen, and how often; the most frequent first.
    pub chosen: Vec<(Layer, usize)>,
    /// The score of the chosen layers where they were not chosen.
    pub nested: Score,
    /// Standard deviation over subjects (divisor n − 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// Interval of the nested score.
    pub interval: Option<Interval>,
    /// The highest mean over the layers.
    pub naive: Score,
}

/// A paired difference in an ROI; with `versus`, less that in another ROI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoiDifference {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Name of the ROI.
    pub roi: String,
    /// The ROI whose difference is subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versus: Option<String>,
    /// The layer of both checkpoints; none where each is at its own nested best layer in the ROI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// Which score.
    pub score: ScoreName,
    /// Mean over subjects.
    pub difference: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Subjects in whom it is defined.
    pub n_subjects: usize,
    /// Each subject's difference, where the layer is the nested best; empty with one subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Option<f64>>,
    /// What the tests say of it. The family of p_fwe: the ROIs (or contrasts) of this checkpoint and score; for single
    /// layers, its layers × ROIs.
    #[serde(default)]
    pub inference: Inference,
}

impl RoiResults {
    /// Number of members of the family that a difference (or contrast) belongs to.
    pub fn family(&self, of: &RoiDifference) -> usize {
        let all = if of.versus.is_some() { &self.contrasts } else { &self.differences };
        let same = |d: &&RoiDifference| {
            d.checkpoint == of.checkpoint && d.score == of.score && d.layer.is_some() == of.layer.is_some()
        };
        all.iter().filter(same).count()
    }
}

/// What is being put together.
struct Builder<'a> {
    rois: &'a Rois,
    names: Vec<String>,
    /// (ROIs, targets).
    rows: &'a Array2<f64>,
    units: usize,
    subjects: usize,
    flips: SignFlips,
    power: Power,
    resamples: &'a Resamples,
    found: RoiResults,
}

impl Comparison {
    /// Adds the results per ROI. `fits` holds all checkpoints; `permuter` may tally the permutations.
    pub fn add_rois(
        &mut self,
        rois: &Rois,
        fits: &[Fits<'_>],
        [confounds, oasm]: [&LayerFit; 2],
        settings: &Settings,
        permuter: Option<Arc<dyn Permuter>>,
        resamples: &Resamples,
    ) {
        let rows = rois.matrix.rows();
        let mut builder = Builder {
            rois,
            names: rois.names(),
            rows,
            units: self.n_units,
            subjects: self.n_subjects,
            flips: SignFlips::new(self.n_units, settings.permutations, settings.seed).on(permuter),
            power: Power::new(settings.margin),
            resamples,
            found: RoiResults {
                rois: rois.list.clone(),
                overlaps: rois.overlaps.clone(),
                matrix: rows.rows().into_iter().map(|row| row.to_vec()).collect(),
                ceilings: roi_ceilings(&rois.names(), &self.ceilings),
                ..RoiResults::default()
            },
        };
        for score in ScoreName::ALL {
            builder.baseline("confounds", confounds, score);
            builder.baseline("oasm", oasm, score);
            for (label, layers) in fits {
                builder.points(label, layers, confounds, score);
            }
            for (of, base) in self.pairs(fits) {
                builder.differences(fits[of].0, fits[of].1, fits[base].1, score);
            }
        }
        builder.nested(fits, &self.pairs(fits), self.score);
        self.rois = Some(builder.found);
    }
}

fn roi_ceilings(names: &[String], all: &[Ceiling]) -> Vec<RoiCeiling> {
    let of = |c: &'_ Ceiling| -> Vec<RoiCeiling> {
        let each = names.iter().zip(&c.rois);
        each.map(|(roi, (mean, interval))| RoiCeiling {
            roi: roi.clone(),
            kind: c.kind,
            score: c.score,
            mean: *mean,
            interval: *interval,
        })
        .collect()
    };
    all.iter().flat_map(of).collect()
}

impl Builder<'_> {
    fn baseline(&mut self, name: &str, fit: &LayerFit, score: ScoreName) {
        let (means, intervals) =
            Replicated::new(fit, score, self.resamples).weighted(self.rows).intervals(self.resamples);
        for (r, ((roi, mean), interval)) in self.names.iter().zip(&means).zip(intervals).enumerate() {
            self.found.baselines.push(RoiBaseline {
                baseline: name.to_owned(),
                roi: roi.clone(),
                score,
                mean: Score::from_nan(*mean, fit.first_reason_in(score, |t| self.rows[[r, t]] > 0.0)),
                interval,
            });
        }
    }

    /// Scores, gains over the confounds and unique cod of one checkpoint.
    fn points(&mut self, label: &str, layers: &[(Layer, LayerFit)], confounds: &LayerFit, score: ScoreName) {
        let baseline = Replicated::new(confounds, score, self.resamples);
        let (mut gains, mut unique) = (Vec::new(), Vec::new());
        let (first_gain, first_unique) = (self.found.confound_gains.len(), self.found.unique_cod.len());
        for (layer, fit) in layers {
            let own = Replicated::new(fit, score, self.resamples);
            let share = self.rois.matrix.defined(&own.values);
            let in_rois = own.weighted(self.rows);
            let (means, intervals) = in_rois.intervals(self.resamples);
            for (r, interval) in intervals.into_iter().enumerate() {
                self.found.points.push(RoiPoint {
                    checkpoint: label.to_owned(),
                    roi: self.names[r].clone(),
                    layer: *layer,
                    score,
                    mean: Score::from_nan(means[r], fit.first_reason_in(score, |t| self.rows[[r, t]] > 0.0)),
                    sd: Sample::of(in_rois.values.column(r)).map(|s| s.sd),
                    interval,
                    n_defined: defined(&in_rois.values, r),
                    weight_defined: share.column(r).mean().unwrap_or(0.0),
                });
            }
            let gain = own.minus(&baseline).weighted(self.rows);
            let made = self.made(label, Some(*layer), score, &gain, fit.first_reason(score), None);
            self.found.confound_gains.extend(made);
            gains.push(weighted_differences(fit, confounds, score, self.rows));
            if let Some(joint) = fit.joint.as_deref().filter(|_| score == ScoreName::Cod) {
                let more = Replicated::new(joint, score, self.resamples).minus(&baseline).weighted(self.rows);
                let made = self.made(label, Some(*layer), score, &more, joint.first_reason(score), None);
                self.found.unique_cod.extend(made);
                unique.push(weighted_differences(joint, confounds, score, self.rows));
            }
        }
        let tested = self.tested(&gains);
        assign(&mut self.found.confound_gains[first_gain..], tested);
        let tested = self.tested(&unique);
        assign(&mut self.found.unique_cod[first_unique..], tested);
    }

    /// Differences of one checkpoint to its base, layer by layer, and contrasts of ROIs.
    fn differences(&mut self, label: &str, layers: &[(Layer, LayerFit)], base: &[(Layer, LayerFit)], score: ScoreName) {
        let pairs: Vec<(Layer, &LayerFit, &LayerFit)> = layers
            .iter()
            .filter_map(|(layer, fit)| Some((*layer, fit, &base.iter().find(|(l, _)| l == layer)?.1)))
            .collect();
        let (mut columns, mut contrasted) = (Vec::new(), Vec::new());
        let (first, first_contrast) = (self.found.differences.len(), self.found.contrasts.len());
        for (layer, fit, from) in &pairs {
            let paired = Replicated::new(fit, score, self.resamples)
                .minus(&Replicated::new(from, score, self.resamples))
                .weighted(self.rows);
            let reason = fit.first_reason(score);
            let made = self.made(label, Some(*layer), score, &paired, reason, None);
            self.found.differences.extend(made);
            let against = paired.mapped(|m| self.contrast(m));
            let made = self.made(label, Some(*layer), score, &against, reason, Some(&self.rois.contrasts));
            self.found.contrasts.extend(made);
            let values = weighted_differences(fit, from, score, self.rows);
            contrasted.push(self.contrast(&values));
            columns.push(values);
        }
        let tested = self.tested(&columns);
        assign(&mut self.found.differences[first..], tested);
        let tested = self.tested(&contrasted);
        assign(&mut self.found.contrasts[first_contrast..], tested);
    }

    /// Each checkpoint at its own best layer in each ROI: one difference per ROI.
    fn nested(&mut self, fits: &[Fits<'_>], pairs: &[(usize, usize)], score: ScoreName) {
        let choices: Vec<Vec<Choice>> = fits
            .iter()
            .map(|(_, layers)| {
                let of = |r: usize| {
                    let row = self.rows.select(Axis(0), &[r]);
                    Choice::of(layers, score, self.units, &row, Some(r))
                };
                (0..self.names.len()).map(of).collect()
            })
            .collect();
        let undefined = |value| Score::from_nan(value, Reason::NothingDefined);
        for ((label, _), own) in fits.iter().zip(&choices) {
            for (roi, choice) in self.names.iter().zip(own) {
                let (nested, interval) = choice.score(self.resamples);
                self.found.best.push(RoiBest {
                    checkpoint: (*label).to_owned(),
                    roi: roi.clone(),
                    chosen: choice.chosen.clone(),
                    nested: undefined(nested),
                    sd: choice.sd(),
                    interval,
                    naive: undefined(choice.naive()),
                });
            }
        }
        for (of, base) in pairs {
            let (label, own, base) = (fits[*of].0, &choices[*of], &choices[*base]);
            let paired: Vec<Array2<f64>> = own.iter().zip(base).map(|(a, b)| a.paired(b)).collect();
            let paired = beside(&paired, self.units);
            let of = |r: usize, w: &Array2<f64>| own[r].difference(&base[r], w);
            let each = (0..self.names.len()).map(|r| replicated(self.resamples, |w| of(r, w)));
            let made = self.of_choices(label, score, &paired, each.collect(), None);
            self.found.differences.extend(made);
            let values = self.contrast(&paired);
            let one_unit = self.subjects == 1;
            let each = self.rois.contrasts.iter().enumerate().map(|(c, (a, b))| {
                replicated(self.resamples, |w| match one_unit {
                    true => of(*a, w) - of(*b, w),
                    // Only subjects that have both.
                    false => weighted_means(w, &values.select(Axis(1), &[c])).column(0).to_owned(),
                })
            });
            let made = self.of_choices(label, score, &values, each.collect(), Some(&self.rois.contrasts));
            self.found.contrasts.extend(made);
        }
    }

    fn of_choices(
        &mut self,
        label: &str,
        score: ScoreName,
        values: &Array2<f64>,
        each: Vec<(f64, Option<Interval>)>,
        pairs: Option<&[(usize, usize)]>,
    ) -> Vec<RoiDifference> {
        let inference = tests(values, &self.flips, &mut self.power);
        each.into_iter()
            .zip(inference)
            .enumerate()
            .map(|(column, ((difference, interval), inference))| {
                let one = self.one(label, None, score, column, pairs);
                let n = if self.subjects > 1 { defined(values, column) } else { usize::from(difference.is_finite()) };
                let known = |v: &f64| Some(*v).filter(|v| v.is_finite());
                let subjects = match self.subjects {
                    1 => Vec::new(),
                    _ => values.column(column).iter().map(known).collect(),
                };
                let difference = Score::from_nan(difference, Reason::NothingDefined);
                RoiDifference { difference, interval, n_subjects: n, subjects, inference, ..one }
            })
            .collect()
    }

    /// Differences with their intervals, a column each; not yet tested.
    fn made(
        &self,
        label: &str,
        layer: Option<Layer>,
        score: ScoreName,
        of: &Replicated,
        reason: Reason,
        pairs: Option<&[(usize, usize)]>,
    ) -> Vec<RoiDifference> {
        let (means, intervals) = of.intervals(self.resamples);
        let each = means.iter().zip(intervals).enumerate();
        each.map(|(column, (mean, interval))| RoiDifference {
            difference: Score::from_nan(*mean, reason),
            interval,
            n_subjects: defined(&of.values, column),
            ..self.one(label, layer, score, column, pairs)
        })
        .collect()
    }

    fn one(
        &self,
        label: &str,
        layer: Option<Layer>,
        score: ScoreName,
        column: usize,
        pairs: Option<&[(usize, usize)]>,
    ) -> RoiDifference {
        let (roi, versus) = match pairs {
            Some(pairs) => (pairs[column].0, Some(pairs[column].1)),
            None => (column, None),
        };
        RoiDifference {
            checkpoint: label.to_owned(),
            roi: self.names[roi].clone(),
            versus: versus.map(|v| self.names[v].clone()),
            layer,
            score,
            difference: Score::undefined(Reason::NotComputed),
            interval: None,
            n_subjects: 0,
            subjects: Vec::new(),
            inference: Inference::default(),
        }
    }

    /// ROI less ROI for each declared pair, (units, ROIs) → (units, contrasts).
    fn contrast(&self, values: &Array2<f64>) -> Array2<f64> {
        let pairs = &self.rois.contrasts;
        Array2::from_shape_fn((values.nrows(), pairs.len()), |(unit, c)| {
            values[[unit, pairs[c].0]] - values[[unit, pairs[c].1]]
        })
    }

    /// Tests columns (units, members) side by side as one family.
    fn tested(&mut self, columns: &[Array2<f64>]) -> Vec<Inference> {
        tests(&beside(columns, self.units), &self.flips, &mut self.power)
    }
}

fn assign(all: &mut [RoiDifference], found: Vec<Inference>) {
    all.iter_mut().zip(found).for_each(|(difference, inference)| difference.inference = inference);
}
