//! Archives of NumPy arrays (`.npz`, as `numpy.savez` and `savez_compressed` write them): one array of an archive.
//!
//! An archive is never unpacked to disk. An array is unpacked in memory where its bytes can be what the archive's directory
//! says. Format: numpy.lib.format, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//! Not for: several arrays (which of them is meant nobody says), sparse matrices ([`super::sparse`]).

use std::borrow::Cow;
use std::io::{Cursor, Read as _};
use std::path::Path;

use ndarray::Array2;
use zip::ZipArchive;

use super::bounded::{self, FileBytes};
use super::{digest, npy};
use crate::error::{Code, Error, Result, first_five};
use crate::ids::Digest;

/// Bytes of the values (as float64) for each byte that an array takes in the archive, at most. Measured responses compress to a
/// half; whoever has an array of almost nothing but zeros can save it as it is.
const MOST_PER_BYTE: u64 = 32;
/// Bytes in which the header of an array ends.
const HEADER: u64 = 1 << 16;

/// An array of an archive.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// SHA-256 of what the archive holds of it.
    pub digest: Digest,
    /// Rows × columns.
    pub values: Array2<f64>,
}

/// Reads the array `key` of an archive as float64, or its only one. A one-dimensional array comes back as one column.
///
/// # Errors
/// `RS-10` for a damaged archive, one without the array, one with several of which none is named, and one whose names lead
/// elsewhere or whose sizes cannot be; for the array itself as [`npy::read`].
pub fn read(path: &Path, key: Option<&str>) -> Result<(Member, Digest)> {
    let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_ARRAY_BYTES, "an archive of arrays")?;
    Ok((parse(&bytes, path, key)?, digest))
}

/// Parses the bytes of an archive; `path` is used in messages.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path, key: Option<&str>) -> Result<Member> {
    let fail = |found: String| Error::new(Code::Rs10, path.display(), found);
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| {
        fail(format!("is no zip archive: {e}"))
            .expected("an archive that numpy.savez wrote")
            .hint("Fetch it again")
            .source(e)
    })?;
    let names: std::result::Result<Vec<String>, _> = archive.file_names().map(|n| n.map(Cow::into_owned)).collect();
    let mut names = names.map_err(|e| fail(format!("has a member whose name cannot be read: {e}")).source(e))?;
    names.sort_unstable();
    let leaves = |name: &String| name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..");
    if let Some(name) = names.iter().find(|name| leaves(name)) {
        return Err(fail(format!("has a member {name:?}"))
            .expected("names of arrays")
            .hint("numpy writes no such archive"));
    }
    let arrays = || first_five(names.iter().map(|name| array_name(name)));
    let name = match (key, &names[..]) {
        (_, []) => return Err(fail("holds no array".to_owned()).expected("one array")),
        (None, [name]) => name,
        (None, several) => {
            return Err(fail(format!("holds {} arrays: {}", several.len(), arrays()))
                .expected("one array, or the name of the one that is meant")
                .hint(format!(
                    "Name it ([responses] key = {0:?}, or --key {0}), or save it by itself",
                    array_name(&several[0])
                )));
        }
        (Some(key), names) => names.iter().find(|name| array_name(name) == key).ok_or_else(|| {
            fail(format!("has no array {key:?}")).expected(format!("one of: {}", arrays())).hint("See key and --key")
        })?,
    };
    let damaged = |e: String| fail(format!("array {:?} is damaged: {e}", array_name(name))).hint("Fetch it again");
    let mut entry = archive.by_name(name).map_err(|e| damaged(e.to_string()).source(e))?;
    let (packed, claimed) = (entry.compressed_size().min(bytes.len() as u64), entry.size());
    // What the header says is checked before anything is unpacked that it would take.
    let mut content = Vec::new();
    let mut unpack = |most: u64, content: &mut Vec<u8>| {
        let read = entry.by_ref().take(most).read_to_end(content);
        read.map_err(|e| damaged(e.to_string()).source(e))
    };
    unpack(HEADER.min(claimed), &mut content)?;
    let taken = npy::bytes_as_float64(&content, claimed, path)?;
    if taken.max(claimed) > packed.saturating_mul(MOST_PER_BYTE) {
        return Err(fail(format!(
            "array {:?} claims {claimed} bytes ({taken} as float64) and takes {packed}",
            array_name(name)
        ))
        .expected(format!("at most {MOST_PER_BYTE} bytes for each that it takes"))
        .hint("Save it as .npy"));
    }
    unpack(claimed + 1 - content.len() as u64, &mut content)?;
    if content.len() as u64 != claimed {
        return Err(damaged(format!("it has {} of {claimed} bytes", content.len())));
    }
    let (name, digest) = (array_name(name).to_owned(), digest(&content));
    Ok(Member { name, digest, values: npy::parse(&content, path)? })
}

/// The name by which numpy knows a member.
fn array_name(member: &str) -> &str {
    member.strip_suffix(".npy").unwrap_or(member)
}
