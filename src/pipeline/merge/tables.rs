//! Tables of several runs as one: rows of what is kept of each, under its new label.

use std::path::Path;

use super::Run;
use super::labels::Labels;
use crate::error::{Result, Warning};
use crate::features::CONFOUNDS;
use crate::io::table::{Number, Output, OutputTable, Table, write_batches};
use crate::io::{atomic, disk};

/// A table with a column `checkpoint`: its name, its other columns of text, and those of whole numbers.
type Kind = (&'static str, &'static [&'static str], &'static [&'static str]);

const SCORES: Kind = ("scores", &["subject", "target", "undefined", LEAKY], &["layer", "n"]);
/// Tables that a run may have, region by region and without.
const OTHERS: [Kind; 2] = [
    ("targets", &["score", "target", "undefined", LEAKY], &["layer", "n_subjects"]),
    ("normalised", &["target", "normalised_score", "undefined", LEAKY], &["layer"]),
];
const REGIONS: [Kind; 2] = [
    ("rois", &["roi", "subject", "undefined", LEAKY], &["layer"]),
    ("roi_summary", &["layer", "roi", "score", "ceiling_kind", "undefined", LEAKY], &[]),
];
/// Tables that say nothing of checkpoints: all runs have the same.
const SAME: [&str; 1] = ["ceilings"];
const SAME_REGIONS: [&str; 2] = ["roi_matrix", "roi_overlap"];
const LEAKY: &str = "leaky_folds";

/// Writes every table that all runs have; `regions` where they have the same regions.
///
/// # Errors
/// Those of reading and writing tables.
pub(super) fn write(folder: &Path, runs: &[Run], labels: &Labels, regions: bool) -> Result<()> {
    let scores: Vec<&Table> = runs.iter().map(|r| &r.scores.table).collect();
    joined(folder, SCORES, &scores, &labels.kept)?;
    let regional = REGIONS.iter().filter(|_| regions);
    for kind in OTHERS.iter().chain(regional) {
        let paths: Vec<_> = runs.iter().map(|r| r.folder.join(format!("{}.parquet", kind.0))).collect();
        if paths.iter().all(|p| p.is_file()) {
            let tables = paths.iter().map(|p| Table::read(p)).collect::<Result<Vec<_>>>()?;
            joined(folder, *kind, &tables.iter().collect::<Vec<_>>(), &labels.kept)?;
        }
    }
    for name in SAME.iter().chain(SAME_REGIONS.iter().filter(|_| regions)) {
        for end in ["csv", "parquet"] {
            let file = format!("{name}.{end}");
            let (from, to) = (runs[0].folder.join(&file), folder.join(&file));
            if from.is_file() {
                disk::copy(&from, &to).map_err(|e| atomic::write_error(&to, "copying to", e))?;
            }
        }
    }
    Ok(())
}

/// What the merged run says of tables that it lacks.
pub(super) fn lacking(regions: bool, runs: &[Run]) -> Option<Warning> {
    let have = runs.iter().any(|r| r.record.comparison.rois.is_some());
    (have && !regions).then(|| Warning::new("RR-04", "the runs have not the same regions: nothing is said of any"))
}

/// `stem.csv` and `stem.parquet`.
fn joined(folder: &Path, (stem, texts, whole): Kind, runs: &[&Table], kept: &[Vec<(String, String)>]) -> Result<()> {
    let Some(first) = runs.first() else { return Ok(()) };
    let columns: Vec<String> = first.names().map(str::to_owned).collect();
    write_batches(folder, stem, |append| {
        for (at, (table, kept)) in runs.iter().zip(kept).enumerate() {
            let labels = table.required_texts("checkpoint")?;
            let here = |label: &String| match kept.iter().find(|(there, _)| there == label) {
                Some((_, here)) => Some(here.clone()),
                // The confounds are those of all runs, and no checkpoint.
                None => (at == 0 && label == CONFOUNDS).then(|| label.clone()),
            };
            let rows: Vec<(usize, String)> =
                labels.iter().enumerate().filter_map(|(row, label)| Some((row, here(label)?))).collect();
            if rows.is_empty() {
                continue;
            }
            let own: Vec<String> = rows.iter().map(|(_, label)| label.clone()).collect();
            let mut out = OutputTable::new(vec![("checkpoint", Output::Text(own))]);
            for name in columns.iter().filter(|c| *c != "checkpoint") {
                let values = if texts.contains(&name.as_str()) {
                    let all = if table.has(name) { table.texts(name)? } else { vec![None; table.rows()] };
                    Output::Text(rows.iter().map(|(row, _)| all[*row].clone().unwrap_or_default()).collect())
                } else if !table.has(name) {
                    Output::Real(vec![None; rows.len()])
                } else if whole.contains(&name.as_str()) {
                    let all = table.finite_numbers(name)?;
                    Output::Integer(rows.iter().map(|(row, _)| all[*row] as i64).collect())
                } else {
                    let all = table.numbers(name)?;
                    let finite = |row: usize| if let Number::Finite(v) = all[row] { Some(v) } else { None };
                    Output::Real(rows.iter().map(|(row, _)| finite(*row)).collect())
                };
                out.push(name.clone(), values);
            }
            append(&out)?;
        }
        Ok(())
    })
}
