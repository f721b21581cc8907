//! Reading whole files with a limit that comes from evidence (the file's own length), never from a header's claim.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Result};
use crate::ids::Digest;

/// Largest table that is read (1 GiB).
pub const MAX_TABLE_BYTES: u64 = 1 << 30;
/// Largest JSON or TOML document that is read (64 MiB; run records have their own limit).
pub const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
/// Largest array or weights file that is read (256 GiB).
pub const MAX_ARRAY_BYTES: u64 = 256 << 30;

/// A file's bytes with their digest.
pub struct FileBytes {
    /// The content.
    pub bytes: Vec<u8>,
    /// SHA-256 of exactly these bytes.
    pub digest: Digest,
}

/// Opens a regular file; a directory, a pipe or a device is refused by name, and never waited for.
pub fn open(path: &Path) -> Result<(File, Metadata)> {
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(path),
        _ => Error::new(Code::Od05, path.display(), format!("cannot be opened: {e}")).source(e),
    })?;
    if !meta.is_file() {
        let kind = if meta.is_dir() { "a directory" } else { "a pipe, a socket or a device" };
        return Err(Error::new(Code::Od05, path.display(), format!("is {kind}")).expected("a regular file"));
    }
    let file = File::open(path)
        .map_err(|e| Error::new(Code::Od05, path.display(), format!("cannot be opened: {e}")).source(e))?;
    Ok((file, meta))
}

fn missing(path: &Path) -> Error {
    let error = Error::new(Code::Od05, path.display(), "does not exist");
    if path.is_symlink() {
        return Error::new(Code::Od05, path.display(), "is a symbolic link to nothing");
    }
    let name = super::file_name(path);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return error.hint(format!("Its folder {} does not exist either", folder.display()));
    };
    let names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    match crate::error::nearest(&name, names.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("There is a {near} in that folder")),
        None => error,
    }
}

/// Reads a whole file of at most `limit` bytes. `what` names it in messages ("a stimuli table").
pub fn read(path: &Path, limit: u64, what: &str) -> Result<FileBytes> {
    let (file, meta) = open(path)?;
    let too_large = |found: u64| {
        Error::new(Code::Sc08, path.display(), format!("has {found} bytes"))
            .expected(format!("{what} of at most {limit}"))
    };
    if meta.len() > limit {
        return Err(too_large(meta.len()));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(meta.len() as usize + 1).map_err(|e| {
        Error::new(Code::Io01, path.display(), format!("{} bytes do not fit into memory", meta.len())).source(e)
    })?;
    // One byte more than the length that was promised: a file that grows while it is read is noticed, not followed.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path.display(), "reading", e))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    let digest = super::digest(&bytes);
    Ok(FileBytes { bytes, digest })
}

/// SHA-256 of a regular file, read in pieces: for files too large to be kept in memory as bytes.
pub fn digest(path: &Path) -> Result<Digest> {
    let (mut file, _) = open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Digest(hash.finalize().into())),
            Ok(n) => hash.update(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(path.display(), "reading", e)),
        }
    }
}

/// Reads a UTF-8 document; a byte-order mark is accepted and dropped.
pub fn read_text(path: &Path, limit: u64, what: &str, code: Code) -> Result<(String, Digest)> {
    let FileBytes { bytes, digest } = read(path, limit, what)?;
    let text = decode_utf8(path, &bytes, code)?;
    Ok((text.to_owned(), digest))
}

/// Decodes UTF-8 with or without a byte-order mark; other encodings are named with the place where they show.
pub fn decode_utf8<'a>(path: &Path, bytes: &'a [u8], code: Code) -> Result<&'a str> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Error::new(code, path.display(), "is UTF-16").expected("UTF-8").hint("Save it again as UTF-8"));
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
        Error::new(code, path.display(), format!("line {line} holds byte 0x{:02x} (offset {at})", bytes[at]))
            .expected("UTF-8")
            .hint("It looks like Latin-1 or a binary file; save it again as UTF-8")
            .source(e)
    })
}
