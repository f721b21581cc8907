//! Where the parts of a picture of a brain go, and the words and lines over the bitmap.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use super::colours::Scale;
use super::mesh::{self, Side};
use super::plane::{self, Depth, View};
use super::{BrainScene, Picture, outline};
use crate::io::gifti::Hemisphere;
use crate::plot::axes;
use crate::plot::canvas::{Canvas, Painted, Place, Type, UNITS};
use crate::plot::font;
use crate::plot::layout::{CAPTION_EM, CAPTION_ROW, LABEL_EM, TICK_EM, TITLE_EM, WIDTH};
use crate::plot::look::{INK, SOFT};
use crate::visible::visible;

/// Pixels of the bitmap per pixel of the figure.
const FINE: f64 = 2.0;
const TOP: f64 = 48.0;
/// Pixels per mm of the three views and of the slices.
const LARGE: f64 = 1.18;
const SMALL: f64 = 0.605;
/// Left edges of the three views.
const VIEWS: [(View, f64); 3] = [(View::Side, 22.0), (View::Front, 272.0), (View::Above, 484.0)];
/// Places of the slices (mm).
const SLICES: [f64; 8] = [-28.0, -16.0, -4.0, 8.0, 20.0, 32.0, 44.0, 56.0];
/// For labels, of which none is larger than another, slices stand where one looks through elsewhere.
const CUTS: [f64; 3] = [-50.0, -54.0, 12.0];
const SURFACE: (f64, f64) = (196.0, 150.0);
const BAR: (f64, f64) = (716.0, 16.0);
const OUTLINE: RGBColor = RGBColor(0x6e, 0x6e, 0x6e);

/// Heights of the rows.
pub(super) struct Layout {
    height: f64,
    slices: f64,
    surfaces: f64,
    caption_top: f64,
    caption: Vec<String>,
    title: String,
    unit: Vec<String>,
}

impl Layout {
    pub fn of(scene: &BrainScene<'_>) -> Layout {
        let slices = TOP + extent(View::Above, LARGE).1 + 26.0;
        let surfaces = slices + extent(View::Above, SMALL).1 + 34.0;
        let rows = if scene.surfaces.is_empty() { surfaces - 10.0 } else { surfaces + SURFACE.1 + 24.0 };
        let caption: Vec<String> =
            scene.caption.iter().flat_map(|l| font::wrapped(&visible(l), CAPTION_EM, (WIDTH - 40.0) / 1.05)).collect();
        Layout {
            height: (rows + 12.0 + caption.len() as f64 * CAPTION_ROW).ceil(),
            slices,
            surfaces,
            caption_top: rows + 8.0,
            caption,
            title: font::fitted(&visible(scene.title), TITLE_EM, true, (WIDTH - 40.0) / 1.05),
            unit: font::wrapped(&visible(scene.unit), LABEL_EM, (WIDTH - BAR.0 - 16.0) / 1.05),
        }
    }

    pub fn units(&self) -> (u32, u32) {
        (WIDTH as u32 * UNITS, self.height as u32 * UNITS)
    }

    fn bar(&self) -> (f64, f64) {
        let top = TOP + 12.0 + self.unit.len() as f64 * 15.0;
        (top, TOP + extent(View::Above, LARGE).1 - 4.0)
    }
}

/// Width and height of a view in pixels.
fn extent(view: View, scale: f64) -> (f64, f64) {
    let [(left, right), (bottom, top)] = view.window();
    ((right - left) * scale, (top - bottom) * scale)
}

fn slice_left(i: usize) -> f64 {
    22.0 + i as f64 * (extent(View::Above, SMALL).0 + 8.0)
}

/// The four views of surfaces that there are, from left to right.
fn surface_views(scene: &BrainScene<'_>) -> Vec<(usize, Side, &'static str)> {
    let order = [
        (Hemisphere::Left, Side::Lateral, "left, lateral"),
        (Hemisphere::Left, Side::Medial, "left, medial"),
        (Hemisphere::Right, Side::Medial, "right, medial"),
        (Hemisphere::Right, Side::Lateral, "right, lateral"),
    ];
    let at = |half: Hemisphere| scene.surfaces.iter().position(|s| s.hemisphere == half);
    order.into_iter().filter_map(|(half, side, name)| Some((at(half)?, side, name))).collect()
}

fn surface_left(i: usize) -> f64 {
    26.0 + i as f64 * (SURFACE.0 + 14.0)
}

/// All bitmaps of the picture, in one.
pub(super) fn underlay(scene: &BrainScene<'_>, scale: &Scale, layout: &Layout) -> Picture {
    let fine = |v: f64| (v * FINE).round() as usize;
    let mut picture = Picture::new(fine(WIDTH), fine(layout.height));
    let maps = (scene.map, scene.cover);
    for (i, (view, left)) in VIEWS.into_iter().enumerate() {
        let depth = match (scene.map.is_labels(), scene.low_is_best) {
            (true, _) => Depth::Slice(CUTS[i]),
            (false, true) => Depth::Smallest,
            (false, false) => Depth::Through,
        };
        plane::put(&mut picture, (fine(left), fine(TOP)), LARGE * FINE, maps, (view, depth), scale);
    }
    for (i, z) in SLICES.into_iter().enumerate() {
        let corner = (fine(slice_left(i)), fine(layout.slices));
        plane::put(&mut picture, corner, SMALL * FINE, maps, (View::Above, Depth::Slice(z)), scale);
    }
    for (i, (surface, side, _)) in surface_views(scene).into_iter().enumerate() {
        let corner = (fine(surface_left(i)), fine(layout.surfaces));
        let size = (fine(SURFACE.0), fine(SURFACE.1));
        mesh::put(&mut picture, corner, size, &scene.surfaces[surface], side, scale);
    }
    let (top, bottom) = layout.bar();
    for y in fine(top)..fine(bottom) {
        let share = 1.0 - (y - fine(top)) as f64 / (fine(bottom) - fine(top)) as f64;
        let colour = scale.colour(scale.low + share * (scale.high - scale.low));
        (fine(BAR.0)..fine(BAR.0 + BAR.1)).for_each(|x| picture.set(x, y, colour));
    }
    picture
}

