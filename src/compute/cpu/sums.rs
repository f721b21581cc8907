//! Sums over rows of stacked predictions, one sum per target, in float64.
//!
//! `stack` holds several blocks of predictions one below the other: block b has `rows` rows of `width` targets. Sums
//! run down the rows in their order, whatever the processor's vector width.

use pulp::Arch;

use super::Real;

/// Targets that are summed at once; their sums stay in registers.
const LANES: usize = 16;

/// Predictions that are linear combinations of the blocks of a stack.
#[derive(Debug, Clone, Copy)]
pub struct Combination<'a> {
    /// Number of blocks in the stack.
    pub bases: usize,
    /// One coefficient per block for every further prediction (further, bases).
    pub coefficients: &'a [f32],
}

/// For each block of a float32 stack, then for each combination of blocks: adds Σ (p − y)² to `sums` (blocks +
/// combinations, width).
///
/// # Panics
/// When the lengths do not fit: a defect of the caller.
pub fn add_combined_errors(stack: &[f32], truth: &[f64], width: usize, combine: Combination<'_>, sums: &mut [f64]) {
    let bases = combine.bases;
    assert!(stack.len() == bases * truth.len(), "one truth per prediction");
    let further = combine.coefficients.len() / bases.max(1);
    assert!(combine.coefficients.len() == further * bases, "one coefficient per block");
    assert!(sums.len() == (bases + further) * width, "one sum per prediction");
    Arch::new().dispatch(CombinedErrors { stack, truth, width, combine, sums });
}

/// The body of [`add_combined_errors`]: as a type of its own it is compiled for the processor found at run time. (A
/// closure as long as this one is not inlined, and then is not.)
struct CombinedErrors<'a> {
    stack: &'a [f32],
    truth: &'a [f64],
    width: usize,
    combine: Combination<'a>,
    sums: &'a mut [f64],
}

impl pulp::NullaryFnOnce for CombinedErrors<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let CombinedErrors { stack, truth, width, combine, sums } = self;
        let whole = width / LANES * LANES;
        for from in (0..whole).step_by(LANES) {
            errors_of_lanes::<LANES>(stack, truth, width, from, combine, sums);
        }
        for from in whole..width {
            errors_of_lanes::<1>(stack, truth, width, from, combine, sums);
        }
    }
}

/// The sums of `L` neighbouring targets. A fixed number keeps them in registers.
#[inline(always)]
pub(super) fn errors_of_lanes<const L: usize>(
    stack: &[f32],
    truth: &[f64],
    width: usize,
    from: usize,
    combine: Combination<'_>,
    sums: &mut [f64],
) {
    let (bases, size) = (combine.bases, truth.len());
    let rows = size / width;
    for block in 0..bases {
        let mut sum = [0f64; L];
        let own = &stack[block * size..][..size];
        for row in 0..rows {
            add_row(&lanes(own, row * width + from), &lanes(truth, row * width + from), &mut sum);
        }
        add(&mut sums[block * width + from..][..L], &sum);
    }
    for (group, coefficients) in combine.coefficients.chunks(2 * bases.max(1)).enumerate() {
        let (first, second) = coefficients.split_at(bases);
        let (mut sum, mut other) = ([0f64; L], [0f64; L]);
        for row in 0..rows {
            let at = row * width + from;
            let (mut values, mut others) = ([0f32; L], [0f32; L]);
            // A lone last combination is computed twice; its second sum is dropped.
            let pairs = first.iter().zip(if second.is_empty() { first } else { second });
            for (block, (a, b)) in pairs.enumerate() {
                let p: [f32; L] = lanes(stack, block * size + at);
                for l in 0..L {
                    values[l] = a.mul_add(p[l], values[l]);
                    others[l] = b.mul_add(p[l], others[l]);
                }
            }
            let y = lanes(truth, at);
            add_row(&values, &y, &mut sum);
            add_row(&others, &y, &mut other);
        }
        add(&mut sums[(bases + 2 * group) * width + from..][..L], &sum);
        if !second.is_empty() {
            add(&mut sums[(bases + 2 * group + 1) * width + from..][..L], &other);
        }
    }
}

#[inline(always)]
fn lanes<T: Copy + Default, const L: usize>(values: &[T], at: usize) -> [T; L] {
    let mut out = [T::default(); L];
    out.copy_from_slice(&values[at..at + L]);
    out
}

#[inline(always)]
fn add_row<const L: usize>(predicted: &[f32; L], truth: &[f64; L], sum: &mut [f64; L]) {
    for l in 0..L {
        let d = f64::from(predicted[l]) - truth[l];
        sum[l] = d.mul_add(d, sum[l]);
    }
}

#[inline(always)]
fn add(sums: &mut [f64], more: &[f64]) {
    sums.iter_mut().zip(more).for_each(|(s, m)| *s += m);
}

/// A correction of predictions: each row has a few factors, each factor a row of weights.
#[derive(Debug, Clone, Copy)]
pub struct Correction<'a, T> {
    /// (rows, factors).
    pub factors: &'a [T],
    /// (factors, width).
    pub weights: &'a [T],
}

