use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Code, Error, Result, Warning};
use crate::io::bounded;
use crate::io::nifti::{Header, stem};

/// Two times that differ by more than this (s) disagree.
const TOLERANCE: f64 = 1e-3;
/// No run has so long a time between volumes (s): such a number is milliseconds.
const LONGEST: f64 = 60.0;

/// Seconds between the volumes of a run: as given, else from the BIDS sidecar (`RepetitionTime`) and the header, which
/// must agree. `None` when neither says; a given value that differs from them is used with a warning.
///
/// # Errors
/// `NI-18` when header and sidecar disagree, or when a time looks like milliseconds.
pub fn repetition_time(
    path: &Path,
    header: &Header,
    given: Option<f64>,
    warnings: &mut Vec<Warning>,
) -> Result<Option<f64>> {
    let fail = |found: String| Error::new(Code::Ni18, path.display(), found);
    let sidecar = sidecar(path)?;
    let from_header = header.repetition_time.filter(|s| *s <= LONGEST);
    if let Some(given) = given {
        for (other, what) in [(from_header, "the header"), (sidecar, "the sidecar")] {
            if let Some(other) = other.filter(|o| (o - given).abs() > TOLERANCE) {
                let name = crate::io::file_name(path);
                let text = format!("{name}: --tr says {given} s between volumes, {what} {other} s; --tr is used");
                warnings.push(Warning::new("NI-18", text));
            }
        }
        return Ok(Some(given));
    }
    match (sidecar, header.repetition_time) {
        (Some(seconds), None) => Ok(Some(seconds)),
        (Some(seconds), Some(other)) if (seconds - other).abs() > TOLERANCE => {
            Err(fail(format!("its header says {other} s between volumes, its sidecar {seconds} s"))
                .expected("one time")
                .hint("Say which is right with --tr"))
        }
        (None, Some(seconds)) if seconds > LONGEST => Err(fail(format!("has {} between volumes", header.time_step))
            .expected(format!("at most {LONGEST} s"))
            .hint("It looks like milliseconds under a wrong unit; give the seconds with --tr")),
        (_, seconds) => Ok(seconds),
    }
}

/// `RepetitionTime` of the JSON file beside a run, if there is one.
fn sidecar(path: &Path) -> Result<Option<f64>> {
    let name = crate::io::file_name(path);
    let file: PathBuf = path.with_file_name(format!("{}.json", stem(&name)));
    if !file.is_file() {
        return Ok(None);
    }
    let (text, _) = bounded::read_text(&file, bounded::MAX_DOCUMENT_BYTES, "a sidecar", Code::Ni18)?;
    let document: Value = serde_json::from_str(&text)
        .map_err(|e| Error::new(Code::Ni18, file.display(), format!("is no JSON: {e}")).source(e))?;
    match document.get("RepetitionTime") {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|v| *v > 0.0 && v.is_finite()) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(Error::new(Code::Ni18, file.display(), format!("RepetitionTime is {value}"))
                .expected("seconds, above 0")),
        },
    }
}
