use super::Grid;
use crate::error::{Code, Error, Result};

/// Standard deviations after which a Gaussian is cut off.
const TRUNCATE: f64 = 4.0;

/// Smooths volumes with a Gaussian of a given full width at half maximum.
///
/// As nilearn's `smooth_img`: along each axis in turn a kernel of σ = FWHM / (√(8 ln 2) · voxel size), cut off at
/// round(4 σ) voxels and normalised to sum 1, the volume continued at its border by reflection (d c b a | a b c d), sums
/// in float64, each axis rounded to float32. Voxel sizes are the lengths of the affine's columns.
#[derive(Debug, Clone)]
pub struct Smoothing {
    shape: [usize; 3],
    /// Per axis the kernel from its middle outwards; empty where nothing is to do.
    kernels: [Vec<f64>; 3],
}

impl Smoothing {
    /// A kernel of `fwhm` millimetres on a grid.
    ///
    /// # Errors
    /// `FL-02` for a width that is negative or not finite.
    pub fn new(fwhm: f64, grid: &Grid) -> Result<Smoothing> {
        check_fwhm(fwhm)?;
        let kernels =
            std::array::from_fn(|axis| kernel(fwhm / ((8.0 * std::f64::consts::LN_2).sqrt() * grid.edge(axis))));
        Ok(Smoothing { shape: grid.shape, kernels })
    }

    /// Smooths one volume in place; `line` and `sum` are kept between calls.
    pub fn apply(&self, volume: &mut [f32], work: &mut Work) {
        let [nx, ny, nz] = self.shape;
        if !self.kernels[0].is_empty() {
            for row in volume.chunks_exact_mut(nx) {
                work.sums.clear();
                work.sums.resize(nx, 0.0);
                work.lines.clear();
                work.lines.extend(row.iter().map(|v| f64::from(*v)));
                convolve(&self.kernels[0], nx, 1, &work.lines, &mut work.sums);
                row.iter_mut().zip(&work.sums).for_each(|(v, s)| *v = *s as f32);
            }
        }
        // Along the other axes whole rows move together, so that every pass reads memory in its order.
        if !self.kernels[1].is_empty() {
            for slab in volume.chunks_exact_mut(nx * ny) {
                pass(&self.kernels[1], ny, nx, slab, work);
            }
        }
        if !self.kernels[2].is_empty() {
            // One row of x after the other, all z of it at a time.
            let mut column = std::mem::take(&mut work.column);
            for y in 0..ny {
                column.clear();
                for z in 0..nz {
                    let at = nx * (y + ny * z);
                    column.extend_from_slice(&volume[at..at + nx]);
                }
                pass(&self.kernels[2], nz, nx, &mut column, work);
                for z in 0..nz {
                    let at = nx * (y + ny * z);
                    volume[at..at + nx].copy_from_slice(&column[nx * z..nx * (z + 1)]);
                }
            }
            work.column = column;
        }
    }
}

/// Refuses widths that are none.
pub(super) fn check_fwhm(fwhm: f64) -> Result<()> {
    if fwhm.is_finite() && fwhm >= 0.0 {
        return Ok(());
    }
    Err(Error::new(Code::Fl02, "--smooth", format!("{fwhm}")).expected("a width in mm, 0 or more"))
}

/// Memory that smoothing needs.
#[derive(Debug, Default)]
pub struct Work {
    lines: Vec<f64>,
    sums: Vec<f64>,
    column: Vec<f32>,
}

/// Smooths `n` rows of `width` across each other.
fn pass(kernel: &[f64], n: usize, width: usize, rows: &mut [f32], work: &mut Work) {
    work.lines.clear();
    work.lines.extend(rows.iter().map(|v| f64::from(*v)));
    work.sums.clear();
    work.sums.resize(rows.len(), 0.0);
    convolve(kernel, n, width, &work.lines, &mut work.sums);
    rows.iter_mut().zip(&work.sums).for_each(|(v, s)| *v = *s as f32);
}

/// `out[i] = Σ_d kernel[|d|] · lines[reflect(i + d)]` over rows of `width` values.
fn convolve(kernel: &[f64], n: usize, width: usize, lines: &[f64], out: &mut [f64]) {
    pulp::Arch::new().dispatch(|| {
        for (i, sums) in out.chunks_exact_mut(width).enumerate() {
            let middle = &lines[i * width..(i + 1) * width];
            sums.iter_mut().zip(middle).for_each(|(s, v)| *s = v * kernel[0]);
            for (d, weight) in kernel.iter().enumerate().skip(1) {
                let (below, above) = (reflect(i as isize - d as isize, n), reflect((i + d) as isize, n));
                let below = &lines[below * width..(below + 1) * width];
                let above = &lines[above * width..(above + 1) * width];
                for ((s, a), b) in sums.iter_mut().zip(below).zip(above) {
                    *s += (a + b) * weight;
                }
            }
        }
    });
}

/// The position that stands for `at` when `n` values are continued by reflection at the outer edges of the border ones.
fn reflect(at: isize, n: usize) -> usize {
    let period = 2 * n as isize;
    let at = at.rem_euclid(period);
    (if at < n as isize { at } else { period - 1 - at }) as usize
}

/// A Gaussian from its middle outwards; empty for a width of 0.
fn kernel(sigma: f64) -> Vec<f64> {
    if sigma <= 0.0 {
        return Vec::new();
    }
    let radius = (TRUNCATE * sigma + 0.5) as usize;
    let half: Vec<f64> = (0..=radius).map(|d| (-0.5 / (sigma * sigma) * (d * d) as f64).exp()).collect();
    let total = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    half.iter().map(|v| v / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection() {
        let found: Vec<usize> = (-7..7).map(|i| reflect(i, 3)).collect();
        assert_eq!(found, [0, 0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
    }

    #[test]
    fn constants_stay_and_mass_is_kept() {
        let affine = [[2.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, -4.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let grid = Grid { shape: [5, 4, 3], affine };
        let smoothing = Smoothing::new(9.0, &grid).unwrap();
        let mut constant = vec![7.5f32; 60];
        smoothing.apply(&mut constant, &mut Work::default());
        assert!(constant.iter().all(|v| (v - 7.5).abs() < 1e-5));
        let mut peak = vec![0.0f32; 60];
        peak[22] = 1.0;
        smoothing.apply(&mut peak, &mut Work::default());
        assert!((peak.iter().sum::<f32>() - 1.0).abs() < 1e-5 && peak[22] < 0.1);
    }
}
