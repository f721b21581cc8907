//! Where results are kept: the run directory.

mod run_dir;

pub use run_dir::RunDir;
