//! cuBLAS and cuSOLVER where they are found; our own kernel, and the CPU, where they are not.

#![allow(unsafe_code, reason = "calls cuBLAS and cuSOLVER; every call checks its buffers first")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cudarc::cublas::{result as blas, sys as blas_sys};
use cudarc::cusolver::{result as solver, sys as solver_sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut};
use ndarray::{Array1, Array2, ArrayView2};

use super::fault;
use super::gpu::{Gpu, Grid, Lane, extent};
use crate::compute::cpu::Spectrum;
use crate::error::{Code, Error, Result};

/// Handles of the dense libraries, bound to one stream.
pub(super) struct Dense {
    blas: Option<blas_sys::cublasHandle_t>,
    solver: Option<solver_sys::cusolverDnHandle_t>,
}

// SAFETY: a handle may be used by any thread, one at a time; `Lane` stands behind a mutex.
unsafe impl Send for Dense {}

impl Drop for Dense {
    fn drop(&mut self) {
        // SAFETY: both handles were made by `new` and are not used afterwards.
        unsafe {
            if let Some(handle) = self.blas {
                blas::destroy_handle(handle).ok();
            }
            if let Some(handle) = self.solver {
                solver::dn_destroy(handle).ok();
            }
        }
    }
}

impl Dense {
    /// What there is of the libraries. A library without a function that is needed counts as absent.
    pub(super) fn new(stream: &Arc<CudaStream>) -> Dense {
        // SAFETY: asks the loader by name, then makes a handle and binds it to a stream that outlives it.
        let blas = catch_unwind(AssertUnwindSafe(|| unsafe {
            let handle = blas_sys::is_culib_present().then(blas::create_handle)?.ok()?;
            blas::set_stream(handle, stream.cu_stream() as _).ok().map(|()| handle)
        }));
        // SAFETY: as above.
        let solver = catch_unwind(AssertUnwindSafe(|| unsafe {
            let handle = solver_sys::is_culib_present().then(solver::dn_create)?.ok()?;
            solver::dn_set_stream(handle, stream.cu_stream() as _).ok().map(|()| handle)
        }));
        Dense { blas: blas.ok().flatten(), solver: solver.ok().flatten() }
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        [self.blas.map(|_| "cuBLAS"), self.solver.map(|_| "cuSOLVER")].into_iter().flatten().collect()
    }
}

impl Lane {
    /// x wᵀ of x (m, k) and w (n, k) into `out` (m, n), row-major, by cuBLAS in float32 (its default mode: no TF32); false
    /// where there is none.
    pub(super) fn times_transposed(
        &self,
        x: &CudaSlice<f32>,
        w: &CudaSlice<f32>,
        [m, n, k]: [i32; 3],
        out: &mut CudaSlice<f32>,
    ) -> Result<bool> {
        let Some(handle) = self.dense.blas else { return Ok(false) };
        let holds = |slice: &CudaSlice<f32>, a: i32, b: i32| slice.len() >= a as usize * b as usize;
        assert!(m > 0 && n > 0 && k > 0 && holds(x, m, k) && holds(w, n, k) && holds(out, m, n), "operands");
        let (a, _guard_a) = w.device_ptr(&self.stream);
        let (b, _guard_b) = x.device_ptr(&self.stream);
        let (c, _guard_c) = out.device_ptr_mut(&self.stream);
        let (transposed, plain) = (blas_sys::cublasOperation_t::CUBLAS_OP_T, blas_sys::cublasOperation_t::CUBLAS_OP_N);
        // Row-major memory is column-major memory of the transpose: outᵀ (n, m) = w (n, k) · xᵀ (k, m).
        // SAFETY: the assert above checks all operands; leading dimensions are those of contiguous matrices.
        unsafe {
            let (a, b, c) = (a as *const f32, b as *const f32, c as *mut f32);
            blas::sgemm(handle, transposed, plain, n, m, k, &1.0, a, k, b, k, &0.0, c, n)
        }
        .map_err(|e| fault::library("cuBLAS", "a product", e))?;
        Ok(true)
    }
}

