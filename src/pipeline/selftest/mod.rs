//! Could this study have seen the effect? Responses are invented on the study's own stimuli, folds, numbers of rows and
//! noise, with a known layer of a known checkpoint as the brain; then scored and tested as the study would be.

mod power;
mod simulate;

use std::sync::Arc;

use ndarray::{Array2, Axis, concatenate};
use serde::Serialize;

use super::compare::ceilings_of;
use super::preflight::{Prepared, prepare};
use super::states::extract;
use crate::encoding::ceiling::CeilingKind;
use crate::encoding::{AlphaGrid, Folds, ScoreName, cv, score};
use crate::error::{Code, Error, Problems, Result};
use crate::features::{self, FeatureSpace};
use crate::ids::Layer;
use crate::io::disk;
use crate::store::StateCache;
use crate::study::{Overrides, Plan, demo};
use crate::watch::Watch;
pub use power::{Null, Power};
use simulate::{Design, autocorrelation};

/// Signal-to-noise ratios at which recovery is tried.
const SNRS: [f64; 3] = [0.25, 1.0, 4.0];
/// Invented targets that the layer drives, and that it does not.
const TARGETS: usize = 48;
/// Seed of everything that is drawn.
const SEED: u64 = 0;

/// What a self-test found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selftest {
    /// The study's name.
    pub study: String,
    /// Label of the checkpoint that plays the brain.
    pub checkpoint: String,
    /// Its layer that does.
    pub layer: Layer,
    /// What it is tested against: the reference's same layer, or the confounds.
    pub against: String,
    /// Rows, folds and subjects of the study.
    pub rows: usize,
    /// Outer folds.
    pub folds: usize,
    /// Subjects.
    pub subjects: usize,
    /// Noise of the study's responses.
    pub noise: Noise,
    /// Whether the planted layer and targets come back.
    pub recovery: Vec<Recovery>,
    /// Whether p-values are uniform when there is nothing to find.
    pub null: Vec<Null>,
    /// How often which effect is found by how many subjects.
    pub power: Vec<Power>,
}

/// How noisy the study's responses are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Noise {
    /// Share of the responses' variance that any model could explain, by the ceiling; none without one.
    pub signal_share: Option<f64>,
    /// The ceiling it comes from.
    pub from: Option<CeilingKind>,
    /// Correlation of neighbouring rows.
    pub autocorrelation: f64,
}

/// Recovery at one strength of the signal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Recovery {
    /// Signal variance over noise variance.
    pub snr: f64,
    /// SNR / (1 + SNR): the cod of a perfect model.
    pub expected_cod: f64,
    /// cod at the planted layer, mean over the driven targets.
    pub cod: f64,
    /// Its difference to what a perfect model would reach: the price of few rows.
    pub bias: f64,
    /// cod at the planted layer of the targets that are noise.
    pub cod_of_others: f64,
    /// The layer with the highest mean cod over the driven targets.
    pub found: Layer,
    /// Whether that is the planted one.
    pub recovered: bool,
    /// Share of the driven targets whose own best layer is the planted one.
    pub targets_recovered: f64,
}

impl Selftest {
    /// Whether tests reject as often as they should when there is nothing to find.
    pub fn is_calibrated(&self) -> bool {
        self.null.iter().all(|n| n.calibrated)
    }
}

/// Tests the built-in study, or one that is given. `layer` is the layer that plays the brain (default: the middle one of
/// the last checkpoint).
///
/// # Errors
/// All problems of the preflight; `FL-02` for a layer that is not scored.
pub fn selftest(
    plan: Option<Plan>,
    overrides: &Overrides,
    layer: Option<usize>,
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> std::result::Result<Selftest, Problems> {
    if let Some(plan) = plan {
        return Ok(run(&prepare(plan, watch)?, layer, cache, watch)?);
    }
    let folder = disk::scratch_folder().map_err(|e| Error::io("a temporary folder", "creating", e))?;
    demo::write(folder.path())?;
    let mut checkpoints = demo::checkpoints(folder.path());
    checkpoints.truncate(2);
    let plan = Plan::new(&folder.path().join(demo::STUDY), checkpoints, overrides).map_err(Problems::from_list)?;
    Ok(run(&prepare(plan, watch)?, layer, None, watch)?)
}

/// Everything that simulations need.
struct Bench<'a> {
    design: Design<'a>,
    folds: Folds,
    grid: AlphaGrid,
    /// Every scored layer of the checkpoint that plays the brain (rows, features).
    layers: Vec<(Layer, Array2<f64>)>,
    planted: usize,
    /// What the planted layer is tested against.
    against: Array2<f64>,
    score: ScoreName,
    watch: &'a dyn Watch,
}

impl Bench<'_> {
    fn planted(&self) -> &Array2<f64> {
        &self.layers[self.planted].1
    }

    /// Scores of every column of `y` on `x`; NaN where undefined.
    fn scores(&self, x: &Array2<f64>, y: &Array2<f64>, name: ScoreName) -> Result<Vec<f64>> {
        let fit = cv::fit(x.view(), y.view(), &self.folds, &self.grid, self.watch)?;
        Ok(score(y.view(), &fit, &self.folds).iter().map(|s| s.get(name).value().unwrap_or(f64::NAN)).collect())
    }
}

