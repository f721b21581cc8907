//! Runs with trials, wherever they come from: series of parcels, the time between volumes, events.

mod bids;
mod parcels;
mod tars;

use ndarray::Array2;

use super::preflight::Findings;
use crate::bold::{Entities, Events};
use crate::ids::TargetId;
use crate::study::{RunSource, TrialsPlan};
use crate::watch::Watch;

/// A run.
pub(super) struct Run {
    /// Whose, which task, which run.
    pub entities: Entities,
    /// Volumes × parcels.
    pub y: Array2<f64>,
    /// Seconds between volumes.
    pub repetition_time: f64,
    /// Its events.
    pub events: Events,
    /// Its file, for messages.
    pub place: String,
}

/// Reads the runs of a study, in the order of its subjects, tasks and runs; with them the names of the parcels.
pub(super) fn read(plan: &TrialsPlan, watch: &dyn Watch, found: &mut Findings) -> Option<(Vec<TargetId>, Vec<Run>)> {
    let (targets, mut runs) = match &plan.source {
        RunSource::Tars(folder) => tars::read(folder, plan, found),
        RunSource::Bids { root, space, parcels } => {
            let listed = bids::list(root, space.as_deref(), plan, found)?;
            parcels::read(listed, parcels, plan, watch, found)
        }
        RunSource::Bold { table, parcels } => {
            let listed = bids::from_table(table, plan, found)?;
            parcels::read(listed, parcels, plan, watch, found)
        }
    }?;
    let place =
        |run: &Run| plan.subjects.as_ref().and_then(|s| s.iter().position(|s| is(s, run.entities.subject.as_deref())));
    runs.sort_by(|a, b| (place(a), a.entities.order()).cmp(&(place(b), b.entities.order())));
    Some((targets, runs))
}

/// Whether a run's subject is the one that a study names, `03` or `sub-03`.
fn is(named: &str, subject: Option<&str>) -> bool {
    subject == Some(named.strip_prefix("sub-").unwrap_or(named))
}

/// Whether a study takes a run.
fn wanted(plan: &TrialsPlan, entities: &Entities) -> bool {
    let subject = plan.subjects.as_ref().is_none_or(|all| all.iter().any(|s| is(s, entities.subject.as_deref())));
    let task = plan.task.is_none() || plan.task == entities.task;
    let label = entities.label();
    let excluded = plan.exclude.iter().any(|e| *e == label || Entities::of(std::path::Path::new(e)).label() == label);
    subject && task && !excluded
}
