//! Banded ridge: every band of features has a weight, chosen per target together with alpha.
//!
//! `min_w |y − ȳ − Σ_b √γ_b X_b w_b|² + alpha |w|²`, γ_b ≥ 0, Σ γ_b = 1: for each draw of weights the search of
//! [`super::search`] runs on the scaled features, and a target keeps the weights and alpha with the smallest inner error so
//! far. In the dual, the kernels of the bands are computed once and a draw is their weighted sum.
//!
//! In mixed precision a draw is screened in float32. Targets to which it could be the best so far, given what rounding
//! can change, are searched again in float64 while its decompositions are there, so that every choice is made between
//! float64 errors and is the one of [`Precision::Double`]. Few targets improve after the first draws, so little is
//! computed twice. At the end only weights that some target chose are fitted.
//!
//! Source: Dupré la Tour et al. 2022, NeuroImage 264, 119728 (random search, product measure); Nunez-Elizalde et al. 2019,
//! NeuroImage 197, 482–492 (banded ridge).

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::bands::{Bands, Kernels};
use super::choice::{is_crowded, smallest};
use super::narrow::{self, Narrow};
use super::refit::Refit;
use super::search::State;
use super::sweep::rounding;
use super::{Engine, Options, Precision, Report, Size};
use crate::compute::cpu::{self, Real};
use crate::encoding::alphas::AlphaGrid;
use crate::encoding::cv::CvFit;
use crate::encoding::folds::Folds;
use crate::error::Result;
use crate::watch::Watch;

/// A new draw must be better than the best so far by more than this share.
const TIE: f64 = 1e-12;
/// Share of the memory that kernels of bands may take.
const KERNEL_SHARE: u64 = 3;

/// What a banded search gives.
#[derive(Debug, Clone)]
pub struct BandedFit {
    /// Held-out predictions and alphas.
    pub fit: CvFit,
    /// Index of the weights chosen, per fold and target.
    pub draw: Array2<usize>,
    /// What each band contributes to cod (bands, targets): Σ p_b (2 y − p) / Σ y², where y is less the training mean, p the
    /// prediction and p_b the band's part of it (the product measure). The parts sum to cod. NaN for a target without spread.
    pub split: Array2<f64>,
}

/// The best choice so far of each fold and target of a block.
pub(super) struct Best {
    error: Array2<f64>,
    draw: Array2<usize>,
    /// Index into the wide grid.
    alpha: Array2<usize>,
    /// Whether the errors of the draw depend on alpha.
    matters: Array2<bool>,
}

impl Best {
    /// `last` is the largest alpha that was asked for: what a target takes for which nothing is better than anything.
    fn new(folds: usize, targets: usize, last: usize) -> Best {
        let shape = (folds, targets);
        Best {
            error: Array2::from_elem(shape, f64::INFINITY),
            draw: Array2::zeros(shape),
            alpha: Array2::from_elem(shape, last),
            matters: Array2::from_elem(shape, false),
        }
    }

    /// Per fold, the targets that a draw may serve better than anything before it.
    fn contenders(&self, state: &State) -> Vec<Vec<usize>> {
        let of_fold = |fold: usize| {
            let (errors, best) = (state.errors(fold), self.error.row(fold));
            let mut least = vec![f64::INFINITY; best.len()];
            for (sse, noise) in errors.sse.rows().into_iter().zip(errors.noise.rows()) {
                least.iter_mut().zip(sse).zip(noise).for_each(|((l, e), n)| {
                    let low = e - rounding(*n, *e);
                    // What overflowed may be anything, as in `close_calls`.
                    *l = if low.is_nan() { f64::NEG_INFINITY } else { l.min(low) };
                });
            }
            (0..best.len()).filter(|t| least[*t] < best[*t]).collect()
        };
        (0..self.error.nrows()).map(of_fold).collect()
    }

    /// Takes over what a draw does better for the targets `which`.
    fn update(&mut self, state: &State, which: &[Vec<usize>], draw: usize) {
        for (fold, targets) in which.iter().enumerate() {
            targets.iter().for_each(|t| self.consider([fold, *t], state, *t, draw));
        }
    }

    /// The same for all targets of a state whose first one is the target `offset` of the block.
    pub(super) fn update_all(&mut self, state: &State, offset: usize, draw: usize) {
        for fold in 0..self.error.nrows() {
            for t in 0..state.errors(fold).sse.ncols() {
                self.consider([fold, offset + t], state, t, draw);
            }
        }
    }

