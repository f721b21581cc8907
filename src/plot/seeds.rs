//! The untrained seeds of a run, taken together: mean and range per layer.

use crate::encoding::ScoreName;
use crate::ids::Layer;
use crate::record::RunRecord;

/// Untrained seeds that were added as a baseline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seeds {
    labels: Vec<String>,
    /// How many.
    pub n: usize,
    /// The layer with the highest mean of the ranking score.
    pub best: Layer,
}

impl Seeds {
    /// The seeds of a run that has any with a score.
    pub fn of(record: &RunRecord) -> Option<Seeds> {
        let labels: Vec<String> = (0..record.plan.untrained).map(|seed| format!("untrained-{seed}")).collect();
        let first = labels.first()?;
        let score = record.comparison.score;
        let curve = record.comparison.curves.iter().find(|c| c.checkpoint == *first && c.score == score)?;
        let mut seeds = Seeds { n: labels.len(), labels, best: Layer(0) };
        let means = curve.points.iter().filter_map(|p| Some((p.layer, seeds.at(record, score, p.layer)?.0)));
        seeds.best = means.reduce(|best, next| if next.1 > best.1 { next } else { best })?.0;
        Some(seeds)
    }

    /// Whether a checkpoint is one of them.
    pub fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|l| l == label)
    }

    /// `mean 0.01 (0.00 to 0.02) at layer 3`, numbers as `write` makes them.
    pub fn in_words(&self, record: &RunRecord, write: fn(f64) -> String) -> String {
        match self.at(record, record.comparison.score, self.best) {
            Some((mean, low, high)) => {
                format!("mean {} ({} to {}) at layer {}", write(mean), write(low), write(high), self.best)
            }
            None => "undefined".to_owned(),
        }
    }

    /// Mean, lowest and highest score over the seeds at a layer; none unless all of them have one.
    pub fn at(&self, record: &RunRecord, score: ScoreName, layer: Layer) -> Option<(f64, f64, f64)> {
        let values: Option<Vec<f64>> = self
            .labels
            .iter()
            .map(|label| {
                let curve = record.comparison.curves.iter().find(|c| c.checkpoint == *label && c.score == score)?;
                curve.points.iter().find(|p| p.layer == layer)?.mean.value()
            })
            .collect();
        let values = values?;
        let mean = crate::stats::mean(&values)?;
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        Some((mean, low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{Reason, Score};
    use crate::plot::scene;
    use crate::record::sample;

    #[test]
    fn seeds_have_a_mean_and_a_range() {
        let mut record = sample::of(&[("base", 2), ("untrained-0", 2), ("untrained-1", 2)]);
        assert_eq!(Seeds::of(&record), None);
        record.plan.untrained = 2;
        for (label, value) in [("untrained-0", 0.1), ("untrained-1", 0.3)] {
            let own = record.comparison.curves.iter_mut().find(|c| c.checkpoint == label && c.score == ScoreName::Cod);
            own.unwrap().points[1].mean = Score::Value(value);
        }
        let seeds = Seeds::of(&record).unwrap();
        assert!(seeds.has("untrained-1") && !seeds.has("base") && seeds.best == Layer(1));
        let says_range = |caption: &[String]| caption.iter().any(|line| line.contains("untrained seeds: their range"));
        assert!(says_range(&scene::layerwise(&record).caption), "they share a curve");
        let difference = scene::difference(&record).unwrap();
        assert!(!says_range(&difference.caption), "each has its own interval there");
        assert_eq!(seeds.at(&record, ScoreName::Cod, Layer(1)), Some((0.2, 0.1, 0.3)));
        let own =
            record.comparison.curves.iter_mut().find(|c| c.checkpoint == "untrained-0" && c.score == ScoreName::Cod);
        own.unwrap().points[1].mean = Score::undefined(Reason::NothingDefined);
        assert_eq!(Seeds::of(&record).unwrap().at(&record, ScoreName::Cod, Layer(1)), None);
    }
}
