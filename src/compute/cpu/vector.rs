//! Element-wise float32 operations of encoders, written so that the compiler vectorises them for the processor found
//! at run time. Sums run over a fixed number of lanes: results do not depend on the processor's vector width.

use pulp::Arch;
use serde::{Deserialize, Serialize};

/// Lanes of the running sums.
const LANES: usize = 16;

/// The non-linearity between the two layers of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// x Φ(x), with the error function (`gelu`).
    GeluErf,
    /// The tanh approximation of it (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x / (1 + exp(−x)) (`silu`, `swish`).
    Silu,
    /// x / (1 + exp(−1.702 x)) (`quick_gelu`).
    QuickGelu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Applies the activation in place.
    pub fn apply(self, values: &mut [f32]) {
        Arch::new().dispatch(|| match self {
            Activation::GeluErf => {
                values.iter_mut().for_each(|v| *v *= 0.5 * (1.0 + erf(*v * std::f32::consts::FRAC_1_SQRT_2)))
            }
            // 0.5 (1 + tanh z) = 1 / (1 + exp(−2 z)).
            Activation::GeluTanh => values.iter_mut().for_each(|v| {
                let z = 0.797_884_6 * (*v + 0.044_715 * *v * *v * *v);
                *v /= 1.0 + exp(-2.0 * z);
            }),
            Activation::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
            Activation::Silu => values.iter_mut().for_each(|v| *v /= 1.0 + exp(-*v)),
            Activation::QuickGelu => values.iter_mut().for_each(|v| *v /= 1.0 + exp(-1.702 * *v)),
            // exp(2x) − 1 would cancel near 0, where few values lie and speed does not matter.
            Activation::Tanh => values.iter_mut().for_each(|v| *v = v.tanh()),
        });
    }
}

/// The gated linear unit of each row of `rows` (n × 2·`width`): activation(first half) · second half, into `out`
/// (n × `width`). Shazeer 2020, <https://arxiv.org/abs/2002.05202>.
pub fn gated(rows: &mut [f32], width: usize, activation: Activation, out: &mut [f32]) {
    assert_eq!(rows.len(), 2 * out.len(), "two values for every result");
    for (row, out) in rows.chunks_exact_mut(2 * width).zip(out.chunks_exact_mut(width)) {
        let (first, second) = row.split_at_mut(width);
        activation.apply(first);
        Arch::new().dispatch(|| {
            for ((o, a), b) in out.iter_mut().zip(&*first).zip(&*second) {
                *o = a * b;
            }
        });
    }
}

/// Rotary position embedding of one head in place: with halves (a, b), a' = a cos − b sin, b' = b cos + a sin.
///
/// Su et al. 2021, <https://arxiv.org/abs/2104.09864>, in the half-split form of GPT-NeoX and Llama. `turn` holds the
/// cosines, then the sines, of the position.
pub fn rotate(head: &mut [f32], turn: &[f32]) {
    let half = head.len() / 2;
    let ((a, b), (cos, sin)) = (head.split_at_mut(half), turn.split_at(half));
    for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
    }
}

/// `sum += values`, one by one.
pub fn add(sum: &mut [f32], values: &[f32]) {
    assert_eq!(sum.len(), values.len(), "a value for every sum");
    Arch::new().dispatch(|| sum.iter_mut().zip(values).for_each(|(s, v)| *s += v));
}

/// `rows[i] += row` for every row.
pub fn add_to_rows(rows: &mut [f32], row: &[f32]) {
    Arch::new().dispatch(|| {
        for r in rows.chunks_exact_mut(row.len()) {
            r.iter_mut().zip(row).for_each(|(v, b)| *v += b);
        }
    });
}

/// Normalises each row of `rows` (n × `width`) to mean 0 and variance 1, then scales and shifts it.
///
/// Formula: Ba, Kiros & Hinton 2016, <https://arxiv.org/abs/1607.06450>; population variance plus `epsilon`.
pub fn layer_norm(rows: &mut [f32], width: usize, scale: &[f32], shift: &[f32], epsilon: f32) {
    assert!(scale.len() == width && shift.len() == width, "one scale and one shift per column");
    Arch::new().dispatch(|| {
        for row in rows.chunks_exact_mut(width) {
            let n = width as f32;
            let mean = sum(row, |v| v) / n;
            let variance = sum(row, |v| (v - mean) * (v - mean)) / n;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for ((v, g), b) in row.iter_mut().zip(scale).zip(shift) {
                *v = (*v - mean) * inverse * g + b;
            }
        }
    });
}

/// Divides each row of `rows` (n × `width`) by its root mean square, then scales it.
///
/// Zhang & Sennrich 2019, <https://arxiv.org/abs/1910.07467>; `epsilon` is added to the mean square.
pub fn rms_norm(rows: &mut [f32], width: usize, scale: &[f32], epsilon: f32) {
    assert_eq!(scale.len(), width, "one scale per column");
    Arch::new().dispatch(|| {
        for row in rows.chunks_exact_mut(width) {
            let inverse = 1.0 / (sum(row, |v| v * v) / width as f32 + epsilon).sqrt();
            row.iter_mut().zip(scale).for_each(|(v, g)| *v = *v * inverse * g);
        }
    });
}

