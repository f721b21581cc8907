//! The memory that a fit of plain arrays may take.

use crate::error::{Code, Error, Result};

/// Bytes of the program itself, its threads' buffers and what the allocator keeps.
const PROGRAM_BYTES: u64 = 96 << 20;
/// Least bytes that an engine works with.
const LEAST: u64 = 64 << 20;

/// A bound on the memory of the whole program, and what is held all the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// The bound, in bytes.
    pub memory: u64,
    /// Bytes of responses that are held.
    pub held: u64,
    /// Rows of all arrays.
    pub rows: usize,
    /// Targets of all responses together.
    pub targets: usize,
    pub folds: usize,
    /// Alphas, those of a widened grid included.
    pub alphas: usize,
}

impl Bound {
    /// What remains for the engine while it fits so many features: the bound less the responses, `held` bytes of features
    /// and whatever else, the errors of every alpha and target, and the scores of `models` models.
    ///
    /// # Errors
    /// `FL-02` where that is too little.
    pub(super) fn rest(&self, features: usize, held: u64, models: usize) -> Result<u64> {
        let Bound { rows, targets, folds, alphas, .. } = *self;
        let per_target = folds * alphas * 16 + models * (folds * 64 + 256);
        // Features are held once more, centred and sorted by fold.
        let taken = PROGRAM_BYTES + self.held + held + (rows * features * 8) as u64 + (targets * per_target) as u64;
        let least = taken + LEAST;
        if self.memory < least {
            return Err(Error::new(Code::Fl02, "--memory", format!("is {} MiB", self.memory >> 20)).expected(format!(
                "at least {} MiB for {rows} rows, {features} features and {targets} targets",
                (least >> 20) + 1
            )));
        }
        Ok(self.memory - taken)
    }
}
