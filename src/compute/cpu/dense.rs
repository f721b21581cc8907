#![allow(unsafe_code, reason = "calls BLAS and LAPACK for what ndarray has no function for")]

use std::fmt::Debug;
use std::ops::AddAssign;
use std::os::raw::{c_char, c_int};

use cblas_sys::{CBLAS_LAYOUT, CBLAS_TRANSPOSE, CBLAS_UPLO};
use ndarray::{Array2, ArrayView2, LinalgScalar};

use crate::error::{Code, Error, Result};

/// A floating-point type that BLAS and LAPACK compute with: `f32` or `f64`.
pub trait Real: LinalgScalar + AddAssign + Send + Sync + Debug + PartialOrd {
    /// Unit roundoff: half the distance from 1 to the next larger number.
    const ROUNDOFF: f64;
    /// The nearest number of this type.
    fn of(value: f64) -> Self;
    /// The same number in float64.
    fn wide(self) -> f64;
    /// `syrk`: the lower triangle of `out = a aᵀ`, or `aᵀ a` when `transposed`.
    #[doc(hidden)]
    fn raw_syrk(transposed: bool, n: c_int, k: c_int, a: &[Self], lda: c_int, out: &mut [Self]);
    /// `syevd` on the upper triangle of a column-major matrix; the workspaces' lengths are theirs, −1 asks for them.
    #[doc(hidden)]
    fn raw_syevd(n: c_int, a: &mut [Self], values: &mut [Self], work: &mut Workspace<Self>, query: bool) -> c_int;
    /// `posv` on the upper triangle of a column-major matrix with `rhs` right-hand sides.
    #[doc(hidden)]
    fn raw_posv(n: c_int, rhs: c_int, a: &mut [Self], b: &mut [Self]) -> c_int;
}

/// Workspaces of an eigendecomposition.
#[derive(Debug)]
pub struct Workspace<T> {
    pub(super) reals: Vec<T>,
    pub(super) integers: Vec<c_int>,
}

macro_rules! real {
    ($t:ty, $syrk:path, $syevd:path, $posv:path) => {
        impl Real for $t {
            const ROUNDOFF: f64 = <$t>::EPSILON as f64 / 2.0;
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                f64::from(self)
            }
            fn raw_syrk(transposed: bool, n: c_int, k: c_int, a: &[Self], lda: c_int, out: &mut [Self]) {
                let (rows, columns) = if transposed { (k, n) } else { (n, k) };
                assert!(n > 0 && k > 0 && lda >= columns, "syrk: empty or overlapping rows");
                assert!((rows - 1) as usize * lda as usize + columns as usize <= a.len(), "syrk: short operand");
                assert!(n as usize * n as usize <= out.len(), "syrk: short result");
                let op = if transposed { CBLAS_TRANSPOSE::CblasTrans } else { CBLAS_TRANSPOSE::CblasNoTrans };
                // SAFETY: the asserts above make sure that every element that BLAS touches lies inside its slice.
                unsafe {
                    $syrk(
                        CBLAS_LAYOUT::CblasRowMajor,
                        CBLAS_UPLO::CblasLower,
                        op,
                        n,
                        k,
                        1.0,
                        a.as_ptr(),
                        lda,
                        0.0,
                        out.as_mut_ptr(),
                        n,
                    );
                }
            }
            fn raw_syevd(
                n: c_int,
                a: &mut [Self],
                values: &mut [Self],
                work: &mut Workspace<Self>,
                query: bool,
            ) -> c_int {
                assert!(n >= 0 && a.len() == n as usize * n as usize && values.len() == n as usize, "syevd: shapes");
                assert!(!work.reals.is_empty() && !work.integers.is_empty(), "syevd: workspaces");
                let (lwork, liwork) =
                    if query { (-1, -1) } else { (work.reals.len() as c_int, work.integers.len() as c_int) };
                let mut info: c_int = 0;
                // SAFETY: the asserts check the lengths of the matrix and its values; the workspaces are as long as
                // the lengths passed say, and a query (−1) writes one element of each.
                unsafe {
                    $syevd(
                        &(b'V' as c_char),
                        &(b'U' as c_char),
                        &n,
                        a.as_mut_ptr(),
                        &n,
                        values.as_mut_ptr(),
                        work.reals.as_mut_ptr(),
                        &lwork,
                        work.integers.as_mut_ptr(),
                        &liwork,
                        &mut info,
                    );
                }
                info
            }
            fn raw_posv(n: c_int, rhs: c_int, a: &mut [Self], b: &mut [Self]) -> c_int {
                assert!(n > 0 && rhs >= 0 && a.len() == n as usize * n as usize, "posv: shapes");
                assert!(b.len() == n as usize * rhs as usize, "posv: right-hand sides");
                let mut info: c_int = 0;
                // SAFETY: the asserts above check both lengths; leading dimensions are n.
                unsafe {
                    $posv(&(b'U' as c_char), &n, &rhs, a.as_mut_ptr(), &n, b.as_mut_ptr(), &n, &mut info);
                }
                info
            }
        }
    };
}

