use serde::{Deserialize, Serialize};

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
    /// SHA-256 of the tokenizer file.
    pub tokenizer_sha256: Digest,
    /// SHA-256 of the weights file; none when untrained.
    pub weights_sha256: Option<Digest>,
    /// Prefix of the tensor names in the file (`bert.`, or empty).
    pub prefix: String,
    /// Tensors of the file that are no part of the encoder (heads, pooler, buffers).
    pub ignored_tensors: Vec<String>,
}
