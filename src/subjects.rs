//! Who the subjects are: their groups, and covariates that a comparison of groups holds fixed.

use std::collections::BTreeSet;
use std::collections::HashMap;

use ndarray::Array2;

use crate::error::{Code, Error, Result, Warning, first_five};
use crate::ids::SubjectId;
use crate::io::table::{Number, Table};
use crate::stats::labels::estimable;

/// Fewest subjects of a group.
const FEWEST: usize = 2;

/// Groups and covariates of the subjects of a study, in the order of the study.
#[derive(Debug, Clone, PartialEq)]
pub struct SubjectGroups {
    names: Vec<String>,
    of_subject: Vec<usize>,
    covariate_names: Vec<String>,
    covariates: Array2<f64>,
}

/// What the columns of a table of subjects are.
#[derive(Debug, Clone, Copy)]
pub struct SubjectColumns<'a> {
    /// Subjects.
    pub id: &'a str,
    /// Groups.
    pub group: &'a str,
    /// Covariates: columns of numbers, or of names, which become one indicator per name but the first.
    pub covariates: &'a [String],
}

impl SubjectGroups {
    /// Reads the rows of `subjects`; rows of other subjects are left out with a warning.
    ///
    /// # Errors
    /// All problems at once: `SC-01`, `SC-02` and `SC-11` as for any table, `RS-07` for subjects without a row, `SJ-01`
    /// for fewer than two groups, groups of fewer than two, or covariates that cannot be told from the groups.
    pub fn from_table(
        table: &Table,
        columns: SubjectColumns<'_>,
        subjects: &[SubjectId],
    ) -> std::result::Result<(SubjectGroups, Vec<Warning>), Vec<Error>> {
        let mut problems = Vec::new();
        let ids = table.required_texts(columns.id).map_err(|e| problems.push(e)).ok();
        let groups = table.required_texts(columns.group).map_err(|e| problems.push(e)).ok();
        let rows =
            ids.as_ref().and_then(|ids| rows_of(table, columns.id, ids, subjects).map_err(|e| problems.push(e)).ok());
        let mut covariates: Vec<(String, Vec<f64>)> = Vec::new();
        for name in columns.covariates {
            match (covariate(table, name, rows.as_deref()), &rows) {
                (Ok(found), Some(_)) => covariates.extend(found),
                (Ok(_), None) => {}
                (Err(e), _) => problems.push(e),
            }
        }
        let (Some(ids), Some(groups), Some(rows), true) = (ids, groups, rows, problems.is_empty()) else {
            return Err(problems);
        };
        let names: Vec<String> = rows.iter().map(|r| groups[*r].clone()).collect::<BTreeSet<_>>().into_iter().collect();
        let of_subject = rows.iter().map(|r| names.partition_point(|n| *n < groups[*r])).collect();
        let covariate_names = covariates.iter().map(|(name, _)| name.clone()).collect();
        let covariates = Array2::from_shape_fn((rows.len(), covariates.len()), |(s, c)| covariates[c].1[s]);
        let found = SubjectGroups { names, of_subject, covariate_names, covariates };
        found.check(table).map_err(|e| vec![e])?;
        let mut warnings = Vec::new();
        if ids.len() > rows.len() {
            let strangers: Vec<&String> =
                ids.iter().filter(|id| !subjects.iter().any(|s| s.as_str() == id.as_str())).collect();
            warnings.push(Warning::new(
                "SJ-02",
                format!(
                    "{} of {} rows of the table of subjects belong to nobody in this study and are left out: {}",
                    strangers.len(),
                    ids.len(),
                    first_five(&strangers)
                ),
            ));
        }
        Ok((found, warnings))
    }

    fn check(&self, table: &Table) -> Result<()> {
        let refuse = |found: String| Error::new(Code::Sj01, table.path().display(), found);
        if self.names.len() < 2 {
            return Err(refuse(format!("puts all {} subjects into one group", self.of_subject.len()))
                .expected("at least two groups")
                .hint("Leave [subjects] out of the study, or name another group column"));
        }
        for (group, name) in self.names.iter().enumerate() {
            let n = self.of_subject.iter().filter(|g| **g == group).count();
            if n < FEWEST {
                return Err(refuse(format!("has {n} subject in group {name:?}"))
                    .expected(format!("at least {FEWEST} in each group")));
            }
        }
        for (first, second) in self.pairs() {
            let (rows, is_second) = self.pair(first, second);
            let covariates = self.covariates.select(ndarray::Axis(0), &rows);
            if !estimable(&is_second, covariates.view()) {
                return Err(refuse(format!(
                    "leaves nothing to tell groups {:?} and {:?} apart once {} are held fixed",
                    self.names[first],
                    self.names[second],
                    self.covariate_names.join(", ")
                ))
                .expected("covariates that vary within groups, and more subjects than covariates")
                .hint("Name fewer covariates in [subjects]"));
            }
        }
        Ok(())
    }

    /// Names of the groups, in alphabetical order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Names of the covariates, indicators of names included.
    pub fn covariate_names(&self) -> &[String] {
        &self.covariate_names
    }

    /// Covariates (subjects, columns).
    pub fn covariates(&self) -> &Array2<f64> {
        &self.covariates
    }

    /// All pairs of groups.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let n = self.names.len();
        (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect()
    }

