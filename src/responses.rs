//! What the brain did: one row per stimulus that a subject saw, one column per target; and the only place where
//! features and responses meet.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ndarray::{Array2, Axis, concatenate};

use crate::error::{Code, Error, Result, Warning, first_five};
use crate::features::FeatureSpace;
use crate::ids::{StimulusId, SubjectId, TargetId};
use crate::io::table::{Number, Table};
use crate::missing::{DROP, MissingValues, zero_missing};

/// The name of the subject when there is one averaged response.
pub const MEAN_SUBJECT: &str = "mean";

/// The responses of one subject.
#[derive(Debug, Clone)]
pub struct Responses {
    subject: SubjectId,
    ids: Vec<StimulusId>,
    y: Array2<f64>,
    /// Per target: how many of its values were missing. Its column holds zeros then.
    missing: Vec<usize>,
    place: String,
}

impl Responses {
    /// Responses `y` (rows, targets) of a subject to the stimuli `ids`; `place` names their origin in messages.
    ///
    /// # Errors
    /// `RS-02` for no rows or targets, `RS-07` when ids and rows differ in number, `SC-02` for an id that stands twice,
    /// `RS-08` for values that are not finite, unless `missing` drops their targets and some are left.
    pub fn new(
        subject: SubjectId,
        ids: Vec<StimulusId>,
        mut y: Array2<f64>,
        targets: &[TargetId],
        missing: MissingValues,
        place: impl Into<String>,
    ) -> Result<Responses> {
        let place = place.into();
        if y.is_empty() {
            return Err(Error::new(Code::Rs02, place, format!("has {} rows and {} targets", y.nrows(), y.ncols()))
                .expected("at least one of each"));
        }
        if y.nrows() != ids.len() {
            return Err(Error::new(Code::Rs07, place, format!("has {} rows for {} stimuli", y.nrows(), ids.len()))
                .expected("one row per stimulus"));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(*id)) {
            return Err(Error::new(
                Code::Sc02,
                place,
                format!("holds the id {:?} twice for subject {:?}", twice.as_str(), subject.as_str()),
            )
            .expected("one row per subject and stimulus"));
        }
        let counts = zero_missing(&mut y);
        let bad: Vec<String> =
            targets.iter().zip(&counts).filter(|(_, n)| **n > 0).map(|(t, n)| format!("{t} ({n} rows)")).collect();
        if !bad.is_empty() && (missing == MissingValues::Refuse || bad.len() == targets.len()) {
            let error = Error::new(
                Code::Rs08,
                place,
                format!("{} targets hold NaN or infinite values: {}", bad.len(), first_five(&bad)),
            )
            .expected("finite responses");
            return Err(error.hint(match missing {
                MissingValues::Refuse => DROP,
                MissingValues::Drop => "No target is left. Leave this subject out",
            }));
        }
        Ok(Responses { subject, ids, y, missing: counts, place })
    }

    /// Reads the responses of a table with one row per stimulus (and subject, when `subject` names a column).
    ///
    /// # Errors
    /// All problems at once: missing columns, empty ids, cells that are no finite numbers (`RS-08`).
    pub fn from_table(
        table: &Table,
        id: &str,
        subject: SubjectColumn<'_>,
        targets: &[TargetId],
        missing: MissingValues,
    ) -> std::result::Result<Vec<Responses>, Vec<Error>> {
        let mut problems = Vec::new();
        let ids = table.required_texts(id).map_err(|e| problems.push(e)).ok();
        let subjects: Option<Vec<String>> = match subject {
            SubjectColumn::Column(name) => table.required_texts(name).map_err(|e| problems.push(e)).ok(),
            SubjectColumn::One(one) => Some(vec![one.as_str().to_owned(); table.rows()]),
        };
        let mut y = Array2::zeros((table.rows(), targets.len()));
        for (target, mut column) in targets.iter().zip(y.axis_iter_mut(Axis(1))) {
            match table.numbers(target.as_str()) {
                Err(e) => problems.push(e),
                Ok(numbers) => {
                    problems.extend(unusable_cells(table, target, &numbers, missing));
                    for (slot, number) in column.iter_mut().zip(numbers) {
                        *slot = if let Number::Finite(v) = number { v } else { f64::NAN };
                    }
                }
            }
        }
        let (Some(ids), Some(subjects)) = (ids, subjects) else { return Err(problems) };
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut rows_of: Vec<(SubjectId, Vec<usize>)> = Vec::new();
        let mut index: HashMap<&str, usize> = HashMap::new();
        for (row, name) in subjects.iter().enumerate() {
            let at = *index.entry(name).or_insert_with(|| {
                rows_of.push((SubjectId::from(name.as_str()), Vec::new()));
                rows_of.len() - 1
            });
            rows_of[at].1.push(row);
        }
        let mut all = Vec::new();
        for (subject, rows) in rows_of {
            let own = rows.iter().map(|r| StimulusId::from(ids[*r].as_str())).collect();
            let y = y.select(Axis(0), &rows);
            match Responses::new(subject, own, y, targets, missing, table.path().display().to_string()) {
                Ok(responses) => all.push(responses),
                Err(e) => problems.push(e),
            }
        }
        if problems.is_empty() { Ok(all) } else { Err(problems) }
    }

