//! How well the layers of a text encoder predict a brain, and whether fine-tuning changed that.
//!
//! The data's journey: flags and `study.toml` → [`study::StudySpec`] → [`study::Plan`] → preflight (all problems at once,
//! nothing computed) → [`encoder::Checkpoint`] and [`stimuli::Stimuli`] → forward pass → [`features::FeatureSpace`];
//! tables → [`responses::Responses`]; both → [`responses::Aligned`] with [`encoding::Folds`] → nested ridge → scores →
//! [`compare::Comparison`] → [`record::RunRecord`] → a run directory, by one rename.
//!
//! What each number means is said where it is computed: [`encoding::cv`], [`encoding::ridge`], [`stats::bootstrap`].
//!
//! Not for: voxel-wise preprocessing, decoding, or models of single neurons.

// Links OpenBLAS.
extern crate openblas_src;

pub mod atlas;
pub mod bold;
pub mod cli;
pub mod compare;
pub mod compute;
pub mod encoder;
pub mod encoding;
pub mod error;
pub mod features;
pub mod ids;
pub mod io;
pub mod missing;
pub mod pipeline;
pub mod plot;
pub mod record;
pub mod report;
pub mod responses;
pub mod roi;
pub mod stats;
pub mod stimuli;
pub mod store;
pub mod study;
pub mod subjects;
pub mod visible;
pub mod watch;
