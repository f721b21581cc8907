//! What the program asks of its cards: [`Accelerator`] for all of them.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use super::encoder::Stream;
use super::fault;
use super::gpu::{Cards, Gpu, LANES};
use super::parcellate::HeldMap;
use super::ridge::Path;
use crate::compute::cpu::Spectrum;
use crate::compute::device::{Accelerator, MapSums, PathFactor, RidgePath, SparseMap, in_blocks};
use crate::compute::operations::Operations;
use crate::error::Result;
use crate::stats::permuter::{FlipFamily, RelabelFamily, Tally};

/// Blocks of columns are never narrower than this.
pub(super) const FEWEST: usize = 32;

/// Blocks side by side along an axis.
pub(super) fn join_blocks(axis: usize, parts: &[ArrayView2<'_, f64>]) -> Result<Array2<f64>> {
    concatenate(Axis(axis), parts).map_err(|e| fault::library("the card", "joining blocks", e))
}

impl Gpu {
    /// Columns of so many bytes that a block may have: a quarter of the free memory, since two streams work at once and the
    /// next block is copied while one is computed.
    pub(super) fn most(&self, bytes_each: usize) -> Result<usize> {
        Ok(((self.memory()?.0 / 4 / bytes_each.max(1) as u64) as usize).max(FEWEST))
    }
}

impl Cards {
    /// Does `total` columns of so many bytes in blocks, side by side on all cards; the parts in order.
    fn spread<T: Send>(
        &self,
        total: usize,
        bytes_each: usize,
        work: impl Fn(&Gpu, Range<usize>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let each = total.div_ceil(self.gpus().len()).max(1);
        let shares: Vec<(&Gpu, Range<usize>)> = self
            .gpus()
            .iter()
            .enumerate()
            .map(|(at, gpu)| (&**gpu, (at * each).min(total)..((at + 1) * each).min(total)))
            .filter(|(_, share)| !share.is_empty())
            .collect();
        let parts: Vec<Vec<T>> = shares
            .into_par_iter()
            .map(|(gpu, share)| in_blocks(share, (gpu.most(bytes_each)?, FEWEST), |block| work(gpu, block)))
            .collect::<Result<_>>()?;
        Ok(parts.into_iter().flatten().collect())
    }
}

/// The tallies of members side by side.
fn beside(parts: Vec<Tally>, permutations: usize) -> Tally {
    let mut all = Tally { counts: Vec::new(), largest: vec![0.0; permutations] };
    for part in parts {
        all.counts.extend(part.counts);
        all.largest.iter_mut().zip(part.largest).for_each(|(a, b)| *a = a.max(b));
    }
    all
}

impl Accelerator for Cards {
    fn describe(&self) -> String {
        let names: Vec<String> =
            self.gpus().iter().map(|g| format!("{} ({})", g.card().name, g.card().architecture())).collect();
        names.join(", ")
    }

    fn eigh(&self, matrix: ArrayView2<'_, f64>) -> Result<Option<Spectrum<f64>>> {
        self.gpus()[0].eigh(matrix)
    }

    fn ridge_path(&self, factor: &PathFactor<'_>) -> Result<Box<dyn RidgePath>> {
        Ok(Box::new(Path::new(self.gpus(), factor)?))
    }

    fn sign_flips(&self, family: &FlipFamily<'_>) -> Result<Tally> {
        let (units, members) = family.scaled.dim();
        let parts = self.spread(members, 8 * (units + 3), |gpu, block| {
            gpu.sign_flips(&FlipFamily {
                scaled: family.scaled.slice(s![.., block.clone()]),
                n: &family.n[block.clone()],
                least: &family.least[block],
                ..*family
            })
        })?;
        Ok(beside(parts, family.patterns))
    }

    fn relabelings(&self, family: &RelabelFamily<'_>) -> Result<Tally> {
        let (units, outcomes) = family.residuals.dim();
        let parts = self.spread(outcomes, 8 * (units + 4), |gpu, block| {
            gpu.relabelings(&RelabelFamily {
                directions: family.directions.view(),
                residuals: family.residuals.slice(s![.., block.clone()]),
                squares: &family.squares[block.clone()],
                varies: &family.varies[block.clone()],
                least: &family.least[block],
                ..*family
            })
        })?;
        Ok(beside(parts, family.orders.count()))
    }

    fn products(&self, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let (n, columns) = rows.dim();
        let parts =
            self.spread(n, 8 * (n + columns), |gpu, block| gpu.pairwise(rows.slice(s![block, ..]), rows, false))?;
        let views: Vec<ArrayView2<'_, f64>> = parts.iter().map(|p| p.view()).collect();
        join_blocks(0, &views)
    }

    fn streams(&self) -> Vec<Arc<dyn Operations>> {
        let all = (0..LANES).flat_map(|lane| {
            self.gpus().iter().enumerate().map(move |(card, gpu)| Stream::new(Arc::clone(gpu), card, lane))
        });
        let all: Vec<Stream> = all.collect();
        let first = all.first().map(Stream::kind);
        all.into_iter()
            .filter(|stream| Some(stream.kind()) == first)
            .map(|stream| Arc::new(stream) as Arc<dyn Operations>)
            .collect()
    }

    fn sparse_map(&self, map: &SparseMap<'_>) -> Result<Box<dyn MapSums>> {
        let held = self.gpus().iter().map(|gpu| HeldMap::new(Arc::clone(gpu), map)).collect::<Result<_>>()?;
        Ok(Box::new(super::parcellate::Maps::new(held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_of_members_are_joined() {
        let tally = |counts: &[u32], largest: &[f64]| Tally { counts: counts.to_vec(), largest: largest.to_vec() };
        let all = beside(vec![tally(&[1, 2], &[0.5, 3.0]), tally(&[0], &[f64::INFINITY, 1.0])], 2);
        assert_eq!(all, tally(&[1, 2, 0], &[f64::INFINITY, 3.0]));
    }
}