    /// Whether all targets have values, and none varies.
    pub fn all_constant(&self) -> bool {
        self.missing.iter().all(|n| *n == 0)
            && self.y.columns().into_iter().all(|column| column.iter().all(|v| *v == column[0]))
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.ids.len()
    }

    /// Where they were read, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whose responses they are.
    pub fn subject(&self) -> &SubjectId {
        &self.subject
    }
}

/// Where the subject of a row stands.
#[derive(Debug, Clone, Copy)]
pub enum SubjectColumn<'a> {
    /// In this column.
    Column(&'a str),
    /// All rows are this subject's.
    One(&'a SubjectId),
}

fn unusable_cells(table: &Table, target: &TargetId, numbers: &[Number], missing: MissingValues) -> Option<Error> {
    let usable = |number: &Number| match number {
        Number::Finite(_) => true,
        Number::Missing(_) => missing == MissingValues::Drop,
        Number::Text(_) => false,
    };
    let bad: Vec<usize> = (0..numbers.len()).filter(|r| !usable(&numbers[*r])).collect();
    let first = *bad.first()?;
    let found = match &numbers[first] {
        Number::Missing(text) if text.is_empty() => format!("has an empty cell in target {target}"),
        Number::Missing(text) | Number::Text(text) => format!("holds {text:?} in target {target}"),
        Number::Finite(_) => return None,
    };
    let drop = if matches!(numbers[first], Number::Missing(_)) { format!(". {DROP}") } else { String::new() };
    Some(Error::new(Code::Rs08, table.place(first), found).expected("a finite number").hint(format!(
        "{} cells of this target are unusable, in rows {}{drop}",
        bad.len(),
        first_five(bad.iter().map(|r| r + 1))
    )))
}

/// Subjects who responded to the same stimuli, side by side: what their fits share is computed once.
#[derive(Debug, Clone)]
pub struct Cohort {
    ids: Arc<[StimulusId]>,
    rows: Vec<usize>,
    subjects: Vec<SubjectId>,
    y: Array2<f64>,
    /// Per column of `y`: how many of its values were missing. It holds zeros then.
    missing: Vec<usize>,
}

impl Cohort {
    /// Joins responses to the stimuli by row id and groups subjects who saw the same ones.
    ///
    /// # Errors
    /// `RS-07` when responses name unknown stimuli, or when a stimulus has no response in any subject. A stimulus that
    /// some subjects lack is a warning.
    pub fn join(
        ids: &Arc<[StimulusId]>,
        responses: Vec<Responses>,
    ) -> std::result::Result<(Vec<Cohort>, Vec<Warning>), Vec<Error>> {
        let index: HashMap<&StimulusId, usize> = ids.iter().enumerate().map(|(row, id)| (id, row)).collect();
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut answered: BTreeSet<usize> = BTreeSet::new();
        let mut cohorts: Vec<Cohort> = Vec::new();
        for one in responses {
            let unknown: Vec<&StimulusId> = one.ids.iter().filter(|id| !index.contains_key(id)).collect();
            if !unknown.is_empty() {
                problems.push(
                    Error::new(
                        Code::Rs07,
                        &one.place,
                        format!(
                            "{} of {} rows of subject {:?} name no stimulus: {}",
                            unknown.len(),
                            one.ids.len(),
                            one.subject.as_str(),
                            first_five(unknown)
                        ),
                    )
                    .expected(format!("ids of the stimuli table, such as {}", first_five(ids.iter().take(3))))
                    .hint("Check the id columns of both tables"),
                );
                continue;
            }
            // Ascending stimulus rows; `from` says which response row belongs to each.
            let mut order: Vec<(usize, usize)> =
                one.ids.iter().enumerate().map(|(from, id)| (index[id], from)).collect();
            order.sort_unstable();
            let rows: Vec<usize> = order.iter().map(|(row, _)| *row).collect();
            let from: Vec<usize> = order.iter().map(|(_, from)| *from).collect();
            answered.extend(rows.iter().copied());
            if rows.len() < ids.len() {
                warnings.push(Warning::new(
                    "RS-07",
                    format!(
                        "subject {:?} has responses to {} of {} stimuli; the rest is left out for this subject",
                        one.subject.as_str(),
                        rows.len(),
                        ids.len()
                    ),
                ));
            }
            let y = one.y.select(Axis(0), &from);
            match cohorts.iter_mut().find(|c| c.rows == rows) {
                Some(cohort) => {
                    cohort.y = concatenate![Axis(1), cohort.y, y];
                    cohort.missing.extend(one.missing);
                    cohort.subjects.push(one.subject);
                }
                None => {
                    let (subjects, missing) = (vec![one.subject], one.missing);
                    cohorts.push(Cohort { ids: Arc::clone(ids), rows, subjects, y, missing });
                }
            }
        }
        if problems.is_empty() && answered.len() < ids.len() {
            let silent: Vec<&StimulusId> =
                (0..ids.len()).filter(|row| !answered.contains(row)).map(|row| &ids[row]).collect();
            problems.push(
                Error::new(
                    Code::Rs07,
                    "responses",
                    format!("{} of {} stimuli have no response: {}", silent.len(), ids.len(), first_five(silent)),
                )
                .expected("a response to every stimulus in at least one subject")
                .hint("Remove those stimuli, or check the id columns of both tables"),
            );
        }
        if problems.is_empty() { Ok((cohorts, warnings)) } else { Err(problems) }
    }

    /// A cohort of its own for each subject, in their order.
    pub fn one_by_one(&self) -> Vec<Cohort> {
        let targets = self.y.ncols() / self.subjects.len();
        let one = |(at, subject): (usize, &SubjectId)| Cohort {
            ids: Arc::clone(&self.ids),
            rows: self.rows.clone(),
            subjects: vec![subject.clone()],
            y: self.y.slice_axis(Axis(1), (at * targets..(at + 1) * targets).into()).to_owned(),
            missing: self.missing[at * targets..(at + 1) * targets].to_vec(),
        };
        self.subjects.iter().enumerate().map(one).collect()
    }

    /// Per cohort and in the shape of its [`Cohort::y`]: for each subject and row the mean response of the other subjects
    /// who saw the stimulus and whose target has values. A target that nobody else has values of, for some stimulus, is then
    /// missing in the subject, too: nothing could be trained on.
    ///
    /// # Errors
    /// `RC-03` when a subject saw a stimulus that nobody else did.
    pub fn others(cohorts: &mut [Cohort]) -> Result<Vec<Array2<f64>>> {
        let rows = cohorts.first().map_or(0, |c| c.ids.len());
        let targets = cohorts.first().map_or(0, |c| c.y.ncols() / c.subjects.len().max(1));
        let mut sum = Array2::<f64>::zeros((rows, targets));
        let mut count = vec![0usize; rows];
        // Values that are missing, which the count of subjects includes and the sum does not.
        let mut lacking = vec![0usize; rows * targets];
        for cohort in &*cohorts {
            for (at, row) in cohort.rows.iter().enumerate() {
                count[*row] += cohort.subjects.len();
                for own in cohort.y.row(at).exact_chunks(targets) {
                    let mut sum = sum.row_mut(*row);
                    sum += &own;
                }
                for (column, _) in cohort.missing.iter().enumerate().filter(|(_, n)| **n > 0) {
                    lacking[row * targets + column % targets] += 1;
                }
            }
        }
        let alone = |cohort: &Cohort| cohort.rows.iter().find(|row| count[**row] < 2).copied();
        if let Some((cohort, row)) = cohorts.iter().find_map(|c| Some((c, alone(c)?))) {
            return Err(Error::new(
                Code::Rc03,
                format!("responses of {}", first_five(&cohort.subjects)),
                format!("stimulus {:?} was seen by nobody else", cohort.ids[row].as_str()),
            )
            .expected("another subject for every stimulus, when subjects are left out")
            .hint("Use other folds, or leave such stimuli out"));
        }
        let mut of = |cohort: &mut Cohort| {
            let others = |at: usize, column: usize| {
                let row = cohort.rows[at];
                let with = count[row] - lacking[row * targets + column % targets];
                if cohort.missing[column] > 0 { with } else { with - 1 }
            };
            let alone: Vec<usize> = (0..cohort.y.ncols())
                .map(|c| (0..cohort.rows.len()).filter(|at| others(*at, c) == 0).count())
                .collect();
            let mut means = Array2::from_shape_fn(cohort.y.dim(), |(at, column)| {
                (sum[[cohort.rows[at], column % targets]] - cohort.y[[at, column]]) / others(at, column).max(1) as f64
            });
            for (column, alone) in alone.into_iter().enumerate() {
                cohort.missing[column] = cohort.missing[column].max(alone);
                if cohort.missing[column] > 0 {
                    means.column_mut(column).fill(0.0);
                    cohort.y.column_mut(column).fill(0.0);
                }
            }
            means
        };
        Ok(cohorts.iter_mut().map(&mut of).collect())
    }

    /// Rows of the stimuli table that these subjects responded to, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The subjects, in the order of the blocks of columns of [`Cohort::y`].
    pub fn subjects(&self) -> &[SubjectId] {
        &self.subjects
    }

    /// Responses (rows, subjects · targets): the targets of the first subject, then those of the second, …
    pub fn y(&self) -> &Array2<f64> {
        &self.y
    }

    /// Per column of [`Cohort::y`]: how many of its values were missing. Such a column holds zeros and has no score.
    pub fn missing(&self) -> &[usize] {
        &self.missing
    }

    /// The stimulus of each row.
    pub fn stimulus(&self, row: usize) -> &StimulusId {
        &self.ids[self.rows[row]]
    }
}

/// Features and responses of the same stimuli, row by row. Nothing else joins them.
#[derive(Debug)]
pub struct Aligned<'a> {
    x: Array2<f64>,
    cohort: &'a Cohort,
}

