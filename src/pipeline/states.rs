//! Pooled hidden states of texts: from the cache where they are, from the encoder where they are not.

use std::time::Instant;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::encoder::{Checkpoint, Encoder, Pooling, Tokens};
use crate::error::{Result, Warning};
use crate::ids::{Digest, Layer};
use crate::record::ExtractionRecord;
use crate::store::StateCache;
use crate::watch::Watch;

/// Tokens that run through an encoder together. Enough for BLAS to work at speed, few enough to stay in cache.
const TOKENS_PER_PACK: usize = 512;

/// Counts changes of the code that change hidden states: part of every cache key.
const STATES_VERSION: u32 = 1;

/// Pooled states of one layer: (texts, width), row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooled {
    /// The layer.
    pub layer: Layer,
    /// The vectors, text by text.
    pub vectors: Vec<f32>,
}

/// What [`extract`] gives: the states, how they were come by, and what the user must know.
#[derive(Debug)]
pub struct Extraction {
    /// One entry per layer asked for.
    pub layers: Vec<Pooled>,
    /// How many texts ran through the encoder, and how many were cached.
    pub record: ExtractionRecord,
    /// Damaged or unwritable cache entries.
    pub warnings: Vec<Warning>,
    /// Seconds that the forward passes took, without loading the weights; 0 when everything was cached.
    pub forward_seconds: f64,
}

/// Pools the chosen layers of every text. Each text runs through the checkpoint once, for all layers; texts that the
/// cache knows do not run at all, and when it knows all of them the weights are not even loaded.
///
/// Texts of similar length are packed together; packs are independent and run on all threads. What is packed together
/// does not depend on the number of threads, so neither does any value.
pub fn extract(
    checkpoint: &Checkpoint,
    texts: &[Tokens],
    pooling: Pooling,
    layers: &[Layer],
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> Result<Extraction> {
    let (n_layers, width) = (checkpoint.n_layers(), checkpoint.width());
    let identity = identity(checkpoint, pooling);
    let packs = pack(texts);
    let keys: Vec<Digest> = packs.iter().map(|p| pack_key(&identity, p.iter().map(|t| &texts[*t]))).collect();
    let read = |at: usize| cache.and_then(|cache| cache.get(keys[at], packs[at].len() * n_layers * width));
    let mut states: Vec<Option<Vec<f32>>> = (0..packs.len()).into_par_iter().map(read).collect();
    let wanted: Vec<usize> = (0..packs.len()).filter(|p| states[*p].is_none()).collect();
    let tokens_of = |at: usize| packs[at].iter().map(|t| texts[*t].ids.len() as u64).sum::<u64>();
    let mut forward_seconds = 0.0;
    if !wanted.is_empty() {
        let encoder = checkpoint.load()?;
        let clock = Instant::now();
        let stage = format!("hidden states of {}", checkpoint.record().label);
        watch.begin(&stage, "tokens", wanted.iter().map(|p| tokens_of(*p)).sum());
        let fresh: Result<Vec<(usize, Vec<f32>)>> = wanted
            .par_iter()
            .map(|at| {
                watch.check()?;
                let values = run_pack(&encoder, texts, &packs[*at], pooling, n_layers)?;
                if let Some(cache) = cache {
                    cache.put(keys[*at], &values);
                }
                watch.advance(tokens_of(*at));
                Ok((*at, values))
            })
            .collect();
        watch.end();
        forward_seconds = clock.elapsed().as_secs_f64();
        for (at, values) in fresh? {
            states[at] = Some(values);
        }
    }
    let mut pooled: Vec<Pooled> =
        layers.iter().map(|layer| Pooled { layer: *layer, vectors: vec![0f32; texts.len() * width] }).collect();
    for (pack, values) in packs.iter().zip(states.iter().flatten()) {
        for (i, text) in pack.iter().enumerate() {
            for layer in &mut pooled {
                let from = (i * n_layers + layer.layer.0) * width;
                layer.vectors[text * width..(text + 1) * width].copy_from_slice(&values[from..from + width]);
            }
        }
    }
    let texts_run = wanted.iter().map(|p| packs[*p].len()).sum();
    let record = ExtractionRecord {
        checkpoint: checkpoint.record().label.clone(),
        texts_run,
        texts_cached: texts.len() - texts_run,
    };
    if let Some(cache) = cache {
        cache.trim();
    }
    Ok(Extraction { layers: pooled, record, warnings: cache.map(cache_warnings).unwrap_or_default(), forward_seconds })
}

/// What a cache has to say for itself.
fn cache_warnings(cache: &StateCache) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if cache.damaged() > 0 {
        warnings.push(Warning::new(
            "CA-01",
            format!("{} damaged cache entries were removed and computed again", cache.damaged()),
        ));
    }
    if cache.unwritten() > 0 {
        warnings.push(Warning::new(
            "CA-02",
            format!("{} cache entries could not be written; the next run computes them again", cache.unwritten()),
        ));
    }
    warnings
}

