#![allow(unsafe_code, reason = "calls into CBLAS; every call checks its slices first")]

use std::os::raw::c_int;

use cblas_sys::{CBLAS_LAYOUT, CBLAS_TRANSPOSE, cblas_sgemm};

/// A row-major matrix inside a slice: `rows` × `columns` values, rows `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// The values; the first one is that of row 0, column 0.
    pub data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Values from one row to the next.
    pub stride: usize,
    /// Whether the transpose takes part in the product.
    pub transposed: bool,
}

impl<'a> Operand<'a> {
    /// A contiguous matrix.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Operand { data, rows, columns, stride: columns, transposed: false }
    }

    /// A matrix whose rows lie `stride` values apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Operand { data, rows, columns, stride, transposed: false }
    }

    /// The same matrix, transposed.
    pub fn t(mut self) -> Self {
        self.transposed = !self.transposed;
        self
    }

    /// Rows and columns as they take part in the product.
    fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    fn check(&self) {
        assert!(fits(self.data.len(), self.rows, self.columns, self.stride), "operand reaches beyond its slice");
    }
}

fn fits(len: usize, rows: usize, columns: usize, stride: usize) -> bool {
    rows == 0 || columns == 0 || (stride >= columns && (rows - 1) * stride + columns <= len)
}

/// `out = scale · a · b + keep · out` in float32 (CBLAS `sgemm`); `out` is row-major with rows `stride` values apart.
///
/// # Panics
/// When shapes do not match or a matrix reaches beyond its slice: a defect of the caller.
pub fn sgemm(scale: f32, a: Operand<'_>, b: Operand<'_>, keep: f32, out: &mut [f32], stride: usize) {
    let ((m, k), (inner, n)) = (a.shape(), b.shape());
    assert_eq!(k, inner, "inner dimensions agree");
    a.check();
    b.check();
    assert!(fits(out.len(), m, n, stride), "the product reaches beyond its slice");
    if m == 0 || n == 0 {
        return;
    }
    // INVARIANT: extents come from slices in memory whose products were checked; none exceeds a BLAS integer.
    let int = |value: usize| c_int::try_from(value).expect("matrix extents fit a BLAS integer");
    let op = |t: bool| if t { CBLAS_TRANSPOSE::CblasTrans } else { CBLAS_TRANSPOSE::CblasNoTrans };
    // SAFETY: the three asserts above make sure that every element that BLAS touches lies inside its slice.
    unsafe {
        cblas_sgemm(
            CBLAS_LAYOUT::CblasRowMajor,
            op(a.transposed),
            op(b.transposed),
            int(m),
            int(n),
            int(k),
            scale,
            a.data.as_ptr(),
            int(a.stride.max(1)),
            b.data.as_ptr(),
            int(b.stride.max(1)),
            keep,
            out.as_mut_ptr(),
            int(stride.max(1)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_strides_and_transposes() {
        // a = [[1, 2], [3, 4]] inside rows of 3; b = [[5, 6], [7, 8]].
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let mut out = [1.0; 4];
        sgemm(1.0, Operand::strided(&a, 2, 2, 3), Operand::new(&b, 2, 2), 0.0, &mut out, 2);
        assert_eq!(out, [19.0, 22.0, 43.0, 50.0]);
        sgemm(2.0, Operand::strided(&a, 2, 2, 3).t(), Operand::new(&b, 2, 2).t(), 1.0, &mut out, 2);
        assert_eq!(out, [19.0 + 46.0, 22.0 + 62.0, 43.0 + 68.0, 50.0 + 92.0]);
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_short_slice_is_caught() {
        sgemm(1.0, Operand::new(&[1.0; 3], 2, 2), Operand::new(&[1.0; 4], 2, 2), 0.0, &mut [0.0; 4], 2);
    }
}
