//! Checkpoint → hidden states.

mod checkpoint_record;
mod pool;

pub use checkpoint_record::CheckpointRecord;
pub use pool::Pooling;