/// Adds Σ (y − p − factors · weights)² over rows to `sums` (width). `predicted` has `stride` values per row, the first
/// `width` of which are predictions.
///
/// # Panics
/// When the lengths do not fit: a defect of the caller.
pub fn add_corrected_errors<T: Real>(
    predicted: &[T],
    stride: usize,
    truth: &[T],
    width: usize,
    correction: Correction<'_, T>,
    sums: &mut [f64],
) {
    let rows = truth.len() / width.max(1);
    assert!(width > 0 && width <= stride && sums.len() == width, "one sum per target");
    assert!(truth.len() == rows * width && predicted.len() == rows * stride, "one truth per prediction");
    let factors = correction.weights.len() / width;
    assert!(correction.factors.len() == rows * factors, "a factor per row and row of weights");
    Arch::new().dispatch(CorrectedErrors { predicted, stride, truth, width, correction, sums });
}

/// The body of [`add_corrected_errors`].
struct CorrectedErrors<'a, T> {
    predicted: &'a [T],
    stride: usize,
    truth: &'a [T],
    width: usize,
    correction: Correction<'a, T>,
    sums: &'a mut [f64],
}

impl<T: Real> pulp::NullaryFnOnce for CorrectedErrors<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let whole = self.width / LANES * LANES;
        let CorrectedErrors { predicted, stride, truth, width, correction, sums } = self;
        for from in (0..whole).step_by(LANES) {
            corrected_lanes::<T, LANES>(predicted, stride, truth, width, correction, from, sums);
        }
        for from in whole..width {
            corrected_lanes::<T, 1>(predicted, stride, truth, width, correction, from, sums);
        }
    }
}

#[inline(always)]
fn corrected_lanes<T: Real, const L: usize>(
    predicted: &[T],
    stride: usize,
    truth: &[T],
    width: usize,
    correction: Correction<'_, T>,
    from: usize,
    sums: &mut [f64],
) {
    let factors = correction.weights.len() / width;
    let mut sum = [0f64; L];
    for row in 0..truth.len() / width {
        let (y, p) = (&truth[row * width + from..][..L], &predicted[row * stride + from..][..L]);
        let mut left = [T::zero(); L];
        for l in 0..L {
            left[l] = y[l] - p[l];
        }
        for factor in 0..factors {
            let (by, w) =
                (correction.factors[row * factors + factor], &correction.weights[factor * width + from..][..L]);
            for l in 0..L {
                left[l] = left[l] - by * w[l];
            }
        }
        for l in 0..L {
            sum[l] = left[l].wide().mul_add(left[l].wide(), sum[l]);
        }
    }
    add(&mut sums[from..from + L], &sum);
}

/// For each block of a stack: adds Σ (p − y)² to `sums` (blocks, width).
///
/// # Panics
/// When the lengths do not fit: a defect of the caller.
pub fn add_squared_errors<T: Real>(stack: &[T], truth: &[T], width: usize, sums: &mut [f64]) {
    assert!(width > 0 && sums.len().is_multiple_of(width), "one sum per block and target");
    assert_eq!(stack.len(), sums.len() / width * truth.len(), "one truth per prediction");
    if truth.is_empty() {
        return;
    }
    Arch::new().dispatch(SquaredErrors { stack, truth, width, sums });
}

struct SquaredErrors<'a, T> {
    stack: &'a [T],
    truth: &'a [T],
    width: usize,
    sums: &'a mut [f64],
}

impl<T: Real> pulp::NullaryFnOnce for SquaredErrors<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let SquaredErrors { stack, truth, width, sums } = self;
        for (block, sums) in stack.chunks_exact(truth.len()).zip(sums.chunks_exact_mut(width)) {
            for (row, y) in block.chunks_exact(width).zip(truth.chunks_exact(width)) {
                for ((s, p), y) in sums.iter_mut().zip(row).zip(y) {
                    let d = p.wide() - y.wide();
                    *s = d.mul_add(d, *s);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_blocks_and_of_their_combinations() {
        let (rows, bases) = (5, 3);
        for width in [1, 7, 16, 35] {
            let stack: Vec<f32> = (0..bases * rows * width).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
            let truth: Vec<f64> = (0..rows * width).map(|i| ((i * 5) % 11) as f64 - 5.0).collect();
            for further in 0..4 {
                let coefficients: Vec<f32> = (0..further * bases).map(|i| i as f32 - 2.0).collect();
                let mut sums = vec![1.0; (bases + further) * width];
                let combine = Combination { bases, coefficients: &coefficients };
                add_combined_errors(&stack, &truth, width, combine, &mut sums);
                for (place, sum) in sums.iter().enumerate() {
                    let (of, t) = (place / width, place % width);
                    let at = |block: usize, row: usize| f64::from(stack[(block * rows + row) * width + t]);
                    let p = |row: usize| match of.checked_sub(bases) {
                        None => at(of, row),
                        Some(q) => (0..bases).map(|b| f64::from(coefficients[q * bases + b]) * at(b, row)).sum(),
                    };
                    // Small integers: every sum is exact.
                    let exact: f64 = (0..rows).map(|r| (p(r) - truth[r * width + t]).powi(2)).sum();
                    assert_eq!(*sum, 1.0 + exact);
                }
            }
        }
    }

    #[test]
    fn squared_errors_per_block() {
        let mut sums = [0.0, 1.0, 0.0, 0.0];
        add_squared_errors(&[1.0f64, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 2.0, 3.0], 2, &mut sums);
        assert_eq!(sums, [1.0 + 1.0, 1.0 + 1.0 + 1.0, 4.0, 1.0 + 9.0]);
    }
}
