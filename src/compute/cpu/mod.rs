//! The CPU: OpenBLAS for products and eigendecompositions, vectorised loops for the rest.

mod blas;
mod eigen;
mod threads;
mod vector;

pub use blas::{Operand, sgemm};
pub use eigen::{Spectrum, eigh};
pub use threads::{blas_description, single_threaded_blas};
pub use vector::{Activation, add_layer_norm, layer_norm, softmax_rows};
