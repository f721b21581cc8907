//! Pure functions on slices and matrices: moments, correlation, bootstrap, permutation tests, equivalence, power. No
//! I/O, no science.

pub mod bootstrap;
mod correlation;
mod distinct;
mod family;
pub mod flips;
pub mod labels;
mod moments;
mod multiple;
pub mod paired;
pub mod permuter;
pub mod uniform;

pub use correlation::pearson;
pub use distinct::distinct;
pub use moments::{mean, median, population_sd};
pub use multiple::benjamini_hochberg;
