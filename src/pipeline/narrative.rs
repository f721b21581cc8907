//! Inputs of a narrative: words with times, a series of volumes per subject, nuisance regressors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array2, Axis, s};

use super::design::{Design, Rows, Volumes};
use super::parts::Parts;
use super::preflight::{Findings, Inputs};
use super::whole::WholeRuns;
use crate::error::{Code, Error, Result, Warning};
use crate::features::{CHARACTERS, CONFOUNDS, FeatureSpace, Story, Timeline, WORDS};
use crate::ids::{StimulusId, SubjectId, TargetId};
use crate::io::{file_name, matrix};
use crate::missing::{MissingValues, zero_missing};
use crate::responses::Responses;
use crate::stimuli::Stimuli;
use crate::study::{NarrativePlan, NuisancePlan, Plan};

/// What stands for the subject in a pattern.
const SUBJECT: &str = "{subject}";

/// Reads words, series and nuisance regressors.
pub(super) fn read(
    plan: &Plan,
    narrative: &NarrativePlan,
    files: &[(String, PathBuf)],
    found: &mut Findings,
) -> Option<Inputs> {
    let story = found.keep(Story::read(&plan.stimuli_path, &narrative.words, &narrative.confounds));
    if let Some(story) = &story {
        found.input("words", &plan.stimuli_path, story.digest);
        found.warnings.extend(story.warnings.iter().cloned());
    }
    let series = read_series(plan, files, found);
    let (story, (targets, series)) = (story?, series?);
    // INVARIANT: there is at least one file, and all have the same number of volumes.
    let volumes = series.first().map_or(0, |(_, y, _)| y.nrows());
    let starts = &narrative.run_starts;
    let place = |e: Error| e.under(Code::Rc01);
    let timeline = Timeline::new(narrative.repetition_time, narrative.first_volume, volumes, starts);
    let timeline = found.keep(timeline.map_err(place))?;
    if let Some(bad) = narrative.delays.iter().find(|d| !(d.is_finite() && **d >= 0.0)) {
        let error = Error::new(Code::Rc01, plan.study_path.display(), format!("[series] has a delay of {bad} s"));
        found.problems.push(error.expected("0 or more"));
        return None;
    }
    let valid = timeline.valid(&narrative.delays);
    let kept: Vec<usize> = (0..volumes).filter(|v| valid[*v]).collect();
    let heard = story.times.in_volumes(&timeline);
    let text =
        |v: &usize| heard[*v].iter().map(|w| story.strings[story.timed[*w]].as_str()).collect::<Vec<_>>().join(" ");
    let ids: Vec<StimulusId> = kept.iter().map(|v| volume_name(*v)).collect();
    let runs = timeline.run_of();
    let stimuli = Stimuli::of_volumes(
        &plan.stimuli_path,
        story.digest,
        ids.clone(),
        kept.iter().map(text).collect(),
        kept.iter().map(|v| format!("run-{}", runs[*v] + 1)).collect(),
    );
    let volumes = Volumes {
        words: story.times.clone(),
        timed: story.timed.clone(),
        timeline,
        method: narrative.method,
        delays: narrative.delays.clone(),
        kept,
        place: file_name(&plan.stimuli_path),
    };
    let common = found.keep(confounds(&story, &volumes, &ids));
    let nuisance = narrative.nuisance.as_ref().map(|n| own(n, &series, &volumes, found));
    let (common, warning) = common?;
    found.warnings.extend(warning);
    let (common, names) = match nuisance {
        Some(own) => {
            let (own, names) = own?;
            (common.with_own(own), names)
        }
        None => (common, Vec::new()),
    };
    let (mut responses, mut whole) = (Vec::new(), Vec::new());
    for (subject, y, path) in series {
        let mut known = y.clone();
        zero_missing(&mut known);
        whole.push((subject.clone(), known));
        if files.len() > 1 && is_flat(&y) {
            found.leave_out_constant(&path.display().to_string(), subject.as_str(), y.nrows());
            continue;
        }
        let y = y.select(Axis(0), &volumes.kept);
        let place = path.display().to_string();
        let one = Responses::new(subject, ids.clone(), y, &targets, plan.responses.missing, place);
        responses.extend(found.keep(one));
    }
    let volumes_kept = volumes.kept.clone();
    let parts = Parts::listed(&story.strings, narrative.context);
    let named = [WORDS, CHARACTERS].map(str::to_owned).into_iter().chain(narrative.confounds.iter().cloned());
    Some(Inputs {
        text_of_row: (0..stimuli.len()).collect(),
        stimuli,
        design: Design { parts: Some(parts), rows: Rows::Volumes(Box::new(volumes)) },
        responses: Some((targets, responses)),
        whole: Some(WholeRuns::new(&volumes_kept, runs, whole)),
        confounds: common,
        confound_names: named.chain(names).collect(),
    })
}

fn is_flat(y: &Array2<f64>) -> bool {
    y.columns().into_iter().all(|column| column.iter().all(|v| *v == column[0]))
}

/// The id of a volume: its number, from 0.
fn volume_name(volume: usize) -> StimulusId {
    StimulusId::from(format!("volume-{volume:05}"))
}

/// Series of all subjects, with the names of their targets.
type Series = (Vec<TargetId>, Vec<(SubjectId, Array2<f64>, PathBuf)>);

