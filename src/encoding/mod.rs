//! Encoding models.

mod alphas;
mod folds;
mod score;

pub use alphas::{AlphaGrid, EDGE_LIMIT};
pub use folds::{FoldSpec, Folds};
pub use score::{Reason, Score, ScoreName};
