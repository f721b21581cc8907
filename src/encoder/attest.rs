//! Were the weights that were scored the weights that were meant? Distances, tensor by tensor, from the reference
//! checkpoint and from a fresh initialisation.
//!
//! The distance of two tensors is `‖a − b‖ / max(‖a‖, ‖b‖)` (Frobenius norms): 0 for equal ones, about √2 for unrelated
//! ones of one size. The distance from a fresh initialisation is the expected one over all seeds,
//! `√(‖a‖² + n sd²) / max(‖a‖, √n sd)` for n values drawn with standard deviation sd: it needs no draw, and nobody's seed.

use std::collections::HashMap;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::ops::with_values;
use super::params::{Param, Start, candle_error};
use crate::error::{Result, Warning};

/// Share of tensors that must look untouched by training before weights are called random.
const UNTOUCHED: f64 = 0.95;
/// Relative deviation of a standard deviation from the initial one that chance explains.
const SAME_SD: f64 = 0.05;
/// Share of unknown tokens above which a tokenizer is said not to fit.
const UNKNOWN_LIMIT: f64 = 0.05;

/// What is known about a checkpoint's weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attestation {
    /// Label of the checkpoint.
    pub checkpoint: String,
    /// Whether the weights look as if no training had touched them.
    pub looks_random: bool,
    /// Whether every tensor equals that of the reference; none for the reference itself.
    pub equals_reference: Option<bool>,
    /// Distance from the reference per layer (0: embeddings and whatever no block owns, k: block k; then what stands
    /// after the blocks, if anything), over all tensors of the layer; empty for the reference itself or another
    /// architecture.
    pub layers: Vec<f64>,
    /// Every tensor.
    pub tensors: Vec<TensorDistance>,
    /// Share of the stimuli's tokens that the tokenizer does not know.
    pub unknown_tokens: f64,
}

/// One tensor's distances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorDistance {
    /// Its name in the architecture.
    pub name: String,
    /// The layer it belongs to.
    pub layer: usize,
    /// From the reference; none for the reference itself or where the reference has no such tensor.
    pub from_reference: Option<f64>,
    /// From a fresh initialisation.
    pub from_fresh: f64,
}

/// A checkpoint's tensors, held in memory to compare others with.
pub struct AttestedTensors(HashMap<String, Tensor>);

/// Attests a checkpoint's weights. `reference` holds the tensors of the reference checkpoint; `unknown_tokens` is the
/// share of the stimuli's tokens that its tokenizer does not know.
///
/// # Errors
/// When the weights cannot be loaded.
pub fn attest(
    checkpoint: &Checkpoint,
    reference: Option<&AttestedTensors>,
    unknown_tokens: f64,
) -> Result<(Attestation, AttestedTensors)> {
    let tensors = checkpoint.tensors()?;
    let blocks = checkpoint.record().blocks;
    let measured: Result<Vec<(TensorDistance, Sums, bool)>> = checkpoint
        .params()
        .par_iter()
        .map(|param| measure(param, &tensors[&param.name], reference.and_then(|r| r.0.get(&param.name)), blocks))
        .collect();
    let measured = measured?;
    let same_architecture = reference.is_some_and(|r| r.0.len() == tensors.len())
        && measured.iter().all(|(d, _, _)| d.from_reference.is_some());
    let mut layers = Vec::new();
    if same_architecture {
        let last = measured.iter().map(|(d, _, _)| d.layer).max().unwrap_or(0);
        layers = (0..=last)
            .map(|layer| {
                let own = measured.iter().filter(|(d, _, _)| d.layer == layer);
                own.fold(Sums::default(), |total, (_, sums, _)| total.plus(*sums)).distance()
            })
            .collect();
    }
    let untouched = measured.iter().filter(|(_, _, untouched)| *untouched).count();
    let attestation = Attestation {
        checkpoint: checkpoint.record().label.clone(),
        looks_random: untouched as f64 >= UNTOUCHED * measured.len() as f64,
        equals_reference: reference.map(|_| same_architecture && layers.iter().all(|d| *d == 0.0)),
        layers,
        tensors: measured.into_iter().map(|(distance, _, _)| distance).collect(),
        unknown_tokens,
    };
    Ok((attestation, AttestedTensors(tensors)))
}

