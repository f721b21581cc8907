//! Rows in the order of their folds: training and test rows are then a few contiguous runs.
//!
//! Rows of a fold that a purge gap keeps out of the same training sets form a *cell*; without a gap a fold is one cell.
//! Whatever is summed over training rows is summed cell by cell, so that a gap costs no more than more cells do, and
//! nothing is subtracted.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis, s};

use super::super::folds::Folds;
use crate::compute::cpu::Real;

/// The rows of a problem, sorted by fold (stable).
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Place in the sorted order → row as given.
    order: Vec<usize>,
    /// First place of each cell, and the end.
    starts: Vec<usize>,
    /// First cell of each fold, and the number of cells.
    cells_of: Vec<usize>,
    /// Per cell the folds for which its rows are no training rows, beside its own.
    near: Vec<Vec<usize>>,
}

impl Rows {
    pub(super) fn new(folds: &Folds) -> Rows {
        let mut order: Vec<usize> = Vec::with_capacity(folds.of_row().len());
        let (mut starts, mut cells_of, mut near) = (vec![0], vec![0], Vec::new());
        for fold in 0..folds.count() {
            let mut own = folds.test_rows(fold);
            own.sort_by_key(|row| folds.near(*row));
            for cell in own.chunk_by(|a, b| folds.near(*a) == folds.near(*b)) {
                order.extend(cell);
                starts.push(order.len());
                near.push(folds.near(cell[0]).to_vec());
            }
            cells_of.push(near.len());
        }
        Rows { order, starts, cells_of, near }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn folds(&self) -> usize {
        self.cells_of.len() - 1
    }

    pub(super) fn cells(&self) -> usize {
        self.near.len()
    }

    /// The places of a fold.
    pub(super) fn of(&self, fold: usize) -> Range<usize> {
        self.starts[self.cells_of[fold]]..self.starts[self.cells_of[fold + 1]]
    }

    /// The places of a cell.
    pub(super) fn cell(&self, cell: usize) -> Range<usize> {
        self.starts[cell]..self.starts[cell + 1]
    }

    /// The cells whose rows train when the folds `without` are held out.
    pub(super) fn training(&self, without: &[usize]) -> Vec<usize> {
        (0..self.folds())
            .filter(|fold| !without.contains(fold))
            .flat_map(|fold| self.cells_of[fold]..self.cells_of[fold + 1])
            .filter(|cell| !self.near[*cell].iter().any(|fold| without.contains(fold)))
            .collect()
    }

    /// The places that train when the folds `without` (ascending) are held out, as few runs as possible.
    pub(super) fn outside(&self, without: &[usize]) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for cell in self.training(without) {
            let range = self.cell(cell);
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
