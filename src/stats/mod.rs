//! Pure functions on slices and matrices: moments, correlation, bootstrap. No I/O, no science.

pub mod bootstrap;
mod correlation;
mod distinct;
pub mod flips;
mod moments;
pub mod uniform;

pub use correlation::pearson;
pub use distinct::distinct;
pub use moments::{mean, median, population_sd};
