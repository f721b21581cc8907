use serde::{Deserialize, Serialize};

use crate::error::Warning;
use crate::ids::Digest;

/// What a checkpoint was: identified by digests, never by its folder's name alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// The label in tables and figures.
    pub label: String,
    /// Folder name, hub id with revision, or `untrained:SEED:name`.
    pub source: String,
    /// Seed of the random weights, when untrained.
    pub untrained_seed: Option<u64>,
    /// Model family, as `model_type` in config.json.
    pub family: String,
    /// Number of blocks; there is one layer more, the embedding output.
    pub blocks: usize,
    /// Width of a hidden state.
    pub width: usize,
    /// Parameters of the encoder, heads excluded.
    pub parameters: u64,
    /// SHA-256 of config.json.
    pub config_sha256: Digest,
    /// SHA-256 of the tokenizer file; of several files that of the lines `SHA-256  name`.
    pub tokenizer_sha256: Digest,
    /// SHA-256 of the weights file; of several files that of the lines `SHA-256  name`; none when untrained.
    pub weights_sha256: Option<Digest>,
    /// Names of the files that the weights come from.
    #[serde(default)]
    pub weights_files: Vec<String>,
    /// The adapter that was merged into them, in words.
    #[serde(default)]
    pub adapter: Option<String>,
    /// What stands before the tensor names in the files (`bert.`, `model._orig_mod.bert.`, or nothing).
    pub prefix: String,
    /// Tensors of the file that are no part of the encoder (heads, pooler, buffers).
    pub ignored_tensors: Vec<String>,
    /// What the user should know about the files.
    #[serde(default)]
    pub warnings: Vec<Warning>,
}
