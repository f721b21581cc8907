use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use super::{Panels, Words, set, stands};
use crate::compare::RoiDifference;
use crate::plot::axes::{self, Ticks};
use crate::plot::canvas::{Canvas, Painted};
use crate::plot::font;
use crate::plot::layout::{LABEL_EM, TICK_EM, WIDTH};
use crate::plot::look::{INK, Look, MESH, Marker, SOFT, ZERO};
use crate::plot::scene::looks;
use crate::plot::words::{percent, units};
use crate::record::RunRecord;
use crate::stats::bootstrap::Interval;
use crate::visible::{shortened, visible};

/// Height of a panel's axes, and of what stands around them.
const PANEL: f64 = 210.0;
const AROUND: f64 = 96.0;
const MARGIN: RGBColor = RGBColor(0x00, 0x72, 0xb2);

/// Every subject's difference to the base per region, with mean and interval; then the differences of differences.
#[derive(Debug)]
pub(in crate::plot) struct Pairs {
    words: Words,
    y_label: String,
    panels: Vec<Panel>,
    range: (f64, f64),
    y_ticks: Ticks,
    margin: Option<f64>,
}

#[derive(Debug)]
struct Panel {
    name: String,
    look: Look,
    columns: Vec<Column>,
    /// How many of them are regions; the others compare two.
    regions: usize,
}

#[derive(Debug)]
struct Column {
    name: [String; 2],
    /// In the order of the run; none where a subject has no difference.
    subjects: Vec<Option<f64>>,
    mean: Option<f64>,
    interval: Option<Interval>,
    says: String,
    stands: bool,
}

impl Pairs {
    /// Nothing where nothing is compared.
    pub fn of(record: &RunRecord) -> Option<Pairs> {
        let comparison = &record.comparison;
        let results = comparison.rois.as_ref()?;
        let panels: Vec<Panel> = looks(record)
            .into_iter()
            .filter_map(|(label, look)| {
                let own = |all: &'_ [RoiDifference]| -> Vec<Column> {
                    all.iter().filter(|d| d.checkpoint == label && d.layer.is_none()).map(column).collect()
                };
                let mut columns = own(&results.differences);
                let regions = columns.len();
                columns.extend(own(&results.contrasts));
                let name = format!("{} − {}", visible(label), visible(comparison.base_of(label)?));
                (regions > 0).then_some(Panel { name, look, columns, regions })
            })
            .collect();
        if panels.is_empty() {
            return None;
        }
        let margin = comparison.tests.and_then(|t| t.settings.margin);
        let values = panels.iter().flat_map(|p| &p.columns).flat_map(|c| {
            let ends = c.interval.into_iter().flat_map(|(a, b)| [a, b]);
            c.subjects.iter().flatten().copied().chain(c.mean).chain(ends)
        });
        let range = axes::range(values.chain(margin.into_iter().flat_map(|m| [m, -m])));
        let points = if comparison.n_subjects > 1 { "Small point: a subject. " } else { "" };
        let mut lines = vec![format!(
            "{points}Diamond and bar: mean and {} % interval over {}. Each checkpoint at its own best layer in the region (nested). p: \
             corrected over regions, or over comparisons.",
            percent(record.plan.bootstrap.level),
            units(comparison)
        )];
        lines.extend(margin.map(|m| format!("Blue band: the margin of equivalence, ± {m}.")));
        Some(Pairs {
            words: Words::new(format!("{}: differences by region", visible(&record.plan.study)), alt(&panels), &lines),
            y_label: format!("difference in {}", comparison.score),
            y_ticks: axes::ticks(range, 6),
            range,
            panels,
            margin,
        })
    }

    fn left(&self) -> f64 {
        50.0 + self.y_ticks.labels.iter().map(|l| font::width(l, TICK_EM, false)).fold(0.0, f64::max)
    }
}

/// Subjects side by side in their order, from 0 to 1, with their values: the same subject has the same place in every
/// column, whoever else has no value there.
fn places(subjects: &[Option<f64>]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let last = subjects.len().max(2) as f64 - 1.0;
    subjects.iter().enumerate().filter_map(move |(i, value)| Some((i as f64 / last, (*value)?)))
}

fn column(d: &RoiDifference) -> Column {
    let short = |name: &str| shortened(name, 24);
    let says = match d.inference.p_fwe {
        Some(p) if p < 0.001 => "p < 0.001".to_owned(),
        Some(p) => format!("p = {p:.3}"),
        None => "not tested".to_owned(),
    };
    Column {
        name: [short(&d.roi), d.versus.as_deref().map_or(String::new(), |v| format!("− {}", short(v)))],
        subjects: d.subjects.clone(),
        mean: d.difference.value(),
        interval: d.interval.filter(|_| d.difference.value().is_some()),
        says,
        stands: stands(d),
    }
}

