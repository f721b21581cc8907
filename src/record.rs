//! `run.json`: all that a report needs and a sceptic asks for. Holds file names and digests, never directories.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::compare::{Comparison, Settings};
use crate::encoder::{Attestation, CheckpointRecord, LongText, Pooling};
use crate::encoding::{AlphaGrid, FoldSpec, ScoreName};
use crate::error::Warning;
use crate::ids::{Digest, Layer, StimulusId, SubjectId, TargetId};

/// The version of the format of `run.json`. A reader refuses other versions.
pub const FORMAT: u32 = 1;

/// Everything about one finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this format ([`FORMAT`]).
    pub format: u32,
    /// Version of the program.
    pub version: String,
    /// The whole plan, defaults included.
    pub plan: PlanRecord,
    /// Every file that was read.
    pub inputs: Vec<InputRecord>,
    /// What was scored.
    pub checkpoints: Vec<CheckpointRecord>,
    /// What is known about the checkpoints' weights.
    #[serde(default)]
    pub attestations: Vec<Attestation>,
    /// How the hidden states were come by, per checkpoint.
    #[serde(default)]
    pub extraction: Vec<ExtractionRecord>,
    /// What the responses are.
    pub responses: ResponsesRecord,
    /// The outer folds, by row id.
    pub folds: Vec<FoldRecord>,
    /// What it was computed with.
    pub machine: MachineRecord,
    /// What was left out, by name, because it could not be used; the rest ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Warning>,
    /// What the user must know.
    pub warnings: Vec<Warning>,
    /// What makes the scores doubtful, the most severe first.
    #[serde(default)]
    pub audit: Vec<AuditFinding>,
    /// Seconds per stage, in order of the work.
    pub timings: Vec<StageRecord>,
    /// For the demo: what was planted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<Planted>,
    /// What decides the bytes of the tables, by name: settings as they were in force, files and data by digest. A run of
    /// another plan is told by it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identity: BTreeMap<String, String>,
    /// The results.
    pub comparison: Comparison,
}

/// The plan as it was run: nothing is left to a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// The study's name.
    pub study: String,
    /// Which hidden states of a text are used.
    pub pooling: Pooling,
    /// What happened to texts with more tokens than a checkpoint takes.
    #[serde(default)]
    pub long_text: LongText,
    /// The layers scored, per checkpoint label.
    pub layers: BTreeMap<String, Vec<Layer>>,
    /// How outer folds were made.
    pub folds: FoldSpec,
    /// Rows on both sides of a test block that did not train, within its run.
    #[serde(default)]
    pub gap: usize,
    /// Untrained seeds of the first checkpoint that were added as a baseline: the checkpoints `untrained-0`, ….
    #[serde(default)]
    pub untrained: u64,
    /// The alpha grid asked for.
    pub alphas: AlphaGrid,
    /// What layers and checkpoints are ranked by.
    pub score: ScoreName,
    /// Confound columns, `words` and `characters` included.
    pub confounds: Vec<String>,
    /// How rows came about, where they are not those of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// Number type of the ridge arithmetic.
    pub precision: String,
    /// Permutations, their seed, and the margin of equivalence.
    #[serde(default)]
    pub inference: Settings,
    /// Which layers got `unique cod`.
    #[serde(default)]
    pub unique: String,
    /// Principal components of a model's features that each fit was confined to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<usize>,
    /// Bytes that the encoding models may use.
    #[serde(default)]
    pub memory: u64,
    /// Bootstrap draws, confidence level and seed.
    pub bootstrap: BootstrapRecord,
    /// Flags that overrode the study file: flag → value.
    pub overrides: BTreeMap<String, String>,
}

/// How intervals were drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootstrapRecord {
    /// Number of resamples.
    pub draws: usize,
    /// Confidence level, e.g. 0.95.
    pub level: f64,
    /// Seed of the resamples.
    pub seed: u64,
}

/// One input file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputRecord {
    /// What it was used for: `study`, `stimuli`, `responses`.
    pub role: String,
    /// File name without its directory.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// How the hidden states of a checkpoint were come by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtractionRecord {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Distinct texts that ran through the encoder.
    pub texts_run: usize,
    /// Distinct texts that were read from the cache.
    pub texts_cached: usize,
}

/// Who responded, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponsesRecord {
    /// Subjects in order.
    pub subjects: Vec<SubjectId>,
    /// Targets in order.
    pub targets: Vec<TargetId>,
    /// Rows of the stimuli table.
    pub n_stimuli: usize,
    /// Distinct texts among them.
    pub n_texts: usize,
    /// Groups of rows that stay together.
    pub n_groups: usize,
}

/// One outer fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldRecord {
    /// The rows that are held out.
    pub test_rows: Vec<StimulusId>,
}

/// What the run was computed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// What fitted the encoding models: `cpu`, or the names of cards.
    pub device: String,
    /// Threads asked for or found.
    pub threads: usize,
    /// Operating system and architecture.
    pub platform: String,
    /// The BLAS library in use, as it describes itself.
    pub blas: String,
}

/// Wall time of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// What was done.
    pub stage: String,
    /// How long it took.
    pub seconds: f64,
    /// Most memory that the program had held by its end, in MiB; where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_mib: Option<u64>,
}

/// What the demo study planted, so that its report can say whether it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planted {
    /// Label of the checkpoint whose states drive the parcels.
    pub checkpoint: String,
    /// The layer that does.
    pub layer: Layer,
    /// The parcels that are driven.
    pub targets: Vec<TargetId>,
    /// Share of their variance that is signal: the cod of a perfect model.
    pub signal_share: f64,
    /// The ROI that the driven parcels make up, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roi: Option<String>,
}

mod audit;
#[cfg(test)]
pub(crate) mod sample;

pub use audit::{AuditFinding, Severity};