/// What is drawn over the bitmap.
pub(super) struct Words<'a> {
    pub scene: &'a BrainScene<'a>,
    pub scale: &'a Scale,
    pub layout: &'a Layout,
}

impl Words<'_> {
    /// Draws over the bitmap; the ground is left as it is.
    pub fn paint<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Painted<DB> {
        let (canvas, layout) = (Canvas(root), self.layout);
        let title = Type { em: TITLE_EM, bold: true, colour: INK, align: HPos::Left };
        canvas.text(&layout.title, (20.0, 26.0), title)?;
        let small = Type { em: TICK_EM, bold: false, colour: SOFT, align: HPos::Center };
        let labels = self.scene.map.is_labels();
        for (i, (view, left)) in VIEWS.into_iter().enumerate() {
            let corners = [&outline::SIDE, &outline::FRONT, &outline::ABOVE][i];
            if !labels {
                let [(low, _), (_, top)] = view.window();
                let at = |(u, v): (f64, f64)| (left + (u - low) * LARGE, TOP + (top - v) * LARGE);
                let smooth: Vec<Place> = smooth(corners).into_iter().map(at).collect();
                canvas.line(&smooth, OUTLINE, 1.1)?;
            }
            let (width, height) = extent(view, LARGE);
            let words = match (labels, view) {
                (false, View::Side) => "seen through from the right".to_owned(),
                (false, View::Front) => "from behind".to_owned(),
                (false, View::Above) => "from above".to_owned(),
                (true, _) => format!("{} = {}", ["x", "y", "z"][i], signed(CUTS[i])),
            };
            let foot = TOP + extent(View::Above, LARGE).1 + 9.0;
            canvas.text(&words, (left + width / 2.0, foot), small)?;
            let ends = if view == View::Side { ["P", "A"] } else { ["L", "R"] };
            let middle = TOP + height * 0.08;
            canvas.text(ends[0], (left + 8.0, middle), small)?;
            canvas.text(ends[1], (left + width - 8.0, middle), small)?;
        }
        for (i, z) in SLICES.into_iter().enumerate() {
            let (width, height) = extent(View::Above, SMALL);
            canvas.text(
                &format!("z = {}", signed(z)),
                (slice_left(i) + width / 2.0, layout.slices + height + 8.0),
                small,
            )?;
        }
        for (i, (_, _, name)) in surface_views(self.scene).into_iter().enumerate() {
            let at = (surface_left(i) + SURFACE.0 / 2.0, layout.surfaces + SURFACE.1 + 9.0);
            canvas.text(name, at, small)?;
        }
        self.bar(&canvas)?;
        let caption = Type { em: CAPTION_EM, bold: false, colour: SOFT, align: HPos::Left };
        for (i, line) in layout.caption.iter().enumerate() {
            canvas.text(line, (20.0, layout.caption_top + (i as f64 + 0.5) * CAPTION_ROW), caption)?;
        }
        Ok(())
    }
}

impl Words<'_> {
    fn bar<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Painted<DB> {
        let (top, bottom) = self.layout.bar();
        let label = Type { em: LABEL_EM, bold: false, colour: INK, align: HPos::Left };
        for (i, line) in self.layout.unit.iter().enumerate() {
            canvas.text(line, (BAR.0, TOP + 4.0 + i as f64 * 15.0), label)?;
        }
        let (left, right) = (BAR.0, BAR.0 + BAR.1);
        canvas.line(&[(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], SOFT, 0.75)?;
        let ticks = if self.scene.map.is_labels() {
            let whole = axes::whole(self.scale.low as usize, self.scale.high as usize, 13);
            axes::Ticks {
                at: whole.iter().map(|v| *v as f64).collect(),
                labels: whole.iter().map(ToString::to_string).collect(),
            }
        } else {
            axes::ticks((self.scale.low, self.scale.high), 6)
        };
        let set = Type { em: TICK_EM, bold: false, colour: SOFT, align: HPos::Left };
        for (value, text) in ticks.at.iter().zip(&ticks.labels) {
            let y = bottom - (value - self.scale.low) / (self.scale.high - self.scale.low) * (bottom - top);
            canvas.line(&[(right, y), (right + 4.0, y)], SOFT, 1.0)?;
            canvas.text(text, (right + 8.0, y), set)?;
        }
        Ok(())
    }
}

fn signed(mm: f64) -> String {
    format!("{mm:.0}").replace('-', "−")
}

/// A closed curve through all corners (Catmull–Rom).
fn smooth(corners: &[(i8, i8)]) -> Vec<(f64, f64)> {
    const PARTS: usize = 5;
    let n = corners.len();
    let at = |i: usize| (f64::from(corners[i % n].0), f64::from(corners[i % n].1));
    (0..=n * PARTS)
        .map(|step| {
            let (i, t) = (step / PARTS, (step % PARTS) as f64 / PARTS as f64);
            let [a, b, c, d] = [at(i + n - 1), at(i), at(i + 1), at(i + 2)];
            let one = |a: f64, b: f64, c: f64, d: f64| {
                0.5 * (2.0 * b
                    + (c - a) * t
                    + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t
                    + (3.0 * b - a - 3.0 * c + d) * t * t * t)
            };
            (one(a.0, b.0, c.0, d.0), one(a.1, b.1, c.1, d.1))
        })
        .collect()
}
