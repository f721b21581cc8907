//! Fits whose rows differ share the decompositions of the training sets that they have in common.

use std::sync::Arc;

use brainscore::encoding::cv::CvFit;
use brainscore::encoding::engine::{self, Options, Part, Precision, Report, Sharing, Spectra};
use brainscore::encoding::{AlphaGrid, Folds};
use brainscore::watch::Quiet;
use ndarray::{Array2, Axis};

use super::properties::{problem, worst};
use crate::tolerance;

const FOLDS: usize = 5;
const ROWS: usize = 40;

/// Everyone's rows; one who lacks three rows of fold 2; one who lacks fold 1.
fn rows() -> [Vec<usize>; 3] {
    [
        (0..ROWS).collect(),
        (0..ROWS).filter(|r| ![16, 19, 22].contains(r)).collect(),
        (0..ROWS).filter(|r| !(8..16).contains(r)).collect(),
    ]
}

fn fits(p: usize, options: &Options, memory: Option<u64>, share: bool) -> Vec<(CvFit, Report)> {
    let (x, y) = problem(ROWS, p, 12, 4);
    let grid = AlphaGrid::default();
    let of_row: Vec<usize> = (0..ROWS).map(|r| r * FOLDS / ROWS).collect();
    let rows = rows();
    let folds = rows.each_ref().map(|rows| Folds::from_labels(&rows.iter().map(|r| of_row[*r]).collect::<Vec<_>>()));
    let parts: Vec<Part<'_>> =
        rows.iter().zip(&folds).map(|(rows, folds)| Part { rows, folds, targets: y.ncols() }).collect();
    let spectra = Arc::new(Spectra::of(&parts, p, grid.values.len(), memory));
    let fit = |part: &Part<'_>| {
        let sharing = share.then(|| Sharing { spectra: Arc::clone(&spectra), rows: Arc::from(part.rows) });
        let pick = |m: &Array2<f64>| m.select(Axis(0), part.rows);
        let options = Options { sharing, ..options.clone() };
        engine::fit(pick(&x).view(), pick(&y).view(), part.folds, &grid, &options, &Quiet).unwrap()
    };
    parts.iter().map(fit).collect()
}

#[test]
fn common_training_sets_are_decomposed_once() {
    for (p, precision, components) in [
        (12, Precision::Double, None),
        (60, Precision::Double, None),
        (60, Precision::Mixed, None),
        (60, Precision::Single, None),
        (60, Precision::Double, Some(5)),
    ] {
        let options = Options { precision, components, ..Options::default() };
        let (together, alone) = (fits(p, &options, None, true), fits(p, &options, None, false));
        let made = |fits: &[(CvFit, Report)]| fits.iter().map(|(_, r)| r.eigendecompositions).collect::<Vec<_>>();
        let (shared, own) = (made(&together), made(&alone));
        assert_eq!(shared[0], own[0]);
        // Whoever lacks rows of fold 2 has the four inner training sets without it in common with everyone.
        assert!(shared[1] <= own[1] - 4, "{shared:?} of {own:?}");
        // Whoever lacks a fold has the others' inner training sets as outer ones, and six inner ones alone.
        assert_eq!(shared[2], 6, "{shared:?} of {own:?}");
        let limit = if precision == Precision::Single { 1e-3 } else { tolerance::SAME_FIT };
        for ((a, _), (b, _)) in together.iter().zip(&alone) {
            assert!(precision == Precision::Single || a.chosen == b.chosen);
            assert!(worst(&a.predicted, &b.predicted) < limit, "{} features, {precision:?}", p);
        }
    }
}

#[test]
fn what_is_shared_is_bounded() {
    let options = Options { precision: Precision::Double, ..Options::default() };
    // Training sets have 24 rows or more: a quarter of this holds no decomposition.
    let (bounded, alone) = (fits(60, &options, Some(4 * 8 * 24 * 24 - 4), true), fits(60, &options, None, false));
    for ((a, used), (b, own)) in bounded.iter().zip(&alone) {
        assert_eq!(used.eigendecompositions, own.eigendecompositions);
        assert_eq!(a.predicted, b.predicted);
    }
}
