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
        let (bases, size) = (combine.bases, truth.len());
        let mut from = 0;
        while from < width {
            let lanes = LANES.min(width - from);
            for block in 0..bases {
                let mut sum = [0f64; LANES];
                for (row, y) in truth.chunks_exact(width).enumerate() {
                    let at = block * size + row * width + from;
                    add_row(&stack[at..at + lanes], &y[from..from + lanes], &mut sum);
                }
                add(&mut sums[block * width + from..][..lanes], &sum);
            }
            for (group, coefficients) in combine.coefficients.chunks(2 * bases.max(1)).enumerate() {
                let mut sum = [[0f64; LANES]; 2];
                for (row, y) in truth.chunks_exact(width).enumerate() {
                    let mut values = [[0f32; LANES]; 2];
                    for block in 0..bases {
                        let at = block * size + row * width + from;
                        combine_row(&stack[at..at + lanes], coefficients, block, bases, &mut values);
                    }
                    let y = &y[from..from + lanes];
                    add_row(&values[0][..lanes], y, &mut sum[0]);
                    add_row(&values[1][..lanes], y, &mut sum[1]);
                }
                for (q, sum) in sum.iter().take(coefficients.len() / bases).enumerate() {
                    add(&mut sums[(bases + 2 * group + q) * width + from..][..lanes], sum);
                }
            }
            from += lanes;
        }
    }
}

#[inline(always)]
fn combine_row(row: &[f32], coefficients: &[f32], block: usize, bases: usize, values: &mut [[f32; LANES]; 2]) {
    let first = coefficients[block];
    let second = coefficients.get(bases + block).copied().unwrap_or(0.0);
    if let Ok(row) = <&[f32; LANES]>::try_from(row) {
        for l in 0..LANES {
            values[0][l] = first.mul_add(row[l], values[0][l]);
            values[1][l] = second.mul_add(row[l], values[1][l]);
        }
    } else {
        for (l, v) in row.iter().enumerate() {
            values[0][l] = first.mul_add(*v, values[0][l]);
            values[1][l] = second.mul_add(*v, values[1][l]);
        }
    }
}

#[inline(always)]
fn add_row(predicted: &[f32], truth: &[f64], sum: &mut [f64; LANES]) {
    if let (Ok(a), Ok(b)) = (<&[f32; LANES]>::try_from(predicted), <&[f64; LANES]>::try_from(truth)) {
        for l in 0..LANES {
            let d = f64::from(a[l]) - b[l];
            sum[l] = d.mul_add(d, sum[l]);
        }
    } else {
        for (l, (a, b)) in predicted.iter().zip(truth).enumerate() {
            let d = f64::from(*a) - b;
            sum[l] = d.mul_add(d, sum[l]);
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f64], more: &[f64; LANES]) {
    sums.iter_mut().zip(more).for_each(|(s, m)| *s += m);
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
