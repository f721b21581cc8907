//! Ridge regression on a fixed set of training rows, for every alpha at once.
//!
//! Objective: `min_w |y − ȳ − Z w|² + alpha |w|²`, Z = X z-scored on the training rows (population sd; a constant column
//! becomes 0), ȳ the training mean. With the eigendecomposition `Z Zᵀ = U diag(s) Uᵀ` (dual, n < p) or
//! `Zᵀ Z = V diag(s) Vᵀ` (primal) predictions for new rows are `P · diag(1 / (s + alpha)) · Q`, where only the diagonal
//! depends on alpha:
//!
//! | | P (new rows, k) | Q (k, targets) |
//! |---|---|---|
//! | primal | Z_new V | Vᵀ Zᵀ (Y − ȳ) |
//! | dual | Z_new Zᵀ U | Uᵀ (Y − ȳ) |
//!
//! Source: Hastie, Tibshirani & Friedman, *The Elements of Statistical Learning* (2009), sections 3.4.1 and 18.3.5.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::compute::cpu::{Spectrum, eigh};
use crate::error::Result;

/// Columns whose spread is below this share of their largest value count as constant: what is left is rounding.
const CONSTANT: f64 = 1e-12;

/// Column means and scales of training rows.
#[derive(Debug, Clone)]
struct Standardiser {
    mean: Array1<f64>,
    /// 1 / sd, or 0 for a constant column.
    inverse_sd: Array1<f64>,
}

impl Standardiser {
    fn fit(x: ArrayView2<'_, f64>) -> Standardiser {
        let n = x.nrows() as f64;
        let mean = x.sum_axis(Axis(0)) / n;
        let mut square = Array1::<f64>::zeros(x.ncols());
        let mut largest = Array1::<f64>::zeros(x.ncols());
        for row in x.rows() {
            for (((s, l), v), m) in square.iter_mut().zip(&mut largest).zip(row).zip(&mean) {
                *s += (v - m) * (v - m);
                *l = l.max(v.abs());
            }
        }
        let inverse_sd = square
            .iter()
            .zip(&largest)
            .map(|(s, l)| {
                let sd = (s / n).sqrt();
                if sd > CONSTANT * l { 1.0 / sd } else { 0.0 }
            })
            .collect();
        Standardiser { mean, inverse_sd }
    }

    fn apply(&self, mut x: Array2<f64>) -> Array2<f64> {
        for mut row in x.rows_mut() {
            for ((v, m), s) in row.iter_mut().zip(&self.mean).zip(&self.inverse_sd) {
                *v = (*v - m) * s;
            }
        }
        x
    }
}

/// The factorised training rows of one feature space: serves every alpha, every target and every set of new rows.
#[derive(Debug)]
pub struct Factor {
    standardiser: Standardiser,
    /// Eigenvalues (k), not negative.
    values: Array1<f64>,
    /// `V` (features, k) in the primal, `Zᵀ U` (features, k) in the dual: P = Z_new · basis.
    basis: Array2<f64>,
    /// `Z V` (rows, k) in the primal, `U` (rows, k) in the dual: Q = loadingsᵀ (Y − ȳ).
    loadings: Array2<f64>,
    varying: usize,
}

impl Factor {
    /// Factorises training rows `x` (rows, features).
    ///
    /// The smaller of the two Gram matrices is decomposed; constant columns are left out before the choice.
    ///
    /// # Errors
    /// `NU-01` when features overflow.
    pub fn new(x: ArrayView2<'_, f64>) -> Result<Factor> {
        Factor::scaled(x, None)
    }

    /// The same with each column multiplied by `scale` after z-scoring (banded ridge).
    ///
    /// # Errors
    /// As [`Factor::new`].
    pub fn scaled(x: ArrayView2<'_, f64>, scale: Option<&[f64]>) -> Result<Factor> {
        let mut standardiser = Standardiser::fit(x);
        if let Some(scale) = scale {
            standardiser.inverse_sd.iter_mut().zip(scale).for_each(|(inverse, scale)| *inverse *= scale);
        }
        let varying = standardiser.inverse_sd.iter().filter(|s| **s != 0.0).count();
        let z = standardiser.apply(x.to_owned());
        let primal = x.ncols() <= x.nrows();
        let gram = if primal { z.t().dot(&z) } else { z.dot(&z.t()) };
        let Spectrum { mut values, vectors } = eigh(gram)?;
        // Rounding can leave tiny negative eigenvalues of a matrix that has none.
        values.mapv_inplace(|s| s.max(0.0));
        let (basis, loadings) = if primal {
            let loadings = z.dot(&vectors);
            (vectors, loadings)
        } else {
            (z.t().dot(&vectors), vectors)
        };
        Ok(Factor { standardiser, values, basis, loadings, varying })
    }

    /// Number of features that vary on the training rows.
    pub fn varying(&self) -> usize {
        self.varying
    }

    /// P: new rows `x` (rows, features) in the coordinates of the factor (rows, k).
    pub fn project(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        self.standardiser.apply(x.to_owned()).dot(&self.basis)
    }

    /// Q: training responses less their means, `centred` (rows, targets), in the coordinates of the factor (k, targets).
    pub fn coefficients(&self, centred: &Array2<f64>) -> Array2<f64> {
        self.loadings.t().dot(centred)
    }