    fn consider(&mut self, at: [usize; 2], state: &State, column: usize, draw: usize) {
        let errors = state.errors(at[0]).sse.column(column);
        let choice = smallest(errors);
        if errors[choice] < self.error[at] * (1.0 - TIE) {
            let most = errors.iter().fold(0f64, |m, e| m.max(*e));
            self.error[at] = errors[choice];
            self.draw[at] = draw;
            self.alpha[at] = state.range.start + choice;
            self.matters[at] = most > errors[choice] * (1.0 + TIE);
        }
    }
}

/// What is fitted: a response in memory, and the weights of bands to choose from.
#[derive(Debug, Clone, Copy)]
pub struct Banded<'a> {
    /// Features (rows, features).
    pub x: ArrayView2<'a, f64>,
    /// Responses (rows, targets).
    pub y: ArrayView2<'a, f64>,
    /// The band of each feature.
    pub bands: &'a Bands,
    /// Weightings (draws, bands). One draw fixes them.
    pub weights: &'a Array2<f64>,
    /// The outer folds.
    pub folds: &'a Folds,
}

/// Fits banded ridge.
///
/// # Errors
/// As [`super::fit_blocks`].
pub fn fit_banded(
    of: Banded<'_>,
    grid: &AlphaGrid,
    options: &Options,
    watch: &dyn Watch,
) -> Result<(BandedFit, Report)> {
    let Banded { x, bands, weights, folds, .. } = of;
    assert_eq!(bands.of_feature().len(), x.ncols(), "a band for each feature");
    assert!(weights.nrows() > 0 && weights.ncols() == bands.count(), "a weight for each band");
    assert!(options.scale.is_none(), "bands are scaled by their weights");
    assert!(options.components.is_none(), "components mix bands");
    super::enough_folds(folds)?;
    cpu::single_threaded_blas();
    match options.precision {
        Precision::Single => run::<f32>(of, grid, options, watch),
        _ => run::<f64>(of, grid, options, watch),
    }
}

fn run<T: Real>(of: Banded<'_>, grid: &AlphaGrid, options: &Options, watch: &dyn Watch) -> Result<(BandedFit, Report)> {
    let Banded { x, y, bands, weights, folds } = of;
    let responses: [&dyn super::Targets; 1] = [&y];
    let mut engine = Engine::<T>::new(x, &responses, folds, grid, options, watch);
    let mut report = Report { primal: engine.grams.is_some(), ..Report::default() };
    let first = engine.wide.values.iter().position(|a| *a == grid.values[0]).unwrap_or(0);
    let last = first + grid.values.len() - 1;
    let mut best: Vec<Best> = engine.places.iter().map(|p| Best::new(folds.count(), p.columns.len(), last)).collect();
    let size = Size {
        rows: x.nrows(),
        features: x.ncols(),
        targets: engine.targets,
        folds: folds.count(),
        alphas: grid.values.len(),
    };
    let narrow = narrow::applies(bands, &size, options.precision, options.memory).filter(|_| weights.nrows() > 1);
    let range = if let Some((wide, narrow)) = narrow {
        let of = |band: usize| x.select(Axis(1), &bands.features(band));
        let wide_only = of(wide);
        let engine = Engine::<T>::new(wide_only.view(), &responses, folds, grid, options, watch);
        let clock = Instant::now();
        let weights = weights.rows().into_iter().map(|w| (w[wide], w[narrow])).collect();
        let search = Narrow::new(&engine, of(narrow).view(), weights)?;
        report.factor_seconds = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let range = widened(&engine.wide, engine.asked, &mut best, |range, best| search.try_all(range, best))?;
        report.search_seconds = clock.elapsed().as_secs_f64();
        report.eigendecompositions = engine.decompositions.load(Ordering::Relaxed);
        range
    } else {
        let clock = Instant::now();
        let bytes = Kernels::<T>::bytes(&engine.rows, bands.count());
        if !report.primal && options.memory.is_none_or(|m| bytes < m / KERNEL_SHARE) {
            engine.kernels = Some(Kernels::new(&engine.space, &engine.rows, bands));
        }
        report.factor_seconds = clock.elapsed().as_secs_f64();
        let (wide, asked) = (engine.wide.clone(), engine.asked);
        widened(&wide, asked, &mut best, |range, best| try_all(&mut engine, bands, weights, range, best, &mut report))?
    };
    let clock = Instant::now();
    let fit = refit(&mut engine, bands, weights, &range, &best)?;
    report.refit_seconds = clock.elapsed().as_secs_f64();
    report.eigendecompositions += engine.decompositions.load(Ordering::Relaxed);
    report.choices = engine.targets * folds.count();
    Ok((fit, report))
}

