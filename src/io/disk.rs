//! The one door to the disk for all that writes: files, folders, renames, fsyncs. Behind it nothing is remembered and nothing
//! retried; it is there so that every one of these operations can be made to fail, in a test, one after the other.
//!
//! The idea is SQLite's (sqlite.org/testing.html, "I/O error testing"): run once and count the operations, then run again and
//! let the first fail, the second, … the last; each time the old output is intact or the new one complete. An architecture
//! test keeps writing out of all other files.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

/// What goes wrong; see [`inject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full from this operation on: half of a write still goes through, after that nothing does.
    Full,
    /// This operation alone fails as on a damaged device.
    Broken,
    /// Writes take half of what they are given from this operation on. No error: writers must go on.
    Short,
    /// The file system knows no locks.
    NoLocks,
}

#[derive(Debug, Clone, Copy, Default)]
struct Plan {
    fault: Option<Fault>,
    at: u64,
    seen: u64,
    struck: bool,
}

thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan { fault: None, at: 0, seen: 0, struck: false }) };
}

/// Makes operations of this thread fail, from the one with number `at` (counted from 0) on, until the guard is dropped.
/// For tests: nothing in the program calls it, and no flag or variable of the environment leads here.
#[doc(hidden)]
pub fn inject(fault: Fault, at: u64) -> Injected {
    PLAN.set(Plan { fault: Some(fault), at, seen: 0, struck: false });
    Injected(())
}

/// Faults are injected while this lives.
#[doc(hidden)]
#[derive(Debug)]
pub struct Injected(());

impl Injected {
    /// Whether any operation met the fault.
    pub fn struck(&self) -> bool {
        PLAN.get().struck
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        PLAN.get().seen
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        PLAN.set(Plan::default());
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    /// Takes room on the disk.
    Takes,
    Write,
    /// Takes none.
    Other,
    Lock,
}

/// How much of a write of `wanted` bytes goes through, or the injected error.
fn admit(operation: Operation, wanted: usize) -> io::Result<usize> {
    let mut plan = PLAN.get();
    let Some(fault) = plan.fault else { return Ok(wanted) };
    let number = plan.seen;
    plan.seen += 1;
    let first = number == plan.at;
    let writes = operation == Operation::Write;
    let answer = match fault {
        Fault::Full if number >= plan.at && first && writes && wanted > 1 => Ok(Some(wanted / 2)),
        Fault::Full if number >= plan.at && (writes || operation == Operation::Takes) => {
            Err(ErrorKind::StorageFull.into())
        }
        Fault::Broken if first => Err(io::Error::other("input/output error")),
        Fault::Short if number >= plan.at && writes && wanted > 1 => Ok(Some(wanted / 2)),
        Fault::NoLocks if operation == Operation::Lock => Err(ErrorKind::Unsupported.into()),
        _ => Ok(None),
    };
    plan.struck |= !matches!(answer, Ok(None));
    PLAN.set(plan);
    answer.map(|part| part.unwrap_or(wanted))
}

/// A file that is being written.
#[derive(Debug)]
pub struct Sink<'a>(pub &'a mut File);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let admitted = admit(Operation::Write, bytes.len())?;
        self.0.write(&bytes[..admitted])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes to a file that is held open elsewhere.
pub fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    let admitted = admit(Operation::Write, bytes.len())?;
    file.write_all(&bytes[..admitted])?;
    if admitted < bytes.len() { write_all(file, &bytes[admitted..]) } else { Ok(()) }
}

/// As [`fs::create_dir`].
pub fn create_dir(path: &Path) -> io::Result<()> {
    admit(Operation::Takes, 0)?;
    fs::create_dir(path)
}

/// As [`fs::create_dir_all`].
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    admit(Operation::Takes, 0)?;
    fs::create_dir_all(path)
}

/// A new file in a folder, removed when dropped before [`persist`]. Its name is random: it never follows a link.
pub fn temporary_file(prefix: &str, folder: &Path) -> io::Result<NamedTempFile> {
    admit(Operation::Takes, 0)?;
    tempfile::Builder::new().prefix(prefix).tempfile_in(folder)
}

/// A new folder in another one, removed when dropped.
pub fn temporary_folder(prefix: impl AsRef<std::ffi::OsStr>, parent: &Path) -> io::Result<TempDir> {
    admit(Operation::Takes, 0)?;
    tempfile::Builder::new().prefix(prefix.as_ref()).tempdir_in(parent)
}

/// Whether a folder can be written to. A file without a name: nothing of it can be left, even by a kill at this moment.
pub fn try_writing(folder: &Path) -> io::Result<()> {
    admit(Operation::Takes, 0)?;
    tempfile::tempfile_in(folder).map(drop)
}

/// An empty file.
pub fn create_empty(path: &Path) -> io::Result<()> {
    admit(Operation::Takes, 0)?;
    File::create(path).map(drop)
}

/// A new folder where the system keeps such, removed when dropped.
pub fn scratch_folder() -> io::Result<TempDir> {
    admit(Operation::Takes, 0)?;
    tempfile::tempdir()
}

