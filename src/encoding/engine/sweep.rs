//! Squared errors of held-out rows for every alpha, without an (alphas × rows × targets) array.
//!
//! Predictions are `P · diag(1 / (s + alpha)) · Q`. For a chunk of rows the matrices `P diag(1 / (s + alpha))` of all
//! alphas are stacked, multiplied by Q at once (2 · alphas · rows · k · targets operations) and reduced to one sum per
//! alpha and target while they are in cache.
//!
//! In float32, fewer products are needed: as functions of s, the filters s / (s + alpha) of a usual grid are linear
//! combinations of some of them to 3e-7 (17 alphas of half decades: of 9 to 14, and of no more where the grid is finer or
//! wider), so only these *base* alphas are multiplied; predictions of the others are combinations of theirs. What float32
//! and the combination can change is bounded per target and alpha; where the choice of alpha could depend on it, the
//! target is searched again in float64.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, linalg::general_mat_mul, s};

use crate::compute::cpu::{Combination, Real, add_combined_errors, add_squared_errors};

/// Rows of a stack: enough for an efficient product, few enough that its result stays in cache.
const STACK_ROWS: usize = 768;
/// Largest deviation of a filter s / (s + alpha) from the combination that stands for it, relative to its largest value.
const COMBINED: f64 = 3e-7;
/// Standard deviations of the rounding error that the bound covers.
const SAFETY: f64 = 4.0;

/// Sums over inner folds for one outer fold and one block of targets.
#[derive(Debug, Clone)]
pub(super) struct Errors {
    /// Squared error (alphas, targets).
    pub(super) sse: Array2<f64>,
    /// Expected square of the rounding error of all predictions, in units of float32 roundoff (alphas, targets); 0 for
    /// what was computed in float64.
    pub(super) noise: Array2<f64>,
}

impl Errors {
    pub(super) fn zeros(alphas: usize, targets: usize) -> Errors {
        Errors { sse: Array2::zeros((alphas, targets)), noise: Array2::zeros((alphas, targets)) }
    }
}

/// How far rounding may have moved a squared error: an error δ of the predictions moves it by 2 |δ| |y − ŷ| at most.
#[inline(always)]
pub(super) fn rounding(noise: f64, sse: f64) -> f64 {
    2.0 * f32::ROUNDOFF * (noise * sse).sqrt()
}

/// Memory of the stacks of one thread, used again and again.
#[derive(Debug)]
pub(super) struct Scratch<T> {
    left: Vec<T>,
    out: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Scratch { left: Vec::new(), out: Vec::new() }
    }
}

/// Calls `reduce(first row, stack)` for chunks of rows, where `stack` holds `P diag(w) Q` for each row w of `weights`.
pub(super) fn stacked<T: Real>(
    p: ArrayView2<'_, T>,
    weights: &Array2<T>,
    q: &Array2<T>,
    scratch: &mut Scratch<T>,
    mut reduce: impl FnMut(std::ops::Range<usize>, &[T]),
) {
    let (rows, filters) = (p.nrows(), weights.nrows());
    if rows == 0 || filters == 0 || q.ncols() == 0 {
        return;
    }
    let chunks = (rows * filters).div_ceil(STACK_ROWS);
    let most = rows.div_ceil(chunks.min(rows));
    let (k, width) = q.dim();
    scratch.left.resize(scratch.left.len().max(filters * most * k), T::zero());
    scratch.out.resize(scratch.out.len().max(filters * most * width), T::zero());
    let mut from = 0;
    while from < rows {
        let range = from..rows.min(from + most);
        let used = filters * range.len();
        let part = p.slice(s![range.clone(), ..]);
        let left = &mut scratch.left[..used * k];
        for (block, w) in left.chunks_exact_mut((range.len() * k).max(1)).zip(weights.rows()) {
            for (to, p) in block.chunks_exact_mut(k.max(1)).zip(part.rows()) {
                to.iter_mut().zip(p).zip(w).for_each(|((to, p), w)| *to = *p * *w);
            }
        }
        // INVARIANT: both slices were cut to the lengths of their shapes.
        let left = ArrayView2::from_shape((used, k), left).expect("rows of the stack");
        let out = &mut scratch.out[..used * width];
        // INVARIANT: as above.
        let mut out = ArrayViewMut2::from_shape((used, width), out).expect("rows of the product");
        general_mat_mul(T::one(), &left, q, T::zero(), &mut out);
        reduce(range, &scratch.out[..used * width]);
        from += most;
    }
}