/// Searches the alphas asked for and, where a default grid proves too narrow, those beyond; what was searched.
fn widened(
    wide: &AlphaGrid,
    grid: &AlphaGrid,
    best: &mut [Best],
    mut search: impl FnMut(&Range<usize>, &mut [Best]) -> Result<()>,
) -> Result<Range<usize>> {
    let first = wide.values.iter().position(|a| *a == grid.values[0]).unwrap_or(0);
    let asked = first..first + grid.values.len();
    search(&asked, best)?;
    let (below, above) = crowded(best, &asked, grid);
    let mut range = asked.clone();
    for (wanted, more) in [(below, 0..asked.start), (above, asked.end..wide.values.len())] {
        if wanted && !more.is_empty() {
            search(&more, best)?;
            range = range.start.min(more.start)..range.end.max(more.end);
        }
    }
    Ok(range)
}

/// Which edges of a default grid hold too many of the choices.
fn crowded(best: &[Best], asked: &Range<usize>, grid: &AlphaGrid) -> (bool, bool) {
    let choices = best.iter().flat_map(|b| b.alpha.iter().zip(&b.matters));
    is_crowded(choices.map(|(a, matters)| (a - asked.start, *matters)), grid)
}

/// Tries all weights with the alphas of `range`.
fn try_all<T: Real>(
    engine: &mut Engine<'_, T>,
    bands: &Bands,
    weights: &Array2<f64>,
    range: &Range<usize>,
    best: &mut [Best],
    report: &mut Report,
) -> Result<()> {
    let everyone: Vec<usize> = (0..engine.places.len()).collect();
    for (draw, weights) in weights.rows().into_iter().enumerate() {
        engine.weigh(bands, &weights.to_vec());
        let mut kept = None;
        let found = engine.sweep(range, &everyone, &mut kept, report)?;
        let mut states: Vec<State> = found.into_iter().map(|errors| State::found(range.clone(), errors)).collect();
        let contenders: Vec<Vec<Vec<usize>>> =
            best.par_iter().zip(&states).map(|(best, state)| best.contenders(state)).collect();
        if engine.options.precision == Precision::Mixed {
            let clock = Instant::now();
            let count: usize = contenders.iter().flatten().map(Vec::len).sum();
            if count > 0 {
                engine.search_again(&mut states, &contenders, &mut kept)?;
            }
            report.searched_again += count;
            report.again_seconds += clock.elapsed().as_secs_f64();
        }
        best.par_iter_mut().zip(&states).zip(&contenders).for_each(|((b, s), c)| b.update(s, c, draw));
    }
    Ok(())
}

/// Fits the outer folds with the weights and alphas chosen, and splits cod over the bands.
fn refit<T: Real>(
    engine: &mut Engine<'_, T>,
    bands: &Bands,
    weights: &Array2<f64>,
    range: &Range<usize>,
    best: &[Best],
) -> Result<BandedFit> {
    let (folds, targets) = (engine.rows.folds(), engine.targets);
    let (mut predicted, mut train_mean) =
        (Array2::zeros((engine.rows.len(), targets)), Array2::zeros((folds, targets)));
    let (mut shares, mut about) = (Array2::<f64>::zeros((bands.count(), targets)), vec![0f64; targets]);
    let mut varying = vec![0; folds];
    for (draw, weights) in weights.rows().into_iter().enumerate() {
        if !best.iter().any(|b| b.draw.iter().any(|d| *d == draw)) {
            continue;
        }
        engine.weigh(bands, &weights.to_vec());
        let engine = &*engine;
        let fits = (0..folds).into_par_iter().map(|fold| {
            engine.watch.check()?;
            fit_draw(engine, bands, fold, draw, best)
        });
        let fits: Vec<Option<Refit<T>>> = fits.collect::<Result<_>>()?;
        for (most, fit) in varying.iter_mut().zip(&fits) {
            *most = fit.as_ref().map_or(*most, |f| f.varying().max(*most));
        }
        let parts = best.par_iter().enumerate().map(|(at, best)| {
            engine.watch.check()?;
            predict_draw(engine, at, best, draw, &fits, bands.count())
        });
        for (place, parts) in engine.places.iter().zip(parts.collect::<Result<Vec<_>>>()?) {
            for part in parts {
                for (i, t) in part.columns.iter().enumerate() {
                    let column = place.columns.start + t;
                    predicted.slice_mut(s![engine.rows.of(part.fold), column]).assign(&part.predicted.column(i));
                    train_mean[[part.fold, column]] = part.mean[i];
                    let mut share = shares.column_mut(column);
                    share += &part.shares.column(i);
                    about[column] += part.about[i];
                }
            }
        }
    }
    for (mut column, about) in shares.columns_mut().into_iter().zip(&about) {
        column.mapv_inplace(|v| if *about > 0.0 { v / about } else { f64::NAN });
    }
    let whole = |of: fn(&Best) -> &Array2<usize>| {
        let views: Vec<_> = best.iter().map(|b| of(b).view()).collect();
        // INVARIANT: every block has one row per fold.
        ndarray::concatenate(Axis(1), &views).expect("every block has one row per fold")
    };
    let chosen = whole(|b| &b.alpha).mapv(|a| a - range.start);
    let mut inner_error = Array2::zeros(chosen.raw_dim());
    for (place, best) in engine.places.iter().zip(best) {
        inner_error.slice_mut(s![.., place.columns.clone()]).assign(&best.error);
    }
    let grid = AlphaGrid { values: engine.wide.values[range.clone()].to_vec(), given: engine.asked.given };
    let fit = CvFit { predicted: engine.rows.unsorted(&predicted), train_mean, chosen, inner_error, grid, varying };
    Ok(BandedFit { fit, draw: whole(|b| &b.draw), split: shares })
}

