//! `kernels/parcellate.cu`: volumes to parcels by least squares.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use cudarc::driver::PushKernelArg;
use ndarray::{Array2, ArrayView2};

use super::fault;
use super::gpu::{Gpu, Grid, extent};
use super::ridge::flat;
use crate::error::Result;

/// A sparse map of voxels to parcels, kept by parcel.
#[derive(Debug, Clone, Copy)]
pub(super) struct SparseMap<'a> {
    /// Where the entries of each parcel start; one more than parcels.
    pub(super) starts: &'a [u64],
    /// Voxel of each entry.
    pub(super) voxels: &'a [u32],
    /// Weight of each entry.
    pub(super) weights: &'a [f32],
}

impl Gpu {
    /// Solves min |v − M x|² for every row v of `volumes` (volumes, voxels): `(M'v) · inverse`, (volumes, parcels), where
    /// `inverse` (parcels, parcels) is that of MᵀM. Also M'v.
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails.
    pub(super) fn parcellate(
        &self,
        volumes: ArrayView2<'_, f32>,
        map: SparseMap<'_>,
        inverse: ArrayView2<'_, f64>,
    ) -> Result<(Array2<f64>, Array2<f64>)> {
        let ((lanes, voxels), parcels) = (volumes.dim(), inverse.nrows());
        assert!(map.starts.len() == parcels + 1 && inverse.ncols() == parcels, "one start per parcel");
        assert!(map.starts.windows(2).all(|w| w[0] <= w[1]), "ascending starts");
        assert!(map.voxels.len() == map.weights.len() && map.starts[parcels] == map.voxels.len() as u64, "entries");
        assert!(map.voxels.iter().all(|v| (*v as usize) < voxels), "voxels of the volumes");
        let lane = self.lane();
        let volumes = lane.upload(&flat(volumes))?;
        let (starts, entries, weights) =
            (lane.upload(map.starts)?, lane.upload(map.voxels)?, lane.upload(map.weights)?);
        let inverse = lane.upload(&flat(inverse))?;
        let (mut right, mut solved) = (lane.zeros::<f64>(lanes * parcels)?, lane.zeros::<f64>(lanes * parcels)?);
        let (count, height) = (voxels as u64, extent(parcels)?);
        let (sums, solve) = (self.kernel("parcellate_sums")?, self.kernel("parcellate_solve")?);
        let grid = Grid::new(parcels, lanes)?;
        // SAFETY: parcellate_sums(volumes (lanes, voxels), voxels, starts (parcels + 1), voxel and weight per entry, parcels,
        // right (lanes, parcels)) and parcellate_solve(right, inverse (parcels, parcels), parcels, solved); checked above.
        unsafe {
            lane.launch(&sums, grid, |launch| {
                launch.arg(&volumes).arg(&count).arg(&starts).arg(&entries).arg(&weights).arg(&height).arg(&mut right);
            })?;
            lane.launch(&solve, grid, |launch| {
                launch.arg(&right).arg(&inverse).arg(&height).arg(&mut solved);
            })?;
        }
        let shaped = |values| {
            Array2::from_shape_vec((lanes, parcels), values)
                .map_err(|e| fault::library("the card", "shaping results", e))
        };
        Ok((shaped(lane.download(&solved, lanes * parcels)?)?, shaped(lane.download(&right, lanes * parcels)?)?))
    }
}
