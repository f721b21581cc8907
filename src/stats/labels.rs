//! Permutation of group labels with nuisance covariates (Freedman–Lane), alone and over a family of outcomes.
//!
//! The model is y = Zγ + xβ + ε, x the label, Z the intercept and the covariates. What Z explains of y is set aside, its
//! residuals are permuted over the subjects, and t of β is computed anew. With x̃ and e the residuals of x and y on Z, and
//! Π a permutation, β = x̃ᵀΠe / x̃ᵀx̃, and the residual sum of squares is |e|² − |QᵀΠe|² − β² x̃ᵀx̃ (Q an orthonormal basis
//! of Z): all outcomes under all permutations are a few matrix products. Without covariates this permutes labels.
//!
//! Sources: Freedman & Lane, *Journal of Business & Economic Statistics* 1 (1983), 292–298; Winkler et al., *NeuroImage*
//! 92 (2014), 381–397.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::family::Family;
use super::permuter::{Permuter, RelabelFamily};

/// Most ways to deal the labels for which all are used.
const EXACT_DEALS: u64 = 1 << 16;
/// A label of which the covariates leave less than this share is told apart from them by rounding alone.
const NOTHING_LEFT: f64 = 1e-9;

/// Permutations of subjects: place → whose residual stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relabelings {
    /// All ways to deal the labels but the observed one.
    All(Vec<Vec<usize>>),
    /// Permutations from elsewhere.
    Given(Vec<Vec<usize>>),
    /// Random permutations, each a function of seed and number.
    Random {
        /// Number of subjects.
        subjects: usize,
        /// Number of permutations.
        draws: usize,
        /// Their seed.
        seed: u64,
    },
}

impl Relabelings {
    /// Permutations for a label of two values. Without covariates, and with few enough ways to deal the labels, all of
    /// them are used once; else `draws` random ones.
    pub fn new(second: &[bool], covariates: bool, draws: usize, seed: u64) -> Relabelings {
        let (n, ones) = (second.len(), second.iter().filter(|s| **s).count());
        if !covariates && deals(n, ones).is_some_and(|d| d <= EXACT_DEALS) {
            return Relabelings::All(all_deals(second, ones));
        }
        Relabelings::Random { subjects: n, draws, seed }
    }

    /// Number of permutations beside the observed labels.
    pub fn count(&self) -> usize {
        match self {
            Relabelings::All(orders) | Relabelings::Given(orders) => orders.len(),
            Relabelings::Random { draws, .. } => *draws,
        }
    }

    /// The permutation of that number.
    pub(crate) fn order(&self, number: usize) -> Vec<usize> {
        match self {
            Relabelings::All(orders) | Relabelings::Given(orders) => orders[number].clone(),
            Relabelings::Random { subjects, seed, .. } => {
                let mut rng = ChaCha8Rng::seed_from_u64(*seed);
                rng.set_stream(number as u64);
                let mut order: Vec<usize> = (0..*subjects).collect();
                order.shuffle(&mut rng);
                order
            }
        }
    }
}

/// Ways to choose `k` of `n`; none when they are too many to count.
fn deals(n: usize, k: usize) -> Option<u64> {
    (0..k.min(n - k) as u64).try_fold(1u64, |ways, i| Some(ways.checked_mul(n as u64 - i)? / (i + 1)))
}

/// One permutation for each way to deal the labels but the observed one.
fn all_deals(second: &[bool], ones: usize) -> Vec<Vec<usize>> {
    let n = second.len();
    let places = |of: bool| (0..n).filter(move |i| second[*i] == of);
    let observed: Vec<usize> = places(true).collect();
    let mut chosen: Vec<usize> = (0..ones).collect();
    let mut orders = Vec::new();
    loop {
        if chosen != observed {
            let mut order = vec![0; n];
            let others = (0..n).filter(|i| !chosen.contains(i));
            places(true).zip(&chosen).for_each(|(place, who)| order[place] = *who);
            places(false).zip(others).for_each(|(place, who)| order[place] = who);
            orders.push(order);
        }
        // The next combination in lexicographic order.
        let Some(at) = (0..ones).rev().find(|i| chosen[*i] < n - ones + i) else { return orders };
        chosen[at] += 1;
        for i in at + 1..ones {
            chosen[i] = chosen[i - 1] + 1;
        }
    }
}

/// The contrast of one outcome: the label's effect with covariates held fixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// Second group less first.
    pub estimate: f64,
    /// 95 % interval from the t distribution of least squares.
    pub interval: (f64, f64),
    /// Its t.
    pub t: f64,
    /// Two-sided permutation p of this outcome alone.
    pub p: f64,
    /// Two-sided p, corrected for all outcomes by the largest |t|.
    pub p_fwe: f64,
}

/// Whether the label can be told from the covariates, with a degree of freedom left.
pub fn estimable(second: &[bool], covariates: ArrayView2<'_, f64>) -> bool {
    Design::new(second, covariates).is_some()
}

