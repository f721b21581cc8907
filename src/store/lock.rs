//! Operating-system locks: they vanish with their process, whatever happens to it.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Code, Error, Result, Warning};
use crate::io::atomic::write_error;
use crate::io::disk;

/// How often a lock that somebody has is asked for again, and after how long: who only looks whether it is held
/// ([`Lock::is_held`]) has it for a moment.
const LOOKS: usize = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// A lock on a file that is there while someone holds it; released when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    shared: bool,
    /// Whether the file system knows locks.
    real: bool,
}

impl Lock {
    /// A lock for one process. The file says who that is.
    ///
    /// # Errors
    /// `OD-06` for `target`, saying `taken` and the holder.
    pub(super) fn alone(path: &Path, target: &Path, taken: &str) -> Result<Lock> {
        let lock = Lock::take(path, false).and_then(|file| file.ok_or_else(|| held(path, target, taken)))?;
        lock.say(&format!("process {} on {}", std::process::id(), host()))?;
        Ok(lock)
    }

    /// A lock that others may share, but none who wants it alone.
    ///
    /// # Errors
    /// `OD-06` for `target` when somebody has it alone.
    pub(super) fn shared(path: &Path, target: &Path) -> Result<Lock> {
        let taken = "is being written by ";
        let lock = Lock::take(path, true).and_then(|file| file.ok_or_else(|| held(path, target, taken)))?;
        lock.say("shards of the same run")?;
        Ok(lock)
    }

    /// Whether it keeps others out: not where the file system knows no locks.
    pub(super) fn is_real(&self) -> bool {
        self.real
    }

    /// What the user must know about a lock that keeps nobody out.
    pub fn warning(&self) -> Option<Warning> {
        let message = "the file system of the output knows no locks: a second run to the same place, or a second process of \
                       one shard, would not be noticed before its end";
        (!self.real).then(|| Warning::new(Code::Od06.as_str(), message))
    }

    /// Whether a process holds the lock.
    pub(super) fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    fn take(path: &Path, shared: bool) -> Result<Option<Lock>> {
        let io = |e: std::io::Error| write_error(path, "locking", e);
        let mut looks = 0;
        loop {
            let file = disk::open_to_lock(path).map_err(io)?;
            match disk::try_lock(&file, shared) {
                Err(TryLockError::WouldBlock) if looks == LOOKS => return Ok(None),
                Err(TryLockError::WouldBlock) => {
                    looks += 1;
                    std::thread::sleep(BETWEEN_LOOKS);
                    continue;
                }
                Err(TryLockError::Error(e)) if without_locks(&e) => {
                    return Ok(Some(Lock { file, path: path.to_owned(), shared, real: false }));
                }
                Err(TryLockError::Error(e)) => return Err(io(e)),
                Ok(()) => {}
            }
            // The holder before us may have removed the file between our opening and locking it: look again.
            if same_file(&file, path) {
                return Ok(Some(Lock { file, path: path.to_owned(), shared, real: true }));
            }
        }
    }

    fn say(&self, holder: &str) -> Result<()> {
        let mut file = &self.file;
        let said = file.set_len(0).and_then(|()| file.rewind());
        let said = said.and_then(|()| disk::write_all(file, format!("{holder}\n").as_bytes()));
        said.map_err(|e| write_error(&self.path, "locking", e))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.shared {
            self.file.unlock().ok();
        }
        // The last of those who shared it removes it.
        if !self.shared || !self.real || self.file.try_lock().is_ok() {
            fs::remove_file(&self.path).ok();
            self.file.unlock().ok();
        }
    }
}

fn held(path: &Path, target: &Path, taken: &str) -> Error {
    let mut holder = String::new();
    File::open(path).and_then(|mut file| file.read_to_string(&mut holder)).ok();
    let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
    Error::new(Code::Od06, target.display(), format!("{taken}{holder}")).hint("Wait for it, or choose another --out")
}

/// Some network file systems say that they have no locks (`ENOLCK`, `ENOTSUP`, `ENOSYS`).
fn without_locks(error: &std::io::Error) -> bool {
    const ENOLCK: i32 = 37;
    error.kind() == ErrorKind::Unsupported || cfg!(target_os = "linux") && error.raw_os_error() == Some(ENOLCK)
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "this host".to_owned(), |h| h.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_share_or_one_has_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join(".x.lock"), dir.path().join("x"));
        let (one, two) = (Lock::shared(&path, &target).unwrap(), Lock::shared(&path, &target).unwrap());
        let refused = Lock::alone(&path, &target, "is being written by ").unwrap_err();
        assert!(refused.to_string().contains("is being written by shards of the same run"), "{refused}");
        drop(one);
        assert!(path.exists() && Lock::alone(&path, &target, "").is_err(), "one of them is left");
        drop(two);
        assert!(!path.exists() && !Lock::is_held(&path));
        let alone = Lock::alone(&path, &target, "").unwrap();
        assert!(Lock::is_held(&path));
        let refused = Lock::shared(&path, &target).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(alone);
        assert!(Lock::shared(&path, &target).is_ok() && !path.exists());
    }

    #[test]
    fn who_only_looks_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".x.lock");
        for _ in 0..3 {
            let looking = File::create(&path).unwrap();
            looking.lock_shared().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| drop(looking));
                Lock::alone(&path, dir.path(), "").unwrap();
            });
        }
    }
}
