//! Encoding models: cross-validated ridge, one alpha per target, and its scores.

mod alphas;
pub mod ceiling;
mod combine;
pub mod cv;
pub mod engine;
mod folds;
pub mod geometry;
mod metric_name;
pub mod patterns;
pub mod ridge;
mod score;
pub mod stacking;
mod target_scores;

pub use alphas::{AlphaGrid, EDGE_LIMIT};
pub use combine::Combine;
pub use folds::{FoldSpec, Folds};
pub use metric_name::MetricName;
pub use score::{Reason, Score, ScoreName};
pub(crate) use target_scores::is_constant;
pub use target_scores::{FoldScore, GroupParts, GroupSums, TargetScores, score};