/// A label with its nuisance space.
struct Design {
    /// Orthonormal basis of intercept and covariates (subjects, directions).
    basis: Array2<f64>,
    /// What they leave of the label, and its sum of squares.
    left: Array1<f64>,
    spread: f64,
    freedom: f64,
}

impl Design {
    fn new(second: &[bool], covariates: ArrayView2<'_, f64>) -> Option<Design> {
        let label = Array1::from_iter(second.iter().map(|s| if *s { 1.0 } else { 0.0 }));
        let basis = orthonormal(covariates);
        let left = residual(&basis, label.view());
        let spread = left.dot(&left);
        let freedom = second.len() as f64 - basis.ncols() as f64 - 1.0;
        let centred = &label - label.mean()?;
        let told = spread > NOTHING_LEFT * centred.dot(&centred) && freedom >= 1.0;
        told.then_some(Design { basis, left, spread, freedom })
    }
}

/// Contrasts the two groups of `second` in each column of `y` (subjects, outcomes), `covariates` (subjects, columns)
/// held fixed.
///
/// Outcomes with a value that is not finite have no contrast and are no part of the family. `None` when the covariates
/// leave nothing of the label, or too few degrees of freedom (at least 1 is needed).
pub fn contrast_groups(
    y: ArrayView2<'_, f64>,
    second: &[bool],
    covariates: ArrayView2<'_, f64>,
    relabelings: &Relabelings,
    permuter: Option<&dyn Permuter>,
) -> Option<Vec<Option<Contrast>>> {
    let n = second.len();
    assert!(y.nrows() == n && covariates.nrows() == n, "one row per subject");
    let Design { basis, left, spread, freedom } = Design::new(second, covariates)?;
    let family: Vec<usize> = (0..y.ncols()).filter(|c| y.column(*c).iter().all(|v| v.is_finite())).collect();
    let mut e = y.select(Axis(1), &family);
    for mut column in e.columns_mut() {
        let of = residual(&basis, column.view());
        column.assign(&of);
    }
    let squares: Vec<f64> = e.columns().into_iter().map(|c| c.dot(&c)).collect();
    let size: Vec<f64> = y.columns().into_iter().map(|c| c.dot(&c)).collect();
    // Residuals of rounding are no variation.
    let varies: Vec<bool> = family.iter().zip(&squares).map(|(c, s)| *s > 1e-24 * size[*c]).collect();
    let t_of = |along: f64, lost: f64, squares: f64| {
        let estimate = along / spread;
        let rest = squares - lost - along * estimate;
        let t2 = estimate * estimate * spread * freedom / rest;
        if rest <= 1e-12 * squares { f64::INFINITY } else { t2 }
    };
    let observed: Vec<f64> = left.dot(&e).to_vec();
    let t2: Vec<f64> =
        (0..family.len()).map(|c| if varies[c] { t_of(observed[c], 0.0, squares[c]) } else { 0.0 }).collect();
    let least: Vec<f64> = t2.iter().map(|t| t * (1.0 - 1e-9) - 1e-12).collect();
    let elsewhere = permuter.and_then(|permuter| {
        let mut directions = Array2::zeros((1 + basis.ncols(), n));
        directions.row_mut(0).assign(&left);
        directions.slice_axis_mut(Axis(0), (1..).into()).assign(&basis.t());
        permuter.relabelings(&RelabelFamily {
            orders: relabelings,
            directions: directions.view(),
            residuals: e.view(),
            squares: &squares,
            varies: &varies,
            least: &least,
            spread,
            freedom,
        })
    });
    let here = || {
        Family::of(relabelings.count(), family.len(), |range| {
            let orders: Vec<Vec<usize>> = range.map(|number| relabelings.order(number)).collect();
            // x̃ᵀΠ as rows, and Qᵀ Π for each direction of the nuisance space.
            let moved = |direction: ArrayView1<'_, f64>| {
                let mut rows = Array2::zeros((orders.len(), n));
                for (mut row, order) in rows.axis_iter_mut(Axis(0)).zip(&orders) {
                    order.iter().enumerate().for_each(|(place, who)| row[*who] = direction[place]);
                }
                rows.dot(&e)
            };
            let along = moved(left.view());
            let mut lost = Array2::<f64>::zeros(along.raw_dim());
            for direction in basis.columns() {
                lost.zip_mut_with(&moved(direction), |l, p| *l += p * p);
            }
            let mut counts = vec![0; family.len()];
            let of_order = |i: usize| {
                (0..family.len()).filter(|c| varies[*c]).fold(0.0f64, |largest, c| {
                    let t2 = t_of(along[[i, c]], lost[[i, c]], squares[c]);
                    counts[c] += usize::from(t2 >= least[c]);
                    largest.max(t2)
                })
            };
            let largest = (0..orders.len()).map(of_order).collect();
            (counts, largest)
        })
    };
    let found = elsewhere.map_or_else(here, Family::tallied);
    let critical = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.975);
    let mut contrasts = vec![None; y.ncols()];
    for (at, c) in family.iter().enumerate() {
        let estimate = observed[at] / spread;
        let rest = (squares[at] - observed[at] * estimate).max(0.0);
        let half = critical * (rest / freedom / spread).sqrt();
        contrasts[*c] = Some(Contrast {
            estimate,
            interval: (estimate - half, estimate + half),
            t: if t2[at] == 0.0 { 0.0 } else { estimate.signum() * t2[at].sqrt() },
            // Without variation every permutation gives the same.
            p: if varies[at] { found.p(at) } else { 1.0 },
            p_fwe: found.p_fwe(least[at]),
        });
    }
    Some(contrasts)
}

