//! The CPU: OpenBLAS for products and eigendecompositions, vectorised loops for the rest.

mod blas;
mod eigen;
mod threads;
mod vector;

pub use blas::{Operand, sgemm};
pub use eigen::{Spectrum, eigh};
pub use threads::{blas_description, single_threaded_blas};
pub use vector::{Activation, add, add_to_rows, gated, layer_norm, rms_norm, rotate, softmax_rows};