/// The fit of one fold with the weights of a draw, if any target chose them.
fn fit_draw<T: Real>(
    engine: &Engine<'_, T>,
    bands: &Bands,
    fold: usize,
    draw: usize,
    best: &[Best],
) -> Result<Option<Refit<T>>> {
    let (mut used, mut targets) = (vec![false; engine.wide.values.len()], 0);
    for b in best {
        for (d, a) in b.draw.row(fold).iter().zip(b.alpha.row(fold)) {
            if *d == draw {
                used[*a] = true;
                targets += 1;
            }
        }
    }
    if targets == 0 {
        return Ok(None);
    }
    let used: Vec<(usize, f64)> = engine.wide.values.iter().copied().enumerate().filter(|(i, _)| used[*i]).collect();
    let fit = Refit::new(engine.system(&[fold], Some(bands), false), &used, targets)?;
    if let Refit::Eigen(_) = fit {
        engine.decompositions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Some(fit))
}

/// What one fold of the targets that chose a draw comes to.
struct Part {
    fold: usize,
    /// Targets within the block.
    columns: Vec<usize>,
    /// Predictions (test rows, columns).
    predicted: Array2<f64>,
    mean: Vec<f64>,
    /// Σ p_b (2 y − p) (bands, columns) and Σ y².
    shares: Array2<f64>,
    about: Vec<f64>,
}

fn predict_draw<T: Real>(
    engine: &Engine<'_, T>,
    at: usize,
    best: &Best,
    draw: usize,
    fits: &[Option<Refit<T>>],
    bands: usize,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    if !best.draw.iter().any(|d| *d == draw) {
        return Ok(parts);
    }
    let loaded = engine.load(at)?;
    let super::Loaded { block, offset, .. } = &*loaded;
    let place = &engine.places[at];
    for (fold, fit) in fits.iter().enumerate() {
        let columns: Vec<usize> = (0..place.columns.len()).filter(|t| best.draw[[fold, *t]] == draw).collect();
        let (Some(fit), false) = (fit, columns.is_empty()) else { continue };
        let mean = block.mean(&engine.rows, &[fold]);
        let chosen = best.alpha.row(fold).select(Axis(0), &columns);
        let stacked = fit.predict(block, &engine.rows, &mean, Some(&columns), chosen.view(), &engine.wide.values);
        let stacked = stacked.mapv(Real::wide);
        let truth = block.truth::<f64>(&engine.rows, fold, &mean, Some(&columns));
        let test = truth.nrows();
        let mut predicted = Array2::<f64>::zeros(truth.raw_dim());
        stacked.axis_chunks_iter(Axis(0), test).for_each(|of_band| predicted += &of_band);
        let weight = &truth * 2.0 - &predicted;
        let mut shares = Array2::zeros((bands, columns.len()));
        for (mut share, of_band) in shares.rows_mut().into_iter().zip(stacked.axis_chunks_iter(Axis(0), test)) {
            share.assign(&(&of_band * &weight).sum_axis(Axis(0)));
        }
        let about = truth.mapv(|v| v * v).sum_axis(Axis(0)).to_vec();
        let mean: Vec<f64> = columns.iter().map(|t| mean[*t] + offset[*t]).collect();
        for mut row in predicted.rows_mut() {
            row.iter_mut().zip(&mean).for_each(|(p, m)| *p += m);
        }
        parts.push(Part { fold, columns, predicted, mean, shares, about });
    }
    Ok(parts)
}
