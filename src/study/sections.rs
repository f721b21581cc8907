//! The sections of `study.toml` that concern runs in time: words, volumes, events.

use serde::Deserialize;

use crate::bold::Window;
use crate::features::Method;

/// What the stimuli are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StimuliKind {
    /// A table of texts, a row each.
    #[default]
    Texts,
    /// The words of a narrative with their times; rows are volumes.
    Words,
    /// A table whose columns are composed to texts.
    Composed,
}

/// Where the responses come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponsesKind {
    /// Tables or arrays with a row per stimulus.
    #[default]
    Table,
    /// A series of volumes per subject.
    Series,
    /// Parcellated runs in tars, as `learning-from-brains` publishes them.
    Tars,
    /// BOLD runs that a table lists.
    Bold,
    /// The BOLD runs of a BIDS dataset or its derivatives.
    Bids,
}

/// `[series]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct SeriesSection {
    /// Seconds between volumes, or rows.
    pub tr: f64,
    /// Longest delay of features that are given, in seconds.
    pub longest_delay: Option<f64>,
    /// When the first volume begins, on the words' clock (s).
    #[serde(default)]
    pub first_volume: f64,
    /// First volume of each run.
    #[serde(default)]
    pub run_starts: Vec<usize>,
    /// From words to volumes.
    pub method: Option<Method>,
    /// Delays (s).
    pub delays: Option<Vec<f64>>,
}

/// `[events]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct EventsSection {
    /// Column that names the text.
    pub item: Option<String>,
    /// Column that names the condition.
    pub condition: Option<String>,
    /// Which volumes stand for a trial.
    pub window: Option<Window>,
    /// Seconds to the response.
    pub lag: Option<f64>,
    /// How long each segment is shown (s).
    #[serde(default)]
    pub durations: Vec<f64>,
}