fn run(prepared: &Prepared, layer: Option<usize>, cache: Option<&StateCache>, watch: &dyn Watch) -> Result<Selftest> {
    crate::compute::cpu::single_threaded_blas();
    let Some(brain) = prepared.checkpoints.last() else {
        return Err(Error::new(Code::Fl02, "checkpoints", "there is none").expected("at least one"));
    };
    let planted = match layer {
        Some(asked) => brain.layers.iter().position(|l| l.0 == asked).ok_or_else(|| {
            Error::new(Code::Fl02, "--layer", format!("is {asked}")).expected(format!(
                "a scored layer of {:?}: {}",
                brain.checkpoint.record().label,
                crate::error::first_five(&brain.layers)
            ))
        })?,
        None => brain.layers.len() / 2,
    };
    // Subjects with the same stimuli share everything that matters here; the largest group of them stands for all.
    let Some(cohort) = prepared.cohorts.iter().max_by_key(|c| c.rows().len()) else {
        return Err(Error::new(Code::Rs07, "responses", "there are none"));
    };
    let rows = cohort.rows();
    let all_runs = prepared.stimuli.runs();
    let runs: Vec<usize> = rows.iter().map(|row| all_runs[*row]).collect();
    let offload = prepared.offload.as_ref();
    let states = |open: &super::preflight::OpenCheckpoint, layers: &[Layer]| -> Result<Vec<(Layer, Array2<f64>)>> {
        let found = extract(&open.checkpoint, &open.tokens, prepared.plan.pooling, layers, offload, cache, watch)?;
        let space = |p: super::states::Pooled| {
            let ids = Arc::clone(&prepared.ids);
            let width = open.checkpoint.width();
            let space = FeatureSpace::from_texts("", ids, &p.vectors, width, &prepared.text_of_row);
            (p.layer, space.x().select(Axis(0), rows))
        };
        Ok(found.layers.into_iter().map(space).collect())
    };
    let layers = states(brain, &brain.layers)?;
    let reference = prepared
        .checkpoints
        .first()
        .filter(|first| prepared.checkpoints.len() > 1 && first.layers.contains(&brain.layers[planted]));
    let (against, name) = match reference {
        Some(first) => {
            let layer = brain.layers[planted];
            let label = &first.checkpoint.record().label;
            (states(first, &[layer])?.swap_remove(0).1, format!("layer {layer} of {label}"))
        }
        None => {
            let confounds = features::confounds(&prepared.stimuli, &prepared.ids);
            (confounds.x().select(Axis(0), rows), "the confounds".to_owned())
        }
    };
    let noise = noise(prepared, &runs, cohort.y());
    let bench = Bench {
        design: Design { runs: &runs, autocorrelation: noise.autocorrelation },
        folds: prepared.folds.subset(rows),
        grid: prepared.plan.alphas.clone(),
        layers,
        planted,
        against,
        score: prepared.plan.score,
        watch,
    };
    let own = noise.signal_share.filter(|s| *s > 0.0 && *s < 1.0).map(|s| s / (1.0 - s));
    let snrs: Vec<f64> = SNRS.into_iter().chain(own).collect();
    watch.begin("planted truth", "simulations", snrs.len() as u64 + power::STEPS);
    let mut recovery = Vec::new();
    for snr in snrs {
        recovery.push(recover(&bench, snr)?);
        watch.advance(1);
    }
    let subjects = prepared.subjects.len();
    let (null, power) = power::curves(&bench, subjects)?;
    watch.end();
    Ok(Selftest {
        study: prepared.plan.name.clone(),
        checkpoint: brain.checkpoint.record().label.clone(),
        layer: brain.layers[planted],
        against: name,
        rows: rows.len(),
        folds: bench.folds.count(),
        subjects,
        noise,
        recovery,
        null,
        power,
    })
}

/// The signal's share by the first ceiling in cod, and the responses' autocorrelation.
fn noise(prepared: &Prepared, runs: &[usize], y: &Array2<f64>) -> Noise {
    let ceilings = ceilings_of(prepared);
    let in_cod = |kind| {
        let ceiling = ceilings.iter().find(|c| c.kind == kind && c.score == ScoreName::Cod)?;
        Some((kind, ceiling.mean.value().filter(|v| *v > 0.0)?))
    };
    let found = in_cod(CeilingKind::Repeats).or_else(|| in_cod(CeilingKind::Loso));
    Noise {
        signal_share: found.map(|(_, share)| share),
        from: found.map(|(kind, _)| kind),
        autocorrelation: autocorrelation(y.view(), runs),
    }
}

fn recover(bench: &Bench<'_>, snr: f64) -> Result<Recovery> {
    let expected = snr / (1.0 + snr);
    let driven = bench.design.responses(bench.planted().view(), expected, TARGETS, SEED + 1);
    let others = bench.design.noise(TARGETS, SEED + 2);
    // INVARIANT: both have the rows of the design.
    let y = concatenate(Axis(1), &[driven.view(), others.view()]).expect("both have the rows of the design");
    let mut by_layer = Vec::with_capacity(bench.layers.len());
    for (_, x) in &bench.layers {
        by_layer.push(bench.scores(x, &y, ScoreName::Cod)?);
    }
    let mean = |values: &[f64]| {
        let known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        crate::stats::mean(&known).unwrap_or(f64::NAN)
    };
    let best = |of: &dyn Fn(usize) -> f64| {
        (0..bench.layers.len()).reduce(|a, b| if of(b) > of(a) { b } else { a }).unwrap_or(0)
    };
    let found = best(&|layer| mean(&by_layer[layer][..TARGETS]));
    let own = (0..TARGETS).filter(|t| best(&|layer| by_layer[layer][*t]) == bench.planted).count();
    let cod = mean(&by_layer[bench.planted][..TARGETS]);
    Ok(Recovery {
        snr,
        expected_cod: expected,
        cod,
        bias: cod - expected,
        cod_of_others: mean(&by_layer[bench.planted][TARGETS..]),
        found: bench.layers[found].0,
        recovered: found == bench.planted,
        targets_recovered: own as f64 / TARGETS as f64,
    })
}
