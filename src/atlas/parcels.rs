use super::projector::Entries;
use super::{Atlas, Grid};
use crate::error::{Result, Warning};
use crate::io::nifti::{Affine, inverse};
use crate::watch::Watch;

/// The maps of an atlas by voxel, ready to carry values of its parcels: m_p(v) ≥ 0.
///
/// Not for: series of a run; that is what [`super::Projector`] solves for.
#[derive(Debug, Clone)]
pub struct Parcels {
    grid: Grid,
    maps: Vec<Entries>,
}

/// Values on the voxels of an atlas, some of them undefined.
#[derive(Debug, Clone, PartialEq)]
pub struct VoxelMap {
    /// The grid.
    pub grid: Grid,
    /// Σ_p m_p(v) s_p over the parcels that have a value.
    sums: Vec<f64>,
    /// Σ_p m_p(v) over the same parcels; 0 where the map is undefined.
    weights: Vec<f64>,
    /// Whether values are labels, which are never averaged.
    labels: bool,
    to_voxels: Affine,
}

impl Parcels {
    /// Reads all maps of an atlas.
    ///
    /// # Errors
    /// Those of [`Atlas::weights_at`].
    pub fn of(atlas: &Atlas, watch: &dyn Watch) -> Result<(Parcels, Vec<Warning>)> {
        let grid = *atlas.grid();
        let (maps, warnings) = atlas.weights_at(&vec![true; grid.voxels()], watch)?;
        Ok((Parcels { grid, maps }, warnings))
    }

    /// Number of parcels.
    pub fn count(&self) -> usize {
        self.maps.len()
    }

    /// The weighted average s(v) = Σ_p m_p(v) s_p / Σ_p m_p(v) over the parcels that have a value.
    ///
    /// # Panics
    /// When there is not one value per parcel: a defect of the caller.
    pub fn average(&self, values: &[Option<f64>]) -> VoxelMap {
        assert_eq!(values.len(), self.maps.len(), "one value per parcel");
        let mut map = self.empty(false);
        for (entries, value) in self.maps.iter().zip(values) {
            let Some(value) = value else { continue };
            for (voxel, weight) in entries {
                map.sums[*voxel as usize] += f64::from(*weight) * value;
                map.weights[*voxel as usize] += f64::from(*weight);
            }
        }
        map
    }

    /// At each voxel the value of the parcel that weighs most there (the first of equals): for values that are labels,
    /// such as the number of a layer. Undefined where that parcel is.
    ///
    /// # Panics
    /// As [`Parcels::average`].
    pub fn winner(&self, values: &[Option<f64>]) -> VoxelMap {
        assert_eq!(values.len(), self.maps.len(), "one value per parcel");
        let mut map = self.empty(true);
        let mut largest = vec![0.0f32; self.grid.voxels()];
        for (entries, value) in self.maps.iter().zip(values) {
            for (voxel, weight) in entries {
                let at = *voxel as usize;
                if *weight > largest[at] {
                    largest[at] = *weight;
                    (map.sums[at], map.weights[at]) = value.map_or((0.0, 0.0), |v| (v, 1.0));
                }
            }
        }
        map
    }

    fn empty(&self, labels: bool) -> VoxelMap {
        let none = || vec![0.0; self.grid.voxels()];
        // A grid that cannot be inverted has no places; the reader of images refuses it.
        let to_voxels = inverse(&self.grid.affine).unwrap_or_default();
        VoxelMap { grid: self.grid, sums: none(), weights: none(), labels, to_voxels }
    }
}

impl VoxelMap {
    /// The value at a voxel.
    pub fn value(&self, voxel: usize) -> Option<f64> {
        let weight = self.weights[voxel];
        (weight > 0.0).then(|| self.sums[voxel] / weight)
    }

    /// All values, float32, 0 where there is none.
    pub fn values(&self) -> Vec<f32> {
        (0..self.sums.len()).map(|v| self.value(v).unwrap_or(0.0) as f32).collect()
    }

    /// Where there is a value.
    pub fn defined(&self) -> Vec<bool> {
        self.weights.iter().map(|w| *w > 0.0).collect()
    }

    /// Whether values are labels.
    pub fn is_labels(&self) -> bool {
        self.labels
    }

    /// Smallest and largest value; nothing where none is defined.
    pub fn extremes(&self) -> Option<(f64, f64)> {
        (0..self.sums.len()).filter_map(|v| self.value(v)).fold(None, |found, v| {
            let (low, high) = found.unwrap_or((v, v));
            Some((f64::min(low, v), f64::max(high, v)))
        })
    }

