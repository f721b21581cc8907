//! `kernels/parcellate.cu`: volumes to parcels by least squares.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cudarc::driver::{CudaSlice, PushKernelArg};
use ndarray::{Array2, ArrayView2, s};

use super::accelerator::join_blocks;
use super::fault;
use super::gpu::{Gpu, Grid, Lane, extent};
use super::ridge::flat;
use crate::compute::device::{MapSums, SparseMap, in_blocks};
use crate::error::Result;

/// A sparse map on a card.
pub(super) struct HeldMap {
    gpu: Arc<Gpu>,
    rows: usize,
    columns: usize,
    starts: CudaSlice<u64>,
    at: CudaSlice<u32>,
    weights: CudaSlice<f32>,
}

impl fmt::Debug for HeldMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldMap").field("rows", &self.rows).field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl HeldMap {
    pub(super) fn new(gpu: Arc<Gpu>, map: &SparseMap<'_>) -> Result<HeldMap> {
        // INVARIANT: whoever makes a map gives it one start more than columns.
        let (columns, last) = (map.starts.len() - 1, map.starts[map.starts.len() - 1]);
        assert!(map.starts.windows(2).all(|w| w[0] <= w[1]), "ascending starts");
        assert!(map.at.len() == map.weights.len() && last == map.at.len() as u64, "entries");
        assert!(map.at.iter().all(|v| (*v as usize) < map.rows), "entries at the map's rows");
        let lane = gpu.lane();
        let (starts, at, weights) = (lane.upload(map.starts)?, lane.upload(map.at)?, lane.upload(map.weights)?);
        // Other streams will use it.
        lane.stream.synchronize().map_err(|e| fault::driver("copying to the card", e))?;
        drop(lane);
        Ok(HeldMap { gpu, rows: map.rows, columns, starts, at, weights })
    }

    /// Sums (volumes, columns), on the card.
    fn on(&self, lane: &Lane, volumes: ArrayView2<'_, f32>) -> Result<CudaSlice<f64>> {
        let (lanes, rows) = volumes.dim();
        assert_eq!(rows, self.rows, "volumes of the map's rows");
        let volumes = lane.upload(&flat(volumes))?;
        let mut right = lane.zeros::<f64>(lanes * self.columns)?;
        let (count, height) = (rows as u64, extent(self.columns)?);
        let sums = self.gpu.kernel("parcellate_sums")?;
        // SAFETY: parcellate_sums(volumes (lanes, rows), rows, starts (columns + 1), row and weight per entry, columns,
        // right (lanes, columns)); checked here and by `new`.
        unsafe {
            lane.launch(&sums, Grid::new(self.columns, lanes)?, |launch| {
                launch.arg(&volumes).arg(&count).arg(&self.starts).arg(&self.at).arg(&self.weights);
                launch.arg(&height).arg(&mut right);
            })?;
        }
        Ok(right)
    }

    /// Solves min |v − M x|² for every row v of `volumes`: sums · inverse, where `inverse` (columns, columns) is that of
    /// MᵀM. Also the sums.
    pub(super) fn solve(
        &self,
        volumes: ArrayView2<'_, f32>,
        inverse: ArrayView2<'_, f64>,
    ) -> Result<(Array2<f64>, Array2<f64>)> {
        assert_eq!(inverse.dim(), (self.columns, self.columns), "an inverse of the map's columns");
        let (lanes, count) = (volumes.nrows(), volumes.nrows() * self.columns);
        let lane = self.gpu.lane();
        let right = self.on(&lane, volumes)?;
        let (inverse, mut solved) = (lane.upload(&flat(inverse))?, lane.zeros::<f64>(count)?);
        let (height, solve) = (extent(self.columns)?, self.gpu.kernel("parcellate_solve")?);
        // SAFETY: parcellate_solve(right (lanes, columns), inverse (columns, columns), columns, solved (lanes, columns)).
        unsafe {
            lane.launch(&solve, Grid::new(self.columns, lanes)?, |launch| {
                launch.arg(&right).arg(&inverse).arg(&height).arg(&mut solved);
            })?;
        }
        let shaped = |values| self.shaped(lanes, values);
        Ok((shaped(lane.download(&solved, count)?)?, shaped(lane.download(&right, count)?)?))
    }

    fn shaped(&self, lanes: usize, values: Vec<f64>) -> Result<Array2<f64>> {
        Array2::from_shape_vec((lanes, self.columns), values)
            .map_err(|e| fault::library("the card", "shaping results", e))
    }
}

/// A sparse map on every card; volumes go round.
#[derive(Debug)]
pub(super) struct Maps {
    held: Vec<HeldMap>,
    turn: AtomicUsize,
}

impl Maps {
    pub(super) fn new(held: Vec<HeldMap>) -> Maps {
        Maps { held, turn: AtomicUsize::new(0) }
    }
}

impl MapSums for Maps {
    fn sums(&self, volumes: ArrayView2<'_, f32>) -> Result<Array2<f64>> {
        let held = &self.held[self.turn.fetch_add(1, Ordering::Relaxed) % self.held.len()];
        let parts = in_blocks(0..volumes.nrows(), (volumes.nrows(), 1), |block| {
            let lane = held.gpu.lane();
            let part = volumes.slice(s![block.clone(), ..]);
            held.shaped(block.len(), lane.download(&held.on(&lane, part)?, block.len() * held.columns)?)
        })?;
        let views: Vec<ArrayView2<'_, f64>> = parts.iter().map(|p| p.view()).collect();
        join_blocks(0, &views)
    }
}
