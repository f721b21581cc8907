//! Responses of whole runs: what a ceiling is measured on. A fit leaves out volumes whose delayed words lie before the
//! run; whether listeners agree on them has nothing to do with words.

use ndarray::Array2;

use crate::encoding::Folds;
use crate::ids::SubjectId;

/// All volumes of all subjects.
#[derive(Debug)]
pub struct WholeRuns {
    /// The run of each volume.
    pub runs: Vec<usize>,
    /// (volumes, targets) of each subject.
    pub subjects: Vec<(SubjectId, Array2<f64>)>,
    /// For each volume the row of a fit that is nearest behind it, or else before it, in its run.
    row_of: Vec<usize>,
}

impl WholeRuns {
    /// `kept` are the volumes that are rows of the fits, ascending.
    pub fn new(kept: &[usize], runs: Vec<usize>, subjects: Vec<(SubjectId, Array2<f64>)>) -> WholeRuns {
        let row = |volume: usize| {
            let behind = kept.partition_point(|k| *k < volume);
            let same = |at: &usize| kept.get(*at).is_some_and(|k| runs[*k] == runs[volume]);
            Some(behind).filter(same).unwrap_or_else(|| behind.saturating_sub(1))
        };
        let row_of = (0..runs.len()).map(row).collect();
        WholeRuns { runs, subjects, row_of }
    }

    /// The folds of all volumes: those of the rows next to them.
    pub fn folds(&self, folds: &Folds) -> Folds {
        Folds::from_labels(&self.row_of.iter().map(|row| folds.of_row()[*row]).collect::<Vec<_>>())
    }
}
