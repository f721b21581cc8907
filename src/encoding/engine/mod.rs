//! Nested cross-validated ridge for many targets at once: the fast route to what [`super::cv::plain`] defines.
//!
//! What is shared is computed once: one eigendecomposition per distinct training set, K (K − 1) / 2 for the inner fits of
//! K folds, serves every alpha, every target and every response whose rows these are. The stages:
//!
//! 1. [`system`]: Gram or kernel matrix of each training set, z-scored on it; eigendecompositions.
//! 2. [`sweep`]: squared error of every inner fit, alpha and target, in blocks of targets.
//! 3. [`choice`]: alpha per outer fold and target; a default grid is widened where needed, close calls are settled.
//! 4. [`refit`]: the fit on all rows outside each outer fold, with each target's own alpha.
//!
//! Work runs on rayon's current pool, over training sets and blocks of targets, with single-threaded BLAS. Sums run in a
//! fixed order, so that results do not depend on which thread did what.

mod banded;
mod bands;
mod choice;
mod inner;
mod narrow;
mod offload;
mod refit;
mod rows;
mod search;
mod shape;
mod smoother;
mod space;
mod spectra;
mod sweep;
mod system;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::alphas::AlphaGrid;
use super::cv::CvFit;
use super::folds::Folds;
use crate::compute::cpu::{self, Real};
use crate::compute::device::Offload;
use crate::error::{Code, Error, Result};
use crate::watch::Watch;

pub use banded::{Banded, BandedFit, fit_banded};
use bands::Kernels;
pub use bands::{Bands, random_weights};
pub(super) use choice::{crowded_edges, smallest};
pub use inner::inner_predictions;
use refit::Refit;
use rows::Rows;
use search::{Prepared, State};
pub use shape::Size;
use space::Space;
pub use spectra::{Part, Sharing, Spectra};
use system::{Block, Grams, System};

/// In which precision ridge is computed. Sums of squares and scores are float64 in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// float64 throughout: the reference.
    Double,
    /// Alphas are searched in float32, and again in float64 for targets where rounding could change the choice; the
    /// decompositions and final fits are float64. Chooses as [`Precision::Double`] does.
    #[default]
    Mixed,
    /// float32 throughout.
    Single,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::Double, Precision::Mixed, Precision::Single];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::Double => "double",
            Precision::Mixed => "mixed",
            Precision::Single => "single",
        }
    }
}

/// How to compute.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The precision.
    pub precision: Precision,
    /// Bytes that the engine may use beside its inputs; none for no limit.
    pub memory: Option<u64>,
    /// Factor of each column after z-scoring (banded ridge); none for 1 throughout.
    pub scale: Option<Vec<f64>>,
    /// Cards that decompose training sets and search alphas; none for the CPU.
    pub offload: Option<Offload>,
    /// Confines every fit to so many principal components of the z-scored training rows, the ones with the largest
    /// variance, which keep their variance (ridge shrinks the smaller ones more); none for all.
    pub components: Option<usize>,
    /// Decompositions shared with other fits of the feature space; none when there are no others.
    pub sharing: Option<Sharing>,
}

/// Responses that are read in blocks of targets.
pub trait Targets: Sync {
    /// Number of targets.
    fn columns(&self) -> usize;
    /// The values of some targets (rows, columns).
    fn read(&self, columns: Range<usize>) -> Result<Array2<f64>>;
}

impl Targets for ArrayView2<'_, f64> {
    fn columns(&self) -> usize {
        self.ncols()
    }

    fn read(&self, columns: Range<usize>) -> Result<Array2<f64>> {
        Ok(self.slice(s![.., columns]).to_owned())
    }
}

/// One block of fitted targets.
#[derive(Debug)]
pub struct Fitted {
    /// Which of the responses.
    pub response: usize,
    /// Which of its targets.
    pub columns: Range<usize>,
    /// Their values (rows, columns).
    pub y: Array2<f64>,
    /// Their fit.
    pub fit: CvFit,
}

/// What was done, for tests and for the record.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Report {
    /// Eigendecompositions.
    pub eigendecompositions: usize,
    /// Whether XᵀX (and not XXᵀ) was decomposed.
    pub primal: bool,
    /// Choices of alpha (outer folds × targets).
    pub choices: usize,
    /// Choices that were made again in float64.
    pub searched_again: usize,
    /// Most alphas multiplied in a float32 search; the others follow from them.
    pub base_alphas: usize,
    /// Seconds spent on Gram matrices and decompositions of inner training sets.
    pub factor_seconds: f64,
    /// Seconds spent on the search.
    pub search_seconds: f64,
    /// Seconds spent on searching again.
    pub again_seconds: f64,
    /// Seconds spent on outer fits, their scores included where the receiver computes them.
    pub refit_seconds: f64,
    /// Seconds spent on the inner predictions and the weights of a mixture.
    pub mix_seconds: f64,
}

