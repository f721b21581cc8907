//! Nested cross-validation: alpha per target from inner folds, predictions for held-out rows, scores from those.
//!
//! Outer fold k is held out. The inner folds of k are the other outer folds, one left out at a time; alpha is the one
//! with the smallest squared error summed over them (ties: the larger alpha). The fit that predicts fold k uses all
//! rows outside k; a purge gap ([`Folds`]) takes rows near k out of it, too. Nothing, z-scoring included, is ever fitted on a held-out row.
//!
//! The rows outside two folds j and k are the training set of two inner fits, (k, j) and (j, k): they are factorised
//! once, K (K − 1) / 2 factorisations for all inner fits.

use ndarray::{Array2, ArrayView2, Axis, s};

use super::alphas::AlphaGrid;
use super::engine;
use super::folds::Folds;
use super::ridge::Factor;
use crate::error::{Code, Error, Result};
use crate::watch::Watch;

/// What nested cross-validation gives: held-out predictions and how they were made.
#[derive(Debug, Clone)]
pub struct CvFit {
    /// Held-out predictions (rows, targets), in the units of the responses.
    pub predicted: Array2<f64>,
    /// Mean of each target over the training rows of each fold (folds, targets).
    pub train_mean: Array2<f64>,
    /// Index into [`CvFit::grid`] of the alpha chosen, per fold and target.
    pub chosen: Array2<usize>,
    /// The grid that was searched; wider than the one asked for when a default grid proved too narrow.
    pub grid: AlphaGrid,
    /// Features that vary on the training rows of each fold.
    pub varying: Vec<usize>,
}

/// Fits nested cross-validated ridge of `y` (rows, targets) on `x` (rows, features) in the default precision.
///
/// # Errors
/// As [`engine::fit_blocks`].
pub fn fit(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    folds: &Folds,
    grid: &AlphaGrid,
    watch: &dyn Watch,
) -> Result<CvFit> {
    engine::fit(x, y, folds, grid, &engine::Options::default(), watch).map(|(fit, _)| fit)
}

/// The same by z-scoring and decomposing the rows of every training set in float64: what the engine is tested against.
///
/// # Errors
/// `RC-03` for fewer than three folds, `NU-01` for overflow.
pub fn plain(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    folds: &Folds,
    grid: &AlphaGrid,
    scale: Option<&[f64]>,
    watch: &dyn Watch,
) -> Result<CvFit> {
    assert!(x.nrows() == y.nrows() && x.nrows() == folds.of_row().len(), "x, y and folds have the same rows");
    if folds.count() < 3 {
        return Err(Error::new(Code::Rc03, "folds", format!("there are {}", folds.count()))
            .expected("at least 3: alpha is chosen on the folds that remain when one is held out"));
    }
    // Shifting a target changes no score; near-zero means keep sums of squares exact for responses with an offset.
    let offset = y.mean_axis(Axis(0)).unwrap_or_default();
    let y = &y - &offset;
    let data = Data { x, y: &y, folds, scale };
    let wide = if grid.given { grid.clone() } else { grid.widened(true, true) };
    let errors = inner_errors(&data, &wide.values, watch)?;
    let (grid, chosen) = choose(grid, &wide, &errors);
    let mut fit = outer_fits(&data, &grid, chosen, watch)?;
    fit.predicted += &offset;
    fit.train_mean += &offset;
    Ok(fit)
}

struct Data<'a> {
    x: ArrayView2<'a, f64>,
    y: &'a Array2<f64>,
    folds: &'a Folds,
    scale: Option<&'a [f64]>,
}

/// A factorised training set with the centred responses of its rows.
struct Training {
    factor: Factor,
    coefficients: Array2<f64>,
    mean: ndarray::Array1<f64>,
}

