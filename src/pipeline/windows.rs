//! Which volumes stand for which trial: what users check their timing with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bold::{Entities, EventColumns, Events, Sample, Sampling, Twins, twins};
use crate::error::{Code, Error, Problems, Result, Warning, first_five};
use crate::io::file_name;

/// What events files are called.
const EVENTS_NAME: &str = "_events.tsv";

/// What is asked.
#[derive(Debug, Clone)]
pub struct WindowsSpec {
    /// Events files, or folders below which every `*_events.tsv` counts.
    pub events: Vec<PathBuf>,
    /// Which columns hold what.
    pub columns: EventColumns,
    /// Seconds between volumes.
    pub repetition_time: f64,
    /// Volumes of the run; none: as many as the trials need.
    pub volumes: Option<usize>,
    /// How trials are sampled.
    pub sampling: Sampling,
}

/// One events file.
#[derive(Debug)]
pub struct RunWindows {
    /// What its name says.
    pub entities: Entities,
    /// Its events.
    pub events: Events,
    /// For each event its samples.
    pub samples: Vec<Vec<Sample>>,
    /// Events whose samples the run does not hold, from 0.
    pub lost: Vec<usize>,
}

/// Counts of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct TaskCounts {
    /// Events files.
    pub files: usize,
    /// Trials.
    pub trials: usize,
    /// Onsets written as volumes.
    pub bracketed_onsets: usize,
    /// Trials without a button press.
    pub without_key: usize,
    /// Trials that the run does not hold.
    pub lost: usize,
}

/// All that was asked for.
#[derive(Debug)]
pub struct WindowsFound {
    /// File by file, in the order of subjects, tasks and runs.
    pub runs: Vec<RunWindows>,
    /// Task by task.
    pub tasks: BTreeMap<String, TaskCounts>,
    /// Runs that resemble each other.
    pub twins: Vec<Twins>,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

/// The windows of all trials of all files.
///
/// # Errors
/// The problems of all files at once.
pub fn windows(spec: &WindowsSpec) -> std::result::Result<WindowsFound, Problems> {
    if !(spec.repetition_time.is_finite() && spec.repetition_time > 0.0) {
        return Err(Error::new(Code::Fl02, "--tr", spec.repetition_time).expected("seconds, above 0").into());
    }
    spec.sampling.check("--window")?;
    let mut files = Vec::new();
    for path in &spec.events {
        if path.is_dir() { below(path, &mut files)? } else { files.push(path.clone()) }
    }
    if files.is_empty() {
        let place = spec.events.first().map_or(String::new(), |p| p.display().to_string());
        return Err(Error::new(Code::Od05, place, "holds no *_events.tsv").into());
    }
    let (mut runs, mut problems) = (Vec::new(), Vec::new());
    for path in &files {
        match run(spec, path) {
            Ok(run) => runs.push(run),
            Err(e) => problems.push(e),
        }
    }
    Problems::check(problems)?;
    runs.sort_by(|a, b| a.entities.order().cmp(&b.entities.order()));
    let mut tasks: BTreeMap<String, TaskCounts> = BTreeMap::new();
    let mut warnings: Vec<Warning> = Vec::new();
    for run in &runs {
        let counts = tasks.entry(run.entities.task.clone().unwrap_or_default()).or_default();
        counts.files += 1;
        counts.trials += run.events.list.len();
        counts.bracketed_onsets += run.events.bracketed();
        counts.without_key += run.events.without_key();
        counts.lost += run.lost.len();
        warnings.extend(run.events.warnings.iter().cloned());
        if let Some(volumes) = spec.volumes {
            let name = file_name(&run.events.path);
            warnings.extend(short_run(&name, volumes, spec.repetition_time, &run.lost, run.events.list.len()));
        }
    }
    let pairs: Vec<(String, &Events)> = runs.iter().map(|r| (twin_group(&r.entities), &r.events)).collect();
    let twins = twins(&pairs);
    warnings.extend(twins.iter().map(|t| twin_warning(t, &|run| runs[run].entities.label())));
    Ok(WindowsFound { runs, tasks, twins, warnings })
}

fn run(spec: &WindowsSpec, path: &Path) -> Result<RunWindows> {
    let tr = spec.repetition_time;
    let events = Events::read(path, &spec.columns, tr)?;
    if let Some(volumes) = spec.volumes {
        events.check_run(volumes as f64 * tr)?;
    }
    let samples: Vec<Vec<Sample>> =
        events.list.iter().map(|e| spec.sampling.samples(e.onset, e.duration, tr)).collect();
    let within = |i: &usize| {
        let event = &events.list[*i];
        spec.sampling.is_within(event.onset, event.duration, tr, spec.volumes.unwrap_or(i32::MAX as usize))
    };
    let lost = (0..events.list.len()).filter(|i| !within(i)).collect();
    Ok(RunWindows { entities: Entities::of(path), events, samples, lost })
}

/// Runs are compared within a subject, session and task.
pub(super) fn twin_group(entities: &Entities) -> String {
    Entities { run: None, ..entities.clone() }.label()
}

/// Two runs of one subject that were shown the same.
pub(super) fn twin_warning(twins: &Twins, label: &dyn Fn(usize) -> String) -> Warning {
    let (first, second) = (label(twins.runs.0), label(twins.runs.1));
    let what = if twins.identical { "have identical events" } else { "show the same items in the same order" };
    Warning::new(
        "EV-11",
        format!("{first} and {second} {what}: one of the files may be a copy; both are kept unless one is excluded"),
    )
}

/// A run that ends before its trials do.
pub(super) fn short_run(place: &str, volumes: usize, tr: f64, lost: &[usize], trials: usize) -> Option<Warning> {
    (!lost.is_empty()).then(|| {
        Warning::new(
            "EV-10",
            format!(
                "{place}: the run has {volumes} volumes ({} s), too few for {} of its {trials} trials; lost: trials {}",
                volumes as f64 * tr,
                lost.len(),
                first_five(lost.iter().map(|t| t + 1))
            ),
        )
    })
}

/// Every events file below a folder.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |e| Error::io(folder.display(), "listing", e);
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type().map_err(fail)?.is_dir() {
            below(&entry.path(), found)?;
        } else if entry.file_name().to_string_lossy().ends_with(EVENTS_NAME) {
            found.push(entry.path());
        }
    }
    Ok(())
}
