use std::collections::BTreeMap;

use serde::Deserialize;

use crate::atlas::Grid;

/// A built-in ROI: spheres around published peaks.
#[derive(Debug, Clone, PartialEq)]
pub struct CoordinateRoi {
    /// Its plain name, such as `tom`; written with [`super::COORDINATES`] behind it.
    pub name: String,
    /// What it stands for.
    pub about: String,
    /// Its peaks.
    pub peaks: Vec<Peak>,
    /// Radius of the spheres (mm).
    pub radius: f64,
}

/// A peak in MNI space.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// Millimetres.
    pub at: [f64; 3],
    /// Where in the brain that is.
    pub label: String,
    /// Where it was published.
    pub source: String,
    /// Whether it was rounded, and not copied from the source's table.
    pub approximate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    radius_mm: f64,
    #[serde(rename = "space")]
    _space: String,
    roi: Vec<Written>,
    sources: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    about: String,
    peaks: Vec<WrittenPeak>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPeak {
    at: [f64; 3],
    label: String,
    source: String,
    #[serde(default)]
    approximate: bool,
}

/// The built-in ROIs: theory of mind, moral, language, vision. For when there is no statistic map; such a map is better.
pub fn coordinate_rois() -> Vec<CoordinateRoi> {
    // INVARIANT: the file is part of the program, and a test below reads it.
    let document: Document =
        toml::from_str(include_str!("../../atlases/coordinate_rois.toml")).expect("the built-in ROIs can be read");
    let Document { radius_mm, roi, sources, .. } = document;
    let peak = |p: WrittenPeak| Peak {
        at: p.at,
        label: p.label,
        source: sources.get(&p.source).cloned().unwrap_or_default(),
        approximate: p.approximate,
    };
    roi.into_iter()
        .map(|r| CoordinateRoi {
            name: r.name,
            about: r.about,
            peaks: r.peaks.into_iter().map(peak).collect(),
            radius: radius_mm,
        })
        .collect()
}

impl CoordinateRoi {
    /// Weight 1 for the voxels of a grid whose centre lies within the radius of a peak, 0 for all others.
    pub fn weights_on(&self, grid: &Grid) -> Vec<f32> {
        let near = |voxel: usize| {
            let mm = grid.place(grid.coordinates(voxel).map(|c| c as f64));
            self.peaks.iter().any(|peak| {
                let square: f64 = peak.at.iter().zip(&mm).map(|(a, b)| (a - b) * (a - b)).sum();
                square <= self.radius * self.radius
            })
        };
        (0..grid.voxels()).map(|voxel| f32::from(u8::from(near(voxel)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_peak_lies_in_the_brain_and_names_its_source() {
        let all = coordinate_rois();
        assert_eq!(all.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["tom", "moral", "language", "vision"]);
        for roi in &all {
            assert!((3..=10).contains(&roi.peaks.len()) && !roi.about.is_empty(), "{}", roi.name);
            for peak in &roi.peaks {
                let [x, y, z] = peak.at;
                assert!(x.abs() <= 72.0 && (-106.0..=74.0).contains(&y) && (-50.0..=80.0).contains(&z), "{peak:?}");
                assert!(peak.source.contains("https://doi.org/") && !peak.label.is_empty(), "{peak:?}");
            }
        }
        assert!(all[1].peaks.iter().all(|p| p.approximate), "not copied from the source's table");
    }

    #[test]
    fn a_sphere_has_the_volume_of_a_sphere() {
        let affine = [[2.0, 0.0, 0.0, -90.0], [0.0, 2.0, 0.0, -126.0], [0.0, 0.0, 2.0, -72.0], [0.0, 0.0, 0.0, 1.0]];
        let grid = Grid { shape: [91, 109, 91], affine };
        let mut roi = coordinate_rois().swap_remove(3);
        roi.peaks.truncate(1);
        let voxels = roi.weights_on(&grid).iter().filter(|w| **w > 0.0).count() as f64;
        let expected = 4.0 / 3.0 * std::f64::consts::PI * 1000.0 / 8.0;
        assert!((voxels / expected - 1.0).abs() < 0.03, "{voxels} voxels, {expected:.0} expected");
    }
}
