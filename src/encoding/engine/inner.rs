//! Predictions of inner fits: what a model of models (stacking) is fitted to.

use std::sync::Mutex;

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use super::{Engine, Options, Targets, enough_folds};
use crate::compute::cpu;
use crate::encoding::cv::CvFit;
use crate::encoding::folds::Folds;
use crate::error::Result;
use crate::watch::Watch;

/// For each outer fold of `fit` (rows, targets): predictions of the rows outside it by its inner fits, each of which left
/// out one other fold, with the alpha chosen for the outer fold. In float64; NaN in the rows of the outer fold.
///
/// `fit` is what [`super::fit`] found for `x` and `y` with the same `folds` and `options`.
///
/// # Errors
/// As [`super::fit_blocks`].
pub fn inner_predictions(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    folds: &Folds,
    fit: &CvFit,
    options: &Options,
    watch: &dyn Watch,
) -> Result<Vec<Array2<f64>>> {
    assert!(fit.chosen.dim() == (folds.count(), y.ncols()), "the fit of these responses");
    enough_folds(folds)?;
    cpu::single_threaded_blas();
    let responses: [&dyn Targets; 1] = [&y];
    // The alphas are chosen: nothing is widened.
    let mut grid = fit.grid.clone();
    grid.given = true;
    let engine = Engine::<f64>::new(x, &responses, folds, &grid, options, watch);
    let count = folds.count();
    let blank = || Mutex::new(Array2::from_elem(y.raw_dim(), f64::NAN));
    let found: Vec<Mutex<Array2<f64>>> = (0..count).map(|_| blank()).collect();
    let pairs: Vec<[usize; 2]> = (0..count).flat_map(|j| (j + 1..count).map(move |k| [j, k])).collect();
    pairs.par_iter().try_for_each(|without| {
        watch.check()?;
        let factor = engine.system(without, None, false).factor()?;
        for (at, place) in engine.places.iter().enumerate() {
            let loaded = engine.load(at)?;
            let mean = loaded.block.mean(&engine.rows, without);
            let q = factor.coefficients(&loaded.block.right(&engine.rows, without, &factor.side, &mean, None));
            for (validation, outer, rows) in engine.held_out(without) {
                let chosen = fit.chosen.row(outer);
                let chosen = chosen.slice(s![place.columns.clone()]);
                let mut weighted = q.clone();
                for (mut row, s) in weighted.rows_mut().into_iter().zip(&factor.values) {
                    row.iter_mut().zip(chosen).for_each(|(q, c)| *q /= s + grid.values[*c]);
                }
                let predicted = factor.projected.slice(s![rows, ..]).dot(&weighted);
                let mut out = found[outer].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for (place_of_row, from) in engine.rows.of(validation).zip(predicted.rows()) {
                    let mut to = out.row_mut(engine.rows.given(place_of_row));
                    let mut to = to.slice_mut(s![place.columns.clone()]);
                    let means = mean.iter().zip(&loaded.offset);
                    to.iter_mut().zip(from).zip(means).for_each(|((to, p), (m, o))| *to = p + m + o);
                }
            }
        }
        Result::Ok(())
    })?;
    Ok(found.into_iter().map(|m| m.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)).collect())
}
