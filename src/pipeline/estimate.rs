//! What a comparison will take, before it runs: time from the operations that it needs and the speed of this machine,
//! memory from the arrays that it will hold.
//!
//! The constants were fitted to runs of three studies (benches/README.md); an estimate is meant to tell a minute from an
//! hour and a gigabyte from a hundred, not to be exact.

use std::time::Instant;

use ndarray::Array2;
use serde::Serialize;

use super::maps::atlas_of;
use super::preflight::{OpenCheckpoint, Prepared};
use crate::compute::cpu::{self, Real};
use crate::encoding::Combine;
use crate::encoding::engine::{Precision, Size};
use crate::study::{BOOTSTRAP_DRAWS, UniqueLayers};

/// Share of the speed of a large matrix product that a forward pass reaches.
const FORWARD: f64 = 0.7;
/// Share of it that an encoding model reaches.
const FIT: f64 = 0.35;
/// Weightings that `unique cod` searches.
const WEIGHTINGS: f64 = 100.0;
/// Seconds to read, hash and attest a byte of weights.
const WEIGHT_SECONDS: f64 = 4e-9;
/// Seconds per bootstrap draw of one score: its share of a product, of sorting and of the interval.
const DRAW_SECONDS: f64 = 2.5e-8;
/// Seconds to write one held-out prediction.
const PREDICTION_SECONDS: f64 = 1.2e-7;
/// Seconds to write the scores of one subject and target in one layer, in both kinds of tables.
const ROW_SECONDS: f64 = 3e-5;
/// Bytes of the program, its libraries and its tables of code.
const PROGRAM_BYTES: u64 = 60 << 20;
/// Bytes that drawing brain maps for the report takes on top.
const PICTURE_BYTES: u64 = 80 << 20;
/// Bytes of the scores of one subject and target, in memory and as rows of tables.
const SCORE_BYTES: u64 = 420;
/// Scores whose intervals are computed.
const SCORES: f64 = 3.0;

/// Time and memory of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Seconds until hidden states are there, when none are cached.
    pub hidden_states_seconds: f64,
    /// Seconds of the encoding models, their intervals and tables.
    pub encoding_seconds: f64,
    /// Seconds of `unique cod`.
    pub unique_seconds: f64,
    /// Largest amount of memory held at once.
    pub peak_bytes: u64,
}

impl Estimate {
    /// All of it.
    pub fn seconds(&self) -> f64 {
        self.hidden_states_seconds + self.encoding_seconds + self.unique_seconds
    }
}

/// Estimates a comparison on this machine and the current pool of threads; takes about a tenth of a second.
pub fn estimate(prepared: &Prepared) -> Estimate {
    cpu::single_threaded_blas();
    let speed =
        Speed { single: product_rate::<f32>(), double: product_rate::<f64>(), threads: rayon::current_num_threads() };
    let (hidden_states_seconds, states_bytes) = hidden_states(prepared, &speed);
    let (encoding_seconds, unique_seconds) = encoding(prepared, &speed);
    let pictures = atlas_of(&prepared.plan).map_or(0, |_| PICTURE_BYTES);
    let peak_bytes = PROGRAM_BYTES + states_bytes.max(encoding_bytes(prepared)).max(pictures);
    Estimate { hidden_states_seconds, encoding_seconds, unique_seconds, peak_bytes }
}

/// Operations per second of large products on one thread.
struct Speed {
    single: f64,
    double: f64,
    threads: usize,
}

fn product_rate<T: Real>() -> f64 {
    const N: usize = 512;
    let a = Array2::from_shape_fn((N, N), |(i, j)| T::of(((i * 31 + j * 17) % 101) as f64 / 101.0));
    let once = || {
        let clock = Instant::now();
        let product = a.dot(&a);
        assert!(product[[0, 0]].wide() >= 0.0, "a sum of products of numbers that are not negative");
        2.0 * (N as f64).powi(3) / clock.elapsed().as_secs_f64().max(1e-9)
    };
    once();
    (0..3).map(|_| once()).fold(0.0, f64::max)
}

fn hidden_states(prepared: &Prepared, speed: &Speed) -> (f64, u64) {
    let (mut seconds, mut held, mut peak, mut first) = (0.0, 0, 0, 0);
    for open in &prepared.checkpoints {
        let record = open.checkpoint.record();
        let (width, blocks) = (record.width as f64, record.blocks as f64);
        let flops: f64 = open
            .tokens
            .iter()
            .map(|t| t.ids.len() as f64)
            .map(|n| blocks * (24.0 * n * width * width + 4.0 * n * n * width))
            .sum();
        let weights = 4 * record.parameters;
        seconds += flops / (speed.single * speed.threads as f64 * FORWARD) + weights as f64 * WEIGHT_SECONDS;
        // A few packs of tokens per thread, each with some rows of the width and of the wider intermediate layer.
        let activations = (speed.threads * 4096 * record.width * 4 * 12) as u64;
        peak = peak.max(held + weights + activations).max(held + first + weights);
        held += state_bytes(open);
        // The reference's weights stay for the attestation of the others.
        first = if first == 0 { weights } else { first };
    }
    (seconds, peak)
}