impl Data<'_> {
    fn train(&self, without: &[usize]) -> Result<Training> {
        let rows = self.folds.train_rows(without);
        let factor = Factor::scaled(self.x.select(Axis(0), &rows).view(), self.scale)?;
        let mut y = self.y.select(Axis(0), &rows);
        let mean = y.mean_axis(Axis(0)).unwrap_or_default();
        y -= &mean;
        let coefficients = factor.coefficients(&y);
        Ok(Training { factor, coefficients, mean })
    }

    fn project(&self, training: &Training, rows: &[usize]) -> Array2<f64> {
        training.factor.project(self.x.select(Axis(0), rows).view())
    }
}

/// Squared error summed over inner folds: one (alphas, targets) matrix per outer fold.
fn inner_errors(data: &Data<'_>, alphas: &[f64], watch: &dyn Watch) -> Result<Vec<Array2<f64>>> {
    let k = data.folds.count();
    let mut errors = vec![Array2::zeros((alphas.len(), data.y.ncols())); k];
    for first in 0..k {
        for second in first + 1..k {
            watch.check()?;
            let training = data.train(&[first, second])?;
            for (outer, validation) in [(first, second), (second, first)] {
                let rows = data.folds.test_rows(validation);
                let truth = data.y.select(Axis(0), &rows) - &training.mean;
                let projected = data.project(&training, &rows);
                for (alpha, mut error) in alphas.iter().zip(errors[outer].rows_mut()) {
                    let predicted = training.factor.predict(&projected, &training.coefficients, *alpha);
                    for (p, t) in predicted.rows().into_iter().zip(truth.rows()) {
                        error.iter_mut().zip(p).zip(t).for_each(|((e, p), t)| *e += (p - t) * (p - t));
                    }
                }
            }
        }
    }
    Ok(errors)
}

/// Chooses alphas on the grid asked for; when too many lie at an edge of a default grid, on the grid widened there.
fn choose(asked: &AlphaGrid, wide: &AlphaGrid, errors: &[Array2<f64>]) -> (AlphaGrid, Array2<usize>) {
    let first = wide.values.iter().position(|a| *a == asked.values[0]).unwrap_or(0);
    let last = first + asked.values.len() - 1;
    let among = |low: usize, high: usize| {
        Array2::from_shape_fn((errors.len(), errors[0].ncols()), |(fold, target)| {
            engine::smallest(errors[fold].slice(s![low..=high, target]))
        })
    };
    let chosen = among(first, last);
    let choices = chosen.indexed_iter().map(|((fold, target), c)| (*c, errors[fold].slice(s![first..=last, target])));
    let (below, above) = engine::crowded_edges(choices, asked);
    let low = if below { 0 } else { first };
    let high = if above { wide.values.len() - 1 } else { last };
    let grid = AlphaGrid { values: wide.values[low..=high].to_vec(), given: asked.given };
    (grid, if below || above { among(low, high) } else { chosen })
}

fn outer_fits(data: &Data<'_>, grid: &AlphaGrid, chosen: Array2<usize>, watch: &dyn Watch) -> Result<CvFit> {
    let k = data.folds.count();
    let mut predicted = Array2::zeros(data.y.raw_dim());
    let mut train_mean = Array2::zeros((k, data.y.ncols()));
    let mut varying = Vec::with_capacity(k);
    for fold in 0..k {
        watch.check()?;
        let training = data.train(&[fold])?;
        let rows = data.folds.test_rows(fold);
        let alphas: Vec<f64> = chosen.row(fold).iter().map(|c| grid.values[*c]).collect();
        let projected = data.project(&training, &rows);
        let held_out = training.factor.predict_each(&projected, &training.coefficients, &alphas) + &training.mean;
        for (row, values) in rows.iter().zip(held_out.rows()) {
            predicted.row_mut(*row).assign(&values);
        }
        train_mean.row_mut(fold).assign(&training.mean);
        varying.push(training.factor.varying());
    }
    Ok(CvFit { predicted, train_mean, chosen, grid: grid.clone(), varying })
}
