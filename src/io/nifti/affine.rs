/// From voxel indices (i, j, k, 1) to millimetres (x, y, z, 1), row by row.
pub type Affine = [[f64; 4]; 4];

/// The identity of the last row.
const LAST: [f64; 4] = [0.0, 0.0, 0.0, 1.0];

/// The affine of three rows.
pub(super) fn from_rows(rows: [[f64; 4]; 3]) -> Affine {
    [rows[0], rows[1], rows[2], LAST]
}

/// The affine that a header's quaternion, offsets and voxel sizes stand for, or nothing where they are no rotation.
///
/// Source: `nifti1.h`, method 2; a fourth component that rounding drove just below zero is zero, as in nibabel.
pub(super) fn from_quaternion(bcd: [f64; 3], offset: [f64; 3], zooms: [f64; 3], qfac: f64) -> Option<Affine> {
    let [b, c, d] = bcd;
    let squared = 1.0 - (b * b + c * c + d * d);
    if squared.is_nan() || squared < -3.0 * f64::from(f32::EPSILON) {
        return None;
    }
    let a = squared.max(0.0).sqrt();
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let scale = [zooms[0], zooms[1], zooms[2] * qfac];
    let mut rows = [[0.0; 4]; 3];
    for (row, (turn, shift)) in rows.iter_mut().zip(rotation.iter().zip(offset)) {
        for (cell, (r, s)) in row.iter_mut().zip(turn.iter().zip(scale)) {
            *cell = r * s;
        }
        row[3] = shift;
    }
    Some(from_rows(rows))
}

/// Determinant of the upper left 3 × 3 block: the signed volume of a voxel in mm³.
pub fn determinant(a: &Affine) -> f64 {
    a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) - a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0])
        + a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0])
}

/// The inverse of an affine, or nothing where its 3 × 3 block is singular or not finite.
///
/// Gauss–Jordan elimination with row pivoting. Where every row and column has one entry (grids along the axes) each
/// value is rounded as LAPACK rounds it, so that voxels at the very edge of a grid fall on the same side.
pub fn inverse(affine: &Affine) -> Option<Affine> {
    let mut a = *affine;
    let mut inv = [[0.0; 4]; 4];
    for (i, row) in inv.iter_mut().enumerate() {
        row[i] = 1.0;
    }
    for column in 0..4 {
        let pivot = (column..4).max_by(|x, y| a[*x][column].abs().total_cmp(&a[*y][column].abs()))?;
        if !a[pivot][column].is_normal() {
            return None;
        }
        a.swap(column, pivot);
        inv.swap(column, pivot);
        let scale = 1.0 / a[column][column];
        for k in 0..4 {
            a[column][k] *= scale;
            inv[column][k] *= scale;
        }
        for row in (0..4).filter(|r| *r != column) {
            let factor = a[row][column];
            if factor == 0.0 {
                continue;
            }
            for k in 0..4 {
                a[row][k] -= factor * a[column][k];
                inv[row][k] -= factor * inv[column][k];
            }
        }
    }
    inv.iter().flatten().all(|v| v.is_finite()).then_some(inv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses() {
        let oblique = from_rows([[1.9, 0.2, -0.3, 10.0], [-0.1, 2.1, 0.4, -20.0], [0.25, -0.35, 1.8, 5.5]]);
        let back = inverse(&oblique).unwrap();
        for (i, row) in oblique.iter().enumerate() {
            for j in 0..4 {
                let product: f64 = row.iter().zip(&back).map(|(a, b)| a * b[j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-14);
            }
        }
        let flat = from_rows([[1.0, 2.0, 0.0, 0.0], [2.0, 4.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        assert!(inverse(&flat).is_none() && determinant(&flat) == 0.0);
    }

    #[test]
    fn quaternions() {
        // Half a turn about z: x and y change sign.
        let turned = from_quaternion([0.0, 0.0, 1.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0], -1.0).unwrap();
        assert_eq!(turned[0], [-2.0, 0.0, 0.0, 1.0]);
        assert_eq!(turned[1], [0.0, -3.0, 0.0, 2.0]);
        assert_eq!(turned[2], [0.0, 0.0, -4.0, 3.0]);
        assert!(from_quaternion([1.0, 1.0, 0.0], [0.0; 3], [1.0; 3], 1.0).is_none());
    }
}
