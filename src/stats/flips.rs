//! Sign-flip permutation of paired differences, alone and over a family of them.
//!
//! Under the null a unit's difference is as likely to have the other sign: every pattern of signs over the units is as
//! good as the observed one. All members of a family get the same patterns, so that the largest |t| of a pattern keeps
//! their correlation; the share of patterns whose largest |t| reaches a member's own is its family-wise p.
//!
//! A pattern is a row of a matrix, so that the sums of all members under all patterns are one matrix product. The sum
//! of squares of a member is the same under every pattern, hence t follows from its sum alone.
//!
//! Sources: Nichols & Holmes, *Human Brain Mapping* 15 (2002), 1–25 (largest t); Phipson & Smyth, *Statistical
//! Applications in Genetics and Molecular Biology* 9 (2010), article 39 (p = (b + 1) / (m + 1), never 0).

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::family::{Family, chunks};
use super::permuter::{FlipFamily, Permuter};

/// Most units for which all patterns are used (2^16 patterns).
const EXACT_UNITS: usize = 16;

/// The sign patterns over some units: all of them for up to 16 units, else random ones.
///
/// A random pattern is a function of seed and number, so that no result depends on the number of threads.
#[derive(Debug, Clone)]
pub struct SignFlips {
    units: usize,
    draws: usize,
    seed: u64,
    permuter: Option<Arc<dyn Permuter>>,
}

impl SignFlips {
    /// Patterns over `units`; `draws` and `seed` count only where there are too many to use all.
    pub fn new(units: usize, draws: usize, seed: u64) -> SignFlips {
        SignFlips { units, draws, seed, permuter: None }
    }

    /// The same patterns; `permuter` tallies them where it will.
    pub fn on(self, permuter: Option<Arc<dyn Permuter>>) -> SignFlips {
        SignFlips { permuter, ..self }
    }

    /// Whether all patterns are used.
    pub fn exact(&self) -> bool {
        self.units <= EXACT_UNITS
    }

    /// Number of patterns beside the observed one. A pattern and its mirror image have the same |t|: of all patterns
    /// only those that leave the first unit alone are used.
    pub fn count(&self) -> usize {
        if self.exact() { (1 << self.units.saturating_sub(1)) - 1 } else { self.draws }
    }

    /// The smallest p that these patterns can give.
    pub fn smallest_p(&self) -> f64 {
        1.0 / (self.count() + 1) as f64
    }

    /// Adds up what `count` finds in the patterns, given as rows of ±1 (patterns, units), some at a time.
    pub fn count_where(&self, count: impl Fn(&Array2<f64>) -> usize + Sync) -> usize {
        chunks(self.count()).into_par_iter().map(|range| count(&self.rows(range))).sum()
    }

    /// Patterns as rows of ±1 (patterns, units); the observed one is none of them.
    pub(crate) fn rows(&self, range: Range<usize>) -> Array2<f64> {
        let mut signs = Array2::ones((range.len(), self.units));
        let flip = |bits: u64, at: usize| if bits >> at & 1 == 1 { -1.0 } else { 1.0 };
        for (number, mut row) in range.zip(signs.axis_iter_mut(Axis(0))) {
            if self.exact() {
                row.iter_mut().skip(1).enumerate().for_each(|(at, sign)| *sign = flip(number as u64 + 1, at));
                continue;
            }
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(number as u64);
            let mut bits = 0;
            for (at, sign) in row.iter_mut().enumerate() {
                if at % 64 == 0 {
                    bits = rng.next_u64();
                }
                *sign = flip(bits, at % 64);
            }
        }
        signs
    }
}

/// The test of one member of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlipTest {
    /// One-sample t of the differences; infinite where they are equal and not 0.
    pub t: f64,
    /// Two-sided p of this member alone.
    pub p: f64,
    /// Two-sided p, corrected for all members of the family by the largest |t|.
    pub p_fwe: f64,
}

/// Tests whether each column of `differences` (units, members) is symmetric about 0.
///
/// `NaN` marks a unit without a difference in that member. A member with fewer than two units has no test, and is no
/// part of the family. A member whose differences are all 0 has t = 0 and p = 1.
pub fn sign_flip_test(differences: ArrayView2<'_, f64>, flips: &SignFlips) -> Vec<Option<FlipTest>> {
    assert_eq!(differences.nrows(), flips.units, "one difference per unit");
    let n: Vec<f64> =
        differences.columns().into_iter().map(|c| c.iter().filter(|v| v.is_finite()).count() as f64).collect();
    let family: Vec<usize> = (0..n.len()).filter(|c| n[*c] >= 2.0).collect();
    // Columns scaled so that the squared sum is u = (Σ d)² / (n Σ d²), in 0 … 1 under every pattern, with
    // t² = (n − 1) u / (1 − u).
    let mut scaled = Array2::zeros((flips.units, family.len()));
    for (mut column, c) in scaled.columns_mut().into_iter().zip(&family) {
        let of = differences.column(*c);
        let largest = of.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
        if largest > 0.0 {
            column.zip_mut_with(&of, |slot, v| *slot = if v.is_finite() { v / largest } else { 0.0 });
            let squares: f64 = column.iter().map(|v| v * v).sum();
            column /= (n[*c] * squares).sqrt();
        }
    }
    let n: Vec<f64> = family.iter().map(|c| n[*c]).collect();
    // With one n for all, u orders members as |t| does; else t² is needed to compare them.
    let uniform = n.windows(2).all(|w| w[0] == w[1]);
    let size = |u: f64, n: f64| if uniform { u } else { t_squared(u, n) };
    let observed: Vec<f64> = scaled.columns().into_iter().map(|c| c.sum().powi(2)).collect();
    let reached = |value: f64| value * (1.0 - 1e-9) - 1e-12;
    let alone: Vec<f64> = observed.iter().map(|u| reached(*u)).collect();
    let elsewhere = flips.permuter.as_ref().and_then(|permuter| {
        permuter.flips(&FlipFamily {
            scaled: scaled.view(),
            exact: flips.exact(),
            seed: flips.seed,
            patterns: flips.count(),
            n: &n,
            least: &alone,
            uniform,
        })
    });
    let here = || {
        Family::of(flips.count(), family.len(), |range| {
            let sums = flips.rows(range).dot(&scaled);
            let mut counts = vec![0; family.len()];
            let of_pattern = |row: ArrayView1<'_, f64>| {
                let mut largest = 0.0f64;
                for (((sum, count), least), n) in row.iter().zip(&mut counts).zip(&alone).zip(&n) {
                    let u = sum * sum;
                    *count += usize::from(u >= *least);
                    largest = largest.max(size(u, *n));
                }
                largest
            };
            let largest = sums.rows().into_iter().map(of_pattern).collect();
            (counts, largest)
        })
    };
    let found = elsewhere.map_or_else(here, Family::tallied);
    let mut tests = vec![None; differences.ncols()];
    for (at, c) in family.iter().enumerate() {
        let u = observed[at];
        let sign = scaled.column(at).sum().signum();
        tests[*c] = Some(FlipTest {
            t: if u == 0.0 { 0.0 } else { sign * t_squared(u, n[at]).sqrt() },
            p: found.p(at),
            p_fwe: found.p_fwe(reached(size(u, n[at]))),
        });
    }
    tests
}

