//! Pooled hidden states of texts: from the cache where they are, from the encoder where they are not.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::runner::Site;
use crate::compute::device::{Offload, in_blocks};
use crate::encoder::{Checkpoint, Encoder, Mean, Pooling, Tokens, Window};
use crate::error::{Result, Warning};
use crate::ids::{Digest, Layer};
use crate::record::ExtractionRecord;
use crate::store::StateCache;
use crate::watch::Watch;

/// Tokens that run through an encoder together. Enough for BLAS to work at speed, few enough to stay in cache.
const TOKENS_PER_PACK: usize = 512;

/// Counts changes of the code that change hidden states: part of every cache key.
const STATES_VERSION: u32 = 1;

/// Pooled states of one layer: (vectors, width), row-major.
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

/// Which vectors are made of a text's tokens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// One.
    One(Pooling),
    /// For each text the vectors, and for each of them the tokens whose states it is the mean of.
    Means(&'a [Vec<Vec<usize>>]),
}

impl<'a> Wanted<'a> {
    fn of(self, text: usize, tokens: &Tokens) -> Cow<'a, [Vec<usize>]> {
        match self {
            Wanted::One(pooling) => Cow::Owned(vec![pooling.tokens(&tokens.special)]),
            Wanted::Means(means) => Cow::Borrowed(&means[text]),
        }
    }

    /// How many vectors a text has.
    fn count(self, text: usize) -> usize {
        match self {
            Wanted::One(_) => 1,
            Wanted::Means(means) => means[text].len(),
        }
    }
}

