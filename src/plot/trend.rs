//! Scores along training steps or model sizes: points with their intervals, the fitted lines, a logarithmic axis.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::style::RGBColor;
use plotters_backend::DrawingBackend;
use plotters_backend::text_anchor::HPos;

use crate::compare::{Along, Trend};
use crate::error::Result;
use crate::plot::axes::{self, Ticks};
use crate::plot::canvas::{Canvas, Painted, Place, Type, UNITS};
use crate::plot::figure::{Drawing, Figure, Spot, twice};
use crate::plot::font;
use crate::plot::layout::{CAPTION_EM, CAPTION_ROW, LABEL_EM, ROW, SWATCH, TICK_EM, TITLE_EM, WIDTH};
use crate::plot::look::{INK, Look, MESH, SOFT};
use crate::plot::words::{percent, units};
use crate::record::RunRecord;
use crate::visible::{shortened, visible};

const TOP: f64 = 54.0;
const HEIGHT: f64 = 300.0;
/// Between the place of what has 0 steps and the first decade.
const BREAK: f64 = 54.0;

/// One figure for all series along one thing; `None` without any.
///
/// # Errors
/// As [`super::layerwise`].
pub(super) fn figure(record: &RunRecord, along: Along) -> Result<Option<Figure>> {
    let series: Vec<&Trend> = record.comparison.trends.iter().filter(|t| t.along == along).collect();
    if series.is_empty() {
        return Ok(None);
    }
    twice(&Chart::of(record, along, series)).map(Some)
}

/// What is drawn, and where.
struct Chart<'a> {
    series: Vec<&'a Trend>,
    title: String,
    alt: String,
    legend: Vec<String>,
    caption: Vec<String>,
    x_label: &'static str,
    y_label: String,
    height: f64,
    left: f64,
    right: f64,
    legend_left: f64,
    /// Of the logarithm.
    range: (f64, f64),
    /// Where the axis of logarithms begins: right of what stands at 0.
    from: f64,
    scores: (f64, f64),
    ticks: Ticks,
}

fn number(value: f64) -> String {
    format!("{value:.3}").replace('-', "−")
}

/// `moral: +0.012 [0.003, 0.021] per tenfold`.
fn in_words(trend: &Trend) -> String {
    let slope = trend
        .slope
        .value()
        .map_or("undefined".to_owned(), |s| format!("{}{}", if s > 0.0 { "+" } else { "" }, number(s)));
    let interval = trend.interval.map_or(String::new(), |(low, high)| format!(" [{}, {}]", number(low), number(high)));
    format!("{slope}{interval} per tenfold")
}

