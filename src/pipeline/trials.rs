//! Inputs of a study of trials: runs with events, texts that the events name, the volumes that stand for each trial.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array1, Array2, Axis, concatenate};

use super::design::{Design, Rows};
use super::parts::Parts;
use super::preflight::{Findings, Inputs};
use super::runs::{self, Run};
use super::windows::{short_run, twin_group, twin_warning};
use crate::bold::{Events, Window, trial_betas, twins};
use crate::error::{Code, Error, first_five};
use crate::features::{self, CHARACTERS, WORDS};
use crate::ids::{StimulusId, SubjectId};
use crate::io::file_name;
use crate::io::table::Table;
use crate::responses::Responses;
use crate::stimuli::{Shown, Stimuli};
use crate::study::{Plan, TrialsPlan};
use crate::watch::Watch;

/// A subject's samples, text by text: for each presentation its responses, one row per segment (or one).
type Samples = BTreeMap<usize, Vec<Array2<f64>>>;

/// Reads texts and runs, and samples every trial.
pub(super) fn read(plan: &Plan, trials: &TrialsPlan, watch: &dyn Watch, found: &mut Findings) -> Option<Inputs> {
    let table = found.keep(Table::read(&plan.stimuli_path));
    let texts = table.as_ref().and_then(|table| {
        found.input("stimuli", &plan.stimuli_path, table.digest());
        found.keep(texts(plan, trials, table))
    });
    let runs = runs::read(trials, watch, found);
    let (table, texts, (targets, runs)) = (table?, texts?, runs?);
    warn(&runs, found);
    let mut subjects: Vec<(SubjectId, Samples)> = Vec::new();
    for run in &runs {
        let subject = SubjectId::from(run.entities.subject.as_deref().unwrap_or("unnamed"));
        if subjects.last().is_none_or(|(last, _)| *last != subject) {
            subjects.push((subject, Samples::new()));
        }
        let Some(sampled) = found.keep(sample(run, trials, &texts, &plan.stimuli_path.display().to_string())) else {
            continue;
        };
        let (trials_of_run, lost) = sampled;
        let step = run.repetition_time;
        found.warnings.extend(short_run(
            &file_name(Path::new(&run.place)),
            run.y.nrows(),
            step,
            &lost,
            run.events.list.len(),
        ));
        if let Some((_, samples)) = subjects.last_mut() {
            for (text, values) in trials_of_run {
                samples.entry(text).or_default().push(values);
            }
        }
    }
    if !found.problems.is_empty() {
        return None;
    }
    // Subjects who have lost all their trials.
    for (subject, _) in subjects.iter().filter(|(_, samples)| samples.is_empty()) {
        let error = Error::new(Code::Rs12, format!("subject {subject}"), "has no trial within its runs");
        found.leave_out(&error.hint("The subject is left out"));
    }
    subjects.retain(|(_, samples)| !samples.is_empty());

    // Rows: every text that was shown, as often as any one subject saw it, segment by segment.
    let per_segment = trials.sampling.window.is_per_segment();
    let mut rows: Vec<(usize, usize, usize)> = Vec::new();
    for (text, shown) in texts.iter().enumerate() {
        let times = subjects.iter().filter_map(|(_, s)| s.get(&text)).map(Vec::len).max().unwrap_or(0);
        let segments = if per_segment { shown.segments.len() } else { 1 };
        rows.extend((0..times).flat_map(|time| (0..segments).map(move |segment| (text, time, segment))));
    }
    let name = |(text, time, segment): &(usize, usize, usize)| {
        let mut id = texts[*text].id();
        if per_segment {
            id += &format!("/{}", segment + 1);
        }
        // The same text again for the same subject is a row of its own, in the same fold.
        if *time > 0 {
            id += &format!("#{}", time + 1);
        }
        StimulusId::from(id)
    };
    let read_so_far = |(text, _, segment): &(usize, usize, usize)| {
        let whole = texts[*text].segments.len();
        texts[*text].text(if per_segment { segment + 1 } else { whole })
    };
    let ids: Vec<StimulusId> = rows.iter().map(name).collect();
    let confounds = plan.columns.confounds.iter().enumerate();
    let confounds = confounds.map(|(at, c)| (c.clone(), rows.iter().map(|(t, ..)| texts[*t].confounds[at]).collect()));
    let stimuli = Stimuli::of_trials(
        &plan.stimuli_path,
        table.digest(),
        ids.clone(),
        rows.iter().map(read_so_far).collect(),
        rows.iter().map(|(t, ..)| texts[*t].group.clone()).collect(),
        confounds.collect(),
    );
    let mut responses = Vec::new();
    for (subject, samples) in subjects {
        let present = rows.iter().zip(&ids).filter_map(|((text, time, segment), id)| {
            Some((id.clone(), samples.get(text)?.get(*time)?.row(*segment).to_owned()))
        });
        let (own, values): (Vec<StimulusId>, Vec<Array1<f64>>) = present.unzip();
        let views: Vec<_> = values.iter().map(|v| v.view().insert_axis(Axis(0))).collect();
        // INVARIANT: all rows have one value per target.
        let y = concatenate(Axis(0), &views).expect("rows of equal length");
        let place = format!("runs of subject {subject}");
        responses.extend(found.keep(Responses::new(subject, own, y, &targets, plan.responses.missing, place)));
    }
    let shared: Arc<[StimulusId]> = ids.into();
    let design = design(&texts, &rows, per_segment, &stimuli, found)?;
    let named = plan.columns.confounds.iter().cloned();
    Some(Inputs {
        design,
        text_of_row: stimuli.distinct_texts().1,
        whole: None,
        confounds: features::confounds(&stimuli, &shared),
        confound_names: [WORDS, CHARACTERS].map(str::to_owned).into_iter().chain(named).collect(),
        responses: Some((targets, responses)),
        stimuli,
    })
}