    /// Predictions less the training mean for one alpha: `P · diag(1 / (s + alpha)) · Q`.
    pub fn predict(&self, projected: &Array2<f64>, coefficients: &Array2<f64>, alpha: f64) -> Array2<f64> {
        let shrink = self.values.mapv(|s| 1.0 / (s + alpha));
        (projected * &shrink).dot(coefficients)
    }

    /// Predictions less the training mean with an alpha of each target's own (targets).
    pub fn predict_each(&self, projected: &Array2<f64>, coefficients: &Array2<f64>, alphas: &[f64]) -> Array2<f64> {
        let mut scaled = coefficients.clone();
        for (mut row, s) in scaled.rows_mut().into_iter().zip(&self.values) {
            row.iter_mut().zip(alphas).for_each(|(q, alpha)| *q /= s + alpha);
        }
        projected.dot(&scaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray_linalg::Solve;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    fn random(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_fn((rows, columns), |_| rng.random_range(-1.0..1.0))
    }

    /// Plain normal equations: what the factorisation must agree with.
    fn plain(x: &Array2<f64>, y: &Array2<f64>, new: &Array2<f64>, alpha: f64) -> Array2<f64> {
        let s = Standardiser::fit(x.view());
        let (z, z_new) = (s.apply(x.clone()), s.apply(new.clone()));
        let gram = z.t().dot(&z) + Array2::<f64>::eye(x.ncols()) * alpha;
        let mut out = Array2::zeros((new.nrows(), y.ncols()));
        for (t, column) in y.columns().into_iter().enumerate() {
            let w = gram.solve_into(z.t().dot(&column)).unwrap();
            out.column_mut(t).assign(&z_new.dot(&w));
        }
        out
    }

    fn centred(y: &Array2<f64>) -> Array2<f64> {
        y - &y.mean_axis(Axis(0)).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// the factorised route equals a plain solve, primal and dual.
        #[test]
        fn equals_a_plain_solve(n in 4usize..40, p in 1usize..60, log_alpha in -2.0f64..5.0, seed in 0u64..1000) {
            let (x, new, y) = (random(n, p, seed), random(7, p, seed + 1), centred(&random(n, 3, seed + 2)));
            let alpha = 10f64.powf(log_alpha);
            let factor = Factor::new(x.view()).unwrap();
            let (projected, q) = (factor.project(new.view()), factor.coefficients(&y));
            let expected = plain(&x, &y, &new, alpha);
            let one = factor.predict(&projected, &q, alpha);
            let each = factor.predict_each(&projected, &q, &[alpha; 3]);
            // Condition number of Z'Z + alpha I, from which the rounding error of both routes follows.
            let kappa = (factor.values.iter().fold(0f64, |m, v| m.max(*v)) + alpha) / alpha;
            let tolerance = 1e-12 * (1.0 + kappa) * n as f64;
            for (a, b) in one.iter().chain(&each).zip(expected.iter().chain(&expected)) {
                prop_assert!((a - b).abs() <= tolerance, "{} {} (kappa {})", a, b, kappa);
            }
        }

        /// rotating the standardised features changes nothing; scaling X by c changes nothing (z-scoring).
        #[test]
        fn scaling_and_row_order_do_not_matter(n in 5usize..30, p in 1usize..40, seed in 0u64..1000, c in 0.01f64..1e6) {
            let (x, new, y) = (random(n, p, seed), random(4, p, seed + 1), centred(&random(n, 2, seed + 2)));
            let predict = |x: &Array2<f64>, new: &Array2<f64>, y: &Array2<f64>| {
                let f = Factor::new(x.view()).unwrap();
                f.predict(&f.project(new.view()), &f.coefficients(y), 1.0)
            };
            let base = predict(&x, &new, &y);
            let scaled = predict(&(&x * c), &(&new * c), &y);
            let reversed: Vec<usize> = (0..n).rev().collect();
            let turned = predict(&x.select(Axis(0), &reversed), &new, &y.select(Axis(0), &reversed));
            for ((a, b), t) in base.iter().zip(&scaled).zip(&turned) {
                prop_assert!((a - b).abs() < 1e-8 && (a - t).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn constant_columns_are_worth_nothing() {
        let mut x = random(12, 4, 1);
        x.column_mut(2).fill(1e6 + 0.1);
        let factor = Factor::new(x.view()).unwrap();
        assert_eq!(factor.varying(), 3);
        let without = x.select(Axis(1), &[0, 1, 3]);
        let (y, new) = (centred(&random(12, 2, 2)), random(3, 4, 3));
        let a = factor.predict(&factor.project(new.view()), &factor.coefficients(&y), 1.0);
        let f = Factor::new(without.view()).unwrap();
        let b = f.predict(&f.project(new.select(Axis(1), &[0, 1, 3]).view()), &f.coefficients(&y), 1.0);
        assert!((&a - &b).iter().all(|d| d.abs() < 1e-10));
        assert_eq!(Factor::new(Array2::from_elem((5, 3), 2.5).view()).unwrap().varying(), 0);
    }

    /// a huge alpha predicts the training mean.
    #[test]
    fn a_huge_alpha_predicts_the_mean() {
        let (x, y) = (random(10, 3, 5), centred(&random(10, 2, 6)));
        let f = Factor::new(x.view()).unwrap();
        let p = f.predict(&f.project(x.view()), &f.coefficients(&y), 1e14);
        assert!(p.iter().all(|v| v.abs() < 1e-10));
    }
}
