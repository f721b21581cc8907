//! The search of alphas on cards: the same sums as [`super::sweep`]'s, by [`crate::compute::device`].

use std::ops::Range;

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::search::{Prepared, SMALL};
use super::sweep::{Errors, walk};
use super::{Engine, Precision};
use crate::compute::cpu::Real;
use crate::compute::device::{Accelerator, PathFactor, RidgePath};
use crate::error::Result;

impl<T: Real> Engine<'_, T> {
    /// Adds the inner errors of `alphas` for the blocks `which`; `false` where the CPU has to, with nothing added.
    pub(super) fn sweep_on_cards(
        &self,
        prepared: &[Prepared<T>],
        alphas: &[f64],
        which: &[usize],
        found: &mut [Vec<Errors>],
    ) -> Result<bool> {
        let Some(offload) = &self.options.offload else { return Ok(false) };
        let Some(done) = offload.attempt(|cards| self.errors_on(cards, prepared, alphas, which))? else {
            return Ok(false);
        };
        for (to, from) in found.iter_mut().flatten().zip(done.iter().flatten()) {
            to.sse += &from.sse;
            to.noise += &from.noise;
        }
        Ok(true)
    }

    fn errors_on(
        &self,
        cards: &dyn Accelerator,
        prepared: &[Prepared<T>],
        alphas: &[f64],
        which: &[usize],
    ) -> Result<Vec<Vec<Errors>>> {
        let blank = |block: &usize| {
            let targets = self.places[*block].columns.len();
            (0..self.rows.folds()).map(|_| Errors::zeros(alphas.len(), targets)).collect::<Vec<_>>()
        };
        let mut found: Vec<Vec<Errors>> = which.iter().map(blank).collect();
        // One training set after the other: its factor lies on the cards while all blocks pass.
        for set in prepared {
            let path = self.path_on(cards, set)?;
            which.par_iter().zip(&mut found).enumerate().try_for_each(|(at, (block, errors))| {
                self.watch.check()?;
                let block = &self.load(*block)?.block;
                let without = &set.factor.without;
                let mean = block.mean(&self.rows, without);
                let right = block.right(&self.rows, without, &set.factor.side, &mean, None).mapv(|v| v.wide());
                let folds = self.held_out(without);
                let held_out: Vec<(Range<usize>, Array2<f64>)> = folds
                    .iter()
                    .map(|(validation, _, rows)| {
                        (rows.clone(), block.truth::<f64>(&self.rows, *validation, &mean, None))
                    })
                    .collect();
                let sums = path.errors(alphas, right.view(), &held_out, at)?;
                for ((_, outer, _), sums) in folds.iter().zip(sums) {
                    errors[*outer].sse += &sums.sse;
                    errors[*outer].noise += &sums.noise;
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    fn path_on(&self, cards: &dyn Accelerator, set: &Prepared<T>) -> Result<Box<dyn RidgePath>> {
        let factor = &set.factor;
        let wide = |a: ArrayView2<'_, T>| a.mapv(|v| v.wide());
        let (vectors, projected) = (wide(factor.vectors.view()), wide(factor.projected.view()));
        let k = factor.values.len();
        let exact = match self.options.precision {
            Precision::Double => true,
            Precision::Mixed => k <= SMALL,
            Precision::Single => false,
        };
        cards.ridge_path(&PathFactor {
            vectors: vectors.view(),
            values: &factor.values,
            projected: projected.view(),
            single: (!exact).then(|| walk(k)),
        })
    }
}