impl Gpu {
    /// Uᵀ R (k, targets) of U (d, k) and R (d, targets), row-major, in float64: by cuBLAS, or by our own kernel.
    pub(super) fn coefficients(
        &self,
        lane: &Lane,
        vectors: &CudaSlice<f64>,
        right: &CudaSlice<f64>,
        (d, k, targets): (usize, usize, usize),
        own: bool,
    ) -> Result<CudaSlice<f64>> {
        assert!(vectors.len() >= d * k && right.len() >= d * targets, "factors as large as their extents");
        let (rows, columns, depth) = (extent(k)?, extent(targets)?, extent(d)?);
        let mut q = lane.zeros::<f64>(k * targets)?;
        if d == 0 || k == 0 || targets == 0 {
            return Ok(q);
        }
        if let Some(handle) = lane.dense.blas.filter(|_| !own) {
            let (a, _guard_a) = right.device_ptr(&lane.stream);
            let (b, _guard_b) = vectors.device_ptr(&lane.stream);
            let (c, _guard_c) = q.device_ptr_mut(&lane.stream);
            let (plain, transposed) =
                (blas_sys::cublasOperation_t::CUBLAS_OP_N, blas_sys::cublasOperation_t::CUBLAS_OP_T);
            // Row-major memory is column-major memory of the transpose: Qᵀ (t, k) = Rᵀ (t, d) · U (d, k).
            // SAFETY: the assert above checks both operands, `q` was made for the result; leading dimensions are those of
            // contiguous matrices.
            unsafe {
                blas::dgemm(
                    handle,
                    plain,
                    transposed,
                    columns,
                    rows,
                    depth,
                    &1.0,
                    a as *const f64,
                    columns,
                    b as *const f64,
                    rows,
                    &0.0,
                    c as *mut f64,
                    columns,
                )
            }
            .map_err(|e| fault::library("cuBLAS", "a product", e))?;
            drop((_guard_a, _guard_b, _guard_c));
            return Ok(q);
        }
        let tile = if targets <= 32 { 32 } else { 64 };
        let kernel = self.kernel(&format!("ridge_coefficients_f64_{tile}"))?;
        let grid = Grid::new(targets.div_ceil(tile), k.div_ceil(tile))?;
        // SAFETY: ridge_coefficients(vectors (d, k), right (d, targets), d, k, targets, q (k, targets)); checked above.
        unsafe {
            use cudarc::driver::PushKernelArg;
            lane.launch(&kernel, grid, |launch| {
                launch.arg(vectors).arg(right).arg(&depth).arg(&rows).arg(&columns).arg(&mut q);
            })?;
        }
        Ok(q)
    }

    /// Eigendecomposition by cuSOLVER; nothing where there is none.
    ///
    /// # Errors
    /// `NU-01` when it does not converge, `GP-01` for too little memory, `GP-02` when the card fails.
    pub fn eigh(&self, matrix: ArrayView2<'_, f64>) -> Result<Option<Spectrum<f64>>> {
        let n = matrix.nrows();
        assert_eq!(n, matrix.ncols(), "an eigendecomposition needs a square matrix");
        let lane = self.lane();
        let Some(handle) = lane.dense.solver.filter(|_| n > 0) else { return Ok(None) };
        let order = extent(n)?;
        let dense = matrix.as_standard_layout();
        // INVARIANT: a matrix in standard layout is one slice.
        let mut a = lane.upload(dense.as_slice().expect("a matrix in standard layout is one slice"))?;
        let mut w = lane.zeros::<f64>(n)?;
        let mut info = lane.zeros::<i32>(1)?;
        let failed = |e| fault::library("cuSOLVER", "an eigendecomposition", e);
        let (mode, upper) = (
            solver_sys::cusolverEigMode_t::CUSOLVER_EIG_MODE_VECTOR,
            solver_sys::cublasFillMode_t::CUBLAS_FILL_MODE_UPPER,
        );
        {
            let (a, _guard_a) = a.device_ptr_mut(&lane.stream);
            let (w, _guard_w) = w.device_ptr_mut(&lane.stream);
            let (info, _guard_info) = info.device_ptr_mut(&lane.stream);
            let mut words = 0;
            // The row-major lower triangle is the column-major upper one.
            // SAFETY: writes one integer; `a` and `w` are on the card and have the extents that `order` says.
            unsafe {
                solver_sys::cusolverDnDsyevd_bufferSize(
                    handle,
                    mode,
                    upper,
                    order,
                    a as *const f64,
                    order,
                    w as *const f64,
                    &mut words,
                )
            }
            .result()
            .map_err(failed)?;
            let mut work = lane.zeros::<f64>(words.max(1) as usize)?;
            let (work, _guard_work) = work.device_ptr_mut(&lane.stream);
            // SAFETY: as above; the workspace has the length that was asked for and passed.
            unsafe {
                solver_sys::cusolverDnDsyevd(
                    handle,
                    mode,
                    upper,
                    order,
                    a as *mut f64,
                    order,
                    w as *mut f64,
                    work as *mut f64,
                    words,
                    info as *mut i32,
                )
            }
            .result()
            .map_err(failed)?;
            // The workspace is freed in the stream's order, after its use.
        }
        let info = lane.download(&info, 1)?[0];
        if info != 0 {
            return Err(Error::new(Code::Nu01, "eigendecomposition", format!("cuSOLVER syevd returned {info}")));
        }
        let (values, vectors) = (lane.download(&w, n)?, lane.download(&a, n * n)?);
        let shape = ndarray::ShapeBuilder::f((n, n));
        let vectors = Array2::from_shape_vec(shape, vectors).map_err(|e| fault::library("cuSOLVER", "shaping", e))?;
        Ok(Some(Spectrum { values: Array1::from(values), vectors }))
    }
}
