//! The structure of a CSV or TSV file, checked before polars parses it: where each record starts, whether every record
//! has as many fields as the header, whether every quote is closed. Polars neither gives line numbers nor notices a
//! quote that swallows the rest of the file.

use std::path::Path;

use crate::error::{Code, Error, Result};

/// A quoted field that spans more lines than this is taken for a quote that was never closed.
const MAX_LINES_IN_FIELD: usize = 20;
/// Largest single field (1 MB).
const MAX_FIELD_BYTES: usize = 1_000_000;
/// Most records.
const MAX_RECORDS: usize = 10_000_000;

/// Where the records of a delimited text file lie.
pub(super) struct Structure {
    /// First line (1-based) of every data record, the header excluded.
    pub lines: Vec<usize>,
}

/// Checks delimited `text` with RFC 4180 quoting. Empty lines at the end are ignored; in the middle they are refused.
pub(super) fn check(text: &str, separator: u8, path: &Path) -> Result<Structure> {
    let bytes = text.as_bytes();
    let mut lines = Vec::new();
    let mut header_fields = None;
    let (mut at, mut line) = (0, 1);
    let mut blank_line = None;
    while at < bytes.len() {
        let record = scan_record(bytes, at, line, separator, path)?;
        let blank = record.fields == 1 && bytes[at..record.end].iter().all(|b| matches!(b, b'\r' | b'\n'));
        if blank {
            blank_line.get_or_insert(line);
        } else {
            if let Some(blank) = blank_line {
                return Err(Error::new(Code::Sc09, format!("{}, line {blank}", path.display()), "is empty")
                    .expected("a record or the end of the file"));
            }
            match header_fields {
                None => header_fields = Some(record.fields),
                Some(expected) if expected != record.fields => {
                    let place = format!("{}, line {line}", path.display());
                    return Err(Error::new(Code::Sc09, place, format!("has {} fields", record.fields))
                        .expected(format!("{expected}, as the header has"))
                        .hint("Quote fields that hold the separator"));
                }
                Some(_) => lines.push(line),
            }
            if lines.len() > MAX_RECORDS {
                return Err(Error::new(Code::Sc08, path.display(), format!("has more than {MAX_RECORDS} records")));
            }
        }
        at = record.end;
        line += record.lines;
    }
    Ok(Structure { lines })
}

/// Where a record ends, and what it is made of.
pub(super) struct Record {
    /// First byte after it.
    pub end: usize,
    /// Number of its fields.
    pub fields: usize,
    /// Lines that it takes.
    pub lines: usize,
}

/// The record that begins at byte `start`, which is in line `line`.
pub(super) fn scan_record(bytes: &[u8], start: usize, line: usize, separator: u8, path: &Path) -> Result<Record> {
    let mut fields = 1;
    let mut at = start;
    let mut lines = 0;
    let mut field_start = start;
    let mut quote_line = None;
    while at < bytes.len() {
        let byte = bytes[at];
        if let Some(opened) = quote_line {
            match byte {
                b'"' if bytes.get(at + 1) == Some(&b'"') => at += 1,
                b'"' => quote_line = None,
                b'\n' => {
                    lines += 1;
                    if line + lines - opened > MAX_LINES_IN_FIELD {
                        return Err(unclosed(path, opened));
                    }
                }
                _ => {}
            }
        } else if byte == b'"' && at == field_start {
            quote_line = Some(line + lines);
        } else if byte == separator {
            fields += 1;
            field_start = at + 1;
        } else if byte == b'\n' {
            return Ok(Record { end: at + 1, fields, lines: lines + 1 });
        }
        if at.saturating_sub(field_start) > MAX_FIELD_BYTES {
            let place = format!("{}, line {}", path.display(), line + lines);
            return Err(Error::new(Code::Sc08, place, format!("has a field of more than {MAX_FIELD_BYTES} bytes")));
        }
        at += 1;
    }
    match quote_line {
        Some(opened) => Err(unclosed(path, opened)),
        None => Ok(Record { end: at, fields, lines: lines + 1 }),
    }
}

fn unclosed(path: &Path, line: usize) -> Error {
    Error::new(Code::Sc05, format!("{}, line {line}", path.display()), "a quote opens here and is not closed")
        .expected(format!("its end within {MAX_LINES_IN_FIELD} lines"))
        .hint("Double a quote that belongs to the text (\"\")")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(text, b',', Path::new("t.csv")).unwrap().lines
    }

    fn code(text: &str) -> Code {
        check(text, b',', Path::new("t.csv")).err().unwrap().code()
    }

    #[test]
    fn records_know_their_lines() {
        assert_eq!(lines("a,b\n1,2\n\"x\ny\",3\n4,5\n\n"), [2, 3, 5]);
        assert_eq!(lines("a,b\r\n1,\"say \"\"hi\"\", you\"\r\n3,4"), [2, 3]);
        assert_eq!(lines(""), [] as [usize; 0]);
    }

    #[test]
    fn broken_structure_is_refused() {
        assert_eq!(code("a,b\n1\n"), Code::Sc09);
        assert_eq!(code("a,b\n\n1,2\n"), Code::Sc09);
        assert_eq!(code("a,b\n\"1,2\n3,4\n"), Code::Sc05);
    }
}
