//! NumPy arrays (`.npy`, format versions 1–3): numeric, one or two dimensions.
//!
//! The header is checked against the file's length before anything is allocated; pickled objects are refused.
//! Format: numpy.lib.format, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//! Not for: structured, complex, boolean or string arrays.

mod columns;

use std::path::Path;

use ndarray::{Array2, ArrayView, Dimension, ShapeBuilder};

pub use columns::Columns;

use super::bounded::{self, FileBytes};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The numbers that `bytes` hold, by NumPy's name of their type, such as `<f4`; `None` for another type, or a rest.
pub fn decode(descr: &str, bytes: &[u8]) -> Option<Vec<f64>> {
    let kind = Kind::from_descr(descr)?;
    bytes
        .len()
        .is_multiple_of(kind.bytes)
        .then(|| bytes.chunks_exact(kind.bytes).map(|chunk| kind.decode(chunk)).collect())
}

/// Reads a numeric array as float64. A one-dimensional array comes back as one column.
pub fn read(path: &Path) -> Result<(Array2<f64>, Digest)> {
    let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_ARRAY_BYTES, "an array")?;
    Ok((parse(&bytes, path)?, digest))
}

/// Parses the bytes of a `.npy` file; `place` is used in messages.
pub fn parse(bytes: &[u8], place: &Path) -> Result<Array2<f64>> {
    let Header { kind, rows, columns, fortran, start } = Header::parse(bytes, bytes.len() as u64, place)?;
    let values: Vec<f64> = bytes[start..].chunks_exact(kind.bytes).map(|chunk| kind.decode(chunk)).collect();
    let order = (rows, columns).set_f(fortran);
    Array2::from_shape_vec(order, values)
        .map_err(|e| Error::new(Code::Rs04, place.display(), "has a damaged .npy header").source(e))
}

/// Bytes that the values of an array take as float64, by the header at the start of `bytes`; the whole has `length` bytes.
///
/// # Errors
/// Those of [`parse`].
pub(super) fn bytes_as_float64(bytes: &[u8], length: u64, place: &Path) -> Result<u64> {
    let Header { rows, columns, .. } = Header::parse(bytes, length, place)?;
    Ok((rows as u64).saturating_mul(columns as u64).saturating_mul(8))
}