fn read_series(plan: &Plan, files: &[(String, PathBuf)], found: &mut Findings) -> Option<Series> {
    let mut targets: Option<Vec<TargetId>> = plan.responses.targets.as_ref().map(|names| ids(names));
    let mut all: Vec<(SubjectId, Array2<f64>, PathBuf)> = Vec::new();
    let mut failed = false;
    for (name, path) in files {
        let wanted: Option<Vec<String>> = targets.as_ref().map(|t| t.iter().map(ToString::to_string).collect());
        let Some(read) =
            found.keep(matrix::read(path, wanted.as_deref(), plan.responses.key.as_deref(), plan.responses.missing))
        else {
            failed = true;
            continue;
        };
        found.responses(path, &read);
        let own = read.names.as_ref().map_or_else(|| numbered(read.values.ncols()), |names| ids(names));
        let expected = targets.get_or_insert(own);
        let [volumes, columns] = [read.values.nrows(), read.values.ncols()];
        let first = all.first().map(|(_, y, path)| (y.nrows(), file_name(path)));
        let problem = if columns != expected.len() {
            let expected = format!("{}, one per target", expected.len());
            Some(Error::new(Code::Rs02, path.display(), format!("has {columns} columns")).expected(expected))
        } else {
            first.filter(|(n, _)| *n != volumes).map(|(n, other)| {
                Error::new(Code::Rs07, path.display(), format!("has {volumes} volumes"))
                    .expected(format!("{n}, as {other} has"))
                    .hint("All subjects heard the same: cut the series to the same volumes")
            })
        };
        match problem {
            Some(problem) => {
                found.problems.push(problem);
                failed = true;
            }
            None => all.push((SubjectId::from(name.as_str()), read.values, path.clone())),
        }
    }
    targets.filter(|_| !failed).map(|targets| (targets, all))
}

fn ids(names: &[String]) -> Vec<TargetId> {
    names.iter().map(|n| TargetId::from(n.as_str())).collect()
}

fn numbered(columns: usize) -> Vec<TargetId> {
    (1..=columns).map(|t| TargetId::from(format!("target_{t:04}"))).collect()
}

/// What any model could know without reading: how many words and letters there are, and the study's own columns of the
/// words; taken to the volumes as the model's features are.
fn confounds(story: &Story, volumes: &Volumes, ids: &[StimulusId]) -> Result<(FeatureSpace, Option<Warning>)> {
    let x = Array2::from_shape_fn((story.timed.len(), 2 + story.columns.len()), |(word, column)| match column {
        0 => 1.0,
        1 => story.strings[story.timed[word]].chars().count() as f64,
        other => story.columns[other - 2].1[word],
    });
    let (x, warning) = volumes.features(x.view())?;
    Ok((FeatureSpace::new(CONFOUNDS, Arc::from(ids), x), warning))
}

/// Subjects' own regressors, and their names.
type Own = (Vec<(SubjectId, Array2<f64>)>, Vec<String>);

/// Each subject's own regressors at the kept volumes.
fn own(
    plan: &NuisancePlan,
    series: &[(SubjectId, Array2<f64>, PathBuf)],
    volumes: &Volumes,
    found: &mut Findings,
) -> Option<Own> {
    let mut all: Vec<(SubjectId, Array2<f64>)> = Vec::new();
    let mut names: Option<Vec<String>> = None;
    for (subject, y, _) in series {
        let Some(path) = found.keep(matching(&plan.pattern, subject)) else { continue };
        let Some(read) = found.keep(matrix::read(&path, plan.columns.as_deref(), None, MissingValues::Refuse)) else {
            continue;
        };
        found.input("confounds", &path, read.digest);
        let rows = read.values.nrows();
        if rows != y.nrows() + plan.skip {
            let wanted = y.nrows() + plan.skip;
            let skipped =
                if plan.skip > 0 { format!(" after the {} that are skipped", plan.skip) } else { String::new() };
            found.problems.push(
                Error::new(Code::Bo01, path.display(), format!("has {rows} rows"))
                    .expected(format!("{wanted}: one per volume{skipped}"))
                    .hint("Rows before the first volume: [responses] confounds_skip"),
            );
            continue;
        }
        if let Some(((row, column), value)) = read.values.indexed_iter().find(|(_, v)| !v.is_finite()) {
            let at = format!("row {}, column {} holds {value}", row + 1, column + 1);
            found.problems.push(Error::new(Code::Rs08, path.display(), at).expected("finite regressors"));
            continue;
        }
        let columns = read.values.ncols();
        let labels = read.names.unwrap_or_else(|| (1..=columns).map(|c| format!("nuisance_{c}")).collect());
        if names.get_or_insert(labels).len() != columns {
            found.problems.push(
                Error::new(Code::Rs02, path.display(), format!("has {columns} regressors"))
                    .expected("as many as the other subjects have"),
            );
            continue;
        }
        let values = read.values.slice(s![plan.skip.., ..]).select(Axis(0), &volumes.kept);
        all.push((subject.clone(), values));
    }
    names.filter(|_| all.len() == series.len()).map(|names| (all, names))
}

/// The one file of a subject: `{subject}` anywhere, one `*` in the file's name.
fn matching(pattern: &Path, subject: &SubjectId) -> Result<PathBuf> {
    let full = PathBuf::from(pattern.to_string_lossy().replace(SUBJECT, subject.as_str()));
    let name = file_name(&full);
    let Some((before, after)) = name.split_once('*') else { return Ok(full) };
    let folder = full.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder.display(), "listing", e))?;
    let fits =
        |name: &str| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
    let mut names: Vec<String> =
        entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).filter(|n| fits(n)).collect();
    names.sort_unstable();
    match &names[..] {
        [one] => Ok(folder.join(one)),
        [] => Err(Error::new(Code::Od05, full.display(), "fits no file").expected("one file per subject")),
        many => Err(Error::new(Code::Od05, full.display(), format!("fits {} files: {}", many.len(), many.join(", ")))
            .expected("one file per subject")),
    }
}
