//! Figures of regions of interest: curves over layers, layers × regions, and what each subject adds to a difference.

mod curves;
mod heat;
mod pairs;

pub(super) use curves::Curves;
pub(super) use heat::Heat;
pub(super) use pairs::Pairs;

use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use crate::compare::{ALPHA, RoiDifference};
use crate::plot::canvas::{Canvas, Painted, Place, Type};
use crate::plot::font;
use crate::plot::layout::{CAPTION_EM, CAPTION_ROW, TITLE_EM};

/// Width of the figures, in pixels, as that of all others.
const WIDTH: f64 = 880.0;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const SOFT: RGBColor = RGBColor(0x55, 0x55, 0x55);
const MESH: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const ZERO: RGBColor = RGBColor(0x8a, 0x8a, 0x8a);

fn set(em: f64, bold: bool, colour: RGBColor, align: HPos) -> Type {
    Type { em, bold, colour, align }
}

/// Whether a difference stands when its whole family is looked at.
fn stands(d: &RoiDifference) -> bool {
    d.difference.value().is_some() && d.inference.p_fwe.is_some_and(|p| p < ALPHA)
}

/// Lines of a caption, wrapped to the figure's width.
fn wrapped(lines: &[String]) -> Vec<String> {
    lines.iter().flat_map(|l| font::wrapped(l, CAPTION_EM, (WIDTH - 40.0) / 1.05)).collect()
}

fn title<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, text: &str) -> Painted<DB> {
    let text = font::fitted(text, TITLE_EM, true, (WIDTH - 40.0) / 1.05);
    canvas.text(&text, (20.0, 26.0), set(TITLE_EM, true, INK, HPos::Left))
}

fn caption<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, lines: &[String], top: f64) -> Painted<DB> {
    for (i, line) in lines.iter().enumerate() {
        canvas.text(line, (20.0, top + i as f64 * CAPTION_ROW), set(CAPTION_EM, false, SOFT, HPos::Left))?;
    }
    Ok(())
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
