//! Atlases: where voxels lie, soft maps and hard labels, and the step from BOLD volumes to one series per parcel.
//!
//! Objective: at every volume v (in-mask voxels), the b that minimises |v − M b|², M = voxels × parcels map values. For
//! an atlas of labels M holds ones, and b is the mean over each label's voxels.
//!
//! Resampling, smoothing and extraction follow nilearn's `NiftiMapsMasker` with `resampling_target = "data"`
//! (<https://nilearn.github.io>, `maskers/nifti_maps_masker.py`, `regions/signal_extraction.py`): the atlas is resampled to
//! the run's grid (trilinear; labels and masks by the nearest voxel), volumes are smoothed before extraction.
//!
//! Not for: surfaces, or runs and atlases in different spaces; nothing is registered here.

mod cache;
mod cover;
mod maps;
pub mod neurosynth;
mod parcellate;
mod parcels;
mod projector;
mod registry;
mod smooth;
mod space;
mod statistic;

pub use maps::{Atlas, Mask};
pub use parcellate::{Elsewhere, Extracted, Extraction, extract};
pub use parcels::{Parcels, VoxelMap};
pub use projector::Projector;
pub use registry::{Entry, Fetched, RemoteFile, registry};
pub use smooth::Smoothing;
pub use space::{Grid, Interpolation};
pub use statistic::{Cut, StatisticMap, Threshold};
