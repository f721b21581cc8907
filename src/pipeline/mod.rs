//! The verbs of the program, each one library call: preflight, extract, parcellate, fit, compare, report.

mod compare;
mod extract;
mod fit;
mod outputs;
mod parcellate;
mod preflight;
mod report;

pub use compare::{Finished, compare, compare_demo};
pub use extract::{Pooled, extract};
pub use parcellate::{ParcellateSpec, Parcellated, ParcellatedRun, parcellate};
pub use preflight::{Prepared, prepare};
pub use report::rebuild;
