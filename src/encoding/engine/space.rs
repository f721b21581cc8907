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
    /// Largest absolute value as given, per fold and column.
    largest: Array2<f64>,
    /// Sum of the centred columns per fold.
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
        let folds = rows.folds();
        let mut largest = Array2::<f64>::zeros((folds, x.ncols()));
        for fold in 0..folds {
            let mut most = largest.row_mut(fold);
            for row in x.slice(s![rows.of(fold), ..]).rows() {
                most.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(v.abs()));
            }
        }
        let mean = x.sum_axis(ndarray::Axis(0)) / x.nrows().max(1) as f64;
        x -= &mean;
        let mut sums = Array2::<f64>::zeros((folds, x.ncols()));
        for fold in 0..folds {
            sums.row_mut(fold).assign(&x.slice(s![rows.of(fold), ..]).sum_axis(ndarray::Axis(0)));
        }
        Space { x, largest, sums }
    }

    pub(super) fn features(&self) -> usize {
        self.x.ncols()
    }

    /// Training means of the centred columns.
    pub(super) fn mean(&self, without: &[usize], n: usize) -> Array1<f64> {
        let mut mean = Array1::zeros(self.features());
        for fold in (0..self.sums.nrows()).filter(|f| !without.contains(f)) {
            mean += &self.sums.row(fold);
        }
        mean / n as f64
    }

    /// From means and population variances of a training set; `scale` multiplies columns after z-scoring.
    pub(super) fn standard(
        &self,
        without: &[usize],
        mean: Vec<f64>,
        variance: &[f64],
        scale: Option<&[f64]>,
    ) -> Standard {
        let mut largest = vec![0f64; self.features()];
        for fold in (0..self.sums.nrows()).filter(|f| !without.contains(f)) {
            largest.iter_mut().zip(self.largest.row(fold)).for_each(|(l, v)| *l = l.max(*v));
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
    pub(super) fn exact_standard(&self, without: &[usize], train: &[Range<usize>], scale: Option<&[f64]>) -> Standard {
        let n = count(train);
        let mean = self.mean(without, n).to_vec();
        let mut square = vec![0f64; self.features()];
        for run in train {
            for row in self.x.slice(s![run.clone(), ..]).rows() {
                for ((s, v), m) in square.iter_mut().zip(row).zip(&mean) {
                    *s += (v - m) * (v - m);
                }
            }
        }
        square.iter_mut().for_each(|s| *s /= n as f64);
        self.standard(without, mean, &square, scale)
    }

    /// The z-scored rows of `runs`, in the precision of the factorisation.
    pub(super) fn z<T: Real>(&self, runs: &[Range<usize>], standard: &Standard) -> Array2<T> {
        gather(&self.x, runs, |column, v: f64| T::of((v - standard.mean[column]) * standard.factor[column]))
    }
}
