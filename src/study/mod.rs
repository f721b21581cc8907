//! What the user asks for: the study file as written, and the plan that will run.

mod checkpoints;
pub mod demo;
mod folds;
mod inference;
mod keys;
mod narrative;
mod plan;
mod rois;
mod sections;
mod spec;
mod trials;
mod unique;

pub use checkpoints::CheckpointList;
pub(crate) use checkpoints::left_out;
pub use inference::{InferenceFlags, SubjectsPlan};
pub use narrative::{NarrativePlan, NuisancePlan};
pub use plan::{BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, LayerSelection, Overrides, Plan, ResponseTables, ResponsesPlan};
pub use rois::{Coordinates, RoiFlags, RoiSource, RoisPlan, RoisSection};
pub use spec::{FoldKind, StudySpec};
pub use trials::{ParcelsPlan, RunSource, TrialsPlan};
pub use unique::UniqueLayers;
