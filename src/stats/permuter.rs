//! Permutations that something else than this processor tallies: what a test asks for, and what comes back.

use std::fmt::Debug;

use ndarray::ArrayView2;

use super::labels::Relabelings;

/// Which patterns of signs, and what a member's own statistic is.
#[derive(Debug, Clone, Copy)]
pub struct FlipFamily<'a> {
    /// Differences over √(n Σ d²) of their member (units, members), see [`sign_flip_test`](super::flips::sign_flip_test).
    pub scaled: ArrayView2<'a, f64>,
    /// All patterns over so few units, in order; else random ones.
    pub exact: bool,
    /// Seed of random patterns.
    pub seed: u64,
    /// Number of patterns.
    pub patterns: usize,
    /// Units of each member (members).
    pub n: &'a [f64],
    /// What the square of a pattern's sum must reach to count (members).
    pub least: &'a [f64],
    /// Whether that square itself is compared over members (one n for all), or t².
    pub uniform: bool,
}

/// Permutations of units, and the contrast (Freedman–Lane).
#[derive(Debug, Clone, Copy)]
pub struct RelabelFamily<'a> {
    /// Permutations of the units: whose residual stands at each place.
    pub orders: &'a Relabelings,
    /// What is left of the label, then the nuisance directions (1 + directions, units).
    pub directions: ArrayView2<'a, f64>,
    /// Residuals (units, outcomes).
    pub residuals: ArrayView2<'a, f64>,
    /// Their sums of squares (outcomes).
    pub squares: &'a [f64],
    /// Which outcomes vary (outcomes).
    pub varies: &'a [bool],
    /// What t² of a permutation must reach to count (outcomes).
    pub least: &'a [f64],
    /// Sum of squares of what is left of the label.
    pub spread: f64,
    /// Degrees of freedom.
    pub freedom: f64,
}

/// What the permutations of a family gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// Per member, how many permutations reach its own statistic.
    pub counts: Vec<u32>,
    /// Per permutation, the largest statistic of the family, in the order of the permutations.
    pub largest: Vec<f64>,
}

/// Tallies permutations in the place of this processor.
///
/// Nothing comes back where the processor should do it: because the family is too small to be worth sending, or because
/// something failed. What failed is for whoever owns the permuter to say.
pub trait Permuter: Debug + Send + Sync {
    /// Sign flips.
    fn flips(&self, family: &FlipFamily<'_>) -> Option<Tally>;
    /// Relabelings.
    fn relabelings(&self, family: &RelabelFamily<'_>) -> Option<Tally>;
}
