//! An array in a file of which some columns are read at a time: larger than memory, if need be.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::Array2;

use super::Header;
use crate::error::{Code, Error, Result};
use crate::io::bounded;

/// Bytes at the start of a file among which its header is looked for; NumPy's own are shorter than 64 KiB.
const HEADER_BYTES: u64 = 1 << 16;
/// Bytes read at once while all values are checked.
const CHECK_BYTES: usize = 1 << 24;

/// An open `.npy` file.
pub struct Columns {
    path: PathBuf,
    file: Mutex<File>,
    header: Header,
}

impl Columns {
    /// Opens a file and checks its header against its length.
    ///
    /// # Errors
    /// As [`super::read`].
    pub fn open(path: &Path) -> Result<Columns> {
        let (file, meta) = bounded::open(path)?;
        let mut head = Vec::new();
        (&file).take(HEADER_BYTES).read_to_end(&mut head).map_err(|e| Error::io(path.display(), "reading", e))?;
        let header = Header::parse(&head, meta.len(), path)?;
        Ok(Columns { path: path.to_owned(), file: Mutex::new(file), header })
    }

    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        (self.header.rows, self.header.columns)
    }

    /// Reads the whole file once, a piece at a time, and looks for values that are not finite.
    ///
    /// # Errors
    /// `RS-08` with row and column of the first one.
    pub fn check_finite(&self) -> Result<()> {
        let Header { kind, rows, columns, fortran, start } = self.header;
        let total = rows * columns;
        let step = CHECK_BYTES / kind.bytes;
        let mut buffer = Vec::new();
        for first in (0..total).step_by(step) {
            let count = step.min(total - first);
            self.read_at(start + first * kind.bytes, count * kind.bytes, &mut buffer)?;
            let bad = buffer.chunks_exact(kind.bytes).map(|c| kind.decode(c)).enumerate().find(|(_, v)| !v.is_finite());
            if let Some((i, bad)) = bad {
                let at = first + i;
                let (row, column) = if fortran { (at % rows, at / rows) } else { (at / columns, at % columns) };
                let found = format!("row {row}, column {column} holds {bad}");
                return Err(Error::new(Code::Rs08, self.path.display(), found).expected("finite numbers"));
            }
        }
        Ok(())
    }

    /// Some columns (rows, columns).
    ///
    /// # Errors
    /// `IO-01` when the file cannot be read any more.
    ///
    /// # Panics
    /// When the range lies outside the array: a defect of the caller.
    pub fn read(&self, range: Range<usize>) -> Result<Array2<f64>> {
        let Header { kind, rows, columns, fortran, start } = self.header;
        assert!(range.end <= columns, "columns of the array");
        let mut out = Array2::zeros((rows, range.len()));
        let mut buffer = Vec::new();
        if fortran {
            for (mut column, at) in out.columns_mut().into_iter().zip(range) {
                self.read_at(start + at * rows * kind.bytes, rows * kind.bytes, &mut buffer)?;
                column.iter_mut().zip(buffer.chunks_exact(kind.bytes)).for_each(|(v, c)| *v = kind.decode(c));
            }
        } else {
            for (row, mut values) in out.rows_mut().into_iter().enumerate() {
                let at = start + (row * columns + range.start) * kind.bytes;
                self.read_at(at, range.len() * kind.bytes, &mut buffer)?;
                values.iter_mut().zip(buffer.chunks_exact(kind.bytes)).for_each(|(v, c)| *v = kind.decode(c));
            }
        }
        Ok(out)
    }

    fn read_at(&self, offset: usize, length: usize, buffer: &mut Vec<u8>) -> Result<()> {
        use std::io::{Seek, SeekFrom};
        buffer.resize(length, 0);
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(offset as u64)).and_then(|_| file.read_exact(buffer));
        read.map_err(|e| Error::io(self.path.display(), "reading", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Axis};

    #[test]
    fn columns_are_those_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let whole = Array2::from_shape_fn((5, 7), |(i, j)| (10 * i + j) as f64 - 3.5);
        let (plain, turned) = (dir.path().join("c.npy"), dir.path().join("f.npy"));
        super::super::write(&plain, whole.mapv(|v| v as f32).view()).unwrap();
        super::super::write(&turned, whole.t()).unwrap();
        let text = std::fs::read(&turned).unwrap();
        let header = String::from_utf8_lossy(&text[10..128]).replace("False", "True ").replace("(7, 5,)", "(5, 7,)");
        std::fs::write(&turned, [&text[..10], header.as_bytes(), &text[128..]].concat()).unwrap();
        for path in [plain, turned] {
            let columns = Columns::open(&path).unwrap();
            assert_eq!(columns.dim(), (5, 7));
            columns.check_finite().unwrap();
            assert_eq!(columns.read(2..6).unwrap(), whole.slice_axis(Axis(1), (2..6).into()), "{}", path.display());
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let mut whole = Array2::<f64>::zeros((4, 3));
        whole[[2, 1]] = f64::NAN;
        super::super::write(&path, whole.view()).unwrap();
        let error = Columns::open(&path).unwrap().check_finite().unwrap_err();
        assert_eq!(error.code(), Code::Rs08);
        assert!(error.to_string().contains("row 2, column 1"), "{error}");
        std::fs::write(&path, &std::fs::read(&path).unwrap()[..140]).unwrap();
        assert_eq!(Columns::open(&path).err().map(|e| e.code()), Some(Code::Rs03));
    }
}
