extern crate openblas_src;

pub mod compare;
pub mod encoder;
pub mod encoding;
pub mod error;
pub mod ids;
pub mod io;
pub mod record;
pub mod stats;
pub mod stimuli;
pub mod watch;
