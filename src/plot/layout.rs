use crate::plot::axes::{self, Ticks};
use crate::plot::canvas::{Place, UNITS};
use crate::plot::figure::Spot;
use crate::plot::font;
use crate::plot::scene::Scene;

/// Width of all figures, in pixels.
pub(super) const WIDTH: f64 = 880.0;
/// Width of a legend at most.
const LEGEND: f64 = 260.0;
/// From the legend's left edge to its text.
pub(super) const SWATCH: f64 = 40.0;
/// Height of a line of the legend.
pub(super) const ROW: f64 = 21.0;
/// Height of a row of marks of undefined points.
pub(super) const UNDEFINED_ROW: f64 = 13.0;
/// Sizes of text, in pixels per em.
pub(super) const TITLE_EM: f64 = 17.0;
pub(super) const LABEL_EM: f64 = 12.5;
pub(super) const TICK_EM: f64 = 11.5;
pub(super) const CAPTION_EM: f64 = 11.0;
/// Height of a line of the caption.
pub(super) const CAPTION_ROW: f64 = 16.0;

/// Where the parts of a figure go, in pixels.
#[derive(Debug)]
pub(super) struct Layout {
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    /// Lower edge of the axes; below it the rows of undefined points.
    pub bottom: f64,
    /// Lower edge of those rows.
    pub floor: f64,
    pub legend_left: f64,
    pub title: String,
    pub y_label: String,
    /// Legend texts in order: curves, then baseline, then the mark of what is undefined.
    pub legend: Vec<String>,
    pub caption: Vec<String>,
    pub y_ticks: Ticks,
    pub x_ticks: Vec<usize>,
    /// Curves with undefined points, by index: one row each.
    pub undefined: Vec<usize>,
    layers: (f64, f64),
    range: (f64, f64),
}

impl Layout {
    /// The layout of a scene. All text is cut to its place here.
    pub fn of(scene: &Scene) -> Layout {
        let range = axes::range(scene.values());
        let (first, last) = scene.layers();
        let undefined: Vec<usize> = (0..scene.curves.len()).filter(|i| scene.curves[*i].has_gaps()).collect();
        let mut names: Vec<&str> = scene.curves.iter().map(|c| c.label.as_str()).collect();
        names.extend(scene.levels.iter().map(|l| l.label.as_str()));
        if !undefined.is_empty() {
            names.push("undefined (no score)");
        }
        let legend = distinct(&names);
        let widest = legend.iter().map(|l| font::width(l, LABEL_EM, false)).fold(60.0, f64::max);
        // Viewers of the SVG may have a font that is a little wider than ours.
        let legend_left = WIDTH - 14.0 - SWATCH - 1.05 * widest;
        let top = 54.0;
        let bottom = top + (legend.len() as f64 * ROW + 10.0).max(350.0);
        let y_ticks = axes::ticks(range, 8);
        let labels = y_ticks.labels.iter().map(|l| font::width(l, TICK_EM, false)).fold(0.0, f64::max);
        let least = if undefined.is_empty() { 0.0 } else { font::width("undefined", TICK_EM, false) };
        let left = 44.0 + labels.max(least);
        let right = legend_left - 18.0;
        let floor = bottom + undefined.len() as f64 * UNDEFINED_ROW + if undefined.is_empty() { 0.0 } else { 6.0 };
        let caption: Vec<String> =
            scene.caption.iter().flat_map(|l| font::wrapped(l, CAPTION_EM, (WIDTH - 40.0) / 1.05)).collect();
        Layout {
            height: (floor + 66.0 + caption.len() as f64 * CAPTION_ROW).ceil(),
            left,
            right,
            top,
            bottom,
            floor,
            legend_left,
            title: font::fitted(&scene.title, TITLE_EM, true, (WIDTH - 40.0) / 1.05),
            y_label: font::fitted(&scene.y_label, LABEL_EM, false, bottom - top + 6.0),
            legend,
            caption,
            y_ticks,
            x_ticks: axes::whole(first, last, 17),
            undefined,
            layers: (first as f64 - 0.4, last as f64 + 0.4),
            range,
        }
    }