impl<'a> Chart<'a> {
    fn of(record: &RunRecord, along: Along, series: Vec<&'a Trend>) -> Chart<'a> {
        let results = &record.comparison;
        let points = || series.iter().flat_map(|t| &t.points);
        let logs: Vec<f64> = points().filter(|p| p.at > 0.0).map(|p| p.at.log10()).collect();
        let (low, high) = logs.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let air = 0.05 * (high - low).max(0.1);
        let both = |i: Option<(f64, f64)>| i.into_iter().flat_map(|(l, h)| [l, h]);
        let scores = axes::range(points().flat_map(|p| both(p.interval).chain(p.score.value())));
        let ticks = axes::ticks(scores, 7);
        let legend: Vec<String> =
            series.iter().map(|t| font::fitted_middle(&visible(&t.series), LABEL_EM, 210.0)).collect();
        let widest = legend.iter().map(|l| font::width(l, LABEL_EM, false)).fold(60.0, f64::max);
        let legend_left = WIDTH - 14.0 - SWATCH - 1.05 * widest;
        let left = 44.0 + ticks.labels.iter().map(|l| font::width(l, TICK_EM, false)).fold(0.0, f64::max);
        let has_base = points().any(|p| p.at <= 0.0);
        let name = along.as_str();
        let lines: Vec<String> =
            series.iter().map(|t| format!("{}: {}.", shortened(&t.series, 60), in_words(t))).collect();
        let mut caption = vec![format!(
            "Point: score at the nested best layer, bar: {} % interval over {}. Line: least squares over the logarithm, fitted to each by itself.",
            percent(record.plan.bootstrap.level),
            units(results)
        )];
        caption.extend(lines.iter().cloned());
        let caption: Vec<String> =
            caption.iter().flat_map(|l| font::wrapped(l, CAPTION_EM, (WIDTH - 40.0) / 1.05)).collect();
        Chart {
            title: font::fitted(
                &format!("{}: {} along {name}", visible(&record.plan.study), results.score),
                TITLE_EM,
                true,
                (WIDTH - 40.0) / 1.05,
            ),
            alt: format!("Chart: {} along {name}, on a logarithmic axis. {}", results.score, lines.join(" ")),
            legend,
            x_label: if along == Along::Steps { "training steps (logarithmic)" } else { "model size (logarithmic)" },
            y_label: format!("{} at the nested best layer", results.score),
            height: (TOP + HEIGHT + 66.0 + caption.len() as f64 * CAPTION_ROW).ceil(),
            caption,
            left,
            right: legend_left - 18.0,
            legend_left,
            range: (low - air, high + air),
            from: if has_base { left + BREAK } else { left },
            scores,
            ticks,
            series,
        }
    }

    fn x(&self, at: f64) -> f64 {
        if at <= 0.0 {
            return self.left + 0.5 * BREAK;
        }
        self.from + (at.log10() - self.range.0) / (self.range.1 - self.range.0) * (self.right - self.from)
    }

    fn y(&self, score: f64) -> f64 {
        TOP + HEIGHT - (score - self.scores.0) / (self.scores.1 - self.scores.0) * HEIGHT
    }

    fn series_of<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, trend: &Trend, look: Look) -> Painted<DB> {
        let fitted = trend.points.iter().filter(|p| p.at > 0.0).map(|p| p.at);
        let (first, last) = fitted.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        if let (Some(slope), Some(intercept)) = (trend.slope.value(), trend.intercept) {
            let end = |at: f64| -> Place { (self.x(at), self.y(intercept + slope * at.log10())) };
            canvas.line(&[end(first), end(last)], look.colour, 1.9)?;
        }
        for point in &trend.points {
            let Some(score) = point.score.value() else { continue };
            let x = self.x(point.at);
            if let Some((low, high)) = point.interval {
                canvas.line(&[(x, self.y(low)), (x, self.y(high))], look.colour, 1.5)?;
            }
            canvas.marker((x, self.y(score)), look.marker, look.colour)?;
        }
        Ok(())
    }

    /// Powers of ten within the range, or the places themselves where there are fewer than two; and 0.
    fn x_ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = (self.range.0.ceil() as i32, self.range.1.floor() as i32);
        let mut ticks: Vec<(f64, String)> = (low..=high).map(|d| (10f64.powi(d), decade(d))).collect();
        if ticks.len() < 2 {
            let mut places: Vec<f64> = self.series.iter().flat_map(|t| &t.points).map(|p| p.at).collect();
            places.retain(|at| *at > 0.0);
            places.sort_unstable_by(f64::total_cmp);
            places.dedup();
            ticks = places.into_iter().map(|at| (at, format!("{at}"))).collect();
        }
        if self.from > self.left {
            ticks.insert(0, (0.0, "0".to_owned()));
        }
        ticks
    }
}