real!(f32, cblas_sys::cblas_ssyrk, lapack_sys::ssyevd_, lapack_sys::sposv_);
real!(f64, cblas_sys::cblas_dsyrk, lapack_sys::dsyevd_, lapack_sys::dposv_);

fn int(value: usize) -> c_int {
    // INVARIANT: matrix extents fit a BLAS integer.
    c_int::try_from(value).expect("matrix extents fit a BLAS integer")
}

/// The lower triangle of `a aᵀ` (rows, rows), or of `aᵀ a` (columns, columns) when `transposed`; zeros above it.
///
/// Cost: rows² · columns multiplications and additions, half of a general product.
pub fn gram<T: Real>(a: ArrayView2<'_, T>, transposed: bool) -> Array2<T> {
    let (n, k) = if transposed { (a.ncols(), a.nrows()) } else { (a.nrows(), a.ncols()) };
    let mut out = Array2::zeros((n, n));
    if n == 0 || k == 0 {
        return out;
    }
    let owned;
    let a = if a.is_standard_layout() {
        a
    } else {
        owned = a.as_standard_layout().into_owned();
        owned.view()
    };
    let width = a.ncols();
    // INVARIANT: a matrix in standard layout is one slice.
    let data = a.to_slice().expect("a matrix in standard layout is one slice");
    // INVARIANT: a new matrix is one slice.
    let target = out.as_slice_mut().expect("a new matrix is one slice");
    T::raw_syrk(transposed, int(n), int(k), data, int(width), target);
    out
}

/// `right · a⁻¹` (m, n) for a symmetric positive definite `a` (n, n), of which the lower triangle is read, by Cholesky.
/// Nothing when rounding has made `a` indefinite.
///
/// Cost: n³ / 3 + 2 n² m floating-point operations.
pub fn solve_positive<T: Real>(a: Array2<T>, right: Array2<T>) -> Option<Array2<T>> {
    let (n, m) = (a.nrows(), right.nrows());
    assert!(a.ncols() == n && right.ncols() == n, "as many columns as the system has unknowns");
    if n == 0 || m == 0 {
        return Some(right);
    }
    // Row-major memory is column-major memory of the transpose: rows of `right` are the right-hand sides.
    let mut a = a.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
    let mut b = right.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
    let info = T::raw_posv(int(n), int(m), &mut a, &mut b);
    if info != 0 {
        return None;
    }
    Array2::from_shape_vec((m, n), b).ok()
}

/// The eigendecomposition of a symmetric matrix, `A = U diag(s) Uᵀ`.
#[derive(Debug, Clone)]
pub struct Spectrum<T = f64> {
    /// Eigenvalues, ascending (n).
    pub values: ndarray::Array1<T>,
    /// Eigenvectors in columns (n × n).
    pub vectors: Array2<T>,
}