/// Gives a temporary file its name, in place of whatever had it; a link of that name is replaced, not followed.
pub fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    admit(Operation::Other, 0)?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// A file that is written from its beginning, or from its end on; never through a link that somebody put in its place.
pub fn open_to_write(path: &Path, from_the_end: bool) -> io::Result<File> {
    admit(Operation::Takes, 0)?;
    let mut options = File::options();
    no_link(options.create(true).write(true).append(from_the_end).truncate(!from_the_end)).open(path)
}

/// A file that is read and written, made when it is not there; never through a link.
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    admit(Operation::Takes, 0)?;
    no_link(File::options().read(true).write(true).create(true).truncate(false)).open(path)
}

/// A file or a device that the user named to have lines appended.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    admit(Operation::Takes, 0)?;
    File::options().create(true).append(true).open(path)
}

#[cfg(unix)]
fn no_link(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
}

#[cfg(not(unix))]
fn no_link(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    options
}

/// Takes the lock of a file, alone or shared, without waiting.
pub fn try_lock(file: &File, shared: bool) -> Result<(), fs::TryLockError> {
    admit(Operation::Lock, 0).map_err(fs::TryLockError::Error)?;
    if shared { file.try_lock_shared() } else { file.try_lock() }
}

/// As [`fs::copy`].
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    admit(Operation::Takes, 0)?;
    fs::copy(from, to).map(drop)
}

/// As [`fs::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    admit(Operation::Other, 0)?;
    fs::rename(from, to)
}

/// Removes a file, or a folder and all in it. What is gone already, as when two processes remove the same, is no error.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    admit(Operation::Other, 0)?;
    let is_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Two folders take each other's names, in one step where the file system can.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    admit(Operation::Other, 0)?;
    exchange_at_once(one, other)
}

#[cfg(target_os = "linux")]
fn exchange_at_once(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // Some file systems cannot exchange.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => exchange_in_steps(one, other),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange_at_once(one: &Path, other: &Path) -> io::Result<()> {
    exchange_in_steps(one, other)
}

/// Moves the other aside first and puts it back when the one cannot take its place.
fn exchange_in_steps(one: &Path, other: &Path) -> io::Result<()> {
    let aside = one.with_extension("old");
    // Left by a process that was killed. The other has its place: this is nobody's only copy.
    if aside.is_dir() {
        fs::remove_dir_all(&aside)?;
    }
    rename(other, &aside)?;
    if let Err(e) = rename(one, other) {
        fs::rename(&aside, other)?;
        return Err(e);
    }
    // The new one has its place; should the old one not find its own, it goes now instead of later.
    rename(&aside, one).or_else(|_| fs::remove_dir_all(&aside))
}

/// Waits until a file is on the disk.
pub fn sync_file(file: &File) -> io::Result<()> {
    admit(Operation::Takes, 0)?;
    file.sync_all()
}

/// Waits until the names within a folder are on the disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    admit(Operation::Other, 0)?;
    File::open(folder)?.sync_all()
}

/// Says that a file was used now.
pub fn touch(path: &Path) -> io::Result<()> {
    File::options().append(true).open(path)?.set_modified(std::time::SystemTime::now())
}

/// Temporary files and folders are private; results are not.
#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    admit(Operation::Other, 0)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Temporary files and folders are private; results are not.
#[cfg(not(unix))]
pub fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_when_they_should() {
        let dir = scratch_folder().unwrap();
        let mut file = open_to_write(&dir.path().join("a"), false).unwrap();
        let full = inject(Fault::Full, 1);
        let mut sink = Sink(&mut file);
        assert_eq!(sink.write(b"abcd").unwrap(), 4);
        assert_eq!(sink.write(b"abcd").unwrap(), 2, "what still fits");
        assert_eq!(sink.write(b"cd").unwrap_err().kind(), ErrorKind::StorageFull);
        rename(&dir.path().join("a"), &dir.path().join("b")).unwrap();
        assert!(full.struck() && full.operations() == 4);
        drop(full);
        let broken = inject(Fault::Broken, 0);
        assert!(create_dir(&dir.path().join("c")).is_err());
        assert!(create_dir(&dir.path().join("c")).is_ok(), "once only");
        drop(broken);
        let short = inject(Fault::Short, 0);
        Sink(&mut file).write_all(b"efgh").unwrap();
        assert!(short.struck());
        drop(short);
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"abcdabefgh");
    }

    #[test]
    fn what_another_removed_first_is_removed() {
        let dir = scratch_folder().unwrap();
        let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
        fs::write(&file, "").unwrap();
        fs::create_dir_all(folder.join("inner")).unwrap();
        for _ in 0..2 {
            remove_if_there(&file).unwrap();
            remove_if_there(&folder).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(remove_if_there(Path::new("")).is_ok() && remove_if_there(Path::new("/dev/null/x")).is_err());
    }

    #[test]
    fn folders_are_exchanged_in_steps_where_they_must() {
        let dir = scratch_folder().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        for folder in [&one, &other] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(one.join("new"), "").unwrap();
        fs::write(other.join("old"), "").unwrap();
        exchange_in_steps(&one, &other).unwrap();
        assert!(other.join("new").exists() && one.join("old").exists());
        // The second rename fails: the old folder comes back under its name.
        let broken = inject(Fault::Broken, 1);
        assert!(exchange_in_steps(&one, &other).is_err());
        drop(broken);
        assert!(other.join("new").exists() && one.join("old").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
