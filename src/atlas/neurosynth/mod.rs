//! Meta-analytic maps from a database of studies and their peaks: where do studies of a topic report activity more often
//! than the others?
//!
//! Objective: multilevel kernel density analysis (MKDA; Wager, Lindquist & Kaplan 2007, *SCAN* 2, 150). A study is active
//! at a voxel when one of its peaks lies within 6 mm of it, however many do. At each voxel in the mask, with a active of
//! the n₁ selected studies and c active of the n₀ others,
//! - **association** asks whether the selected studies are more often active there than the others: χ² of the 2 × 2 table,
//!   z = sign(a/n₁ − c/n₀) √χ² (Yarkoni et al. 2011, *Nature Methods* 8, 665: forward and reverse inference);
//! - **uniformity** asks whether they are more often active there than at the average voxel: χ² of (a, n₁ − a) against
//!   (ā, n₁ − ā), ā the mean of a over the mask, z = sign(a − ā) √χ².
//!
//! Both are corrected by the false discovery rate (Benjamini & Hochberg) over the voxels of the mask, two-sided.
//!
//! Peaks marked as Talairach are moved to MNI space by the inverse of `icbm_other2tal` (Lancaster et al. 2007, *Human
//! Brain Mapping* 28, 1194); those of unknown space are taken as MNI. Peaks are rounded to the nearest voxel. With the NeuroSynth
//! database these maps are those of NiMARE's `MKDAChi2`.
//!
//! Not for: effect sizes (peaks carry none), or inference on studies that report no peaks at all.

mod database;
mod map;
mod mkda;
mod peaks;
mod select;

pub use database::{Database, Space, Study};
pub use map::{Association, Threshold, association};
pub use mkda::{Counts, RADIUS_MM, counts, standard_grid};
pub use peaks::{Peak, peaks};
pub use select::{Recipe, Selected, Selection};