/// The vectors of whole texts, or of their segments with what was before as context.
fn design(
    texts: &[Shown],
    rows: &[(usize, usize, usize)],
    per_segment: bool,
    stimuli: &Stimuli,
    found: &mut Findings,
) -> Option<Design> {
    if !per_segment {
        return Some(Design { parts: None, rows: Rows::Vectors(stimuli.distinct_texts().1) });
    }
    // Only texts that were shown run through a checkpoint.
    let mut begins: HashMap<usize, usize> = HashMap::new();
    let (mut segments, mut total) = (Vec::new(), 0);
    for (text, ..) in rows {
        begins.entry(*text).or_insert_with(|| {
            segments.push(texts[*text].segments.clone());
            total += texts[*text].segments.len();
            total - texts[*text].segments.len()
        });
    }
    let parts = found.keep(Parts::segments(&segments))?;
    let of_row = rows.iter().map(|(text, _, segment)| begins[text] + segment).collect();
    Some(Design { parts: Some(parts), rows: Rows::Vectors(of_row) })
}

/// The texts that trials may have shown.
fn texts(plan: &Plan, trials: &TrialsPlan, table: &Table) -> std::result::Result<Vec<Shown>, Vec<Error>> {
    let columns = &plan.columns;
    if let Some(composed) = &trials.composed {
        return composed.texts(table, &columns.id, columns.group.as_deref(), &columns.confounds);
    }
    let (stimuli, _) = Stimuli::from_table(table, columns)?;
    let one = |(row, id): (usize, &StimulusId)| Shown {
        item: id.to_string(),
        version: None,
        segments: vec![stimuli.texts()[row].clone()],
        group: format!("group-{}", stimuli.groups()[row]),
        confounds: stimuli.confounds().iter().map(|(_, values)| values[row]).collect(),
    };
    Ok(stimuli.ids().iter().enumerate().map(one).collect())
}

