//! The search for alpha: inner errors per block of targets, choices, widening, close calls.

use std::ops::Range;
use std::time::Instant;

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use super::choice::{close_calls, crowded_edges, smallest_of_columns};
use super::smoother::{Scratch as SmootherScratch, Smoothers};
use super::sweep::{Errors, Plan, Scratch, exact, rounding};
use super::system::Factor;
use super::{Engine, Precision, Report};
use crate::compute::cpu::Real;
use crate::error::Result;

/// Up to so many eigenvalues mixed precision searches in float64 at once: bounding and settling what float32 leaves open
/// would cost as much as it saves.
pub(super) const SMALL: usize = 64;

/// A decomposed inner training set.
pub(super) struct Prepared<T> {
    pub(super) factor: Factor<T>,
    /// Held-out rows in its coordinates, in float32 where alphas are searched in it.
    narrow: Option<Array2<f32>>,
    /// Whether it is searched by smoothers.
    smooth: bool,
}

impl<T: Real> Prepared<T> {
    pub(super) fn new(factor: Factor<T>, precision: Precision, targets: usize) -> Prepared<T> {
        let smooth = precision != Precision::Double && Smoothers::suit(&factor, targets);
        let small = precision == Precision::Mixed && factor.values.len() <= SMALL || smooth;
        let narrow = (precision != Precision::Double && !small).then(|| factor.projected.mapv(|v| v.wide() as f32));
        Prepared { factor, narrow, smooth }
    }
}

/// What is known about one block of targets.
pub(super) struct State {
    /// The alphas searched, a range of the wide grid.
    pub(super) range: Range<usize>,
    /// Per outer fold.
    errors: Vec<Errors>,
    /// Chosen alphas, indices into the wide grid (folds, targets).
    pub(super) chosen: Array2<usize>,
}

impl State {
    /// The errors of a range of alphas, before any choice.
    pub(super) fn found(range: Range<usize>, errors: Vec<Errors>) -> State {
        State { range, errors, chosen: Array2::zeros((0, 0)) }
    }

    /// The errors of an outer fold.
    pub(super) fn errors(&self, fold: usize) -> &Errors {
        &self.errors[fold]
    }

    /// The errors of the chosen alphas (folds, targets).
    pub(super) fn chosen_errors(&self) -> Array2<f64> {
        Array2::from_shape_fn(self.chosen.raw_dim(), |(fold, target)| {
            self.errors[fold].sse[[self.chosen[[fold, target]] - self.range.start, target]]
        })
    }

    fn choose(&mut self) {
        for (mut row, errors) in self.chosen.rows_mut().into_iter().zip(&self.errors) {
            for (c, smallest) in row.iter_mut().zip(smallest_of_columns(errors.sse.view())) {
                *c = self.range.start + smallest;
            }
        }
    }
}

