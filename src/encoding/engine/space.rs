//! One feature space: its columns, centred once over all rows, and how they are z-scored on any training set.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, s};

use super::rows::{Rows, count, gather};
use crate::compute::cpu::Real;

/// Columns whose spread is below this share of their largest value count as constant: what is left is rounding.
const CONSTANT: f64 = 1e-12;

/// A feature space with its rows sorted by fold.
pub(super) struct Space {
    /// Columns less their mean over all rows (rows, features). Z-scores do not depend on an offset, and sums of squares
    /// about training means keep their digits.
    pub(super) x: Array2<f64>,
    /// Largest absolute value as given or of the column's mean, per cell and column: what a value may be off by after
    /// centring is a rounding error of these.
    largest: Array2<f64>,
    /// Sum of the centred columns per cell.
    pub(super) sums: Array2<f64>,
}

/// Means and factors that z-score columns on a training set, then scale them.
#[derive(Debug, Clone)]
pub(super) struct Standard {
    pub(super) mean: Vec<f64>,
    /// scale / sd; 0 for a constant column.
    pub(super) factor: Vec<f64>,
    pub(super) varying: usize,
}

impl Space {
    pub(super) fn new(given: ArrayView2<'_, f64>, rows: &Rows) -> Space {
        let mut x = rows.sorted(given);
        let cells = rows.cells();
        let mean = x.sum_axis(ndarray::Axis(0)) / x.nrows().max(1) as f64;
        let mut largest = Array2::<f64>::zeros((cells, x.ncols()));
        for cell in 0..cells {
            let mut most = largest.row_mut(cell);
            most.assign(&mean.mapv(f64::abs));
            for row in x.slice(s![rows.cell(cell), ..]).rows() {
                most.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(v.abs()));
            }
        }
        x -= &mean;
        let mut sums = Array2::<f64>::zeros((cells, x.ncols()));
        for cell in 0..cells {
            sums.row_mut(cell).assign(&x.slice(s![rows.cell(cell), ..]).sum_axis(ndarray::Axis(0)));
        }
        Space { x, largest, sums }
    }

    pub(super) fn features(&self) -> usize {
        self.x.ncols()
    }

    /// Means of the centred columns over the cells `training` of n rows.
    pub(super) fn mean(&self, training: &[usize], n: usize) -> Array1<f64> {
        let mut mean = Array1::zeros(self.features());
        for cell in training {
            mean += &self.sums.row(*cell);
        }
        mean / n as f64
    }

    /// From means and population variances of a training set; `scale` multiplies columns after z-scoring.
    pub(super) fn standard(
        &self,
        training: &[usize],
        mean: Vec<f64>,
        variance: &[f64],
        scale: Option<&[f64]>,
    ) -> Standard {
        let mut largest = vec![0f64; self.features()];
        for cell in training {
            largest.iter_mut().zip(self.largest.row(*cell)).for_each(|(l, v)| *l = l.max(*v));
        }
        let mut factor: Vec<f64> = variance
            .iter()
            .zip(&largest)
            .map(|(v, l)| {
                let sd = v.max(0.0).sqrt();
                if sd > CONSTANT * l { 1.0 / sd } else { 0.0 }
            })
            .collect();
        if let Some(scale) = scale {
            factor.iter_mut().zip(scale).for_each(|(f, s)| *f *= s);
        }
        let varying = factor.iter().filter(|f| **f != 0.0).count();
        Standard { mean, factor, varying }
    }

    /// Two passes over the training rows: what a plain z-score does.
    pub(super) fn exact_standard(&self, rows: &Rows, without: &[usize], scale: Option<&[f64]>) -> Standard {
        let (train, training) = (rows.outside(without), rows.training(without));
        let n = count(&train);
        let mean = self.mean(&training, n).to_vec();
        let mut square = vec![0f64; self.features()];
        for run in &train {
            for row in self.x.slice(s![run.clone(), ..]).rows() {
                for ((s, v), m) in square.iter_mut().zip(row).zip(&mean) {
                    *s += (v - m) * (v - m);
                }
            }
        }
        square.iter_mut().for_each(|s| *s /= n as f64);
        self.standard(&training, mean, &square, scale)
    }

    /// The z-scored rows of `runs`, in the precision of the factorisation.
    pub(super) fn z<T: Real>(&self, runs: &[Range<usize>], standard: &Standard) -> Array2<T> {
        let columns: Vec<(f64, f64)> = standard.mean.iter().copied().zip(standard.factor.iter().copied()).collect();
        gather(&self.x, runs, &columns, |v: f64, (mean, factor)| T::of((v - mean) * factor))
    }
}
