//! `kernels/ridge_path.cu`: the search of alphas and the final fit, in blocks of targets that fit the card.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::{CudaSlice, DeviceRepr, PushKernelArg, ValidAsZeroBits};
use ndarray::{Array2, ArrayView2, s};

use super::accelerator::{FEWEST, join_blocks};
use super::fault;
use super::gpu::{Gpu, Grid, Lane, NOTHING, extent};
use crate::compute::cpu::Real;
use crate::compute::device::{PathErrors, PathFactor, RidgePath, in_blocks};
use crate::error::Result;

/// Alphas that one block of `ridge_noise` holds.
const NOISE_ALPHAS: usize = 8;

/// A type that the path is multiplied in.
pub(super) trait PathReal: Real + DeviceRepr + ValidAsZeroBits + Default {
    /// Its name in the kernels'.
    const NAME: &'static str;
    /// The same values where they are float32.
    fn as_single(values: &CudaSlice<Self>) -> Option<&CudaSlice<f32>>;
}

impl PathReal for f32 {
    const NAME: &'static str = "f32";
    fn as_single(values: &CudaSlice<f32>) -> Option<&CudaSlice<f32>> {
        Some(values)
    }
}

impl PathReal for f64 {
    const NAME: &'static str = "f64";
    fn as_single(_: &CudaSlice<f64>) -> Option<&CudaSlice<f32>> {
        None
    }
}

/// Extents of a launch: held-out rows, eigenvalues, targets, alphas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extents {
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) targets: usize,
    pub(super) alphas: usize,
}

/// Targets per block of a launch: small blocks where there are few targets, so that more multiprocessors have work.
pub(super) fn tile(targets: usize, rows: usize) -> usize {
    if targets <= 32 || rows <= 32 { 32 } else { 64 }
}

/// Adds squared errors to `sse` (alphas, targets), and sums of p, p², p y to `moments` (3, alphas, targets) where given.
#[allow(clippy::too_many_arguments, reason = "the kernel's own")]
pub(super) fn errors<T: PathReal>(
    gpu: &Gpu,
    lane: &Lane,
    of: Extents,
    tile: usize,
    p: &CudaSlice<T>,
    weights: &CudaSlice<T>,
    q: &CudaSlice<T>,
    truth: &CudaSlice<f64>,
    sse: &mut CudaSlice<f64>,
    moments: Option<&mut CudaSlice<f64>>,
) -> Result<()> {
    let Extents { rows, k, targets, alphas } = of;
    assert!(p.len() >= rows * k && weights.len() >= alphas * k && q.len() >= k * targets, "factors");
    assert!(truth.len() >= rows * targets && sse.len() >= alphas * targets, "truth and sums");
    assert!(moments.as_ref().is_none_or(|m| m.len() >= 3 * alphas * targets), "moments");
    if rows == 0 || targets == 0 || alphas == 0 {
        return Ok(());
    }
    let kernel = gpu.kernel(&format!("ridge_errors_{}_{tile}", T::NAME))?;
    let (m, k, t, a) = (extent(rows)?, extent(k)?, extent(targets)?, extent(alphas)?);
    let grid = Grid::new(targets.div_ceil(tile), alphas)?;
    // SAFETY: ridge_errors(p (m, k), weights (alphas, k), q (k, t), truth (m, t), m, k, t, alphas, sse (alphas, t), moments
    // (3, alphas, t) or nothing); the extents were checked above.
    unsafe {
        lane.launch(&kernel, grid, |launch| {
            launch.arg(p).arg(weights).arg(q).arg(truth).arg(&m).arg(&k).arg(&t).arg(&a).arg(sse);
            match moments {
                Some(moments) => launch.arg(moments),
                None => launch.arg(NOTHING),
            };
        })
    }
}

/// Adds Σ_j weights · q² to `noise` (alphas, targets).
pub(super) fn noise(
    gpu: &Gpu,
    lane: &Lane,
    of: Extents,
    weights: &CudaSlice<f32>,
    q: &CudaSlice<f32>,
    noise: &mut CudaSlice<f64>,
) -> Result<()> {
    let Extents { k, targets, alphas, .. } = of;
    assert!(weights.len() >= alphas * k && q.len() >= k * targets && noise.len() >= alphas * targets, "noise");
    let kernel = gpu.kernel("ridge_noise")?;
    let (k, t, a) = (extent(k)?, extent(targets)?, extent(alphas)?);
    let grid = Grid::new(targets.div_ceil(super::gpu::THREADS), alphas.div_ceil(NOISE_ALPHAS))?;
    // SAFETY: ridge_noise(weights (alphas, k), q (k, t), k, t, alphas, noise (alphas, t)); checked above.
    unsafe {
        lane.launch(&kernel, grid, |launch| {
            launch.arg(weights).arg(q).arg(&k).arg(&t).arg(&a).arg(noise);
        })
    }
}

