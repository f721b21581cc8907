//! Outer folds: disjoint, covering, and never with rows of one group on both sides.
//!
//! In a time series neighbouring rows resemble each other. A purge gap keeps rows within `gap` of a held-out row of the
//! same run out of training; they are still predicted when their own fold is held out.

use std::collections::HashMap;
use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result, Warning, first_five};
use crate::stats::distinct;
use crate::stimuli::Stimuli;

/// How outer folds are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FoldSpec {
    /// Blocks of neighbouring groups, in the order of the stimuli table, of nearly equal numbers of rows.
    Contiguous {
        /// Number of folds.
        k: usize,
    },
    /// Groups dealt to the smallest fold, largest group first.
    GroupK {
        /// Number of folds.
        k: usize,
    },
    /// Every run is a fold; runs that share a group are one.
    LeaveOneRunOut,
    /// A subject's responses are predicted by a model of the other subjects' mean response, fitted on the stimuli of
    /// the other folds; the stimuli are in contiguous folds, so that no text stands on both sides either.
    LeaveOneSubjectOut {
        /// Number of folds of the stimuli.
        k: usize,
    },
    /// The fold column of the stimuli table.
    Column,
    /// Rows dealt at random, groups or not. It leaks wherever neighbours resemble each other: for showing that it does.
    Shuffled {
        /// Number of folds.
        k: usize,
        /// Seed of the deal.
        seed: u64,
    },
}

impl FoldSpec {
    /// Whether rows that belong together may lie in different folds.
    pub fn leaks(&self) -> bool {
        matches!(self, FoldSpec::Shuffled { .. })
    }

    /// Whether a subject's model is fitted on the others' responses.
    pub fn across_subjects(&self) -> bool {
        matches!(self, FoldSpec::LeaveOneSubjectOut { .. })
    }
}

impl fmt::Display for FoldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldSpec::Contiguous { k } => write!(f, "{k} contiguous folds"),
            FoldSpec::GroupK { k } => write!(f, "{k} group folds"),
            FoldSpec::LeaveOneRunOut => f.write_str("one fold per run"),
            FoldSpec::LeaveOneSubjectOut { k } => write!(f, "one subject out, {k} contiguous folds"),
            FoldSpec::Column => f.write_str("the study's own folds"),
            FoldSpec::Shuffled { k, .. } => write!(f, "{k} SHUFFLED folds (leaky)"),
        }
    }
}

/// An assignment of rows to outer folds.
///
/// Built only by [`Folds::new`], which guarantees: every row has one fold; every fold has a row; there are at least
/// two folds; rows of one group (which includes rows of one text) lie in one fold, unless the folds are shuffled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folds {
    of_row: Vec<usize>,
    count: usize,
    /// Per row the other folds that it does not train for, ascending; empty without a purge gap.
    near: Vec<Vec<usize>>,
}

impl Folds {
    /// Makes the folds of `spec` over the stimuli, rows within `gap` of a held-out row of their run out of training.
    /// Folds are numbered in the order in which rows meet them.
    ///
    /// # Errors
    /// `RC-03` for fewer than two folds, `RS-12` for fewer groups than folds, `SC-01` when a fold or run column is
    /// asked for and none was read, `RC-03` when a user's own group lies in several of the user's own folds, or when the
    /// gap leaves fewer than two rows to train on.
    pub fn new(spec: FoldSpec, gap: usize, stimuli: &Stimuli) -> Result<(Folds, Vec<Warning>)> {
        let mut warnings = Vec::new();
        let by_group = |folds: Vec<usize>| stimuli.groups().iter().map(|g| folds[*g]).collect();
        let of_row: Vec<usize> = match spec {
            FoldSpec::Contiguous { k } | FoldSpec::LeaveOneSubjectOut { k } => {
                by_group(contiguous(&checked_sizes(k, stimuli)?, k))
            }
            FoldSpec::GroupK { k } => by_group(group_k(&checked_sizes(k, stimuli)?, k)),
            FoldSpec::LeaveOneRunOut => by_run(stimuli, &mut warnings)?,
            FoldSpec::Column => from_column(stimuli, &mut warnings)?,
            FoldSpec::Shuffled { k, seed } => shuffled(stimuli, k, seed)?,
        };
        let mut folds = Folds::from_labels(&of_row);
        if folds.count < 2 {
            return Err(Error::new(Code::Rc03, stimuli.place(), "has one fold").expected("at least two folds"));
        }
        if gap > 0 {
            folds = folds.with_gap(&stimuli.runs(), gap);
            folds.check_training(&stimuli.place(), gap)?;
        }
        Ok((folds, warnings))
    }

