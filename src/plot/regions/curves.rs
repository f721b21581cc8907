use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use super::{Panels, Words, set, stands};
use crate::encoding::ScoreName;
use crate::plot::axes::{self, Ticks};
use crate::plot::canvas::{Canvas, Painted, Place};
use crate::plot::font;
use crate::plot::layout::{LABEL_EM, ROW, SWATCH, TICK_EM, WIDTH, distinct};
use crate::plot::look::{BASELINE, CEILING, INK, Look, MESH, SOFT, ZERO};
use crate::plot::scene::looks;
use crate::plot::words::{counted, percent, units};
use crate::record::RunRecord;
use crate::stats::bootstrap::Interval;
use crate::visible::visible;

const DASHES: (f64, f64) = (5.0, 3.5);
/// Height of a panel's axes, of a row of marks above them, and of what lies between two panels.
const PANEL: f64 = 168.0;
const MARK_ROW: f64 = 11.0;
const BETWEEN: f64 = 62.0;
/// Rows of marks that a panel has room for.
const MOST_MARKS: usize = 6;

/// A panel per region: the ranking score over layers, one curve per checkpoint, with what it must beat and cannot exceed.
#[derive(Debug)]
pub(in crate::plot) struct Curves {
    words: Words,
    panels: Vec<Panel>,
    legend: Vec<(String, Look)>,
    levels: Vec<(&'static str, bool)>,
    y_label: String,
    y_ticks: Ticks,
    range: (f64, f64),
    layers: (usize, usize),
    mark_rows: usize,
}

#[derive(Debug)]
struct Panel {
    name: String,
    curves: Vec<Curve>,
    confounds: Option<(f64, Option<Interval>)>,
    ceiling: Option<(f64, Option<Interval>)>,
}

#[derive(Debug)]
struct Curve {
    look: Look,
    /// Layer, score, interval; no score where it is undefined.
    points: Vec<(usize, Option<f64>, Option<Interval>)>,
    /// Layers that differ from the base, if this checkpoint has one.
    marks: Option<Vec<usize>>,
}

impl Curves {
    /// Nothing where a run has no regions.
    pub fn of(record: &RunRecord) -> Option<Curves> {
        let comparison = &record.comparison;
        let results = comparison.rois.as_ref()?;
        let score = comparison.score;
        let looks = looks(record);
        let panel = |roi: &crate::roi::RoiInfo| {
            let curve = |(label, look): &(&str, Look)| {
                let own =
                    results.points.iter().filter(|p| p.checkpoint == *label && p.roi == roi.name && p.score == score);
                let points =
                    own.map(|p| (p.layer.0, p.mean.value(), p.interval.filter(|_| p.mean.value().is_some()))).collect();
                let tested = results
                    .differences
                    .iter()
                    .filter(|d| d.checkpoint == *label && d.roi == roi.name && d.score == score && d.layer.is_some());
                let marks = comparison
                    .base_of(label)
                    .map(|_| tested.filter(|d| stands(d)).filter_map(|d| Some(d.layer?.0)).collect());
                Curve { look: *look, points, marks }
            };
            let confounds = results
                .baselines
                .iter()
                .find(|b| b.baseline == "confounds" && b.roi == roi.name && b.score == score)
                .and_then(|b| Some((b.mean.value()?, b.interval)));
            let ceiling = results.ceilings.iter().filter(|c| c.roi == roi.name && c.score == score);
            let ceiling = ceiling.filter_map(|c| Some((c.mean.value()?, c.interval))).next();
            let role = if roi.control { " (control)" } else { "" };
            let curves = looks.iter().map(curve).collect();
            Panel { name: format!("{}{role}", visible(&roi.name)), curves, confounds, ceiling }
        };
        let panels: Vec<Panel> = results.rois.iter().map(panel).collect();
        let range = axes::range(panels.iter().flat_map(Panel::values));
        let layers: Vec<usize> = panels.iter().flat_map(|p| &p.curves).flat_map(|c| &c.points).map(|p| p.0).collect();
        let mut levels = Vec::new();
        levels.extend(panels.iter().any(|p| p.confounds.is_some()).then_some(("confounds only", false)));
        levels.extend(panels.iter().any(|p| p.ceiling.is_some()).then_some(("ceiling", true)));
        let marked = panels.first().map_or(0, |p| p.curves.iter().filter(|c| c.marks.is_some()).count());
        let legend: Vec<(String, Look)> =
            looks.iter().map(|(label, look)| (visible(label).into_owned(), *look)).collect();
        let mut lines = vec![format!(
            "Point: mean over {}. Band: {} % confidence interval, BCa bootstrap over {}.",
            counted(comparison.n_subjects, "subject"),
            percent(record.plan.bootstrap.level),
            units(comparison)
        )];
        if marked > 0 {
            lines.push(
                "Marks above a panel: layers that differ from the checkpoint\u{2019}s base, p below 0.05 corrected over layers and regions."
                    .to_owned(),
            );
        }
        lines.extend(unmarked(marked));
        Some(Curves {
            words: Words::new(
                format!("{}: regions of interest", visible(&record.plan.study)),
                alt(&panels, &legend, score),
                &lines,
            ),
            panels,
            levels,
            y_label: format!("{score}, weighted mean over the region\u{2019}s targets"),
            y_ticks: axes::ticks(range, 5),
            range,
            layers: (layers.iter().copied().min().unwrap_or(0), layers.iter().copied().max().unwrap_or(0)),
            mark_rows: marked.min(MOST_MARKS),
            legend,
        })
    }

