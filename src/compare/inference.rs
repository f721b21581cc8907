//! p-values, corrected and uncorrected, equivalence and power of the paired differences of a run.

use std::sync::Arc;

use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

use super::units::{beside, differences, mean_differences};
use super::{Comparison, Difference, LayerFit};
use crate::encoding::ScoreName;
use crate::ids::Layer;
use crate::stats::benjamini_hochberg;
use crate::stats::bootstrap::{Interval, Resamples};
use crate::stats::flips::{FlipTest, SignFlips, sign_flip_test};
use crate::stats::paired::{Sample, detectable, tost};
use crate::stats::permuter::Permuter;

/// Level of all tests.
pub const ALPHA: f64 = 0.05;
/// Power of the smallest detectable effect.
pub const POWER: f64 = 0.8;

/// How differences are tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Random permutations, where not all can be used.
    pub permutations: usize,
    /// Their seed.
    pub seed: u64,
    /// Differences within ± this are called equivalent; in units of the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { permutations: 10_000, seed: 0, margin: None }
    }
}

/// What the tests of a run can find.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tests {
    /// How they were made.
    #[serde(flatten)]
    pub settings: Settings,
    /// Sign patterns beside the observed one.
    pub patterns: usize,
    /// Whether these are all that there are.
    pub exact: bool,
    /// The smallest p that can come out.
    pub smallest_p: f64,
}

/// What the tests say of one difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Inference {
    /// Two-sided sign-flip p of this difference alone. There is none for fewer than two units, nor for one subject where
    /// neither side predicts anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// The same, corrected by the largest |t| for the family: all layers, or all layers and targets, of this checkpoint
    /// and score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_fwe: Option<f64>,
    /// Benjamini–Hochberg q over all layers and targets of this checkpoint and score; single targets only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q_fdr: Option<f64>,
    /// The smallest true difference that a t test of these units finds with 80 % power at 0.05, uncorrected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mde80: Option<f64>,
    /// p of two one-sided t tests against the margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_tost: Option<f64>,
    /// Whether the difference is shown to lie within the margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equivalent: Option<bool>,
    /// Interval over subjects and stimulus groups at once; means over targets only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_way: Option<Interval>,
}

/// The fits of one checkpoint: its label, its layers.
pub type Fits<'a> = (&'a str, &'a [(Layer, LayerFit)]);

impl Comparison {
    /// Tests every difference of the comparison. `fits` holds all checkpoints; `permuter` may tally the permutations.
    pub fn test(
        &mut self,
        fits: &[Fits<'_>],
        confounds: &LayerFit,
        settings: &Settings,
        permuter: Option<Arc<dyn Permuter>>,
        resamples: &Resamples,
    ) {
        let flips = SignFlips::new(self.n_units, settings.permutations, settings.seed).on(permuter);
        self.tests = Some(Tests {
            settings: *settings,
            patterns: flips.count(),
            exact: flips.exact(),
            smallest_p: flips.smallest_p(),
        });
        let mut power = Power::new(settings.margin);
        self.choose(fits, &flips, &mut power, resamples);
        for score in ScoreName::ALL {
            for (label, layers) in fits {
                let gains: Vec<Array2<f64>> =
                    layers.iter().map(|(_, fit)| mean_differences(fit, confounds, score)).collect();
                let found = tests(&beside(&gains, self.n_units), &flips, &mut power);
                assign(&mut self.confound_gains, label, score, found);
                if score == ScoreName::Cod {
                    let joint = layers.iter().filter_map(|(_, fit)| fit.joint.as_deref());
                    let unique: Vec<Array2<f64>> = joint.map(|j| mean_differences(j, confounds, score)).collect();
                    let found = tests(&beside(&unique, self.n_units), &flips, &mut power);
                    assign(&mut self.unique_cod, label, score, found);
                }
                let Some((_, reference)) = self.base_among(fits, label).map(|base| fits[base]) else { continue };
                let pairs: Vec<(&LayerFit, &LayerFit)> = layers
                    .iter()
                    .filter_map(|(layer, fit)| Some((fit, &reference.iter().find(|(l, _)| l == layer)?.1)))
                    .collect();
                let mean: Vec<Array2<f64>> = pairs.iter().map(|(a, b)| mean_differences(a, b, score)).collect();
                let found = tests(&beside(&mean, self.n_units), &flips, &mut power);
                assign(&mut self.layer_differences, label, score, found);
                let paired: Vec<Array2<f64>> = pairs.iter().map(|(a, b)| differences(a, b, score)).collect();
                let all = beside(&paired, self.n_units);
                let mut each = tests(&all, &flips, &mut power);
                let q = benjamini_hochberg(&each.iter().map(|i| i.p).collect::<Vec<_>>());
                each.iter_mut().zip(q).for_each(|(i, q)| i.q_fdr = q);
                assign(&mut self.target_differences, label, score, each);
            }
        }
    }
}

/// Puts results where they belong: differences of one checkpoint and score stand in the order of layers and targets.
fn assign(all: &mut [Difference], label: &str, score: ScoreName, found: Vec<Inference>) {
    let own = all.iter_mut().filter(|d| d.checkpoint == label && d.score == score);
    for (difference, inference) in own.zip(found) {
        difference.inference = Inference { two_way: difference.inference.two_way, ..inference };
    }
}

/// What does not depend on the permutations.
pub(super) struct Power {
    margin: Option<f64>,
    /// Detectable effect in standard errors by number of units, as far as it was needed.
    known: Vec<(usize, Option<f64>)>,
}

impl Power {
    pub(super) fn new(margin: Option<f64>) -> Power {
        Power { margin, known: Vec::new() }
    }

    fn detectable(&mut self, n: usize) -> Option<f64> {
        if let Some((_, found)) = self.known.iter().find(|(m, _)| *m == n) {
            return *found;
        }
        let found = detectable(n, ALPHA, POWER);
        self.known.push((n, found));
        found
    }

    fn of(&mut self, sample: Option<Sample>) -> Inference {
        let Some(sample) = sample else { return Inference::default() };
        let error = sample.sd / (sample.n as f64).sqrt();
        let p_tost = self.margin.and_then(|margin| tost(sample, margin));
        let equivalent = self.margin.map(|margin| match p_tost {
            Some(p) => p < ALPHA,
            // Without spread among the units there is nothing to test.
            None => sample.mean.abs() < margin,
        });
        // Without spread there is no estimate of it either.
        let mde80 = (sample.sd > 0.0).then(|| self.detectable(sample.n)).flatten().map(|shift| shift * error);
        Inference { mde80, p_tost, equivalent, ..Inference::default() }
    }
}

/// Tests the columns of `differences` (units, members) as one family.
pub(super) fn tests(differences: &Array2<f64>, flips: &SignFlips, power: &mut Power) -> Vec<Inference> {
    sign_flip_test(differences.view(), flips)
        .into_iter()
        .zip(differences.axis_iter(Axis(1)))
        .map(|(test, column)| {
            let FlipTest { p, p_fwe, .. } = match test {
                Some(test) => test,
                None => return Inference::default(),
            };
            Inference { p: Some(p), p_fwe: Some(p_fwe), ..power.of(Sample::of(column.iter())) }
        })
        .collect()
}
