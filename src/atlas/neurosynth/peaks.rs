use super::Association;

/// A peak of a map.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Peak {
    /// Where it is (mm).
    pub place: [f64; 3],
    /// Its z.
    pub z: f32,
    /// Millimetres to the nearest peak above it in the list; none for the highest.
    pub to_higher: Option<f64>,
}

/// The peaks of the association map among the voxels that its limit calls, from the highest, at most `most`.
///
/// The highest voxel is a peak, and so is every further voxel that is the highest of those more than `apart` mm from all
/// peaks before it. On the flank of a wide cluster such a voxel need not be a maximum of its neighbourhood: the list says
/// how a cluster extends. Of equal voxels the first in the file's order is taken.
pub fn peaks(map: &Association, apart: f64, most: usize) -> Vec<Peak> {
    let z = map.thresholds[0].apply(&map.association);
    let mut left: Vec<usize> = (0..z.len()).filter(|v| z[*v] > 0.0).collect();
    // A stable sort keeps the order of the file among equals.
    left.sort_by(|a, b| z[*b].total_cmp(&z[*a]));
    let mut kept: Vec<Peak> = Vec::new();
    for voxel in left {
        if kept.len() == most {
            break;
        }
        let place = map.grid.place(map.grid.coordinates(voxel).map(|c| c as f64));
        let nearest = kept.iter().map(|peak| distance(peak.place, place)).reduce(f64::min);
        if nearest.is_none_or(|mm| mm > apart + 1e-6) {
            kept.push(Peak { place, z: z[voxel], to_higher: nearest });
        }
    }
    kept
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}
