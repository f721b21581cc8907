//! The CPU: OpenBLAS for products and eigendecompositions, vectorised loops for the rest.

mod blas;
mod dense;
mod held_out;
mod memory;
mod sums;
mod threads;
mod vector;

pub use blas::{Operand, sgemm};
pub use dense::{Real, Spectrum, eigh, gram, solve_positive};
pub use held_out::{HeldOutScratch, Tiles, add_held_out_errors};
pub use memory::{default_memory, peak_memory, total_memory};
pub use sums::{Combination, Correction, add_combined_errors, add_corrected_errors, add_squared_errors};
pub use threads::{blas_description, single_threaded_blas};
pub use vector::{Activation, add, add_to_rows, gated, layer_norm, rms_norm, rotate, softmax_rows};