/// Without shortcuts: adds squared errors to `sse` (alphas, targets).
pub(super) fn exact<T: Real>(
    p: ArrayView2<'_, T>,
    values: &[f64],
    alphas: &[f64],
    q: &Array2<T>,
    truth: &Array2<T>,
    sse: &mut Array2<f64>,
    scratch: &mut Scratch<T>,
) {
    let weights = Array2::from_shape_fn((alphas.len(), values.len()), |(a, j)| T::of(1.0 / (values[j] + alphas[a])));
    let width = truth.ncols();
    // INVARIANT: truth is a new matrix.
    let truth = truth.as_slice().expect("truth is a new matrix");
    // INVARIANT: errors are one slice.
    let sums = sse.as_slice_mut().expect("errors are one slice");
    stacked(p, &weights, q, scratch, |rows, stack| {
        add_squared_errors(stack, &truth[rows.start * width..rows.end * width], width, sums);
    });
}

/// Which alphas are multiplied, and how the others follow from these.
#[derive(Debug, Clone)]
pub(super) struct Bases {
    /// Indices of the base alphas.
    pub(super) chosen: Vec<usize>,
    /// Indices of the others.
    pub(super) others: Vec<usize>,
    /// 1 / (s + alpha) of the others from that of the bases (others, bases).
    pub(super) coefficients: Array2<f64>,
}

impl Bases {
    /// The fewest found by pivoted orthogonalisation of the filters of the eigenvalues `values`, the largest of which is
    /// `largest`.
    pub(super) fn new(values: &[f64], largest: f64, alphas: &[f64]) -> Bases {
        // Each filter relative to its largest value: how small differences of small predictions are must not matter.
        let most: Vec<f64> = alphas.iter().map(|a| if largest > 0.0 { largest / (largest + a) } else { 1.0 }).collect();
        let filters =
            Array2::from_shape_fn((alphas.len(), values.len()), |(a, j)| values[j] / (values[j] + alphas[a]) / most[a]);
        let (chosen, mut coefficients) = skeleton(&filters);
        let others: Vec<usize> = (0..alphas.len()).filter(|a| !chosen.contains(a)).collect();
        for ((row, base), c) in coefficients.indexed_iter_mut() {
            *c *= most[others[row]] / most[chosen[base]];
        }
        Bases { chosen, others, coefficients }
    }

    /// How far the combination that stands for 1 / (s + alpha) of another alpha is from it, at the eigenvalue `value`.
    pub(super) fn deviation(&self, other: usize, value: f64, alphas: &[f64]) -> f64 {
        let inverse = |a: usize| 1.0 / (value + alphas[a]);
        let combined: f64 = self.coefficients.row(other).iter().zip(&self.chosen).map(|(c, b)| c * inverse(*b)).sum();
        inverse(self.others[other]) - combined
    }

    /// The coefficients as they are multiplied.
    pub(super) fn narrow(&self) -> Vec<f32> {
        self.coefficients.iter().map(|c| *c as f32).collect()
    }

    /// All alphas in the order of the sums: the bases, then the others.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> {
        self.chosen.iter().chain(&self.others).copied()
    }
}

/// Expected square of the rounding error of a float32 sum of `terms` products, relative to the sum of their squares and
/// in units of roundoff, with a margin: a random walk (Higham & Mary 2019, SIAM J. Sci. Comput. 41, A2815) of steps
/// that are uniform within one roundoff of partial sums, half of whose terms there are on average; both factors and the
/// weights were rounded, too.
pub(super) fn walk(terms: usize) -> f64 {
    SAFETY * SAFETY * (terms as f64 / 2.0 + 4.0) / 3.0
}

