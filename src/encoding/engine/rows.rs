//! Rows in the order of their folds: training and test rows are then a few contiguous runs.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis, s};

use super::super::folds::Folds;
use crate::compute::cpu::Real;

/// The rows of a problem, sorted by fold (stable).
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Place in the sorted order → row as given.
    order: Vec<usize>,
    /// First place of each fold, and the end.
    starts: Vec<usize>,
}

impl Rows {
    pub(super) fn new(folds: &Folds) -> Rows {
        let mut order = Vec::with_capacity(folds.of_row().len());
        let mut starts = vec![0];
        for fold in 0..folds.count() {
            order.extend(folds.test_rows(fold));
            starts.push(order.len());
        }
        Rows { order, starts }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn folds(&self) -> usize {
        self.starts.len() - 1
    }

    /// The places of a fold.
    pub(super) fn of(&self, fold: usize) -> Range<usize> {
        self.starts[fold]..self.starts[fold + 1]
    }

    /// The places outside the folds `without` (ascending), as few runs as possible.
    pub(super) fn outside(&self, without: &[usize]) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for fold in (0..self.folds()).filter(|f| !without.contains(f)) {
            let range = self.of(fold);
            match runs.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => runs.push(range),
            }
        }
        runs
    }

    /// Rows as given → sorted.
    pub(super) fn sorted(&self, given: ArrayView2<'_, f64>) -> Array2<f64> {
        given.select(Axis(0), &self.order)
    }

    /// Sorted rows → as given.
    pub(super) fn unsorted(&self, sorted: &Array2<f64>) -> Array2<f64> {
        let mut given = Array2::zeros(sorted.raw_dim());
        for (row, place) in sorted.rows().into_iter().zip(&self.order) {
            given.row_mut(*place).assign(&row);
        }
        given
    }
}

/// Number of rows in runs.
pub(super) fn count(runs: &[Range<usize>]) -> usize {
    runs.iter().map(ExactSizeIterator::len).sum()
}

/// The rows of `runs` one below the other, each value through `map(column, value)`.
pub(super) fn gather<T: Real, U: Copy>(
    from: &Array2<U>,
    runs: &[Range<usize>],
    map: impl Fn(usize, U) -> T,
) -> Array2<T> {
    let mut out = Array2::zeros((count(runs), from.ncols()));
    let mut at = 0;
    for run in runs {
        let mut part = out.slice_mut(s![at..at + run.len(), ..]);
        for (mut to, row) in part.rows_mut().into_iter().zip(from.slice(s![run.clone(), ..]).rows()) {
            to.iter_mut().zip(row).enumerate().for_each(|(column, (t, v))| *t = map(column, *v));
        }
        at += run.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_what_is_outside() {
        let rows = Rows::new(&Folds::from_labels(&[0, 1, 0, 2, 3, 1]));
        assert_eq!((rows.len(), rows.folds(), rows.of(1)), (6, 4, 2..4));
        assert_eq!(rows.outside(&[0, 2]), [2..4, 5..6]);
        assert_eq!(rows.outside(&[3]).first(), Some(&(0..5)));
        let given = Array2::from_shape_fn((6, 2), |(i, j)| (10 * i + j) as f64);
        let sorted = rows.sorted(given.view());
        assert_eq!(sorted.column(0).to_vec(), [0.0, 20.0, 10.0, 50.0, 30.0, 40.0]);
        assert_eq!(rows.unsorted(&sorted), given);
        let part = gather(&sorted, &[1..2, 4..6], |column, v| v + column as f64);
        assert_eq!(part.column(1).to_vec(), [22.0, 32.0, 42.0]);
    }
}
