//! Checkpoints × layers × subjects → curves over layers and paired differences to the reference, with intervals.

mod best;
mod ceiling;
mod combined;
mod groups;
mod inference;
mod layer;
mod lineage;
mod rois;
mod summary;
mod trend;
mod units;

use serde::{Deserialize, Serialize};

pub use best::{BestDifference, NestedBest, ProfileDifference};
pub use ceiling::{Ceiling, ceilings, share};
pub use combined::{Combined, CombinedScore, Paired};
pub use groups::{GroupContrast, GroupDesign, GroupMean, Outcome};
pub use inference::{ALPHA, Fits, Inference, POWER, Settings, Tests};
pub use layer::{
    ByGroup, LEVEL, LayerFit, LayerScores, SubjectParts, baselines, by_subject, compare_layer, target_means, unique_cod,
};
pub use lineage::{Lineage, base_of};
pub use rois::{RoiBaseline, RoiBest, RoiCeiling, RoiDifference, RoiPoint, RoiResults};
pub use summary::{SummaryDifference, SummaryRow};
pub use trend::{Along, Trend, TrendPoint};

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
    /// The same for regions of interest, where the study has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rois: Option<RoiResults>,
    /// Difference to the confounds-only model per checkpoint, layer and score, averaged over targets.
    pub confound_gains: Vec<Difference>,
    /// `unique cod` per checkpoint and layer, averaged over targets: cod of a banded model of features and confounds less
    /// that of the confounds; empty where it was not asked for.
    #[serde(default)]
    pub unique_cod: Vec<Difference>,
    /// Difference to the reference per checkpoint, layer and score, averaged over targets.
    pub layer_differences: Vec<Difference>,
    /// Difference to the reference per checkpoint, layer, score and target.
    pub target_differences: Vec<Difference>,
    /// Mean over subjects of each target's score: per checkpoint and layer, the ranking score only, in the order of the targets.
    pub target_means: Vec<TargetMeans>,
    /// Each checkpoint's best layer, chosen on other data than it is scored on.
    #[serde(default)]
    pub best_layers: Vec<NestedBest>,
    /// The checkpoints' nested best layers against the reference's.
    #[serde(default)]
    pub best_differences: Vec<BestDifference>,
    /// Where in the network the scores lie, against the reference.
    #[serde(default)]
    pub profile_differences: Vec<ProfileDifference>,
    /// The groups of subjects and what was held fixed, where the study has groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_design: Option<GroupDesign>,
    /// The groups compared.
    #[serde(default)]
    pub group_contrasts: Vec<GroupContrast>,
    /// How the differences were tested, and what such tests can find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<Tests>,
    /// What a list of checkpoints says of them; empty without a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lineage: Vec<Lineage>,
    /// Scores along training steps or model sizes, where the list gives them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trends: Vec<Trend>,
    /// All layers of each checkpoint as one model, where it was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub combined: Vec<Combined>,
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
            rois: None,
            confound_gains: Vec::new(),
            unique_cod: Vec::new(),
            layer_differences: Vec::new(),
            target_differences: Vec::new(),
            target_means: Vec::new(),
            best_layers: Vec::new(),
            best_differences: Vec::new(),
            profile_differences: Vec::new(),
            group_design: None,
            group_contrasts: Vec::new(),
            tests: None,
            lineage: Vec::new(),
            trends: Vec::new(),
            combined: Vec::new(),
        }
    }

    /// The layer of a checkpoint with the highest mean of the ranking score; none where no layer has one.
    pub fn best_layer(&self, checkpoint: &str) -> Option<Layer> {
        let curve = self.curves.iter().find(|c| c.checkpoint == checkpoint && c.score == self.score)?;
        let defined = curve.points.iter().filter_map(|p| Some((p.layer, p.mean.value()?)));
        // The first of equals.
        defined.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(layer, _)| layer)
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
    /// What the tests say of it.
    #[serde(default)]
    pub inference: Inference,
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
