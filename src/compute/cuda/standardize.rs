//! `kernels/standardize.cu`: columns z-scored on some of their rows.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use cudarc::driver::PushKernelArg;
use ndarray::{Array2, ArrayView2};

use super::fault;
use super::gpu::{Gpu, Grid, extent};
use super::ridge::{PathReal, flat};
use crate::error::Result;

/// Columns that a block of `column_moments` holds.
const COLUMNS: usize = 32;

impl Gpu {
    /// The rows `rows` of `x` (rows, columns), z-scored by mean and population sd over the rows that `keep` names; a
    /// constant column becomes 0. Also the means and the factors 1 / sd.
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails.
    #[allow(private_bounds, reason = "float32 or float64")]
    pub(super) fn standardise<T: PathReal>(
        &self,
        x: ArrayView2<'_, T>,
        keep: &[bool],
        rows: &[usize],
    ) -> Result<(Array2<T>, Vec<f64>, Vec<f64>)> {
        let (n, p) = x.dim();
        assert!(keep.len() == n && rows.iter().all(|r| *r < n), "rows of x");
        let lane = self.lane();
        let keep: Vec<u8> = keep.iter().map(|k| u8::from(*k)).collect();
        let list: Vec<u32> = rows.iter().map(|r| extent(*r).map(|r| r as u32)).collect::<Result<_>>()?;
        let (x, keep, list) = (lane.upload(&flat(x))?, lane.upload(&keep)?, lane.upload(&list)?);
        let (mut mean, mut factor) = (lane.zeros::<f64>(p)?, lane.zeros::<f64>(p)?);
        let mut z = lane.zeros::<T>(rows.len() * p)?;
        let (height, width, count) = (extent(n)?, extent(p)?, (rows.len() * p) as u64);
        let moments = self.kernel(&format!("column_moments_{}", T::NAME))?;
        let apply = self.kernel(&format!("standardise_{}", T::NAME))?;
        // SAFETY: column_moments(x (n, p), keep (n), n, p, mean (p), factor (p)) and standardise(x (n, p), list (out), out · p,
        // p, mean (p), factor (p), z (out, p)); every row of the list is one of x.
        unsafe {
            lane.launch(&moments, Grid::new(p.div_ceil(COLUMNS), 1)?, |launch| {
                launch.arg(&x).arg(&keep).arg(&height).arg(&width).arg(&mut mean).arg(&mut factor);
            })?;
            lane.launch(&apply, Grid::over(rows.len() * p)?, |launch| {
                launch.arg(&x).arg(&list).arg(&count).arg(&width).arg(&mean).arg(&factor).arg(&mut z);
            })?;
        }
        let z = lane.download(&z, rows.len() * p)?;
        let z =
            Array2::from_shape_vec((rows.len(), p), z).map_err(|e| fault::library("the card", "shaping results", e))?;
        Ok((z, lane.download(&mean, p)?, lane.download(&factor, p)?))
    }
}
