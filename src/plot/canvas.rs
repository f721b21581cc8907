use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle};
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::{HPos, Pos, VPos};

use crate::plot::font;
use crate::plot::look::Marker;

/// Units of the drawing per pixel. Backends have whole coordinates only; this makes them quarters of a pixel.
pub(super) const UNITS: u32 = 4;

/// What a stroke of the canvas returns.
pub(super) type Painted<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// A place in pixels.
pub(super) type Place = (f64, f64);

/// A drawing area in pixels, with the few strokes that figures are made of.
pub(super) struct Canvas<'a, DB: DrawingBackend>(pub &'a DrawingArea<DB, Shift>);

/// How a text is set.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub em: f64,
    pub bold: bool,
    pub colour: RGBColor,
    pub align: HPos,
}

fn units(pixels: f64) -> i32 {
    (pixels * f64::from(UNITS)).round() as i32
}

fn place((x, y): Place) -> (i32, i32) {
    (units(x), units(y))
}

fn stroke(colour: RGBColor, width: f64) -> ShapeStyle {
    ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: units(width).max(1) as u32 }
}

impl<DB: DrawingBackend> Canvas<'_, DB> {
    /// A solid line through all places.
    pub fn line(&self, through: &[Place], colour: RGBColor, width: f64) -> Painted<DB> {
        if through.len() < 2 {
            return Ok(());
        }
        let places: Vec<_> = through.iter().copied().map(place).collect();
        self.0.draw(&PathElement::new(places, stroke(colour, width)))
    }

    /// A line of dashes, `on` pixels long and `off` pixels apart, measured along the line and around its corners.
    pub fn dashes(&self, through: &[Place], colour: RGBColor, width: f64, (on, off): (f64, f64)) -> Painted<DB> {
        for dash in dashes(through, on, off) {
            self.line(&dash, colour, width)?;
        }
        Ok(())
    }

    /// A filled polygon.
    pub fn area(&self, corners: &[Place], colour: RGBColor, opacity: f64) -> Painted<DB> {
        let places: Vec<_> = corners.iter().copied().map(place).collect();
        self.0.draw(&Polygon::new(places, colour.mix(opacity)))
    }

    /// A filled rectangle.
    pub fn rectangle(&self, from: Place, to: Place, colour: RGBColor, opacity: f64) -> Painted<DB> {
        self.0.draw(&Rectangle::new([place(from), place(to)], colour.mix(opacity).filled()))
    }

    /// A marker of about eight pixels.
    pub fn marker(&self, at: Place, marker: Marker, colour: RGBColor) -> Painted<DB> {
        let white = RGBColor(255, 255, 255);
        let corners = |unit: &[Place], size: f64| -> Vec<Place> {
            unit.iter().map(|(x, y)| (at.0 + x * size, at.1 + y * size)).collect()
        };
        let disc = |size: f64, colour: RGBColor| Circle::new(place(at), units(size), colour.filled());
        let (shape, open): (Option<&[Place]>, bool) = match marker {
            Marker::Disc => (None, false),
            Marker::Ring => (None, true),
            Marker::Square => (Some(&SQUARE), false),
            Marker::OpenSquare => (Some(&SQUARE), true),
            Marker::Triangle => (Some(&TRIANGLE), false),
            Marker::OpenTriangle => (Some(&TRIANGLE), true),
            Marker::Diamond => (Some(&DIAMOND), false),
            Marker::OpenDiamond => (Some(&DIAMOND), true),
        };
        // A white rim keeps markers apart from lines of the same colour that pass under them.
        for (size, colour) in [(5.0, white), (3.9, colour), (2.3, white)].into_iter().take(if open { 3 } else { 2 }) {
            match shape {
                None => self.0.draw(&disc(size, colour))?,
                Some(unit) => self.area(&corners(unit, size), colour, 1.0)?,
            }
        }
        Ok(())
    }

    /// The outline of a saltire: the mark of what is undefined.
    pub fn cross(&self, at: Place, colour: RGBColor) -> Painted<DB> {
        let (long, short) = (4.2, 1.4);
        // A plus sign's twelve corners, turned by an eighth.
        let plus = [
            (-short, -long),
            (short, -long),
            (short, -short),
            (long, -short),
            (long, short),
            (short, short),
            (short, long),
            (-short, long),
            (-short, short),
            (-long, short),
            (-long, -short),
            (-short, -short),
            (-short, -long),
            (short, -long),
        ];
        let turn = std::f64::consts::FRAC_1_SQRT_2;
        let corners: Vec<Place> = plus.iter().map(|(x, y)| (at.0 + (x - y) * turn, at.1 + (x + y) * turn)).collect();
        self.line(&corners, colour, 1.0)
    }

    /// A line of text; `at` is its end or middle across, by alignment, and the middle of its x-height.
    pub fn text(&self, text: &str, at: Place, set: Type) -> Painted<DB> {
        self.0.draw(&Text::new(text.to_owned(), place(at), style(set, FontTransform::None)))
    }

    /// A line of text that reads upwards, centred at `at`.
    pub fn upwards(&self, text: &str, at: Place, set: Type) -> Painted<DB> {
        self.0.draw(&Text::new(text.to_owned(), place(at), style(set, FontTransform::Rotate270)))
    }
}

const SQUARE: [Place; 4] = [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)];
const TRIANGLE: [Place; 3] = [(0.0, -1.2), (1.12, 0.8), (-1.12, 0.8)];
const DIAMOND: [Place; 4] = [(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)];

fn style(set: Type, transform: FontTransform) -> TextStyle<'static> {
    let weight = if set.bold { FontStyle::Bold } else { FontStyle::Normal };
    // plotters' sizes are 1.24 em.
    let font = FontDesc::new(FontFamily::Name(font::FAMILY), set.em * 1.24 * f64::from(UNITS), weight);
    font.transform(transform).color(&set.colour).pos(Pos::new(set.align, VPos::Center))
}

/// The dashes of a line.
fn dashes(through: &[Place], on: f64, off: f64) -> Vec<Vec<Place>> {
    let mut all = Vec::new();
    let Some(first) = through.first() else { return all };
    let (mut drawing, mut left) = (true, on);
    let mut dash = vec![*first];
    for pair in through.windows(2) {
        let ((mut x, mut y), (to_x, to_y)) = (pair[0], pair[1]);
        loop {
            let (dx, dy) = (to_x - x, to_y - y);
            let length = dx.hypot(dy);
            if length <= left {
                left -= length;
                if drawing {
                    dash.push((to_x, to_y));
                }
                break;
            }
            (x, y) = (x + dx * left / length, y + dy * left / length);
            if drawing {
                dash.push((x, y));
                all.push(std::mem::take(&mut dash));
            } else {
                dash = vec![(x, y)];
            }
            drawing = !drawing;
            left = if drawing { on } else { off };
        }
    }
    if drawing {
        all.push(dash);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_around_corners() {
        let corner = [(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)];
        assert_eq!(dashes(&corner, 6.0, 2.0), [vec![(0.0, 0.0), (5.0, 0.0), (5.0, 1.0)], vec![(5.0, 3.0), (5.0, 5.0)]]);
        assert!(dashes(&[], 1.0, 1.0).is_empty());
    }
}
