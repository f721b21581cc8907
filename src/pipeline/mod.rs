//! The verbs of the program, each one library call: preflight, extract, fit, compare, report.

mod arrays;
mod compare;
mod extract;
mod fit;
mod outputs;
mod preflight;
mod report;

pub use arrays::{ArrayFit, ArraySummary, SpaceSummary, fit_arrays};
pub use compare::{Finished, compare, compare_demo};
pub use extract::{Pooled, extract};
pub use preflight::{Prepared, prepare};
pub use report::rebuild;
