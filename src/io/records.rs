//! Large delimited texts record by record, when only a few of their columns are wanted: no table is built.
//!
//! The quoting is that of [`super::table`] (RFC 4180); lines are counted for messages. For tables that fit, and whose
//! columns are wanted as a whole, take [`super::table::Table`].

use std::borrow::Cow;
use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::bounded::{self, FileBytes};
use super::text_table::scan_record;
use crate::error::{Code, Error, Result, nearest};
use crate::ids::Digest;

/// A text being read, record by record.
pub struct Records<'a> {
    text: &'a str,
    separator: u8,
    path: &'a Path,
    names: Vec<String>,
    at: usize,
    line: usize,
}

/// A text file of at most `limit` bytes, decompressed when it is gzip, with the digest of the file as it lies on the disk.
///
/// # Errors
/// `damaged` for a gzip stream that is cut short, fails its checksum or holds more than `limit` bytes; `SC-06` for text
/// that is not UTF-8.
pub fn read_text(path: &Path, limit: u64, damaged: Code) -> Result<(String, Digest)> {
    let FileBytes { bytes, digest } = bounded::read(path, limit, "a table")?;
    let plain = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(&bytes[..]).take(limit + 1).read_to_end(&mut plain).map_err(|e| {
            Error::new(damaged, path.display(), format!("is damaged: {e}")).hint("Fetch it again").source(e)
        })?;
        if plain.len() as u64 > limit {
            let found = format!("holds more than {limit} bytes, compressed to {}", bytes.len());
            return Err(Error::new(damaged, path.display(), found).expected(format!("a table of at most {limit}")));
        }
        plain
    } else {
        bytes
    };
    match String::from_utf8(plain) {
        Ok(text) => Ok((text, digest)),
        // Says where and what, as for all other texts.
        Err(e) => bounded::decode_utf8(path, e.as_bytes(), Code::Sc06).map(|text| (text.to_owned(), digest)),
    }
}

impl<'a> Records<'a> {
    /// Starts after the header.
    ///
    /// # Errors
    /// `SC-01` for a text without a header.
    pub fn new(text: &'a str, separator: u8, path: &'a Path) -> Result<Records<'a>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut records = Records { text, separator, path, names: Vec::new(), at: 0, line: 1 };
        let mut names = Vec::new();
        if records.next_raw(&mut names)?.is_none() {
            return Err(Error::new(Code::Sc01, path.display(), "is empty").expected("a header and rows"));
        }
        records.names = names.into_iter().map(Cow::into_owned).collect();
        Ok(records)
    }

    /// The place of a column.
    ///
    /// # Errors
    /// `SC-01` when there is none of that name.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.optional(name).ok_or_else(|| {
            let error = Error::new(Code::Sc01, self.path.display(), format!("has no column {name:?}"))
                .expected(format!("one of its columns: {}", self.names.join(", ")));
            match nearest(name, self.names.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("Did you mean {near:?}?")),
                None => error,
            }
        })
    }

    /// The place of a column, where there is one of that name.
    pub fn optional(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// Reads the next record into `fields` and gives the line on which it begins; nothing after the last one.
    ///
    /// # Errors
    /// `SC-05`, `SC-08` and `SC-09` as for tables.
    pub fn next_into(&mut self, fields: &mut Vec<Cow<'a, str>>) -> Result<Option<usize>> {
        let found = self.next_raw(fields)?;
        match found {
            Some(line) if fields.len() != self.names.len() => {
                Err(Error::new(Code::Sc09, self.place(line), format!("has {} fields", fields.len()))
                    .expected(format!("{}, as the header has", self.names.len())))
            }
            found => Ok(found),
        }
    }

    /// The file and a line, for messages.
    pub fn place(&self, line: usize) -> String {
        format!("{}, line {line}", self.path.display())
    }

    fn next_raw(&mut self, fields: &mut Vec<Cow<'a, str>>) -> Result<Option<usize>> {
        fields.clear();
        while self.at < self.text.len() {
            let record = scan_record(self.text.as_bytes(), self.at, self.line, self.separator, self.path)?;
            let (from, line) = (self.at, self.line);
            self.at = record.end;
            self.line += record.lines;
            // Separators, quotes and line ends are ASCII: both ends lie between characters.
            let body = self.text[from..record.end].trim_end_matches('\n').trim_end_matches('\r');
            if !body.is_empty() {
                split(body, self.separator, fields);
                return Ok(Some(line));
            }
        }
        Ok(None)
    }
}

fn split<'a>(body: &'a str, separator: u8, fields: &mut Vec<Cow<'a, str>>) {
    let separator = char::from(separator);
    if !body.contains('"') {
        fields.extend(body.split(separator).map(Cow::Borrowed));
        return;
    }
    let mut rest = body;
    loop {
        let end = match rest.strip_prefix('"') {
            None => rest.find(separator),
            Some(inner) => {
                let mut quoted = true;
                let after = inner.char_indices().find(|(_, c)| {
                    quoted ^= *c == '"';
                    !quoted && *c == separator
                });
                after.map(|(at, _)| at + 1)
            }
        };
        let field = &rest[..end.unwrap_or(rest.len())];
        let inner = field.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
        fields.push(inner.map_or(Cow::Borrowed(field), |inner| match inner.contains("\"\"") {
            true => Cow::Owned(inner.replace("\"\"", "\"")),
            false => Cow::Borrowed(inner),
        }));
        match end {
            Some(end) => rest = &rest[end + separator.len_utf8()..],
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(usize, Vec<String>)> {
        let mut records = Records::new(text, b'\t', Path::new("t.tsv")).unwrap();
        let (mut fields, mut found) = (Vec::new(), Vec::new());
        while let Some(line) = records.next_into(&mut fields).unwrap() {
            found.push((line, fields.iter().map(|f| f.to_string()).collect()));
        }
        found
    }

    #[test]
    fn fields_are_those_of_a_table() {
        let found = all("id\ttitle\n1\t\"a \"\"b\"\"\tc\nd\"\n2\t\r\n\n3\tit's\n");
        let expected: [(usize, [&str; 2]); 3] = [(2, ["1", "a \"b\"\tc\nd"]), (4, ["2", ""]), (6, ["3", "it's"])];
        assert_eq!(found, expected.map(|(line, fields)| (line, fields.map(str::to_owned).to_vec())));
    }

    #[test]
    fn columns_are_found_by_name_and_rows_are_whole() {
        let mut records = Records::new("\u{feff}id\tx\n1\n", b'\t', Path::new("t.tsv")).unwrap();
        assert_eq!((records.column("x").unwrap(), records.optional("y")), (1, None));
        assert!(records.column("idd").unwrap_err().to_string().contains("Did you mean \"id\"?"));
        let error = records.next_into(&mut Vec::new()).unwrap_err();
        assert!(error.code() == Code::Sc09 && error.to_string().contains("line 2"), "{error}");
    }
}
