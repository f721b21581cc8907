use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use super::{Panels, Words, outline, set, stands};
use crate::plot::axes;
use crate::plot::canvas::{Canvas, Painted};
use crate::plot::font;
use crate::plot::layout::{LABEL_EM, TICK_EM, WIDTH};
use crate::plot::look::{INK, SOFT};
use crate::record::RunRecord;
use crate::visible::visible;

/// Height of a cell.
const CELL: f64 = 30.0;
/// Most width of a cell.
const WIDEST: f64 = 62.0;
/// Height of what stands around the cells of a panel.
const AROUND: f64 = 68.0;
/// Ends and middle of the colours: purple, white, orange (ColorBrewer's PuOr), told apart by all kinds of colour vision.
const LOW: [f64; 3] = [84.0, 39.0, 136.0];
const MIDDLE: [f64; 3] = [250.0, 250.0, 250.0];
const HIGH: [f64; 3] = [179.0, 88.0, 6.0];
/// From the cells to the colour bar: its label stands between.
const BAR_GAP: f64 = 42.0;
/// Steps of the colour bar.
const STEPS: usize = 60;

/// Layers × regions: the difference to the base, a panel per checkpoint; scores where nothing is compared.
#[derive(Debug)]
pub(in crate::plot) struct Heat {
    words: Words,
    bar: String,
    rois: Vec<String>,
    layers: Vec<usize>,
    panels: Vec<Panel>,
    /// The colours reach from −this to this.
    reach: f64,
}

#[derive(Debug)]
struct Panel {
    name: String,
    /// Region by region, layer by layer: value, and whether it stands when all are looked at.
    cells: Vec<Vec<Option<(f64, bool)>>>,
}

impl Heat {
    /// Nothing where a run has no regions, or no layer of them.
    pub fn of(record: &RunRecord) -> Option<Heat> {
        let comparison = &record.comparison;
        let results = comparison.rois.as_ref()?;
        let score = comparison.score;
        let mut layers: Vec<usize> = results.points.iter().map(|p| p.layer.0).collect();
        layers.sort_unstable();
        layers.dedup();
        let compared = results.differences.iter().any(|d| d.layer.is_some());
        let cell = |label: &str, roi: &str, layer: usize| -> Option<(f64, bool)> {
            if compared {
                let same = |d: &&crate::compare::RoiDifference| {
                    d.checkpoint == label && d.roi == roi && d.score == score && d.layer.is_some_and(|l| l.0 == layer)
                };
                let found = results.differences.iter().find(same)?;
                return Some((found.difference.value()?, stands(found)));
            }
            let same = |p: &&crate::compare::RoiPoint| {
                p.checkpoint == label && p.roi == roi && p.score == score && p.layer.0 == layer
            };
            Some((results.points.iter().find(same)?.mean.value()?, false))
        };
        let panels: Vec<Panel> = record
            .checkpoints
            .iter()
            .filter(|c| !compared || comparison.base_of(&c.label).is_some())
            .map(|c| {
                let row = |roi: &crate::roi::RoiInfo| layers.iter().map(|l| cell(&c.label, &roi.name, *l)).collect();
                let name = match comparison.base_of(&c.label).filter(|_| compared) {
                    Some(base) => format!("{} − {}", visible(&c.label), visible(base)),
                    None => visible(&c.label).into_owned(),
                };
                Panel { name, cells: results.rois.iter().map(row).collect() }
            })
            .collect();
        let all = || panels.iter().flat_map(|p| &p.cells).flatten().flatten();
        let reach = all().map(|(v, _)| v.abs()).fold(0.0, f64::max);
        all().next()?;
        let rois: Vec<String> = results
            .rois
            .iter()
            .map(|r| format!("{}{}", visible(&r.name), if r.control { " (control)" } else { "" }))
            .collect();
        let what = if compared { format!("difference in {score}") } else { score.to_string() };
        let mut lines = vec![format!("Colours are centred on 0. Crossed cells have no {what}.")];
        if compared {
            lines.insert(
                0,
                "Framed cells: p below 0.05, corrected over layers and regions of the checkpoint.".to_owned(),
            );
        }
        Some(Heat {
            words: Words::new(
                format!("{}: layers × regions", visible(&record.plan.study)),
                alt(&panels, &rois, &layers, &what),
                &lines,
            ),
            bar: what,
            rois,
            layers,
            panels,
            reach: if reach > 0.0 { reach } else { 0.1 },
        })
    }

    fn left(&self) -> f64 {
        let widest = self.rois.iter().map(|r| font::width(r, LABEL_EM, false)).fold(0.0, f64::max);
        34.0 + widest.min(200.0)
    }

    fn cell_width(&self) -> f64 {
        ((WIDTH - 130.0 - self.left()) / self.layers.len().max(1) as f64).min(WIDEST)
    }

    fn step(&self) -> f64 {
        self.rois.len() as f64 * CELL + AROUND
    }
}

fn alt(panels: &[Panel], rois: &[String], layers: &[usize], what: &str) -> String {
    let largest = |panel: &Panel| {
        let all = panel.cells.iter().zip(rois).flat_map(|(row, roi)| {
            row.iter().zip(layers).filter_map(move |(cell, layer)| Some((cell.as_ref()?.0, roi, layer)))
        });
        match all.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs())) {
            Some((value, roi, layer)) => {
                format!("{}: largest in {roi} at layer {layer}, {value:.3}.", panel.name).replace('-', "−")
            }
            None => format!("{}: nothing is defined.", panel.name),
        }
    };
    format!("Heat map of layers and regions: {what}. {}", panels.iter().map(largest).collect::<Vec<_>>().join(" "))
}

