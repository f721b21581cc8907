//! Inputs of a study of tables: stimuli with their texts, responses with a row per stimulus.

use std::path::Path;
use std::sync::Arc;

use super::design::{Design, Rows};
use super::preflight::{Findings, Inputs};
use crate::error::{Code, Error};
use crate::features::{self, CHARACTERS, WORDS};
use crate::ids::{StimulusId, SubjectId, TargetId};
use crate::io::matrix;
use crate::io::table::Table;
use crate::responses::{MEAN_SUBJECT, Responses, SubjectColumn};
use crate::stimuli::Stimuli;
use crate::study::{Plan, ResponseTables};

/// Tables of stimuli and responses.
pub(super) fn read(plan: &Plan, found: &mut Findings) -> Option<Inputs> {
    let stimuli = read_stimuli(plan, found);
    let responses = read_responses(plan, stimuli.as_ref(), found);
    let stimuli = stimuli?;
    let ids: Arc<[StimulusId]> = stimuli.ids().into();
    let named = plan.columns.confounds.iter().cloned();
    Some(Inputs {
        design: Design { parts: None, rows: Rows::Vectors(stimuli.distinct_texts().1) },
        text_of_row: stimuli.distinct_texts().1,
        whole: None,
        confounds: features::confounds(&stimuli, &ids),
        confound_names: [WORDS, CHARACTERS].map(str::to_owned).into_iter().chain(named).collect(),
        responses,
        stimuli,
    })
}

fn read_stimuli(plan: &Plan, found: &mut Findings) -> Option<Stimuli> {
    let table = found.keep(Table::read(&plan.stimuli_path))?;
    found.input("stimuli", &plan.stimuli_path, table.digest());
    let (stimuli, warnings) = found.keep(Stimuli::from_table(&table, &plan.columns))?;
    found.warnings.extend(warnings);
    Some(stimuli)
}

fn read_responses(
    plan: &Plan,
    stimuli: Option<&Stimuli>,
    found: &mut Findings,
) -> Option<(Vec<TargetId>, Vec<Responses>)> {
    match &plan.responses.tables {
        ResponseTables::One { path, subject } if matrix::is_array(path) => {
            let named = SubjectId::from(MEAN_SUBJECT);
            if subject.is_some() {
                found.problems.push(
                    Error::new(Code::Rc01, path.display(), "is an array, which has no subject column")
                        .hint("Write one file per subject: table = \"sub-{subject}.npy\""),
                );
                return None;
            }
            let (targets, one) = read_array(plan, path, named, stimuli, None, found)?;
            Some((targets, vec![one]))
        }
        ResponseTables::One { path, subject } => {
            let table = found.keep(Table::read(path))?;
            found.input("responses", path, table.digest());
            let targets = targets(plan, &table, subject.as_deref(), found)?;
            let mean = SubjectId::from(MEAN_SUBJECT);
            let column = subject.as_deref().map_or(SubjectColumn::One(&mean), SubjectColumn::Column);
            let all = found.keep(Responses::from_table(
                &table,
                &plan.responses.id,
                column,
                &targets,
                plan.responses.missing,
            ))?;
            Some((targets, all))
        }
        ResponseTables::PerSubject(files) => {
            let mut targets: Option<Vec<TargetId>> = None;
            let mut all = Vec::new();
            for (name, path) in files {
                let subject = SubjectId::from(name.as_str());
                let read = if matrix::is_array(path) {
                    read_array(plan, path, subject, stimuli, targets.as_deref(), found)
                } else {
                    read_subject(plan, path, &subject, targets.as_deref(), found)
                };
                if let Some((own, responses)) = read {
                    targets.get_or_insert(own);
                    all.push(responses);
                }
            }
            targets.filter(|_| all.len() == files.len()).map(|t| (t, all))
        }
        // Read where their kind is.
        ResponseTables::Series { .. } | ResponseTables::Trials(_) => None,
    }
}

fn read_subject(
    plan: &Plan,
    path: &Path,
    subject: &SubjectId,
    known: Option<&[TargetId]>,
    found: &mut Findings,
) -> Option<(Vec<TargetId>, Responses)> {
    let table = found.keep(Table::read(path))?;
    found.input("responses", path, table.digest());
    let targets = match known {
        Some(targets) => targets.to_vec(),
        None => targets(plan, &table, None, found)?,
    };
    let column = SubjectColumn::One(subject);
    let mut all =
        found.keep(Responses::from_table(&table, &plan.responses.id, column, &targets, plan.responses.missing))?;
    all.pop().map(|one| (targets, one))
}

/// An array has no ids: its rows follow the stimuli table, and only because the study says so.
fn read_array(
    plan: &Plan,
    path: &Path,
    subject: SubjectId,
    stimuli: Option<&Stimuli>,
    known: Option<&[TargetId]>,
    found: &mut Findings,
) -> Option<(Vec<TargetId>, Responses)> {
    let read = found.keep(matrix::array(path, plan.responses.key.as_deref()))?;
    found.responses(path, &read);
    let y = read.values;
    if !plan.responses.rows_in_order {
        found.problems.push(
            Error::new(Code::Rs07, path.display(), "is an array without row ids")
                .expected("a table with ids")
                .hint("If its rows follow the stimuli table, say so: [responses] rows_in_order = true"),
        );
        return None;
    }
    let stimuli = stimuli?;
    let targets: Vec<TargetId> = match (&plan.responses.targets, known) {
        (Some(names), _) => names.iter().map(|n| TargetId::from(n.as_str())).collect(),
        (None, Some(known)) => known.to_vec(),
        (None, None) => (1..=y.ncols()).map(|t| TargetId::from(format!("target_{t:04}"))).collect(),
    };
    if targets.len() != y.ncols() {
        found.problems.push(
            Error::new(Code::Rs02, path.display(), format!("has {} columns", y.ncols()))
                .expected(format!("{}, one per target", targets.len())),
        );
        return None;
    }
    let ids = stimuli.ids().to_vec();
    let place = path.display().to_string();
    let one = found.keep(Responses::new(subject, ids, y, &targets, plan.responses.missing, place))?;
    Some((targets, one))
}

/// The targets that the study names, or every numeric column not otherwise named.
fn targets(plan: &Plan, table: &Table, subject: Option<&str>, found: &mut Findings) -> Option<Vec<TargetId>> {
    if let Some(named) = &plan.responses.targets {
        return Some(named.iter().map(|n| TargetId::from(n.as_str())).collect());
    }
    let columns = &plan.columns;
    let mut taken: Vec<&str> = vec![&plan.responses.id];
    taken.extend(subject);
    taken.extend([columns.id.as_str(), columns.text.as_str()]);
    taken.extend(columns.group.as_deref());
    taken.extend(columns.fold.as_deref());
    taken.extend(columns.run.as_deref());
    taken.extend(columns.confounds.iter().map(String::as_str));
    let names: Vec<TargetId> =
        table.numeric_names().into_iter().filter(|n| !taken.contains(&n.as_str())).map(TargetId::from).collect();
    if names.is_empty() {
        found.problems.push(
            Error::new(Code::Sc01, table.path().display(), "has no numeric column that could be a target")
                .expected("at least one column of responses")
                .hint("Name them: [responses] targets = [\"…\"]"),
        );
        return None;
    }
    Some(names)
}