    /// The same folds with a purge gap: rows of `run` (one label per row, rows in order of time) within `gap` rows of a
    /// held-out row do not train.
    pub fn with_gap(mut self, run: &[usize], gap: usize) -> Folds {
        let mut rows_of: HashMap<usize, Vec<usize>> = HashMap::new();
        run.iter().enumerate().for_each(|(row, run)| rows_of.entry(*run).or_default().push(row));
        self.near = vec![Vec::new(); self.of_row.len()];
        for rows in rows_of.values() {
            for (at, row) in rows.iter().enumerate() {
                let around = &rows[at.saturating_sub(gap)..(at + gap + 1).min(rows.len())];
                let mut near: Vec<usize> =
                    around.iter().map(|r| self.of_row[*r]).filter(|fold| *fold != self.of_row[*row]).collect();
                near.sort_unstable();
                near.dedup();
                self.near[*row] = near;
            }
        }
        self
    }

    /// Every pair of folds that are held out together must leave rows to train on.
    fn check_training(&self, place: &str, gap: usize) -> Result<()> {
        for first in 0..self.count {
            for second in first..self.count {
                let left = self.train_rows(&[first, second]).len();
                if left < 2 && !(self.count == 2 && first != second) {
                    return Err(Error::new(
                        Code::Rc03,
                        place,
                        format!("a gap of {gap} rows leaves {left} rows to train on when folds {first} and {second} are held out"),
                    )
                    .expected("at least 2")
                    .hint("Ask for a smaller gap ([encoding] gap) or fewer folds ([encoding] k)"));
                }
            }
        }
        Ok(())
    }

    /// Folds from one label per row, numbered in order of appearance. For arrays that come without stimuli;
    /// the caller vouches for the groups.
    pub fn from_labels<T: Eq + std::hash::Hash>(labels: &[T]) -> Folds {
        let of_row = distinct(labels);
        let count = of_row.iter().max().map_or(0, |last| last + 1);
        Folds { of_row, count, near: Vec::new() }
    }

    /// Number of folds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The fold of each row.
    pub fn of_row(&self) -> &[usize] {
        &self.of_row
    }

    /// The rows of a fold, ascending.
    pub fn test_rows(&self, fold: usize) -> Vec<usize> {
        (0..self.of_row.len()).filter(|row| self.of_row[*row] == fold).collect()
    }

    /// The other folds for which a row does not train, because it lies within the purge gap of them.
    pub fn near(&self, row: usize) -> &[usize] {
        self.near.get(row).map_or(&[], Vec::as_slice)
    }

    /// The rows that train when the folds `without` are held out, ascending.
    pub fn train_rows(&self, without: &[usize]) -> Vec<usize> {
        let trains = |row: &usize| {
            !without.contains(&self.of_row[*row]) && !self.near(*row).iter().any(|fold| without.contains(fold))
        };
        (0..self.of_row.len()).filter(trains).collect()
    }

    /// How many rows of other folds do not train for some fold.
    pub fn purged(&self) -> usize {
        self.near.iter().filter(|folds| !folds.is_empty()).count()
    }

    /// The folds of a subset of rows (a subject who saw only some stimuli), folds that lose all rows dropped. Distances
    /// of the purge gap are those between all rows.
    pub fn subset(&self, rows: &[usize]) -> Folds {
        let mut folds = Folds::from_labels(&rows.iter().map(|r| self.of_row[*r]).collect::<Vec<_>>());
        if !self.near.is_empty() {
            let renamed: HashMap<usize, usize> =
                rows.iter().zip(&folds.of_row).map(|(row, new)| (self.of_row[*row], *new)).collect();
            let near = |row: &usize| {
                let mut near: Vec<usize> = self.near(*row).iter().filter_map(|f| renamed.get(f).copied()).collect();
                near.sort_unstable();
                near
            };
            folds.near = rows.iter().map(near).collect();
        }
        folds
    }
}