/// Pools the chosen layers of every text. Each text runs through the checkpoint once, for all layers; texts that the
/// cache knows do not run at all, and when it knows all of them the weights are not even loaded.
///
/// Texts of similar length are packed together; packs are independent and run on all threads, or on the streams of cards.
/// What is packed together does not depend on the number of threads, so neither does any value.
pub fn extract(
    checkpoint: &Checkpoint,
    texts: &[Tokens],
    pooling: Pooling,
    layers: &[Layer],
    offload: Option<&Offload>,
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> Result<Extraction> {
    extract_wanted(checkpoint, texts, Wanted::One(pooling), layers, offload, cache, watch)
}

/// As [`extract`], for any number of vectors per text.
pub(super) fn extract_wanted(
    checkpoint: &Checkpoint,
    texts: &[Tokens],
    wanted: Wanted<'_>,
    layers: &[Layer],
    offload: Option<&Offload>,
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> Result<Extraction> {
    let (n_layers, width) = (checkpoint.n_layers(), checkpoint.width());
    let site = Site::new(checkpoint, texts, offload);
    let own = identity(checkpoint, wanted);
    let there = identity_on(&own, site.kind().as_deref());
    let packs = pack(texts);
    let keys: Vec<Digest> = packs.iter().map(|p| pack_key(&there, texts, p, wanted)).collect();
    let vectors_of = |at: usize| packs[at].iter().map(|t| wanted.count(*t)).sum::<usize>();
    let read = |at: usize| cache.and_then(|cache| cache.get(keys[at], vectors_of(at) * n_layers * width));
    let mut states: Vec<Option<Vec<f32>>> = (0..packs.len()).into_par_iter().map(read).collect();
    let unknown: Vec<usize> = (0..packs.len()).filter(|p| states[*p].is_none()).collect();
    let tokens_of = |at: usize| packs[at].iter().map(|t| texts[*t].ids.len() as u64).sum::<u64>();
    let mut forward_seconds = 0.0;
    if !unknown.is_empty() {
        let runner = site.load(checkpoint)?;
        let clock = Instant::now();
        let stage = format!("hidden states of {}", checkpoint.record().label);
        watch.begin(&stage, "tokens", unknown.iter().map(|p| tokens_of(*p)).sum());
        let fresh: Result<Vec<(usize, Vec<f32>)>> = unknown
            .par_iter()
            .map(|at| {
                watch.check()?;
                let pack = &packs[*at];
                let (parts, on_cards) = runner.run(|encoder| {
                    in_blocks(0..pack.len(), (pack.len(), 1), |part| {
                        run_pack(encoder, texts, &pack[part], wanted, n_layers)
                    })
                })?;
                // Parts of a pack that did not fit may have other last bits than the whole: the next run tries again.
                if let Some(cache) = cache.filter(|_| parts.len() == 1) {
                    cache.put(if on_cards { keys[*at] } else { pack_key(&own, texts, pack, wanted) }, &parts[0]);
                }
                let values = parts.concat();
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
    // Where each text's vectors begin.
    let mut total = 0;
    let begins: Vec<usize> = (0..texts.len())
        .map(|t| {
            total += wanted.count(t);
            total - wanted.count(t)
        })
        .collect();
    let mut pooled: Vec<Pooled> =
        layers.iter().map(|layer| Pooled { layer: *layer, vectors: vec![0f32; total * width] }).collect();
    for (pack, values) in packs.iter().zip(states.iter().flatten()) {
        let vectors = pack.iter().flat_map(|text| begins[*text]..begins[*text] + wanted.count(*text));
        for (i, vector) in vectors.enumerate() {
            for layer in &mut pooled {
                let from = (i * n_layers + layer.layer.0) * width;
                layer.vectors[vector * width..(vector + 1) * width].copy_from_slice(&values[from..from + width]);
            }
        }
    }
    let texts_run = unknown.iter().map(|p| packs[*p].len()).sum();
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

/// The same on cards of a kind, whose last bits are not the CPU's.
fn identity_on(own: &Sha256, cards: Option<&str>) -> Sha256 {
    let mut hash = own.clone();
    if let Some(cards) = cards {
        hash.update("on ");
        hash.update(cards);
    }
    hash
}

/// Everything about a checkpoint that decides its states.
fn identity(checkpoint: &Checkpoint, wanted: Wanted<'_>) -> Sha256 {
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
    match wanted {
        Wanted::One(pooling) => hash.update(pooling.as_str()),
        Wanted::Means(_) => hash.update("means"),
    }
    hash
}

/// The key of a pack: token ids of all its texts, which of them are special, how a long text is cut into windows, and
/// which tokens each vector is the mean of.
///
/// A pack is cached as a whole: the last bits of a matrix product can depend on how many rows it has, and the bytes of a
/// run must not depend on what earlier runs left in the cache.
fn pack_key(identity: &Sha256, texts: &[Tokens], pack: &[usize], wanted: Wanted<'_>) -> Digest {
    let mut hash = identity.clone();
    let number = |hash: &mut Sha256, n: usize| hash.update((n as u64).to_le_bytes());
    for (at, text) in pack.iter().map(|at| (*at, &texts[*at])) {
        number(&mut hash, text.ids.len());
        text.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        text.special.iter().for_each(|s| hash.update([u8::from(*s)]));
        for Window { ids, take } in &text.windows {
            [ids.len(), take.start, take.end].into_iter().for_each(|n| number(&mut hash, n));
        }
        if let Wanted::Means(means) = wanted {
            number(&mut hash, means[at].len());
            for tokens in &means[at] {
                number(&mut hash, tokens.len());
                tokens.iter().for_each(|token| number(&mut hash, *token));
            }
        }
    }
    Digest(hash.finalize().into())
}

/// Runs one pack; gives (vectors of all its texts, layers, width), row-major.
fn run_pack(
    encoder: &Encoder,
    texts: &[Tokens],
    pack: &[usize],
    wanted: Wanted<'_>,
    n_layers: usize,
) -> Result<Vec<f32>> {
    let width = encoder.width();
    let wanted: Vec<Cow<'_, [Vec<usize>]>> = pack.iter().map(|t| wanted.of(*t, &texts[*t])).collect();
    let mut out = vec![0f32; wanted.iter().map(|w| w.len()).sum::<usize>() * n_layers * width];
    if let &[text] = pack
        && !texts[text].windows.is_empty()
    {
        run_windows(encoder, &texts[text], &wanted[0], n_layers, &mut out)?;
        return Ok(out);
    }
    let ids: Vec<&[u32]> = pack.iter().map(|t| texts[*t].ids.as_slice()).collect();
    encoder.hidden_states(&ids, |layer, states, ranges| {
        let vectors =
            wanted.iter().zip(ranges).flat_map(|(wanted, range)| wanted.iter().map(move |w| (w, range.start)));
        for (i, (tokens, start)) in vectors.enumerate() {
            let mut mean = Mean::new(width);
            for token in tokens {
                mean.add(row(states, width, start + token));
            }
            let at = (i * n_layers + layer) * width;
            mean.write(&mut out[at..at + width]);
        }
    })?;
    Ok(out)
}

/// Runs a long text window by window. The states of one window are in memory at a time.
fn run_windows(
    encoder: &Encoder,
    text: &Tokens,
    wanted: &[Vec<usize>],
    n_layers: usize,
    out: &mut [f32],
) -> Result<()> {
    let width = encoder.width();
    let mut means = vec![Mean::new(width); wanted.len() * n_layers];
    for_each_window(encoder, text, |layer, tokens, states| {
        for (i, wanted) in wanted.iter().enumerate() {
            for token in wanted.iter().filter(|t| tokens.contains(t)) {
                means[i * n_layers + layer].add(row(states, width, token - tokens.start));
            }
        }
    })?;
    for (mean, out) in means.iter().zip(out.chunks_exact_mut(width)) {
        mean.write(out);
    }
    Ok(())
}

/// Runs a text, in windows where it has any; `sink` gets layer, tokens of the text, and their states, in the order of
/// the tokens.
pub(super) fn for_each_window(
    encoder: &Encoder,
    text: &Tokens,
    mut sink: impl FnMut(usize, Range<usize>, &[f32]),
) -> Result<()> {
    if text.windows.is_empty() {
        return encoder.hidden_states(&[&text.ids], |layer, states, _| sink(layer, 0..text.ids.len(), states));
    }
    let mut done = 0;
    for Window { ids, take } in &text.windows {
        let tokens = done..done + take.len();
        encoder.hidden_states(&[ids], |layer, states, _| {
            sink(layer, tokens.clone(), &states[take.start * encoder.width()..take.end * encoder.width()]);
        })?;
        done = tokens.end;
    }
    Ok(())
}

fn row(states: &[f32], width: usize, at: usize) -> &[f32] {
    &states[at * width..(at + 1) * width]
}

/// Texts of similar length together, about [`TOKENS_PER_PACK`] tokens a pack; longest first, so that no long pack comes
/// last. A text that runs in windows is a pack of its own.
fn pack(texts: &[Tokens]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|t| (std::cmp::Reverse(texts[*t].ids.len()), *t));
    let (windowed, whole): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|t| !texts[*t].windows.is_empty());
    let mut packs: Vec<Vec<usize>> = windowed.into_iter().map(|text| vec![text]).collect();
    let mut tokens = usize::MAX;
    for text in whole {
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

    fn text(ids: &[u32]) -> Tokens {
        Tokens { ids: ids.to_vec(), special: vec![false; ids.len()], ..Tokens::default() }
    }

    #[test]
    fn packs_hold_every_text_once() {
        let mut texts: Vec<Tokens> = [3, 700, 10, 200, 200, 200].iter().map(|n| text(&vec![0; *n])).collect();
        assert_eq!(pack(&texts), [vec![1], vec![3, 4], vec![5, 2, 0]]);
        texts[4].windows = vec![Window { ids: vec![], take: 0..0 }];
        assert_eq!(pack(&texts), [vec![4], vec![1], vec![3, 5, 2, 0]]);
        assert!(pack(&[]).is_empty());
    }

    #[test]
    fn a_key_tells_packs_apart() {
        let key = |texts: &[Tokens], wanted: Wanted<'_>| {
            pack_key(&Sha256::new(), texts, &(0..texts.len()).collect::<Vec<_>>(), wanted)
        };
        let one = |texts: &[Tokens]| key(texts, Wanted::One(Pooling::Mean));
        let first = one(&[text(&[1, 2]), text(&[3])]);
        assert_eq!(first, one(&[text(&[1, 2]), text(&[3])]));
        assert_ne!(first, one(&[text(&[1]), text(&[2, 3])]));
        assert_ne!(first, one(&[text(&[1, 2])]));
        let windows = vec![Window { ids: vec![1], take: 0..1 }, Window { ids: vec![2], take: 0..1 }];
        assert_ne!(one(&[Tokens { windows, ..text(&[1, 2]) }]), one(&[text(&[1, 2])]));
        let means = |means: &[Vec<usize>]| key(&[text(&[1, 2])], Wanted::Means(&[means.to_vec()]));
        assert_ne!(means(&[vec![0, 1]]), means(&[vec![0], vec![1]]));
        let on = |cards: Option<&str>| {
            pack_key(
                &identity_on(&Sha256::new(), cards),
                &[text(&[1, 2]), text(&[3])],
                &[0, 1],
                Wanted::One(Pooling::Mean),
            )
        };
        assert_eq!(on(None), first);
        assert!(on(Some("a card")) != first && on(Some("a card")) != on(Some("another card")));
    }
}
