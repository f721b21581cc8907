//! The plain files of a tar archive. Nothing is ever written: names are only names.

use std::io::Read as _;
use std::path::Path;

use super::bounded::{self, FileBytes};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;

/// A file within an archive.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name, as written.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads the plain files of an archive, in order; links, devices and folders are passed over.
///
/// # Errors
/// `RS-13` when the archive is damaged, cut short or holds no file.
pub fn read(path: &Path) -> Result<(Vec<Member>, Digest)> {
    let FileBytes { bytes, digest } = bounded::read(path, bounded::MAX_ARRAY_BYTES, "an archive")?;
    Ok((parse(&bytes, path)?, digest))
}

/// Reads the bytes of an archive; `path` is used in messages.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Vec<Member>> {
    let fail = |e: std::io::Error| {
        Error::new(Code::Rs13, path.display(), format!("is damaged: {e}")).expected("a complete tar archive").source(e)
    };
    let mut members = Vec::new();
    for entry in tar::Archive::new(bytes).entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let size = entry.size();
        let mut content = Vec::new();
        // The archive is in memory: no member can be larger than what is left of it.
        entry.read_to_end(&mut content).map_err(fail)?;
        if content.len() as u64 != size {
            let found = format!("{name} has {} of {size} bytes", content.len());
            return Err(Error::new(Code::Rs13, path.display(), found).expected("a complete tar archive"));
        }
        members.push(Member { name, bytes: content });
    }
    if members.is_empty() {
        return Err(Error::new(Code::Rs13, path.display(), "holds no file").expected("a tar archive"));
    }
    Ok(members)
}
