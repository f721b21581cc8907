//! The inputs of a run, looked at again at its end. What was recorded is the digest of the bytes that were read, so no result is
//! wrong when a file changes meanwhile; but whoever looks at the file later must know that it is another one.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Code, Warning};
use crate::ids::Digest;
use crate::io::{bounded, file_name};

/// The inputs of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Vec<Input>);

#[derive(Debug, Clone)]
struct Input {
    path: PathBuf,
    sha256: Digest,
    stamp: Option<Stamp>,
}

/// What shows without reading that a file is not what it was. Times only say where to look; digests decide.
#[derive(Debug, Clone, PartialEq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Stamp { length: meta.len(), modified: meta.modified().ok() })
    }
}

impl Watched {
    /// Notes a file whose bytes have just been read.
    pub fn add(&mut self, path: &Path, sha256: Digest) {
        self.0.push(Input { path: path.to_owned(), sha256, stamp: Stamp::of(path) });
    }

    /// A warning for every file that is another one now, or gone.
    pub fn changed(&self) -> Vec<Warning> {
        let other = |input: &&Input| {
            Stamp::of(&input.path) != input.stamp && bounded::digest(&input.path).ok() != Some(input.sha256)
        };
        let told = |input: &Input| {
            let name = file_name(&input.path);
            let message = format!(
                "{name} changed during the run; the results are those of its earlier content, SHA-256 {}",
                input.sha256
            );
            Warning::new(Code::In01.as_str(), message)
        };
        self.0.iter().filter(other).map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_bytes_are_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["same", "touched", "changed", "gone"];
        let mut watched = Watched::default();
        for name in names {
            let path = dir.path().join(name);
            std::fs::write(&path, "content").unwrap();
            watched.add(&path, bounded::digest(&path).unwrap());
        }
        assert_eq!(watched.changed(), []);
        let later = SystemTime::now() + std::time::Duration::from_secs(100);
        for (name, content) in [("touched", "content"), ("changed", "CONTENT")] {
            std::fs::write(dir.path().join(name), content).unwrap();
            let file = std::fs::File::options().append(true).open(dir.path().join(name)).unwrap();
            file.set_modified(later).unwrap();
        }
        std::fs::remove_file(dir.path().join("gone")).unwrap();
        let told: Vec<String> = watched.changed().into_iter().map(|w| w.message).collect();
        assert!(told.len() == 2 && told[0].starts_with("changed changed") && told[1].starts_with("gone "), "{told:?}");
    }
}
