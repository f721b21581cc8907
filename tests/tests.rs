//! All integration tests, in one binary: every further one would link the whole program again.

mod architecture;
mod atlas;
mod bad;
mod bad_bold;
mod batch;
mod cli;
mod deps;
mod encoders;
mod golden;
mod hostile_bytes;
mod inference;
mod kernels;
mod nifti;
mod parcellate;
mod pickles;
mod resample;
mod ridge;
mod runs;
mod states;
mod support;
mod tokenizers;
mod tolerance;
mod trust;
mod weights;
mod windows;
mod words;