/// The index of each target's smallest error (targets).
pub(super) fn choose(
    gpu: &Gpu,
    lane: &Lane,
    sse: &CudaSlice<f64>,
    alphas: usize,
    targets: usize,
) -> Result<CudaSlice<u32>> {
    assert!(alphas > 0 && sse.len() >= alphas * targets, "an error per alpha and target");
    let mut chosen = lane.zeros::<u32>(targets)?;
    let kernel = gpu.kernel("ridge_choose")?;
    let (a, t) = (extent(alphas)?, extent(targets)?);
    // SAFETY: ridge_choose(sse (alphas, t), alphas, t, chosen (t)); checked above.
    unsafe {
        lane.launch(&kernel, Grid::over(targets)?, |launch| {
            launch.arg(sse).arg(&a).arg(&t).arg(&mut chosen);
        })?;
    }
    Ok(chosen)
}

/// Predictions with each target's own alpha (rows, targets), and sums of (p − y)², p, p², p y (4, targets).
#[allow(clippy::too_many_arguments, reason = "the kernel's own")]
pub(super) fn refit<T: PathReal>(
    gpu: &Gpu,
    lane: &Lane,
    of: Extents,
    tile: usize,
    p: &CudaSlice<T>,
    values: &CudaSlice<f64>,
    q: &CudaSlice<T>,
    alphas: &CudaSlice<f64>,
    chosen: &CudaSlice<u32>,
    truth: &CudaSlice<f64>,
) -> Result<(CudaSlice<T>, CudaSlice<f64>)> {
    let Extents { rows, k, targets, .. } = of;
    assert!(p.len() >= rows * k && values.len() >= k && q.len() >= k * targets, "factors");
    assert!(chosen.len() >= targets && truth.len() >= rows * targets, "choices and truth");
    let (mut predicted, mut sums) = (lane.zeros::<T>(rows * targets)?, lane.zeros::<f64>(4 * targets)?);
    let kernel = gpu.kernel(&format!("ridge_refit_{}_{tile}", T::NAME))?;
    let (m, k, t) = (extent(rows)?, extent(k)?, extent(targets)?);
    // SAFETY: ridge_refit(p (m, k), values (k), q (k, t), alphas, chosen (t), truth (m, t), m, k, t, predicted (m, t), sums
    // (4, t)); checked above. `chosen` comes from `choose` over the same alphas.
    unsafe {
        lane.launch(&kernel, Grid::new(targets.div_ceil(tile), 1)?, |launch| {
            launch.arg(p).arg(values).arg(q).arg(alphas).arg(chosen).arg(truth);
            launch.arg(&m).arg(&k).arg(&t).arg(&mut predicted).arg(&mut sums);
        })?;
    }
    Ok((predicted, sums))
}

/// float64 → float32 on the card.
pub(super) fn narrow(gpu: &Gpu, lane: &Lane, from: &CudaSlice<f64>, count: usize) -> Result<CudaSlice<f32>> {
    assert!(from.len() >= count, "as many values as are asked for");
    let mut to = lane.zeros::<f32>(count)?;
    let kernel = gpu.kernel("ridge_narrow")?;
    let n = count as u64;
    // SAFETY: ridge_narrow(from, count, to), both of at least `count` values.
    unsafe {
        lane.launch(&kernel, Grid::over(count)?, |launch| {
            launch.arg(from).arg(&n).arg(&mut to);
        })?;
    }
    Ok(to)
}

/// A row-major copy as one vector.
pub(super) fn flat<T: Real>(a: ArrayView2<'_, T>) -> Vec<T> {
    a.iter().copied().collect()
}

/// The factor of a training set on every card.
#[derive(Debug)]
pub(super) struct Path {
    held: Vec<Held>,
}

impl Path {
    pub(super) fn new(gpus: &[Arc<Gpu>], factor: &PathFactor<'_>) -> Result<Path> {
        let held = gpus.iter().map(|gpu| Held::new(Arc::clone(gpu), factor)).collect::<Result<_>>()?;
        Ok(Path { held })
    }
}

/// The factor of a training set on one card.
struct Held {
    gpu: Arc<Gpu>,
    dimension: usize,
    vectors: CudaSlice<f64>,
    values: Vec<f64>,
    /// Held-out rows, on the host: each call takes those of one fold.
    projected: Array2<f64>,
    single: Option<f64>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("dimension", &self.dimension)
            .field("k", &self.values.len())
            .finish_non_exhaustive()
    }
}

impl Held {
    fn new(gpu: Arc<Gpu>, factor: &PathFactor<'_>) -> Result<Held> {
        let k = factor.values.len();
        assert!(factor.vectors.ncols() == k && factor.projected.ncols() == k, "one column per eigenvalue");
        let lane = gpu.lane();
        let vectors = lane.upload(&flat(factor.vectors))?;
        // Another stream will use it.
        lane.stream.synchronize().map_err(|e| fault::driver("copying to the card", e))?;
        drop(lane);
        Ok(Held {
            gpu,
            dimension: factor.vectors.nrows(),
            vectors,
            values: factor.values.to_vec(),
            projected: factor.projected.to_owned(),
            single: factor.single,
        })
    }

