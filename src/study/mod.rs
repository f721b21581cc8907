//! What the user asks for: the study file as written, and the plan that will run.

pub mod demo;
mod folds;
mod inference;
mod plan;
mod spec;

pub use inference::{InferenceFlags, SubjectsPlan};
pub use plan::{
    BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, LayerSelection, Overrides, Plan, ResponseTables, ResponsesPlan, UniqueLayers,
};
pub use spec::{FoldKind, StudySpec};