impl<T: Real> Engine<'_, T> {
    /// Searches alphas for all blocks, and chooses.
    pub(super) fn search(&self, report: &mut Report) -> Result<Vec<State>> {
        let folds = self.rows.folds();
        let first = self.wide.values.iter().position(|a| *a == self.asked.values[0]).unwrap_or(0);
        let asked = first..first + self.asked.values.len();
        let blank = |place: &super::Place| State {
            range: asked.clone(),
            errors: Vec::new(),
            chosen: Array2::zeros((folds, place.columns.len())),
        };
        let mut states: Vec<State> = self.places.iter().map(blank).collect();
        let mut kept = None;
        let everyone: Vec<usize> = (0..states.len()).collect();
        let found = self.sweep(&asked, &everyone, &mut kept, report)?;
        states.iter_mut().zip(found).for_each(|(state, errors)| state.errors = errors);
        self.settle(&mut states, &mut kept, report)?;
        let mut widened = false;
        for response in 0..self.responses.len() {
            let own: Vec<usize> = (0..states.len()).filter(|b| self.places[*b].response == response).collect();
            let choices = own.iter().flat_map(|b| {
                let state = &states[*b];
                state
                    .chosen
                    .indexed_iter()
                    .map(|((fold, target), c)| (*c - asked.start, state.errors[fold].sse.column(target)))
            });
            let (below, above) = crowded_edges(choices, self.asked);
            for (wanted, range) in [(below, 0..asked.start), (above, asked.end..self.wide.values.len())] {
                if wanted && !range.is_empty() {
                    widened = true;
                    for (block, more) in own.iter().zip(self.sweep(&range, &own, &mut kept, report)?) {
                        states[*block].widen(&range, &more);
                    }
                }
            }
        }
        if widened {
            self.settle(&mut states, &mut kept, report)?;
        }
        Ok(states)
    }

    /// Inner errors of the alphas `range` for the blocks `which`: per block and outer fold.
    pub(super) fn sweep(
        &self,
        range: &Range<usize>,
        which: &[usize],
        kept: &mut Option<Vec<Prepared<T>>>,
        report: &mut Report,
    ) -> Result<Vec<Vec<Errors>>> {
        let alphas = &self.wide.values[range.clone()];
        let zeros = |b: &usize| {
            let targets = self.places[*b].columns.len();
            (0..self.rows.folds()).map(|_| Errors::zeros(alphas.len(), targets)).collect::<Vec<_>>()
        };
        let mut found: Vec<Vec<Errors>> = which.iter().map(zeros).collect();
        let (mut seconds, mut bases) = (0.0, 0);
        self.with_factors(kept, &mut report.factor_seconds, |prepared| {
            let clock = Instant::now();
            if self.sweep_on_cards(prepared, alphas, which, &mut found)? {
                seconds += clock.elapsed().as_secs_f64();
                return Ok(());
            }
            if prepared.iter().all(|p| p.smooth) {
                let factors: Vec<&Factor<T>> = prepared.iter().map(|p| &p.factor).collect();
                let smoothers = Smoothers::new(&factors, &self.rows, alphas, |without| self.held_out(without));
                bases = bases.max(smoothers.bases());
                which.par_iter().zip(&mut found).try_for_each_init(
                    SmootherScratch::default,
                    |scratch, (block, errors)| {
                        self.watch.check()?;
                        smoothers.sweep(&self.load(*block)?.block, &self.rows, errors, scratch);
                        Result::Ok(())
                    },
                )?;
                seconds += clock.elapsed().as_secs_f64();
                return Ok(());
            }
            let plans: Vec<Option<Plan>> =
                prepared.par_iter().map(|p| p.narrow.as_ref().map(|_| Plan::new(&p.factor.values, alphas))).collect();
            bases = plans.iter().flatten().map(Plan::bases).fold(bases, usize::max);
            which.par_iter().zip(&mut found).try_for_each(|(block, errors)| {
                self.watch.check()?;
                let loaded = self.load(*block)?;
                let block = &loaded.block;
                let (mut scratch, mut narrow_scratch) = (Scratch::default(), Scratch::default());
                for (set, plan) in prepared.iter().zip(&plans) {
                    let without = &set.factor.without;
                    let mean = block.mean(&self.rows, without);
                    let right = block.right(&self.rows, without, &set.factor.side, &mean, None);
                    let q = set.factor.coefficients(&right);
                    let narrow = plan.as_ref().map(|plan| (plan, q.mapv(|v| v.wide() as f32)));
                    for (validation, outer, rows) in self.held_out(without) {
                        let errors = &mut errors[outer];
                        if let (Some((plan, q)), Some(p)) = (&narrow, &set.narrow) {
                            let truth = block.truth::<f64>(&self.rows, validation, &mean, None);
                            plan.sweep(p.slice(s![rows, ..]), q, &truth, errors, &mut narrow_scratch);
                        } else {
                            let truth = block.truth::<T>(&self.rows, validation, &mean, None);
                            let p = set.factor.projected.slice(s![rows, ..]);
                            exact(p, &set.factor.values, alphas, &q, &truth, &mut errors.sse, &mut scratch);
                        }
                    }
                }
                Ok(())
            })?;
            seconds += clock.elapsed().as_secs_f64();
            Ok(())
        })?;
        report.search_seconds += seconds;
        report.base_alphas = report.base_alphas.max(bases);
        Ok(found)
    }

    /// For the two folds that a training set leaves out: which one is predicted, which is the outer fold, and where the
    /// rows of the first lie among the held-out rows.
    pub(super) fn held_out(&self, without: &[usize]) -> [(usize, usize, Range<usize>); 2] {
        let (first, second) = (without[0], without[1]);
        let (m, n) = (self.rows.of(first).len(), self.rows.of(second).len());
        [(first, second, 0..m), (second, first, m..m + n)]
    }

    /// Chooses; in mixed precision, computes the errors of close calls in float64 before.
    fn settle(&self, states: &mut [State], kept: &mut Option<Vec<Prepared<T>>>, report: &mut Report) -> Result<()> {
        if self.options.precision == Precision::Mixed {
            let clock = Instant::now();
            let close: Vec<Vec<Vec<usize>>> = states.par_iter().map(State::close_calls).collect();
            let count: usize = close.iter().flatten().map(Vec::len).sum();
            if count > 0 {
                self.search_again(states, &close, kept)?;
                report.searched_again += count;
            }
            report.again_seconds += clock.elapsed().as_secs_f64();
        }
        states.par_iter_mut().for_each(State::choose);
        Ok(())
    }

    /// Computes the errors of the targets `close` (per block and outer fold) in float64.
    pub(super) fn search_again(
        &self,
        states: &mut [State],
        close: &[Vec<Vec<usize>>],
        kept: &mut Option<Vec<Prepared<T>>>,
    ) -> Result<()> {
        for (state, columns) in states.iter_mut().zip(close) {
            state.forget(columns);
        }
        self.with_factors(kept, &mut 0.0, |prepared| {
            let work = states.par_iter_mut().zip(close).enumerate();
            work.filter(|(_, (_, close))| close.iter().any(|c| !c.is_empty())).try_for_each(|(at, (state, close))| {
                self.watch.check()?;
                let loaded = self.load(at)?;
                let block = &loaded.block;
                let alphas = &self.wide.values[state.range.clone()];
                let mut scratch = Scratch::default();
                // The close calls of all outer folds together: each training set serves two of them.
                let mut columns: Vec<usize> = close.iter().flatten().copied().collect();
                columns.sort_unstable();
                columns.dedup();
                let places: Vec<Vec<usize>> =
                    close.iter().map(|own| own.iter().map(|t| columns.partition_point(|c| c < t)).collect()).collect();
                for set in prepared {
                    let without = &set.factor.without;
                    let mean = block.mean(&self.rows, without);
                    let right = block.right(&self.rows, without, &set.factor.side, &mean, Some(&columns));
                    let q = set.factor.coefficients(&right);
                    for (validation, outer, rows) in self.held_out(without) {
                        if close[outer].is_empty() {
                            continue;
                        }
                        let truth = block.truth::<T>(&self.rows, validation, &mean, Some(&columns));
                        let mut sse = Array2::zeros((alphas.len(), columns.len()));
                        let p: ArrayView2<'_, T> = set.factor.projected.slice(s![rows, ..]);
                        exact(p, &set.factor.values, alphas, &q, &truth, &mut sse, &mut scratch);
                        for (from, to) in places[outer].iter().zip(&close[outer]) {
                            let mut to = state.errors[outer].sse.column_mut(*to);
                            to += &sse.column(*from);
                        }
                    }
                }
                Ok(())
            })
        })
    }
}