/// Bytes of the pooled states of a checkpoint.
fn state_bytes(open: &OpenCheckpoint) -> u64 {
    (open.layers.len() * open.tokens.len() * open.checkpoint.width() * 4) as u64
}

/// Size of the fit of one feature space to one cohort.
fn sizes<'a>(prepared: &'a Prepared, features: usize) -> impl Iterator<Item = Size> + 'a {
    prepared.cohorts.iter().map(move |cohort| Size {
        rows: cohort.rows().len(),
        features,
        targets: cohort.y().ncols(),
        folds: prepared.folds.count(),
        alphas: prepared.plan.alphas.values.len(),
    })
}

fn encoding(prepared: &Prepared, speed: &Speed) -> (f64, f64) {
    let precision = prepared.plan.precision;
    let decomposing = if precision == Precision::Single { speed.single } else { speed.double };
    let searching = if precision == Precision::Double { speed.double } else { speed.single };
    let confounds = prepared.confound_names.len();
    let (mut plain, mut unique) = (0.0, 0.0);
    let targets = (prepared.subjects.len() * prepared.targets.len()) as f64;
    for open in &prepared.checkpoints {
        let joint = match prepared.plan.unique {
            UniqueLayers::None => 0,
            UniqueLayers::Best => 1,
            UniqueLayers::All => open.layers.len(),
        };
        for size in sizes(prepared, open.checkpoint.width()) {
            let (factor, search) = size.flops();
            plain += open.layers.len() as f64 * (factor / decomposing + search / searching) / FIT;
            for model in &prepared.plan.combine {
                let layers = open.layers.len();
                let (factor, search) = match model {
                    Combine::Concat => Size { features: size.features * layers, ..size }.flops(),
                    // Every layer once more, and the inner predictions that the mixture is found on.
                    Combine::Stack => (2.0 * layers as f64 * factor, 2.0 * layers as f64 * search),
                };
                plain += (factor / decomposing + search / searching) / FIT;
            }
            let joint_size = Size { features: size.features + confounds, ..size };
            let (factor, search) = joint_size.flops();
            unique += joint as f64 * (factor + WEIGHTINGS * search) / speed.double / FIT;
        }
        let tested = if prepared.subjects.len() == 1 { prepared.stimuli.n_groups() } else { prepared.subjects.len() };
        let intervals = SCORES * 2.0 * prepared.targets.len() as f64 * BOOTSTRAP_DRAWS as f64;
        plain += open.layers.len() as f64 * intervals * DRAW_SECONDS * (1.0 + tested as f64 / 50.0);
        // Tables are written by one thread.
        plain += speed.threads as f64
            * open.layers.len() as f64
            * targets
            * (prepared.stimuli.len() as f64 * PREDICTION_SECONDS + ROW_SECONDS);
    }
    (plain / speed.threads as f64, unique / speed.threads as f64)
}

fn encoding_bytes(prepared: &Prepared) -> u64 {
    let threads = rayon::current_num_threads() as u64;
    let states: u64 = prepared.checkpoints.iter().map(state_bytes).sum();
    let responses: u64 = prepared.cohorts.iter().map(|c| (c.y().len() * 8) as u64).sum();
    let layers: u64 = prepared.checkpoints.iter().map(|c| c.layers.len() as u64).sum::<u64>() + 1;
    let targets = (prepared.subjects.len() * prepared.targets.len()) as u64;
    let rows = prepared.stimuli.len() as u64;
    // Per thread: features as given and sorted, predictions of one layer. Those of both baselines, and of one layer as a
    // table's columns, twice as wide for being optional.
    let width = prepared.checkpoints.iter().map(|c| c.checkpoint.width()).max().unwrap_or(0) as u64;
    let predictions = rows * targets * 8;
    let engine = sizes(prepared, width as usize).map(|s| s.inner_sets() as u64 * s.factor_bytes(2)).max().unwrap_or(0);
    let at_work = threads * (3 * rows * width * 8 + engine + predictions);
    let draws = threads * (BOOTSTRAP_DRAWS * prepared.targets.len() * 8) as u64 * 3;
    states + 2 * responses + at_work + 4 * predictions + draws + layers * targets * SCORE_BYTES
}
