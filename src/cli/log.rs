//! `--log FILE`: what a run did and when, for jobs that nobody watches. Lines are appended, so that the parts of a job may share a
//! file; times are UTC. Nothing is computed from them.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// `2026-11-22T03:14:15Z`. The calendar of days since 1970 is that of Howard Hinnant's `civil_from_days`: years begin in March, so
/// that the odd day comes last.
fn utc(time: SystemTime) -> String {
    // A clock before 1970 is wrong anyway.
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_795_317_255), "2026-11-22T03:14:15Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
