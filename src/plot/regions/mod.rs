//! Figures of regions of interest: curves over layers, layers × regions, and what each subject adds to a difference.

mod curves;
mod heat;
mod pairs;

pub(super) use curves::Curves;
pub(super) use heat::Heat;
pub(super) use pairs::Pairs;

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use crate::compare::{ALPHA, RoiDifference};
use crate::plot::canvas::{Canvas, Painted, Place, Type, UNITS};
use crate::plot::figure::Drawing;
use crate::plot::font;
use crate::plot::layout::{CAPTION_EM, CAPTION_ROW, TITLE_EM, WIDTH};
use crate::plot::look::{INK, SOFT};

fn set(em: f64, bold: bool, colour: RGBColor, align: HPos) -> Type {
    Type { em, bold, colour, align }
}

/// Whether a difference stands when its whole family is looked at.
fn stands(d: &RoiDifference) -> bool {
    d.difference.value().is_some() && d.inference.p_fwe.is_some_and(|p| p < ALPHA)
}

/// The words of a figure.
#[derive(Debug)]
pub(in crate::plot) struct Words {
    title: String,
    alt: String,
    /// Lines below the panels, wrapped to the figure's width.
    caption: Vec<String>,
}

impl Words {
    fn new(title: String, alt: String, caption: &[String]) -> Words {
        let wrapped = |l: &String| font::wrapped(l, CAPTION_EM, (WIDTH - 40.0) / 1.05);
        Words { title, alt, caption: caption.iter().flat_map(wrapped).collect() }
    }
}

/// A figure of panels between a title and a caption.
pub(in crate::plot) trait Panels {
    fn words(&self) -> &Words;
    /// Where the panels end, in pixels from the top.
    fn bottom(&self) -> f64;
    /// Draws what lies between title and caption.
    fn panels<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Painted<DB>;
}

impl<P: Panels> Drawing for P {
    fn size(&self) -> (u32, u32) {
        let height = self.bottom() + 12.0 + self.words().caption.len() as f64 * CAPTION_ROW;
        (WIDTH as u32 * UNITS, height.ceil() as u32 * UNITS)
    }

    fn title(&self) -> &str {
        &self.words().title
    }

    fn alt(&self) -> &str {
        &self.words().alt
    }

    fn paint<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Painted<DB> {
        let canvas = Canvas(root);
        root.fill(&RGBColor(255, 255, 255))?;
        let title = font::fitted(&self.words().title, TITLE_EM, true, (WIDTH - 40.0) / 1.05);
        canvas.text(&title, (20.0, 26.0), set(TITLE_EM, true, INK, HPos::Left))?;
        self.panels(&canvas)?;
        for (i, line) in self.words().caption.iter().enumerate() {
            let place = (20.0, self.bottom() + 8.0 + i as f64 * CAPTION_ROW);
            canvas.text(line, place, set(CAPTION_EM, false, SOFT, HPos::Left))?;
        }
        Ok(())
    }
}

/// A rectangle's outline.
fn outline<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    from: Place,
    to: Place,
    colour: RGBColor,
    width: f64,
) -> Painted<DB> {
    canvas.line(&[from, (to.0, from.1), to, (from.0, to.1), from], colour, width)
}