impl<'a> Aligned<'a> {
    /// Puts the features of a cohort's stimuli beside its responses.
    ///
    /// # Errors
    /// `RS-07` when the features are those of other stimuli.
    pub fn new(features: &FeatureSpace, cohort: &'a Cohort) -> Result<Aligned<'a>> {
        if !Arc::ptr_eq(features.ids(), &cohort.ids) && features.ids() != &cohort.ids {
            return Err(Error::new(Code::Rs07, features.name(), "holds features of other stimuli than the responses"));
        }
        let mut x = features.x().select(Axis(0), &cohort.rows);
        if features.has_own() {
            let own = match &cohort.subjects[..] {
                [one] => features.own(one),
                _ => None,
            };
            let Some(own) = own else {
                let found = "differ between subjects, but are put beside several or another";
                return Err(Error::new(Code::Rs07, features.name(), found).expected("one subject at a time"));
            };
            x = concatenate![Axis(1), x, own.select(Axis(0), &cohort.rows)];
        }
        Ok(Aligned { x, cohort })
    }

    /// Features (rows, features).
    pub fn x(&self) -> &Array2<f64> {
        &self.x
    }

    /// The responses.
    pub fn cohort(&self) -> &Cohort {
        self.cohort
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn ids(names: &[&str]) -> Vec<StimulusId> {
        names.iter().map(|n| StimulusId::from(*n)).collect()
    }

    fn one(subject: &str, names: &[&str], y: Array2<f64>) -> Responses {
        let targets: Vec<TargetId> = (0..y.ncols()).map(|t| TargetId::from(format!("t{t}"))).collect();
        Responses::new(subject.into(), ids(names), y, &targets, MissingValues::Drop, "r.csv").unwrap()
    }

    #[test]
    fn rows_are_joined_by_id_not_by_position() {
        let stimuli: Arc<[StimulusId]> = ids(&["a", "b", "c"]).into();
        let responses = vec![
            one("s1", &["c", "a", "b"], array![[3.0], [1.0], [2.0]]),
            one("s2", &["a", "b", "c"], array![[10.0], [20.0], [30.0]]),
            one("s3", &["c", "b"], array![[300.0], [200.0]]),
        ];
        let (cohorts, warnings) = Cohort::join(&stimuli, responses).unwrap();
        assert_eq!(cohorts.len(), 2);
        assert_eq!(cohorts[0].y, array![[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]);
        assert_eq!((cohorts[1].rows(), &cohorts[1].y), (&[1, 2][..], &array![[200.0], [300.0]]));
        assert_eq!(warnings.len(), 1);
        let x = FeatureSpace::new("x", Arc::clone(&stimuli), array![[0.1], [0.2], [0.3]]);
        assert_eq!(Aligned::new(&x, &cohorts[1]).unwrap().x(), array![[0.2], [0.3]]);
        let other = FeatureSpace::new("x", ids(&["a", "b", "z"]).into(), array![[0.1], [0.2], [0.3]]);
        assert_eq!(Aligned::new(&other, &cohorts[1]).unwrap_err().code(), Code::Rs07);
    }

    #[test]
    fn missing_values_have_no_share_in_the_others() {
        let stimuli: Arc<[StimulusId]> = ids(&["a", "b"]).into();
        let gone = f64::NAN;
        let responses = vec![
            one("s1", &["a", "b"], array![[1.0, gone], [2.0, 5.0]]),
            one("s2", &["a", "b"], array![[10.0, 3.0], [20.0, 4.0]]),
            one("s3", &["a", "b"], array![[100.0, gone], [200.0, gone]]),
        ];
        let (mut cohorts, _) = Cohort::join(&stimuli, responses).unwrap();
        assert_eq!(cohorts[0].missing(), [0, 1, 0, 0, 0, 2]);
        assert_eq!(cohorts[0].one_by_one()[2].missing(), [0, 2]);
        let others = &Cohort::others(&mut cohorts).unwrap()[0];
        assert_eq!(others, array![[55.0, 0.0, 50.5, 0.0, 5.5, 0.0], [110.0, 0.0, 101.0, 0.0, 11.0, 0.0]]);
        assert_eq!(cohorts[0].missing(), [0, 1, 0, 2, 0, 2], "s2 alone has values of the second target");
        assert_eq!(cohorts[0].y().column(3).to_vec(), [0.0, 0.0]);
        let whole =
            Responses::new("s".into(), ids(&["a"]), array![[gone]], &["t".into()], MissingValues::Drop, "r.csv");
        assert_eq!(whole.unwrap_err().code(), Code::Rs08);
    }

    #[test]
    fn a_subject_who_is_left_out_has_no_share_in_the_others() {
        let stimuli: Arc<[StimulusId]> = ids(&["a", "b"]).into();
        let responses = vec![
            one("s1", &["a", "b"], array![[1.0], [2.0]]),
            one("s2", &["a", "b"], array![[10.0], [20.0]]),
            one("s3", &["b"], array![[300.0]]),
        ];
        let (mut cohorts, _) = Cohort::join(&stimuli, responses).unwrap();
        let others = Cohort::others(&mut cohorts).unwrap();
        assert_eq!(others, [array![[10.0, 1.0], [160.0, 151.0]], array![[11.0]]]);
        let (mut alone, _) = Cohort::join(&stimuli, vec![one("s1", &["a", "b"], array![[1.0], [2.0]])]).unwrap();
        assert_eq!(Cohort::others(&mut alone).unwrap_err().code(), Code::Rc03);
    }

    #[test]
    fn unmatched_ids_are_counted_and_named() {
        let stimuli: Arc<[StimulusId]> = ids(&["a", "b"]).into();
        let problems = Cohort::join(&stimuli, vec![one("s", &["a", "x"], array![[1.0], [2.0]])]).unwrap_err();
        assert!(
            problems[0].to_string().contains("1 of 2 rows of subject \"s\" name no stimulus: x"),
            "{}",
            problems[0]
        );
        let problems = Cohort::join(&stimuli, vec![one("s", &["a"], array![[1.0]])]).unwrap_err();
        assert!(problems[0].to_string().contains("1 of 2 stimuli have no response: b"), "{}", problems[0]);
    }
}
