use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::prelude::SVGBackend;
use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;

use crate::error::{Code, Error, Result};
use crate::plot::brain::Picture;
use crate::plot::canvas::Painted;
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

/// What can be drawn with any backend.
pub(super) trait Paint {
    /// Draws on white.
    fn paint<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Painted<DB>;
}

/// A scene in its layout.
struct Curves<'a>(&'a Scene, &'a Layout);

impl Paint for Curves<'_> {
    fn paint<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Painted<DB> {
        paint::paint(root, self.0, self.1)
    }
}

/// Draws a scene twice, once for each format.
pub(super) fn draw(scene: &Scene) -> Result<Figure> {
    let layout = Layout::of(scene);
    draw_over(layout.units(), &scene.title, &scene.alt, None, &Curves(scene, &layout))
}

/// Draws twice, once for each format, over a bitmap of two pixels per pixel of the figure, if any.
pub(super) fn draw_over(
    size: (u32, u32),
    title: &str,
    alt: &str,
    underlay: Option<&Picture>,
    what: &impl Paint,
) -> Result<Figure> {
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        area.fill(&RGBColor(255, 255, 255)).map_err(failed)?;
        what.paint(&area).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    let image = underlay.map(|picture| raster::encode(picture.width, picture.height, &picture.rgb)).transpose()?;
    let svg = svg::finish(&drawn, size, title, alt, image.as_deref());
    let png = raster::png(size, underlay, |area| what.paint(area))?;
    Ok(Figure { svg, png, alt: alt.to_owned() })
}

/// A drawing error as one of ours.
pub(super) fn failed(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Io01, "figure", format!("drawing failed: {cause}"))
}
