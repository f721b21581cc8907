//! Where the invented parcels lie, as an atlas of soft maps, and four regions as statistic maps.
//!
//! The places are rough and the extents invented; no map is from data. Grids are coarse, so that the files are small, and
//! images are not compressed, so that their bytes are the same everywhere.

use std::path::Path;

use super::{parcel, plant};
use crate::atlas::Grid;
use crate::error::Result;
use crate::io::{atomic, nifti};

/// The atlas inside the demo's folder, the names of its maps, and the folder of the regions' maps.
const ATLAS: &str = "atlas.nii";
const LABELS: &str = "atlas_labels.csv";
const FOLDER: &str = "rois";
/// Edge of a voxel (mm).
const VOXEL: f64 = 8.0;
/// Spread of a parcel and of a region around each of its places (mm).
const PARCEL_SIGMA: f64 = 6.0;
const REGION_SIGMA: f64 = 9.0;
/// A parcel ends here (mm).
const PARCEL_RADIUS: f64 = 15.0;
/// z in the middle of a region.
const PEAK_Z: f64 = 8.0;
/// Values are whole multiples of this: a machine's `exp` may differ in the last digit.
const STEP: f64 = 1.0 / 64.0;

/// A region and its four places.
type Region = (&'static str, [[f64; 3]; 4]);

/// Parcel `p` belongs to region `p % 5`; the parcels of the last one lie in none of the maps.
const REGIONS: [Region; 5] = [
    (TOM, [[50.0, -52.0, 22.0], [-50.0, -54.0, 22.0], [2.0, -58.0, 34.0], [2.0, 52.0, 26.0]]),
    ("vision", [[-12.0, -90.0, 0.0], [14.0, -84.0, 4.0], [44.0, -70.0, -10.0], [-42.0, -72.0, -12.0]]),
    ("language", [[-50.0, 24.0, 4.0], [-56.0, -14.0, -10.0], [-44.0, 4.0, 46.0], [-40.0, 38.0, -14.0]]),
    ("moral", [[2.0, 46.0, -14.0], [-24.0, -2.0, -22.0], [40.0, 18.0, -8.0], [-2.0, -22.0, 40.0]]),
    ("", [[38.0, -20.0, 56.0], [-38.0, -24.0, 56.0], [30.0, 44.0, 22.0], [26.0, -2.0, 4.0]]),
];

/// The region whose parcels the planted layer drives.
pub(super) const TOM: &str = "tom";

/// Writes the atlas, its labels and the maps of the four regions.
pub(super) fn write(folder: &Path) -> Result<()> {
    let grid = grid();
    let maps: Vec<Vec<f32>> =
        (1..=plant::PARCELS).map(|p| map(&grid, &[place(p)], PARCEL_SIGMA, 1.0, PARCEL_RADIUS)).collect();
    let views: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
    nifti::write(&folder.join(ATLAS), grid.shape, &grid.affine, 0.0, &views)?;
    let labels: String = (1..=plant::PARCELS).map(|p| format!("{p},{}\n", parcel(p))).collect();
    atomic::write(&folder.join(LABELS), format!("component,name\n{labels}").as_bytes())?;
    super::create(&folder.join(FOLDER))?;
    for (name, places) in REGIONS.iter().filter(|(name, _)| !name.is_empty()) {
        let z = map(&grid, places, REGION_SIGMA, PEAK_Z, f64::INFINITY);
        nifti::write(&folder.join(FOLDER).join(format!("{name}_z.nii")), grid.shape, &grid.affine, 0.0, &[&z])?;
    }
    Ok(())
}

/// 8 mm voxels over the extent of the MNI template.
fn grid() -> Grid {
    let origin = [-76.0, -108.0, -60.0];
    let mut affine = [[0.0; 4]; 4];
    for axis in 0..3 {
        (affine[axis][axis], affine[axis][3]) = (VOXEL, origin[axis]);
    }
    affine[3][3] = 1.0;
    Grid { shape: [20, 24, 19], affine }
}

/// The middle of a parcel (from 1): beside one of the places of its region.
fn place(parcel: usize) -> [f64; 3] {
    const BESIDE: [[f64; 3]; 4] = [[0.0, 0.0, 0.0], [0.0, 9.0, 6.0], [6.0, -6.0, -6.0], [-6.0, 0.0, 8.0]];
    let (_, places) = REGIONS[parcel % REGIONS.len()];
    let within = (parcel - 1) / REGIONS.len();
    let (at, beside) = (places[within % places.len()], BESIDE[within / places.len()]);
    std::array::from_fn(|axis| at[axis] + beside[axis])
}

/// A Gaussian around each place, the largest where they meet.
fn map(grid: &Grid, places: &[[f64; 3]], sigma: f64, peak: f64, radius: f64) -> Vec<f32> {
    let value = |voxel: usize| {
        let mm = grid.place(grid.coordinates(voxel).map(|c| c as f64));
        let square = |at: &[f64; 3]| at.iter().zip(&mm).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let nearest = places.iter().map(square).fold(f64::INFINITY, f64::min);
        let value = peak * (-0.5 * nearest / (sigma * sigma)).exp();
        if nearest <= radius * radius { ((value / STEP).round() * STEP) as f32 } else { 0.0 }
    };
    (0..grid.voxels()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driven_parcels_are_those_of_one_region() {
        for p in 1..=plant::PARCELS {
            let (name, _) = REGIONS[p % REGIONS.len()];
            assert_eq!(name == TOM, plant::driven().any(|d| d == p), "parcel {p}");
        }
        let grid = grid();
        assert!((1..=plant::PARCELS).all(|p| {
            map(&grid, &[place(p)], PARCEL_SIGMA, 1.0, PARCEL_RADIUS).iter().filter(|v| **v > 0.0).count() > 8
        }));
    }
}
