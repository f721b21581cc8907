//! Figures from a [`RunRecord`]: one drawing, as SVG and as PNG. Nothing is computed here that the record does not hold.
//!
//! The drawing is made on a grid of four units per pixel. SVG takes the units as its `viewBox`; PNG averages
//! them down to two pixels per pixel. Both show the same picture, and PNG does not depend on the machine's fonts.

mod axes;
mod brain;
mod canvas;
mod figure;
mod font;
mod layout;
mod look;
mod paint;
mod raster;
mod regions;
mod scene;
pub(crate) mod seeds;
mod svg;
mod trend;
pub(crate) mod words;

pub use brain::{BrainScene, SurfaceValues, brain};
pub use figure::{BrainFigure, Figure, Figures, Regions, Spot};

use crate::compare::Along;
use crate::error::Result;
use crate::record::RunRecord;

/// The ranking score over the layers, one curve per checkpoint, with intervals and baselines.
///
/// # Errors
/// `IO-01` when the drawing cannot be made, which no record should be able to cause.
pub fn layerwise(record: &RunRecord) -> Result<Figure> {
    figure::draw(&scene::layerwise(record))
}

/// The paired difference of the ranking score to the reference over the layers; `None` with one checkpoint.
///
/// # Errors
/// As [`layerwise`].
pub fn difference(record: &RunRecord) -> Result<Option<Figure>> {
    scene::difference(record).map(|scene| figure::draw(&scene)).transpose()
}

/// The score along training steps or model sizes; `None` where there is no series.
///
/// # Errors
/// As [`layerwise`].
pub fn along(record: &RunRecord, along: Along) -> Result<Option<Figure>> {
    trend::figure(record, along)
}

/// How far the weights of each layer are from those of the reference; `None` when no checkpoint can be compared.
///
/// # Errors
/// As [`layerwise`].
pub fn weights(record: &RunRecord) -> Result<Option<Figure>> {
    scene::weights(record).map(|scene| figure::draw(&scene)).transpose()
}

/// The figures of regions of interest; `None` without any.
///
/// # Errors
/// As [`layerwise`].
pub fn regions(record: &RunRecord) -> Result<Option<Regions>> {
    figure::regions(record)
}
