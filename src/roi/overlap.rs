use ndarray::ArrayView1;
use serde::{Deserialize, Serialize};

use super::RoiMatrix;
use crate::stats::pearson;

/// What two ROIs have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Name of the one.
    pub first: String,
    /// Name of the other.
    pub second: String,
    /// Dice coefficient of their voxels, 2 |A ∩ B| / (|A| + |B|); none for ROIs that are not made of voxels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dice: Option<f64>,
    /// Voxels that both have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_voxels: Option<usize>,
    /// Correlation of their weights over the voxels that the atlas reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<f64>,
    /// Cosine of their rows in the matrix: 1 means that the same parcels make up both.
    pub cosine: f64,
}

impl Overlap {
    /// What the overlap means for a comparison of the two.
    pub fn in_words(&self) -> &'static str {
        match self.cosine {
            c if c >= 0.9 => "nearly one region: their scores cannot tell them apart",
            c if c >= 0.5 => {
                "much in common: an effect in one shows in the other, and their difference is only of what they do not share"
            }
            c if c >= 0.1 => "some in common: a strong effect in one shows a little in the other",
            _ => "next to nothing in common",
        }
    }
}

/// The overlap of every pair. `voxels` holds the weights of each ROI over the voxels of one grid, where it has any, and
/// `reached` says which of those a map of the atlas reaches.
pub fn overlaps(names: &[String], matrix: &RoiMatrix, voxels: &[Option<Vec<f32>>], reached: &[bool]) -> Vec<Overlap> {
    let mut all = Vec::new();
    for a in 0..names.len() {
        for b in a + 1..names.len() {
            let of_voxels = voxels[a].as_ref().zip(voxels[b].as_ref()).map(|(a, b)| in_voxels(a, b, reached));
            all.push(Overlap {
                first: names[a].clone(),
                second: names[b].clone(),
                dice: of_voxels.map(|o| o.0),
                shared_voxels: of_voxels.map(|o| o.1),
                correlation: of_voxels.and_then(|o| o.2),
                cosine: cosine(matrix.rows().row(a), matrix.rows().row(b)),
            });
        }
    }
    all
}

fn in_voxels(a: &[f32], b: &[f32], reached: &[bool]) -> (f64, usize, Option<f64>) {
    let count = |of: &[f32]| of.iter().zip(reached).filter(|(w, r)| **r && **w > 0.0).count();
    let shared = a.iter().zip(b).zip(reached).filter(|((a, b), r)| **r && **a > 0.0 && **b > 0.0).count();
    let both = count(a) + count(b);
    let dice = if both > 0 { 2.0 * shared as f64 / both as f64 } else { 0.0 };
    let inside =
        |of: &[f32]| -> Vec<f64> { of.iter().zip(reached).filter(|(_, r)| **r).map(|(w, _)| f64::from(*w)).collect() };
    (dice, shared, pearson(&inside(a), &inside(b)))
}

fn cosine(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    (a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roi::RoiRow;

    #[test]
    fn overlap_in_voxels_and_in_parcels() {
        let rows =
            [vec![1.0, 1.0, 0.0], vec![0.0, 1.0, 1.0], vec![1.0, 1.0, 0.0]].map(|w| RoiRow::of_weights(w).unwrap());
        let names = ["a", "b", "c"].map(str::to_owned);
        let voxels = [Some(vec![1.0, 2.0, 0.0, 5.0]), Some(vec![0.0, 2.0, 2.0, 5.0]), None];
        let found = overlaps(&names, &RoiMatrix::new(&rows), &voxels, &[true, true, true, false]);
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].dice, found[0].shared_voxels), (Some(0.5), Some(1)), "the last voxel is not reached");
        assert!((found[0].cosine - 0.5).abs() < 1e-12 && found[0].in_words().starts_with("much in common"));
        // (0, 1, −1) and (−4, 2, 2) / 3 about their means: nothing in common.
        assert!(found[0].correlation.unwrap().abs() < 1e-9);
        assert!((found[1].cosine - 1.0).abs() < 1e-12 && found[1].dice.is_none());
        assert!(found[1].in_words().starts_with("nearly one region"));
    }
}
