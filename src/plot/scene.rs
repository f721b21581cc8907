//! What a figure shows, taken from the record: labels made visible, numbers as they are.

use crate::encoding::{Score, ScoreName};
use crate::ids::Layer;
use crate::plot::look::Look;
use crate::plot::seeds::Seeds;
use crate::plot::words::{counted, percent, units};
use crate::record::RunRecord;
use crate::stats::bootstrap::Interval;
use crate::visible::{shortened, visible};

/// Curves over layers, and all that is written around them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub title: String,
    pub y_label: String,
    pub curves: Vec<SceneCurve>,
    pub levels: Vec<SceneLevel>,
    pub caption: Vec<String>,
    pub alt: String,
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SceneCurve {
    pub label: String,
    pub look: Look,
    pub points: Vec<ScenePoint>,
}

/// One layer of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ScenePoint {
    pub layer: usize,
    pub value: Option<f64>,
    pub interval: Option<Interval>,
}

/// A level for all layers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SceneLevel {
    pub label: String,
    pub value: f64,
    pub interval: Option<Interval>,
    /// Whether it is what nothing can exceed by much, and not what a model must exceed.
    pub is_ceiling: bool,
}

impl Scene {
    /// Every number that must lie inside the axes.
    pub fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let both = |i: Option<Interval>| i.into_iter().flat_map(|(low, high)| [low, high]);
        let points = self.curves.iter().flat_map(|c| &c.points);
        let levels = self.levels.iter().flat_map(move |b| both(b.interval).chain([b.value]));
        points.flat_map(move |p| both(p.interval).chain(p.value)).chain(levels)
    }

    /// The first and the last layer of any curve; (0, 0) without any.
    pub fn layers(&self) -> (usize, usize) {
        let all = || self.curves.iter().flat_map(|c| &c.points).map(|p| p.layer);
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
    }

    /// Whether any point or level has an interval.
    fn has_intervals(&self) -> bool {
        self.levels.iter().any(|b| b.interval.is_some())
            || self.curves.iter().flat_map(|c| &c.points).any(|p| p.interval.is_some())
    }
}

impl SceneCurve {
    /// Whether any point is undefined.
    pub fn has_gaps(&self) -> bool {
        self.points.iter().any(|p| p.value.is_none())
    }
}

impl ScenePoint {
    fn new(layer: usize, score: Score, interval: Option<Interval>) -> ScenePoint {
        let value = score.value().filter(|v| v.is_finite());
        // An interval around nothing would look like a score.
        let interval = interval.filter(|(low, high)| value.is_some() && low.is_finite() && high.is_finite());
        ScenePoint { layer, value, interval }
    }
}

/// The scene of [`super::layerwise`].
pub(super) fn layerwise(record: &RunRecord) -> Scene {
    let results = &record.comparison;
    let seeds = Seeds::of(record);
    let is_seed = |label: &str| seeds.as_ref().is_some_and(|s| s.has(label));
    let mut curves: Vec<SceneCurve> = looks(record)
        .into_iter()
        .filter(|(label, _)| !is_seed(label))
        .filter_map(|(label, look)| {
            let curve = results.curves.iter().find(|c| c.checkpoint == label && c.score == results.score)?;
            let points = curve.points.iter().map(|p| ScenePoint::new(p.layer.0, p.mean, p.interval)).collect();
            Some(SceneCurve { label: visible(label).into_owned(), look, points })
        })
        .collect();
    curves.extend(seeds.as_ref().map(|seeds| together(record, seeds)));
    let level = |label: String, mean, interval, is_ceiling| {
        let point = ScenePoint::new(0, mean, interval);
        Some(SceneLevel { label, value: point.value?, interval: point.interval, is_ceiling })
    };
    let confounds = results.confounds.iter().find(|b| b.score == results.score);
    let confounds = confounds.and_then(|b| level("confounds only".to_owned(), b.mean, b.interval, false));
    let ceiling = results.ceilings.iter().find(|c| c.score == results.score && c.mean.value().is_some());
    let ceiling = ceiling.and_then(|c| level(format!("ceiling ({})", c.kind), c.mean, c.interval, true));
    let levels = confounds.into_iter().chain(ceiling).collect();
    let alt = format!(
        "Line chart: {} over the layers of {}. {}",
        score_words(results.score),
        counted(curves.len(), "checkpoint"),
        curves.iter().map(best_in_words).collect::<Vec<_>>().join(" ")
    );
    let title = visible(&record.plan.study).into_owned();
    let mut scene = finish(record, title, score_words(results.score), curves, levels, alt);
    if seeds.is_some_and(|s| s.n > 1) {
        // Only here do the seeds share a curve; elsewhere each has its interval.
        scene.caption.insert(CHOICES, "Band of the untrained seeds: their range.".to_owned());
    }
    scene
}