    /// The subjects of two groups, and which of them are in the second.
    pub fn pair(&self, first: usize, second: usize) -> (Vec<usize>, Vec<bool>) {
        (0..self.of_subject.len())
            .filter(|s| [first, second].contains(&self.of_subject[*s]))
            .map(|s| (s, self.of_subject[s] == second))
            .unzip()
    }
}

/// The row of each subject.
fn rows_of(table: &Table, column: &str, ids: &[String], subjects: &[SubjectId]) -> Result<Vec<usize>> {
    let mut row_of: HashMap<&str, usize> = HashMap::new();
    for (row, id) in ids.iter().enumerate() {
        if let Some(first) = row_of.insert(id, row) {
            return Err(Error::new(
                Code::Sc02,
                table.place(row),
                format!("holds the subject {id:?} again, first at {}", table.place(first)),
            )
            .expected("every subject once"));
        }
    }
    let absent: Vec<&str> = subjects.iter().map(SubjectId::as_str).filter(|s| !row_of.contains_key(s)).collect();
    if !absent.is_empty() {
        return Err(Error::new(
            Code::Rs07,
            table.path().display(),
            format!("has no row for {} of {} subjects: {}", absent.len(), subjects.len(), first_five(&absent)),
        )
        .expected(format!("their names in column {column:?}, as the responses have them"))
        .hint(format!("It names {}", first_five(ids))));
    }
    Ok(subjects.iter().map(|s| row_of[s.as_str()]).collect())
}

/// A covariate of the rows: one column of numbers, or indicators of all names but the first.
fn covariate(table: &Table, name: &str, rows: Option<&[usize]>) -> Result<Vec<(String, Vec<f64>)>> {
    let numbers = table.numbers(name)?;
    let rows = rows.unwrap_or_default();
    let finite = |r: &usize| match numbers[*r] {
        Number::Finite(value) => Some(value),
        _ => None,
    };
    let values: Vec<f64> = rows.iter().filter_map(finite).collect();
    if values.len() == rows.len() {
        return Ok(vec![(name.to_owned(), values)]);
    }
    let texts = table.texts(name)?;
    if let Some(row) = rows.iter().find(|r| !values.is_empty() || texts[**r].is_none()) {
        let row = rows.iter().find(|r| finite(r).is_none()).unwrap_or(row);
        return Err(Error::new(Code::Sc11, table.place(*row), format!("holds no number in column {name:?}"))
            .expected("a number for every subject, or a name for every subject")
            .hint("Leave the covariate out, or the subject"));
    }
    let names: Vec<&str> = rows.iter().filter_map(|r| texts[*r].as_deref()).collect();
    let levels: BTreeSet<&str> = names.iter().copied().collect();
    let indicator =
        |level: &str| (format!("{name}={level}"), names.iter().map(|n| f64::from(u8::from(*n == level))).collect());
    Ok(levels.into_iter().skip(1).map(indicator).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        text: &str,
        covariates: &[&str],
        subjects: &[&str],
    ) -> std::result::Result<(SubjectGroups, Vec<Warning>), Vec<Error>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subjects.tsv");
        std::fs::write(&path, text).unwrap();
        let covariates: Vec<String> = covariates.iter().map(|c| (*c).to_owned()).collect();
        let columns = SubjectColumns { id: "subject", group: "group", covariates: &covariates };
        let subjects: Vec<SubjectId> = subjects.iter().map(|s| SubjectId::from(*s)).collect();
        SubjectGroups::from_table(&Table::read(&path).unwrap(), columns, &subjects)
    }

    const TABLE: &str =
        "subject\tgroup\tage\tsex\na\tnt\t20\tf\nb\tasd\t31\tm\nc\tnt\t25\tm\nd\tasd\t28\tf\ne\tnt\t33\tf\n";

    #[test]
    fn subjects_come_in_the_order_of_the_study() {
        let (found, warnings) = read(TABLE, &["sex"], &["d", "c", "b", "a"]).unwrap();
        assert_eq!(found.names(), ["asd", "nt"]);
        assert_eq!(found.pair(0, 1), (vec![0, 1, 2, 3], vec![false, true, false, true]));
        assert_eq!(found.covariate_names(), ["sex=m"]);
        assert_eq!(found.covariates().column(0).to_vec(), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(warnings[0].code, "SJ-02");
        let (aged, _) = read(TABLE, &["age"], &["a", "b", "c", "d", "e"]).unwrap();
        assert_eq!(aged.covariates().column(0).to_vec(), [20.0, 31.0, 25.0, 28.0, 33.0]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let code = |text: &str, covariates: &[&str], subjects: &[&str]| {
            read(text, covariates, subjects).unwrap_err()[0].code()
        };
        assert_eq!(code(TABLE, &[], &["a", "c"]), Code::Sj01);
        assert_eq!(code(TABLE, &[], &["a", "c", "b"]), Code::Sj01);
        assert_eq!(code(TABLE, &[], &["a", "x"]), Code::Rs07);
        assert_eq!(code(TABLE, &["hight"], &["a", "b", "c", "d"]), Code::Sc01);
        assert_eq!(code(&TABLE.replace("31", "?"), &["age"], &["a", "b", "c", "d"]), Code::Sc11);
        assert_eq!(code(TABLE, &["age", "sex"], &["a", "b", "c", "d"]), Code::Sj01, "as many columns as subjects");
        assert_eq!(code(&format!("{TABLE}a\tnt\t1\tf\n"), &[], &["a", "b", "c", "d"]), Code::Sc02);
    }
}