/// The multiplications of one training set.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    bases: Bases,
    coefficients: Vec<f32>,
    /// 1 / (s + alpha) of the bases (bases, k).
    weights: Array2<f32>,
    /// Squared error of 1 / (s + alpha) per alpha and eigenvalue, in units of float32 roundoff (alphas, k).
    noise: Array2<f64>,
}

impl Plan {
    /// For the eigenvalues `values`, ascending.
    pub(super) fn new(values: &[f64], alphas: &[f64]) -> Plan {
        let k = values.len();
        let bases = Bases::new(values, values.last().copied().unwrap_or(0.0), alphas);
        let inverse = |a: usize, j: usize| 1.0 / (values[j] + alphas[a]);
        let mut noise = Array2::from_shape_fn((alphas.len(), k), |(a, j)| walk(k) * inverse(a, j).powi(2));
        for (other, a) in bases.others.iter().enumerate() {
            for j in 0..k {
                noise[[*a, j]] += k as f64 * (bases.deviation(other, values[j], alphas) / f32::ROUNDOFF).powi(2);
            }
        }
        Plan {
            weights: Array2::from_shape_fn((bases.chosen.len(), k), |(b, j)| inverse(bases.chosen[b], j) as f32),
            coefficients: bases.narrow(),
            bases,
            noise,
        }
    }

    /// Number of base alphas.
    pub(super) fn bases(&self) -> usize {
        self.bases.chosen.len()
    }

    /// float32 with float64 sums: adds squared errors, and the noise of the predictions.
    ///
    /// The rounding error δ of predictions has |δ|² ≈ u² Σ_j |P_j|² [`walk`] (Q_j / (s_j + alpha))². Where alpha is large
    /// it is as small as the predictions are, so that small differences between large alphas are told apart, too.
    pub(super) fn sweep(
        &self,
        p: ArrayView2<'_, f32>,
        q: &Array2<f32>,
        truth: &Array2<f64>,
        errors: &mut Errors,
        scratch: &mut Scratch<f32>,
    ) {
        let (alphas, width) = (self.noise.nrows(), truth.ncols());
        let mut sums = vec![0f64; alphas * width];
        let combine = Combination { bases: self.bases(), coefficients: &self.coefficients };
        // INVARIANT: truth is a new matrix.
        let flat = truth.as_slice().expect("truth is a new matrix");
        stacked(p, &self.weights, q, scratch, |rows, stack| {
            add_combined_errors(stack, &flat[rows.start * width..rows.end * width], width, combine, &mut sums);
        });
        let size: Vec<f64> = p.columns().into_iter().map(|c| c.iter().map(|v| f64::from(*v).powi(2)).sum()).collect();
        let noise = Array2::from_shape_fn(self.noise.dim(), |at| (self.noise[at] * size[at.1]) as f32);
        let noise = noise.dot(&q.mapv(|v| v * v));
        for (sums, alpha) in sums.chunks_exact(width).zip(self.bases.order()) {
            errors.sse.row_mut(alpha).iter_mut().zip(sums).for_each(|(to, v)| *to += v);
            errors.noise.row_mut(alpha).iter_mut().zip(noise.row(alpha)).for_each(|(to, v)| *to += f64::from(*v));
        }
    }
}

