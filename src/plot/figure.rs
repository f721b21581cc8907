use plotters::drawing::IntoDrawingArea;
use plotters::prelude::SVGBackend;

use crate::error::{Code, Error, Result};
use crate::plot::layout::Layout;
use crate::plot::scene::Scene;
use crate::plot::{paint, raster, svg};
use crate::record::RunRecord;

/// One drawing in both formats, and in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// A complete SVG document without references to anything outside it.
    pub svg: String,
    /// A PNG file at twice the size of the SVG.
    pub png: Vec<u8>,
    /// What the figure shows, for those who do not see it.
    pub alt: String,
}

/// A picture of a brain in a report.
#[derive(Debug, Clone, PartialEq)]
pub struct BrainFigure {
    /// Its file beside the page.
    pub file: String,
    /// What stands under it.
    pub caption: String,
    /// The picture.
    pub figure: Figure,
}

/// The figures of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// [`super::layerwise`].
    pub layerwise: Figure,
    /// [`super::difference`].
    pub difference: Option<Figure>,
    /// [`super::weights`].
    pub weights: Option<Figure>,
    /// Pictures of brains; a record alone has none.
    pub brains: Vec<BrainFigure>,
}

impl Figures {
    /// The figures of the record that there are, with the names of their files.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        let optional = [("difference", &self.difference), ("weights", &self.weights)];
        let present = optional.into_iter().filter_map(|(name, figure)| Some((name, figure.as_ref()?)));
        std::iter::once(("layerwise", &self.layerwise)).chain(present)
    }

    /// Draws all figures of a record.
    ///
    /// # Errors
    /// As [`super::layerwise`].
    pub fn draw(record: &RunRecord) -> Result<Figures> {
        Ok(Figures {
            layerwise: super::layerwise(record)?,
            difference: super::difference(record)?,
            weights: super::weights(record)?,
            brains: Vec::new(),
        })
    }
}

/// Draws a scene twice, once for each format.
pub(super) fn draw(scene: &Scene) -> Result<Figure> {
    let layout = Layout::of(scene);
    let size = layout.units();
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        paint::paint(&area, scene, &layout).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    let svg = svg::finish(&drawn, size, &scene.title, &scene.alt);
    let png = raster::png(size, |area| paint::paint(area, scene, &layout))?;
    Ok(Figure { svg, png, alt: scene.alt.clone() })
}

/// A drawing error as one of ours.
pub(super) fn failed(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Io01, "figure", format!("drawing failed: {cause}"))
}
