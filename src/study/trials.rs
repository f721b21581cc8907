//! A study of trials in runs: where runs and events are, how events name texts, which volumes stand for a trial.

use std::path::{Path, PathBuf};

use super::sections::{ResponsesKind, StimuliKind};
use super::spec::StudySpec;
use crate::bold::{Cleaning, EventColumns, Filter, Sampling, Selection, Standardize, Strategy, Window};
use crate::error::{Code, Error, Result};
use crate::missing::MissingValues;
use crate::stimuli::{Composition, VERSION};

/// Lag, when the study does not say (s).
const DEFAULT_LAG: f64 = 6.0;

/// Runs with trials.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialsPlan {
    /// Where the runs are.
    pub source: RunSource,
    /// Task whose runs are taken; all when there is one.
    pub task: Option<String>,
    /// Subjects in the order of the study; all that are found when it names none.
    pub subjects: Option<Vec<String>>,
    /// Runs left out, as `sub-14_task-dis_run-6`.
    pub exclude: Vec<String>,
    /// Seconds between volumes, where files do not say or say it wrong.
    pub repetition_time: Option<f64>,
    /// Columns of the events.
    pub events: EventColumns,
    /// What is done with targets whose values are missing.
    pub missing: MissingValues,
    /// Which volumes stand for a trial.
    pub sampling: Sampling,
    /// How texts are composed; none when the stimuli table holds them.
    pub composed: Option<Composition>,
}

/// Where runs come from.
#[derive(Debug, Clone, PartialEq)]
pub enum RunSource {
    /// A folder of tars.
    Tars(PathBuf),
    /// A table of BOLD runs.
    Bold {
        /// Columns `subject`, `run`, `bold`, `events`, and `mask`, `confounds` where there are any.
        table: PathBuf,
        /// How they become parcels.
        parcels: Box<ParcelsPlan>,
    },
    /// A BIDS dataset.
    Bids {
        /// Its root.
        root: PathBuf,
        /// Space of the images.
        space: Option<String>,
        /// How they become parcels.
        parcels: Box<ParcelsPlan>,
    },
}

/// How BOLD becomes parcels.
#[derive(Debug, Clone, PartialEq)]
pub struct ParcelsPlan {
    /// Maps or labels.
    pub atlas: PathBuf,
    /// Names of the parcels.
    pub labels: Option<PathBuf>,
    /// Mask for all runs.
    pub mask: Option<PathBuf>,
    /// Confounds that are removed.
    pub selection: Option<Selection>,
    /// Smoothing (mm).
    pub smoothing: Option<f64>,
    /// What is done to the series.
    pub cleaning: Cleaning,
}

