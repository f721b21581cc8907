use ndarray::Array2;

use crate::stats::bootstrap::weighted_within;

/// One ROI as weights over targets.
#[derive(Debug, Clone, PartialEq)]
pub struct RoiRow {
    /// One weight per target, 0 or more; their sum is 1.
    pub weights: Vec<f64>,
    /// Share of the ROI's weight that lies in parcels which are targets.
    pub covered: f64,
}

impl RoiRow {
    /// The row of an ROI given by `weights` over the voxels of an atlas's grid (0 outside it).
    ///
    /// `maps` holds the entries (voxel, m_p > 0) of each map at least at the voxels with weight, `target_of` the target
    /// that each map is, if any: row_p = Σ_v w(v) m_p(v) / M(v), normalised. Voxels that no map reaches do not count. Sums
    /// run over voxels in order, in float64. Nothing where no map that is a target reaches the ROI.
    pub fn of_voxels(
        weights: &[f32],
        maps: &[Vec<(u32, f32)>],
        target_of: &[Option<usize>],
        targets: usize,
    ) -> Option<RoiRow> {
        let mut total = vec![0f64; weights.len()];
        for (voxel, value) in maps.iter().flatten() {
            total[*voxel as usize] += f64::from(*value);
        }
        let (mut row, mut all) = (vec![0f64; targets], 0.0);
        for (entries, target) in maps.iter().zip(target_of) {
            let inside = entries.iter().map(|(voxel, value)| (*voxel as usize, f64::from(*value)));
            let own: f64 = inside.map(|(voxel, value)| f64::from(weights[voxel]) * (value / total[voxel])).sum();
            all += own;
            if let Some(target) = target {
                row[*target] += own;
            }
        }
        let covered = row.iter().sum::<f64>() / all;
        RoiRow::of_weights(row).map(|of| RoiRow { covered: covered.min(1.0), ..of })
    }

    /// A row from weights of 0 or more, normalised; nothing when none is above 0.
    pub fn of_weights(mut weights: Vec<f64>) -> Option<RoiRow> {
        let sum: f64 = weights.iter().sum();
        if !(sum > 0.0 && sum.is_finite()) || weights.iter().any(|w| *w < 0.0) {
            return None;
        }
        weights.iter_mut().for_each(|w| *w /= sum);
        Some(RoiRow { weights, covered: 1.0 })
    }
}

/// The (ROIs × targets) matrix: rows of weights that sum to 1. The scores of ROIs are its product with those of targets.
#[derive(Debug, Clone, PartialEq)]
pub struct RoiMatrix {
    rows: Array2<f64>,
}

impl RoiMatrix {
    /// The matrix of some rows of one length.
    pub fn new(rows: &[RoiRow]) -> RoiMatrix {
        let targets = rows.first().map_or(0, |r| r.weights.len());
        RoiMatrix { rows: Array2::from_shape_fn((rows.len(), targets), |(r, t)| rows[r].weights[t]) }
    }

    /// (ROIs, targets).
    pub fn rows(&self) -> &Array2<f64> {
        &self.rows
    }

    /// Values per ROI of values per target (units, targets) → (units, ROIs): weighted means. `NaN` marks a target without
    /// a value: it drops out, and the weights of the others are renormalised; NaN where none is left.
    pub fn project(&self, values: &Array2<f64>) -> Array2<f64> {
        weighted_within(values, &self.rows)
    }

