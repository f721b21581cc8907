//! How rows came about, in words, for record and report.

use std::fmt::Display;

use crate::features::Method;
use crate::study::{Plan, ResponseTables, RunSource};

/// What the study says of its rows; nothing where they are rows of a table.
pub(super) fn described(plan: &Plan) -> Option<String> {
    match &plan.responses.tables {
        ResponseTables::One { .. } | ResponseTables::PerSubject(_) => None,
        ResponseTables::Series { narrative, .. } => {
            let way = match narrative.method {
                Method::Sum => "summed over the words of a volume",
                Method::Mean => "averaged over the words of a volume",
                Method::Lanczos => "taken to the volumes by Lanczos interpolation (3 lobes, cutoff 1 / TR)",
                Method::Hrf => "convolved with the SPM canonical response",
            };
            let delays = match &narrative.delays[..] {
                [] => String::new(),
                some => format!(", and delayed by {} s within their run", list(some)),
            };
            let starts = match &narrative.run_starts[..] {
                [] => String::new(),
                some => format!("; runs begin at volumes {}", list(some)),
            };
            Some(format!(
                "Rows are volumes, {} s apart, the first at {} s of the words' clock{starts}. A word's vector is the mean over its \
                 own tokens in the context {}; vectors were {way}{delays}. Volumes whose delayed words lie before their run are no rows.",
                narrative.repetition_time, narrative.first_volume, narrative.context
            ))
        }
        ResponseTables::Trials(trials) => {
            let source = match &trials.source {
                RunSource::Tars(_) => "parcellated runs",
                RunSource::Bold { .. } | RunSource::Bids { .. } => "BOLD runs turned into parcels",
            };
            let sampling = &trials.sampling;
            let segments = match &sampling.segments[..] {
                [] => "the text as long as its event".to_owned(),
                some => format!("segments of {} s", list(some)),
            };
            let excluded = match &trials.exclude[..] {
                [] => String::new(),
                some => format!(" Left out by the study: {}.", some.join(", ")),
            };
            Some(format!(
                "Rows are trials of {source}: window {}, lag {} s, {segments}. A text that a subject saw again is a row of its own \
                 in the same group.{excluded}",
                sampling.window, sampling.lag
            ))
        }
    }
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
