//! Which alpha a target gets, and when a default grid proved too narrow.

use ndarray::{ArrayView1, ArrayView2};
use pulp::Arch;

use super::super::alphas::{AlphaGrid, EDGE_LIMIT};

/// Errors within this share of the smallest are equal to it; the largest alpha among them is chosen.
const TIE: f64 = 1e-12;

/// The index with the smallest error; within 1e-12 of it, the largest.
pub(in super::super) fn smallest(errors: ArrayView1<'_, f64>) -> usize {
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    errors.iter().rposition(|e| *e <= least * (1.0 + TIE)).unwrap_or(errors.len() - 1)
}

/// [`smallest`] of every column of `errors` (alphas, targets), row by row: neighbouring targets are neighbours in memory.
pub(super) fn smallest_of_columns(errors: ArrayView2<'_, f64>) -> Vec<usize> {
    let mut choice = vec![0.0; errors.ncols()];
    Arch::new().dispatch(Smallest { errors, choice: &mut choice });
    choice.into_iter().map(|c| c as usize).collect()
}

/// The body of [`smallest_of_columns`]: as a type of its own it is compiled for the processor found at run time.
struct Smallest<'a> {
    errors: ArrayView2<'a, f64>,
    /// As numbers of the errors' size, so that both are compared and kept by the same vector instructions.
    choice: &'a mut [f64],
}

impl pulp::NullaryFnOnce for Smallest<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Smallest { errors, choice } = self;
        let mut least = vec![f64::INFINITY; choice.len()];
        for row in errors.rows() {
            least.iter_mut().zip(row).for_each(|(least, e)| *least = if e < least { *e } else { *least });
        }
        choice.fill(errors.nrows().saturating_sub(1) as f64);
        for (a, row) in errors.rows().into_iter().enumerate() {
            let a = a as f64;
            for ((choice, least), e) in choice.iter_mut().zip(&least).zip(row) {
                *choice = if *e <= least * (1.0 + TIE) { a } else { *choice };
            }
        }
    }
}

/// The targets for which another choice than the smallest error is possible when each error (alphas, targets) may be off
/// by `bound(noise, error)`.
pub(super) fn close_calls(
    errors: ArrayView2<'_, f64>,
    noise: ArrayView2<'_, f64>,
    bound: impl Fn(f64, f64) -> f64,
) -> Vec<usize> {
    let mut close = vec![0.0; errors.ncols()];
    Arch::new().dispatch(CloseCalls { errors, noise, bound, close: &mut close });
    (0..close.len()).filter(|t| close[*t] > 0.0).collect()
}

/// Whether rounding may have changed an error: noise that overflowed is noise.
#[inline(always)]
fn is_noisy(noise: f64) -> bool {
    noise > 0.0 || noise.is_nan()
}

/// The body of [`close_calls`].
struct CloseCalls<'a, F> {
    errors: ArrayView2<'a, f64>,
    noise: ArrayView2<'a, f64>,
    bound: F,
    /// Not 0 for close calls.
    close: &'a mut [f64],
}

impl<F: Fn(f64, f64) -> f64> pulp::NullaryFnOnce for CloseCalls<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let CloseCalls { errors, noise, bound, close } = self;
        let zeros = vec![0.0; close.len()];
        let (mut least, mut its_noise, mut choice) = (vec![f64::INFINITY; close.len()], zeros.clone(), zeros);
        for (a, (errors, noise)) in errors.rows().into_iter().zip(noise.rows()).enumerate() {
            let a = a as f64;
            let best = least.iter_mut().zip(&mut its_noise).zip(&mut choice);
            for (((least, its_noise), choice), (e, n)) in best.zip(errors.iter().zip(noise)) {
                let better = *e < *least;
                *its_noise = if better { *n } else { *its_noise };
                *choice = if better { a } else { *choice };
                *least = if better { *e } else { *least };
            }
        }
        let mut limit = least;
        limit.iter_mut().zip(&its_noise).for_each(|(e, n)| *e = (*e + bound(*n, *e)) * (1.0 + TIE));
        for (a, (errors, noise)) in errors.rows().into_iter().zip(noise.rows()).enumerate() {
            let a = a as f64;
            let best = limit.iter().zip(&its_noise).zip(&choice);
            let values = errors.iter().zip(noise);
            for ((close, ((limit, its_noise), choice)), (e, n)) in close.iter_mut().zip(best).zip(values) {
                let noisy = is_noisy(*n) | is_noisy(*its_noise);
                // Nothing is certain about what overflowed: NaN is not above.
                let above = e - bound(*n, *e) > *limit;
                *close = if (*choice != a) & noisy & !above { 1.0 } else { *close };
            }
        }
    }
}

