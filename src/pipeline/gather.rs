//! The hidden states of a run's checkpoints: all at once for those that are still to be scored, one layer when it is asked
//! for of those that are not.

use std::borrow::Cow;

use super::preflight::{OpenCheckpoint, Prepared};
use super::states::{Extraction, Pooled};
use super::units::Units;
use crate::error::{Result, Warning};
use crate::ids::Layer;
use crate::record::ExtractionRecord;
use crate::store::StateCache;
use crate::watch::Watch;

/// Pooled states by checkpoint.
pub(super) struct States<'a> {
    prepared: &'a Prepared,
    cache: Option<&'a StateCache>,
    watch: &'a dyn Watch,
    /// All layers of a checkpoint that are scored; none for one that has been scored before.
    held: Vec<Option<(Vec<Pooled>, ExtractionRecord)>>,
    /// What the cache had to say.
    pub warnings: Vec<Warning>,
}

impl<'a> States<'a> {
    /// Of no checkpoint yet.
    pub fn new(prepared: &'a Prepared, cache: Option<&'a StateCache>, watch: &'a dyn Watch) -> States<'a> {
        States {
            prepared,
            cache,
            watch,
            held: prepared.checkpoints.iter().map(|_| None).collect(),
            warnings: Vec::new(),
        }
    }

    /// Those of all checkpoints that `units` do not cover; `lap` hears of each.
    pub fn gather(&mut self, units: &Units, mut lap: impl FnMut(&str)) -> Result<()> {
        for checkpoint in 0..self.prepared.checkpoints.len() {
            if !units.cover(self.prepared, checkpoint) {
                self.hold(checkpoint)?;
                lap(&self.prepared.checkpoints[checkpoint].checkpoint.record().label);
            }
        }
        Ok(())
    }

    /// Takes the states of a checkpoint into memory.
    pub fn hold(&mut self, checkpoint: usize) -> Result<()> {
        let open = &self.prepared.checkpoints[checkpoint];
        let found = self.states(open, &open.layers)?;
        self.warnings = found.warnings;
        self.held[checkpoint] = Some((found.layers, found.record));
        Ok(())
    }

    fn states(&self, open: &OpenCheckpoint, layers: &[Layer]) -> Result<Extraction> {
        let Prepared { plan, offload, .. } = self.prepared;
        open.states(plan.pooling, layers, offload.as_ref(), self.cache, self.watch)
    }

    /// Gives the memory of a checkpoint's states back.
    pub fn release(&mut self, checkpoint: usize) {
        self.held[checkpoint] = None;
    }

    /// Whether the states of a checkpoint are in memory.
    pub fn holds(&self, checkpoint: usize) -> bool {
        self.held[checkpoint].is_some()
    }

    /// All layers of a checkpoint.
    pub fn layers(&self, checkpoint: usize) -> Result<Cow<'_, [Pooled]>> {
        if let Some((layers, _)) = &self.held[checkpoint] {
            return Ok(Cow::Borrowed(layers));
        }
        let open = &self.prepared.checkpoints[checkpoint];
        let found = self.states(open, &open.layers)?;
        Ok(Cow::Owned(found.layers))
    }

    /// One layer of a checkpoint, and how its states were come by.
    pub fn layer(&self, checkpoint: usize, layer: Layer) -> Result<(Cow<'_, Pooled>, ExtractionRecord)> {
        if let Some((layers, record)) = &self.held[checkpoint]
            && let Some(pooled) = layers.iter().find(|p| p.layer == layer)
        {
            return Ok((Cow::Borrowed(pooled), record.clone()));
        }
        let open = &self.prepared.checkpoints[checkpoint];
        let mut found = self.states(open, &[layer])?;
        Ok((Cow::Owned(found.layers.remove(0)), found.record))
    }
}
