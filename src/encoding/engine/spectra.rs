//! Eigendecompositions that several fits of one feature space have in common.
//!
//! Subjects who saw different rows are fitted apart. Where one of them lacks rows of a single fold, though, the training
//! sets that leave this fold out are those of everyone else: K − 1 of the K (K − 1) / 2 inner ones and one outer one; and
//! whoever lacks a whole fold has the others' inner training sets as outer ones. Such a set is decomposed once. What its
//! held-out rows add is each fit's own.
//!
//! Gram matrices of single folds are not shared: they cost rows · p² operations once per fit, beside 10 p³ for each of
//! its decompositions.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use ndarray::Array2;

use super::super::folds::Folds;
use super::Engine;
use super::bands::sets;
use super::refit::Refit;
use super::rows::Rows;
use super::shape::Size;
use super::system::Factor;
use crate::compute::cpu::Real;
use crate::error::Result;
use crate::ids::Digest;
use crate::io::digest;

/// One of the fits that share a feature space.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Which rows of the feature space it has, in its order.
    pub rows: &'a [usize],
    /// Its folds.
    pub folds: &'a Folds,
    /// Number of its targets.
    pub targets: usize,
}

/// A training set: whether it is decomposed in the primal, its number of rows, and their digest in the order of their folds.
type Key = (bool, usize, Digest);

/// Positive eigenvalues, ascending, and their vectors.
struct Decomposed<T> {
    values: Vec<f64>,
    vectors: Array2<T>,
}

/// The decompositions that more than one fit needs, kept from the first one that made them.
pub struct Spectra(HashMap<Key, OnceLock<Arc<dyn Any + Send + Sync>>>);

impl fmt::Debug for Spectra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spectra").field("shared", &self.0.len()).finish()
    }
}

/// Whose decompositions a fit may use, and which rows of the feature space it has.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// What is shared.
    pub spectra: Arc<Spectra>,
    /// Rows of the feature space, in the fit's order.
    pub rows: Arc<[usize]>,
}

impl Spectra {
    /// What the fits `parts` of a space of so many `features` have in common, as much of it as fits into a quarter of
    /// `memory` bytes (the first ones). Fits have to run one after the other for results that do not depend on chance.
    pub fn of(parts: &[Part<'_>], features: usize, alphas: usize, memory: Option<u64>) -> Spectra {
        let mut uses: HashMap<Key, usize> = HashMap::new();
        let mut order: Vec<Key> = Vec::new();
        for part in parts {
            let rows = Rows::new(part.folds);
            let size = Size { rows: rows.len(), features, targets: part.targets, folds: rows.folds(), alphas };
            for without in sets(rows.folds()) {
                let key = key(&rows, &without, part.rows, size.primal());
                let count = uses.entry(key).or_default();
                *count += 1;
                if *count == 2 {
                    order.push(key);
                }
            }
        }
        let mut left = memory.map_or(u64::MAX, |m| m / 4);
        let bytes = |(primal, rows, _): &Key| {
            let d = if *primal { features } else { *rows } as u64;
            8 * d * d
        };
        order.retain(|key| {
            let fits = bytes(key) <= left;
            left -= if fits { bytes(key) } else { 0 };
            fits
        });
        Spectra(order.into_iter().map(|key| (key, OnceLock::new())).collect())
    }

    /// Whether there is nothing to share.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn key(rows: &Rows, without: &[usize], names: &[usize], primal: bool) -> Key {
    let names = rows.outside(without).into_iter().flatten().map(|place| names[rows.given(place)]);
    let bytes: Vec<u8> = names.flat_map(|name| (name as u64).to_le_bytes()).collect();
    (primal, bytes.len() / 8, digest(&bytes))
}

impl<T: Real> Engine<'_, T> {
    /// Where the decomposition of a training set is kept, if it is shared.
    fn shared(&self, without: &[usize]) -> Option<&OnceLock<Arc<dyn Any + Send + Sync>>> {
        let Sharing { spectra, rows } = self.options.sharing.as_ref()?;
        spectra.0.get(&key(&self.rows, without, rows, self.grams.is_some()))
    }

    /// The factor of an inner training set.
    pub(super) fn factor(&self, without: &[usize]) -> Result<Factor<T>> {
        let shared = self.shared(without);
        if let Some(known) = shared.and_then(known::<T>) {
            return Ok(self.system(without, None, true).factor_from(known.values.clone(), known.vectors.clone()));
        }
        self.decompositions.fetch_add(1, Ordering::Relaxed);
        let factor = self.system(without, None, false).factor_on(self.options.offload.as_ref())?;
        keep(shared, &factor);
        Ok(factor)
    }

    /// The fit on all rows outside a fold, for the alphas `used` (index, value).
    pub(super) fn outer(&self, fold: usize, used: &[(usize, f64)]) -> Result<Refit<T>> {
        let shared = self.shared(&[fold]);
        if let Some(known) = shared.and_then(known::<T>) {
            let system = self.system(&[fold], None, true);
            return Ok(Refit::Eigen(system.factor_from(known.values.clone(), known.vectors.clone())));
        }
        let fit = Refit::new(self.system(&[fold], None, false), used, self.targets)?;
        if let Refit::Eigen(factor) = &fit {
            self.decompositions.fetch_add(1, Ordering::Relaxed);
            keep(shared, factor);
        }
        Ok(fit)
    }
}

fn known<T: Real>(slot: &OnceLock<Arc<dyn Any + Send + Sync>>) -> Option<Arc<Decomposed<T>>> {
    Arc::clone(slot.get()?).downcast().ok()
}

fn keep<T: Real>(slot: Option<&OnceLock<Arc<dyn Any + Send + Sync>>>, factor: &Factor<T>) {
    if let Some(slot) = slot {
        let (values, vectors) = (factor.values.clone(), factor.vectors.clone());
        slot.get_or_init(|| Arc::new(Decomposed { values, vectors }));
    }
}
