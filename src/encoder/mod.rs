//! Checkpoint → hidden states of every layer.
//!
//! A [`CheckpointSpec`] names a checkpoint, [`Checkpoint::open`] checks it without running it, [`Checkpoint::load`]
//! gives an [`Encoder`]. `families` holds one file per family, `ops` the operations they share.

mod attest;
mod checkpoint;
mod checkpoint_record;
mod config;
mod context;
mod families;
mod hub;
mod layers;
mod long;
mod ops;
mod packed;
mod params;
mod pool;
mod rows;
mod source;
mod tokenizer;
mod weights;

pub use attest::{Attestation, AttestedTensors, TensorDistance, attest};
pub use checkpoint::{Checkpoint, Encoder};
pub use checkpoint_record::CheckpointRecord;
pub use context::Context;
pub use families::FAMILIES;
pub use long::{LongText, Window};
pub(crate) use pool::Mean;
pub use pool::Pooling;
pub use source::{CheckpointSpec, Place, Source};
pub use tokenizer::Tokens;