impl Report {
    /// Adds the work of another fit.
    pub fn add(&mut self, other: &Report) {
        self.eigendecompositions += other.eigendecompositions;
        self.primal = other.primal;
        self.choices += other.choices;
        self.searched_again += other.searched_again;
        self.base_alphas = self.base_alphas.max(other.base_alphas);
        self.factor_seconds += other.factor_seconds;
        self.search_seconds += other.search_seconds;
        self.again_seconds += other.again_seconds;
        self.refit_seconds += other.refit_seconds;
        self.mix_seconds += other.mix_seconds;
    }
}

/// Blocks of targets are kept between stages when they take no more than a quarter of this, or of the memory.
const KEPT: u64 = 4 << 30;
/// Targets that are worked on at once, and more of them where there are few rows: so many values.
const BLOCK: usize = 512;
const BLOCK_VALUES: usize = 1 << 16;

/// Fits nested cross-validated ridge of each response on `x` (rows, features) and hands over fitted targets in blocks.
///
/// A default grid is widened per response. `receive` is called from several threads, in no particular order.
///
/// # Errors
/// `RC-03` for fewer than three folds: with two, the inner training set would be empty. `NU-01` for overflow. Whatever
/// `receive` returns.
pub fn fit_blocks(
    x: ArrayView2<'_, f64>,
    responses: &[&dyn Targets],
    folds: &Folds,
    grid: &AlphaGrid,
    options: &Options,
    watch: &dyn Watch,
    receive: &(dyn Fn(Fitted) -> Result<()> + Sync),
) -> Result<Report> {
    assert_eq!(x.nrows(), folds.of_row().len(), "x and folds have the same rows");
    assert!(options.scale.as_ref().is_none_or(|s| s.len() == x.ncols()), "one scale per feature");
    enough_folds(folds)?;
    cpu::single_threaded_blas();
    match options.precision {
        Precision::Single => Engine::<f32>::new(x, responses, folds, grid, options, watch).run(receive),
        _ => Engine::<f64>::new(x, responses, folds, grid, options, watch).run(receive),
    }
}

/// Nested cross-validation needs three folds.
pub(super) fn enough_folds(folds: &Folds) -> Result<()> {
    if folds.count() >= 3 {
        return Ok(());
    }
    Err(Error::new(Code::Rc03, "folds", format!("there are {}", folds.count()))
        .expected("at least 3: alpha is chosen on the folds that remain when one is held out"))
}

/// Fits one response that is in memory.
///
/// # Errors
/// As [`fit_blocks`].
pub fn fit(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    folds: &Folds,
    grid: &AlphaGrid,
    options: &Options,
    watch: &dyn Watch,
) -> Result<(CvFit, Report)> {
    assert_eq!(x.nrows(), y.nrows(), "x and y have the same rows");
    let k = folds.count();
    let whole = Mutex::new(CvFit {
        predicted: Array2::zeros(y.raw_dim()),
        train_mean: Array2::zeros((k, y.ncols())),
        chosen: Array2::zeros((k, y.ncols())),
        inner_error: Array2::zeros((k, y.ncols())),
        grid: grid.clone(),
        varying: vec![0; k],
    });
    let report = fit_blocks(x, &[&y], folds, grid, options, watch, &|part| {
        let mut whole = whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        whole.predicted.slice_mut(s![.., part.columns.clone()]).assign(&part.fit.predicted);
        whole.train_mean.slice_mut(s![.., part.columns.clone()]).assign(&part.fit.train_mean);
        whole.inner_error.slice_mut(s![.., part.columns.clone()]).assign(&part.fit.inner_error);
        whole.chosen.slice_mut(s![.., part.columns]).assign(&part.fit.chosen);
        whole.grid = part.fit.grid;
        whole.varying = part.fit.varying;
        Ok(())
    })?;
    Ok((whole.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), report))
}

/// A block of targets of one response.
#[derive(Debug, Clone)]
struct Place {
    response: usize,
    columns: Range<usize>,
}

