//! Which alpha a target gets, and when a default grid proved too narrow.

use ndarray::{ArrayView1, ArrayView2};

use super::super::alphas::{AlphaGrid, EDGE_LIMIT};

/// Errors within this share of the smallest are equal to it; the largest alpha among them is chosen.
const TIE: f64 = 1e-12;

/// The index with the smallest error; within 1e-12 of it, the largest.
pub(in super::super) fn smallest(errors: ArrayView1<'_, f64>) -> usize {
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    errors.iter().rposition(|e| *e <= least * (1.0 + TIE)).unwrap_or(errors.len() - 1)
}

/// The targets for which another choice than the smallest error is possible when each error (alphas, targets) may be off
/// by `bound(noise, error)`.
pub(super) fn close_calls(
    errors: ArrayView2<'_, f64>,
    noise: ArrayView2<'_, f64>,
    bound: impl Fn(f64, f64) -> f64,
) -> Vec<usize> {
    let targets = errors.ncols();
    // Row by row: neighbouring targets are neighbours in memory.
    let mut best = vec![(f64::INFINITY, 0.0, 0usize); targets];
    for (a, (errors, noise)) in errors.rows().into_iter().zip(noise.rows()).enumerate() {
        for ((best, e), n) in best.iter_mut().zip(errors).zip(noise) {
            if *e < best.0 {
                *best = (*e, *n, a);
            }
        }
    }
    let limit: Vec<f64> = best.iter().map(|(e, n, _)| (e + bound(*n, *e)) * (1.0 + TIE)).collect();
    let mut close = vec![false; targets];
    for (a, (errors, noise)) in errors.rows().into_iter().zip(noise.rows()).enumerate() {
        for (((close, best), limit), (e, n)) in close.iter_mut().zip(&best).zip(&limit).zip(errors.iter().zip(noise)) {
            *close |= (best.2 != a) & ((*n > 0.0) | (best.1 > 0.0)) & (e - bound(*n, *e) <= *limit);
        }
    }
    (0..targets).filter(|t| close[*t]).collect()
}

/// Which edges of a default grid hold more than [`EDGE_LIMIT`] of the choices (lower, upper). Each choice comes with the
/// errors it was made from: where they do not depend on alpha (no feature varies, a constant target), the choice lies at
/// an edge but is none.
pub(in super::super) fn crowded_edges<'a>(
    choices: impl Iterator<Item = (usize, ArrayView1<'a, f64>)>,
    grid: &AlphaGrid,
) -> (bool, bool) {
    let matters = |errors: ArrayView1<'_, f64>| {
        let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
        errors.iter().any(|e| *e > least * (1.0 + TIE))
    };
    let at_edge = |choice: usize| choice == 0 || choice + 1 == grid.values.len();
    is_crowded(choices.map(|(choice, errors)| (choice, at_edge(choice) && matters(errors))), grid)
}

/// As [`crowded_edges`], of choices that come with whether they depend on alpha.
pub(super) fn is_crowded(choices: impl Iterator<Item = (usize, bool)>, grid: &AlphaGrid) -> (bool, bool) {
    if grid.given {
        return (false, false);
    }
    let (mut all, mut below, mut above) = (0usize, 0usize, 0usize);
    for (choice, matters) in choices {
        all += 1;
        below += usize::from(choice == 0 && matters);
        above += usize::from(choice + 1 == grid.values.len() && matters);
    }
    let crowded = |count: usize| count as f64 > EDGE_LIMIT * all as f64;
    (crowded(below), crowded(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr1;

    #[test]
    fn ties_go_to_the_larger_alpha() {
        assert_eq!(smallest(arr1(&[3.0, 1.0, 1.0 + 1e-13, 2.0]).view()), 2);
        assert_eq!(smallest(arr1(&[f64::NAN, f64::NAN]).view()), 1);
    }

    #[test]
    fn close_calls_are_noticed() {
        let errors = arr1(&[3.0, 1.0, 1.1]);
        let columns = errors.insert_axis(ndarray::Axis(1));
        let with = |bounds: [f64; 3]| {
            let bounds = arr1(&bounds).insert_axis(ndarray::Axis(1));
            close_calls(columns.view(), bounds.view(), |bound, _| bound)
        };
        assert!(with([0.0, 0.01, 0.01]).is_empty());
        assert_eq!(with([0.0, 0.01, 0.1]), [0]);
        assert!(with([0.0; 3]).is_empty(), "exact ties are the tie rule's");
    }

    #[test]
    fn edges_are_crowded_above_five_per_cent() {
        let errors = arr1(&[1.0, 2.0, 3.0]);
        let mut grid = AlphaGrid { values: vec![1.0, 2.0, 3.0], given: false };
        let crowded = |chosen: &[usize], errors: ArrayView1<'_, f64>, grid: &AlphaGrid| {
            crowded_edges(chosen.iter().map(|c| (*c, errors)), grid)
        };
        assert_eq!(crowded(&[0, 0, 1, 1, 1, 2, 1, 1], errors.view(), &grid), (true, true));
        assert_eq!(crowded(&[0; 8], arr1(&[1.0, 1.0, 1.0]).view(), &grid), (false, false), "alpha does not matter");
        grid.given = true;
        assert_eq!(crowded(&[0, 2], errors.view(), &grid), (false, false));
    }
}