/// Everything about a checkpoint that decides its states.
fn identity(checkpoint: &Checkpoint, pooling: Pooling) -> Sha256 {
    let record = checkpoint.record();
    let mut hash = Sha256::new();
    hash.update(STATES_VERSION.to_le_bytes());
    hash.update(record.config_sha256.0);
    hash.update(record.tokenizer_sha256.0);
    match (record.weights_sha256, record.untrained_seed) {
        (Some(weights), _) => hash.update(weights.0),
        (None, seed) => hash.update(format!("untrained {seed:?}")),
    }
    hash.update(record.adapter.as_deref().unwrap_or_default());
    hash.update(pooling.as_str());
    hash
}

/// The key of a pack: token ids of all its texts, and which of them are special.
///
/// A pack is cached as a whole: the last bits of a matrix product can depend on how many rows it has, and the bytes of a
/// run must not depend on what earlier runs left in the cache.
fn pack_key<'a>(identity: &Sha256, texts: impl Iterator<Item = &'a Tokens>) -> Digest {
    let mut hash = identity.clone();
    for text in texts {
        hash.update((text.ids.len() as u64).to_le_bytes());
        text.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        text.special.iter().for_each(|s| hash.update([u8::from(*s)]));
    }
    Digest(hash.finalize().into())
}

/// Runs one pack; gives (texts, layers, width), row-major.
fn run_pack(
    encoder: &Encoder,
    texts: &[Tokens],
    pack: &[usize],
    pooling: Pooling,
    n_layers: usize,
) -> Result<Vec<f32>> {
    let width = encoder.width();
    let ids: Vec<&[u32]> = pack.iter().map(|t| texts[*t].ids.as_slice()).collect();
    let mut out = vec![0f32; pack.len() * n_layers * width];
    encoder.hidden_states(&ids, |layer, states, ranges| {
        for (i, range) in ranges.iter().enumerate() {
            let at = (i * n_layers + layer) * width;
            pooling.apply(states, width, range.clone(), &texts[pack[i]].special, &mut out[at..at + width]);
        }
    })?;
    Ok(out)
}

/// Texts of similar length together, about [`TOKENS_PER_PACK`] tokens a pack; longest first, so that no long pack comes last.
pub(super) fn pack(texts: &[Tokens]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|t| (std::cmp::Reverse(texts[*t].ids.len()), *t));
    let mut packs: Vec<Vec<usize>> = Vec::new();
    let mut tokens = usize::MAX;
    for text in order {
        let n = texts[text].ids.len();
        if tokens.saturating_add(n) > TOKENS_PER_PACK {
            packs.push(Vec::new());
            tokens = 0;
        }
        tokens += n;
        if let Some(pack) = packs.last_mut() {
            pack.push(text);
        }
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_hold_every_text_once() {
        let texts: Vec<Tokens> =
            [3, 700, 10, 200, 200, 200].iter().map(|n| Tokens { ids: vec![0; *n], special: vec![] }).collect();
        assert_eq!(pack(&texts), [vec![1], vec![3, 4], vec![5, 2, 0]]);
        assert!(pack(&[]).is_empty());
    }

    #[test]
    fn a_key_tells_packs_apart() {
        let text = |ids: &[u32]| Tokens { ids: ids.to_vec(), special: vec![false; ids.len()] };
        let key = |texts: &[Tokens]| pack_key(&Sha256::new(), texts.iter());
        let one = key(&[text(&[1, 2]), text(&[3])]);
        assert_eq!(one, key(&[text(&[1, 2]), text(&[3])]));
        assert_ne!(one, key(&[text(&[1]), text(&[2, 3])]));
        assert_ne!(one, key(&[text(&[1, 2])]));
    }
}