/// Which edges of a default grid hold more than [`EDGE_LIMIT`] of the choices (lower, upper). Each choice comes with the
/// errors it was made from: where they do not depend on alpha (no feature varies, a constant target), it is no choice.
pub(in super::super) fn crowded_edges<'a>(
    choices: impl Iterator<Item = (usize, ArrayView1<'a, f64>)>,
    grid: &AlphaGrid,
) -> (bool, bool) {
    let matters = |errors: ArrayView1<'_, f64>| {
        let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
        errors.iter().any(|e| *e > least * (1.0 + TIE))
    };
    is_crowded(choices.map(|(choice, errors)| (choice, matters(errors))), grid)
}

/// As [`crowded_edges`], of choices that come with whether they depend on alpha.
pub(super) fn is_crowded(choices: impl Iterator<Item = (usize, bool)>, grid: &AlphaGrid) -> (bool, bool) {
    if grid.given {
        return (false, false);
    }
    let (mut all, mut below, mut above) = (0usize, 0usize, 0usize);
    for (choice, _) in choices.filter(|(_, matters)| *matters) {
        all += 1;
        below += usize::from(choice == 0);
        above += usize::from(choice + 1 == grid.values.len());
    }
    let crowded = |count: usize| count as f64 > EDGE_LIMIT * all as f64;
    (crowded(below), crowded(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{arr1, arr2};

    #[test]
    fn ties_go_to_the_larger_alpha() {
        assert_eq!(smallest(arr1(&[3.0, 1.0, 1.0 + 1e-13, 2.0]).view()), 2);
        assert_eq!(smallest(arr1(&[f64::NAN, f64::NAN]).view()), 1);
        let many =
            arr2(&[[3.0, f64::NAN, 2.0], [1.0, f64::NAN, 2.0], [1.0 + 1e-13, f64::NAN, 4.0], [2.0, f64::NAN, 2.1]]);
        let each: Vec<usize> = many.columns().into_iter().map(smallest).collect();
        assert_eq!((smallest_of_columns(many.view()), each), (vec![2, 3, 1], vec![2, 3, 1]));
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

    /// Held-out rows far outside what the training rows span: float32 overflows where float64 does not.
    #[test]
    fn what_overflows_is_a_close_call() {
        let (nan, most) = (f64::NAN, f64::INFINITY);
        let bound = |noise: f64, sse: f64| (noise * sse).sqrt();
        for (errors, noise) in [
            ([nan, nan, nan], [nan, nan, nan]),
            ([most, most, most], [most, most, most]),
            ([most, nan, 2.0], [most, most, 0.1]),
            ([1e300, nan, most], [most, nan, most]),
        ] {
            let column = |values: [f64; 3]| arr1(&values).insert_axis(ndarray::Axis(1));
            assert_eq!(close_calls(column(errors).view(), column(noise).view(), bound), [0], "{errors:?}");
        }
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
        let flat = arr1(&[1.0, 1.0, 1.0]);
        let mixed = (0..60).map(|n| if n < 2 { (2, errors.view()) } else { (0, flat.view()) });
        assert_eq!(crowded_edges(mixed, &grid), (false, true), "what is no choice does not dilute those that are");
        grid.given = true;
        assert_eq!(crowded(&[0, 2], errors.view(), &grid), (false, false));
    }
}
