//! `kernels/pairwise.cu`: inner products and squared distances between rows.

#![allow(unsafe_code, reason = "launches kernels; every launch checks its buffers first")]

use cudarc::driver::PushKernelArg;
use ndarray::{Array2, ArrayView2};

use super::fault;
use super::gpu::{Gpu, Grid, extent};
use super::ridge::{PathReal, flat};
use crate::error::Result;

/// Rows of either matrix that a block holds.
const TILE: usize = 32;

impl Gpu {
    /// Inner products, or squared Euclidean `distances`, of the rows of `a` (n, columns) and `b` (m, columns): (n, m).
    ///
    /// # Errors
    /// `GP-01` for too little memory, `GP-02` when the card fails.
    #[allow(private_bounds, reason = "float32 or float64")]
    pub(super) fn pairwise<T: PathReal>(
        &self,
        a: ArrayView2<'_, T>,
        b: ArrayView2<'_, T>,
        distances: bool,
    ) -> Result<Array2<f64>> {
        let ((n, p), m) = (a.dim(), b.nrows());
        assert_eq!(p, b.ncols(), "rows of one length");
        let lane = self.lane();
        let (a, b) = (lane.upload(&flat(a))?, lane.upload(&flat(b))?);
        let mut out = lane.zeros::<f64>(n * m)?;
        let (rows, others, columns) = (extent(n)?, extent(m)?, extent(p)?);
        let what = if distances { "distances" } else { "products" };
        let kernel = self.kernel(&format!("pairwise_{what}_{}", T::NAME))?;
        // SAFETY: pairwise(a (n, p), b (m, p), n, m, p, out (n, m)); checked above.
        unsafe {
            lane.launch(&kernel, Grid::new(m.div_ceil(TILE), n.div_ceil(TILE))?, |launch| {
                launch.arg(&a).arg(&b).arg(&rows).arg(&others).arg(&columns).arg(&mut out);
            })?;
        }
        let out = lane.download(&out, n * m)?;
        Array2::from_shape_vec((n, m), out).map_err(|e| fault::library("the card", "shaping results", e))
    }
}