    /// Share of each ROI's weight that lies in targets with a value, (units, ROIs).
    pub fn defined(&self, values: &Array2<f64>) -> Array2<f64> {
        let known = values.mapv(|v| if v.is_finite() { 1.0 } else { 0.0 });
        known.dot(&self.rows.t()).mapv(|share| share.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn one_hot_parcels_return_that_parcel() {
        // Three parcels without overlap; the ROI is the second one.
        let maps = vec![vec![(0, 1.0), (1, 1.0)], vec![(2, 0.5), (3, 2.0)], vec![(4, 1.0)]];
        let row = RoiRow::of_voxels(&[0.0, 0.0, 4.0, 7.0, 0.0, 9.0], &maps, &[Some(0), Some(1), Some(2)], 3).unwrap();
        assert_eq!(row, RoiRow { weights: vec![0.0, 1.0, 0.0], covered: 1.0 });
        let matrix = RoiMatrix::new(&[row]);
        assert_eq!(matrix.project(&array![[0.1, 0.7, 0.3]]), array![[0.7]]);
    }

    #[test]
    fn one_grid_for_map_and_atlas_gives_the_value_by_hand() {
        // Voxel 0: parcel a alone. Voxel 1: a and b, 1 to 3. Voxel 2: b alone, weight 0. Voxel 3: no parcel.
        let maps = vec![vec![(0, 2.0), (1, 1.0)], vec![(1, 3.0), (2, 1.0)]];
        let row = RoiRow::of_voxels(&[4.0, 8.0, 0.0, 100.0], &maps, &[Some(0), Some(1)], 2).unwrap();
        assert_eq!(row.weights, [(4.0 + 8.0 * 0.25) / 12.0, 8.0 * 0.75 / 12.0]);
    }

    #[test]
    fn undefined_parcels_drop_out_and_the_rest_is_renormalised() {
        let matrix = RoiMatrix::new(&[RoiRow::of_weights(vec![2.0, 1.0, 1.0]).unwrap()]);
        let values = array![[0.1, f64::NAN, 0.5], [f64::NAN, f64::NAN, f64::NAN]];
        let found = matrix.project(&values);
        assert!((found[[0, 0]] - (0.5 * 0.1 + 0.25 * 0.5) / 0.75).abs() < 1e-15 && found[[1, 0]].is_nan());
        assert_eq!(matrix.defined(&values), array![[0.75], [0.0]]);
    }

    #[test]
    fn maps_that_are_no_targets_are_told() {
        let maps = vec![vec![(0, 1.0)], vec![(1, 1.0)]];
        let row = RoiRow::of_voxels(&[1.0, 3.0], &maps, &[None, Some(0)], 1).unwrap();
        assert_eq!(row, RoiRow { weights: vec![1.0], covered: 0.75 });
        assert_eq!(RoiRow::of_voxels(&[1.0, 0.0], &maps, &[None, Some(0)], 1), None);
        assert_eq!(RoiRow::of_weights(vec![0.0, 0.0]), None);
        assert_eq!(RoiRow::of_weights(vec![1.0, -0.5]), None);
    }

    /// Entries of maps, weights of voxels, scores of parcels.
    type Study = (Vec<Vec<(u32, f32)>>, Vec<f32>, Vec<f64>);

    /// An atlas of some maps over 40 voxels, a map of z, and scores.
    fn study() -> impl Strategy<Value = Study> {
        (1usize..6).prop_flat_map(|targets| {
            let entry = prop_oneof![2 => Just(0f32), 3 => 0.01f32..5.0];
            let maps = proptest::collection::vec(proptest::collection::vec(entry.clone(), 40), targets);
            let scores = proptest::collection::vec(-1f64..1.0, targets);
            (maps, proptest::collection::vec(entry, 40), scores).prop_map(|(maps, weights, scores)| {
                let sparse = |map: Vec<f32>| -> Vec<(u32, f32)> {
                    map.into_iter().enumerate().filter(|(_, v)| *v > 0.0).map(|(i, v)| (i as u32, v)).collect()
                };
                (maps.into_iter().map(sparse).collect(), weights, scores)
            })
        })
    }

    proptest! {
        #[test]
        fn rows_sum_to_one((maps, weights, scores) in study()) {
            let targets: Vec<Option<usize>> = (0..scores.len()).map(Some).collect();
            if let Some(row) = RoiRow::of_voxels(&weights, &maps, &targets, scores.len()) {
                prop_assert!((row.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                prop_assert!(row.weights.iter().all(|w| *w >= 0.0) && row.covered == 1.0);
            }
        }

        /// The voxel map s(v) = Σ m_p(v) s_p / M(v), averaged over the ROI by w(v), is the ROI's score.
        #[test]
        fn the_voxel_map_averaged_over_an_roi_is_its_score((maps, weights, scores) in study()) {
            let targets: Vec<Option<usize>> = (0..scores.len()).map(Some).collect();
            let Some(row) = RoiRow::of_voxels(&weights, &maps, &targets, scores.len()) else { return Ok(()) };
            let (mut sum, mut mass) = (0.0, 0.0);
            for (voxel, w) in weights.iter().enumerate() {
                let at = |p: usize| maps[p].iter().find(|e| e.0 as usize == voxel).map_or(0.0, |e| f64::from(e.1));
                let total: f64 = (0..maps.len()).map(at).sum();
                if total > 0.0 {
                    let s: f64 = (0..maps.len()).map(|p| at(p) * scores[p]).sum::<f64>() / total;
                    sum += f64::from(*w) * s;
                    mass += f64::from(*w);
                }
            }
            let values = Array2::from_shape_fn((1, scores.len()), |(_, t)| scores[t]);
            prop_assert!((RoiMatrix::new(&[row]).project(&values)[[0, 0]] - sum / mass).abs() < 1e-12);
        }
    }
}
