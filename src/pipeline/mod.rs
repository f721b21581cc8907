//! The verbs of the program, each one library call: preflight, audit, selftest, extract, parcellate, fit, compare, report.

mod arrays;
mod audit;
mod ceiling_tables;
mod compare;
mod design;
mod extract;
mod fit;
mod metrics;
mod narrative;
mod outputs;
mod parcellate;
mod parts;
mod preflight;
mod report;
mod resample;
mod rows;
mod runs;
mod selftest;
mod states;
mod tables;
mod target_table;
mod trials;
mod whole;
mod windows;

pub use arrays::{ArrayFit, ArraySummary, SpaceSummary, fit_arrays};
pub use audit::{Audited, audit, check, explained};
pub use compare::{Finished, compare, compare_demo};
pub use design::Design;
pub use extract::{ExtractPlan, Extracted, Want, extract_to_files};
pub use parcellate::{ParcellateSpec, Parcellated, ParcellatedRun, parcellate};
pub use preflight::{Prepared, prepare};
pub use report::rebuild;
pub use resample::{ResampleSpec, ResampledFiles, resample};
pub use selftest::{Noise, Null, Power, Recovery, Selftest, selftest};
pub use states::{Extraction, Pooled, extract};
pub use windows::{RunWindows, TaskCounts, WindowsFound, WindowsSpec, windows};
