//! NVIDIA cards: the host side of `kernels/*.cu`.
//!
//! Nothing of CUDA is needed to build. The driver is looked for at run time; the kernels are compiled for the card that is
//! found, by NVRTC, and the result is kept. One file per `.cu` computes the launch, checks shapes, and copies.
//!
//! Correctness is shown without a card: `tests/cuda` has a driver whose cards are the host. What runs on a real one is
//! checked there by `brainscore doctor`, which compares every kernel with float64 on the CPU.

mod accelerator;
mod card;
pub mod check;
mod compile;
mod dense;
mod encoder;
mod fault;
mod fold_gram;
mod gpu;
mod measure;
mod pairwise;
mod parcellate;
mod permute;
mod ridge;
mod sources;
mod standardize;

pub use card::{Card, cards, driver_version};
pub use compile::{compile_all, compiler};
pub use gpu::{Cards, Gpu};
pub use measure::{Measured, MeasuredShape};
pub use sources::{SOURCES, Source};
