//! Scores along training steps or model sizes: a straight line over the logarithm, fitted to each unit by itself.
//!
//! The slope is a weighted sum of the checkpoints' scores, the same sum for every subject, so its interval and its test
//! are those of any difference: bootstrap and sign flips over subjects. A line through the means alone would know
//! nothing of how subjects differ. It says how much a score changes per tenfold number of steps (or size) *over the
//! range that was measured*; it is not for predicting beyond it, and a few checkpoints cannot tell a line from a curve.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::Comparison;
use super::best::{Profile, replicated};
use super::inference::{Inference, Power, tests};
use super::lineage::Lineage;
use super::units::beside;
use crate::encoding::{Reason, Score};
use crate::stats::bootstrap::{Interval, Resamples};
use crate::stats::flips::SignFlips;

/// Fewest different places on the axis that a line is fitted to.
const FEWEST: usize = 3;

/// What scores are looked at along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Along {
    /// Training steps since the base.
    Steps,
    /// Size of the model.
    Size,
}

impl Along {
    /// What the axis is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Along::Steps => "training steps",
            Along::Size => "model size",
        }
    }
}

/// The nested score of a series of checkpoints along steps or size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Along what.
    pub along: Along,
    /// Name of the series: the family of its checkpoints, or their base.
    pub series: String,
    /// The checkpoints in order; one at 0 (the base) is shown and not fitted.
    pub points: Vec<TrendPoint>,
    /// Change of the score per tenfold steps or size.
    pub slope: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// The line's score at 1 step or unit of size; the line is `intercept + slope · log10(x)`.
    pub intercept: Option<f64>,
    /// Tests of the slope against 0; p_fwe corrects for all series of the run.
    #[serde(default)]
    pub inference: Inference,
}

/// A checkpoint of a [`Trend`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrendPoint {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Its steps or size.
    pub at: f64,
    /// Its nested score.
    pub score: Score,
    /// The interval of that.
    pub interval: Option<Interval>,
}

impl Trend {
    /// The line's score at a place; none at 0, where a logarithm has no value.
    pub fn fitted(&self, at: f64) -> Option<f64> {
        Some(self.intercept? + self.slope.value()? * at.log10()).filter(|score| score.is_finite())
    }
}

/// A series before it is fitted: its name, and its checkpoints with their places.
type Series = (Along, String, Vec<(String, f64)>);

impl Comparison {
    /// Fits every series that the list makes; `columns` holds each checkpoint's nested scores.
    pub(super) fn trends(
        &mut self,
        columns: &[(&str, &Profile)],
        flips: &SignFlips,
        power: &mut Power,
        resamples: &Resamples,
    ) {
        let mut slopes = Vec::new();
        for (along, series, places) in series(&self.lineage) {
            let known = |label: &str| columns.iter().find(|(l, _)| *l == label).map(|(_, column)| *column);
            let fitted: Vec<(f64, &Profile)> = places
                .iter()
                .filter(|(_, at)| *at > 0.0)
                .filter_map(|(label, at)| Some((at.log10(), known(label)?)))
                .collect();
            let Some(weights) = weights(&fitted) else { continue };
            let line = |w: &Array2<f64>| {
                let parts = fitted.iter().zip(&weights).map(|((_, column), weight)| column.resampled(w) * *weight);
                parts.reduce(|a, b| a + b).map_or_else(|| w.column(0).to_owned(), |sum| sum.column(0).to_owned())
            };
            let (slope, interval) = replicated(resamples, line);
            let ones = Array2::ones((1, self.n_units));
            let means: Vec<f64> = fitted.iter().map(|(_, column)| column.resampled(&ones)[[0, 0]]).collect();
            let middle = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / fitted.len() as f64;
            let intercept = middle(&mut means.iter().copied()) - slope * middle(&mut fitted.iter().map(|(x, _)| *x));
            let units = if fitted.iter().any(|(_, column)| column.predicts()) {
                let parts = fitted.iter().zip(&weights).map(|((_, column), weight)| &column.values * *weight);
                parts.reduce(|a, b| a + b).unwrap_or_else(|| ones.t().to_owned())
            } else {
                Array2::from_elem((self.n_units, 1), f64::NAN)
            };
            slopes.push(units);
            let point = |(label, at): &(String, f64)| {
                let best = self.best_layers.iter().find(|b| b.checkpoint == *label)?;
                Some(TrendPoint { checkpoint: label.clone(), at: *at, score: best.nested, interval: best.interval })
            };
            self.trends.push(Trend {
                along,
                series,
                points: places.iter().filter_map(point).collect(),
                slope: Score::from_nan(slope, Reason::NothingDefined),
                interval,
                intercept: Some(intercept).filter(|i| i.is_finite()),
                inference: Inference::default(),
            });
        }
        let tested = tests(&beside(&slopes, self.n_units), flips, power);
        self.trends.iter_mut().zip(tested).for_each(|(trend, inference)| trend.inference = inference);
    }
}

/// What each score counts in the least-squares slope; none for fewer than [`FEWEST`] different places.
fn weights(fitted: &[(f64, &Profile)]) -> Option<Vec<f64>> {
    let mut places: Vec<f64> = fitted.iter().map(|(x, _)| *x).collect();
    let middle = places.iter().sum::<f64>() / places.len().max(1) as f64;
    let squares: f64 = places.iter().map(|x| (x - middle) * (x - middle)).sum();
    let weights = places.iter().map(|x| (x - middle) / squares).collect();
    places.sort_unstable_by(f64::total_cmp);
    places.dedup();
    (places.len() >= FEWEST).then_some(weights)
}