    fn columns(&self) -> usize {
        if self.panels.len() == 1 { 1 } else { 2 }
    }

    /// Left edge of the legend, and its texts.
    fn legend(&self) -> (f64, Vec<String>) {
        let names: Vec<&str> =
            self.legend.iter().map(|l| l.0.as_str()).chain(self.levels.iter().map(|l| l.0)).collect();
        let texts = distinct(&names);
        let widest = texts.iter().map(|t| font::width(t, LABEL_EM, false)).fold(60.0, f64::max);
        (WIDTH - 14.0 - SWATCH - 1.05 * widest, texts)
    }

    fn step(&self) -> f64 {
        PANEL + self.mark_rows as f64 * MARK_ROW + BETWEEN
    }

    fn frame(&self, at: usize) -> Frame {
        let labels = self.y_ticks.labels.iter().map(|l| font::width(l, TICK_EM, false)).fold(0.0, f64::max);
        let (first, last) = (46.0 + labels, self.legend().0 - 22.0);
        let columns = self.columns();
        let gap = labels + 26.0;
        let width = (last - first - gap * (columns - 1) as f64) / columns as f64;
        let left = first + (at % columns) as f64 * (width + gap);
        let top = 68.0 + (at / columns) as f64 * self.step() + self.mark_rows as f64 * MARK_ROW;
        Frame { left, right: left + width, top, bottom: top + PANEL, range: self.range, layers: self.layers }
    }
}

/// That the marks of some checkpoints have no room.
fn unmarked(marked: usize) -> Option<String> {
    (marked > MOST_MARKS).then(|| {
        format!(
            "Marks are drawn for the first {MOST_MARKS} of {marked} checkpoints with a base; what differs in the others is in \
             roi_comparison.csv."
        )
    })
}

fn alt(panels: &[Panel], legend: &[(String, Look)], score: ScoreName) -> String {
    let best = |panel: &Panel| {
        let curves = panel.curves.iter().zip(legend).filter_map(|(curve, (label, _))| {
            let defined = curve.points.iter().filter_map(|p| Some((p.0, p.1?)));
            let (layer, value) = defined.max_by(|a, b| a.1.total_cmp(&b.1))?;
            Some(format!("{label} at most {value:.3} at layer {layer}").replace('-', "−"))
        });
        format!("{}: {}.", panel.name, curves.collect::<Vec<_>>().join(", "))
    };
    format!(
        "Line charts, one per region: {score} over layers. {}",
        panels.iter().map(best).collect::<Vec<_>>().join(" ")
    )
}

impl Panel {
    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let both = |i: Option<Interval>| i.into_iter().flat_map(|(a, b)| [a, b]);
        let levels = self.confounds.iter().chain(&self.ceiling).flat_map(move |(v, i)| both(*i).chain([*v]));
        let points = self.curves.iter().flat_map(|c| &c.points);
        points.flat_map(move |(_, v, i)| both(*i).chain(*v)).chain(levels)
    }
}

/// Where a panel's axes are.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    range: (f64, f64),
    layers: (usize, usize),
}

impl Frame {
    fn place(&self, layer: usize, value: f64) -> Place {
        let (first, last) = (self.layers.0 as f64 - 0.4, self.layers.1 as f64 + 0.4);
        let x = self.left + (layer as f64 - first) / (last - first) * (self.right - self.left);
        (x, self.y(value))
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - (value - self.range.0) / (self.range.1 - self.range.0) * (self.bottom - self.top)
    }
}

impl Panels for Curves {
    fn words(&self) -> &Words {
        &self.words
    }

    fn bottom(&self) -> f64 {
        let rows = self.panels.len().div_ceil(self.columns());
        let legend = 60.0 + (self.legend.len() + self.levels.len()) as f64 * ROW;
        (46.0 + rows as f64 * self.step()).max(legend)
    }

    fn panels<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Painted<DB> {
        for (at, panel) in self.panels.iter().enumerate() {
            self.panel(canvas, panel, &self.frame(at))?;
        }
        let middle = (self.frame(0).top + self.frame(self.panels.len() - 1).bottom) / 2.0;
        let label = font::fitted(&self.y_label, LABEL_EM, false, self.bottom() - 60.0);
        canvas.upwards(&label, (18.0, middle), set(LABEL_EM, false, INK, HPos::Center))?;
        self.key(canvas)?;
        Ok(())
    }
}

