use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::io::nifti::{Affine, Header, inverse};

/// Where the voxels of an image lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Voxels along the three axes.
    pub shape: [usize; 3],
    /// From voxel indices to millimetres.
    pub affine: Affine,
}

/// How values between voxels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The nearest voxel's value.
    Nearest,
    /// Linear along each axis.
    Trilinear,
}

impl Grid {
    /// The grid of an image.
    pub fn of(header: &Header) -> Grid {
        Grid { shape: header.shape, affine: header.affine }
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether two grids are one: the same shape, and affines that agree to 1e-5 of each entry (plus 1e-8), nilearn's
    /// criterion for leaving an image as it is.
    pub fn same_as(&self, other: &Grid) -> bool {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-8 + 1e-5 * b.abs();
        self.shape == other.shape && self.affine.iter().flatten().zip(other.affine.iter().flatten()).all(close)
    }

    /// Where a place in voxel indices lies (mm).
    pub fn place(&self, at: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|r| (0..3).map(|c| self.affine[r][c] * at[c]).sum::<f64>() + self.affine[r][3])
    }

    /// The length of a voxel's edge along an axis (mm).
    pub fn edge(&self, axis: usize) -> f64 {
        (0..3).map(|r| self.affine[r][axis].powi(2)).sum::<f64>().sqrt()
    }

    /// The voxel (i, j, k) of position `index` in a volume.
    pub fn coordinates(&self, index: usize) -> [usize; 3] {
        let [nx, ny, _] = self.shape;
        [index % nx, index / nx % ny, index / (nx * ny)]
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [x, y, z] = self.shape;
        write!(f, "{x} × {y} × {z} voxels, affine {:?}", &self.affine[..3])
    }
}

/// One axis of a target grid: for each of its voxels the source voxel below and the share of the one above it, or
/// nothing where the source does not reach.
type AxisTable = Vec<Option<(usize, f64)>>;

/// Takes values of one grid to another, as `scipy.ndimage.affine_transform` does with `mode="constant"`, `cval=0`:
/// a voxel whose place lies outside the first and last source voxel's centres is 0.
pub(super) struct Resampler {
    source: Grid,
    target: Grid,
    how: How,
    interpolation: Interpolation,
}

enum How {
    /// The axes are parallel: each is looked up on its own.
    Axes([AxisTable; 3]),
    /// Any affine: rows of the matrix and the shift.
    General([[f64; 3]; 3], [f64; 3]),
}

impl Resampler {
    /// Prepares the way from `source` to `target`.
    ///
    /// # Errors
    /// `NI-21` when no voxel of the target lies within the source; `place` names the source.
    pub fn new(source: &Grid, target: &Grid, interpolation: Interpolation, place: &str) -> Result<Resampler> {
        let apart =
            || Error::new(Code::Ni21, place, format!("lies on {source}")).expected(format!("an overlap with {target}"));
        let inv = inverse(&source.affine).ok_or_else(apart)?;
        let same = source.affine == target.affine;
        let entry = |i: usize, j: usize| -> f64 {
            match same {
                true => f64::from(u8::from(i == j)),
                false => (0..4).fold(0.0f64, |sum, k| inv[i][k].mul_add(target.affine[k][j], sum)),
            }
        };
        let matrix: [[f64; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| entry(i, j)));
        let shift: [f64; 3] = std::array::from_fn(|i| entry(i, 3));
        let parallel = (0..3).all(|i| (0..3).all(|j| i == j || matrix[i][j] == 0.0));
        let how = if parallel {
            // scipy's zoom_shift: the shift is divided first and the sum multiplied, with their roundings.
            let axes = std::array::from_fn(|a| {
                let (zoom, shift) = (matrix[a][a], shift[a] / matrix[a][a]);
                (0..target.shape[a])
                    .map(|k| look_up((k as f64 + shift) * zoom, source.shape[a], interpolation))
                    .collect()
            });
            How::Axes(axes)
        } else {
            How::General(matrix, shift)
        };
        let resampler = Resampler { source: *source, target: *target, how, interpolation };
        if resampler.reaches() { Ok(resampler) } else { Err(apart()) }
    }

    /// Whether any voxel of the target lies within the source.
    fn reaches(&self) -> bool {
        match &self.how {
            How::Axes(axes) => axes.iter().all(|axis| axis.iter().any(Option::is_some)),
            How::General(matrix, shift) => {
                (0..self.target.voxels()).any(|v| self.taps(self.target.coordinates(v), matrix, shift).is_some())
            }
        }
    }

    /// Source voxel below and shares above, along the three axes.
    fn taps(&self, at: [usize; 3], matrix: &[[f64; 3]; 3], shift: &[f64; 3]) -> Option<[(usize, f64); 3]> {
        let mut taps = [(0, 0.0); 3];
        for (axis, tap) in taps.iter_mut().enumerate() {
            let place = (0..3).fold(0.0, |sum, k| sum + at[k] as f64 * matrix[axis][k]) + shift[axis];
            *tap = look_up(place, self.source.shape[axis], self.interpolation)?;
        }
        Some(taps)
    }

