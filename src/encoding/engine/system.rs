//! The linear system of one training set, primal or dual, and its eigendecomposition.
//!
//! Both are written `predicted = cross · (matrix + alpha I)⁻¹ · right`:
//!
//! | | matrix | cross | right |
//! |---|---|---|---|
//! | primal | Zᵀ Z (p, p) | Z_new (m, p) | Zᵀ (Y − ȳ) (p, t) |
//! | dual | Z Zᵀ (n, n) | Z_new Zᵀ (m, n) | Y − ȳ (n, t) |
//!
//! Z = X z-scored on the n training rows. In the primal, Zᵀ Z = D (G − n μ μᵀ) D, where G = XᵀX of the training rows is
//! the sum of the Gram matrices of its folds, μ their mean and D = diag(1 / sd) from the diagonal; Zᵀ (Y − ȳ) likewise
//! from XᵀY per fold. No training set is touched row by row. Sums of fold blocks stand for "total less held-out blocks":
//! they cost as little and nothing cancels. What can cancel is the mean: where it takes most of a diagonal element (a
//! column that varies between folds and hardly within), the training set is z-scored and multiplied out instead.
//!
//! In the dual, z-scoring per training set multiplies each feature's share of the kernel by another factor, and no
//! kernel follows from another: Z Zᵀ and Z_new Zᵀ are formed per training set, n p (n + 2 m) operations.

use std::ops::Range;

use ndarray::{Array2, Axis, s};

use super::bands::Bands;
use super::rows::{Rows, count, gather, select};
use super::space::{Space, Standard};
use crate::compute::cpu::{Real, Spectrum, gram};
use crate::compute::device::Offload;
use crate::error::Result;

/// Largest share of a diagonal element that centring may leave before its rounding matters: the variance's relative
/// error is about roundoff / share.
fn least_share<T: Real>() -> f64 {
    if T::ROUNDOFF < 1e-10 { 1e-4 } else { 1e-2 }
}

/// Most cells per fold that get a Gram matrix of their own; with more, training sets are z-scored and multiplied out.
const MOST_CELLS: usize = 4;

/// Gram matrices of the centred features per cell, lower triangles (features, features); none when there are too many.
pub(super) struct Grams<T>(Vec<Array2<T>>);

impl<T: Real> Grams<T> {
    /// Whether training sets are multiplied out instead.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn new(space: &Space, rows: &Rows) -> Grams<T> {
        use rayon::prelude::*;
        if rows.cells() > MOST_CELLS * rows.folds() {
            return Grams(Vec::new());
        }
        let of_cell = |cell: usize| {
            let part = space.x.slice(s![rows.cell(cell), ..]);
            gram(part.mapv(T::of).view(), true)
        };
        Grams((0..rows.cells()).into_par_iter().map(of_cell).collect())
    }
}

/// What `right` is made of.
#[derive(Debug, Clone)]
pub(super) enum Side<T> {
    /// Dual: the centred responses themselves.
    Rows,
    /// Primal, from XᵀY per cell.
    Columns(Standard),
    /// Primal, from the z-scored training rows (n, p).
    Multiplied(Array2<T>),
}

/// The system of a training set and the rows to predict.
pub(super) struct System<T> {
    /// Folds that are held out, ascending.
    pub(super) without: Vec<usize>,
    /// Lower triangle; empty where its decomposition is known.
    pub(super) matrix: Array2<T>,
    pub(super) cross: Array2<T>,
    pub(super) side: Side<T>,
    pub(super) varying: usize,
    /// Principal components that the fit is confined to; none for all.
    pub(super) components: Option<usize>,
}

