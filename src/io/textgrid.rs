//! Praat TextGrids: who says what from when to when.
//!
//! Both text formats, long and short: Praat itself reads only the free-standing numbers, strings and flags of a file, and
//! so does this (<https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html>). UTF-8 and UTF-16.
//! Not for: binary TextGrids, and tiers of points.

use std::path::Path;

use super::bounded::{self, FileBytes};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;

/// A stretch of time with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Beginning (s).
    pub start: f64,
    /// End (s).
    pub end: f64,
    /// What stands there, trimmed.
    pub label: String,
}

/// A named tier of intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Its intervals, as written.
    pub intervals: Vec<Interval>,
}

/// Reads the interval tiers of a TextGrid.
///
/// # Errors
/// `EV-12` when it is no TextGrid in text form, or is cut short; `EV-09` for its encoding.
pub fn read(path: &Path) -> Result<(Vec<Tier>, Digest)> {
    let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_TABLE_BYTES, "a TextGrid")?;
    Ok((parse(&bytes, path)?, digest))
}

/// Parses the bytes of a TextGrid; `path` is used in messages.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Vec<Tier>> {
    let text = decode(bytes, path)?;
    let mut reader = Reader { rest: &text, line: 1, path };
    let fail = |what: &str| Error::new(Code::Ev12, path.display(), what).expected("a Praat TextGrid in text form");
    let object = [reader.string(), reader.string()];
    if !matches!(&object, [Ok(kind), Ok(class)] if kind == "ooTextFile" && class == "TextGrid") {
        return Err(fail("is no TextGrid"));
    }
    let (_, _) = (reader.number()?, reader.number()?);
    if reader.next() != Some(Piece::Flag("<exists>")) {
        return Err(fail("holds no tiers"));
    }
    let count = reader.count()?;
    let mut tiers = Vec::new();
    for _ in 0..count {
        let class = reader.string()?;
        let name = reader.string()?;
        let (_, _) = (reader.number()?, reader.number()?);
        let entries = reader.count()?;
        let mut intervals = Vec::new();
        for _ in 0..entries {
            let start = reader.number()?;
            // A tier of points has one time per entry.
            let end = if class == "IntervalTier" { reader.number()? } else { start };
            let label = reader.string()?.trim().to_owned();
            intervals.push(Interval { start, end, label });
        }
        if class == "IntervalTier" {
            tiers.push(Tier { name, intervals });
        }
    }
    Ok(tiers)
}

fn decode(bytes: &[u8], path: &Path) -> Result<String> {
    let wide = |from: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|c| from([c[0], c[1]]));
        char::decode_utf16(units).collect::<std::result::Result<String, _>>().map_err(|e| {
            Error::new(Code::Ev09, path.display(), "is damaged UTF-16").expected("UTF-8 or UTF-16").source(e)
        })
    };
    match bytes {
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        _ => Ok(bounded::decode_utf8(path, bytes, Code::Ev09)?.to_owned()),
    }
}

