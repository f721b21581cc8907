//! The drawing itself, the same for every backend.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use crate::plot::canvas::{Canvas, Painted, Place, Type};
use crate::plot::layout::{CAPTION_EM, CAPTION_ROW, LABEL_EM, Layout, ROW, SWATCH, TICK_EM, TITLE_EM, UNDEFINED_ROW};
use crate::plot::look::{BASELINE, CEILING, INK, Look, MESH, SOFT, ZERO};
use crate::plot::scene::{Scene, SceneCurve, SceneLevel, ScenePoint};
use crate::stats::bootstrap::Interval;

const LINE: f64 = 1.9;
const DASHES: (f64, f64) = (6.0, 4.0);
const LONG_DASHES: (f64, f64) = (7.0, 4.0);

/// Draws a scene.
pub(super) fn paint<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, scene: &Scene, layout: &Layout) -> Painted<DB> {
    let canvas = Canvas(root);
    root.fill(&RGBColor(255, 255, 255))?;
    let title = Type { em: TITLE_EM, bold: true, colour: INK, align: HPos::Left };
    canvas.text(&layout.title, (20.0, 26.0), title)?;
    mesh(&canvas, layout)?;
    levels(&canvas, scene, layout)?;
    // Many bands on top of each other hide each other; thinner ones still show where curves overlap.
    let opacity = if scene.curves.len() > 4 { 0.10 } else { 0.17 };
    // Baselines lie behind what they are baselines of.
    let behind = || scene.curves.iter().filter(|c| c.look.behind).chain(scene.curves.iter().filter(|c| !c.look.behind));
    for curve in behind() {
        bands(&canvas, curve, layout, opacity)?;
    }
    for curve in behind() {
        curve_line(&canvas, curve, layout)?;
    }
    for curve in behind() {
        for (layer, value) in curve.points.iter().filter_map(|p| Some((p.layer, p.value?))) {
            canvas.marker(layout.place(layer, value), curve.look.marker, curve.look.colour)?;
        }
    }
    if scene.curves.iter().all(|c| c.points.iter().all(|p| p.value.is_none())) {
        let note = Type { em: LABEL_EM, bold: false, colour: SOFT, align: HPos::Center };
        let middle = ((layout.left + layout.right) / 2.0, (layout.top + layout.bottom) / 2.0 - 24.0);
        canvas.text("no layer has a defined score", middle, note)?;
    }
    undefined(&canvas, scene, layout)?;
    frame(&canvas, layout)?;
    legend(&canvas, scene, layout)?;
    let small = Type { em: CAPTION_EM, bold: false, colour: SOFT, align: HPos::Left };
    for (i, line) in layout.caption.iter().enumerate() {
        canvas.text(line, (20.0, layout.floor + 62.0 + i as f64 * CAPTION_ROW), small)?;
    }
    Ok(())
}

/// Few horizontal lines; zero stands out.
fn mesh<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, layout: &Layout) -> Painted<DB> {
    let label = Type { em: TICK_EM, bold: false, colour: SOFT, align: HPos::Right };
    for (value, text) in layout.y_ticks.at.iter().zip(&layout.y_ticks.labels) {
        let y = layout.y(*value);
        canvas.line(&[(layout.left, y), (layout.right, y)], MESH, 1.0)?;
        canvas.text(text, (layout.left - 8.0, y), label)?;
    }
    let y = layout.y(0.0);
    canvas.line(&[(layout.left, y), (layout.right, y)], ZERO, 1.25)
}

/// The levels of the confounds and of the ceiling, with their intervals.
fn levels<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, scene: &Scene, layout: &Layout) -> Painted<DB> {
    for level in &scene.levels {
        let colour = level_colour(level);
        if let Some((low, high)) = level.interval {
            canvas.rectangle((layout.left, layout.y(high)), (layout.right, layout.y(low)), colour, 0.10)?;
        }
        let y = layout.y(level.value);
        canvas.dashes(&[(layout.left, y), (layout.right, y)], colour, 1.5, DASHES)?;
    }
    Ok(())
}

fn level_colour(level: &SceneLevel) -> RGBColor {
    if level.is_ceiling { CEILING } else { BASELINE }
}