/// The colour of a share from −1 to 1, and whether text on it must be light.
fn colour(share: f64) -> (RGBColor, bool) {
    let end = if share < 0.0 { LOW } else { HIGH };
    let by = share.abs().min(1.0);
    let [r, g, b] = std::array::from_fn(|i| (MIDDLE[i] + (end[i] - MIDDLE[i]) * by).round() as u8);
    (RGBColor(r, g, b), by > 0.6)
}

impl Panels for Heat {
    fn words(&self) -> &Words {
        &self.words
    }

    fn bottom(&self) -> f64 {
        (50.0 + self.panels.len() as f64 * self.step()).max(240.0)
    }

    fn panels<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Painted<DB> {
        for (at, panel) in self.panels.iter().enumerate() {
            self.panel(canvas, panel, 74.0 + at as f64 * self.step())?;
        }
        self.colour_bar(canvas)?;
        Ok(())
    }
}

impl Heat {
    fn panel<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, panel: &Panel, top: f64) -> Painted<DB> {
        let (left, width) = (self.left(), self.cell_width());
        let name = font::fitted(&panel.name, LABEL_EM, true, WIDTH - 130.0 - left);
        canvas.text(&name, (left, top - 14.0), set(LABEL_EM, true, INK, HPos::Left))?;
        for (row, (cells, roi)) in panel.cells.iter().zip(&self.rois).enumerate() {
            let y = top + row as f64 * CELL;
            let roi = font::fitted_middle(roi, LABEL_EM, 200.0);
            canvas.text(&roi, (left - 10.0, y + CELL / 2.0), set(LABEL_EM, false, INK, HPos::Right))?;
            for (column, cell) in cells.iter().enumerate() {
                let (from, to) = ((left + column as f64 * width, y), (left + (column + 1) as f64 * width, y + CELL));
                let middle = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
                let Some((value, _)) = cell else {
                    outline(canvas, from, to, RGBColor(0xd0, 0xd0, 0xd0), 0.75)?;
                    canvas.cross(middle, SOFT)?;
                    continue;
                };
                let (fill, light) = colour(value / self.reach);
                canvas.rectangle(from, to, fill, 1.0)?;
                outline(canvas, from, to, RGBColor(0xd0, 0xd0, 0xd0), 0.75)?;
                let text = written(*value);
                if font::width(&text, TICK_EM, false) < width - 6.0 {
                    let ink = if light { RGBColor(255, 255, 255) } else { INK };
                    canvas.text(&text, middle, set(TICK_EM, false, ink, HPos::Center))?;
                }
            }
        }
        // Over the grid, so that neighbours do not cover half of a frame.
        for (row, cells) in panel.cells.iter().enumerate() {
            for (column, _) in cells.iter().enumerate().filter(|(_, c)| c.is_some_and(|c| c.1)) {
                let from = (left + column as f64 * width + 1.2, top + row as f64 * CELL + 1.2);
                outline(canvas, from, (from.0 + width - 2.4, from.1 + CELL - 2.4), RGBColor(0, 0, 0), 2.0)?;
            }
        }
        let below = top + self.rois.len() as f64 * CELL;
        let first = self.layers.first().copied().unwrap_or(0);
        let last = self.layers.last().copied().unwrap_or(0);
        for layer in axes::whole(first, last, 26) {
            let Some(column) = self.layers.iter().position(|l| *l == layer) else { continue };
            let x = left + (column as f64 + 0.5) * width;
            canvas.text(&layer.to_string(), (x, below + 11.0), set(TICK_EM, false, SOFT, HPos::Center))?;
        }
        let middle = left + width * self.layers.len() as f64 / 2.0;
        canvas.text("layer", (middle, below + 27.0), set(TICK_EM, false, INK, HPos::Center))
    }

    fn colour_bar<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Painted<DB> {
        let beside = self.left() + self.cell_width() * self.layers.len() as f64 + BAR_GAP;
        let (left, top) = (beside.min(WIDTH - 74.0), 74.0);
        let right = left + 18.0;
        let height = (self.bottom() - top - 40.0).clamp(90.0, 220.0);
        let y = |share: f64| top + height * (1.0 - share) / 2.0;
        for step in 0..STEPS {
            let (a, b) = (step as f64 / STEPS as f64, (step + 1) as f64 / STEPS as f64);
            let fill = colour(a + b - 1.0).0;
            canvas.rectangle((left, y(2.0 * b - 1.0)), (right, y(2.0 * a - 1.0) + 0.5), fill, 1.0)?;
        }
        outline(canvas, (left, top), (right, top + height), SOFT, 0.75)?;
        let ticks = axes::ticks((-self.reach, self.reach), 5);
        for (value, text) in ticks.at.iter().zip(&ticks.labels) {
            let at = y(value / self.reach);
            canvas.line(&[(right, at), (right + 4.0, at)], SOFT, 1.0)?;
            canvas.text(text, (right + 8.0, at), set(TICK_EM, false, SOFT, HPos::Left))?;
        }
        let label = font::fitted(&self.bar, TICK_EM, false, height + 40.0);
        canvas.upwards(&label, (left - 12.0, top + height / 2.0), set(TICK_EM, false, INK, HPos::Center))
    }
}

/// Two decimals with a sign; a true minus.
fn written(value: f64) -> String {
    let text = format!("{value:+.2}");
    if text == "-0.00" || text == "+0.00" { "0.00".to_owned() } else { text.replace('-', "−") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_centred_and_signed() {
        assert_eq!(colour(0.0).0, RGBColor(250, 250, 250));
        assert_eq!((colour(1.0).0, colour(-3.0).0), (RGBColor(179, 88, 6), RGBColor(84, 39, 136)));
        assert_eq!([written(-0.001), written(0.236), written(-0.5)], ["0.00", "+0.24", "−0.50"]);
    }
}
