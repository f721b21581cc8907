//! The invented responses: which parcels are driven by what, and how strongly.

use ndarray::{Array1, Array2, ArrayView1, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::texts::RUN_ROWS;
use crate::compute::cpu::{Spectrum, eigh};
use crate::error::Result;

pub(super) const SUBJECTS: u64 = 8;
/// Parcels in all.
pub(super) const PARCELS: usize = 64;
/// The layer that drives parcels.
pub(super) const LAYER: usize = 3;
/// Share of a driven parcel's variance that comes from the layer.
pub(super) const SIGNAL_SHARE: f64 = 0.5;
/// Parcels (from 1) that follow the number of words, and the share of their variance that does.
pub(super) const BY_WORDS: [usize; 6] = [3, 14, 27, 38, 49, 62];
const WORDS_SHARE: f64 = 0.3;
/// Principal components of the layer that the signal is made of. With few of them 96 training rows are enough to learn
/// the weights: a signal spread over all directions would be just as true and could not be found.
const COMPONENTS: usize = 6;
/// Size of what a subject adds to the weights that all subjects share.
const INDIVIDUAL: f64 = 0.3;
/// Correlation of the noise of one scenario with that of the one before.
const AUTOCORRELATION: f64 = 0.4;
const WEIGHTS_SEED: u64 = 3;
/// Seed of the first subject; the others follow.
const SUBJECT_SEED: u64 = 100;

/// The parcels (from 1) that the layer drives.
pub(super) fn driven() -> impl Iterator<Item = usize> {
    (5..=60).step_by(5)
}

/// What can drive a parcel, and with which weights in the average subject.
pub(super) struct Driver {
    /// The standardised states of the layer, taken to their first components and these to variance 1, then turned back
    /// to the axes of the states (scenarios, width): unlike the components, that has no arbitrary signs.
    whitened: Array2<f64>,
    /// (width, driven parcels).
    weights: Array2<f64>,
}

impl Driver {
    /// Takes the pooled states of the layer (scenarios, width).
    pub fn new(states: &Array2<f64>) -> Result<Driver> {
        let mut z = states.clone();
        standardise_columns(&mut z);
        let Spectrum { values, vectors } = eigh(z.t().dot(&z) / z.nrows() as f64)?;
        let first = values.len() - COMPONENTS;
        let axes = vectors.slice_axis(Axis(1), (first..).into());
        let scaled = &axes / &values.slice_axis(Axis(0), (first..).into()).mapv(f64::sqrt);
        let whitened = z.dot(&scaled).dot(&axes.t());
        let weights = normals((z.ncols(), driven().count()), &mut ChaCha8Rng::seed_from_u64(WEIGHTS_SEED));
        Ok(Driver { whitened, weights })
    }

    /// The noiseless signals of a subject (scenarios, driven parcels), each of variance 1.
    fn signals(&self, rng: &mut ChaCha8Rng) -> Array2<f64> {
        let own = normals(self.weights.dim(), rng) * INDIVIDUAL;
        let mut signals = self.whitened.dot(&(&self.weights + &own));
        standardise_columns(&mut signals);
        signals
    }
}

/// The responses of a subject (scenarios, parcels); every parcel has variance 1 up to the chance correlation of its
/// signal and noise.
pub(super) fn responses(subject: u64, driver: &Driver, words: &[f64]) -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(SUBJECT_SEED + subject);
    let signals = driver.signals(&mut rng);
    let words = standardised(ArrayView1::from(words));
    let mut y = noise(words.len(), &mut rng);
    let mut plant = |parcel: usize, effect: &Array1<f64>, share: f64| {
        let mut column = y.column_mut(parcel - 1);
        column *= (1.0 - share).sqrt();
        column.scaled_add(share.sqrt(), effect);
    };
    driven()
        .zip(signals.axis_iter(Axis(1)))
        .for_each(|(parcel, signal)| plant(parcel, &signal.to_owned(), SIGNAL_SHARE));
    BY_WORDS.iter().for_each(|parcel| plant(*parcel, &words, WORDS_SHARE));
    y
}

/// AR(1) noise that starts anew with every run, mean 0 and variance 1 over all rows.
fn noise(rows: usize, rng: &mut ChaCha8Rng) -> Array2<f64> {
    let mut noise = normals((rows, PARCELS), rng);
    for row in (0..rows).filter(|row| row % RUN_ROWS > 0) {
        let before = noise.row(row - 1).to_owned();
        let mut now = noise.row_mut(row);
        now *= (1.0 - AUTOCORRELATION * AUTOCORRELATION).sqrt();
        now.scaled_add(AUTOCORRELATION, &before);
    }
    standardise_columns(&mut noise);
    noise
}

fn normals(shape: (usize, usize), rng: &mut ChaCha8Rng) -> Array2<f64> {
    Array2::from_shape_simple_fn(shape, || StandardNormal.sample(rng))
}

fn standardise_columns(matrix: &mut Array2<f64>) {
    for mut column in matrix.columns_mut() {
        let standard = standardised(column.view());
        column.assign(&standard);
    }
}

/// Mean 0, variance 1.
fn standardised(values: ArrayView1<'_, f64>) -> Array1<f64> {
    let n = values.len() as f64;
    let centred = &values - values.sum() / n;
    let sd = (centred.dot(&centred) / n).sqrt();
    centred / sd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_model_has_the_cod_that_is_promised() {
        let states = normals((120, 48), &mut ChaCha8Rng::seed_from_u64(0));
        let driver = Driver::new(&states).unwrap();
        let (mut error, mut reference) = (0.0, 0.0);
        for subject in 1..=SUBJECTS {
            let y = responses(subject, &driver, &states.column(0).to_vec());
            let truth = driver.signals(&mut ChaCha8Rng::seed_from_u64(SUBJECT_SEED + subject)) * SIGNAL_SHARE.sqrt();
            for (parcel, predicted) in driven().zip(truth.columns()) {
                let y = y.column(parcel - 1);
                assert!(y.sum().abs() < 1e-9);
                error += (&y - &predicted).mapv(|v| v * v).sum();
                reference += y.dot(&y);
            }
        }
        let cod = 1.0 - error / reference;
        assert!((cod - SIGNAL_SHARE).abs() < 0.02, "{cod}");
    }

    #[test]
    fn noise_is_autocorrelated_within_runs_only() {
        let noise = noise(120, &mut ChaCha8Rng::seed_from_u64(0));
        let (mut within, mut across) = (Vec::new(), Vec::new());
        for row in 1..120 {
            let product = noise.row(row).dot(&noise.row(row - 1)) / PARCELS as f64;
            if row % RUN_ROWS > 0 { within.push(product) } else { across.push(product) }
        }
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        assert!((mean(&within) - AUTOCORRELATION).abs() < 0.05 && mean(&across).abs() < 0.15);
    }
}
