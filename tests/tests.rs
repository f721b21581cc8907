//! All integration tests, in one binary: every further one would link the whole program again.

mod architecture;
mod bad;
mod bad_bold;
mod cli;
mod deps;
mod golden;
mod nifti;
mod parcellate;
mod support;
