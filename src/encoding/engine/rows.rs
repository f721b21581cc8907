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

    /// Sorted place → row as given.
    pub(super) fn given(&self, place: usize) -> usize {
        self.order[place]
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

/// The rows of `runs` one below the other, each value through `map(value, what belongs to its column)`.
pub(super) fn gather<T: Real, U: Copy, C>(
    from: &Array2<U>,
    runs: &[Range<usize>],
    columns: &[C],
    map: impl Fn(U, &C) -> T,
) -> Array2<T> {
    assert_eq!(columns.len(), from.ncols(), "one for each column");
    let mut out = Vec::with_capacity(count(runs) * columns.len());
    for run in runs {
        for row in from.slice(s![run.clone(), ..]).rows() {
            out.extend(row.iter().zip(columns).map(|(v, column)| map(*v, column)));
        }
    }
    // INVARIANT: every row added one value per column.
    Array2::from_shape_vec((count(runs), columns.len()), out).expect("a value for each row and column")
}

/// The columns `columns` of the rows of `runs`, less what `mean` has for them.
pub(super) fn select<T: Real>(from: &Array2<f64>, runs: &[Range<usize>], columns: &[usize], mean: &[f64]) -> Array2<T> {
    let mut out = Vec::with_capacity(count(runs) * columns.len());
    for run in runs {
        for row in from.slice(s![run.clone(), ..]).rows() {
            out.extend(columns.iter().map(|c| T::of(row[*c] - mean[*c])));
        }
    }
    // INVARIANT: every row added one value per column.
    Array2::from_shape_vec((count(runs), columns.len()), out).expect("a value for each row and column")
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
        let part = gather(&sorted, &[1..2, 4..6], &[0.0, 1.0], |v: f64, column| v + column);
        assert_eq!(part.column(1).to_vec(), [22.0, 32.0, 42.0]);
        let part: Array2<f64> = select(&sorted, &[1..2, 4..6], &[1], &[0.0, 1.0]);
        assert_eq!(part.column(0).to_vec(), [20.0, 30.0, 40.0]);
    }
}