impl Drawing for Chart<'_> {
    fn size(&self) -> (u32, u32) {
        (WIDTH as u32 * UNITS, self.height as u32 * UNITS)
    }

    fn title(&self) -> &str {
        &self.title
    }

    fn alt(&self) -> &str {
        &self.alt
    }

    fn spots(&self) -> Vec<Spot> {
        let all = self.series.iter().flat_map(|t| t.points.iter().map(move |p| (t, p)));
        all.filter_map(|(trend, p)| {
            let score = p.score.value()?;
            let interval = p.interval.map_or(String::new(), |(l, h)| format!(" [{}, {}]", number(l), number(h)));
            let text = format!("{}, {} at {}: {}{interval}", trend.series, p.checkpoint, p.at, number(score));
            Some(Spot { x: self.x(p.at) / WIDTH, y: self.y(score) / self.height, text, layer: None })
        })
        .collect()
    }

    fn paint<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Painted<DB> {
        let canvas = Canvas(root);
        root.fill(&RGBColor(255, 255, 255))?;
        canvas.text(&self.title, (20.0, 26.0), Type { em: TITLE_EM, bold: true, colour: INK, align: HPos::Left })?;
        let small = Type { em: TICK_EM, bold: false, colour: SOFT, align: HPos::Right };
        for (value, text) in self.ticks.at.iter().zip(&self.ticks.labels) {
            let y = self.y(*value);
            canvas.line(&[(self.left, y), (self.right, y)], MESH, 1.0)?;
            canvas.text(text, (self.left - 8.0, y), small)?;
        }
        canvas.line(&[(self.left, self.y(0.0)), (self.right, self.y(0.0))], SOFT, 1.0)?;
        let floor = TOP + HEIGHT;
        canvas.line(&[(self.left, TOP), (self.left, floor), (self.right, floor)], SOFT, 1.0)?;
        let tick = Type { align: HPos::Center, ..small };
        for (at, text) in self.x_ticks() {
            canvas.line(&[(self.x(at), floor), (self.x(at), floor + 4.0)], SOFT, 1.0)?;
            canvas.text(&text, (self.x(at), floor + 14.0), tick)?;
        }
        let label = Type { em: LABEL_EM, colour: INK, ..tick };
        canvas.text(self.x_label, ((self.left + self.right) / 2.0, floor + 34.0), label)?;
        canvas.upwards(&self.y_label, (20.0, TOP + HEIGHT / 2.0), label)?;
        for (i, trend) in self.series.iter().enumerate() {
            self.series_of(&canvas, trend, Look::trained(i))?;
        }
        let set = Type { em: LABEL_EM, bold: false, colour: INK, align: HPos::Left };
        for (i, text) in self.legend.iter().enumerate() {
            let (y, look) = (TOP + 8.0 + i as f64 * ROW, Look::trained(i));
            let (left, right) = (self.legend_left, self.legend_left + SWATCH - 9.0);
            canvas.line(&[(left, y), (right, y)], look.colour, 1.9)?;
            canvas.marker(((left + right) / 2.0, y), look.marker, look.colour)?;
            canvas.text(text, (self.legend_left + SWATCH, y), set)?;
        }
        for (i, line) in self.caption.iter().enumerate() {
            let at = (20.0, floor + 62.0 + i as f64 * CAPTION_ROW);
            canvas.text(line, at, Type { em: CAPTION_EM, colour: SOFT, ..set })?;
        }
        Ok(())
    }
}

/// `100`, `10⁷`.
fn decade(power: i32) -> String {
    if (0..5).contains(&power) {
        return 10i64.pow(power as u32).to_string();
    }
    let digits: Vec<char> = "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().collect();
    let raised = |c: char| c.to_digit(10).and_then(|d| digits.get(d as usize)).copied().unwrap_or('⁻');
    format!("10{}", power.to_string().chars().map(raised).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Inference, TrendPoint};
    use crate::encoding::Score;
    use crate::record::sample;

    #[test]
    fn a_series_is_drawn_with_its_base_apart() {
        let mut record = sample::record();
        assert!(figure(&record, Along::Steps).unwrap().is_none());
        let point = |checkpoint: &str, at: f64, score: f64| TrendPoint {
            checkpoint: checkpoint.to_owned(),
            at,
            score: Score::Value(score),
            interval: Some((score - 0.01, score + 0.01)),
        };
        record.comparison.trends.push(Trend {
            along: Along::Steps,
            series: "<moral>".to_owned(),
            points: vec![point("base", 0.0, 0.05), point("a", 10.0, 0.06), point("b", 1e3, 0.08), point("c", 1e5, 0.1)],
            slope: Score::Value(0.01),
            interval: Some((0.005, 0.015)),
            intercept: Some(0.05),
            inference: Inference::default(),
        });
        let drawn = figure(&record, Along::Steps).unwrap().unwrap();
        sample::tags(&drawn.svg);
        assert!(drawn.alt.contains("<moral>: +0.010 [0.005, 0.015] per tenfold."), "{}", drawn.alt);
        assert!(drawn.svg.contains("&lt;moral&gt;") && drawn.png.len() > 5_000);
        let places: Vec<f64> = drawn.points.iter().map(|s| s.x).collect();
        assert!(places.windows(2).all(|w| w[0] < w[1]), "{places:?}");
        assert!((places[3] - places[2] - (places[2] - places[1])).abs() < 1e-9, "equal factors, equal steps");
        assert_eq!((decade(2), decade(7)), ("100".to_owned(), "10⁷".to_owned()));
    }
}
