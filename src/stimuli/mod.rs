//! The stimuli: ids, texts, and which rows belong together.

mod compose;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use crate::error::{Code, Error, Result, Warning, first_five};
use crate::ids::{Digest, StimulusId};
use crate::io::table::Table;
use crate::stats::distinct;

pub use compose::{Composition, Shown, VERSION};

/// Which columns of the stimuli table hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StimuliColumns {
    /// Row ids.
    pub id: String,
    /// Texts.
    pub text: String,
    /// Rows that must stay together.
    pub group: Option<String>,
    /// Explicit outer folds.
    pub fold: Option<String>,
    /// Runs: stretches of rows that were recorded without a break, in the order of the table.
    pub run: Option<String>,
    /// Numeric confounds, beside words and characters.
    pub confounds: Vec<String>,
}

/// The stimuli of a study, in the order of their table.
#[derive(Debug, Clone)]
pub struct Stimuli {
    path: PathBuf,
    digest: Digest,
    ids: Vec<StimulusId>,
    texts: Vec<String>,
    groups: Vec<usize>,
    n_groups: usize,
    group_labels: Option<Vec<String>>,
    fold_labels: Option<Vec<String>>,
    run_labels: Option<Vec<String>>,
    confounds: Vec<(String, Vec<f64>)>,
}

impl Stimuli {
    /// Takes the stimuli from a table; all that is wrong with it comes back at once.
    ///
    /// Rows with the same text (exactly, or after Unicode NFKC, lower case and single blanks) become one group, and so
    /// do rows with the same value in the group column; groups that share a row merge.
    pub fn from_table(
        table: &Table,
        columns: &StimuliColumns,
    ) -> std::result::Result<(Stimuli, Vec<Warning>), Vec<Error>> {
        let mut problems = Vec::new();
        let mut keep = |result: Result<Vec<String>>| result.map_err(|e| problems.push(e)).ok();
        let ids = keep(table.required_texts(&columns.id));
        let texts = keep(texts(table, &columns.text));
        let group_labels = columns.group.as_ref().map(|name| keep(table.required_texts(name)));
        let fold_labels = columns.fold.as_ref().map(|name| keep(table.required_texts(name)));
        let run_labels = columns.run.as_ref().map(|name| keep(table.required_texts(name)));
        let mut confounds = Vec::new();
        for name in &columns.confounds {
            match table.finite_numbers(name) {
                Ok(values) => confounds.push((name.clone(), values)),
                Err(e) => problems.push(e),
            }
        }
        if let Some(ids) = &ids {
            problems.extend(duplicate_id(table, ids));
        }
        let (Some(ids), Some(texts)) = (ids, texts) else {
            return Err(problems);
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let (group_labels, fold_labels) = (group_labels.flatten(), fold_labels.flatten());
        let (groups, n_groups) = merge_groups(&texts, group_labels.as_deref());
        let warnings = same_text_warning(&ids, &texts).into_iter().collect();
        let stimuli = Stimuli {
            path: table.path().to_owned(),
            digest: table.digest(),
            ids: ids.into_iter().map(StimulusId::from).collect(),
            texts,
            groups,
            n_groups,
            group_labels,
            fold_labels,
            run_labels: run_labels.flatten(),
            confounds,
        };
        Ok((stimuli, warnings))
    }

    /// Rows that trials showed: ids, texts, group labels, and numeric confounds by name. Rows with the same text or the
    /// same label become one group.
    pub fn of_trials(
        path: &Path,
        digest: Digest,
        ids: Vec<StimulusId>,
        texts: Vec<String>,
        labels: Vec<String>,
        confounds: Vec<(String, Vec<f64>)>,
    ) -> Stimuli {
        let (groups, n_groups) = merge_groups(&texts, Some(&labels));
        Stimuli {
            path: path.to_owned(),
            digest,
            ids,
            texts,
            groups,
            n_groups,
            group_labels: Some(labels),
            fold_labels: None,
            run_labels: None,
            confounds,
        }
    }

    /// The volumes of a narrative: `texts` are the words heard in each (there may be none), `runs` the run of each. Every
    /// volume is a group of its own.
    pub fn of_volumes(
        path: &Path,
        digest: Digest,
        ids: Vec<StimulusId>,
        texts: Vec<String>,
        runs: Vec<String>,
    ) -> Stimuli {
        let n_groups = ids.len();
        Stimuli {
            path: path.to_owned(),
            digest,
            ids,
            texts,
            groups: (0..n_groups).collect(),
            n_groups,
            group_labels: None,
            fold_labels: None,
            run_labels: Some(runs),
            confounds: Vec::new(),
        }
    }

    /// Number of rows.
    #[allow(clippy::len_without_is_empty, reason = "stimuli are never empty")]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// File name, for messages.
    pub fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Row ids.
    pub fn ids(&self) -> &[StimulusId] {
        &self.ids
    }

    /// Texts, row by row, as written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Group of each row, numbered in order of appearance.
    pub fn groups(&self) -> &[usize] {
        &self.groups
    }

    /// Number of groups.
    pub fn n_groups(&self) -> usize {
        self.n_groups
    }

    /// The group column as written.
    pub fn group_labels(&self) -> Option<&[String]> {
        self.group_labels.as_deref()
    }

    /// The fold column as written.
    pub fn fold_labels(&self) -> Option<&[String]> {
        self.fold_labels.as_deref()
    }

    /// The run column as written.
    pub fn run_labels(&self) -> Option<&[String]> {
        self.run_labels.as_deref()
    }

    /// Run of each row, numbered in order of appearance; all rows are one run when the study names no runs.
    pub fn runs(&self) -> Vec<usize> {
        let Some(labels) = &self.run_labels else { return vec![0; self.len()] };
        distinct(labels)
    }

    /// The confound columns that the study names.
    pub fn confounds(&self) -> &[(String, Vec<f64>)] {
        &self.confounds
    }

    /// The distinct texts (exact) in order of appearance, and for each row which of them it holds.
    pub fn distinct_texts(&self) -> (Vec<&str>, Vec<usize>) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut distinct = Vec::new();
        let of_row = self
            .texts
            .iter()
            .map(|text| {
                *seen.entry(text).or_insert_with(|| {
                    distinct.push(text.as_str());
                    distinct.len() - 1
                })
            })
            .collect();
        (distinct, of_row)
    }
}

