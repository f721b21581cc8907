use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::prelude::SVGBackend;
use plotters_backend::DrawingBackend;

use crate::compare::Along;
use crate::error::{Code, Error, Result};
use crate::plot::canvas::Painted;
use crate::plot::layout::Layout;
use crate::plot::regions::{Curves, Heat, Pairs};
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
    /// Where its values stand, for a page that shows them under a pointer.
    pub points: Vec<Spot>,
}

/// A value of a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Spot {
    /// Its place, as a share of the width.
    pub x: f64,
    /// Its place, as a share of the height.
    pub y: f64,
    /// What stands there, in words.
    pub text: String,
    /// The layer, in figures over layers.
    pub layer: Option<usize>,
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
    /// [`super::along`] training steps.
    pub steps: Option<Figure>,
    /// [`super::along`] model sizes.
    pub size: Option<Figure>,
    /// [`super::regions`].
    pub regions: Option<Regions>,
    /// Pictures of brains; a record alone has none.
    pub brains: Vec<BrainFigure>,
}

/// The figures of regions of interest.
#[derive(Debug, Clone, PartialEq)]
pub struct Regions {
    /// A panel per region: scores over layers, with baselines and ceiling.
    pub layerwise: Figure,
    /// Layers × regions.
    pub layers: Option<Figure>,
    /// Each subject's differences; with something to compare.
    pub difference: Option<Figure>,
}

/// Something that draws itself, on any backend.
pub(super) trait Drawing {
    /// Width and height in units.
    fn size(&self) -> (u32, u32);
    /// What stands over it.
    fn title(&self) -> &str;
    /// What it shows, in words.
    fn alt(&self) -> &str;
    /// Where its values stand.
    fn spots(&self) -> Vec<Spot> {
        Vec::new()
    }
    /// Draws all of it.
    fn paint<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Painted<DB>;
}

impl Figures {
    /// The figures of the record that there are, with the names of their files.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        let optional = [
            ("difference", &self.difference),
            ("weights", &self.weights),
            ("steps", &self.steps),
            ("size", &self.size),
        ];
        let present = optional.into_iter().filter_map(|(name, figure)| Some((name, figure.as_ref()?)));
        let regions = self.regions.iter().flat_map(|r| {
            let optional = [("roi-layers", &r.layers), ("roi-difference", &r.difference)];
            let present = optional.into_iter().filter_map(|(name, figure)| Some((name, figure.as_ref()?)));
            std::iter::once(("roi-layerwise", &r.layerwise)).chain(present)
        });
        std::iter::once(("layerwise", &self.layerwise)).chain(present).chain(regions)
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
            steps: super::along(record, Along::Steps)?,
            size: super::along(record, Along::Size)?,
            regions: super::regions(record)?,
            brains: Vec::new(),
        })
    }
}

/// A scene with its layout.
struct Laid<'a>(&'a Scene, Layout);

impl Drawing for Laid<'_> {
    fn size(&self) -> (u32, u32) {
        self.1.units()
    }

    fn title(&self) -> &str {
        &self.0.title
    }

    fn alt(&self) -> &str {
        &self.0.alt
    }

    fn spots(&self) -> Vec<Spot> {
        self.1.spots(self.0)
    }

    fn paint<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Painted<DB> {
        paint::paint(root, self.0, &self.1)
    }
}

/// Draws a scene.
pub(super) fn draw(scene: &Scene) -> Result<Figure> {
    twice(&Laid(scene, Layout::of(scene)))
}

/// The figures of a record's regions of interest.
pub(super) fn regions(record: &RunRecord) -> Result<Option<Regions>> {
    let Some(curves) = Curves::of(record) else { return Ok(None) };
    Ok(Some(Regions {
        layerwise: twice(&curves)?,
        layers: Heat::of(record).map(|heat| twice(&heat)).transpose()?,
        difference: Pairs::of(record).map(|pairs| twice(&pairs)).transpose()?,
    }))
}

/// Draws once for each format.
pub(super) fn twice(drawing: &impl Drawing) -> Result<Figure> {
    let size = drawing.size();
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, size).into_drawing_area();
        drawing.paint(&area).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    let svg = svg::finish(&drawn, size, drawing.title(), drawing.alt());
    let png = raster::png(size, |area| drawing.paint(area))?;
    Ok(Figure { svg, png, alt: drawing.alt().to_owned(), points: drawing.spots() })
}

/// A drawing error as one of ours.
pub(super) fn failed(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Io01, "figure", format!("drawing failed: {cause}"))
}
