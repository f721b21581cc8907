//! Regions of interest over parcels: the (ROIs × parcels) matrix, what ROIs have in common, and the built-in set.
//!
//! With atlas maps m_p(v) ≥ 0, M(v) = Σ_p m_p(v) and weights w_R(v) of an ROI (a statistic map where it is at least its
//! threshold), a voxel's score is s(v) = Σ_p m_p(v) s_p / M(v) and an ROI's is Σ_v w_R(v) s(v) / Σ_v w_R(v) over the
//! voxels with M(v) > 0. That is linear in the parcels' scores: a row of weights that sum to 1. Undefined parcels drop
//! out and the weights of the others are renormalised.
//!
//! Not for: surfaces, or maps and atlases in different spaces; nothing is registered here.

use serde::{Deserialize, Serialize};

mod coordinates;
mod matrix;
mod overlap;

pub use coordinates::{CoordinateRoi, Peak, coordinate_rois};
pub use matrix::{RoiMatrix, RoiRow};
pub use overlap::{Overlap, overlaps};

/// What the names of built-in ROIs end in, wherever they are written.
pub const COORDINATES: &str = " (coordinates)";

/// The regions of interest of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Rois {
    /// What each is, in the order of the matrix.
    pub list: Vec<RoiInfo>,
    /// Their weights over targets.
    pub matrix: RoiMatrix,
    /// What each pair has in common.
    pub overlaps: Vec<Overlap>,
    /// Which one is the control.
    pub control: Option<usize>,
    /// Pairs whose effects are compared.
    pub contrasts: Vec<(usize, usize)>,
}

/// What an ROI is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoiInfo {
    /// Its name.
    pub name: String,
    /// What it was made from: a file name, `built in`, a list of targets.
    pub source: String,
    /// Where a map was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// By which rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Voxels with weight on the atlas's grid, of those that the atlas reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voxels: Option<usize>,
    /// Voxels with weight that no map of the atlas reaches: they do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voxels_outside: Option<usize>,
    /// Share of its weight in parcels that are targets.
    pub covered: f64,
    /// Targets with any weight.
    pub targets: usize,
    /// Effective number of targets, 1 / Σ weight².
    pub effective_targets: f64,
    /// Whether it is the control, where no effect is expected.
    #[serde(default)]
    pub control: bool,
    /// Where its peaks were published, for a built-in one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub citations: Vec<String>,
}

impl Rois {
    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.list.iter().map(|roi| roi.name.clone()).collect()
    }
}

impl RoiInfo {
    /// `tom: tom_z.nii, z of at least 3.1; 512 voxels, 14 targets (9.3 effective)`.
    pub fn in_words(&self) -> String {
        let rule = if self.rule.is_empty() { String::new() } else { format!(", {}", self.rule) };
        let voxels = self.voxels.map_or(String::new(), |n| format!("{n} voxels, "));
        let outside = self.voxels_outside.map_or(String::new(), |n| format!("; {n} more lie outside the atlas"));
        let covered = match self.covered {
            c if c < 0.9995 => format!("; {:.1} % of its weight lies in parcels that are targets", 100.0 * c),
            _ => String::new(),
        };
        let of = format!("{voxels}{} targets ({:.1} effective)", self.targets, self.effective_targets);
        let control = if self.control { "; the control" } else { "" };
        format!("{}: {}{rule}; {of}{outside}{covered}{control}", self.name, self.source)
    }
}
