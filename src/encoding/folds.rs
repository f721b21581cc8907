//! Outer folds: disjoint, covering, and never with rows of one group on both sides.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result, Warning, first_five};
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
    /// The fold column of the stimuli table.
    Column,
}

impl fmt::Display for FoldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldSpec::Contiguous { k } => write!(f, "{k} contiguous folds"),
            FoldSpec::GroupK { k } => write!(f, "{k} group folds"),
            FoldSpec::Column => f.write_str("the study's own folds"),
        }
    }
}

/// An assignment of rows to outer folds.
///
/// Built only by [`Folds::new`], which guarantees: every row has one fold; every fold has a row; there are at least
/// two folds; rows of one group (which includes rows of one text) lie in one fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folds {
    of_row: Vec<usize>,
    count: usize,
}

impl Folds {
    /// Makes the folds of `spec` over the stimuli. Folds are numbered in the order in which rows meet them.
    ///
    /// # Errors
    /// `RC-03` for fewer than two folds, `RS-12` for fewer groups than folds, `SC-01` when a fold column is asked for
    /// and none was read, `RC-03` when a user's own group lies in several of the user's own folds.
    pub fn new(spec: FoldSpec, stimuli: &Stimuli) -> Result<(Folds, Vec<Warning>)> {
        let mut warnings = Vec::new();
        let raw = match spec {
            FoldSpec::Contiguous { k } => contiguous(&checked_sizes(k, stimuli)?, k),
            FoldSpec::GroupK { k } => group_k(&checked_sizes(k, stimuli)?, k),
            FoldSpec::Column => from_column(stimuli, &mut warnings)?,
        };
        let of_row: Vec<usize> = match spec {
            FoldSpec::Column => raw,
            _ => stimuli.groups().iter().map(|g| raw[*g]).collect(),
        };
        let folds = Folds::from_labels(&of_row);
        if folds.count < 2 {
            return Err(Error::new(Code::Rc03, stimuli.place(), "has one fold").expected("at least two folds"));
        }
        Ok((folds, warnings))
    }

    /// Folds from one label per row, numbered in order of appearance. For arrays that come without stimuli;
    /// the caller vouches for the groups.
    pub fn from_labels<T: Eq + std::hash::Hash>(labels: &[T]) -> Folds {
        let mut seen = HashMap::new();
        let of_row = labels
            .iter()
            .map(|label| {
                let next = seen.len();
                *seen.entry(label).or_insert(next)
            })
            .collect();
        Folds { of_row, count: seen.len() }
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

    /// The folds of a subset of rows (a subject who saw only some stimuli), folds that lose all rows dropped.
    pub fn subset(&self, rows: &[usize]) -> Folds {
        Folds::from_labels(&rows.iter().map(|r| self.of_row[*r]).collect::<Vec<_>>())
    }
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
}
