use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result, Warning};
use crate::ids::Digest;
use crate::io::bounded::{self, FileBytes};
use crate::io::table::{Number, Table};

/// A last onset that is so many times the run's length is in another unit.
const WRONG_UNIT: f64 = 20.0;

/// Which columns of an events file hold what, beside `onset` and `duration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventColumns {
    /// What was shown: names the text.
    pub item: Option<String>,
    /// How it was shown: names the version of the text.
    pub condition: Option<String>,
    /// The button press.
    pub key: Option<String>,
    /// What stands there when no button was pressed, beside an empty cell and `n/a`.
    pub no_key: Vec<String>,
}

impl EventColumns {
    /// Columns by the names `item`, `condition` (or BIDS' `trial_type`) and `key`, where the file has them; 0 is no key.
    pub fn usual() -> EventColumns {
        EventColumns { item: None, condition: None, key: None, no_key: vec!["0".to_owned()] }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it begins (s, from the start of the first volume).
    pub onset: f64,
    /// How long it lasts (s).
    pub duration: f64,
    /// Whether the onset was written as a volume, such as `[7][7]`.
    pub bracketed: bool,
    /// What was shown.
    pub item: Option<String>,
    /// How it was shown.
    pub condition: Option<String>,
    /// The button press; `None` when there was none. The trial stays: its brain data are not missing.
    pub key: Option<String>,
    /// File and line.
    pub place: String,
}

/// The events of a run, in order of time.
#[derive(Debug, Clone)]
pub struct Events {
    /// The file.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// The events.
    pub list: Vec<Event>,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

impl Events {
    /// Reads a BIDS events file (<https://bids-specification.readthedocs.io>, task events).
    ///
    /// An onset written `[7][7]` is the number of a volume, and lies at 7 · `repetition_time`.
    ///
    /// # Errors
    /// `EV-01` (column, rows), `EV-02` (commas), `EV-03` (ragged, blank line, header twice, open quote), `EV-04` (onset or
    /// duration no number), `EV-05` (negative duration), `EV-09` (encoding).
    pub fn read(path: &Path, columns: &EventColumns, repetition_time: f64) -> Result<Events> {
        let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_TABLE_BYTES, "an events file")?;
        Events::parse(path, &bytes, digest, columns, repetition_time)
    }

    /// Parses the bytes of an events file; `path` is used in messages.
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        digest: Digest,
        columns: &EventColumns,
        repetition_time: f64,
    ) -> Result<Events> {
        let header = bytes.split(|b| matches!(b, b'\n' | b'\r')).next().unwrap_or_default();
        if !header.contains(&b'\t') && header.contains(&b',') {
            return Err(Error::new(Code::Ev02, path.display(), "looks comma-separated")
                .expected("tabs, as BIDS asks for")
                .hint("Save it as tab-separated text"));
        }
        let table = Table::parse(path, bytes, digest, b'\t').map_err(under_events)?;
        let onsets = table.texts("onset").map_err(under_events)?;
        let durations = table.numbers("duration").map_err(under_events)?;
        let column = |named: &Option<String>, usual: &[&str]| match named {
            Some(name) => table.texts(name).map(Some).map_err(under_events),
            None => usual.iter().find(|name| table.has(name)).map(|name| table.texts(name)).transpose(),
        };
        let items = column(&columns.item, &["item"])?;
        let conditions = column(&columns.condition, &["condition", "trial_type"])?;
        let keys = column(&columns.key, &["key"])?;
        let cell = |column: &Option<Vec<Option<String>>>, row: usize| {
            let text = column.as_ref()?[row].as_deref()?.trim();
            (!text.is_empty() && !text.eq_ignore_ascii_case("n/a")).then(|| text.to_owned())
        };
        let mut list = Vec::with_capacity(table.rows());
        for (row, onset) in onsets.iter().enumerate() {
            let text = onset.as_deref().unwrap_or("").trim();
            let place = table.place(row);
            let (onset, bracketed) = parse_onset(text, repetition_time).ok_or_else(|| {
                Error::new(Code::Ev04, &place, format!("holds {text:?} in column \"onset\""))
                    .expected("seconds, or a volume written [7][7]")
            })?;
            let duration = match &durations[row] {
                Number::Finite(seconds) => *seconds,
                Number::Missing(text) | Number::Text(text) => {
                    let found = format!("holds {text:?} in column \"duration\"");
                    return Err(Error::new(Code::Ev04, place, found).expected("seconds"));
                }
            };
            if duration < 0.0 {
                return Err(Error::new(Code::Ev05, place, format!("the event lasts {duration} s"))
                    .expected("an end after the beginning"));
            }
            list.push(Event {
                onset,
                duration,
                bracketed,
                item: cell(&items, row),
                condition: cell(&conditions, row),
                key: cell(&keys, row).filter(|key| !columns.no_key.contains(key)),
                place,
            });
        }
        let mut events = Events { path: path.to_owned(), digest, list, warnings: Vec::new() };
        events.put_in_order();
        Ok(events)
    }

