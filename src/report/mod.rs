//! A finished run in words: one HTML page without network, the same as Markdown, and a few lines for the terminal.
//!
//! Everything is read off the [`RunRecord`]; no score is computed here. Labels, ids and file names come from
//! strangers and are written through one escaping type.

mod audit;
mod batch;
mod ceiling;
mod combined;
mod findings;
mod inference;
mod markdown;
mod markup;
mod methods;
mod metrics;
mod number;
mod page;
mod provenance;
mod regions;
mod results;
mod rois;
mod summary;
mod table;
mod terminal;
mod verdict;

pub use findings::{BestLayer, Findings, LargestDifference, PlantedOutcome};
pub use verdict::Verdict;

use crate::plot::Figures;
use crate::record::RunRecord;

/// The report of a run: one self-contained HTML file with the figures inside.
pub fn html(record: &RunRecord, figures: &Figures) -> String {
    page::page(record, figures)
}

/// The same report as Markdown that GitHub renders; it shows the figures' files beside it.
pub fn markdown(record: &RunRecord, figures: &Figures) -> String {
    markdown::document(page::document(record, figures).nodes())
}

/// The summary of a run for a terminal, without a line end after the last line.
///
/// Control characters of labels are shown, never sent.
pub fn text_summary(record: &RunRecord) -> String {
    terminal::summary(record)
}