/// An orthonormal basis of the intercept and the columns of `covariates`; columns that add nothing are left out.
fn orthonormal(covariates: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = covariates.nrows();
    let mut basis: Vec<Array1<f64>> = vec![Array1::from_elem(n, 1.0 / (n as f64).sqrt())];
    for column in covariates.columns() {
        let scale = column.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let mut rest = column.to_owned() / if scale > 0.0 { scale } else { 1.0 };
        // Twice: once leaves rounding of the size of what was removed.
        for _ in 0..2 {
            for direction in &basis {
                let along = direction.dot(&rest);
                rest.scaled_add(-along, direction);
            }
        }
        let norm = rest.dot(&rest).sqrt();
        if norm > 1e-10 * (n as f64).sqrt() {
            basis.push(rest / norm);
        }
    }
    Array2::from_shape_fn((n, basis.len()), |(i, j)| basis[j][i])
}

fn residual(basis: &Array2<f64>, values: ArrayView1<'_, f64>) -> Array1<f64> {
    let once = &values - &basis.dot(&values.dot(basis));
    &once - &basis.dot(&once.dot(basis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn all_deals_are_dealt_once() {
        let second = [true, false, true, false, false];
        let all = Relabelings::new(&second, false, 10, 0);
        assert_eq!(all.count(), 9);
        let mut seen: Vec<Vec<usize>> = (0..all.count())
            .map(|number| {
                let o = all.order(number);
                let mut who: Vec<usize> = (0..5).filter(|i| second[*i]).map(|i| o[i]).collect();
                who.sort_unstable();
                who
            })
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 9);
        assert!(matches!(Relabelings::new(&second, true, 10, 0), Relabelings::Random { .. }));
        assert!(matches!(Relabelings::new(&[true, false].repeat(20), false, 10, 0), Relabelings::Random { .. }));
    }

    #[test]
    fn the_extreme_of_three_against_three_has_p_one_tenth() {
        let y = array![[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [11.0, 5.0], [12.0, 5.0], [13.0, 5.0]];
        let second = [false, false, false, true, true, true];
        let none = Array2::zeros((6, 0));
        let all = Relabelings::new(&second, false, 0, 0);
        let found = contrast_groups(y.view(), &second, none.view(), &all, None).unwrap();
        let first = found[0].unwrap();
        assert!((first.estimate - 10.0).abs() < 1e-12 && (first.p - 0.1).abs() < 1e-12);
        let constant = found[1].unwrap();
        assert_eq!((constant.t, constant.p), (0.0, 1.0));
    }

    #[test]
    fn a_covariate_that_is_the_label_leaves_nothing() {
        let y = array![[1.0], [2.0], [3.0], [4.0]];
        let second = [false, false, true, true];
        let same = array![[3.0], [3.0], [7.0], [7.0]];
        let draws = Relabelings::new(&second, true, 20, 0);
        assert!(contrast_groups(y.view(), &second, same.view(), &draws, None).is_none());
    }

    #[test]
    fn what_a_covariate_explains_is_no_difference() {
        // The outcome is twice the covariate: the groups differ only through it.
        let age = array![[20.0], [30.0], [25.0], [40.0], [50.0], [45.0], [35.0], [60.0]];
        let wiggle = array![0.1, -0.2, 0.05, 0.1, -0.1, 0.2, -0.15, 0.0];
        let y = (&age.column(0) * 2.0 + &wiggle).insert_axis(Axis(1));
        let second = [false, false, false, false, true, true, true, true];
        let none = Array2::zeros((8, 0));
        let raw =
            contrast_groups(y.view(), &second, none.view(), &Relabelings::new(&second, false, 0, 0), None).unwrap();
        let held =
            contrast_groups(y.view(), &second, age.view(), &Relabelings::new(&second, true, 999, 0), None).unwrap();
        assert!(raw[0].unwrap().estimate > 20.0);
        assert!(held[0].unwrap().estimate.abs() < 0.5 && held[0].unwrap().p > 0.05);
    }
}