/// What counts in the file.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Number(f64),
    Text(String),
    Flag(&'a str),
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Piece<'a>> {
        loop {
            let skipped = self.rest.len() - self.rest.trim_start().len();
            self.advance(skipped);
            if self.rest.is_empty() {
                return None;
            }
            if self.rest.starts_with('"') {
                return self.quoted();
            }
            let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
            if self.rest.starts_with('!') {
                let line = self.rest.find('\n').unwrap_or(self.rest.len());
                self.advance(line);
                continue;
            }
            let word = self.advance(end);
            if word.starts_with('<') && word.ends_with('>') {
                return Some(Piece::Flag(word));
            }
            if let Some(value) = word.parse::<f64>().ok().filter(|v| v.is_finite()) {
                return Some(Piece::Number(value));
            }
        }
    }

    /// A string in quotes; doubled quotes stand for one.
    fn quoted(&mut self) -> Option<Piece<'a>> {
        let mut text = String::new();
        let mut at = 1;
        loop {
            let close = at + self.rest[at..].find('"')?;
            text.push_str(&self.rest[at..close]);
            if !self.rest[close + 1..].starts_with('"') {
                self.advance(close + 1);
                return Some(Piece::Text(text));
            }
            text.push('"');
            at = close + 2;
        }
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (before, after) = self.rest.split_at(bytes);
        self.line += before.matches('\n').count();
        self.rest = after;
        before
    }

    fn fail(&self, expected: &str) -> Error {
        let place = format!("{}, line {}", self.path.display(), self.line);
        let found = if self.rest.trim().is_empty() { "the file ends" } else { "something else stands" };
        Error::new(Code::Ev12, place, format!("{found} where {expected} belongs")).expected("a complete TextGrid")
    }

    fn number(&mut self) -> Result<f64> {
        match self.next() {
            Some(Piece::Number(value)) => Ok(value),
            _ => Err(self.fail("a number")),
        }
    }

    fn count(&mut self) -> Result<usize> {
        let value = self.number()?;
        // More entries than bytes cannot be: the loops over them end with the file at the latest.
        if value >= 0.0 && value.fract() == 0.0 && value <= self.rest.len() as f64 {
            Ok(value as usize)
        } else {
            Err(self.fail("a number of entries that the file can hold"))
        }
    }

    fn string(&mut self) -> Result<String> {
        match self.next() {
            Some(Piece::Text(text)) => Ok(text),
            _ => Err(self.fail("a text in quotes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\n\
        size = 2\nitem []:\n    item [1]:\n        class = \"IntervalTier\"\n        name = \"word\"\n        xmin = 0\n\
        xmax = 2\n        intervals: size = 2\n        intervals [1]:\n            xmin = 0\n            xmax = 0.5\n\
        text = \"say \"\"hi\"\"\"\n        intervals [2]:\n            xmin = 0.5\n            xmax = 2\n            text = \"\"\n\
        item [2]:\n        class = \"TextTier\"\n        name = \"clicks\"\n        xmin = 0\n        xmax = 2\n\
        points: size = 1\n        points [1]:\n            number = 1.5\n            mark = \"x\"\n";
    const SHORT: &str = "File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\n0\n2\n<exists>\n1\n\"IntervalTier\"\n\
        \"word\"\n0\n2\n2\n0\n0.5\n\"say \"\"hi\"\"\"\n0.5\n2\n\"\"\n";

    #[test]
    fn both_formats_and_encodings_say_the_same() {
        let tiers = |bytes: &[u8]| parse(bytes, Path::new("a.TextGrid")).unwrap();
        let long = tiers(LONG.as_bytes());
        assert_eq!(long.len(), 1, "points are no intervals");
        assert_eq!((long[0].name.as_str(), long[0].intervals.len()), ("word", 2));
        assert_eq!(long[0].intervals[0], Interval { start: 0.0, end: 0.5, label: "say \"hi\"".to_owned() });
        assert_eq!(tiers(SHORT.as_bytes()), long);
        let wide: Vec<u8> = [0xfe, 0xff].into_iter().chain(SHORT.encode_utf16().flat_map(u16::to_be_bytes)).collect();
        assert_eq!(tiers(&wide), long);
    }

    #[test]
    fn broken_files_are_refused() {
        let code = |text: &str| parse(text.as_bytes(), Path::new("a.TextGrid")).unwrap_err().code();
        assert_eq!(code(&LONG[..LONG.len() / 2]), Code::Ev12);
        assert_eq!(code(""), Code::Ev12);
        assert_eq!(code("word\tonset\n"), Code::Ev12);
        assert_eq!(code(&SHORT.replace("\n2\n0\n0.5", "\n99999999\n0\n0.5")), Code::Ev12);
        assert_eq!(parse(&[0xff, 0xfe, 0, 0xd8], Path::new("a")).unwrap_err().code(), Code::Ev09);
    }
}
