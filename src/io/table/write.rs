//! Tables to be written, as CSV and as Parquet.

use std::io::Write;
use std::path::Path;

use polars::prelude::{
    Column as PolarsColumn, CsvWriter, DataFrame, IntoColumn, NamedFrom, ParquetCompression, ParquetWriter, SerWriter,
    Series, StatisticsOptions,
};

use crate::error::{Code, Error, Result};
use crate::io::atomic;

/// A column to be written.
pub enum Output {
    /// Text; an empty string is written as an empty cell.
    Text(Vec<String>),
    /// Whole numbers.
    Integer(Vec<i64>),
    /// Real numbers; `None` is an empty cell.
    Real(Vec<Option<f64>>),
}

/// A table to be written, column by column.
pub struct OutputTable {
    columns: Vec<(String, Output)>,
}

impl OutputTable {
    /// A table of the given columns, which must have one length.
    pub fn new(columns: Vec<(&str, Output)>) -> Self {
        OutputTable { columns: columns.into_iter().map(|(name, values)| (name.to_owned(), values)).collect() }
    }

    /// Adds a column.
    pub fn push(&mut self, name: String, values: Output) {
        self.columns.push((name, values));
    }

    fn frame(&self, spreadsheet_safe: bool) -> Result<DataFrame> {
        let columns: Vec<PolarsColumn> = self
            .columns
            .iter()
            .map(|(name, values)| {
                let filled = |t: &String| (!t.is_empty()).then(|| if spreadsheet_safe { inert(t) } else { t.clone() });
                let series = match values {
                    Output::Text(v) => Series::new(name.as_str().into(), v.iter().map(filled).collect::<Vec<_>>()),
                    Output::Integer(v) => Series::new(name.as_str().into(), v),
                    Output::Real(v) => Series::new(name.as_str().into(), v),
                };
                series.into_column()
            })
            .collect();
        DataFrame::new_infer_height(columns)
            .map_err(|e| Error::new(Code::Io01, "an output table", format!("cannot be built: {e}")).source(e))
    }

    /// Writes `stem.csv` and `stem.parquet` into a folder.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<()> {
        self.write_csv(&folder.join(format!("{stem}.csv")))?;
        self.write_parquet(&folder.join(format!("{stem}.parquet")))
    }

    /// Writes CSV. Text that a spreadsheet would take for a formula gets a leading apostrophe.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        let mut frame = self.frame(true)?;
        atomic::write_with(path, |w| {
            CsvWriter::new(w).n_threads(1).finish(&mut frame).map_err(|e| polars_error(path, e))
        })
    }

    /// Writes Parquet.
    pub fn write_parquet(&self, path: &Path) -> Result<()> {
        let mut frame = self.frame(false)?;
        atomic::write_with(path, |w| {
            parquet(w).finish(&mut frame).map_err(|e| polars_error(path, e))?;
            Ok(())
        })
    }
}

/// Writes `stem.csv` and `stem.parquet` batch by batch; `produce` is called once for each.
pub fn write_batches(
    folder: &Path,
    stem: &str,
    produce: impl Fn(&mut dyn FnMut(&OutputTable) -> Result<()>) -> Result<()>,
) -> Result<()> {
    write_csv_batches(&folder.join(format!("{stem}.csv")), &produce)?;
    write_parquet_batches(&folder.join(format!("{stem}.parquet")), &produce)
}

/// Writes a CSV file batch by batch, so that the whole never sits in memory; see [`write_parquet_batches`].
pub fn write_csv_batches(
    path: &Path,
    produce: impl FnOnce(&mut dyn FnMut(&OutputTable) -> Result<()>) -> Result<()>,
) -> Result<()> {
    atomic::write_with(path, |w| {
        let mut first = true;
        produce(&mut |batch: &OutputTable| {
            let mut frame = batch.frame(true)?;
            let mut writer = CsvWriter::new(&mut *w).include_header(std::mem::take(&mut first)).n_threads(1);
            writer.finish(&mut frame).map_err(|e| polars_error(path, e))
        })
    })
}

/// Writes a Parquet file batch by batch, so that the whole never sits in memory.
///
/// `produce` is called with a function that appends one batch; all batches have the columns of the first.
pub fn write_parquet_batches(
    path: &Path,
    produce: impl FnOnce(&mut dyn FnMut(&OutputTable) -> Result<()>) -> Result<()>,
) -> Result<()> {
    atomic::write_with(path, |w| {
        let mut slot = Some(w);
        let mut writer: Option<polars::io::parquet::write::BatchedWriter<&mut dyn Write>> = None;
        let mut append = |batch: &OutputTable| -> Result<()> {
            let frame = batch.frame(false)?;
            if let Some(w) = slot.take() {
                let started = parquet(w).batched(frame.schema());
                writer = Some(started.map_err(|e| polars_error(path, e))?);
            }
            match writer.as_mut() {
                Some(writer) => writer.write_batch(&frame).map_err(|e| polars_error(path, e)),
                None => Ok(()),
            }
        };
        produce(&mut append)?;
        match writer {
            Some(writer) => writer.finish().map(|_| ()).map_err(|e| polars_error(path, e)),
            None => Ok(()),
        }
    })
}

/// Floating-point columns hardly compress: Snappy costs little time and finds what there is (repeated labels); distinct
/// counts and the like are left to the reader.
fn parquet<W: Write>(to: W) -> ParquetWriter<W> {
    ParquetWriter::new(to)
        .set_parallel(false)
        .with_compression(ParquetCompression::Snappy)
        .with_statistics(StatisticsOptions::empty())
}

fn polars_error(path: &Path, error: polars::error::PolarsError) -> Error {
    match error {
        polars::error::PolarsError::IO { error, .. } => {
            atomic::write_error(path, "writing", std::io::Error::new(error.kind(), error.to_string()))
        }
        other => Error::new(Code::Io01, path.display(), format!("cannot be written: {other}")).source(other),
    }
}

/// Text that a spreadsheet shows instead of computing it.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// The text that a cell of a CSV table of ours stands for: without the apostrophe that keeps spreadsheets from computing it.
pub fn plain(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| inert(text) == cell).unwrap_or(cell)
}

/// What `find` finds by a cell as it stands, else by what it stands for.
pub fn find_cell<T>(cell: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    find(cell).or_else(|| find(plain(cell)))
}
