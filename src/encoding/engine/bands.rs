//! Bands of features, and the weights that a search tries for them.

use std::collections::BTreeMap;

use ndarray::{Array2, Axis, concatenate, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma};
use rayon::prelude::*;

use super::rows::{Rows, count};
use super::space::Space;
use super::system::{Side, System};
use crate::compute::cpu::{Real, gram};
use crate::error::{Code, Error, Result};

/// Concentrations of the Dirichlet distribution, in turn: sparse weights and even ones (Dupré la Tour et al. 2022,
/// NeuroImage 264, 119728).
const CONCENTRATIONS: [f64; 2] = [0.1, 1.0];

/// Which band each feature belongs to: 0, 1, … without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bands {
    of_feature: Vec<usize>,
    count: usize,
}

impl Bands {
    /// Bands from the number of each feature's band.
    ///
    /// # Errors
    /// `RS-07` when a number between 0 and the largest is nobody's band.
    pub fn new(of_feature: Vec<usize>) -> Result<Bands> {
        let count = of_feature.iter().max().map_or(0, |b| b + 1);
        match (0..count).find(|b| !of_feature.contains(b)) {
            None if count > 0 => Ok(Bands { of_feature, count }),
            None => Err(Error::new(Code::Rs07, "bands", "hold no feature").expected("a band for each feature")),
            Some(missing) => Err(Error::new(Code::Rs07, "bands", format!("no feature is in band {missing}"))
                .expected(format!("every band from 0 to {} to have a feature", count - 1))),
        }
    }

    /// Bands one after the other, with so many features each.
    ///
    /// # Errors
    /// As [`Bands::new`].
    pub fn of_sizes(sizes: &[usize]) -> Result<Bands> {
        Bands::new(sizes.iter().enumerate().flat_map(|(band, n)| std::iter::repeat_n(band, *n)).collect())
    }

    /// Number of bands.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The band of each feature.
    pub fn of_feature(&self) -> &[usize] {
        &self.of_feature
    }

    /// The features of a band, ascending.
    pub fn features(&self, band: usize) -> Vec<usize> {
        (0..self.of_feature.len()).filter(|f| self.of_feature[*f] == band).collect()
    }

    /// The features that remain without a band, and their bands; none where it is the only one.
    pub fn without(&self, band: usize) -> Option<(Vec<usize>, Bands)> {
        let features: Vec<usize> = (0..self.of_feature.len()).filter(|f| self.of_feature[*f] != band).collect();
        let of_feature =
            features.iter().map(|f| self.of_feature[*f] - usize::from(self.of_feature[*f] > band)).collect();
        (self.count > 1).then_some((features, Bands { of_feature, count: self.count - 1 }))
    }

    /// The factor of each column: the square root of its band's weight.
    pub fn scale(&self, weights: &[f64]) -> Vec<f64> {
        self.of_feature.iter().map(|b| weights[*b].sqrt()).collect()
    }

    /// The same rows once per band, with the columns of one band alone, one below the other.
    pub(super) fn stacked<T: Real>(&self, rows: &Array2<T>) -> Array2<T> {
        let mut out = Array2::zeros((self.count * rows.nrows(), rows.ncols()));
        for (band, mut part) in out.axis_chunks_iter_mut(Axis(0), rows.nrows().max(1)).enumerate() {
            for (mut to, from) in part.rows_mut().into_iter().zip(rows.rows()) {
                for ((to, from), b) in to.iter_mut().zip(from).zip(&self.of_feature) {
                    if *b == band {
                        *to = *from;
                    }
                }
            }
        }
        out
    }
}

/// Weights of the bands to try, each summing to 1 (draws, bands): the equal split first, then Dirichlet draws.
///
/// # Panics
/// Never: the concentrations are valid.
pub fn random_weights(bands: usize, draws: usize, seed: u64) -> Array2<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = Array2::from_elem((draws, bands), 1.0 / bands as f64);
    for draw in 1..draws {
        let concentration = CONCENTRATIONS[(draw - 1) % CONCENTRATIONS.len()];
        // INVARIANT: the concentration is positive, the scale is 1.
        let gamma = Gamma::new(concentration, 1.0).expect("a positive concentration");
        loop {
            let mut row = weights.row_mut(draw);
            row.iter_mut().for_each(|w| *w = gamma.sample(&mut rng));
            let sum = row.sum();
            // Small concentrations can give nothing but numbers too small to divide.
            if sum > 1e-100 {
                row /= sum;
                break;
            }
        }
    }
    weights
}

/// Kernel matrices per band and training set: a weighting is then a sum, and nothing is multiplied out again.
pub(super) struct Kernels<T>(BTreeMap<Vec<usize>, Vec<BandKernel<T>>>);