/// The untrained seeds as one curve: their mean, with their range as its band.
fn together(record: &RunRecord, seeds: &Seeds) -> SceneCurve {
    let score = record.comparison.score;
    let looks = looks(record);
    let look = looks.iter().find(|(label, _)| seeds.has(label)).map_or(Look::untrained(0), |(_, look)| *look);
    let layers = record.plan.layers.get("untrained-0").map_or(&[][..], Vec::as_slice);
    let point = |layer: &Layer| {
        let found = seeds.at(record, score, *layer);
        ScenePoint {
            layer: layer.0,
            value: found.map(|(mean, ..)| mean),
            interval: found.filter(|_| seeds.n > 1).map(|(_, low, high)| (low, high)),
        }
    };
    let label = format!("untrained, {} (range)", counted(seeds.n, "seed"));
    SceneCurve { label, look, points: layers.iter().map(point).collect() }
}

/// The scene of [`super::difference`].
pub(super) fn difference(record: &RunRecord) -> Option<Scene> {
    let results = &record.comparison;
    let curves: Vec<SceneCurve> = looks(record)
        .into_iter()
        .filter(|(label, _)| results.base_of(label).is_some())
        .filter_map(|(label, look)| {
            let points: Vec<ScenePoint> = results
                .layer_differences
                .iter()
                .filter(|d| d.checkpoint == label && d.score == results.score && d.target.is_none())
                .map(|d| ScenePoint::new(d.layer.0, d.difference, d.interval))
                .collect();
            (!points.is_empty()).then(|| SceneCurve { label: visible(label).into_owned(), look, points })
        })
        .collect();
    if curves.is_empty() {
        return None;
    }
    let reference = shortened(results.compared_with(), 28);
    let title = format!("{}: difference to {reference}", visible(&record.plan.study));
    let y_label = format!("difference in {}: checkpoint − {reference}", results.score);
    let alt = format!(
        "Line chart: paired difference in {} to {reference} over the layers of {}. {}",
        results.score,
        counted(curves.len(), "checkpoint"),
        curves.iter().map(best_in_words).collect::<Vec<_>>().join(" ")
    );
    Some(finish(record, title, y_label, curves, Vec::new(), alt))
}

/// The scene of [`super::weights`].
pub(super) fn weights(record: &RunRecord) -> Option<Scene> {
    let curves: Vec<SceneCurve> = looks(record)
        .into_iter()
        .filter_map(|(label, look)| {
            let attested = record.attestations.iter().find(|a| a.checkpoint == label && !a.layers.is_empty())?;
            let point = |(layer, distance): (usize, &f64)| ScenePoint { layer, value: Some(*distance), interval: None };
            let points = attested.layers.iter().enumerate().map(point).collect();
            Some(SceneCurve { label: visible(label).into_owned(), look, points })
        })
        .collect();
    if curves.is_empty() {
        return None;
    }
    let reference = shortened(record.comparison.compared_with(), 28);
    let title = format!("{}: which weights moved", visible(&record.plan.study));
    let y_label = format!("relative distance of the weights from {reference}");
    let alt = format!(
        "Line chart: relative distance of the weights from {reference} per layer, of {}. {}",
        counted(curves.len(), "checkpoint"),
        curves.iter().map(best_in_words).collect::<Vec<_>>().join(" ")
    );
    let caption = vec![
        "Point: |a − b| / max(|a|, |b|) over all tensors of a layer: 0 is equal, about 1.41 unrelated.".to_owned(),
        "Layer 0: embeddings; layer k: the weights of block k.".to_owned(),
    ];
    Some(Scene { title, y_label, curves, levels: Vec::new(), caption, alt })
}