    /// Calls `found` with each voxel of the target for which `wanted` holds and whose value is not 0, in order.
    pub fn each(&self, data: &[f32], wanted: impl Fn(usize) -> bool, mut found: impl FnMut(usize, f32)) {
        let [nx, ny, _] = self.target.shape;
        // Soft maps are local: outside the box of their values there is nothing to compute.
        let Some(bounds) = bounds(data, self.source.shape) else { return };
        let near = |tap: &Option<(usize, f64)>, axis: usize| {
            tap.filter(|(low, _)| low + 1 >= bounds[axis].0 && *low <= bounds[axis].1)
        };
        match &self.how {
            How::Axes([xs, ys, zs]) => {
                let xs: Vec<(usize, (usize, f64))> =
                    xs.iter().enumerate().filter_map(|(i, tap)| Some((i, near(tap, 0)?))).collect();
                for (k, z) in zs.iter().enumerate() {
                    let Some(z) = near(z, 2) else { continue };
                    for (j, y) in ys.iter().enumerate() {
                        let Some(y) = near(y, 1) else { continue };
                        for (i, x) in &xs {
                            let voxel = i + nx * (j + ny * k);
                            if wanted(voxel) {
                                let value = blend(data, self.source.shape, [*x, y, z]);
                                if value != 0.0 {
                                    found(voxel, value);
                                }
                            }
                        }
                    }
                }
            }
            How::General(matrix, shift) => {
                for voxel in (0..self.target.voxels()).filter(|v| wanted(*v)) {
                    let Some(taps) = self.taps(self.target.coordinates(voxel), matrix, shift) else { continue };
                    let value = blend(data, self.source.shape, taps);
                    if value != 0.0 {
                        found(voxel, value);
                    }
                }
            }
        }
    }
}

/// First and last voxel along each axis that holds a value; nothing where all are 0.
fn bounds(data: &[f32], shape: [usize; 3]) -> Option<[(usize, usize); 3]> {
    let mut bounds = [(usize::MAX, 0); 3];
    for (line, row) in data.chunks_exact(shape[0]).enumerate() {
        let Some(first) = row.iter().position(|v| *v != 0.0) else { continue };
        let last = row.iter().rposition(|v| *v != 0.0).unwrap_or(first);
        for (bound, (low, high)) in bounds.iter_mut().zip([
            (first, last),
            (line % shape[1], line % shape[1]),
            (line / shape[1], line / shape[1]),
        ]) {
            *bound = (bound.0.min(low), bound.1.max(high));
        }
    }
    (bounds[0].0 != usize::MAX).then_some(bounds)
}

/// The voxel below `place` and the share of the one above it; the nearest voxel with share 0.
fn look_up(place: f64, extent: usize, interpolation: Interpolation) -> Option<(usize, f64)> {
    if !(place >= 0.0 && place <= (extent - 1) as f64) {
        return None;
    }
    Some(match interpolation {
        Interpolation::Nearest => (((place + 0.5).floor() as usize).min(extent - 1), 0.0),
        Interpolation::Trilinear => (place.floor() as usize, place - place.floor()),
    })
}

/// The weighted sum of up to eight voxels, in float64.
fn blend(data: &[f32], shape: [usize; 3], taps: [(usize, f64); 3]) -> f32 {
    let [(x, fx), (y, fy), (z, fz)] = taps;
    let mut sum = 0.0;
    for (dz, wz) in [(0, 1.0 - fz), (1, fz)] {
        for (dy, wy) in [(0, 1.0 - fy), (1, fy)] {
            if wz * wy == 0.0 {
                continue;
            }
            let row = shape[0] * (y + dy + shape[1] * (z + dz));
            for (dx, wx) in [(0, 1.0 - fx), (1, fx)] {
                if wx != 0.0 {
                    sum += f64::from(data[row + x + dx]) * (wz * wy * wx);
                }
            }
        }
    }
    sum as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(shape: [usize; 3], zoom: f64, origin: [f64; 3]) -> Grid {
        let mut affine = [[0.0; 4]; 4];
        for i in 0..3 {
            affine[i][i] = zoom;
            affine[i][3] = origin[i];
        }
        affine[3][3] = 1.0;
        Grid { shape, affine }
    }

    fn resample(source: &Grid, target: &Grid, data: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; target.voxels()];
        let resampler = Resampler::new(source, target, Interpolation::Trilinear, "a").unwrap();
        resampler.each(data, |_| true, |v, value| out[v] = value);
        out
    }

    #[test]
    fn a_linear_field_stays_linear_within_and_is_zero_without() {
        let source = grid([5, 6, 7], 2.0, [0.0; 3]);
        let field = |x: f64, y: f64, z: f64| 1.0 + x + 2.0 * y - 0.5 * z;
        let data: Vec<f32> = (0..source.voxels())
            .map(|v| {
                let [i, j, k] = source.coordinates(v).map(|c| 2.0 * c as f64);
                field(i, j, k) as f32
            })
            .collect();
        let mut turned = grid([4, 4, 9], 1.5, [1.0, 2.0, -1.0]);
        for oblique in [false, true] {
            if oblique {
                turned.affine[0][1] = 0.25;
                turned.affine[2][0] = -0.125;
            }
            let out = resample(&source, &turned, &data);
            for (v, value) in out.iter().enumerate() {
                let c = turned.coordinates(v).map(|c| c as f64);
                let p: [f64; 3] = std::array::from_fn(|r| {
                    (0..3).map(|k| turned.affine[r][k] * c[k]).sum::<f64>() + turned.affine[r][3]
                });
                let inside = (0..3).all(|a| p[a] >= 0.0 && p[a] <= 2.0 * (source.shape[a] - 1) as f64);
                let expected = if inside { field(p[0], p[1], p[2]) } else { 0.0 };
                assert!((f64::from(*value) - expected).abs() < 1e-5, "{p:?}: {value} instead of {expected}");
            }
        }
    }

    #[test]
    fn grids_apart_are_refused() {
        let (a, b) = (grid([3; 3], 2.0, [0.0; 3]), grid([3; 3], 2.0, [50.0, 0.0, 0.0]));
        let error = Resampler::new(&a, &b, Interpolation::Nearest, "atlas").err().unwrap();
        assert_eq!(error.code(), Code::Ni21);
        assert!(a.same_as(&a) && !a.same_as(&b));
    }
}