/// Row → fold: its run; runs that share a group (the same text, say) are one fold.
fn by_run(stimuli: &Stimuli, warnings: &mut Vec<Warning>) -> Result<Vec<usize>> {
    if stimuli.run_labels().is_none() {
        return Err(Error::new(Code::Sc01, stimuli.place(), "has no run column")
            .hint("Name it in the study: [stimuli] run = \"…\""));
    }
    let runs = stimuli.runs();
    let n_runs = runs.iter().max().map_or(0, |r| r + 1);
    let mut fold: Vec<usize> = (0..n_runs).collect();
    let mut first_run_of = vec![None; stimuli.n_groups()];
    let mut joined = Vec::new();
    for (row, run) in runs.iter().enumerate() {
        let first = *first_run_of[stimuli.groups()[row]].get_or_insert(*run);
        let (a, b) = (fold[first], fold[*run]);
        if a != b {
            joined.push(stimuli.ids()[row].as_str());
            fold.iter_mut().filter(|f| **f == a.max(b)).for_each(|f| *f = a.min(b));
        }
    }
    let left = fold.iter().collect::<std::collections::BTreeSet<_>>().len();
    if left < 3 {
        return Err(Error::new(Code::Rs12, stimuli.place(), format!("has {n_runs} runs that make {left} folds"))
            .expected("at least 3; runs that share a text or a group are one fold")
            .hint("Use contiguous folds, or leave the repeated texts out"));
    }
    if !joined.is_empty() {
        warnings.push(Warning::new(
            "SC-04",
            format!(
                "{n_runs} runs make {left} folds, because runs share texts or groups, first at rows {}",
                first_five(&joined)
            ),
        ));
    }
    Ok(runs.iter().map(|run| fold[*run]).collect())
}

/// Row → fold: dealt at random, whatever belongs together.
fn shuffled(stimuli: &Stimuli, k: usize, seed: u64) -> Result<Vec<usize>> {
    checked_sizes(k, stimuli)?;
    let mut folds: Vec<usize> = (0..stimuli.len()).map(|row| row % k).collect();
    folds.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    Ok(folds)
}

/// Rows per group, after checking that `k` folds can be made of them.
fn checked_sizes(k: usize, stimuli: &Stimuli) -> Result<Vec<usize>> {
    if k < 2 {
        return Err(Error::new(Code::Rc03, "[encoding] k", format!("is {k}")).expected("at least 2 folds"));
    }
    let mut sizes = vec![0; stimuli.n_groups()];
    for group in stimuli.groups() {
        sizes[*group] += 1;
    }
    let (rows, groups) = (stimuli.len(), sizes.len());
    if groups < k || rows < 2 * k {
        return Err(Error::new(Code::Rs12, stimuli.place(), format!("has {rows} rows in {groups} groups"))
            .expected(format!("at least {} rows in {k} groups for {k} folds", 2 * k))
            .hint("Ask for fewer folds ([encoding] k) or add stimuli"));
    }
    Ok(sizes)
}

/// Group → fold: blocks of neighbouring groups; a group goes where its middle row falls.
fn contiguous(sizes: &[usize], k: usize) -> Vec<usize> {
    let rows: usize = sizes.iter().sum();
    let mut before = 0;
    let mut folds: Vec<usize> = sizes
        .iter()
        .map(|size| {
            let fold = (2 * before + size) * k / (2 * rows);
            before += size;
            fold.min(k - 1)
        })
        .collect();
    // A very large group can leave a fold empty: then every fold still gets at least one group, from the left.
    let groups = folds.len();
    for g in 0..groups {
        let least = k.saturating_sub(groups - g);
        let most = if g == 0 { 0 } else { folds[g - 1] + 1 };
        folds[g] = folds[g].max(least).min(most);
    }
    folds
}

/// Group → fold: largest group first, to the fold with fewest rows; ties to the first.
fn group_k(sizes: &[usize], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|g| (std::cmp::Reverse(sizes[*g]), *g));
    let mut load = vec![0; k];
    let mut folds = vec![0; sizes.len()];
    for group in order {
        let fold = (0..k).min_by_key(|f| load[*f]).unwrap_or(0);
        folds[group] = fold;
        load[fold] += sizes[group];
    }
    folds
}