/// What the study says of runs with trials, if it has any; what is wrong with it goes to `problems`.
pub(super) fn planned(
    spec: &StudySpec,
    drop_nan_parcels: bool,
    folder: &Path,
    study: &Path,
    problems: &mut Vec<Error>,
) -> Option<TrialsPlan> {
    let refuse = |found: String, hint: &str| Error::new(Code::Rc01, study.display(), found).hint(hint);
    let section = &spec.responses;
    let of_runs = matches!(section.kind, ResponsesKind::Tars | ResponsesKind::Bold | ResponsesKind::Bids);
    if !of_runs {
        if spec.events.is_some() {
            problems
                .push(refuse("[events] without runs".to_owned(), "Write [responses] kind = \"tars\", bold or bids"));
        }
        if spec.stimuli.kind == StimuliKind::Composed {
            problems.push(refuse(
                "[stimuli] kind = \"composed\" needs trials that show the texts".to_owned(),
                "Write [responses] kind = \"tars\", bold or bids",
            ));
        }
        return None;
    }
    let mut need = |value: &Option<String>, key: &str| match value {
        Some(path) => folder.join(path),
        None => {
            problems.push(refuse(format!("[responses] has no {key}"), &format!("Write {key} = \"…\"")));
            PathBuf::new()
        }
    };
    let source = match section.kind {
        ResponsesKind::Tars => RunSource::Tars(need(&section.folder, "folder")),
        ResponsesKind::Bold => RunSource::Bold {
            table: need(&section.table, "table"),
            parcels: Box::new(parcels(spec, need(&section.atlas, "atlas"), folder)),
        },
        _ => RunSource::Bids {
            root: need(&section.folder, "folder"),
            space: section.space.clone(),
            parcels: Box::new(parcels(spec, need(&section.atlas, "atlas"), folder)),
        },
    };
    let events = spec.events.clone().unwrap_or_default();
    let sampling = Sampling {
        window: events.window.unwrap_or(Window::Last),
        lag: events.lag.unwrap_or(DEFAULT_LAG),
        segments: events.durations,
    };
    if let Err(e) = sampling.check(&format!("{}, [events]", study.display())) {
        problems.push(e.under(Code::Rc01));
    }
    let stimuli = &spec.stimuli;
    let composed = (stimuli.kind == StimuliKind::Composed).then(|| Composition {
        segments: stimuli.segments.clone(),
        versions: stimuli.versions.clone(),
        swapped: stimuli.swapped.iter().map(cell).collect(),
    });
    if let Some(composed) = &composed {
        problems.extend(check_composed(composed, &sampling, study));
    } else if sampling.window.is_per_segment() {
        problems.push(refuse(
            format!("[events] window = \"{}\" needs texts composed of segments", sampling.window),
            "Write [stimuli] kind = \"composed\"",
        ));
    }
    problems.extend(strategies(spec).err());
    Some(TrialsPlan {
        source,
        task: section.task.clone(),
        subjects: section.subjects.clone(),
        exclude: section.exclude.clone(),
        repetition_time: section.tr,
        events: EventColumns { item: events.item, condition: events.condition, ..EventColumns::usual() },
        missing: section.missing(drop_nan_parcels),
        sampling,
        composed,
    })
}

fn check_composed(composed: &Composition, sampling: &Sampling, study: &Path) -> Vec<Error> {
    let refuse = |found: String, hint: &str| Error::new(Code::Rc01, study.display(), found).hint(hint);
    let mut problems = Vec::new();
    if composed.segments.is_empty() {
        problems.push(refuse("[stimuli] composed of nothing".to_owned(), "Write segments = [\"column\", …]"));
    }
    if composed.segments.iter().any(|s| s == VERSION) == composed.versions.is_empty() {
        problems.push(refuse(
            "[stimuli] {version} and [stimuli.versions] belong together".to_owned(),
            "Name the version's column among the segments, and which conditions showed it",
        ));
    }
    if !composed.swapped.is_empty() && composed.versions.len() != 2 {
        problems.push(refuse(
            format!("[stimuli] swapped with {} versions", composed.versions.len()),
            "Only two versions can change places",
        ));
    }
    let mut conditions: Vec<&String> = composed.versions.values().flatten().collect();
    conditions.sort_unstable();
    if let Some(twice) = conditions.windows(2).find(|w| w[0] == w[1]) {
        problems.push(refuse(format!("[stimuli.versions] names condition {:?} twice", twice[0]), "Name it once"));
    }
    let (n, shown) = (composed.segments.len(), sampling.segments.len());
    if shown > 0 && shown != n {
        problems.push(refuse(
            format!("[events] has {shown} durations for {n} segments of a text"),
            "Give one duration per segment",
        ));
    }
    problems
}

/// An id as text, whether it was written 50 or "50".
fn cell(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn strategies(spec: &StudySpec) -> Result<Option<Selection>> {
    let section = &spec.responses;
    Ok(match (&section.strategy, &section.confound_columns) {
        (Some(names), _) => Some(Selection::Strategies(Strategy::parse_list(names)?)),
        (None, Some(columns)) => Some(Selection::Columns(columns.clone())),
        (None, None) => None,
    })
}

fn parcels(spec: &StudySpec, atlas: PathBuf, folder: &Path) -> ParcelsPlan {
    let section = &spec.responses;
    let file = |name: &Option<String>| name.as_ref().map(|n| folder.join(n));
    ParcelsPlan {
        atlas,
        labels: file(&section.labels),
        mask: file(&section.mask),
        selection: strategies(spec).ok().flatten(),
        smoothing: section.smooth,
        cleaning: Cleaning {
            detrend: section.detrend,
            high_pass: section.high_pass,
            filter: section.filter.unwrap_or(Filter::Butterworth),
            standardize: section.standardize.unwrap_or(Standardize::None),
        },
    }
}
