//! Checkpoints × layers × subjects → curves over layers and paired differences to the reference, with intervals.

mod ceiling;
mod layer;

use serde::{Deserialize, Serialize};

pub use ceiling::{Ceiling, ceilings, share};
pub use layer::{LEVEL, LayerFit, LayerScores, baselines, by_subject, compare_layer, target_means};

use crate::encoding::{MetricName, Score, ScoreName};
use crate::ids::{Layer, TargetId};
use crate::stats::bootstrap::{Interval, Resamples};

/// What the bootstrap resamples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Subjects.
    Subjects,
    /// Stimulus groups, when there is one subject or one averaged response.
    StimulusGroups,
}

/// The results of a run: curves over layers, baselines, paired differences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What layers and checkpoints are ranked by.
    pub score: ScoreName,
    /// Label of the first checkpoint, with which the others are compared.
    pub reference: String,
    /// What intervals are over.
    pub unit: Unit,
    /// How many of them.
    pub n_units: usize,
    /// Number of subjects.
    pub n_subjects: usize,
    /// One curve per checkpoint and score.
    pub curves: Vec<Curve>,
    /// The confounds-only scores, one per score.
    pub confounds: Vec<Baseline>,
    /// The scores of a row's place alone, one per score; not 0 where the folds leak.
    #[serde(default)]
    pub oasm: Vec<Baseline>,
    /// How well anything could predict these responses.
    #[serde(default)]
    pub ceilings: Vec<Ceiling>,
    /// Scores beyond those of single targets, where they were asked for.
    #[serde(default)]
    pub metrics: Vec<MetricPoint>,
    /// Difference to the confounds-only model per checkpoint, layer and score, averaged over targets.
    pub confound_gains: Vec<Difference>,
    /// Difference to the reference per checkpoint, layer and score, averaged over targets.
    pub layer_differences: Vec<Difference>,
    /// Difference to the reference per checkpoint, layer, score and target.
    pub target_differences: Vec<Difference>,
    /// Mean over subjects of each target's score: per checkpoint and layer, the ranking score only, in the order of the targets.
    pub target_means: Vec<TargetMeans>,
}

/// A score over the layers of one checkpoint, averaged over subjects and targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Which score.
    pub score: ScoreName,
    /// Its layers.
    pub points: Vec<Point>,
}

/// One layer of a curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The layer.
    pub layer: Layer,
    /// Mean over subjects of the mean over defined targets.
    pub mean: Score,
    /// 95 % interval of the mean, where there are enough units.
    pub interval: Option<Interval>,
    /// Subject × target scores that are defined.
    pub n_defined: usize,
    /// Subject × target scores that are not.
    pub n_undefined: usize,
    /// Share of (subject, target, fold) choices whose alpha lies at an edge of the grid.
    pub share_at_edge: f64,
}

impl Comparison {
    /// A comparison without layers, to which [`Comparison::add_layer`] adds them in ascending order.
    pub fn new(
        score: ScoreName,
        checkpoints: &[String],
        baseline: &LayerFit,
        n_subjects: usize,
        resamples: &Resamples,
    ) -> Comparison {
        let mut curves = Vec::new();
        for checkpoint in checkpoints {
            for score in ScoreName::ALL {
                curves.push(Curve { checkpoint: checkpoint.clone(), score, points: Vec::new() });
            }
        }
        Comparison {
            score,
            reference: checkpoints.first().cloned().unwrap_or_default(),
            unit: baseline.unit(),
            n_units: resamples.units(),
            n_subjects,
            curves,
            confounds: layer::baselines(baseline, resamples),
            oasm: Vec::new(),
            ceilings: Vec::new(),
            metrics: Vec::new(),
            confound_gains: Vec::new(),
            layer_differences: Vec::new(),
            target_differences: Vec::new(),
            target_means: Vec::new(),
        }
    }

    /// Adds the results of one layer.
    pub fn add_layer(&mut self, scores: LayerScores) {
        for (checkpoint, score, point) in scores.points {
            if let Some(curve) = self.curves.iter_mut().find(|c| c.checkpoint == checkpoint && c.score == score) {
                curve.points.push(point);
            }
        }
        self.confound_gains.extend(scores.confound_gains);
        self.layer_differences.extend(scores.layer_differences);
        self.target_differences.extend(scores.target_differences);
        self.target_means.extend(scores.target_means);
    }
}

/// A metric of one layer, over all targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// The layer.
    pub layer: Layer,
    /// Which metric.
    pub metric: MetricName,
    /// Mean over subjects.
    pub mean: Score,
    /// Its interval, over subjects.
    pub interval: Option<Interval>,
    /// What the mean map alone reaches.
    pub intercept_only: Score,
    /// Of the permutation test, where there is one: rows permuted, one-sided.
    pub p: Option<f64>,
}

/// A baseline: one number for all layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Which score.
    pub score: ScoreName,
    /// Mean over subjects of the mean over defined targets.
    pub mean: Score,
    /// Its interval.
    pub interval: Option<Interval>,
}

/// A paired difference: checkpoint − reference on the same folds and rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// The layer, of both.
    pub layer: Layer,
    /// The target; `None` for the mean over targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetId>,
    /// Which score.
    pub score: ScoreName,
    /// checkpoint − reference, averaged over subjects.
    pub difference: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Subjects in whom both scores are defined.
    pub n_subjects: usize,
}

/// The targets' scores in one layer of one checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetMeans {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// The layer.
    pub layer: Layer,
    /// Mean over subjects, in the order of the run's targets.
    pub means: Vec<Score>,
}
