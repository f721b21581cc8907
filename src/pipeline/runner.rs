//! Where an encoder runs: on cards where they are worth it, on the CPU where not, and from where they fail.

use std::sync::Arc;

use crate::compute::device::Offload;
use crate::compute::operations::Operations;
use crate::encoder::{Checkpoint, Encoder, Tokens};
use crate::error::Result;

/// The place for a checkpoint and its texts; no weights are loaded yet.
pub(super) struct Site<'a> {
    offload: Option<&'a Offload>,
    streams: Vec<Arc<dyn Operations>>,
}

impl<'a> Site<'a> {
    /// Decides by all texts, whatever of them is known already: where a text runs does not hang on the cache.
    pub fn new(checkpoint: &Checkpoint, texts: &[Tokens], offload: Option<&'a Offload>) -> Site<'a> {
        let tokens: usize = texts.iter().map(|t| t.ids.len()).sum();
        let streams = Offload::streams(offload, checkpoint.multiplications().saturating_mul(tokens));
        Site { offload: offload.filter(|_| !streams.is_empty()), streams }
    }

    /// The cards, by what decides the last bits of their results; none for the CPU.
    pub fn kind(&self) -> Option<String> {
        self.streams.first().map(|stream| stream.kind())
    }

    /// Loads the weights.
    pub fn load(&self, checkpoint: &Checkpoint) -> Result<Runner<'a>> {
        Ok(Runner { encoder: checkpoint.load_on(&self.streams)?, offload: self.offload })
    }
}

/// An encoder at its place.
pub(super) struct Runner<'a> {
    encoder: Encoder,
    /// None where it is on the CPU anyway.
    offload: Option<&'a Offload>,
}

impl Runner<'_> {
    /// Does `work`, and says whether cards did it. It starts anew on the CPU where they fail.
    ///
    /// # Errors
    /// Those of `work`; those of cards only where nothing else will do.
    pub fn run<T>(&self, work: impl Fn(&Encoder) -> Result<T>) -> Result<(T, bool)> {
        let done = self.offload.map(|offload| offload.attempt(|_| work(&self.encoder))).transpose()?;
        match done.flatten() {
            Some(done) => Ok((done, true)),
            None => Ok((work(&self.encoder.on_cpu())?, false)),
        }
    }
}