/// What a file says about its array, checked against the file's length.
#[derive(Clone, Copy)]
struct Header {
    kind: Kind,
    rows: usize,
    columns: usize,
    fortran: bool,
    /// First byte of the data.
    start: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`, which may be only the beginning of a file of `length` bytes.
    fn parse(bytes: &[u8], file_length: u64, place: &Path) -> Result<Header> {
        let fail = |code: Code, found: String| Error::new(code, place.display(), found);
        if !bytes.starts_with(MAGIC) {
            let first: Vec<String> = bytes.iter().take(6).map(|b| format!("{b:02x}")).collect();
            return Err(
                fail(Code::Rs04, format!("starts with bytes {}", first.join(" "))).expected("a NumPy .npy file")
            );
        }
        let damaged = || fail(Code::Rs04, "has a damaged .npy header".to_owned());
        let major = *bytes.get(6).ok_or_else(damaged)?;
        let (length, start) = if major == 1 {
            let field = bytes.get(8..10).ok_or_else(damaged)?;
            (usize::from(u16::from_le_bytes([field[0], field[1]])), 10)
        } else {
            let field = bytes.get(8..12).ok_or_else(damaged)?;
            (u32::from_le_bytes([field[0], field[1], field[2], field[3]]) as usize, 12)
        };
        let end = length.checked_add(start).ok_or_else(damaged)?;
        let header = bytes.get(start..end).and_then(|h| std::str::from_utf8(h).ok()).ok_or_else(damaged)?;
        let descr = quoted(header, "descr")
            .ok_or_else(|| fail(Code::Rs06, "is a structured array".to_owned()).expected("plain numbers"))?;
        let fortran = after(header, "fortran_order").is_some_and(|rest| rest.starts_with("True"));
        let shape = shape(header).ok_or_else(damaged)?;
        if descr.contains('O') {
            return Err(fail(Code::Rs01, "holds Python objects; they are not read".to_owned())
                .expected("numbers")
                .hint("Save it with a numeric dtype: np.save(path, a.astype(np.float32))"));
        }
        let kind = Kind::from_descr(descr).ok_or_else(|| {
            fail(Code::Rs06, format!("holds values of type {descr}")).expected("real numbers (float or integer)")
        })?;
        let (rows, columns) = match shape[..] {
            [rows] => (rows, 1),
            [rows, columns] => (rows, columns),
            _ => {
                return Err(fail(Code::Rs02, format!("has shape {shape:?}")).expected("(rows, targets)"));
            }
        };
        if rows == 0 || columns == 0 {
            return Err(fail(Code::Rs02, format!("has shape {shape:?}")).expected("at least one row and one column"));
        }
        let held = file_length.saturating_sub(end as u64);
        let wanted = rows.checked_mul(columns).and_then(|n| n.checked_mul(kind.bytes));
        match wanted {
            Some(n) if n as u64 == held => {}
            Some(n) if (n as u64) < held => {
                return Err(fail(Code::Rs04, format!("has {} bytes after its data", held - n as u64)));
            }
            _ => {
                let claim = wanted.map_or("more bytes than can be counted".to_owned(), |n| format!("{n} bytes"));
                return Err(fail(Code::Rs03, format!("claims shape {shape:?} ({claim}) but holds {held} bytes"))
                    .hint("The file was cut short or its header is false; write it again"));
            }
        }
        Ok(Header { kind, rows, columns, fortran, start: end })
    }
}

/// One numeric type of the format.
#[derive(Clone, Copy)]
struct Kind {
    class: u8,
    bytes: usize,
    big: bool,
}

impl Kind {
    fn from_descr(descr: &str) -> Option<Kind> {
        let (order, rest) = descr.split_at_checked(1)?;
        let class = *rest.as_bytes().first()?;
        let bytes: usize = rest.get(1..)?.parse().ok()?;
        let known = matches!((class, bytes), (b'f', 2 | 4 | 8) | (b'i' | b'u', 1 | 2 | 4 | 8));
        let big = match order {
            "<" | "|" | "=" => false,
            ">" => true,
            _ => return None,
        };
        known.then_some(Kind { class, bytes, big })
    }

    fn decode(self, chunk: &[u8]) -> f64 {
        let mut raw = [0u8; 8];
        for (i, byte) in chunk.iter().enumerate() {
            raw[if self.big { self.bytes - 1 - i } else { i }] = *byte;
        }
        let bits = u64::from_le_bytes(raw);
        match (self.class, self.bytes) {
            (b'f', 2) => half::f16::from_bits(bits as u16).to_f64(),
            (b'f', 4) => f64::from(f32::from_bits(bits as u32)),
            (b'f', _) => f64::from_bits(bits),
            (b'u', _) => bits as f64,
            (_, size) => {
                let shift = 64 - 8 * size as u32;
                ((bits << shift) as i64 >> shift) as f64
            }
        }
    }
}

/// The rest of the header after `'key':`, without leading blanks.
fn after<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{key}'"))?;
    Some(header[at + key.len() + 2..].trim_start().strip_prefix(':')?.trim_start())
}

fn quoted<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    after(header, key)?.strip_prefix('\'')?.split('\'').next()
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let inside = after(header, "shape")?.strip_prefix('(')?.split(')').next()?;
    inside.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect()
}

/// A number type that arrays are written in.
pub trait Element: Copy {
    /// The type's name in the header.
    const DESCR: &'static str;
    /// Appends the little-endian bytes.
    fn put(self, out: &mut Vec<u8>);
}

impl Element for f32 {
    const DESCR: &'static str = "<f4";
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

impl Element for f64 {
    const DESCR: &'static str = "<f8";
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

impl Element for bool {
    const DESCR: &'static str = "|b1";
    fn put(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }
}

/// Writes an array of any rank, C order, little-endian, format version 1.
pub fn write<T: Element, D: Dimension>(path: &Path, array: ArrayView<'_, T, D>) -> Result<()> {
    let extents: Vec<String> = array.shape().iter().map(|n| format!("{n},")).collect();
    let dict = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", T::DESCR, extents.join(" "));
    // The data starts at a multiple of 64 bytes: 10 bytes of prefix, the text, blanks, a line feed.
    let padded = (10 + dict.len() + 1).div_ceil(64) * 64 - 10;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&[1, 0]);
    head.extend_from_slice(&(padded as u16).to_le_bytes());
    head.extend_from_slice(format!("{dict:<width$}\n", width = padded - 1).as_bytes());
    super::atomic::write_with(path, |w| {
        let io = |e| super::atomic::write_error(path, "writing", e);
        w.write_all(&head).map_err(io)?;
        let mut buffer = Vec::with_capacity(1 << 16);
        for value in array.iter() {
            value.put(&mut buffer);
            if buffer.len() >= 1 << 16 {
                w.write_all(&buffer).map_err(io)?;
                buffer.clear();
            }
        }
        w.write_all(&buffer).map_err(io)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn npy(dict: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[1, 0]);
        bytes.extend_from_slice(&(dict.len() as u16).to_le_bytes());
        bytes.extend_from_slice(dict.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn code(bytes: &[u8]) -> Code {
        parse(bytes, Path::new("a.npy")).unwrap_err().code()
    }

    #[test]
    fn writes_what_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let a = array![[1.5, -2.0, 3.0], [4.0, 5.0, 1e-300]];
        write(&path, a.view()).unwrap();
        assert_eq!(read(&path).unwrap().0, a);
    }

    #[test]
    fn reads_orders_and_types() {
        let big = npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }", &[0xFF, 0xFE, 0x01, 0x00]);
        assert_eq!(parse(&big, Path::new("a")).unwrap(), array![[-2.0], [256.0]]);
        let fortran = npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2), }", &[1, 2, 3, 4]);
        assert_eq!(parse(&fortran, Path::new("a")).unwrap(), array![[1.0, 3.0], [2.0, 4.0]]);
    }

    #[test]
    fn refuses_what_it_must() {
        assert_eq!(code(b"PK\x03\x04"), Code::Rs04);
        assert_eq!(code(&npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"x")), Code::Rs01);
        assert_eq!(code(&npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", &[0; 8])), Code::Rs06);
        assert_eq!(
            code(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (500000, 500000), }", &[0; 24])),
            Code::Rs03
        );
        let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }";
        assert_eq!(code(&npy(huge, &[])), Code::Rs03);
        assert_eq!(code(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", &[0; 5])), Code::Rs04);
        assert_eq!(code(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1), }", &[0; 4])), Code::Rs02);
        assert_eq!(code(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", &[])), Code::Rs02);
    }
}