/// Rows of `filters` of which all others are combinations to [`COMBINED`], and the coefficients (others, chosen).
fn skeleton(filters: &Array2<f64>) -> (Vec<usize>, Array2<f64>) {
    let rows = filters.nrows();
    let mut rest = filters.clone();
    let mut chosen: Vec<usize> = Vec::new();
    // filters[a] = Σ_i along[a][i] basis[i] + rest[a], basis orthonormal.
    let mut along: Vec<Vec<f64>> = vec![Vec::new(); rows];
    while chosen.len() < rows {
        let worst = |a: usize| rest.row(a).iter().fold(0f64, |m, v| m.max(v.abs()));
        let open = (0..rows).filter(|a| !chosen.contains(a));
        let Some((pivot, deviation)) = open.map(|a| (a, worst(a))).max_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        if !chosen.is_empty() && deviation <= COMBINED {
            break;
        }
        if deviation == 0.0 {
            // No feature varies: all predictions are 0.
            chosen.push(pivot);
            break;
        }
        let direction = rest.row(pivot).to_owned();
        let length = direction.dot(&direction).sqrt();
        let direction = direction / length;
        for (mut row, along) in rest.rows_mut().into_iter().zip(&mut along) {
            let share = row.dot(&direction);
            along.push(share);
            row.scaled_add(-share, &direction);
        }
        chosen.push(pivot);
    }
    let others: Vec<usize> = (0..rows).filter(|a| !chosen.contains(a)).collect();
    let mut coefficients = Array2::zeros((others.len(), chosen.len()));
    for (mut row, a) in coefficients.rows_mut().into_iter().zip(&others) {
        // Solve c · L = along[a], L the lower triangular matrix along[chosen].
        for i in (0..chosen.len()).rev() {
            let Some(target) = along[*a].get(i) else { continue };
            let known: f64 = (i + 1..chosen.len()).map(|j| row[j] * along[chosen[j]][i]).sum();
            row[i] = (target - known) / along[chosen[i]][i];
        }
    }
    (chosen, coefficients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_alphas_stand_for_a_fine_grid() {
        let values: Vec<f64> = (0..300).map(|i| 10f64.powf(-1.0 + 5.0 * f64::from(i) / 300.0)).collect();
        let alphas: Vec<f64> = (0..801).map(|i| 10f64.powf(-1.0 + f64::from(i) / 100.0)).collect();
        let filters = Array2::from_shape_fn((alphas.len(), values.len()), |(a, j)| values[j] / (values[j] + alphas[a]));
        let (chosen, c) = skeleton(&filters);
        assert!(chosen.len() < 30, "{}", chosen.len());
        let others: Vec<usize> = (0..alphas.len()).filter(|a| !chosen.contains(a)).collect();
        for (a, c) in others.iter().zip(c.rows()) {
            let combined = chosen.iter().zip(c).fold(filters.row(*a).to_owned(), |mut sum, (b, c)| {
                sum.scaled_add(-c, &filters.row(*b));
                sum
            });
            assert!(combined.iter().all(|v| v.abs() < 2.0 * COMBINED));
            assert!(c.iter().all(|c| c.abs() < 4.0));
        }
    }

    #[test]
    fn float32_errors_lie_within_their_bound() {
        let (m, k, t) = (40, 60, 25);
        let value = |i: usize, j: usize, by: usize| ((i * 37 + j * 101 + by * 11) % 97) as f64 / 48.5 - 1.0;
        let values: Vec<f64> = (0..k).map(|j| 10f64.powf(-1.0 + 6.0 * j as f64 / k as f64)).collect();
        let p = Array2::from_shape_fn((m, k), |(i, j)| value(i, j, 1) * values[j].sqrt());
        let q = Array2::from_shape_fn((k, t), |(i, j)| value(i, j, 2) * values[i].sqrt());
        let truth = Array2::from_shape_fn((m, t), |(i, j)| value(i, j, 3));
        let alphas: Vec<f64> = (0..25).map(|i| 10f64.powf(-3.0 + 0.5 * f64::from(i))).collect();
        let mut sse = Array2::zeros((alphas.len(), t));
        exact(p.view(), &values, &alphas, &q, &truth, &mut sse, &mut Scratch::default());
        let plan = Plan::new(&values, &alphas);
        assert!(plan.bases() < 20);
        let mut fast = Errors::zeros(alphas.len(), t);
        let narrow = |a: &Array2<f64>| a.mapv(|v| v as f32);
        plan.sweep(narrow(&p).view(), &narrow(&q), &truth, &mut fast, &mut Scratch::default());
        for ((at, a), b) in fast.sse.indexed_iter().zip(&sse) {
            let bound = &rounding(fast.noise[at], *a);
            assert!((a - b).abs() <= bound + 1e-14 * b, "{a} {b} {bound}");
            assert!(*bound <= 1e-3 * b);
        }
    }
}
