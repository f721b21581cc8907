//! Numbers in rows and columns, whatever the format: `.npy`, tables with a header, and bare columns of text as SPM
//! (`rp_*.txt`), FSL (`.par`) and AFNI (`.1D`) write them.

use std::path::Path;

use ndarray::Array2;

use super::bounded::{self, FileBytes};
use super::table::Table;
use super::{npy, npz};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::missing::MissingValues;

/// A matrix as read.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Rows × columns. Missing cells of tables are NaN.
    pub values: Array2<f64>,
    /// Names of the columns, where the format has them.
    pub names: Option<Vec<String>>,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Which array of an archive it is, and the SHA-256 of that.
    pub member: Option<(String, Digest)>,
}

/// Whether a file is an array, or an archive of arrays, by its name.
pub fn is_array(path: &Path) -> bool {
    matches!(extension(path).as_str(), "npy" | "npz")
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Reads an array; of an archive (`.npz`) the one of the name `key`, or the only one.
///
/// # Errors
/// As [`npy::read`] and [`npz::read`].
pub fn array(path: &Path, key: Option<&str>) -> Result<Matrix> {
    if extension(path) == "npz" {
        let (npz::Member { name, digest: own, values }, digest) = npz::read(path, key)?;
        return Ok(Matrix { values, names: None, digest, member: Some((name, own)) });
    }
    let (values, digest) = npy::read(path)?;
    Ok(Matrix { values, names: None, digest, member: None })
}

/// Reads a matrix; of a table the columns `wanted`, or all that hold numbers; of an archive the array `key`. Missing cells
/// of a table are NaN where `missing` lets them pass.
///
/// # Errors
/// Those of the format; `SC-09` and `SC-11` for bare columns that are ragged or hold something else than numbers.
pub fn read(path: &Path, wanted: Option<&[String]>, key: Option<&str>, missing: MissingValues) -> Result<Matrix> {
    match extension(path).as_str() {
        "npy" | "npz" => array(path, key),
        "csv" | "tsv" | "parquet" => {
            let table = Table::read(path)?;
            let names = wanted.map_or_else(|| table.numeric_names(), <[String]>::to_vec);
            if names.is_empty() {
                return Err(Error::new(Code::Sc01, path.display(), "has no column of numbers"));
            }
            let mut values = Array2::zeros((table.rows(), names.len()));
            for (name, mut column) in names.iter().zip(values.columns_mut()) {
                let values = match missing {
                    MissingValues::Refuse => table.finite_numbers(name)?,
                    MissingValues::Drop => table.known_numbers(name)?,
                };
                column.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
            }
            Ok(Matrix { values, names: Some(names), digest: table.digest(), member: None })
        }
        _ => {
            let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_TABLE_BYTES, "a table")?;
            let text = bounded::decode_utf8(path, &bytes, Code::Sc06)?;
            Ok(Matrix { values: bare(text, path)?, names: None, digest, member: None })
        }
    }
}

/// Numbers between blanks, tabs or commas, one row per line; lines that begin with `#` do not count.
fn bare(text: &str, path: &Path) -> Result<Array2<f64>> {
    let (mut values, mut columns, mut rows) = (Vec::new(), 0, 0);
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#')) {
        let place = || format!("{}, line {}", path.display(), number + 1);
        let before = values.len();
        for cell in line.split(|c: char| c.is_whitespace() || c == ',').filter(|c| !c.is_empty()) {
            let value: f64 = cell.parse().map_err(|_| {
                Error::new(Code::Sc11, place(), format!("holds {cell:?}")).expected("numbers and nothing else")
            })?;
            values.push(value);
        }
        let found = values.len() - before;
        if rows > 0 && found != columns {
            return Err(Error::new(Code::Sc09, place(), format!("has {found} numbers"))
                .expected(format!("{columns}, as before")));
        }
        (columns, rows) = (found, rows + 1);
    }
    if rows == 0 || columns == 0 {
        return Err(Error::new(Code::Sc01, path.display(), "is empty").expected("rows of numbers"));
    }
    // INVARIANT: every row added `columns` values.
    Ok(Array2::from_shape_vec((rows, columns), values).expect("rows of equal length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_columns() {
        let read = |text| bare(text, Path::new("rp.txt"));
        assert_eq!(read("# x\n 1.0e+00  -2\n3,4\n\n").unwrap(), ndarray::array![[1.0, -2.0], [3.0, 4.0]]);
        let code = |text| read(text).unwrap_err().code();
        assert_eq!((code("1 2\n3\n"), code("a b\n1 2\n"), code("\n")), (Code::Sc09, Code::Sc11, Code::Sc01));
    }

    #[test]
    fn cells_are_missing_only_where_they_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("y.csv");
        std::fs::write(&path, "a,b\n1,2\n,3\n4,x\n").unwrap();
        let read = |name: &str, missing| super::read(&path, Some(&[name.to_owned()]), None, missing);
        let known = read("a", MissingValues::Drop).unwrap().values;
        assert!(known[[1, 0]].is_nan() && (known[[0, 0]], known[[2, 0]]) == (1.0, 4.0));
        assert_eq!(read("a", MissingValues::Refuse).unwrap_err().code(), Code::Sc11);
        assert_eq!(read("b", MissingValues::Drop).unwrap_err().code(), Code::Sc11, "text is no missing value");
    }
}
