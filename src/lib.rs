//! How well the layers of a text encoder predict a brain, and whether fine-tuning changed that.

// Links OpenBLAS.
extern crate openblas_src;

pub mod compare;
pub mod compute;
pub mod encoder;
pub mod encoding;
pub mod error;
pub mod features;
pub mod ids;
pub mod io;
pub mod record;
pub mod responses;
pub mod stats;
pub mod stimuli;
pub mod store;
pub mod study;
pub mod watch;
