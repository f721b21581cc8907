//! What was found, as values: the one place where the summary on the page and that on the terminal get it from.

use crate::compare::{BestDifference, Difference, NestedBest, Point};
use crate::encoding::{Score, ScoreName};
use crate::ids::Layer;
use crate::plot::seeds::Seeds;
use crate::record::RunRecord;
use crate::stats::bootstrap::Interval;

/// The layer of a checkpoint with the highest score: the naive maximum, optimistic by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct BestLayer<'a> {
    /// Label of the checkpoint.
    pub checkpoint: &'a str,
    /// Whether its weights are random.
    pub untrained: bool,
    /// The best layer, if any is defined, with its score.
    pub best: Option<(&'a Point, f64)>,
    /// Layers that were compared, defined ones only.
    pub n_layers: usize,
    /// Paired difference of that layer to the confounds alone, if it is defined, with its value.
    pub gain: Option<(&'a Difference, f64)>,
    /// The best layer chosen on other data than it is scored on.
    pub nested: Option<&'a NestedBest>,
    /// Its `unique cod`, with its value; where it was computed.
    pub unique: Option<(&'a Difference, f64)>,
}

/// The layer of a checkpoint that differs most from the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct LargestDifference<'a> {
    /// Label of the checkpoint.
    pub checkpoint: &'a str,
    /// The difference, if any is defined, with its value.
    pub largest: Option<(&'a Difference, f64)>,
    /// Layers that were compared, defined ones only.
    pub n_layers: usize,
    /// Both checkpoints at their own nested best layers.
    pub at_best: Option<&'a BestDifference>,
}

/// Whether the layer that drives the planted targets was found.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantedOutcome<'a> {
    /// Checkpoint and layer with the highest mean score over the planted targets, and that mean.
    pub found: Option<(&'a str, Layer, f64)>,
    /// Planted targets whose own highest score lies at the planted checkpoint and layer.
    pub n_highest_there: usize,
    /// Planted targets with any defined score.
    pub n_planted: usize,
    /// Mean score over the planted targets at the planted place.
    pub planted_mean: Option<f64>,
    /// Mean score over the other targets there.
    pub other_mean: Option<f64>,
    /// Whether the place found is the planted one, and planted targets score higher there than the others.
    pub recovered: bool,
}

/// The findings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings<'a> {
    /// Best layer per checkpoint, in the order of the checkpoints.
    pub best: Vec<BestLayer<'a>>,
    /// The confounds-only score and its interval.
    pub confounds: Option<(Score, Option<Interval>)>,
    /// Largest difference per checkpoint but the reference.
    pub differences: Vec<LargestDifference<'a>>,
    /// For runs with something planted.
    pub planted: Option<PlantedOutcome<'a>>,
}

impl<'a> Findings<'a> {
    /// Reads the findings off a record.
    pub fn of(record: &'a RunRecord) -> Findings<'a> {
        let results = &record.comparison;
        let confounds = results.confounds.iter().find(|b| b.score == results.score).map(|b| (b.mean, b.interval));
        // Seeds that were added as a baseline stand together.
        let seeds = Seeds::of(record);
        let is_seed = |label: &str| seeds.as_ref().is_some_and(|s| s.has(label));
        let own = record.checkpoints.iter().filter(|c| !is_seed(&c.label));
        let best = own.map(|c| best_layer(record, &c.label, c.untrained_seed.is_some()));
        let others = record.checkpoints.iter().filter(|c| results.base_of(&c.label).is_some());
        Findings {
            best: best.collect(),
            confounds,
            differences: others.map(|c| largest_difference(record, &c.label)).collect(),
            planted: planted(record),
        }
    }
}

/// The points of a checkpoint's curve of one score.
pub(super) fn points<'a>(record: &'a RunRecord, checkpoint: &str, score: ScoreName) -> &'a [Point] {
    let curve = record.comparison.curves.iter().find(|c| c.checkpoint == checkpoint && c.score == score);
    curve.map_or(&[], |c| &c.points)
}

fn best_layer<'a>(record: &'a RunRecord, checkpoint: &'a str, untrained: bool) -> BestLayer<'a> {
    let points = points(record, checkpoint, record.comparison.score);
    let defined = || points.iter().filter_map(|p| Some((p, finite(p.mean)?)));
    let best = highest(defined());
    BestLayer {
        checkpoint,
        untrained,
        best,
        n_layers: defined().count(),
        gain: best.and_then(|(point, _)| gain(record, checkpoint, point.layer)),
        nested: record.comparison.best_layers.iter().find(|n| n.checkpoint == checkpoint),
        unique: best.and_then(|(point, _)| unique(record, checkpoint, point.layer)),
    }
}

/// The paired difference of a layer to the confounds alone, in the ranking score, with its value.
pub(super) fn gain<'a>(record: &'a RunRecord, checkpoint: &str, layer: Layer) -> Option<(&'a Difference, f64)> {
    let results = &record.comparison;
    let is_it = |d: &&Difference| d.checkpoint == checkpoint && d.layer == layer && d.score == results.score;
    let found = results.confound_gains.iter().find(|d| is_it(d) && d.target.is_none())?;
    Some((found, finite(found.difference)?))
}

/// The `unique cod` of a layer, with its value.
pub(super) fn unique<'a>(record: &'a RunRecord, checkpoint: &str, layer: Layer) -> Option<(&'a Difference, f64)> {
    let found = record.comparison.unique_cod.iter().find(|d| d.checkpoint == checkpoint && d.layer == layer)?;
    Some((found, finite(found.difference)?))
}