struct BandKernel<T> {
    /// Lower triangle (n, n).
    matrix: Array2<T>,
    /// (held-out rows, n).
    cross: Array2<T>,
    varying: usize,
}

impl<T: Real> Kernels<T> {
    /// Bytes that the kernels of all training sets take.
    pub(super) fn bytes(rows: &Rows, bands: usize) -> u64 {
        let all = rows.len() as u64;
        let sets = sets(rows.folds());
        let of_set = |without: &Vec<usize>| count(&rows.outside(without)) as u64 * all;
        sets.iter().map(of_set).sum::<u64>() * (bands * size_of::<T>()) as u64
    }

    pub(super) fn new(space: &Space, rows: &Rows, bands: &Bands) -> Kernels<T> {
        let of_set = |without: Vec<usize>| {
            let train = rows.outside(&without);
            let standard = space.exact_standard(rows, &without, None);
            let held_out: Vec<_> = without.iter().map(|f| rows.of(*f)).collect();
            let (z, out) = (space.z::<T>(&train, &standard), space.z::<T>(&held_out, &standard));
            let kernel = |band: usize| {
                let features = bands.features(band);
                let (z, out) = (z.select(Axis(1), &features), out.select(Axis(1), &features));
                let varying = features.iter().filter(|f| standard.factor[**f] != 0.0).count();
                BandKernel { matrix: gram(z.view(), false), cross: out.dot(&z.t()), varying }
            };
            let kernels: Vec<_> = (0..bands.count()).map(kernel).collect();
            (without, kernels)
        };
        Kernels(sets(rows.folds()).into_par_iter().map(of_set).collect())
    }

    /// The system of a training set with these weights; `cross` in one part per band when `parted`.
    pub(super) fn system(&self, without: &[usize], weights: &[f64], parted: bool) -> System<T> {
        let kernels = &self.0[without];
        let mut matrix = Array2::<T>::zeros(kernels[0].matrix.raw_dim());
        let mut varying = 0;
        let mut parts = Vec::with_capacity(kernels.len());
        for (kernel, weight) in kernels.iter().zip(weights) {
            if *weight > 0.0 {
                matrix.scaled_add(T::of(*weight), &kernel.matrix);
                varying += kernel.varying;
            }
            parts.push(kernel.cross.mapv(|v| T::of(v.wide() * weight)));
        }
        let cross = if parted {
            let views: Vec<_> = parts.iter().map(|p| p.slice(s![.., ..])).collect();
            // INVARIANT: all bands have the same rows.
            concatenate(Axis(0), &views).expect("all bands have the same rows")
        } else {
            parts.into_iter().reduce(|sum, part| sum + part).unwrap_or_else(|| Array2::zeros((0, 0)))
        };
        System { without: without.to_vec(), matrix, cross, side: Side::Rows, varying, components: None }
    }
}

/// All training sets: what is left out of each.
pub(super) fn sets(folds: usize) -> Vec<Vec<usize>> {
    let pairs = (0..folds).flat_map(|j| (j + 1..folds).map(move |k| vec![j, k]));
    pairs.chain((0..folds).map(|k| vec![k])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_fixed_by_their_seed_and_sum_to_one() {
        let weights = random_weights(3, 100, 0);
        assert_eq!(weights, random_weights(3, 100, 0));
        assert_ne!(weights, random_weights(3, 100, 1));
        assert_eq!(weights.row(0).to_vec(), [1.0 / 3.0; 3]);
        assert!(weights.rows().into_iter().all(|w| (w.sum() - 1.0).abs() < 1e-12 && w.iter().all(|v| *v >= 0.0)));
        let largest = |from: usize| {
            let rows = (from..100).step_by(2).map(|d| weights.row(d).iter().fold(0f64, |m, v| m.max(*v)));
            rows.sum::<f64>() / 50.0
        };
        assert!(largest(1) > 0.8 && largest(2) < 0.75, "sparse draws and even ones: {} {}", largest(1), largest(2));
    }

    #[test]
    fn bands_have_no_gaps() {
        assert!(Bands::new(vec![0, 2]).is_err() && Bands::new(vec![]).is_err());
        let bands = Bands::of_sizes(&[2, 1]).unwrap();
        assert_eq!((bands.count(), bands.features(0), bands.scale(&[0.25, 1.0])), (2, vec![0, 1], vec![0.5, 0.5, 1.0]));
        let stacked = bands.stacked(&ndarray::arr2(&[[1.0, 2.0, 3.0]]));
        assert_eq!(stacked, ndarray::arr2(&[[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]));
    }
}
