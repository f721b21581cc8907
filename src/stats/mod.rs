//! Pure functions on slices and matrices: moments, correlation, bootstrap. No I/O, no science.

pub mod bootstrap;
mod correlation;
mod distinct;
mod moments;

pub use correlation::pearson;
pub use distinct::distinct;
pub use moments::{mean, median, population_sd};