    /// Sorts by onset, and notes what is unusual.
    fn put_in_order(&mut self) {
        let name = crate::io::file_name(&self.path);
        let mut warn = |code: &str, text: String| self.warnings.push(Warning::new(code, format!("{name}: {text}")));
        let before = self.list.iter().filter(|e| e.onset < 0.0).count();
        if before > 0 {
            warn("EV-05", format!("{before} events begin before the first volume"));
        }
        if self.list.windows(2).any(|w| w[1].onset < w[0].onset) {
            warn("EV-07", "its events are not in order of time; they were sorted".to_owned());
            self.list.sort_by(|a, b| a.onset.total_cmp(&b.onset));
        }
        let overlapping = self.list.windows(2).filter(|w| w[0].onset + w[0].duration > w[1].onset + 1e-9).count();
        if overlapping > 0 {
            warn("EV-07", format!("{overlapping} events begin before the one before them ends"));
        }
    }

    /// Refuses events that do not belong to a run of so many seconds: none lies within it.
    ///
    /// # Errors
    /// `EV-06`, with the guess of milliseconds where it fits.
    pub fn check_run(&self, seconds: f64) -> Result<()> {
        let last = self.list.iter().fold(f64::NEG_INFINITY, |m, e| m.max(e.onset));
        let none = self.list.iter().all(|e| e.onset >= seconds);
        if !none && last <= WRONG_UNIT * seconds {
            return Ok(());
        }
        let found = format!("its last event begins at {last} s, the run ends at {seconds} s");
        let error = Error::new(Code::Ev06, self.path.display(), found).expected("events within the run");
        Err(if last > WRONG_UNIT * seconds { error.hint("It looks like milliseconds") } else { error })
    }

    /// Number of onsets that were written as volumes.
    pub fn bracketed(&self) -> usize {
        self.list.iter().filter(|e| e.bracketed).count()
    }

    /// Number of trials without a button press.
    pub fn without_key(&self) -> usize {
        self.list.iter().filter(|e| e.key.is_none()).count()
    }
}

/// What a table's defect is in an events file.
fn under_events(error: Error) -> Error {
    let code = match error.code() {
        Code::Sc01 => Code::Ev01,
        Code::Sc05 | Code::Sc08 | Code::Sc09 | Code::Sc10 => Code::Ev03,
        Code::Sc06 => Code::Ev09,
        other => other,
    };
    error.under(code)
}

/// Seconds, and whether they were written as a volume: `12`, `12.5`, `[7][7]`, `[7]`.
fn parse_onset(text: &str, repetition_time: f64) -> Option<(f64, bool)> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let mut volumes = inner.split("][").map(|n| n.trim().parse::<u32>().ok());
        let first = volumes.next()??;
        return volumes.all(|v| v == Some(first)).then_some((f64::from(first) * repetition_time, true));
    }
    let seconds = text.parse::<f64>().ok()?;
    seconds.is_finite().then_some((seconds, false))
}

/// Two runs that resemble each other more than an experiment would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twins {
    /// Indices of both.
    pub runs: (usize, usize),
    /// Whether everything is the same, button presses included; otherwise the order of items and conditions is.
    pub identical: bool,
}