impl Curves {
    fn panel<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, panel: &Panel, f: &Frame) -> Painted<DB> {
        let name = font::fitted(&panel.name, LABEL_EM, true, f.right - f.left);
        let above = f.top - self.mark_rows as f64 * MARK_ROW - 11.0;
        canvas.text(&name, (f.left, above), set(LABEL_EM, true, INK, HPos::Left))?;
        let tick = set(TICK_EM, false, SOFT, HPos::Right);
        for (value, text) in self.y_ticks.at.iter().zip(&self.y_ticks.labels) {
            canvas.line(&[(f.left, f.y(*value)), (f.right, f.y(*value))], MESH, 1.0)?;
            canvas.text(text, (f.left - 7.0, f.y(*value)), tick)?;
        }
        canvas.line(&[(f.left, f.y(0.0)), (f.right, f.y(0.0))], ZERO, 1.25)?;
        for (level, colour) in [(panel.confounds, BASELINE), (panel.ceiling, CEILING)] {
            let Some((value, interval)) = level else { continue };
            if let Some((low, high)) = interval {
                canvas.rectangle((f.left, f.y(high)), (f.right, f.y(low)), colour, 0.10)?;
            }
            canvas.dashes(&[(f.left, f.y(value)), (f.right, f.y(value))], colour, 1.4, DASHES)?;
        }
        let behind =
            || panel.curves.iter().filter(|c| c.look.behind).chain(panel.curves.iter().filter(|c| !c.look.behind));
        for curve in behind() {
            for run in curve.points.split(|p| p.2.is_none()) {
                let known: Vec<(usize, Interval)> = run.iter().filter_map(|p| Some((p.0, p.2?))).collect();
                let upper = known.iter().map(|(l, i)| f.place(*l, i.1));
                let lower = known.iter().rev().map(|(l, i)| f.place(*l, i.0));
                canvas.area(&upper.chain(lower).collect::<Vec<_>>(), curve.look.colour, 0.15)?;
            }
        }
        for curve in behind() {
            for run in curve.points.split(|p| p.1.is_none()) {
                let places: Vec<Place> = run.iter().filter_map(|p| Some(f.place(p.0, p.1?))).collect();
                line(canvas, &places, curve.look)?;
                for at in places {
                    canvas.marker(at, curve.look.marker, curve.look.colour)?;
                }
            }
        }
        let marked = panel.curves.iter().filter_map(|c| Some((c, c.marks.as_ref()?)));
        for (row, (curve, marks)) in marked.take(self.mark_rows).enumerate() {
            for layer in marks {
                let at = (f.place(*layer, 0.0).0, f.top - 6.0 - row as f64 * MARK_ROW);
                canvas.marker(at, curve.look.marker, curve.look.colour)?;
            }
        }
        canvas.line(&[(f.left, f.top), (f.left, f.bottom), (f.right, f.bottom)], SOFT, 1.0)?;
        for layer in axes::whole(self.layers.0, self.layers.1, 9) {
            let x = f.place(layer, 0.0).0;
            canvas.line(&[(x, f.bottom), (x, f.bottom + 4.0)], SOFT, 1.0)?;
            canvas.text(&layer.to_string(), (x, f.bottom + 13.0), set(TICK_EM, false, SOFT, HPos::Center))?;
        }
        let middle = (f.left + f.right) / 2.0;
        canvas.text("layer", (middle, f.bottom + 29.0), set(TICK_EM, false, INK, HPos::Center))
    }

    /// Beside the axes, so that it can cover nothing.
    fn key<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Painted<DB> {
        let (left, texts) = self.legend();
        let right = left + SWATCH - 9.0;
        for (i, text) in texts.iter().enumerate() {
            let y = 66.0 + i as f64 * ROW;
            canvas.text(text, (left + SWATCH, y), set(LABEL_EM, false, INK, HPos::Left))?;
            if let Some((_, look)) = self.legend.get(i) {
                line(canvas, &[(left, y), (right, y)], *look)?;
                canvas.marker(((left + right) / 2.0, y), look.marker, look.colour)?;
            } else if let Some((_, is_ceiling)) = i.checked_sub(self.legend.len()).and_then(|i| self.levels.get(i)) {
                let colour = if *is_ceiling { CEILING } else { BASELINE };
                canvas.rectangle((left, y - 6.0), (right, y + 6.0), colour, 0.10)?;
                canvas.dashes(&[(left, y), (right, y)], colour, 1.4, DASHES)?;
            }
        }
        Ok(())
    }
}

fn line<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, places: &[Place], look: Look) -> Painted<DB> {
    if look.dashed {
        canvas.dashes(places, look.colour, 1.7, (7.0, 4.0))
    } else {
        canvas.line(places, look.colour, 1.7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_have_no_room_are_told() {
        assert_eq!(unmarked(MOST_MARKS), None);
        assert!(unmarked(9).unwrap().contains("first 6 of 9 checkpoints"));
    }
}
