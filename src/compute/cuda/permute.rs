//! `kernels/permute_scores.cu`: permutation tests over a family.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use cudarc::driver::PushKernelArg;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::gpu::{Gpu, Grid, MOST_Y, THREADS, extent};
use super::ridge::flat;
use crate::error::Result;
use crate::stats::permuter::{FlipFamily, RelabelFamily, Tally};

/// Patterns that a block holds.
const PATTERNS: usize = 8;

impl Gpu {
    /// The tally of sign flips.
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails.
    pub(super) fn sign_flips(&self, family: &FlipFamily<'_>) -> Result<Tally> {
        let (units, members) = family.scaled.dim();
        assert!(family.n.len() == members && family.least.len() == members, "one statistic per member");
        assert!(!family.exact || units <= 63, "exact patterns are the bits of one number");
        let lane = self.lane();
        let seed = ChaCha8Rng::seed_from_u64(family.seed).get_seed();
        let key: Vec<u32> = seed.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let (key, scaled) = (lane.upload(&key)?, lane.upload(&flat(family.scaled))?);
        let (n, least) = (lane.upload(family.n)?, lane.upload(family.least)?);
        let (mut counts, mut largest) = (lane.zeros::<u32>(members)?, lane.zeros::<u64>(family.patterns)?);
        let (height, width) = (extent(units)?, extent(members)?);
        let (exact, uniform) = (i32::from(family.exact), i32::from(family.uniform));
        let kernel = self.kernel("sign_flip_scores")?;
        for first in (0..family.patterns).step_by(MOST_Y * PATTERNS) {
            let taken = (family.patterns - first).min(MOST_Y * PATTERNS);
            let grid = Grid::new(members.div_ceil(THREADS), taken.div_ceil(PATTERNS))?;
            let mut part = largest.slice_mut(first..first + taken);
            let (start, count) = (first as u64, taken as u64);
            // SAFETY: sign_flip_scores(key (8), exact, first, count, units, members, scaled (units, members), n, least
            // (members), uniform, counts (members), largest (count)); checked above.
            unsafe {
                lane.launch(&kernel, grid, |launch| {
                    launch.arg(&key).arg(&exact).arg(&start).arg(&count).arg(&height).arg(&width).arg(&scaled);
                    launch.arg(&n).arg(&least).arg(&uniform).arg(&mut counts).arg(&mut part);
                })?;
            }
        }
        let largest = lane.download(&largest, family.patterns)?.into_iter().map(f64::from_bits).collect();
        Ok(Tally { counts: lane.download(&counts, members)?, largest })
    }

    /// The tally of relabelings: of each the largest t².
    ///
    /// # Errors
    /// As [`Gpu::sign_flips`].
    pub(super) fn relabelings(&self, of: &RelabelFamily<'_>) -> Result<Tally> {
        let (units, outcomes) = of.residuals.dim();
        assert!(of.directions.ncols() == units && of.directions.nrows() > 0, "directions of the units");
        assert!(of.squares.len() == outcomes && of.varies.len() == outcomes && of.least.len() == outcomes, "outcomes");
        let lane = self.lane();
        let directions = lane.upload(&flat(of.directions))?;
        let varies: Vec<u8> = of.varies.iter().map(|v| u8::from(*v)).collect();
        let (e, varies) = (lane.upload(&flat(of.residuals))?, lane.upload(&varies)?);
        let (squares, least) = (lane.upload(of.squares)?, lane.upload(of.least)?);
        let (mut counts, mut largest) = (lane.zeros::<u32>(outcomes)?, lane.zeros::<u64>(of.orders.count())?);
        let (height, width, further) = (extent(units)?, extent(outcomes)?, extent(of.directions.nrows() - 1)?);
        let kernel = self.kernel("relabel_scores")?;
        for first in (0..of.orders.count()).step_by(MOST_Y) {
            let range = first..(first + MOST_Y).min(of.orders.count());
            let list: Vec<u32> = range.clone().flat_map(|n| of.orders.order(n)).map(|w| w as u32).collect();
            let permuted = list.len() == range.len() * units && list.iter().all(|w| (*w as usize) < units);
            assert!(permuted, "permutations of the units");
            let list = lane.upload(&list)?;
            let grid = Grid::new(outcomes.div_ceil(THREADS), range.len())?;
            let mut part = largest.slice_mut(range);
            // SAFETY: relabel_scores(orders (permutations, units), directions (1 + further, units), further, units, outcomes,
            // e (units, outcomes), squares, varies, least (outcomes), spread, freedom, counts, largest (permutations));
            // checked above.
            unsafe {
                lane.launch(&kernel, grid, |launch| {
                    launch.arg(&list).arg(&directions).arg(&further).arg(&height).arg(&width).arg(&e);
                    launch.arg(&squares).arg(&varies).arg(&least).arg(&of.spread).arg(&of.freedom);
                    launch.arg(&mut counts).arg(&mut part);
                })?;
            }
        }
        let largest = lane.download(&largest, of.orders.count())?.into_iter().map(f64::from_bits).collect();
        Ok(Tally { counts: lane.download(&counts, outcomes)?, largest })
    }
}