/// Intervals: a band along neighbouring points, a bar where a point stands alone.
fn bands<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    curve: &SceneCurve,
    layout: &Layout,
    opacity: f64,
) -> Painted<DB> {
    for run in curve.points.split(|p| p.interval.is_none()) {
        let both = |p: &ScenePoint| p.interval.map(|(low, high): Interval| (p.layer, low, high));
        let known: Vec<(usize, f64, f64)> = run.iter().filter_map(both).collect();
        match known.as_slice() {
            [] => {}
            [(layer, low, high)] => bar(canvas, layout.place(*layer, *low), layout.place(*layer, *high), curve.look)?,
            many => {
                let upper = many.iter().map(|(layer, _, high)| layout.place(*layer, *high));
                let lower = many.iter().rev().map(|(layer, low, _)| layout.place(*layer, *low));
                canvas.area(&upper.chain(lower).collect::<Vec<_>>(), curve.look.colour, opacity)?;
            }
        }
    }
    Ok(())
}

fn bar<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, low: Place, high: Place, look: Look) -> Painted<DB> {
    canvas.line(&[low, high], look.colour, 1.5)?;
    for (x, y) in [low, high] {
        canvas.line(&[(x - 5.0, y), (x + 5.0, y)], look.colour, 1.5)?;
    }
    Ok(())
}

/// The line, broken where a point is undefined.
fn curve_line<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, curve: &SceneCurve, layout: &Layout) -> Painted<DB> {
    for run in curve.points.split(|p| p.value.is_none()) {
        let places: Vec<Place> = run.iter().filter_map(|p| p.value.map(|v| layout.place(p.layer, v))).collect();
        stroke(canvas, &places, curve.look)?;
    }
    Ok(())
}

fn stroke<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, places: &[Place], look: Look) -> Painted<DB> {
    if look.dashed {
        canvas.dashes(places, look.colour, LINE, LONG_DASHES)
    } else {
        canvas.line(places, look.colour, LINE)
    }
}

/// One row per curve with gaps, under the axes: a mark at each layer without a score.
fn undefined<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, scene: &Scene, layout: &Layout) -> Painted<DB> {
    for (row, index) in layout.undefined.iter().enumerate() {
        let curve = &scene.curves[*index];
        let y = layout.bottom + 3.0 + (row as f64 + 0.5) * UNDEFINED_ROW;
        for point in curve.points.iter().filter(|p| p.value.is_none()) {
            canvas.cross((layout.x(point.layer as f64), y), curve.look.colour)?;
        }
    }
    if !layout.undefined.is_empty() {
        let label = Type { em: TICK_EM, bold: false, colour: SOFT, align: HPos::Right };
        canvas.text("undefined", (layout.left - 8.0, (layout.bottom + layout.floor) / 2.0), label)?;
        canvas.line(&[(layout.left, layout.bottom), (layout.right, layout.bottom)], MESH, 1.0)?;
    }
    Ok(())
}

/// The axes and what is written on them.
fn frame<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, layout: &Layout) -> Painted<DB> {
    let corner = [(layout.left, layout.top), (layout.left, layout.floor), (layout.right, layout.floor)];
    canvas.line(&corner, SOFT, 1.0)?;
    let tick = Type { em: TICK_EM, bold: false, colour: SOFT, align: HPos::Center };
    for layer in &layout.x_ticks {
        let x = layout.x(*layer as f64);
        canvas.line(&[(x, layout.floor), (x, layout.floor + 4.0)], SOFT, 1.0)?;
        canvas.text(&layer.to_string(), (x, layout.floor + 14.0), tick)?;
    }
    let label = Type { em: LABEL_EM, colour: INK, ..tick };
    let middle = (layout.left + layout.right) / 2.0;
    canvas.text("layer (0 = embedding output)", (middle, layout.floor + 34.0), label)?;
    canvas.upwards(&layout.y_label, (20.0, (layout.top + layout.bottom) / 2.0), label)
}

