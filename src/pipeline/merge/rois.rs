//! Regions of interest of several runs.

use crate::compare::{RoiDifference, RoiResults};

/// The results of both runs in the regions that they share; none where the regions are not the same.
pub(super) fn joined<'a>(
    first: Option<RoiResults>,
    other: Option<&RoiResults>,
    kept: impl Fn(&str) -> Option<&'a str>,
) -> Option<RoiResults> {
    let (mut all, other) = (first?, other?);
    if all.rois != other.rois || all.matrix != other.matrix {
        return None;
    }
    let differences = |from: &[RoiDifference]| -> Vec<RoiDifference> {
        let one = |d: &RoiDifference| Some(RoiDifference { checkpoint: kept(&d.checkpoint)?.to_owned(), ..d.clone() });
        from.iter().filter_map(one).collect()
    };
    all.confound_gains.extend(differences(&other.confound_gains));
    all.unique_cod.extend(differences(&other.unique_cod));
    all.differences.extend(differences(&other.differences));
    all.contrasts.extend(differences(&other.contrasts));
    all.points.extend(other.points.iter().filter_map(|point| {
        let mut point = point.clone();
        point.checkpoint = kept(&point.checkpoint)?.to_owned();
        Some(point)
    }));
    all.best.extend(other.best.iter().filter_map(|best| {
        let mut best = best.clone();
        best.checkpoint = kept(&best.checkpoint)?.to_owned();
        Some(best)
    }));
    Some(all)
}
