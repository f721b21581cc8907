//! Were the weights that are scored the weights that were meant?

use super::preflight::Prepared;
use crate::encoder::{Attestation, AttestedTensors, attest};
use crate::error::Result;
use crate::watch::Watch;

/// Attests all checkpoints, each against the one that it is compared with. Two models are in memory at a time.
pub(super) fn attest_all(prepared: &Prepared, watch: &dyn Watch) -> Result<Vec<Attestation>> {
    let checkpoints = &prepared.checkpoints;
    let label = |at: usize| checkpoints[at].checkpoint.record().label.as_str();
    let base = |at: usize| {
        let base = prepared.base_of(label(at))?;
        (0..checkpoints.len()).find(|other| label(*other) == base)
    };
    let mut held: Option<(usize, AttestedTensors)> = None;
    let mut all = Vec::with_capacity(checkpoints.len());
    for (at, open) in checkpoints.iter().enumerate() {
        watch.check()?;
        let against = base(at);
        if let Some(other) = against.filter(|other| held.as_ref().is_none_or(|(holds, _)| holds != other)) {
            // Before the next one is read.
            drop(held.take());
            held = Some((other, attest(&checkpoints[other].checkpoint, None, 0.0)?.1));
        }
        let reference = held.as_ref().filter(|(holds, _)| Some(*holds) == against).map(|(_, tensors)| tensors);
        let unknown = open.checkpoint.unknown_share(&open.tokens);
        let (attestation, tensors) = attest(&open.checkpoint, reference, unknown)?;
        all.push(attestation);
        if against.is_none() {
            held = Some((at, tensors));
        }
    }
    Ok(all)
}