/// Beside the axes, so that it can cover nothing.
fn legend<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, scene: &Scene, layout: &Layout) -> Painted<DB> {
    let set = Type { em: LABEL_EM, bold: false, colour: INK, align: HPos::Left };
    let (left, right) = (layout.legend_left, layout.legend_left + SWATCH - 9.0);
    let middle = (left + right) / 2.0;
    let row = |i: usize| layout.top + 8.0 + i as f64 * ROW;
    for (i, text) in layout.legend.iter().enumerate() {
        let y = row(i);
        canvas.text(text, (left + SWATCH, y), set)?;
        if let Some(curve) = scene.curves.get(i) {
            if curve.points.iter().any(|p| p.interval.is_some()) {
                canvas.rectangle((left, y - 6.0), (right, y + 6.0), curve.look.colour, 0.17)?;
            }
            stroke(canvas, &[(left, y), (right, y)], curve.look)?;
            canvas.marker((middle, y), curve.look.marker, curve.look.colour)?;
        } else if let Some(level) = i.checked_sub(scene.curves.len()).and_then(|i| scene.levels.get(i)) {
            let colour = level_colour(level);
            if level.interval.is_some() {
                canvas.rectangle((left, y - 6.0), (right, y + 6.0), colour, 0.10)?;
            }
            canvas.dashes(&[(left, y), (right, y)], colour, 1.5, DASHES)?;
        } else {
            canvas.cross((middle, y), SOFT)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::encoding::{Reason, Score};
    use crate::plot;
    use crate::record::sample;

    const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&]]>\u{1b}\u{202e}\u{0}";

    #[test]
    fn a_hostile_label_is_inert() {
        let record = sample::of(&[(HOSTILE, 4), ("b", 4)]);
        for figure in [plot::layerwise(&record).unwrap(), plot::difference(&record).unwrap().unwrap()] {
            let tags = sample::tags(&figure.svg);
            for tag in &tags {
                assert!(
                    ["svg", "title", "desc", "rect", "circle", "line", "polyline", "polygon", "text"]
                        .contains(&tag.as_str()),
                    "{tag}"
                );
            }
            assert!(figure.svg.contains("&lt;img src=x"));
            assert!(!figure.svg.chars().any(|c| c.is_control() && c != '\n') && !figure.svg.contains('\u{202e}'));
            assert!(!figure.svg.contains("href") && !figure.svg.contains("url("));
        }
    }

    #[test]
    fn undefined_points_are_gaps_and_marks() {
        let mut record = sample::of(&[("a", 4)]);
        let whole = plot::layerwise(&record).unwrap().svg;
        record.comparison.curves[0].points[2].mean = Score::undefined(Reason::NothingDefined);
        let broken = plot::layerwise(&record).unwrap();
        assert!(!whole.contains("undefined (no score)") && broken.svg.contains("undefined (no score)"));
        // The first colour: the curve in two pieces beside the legend's line, and the outline of one mark.
        let strokes = |svg: &str, width: u32| {
            svg.matches(&format!("<polyline fill=\"none\" opacity=\"1\" stroke=\"#0072B2\" stroke-width=\"{width}\""))
                .count()
        };
        assert_eq!((strokes(&whole, 8), strokes(&whole, 4)), (2, 0));
        assert_eq!((strokes(&broken.svg, 8), strokes(&broken.svg, 4)), (3, 1));
        assert!(broken.alt.contains("1 undefined"));
    }

    #[test]
    fn every_shape_of_record_can_be_drawn() {
        let many: Vec<String> = (0..12).map(|i| format!("checkpoint {i}")).collect();
        let many: Vec<(&str, usize)> = many.iter().enumerate().map(|(i, l)| (l.as_str(), i)).collect();
        let mut all_undefined = sample::record();
        for curve in &mut all_undefined.comparison.curves {
            curve.points.iter_mut().for_each(|p| p.mean = Score::undefined(Reason::NothingDefined));
        }
        all_undefined.comparison.confounds.clear();
        let mut empty = sample::of(&[("a", 3)]);
        empty.comparison.curves.clear();
        for record in [sample::of(&[("one", 0)]), sample::of(&many), all_undefined, empty] {
            let figure = plot::layerwise(&record).unwrap();
            sample::tags(&figure.svg);
            assert!(figure.png.starts_with(b"\x89PNG\r\n\x1a\n") && figure.png.len() > 5_000);
            plot::difference(&record).unwrap();
        }
        assert!(plot::difference(&sample::of(&[("one", 3)])).unwrap().is_none());
    }

    #[test]
    fn one_record_gives_one_picture() {
        let record = sample::record();
        assert_eq!(plot::layerwise(&record).unwrap(), plot::layerwise(&record).unwrap());
    }
}
