//! Checkpoint → hidden states of every layer.
//!
//! A [`CheckpointSpec`] names a checkpoint, [`Checkpoint::open`] checks it without running it, [`Checkpoint::load`]
//! gives an [`Encoder`]. One file per family; the operations they share are in `ops`.

mod bert;
mod checkpoint;
mod checkpoint_record;
mod config;
mod hub;
mod ops;
mod packed;
mod params;
mod pool;
mod source;
mod tokenizer;
mod weights;

pub use checkpoint::{Checkpoint, Encoder, FAMILIES};
pub use checkpoint_record::CheckpointRecord;
pub use pool::Pooling;
pub use source::{CheckpointSpec, Place, Source};
pub use tokenizer::Tokens;
