//! Invented responses on the stimuli, folds and noise of a study.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Where and how responses are invented.
pub(super) struct Design<'a> {
    /// Run of each row; noise is carried on within a run only.
    pub runs: &'a [usize],
    /// Correlation of the noise of neighbouring rows.
    pub autocorrelation: f64,
}

fn normals(shape: (usize, usize), rng: &mut ChaCha8Rng) -> Array2<f64> {
    Array2::from_shape_simple_fn(shape, || StandardNormal.sample(rng))
}

fn standardise(matrix: &mut Array2<f64>) {
    let n = matrix.nrows() as f64;
    for mut column in matrix.columns_mut() {
        let mean = column.sum() / n;
        column -= mean;
        let sd = (column.dot(&column) / n).sqrt();
        column.mapv_inplace(|v| if sd > 1e-12 * mean.abs() { v / sd } else { 0.0 });
    }
}

impl Design<'_> {
    /// Noise of variance 1 on average (rows, columns).
    pub fn noise(&self, columns: usize, seed: u64) -> Array2<f64> {
        let mut noise = normals((self.runs.len(), columns), &mut ChaCha8Rng::seed_from_u64(seed));
        let rho = self.autocorrelation;
        let mut last = std::collections::HashMap::new();
        for (row, run) in self.runs.iter().enumerate() {
            if let Some(before) = last.insert(*run, row) {
                let previous = noise.row(before).to_owned();
                let mut now = noise.row_mut(row);
                now *= (1.0 - rho * rho).sqrt();
                now.scaled_add(rho, &previous);
            }
        }
        noise
    }

    /// Responses of which `share` of the variance are random combinations of the features (rows, features), the rest
    /// noise. Every feature weighs as much as it varies: what ridge expects.
    pub fn responses(&self, x: ArrayView2<'_, f64>, share: f64, columns: usize, seed: u64) -> Array2<f64> {
        let mut z = x.to_owned();
        standardise(&mut z);
        let weights = normals((z.ncols(), columns), &mut ChaCha8Rng::seed_from_u64(seed ^ 0x5157));
        let mut signal = z.dot(&weights);
        standardise(&mut signal);
        signal * share.sqrt() + self.noise(columns, seed) * (1.0 - share).sqrt()
    }
}

/// Mean over columns that vary of the correlation of neighbouring rows of a run, between 0 and 0.95.
pub(super) fn autocorrelation(y: ArrayView2<'_, f64>, runs: &[usize]) -> f64 {
    let mut y = y.to_owned();
    standardise(&mut y);
    let pairs: Vec<usize> = (1..runs.len()).filter(|row| runs[*row] == runs[row - 1]).collect();
    let products = |column: ArrayView1<'_, f64>| {
        pairs.iter().map(|row| column[*row] * column[row - 1]).sum::<f64>() / pairs.len().max(1) as f64
    };
    let varies = |column: &ArrayView1<'_, f64>| column.iter().any(|v| *v != 0.0);
    let all: Array1<f64> = y.axis_iter(Axis(1)).filter(varies).map(products).collect();
    all.mean().unwrap_or(0.0).clamp(0.0, 0.95)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_as_correlated_as_it_was_measured() {
        let runs: Vec<usize> = (0..400).map(|row| row / 100).collect();
        for rho in [0.0, 0.6] {
            let noise = Design { runs: &runs, autocorrelation: rho }.noise(50, 1);
            assert!((autocorrelation(noise.view(), &runs) - rho).abs() < 0.03);
            // Columns without values say nothing of it.
            let beside = ndarray::concatenate![Axis(1), noise, ndarray::Array2::zeros((400, 50))];
            assert_eq!(autocorrelation(beside.view(), &runs), autocorrelation(noise.view(), &runs));
            assert!((noise.mapv(|v| v * v).mean().unwrap() - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn signal_has_its_share() {
        let runs = vec![0; 2000];
        let design = Design { runs: &runs, autocorrelation: 0.0 };
        let x = normals((2000, 5), &mut ChaCha8Rng::seed_from_u64(0));
        let y = design.responses(x.view(), 0.8, 20, 3);
        let noise = design.noise(20, 3) * 0.2f64.sqrt();
        let signal = (&y - &noise).mapv(|v| v * v).mean().unwrap();
        assert!((signal - 0.8).abs() < 1e-9);
    }
}
