//! The one way to write a file: temporary file in the same directory → flush → fsync → rename → fsync of the directory.
//!
//! A full disk shows at the flush or at the fsync, never silently at a drop.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::disk::{self, Sink};
use crate::error::{Code, Error, Result};

/// How the names of files begin that are not finished yet.
const PREFIX: &str = ".tmp-";

/// Writes a file through `fill`; the name exists only when everything is on the disk.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |doing: &'static str| move |e: std::io::Error| write_error(path, doing, e);
    let mut temporary = disk::temporary_file(PREFIX, folder).map_err(io("creating"))?;
    {
        let mut writer = BufWriter::new(Sink(temporary.as_file_mut()));
        fill(&mut writer)?;
        writer.flush().map_err(io("writing"))?;
    }
    disk::set_mode(temporary.path(), 0o644).map_err(io("setting permissions of"))?;
    disk::sync_file(temporary.as_file()).map_err(io("syncing"))?;
    disk::persist(temporary, path).map_err(io("renaming to"))?;
    sync_directory(folder)
}

/// Writes bytes as a file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |w| w.write_all(bytes).map_err(|e| write_error(path, "writing", e)))
}

/// Writes bytes that carry a checksum of their own: whole or absent to every reader, but no wait until they are on the disk.
/// A crash of the system (not of the program) may leave them absent or damaged, and the checksum says so. For files that
/// can be made again and are many: two waits for a disk take longer than making some of them.
pub fn place(path: &Path, sealed: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = disk::temporary_file(PREFIX, folder)?;
    Sink(temporary.as_file_mut()).write_all(sealed)?;
    // Whoever may read the folder may read what lies in it: units are merged by others than their makers.
    disk::set_mode(temporary.path(), 0o644)?;
    disk::persist(temporary, path)
}

/// Makes a rename inside `folder` durable.
pub fn sync_directory(folder: &Path) -> Result<()> {
    disk::sync_folder(folder).map_err(|e| write_error(folder, "syncing", e))
}

/// An error while writing, with what to do where the cause is known.
pub fn write_error(path: &Path, doing: &str, cause: std::io::Error) -> Error {
    let hint = match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Some("Free some space and run again"),
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            Some("Choose a place that you may write to")
        }
        _ => None,
    };
    let error = Error::new(Code::Io01, path.display(), format!("{doing} it failed: {cause}")).source(cause);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_writer_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.csv");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |w| {
            w.write_all(b"new").unwrap();
            Err(Error::new(Code::Io01, "x", "y"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