/// Eigendecomposition of a symmetric matrix by LAPACK's `syevd` (divide and conquer). Only the lower triangle is read;
/// the matrix is consumed as workspace.
///
/// # Errors
/// `NU-01` when the matrix holds NaN or infinities or LAPACK does not converge.
pub fn eigh<T: Real>(matrix: Array2<T>) -> Result<Spectrum<T>> {
    let n = matrix.nrows();
    assert_eq!(n, matrix.ncols(), "an eigendecomposition needs a square matrix");
    let refuse = |found: String| Error::new(Code::Nu01, "eigendecomposition", found);
    if let Some(bad) = matrix.iter().map(|v| v.wide()).find(|v| !v.is_finite()) {
        return Err(refuse(format!("the Gram matrix holds {bad}"))
            .expected("finite values")
            .hint("Features of very different sizes overflowed; scale them down"));
    }
    // A symmetric matrix is its own transpose: row-major memory is read as column-major, lower as upper.
    let mut data = matrix.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
    let mut values = vec![T::zero(); n];
    let mut work = Workspace { reals: vec![T::zero()], integers: vec![0] };
    if n > 0 {
        let order = c_int::try_from(n).map_err(|e| refuse("matrix too large".to_owned()).source(e))?;
        for query in [true, false] {
            let info = T::raw_syevd(order, &mut data, &mut values, &mut work, query);
            if info != 0 {
                return Err(refuse(format!("LAPACK syevd returned {info}")));
            }
            if query {
                // The length comes back as a float: in float32 it may have been rounded down.
                let reals = (work.reals[0].wide() * (1.0 + 4.0 * T::ROUNDOFF)).ceil() as usize;
                work = Workspace {
                    reals: vec![T::zero(); reals.max(1)],
                    integers: vec![0; (work.integers[0].max(1)) as usize],
                };
            }
        }
    }
    let shape = ndarray::ShapeBuilder::f((n, n));
    let vectors = Array2::from_shape_vec(shape, data).map_err(|e| refuse("wrong shape".to_owned()).source(e))?;
    Ok(Spectrum { values: ndarray::Array1::from(values), vectors })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix<T: Real>(rows: usize, columns: usize) -> Array2<T> {
        Array2::from_shape_fn((rows, columns), |(i, j)| T::of(((i * 7 + j * 13) % 11) as f64 - 5.0))
    }

    fn reconstructs<T: Real>() {
        for n in [0usize, 1, 2, 3, 17, 64, 130] {
            let b = matrix::<T>(n, n);
            let a = b.t().dot(&b);
            let Spectrum { values, vectors } = eigh(a.clone()).unwrap();
            let back = (&vectors * &values).dot(&vectors.t());
            let scale = a.iter().fold(1.0f64, |m, v| m.max(v.wide().abs()));
            // Tolerance from the backward error of the algorithm: a modest multiple of n·eps.
            let tolerance = 256.0 * T::ROUNDOFF * (8.0 * n as f64).sqrt() * scale;
            let worst = back.iter().zip(&a).fold(0.0f64, |m, (x, y)| m.max((x.wide() - y.wide()).abs()));
            assert!(worst <= tolerance, "n = {n}: {worst} > {tolerance}");
            assert!(values.windows(2).into_iter().all(|w| w[0] <= w[1]));
        }
    }

    #[test]
    fn eigendecompositions_reconstruct() {
        reconstructs::<f32>();
        reconstructs::<f64>();
        assert_eq!(eigh(Array2::from_elem((2, 2), f64::NAN)).unwrap_err().code(), Code::Nu01);
    }

    #[test]
    fn grams_are_lower_triangles_of_products() {
        let a = matrix::<f64>(5, 3);
        for (transposed, full) in [(false, a.dot(&a.t())), (true, a.t().dot(&a))] {
            let half = gram(a.view(), transposed);
            for ((i, j), v) in half.indexed_iter() {
                assert_eq!(*v, if j <= i { full[[i, j]] } else { 0.0 });
            }
        }
        let columns = gram(a.t(), false);
        assert_eq!(columns[[2, 1]], a.t().dot(&a)[[2, 1]], "a transposed view is read as it stands");
        assert_eq!(gram(Array2::<f32>::zeros((0, 2)).view(), true), Array2::<f32>::zeros((2, 2)));
    }

    #[test]
    fn solves_and_notices_indefinite_matrices() {
        let b = matrix::<f64>(9, 6);
        let a = b.t().dot(&b) + Array2::<f64>::eye(6);
        let right = matrix::<f64>(2, 6);
        let solution = solve_positive(a.clone(), right.clone()).unwrap();
        assert!((solution.dot(&a) - &right).iter().all(|d| d.abs() < 1e-10));
        assert!(solve_positive(-a, right).is_none());
    }
}
