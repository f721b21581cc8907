//! Sparse matrices as `scipy.sparse.save_npz` writes them: a zip archive of NumPy arrays, compressed by column or by row.
//!
//! Every index is checked against the shape before anything is looked up with it; an archive is never unpacked to more
//! than [`MAX_MEMBER_BYTES`] per array. Not for: formats other than CSC and CSR, complex or boolean values.

use std::io::{Cursor, Read as _};
use std::path::Path;

use zip::ZipArchive;

use super::bounded::{self, FileBytes};
use super::npy;
use crate::error::{Code, Error, Result};
use crate::ids::Digest;

/// Most bytes of one array of an archive (512 MiB): ten times the largest matrix of the databases that are read.
pub const MAX_MEMBER_BYTES: u64 = 512 << 20;

/// A sparse matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Whether it is compressed by column, not by row.
    by_column: bool,
    /// Where the entries of each column (row) begin; one more than there are.
    starts: Vec<usize>,
    /// Row (column) of each entry.
    indices: Vec<usize>,
    values: Vec<f64>,
}

impl Sparse {
    /// Reads a matrix from a file.
    ///
    /// # Errors
    /// `NS-03` for a file that is no such archive, is damaged, or contradicts itself.
    pub fn read(path: &Path) -> Result<(Sparse, Digest)> {
        let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_TABLE_BYTES, "a sparse matrix")?;
        Ok((Sparse::parse(&bytes, path)?, digest))
    }

    /// Reads a matrix from the bytes of a file; `path` is used in messages.
    ///
    /// # Errors
    /// As [`Sparse::read`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Sparse> {
        let fail = |found: String| Error::new(Code::Ns03, path.display(), found);
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| {
            fail(format!("is no zip archive: {e}")).expected("a matrix written by scipy.sparse.save_npz").source(e)
        })?;
        let mut member = |name: &str| -> Result<Vec<u8>> {
            let entry = archive.by_name(&format!("{name}.npy")).map_err(|e| {
                fail(format!("has no usable array {name:?}: {e}")).expected("data, indices, indptr, shape, format")
            })?;
            let mut content = Vec::new();
            let read = entry.take(MAX_MEMBER_BYTES + 1).read_to_end(&mut content);
            read.map_err(|e| fail(format!("array {name:?} is damaged: {e}")).hint("Fetch it again").source(e))?;
            if content.len() as u64 > MAX_MEMBER_BYTES {
                return Err(fail(format!("array {name:?} holds more than {MAX_MEMBER_BYTES} bytes")));
            }
            Ok(content)
        };
        let format = member("format")?;
        let by_column = match format.last_chunk::<3>() {
            Some(b"csc") => true,
            Some(b"csr") => false,
            other => {
                let found = other.map_or_else(String::new, |o| o.escape_ascii().to_string());
                return Err(fail(format!("is of format {found:?}")).expected("csc or csr"));
            }
        };
        let mut numbers = |name: &str| -> Result<Vec<f64>> {
            let array = npy::parse(&member(name)?, path).map_err(|e| e.under(Code::Ns03))?;
            Ok(array.into_raw_vec_and_offset().0)
        };
        let whole = |name: &str, values: Vec<f64>| -> Result<Vec<usize>> {
            let odd = values.iter().find(|v| v.fract() != 0.0 || **v < 0.0 || **v > 9e15 || v.is_nan());
            match odd {
                Some(v) => Err(fail(format!("array {name:?} holds {v}")).expected("whole numbers from 0")),
                None => Ok(values.into_iter().map(|v| v as usize).collect()),
            }
        };
        let shape = whole("shape", numbers("shape")?)?;
        let [rows, columns] = shape[..] else {
            return Err(fail(format!("has a shape of {} numbers", shape.len())).expected("rows and columns"));
        };
        // A matrix without entries has arrays of length 0, which `npy` refuses; such a matrix is of no use here, either.
        let starts = whole("indptr", numbers("indptr")?)?;
        let indices = whole("indices", numbers("indices")?)?;
        let values = numbers("data")?;
        let (outer, inner) = if by_column { (columns, rows) } else { (rows, columns) };
        if outer.checked_add(1) != Some(starts.len()) {
            let found = format!("array \"indptr\" has {} numbers for {outer} lines", starts.len());
            return Err(fail(found).expected("one more than there are lines"));
        }
        let ordered = starts.first() == Some(&0) && starts.is_sorted() && starts.last() == Some(&indices.len());
        if !ordered || indices.len() != values.len() {
            return Err(fail(format!(
                "has {} indices, {} values and \"indptr\" up to {}",
                indices.len(),
                values.len(),
                starts.last().copied().unwrap_or(0)
            ))
            .expected("equal numbers, and \"indptr\" from 0 upwards"));
        }
        if let Some(at) = indices.iter().position(|i| *i >= inner) {
            return Err(fail(format!("entry {} has index {}", at + 1, indices[at])).expected(format!("below {inner}")));
        }
        Ok(Sparse { rows, columns, by_column, starts, indices, values })
    }

    /// All entries as (row, column, value), in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        self.starts.windows(2).enumerate().flat_map(move |(outer, pair)| {
            (pair[0]..pair[1]).map(move |at| {
                let inner = self.indices[at];
                let (row, column) = if self.by_column { (inner, outer) } else { (outer, inner) };
                (row, column, self.values[at])
            })
        })
    }
}