/// Pairs of runs of one subject and task (`group` says which) with the same events, or the same items in the same order.
/// Runs without items are compared as a whole only when buttons were pressed: without, such runs are alike by design.
pub fn twins(runs: &[(String, &Events)]) -> Vec<Twins> {
    let shown = |e: &Events| -> Vec<(Option<String>, Option<String>)> {
        e.list.iter().map(|e| (e.item.clone(), e.condition.clone())).collect()
    };
    let told_apart = |e: &Events| {
        let items: BTreeSet<&Option<String>> = e.list.iter().map(|e| &e.item).collect();
        items.len() > 1
    };
    let mut found = Vec::new();
    for (i, (group, first)) in runs.iter().enumerate() {
        for (j, (other, second)) in runs.iter().enumerate().skip(i + 1) {
            if group != other || !told_apart(first) || shown(first) != shown(second) {
                continue;
            }
            found.push(Twins { runs: (i, j), identical: first.digest == second.digest || same(first, second) });
        }
    }
    found
}

fn same(first: &Events, second: &Events) -> bool {
    let row = |e: &Event| (e.onset.to_bits(), e.duration.to_bits(), e.item.clone(), e.condition.clone(), e.key.clone());
    first.list.iter().map(row).eq(second.list.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Events> {
        let digest = crate::io::digest(text.as_bytes());
        Events::parse(Path::new("e_events.tsv"), text.as_bytes(), digest, &EventColumns::usual(), 2.0)
    }

    #[test]
    fn onsets_are_seconds_or_volumes() {
        let events = parse("onset\tduration\titem\tkey\n[7][7]\t14\t1\t0\n40.5\t14\t2\t3\n").unwrap();
        assert_eq!((events.list[0].onset, events.list[0].bracketed), (14.0, true));
        assert_eq!((events.list[1].onset, events.list[1].bracketed), (40.5, false));
        assert_eq!((events.bracketed(), events.without_key()), (1, 1));
        assert_eq!((events.list[0].key.as_deref(), events.list[1].key.as_deref()), (None, Some("3")));
        for bad in ["[7][8]", "[]", "[x]", "1,5", "n/a", "inf", ""] {
            let error = parse(&format!("onset\tduration\n1\t1\n{bad}\t1\n")).unwrap_err();
            assert_eq!(error.code(), Code::Ev04, "{bad}");
            assert!(error.to_string().contains("line 3"), "{error}");
        }
    }

    #[test]
    fn events_come_in_order_of_time() {
        let events = parse("onset\tduration\n30\t2\n10\t25\n-1\t2\n").unwrap();
        assert_eq!(events.list.iter().map(|e| e.onset).collect::<Vec<_>>(), [-1.0, 10.0, 30.0]);
        let codes: Vec<&str> = events.warnings.iter().map(|w| w.code.as_str()).collect();
        assert_eq!(codes, ["EV-05", "EV-07", "EV-07"]);
    }

    #[test]
    fn events_belong_to_their_run() {
        let events = parse("onset\tduration\n12000\t2\n44000\t2\n").unwrap();
        let error = events.check_run(332.0).unwrap_err();
        assert!(error.code() == Code::Ev06 && error.to_string().contains("milliseconds"), "{error}");
        let events = parse("onset\tduration\n12\t2\n300\t2\n").unwrap();
        assert!(events.check_run(44.0).is_ok(), "a short run loses trials, it is not refused here");
    }

    #[test]
    fn twins_are_found_within_a_group() {
        let one = parse("onset\tduration\titem\tkey\n1\t1\ta\t1\n2\t1\tb\t2\n").unwrap();
        let other_keys = parse("onset\tduration\titem\tkey\n1\t1\ta\t1\n2\t1\tb\t0\n").unwrap();
        let runs =
            [("s1".to_owned(), &one), ("s1".to_owned(), &one), ("s1".to_owned(), &other_keys), ("s2".to_owned(), &one)];
        let found: Vec<((usize, usize), bool)> = twins(&runs).into_iter().map(|t| (t.runs, t.identical)).collect();
        assert_eq!(found, [((0, 1), true), ((0, 2), false), ((1, 2), false)]);
    }
}
