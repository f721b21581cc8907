//! How fast the kernels are on a card, beside what the card copies and multiplies at best.

use cudarc::driver::CudaSlice;
use cudarc::driver::sys::CUevent_flags;
use serde::Serialize;

use super::fault;
use super::gpu::{Gpu, Lane};
use super::ridge::{Extents, PathReal, errors, noise, refit};
use crate::error::Result;

/// Launches of each kernel; the median counts.
const ROUNDS: usize = 7;

/// One kernel on one shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The kernel, or what it is compared with.
    pub what: String,
    /// The extents.
    pub shape: String,
    /// Median seconds of a launch, copies to and from the card not counted.
    pub seconds: f64,
    /// Bytes that must be read and written at least, per second.
    pub bytes_per_second: f64,
    /// Floating-point operations per second.
    pub flops_per_second: f64,
    /// Share of the measured copy bandwidth.
    pub of_copy: f64,
    /// Share of the measured rate of a large product, which is one in float64; none for what computes in float32.
    pub of_product: Option<f64>,
}

/// Extents to measure with.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredShape {
    /// Held-out rows.
    pub rows: usize,
    /// Eigenvalues.
    pub k: usize,
    /// Targets.
    pub targets: usize,
    /// Alphas.
    pub alphas: usize,
}

impl Gpu {
    /// Copy bandwidth and rates of large products, then the ridge path in float32 and float64.
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails.
    pub fn measure(&self, shape: MeasuredShape) -> Result<Vec<Measured>> {
        let lane = self.lane();
        let MeasuredShape { rows, k, targets, alphas } = shape;
        let of = Extents { rows, k, targets, alphas };
        let count = k * targets;
        let (from, mut to) = (lane.zeros::<f32>(count)?, lane.zeros::<f32>(count)?);
        let seconds = median(&lane, || {
            lane.stream.memcpy_dtod(&from, &mut to).map_err(|e| fault::driver("copying on the card", e))
        })?;
        let copy = 8.0 * count as f64 / seconds;
        let mut all = vec![entry("copy", format!("{count} float32"), seconds, (8.0 * count as f64, 0.0), (copy, None))];
        drop((from, to));
        self.path::<f64>(&lane, of, copy, &mut all)?;
        self.path::<f32>(&lane, of, copy, &mut all)?;
        Ok(all)
    }

    /// The rate of a large product in float64, by cuBLAS where it is there; and that of our own kernel.
    fn product(&self, lane: &Lane, (k, targets): (usize, usize), copy: f64, all: &mut Vec<Measured>) -> Result<f64> {
        let (vectors, right) = (lane.zeros::<f64>(k * k)?, lane.zeros::<f64>(k * targets)?);
        let flops = 2.0 * (k * k) as f64 * targets as f64;
        let bytes = 8.0 * (k * k + 2 * k * targets) as f64;
        let seconds = |own| median(lane, || self.coefficients(lane, &vectors, &right, (k, k, targets), own).map(drop));
        let times = [seconds(false)?, seconds(true)?];
        let rate = flops / times[0];
        let names = ["product, float64 (cuBLAS where it is there)", "ridge_coefficients_f64"];
        for (name, seconds) in names.into_iter().zip(times) {
            all.push(entry(name, format!("{k} × {k} × {targets}"), seconds, (bytes, flops), (copy, Some(rate))));
        }
        Ok(rate)
    }

    fn path<T: PathReal>(&self, lane: &Lane, of: Extents, copy: f64, all: &mut Vec<Measured>) -> Result<()> {
        let Extents { rows, k, targets, alphas } = of;
        let size = std::mem::size_of::<T>() as f64;
        let shape = format!("{rows} rows, {k} eigenvalues, {targets} targets, {alphas} alphas");
        let numbers = |count: usize| -> Vec<T> { (0..count).map(|i| T::of(((i * 31) % 101) as f64 / 101.0)).collect() };
        let (p, q, weights) =
            (lane.upload(&numbers(rows * k))?, lane.upload(&numbers(k * targets))?, lane.upload(&numbers(alphas * k))?);
        let truth = lane.zeros::<f64>(rows * targets)?;
        // There is no product in float32.
        let product = if T::NAME == "f64" { Some(self.product(lane, (k, targets), copy, all)?) } else { None };
        let mut sse = lane.zeros::<f64>(alphas * targets)?;
        let flops = 2.0 * (alphas * rows) as f64 * (k * targets) as f64;
        let bytes = size * (rows * k + k * targets + alphas * k) as f64 + 8.0 * ((rows + alphas) * targets) as f64;
        for tile in [32, 64] {
            let seconds = median(lane, || errors(self, lane, of, tile, &p, &weights, &q, &truth, &mut sse, None))?;
            let what = format!("ridge_errors_{}_{tile}", T::NAME);
            all.push(entry(&what, shape.clone(), seconds, (bytes, flops), (copy, product)));
        }
        if let (Some(q), Some(weights)) = (T::as_single(&q), T::as_single(&weights)) {
            let seconds = median(lane, || noise(self, lane, of, weights, q, &mut sse))?;
            let bytes = 4.0 * ((k + alphas) * targets) as f64 + 8.0 * (alphas * targets) as f64;
            let flops = 2.0 * (alphas * k) as f64 * targets as f64;
            all.push(entry("ridge_noise", shape.clone(), seconds, (bytes, flops), (copy, product)));
        }
        let values: CudaSlice<f64> = lane.upload(&vec![1.0; k])?;
        let (grid, chosen) = (lane.upload(&vec![1.0; alphas])?, lane.zeros::<u32>(targets)?);
        let seconds = median(lane, || refit(self, lane, of, 64, &p, &values, &q, &grid, &chosen, &truth).map(drop))?;
        let flops = 2.0 * rows as f64 * (k * targets) as f64;
        let bytes = size * (rows * k + k * targets + rows * targets) as f64 + 8.0 * (rows * targets) as f64;
        all.push(entry(&format!("ridge_refit_{}_64", T::NAME), shape, seconds, (bytes, flops), (copy, product)));
        Ok(())
    }
}

fn entry(
    what: &str,
    shape: String,
    seconds: f64,
    (bytes, flops): (f64, f64),
    (copy, product): (f64, Option<f64>),
) -> Measured {
    Measured {
        what: what.to_owned(),
        shape,
        seconds,
        bytes_per_second: bytes / seconds,
        flops_per_second: flops / seconds,
        of_copy: bytes / seconds / copy,
        of_product: product.map(|product| flops / seconds / product),
    }
}

/// Median seconds of `work` on the stream, by the card's own clock; once before to warm up.
fn median(lane: &Lane, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let clock = || {
        lane.stream
            .record_event(Some(CUevent_flags::CU_EVENT_DEFAULT))
            .map_err(|e| fault::driver("reading the card's clock", e))
    };
    work()?;
    let mut seconds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = clock()?;
        work()?;
        let end = clock()?;
        let ms = start.elapsed_ms(&end).map_err(|e| fault::driver("reading the card's clock", e))?;
        seconds.push(f64::from(ms) / 1e3);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[ROUNDS / 2].max(1e-9))
}
