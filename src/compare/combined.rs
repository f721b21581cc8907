//! All layers of a checkpoint as one model: its scores, over the confounds and against the checkpoint's base.

use serde::{Deserialize, Serialize};

use super::{Comparison, Difference, LayerScores};
use crate::encoding::{Combine, Score, ScoreName};
use crate::ids::Layer;
use crate::stats::bootstrap::Interval;

/// The layers of one checkpoint as one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Combined {
    /// How they became one.
    pub model: Combine,
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// One per score.
    pub scores: Vec<CombinedScore>,
    /// Of mixtures, the weight of each layer: mean over folds, targets and subjects. They sum to 1. Not for: which layer
    /// matters; neighbouring layers are nearly interchangeable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<(Layer, f64)>,
}

/// One score of all layers together, averaged over subjects and targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CombinedScore {
    /// Which score.
    pub score: ScoreName,
    /// Its mean.
    pub mean: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// The difference to the confounds-only model.
    pub gain: Paired,
    /// The difference to the same model of the checkpoint's base; none for a checkpoint without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Paired>,
}

/// A paired difference, averaged over targets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Mean over subjects.
    pub difference: Score,
    /// Its interval.
    pub interval: Option<Interval>,
}

impl From<&Difference> for Paired {
    fn from(of: &Difference) -> Paired {
        Paired { difference: of.difference, interval: of.interval }
    }
}

impl Comparison {
    /// Adds one way of combining the layers of all checkpoints, compared as if it were a layer; `weights` has those of each
    /// checkpoint, of mixtures.
    pub fn add_combined(&mut self, model: Combine, found: &LayerScores, weights: &[(String, Vec<(Layer, f64)>)]) {
        for (checkpoint, weights) in weights {
            let of = |all: &[Difference], score| {
                all.iter().find(|d| d.checkpoint == *checkpoint && d.score == score).map(Paired::from)
            };
            let points = found.points.iter().filter(|(label, ..)| label == checkpoint);
            let scores = points.filter_map(|(_, score, point)| {
                Some(CombinedScore {
                    score: *score,
                    mean: point.mean,
                    interval: point.interval,
                    gain: of(&found.confound_gains, *score)?,
                    difference: of(&found.layer_differences, *score),
                })
            });
            self.combined.push(Combined {
                model,
                checkpoint: checkpoint.clone(),
                scores: scores.collect(),
                weights: weights.clone(),
            });
        }
    }
}
