//! Cubic splines through the volumes that stay, for those that were scrubbed.

use ndarray::Array2;

/// Replaces the rows of `series` that are not in `kept` (ascending) by the cubic spline through those that are, rows one
/// apart in time; rows before the first and after the last kept one stay as they are.
///
/// The spline has continuous second derivatives and "not a knot" ends (de Boor 1978, as `scipy.interpolate.CubicSpline`);
/// with three points it is the parabola, with two the line, with one a constant.
pub(super) fn fill(series: &mut Array2<f64>, kept: &[usize]) {
    let (Some(first), Some(last)) = (kept.first().copied(), kept.last().copied()) else { return };
    let x: Vec<f64> = kept.iter().map(|k| *k as f64).collect();
    let solver = Slopes::new(&x);
    for mut column in series.columns_mut() {
        let y: Vec<f64> = kept.iter().map(|k| column[*k]).collect();
        let slopes = solver.solve(&x, &y);
        let mut piece = 0;
        for row in first..=last {
            while x[piece + 1..].first().is_some_and(|next| *next <= row as f64) {
                piece += 1;
            }
            let t = row as f64 - x[piece];
            if t == 0.0 {
                continue;
            }
            let h = x[piece + 1] - x[piece];
            let secant = (y[piece + 1] - y[piece]) / h;
            let (s0, s1) = (slopes[piece], slopes[piece + 1]);
            let cubic = (s0 + s1 - 2.0 * secant) / (h * h);
            let square = (3.0 * secant - 2.0 * s0 - s1) / h;
            column[row] = y[piece] + t * (s0 + t * (square + t * cubic));
        }
    }
}

/// The system for the slopes at the knots, by rows: tridiagonal but for the two ends of "not a knot".
struct Slopes {
    h: Vec<f64>,
}

impl Slopes {
    fn new(x: &[f64]) -> Slopes {
        Slopes { h: x.windows(2).map(|w| w[1] - w[0]).collect() }
    }

    fn solve(&self, x: &[f64], y: &[f64]) -> Vec<f64> {
        let (n, h) = (x.len(), &self.h);
        let d: Vec<f64> = (0..n.saturating_sub(1)).map(|i| (y[i + 1] - y[i]) / h[i]).collect();
        match n {
            0 | 1 => return vec![0.0; n],
            2 => return vec![d[0]; 2],
            3 => {
                let curve = (d[1] - d[0]) / (x[2] - x[0]);
                return vec![d[0] - curve * h[0], d[0] + curve * h[0], d[1] + curve * h[1]];
            }
            _ => {}
        }
        let (mut low, mut mid, mut up, mut right) = (vec![0.0; n], vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let w = h[0] + h[1];
        (mid[0], up[0]) = (h[1], w);
        right[0] = ((h[0] + 2.0 * w) * h[1] * d[0] + h[0] * h[0] * d[1]) / w;
        for i in 1..n - 1 {
            (low[i], mid[i], up[i]) = (h[i], 2.0 * (h[i - 1] + h[i]), h[i - 1]);
            right[i] = 3.0 * (h[i] * d[i - 1] + h[i - 1] * d[i]);
        }
        let (a, b) = (h[n - 3], h[n - 2]);
        let w = a + b;
        (low[n - 1], mid[n - 1]) = (w, a);
        right[n - 1] = (b * b * d[n - 3] + (2.0 * w + b) * a * d[n - 2]) / w;
        for i in 1..n {
            let factor = low[i] / mid[i - 1];
            mid[i] -= factor * up[i - 1];
            right[i] -= factor * right[i - 1];
        }
        let mut slopes = right;
        slopes[n - 1] /= mid[n - 1];
        for i in (0..n - 1).rev() {
            slopes[i] = (slopes[i] - up[i] * slopes[i + 1]) / mid[i];
        }
        slopes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cubics_are_filled_exactly() {
        let cubic = |t: f64| 1.0 - 2.0 * t + 0.5 * t * t - 0.03 * t * t * t;
        let full = Array2::from_shape_fn((12, 1), |(t, _)| cubic(t as f64));
        for kept in [vec![0, 1, 3, 4, 7, 8, 11], vec![1, 2, 5, 9]] {
            let mut holed = full.clone();
            for t in (0..12).filter(|t| !kept.contains(t)) {
                holed[[t, 0]] = 999.0;
            }
            fill(&mut holed, &kept);
            for t in 0..12 {
                let inside = t >= kept[0] && t <= kept[kept.len() - 1];
                let expected = if inside { cubic(t as f64) } else { 999.0 };
                assert!((holed[[t, 0]] - expected).abs() < 1e-10, "{kept:?}, {t}: {}", holed[[t, 0]]);
            }
        }
    }

    #[test]
    fn few_points() {
        let mut line = Array2::from_shape_vec((4, 1), vec![1.0, 9.0, 9.0, 7.0]).unwrap();
        fill(&mut line, &[0, 3]);
        assert!((line[[1, 0]] - 3.0).abs() < 1e-12 && (line[[2, 0]] - 5.0).abs() < 1e-12);
        let mut parabola = Array2::from_shape_vec((5, 1), vec![0.0, 9.0, 4.0, 9.0, 16.0]).unwrap();
        fill(&mut parabola, &[0, 2, 4]);
        assert!((parabola[[1, 0]] - 1.0).abs() < 1e-12 && (parabola[[3, 0]] - 9.0).abs() < 1e-12);
    }
}
