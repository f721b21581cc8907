//! Which alpha a target gets, and when a default grid proved too narrow.

use ndarray::ArrayView1;

use super::super::alphas::{AlphaGrid, EDGE_LIMIT};

/// Errors within this share of the smallest are equal to it; the largest alpha among them is chosen.
const TIE: f64 = 1e-12;

/// The index with the smallest error; within 1e-12 of it, the largest.
pub(in super::super) fn smallest(errors: ArrayView1<'_, f64>) -> usize {
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    errors.iter().rposition(|e| *e <= least * (1.0 + TIE)).unwrap_or(errors.len() - 1)
}

/// Whether another choice than the smallest error is possible when each error may be off by its bound.
pub(super) fn is_close(errors: ArrayView1<'_, f64>, bound: impl Fn(usize) -> f64) -> bool {
    let mut best = 0;
    for (a, e) in errors.iter().enumerate() {
        if *e < errors[best] {
            best = a;
        }
    }
    let own = bound(best);
    let limit = (errors[best] + own) * (1.0 + TIE);
    (0..errors.len()).any(|a| {
        let other = if a == best { 0.0 } else { bound(a) };
        a != best && (own > 0.0 || other > 0.0) && errors[a] - other <= limit
    })
}

/// Which edges of a default grid hold more than [`EDGE_LIMIT`] of the choices (lower, upper). Each choice comes with the
/// errors it was made from: where they do not depend on alpha (no feature varies, a constant target), the choice lies at
/// an edge but is none.
pub(in super::super) fn crowded_edges<'a>(
    choices: impl Iterator<Item = (usize, ArrayView1<'a, f64>)>,
    grid: &AlphaGrid,
) -> (bool, bool) {
    if grid.given {
        return (false, false);
    }
    let matters = |errors: ArrayView1<'_, f64>| {
        let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
        errors.iter().any(|e| *e > least * (1.0 + TIE))
    };
    let (mut all, mut below, mut above) = (0usize, 0usize, 0usize);
    for (choice, errors) in choices {
        all += 1;
        below += usize::from(choice == 0 && matters(errors));
        above += usize::from(choice + 1 == grid.values.len() && matters(errors));
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
        let with = |bounds: [f64; 3]| is_close(errors.view(), |a| bounds[a]);
        assert!(!with([0.0, 0.01, 0.01]));
        assert!(with([0.0, 0.01, 0.1]));
        assert!(!is_close(arr1(&[1.0, 1.0]).view(), |_| 0.0), "exact ties are the tie rule's");
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