/// Softmax of each row of `rows` (n × `width`), in place, over the columns that `visible(row)` names; the others
/// become 0. Every row must see at least one column.
pub fn softmax_rows(rows: &mut [f32], width: usize, visible: impl Fn(usize) -> std::ops::Range<usize>) {
    Arch::new().dispatch(|| {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let visible = visible(i);
            row[..visible.start].fill(0.0);
            row[visible.end..].fill(0.0);
            let row = &mut row[visible];
            let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            row.iter_mut().for_each(|v| *v = exp(*v - largest));
            let scale = 1.0 / sum(row, |v| v);
            row.iter_mut().for_each(|v| *v *= scale);
        }
    });
}

#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(*v);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|v| f(*v)).sum::<f32>()
}

/// exp(x) to 2 units in the last place for x ≤ 88; 0 below −87.
///
/// Cephes' scheme: x = n ln 2 + r, a polynomial for exp(r), the exponent bits for 2ⁿ.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.3, 88.3);
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let n = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let p = ((((1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 0.166_666_65) * r
        + 0.5;
    let value = p * r * r + r + 1.0;
    let power = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.3 { 0.0 } else { value * power }
}

/// The error function to about 3e-7, as a rational function of x (coefficients of Eigen's `generic_fast_erf`).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let p = -2.726_142_3e-10;
    let p = p * s + 2.770_681_4e-8;
    let p = p * s - 2.101_024e-6;
    let p = p * s - 5.692_506_5e-5;
    let p = p * s - 7.349_906_3e-4;
    let p = p * s - 2.954_6e-3;
    let p = p * s - 1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * s - 2.133_740_6e-4;
    let q = q * s - 1.682_827e-3;
    let q = q * s - 7.373_329_2e-3;
    let q = q * s - 1.426_473_9e-2;
    (x * p / q).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_erf_are_accurate() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 3e-7 * exact, "exp({x})");
        }
        assert_eq!(exp(-1000.0), 0.0);
        for i in -600..=600 {
            let x = i as f32 / 100.0;
            let exact = statrs::function::erf::erf(f64::from(x));
            assert!((f64::from(erf(x)) - exact).abs() < 4e-7, "erf({x}) = {} not {exact}", erf(x));
        }
    }

    #[test]
    fn activations_at_known_points() {
        let at = |a: Activation, x: f32| {
            let mut v = [x];
            a.apply(&mut v);
            v[0]
        };
        // torch.nn.functional.gelu(torch.tensor([1., -1.])), exact and tanh.
        assert!((at(Activation::GeluErf, 1.0) - 0.841_344_7).abs() < 1e-6);
        assert!((at(Activation::GeluErf, -1.0) + 0.158_655_25).abs() < 1e-6);
        assert!((at(Activation::GeluTanh, 1.0) - 0.841_191_95).abs() < 1e-6);
        assert_eq!(at(Activation::Relu, -2.0), 0.0);
        assert!((at(Activation::Silu, -1.5) + 0.273_638_1).abs() < 1e-6);
        assert!((at(Activation::QuickGelu, 0.7) - 0.536_893_95).abs() < 1e-6);
        assert!((at(Activation::Silu, -200.0)).abs() < 1e-6, "no overflow turns into NaN");
        assert!((at(Activation::Tanh, 0.5) - 0.462_117_16).abs() < 1e-6);
    }

    #[test]
    fn rows_are_normalised() {
        let width = 37;
        let mut rows: Vec<f32> = (0..2 * width).map(|i| (i * i % 23) as f32).collect();
        let before = rows.clone();
        layer_norm(&mut rows, width, &vec![2.0; width], &vec![1.0; width], 1e-12);
        for (row, old) in rows.chunks(width).zip(before.chunks(width)) {
            let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
            assert!((mean - 1.0).abs() < 1e-5);
            assert!(row[0] < row[1] || old[0] >= old[1], "order is kept");
        }
        let mut probabilities = vec![1.0, 2.0, 3.0, -1e9];
        softmax_rows(&mut probabilities, 4, |_| 0..4);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6 && probabilities[3] == 0.0);
        let mut masked = vec![1.0, 2.0, 30.0, 1.0, 2.0, 30.0];
        softmax_rows(&mut masked, 3, |i| i..i + 1);
        assert_eq!(masked, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn halves_are_gated_and_rotated() {
        let mut rows = vec![-1.0, 2.0, 5.0, 7.0];
        let mut out = vec![0.0; 2];
        gated(&mut rows, 2, Activation::Relu, &mut out);
        assert_eq!(out, [0.0, 14.0]);
        // A quarter turn takes (a, b) to (−b, a).
        let mut head = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut head, &[0.0, 1.0, 1.0, 0.0]);
        assert_eq!(head, [-3.0, 2.0, 1.0, 4.0]);
        let mut row = vec![3.0, 4.0];
        rms_norm(&mut row, 2, &[1.0, 2.0], 0.0);
        assert!((row[0] - 0.848_528_1).abs() < 1e-6 && (row[1] - 2.262_741_7).abs() < 1e-6);
    }
}
