//! Temporal filters.

use ndarray::{Array2, ArrayViewMut1, ArrayViewMut2, Axis};

/// Order of the Butterworth filter.
const ORDER: usize = 5;
/// Values by which a series is continued at both ends before it is filtered, SciPy's default for this filter: three
/// times the taps, 3 · (2 · 3 sections + 1 − 1 for the section of order one).
pub(super) const PADDING: usize = 18;

/// One section: b0 b1 b2 over 1 a1 a2.
#[derive(Debug, Clone, Copy)]
struct Section {
    b: [f64; 3],
    a: [f64; 2],
}

/// A Butterworth high-pass of order 5, forwards and backwards.
///
/// As `scipy.signal.butter(5, cutoff, "high", output="sos", fs)` with `sosfiltfilt`: the analog prototype's poles
/// −exp(iπm/10), m = −4, −2, 0, 2, 4, taken to the warped cutoff 4 tan(π cutoff / fs), then the bilinear transform.
#[derive(Debug, Clone)]
pub(super) struct HighPass {
    sections: [Section; 3],
    /// The state of each section after an endless series of ones.
    rest: [[f64; 2]; 3],
}

impl HighPass {
    /// A filter for a cutoff in Hz below half the sampling rate `1 / repetition_time`.
    pub fn new(cutoff: f64, repetition_time: f64) -> HighPass {
        use std::f64::consts::PI;
        let warped = 4.0 * (PI * cutoff * repetition_time).tan();
        let mut sections = [Section { b: [0.0; 3], a: [0.0; 2] }; 3];
        let mut gain = 1.0;
        // Real pole: −1 becomes −warped, then (4 − warped) / (4 + warped); its zero is at 1.
        sections[0] = Section { b: [1.0, -1.0, 0.0], a: [-(4.0 - warped) / (4.0 + warped), 0.0] };
        gain *= 4.0 / (4.0 + warped);
        for (section, m) in sections[1..].iter_mut().zip([2.0, 4.0]) {
            let angle = PI * m / (2.0 * ORDER as f64);
            // p = warped / (−cos + i sin): its real part and squared size; (4 + p) / (4 − p) and its conjugate.
            let (re, size) = (-warped * angle.cos(), warped * warped);
            let below = 16.0 - 8.0 * re + size;
            section.b = [1.0, -2.0, 1.0];
            section.a = [-2.0 * (16.0 - size) / below, (16.0 + 8.0 * re + size) / below];
            gain *= 16.0 / below;
        }
        sections[0].b.iter_mut().for_each(|b| *b *= gain);
        let mut rest = [[0.0; 2]; 3];
        let mut scale = 1.0;
        for (state, Section { b, a }) in rest.iter_mut().zip(sections) {
            // Steady state of the transposed direct form for a constant input of 1.
            let out = b.iter().sum::<f64>() / (1.0 + a[0] + a[1]);
            let second = b[2] - a[1] * out;
            *state = [scale * (b[1] - a[0] * out + second), scale * second];
            scale *= out;
        }
        HighPass { sections, rest }
    }

    /// Filters every column in place. Rows must number more than [`PADDING`].
    pub fn apply(&self, series: &mut ArrayViewMut2<'_, f64>) {
        series.axis_iter_mut(Axis(1)).for_each(|column| self.column(column));
    }

    fn column(&self, mut column: ArrayViewMut1<'_, f64>) {
        let n = column.len();
        let mut x = Vec::with_capacity(n + 2 * PADDING);
        // Odd continuation: turned about the first and the last value.
        x.extend((1..=PADDING).rev().map(|i| 2.0 * column[0] - column[i]));
        x.extend(column.iter());
        x.extend((2..PADDING + 2).map(|i| 2.0 * column[n - 1] - column[n - i]));
        self.run(&mut x);
        x.reverse();
        self.run(&mut x);
        x.reverse();
        column.iter_mut().zip(&x[PADDING..]).for_each(|(c, v)| *c = *v);
    }

    /// One pass, begun as if the first value had stood there for ever.
    fn run(&self, x: &mut [f64]) {
        let start = x[0];
        for (Section { b, a }, rest) in self.sections.iter().zip(self.rest) {
            let mut state = rest.map(|v| v * start);
            for value in x.iter_mut() {
                let out = b[0] * *value + state[0];
                state = [b[1] * *value - a[0] * out + state[1], b[2] * *value - a[1] * out];
                *value = out;
            }
        }
    }
}

/// Discrete cosines up to a cutoff in Hz (volumes × ⌊2 n cutoff · TR⌋), without the constant.
///
/// As nilearn's `create_cosine_drift`: √(2/n) cos(π/n (t + ½) k), k = 1, 2, …
pub(super) fn cosines(volumes: usize, cutoff: f64, repetition_time: f64) -> Array2<f64> {
    let n = volumes as f64;
    // The step as nilearn computes it from the frame times, whose rounding can decide the order.
    let step = if volumes > 1 { (n - 1.0) * repetition_time / (n - 1.0) } else { repetition_time };
    let order = ((2.0 * n * cutoff * step).floor() as usize).min(volumes.saturating_sub(1));
    Array2::from_shape_fn((volumes, order), |(t, k)| {
        (2.0 / n).sqrt() * (std::f64::consts::PI / n * (t as f64 + 0.5) * (k + 1) as f64).cos()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_vanish_and_fast_changes_stay() {
        let filter = HighPass::new(0.05, 2.0);
        let mut series = Array2::from_shape_fn((300, 2), |(t, c)| if c == 0 { 800.0 } else { (t as f64 * 1.3).sin() });
        let before = series.clone();
        filter.apply(&mut series.view_mut());
        assert!(series.column(0).iter().all(|v| v.abs() < 1e-8));
        for t in 60..240 {
            assert!((series[[t, 1]] - before[[t, 1]]).abs() < 1e-2, "{t}");
        }
    }

    #[test]
    fn cosines_are_orthonormal() {
        let c = cosines(100, 0.01, 2.0);
        assert_eq!(c.dim(), (100, 4));
        let g = c.t().dot(&c);
        assert!((&g - &Array2::<f64>::eye(4)).iter().all(|v| v.abs() < 1e-12));
    }
}
