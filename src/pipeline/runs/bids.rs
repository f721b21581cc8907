use std::path::{Path, PathBuf};

use super::super::preflight::Findings;
use super::wanted;
use crate::bold::Entities;
use crate::error::{Code, Error, Result};
use crate::io::file_name;
use crate::io::nifti::has_nifti_name;
use crate::io::table::Table;
use crate::study::TrialsPlan;

/// The files of a BOLD run.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub entities: Entities,
    pub bold: PathBuf,
    pub events: PathBuf,
    pub mask: Option<PathBuf>,
    pub confounds: Option<PathBuf>,
}

/// The runs of a BIDS dataset, raw or with derivatives below its root: images of the task and space, each with the events,
/// mask and confounds of the same subject, session, task and run. Runs that lack what they need are left out by name.
pub(super) fn list(root: &Path, space: Option<&str>, plan: &TrialsPlan, found: &mut Findings) -> Option<Vec<Listed>> {
    let mut files = Vec::new();
    found.keep(below(root, 0, &mut files))?;
    files.sort_unstable();
    let of = |end: &dyn Fn(&str) -> bool| -> Vec<(PathBuf, Entities)> {
        let fits = files.iter().filter(|f| end(&file_name(f)));
        fits.map(|f| (f.clone(), Entities::of(f))).filter(|(_, e)| wanted(plan, e)).collect()
    };
    let images = of(&|n| has_nifti_name(n) && n.contains("_bold."));
    let events = of(&|n| n.ends_with("_events.tsv"));
    let masks = of(&|n| has_nifti_name(n) && n.contains("_mask."));
    let confounds = of(&|n| n.ends_with("_timeseries.tsv") || n.ends_with("_regressors.tsv"));
    let bold: Vec<&(PathBuf, Entities)> =
        images.iter().filter(|(_, e)| space.is_none_or(|s| e.space.as_deref() == Some(s))).collect();
    if bold.is_empty() {
        let mut spaces: Vec<String> = images.iter().filter_map(|(_, e)| e.space.clone()).collect();
        spaces.sort_unstable();
        spaces.dedup();
        let error =
            Error::new(Code::Od05, root.display(), "holds no BOLD run of the task, space and subjects asked for");
        let error = error.expected("sub-…_task-…_bold.nii.gz below it");
        found.problems.push(match &spaces[..] {
            [] => error,
            some => error.hint(format!("Spaces that are there: {}", some.join(", "))),
        });
        return None;
    }
    let one = |list: &[(PathBuf, Entities)],
               of: &Entities,
               by_space: bool|
     -> std::result::Result<Option<PathBuf>, String> {
        let same: Vec<&PathBuf> =
            list.iter().filter(|(_, e)| e.same_run(of) && (!by_space || e.space == of.space)).map(|(f, _)| f).collect();
        match same[..] {
            [] => Ok(None),
            [file] => Ok(Some(file.clone())),
            _ => Err(same.iter().map(|f| file_name(f)).collect::<Vec<_>>().join(", ")),
        }
    };
    let mut runs: Vec<Listed> = Vec::new();
    for (path, entities) in bold {
        let mut skip = |found_there: String, expected: &str| {
            found.leave_out(
                &Error::new(Code::Od05, path.display(), found_there).expected(expected).hint("The run is left out"),
            );
        };
        if let Some(twice) = runs.iter().find(|r| r.entities.same_run(entities)) {
            let text = format!("{} is an image of the same run", file_name(&twice.bold));
            found.problems.push(
                Error::new(Code::Od05, path.display(), text)
                    .expected("one image per run")
                    .hint("Say which: [responses] space = \"…\""),
            );
            return None;
        }
        let events = match one(&events, entities, false) {
            Ok(Some(file)) => file,
            Ok(None) => {
                skip("has no events".to_owned(), &format!("{}_events.tsv", entities.label()));
                continue;
            }
            Err(many) => {
                skip(format!("has several events files: {many}"), "one");
                continue;
            }
        };
        let (mask, confounds) = (one(&masks, entities, true), one(&confounds, entities, false));
        match (mask, confounds) {
            (Ok(mask), Ok(confounds)) => {
                runs.push(Listed { entities: entities.clone(), bold: path.clone(), events, mask, confounds });
            }
            (Err(many), _) => skip(format!("has several masks: {many}"), "one"),
            (_, Err(many)) => skip(format!("has several confounds tables: {many}"), "one"),
        }
    }
    Some(runs)
}

/// Every file below a folder, links to folders not followed.
fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    const DEEPEST: usize = 12;
    let fail = |e| Error::io(folder.display(), "listing", e);
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() {
            if depth < DEEPEST {
                below(&entry.path(), depth + 1, found)?;
            }
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The runs that a table lists: columns `subject`, `bold`, `events`, and `run`, `task`, `mask`, `confounds` where there are
/// any; paths are relative to the table.
pub(super) fn from_table(path: &Path, plan: &TrialsPlan, found: &mut Findings) -> Option<Vec<Listed>> {
    let table = found.keep(Table::read(path))?;
    found.input("runs", path, table.digest());
    let subjects = found.keep(table.required_texts("subject"));
    let bold = found.keep(table.required_texts("bold"));
    let events = found.keep(table.required_texts("events"));
    let mut maybe = |name: &str| -> Option<Vec<Option<String>>> {
        if table.has(name) { found.keep(table.texts(name)) } else { Some(vec![None; table.rows()]) }
    };
    let (runs, tasks, masks, confounds) = (maybe("run")?, maybe("task")?, maybe("mask")?, maybe("confounds")?);
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = |cell: &Option<String>| cell.as_ref().filter(|c| !c.trim().is_empty()).map(|c| folder.join(c));
    let (subjects, bold, events) = (subjects?, bold?, events?);
    let listed = (0..table.rows()).map(|row| Listed {
        entities: Entities {
            subject: Some(subjects[row].strip_prefix("sub-").unwrap_or(&subjects[row]).to_owned()),
            task: tasks[row].clone(),
            run: runs[row].clone().or_else(|| Some((row + 1).to_string())),
            ..Entities::default()
        },
        bold: folder.join(&bold[row]),
        events: folder.join(&events[row]),
        mask: file(&masks[row]),
        confounds: file(&confounds[row]),
    });
    Some(listed.filter(|l| wanted(plan, &l.entities)).collect())
}