/// Row → fold label index from the study's own column. Rows of one text follow the first of them.
fn from_column(stimuli: &Stimuli, warnings: &mut Vec<Warning>) -> Result<Vec<usize>> {
    let labels = stimuli.fold_labels().ok_or_else(|| {
        Error::new(Code::Sc01, stimuli.place(), "has no fold column")
            .hint("Name it in the study: [stimuli] fold = \"…\"")
    })?;
    let mut fold_of_user_group: HashMap<&str, &str> = HashMap::new();
    if let Some(groups) = stimuli.group_labels() {
        for (group, fold) in groups.iter().zip(labels) {
            let first = fold_of_user_group.entry(group).or_insert(fold);
            if first != fold {
                return Err(Error::new(
                    Code::Rc03,
                    stimuli.place(),
                    format!("has group {group:?} in folds {first} and {fold}"),
                )
                .expected("all rows of a group in one fold")
                .hint("Change the fold column, or name another group column"));
            }
        }
    }
    let numbered = Folds::from_labels(labels);
    let mut fold_of_group = vec![None; stimuli.n_groups()];
    let mut moved = Vec::new();
    let of_row = stimuli
        .groups()
        .iter()
        .enumerate()
        .map(|(row, group)| {
            let fold = *fold_of_group[*group].get_or_insert(numbered.of_row[row]);
            if fold != numbered.of_row[row] {
                moved.push(stimuli.ids()[row].as_str());
            }
            fold
        })
        .collect();
    if !moved.is_empty() {
        warnings.push(Warning::new(
            "SC-04",
            format!(
                "{} rows left the fold that the table gives them, because the same text stands in another fold: {}",
                moved.len(),
                first_five(&moved)
            ),
        ));
    }
    Ok(of_row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_fold_gets_a_group(sizes in prop::collection::vec(1usize..30, 2..40), k in 2usize..8) {
            prop_assume!(sizes.len() >= k);
            for folds in [contiguous(&sizes, k), group_k(&sizes, k)] {
                let mut used = folds.clone();
                used.sort_unstable();
                used.dedup();
                prop_assert_eq!(used, (0..k).collect::<Vec<_>>());
            }
            let blocks = contiguous(&sizes, k);
            prop_assert!(blocks.windows(2).all(|w| w[0] <= w[1]), "neighbours stay together: {:?}", blocks);
        }
    }

    #[test]
    fn equal_groups_make_equal_blocks() {
        assert_eq!(contiguous(&[1; 10], 5), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(group_k(&[5, 1, 1, 3], 2), [0, 1, 1, 1]);
    }

    #[test]
    fn labels_are_numbered_as_they_come() {
        let folds = Folds::from_labels(&["b", "a", "b", "c"]);
        assert_eq!((folds.of_row(), folds.count()), (&[0, 1, 0, 2][..], 3));
        assert_eq!(folds.test_rows(0), [0, 2]);
        assert_eq!(folds.subset(&[1, 3]).of_row(), [0, 1]);
    }

    #[test]
    fn a_gap_keeps_neighbours_of_the_same_run_out_of_training() {
        // Two runs of six rows; folds 0 1 | 1 2, so that fold 1 reaches into both.
        let folds = Folds::from_labels(&[0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
        let run = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1];
        let gapped = folds.clone().with_gap(&run, 2);
        assert_eq!(gapped.train_rows(&[0]), [5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(gapped.train_rows(&[1]), [0, 11]);
        assert_eq!(gapped.train_rows(&[0, 2]), [5, 6]);
        assert_eq!((gapped.test_rows(0), gapped.purged()), (folds.test_rows(0), 8));
        assert_eq!(folds.train_rows(&[0]), [3, 4, 5, 6, 7, 8, 9, 10, 11]);
        // A subset keeps the distances of the whole; fold 1 becomes fold 0.
        let part = gapped.subset(&[3, 5, 9, 11]);
        assert_eq!((part.of_row(), part.near(2), part.near(3)), (&[0, 0, 1, 1][..], &[0][..], &[][..]));
    }

    proptest! {
        #[test]
        fn no_training_row_is_near_a_test_row(
            labels in prop::collection::vec(0usize..4, 4..60), gap in 0usize..6, run_length in 1usize..30,
        ) {
            let run: Vec<usize> = (0..labels.len()).map(|row| row / run_length).collect();
            let folds = Folds::from_labels(&labels).with_gap(&run, gap);
            for fold in 0..folds.count() {
                let (train, test) = (folds.train_rows(&[fold]), folds.test_rows(fold));
                for row in 0..labels.len() {
                    let near = test.iter().any(|t| run[*t] == run[row] && t.abs_diff(row) <= gap);
                    prop_assert_eq!(train.contains(&row), !near && folds.of_row()[row] != fold, "row {}", row);
                }
            }
        }
    }
}