fn finish(
    record: &RunRecord,
    title: String,
    y_label: String,
    curves: Vec<SceneCurve>,
    levels: Vec<SceneLevel>,
    alt: String,
) -> Scene {
    let mut scene = Scene { title, y_label, curves, levels, caption: Vec::new(), alt };
    scene.caption = caption(record, &scene);
    scene
}

/// The look of each checkpoint, the same in all figures.
pub(super) fn looks(record: &RunRecord) -> Vec<(&str, Look)> {
    let (mut trained, mut untrained) = (0, 0);
    record
        .checkpoints
        .iter()
        .map(|c| {
            let (count, look): (&mut usize, fn(usize) -> Look) = if c.untrained_seed.is_some() {
                (&mut untrained, Look::untrained)
            } else {
                (&mut trained, Look::trained)
            };
            let i = *count;
            *count += 1;
            (c.label.as_str(), look(i))
        })
        .collect()
}

/// What stands under every figure of scores on folds that leak.
const LEAKY: &str =
    "LEAKY FOLDS: rows that belong together lie on both sides. These scores are no estimates for new data.";

/// Lines of a caption up to the choices behind the figure, which every caption has.
const CHOICES: usize = 2;

/// Under the figure: what a point and a band are, and the choices behind them.
fn caption(record: &RunRecord, scene: &Scene) -> Vec<String> {
    let results = &record.comparison;
    let band = if scene.has_intervals() {
        format!(
            "Band: {} % confidence interval, BCa bootstrap over {} ({} draws).",
            percent(record.plan.bootstrap.level),
            units(results),
            record.plan.bootstrap.draws
        )
    } else {
        format!("No bands: there are no intervals over {}.", units(results))
    };
    let point = format!(
        "Point: mean over {} of the mean over {}.",
        counted(results.n_subjects, "subject"),
        counted(record.responses.targets.len(), "target")
    );
    let choices = format!("Pooling: {}. Folds: {}.", record.plan.pooling, record.plan.folds);
    let mut lines = vec![format!("{point} {band}"), choices];
    lines.extend(record.plan.folds.leaks().then(|| LEAKY.to_owned()));
    lines
}

/// The axis of a score.
fn score_words(score: ScoreName) -> String {
    match score {
        ScoreName::Cod => "cod: out-of-sample R² (mean over subjects and targets)",
        ScoreName::CodTestMean => "cod-test-mean: R² against the test mean",
        ScoreName::R => "r: correlation (mean over subjects and targets)",
    }
    .to_owned()
}

/// The extremes of a curve for the description.
fn best_in_words(curve: &SceneCurve) -> String {
    let defined = || curve.points.iter().filter_map(|p| Some((p.layer, p.value?)));
    let by_value = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
    let label = shortened(&curve.label, 60);
    let number = |v: f64| format!("{v:.3}").replace('-', "−");
    match (defined().min_by(by_value), defined().max_by(by_value)) {
        (Some((at_low, low)), Some((at_high, high))) => format!(
            "{label}: from {} at layer {at_low} to {} at layer {at_high}, {} undefined.",
            number(low),
            number(high),
            curve.points.len() - defined().count()
        ),
        _ => format!("{label}: no layer is defined."),
    }
}