    fn block(
        &self,
        alphas: &[f64],
        right: ArrayView2<'_, f64>,
        held_out: &[(Range<usize>, ArrayView2<'_, f64>)],
    ) -> Result<Vec<PathErrors>> {
        let lane = self.gpu.lane();
        let (k, targets) = (self.values.len(), right.ncols());
        let right = lane.upload(&flat(right))?;
        let q = self.gpu.coefficients(&lane, &self.vectors, &right, (self.dimension, k, targets), false)?;
        drop(right);
        match self.single {
            None => self.sums(&lane, alphas, &q, targets, held_out),
            Some(_) => self.sums(&lane, alphas, &narrow(&self.gpu, &lane, &q, k * targets)?, targets, held_out),
        }
    }

    fn sums<T: PathReal>(
        &self,
        lane: &Lane,
        alphas: &[f64],
        q: &CudaSlice<T>,
        targets: usize,
        held_out: &[(Range<usize>, ArrayView2<'_, f64>)],
    ) -> Result<Vec<PathErrors>> {
        let k = self.values.len();
        let inverse = |a: f64, s: f64| 1.0 / (s + a);
        let weights: Vec<T> =
            alphas.iter().flat_map(|a| self.values.iter().map(move |s| T::of(inverse(*a, *s)))).collect();
        let weights = lane.upload(&weights)?;
        let mut found = Vec::new();
        for (rows, truth) in held_out {
            let of = Extents { rows: rows.len(), k, targets, alphas: alphas.len() };
            let part = self.projected.slice(s![rows.clone(), ..]);
            let p: Vec<T> = part.iter().map(|v| T::of(*v)).collect();
            let (p, truth) = (lane.upload(&p)?, lane.upload(&flat(*truth))?);
            let mut sse = lane.zeros::<f64>(alphas.len() * targets)?;
            errors(&self.gpu, lane, of, tile(targets, rows.len()), &p, &weights, q, &truth, &mut sse, None)?;
            let shaped = |values| {
                Array2::from_shape_vec((alphas.len(), targets), values)
                    .map_err(|e| fault::library("the card", "shaping results", e))
            };
            let bound = self.bound(lane, of, alphas, q, part)?;
            let sse = lane.download(&sse, alphas.len() * targets)?;
            found.push(PathErrors { sse: shaped(sse)?, noise: shaped(bound)? });
        }
        Ok(found)
    }

    /// What float32 may have moved, see [`PathFactor::single`] (alphas, targets).
    fn bound<T: PathReal>(
        &self,
        lane: &Lane,
        of: Extents,
        alphas: &[f64],
        q: &CudaSlice<T>,
        p: ArrayView2<'_, f64>,
    ) -> Result<Vec<f64>> {
        let count = alphas.len() * of.targets;
        let (Some(rounding), Some(q)) = (self.single, T::as_single(q)) else { return Ok(vec![0.0; count]) };
        let size: Vec<f64> =
            p.columns().into_iter().map(|c| c.iter().map(|v| f64::from(*v as f32).powi(2)).sum()).collect();
        let weight = |a: f64, j: usize| (rounding * size[j] / (self.values[j] + a).powi(2)) as f32;
        let weights: Vec<f32> =
            alphas.iter().flat_map(|a| (0..of.k).map(move |j| (*a, j))).map(|(a, j)| weight(a, j)).collect();
        let weights = lane.upload(&weights)?;
        let mut sum = lane.zeros::<f64>(count)?;
        noise(&self.gpu, lane, of, &weights, q, &mut sum)?;
        lane.download(&sum, count)
    }
}

impl RidgePath for Path {
    fn errors(
        &self,
        alphas: &[f64],
        right: ArrayView2<'_, f64>,
        held_out: &[(Range<usize>, Array2<f64>)],
        block: usize,
    ) -> Result<Vec<PathErrors>> {
        let held = &self.held[block % self.held.len()];
        let rows = held_out.iter().map(|(r, _)| r.len()).max().unwrap_or(0);
        assert_eq!(right.nrows(), held.dimension, "a right-hand side of the system's dimension");
        for (range, truth) in held_out {
            assert!(
                range.end <= held.projected.nrows() && truth.dim() == (range.len(), right.ncols()),
                "held-out rows"
            );
        }
        let targets = right.ncols();
        let per_target = 8 * (held.dimension + 2 * held.values.len() + rows + 2 * alphas.len() * 2);
        let parts = in_blocks(0..targets, (held.gpu.most(per_target)?, FEWEST), |columns| {
            let truths: Vec<(Range<usize>, ArrayView2<'_, f64>)> =
                held_out.iter().map(|(r, t)| (r.clone(), t.slice(s![.., columns.clone()]))).collect();
            held.block(alphas, right.slice(s![.., columns]), &truths)
        })?;
        (0..held_out.len()).map(|at| joined(parts.iter().map(|part| &part[at]))).collect()
    }
}

/// Blocks of targets side by side.
fn joined<'a>(parts: impl Iterator<Item = &'a PathErrors>) -> Result<PathErrors> {
    let (sse, noise): (Vec<_>, Vec<_>) = parts.map(|p| (p.sse.view(), p.noise.view())).unzip();
    Ok(PathErrors { sse: join_blocks(1, &sse)?, noise: join_blocks(1, &noise)? })
}