fn largest_difference<'a>(record: &'a RunRecord, checkpoint: &'a str) -> LargestDifference<'a> {
    let results = &record.comparison;
    let defined = || {
        results
            .layer_differences
            .iter()
            .filter(|d| d.checkpoint == checkpoint && d.score == results.score && d.target.is_none())
            .filter_map(|d| Some((d, finite(d.difference)?)))
    };
    let largest = highest(defined().map(|(d, value)| ((d, value), value.abs()))).map(|(found, _)| found);
    let at_best = results.best_differences.iter().find(|d| d.checkpoint == checkpoint);
    LargestDifference { checkpoint, largest, n_layers: defined().count(), at_best }
}

fn planted(record: &RunRecord) -> Option<PlantedOutcome<'_>> {
    let planted = record.planted.as_ref()?;
    let is_planted: Vec<bool> = record.responses.targets.iter().map(|t| planted.targets.contains(t)).collect();
    let places = &record.comparison.target_means;
    let mean_over = |means: &[Score], of: bool| {
        let chosen: Vec<f64> =
            means.iter().zip(&is_planted).filter(|(_, p)| **p == of).filter_map(|(m, _)| finite(*m)).collect();
        (!chosen.is_empty()).then(|| chosen.iter().sum::<f64>() / chosen.len() as f64)
    };
    let (found, _) = highest(places.iter().filter_map(|place| {
        let mean = mean_over(&place.means, true)?;
        Some(((place.checkpoint.as_str(), place.layer, mean), mean))
    }))
    .unzip();
    let is_there = |checkpoint: &str, layer: Layer| checkpoint == planted.checkpoint && layer == planted.layer;
    let bests: Vec<bool> = (0..is_planted.len())
        .filter(|t| is_planted[*t])
        .filter_map(|t| {
            let (place, _) = highest(places.iter().filter_map(|p| Some((p, finite(*p.means.get(t)?)?))))?;
            Some(is_there(&place.checkpoint, place.layer))
        })
        .collect();
    let there = places.iter().find(|p| is_there(&p.checkpoint, p.layer));
    let planted_mean = there.and_then(|p| mean_over(&p.means, true));
    let other_mean = there.and_then(|p| mean_over(&p.means, false));
    let found_there = found.is_some_and(|(checkpoint, layer, _)| is_there(checkpoint, layer));
    // Without other targets there is nothing that the planted ones could be above.
    let above = planted_mean.is_some_and(|p| other_mean.is_none_or(|o| p > o));
    Some(PlantedOutcome {
        found,
        n_highest_there: bests.iter().filter(|b| **b).count(),
        n_planted: bests.len(),
        planted_mean,
        other_mean,
        recovered: found_there && above,
    })
}

/// The value of a score; an infinite one would be a defect, and is no value.
fn finite(score: Score) -> Option<f64> {
    score.value().filter(|v| v.is_finite())
}

/// The first item with the highest value.
fn highest<T>(items: impl Iterator<Item = (T, f64)>) -> Option<(T, f64)> {
    items.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Reason;
    use crate::record::sample;

    #[test]
    fn the_best_layer_skips_what_is_undefined() {
        let mut record = sample::record();
        record.comparison.curves[0].points[3].mean = Score::undefined(Reason::NothingDefined);
        let findings = Findings::of(&record);
        let base = &findings.best[0];
        let (point, value) = base.best.unwrap();
        assert_eq!((point.layer, base.n_layers), (Layer(2), 4));
        let (gain, by) = base.gain.unwrap();
        assert!(gain.layer == Layer(2) && (by - (value - 0.021)).abs() < 1e-12);
        assert!(findings.best[2].untrained && !base.untrained);
    }

    #[test]
    fn the_largest_difference_is_by_size_whatever_its_sign() {
        let mut record = sample::record();
        for d in record.comparison.layer_differences.iter_mut().filter(|d| d.layer == Layer(1)) {
            d.difference = Score::Value(-0.5);
            d.interval = Some((-0.6, -0.4));
        }
        let findings = Findings::of(&record);
        assert_eq!(findings.differences.len(), 2);
        let (d, value) = findings.differences[0].largest.unwrap();
        assert_eq!((d.layer, value), (Layer(1), -0.5));
    }

    #[test]
    fn planted_targets_are_found_or_not() {
        let mut record = sample::record();
        let outcome = Findings::of(&record).planted.unwrap();
        assert!(outcome.recovered, "{outcome:?}");
        assert_eq!((outcome.n_highest_there, outcome.n_planted), (3, 3));
        assert!(outcome.planted_mean > outcome.other_mean);
        // Another layer than the planted one does best.
        let place = record.comparison.target_means.iter_mut().find(|p| p.checkpoint == "base").unwrap();
        place.means[0] = Score::Value(5.0);
        let outcome = Findings::of(&record).planted.unwrap();
        assert!(!outcome.recovered);
        assert_eq!(outcome.found.map(|(c, l, _)| (c, l)), Some(("base", Layer(0))));
        assert_eq!((outcome.n_highest_there, outcome.n_planted), (2, 3));
    }

    #[test]
    fn nothing_defined_is_not_recovered() {
        let mut record = sample::record();
        for place in &mut record.comparison.target_means {
            place.means.fill(Score::undefined(Reason::NothingDefined));
        }
        let outcome = Findings::of(&record).planted.unwrap();
        assert!(!outcome.recovered && outcome.found.is_none() && outcome.n_planted == 0);
    }
}
