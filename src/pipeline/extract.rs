//! Texts → pooled hidden states of the chosen layers, every text once.

use rayon::prelude::*;

use crate::encoder::{Checkpoint, Pooling, Tokens};
use crate::error::Result;
use crate::ids::Layer;
use crate::watch::Watch;

/// Tokens that run through an encoder together. Enough for BLAS to work at speed, few enough to stay in cache.
const TOKENS_PER_PACK: usize = 512;

/// Pooled states of one layer: (texts, width), row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooled {
    /// The layer.
    pub layer: Layer,
    /// The vectors, text by text.
    pub vectors: Vec<f32>,
}

/// Runs every text through the checkpoint once and pools the chosen layers.
///
/// Texts of similar length are packed together; packs are independent and run on all threads. What is packed together
/// does not depend on the number of threads, so neither does any value.
pub fn extract(
    checkpoint: &Checkpoint,
    texts: &[Tokens],
    pooling: Pooling,
    layers: &[Layer],
    watch: &dyn Watch,
) -> Result<Vec<Pooled>> {
    let encoder = checkpoint.load()?;
    let width = encoder.width();
    let packs = pack(texts);
    let total: usize = texts.iter().map(|t| t.ids.len()).sum();
    watch.begin(&format!("hidden states of {}", checkpoint.record().label), "tokens", total as u64);
    let done: Result<Vec<(Vec<usize>, Vec<f32>)>> = packs
        .into_par_iter()
        .map(|pack| {
            watch.check()?;
            let ids: Vec<&[u32]> = pack.iter().map(|t| texts[*t].ids.as_slice()).collect();
            let mut vectors = vec![0f32; layers.len() * pack.len() * width];
            encoder.hidden_states(&ids, |layer, states, ranges| {
                let Some(slot) = layers.iter().position(|l| l.0 == layer) else { return };
                for (i, range) in ranges.iter().enumerate() {
                    let at = (slot * pack.len() + i) * width;
                    pooling.apply(states, width, range.clone(), &texts[pack[i]].special, &mut vectors[at..at + width]);
                }
            })?;
            watch.advance(ids.iter().map(|i| i.len() as u64).sum());
            Ok((pack, vectors))
        })
        .collect();
    watch.end();
    let mut pooled: Vec<Pooled> =
        layers.iter().map(|layer| Pooled { layer: *layer, vectors: vec![0f32; texts.len() * width] }).collect();
    for (pack, vectors) in done? {
        for (slot, out) in pooled.iter_mut().enumerate() {
            for (i, text) in pack.iter().enumerate() {
                let from = (slot * pack.len() + i) * width;
                out.vectors[text * width..(text + 1) * width].copy_from_slice(&vectors[from..from + width]);
            }
        }
    }
    Ok(pooled)
}

/// Texts of similar length together, about [`TOKENS_PER_PACK`] tokens a pack; longest first, so that no long pack comes last.
fn pack(texts: &[Tokens]) -> Vec<Vec<usize>> {
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
        let packs = pack(&texts);
        assert_eq!(packs, [vec![1], vec![3, 4], vec![5, 2, 0]]);
    }
}
