//! Tables: CSV, TSV and Parquet in; CSV and Parquet out. Polars parses and writes; places stay known for messages.

mod write;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use polars::prelude::{
    Column as PolarsColumn, CsvParseOptions, CsvReadOptions, DataFrame, DataType, ParquetReader, SerReader,
};

pub use write::{Output, OutputTable, find_cell, plain, write_batches, write_csv_batches, write_parquet_batches};

use super::bounded::{self, FileBytes};
use super::text_table;
use crate::error::{Code, Error, Result, first_five, nearest};
use crate::ids::Digest;

/// A table as read: named columns of one length, and where each row stood.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    digest: Digest,
    rows: usize,
    columns: Vec<(String, Cells)>,
    /// First line of each row in a text file; empty for Parquet.
    lines: Vec<usize>,
}

#[derive(Debug)]
enum Cells {
    Text(Vec<Option<String>>),
    Number(Vec<Option<f64>>),
}

/// A cell that was asked to be a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// A finite number.
    Finite(f64),
    /// An empty cell, or `n/a`, `NA`, `nan`, an infinity: no usable value.
    Missing(String),
    /// Anything else.
    Text(String),
}

impl Table {
    /// Reads a table by its extension: `.csv`, `.tsv`, `.parquet`.
    pub fn read(path: &Path) -> Result<Table> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "csv" => Table::read_text(path, b','),
            "tsv" => Table::read_text(path, b'\t'),
            "parquet" => Table::read_parquet(path),
            other => {
                let error = Error::new(Code::Sc01, path.display(), format!("has the extension \"{other}\""))
                    .expected("a table named .csv, .tsv or .parquet");
                Err(match other {
                    "npy" | "npz" => error.hint("Arrays hold responses alone"),
                    "h5" | "hdf5" | "mat" => error.hint("Save its array as .npy"),
                    "xls" | "xlsx" | "ods" => error.hint("Save the sheet as .csv (UTF-8)"),
                    _ => error,
                })
            }
        }
    }

    fn read_text(path: &Path, separator: u8) -> Result<Table> {
        let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_TABLE_BYTES, "a table")?;
        Table::parse(path, &bytes, digest, separator)
    }

    /// Parses the bytes of a delimited text table; `path` is used in messages.
    pub fn parse(path: &Path, bytes: &[u8], digest: Digest, separator: u8) -> Result<Table> {
        let text = bounded::decode_utf8(path, bytes, Code::Sc06)?;
        // Old Mac line ends: a carriage return alone.
        let text = if text.contains('\r') && !text.contains('\n') { &text.replace('\r', "\n") } else { text };
        if text.trim().is_empty() {
            return Err(Error::new(Code::Sc01, path.display(), "is empty").expected("a header and rows"));
        }
        if text.contains('\0') {
            return Err(Error::new(Code::Sc06, path.display(), "holds NUL bytes").expected("a UTF-8 text table"));
        }
        let structure = text_table::check(text, separator, path)?;
        let header = text.lines().next().unwrap_or_default();
        let other = if separator == b',' { '\t' } else { ',' };
        if !header.contains(separator as char) && header.contains(other) {
            let (found, hint) = if other == ',' { ("comma", ".csv") } else { ("tab", ".tsv") };
            return Err(Error::new(Code::Sc01, path.display(), format!("looks {found}-separated"))
                .hint(format!("Name it {hint}")));
        }
        let parse = CsvParseOptions::default().with_separator(separator).with_missing_is_null(true);
        let frame = CsvReadOptions::default()
            .with_has_header(true)
            .with_infer_schema_length(Some(0))
            .with_n_threads(Some(1))
            .with_parse_options(parse)
            .into_reader_with_file_handle(Cursor::new(text.trim_end_matches(['\r', '\n']).as_bytes()))
            .finish()
            .map_err(|e| Error::new(Code::Sc09, path.display(), format!("cannot be parsed: {e}")).source(e))?;
        // A one-column table with an empty cell has lines that look blank: rows and lines must agree to be trusted.
        let lines = if structure.lines.len() == frame.height() { structure.lines } else { Vec::new() };
        Table::from_frame(path, digest, &frame, lines, header_names(header, separator))
    }

    fn read_parquet(path: &Path) -> Result<Table> {
        let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_ARRAY_BYTES, "a Parquet table")?;
        if !bytes.starts_with(b"PAR1") {
            return Err(
                Error::new(Code::Rs11, path.display(), "is no Parquet file").expected("a file that starts with PAR1")
            );
        }
        let frame = ParquetReader::new(Cursor::new(bytes))
            .finish()
            .map_err(|e| Error::new(Code::Rs11, path.display(), format!("cannot be read: {e}")).source(e))?;
        Table::from_frame(path, digest, &frame, Vec::new(), None)
    }

    fn from_frame(
        path: &Path,
        digest: Digest,
        frame: &DataFrame,
        lines: Vec<usize>,
        header: Option<Vec<String>>,
    ) -> Result<Table> {
        // Polars renames repeated headers; the header as written is what counts.
        let written: Vec<String> =
            header.unwrap_or_else(|| frame.get_column_names().iter().map(|n| n.to_string()).collect());
        let mut columns: Vec<(String, Cells)> = Vec::with_capacity(written.len());
        for (column, name) in frame.columns().iter().zip(written) {
            if columns.iter().any(|(n, _)| *n == name) {
                return Err(Error::new(Code::Sc10, path.display(), format!("has the column {name:?} twice"))
                    .hint("Rename one of them"));
            }
            if let Some(cells) = cells(column, path)? {
                columns.push((name, cells));
            }
        }
        let table = Table { path: path.to_owned(), digest, rows: frame.height(), columns, lines };
        if table.rows == 0 {
            return Err(Error::new(Code::Sc01, path.display(), "has no rows").expected("a header and at least one row"));
        }
        Ok(table)
    }

    /// Where the table was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The names of the columns that hold text or numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there is a column of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|n| n == name)
    }

    /// File and line (or row) of a row, for messages.
    pub fn place(&self, row: usize) -> String {
        match self.lines.get(row) {
            Some(line) => format!("{}, line {line}", self.path.display()),
            None => format!("{}, row {}", self.path.display(), row + 1),
        }
    }

    fn cells(&self, name: &str) -> Result<&Cells> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, cells)| cells).ok_or_else(|| {
            let error = Error::new(Code::Sc01, self.path.display(), format!("has no column {name:?}"))
                .expected(format!("one of its columns: {}", self.names().collect::<Vec<_>>().join(", ")));
            match nearest(name, self.names()) {
                Some(near) => error.hint(format!("Did you mean {near:?}?")),
                None => error,
            }
        })
    }

    /// A column as text; numbers are written as text, missing cells are `None`.
    pub fn texts(&self, name: &str) -> Result<Vec<Option<String>>> {
        Ok(match self.cells(name)? {
            Cells::Text(cells) => cells.clone(),
            Cells::Number(cells) => cells.iter().map(|c| c.map(|v| v.to_string())).collect(),
        })
    }

    /// A column as text without gaps: a missing cell is an error that names its row.
    pub fn required_texts(&self, name: &str) -> Result<Vec<String>> {
        let cells = self.texts(name)?;
        cells
            .into_iter()
            .enumerate()
            .map(|(row, cell)| {
                cell.filter(|text| !text.trim().is_empty()).ok_or_else(|| {
                    Error::new(Code::Sc01, self.place(row), format!("has an empty cell in column {name:?}"))
                })
            })
            .collect()
    }

    /// A column as numbers; cells that are none stay visible.
    pub fn numbers(&self, name: &str) -> Result<Vec<Number>> {
        Ok(match self.cells(name)? {
            Cells::Number(cells) => cells.iter().map(|c| Number::from(*c)).collect(),
            Cells::Text(cells) => cells.iter().map(|c| Number::parse(c.as_deref())).collect(),
        })
    }

    /// A column of finite numbers: the first cell that is none is an error that names its row.
    pub fn finite_numbers(&self, name: &str) -> Result<Vec<f64>> {
        self.numbers_or(name, |number| matches!(number, Number::Finite(_)))
    }

    /// A column of numbers, NaN where they are missing; the first cell that is something else is an error that names its row.
    pub fn known_numbers(&self, name: &str) -> Result<Vec<f64>> {
        self.numbers_or(name, |number| !matches!(number, Number::Text(_)))
    }

    fn numbers_or(&self, name: &str, usable: impl Fn(&Number) -> bool) -> Result<Vec<f64>> {
        let numbers = self.numbers(name)?;
        let bad: Vec<usize> = (0..self.rows).filter(|row| !usable(&numbers[*row])).collect();
        if let Some(first) = bad.first() {
            let found = match &numbers[*first] {
                Number::Text(text) | Number::Missing(text) => {
                    format!("holds {text:?} in column {name:?}")
                }
                // INVARIANT: `bad` lists no row with a finite number.
                Number::Finite(_) => unreachable!("only cells without a number are listed"),
            };
            let error = Error::new(Code::Sc11, self.place(*first), found).expected("a finite number");
            return Err(match bad.len() {
                1 => error,
                n => error.hint(format!(
                    "{n} cells of this column are no numbers, in rows {}",
                    first_five(bad.iter().map(|r| r + 1))
                )),
            });
        }
        Ok(numbers.into_iter().map(|n| if let Number::Finite(v) = n { v } else { f64::NAN }).collect())
    }

    /// The columns that hold numbers: at least half of their filled cells parse as one.
    pub fn numeric_names(&self) -> Vec<String> {
        let is_numeric = |cells: &Cells| match cells {
            Cells::Number(_) => true,
            Cells::Text(cells) => {
                let filled: Vec<&String> = cells.iter().flatten().filter(|c| !c.trim().is_empty()).collect();
                let numbers = filled.iter().filter(|c| c.trim().parse::<f64>().is_ok()).count();
                !filled.is_empty() && 2 * numbers >= filled.len()
            }
        };
        self.columns.iter().filter(|(_, cells)| is_numeric(cells)).map(|(name, _)| name.clone()).collect()
    }
}