impl Attestation {
    /// What must be said aloud. `declared_untrained` checkpoints are expected to look random.
    pub fn alarms(&self, declared_untrained: bool, reference: &str) -> Vec<Warning> {
        let mut alarms = Vec::new();
        let label = &self.checkpoint;
        if self.looks_random && !declared_untrained {
            alarms.push(Warning::new(
                "AT-01",
                format!("the weights of {label:?} look random: as if they had been initialised and never trained"),
            ));
        }
        if self.equals_reference == Some(true) {
            alarms.push(Warning::new(
                "AT-02",
                format!("the weights of {label:?} equal those of {reference:?}: their difference is 0"),
            ));
        }
        if self.unknown_tokens > UNKNOWN_LIMIT {
            alarms.push(Warning::new(
                "AT-03",
                format!(
                    "{:.0} % of the stimuli's tokens are unknown to the tokenizer of {label:?}: it may belong to another model",
                    100.0 * self.unknown_tokens
                ),
            ));
        }
        alarms
    }
}

/// Squared norms of two tensors and of their difference.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    own: f64,
    other: f64,
    difference: f64,
}

impl Sums {
    fn plus(self, more: Sums) -> Sums {
        Sums { own: self.own + more.own, other: self.other + more.other, difference: self.difference + more.difference }
    }

    fn distance(self) -> f64 {
        let largest = self.own.max(self.other);
        if largest > 0.0 { (self.difference / largest).sqrt() } else { 0.0 }
    }
}

fn measure(
    param: &Param,
    own: &Tensor,
    reference: Option<&Tensor>,
    blocks: usize,
) -> Result<(TensorDistance, Sums, bool)> {
    let values: Vec<f32> = with_values(own, <[f32]>::to_vec).map_err(candle_error)?;
    let square = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let mut sums = Sums { own: square(&values), ..Sums::default() };
    let comparable = reference.filter(|r| r.dims() == own.dims());
    if let Some(other) = comparable {
        with_values(other, |other| {
            sums.other = square(other);
            sums.difference = values.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
        })
        .map_err(candle_error)?;
    }
    let (from_fresh, untouched) = from_fresh(param, &values, sums.own);
    let distance = TensorDistance {
        name: param.name.clone(),
        layer: layer_of(&param.name, blocks),
        from_reference: comparable.map(|_| sums.distance()),
        from_fresh,
    };
    Ok((distance, sums, untouched))
}

/// Expected distance from a fresh initialisation, and whether the values look like one.
fn from_fresh(param: &Param, values: &[f32], square: f64) -> (f64, bool) {
    let n = values.len() as f64;
    match param.start {
        Start::Ones | Start::Zeros => {
            let start = if param.start == Start::Ones { 1.0 } else { 0.0 };
            let difference = values.iter().map(|v| (f64::from(*v) - start).powi(2)).sum();
            let distance = Sums { own: square, other: n * start, difference }.distance();
            (distance, distance == 0.0)
        }
        Start::Sinusoids => (0.0, true),
        Start::Normal(sd) | Start::NormalPadded(sd, _) | Start::Truncated(sd, _) => {
            let other = n * sd * sd;
            let distance = Sums { own: square, other, difference: square + other }.distance();
            let spread = (square / n).sqrt();
            // Few values vary by chance; the fewer there are, the less they tell.
            let tolerance = SAME_SD.max(4.0 / (2.0 * n).sqrt());
            (distance, (spread / sd - 1.0).abs() <= tolerance)
        }
    }
}

/// The layer of a tensor by the block number in its name: block k makes layer k + 1. What has no number belongs to the
/// embeddings, or, when it is called final, to what follows the blocks.
fn layer_of(name: &str, blocks: usize) -> usize {
    match name.split('.').find_map(|part| part.parse::<usize>().ok()) {
        Some(block) => block + 1,
        None if name.starts_with("final_norm") || name.starts_with("ln_f") || name.starts_with("norm.") => blocks + 1,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_belong_to_layers() {
        assert_eq!(layer_of("embeddings.word_embeddings.weight", 12), 0);
        assert_eq!(layer_of("encoder.layer.11.output.dense.bias", 12), 12);
        assert_eq!(layer_of("h.0.attn.c_attn.weight", 12), 1);
        assert_eq!(layer_of("ln_f.weight", 12), 13);
    }

    #[test]
    fn a_fresh_tensor_looks_fresh() {
        let param = Param { name: "w".into(), shape: vec![100, 40], keys: "", start: Start::Normal(0.02) };
        let values: Vec<f32> = param.untrained(5).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let square = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let (distance, untouched) = from_fresh(&param, &values, square(&values));
        assert!(untouched && (distance - 2f64.sqrt()).abs() < 0.05, "{distance}");
        let moved: Vec<f32> = values.iter().map(|v| v * 1.3).collect();
        assert!(!from_fresh(&param, &moved, square(&moved)).1);
        let bias = Param { name: "b".into(), shape: vec![3], keys: "", start: Start::Zeros };
        assert_eq!(from_fresh(&bias, &[0.0; 3], 0.0), (0.0, true));
        assert_eq!(from_fresh(&bias, &[0.0, 0.125, 0.0], 0.015_625), (1.0, false));
    }
}