impl State {
    /// Per outer fold, the targets whose choice rounding could change.
    fn close_calls(&self) -> Vec<Vec<usize>> {
        self.errors.iter().map(|e| close_calls(e.sse.view(), e.noise.view(), rounding)).collect()
    }

    /// Clears the errors of targets that are computed again.
    fn forget(&mut self, columns: &[Vec<usize>]) {
        for (errors, columns) in self.errors.iter_mut().zip(columns) {
            for t in columns {
                errors.sse.column_mut(*t).fill(0.0);
                errors.noise.column_mut(*t).fill(0.0);
            }
        }
    }

    /// Adds the errors of neighbouring alphas.
    fn widen(&mut self, range: &Range<usize>, more: &[Errors]) {
        let below = range.end == self.range.start;
        for (own, more) in self.errors.iter_mut().zip(more) {
            let join = |own: &Array2<f64>, more: &Array2<f64>| {
                let parts = if below { [more.view(), own.view()] } else { [own.view(), more.view()] };
                // INVARIANT: both have one column per target of the block.
                concatenate(Axis(0), &parts).expect("both have one column per target of the block")
            };
            *own = Errors { sse: join(&own.sse, &more.sse), noise: join(&own.noise, &more.noise) };
        }
        self.range = self.range.start.min(range.start)..self.range.end.max(range.end);
    }
}