fn alt(panels: &[Panel]) -> String {
    let one = |c: &Column| {
        let mean = c.mean.map_or("undefined".to_owned(), |m| format!("{m:+.3}"));
        format!("{} {} {mean}, {}", c.name[0], c.name[1], c.says)
    };
    let of = |p: &Panel| format!("{}: {}.", p.name, p.columns.iter().map(one).collect::<Vec<_>>().join("; "));
    let text = panels.iter().map(of).collect::<Vec<_>>().join(" ");
    format!("Differences per region, subjects as points. {}", text.replace('-', "−").replace("  ", " "))
}

impl Panels for Pairs {
    fn words(&self) -> &Words {
        &self.words
    }

    fn bottom(&self) -> f64 {
        46.0 + self.panels.len() as f64 * (PANEL + AROUND)
    }

    fn panels<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Painted<DB> {
        for (at, panel) in self.panels.iter().enumerate() {
            self.panel(canvas, panel, 76.0 + at as f64 * (PANEL + AROUND))?;
        }
        Ok(())
    }
}

impl Pairs {
    fn panel<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, panel: &Panel, top: f64) -> Painted<DB> {
        let (left, right, bottom) = (self.left(), WIDTH - 20.0, top + PANEL);
        let y = |v: f64| bottom - (v - self.range.0) / (self.range.1 - self.range.0) * PANEL;
        let name = font::fitted(&panel.name, LABEL_EM, true, right - left);
        canvas.text(&name, (left, top - 13.0), set(LABEL_EM, true, INK, HPos::Left))?;
        if let Some(margin) = self.margin {
            canvas.rectangle((left, y(margin)), (right, y(-margin)), MARGIN, 0.08)?;
        }
        for (value, text) in self.y_ticks.at.iter().zip(&self.y_ticks.labels) {
            canvas.line(&[(left, y(*value)), (right, y(*value))], MESH, 1.0)?;
            canvas.text(text, (left - 7.0, y(*value)), set(TICK_EM, false, SOFT, HPos::Right))?;
        }
        canvas.line(&[(left, y(0.0)), (right, y(0.0))], ZERO, 1.25)?;
        let width = (right - left) / panel.columns.len() as f64;
        if panel.regions < panel.columns.len() {
            let x = left + panel.regions as f64 * width;
            canvas.dashes(&[(x, top), (x, bottom + 44.0)], ZERO, 1.0, (4.0, 4.0))?;
        }
        for (at, c) in panel.columns.iter().enumerate() {
            let middle = left + (at as f64 + 0.5) * width;
            let spread = (0.30 * width).min(26.0);
            for (share, value) in places(&c.subjects) {
                let x = middle - spread - 10.0 + spread * share;
                canvas.rectangle((x - 2.0, y(value) - 2.0), (x + 2.0, y(value) + 2.0), panel.look.colour, 0.55)?;
            }
            let x = middle + 12.0;
            if let Some((low, high)) = c.interval {
                canvas.line(&[(x, y(low)), (x, y(high))], INK, 1.6)?;
                for end in [low, high] {
                    canvas.line(&[(x - 5.0, y(end)), (x + 5.0, y(end))], INK, 1.6)?;
                }
            }
            if let Some(mean) = c.mean {
                canvas.marker((x, y(mean)), Marker::Diamond, panel.look.colour)?;
            }
            for (row, text) in c.name.iter().chain([&c.says]).filter(|t| !t.is_empty()).enumerate() {
                let bold = row + 1 == c.name.iter().filter(|t| !t.is_empty()).count() + 1 && c.stands;
                let text = font::fitted_middle(text, TICK_EM, width - 4.0);
                let ink = if row == 0 { INK } else { SOFT };
                let place = (middle, bottom + 14.0 + row as f64 * 15.0);
                canvas.text(&text, place, set(TICK_EM, bold, if bold { INK } else { ink }, HPos::Center))?;
            }
        }
        canvas.line(&[(left, top), (left, bottom), (right, bottom)], SOFT, 1.0)?;
        let label = font::fitted(&self.y_label, LABEL_EM, false, PANEL);
        canvas.upwards(&label, (18.0, top + PANEL / 2.0), set(LABEL_EM, false, INK, HPos::Center))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_without_a_value_leaves_its_place_free() {
        let whole: Vec<(f64, f64)> = places(&[Some(1.0), Some(2.0), Some(3.0)]).collect();
        let gap: Vec<(f64, f64)> = places(&[Some(1.0), None, Some(3.0)]).collect();
        assert_eq!(whole, [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)]);
        assert_eq!(gap, [whole[0], whole[2]]);
    }
}
