use std::path::Path;

use super::resample::Words;
use crate::error::{Code, Error, Result, Warning, first_five};
use crate::ids::Digest;
use crate::io::table::{Number, Table};
use crate::io::{file_name, textgrid};

/// Labels of forced aligners that are no words.
const NO_WORDS: [&str; 12] =
    ["", "sp", "sil", "silence", "<sil>", "<sp>", "<p:>", "<eps>", "[sil]", "#", "xxx", "{SL}"];

/// Largest share of words with an impossible end that is put down to slips.
const MENDABLE: f64 = 0.01;

/// Where a table or TextGrid holds words and their times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordColumns {
    /// Column of words.
    pub word: String,
    /// Column of onsets (s).
    pub onset: String,
    /// Column of offsets (s).
    pub offset: String,
    /// Tier of a TextGrid; needed when it has several.
    pub tier: Option<String>,
    /// Labels that are no words; the usual ones of forced aligners when none are given.
    pub skip: Option<Vec<String>>,
}

/// The words of a narrative, in order of time.
#[derive(Debug, Clone)]
pub struct Story {
    /// The words, those without times among them.
    pub strings: Vec<String>,
    /// Which of them have times.
    pub timed: Vec<usize>,
    /// When those were heard or read.
    pub times: Words,
    /// Further columns of those, as the study names them.
    pub columns: Vec<(String, Vec<f64>)>,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

impl Story {
    /// Reads words from a table (`.csv`, `.tsv`, `.parquet`) or a Praat TextGrid.
    ///
    /// # Errors
    /// Those of tables and TextGrids; a word without times (a clitic, say, that the aligner left to its neighbour) is
    /// context for the words behind it, but no feature, with a warning. `EV-12` for a tier that is not there, `EV-05` when more than 1 % of the words end before they begin,
    /// `SC-03` when there is no word.
    pub fn read(path: &Path, columns: &WordColumns, numbers: &[String]) -> Result<Story> {
        let is_grid = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("textgrid"));
        let (rows, digest) =
            if is_grid { from_grid(path, columns, numbers)? } else { from_table(path, columns, numbers)? };
        let skipped = |word: &str| match &columns.skip {
            Some(list) => word.is_empty() || list.iter().any(|s| s == word),
            None => NO_WORDS.iter().any(|s| s.eq_ignore_ascii_case(word)),
        };
        let mut rows: Vec<Row> = rows.into_iter().filter(|r| !skipped(&r.word)).collect();
        if rows.is_empty() {
            return Err(Error::new(Code::Sc03, path.display(), "holds no words").expected("words with their times"));
        }
        let name = crate::io::file_name(path);
        let mut warnings = Vec::new();
        // A word without times keeps its place behind the word before it.
        let mut last = f64::NEG_INFINITY;
        let order: Vec<f64> = rows
            .iter()
            .map(|r| {
                last = r.times.map_or(last, |(onset, _)| onset);
                last
            })
            .collect();
        if order.windows(2).any(|w| w[1] < w[0]) {
            warnings.push(Warning::new("EV-07", format!("{name}: words are not in order of time; they were sorted")));
            let mut keyed: Vec<(f64, Row)> = order.into_iter().zip(rows).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows = keyed.into_iter().map(|(_, row)| row).collect();
        }
        let timed: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].times.is_some()).collect();
        let without: Vec<&str> = rows.iter().filter(|r| r.times.is_none()).map(|r| r.word.as_str()).collect();
        if timed.is_empty() {
            return Err(Error::new(Code::Ev04, path.display(), "holds no word with onset and offset"));
        }
        if !without.is_empty() {
            let text = format!(
                "{name}: {} of {} words have no times ({}): the words behind see them, but they are in no volume",
                without.len(),
                rows.len(),
                first_five(&without)
            );
            warnings.push(Warning::new("EV-13", text));
        }
        warnings.extend(mend(&mut rows, &timed));
        let place = |row: usize| rows[timed[row]].place.clone();
        let times = Words::new(timed.iter().filter_map(|row| rows[*row].times).collect(), digest, &place)?;
        let mut columns = Vec::with_capacity(numbers.len());
        for (at, name) in numbers.iter().enumerate() {
            let value = |row: &usize| match &rows[*row].numbers[at] {
                Number::Finite(value) => Ok(*value),
                Number::Missing(text) | Number::Text(text) => {
                    let found = format!("holds {text:?} in column {name:?}");
                    Err(Error::new(Code::Sc11, &rows[*row].place, found).expected("a finite number"))
                }
            };
            columns.push((name.clone(), timed.iter().map(value).collect::<Result<Vec<f64>>>()?));
        }
        let strings = rows.into_iter().map(|r| r.word).collect();
        Ok(Story { strings, timed, times, columns, digest, warnings })
    }
}

