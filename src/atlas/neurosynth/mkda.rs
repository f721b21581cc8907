use rayon::prelude::*;

use super::Database;
use crate::atlas::Grid;
use crate::error::{Code, Error, Result};
use crate::io::nifti::inverse;
use crate::watch::Watch;

/// Radius of the sphere around each peak (mm).
pub const RADIUS_MM: f64 = 6.0;
/// Parts that studies are counted in; counts are whole numbers, so their sum does not depend on it.
const PARTS: usize = 8;

/// How many studies are active at each voxel of a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// The grid.
    pub grid: Grid,
    /// Number of selected studies.
    pub n_selected: usize,
    /// Number of all studies, the selected ones included.
    pub n_studies: usize,
    /// Selected studies that are active, per voxel.
    pub selected: Vec<u32>,
    /// All studies that are active, per voxel.
    pub all: Vec<u32>,
}

/// The 2 mm grid of FSL's MNI152 template: 91 × 109 × 91 voxels, the first axis from right to left.
pub fn standard_grid() -> Grid {
    let affine = [[-2.0, 0.0, 0.0, 90.0], [0.0, 2.0, 0.0, -126.0], [0.0, 0.0, 2.0, -72.0], [0.0, 0.0, 0.0, 1.0]];
    Grid { shape: [91, 109, 91], affine }
}

/// Counts the studies with a peak within [`RADIUS_MM`] of each voxel.
///
/// Peaks are rounded to the nearest voxel (halves to the even one); the sphere holds the voxels whose centres lie within
/// the radius of that voxel's centre. Peaks outside the grid do not count.
///
/// # Errors
/// `NI-17` for a grid whose affine cannot be inverted.
pub fn counts(database: &Database, selected: &[bool], grid: &Grid, watch: &dyn Watch) -> Result<Counts> {
    let inv = inverse(&grid.affine)
        .ok_or_else(|| Error::new(Code::Ni17, database.folder.display(), format!("peaks cannot be put on {grid}")))?;
    let offsets = sphere(grid);
    let [nx, ny, nz] = grid.shape;
    let extent = [nx as i64, ny as i64, nz as i64];
    let n = database.studies.len();
    let per_part = n.div_ceil(PARTS).max(1);
    watch.begin("peaks", "studies", n as u64);
    let parts: Result<Vec<(Vec<u32>, Vec<u32>)>> = (0..PARTS)
        .into_par_iter()
        .map(|part| {
            watch.check()?;
            let (mut chosen, mut all) = (vec![0u32; grid.voxels()], vec![0u32; grid.voxels()]);
            // The last study that touched a voxel, plus one: spheres of one study count once.
            let mut last = vec![0u32; grid.voxels()];
            let studies = (part * per_part).min(n)..((part + 1) * per_part).min(n);
            let length = studies.len();
            for study in studies {
                for peak in &database.peaks[database.starts[study]..database.starts[study + 1]] {
                    let at: [i64; 3] = std::array::from_fn(|r| {
                        let place = (0..3).map(|k| inv[r][k] * peak[k]).sum::<f64>() + inv[r][3];
                        place.round_ties_even() as i64
                    });
                    if (0..3).any(|a| at[a] < 0 || at[a] >= extent[a]) {
                        continue;
                    }
                    for offset in &offsets {
                        let [x, y, z] = std::array::from_fn(|a| at[a] + offset[a]);
                        if x < 0 || y < 0 || z < 0 || x >= extent[0] || y >= extent[1] || z >= extent[2] {
                            continue;
                        }
                        let voxel = (x + extent[0] * (y + extent[1] * z)) as usize;
                        if last[voxel] != study as u32 + 1 {
                            last[voxel] = study as u32 + 1;
                            all[voxel] += 1;
                            chosen[voxel] += u32::from(selected[study]);
                        }
                    }
                }
            }
            watch.advance(length as u64);
            Ok((chosen, all))
        })
        .collect();
    watch.end();
    let mut parts = parts?.into_iter();
    // INVARIANT: there are PARTS of them.
    let (mut chosen, mut all) = parts.next().expect("a first part");
    for (more_chosen, more_all) in parts {
        chosen.iter_mut().zip(more_chosen).for_each(|(sum, more)| *sum += more);
        all.iter_mut().zip(more_all).for_each(|(sum, more)| *sum += more);
    }
    Ok(Counts { grid: *grid, n_selected: selected.iter().filter(|s| **s).count(), n_studies: n, selected: chosen, all })
}

/// Steps in voxels from a sphere's middle to all of its voxels.
fn sphere(grid: &Grid) -> Vec<[i64; 3]> {
    let shortest = (0..3).map(|axis| grid.edge(axis)).fold(f64::INFINITY, f64::min);
    // Voxels of oblique grids may reach further along one index than along an axis of space.
    let most = ((2.0 * RADIUS_MM / shortest).ceil() as i64).min(64);
    let steps = || -most..=most;
    steps()
        .flat_map(|x| steps().flat_map(move |y| steps().map(move |z| [x, y, z])))
        .filter(|step| {
            let squared: f64 =
                (0..3).map(|r| (0..3).map(|a| grid.affine[r][a] * step[a] as f64).sum::<f64>().powi(2)).sum();
            // A voxel exactly on the sphere is inside, whatever rounding did to its place.
            squared <= RADIUS_MM * RADIUS_MM * (1.0 + 1e-9)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sphere_of_6_mm_has_123_voxels_of_2_mm() {
        assert_eq!(sphere(&standard_grid()).len(), 123);
    }
}