/// Oddities of the events, and runs that resemble each other.
fn warn(runs: &[Run], found: &mut Findings) {
    for run in runs {
        found.warnings.extend(run.events.warnings.iter().cloned());
    }
    let pairs: Vec<(String, &Events)> = runs.iter().map(|r| (twin_group(&r.entities), &r.events)).collect();
    found.warnings.extend(twins(&pairs).iter().map(|t| twin_warning(t, &|run| runs[run].entities.label())));
}

/// For each trial of a run that it holds the text and the responses; and the trials that it does not hold.
type Sampled = (Vec<(usize, Array2<f64>)>, Vec<usize>);

fn sample(run: &Run, plan: &TrialsPlan, texts: &[Shown], stimuli: &str) -> std::result::Result<Sampled, Vec<Error>> {
    let shown = text_of_trials(&run.events, plan, texts, stimuli)?;
    let (step, volumes) = (run.repetition_time, run.y.nrows());
    let events = &run.events.list;
    let holds = |t: &usize| plan.sampling.is_within(events[*t].onset, events[*t].duration, step, volumes);
    let (held, lost): (Vec<usize>, Vec<usize>) = (0..events.len()).partition(holds);
    if plan.sampling.window == Window::Beta {
        let times: Vec<(f64, f64)> = events.iter().map(|e| (e.onset, e.duration)).collect();
        let betas = trial_betas(run.y.view(), &times, &held, step, &run.place).map_err(|e| vec![e])?;
        let rows = betas.axis_iter(Axis(0)).map(|row| row.to_owned().insert_axis(Axis(0)));
        return Ok((held.iter().map(|t| shown[*t]).zip(rows).collect(), lost));
    }
    let mean = |volumes: &[i64]| -> Array1<f64> {
        let mut sum = Array1::zeros(run.y.ncols());
        // Within the run: only such trials are sampled.
        volumes.iter().for_each(|v| sum += &run.y.row(*v as usize));
        sum / volumes.len() as f64
    };
    let one = |t: &usize| {
        let samples = plan.sampling.samples(events[*t].onset, events[*t].duration, step);
        let mut values = Array2::zeros((samples.len(), run.y.ncols()));
        for (mut row, sample) in values.rows_mut().into_iter().zip(&samples) {
            row.assign(&mean(&sample.volumes));
        }
        (shown[*t], values)
    };
    Ok((held.iter().map(one).collect(), lost))
}

/// The text that each trial showed.
///
/// # Errors
/// `EV-08` for items and conditions that name none, all at once.
fn text_of_trials(
    events: &Events,
    plan: &TrialsPlan,
    texts: &[Shown],
    stimuli: &str,
) -> std::result::Result<Vec<usize>, Vec<Error>> {
    let index: HashMap<String, usize> = texts.iter().enumerate().map(|(at, text)| (text.id(), at)).collect();
    let (mut shown, mut unknown, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
    for event in &events.list {
        let item = event.item.clone().unwrap_or_else(|| "n/a".to_owned());
        let version = match &plan.composed {
            Some(composed) => composed.version_of(event.condition.as_deref()),
            None => Ok(None),
        };
        match version {
            Err(condition) => conditions.push(condition),
            Ok(version) => {
                let id = version.map_or_else(|| item.clone(), |v| format!("{item}-{v}"));
                match index.get(&id) {
                    Some(text) => shown.push(*text),
                    None => unknown.push(item),
                }
            }
        }
    }
    let mut problems = Vec::new();
    let place = events.path.display();
    if !unknown.is_empty() {
        let found =
            format!("{} trials show items that {stimuli} does not have: {}", unknown.len(), first_five(&unknown));
        problems.push(Error::new(Code::Ev08, place, found).expected("items of the stimuli table"));
    }
    if !conditions.is_empty() {
        conditions.sort_unstable();
        conditions.dedup();
        let found = format!("has conditions that belong to no version: {}", first_five(&conditions));
        problems.push(
            Error::new(Code::Ev08, events.path.display(), found)
                .expected("conditions of [stimuli.versions]")
                .hint("Name them there, or choose the task: [responses] task = \"…\""),
        );
    }
    if problems.is_empty() { Ok(shown) } else { Err(problems) }
}