/// A word as read.
struct Row {
    word: String,
    /// Onset and offset.
    times: Option<(f64, f64)>,
    numbers: Vec<Number>,
    place: String,
}

/// A slip of the pen in a hand-made alignment should not cost a study: a word that ends before it begins is taken to be as
/// short as can be, with a warning. When more than [`MENDABLE`] of the words are so, nothing is mended.
fn mend(rows: &mut [Row], timed: &[usize]) -> Option<Warning> {
    let reversed = |row: &&usize| rows[**row].times.is_some_and(|(onset, offset)| offset < onset);
    let bad: Vec<usize> = timed.iter().filter(reversed).copied().collect();
    if bad.is_empty() || bad.len() as f64 > MENDABLE * timed.len() as f64 {
        return None;
    }
    let named = first_five(
        bad.iter().map(|row| format!("{:?} ({})", rows[*row].word, file_name(Path::new(&rows[*row].place)))),
    );
    for row in &bad {
        rows[*row].times = rows[*row].times.map(|(onset, _)| (onset, onset));
    }
    Some(Warning::new("EV-05", format!("{} words end before they begin; their onsets are used: {named}", bad.len())))
}

fn from_table(path: &Path, columns: &WordColumns, numbers: &[String]) -> Result<(Vec<Row>, Digest)> {
    let table = Table::read(path)?;
    let words = table.texts(&columns.word)?;
    let (onsets, offsets) = (table.numbers(&columns.onset)?, table.numbers(&columns.offset)?);
    let numbers: Vec<Vec<Number>> = numbers.iter().map(|name| table.numbers(name)).collect::<Result<_>>()?;
    let mut rows = Vec::with_capacity(words.len());
    for (row, word) in words.into_iter().enumerate() {
        let times = match (&onsets[row], &offsets[row]) {
            (Number::Finite(onset), Number::Finite(offset)) => Some((*onset, *offset)),
            (Number::Missing(_), Number::Missing(_)) => None,
            (Number::Finite(_), Number::Missing(text) | Number::Text(text)) => {
                return Err(no_time(&table, row, &columns.offset, text));
            }
            (Number::Missing(text) | Number::Text(text), _) => return Err(no_time(&table, row, &columns.onset, text)),
        };
        rows.push(Row {
            word: word.unwrap_or_default().trim().to_owned(),
            times,
            numbers: numbers.iter().map(|column| column[row].clone()).collect(),
            place: table.place(row),
        });
    }
    Ok((rows, table.digest()))
}

fn no_time(table: &Table, row: usize, column: &str, text: &str) -> Error {
    Error::new(Code::Ev04, table.place(row), format!("holds {text:?} in column {column:?}"))
        .expected("seconds, or neither onset nor offset")
}

fn from_grid(path: &Path, columns: &WordColumns, numbers: &[String]) -> Result<(Vec<Row>, Digest)> {
    let fail = |found: String| Error::new(Code::Ev12, path.display(), found);
    if let Some(name) = numbers.first() {
        return Err(fail(format!("a TextGrid has no column {name:?}")).hint("Write the words as a table"));
    }
    let (mut tiers, digest) = textgrid::read(path)?;
    let names: Vec<String> = tiers.iter().map(|t| t.name.clone()).collect();
    let at = match &columns.tier {
        Some(wanted) => tiers.iter().position(|t| t.name == *wanted),
        None => (tiers.len() == 1).then_some(0),
    };
    let Some(at) = at else {
        let found = columns.tier.as_ref().map_or_else(
            || format!("has {} tiers of intervals", tiers.len()),
            |wanted| format!("has no tier {wanted:?} of intervals"),
        );
        return Err(fail(found)
            .expected(format!("one of: {}", names.join(", ")))
            .hint("Name the tier of words: [stimuli] tier = \"…\""));
    };
    let row = |(n, interval): (usize, textgrid::Interval)| Row {
        place: format!("{}, interval {}", path.display(), n + 1),
        word: interval.label,
        times: Some((interval.start, interval.end)),
        numbers: Vec::new(),
    };
    Ok((tiers.swap_remove(at).intervals.into_iter().enumerate().map(row).collect(), digest))
}
