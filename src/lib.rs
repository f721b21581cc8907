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

// Whatever reads what strangers made is free of unsafe code. `encoding` and `pipeline` only deny it, like all else outside
// `compute`: ndarray's `s!` expands to an `allow`.
// Links OpenBLAS.
extern crate openblas_src;

#[forbid(unsafe_code)]
pub mod atlas;
#[forbid(unsafe_code)]
pub mod bold;
#[forbid(unsafe_code)]
pub mod cli;
#[forbid(unsafe_code)]
pub mod compare;
pub mod compute;
#[forbid(unsafe_code)]
pub mod encoder;
pub mod encoding;
#[forbid(unsafe_code)]
pub mod error;
#[forbid(unsafe_code)]
pub mod features;
#[forbid(unsafe_code)]
pub mod ids;
#[forbid(unsafe_code)]
pub mod io;
#[forbid(unsafe_code)]
pub mod missing;
pub mod pipeline;
#[forbid(unsafe_code)]
pub mod plot;
#[forbid(unsafe_code)]
pub mod record;
#[forbid(unsafe_code)]
pub mod report;
#[forbid(unsafe_code)]
pub mod responses;
#[forbid(unsafe_code)]
pub mod roi;
#[forbid(unsafe_code)]
pub mod stats;
#[forbid(unsafe_code)]
pub mod stimuli;
#[forbid(unsafe_code)]
pub mod store;
#[forbid(unsafe_code)]
pub mod study;
#[forbid(unsafe_code)]
pub mod subjects;
#[forbid(unsafe_code)]
pub mod visible;
#[forbid(unsafe_code)]
pub mod watch;
