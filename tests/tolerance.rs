//! How close numbers must be, and why. Every tolerance of the numerical tests stands here, and only here.

/// Scores in `double` against plain solves in float64 by another program. The smallest alpha of the golden cases is 0.1
/// and the largest eigenvalue about 1e4: κ = 1e5, so two backward stable routes agree to about 1e5 · 1.1e-16 · 100.
pub const GOLDEN_DOUBLE: f64 = 1e-8;

/// Scores in `mixed`: the final fits are float64, so what may differ is an alpha that was too close to call.
pub const GOLDEN_MIXED: f64 = 1e-6;

/// Scores in `single`: κ · 6e-8 at the smallest alphas; another alpha where two are within rounding of each other.
pub const GOLDEN_SINGLE: f64 = 2e-2;

/// Predictions of order 1 to 50 by two float64 routes: κ = (s + alpha) / alpha reaches 1e6 (alpha 0.1, eigenvalues of up to
/// 100 features by 70 rows), so 1e6 · 1.1e-16 · 50 · a modest factor.
pub const SAME_FIT: f64 = 1e-7;

/// Rounding of a Gram matrix of up to 60 rows and of its eigenvalues, relative to the largest of them: 60 · 1.1e-16 each.
pub const GRAM: f64 = 2e-14;

/// Relative rounding error of a sum of `terms` numbers in float64, at worst (Higham 2002, Accuracy and Stability, 4.2).
pub fn summed(terms: usize) -> f64 {
    terms as f64 * f64::EPSILON / 2.0
}

/// Predictions on another number of threads: other blocks, so other orders of summation, in float64.
pub const THREADS: f64 = 1e-9;