    /// Width and height in units.
    pub fn units(&self) -> (u32, u32) {
        (WIDTH as u32 * UNITS, self.height as u32 * UNITS)
    }

    /// Across, for a layer.
    pub fn x(&self, layer: f64) -> f64 {
        self.left + (layer - self.layers.0) / (self.layers.1 - self.layers.0) * (self.right - self.left)
    }

    /// Down, for a score.
    pub fn y(&self, score: f64) -> f64 {
        self.bottom - (score - self.range.0) / (self.range.1 - self.range.0) * (self.bottom - self.top)
    }

    /// What stands at each point, for a page that shows it.
    pub fn spots(&self, scene: &Scene) -> Vec<Spot> {
        let number = |v: f64| format!("{v:.3}").replace('-', "−");
        let points = scene.curves.iter().flat_map(|c| c.points.iter().map(move |p| (c, p)));
        points
            .filter_map(|(curve, point)| {
                let value = point.value?;
                let interval =
                    point.interval.map_or(String::new(), |(l, h)| format!(" [{}, {}]", number(l), number(h)));
                let (x, y) = self.place(point.layer, value);
                let text = format!("{}, layer {}: {}{interval}", curve.label, point.layer, number(value));
                Some(Spot { x: x / WIDTH, y: y / self.height, text, layer: Some(point.layer) })
            })
            .collect()
    }

    /// The place of a layer's score.
    pub fn place(&self, layer: usize, score: f64) -> Place {
        (self.x(layer as f64), self.y(score))
    }
}

/// Names cut to the legend's width; numbered where two would look the same.
pub(super) fn distinct(names: &[&str]) -> Vec<String> {
    let cut = |name: &str| font::fitted_middle(name, LABEL_EM, LEGEND - SWATCH);
    let plain: Vec<String> = names.iter().map(|n| cut(n)).collect();
    let is_double = |i: usize| plain.iter().filter(|p| **p == plain[i]).count() > 1;
    let numbered =
        |(i, name): (usize, &&str)| if is_double(i) { cut(&format!("{}: {name}", i + 1)) } else { plain[i].clone() };
    names.iter().enumerate().map(numbered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Score;
    use crate::plot::scene;
    use crate::record::sample;

    #[test]
    fn negative_scores_lie_inside_the_axes() {
        let mut record = sample::record();
        for curve in &mut record.comparison.curves {
            for (i, point) in curve.points.iter_mut().enumerate() {
                point.mean = Score::Value(-0.1 - i as f64);
                point.interval = Some((-0.4 - i as f64, -0.05));
            }
        }
        let layout = Layout::of(&scene::layerwise(&record));
        let lowest = layout.y(-0.4 - 4.0);
        assert!(lowest < layout.bottom && lowest > layout.top, "{lowest}");
        assert!(layout.y(0.0) > layout.top, "zero is shown, too");
        assert!(layout.y_ticks.labels.iter().any(|l| l.starts_with('−')));
    }

    #[test]
    fn the_legend_stands_beside_the_axes_and_is_never_too_long() {
        let long = "a label that nobody should give to a checkpoint but somebody will give to one of theirs";
        let checkpoints: Vec<(String, usize)> = (0..24).map(|i| (format!("{long} {i} {long}"), i)).collect();
        let named: Vec<(&str, usize)> = checkpoints.iter().map(|(l, n)| (l.as_str(), *n)).collect();
        let layout = Layout::of(&scene::layerwise(&sample::of(&named)));
        assert!(layout.right < layout.legend_left);
        assert!(layout.legend.iter().take(24).all(|l| l.contains('…')));
        let mut names = layout.legend.clone();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), layout.legend.len(), "no two look the same");
        assert!(layout.top + layout.legend.len() as f64 * ROW <= layout.floor);
        assert!(layout.right - layout.left > 400.0);
    }
}