/// The series that a list makes. Along steps: the checkpoints of one family and base, the base at 0. Along size: the
/// pretrained ones of a family, and the fine-tuned ones, of each base that with the most steps.
fn series(lineage: &[Lineage]) -> Vec<Series> {
    let mut all: Vec<(Series, Option<&str>)> = Vec::new();
    let mut add = |along, name: String, base, one: (String, f64)| match all
        .iter_mut()
        .find(|((a, n, _), b)| (*a, n, *b) == (along, &name, base))
    {
        Some(((.., places), _)) => places.push(one),
        None => all.push(((along, name, vec![one]), base)),
    };
    for one in lineage {
        let base = one.base.as_deref();
        if let Some(steps) = one.steps.filter(|s| *s > 0.0) {
            let name = one.family.as_deref().or(base).unwrap_or("all");
            add(Along::Steps, name.to_owned(), base, (one.label.clone(), steps));
        }
        let longest =
            |other: &&Lineage| other.base == one.base && other.family == one.family && other.steps > one.steps;
        if let Some(size) = one.size.filter(|_| base.is_none() || !lineage.iter().any(|o| longest(&o))) {
            let kind = if base.is_some() { "fine-tuned" } else { "pretrained" };
            let name = one.family.as_ref().map_or(kind.to_owned(), |family| format!("{family}, {kind}"));
            add(Along::Size, name, None, (one.label.clone(), size));
        }
    }
    let names: Vec<(Along, String)> = all.iter().map(|((along, name, _), _)| (*along, name.clone())).collect();
    all.into_iter()
        .map(|((along, name, mut places), base)| {
            places.sort_by(|a, b| a.1.total_cmp(&b.1));
            if let Some(base) = base.filter(|_| along == Along::Steps) {
                places.insert(0, (base.to_owned(), 0.0));
            }
            let twice = names.iter().filter(|n| **n == (along, name.clone())).count() > 1;
            (along, if twice { format!("{name} from {}", base.unwrap_or("nothing")) } else { name }, places)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::LayerFit;
    use super::*;
    use crate::encoding::ScoreName;

    fn listed(label: &str, base: Option<&str>, steps: Option<f64>, size: Option<f64>) -> Lineage {
        let base = base.map(str::to_owned);
        Lineage { label: label.to_owned(), family: None, base, steps, size }
    }

    #[test]
    fn a_list_makes_series() {
        let list = [
            listed("base", None, None, Some(1e6)),
            listed("late", Some("base"), Some(1000.0), Some(1e6)),
            listed("early", Some("base"), Some(10.0), Some(1e6)),
            listed("large", None, None, Some(1e8)),
        ];
        let found = series(&list);
        let of = |along: Along, name: &str| -> Vec<(&str, f64)> {
            let (.., places) = found.iter().find(|(a, n, _)| *a == along && n == name).unwrap();
            places.iter().map(|(label, at)| (label.as_str(), *at)).collect()
        };
        assert_eq!(of(Along::Steps, "base"), [("base", 0.0), ("early", 10.0), ("late", 1000.0)]);
        assert_eq!(of(Along::Size, "pretrained"), [("base", 1e6), ("large", 1e8)]);
        assert_eq!(of(Along::Size, "fine-tuned"), [("late", 1e6)], "the one with the most steps");
    }

    /// Each subject's score rises by its own slope per decade.
    #[test]
    fn a_line_is_found_with_its_spread() {
        let slopes = [0.02, 0.03, 0.025, 0.04, 0.01, 0.03];
        let lineage: Vec<Lineage> =
            [1.0, 10.0, 100.0, 1000.0].map(|s| listed(&format!("at {s}"), Some("base"), Some(s), None)).to_vec();
        let values: Vec<Profile> = (0..4)
            .map(|decade| Profile::column(Array2::from_shape_fn((6, 1), |(s, _)| 0.1 + slopes[s] * decade as f64)))
            .collect();
        let columns: Vec<(&str, &Profile)> = lineage.iter().map(|l| l.label.as_str()).zip(&values).collect();
        let resamples = Resamples::new(6, 500, 0);
        let nothing =
            LayerFit { scores: vec![Vec::new(); 6], groups: None, by_group: None, by_roi: Vec::new(), joint: None };
        let mut comparison = Comparison::new(ScoreName::Cod, &[], &nothing, 6, &resamples);
        comparison.lineage = lineage.clone();
        comparison.trends(&columns, &SignFlips::new(6, 1000, 0), &mut Power::new(None), &resamples);
        let trend = &comparison.trends[0];
        let mean = slopes.iter().sum::<f64>() / 6.0;
        assert!((trend.slope.value().unwrap() - mean).abs() < 1e-12);
        assert!((trend.intercept.unwrap() - 0.1).abs() < 1e-12);
        let (low, high) = trend.interval.unwrap();
        assert!(low > 0.01 && low < mean && high > mean && high < 0.04, "{low} {high}");
        assert_eq!(trend.inference.p, Some(2.0 / 64.0), "all of six subjects rise");
        // Two places make no line.
        comparison.trends.clear();
        comparison.lineage.truncate(2);
        comparison.trends(&columns, &SignFlips::new(6, 1000, 0), &mut Power::new(None), &resamples);
        assert!(comparison.trends.is_empty());
    }
}
