//! Were the weights that are scored the weights that were meant?

use super::preflight::Prepared;
use super::units::{Unit, Units};
use crate::encoder::{Attestation, AttestedTensors, attest};
use crate::error::Result;
use crate::watch::Watch;

/// Attests all checkpoints that were not attested before, each against the one that it is compared with. Two models are in
/// memory at a time.
pub(super) fn attest_all(prepared: &Prepared, units: &Units, watch: &dyn Watch) -> Result<Vec<Attestation>> {
    let mut held = None;
    let one = |at| units.of(Unit::Attestation(at), || attest_one(prepared, at, &mut held, watch));
    (0..prepared.checkpoints.len()).map(one).collect()
}

/// Tensors of a checkpoint that others are compared with.
pub(super) type Held = Option<(usize, AttestedTensors)>;

/// Attests one checkpoint. `held` spares the next one the reading of a base that both have.
pub(super) fn attest_one(prepared: &Prepared, at: usize, held: &mut Held, watch: &dyn Watch) -> Result<Attestation> {
    watch.check()?;
    let checkpoints = &prepared.checkpoints;
    let label = |at: usize| checkpoints[at].checkpoint.record().label.as_str();
    let base = prepared.base_of(label(at));
    let against = (0..checkpoints.len()).find(|other| Some(label(*other)) == base);
    if let Some(other) = against.filter(|other| held.as_ref().is_none_or(|(holds, _)| holds != other)) {
        // Before the next one is read.
        drop(held.take());
        *held = Some((other, attest(&checkpoints[other].checkpoint, None, 0.0)?.1));
    }
    let reference = held.as_ref().filter(|(holds, _)| Some(*holds) == against).map(|(_, tensors)| tensors);
    let open = &checkpoints[at];
    let unknown = open.checkpoint.unknown_share(&open.tokens);
    let (attestation, tensors) = attest(&open.checkpoint, reference, unknown)?;
    if against.is_none() {
        *held = Some((at, tensors));
    }
    Ok(attestation)
}
