#![allow(
    unsafe_code,
    reason = "calls LAPACK's dsyevd; ndarray-linalg's eigh calls dsyev, which is over ten times slower"
)]

use std::os::raw::{c_char, c_int};

use ndarray::{Array1, Array2, ShapeBuilder};

use crate::error::{Code, Error, Result};

/// The eigendecomposition of a symmetric matrix, `A = U diag(s) Uᵀ`.
#[derive(Debug, Clone)]
pub struct Spectrum {
    /// Eigenvalues, ascending (n).
    pub values: Array1<f64>,
    /// Eigenvectors in columns (n × n).
    pub vectors: Array2<f64>,
}

/// Eigendecomposition of a symmetric float64 matrix by LAPACK's `dsyevd` (divide and conquer). Only the lower
/// triangle is read; the matrix is consumed as workspace.
///
/// # Errors
/// `NU-01` when the matrix holds NaN or infinities or LAPACK does not converge.
pub fn eigh(matrix: Array2<f64>) -> Result<Spectrum> {
    let n = matrix.nrows();
    assert_eq!(n, matrix.ncols(), "an eigendecomposition needs a square matrix");
    if let Some(bad) = matrix.iter().find(|v| !v.is_finite()) {
        return Err(Error::new(Code::Nu01, "eigendecomposition", format!("the Gram matrix holds {bad}"))
            .expected("finite values")
            .hint("Features of very different sizes overflowed; scale them down"));
    }
    if n == 0 {
        return Ok(Spectrum { values: Array1::zeros(0), vectors: Array2::zeros((0, 0)) });
    }
    // A symmetric matrix is its own transpose: row-major memory is read as column-major.
    let mut data = matrix.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
    let mut values = vec![0.0; n];
    let order =
        c_int::try_from(n).map_err(|e| Error::new(Code::Nu01, "eigendecomposition", "matrix too large").source(e))?;
    let (mut work, mut integers) = (vec![0.0; 1], vec![0 as c_int; 1]);
    for query in [true, false] {
        let (lwork, liwork) = if query { (-1, -1) } else { (work.len() as c_int, integers.len() as c_int) };
        let mut info: c_int = 0;
        // SAFETY: `data` holds n·n and `values` n elements; the workspaces have the lengths that are passed, which the
        // first call (lwork = −1) asked LAPACK for. The upper triangle of the row-major matrix is the lower one here.
        unsafe {
            lapack_sys::dsyevd_(
                &(b'V' as c_char),
                &(b'U' as c_char),
                &order,
                data.as_mut_ptr(),
                &order,
                values.as_mut_ptr(),
                work.as_mut_ptr(),
                &lwork,
                integers.as_mut_ptr(),
                &liwork,
                &mut info,
            );
        }
        if info != 0 {
            return Err(Error::new(Code::Nu01, "eigendecomposition", format!("LAPACK dsyevd returned {info}")));
        }
        if query {
            work = vec![0.0; work[0] as usize];
            integers = vec![0; integers[0] as usize];
        }
    }
    let vectors = Array2::from_shape_vec((n, n).f(), data)
        .map_err(|e| Error::new(Code::Nu01, "eigendecomposition", "wrong shape").source(e))?;
    Ok(Spectrum { values: Array1::from(values), vectors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconstructs_symmetric_matrices() {
        for n in [1usize, 2, 3, 17, 64, 130] {
            let b = Array2::from_shape_fn((n, n), |(i, j)| ((i * 7 + j * 13) % 11) as f64 - 5.0);
            let a = b.t().dot(&b);
            let Spectrum { values, vectors } = eigh(a.clone()).unwrap();
            let back = (&vectors * &values).dot(&vectors.t());
            let scale = a.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            // Tolerance from the backward error of the algorithm: a modest multiple of n·eps.
            let tolerance = 128.0 * f64::EPSILON * (8.0 * n as f64).sqrt() * scale;
            let worst = (&back - &a).iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(worst <= tolerance, "n = {n}: {worst} > {tolerance}");
            assert!(values.windows(2).into_iter().all(|w| w[0] <= w[1]));
        }
    }

    #[test]
    fn nan_is_refused() {
        assert_eq!(eigh(Array2::from_elem((2, 2), f64::NAN)).unwrap_err().code(), Code::Nu01);
    }
}
