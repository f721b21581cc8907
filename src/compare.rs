//! Checkpoints × layers × subjects → curves over layers and paired differences to the reference, with intervals.

use serde::{Deserialize, Serialize};

use crate::encoding::{Score, ScoreName};
use crate::ids::{Layer, TargetId};
use crate::stats::bootstrap::Interval;

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