    /// The value at a place (mm): Σ_p m_p(x) s_p / Σ_p m_p(x) with maps that are linear between voxels; that of the
    /// nearest voxel for labels. Nothing outside the grid and where no map reaches.
    pub fn at(&self, place: [f64; 3]) -> Option<f64> {
        let at: [f64; 3] = std::array::from_fn(|r| {
            (0..3).map(|k| self.to_voxels[r][k] * place[k]).sum::<f64>() + self.to_voxels[r][3]
        });
        let shape = self.grid.shape;
        if (0..3).any(|a| !(at[a] >= 0.0 && at[a] <= (shape[a] - 1) as f64)) {
            return None;
        }
        let index = |v: [usize; 3]| v[0] + shape[0] * (v[1] + shape[1] * v[2]);
        if self.labels {
            return self.value(index(at.map(|v| v.round() as usize)));
        }
        let below: [usize; 3] = std::array::from_fn(|a| (at[a] as usize).min(shape[a].saturating_sub(2)));
        let (mut sum, mut weight) = (0.0, 0.0);
        for corner in 0..8usize {
            let step: [usize; 3] = std::array::from_fn(|a| corner >> a & 1);
            let share: f64 = (0..3)
                .map(|a| {
                    let above = at[a] - below[a] as f64;
                    if step[a] == 1 { above } else { 1.0 - above }
                })
                .product();
            if share > 0.0 {
                let voxel = index(std::array::from_fn(|a| below[a] + step[a]));
                sum += share * self.sums[voxel];
                weight += share * self.weights[voxel];
            }
        }
        (weight > 0.0).then(|| sum / weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcels(maps: Vec<Entries>) -> Parcels {
        let affine = [[2.0, 0.0, 0.0, -2.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let grid = Grid { shape: [3, 2, 2], affine };
        Parcels { grid, maps }
    }

    fn two() -> Parcels {
        parcels(vec![vec![(0, 1.0), (1, 0.5)], vec![(1, 1.5), (2, 0.25)]])
    }

    #[test]
    fn averages_are_weighted_and_leave_out_what_is_undefined() {
        let map = two().average(&[Some(1.0), Some(5.0)]);
        assert_eq!([map.value(0), map.value(1), map.value(2), map.value(3)], [Some(1.0), Some(4.0), Some(5.0), None]);
        let map = two().average(&[Some(1.0), None]);
        assert_eq!([map.value(1), map.value(2)], [Some(1.0), None]);
        assert_eq!(map.values()[2], 0.0);
    }

    #[test]
    fn constants_stay_and_averages_are_linear() {
        let parcels = two();
        let constant = parcels.average(&[Some(0.3), Some(0.3)]);
        assert!(constant.extremes().is_some_and(|(l, h)| (l - 0.3).abs() < 1e-15 && (h - 0.3).abs() < 1e-15));
        let (a, b) = (parcels.average(&[Some(1.0), Some(-2.0)]), parcels.average(&[Some(0.5), Some(4.0)]));
        for voxel in 0..3 {
            let sum = 3.0 * a.value(voxel).unwrap() + b.value(voxel).unwrap();
            let expected = parcels.average(&[Some(3.5), Some(-2.0)]).value(voxel).unwrap();
            assert!((sum - expected).abs() < 1e-12, "{voxel}");
        }
    }

    #[test]
    fn the_winner_is_a_label_of_one_parcel() {
        let map = two().winner(&[Some(3.0), Some(8.0)]);
        assert_eq!([map.value(0), map.value(1), map.value(2)], [Some(3.0), Some(8.0), Some(8.0)]);
        assert_eq!(two().winner(&[Some(3.0), None]).value(1), None);
        // 0.9 mm from voxel 0: the nearest one, not a mixture.
        assert_eq!(map.at([-1.1, 0.0, 0.0]), Some(3.0));
    }

    #[test]
    fn places_between_voxels_are_averaged_over_maps() {
        let map = two().average(&[Some(1.0), Some(5.0)]);
        assert_eq!(map.at([-2.0, 0.0, 0.0]), Some(1.0));
        // Halfway between voxels 0 and 1: m = (0.75, 0.75).
        assert_eq!(map.at([-1.0, 0.0, 0.0]), Some(3.0));
        // Halfway to where no map reaches: the value stays, as M falls with the sum.
        assert_eq!(map.at([2.0, 1.0, 0.0]), Some(5.0));
        assert_eq!(
            (map.at([2.0, 2.0, 0.0]), map.at([9.0, 0.0, 0.0]), map.at([f64::NAN, 0.0, 0.0])),
            (None, None, None)
        );
    }
}
