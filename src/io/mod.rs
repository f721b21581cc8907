//! Bytes ↔ values: bounded reading, atomic writing, digests, arrays and tables. No science here.

pub mod atomic;
pub mod binary;
pub mod bounded;
pub mod disk;
pub mod download;
pub mod gifti;
pub mod matrix;
pub mod nifti;
pub mod npy;
pub mod npz;
pub mod pickle;
pub mod records;
pub mod sparse;
pub mod table;
pub mod tar;
mod text_table;
pub mod textgrid;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::ids::Digest;

/// SHA-256 of bytes in memory.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// One digest for several files: that of the file where there is one only, else that of the lines `SHA-256  name`.
pub fn digest_of_files(files: &[(PathBuf, Digest)]) -> Digest {
    match files {
        [(_, digest)] => *digest,
        files => {
            let lines: String = files.iter().map(|(path, d)| format!("{d}  {}\n", file_name(path))).collect();
            digest(lines.as_bytes())
        }
    }
}

/// The last component of a path, as shown in records and reports: those never hold directories of the user's machine.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// SHA-256 of a file of any size.
pub fn digest_file(path: &Path) -> crate::error::Result<Digest> {
    use std::io::Read as _;
    let (mut file, _) = bounded::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest(hash.finalize().into())),
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(path.display(), "reading", e)),
        }
    }
}

/// An error's message with the names of files instead of where this machine keeps them.
pub fn without_folders(error: &Error) -> String {
    error.message().replace(error.place(), &file_name(Path::new(error.place())))
}
