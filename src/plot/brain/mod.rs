//! Values on a brain: the largest values seen through it, axial slices, and surfaces, above one colour bar.
//!
//! Brains are bitmaps (the same in SVG and PNG), words and lines are drawn. Scores that are negative somewhere get a
//! diverging scale with 0 in its middle (ColorBrewer's RdBu), others run from 0 upwards (viridis); both can be read by the
//! colour blind. Left is left.

mod colours;
mod mesh;
mod outline;
mod paint;
mod picture;
mod plane;

pub(super) use picture::Picture;
use plotters::drawing::IntoDrawingArea;
use plotters::prelude::SVGBackend;

use crate::atlas::VoxelMap;
use crate::error::Result;
use crate::io::gifti::{Hemisphere, Surface};
use crate::plot::Figure;
use crate::plot::figure::failed;
use crate::plot::{raster, svg};
use crate::visible::visible;

/// What a picture of a brain shows.
#[derive(Debug, Clone, Copy)]
pub struct BrainScene<'a> {
    /// Over the picture.
    pub title: &'a str,
    /// At the colour bar: the score and its unit.
    pub unit: &'a str,
    /// The values.
    pub map: &'a VoxelMap,
    /// Where the atlas reaches: any value there.
    pub cover: &'a VoxelMap,
    /// Whether small values are the good ones: the smallest shows through the brain, in the lightest colour.
    pub low_is_best: bool,
    /// The values on surfaces, if any.
    pub surfaces: &'a [SurfaceValues<'a>],
    /// Lines under the picture.
    pub caption: &'a [String],
    /// What the picture shows, for those who do not see it.
    pub alt: &'a str,
}

/// Values of the vertices of a surface.
#[derive(Debug, Clone, Copy)]
pub struct SurfaceValues<'a> {
    /// The surface to draw on.
    pub surface: &'a Surface,
    /// Which half it is.
    pub hemisphere: Hemisphere,
    /// A value per vertex, or none.
    pub values: &'a [Option<f64>],
}

/// Draws a picture of a brain.
///
/// # Errors
/// `IO-01` when the drawing cannot be made, which no values should be able to cause.
pub fn brain(scene: &BrainScene<'_>) -> Result<Figure> {
    let scale = colours::Scale::of(scene);
    let layout = paint::Layout::of(scene);
    let underlay = paint::underlay(scene, &scale, &layout);
    let (title, alt) = (visible(scene.title), visible(scene.alt));
    let (size, words) = (layout.units(), paint::Words { scene, scale: &scale, layout: &layout });
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        words.paint(&area).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    let image = raster::encode(underlay.width, underlay.height, &underlay.rgb)?;
    let svg = svg::finish_over(&drawn, size, &title, &alt, &image);
    let png = raster::png_over(size, &underlay, |area| words.paint(area))?;
    Ok(Figure { svg, png, alt: scene.alt.to_owned(), points: Vec::new() })
}
