use std::collections::BTreeMap;

use crate::error::{Code, Error, Result};
use crate::io::table::Table;

/// What stands for the version among the segments.
pub const VERSION: &str = "{version}";

/// How columns of a table become texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composition {
    /// Columns in the order in which they are read; [`VERSION`] stands for the column named like the version.
    pub segments: Vec<String>,
    /// Version → conditions under which it was shown; empty when every row has one text.
    pub versions: BTreeMap<String, Vec<String>>,
    /// Ids of rows in which the columns of the two versions stand for each other.
    pub swapped: Vec<String>,
}

/// A text that trials may have shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The row of the table that it came from.
    pub item: String,
    /// Its version, where there are several.
    pub version: Option<String>,
    /// Its segments, in order; one when it is not composed.
    pub segments: Vec<String>,
    /// What it must stay together with.
    pub group: String,
    /// Numeric confounds, as the study names them.
    pub confounds: Vec<f64>,
}

impl Shown {
    /// The id of its row in a study: `33-intentional`, or just the item.
    pub fn id(&self) -> String {
        match &self.version {
            Some(version) => format!("{}-{version}", self.item),
            None => self.item.clone(),
        }
    }

    /// The first `n` segments, joined by blanks.
    pub fn text(&self, n: usize) -> String {
        self.segments[..n].join(" ")
    }
}

impl Composition {
    /// All texts of a table, in its order; all versions of an item are one group unless `group` names a column.
    ///
    /// # Errors
    /// `SC-01` for a missing column, `SC-02` for an id that stands twice, `SC-03` for a blank segment, `RC-01` for a
    /// swapped id that the table does not have.
    pub fn texts(
        &self,
        table: &Table,
        id: &str,
        group: Option<&str>,
        confounds: &[String],
    ) -> std::result::Result<Vec<Shown>, Vec<Error>> {
        let mut problems = Vec::new();
        let versions: Vec<&String> = self.versions.keys().collect();
        let ids = table.required_texts(id).map_err(|e| problems.push(e)).ok();
        let mut columns: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let named = self.segments.iter().filter(|s| *s != VERSION).chain(versions.iter().copied());
        for name in named.map(String::as_str) {
            match segment(table, name) {
                Ok(cells) => drop(columns.insert(name, cells)),
                Err(e) => problems.push(e),
            }
        }
        let groups =
            group.map(|name| table.required_texts(name)).transpose().map_err(|e| problems.push(e)).ok().flatten();
        let numbers: Result<Vec<Vec<f64>>> = confounds.iter().map(|name| table.finite_numbers(name)).collect();
        let numbers = numbers.map_err(|e| problems.push(e)).unwrap_or_default();
        let Some(ids) = ids.filter(|_| problems.is_empty()) else { return Err(problems) };
        for (row, item) in ids.iter().enumerate() {
            if ids[..row].contains(item) {
                problems.push(Error::new(Code::Sc02, table.place(row), format!("holds the id {item:?} again")));
            }
        }
        for lost in self.swapped.iter().filter(|s| !ids.contains(s)) {
            let found = format!("has no row {lost:?}, whose versions the study says are swapped");
            problems.push(Error::new(Code::Rc01, table.path().display(), found));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut all = Vec::new();
        for (row, item) in ids.iter().enumerate() {
            let text_of = |version: Option<&String>| -> Vec<String> {
                let cell = |name: &String| match (name == VERSION, version) {
                    (true, Some(version)) => columns[version.as_str()][row].clone(),
                    _ => columns[name.as_str()][row].clone(),
                };
                self.segments.iter().map(cell).collect()
            };
            let mut push = |version: Option<&String>, column: Option<&String>| {
                all.push(Shown {
                    item: item.clone(),
                    version: version.cloned(),
                    segments: text_of(column),
                    group: groups.as_ref().map_or_else(|| item.clone(), |g| g[row].clone()),
                    confounds: numbers.iter().map(|column| column[row]).collect(),
                });
            };
            if versions.is_empty() {
                push(None, None);
            }
            let swapped = self.swapped.contains(item);
            for (at, version) in versions.iter().enumerate() {
                let column = if swapped { versions[versions.len() - 1 - at] } else { version };
                push(Some(version), Some(column));
            }
        }
        Ok(all)
    }

    /// The version that a condition shows; `None` when there are no versions.
    ///
    /// # Errors
    /// The condition, when it belongs to no version.
    pub fn version_of(&self, condition: Option<&str>) -> std::result::Result<Option<&str>, String> {
        if self.versions.is_empty() {
            return Ok(None);
        }
        let condition = condition.unwrap_or("n/a");
        let named = self.versions.iter().find(|(_, conditions)| conditions.iter().any(|c| c == condition));
        named.map(|(version, _)| Some(version.as_str())).ok_or_else(|| condition.to_owned())
    }
}

/// A column of segments, trimmed; none may be blank.
fn segment(table: &Table, name: &str) -> Result<Vec<String>> {
    let cells = table.texts(name)?;
    cells
        .into_iter()
        .enumerate()
        .map(|(row, cell)| {
            let text = cell.map(|c| c.trim().to_owned()).filter(|c| !c.is_empty());
            text.ok_or_else(|| {
                Error::new(Code::Sc03, table.place(row), format!("has a blank segment in column {name:?}"))
                    .expected("a text")
            })
        })
        .collect()
}