impl Number {
    fn parse(cell: Option<&str>) -> Number {
        let text = cell.unwrap_or("").trim();
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Number::Finite(value),
            Ok(_) => Number::Missing(text.to_owned()),
            Err(_) if matches!(text.to_lowercase().as_str(), "" | "n/a" | "na" | "null" | "none") => {
                Number::Missing(text.to_owned())
            }
            Err(_) => Number::Text(text.to_owned()),
        }
    }
}

impl From<Option<f64>> for Number {
    fn from(value: Option<f64>) -> Self {
        match value {
            Some(v) if v.is_finite() => Number::Finite(v),
            Some(v) => Number::Missing(v.to_string()),
            None => Number::Missing(String::new()),
        }
    }
}

/// The column names as the file writes them, when the header is one plain line.
fn header_names(header: &str, separator: u8) -> Option<Vec<String>> {
    let simple = !header.contains('"');
    simple.then(|| header.trim_end_matches('\r').split(separator as char).map(str::to_owned).collect())
}

fn cells(column: &PolarsColumn, path: &Path) -> Result<Option<Cells>> {
    let name = column.name();
    let fail = |e: polars::error::PolarsError| {
        Error::new(Code::Rs11, path.display(), format!("column {name:?} cannot be used: {e}")).source(e)
    };
    match column.dtype() {
        DataType::String => {
            let texts = column.str().map_err(fail)?;
            Ok(Some(Cells::Text(texts.iter().map(|t| t.map(str::to_owned)).collect())))
        }
        dtype if dtype.is_primitive_numeric() => {
            let numbers = column.cast(&DataType::Float64).map_err(fail)?;
            let numbers = numbers.f64().map_err(fail)?;
            Ok(Some(Cells::Number(numbers.iter().collect())))
        }
        // Dates, lists and the like are no input of ours; asking for such a column says that it is not there.
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, content: &[u8]) -> Result<Table> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        Table::read(&path)
    }

    #[test]
    fn reads_text_numbers_and_places() {
        let t = table("t.csv", b"\xEF\xBB\xBFid,text,y\na,\"one, two\",1.5\nb,\"x\ny\",nan\nc,,abc\n").unwrap();
        assert_eq!(t.names().collect::<Vec<_>>(), ["id", "text", "y"]);
        assert_eq!(t.texts("text").unwrap(), [Some("one, two".into()), Some("x\ny".into()), None]);
        assert_eq!(
            t.numbers("y").unwrap(),
            [Number::Finite(1.5), Number::Missing("nan".into()), Number::Text("abc".into())]
        );
        assert!(t.place(2).ends_with("t.csv, line 5"), "{}", t.place(2));
        assert_eq!(t.finite_numbers("y").unwrap_err().code(), Code::Sc11);
    }

    #[test]
    fn missing_column_names_the_nearest() {
        let message = table("t.csv", b"stimulus,text\na,b\n").unwrap().texts("stimulos").unwrap_err().to_string();
        assert!(message.contains("Did you mean \"stimulus\"?"), "{message}");
    }

    #[test]
    fn refuses_what_it_cannot_trust() {
        let code = |name: &str, bytes: &[u8]| table(name, bytes).unwrap_err().code();
        assert_eq!(code("t.csv", b""), Code::Sc01);
        assert_eq!(code("t.csv", b"a,b\n"), Code::Sc01);
        assert_eq!(code("t.csv", b"a,a\n1,2\n"), Code::Sc10);
        assert_eq!(code("t.csv", b"a,b\n1,\xff\n"), Code::Sc06);
        assert_eq!(code("t.csv", b"\xff\xfea\0"), Code::Sc06);
        assert_eq!(code("t.tsv", b"a,b\n1,2\n"), Code::Sc01);
        assert_eq!(code("t.parquet", b"nothing"), Code::Rs11);
        assert_eq!(code("t.xlsx", b"nothing"), Code::Sc01);
    }

    #[test]
    fn written_tables_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let t = OutputTable::new(vec![
            ("name", Output::Text(vec!["=1+1".into(), "b".into()])),
            ("layer", Output::Integer(vec![0, 1])),
            ("cod", Output::Real(vec![None, Some(0.1 + 0.2)])),
        ]);
        let csv = dir.path().join("t.csv");
        t.write_csv(&csv).unwrap();
        assert_eq!(std::fs::read_to_string(&csv).unwrap(), "name,layer,cod\n'=1+1,0,\nb,1,0.30000000000000004\n");
        let parquet = dir.path().join("t.parquet");
        write_parquet_batches(&parquet, |append| {
            append(&t)?;
            append(&t)
        })
        .unwrap();
        let back = Table::read(&parquet).unwrap();
        assert_eq!((back.rows(), back.numbers("cod").unwrap()[3].clone()), (4, Number::Finite(0.30000000000000004)));
        assert_eq!(back.texts("name").unwrap()[0].as_deref(), Some("=1+1"));
    }
}