fn texts(table: &Table, column: &str) -> Result<Vec<String>> {
    let cells = table.texts(column)?;
    let blank: Vec<usize> =
        (0..cells.len()).filter(|row| cells[*row].as_deref().is_none_or(|text| text.trim().is_empty())).collect();
    if let Some(first) = blank.first() {
        return Err(Error::new(
            Code::Sc03,
            table.place(*first),
            format!("{} blank texts in column {column:?}", blank.len()),
        )
        .expected("a text in every row")
        .hint(format!("Rows {}", first_five(blank.iter().map(|r| r + 1)))));
    }
    Ok(cells.into_iter().flatten().collect())
}

fn duplicate_id(table: &Table, ids: &[String]) -> Option<Error> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut twice = Vec::new();
    for (row, id) in ids.iter().enumerate() {
        match seen.get(id.as_str()) {
            Some(first) => twice.push((*first, row)),
            None => {
                seen.insert(id, row);
            }
        }
    }
    let (first, second) = twice.first()?;
    Some(
        Error::new(
            Code::Sc02,
            table.place(*second),
            format!("holds the id {:?} again, first at {}", ids[*second], table.place(*first)),
        )
        .expected("every id once")
        .hint(format!(
            "{} ids stand twice: {}",
            twice.len(),
            first_five(twice.iter().map(|(_, row)| &ids[*row]))
        )),
    )
}

/// What two texts must share to count as the same stimulus.
fn normalised(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Group of each row: the components of "same text" and "same group label", numbered in order of appearance.
fn merge_groups(texts: &[String], labels: Option<&[String]>) -> (Vec<usize>, usize) {
    let mut parent: Vec<usize> = (0..texts.len()).collect();
    fn root(parent: &mut [usize], mut row: usize) -> usize {
        while parent[row] != row {
            parent[row] = parent[parent[row]];
            row = parent[row];
        }
        row
    }
    let mut join = |first: usize, second: usize| {
        let (a, b) = (root(&mut parent, first), root(&mut parent, second));
        parent[a.max(b)] = a.min(b);
    };
    let mut by_text: HashMap<String, usize> = HashMap::new();
    for (row, text) in texts.iter().enumerate() {
        join(*by_text.entry(normalised(text)).or_insert(row), row);
    }
    let mut by_label: HashMap<&str, usize> = HashMap::new();
    for (row, label) in labels.unwrap_or_default().iter().enumerate() {
        join(*by_label.entry(label).or_insert(row), row);
    }
    let mut number: HashMap<usize, usize> = HashMap::new();
    let groups = (0..texts.len())
        .map(|row| {
            let root = root(&mut parent, row);
            let next = number.len();
            *number.entry(root).or_insert(next)
        })
        .collect();
    (groups, number.len())
}

fn same_text_warning(ids: &[String], texts: &[String]) -> Option<Warning> {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut pairs = Vec::new();
    for (row, text) in texts.iter().enumerate() {
        match first.get(&normalised(text)) {
            Some(other) => pairs.push(format!("{} = {}", ids[*other], ids[row])),
            None => {
                first.insert(normalised(text), row);
            }
        }
    }
    (!pairs.is_empty()).then(|| {
        Warning::new(
            "SC-04",
            format!(
                "{} rows repeat a text of another row; such rows stay in one fold: {}",
                pairs.len(),
                first_five(&pairs)
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn same_text_and_same_label_merge() {
        let texts = owned(&["One  two", "b", "one two", "c", "ｏｎｅ two"]);
        assert_eq!(merge_groups(&texts, None), (vec![0, 1, 0, 2, 0], 3));
        let labels = owned(&["x", "x", "y", "z", "z"]);
        assert_eq!(merge_groups(&texts, Some(&labels)), (vec![0, 0, 0, 0, 0], 1));
    }
}