impl<T: Real> System<T> {
    /// The system of all rows outside the folds `without`, predicting the rows of those folds, in their order.
    ///
    /// `scale` multiplies columns after z-scoring. With `parts`, `cross` holds the held-out rows once per band, one band's
    /// columns alone each time, one below the other: predictions come in as many parts, which sum to the prediction.
    /// With `known` the matrix is not formed: its decomposition is there.
    pub(super) fn new(
        space: &Space,
        rows: &Rows,
        grams: Option<&Grams<T>>,
        without: &[usize],
        scale: Option<&[f64]>,
        parts: Option<&Bands>,
        known: bool,
    ) -> System<T> {
        let (train, cells) = (rows.outside(without), rows.training(without));
        let held_out: Vec<Range<usize>> = without.iter().map(|f| rows.of(*f)).collect();
        let held_out = |standard: &Standard| match parts {
            None => space.z::<T>(&held_out, standard),
            Some(bands) => bands.stacked(&space.z::<T>(&held_out, standard)),
        };
        let own = |matrix, cross, side, varying| System {
            without: without.to_vec(),
            matrix,
            cross,
            side,
            varying,
            components: None,
        };
        let Some(grams) = grams else {
            let standard = space.exact_standard(rows, without, scale);
            let z = space.z::<T>(&train, &standard);
            let cross = held_out(&standard).dot(&z.t());
            let matrix = if known { Array2::zeros((0, 0)) } else { gram(z.view(), false) };
            return own(matrix, cross, Side::Rows, standard.varying);
        };
        let multiplied = || {
            let standard = space.exact_standard(rows, without, scale);
            let z = space.z::<T>(&train, &standard);
            let cross = held_out(&standard);
            let matrix = if known { Array2::zeros((0, 0)) } else { gram(z.view(), true) };
            own(matrix, cross, Side::Multiplied(z), standard.varying)
        };
        if grams.is_empty() {
            return multiplied();
        }
        let n = count(&train) as f64;
        let mut matrix = Array2::zeros((space.features(), space.features()));
        for cell in &cells {
            matrix += &grams.0[*cell];
        }
        let mean = space.mean(&cells, count(&train));
        let squares: Vec<f64> = matrix.diag().iter().map(|v| v.wide()).collect();
        let variance: Vec<f64> = squares.iter().zip(&mean).map(|(q, m)| q / n - m * m).collect();
        let cancels = squares.iter().zip(&variance).any(|(q, v)| v * n < least_share::<T>() * q);
        if cancels {
            return multiplied();
        }
        let standard = space.standard(&cells, mean.to_vec(), &variance, scale);
        for (i, mut row) in matrix.rows_mut().into_iter().enumerate() {
            let (m, f) = (n * standard.mean[i], standard.factor[i]);
            let others = standard.mean.iter().zip(&standard.factor);
            row.iter_mut().zip(others).take(i + 1).for_each(|(v, (mean, factor))| {
                *v = T::of((v.wide() - m * mean) * f * factor);
            });
        }
        let cross = held_out(&standard);
        let varying = standard.varying;
        own(matrix, cross, Side::Columns(standard), varying)
    }

    /// Eigendecomposition: predictions for every alpha are then `projected · diag(1 / (s + alpha)) · Q`, Q = Uᵀ right.
    pub(super) fn factor(self) -> Result<Factor<T>> {
        self.factor_on(None)
    }

    /// The same, decomposed by cards where there are some.
    pub(super) fn factor_on(mut self, offload: Option<&Offload>) -> Result<Factor<T>> {
        let matrix = std::mem::replace(&mut self.matrix, Array2::zeros((0, 0)));
        let Spectrum { values, vectors } = Offload::eigh(offload, matrix)?;
        let largest = values.iter().fold(0f64, |m, v| m.max(v.wide()));
        // Ascending. What rounding leaves of a zero has no share in any prediction.
        let first = values.iter().position(|v| v.wide() > 2.0 * T::ROUNDOFF * largest).unwrap_or(values.len());
        let first = first.max(values.len().saturating_sub(self.components.unwrap_or(usize::MAX)));
        let positive = values.iter().skip(first).map(|v| v.wide()).collect();
        Ok(self.factor_from(positive, vectors.slice_move(s![.., first..])))
    }

    /// The factor from a decomposition that is known: positive eigenvalues, ascending, and their vectors.
    pub(super) fn factor_from(self, values: Vec<f64>, vectors: Array2<T>) -> Factor<T> {
        Factor {
            projected: self.cross.dot(&vectors),
            values,
            vectors,
            without: self.without,
            side: self.side,
            varying: self.varying,
        }
    }
}

/// The factorised system of a training set: serves every alpha and every target.
pub(super) struct Factor<T> {
    pub(super) without: Vec<usize>,
    /// Eigenvalues (k), ascending, positive.
    pub(super) values: Vec<f64>,
    /// U (dimension, k).
    pub(super) vectors: Array2<T>,
    /// cross · U (held-out rows, k).
    pub(super) projected: Array2<T>,
    pub(super) side: Side<T>,
    pub(super) varying: usize,
}

