//! Figures and pages of a run, from its record alone.

use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::{atomic, bounded};
use crate::plot::Figures;
use crate::record::{FORMAT, RunRecord};
use crate::report;

/// Largest `run.json` that is read back (1 GiB).
const MAX_RECORD_BYTES: u64 = 1 << 30;

/// Writes figures and report of a run into `folder`.
pub(super) fn write(record: &RunRecord, folder: &Path) -> Result<()> {
    let mut figures = Figures::draw(record)?;
    figures.brains = super::maps::pictures(folder)?;
    for (name, figure) in figures.named() {
        atomic::write(&folder.join(format!("{name}.svg")), figure.svg.as_bytes())?;
        atomic::write(&folder.join(format!("{name}.png")), &figure.png)?;
    }
    atomic::write(&folder.join("report.md"), report::markdown(record, &figures).as_bytes())?;
    atomic::write(&folder.join("report.html"), report::html(record, &figures).as_bytes())
}

/// Writes `run.json`.
pub(super) fn write_record(record: &RunRecord, folder: &Path) -> Result<()> {
    let path = folder.join("run.json");
    let mut text = serde_json::to_vec_pretty(record)
        .map_err(|e| Error::new(Code::Io01, path.display(), format!("cannot be written: {e}")).source(e))?;
    text.push(b'\n');
    atomic::write(&path, &text)
}

/// Rebuilds figures and pages of a finished run from its `run.json`; computes nothing.
///
/// # Errors
/// `OD-05` when there is no run, `RR-01` when its record cannot be understood.
pub fn rebuild(folder: &Path) -> Result<RunRecord> {
    let (record, _) = read(folder)?;
    write(&record, folder)?;
    Ok(record)
}

/// Reads the record of a finished run.
pub(super) fn read(folder: &Path) -> Result<(RunRecord, Digest)> {
    let path = folder.join("run.json");
    if !folder.is_dir() {
        return Err(Error::new(Code::Od05, folder.display(), "is no directory").expected("a finished run"));
    }
    let (text, digest) = bounded::read_text(&path, MAX_RECORD_BYTES, "a run record", Code::Rr01)?;
    let unreadable = |e: serde_json::Error| {
        Error::new(Code::Rr01, path.display(), format!("cannot be understood: {e}"))
            .expected(format!("the record of a run, format {FORMAT}"))
            .source(e)
    };
    let format: FormatOnly = serde_json::from_str(&text).map_err(unreadable)?;
    if format.format != FORMAT {
        return Err(Error::new(Code::Rr01, path.display(), format!("has format {}", format.format))
            .expected(format!("format {FORMAT}"))
            .hint("Use the version of brainscore that wrote it"));
    }
    Ok((serde_json::from_str(&text).map_err(unreadable)?, digest))
}

#[derive(serde::Deserialize)]
struct FormatOnly {
    format: u32,
}
