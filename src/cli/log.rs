//! `--log FILE`: what a run did and when, for jobs that nobody watches. Lines are appended, so that the parts of a job may share a
//! file; times are UTC. Nothing is computed from them.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::compute::cpu::peak_memory;
use crate::error::{Code, Error, Result};
use crate::io::disk;
use crate::visible::visible;

struct Log {
    file: Mutex<File>,
    started: Instant,
    /// The stage that has begun, and when.
    stage: Mutex<Option<(String, Instant)>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log of this process.
///
/// # Errors
/// `OD-02` when the file cannot be written.
pub(super) fn open(path: &Path) -> Result<()> {
    let refused = |e: std::io::Error| {
        Error::new(Code::Od02, path.display(), format!("cannot be written: {e}")).hint("Choose another --log").source(e)
    };
    let file = disk::open_to_append(path).map_err(refused)?;
    let log = Log { file: Mutex::new(file), started: Instant::now(), stage: Mutex::new(None) };
    // One process, one log: `open` is called once.
    LOG.set(log).ok();
    let command: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    line(&format!(
        "brainscore {} (process {}) begins: {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        command.join(" ")
    ));
    Ok(())
}

/// Appends a line, if there is a log. A log that cannot be written any more is no reason to stop.
fn line(text: &str) {
    let Some(log) = LOG.get() else { return };
    let Ok(mut file) = log.file.lock() else { return };
    // In one write: other processes append to the same file.
    let whole = format!("{}  {}\n", utc(SystemTime::now()), visible(text));
    file.write_all(whole.as_bytes()).ok();
}

/// Appends what people are told. Its further lines are marked: a name that holds line ends makes no lines of its own.
pub(super) fn note(text: &str) {
    for (number, part) in text.split('\n').enumerate() {
        line(&format!("{}{part}", if number == 0 { "" } else { "| " }));
    }
}

/// A stage begins; the one before it is over.
pub(super) fn begin(stage: &str, unit: &str, total: u64) {
    let Some(log) = LOG.get() else { return };
    end();
    line(&format!("{stage} begins: {total} {unit}"));
    if let Ok(mut slot) = log.stage.lock() {
        *slot = Some((stage.to_owned(), Instant::now()));
    }
}

/// The stage that has begun, if any, is over.
pub(super) fn end() {
    let Some(log) = LOG.get() else { return };
    let over = log.stage.lock().ok().and_then(|mut slot| slot.take());
    if let Some((stage, since)) = over {
        line(&format!("{stage} ends after {:.1} s{}", since.elapsed().as_secs_f64(), memory()));
    }
}

/// The process is about to end.
pub(super) fn close(status: u8) {
    let Some(log) = LOG.get() else { return };
    line(&format!("ends with status {status} after {:.1} s{}", log.started.elapsed().as_secs_f64(), memory()));
}

/// The most memory so far, where the system says.
fn memory() -> String {
    peak_memory().map_or(String::new(), |bytes| format!(", {} MiB of memory at most", bytes >> 20))
}

/// `2026-11-22T03:14:15Z`.
fn utc(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_second() {
        let at = |seconds: u64| utc(std::time::UNIX_EPOCH + std::time::Duration::from_millis(seconds * 1000 + 7));
        assert_eq!(at(1_795_317_255), "2026-11-22T03:14:15Z");
    }
}