impl<T: Real> Factor<T> {
    /// `projected · diag(weights) · Uᵀ` (held-out rows, dimension): predictions are this times `right`.
    pub(super) fn smoother(&self, weights: impl Fn(f64) -> f64) -> Array2<T> {
        let mut left = self.projected.clone();
        for (mut column, s) in left.columns_mut().into_iter().zip(&self.values) {
            let weight = T::of(weights(*s));
            column.mapv_inplace(|v| v * weight);
        }
        left.dot(&self.vectors.t())
    }

    /// Q = Uᵀ right (k, targets).
    pub(super) fn coefficients(&self, right: &Array2<T>) -> Array2<T> {
        self.vectors.t().dot(right)
    }
}

/// The responses of a block of targets, rows sorted by fold, less their mean over all rows.
pub(super) struct Block<T> {
    /// (rows, targets).
    pub(super) y: Array2<f64>,
    /// Sum per cell (cells, targets).
    sums: Array2<f64>,
    /// XᵀY per cell (features, targets), where the primal needs it.
    products: Vec<Array2<T>>,
}

impl<T: Real> Block<T> {
    pub(super) fn new(y: Array2<f64>, rows: &Rows, space: Option<&Space>) -> Block<T> {
        let mut sums = Array2::zeros((rows.cells(), y.ncols()));
        for cell in 0..rows.cells() {
            sums.row_mut(cell).assign(&y.slice(s![rows.cell(cell), ..]).sum_axis(Axis(0)));
        }
        let products = space.map_or_else(Vec::new, |space| {
            let product = |cell: usize| {
                let (x, y) = (space.x.slice(s![rows.cell(cell), ..]), y.slice(s![rows.cell(cell), ..]));
                // Multiplied in float64 where that is the precision; else converted first.
                x.mapv(T::of).t().dot(&y.mapv(T::of))
            };
            (0..rows.cells()).map(product).collect()
        });
        Block { y, sums, products }
    }

    /// Training means (targets).
    pub(super) fn mean(&self, rows: &Rows, without: &[usize]) -> Vec<f64> {
        let mut mean = vec![0f64; self.y.ncols()];
        for cell in rows.training(without) {
            mean.iter_mut().zip(self.sums.row(cell)).for_each(|(m, v)| *m += v);
        }
        let n = count(&rows.outside(without)) as f64;
        mean.iter_mut().for_each(|m| *m /= n);
        mean
    }

    /// The right-hand side of a system for the targets `columns` (all of them when none are named).
    pub(super) fn right(
        &self,
        rows: &Rows,
        without: &[usize],
        side: &Side<T>,
        mean: &[f64],
        columns: Option<&[usize]>,
    ) -> Array2<T> {
        let train = rows.outside(without);
        let centred = || match columns {
            None => gather(&self.y, &train, mean, |v: f64, mean| T::of(v - mean)),
            Some(columns) => select(&self.y, &train, columns, mean),
        };
        match side {
            Side::Rows => centred(),
            Side::Multiplied(z) => z.t().dot(&centred()),
            Side::Columns(standard) => {
                let mean = columns.map_or_else(|| mean.to_vec(), |columns| columns.iter().map(|c| mean[*c]).collect());
                let mut sum = Array2::<T>::zeros((standard.mean.len(), mean.len()));
                for cell in rows.training(without) {
                    match columns {
                        None => sum += &self.products[cell],
                        Some(columns) => sum += &self.products[cell].select(Axis(1), columns),
                    }
                }
                let n = count(&train) as f64;
                for ((mut row, m), f) in sum.rows_mut().into_iter().zip(&standard.mean).zip(&standard.factor) {
                    row.iter_mut().zip(&mean).for_each(|(v, y)| *v = T::of((v.wide() - n * m * y) * f));
                }
                sum
            }
        }
    }

    /// Responses of a fold less the training means, for the targets `columns` (all when none are named).
    pub(super) fn truth<S: Real>(
        &self,
        rows: &Rows,
        fold: usize,
        mean: &[f64],
        columns: Option<&[usize]>,
    ) -> Array2<S> {
        let fold = [rows.of(fold)];
        match columns {
            None => gather(&self.y, &fold, mean, |v: f64, mean| S::of(v - mean)),
            Some(columns) => select(&self.y, &fold, columns, mean),
        }
    }
}
