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

/// For each block of the stack, then for each combination of blocks: adds Σ p² to `squares` and Σ p y to `products`
/// (blocks + combinations, width).
///
/// # Panics
/// When the lengths do not fit: a defect of the caller.
pub fn add_products(
    stack: &[f32],
    truth: &[f32],
    width: usize,
    combine: Combination<'_>,
    squares: &mut [f64],
    products: &mut [f64],
) {
    let rows = truth.len() / width.max(1);
    let (bases, size) = (combine.bases, rows * width);
    assert!(stack.len() == bases * size && truth.len() == size, "one truth per prediction");
    let further = combine.coefficients.len() / bases.max(1);
    assert!(combine.coefficients.len() == further * bases, "one coefficient per block");
    assert!(squares.len() == (bases + further) * width && products.len() == squares.len(), "one sum per prediction");
    Arch::new().dispatch(Products { stack, truth, width, combine, squares, products });
}

/// The body of [`add_products`]: as a type of its own it is compiled for the processor found at run time. (A closure
/// as long as this one is not inlined, and then is not.)
struct Products<'a> {
    stack: &'a [f32],
    truth: &'a [f32],
    width: usize,
    combine: Combination<'a>,
    squares: &'a mut [f64],
    products: &'a mut [f64],
}

impl pulp::NullaryFnOnce for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Products { stack, truth, width, combine, squares, products } = self;
        let (bases, size) = (combine.bases, truth.len());
        let mut from = 0;
        while from < width {
            let lanes = LANES.min(width - from);
            for block in 0..bases {
                let of_block = &stack[block * size..(block + 1) * size];
                let (mut s, mut p) = ([0f64; LANES], [0f64; LANES]);
                for (a, b) in of_block.chunks_exact(width).zip(truth.chunks_exact(width)) {
                    add_row(&a[from..from + lanes], &b[from..from + lanes], &mut s, &mut p);
                }
                let at = block * width + from;
                add(&mut squares[at..at + lanes], &s);
                add(&mut products[at..at + lanes], &p);
            }
            for (group, coefficients) in combine.coefficients.chunks(2 * bases.max(1)).enumerate() {
                let (mut s, mut p) = ([[0f64; LANES]; 2], [[0f64; LANES]; 2]);
                let count = coefficients.len() / bases;
                for (row, b) in truth.chunks_exact(width).enumerate() {
                    let mut values = [[0f32; LANES]; 2];
                    for block in 0..bases {
                        let at = block * size + row * width + from;
                        combine_row(&stack[at..at + lanes], coefficients, block, bases, &mut values);
                    }
                    for q in 0..count {
                        add_row(&values[q][..lanes], &b[from..from + lanes], &mut s[q], &mut p[q]);
                    }
                }
                for q in 0..count {
                    let at = (bases + 2 * group + q) * width + from;
                    add(&mut squares[at..at + lanes], &s[q]);
                    add(&mut products[at..at + lanes], &p[q]);
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
fn add_row(predicted: &[f32], truth: &[f32], squares: &mut [f64; LANES], products: &mut [f64; LANES]) {
    if let (Ok(a), Ok(b)) = (<&[f32; LANES]>::try_from(predicted), <&[f32; LANES]>::try_from(truth)) {
        for l in 0..LANES {
            let p = f64::from(a[l]);
            squares[l] = p.mul_add(p, squares[l]);
            products[l] = p.mul_add(f64::from(b[l]), products[l]);
        }
    } else {
        for (l, (a, b)) in predicted.iter().zip(truth).enumerate() {
            let p = f64::from(*a);
            squares[l] = p.mul_add(p, squares[l]);
            products[l] = p.mul_add(f64::from(*b), products[l]);
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
    fn sums_of_blocks_and_of_their_combinations() {
        let (rows, bases) = (5, 3);
        for width in [1, 7, 16, 35] {
            let stack: Vec<f32> = (0..bases * rows * width).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
            let truth: Vec<f32> = (0..rows * width).map(|i| ((i * 5) % 11) as f32 - 5.0).collect();
            for further in 0..4 {
                let coefficients: Vec<f32> = (0..further * bases).map(|i| i as f32 - 2.0).collect();
                let combine = Combination { bases, coefficients: &coefficients };
                let mut sums = [vec![1.0; (bases + further) * width], vec![2.0; (bases + further) * width]];
                let [squares, products] = &mut sums;
                add_products(&stack, &truth, width, combine, squares, products);
                for of in 0..bases + further {
                    for t in 0..width {
                        let at = |block: usize, row: usize| f64::from(stack[(block * rows + row) * width + t]);
                        let p = |row: usize| match of.checked_sub(bases) {
                            None => at(of, row),
                            Some(q) => (0..bases).map(|b| f64::from(coefficients[q * bases + b]) * at(b, row)).sum(),
                        };
                        let y = |row: usize| f64::from(truth[row * width + t]);
                        // Small integers: every sum is exact.
                        assert_eq!(squares[of * width + t], 1.0 + (0..rows).map(|r| p(r) * p(r)).sum::<f64>());
                        assert_eq!(products[of * width + t], 2.0 + (0..rows).map(|r| p(r) * y(r)).sum::<f64>());
                    }
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
