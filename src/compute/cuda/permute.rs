//! `kernels/permute_scores.cu`: permutation tests over a family.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use cudarc::driver::PushKernelArg;
use ndarray::ArrayView2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::gpu::{Gpu, Grid, THREADS, extent};
use super::ridge::flat;
use crate::error::Result;

/// Patterns that a block holds.
const PATTERNS: usize = 8;

/// Which patterns of signs, and what a member's own statistic is.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignFlip<'a> {
    /// All patterns over so few units, in order; else random ones.
    pub(super) exact: bool,
    /// Seed of random patterns.
    pub(super) seed: u64,
    /// Number of patterns; at most 65,535 · 8 in one call.
    pub(super) patterns: usize,
    /// Values of each member (members), see the kernel.
    pub(super) n: &'a [f64],
    /// What a pattern must reach to count (members).
    pub(super) least: &'a [f64],
    /// Whether `u` itself is compared over members (one n for all).
    pub(super) uniform: bool,
}

/// Permutations of units, and the contrast (Freedman–Lane).
#[derive(Debug, Clone, Copy)]
pub(super) struct Relabel<'a> {
    /// Permutations (permutations, units): whose residual stands at each place.
    pub(super) orders: &'a [Vec<usize>],
    /// What is left of the label, then the nuisance directions (1 + directions, units).
    pub(super) directions: ArrayView2<'a, f64>,
    /// Residuals (units, outcomes).
    pub(super) residuals: ArrayView2<'a, f64>,
    /// Their sums of squares (outcomes).
    pub(super) squares: &'a [f64],
    /// Which outcomes vary (outcomes).
    pub(super) varies: &'a [bool],
    /// What a permutation must reach to count (outcomes).
    pub(super) least: &'a [f64],
    /// Sum of squares of what is left of the label.
    pub(super) spread: f64,
    /// Degrees of freedom.
    pub(super) freedom: f64,
}

/// What the permutations gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scores {
    /// Per member, how many permutations reach its own statistic.
    pub(super) counts: Vec<u32>,
    /// Per permutation, the largest statistic of the family.
    pub(super) largest: Vec<f64>,
}

impl Gpu {
    /// Sign flips of `scaled` (units, members).
    ///
    /// # Errors
    /// `GP-01` for too little memory or too many patterns at once, `GP-02` when the card fails.
    pub(super) fn sign_flips(&self, scaled: ArrayView2<'_, f64>, flip: &SignFlip<'_>) -> Result<Scores> {
        let (units, members) = scaled.dim();
        assert!(flip.n.len() == members && flip.least.len() == members, "one statistic per member");
        assert!(!flip.exact || units <= 63, "exact patterns are the bits of one number");
        let lane = self.lane();
        let seed = ChaCha8Rng::seed_from_u64(flip.seed).get_seed();
        let key: Vec<u32> = seed.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (key, scaled) = (lane.upload(&key)?, lane.upload(&flat(scaled))?);
        let (n, least) = (lane.upload(flip.n)?, lane.upload(flip.least)?);
        let (mut counts, mut largest) = (lane.zeros::<u32>(members)?, lane.zeros::<u64>(flip.patterns)?);
        let (height, width) = (extent(units)?, extent(members)?);
        let (exact, uniform) = (i32::from(flip.exact), i32::from(flip.uniform));
        let (first, count) = (0u64, flip.patterns as u64);
        let kernel = self.kernel("sign_flip_scores")?;
        let grid = Grid::new(members.div_ceil(THREADS), flip.patterns.div_ceil(PATTERNS))?;
        // SAFETY: sign_flip_scores(key (8), exact, first, count, units, members, scaled (units, members), n, least (members),
        // uniform, counts (members), largest (patterns)); checked above.
        unsafe {
            lane.launch(&kernel, grid, |launch| {
                launch.arg(&key).arg(&exact).arg(&first).arg(&count).arg(&height).arg(&width).arg(&scaled);
                launch.arg(&n).arg(&least).arg(&uniform).arg(&mut counts).arg(&mut largest);
            })?;
        }
        let largest = lane.download(&largest, flip.patterns)?.into_iter().map(f64::from_bits).collect();
        Ok(Scores { counts: lane.download(&counts, members)?, largest })
    }

    /// Relabelings of groups, covariates held fixed; the largest t² of each.
    ///
    /// # Errors
    /// As [`Gpu::sign_flips`].
    pub(super) fn relabelings(&self, of: &Relabel<'_>) -> Result<Scores> {
        let (units, outcomes) = of.residuals.dim();
        assert!(of.directions.ncols() == units && of.directions.nrows() > 0, "directions of the units");
        assert!(
            of.orders.iter().all(|o| o.len() == units && o.iter().all(|w| *w < units)),
            "permutations of the units"
        );
        assert!(of.squares.len() == outcomes && of.varies.len() == outcomes && of.least.len() == outcomes, "outcomes");
        let lane = self.lane();
        let orders: Vec<u32> = of.orders.iter().flatten().map(|w| *w as u32).collect();
        let (orders, directions) = (lane.upload(&orders)?, lane.upload(&flat(of.directions))?);
        let varies: Vec<u8> = of.varies.iter().map(|v| u8::from(*v)).collect();
        let (e, varies) = (lane.upload(&flat(of.residuals))?, lane.upload(&varies)?);
        let (squares, least) = (lane.upload(of.squares)?, lane.upload(of.least)?);
        let (mut counts, mut largest) = (lane.zeros::<u32>(outcomes)?, lane.zeros::<u64>(of.orders.len())?);
        let (height, width, further) = (extent(units)?, extent(outcomes)?, extent(of.directions.nrows() - 1)?);
        let kernel = self.kernel("relabel_scores")?;
        let grid = Grid::new(outcomes.div_ceil(THREADS), of.orders.len())?;
        if !of.orders.is_empty() {
            // SAFETY: relabel_scores(orders (permutations, units), directions (1 + further, units), further, units, outcomes,
            // e (units, outcomes), squares, varies, least (outcomes), spread, freedom, counts, largest); checked above.
            unsafe {
                lane.launch(&kernel, grid, |launch| {
                    launch.arg(&orders).arg(&directions).arg(&further).arg(&height).arg(&width).arg(&e);
                    launch.arg(&squares).arg(&varies).arg(&least).arg(&of.spread).arg(&of.freedom);
                    launch.arg(&mut counts).arg(&mut largest);
                })?;
            }
        }
        let largest = lane.download(&largest, of.orders.len())?.into_iter().map(f64::from_bits).collect();
        Ok(Scores { counts: lane.download(&counts, outcomes)?, largest })
    }
}
