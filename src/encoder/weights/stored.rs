use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::safetensors::SafetensorsFile;
use super::torch::TorchFile;
use crate::error::{Code, Error, Result};
use crate::io::bounded;

/// A tensor as a file describes it; its values are read when they are wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    /// Its name in the file.
    pub name: String,
    /// The type of its values, in the words of safetensors (`F32`, `BF16`, …).
    pub dtype: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Where its values are.
    pub place: Place,
}

/// Where the values of a tensor are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// One after the other, at these bytes of the file.
    Bytes(Range<u64>),
    /// In a storage of `elements` values inside a PyTorch archive, from `offset`, with steps between them.
    Storage { key: String, elements: usize, offset: usize, strides: Vec<usize> },
}

impl Stored {
    /// Number of values.
    pub fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent))
    }
}

/// A weights file of either format.
#[derive(Debug)]
pub(super) enum Archive {
    Safetensors(SafetensorsFile),
    Torch(TorchFile),
}

impl Archive {
    /// Opens a weights file by its name: `.safetensors`, else a PyTorch archive.
    ///
    /// # Errors
    /// What the file is instead, or where it is damaged. Nothing is ever executed.
    pub fn open(path: &Path) -> Result<Archive> {
        if path.extension().is_some_and(|e| e == "safetensors") {
            SafetensorsFile::open(path).map(Archive::Safetensors)
        } else {
            TorchFile::open(path).map(Archive::Torch)
        }
    }

    /// All tensors.
    pub fn tensors(&self) -> &[Stored] {
        match self {
            Archive::Safetensors(file) => &file.tensors,
            Archive::Torch(file) => &file.tensors,
        }
    }

    /// The values of tensor `index` as float32, in row-major order; half precisions are widened exactly.
    ///
    /// # Errors
    /// `ST-09` for another type of values, `IN-01` when the file became shorter.
    pub fn read(&mut self, index: usize) -> Result<Vec<f32>> {
        match self {
            Archive::Safetensors(file) => file.read(index),
            Archive::Torch(file) => file.read(index),
        }
    }
}

/// Bytes of one value, for the types that are read.
pub(super) fn width(dtype: &str) -> Option<usize> {
    match dtype {
        "F32" => Some(4),
        "F16" | "BF16" => Some(2),
        _ => None,
    }
}

/// The error for a type of values that is not read.
pub(super) fn unusable(path: &Path, stored: &Stored) -> Error {
    Error::new(Code::St09, path.display(), format!("tensor {:?} holds {} values", stored.name, stored.dtype))
        .expected("F32, F16 or BF16")
}

/// Little-endian values as float32.
pub(super) fn widen(dtype: &str, data: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        "F32" => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        "F16" => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        "BF16" => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        _ => return None,
    })
}

/// A regular file of which parts are read.
#[derive(Debug)]
pub(super) struct Parts {
    pub path: PathBuf,
    pub length: u64,
    file: File,
}

impl Parts {
    /// Opens it, and says what a file that holds no weights really is.
    pub fn open(path: &Path) -> Result<Parts> {
        let (file, meta) = bounded::open(path)?;
        let mut parts = Parts { path: path.to_owned(), length: meta.len(), file };
        let fail = |code: Code, found: &str| Error::new(code, path.display(), found);
        if parts.length == 0 {
            return Err(fail(Code::St01, "is empty").hint("Download or save it again"));
        }
        let head = parts.read(0..parts.length.min(256))?;
        if head.starts_with(b"version https://git-lfs") {
            return Err(
                fail(Code::St04, "is a Git-LFS pointer, not the weights").hint("Run `git lfs pull` in its folder")
            );
        }
        let text = head.trim_ascii_start();
        if text.starts_with(b"<") {
            return Err(fail(Code::St04, "is an HTML page, not the weights").hint("Download it again"));
        }
        if text.starts_with(b"{\"error") {
            return Err(fail(Code::St04, "is a server's error message, not the weights").hint("Download it again"));
        }
        Ok(parts)
    }

    /// These bytes, which must lie inside the file.
    pub fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        let changed = |e: std::io::Error| {
            Error::new(Code::In01, self.path.display(), format!("could not be read to its end: {e}"))
                .hint("Run again when nothing writes to it")
                .source(e)
        };
        let length = (range.end - range.start) as usize;
        let mut bytes = reserve(length, &self.path)?;
        self.file.seek(SeekFrom::Start(range.start)).map_err(changed)?;
        (&mut self.file).take(length as u64).read_to_end(&mut bytes).map_err(changed)?;
        if bytes.len() != length {
            return Err(changed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    /// The file itself, for readers of a whole format.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Room for `length` bytes, or an error instead of an abort.
pub(super) fn reserve(length: usize, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|e| {
        Error::new(Code::Io01, path.display(), format!("{length} bytes do not fit into memory")).source(e)
    })?;
    Ok(bytes)
}