/// t² from u = (Σ d)² / (n Σ d²); infinite where all differences are equal.
pub(crate) fn t_squared(u: f64, n: f64) -> f64 {
    if u >= 1.0 - 1e-12 { f64::INFINITY } else { (n - 1.0) * u / (1.0 - u) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use rand::Rng;

    fn noise(units: usize, members: usize, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_fn((units, members), |_| rng.random::<f64>() - 0.5)
    }

    #[test]
    fn four_units_give_eighths() {
        let d = array![[1.0], [2.0], [3.0], [4.0]];
        let test = sign_flip_test(d.view(), &SignFlips::new(4, 10_000, 0))[0].unwrap();
        assert_eq!((test.p, test.p_fwe), (0.125, 0.125));
        assert_eq!(SignFlips::new(4, 10_000, 0).smallest_p(), 0.125);
        assert!((test.t - 2.5 / (5.0f64 / 3.0).sqrt() * 2.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_differs_with_p_one_and_a_constant_with_the_smallest() {
        let d = array![[0.0, 0.3], [0.0, 0.3], [0.0, 0.3], [0.0, 0.3], [0.0, 0.3], [0.0, 0.3]];
        let tests = sign_flip_test(d.view(), &SignFlips::new(6, 100, 0));
        assert_eq!(tests[0].unwrap(), FlipTest { t: 0.0, p: 1.0, p_fwe: 1.0 });
        let constant = tests[1].unwrap();
        assert_eq!((constant.p, constant.p_fwe), (1.0 / 32.0, 1.0 / 32.0));
        assert!(constant.t.is_infinite());
    }

    #[test]
    fn the_family_never_helps_and_a_copy_never_hurts() {
        let d = noise(10, 7, 1);
        let flips = SignFlips::new(10, 0, 0);
        let all = sign_flip_test(d.view(), &flips);
        for (c, test) in all.iter().enumerate() {
            let test = test.unwrap();
            let alone = sign_flip_test(d.slice_axis(Axis(1), (c..=c).into()), &flips)[0].unwrap();
            assert_eq!(alone.p, test.p);
            assert_eq!(alone.p, alone.p_fwe);
            assert!(test.p_fwe >= test.p);
        }
        let twice = ndarray::concatenate![Axis(1), d, d];
        let doubled = sign_flip_test(twice.view(), &flips);
        assert_eq!(doubled[..7], all[..], "perfectly dependent members cost nothing");
    }

    #[test]
    fn undefined_units_leave_their_member_and_no_other() {
        let mut d = noise(9, 3, 2);
        d[[4, 1]] = f64::NAN;
        for unit in 1..9 {
            d[[unit, 2]] = f64::NAN;
        }
        let tests = sign_flip_test(d.view(), &SignFlips::new(9, 0, 0));
        assert!(tests[2].is_none(), "one unit is no sample");
        let without: Vec<f64> = (0..9).filter(|u| *u != 4).map(|u| d[[u, 1]]).collect();
        let short = Array2::from_shape_vec((8, 1), without).unwrap();
        let expected = sign_flip_test(short.view(), &SignFlips::new(8, 0, 0))[0].unwrap();
        let found = tests[1].unwrap();
        assert!((found.t - expected.t).abs() < 1e-12 && (found.p - expected.p).abs() < 1e-12);
    }

    #[test]
    fn random_patterns_are_functions_of_seed_and_number() {
        let flips = SignFlips::new(70, 300, 5);
        assert!(!flips.exact());
        let all = flips.rows(0..300);
        assert_eq!(all.slice_axis(Axis(0), (100..105).into()), flips.rows(100..105));
        assert_ne!(all, SignFlips::new(70, 300, 6).rows(0..300));
        assert!((all.mean().unwrap()).abs() < 0.03);
        let d = noise(70, 4, 3);
        assert_eq!(sign_flip_test(d.view(), &flips), sign_flip_test(d.view(), &flips));
    }
}