/// A block of targets as it is worked on.
struct Loaded<T> {
    /// Less their means.
    block: Block<T>,
    /// As given (rows, columns).
    given: Array2<f64>,
    /// The means.
    offset: Vec<f64>,
}

/// Everything about one feature space that does not change while it is fitted.
struct Engine<'a, T> {
    rows: Rows,
    space: Space,
    grams: Option<Grams<T>>,
    /// Factor of each column after z-scoring.
    scale: Option<Vec<f64>>,
    /// Banded ridge in the dual: the kernels of the bands, and their weights.
    kernels: Option<Kernels<T>>,
    weights: Vec<f64>,
    responses: &'a [&'a dyn Targets],
    places: Vec<Place>,
    /// Blocks that were read, where all of them may be kept.
    loaded: Option<Vec<OnceLock<Arc<Loaded<T>>>>>,
    targets: usize,
    asked: &'a AlphaGrid,
    /// The grid asked for, or a default one widened on both sides.
    wide: AlphaGrid,
    options: &'a Options,
    watch: &'a dyn Watch,
    /// Inner training sets that are in memory at once.
    wave: usize,
    decompositions: AtomicUsize,
}

impl<'a, T: Real> Engine<'a, T> {
    fn new(
        x: ArrayView2<'_, f64>,
        responses: &'a [&'a dyn Targets],
        folds: &Folds,
        asked: &'a AlphaGrid,
        options: &'a Options,
        watch: &'a dyn Watch,
    ) -> Engine<'a, T> {
        let rows = Rows::new(folds);
        let space = Space::new(x, &rows);
        let targets = responses.iter().map(|r| r.columns()).sum();
        let size =
            Size { rows: rows.len(), features: x.ncols(), targets, folds: rows.folds(), alphas: asked.values.len() };
        let threads = rayon::current_num_threads();
        let width = size
            .block(options.memory, threads)
            .min(targets.div_ceil(threads))
            .clamp(16, BLOCK.max(BLOCK_VALUES / rows.len().max(1)));
        let places = responses.iter().enumerate().flat_map(|(response, targets)| {
            let all = targets.columns();
            (0..all.div_ceil(width)).map(move |i| Place { response, columns: i * width..all.min((i + 1) * width) })
        });
        let grams = size.primal().then(|| Grams::new(&space, &rows));
        let places: Vec<Place> = places.collect();
        let keep = size.target_bytes() <= options.memory.unwrap_or(KEPT).min(KEPT) / 4;
        Engine {
            loaded: keep.then(|| places.iter().map(|_| OnceLock::new()).collect()),
            places,
            scale: options.scale.clone(),
            kernels: None,
            weights: Vec::new(),
            wave: size.wave(options.memory, threads),
            wide: if asked.given { asked.clone() } else { asked.widened(true, true) },
            decompositions: AtomicUsize::new(0),
            rows,
            space,
            grams,
            responses,
            targets,
            asked,
            options,
            watch,
        }
    }

    /// The system of a training set; without its matrix where the decomposition of that is `known`.
    fn system(&self, without: &[usize], parts: Option<&Bands>, known: bool) -> System<T> {
        match &self.kernels {
            Some(kernels) => kernels.system(without, &self.weights, parts.is_some()),
            None => {
                let (grams, scale) = (self.grams.as_ref(), self.scale.as_deref());
                let system = System::new(&self.space, &self.rows, grams, without, scale, parts, known);
                System { components: self.options.components, ..system }
            }
        }
    }

    /// Weighs the bands from now on.
    fn weigh(&mut self, bands: &Bands, weights: &[f64]) {
        self.scale = Some(bands.scale(weights));
        self.weights = weights.to_vec();
    }

    /// A block of the engine's targets; kept for the next call where all of them fit into memory.
    fn load(&self, at: usize) -> Result<Arc<Loaded<T>>> {
        let kept = self.loaded.as_ref().map(|all| &all[at]);
        if let Some(found) = kept.and_then(OnceLock::get) {
            return Ok(Arc::clone(found));
        }
        let loaded = Arc::new(self.read(&self.places[at])?);
        Ok(kept.map_or_else(|| Arc::clone(&loaded), |kept| Arc::clone(kept.get_or_init(|| Arc::clone(&loaded)))))
    }

    /// Reads a block of targets.
    fn read(&self, place: &Place) -> Result<Loaded<T>> {
        let given = self.responses[place.response].read(place.columns.clone())?;
        assert_eq!(given.dim(), (self.rows.len(), place.columns.len()), "responses have the rows of the features");
        // Shifting a target changes no score; near-zero means keep sums of squares exact for responses with an offset.
        let offset = given.mean_axis(ndarray::Axis(0)).unwrap_or_default();
        let y = self.rows.sorted(given.view()) - &offset;
        let space = self.grams.as_ref().map(|_| &self.space);
        Ok(Loaded { block: Block::new(y, &self.rows, space), given, offset: offset.to_vec() })
    }

    fn run(self, receive: &(dyn Fn(Fitted) -> Result<()> + Sync)) -> Result<Report> {
        let mut report = Report { primal: self.grams.is_some(), ..Report::default() };
        let states = self.search(&mut report)?;
        let clock = Instant::now();
        self.refit(&states, receive)?;
        report.refit_seconds = clock.elapsed().as_secs_f64();
        report.eigendecompositions = self.decompositions.load(Ordering::Relaxed);
        report.choices = self.targets * self.rows.folds();
        Ok(report)
    }

    fn refit(&self, states: &[State], receive: &(dyn Fn(Fitted) -> Result<()> + Sync)) -> Result<()> {
        let folds = self.rows.folds();
        let fits: Vec<Refit<T>> = (0..folds)
            .into_par_iter()
            .map(|fold| {
                self.watch.check()?;
                let mut used = vec![false; self.wide.values.len()];
                states.iter().flat_map(|s| s.chosen.row(fold)).for_each(|c| used[*c] = true);
                let used: Vec<(usize, f64)> =
                    self.wide.values.iter().copied().enumerate().filter(|(i, _)| used[*i]).collect();
                self.outer(fold, &used)
            })
            .collect::<Result<_>>()?;
        self.places.par_iter().zip(states).enumerate().try_for_each(|(at, (place, state))| {
            self.watch.check()?;
            let loaded = self.load(at)?;
            let Loaded { block, given, offset } = &*loaded;
            let mut predicted = Array2::zeros(given.raw_dim());
            let mut train_mean = Array2::zeros((folds, offset.len()));
            for (fold, fit) in fits.iter().enumerate() {
                let mut mean = block.mean(&self.rows, &[fold]);
                let part = fit.predict(block, &self.rows, &mean, None, state.chosen.row(fold), &self.wide.values);
                mean.iter_mut().zip(offset).for_each(|(m, o)| *m += o);
                for (place, from) in self.rows.of(fold).zip(part.rows()) {
                    let mut to = predicted.row_mut(self.rows.given(place));
                    to.iter_mut().zip(from).zip(&mean).for_each(|((to, from), m)| *to = from.wide() + m);
                }
                train_mean.row_mut(fold).iter_mut().zip(&mean).for_each(|(to, m)| *to = *m);
            }
            let fit = CvFit {
                predicted,
                train_mean,
                chosen: state.chosen.mapv(|c| c - state.range.start),
                inner_error: state.chosen_errors(),
                grid: AlphaGrid { values: self.wide.values[state.range.clone()].to_vec(), given: self.asked.given },
                varying: fits.iter().map(Refit::varying).collect(),
            };
            receive(Fitted { response: place.response, columns: place.columns.clone(), y: given.clone(), fit })
        })
    }

    /// Decomposes the inner training sets, as many at once as memory allows, and calls `use_them` for each wave. Waves
    /// that fit into memory together are kept for the next call.
    fn with_factors(
        &self,
        kept: &mut Option<Vec<Prepared<T>>>,
        seconds: &mut f64,
        mut use_them: impl FnMut(&[Prepared<T>]) -> Result<()>,
    ) -> Result<()> {
        if let Some(all) = kept {
            return use_them(all);
        }
        let folds = self.rows.folds();
        let pairs: Vec<[usize; 2]> = (0..folds).flat_map(|j| (j + 1..folds).map(move |k| [j, k])).collect();
        for wave in pairs.chunks(self.wave) {
            let clock = Instant::now();
            let prepare = |without: &[usize; 2]| {
                self.watch.check()?;
                Ok(Prepared::new(self.factor(without)?, self.options.precision, self.targets))
            };
            let prepared = wave.par_iter().map(prepare).collect::<Result<Vec<_>>>()?;
            *seconds += clock.elapsed().as_secs_f64();
            use_them(&prepared)?;
            if wave.len() == pairs.len() {
                *kept = Some(prepared);
            }
        }
        Ok(())
    }
}
