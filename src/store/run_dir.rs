//! A run directory is written beside its final place and appears there by one rename: it is whole or absent.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::lock::Lock;
use crate::error::{Code, Error, Result, Warning};
use crate::io::atomic::{sync_directory, write_error};
use crate::io::disk;

/// The file whose presence says that a directory is a finished run.
pub const RECORD: &str = "run.json";

/// The longest name that stands within another one; file systems take 255 bytes.
const LONGEST_NAME: usize = 200;

/// What a finished directory of ours is told by, and everything in it that is ours. Nothing else is ever removed.
#[derive(Debug, Clone, Copy)]
pub struct Owned<'a> {
    /// What it holds, in words.
    pub what: &'a str,
    /// The file whose presence says that it is finished.
    pub record: &'a str,
    /// All files and folders that may stand there.
    pub entries: &'a [&'a str],
}

impl Owned<'static> {
    /// A run.
    pub const RUN: Owned<'static> = Owned { what: "run", record: RECORD, entries: RUN_ENTRIES };
    /// A fit of plain arrays.
    pub const FIT: Owned<'static> = Owned {
        what: "fit",
        record: "fit.json",
        entries: &["fit.json", "scores.csv", "folds.parquet", "bands.csv", "stack.csv"],
    };
}

/// An output directory in the making.
///
/// Files go to [`RunDir::path`]; [`RunDir::commit`] makes them appear under the final name at once. Dropped without a
/// commit, everything is removed. Only one process at a time can hold an output directory.
#[derive(Debug)]
pub struct RunDir {
    target: PathBuf,
    staging: PathBuf,
    lock: Lock,
    replace: bool,
}

impl RunDir {
    /// Checks that a run may be written to `target`, without leaving anything behind.
    ///
    /// # Errors
    /// `OD-01` when the place holds a run (without `overwrite`) or anything else; `OD-02` when it cannot be written.
    pub fn check(target: &Path, overwrite: bool) -> Result<()> {
        RunDir::check_as(target, overwrite, Owned::RUN)
    }

    /// The same for a directory of another kind.
    ///
    /// # Errors
    /// As [`RunDir::check`].
    pub fn check_as(target: &Path, overwrite: bool, owned: Owned<'_>) -> Result<()> {
        let (parent, name) = parent_and_name(target)?;
        if name.len() > LONGEST_NAME {
            return Err(Error::new(Code::Od02, target.display(), format!("has a name of {} bytes", name.len()))
                .expected(format!("at most {LONGEST_NAME}: other names are made from it")));
        }
        let meta = match fs::symlink_metadata(target) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::new(Code::Od02, target.display(), format!("cannot be used: {e}")).source(e)),
            Ok(meta) => Some(meta),
        };
        if let Some(meta) = meta {
            if meta.is_symlink() {
                return Err(Error::new(Code::Od02, target.display(), "is a symbolic link")
                    .expected("a new place")
                    .hint("Results are never written through a link; name the directory itself"));
            }
            if !meta.is_dir() {
                return Err(
                    Error::new(Code::Od02, target.display(), "is a file").expected("a directory or a new place")
                );
            }
            check_content(target, overwrite, owned)?;
        }
        disk::try_writing(&parent).map_err(|e| {
            Error::new(Code::Od02, parent.display(), format!("cannot be written to: {e}"))
                .hint("Choose another --out")
                .source(e)
        })?;
        Ok(())
    }

    /// Takes the output place and starts a staging directory beside it. Leftovers of killed runs are removed.
    ///
    /// # Errors
    /// As [`RunDir::check`], and `OD-06` when another process is writing there.
    pub fn stage(target: &Path, overwrite: bool) -> Result<RunDir> {
        RunDir::stage_as(target, overwrite, Owned::RUN)
    }

    /// The same for a directory of another kind.
    ///
    /// # Errors
    /// As [`RunDir::stage`].
    pub fn stage_as(target: &Path, overwrite: bool, owned: Owned<'_>) -> Result<RunDir> {
        RunDir::check_as(target, overwrite, owned)?;
        let (parent, name) = parent_and_name(target)?;
        let lock = alone(&parent, name, target)?;
        // Somebody may have finished between the check and the lock, and an old output may be back.
        RunDir::check_as(target, overwrite, owned)?;
        let partial = partial(name);
        let staging = disk::temporary_folder(&partial, &parent)
            .map_err(|e| write_error(&parent, "creating a directory in", e))?
            .keep();
        let run = RunDir { target: target.to_owned(), staging, lock, replace: target.exists() };
        readable_by_all(&run.staging)?;
        Ok(run)
    }

    /// Says that several processes work for the output at `target`, until the lock is dropped: none of them, nor another
    /// one, can write the output itself meanwhile.
    ///
    /// # Errors
    /// `OD-06` when a process is writing it.
    pub fn share(target: &Path) -> Result<Lock> {
        let (parent, name) = parent_and_name(target)?;
        Lock::shared(&lock_of(&parent, name), target)
    }

    /// Removes what killed processes left beside a finished output, and does `more` while nobody else can take the place.
    ///
    /// # Errors
    /// `OD-06` while somebody has it.
    pub fn clear(target: &Path, more: impl FnOnce()) -> Result<()> {
        let (parent, name) = parent_and_name(target)?;
        let lock = alone(&parent, name, target)?;
        if lock.is_real() {
            more();
        }
        Ok(())
    }

    /// What the user must know about the place.
    pub fn warning(&self) -> Option<Warning> {
        self.lock.warning()
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// Makes the run appear under its final name.
    pub fn commit(self) -> Result<()> {
        self.commit_and(|| ())
    }

    /// The same, and then `after`, before another process can take the place.
    pub fn commit_and(self, after: impl FnOnce()) -> Result<()> {
        let parent = parent_of(&self.target)?;
        sync_directory(&self.staging)?;
        if self.replace && fs::read_dir(&self.target).is_ok_and(|mut d| d.next().is_some()) {
            // Exchanges both names at once; the old run is then the one that is dropped with `self`.
            disk::exchange(&self.staging, &self.target).map_err(|e| write_error(&self.target, "replacing", e))?;
        } else {
            disk::rename(&self.staging, &self.target).map_err(|e| write_error(&self.target, "renaming to", e))?;
        }
        sync_directory(&parent)?;
        after();
        Ok(())
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // The lock is released after this.
        fs::remove_dir_all(&self.staging).ok();
    }
}

/// The lock of an output place. What killed processes left beside it goes, but for an old output.
fn alone(parent: &Path, name: &OsStr, target: &Path) -> Result<Lock> {
    let lock = Lock::alone(&lock_of(parent, name), target, "is being written by ")?;
    // Where two folders cannot be exchanged at once, a run that is killed in between leaves the old output beside its place.
    let aside = parent.join(format!(".{}.old", name.to_string_lossy()));
    if lock.is_real() && aside.is_dir() && fs::symlink_metadata(target).is_err() {
        disk::rename(&aside, target).map_err(|e| write_error(target, "putting back", e))?;
    }
    let leftovers = [partial(name), format!(".{}.units-", name.to_string_lossy())];
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let found = entry.file_name();
        // Random letters stand behind the prefix, and nothing else: `.a.units-b.lock` is of an output `a.units-b`.
        let of_this = |prefix: &String| {
            let rest = found.to_str().and_then(|name| name.strip_prefix(prefix.as_str()));
            rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()))
        };
        // Without a lock what looks left over may be somebody's work.
        if lock.is_real() && leftovers.iter().any(of_this) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(lock)
}

fn lock_of(parent: &Path, name: &OsStr) -> PathBuf {
    parent.join(format!(".{}.lock", name.to_string_lossy()))
}

/// How the names of directories in the making begin.
fn partial(name: &OsStr) -> String {
    format!(".{}.partial-", name.to_string_lossy())
}

fn parent_of(target: &Path) -> Result<PathBuf> {
    parent_and_name(target).map(|(parent, _)| parent)
}

/// The directory that a place lies in, which must be there, and the place's own name.
pub(super) fn parent_and_name(target: &Path) -> Result<(PathBuf, &OsStr)> {
    let Some(name) = target.file_name() else { return Err(nameless(target)) };
    let parent = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    };
    if parent.is_dir() {
        return Ok((parent, name));
    }
    let found = if parent.exists() { "is no directory" } else { "does not exist" };
    Err(Error::new(Code::Od02, parent.display(), found)
        .expected("the directory that the output goes into")
        .hint("Create it first"))
}

fn nameless(target: &Path) -> Error {
    Error::new(Code::Od02, target.display(), "has no name of its own").expected("a path that ends in a new name")
}

/// An existing directory may be used when it is empty, or a finished one of its kind that may be overwritten.
fn check_content(target: &Path, overwrite: bool, owned: Owned<'_>) -> Result<()> {
    let what = owned.what;
    let names: Vec<String> = fs::read_dir(target)
        .map_err(|e| Error::new(Code::Od02, target.display(), format!("cannot be read: {e}")).source(e))?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    if !target.join(owned.record).is_file() {
        return Err(Error::new(Code::Od01, target.display(), format!("is not empty and holds no {what}"))
            .expected("a new or empty directory")
            .hint("Choose another --out; files that are none of ours are never removed"));
    }
    if !overwrite {
        return Err(Error::new(Code::Od01, target.display(), format!("already holds a {what}"))
            .expected("a new directory")
            .hint("Choose another --out, or give --overwrite to replace what is there"));
    }
    let foreign: Vec<&String> = names.iter().filter(|n| !owned.entries.contains(&n.as_str())).collect();
    if !foreign.is_empty() {
        return Err(Error::new(
            Code::Od01,
            target.display(),
            format!("holds files that are no part of a {what}: {}", crate::error::first_five(foreign)),
        )
        .hint("Move them away; --overwrite removes only what the program wrote"));
    }
    Ok(())
}

/// Everything that a run writes into its directory. `--overwrite` removes nothing else.
pub const RUN_ENTRIES: &[&str] = &[
    RECORD,
    "scores.csv",
    "scores.parquet",
    "predictions.parquet",
    "comparison.csv",
    "comparison.parquet",
    "layers.csv",
    "layers.parquet",
    "ceilings.csv",
    "ceilings.parquet",
    "targets.csv",
    "targets.parquet",
    "normalised.csv",
    "normalised.parquet",
    "metrics.csv",
    "metrics.parquet",
    "groups.csv",
    "groups.parquet",
    "combined.csv",
    "combined.parquet",
    "stack.csv",
    "stack.parquet",
    "summary.csv",
    "summary.parquet",
    "trends.csv",
    "trends.parquet",
    "steps.svg",
    "steps.png",
    "size.svg",
    "size.png",
    "rois.csv",
    "rois.parquet",
    "roi_summary.csv",
    "roi_summary.parquet",
    "roi_comparison.csv",
    "roi_comparison.parquet",
    "roi_matrix.csv",
    "roi_matrix.parquet",
    "roi_overlap.csv",
    "roi_overlap.parquet",
    "roi-layerwise.svg",
    "roi-layerwise.png",
    "roi-layers.svg",
    "roi-layers.png",
    "roi-difference.svg",
    "roi-difference.png",
    "layerwise.svg",
    "layerwise.png",
    "difference.svg",
    "difference.png",
    "weights.svg",
    "weights.png",
    "report.html",
    "report.md",
    "check_in_python.py",
    "check",
    "maps",
    "demo",
];

pub(crate) fn readable_by_all(path: &Path) -> Result<()> {
    disk::set_mode(path, 0o755).map_err(|e| write_error(path, "setting permissions of", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(target: &Path, overwrite: bool, content: &str) -> Result<()> {
        let run = RunDir::stage(target, overwrite)?;
        fs::write(run.path().join(RECORD), content).unwrap();
        run.commit()
    }

    #[test]
    fn a_run_is_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let dropped = RunDir::stage(&target, false).unwrap();
        fs::write(dropped.path().join("scores.csv"), "half").unwrap();
        drop(dropped);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        finish(&target, false, "one").unwrap();
        assert_eq!(finish(&target, false, "two").unwrap_err().code(), Code::Od01);
        finish(&target, true, "two").unwrap();
        assert_eq!(fs::read_to_string(target.join(RECORD)).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the run");
    }

    #[test]
    fn foreign_files_are_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("thesis.tex"), "years of work").unwrap();
        assert_eq!(finish(&target, true, "x").unwrap_err().code(), Code::Od01);
        fs::write(target.join(RECORD), "{}").unwrap();
        assert_eq!(finish(&target, true, "x").unwrap_err().code(), Code::Od01);
        assert!(target.join("thesis.tex").exists());
    }

    #[test]
    fn a_fit_replaces_a_fit_with_all_its_tables_and_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let fit = |overwrite| {
            let fit = RunDir::stage_as(&target, overwrite, Owned::FIT)?;
            for name in Owned::FIT.entries {
                fs::write(fit.path().join(name), "").unwrap();
            }
            fit.commit()
        };
        fit(false).unwrap();
        assert_eq!(fit(false).unwrap_err().code(), Code::Od01);
        fit(true).unwrap();
        assert_eq!(finish(&target, true, "x").unwrap_err().code(), Code::Od01, "a run never replaces a fit");
    }

    /// What a run leaves that is killed while it moves the old output aside.
    #[test]
    fn an_output_that_was_moved_aside_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        finish(&target, false, "old").unwrap();
        fs::rename(&target, dir.path().join(".out.old")).unwrap();
        assert_eq!(finish(&target, false, "new").unwrap_err().code(), Code::Od01, "there is a run");
        assert_eq!(fs::read_to_string(target.join(RECORD)).unwrap(), "old");
        finish(&target, true, "new").unwrap();
        assert_eq!(fs::read_to_string(target.join(RECORD)).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_output_whose_name_begins_alike_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let other = RunDir::stage(&dir.path().join("out.units-b"), false).unwrap();
        let left = dir.path().join(".out.units-x1Y2z3");
        fs::create_dir(&left).unwrap();
        finish(&dir.path().join("out"), false, "new").unwrap();
        assert!(!left.exists() && other.path().exists());
        other.commit().unwrap();
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let first = RunDir::stage(&target, false).unwrap();
        let second = RunDir::stage(&target, false).unwrap_err();
        assert_eq!(second.code(), Code::Od06);
        assert!(second.to_string().contains(&format!("process {}", std::process::id())), "{second}");
        drop(first);
        RunDir::stage(&target, false).unwrap();
    }

    /// Two runs to one place, and nothing to tell them apart by: both work, the first to finish has it.
    #[test]
    fn without_locks_the_first_to_finish_wins() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let none = disk::inject(disk::Fault::NoLocks, 0);
        let runs: Vec<RunDir> = (0..2).map(|_| RunDir::stage(&target, false).unwrap()).collect();
        assert!(none.struck() && runs.iter().all(|run| run.warning().is_some()));
        drop(none);
        for (number, run) in runs.into_iter().enumerate() {
            fs::write(run.path().join(RECORD), number.to_string()).unwrap();
            assert_eq!(run.commit().is_ok(), number == 0);
        }
        assert_eq!(fs::read_to_string(target.join(RECORD)).unwrap(), "0");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the run");
        assert!(RunDir::stage(&target, true).unwrap().warning().is_none());
    }

    #[test]
    fn leftovers_of_a_killed_run_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(dir.path().join(".out.partial-killed")).unwrap();
        finish(&target, false, "x").unwrap();
        assert!(!dir.path().join(".out.partial-killed").exists());
    }

    #[test]
    fn impossible_places_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let code = |p: &Path| RunDir::check(p, false).unwrap_err().code();
        assert_eq!(code(&file), Code::Od02);
        assert_eq!(code(&dir.path().join("no/such/parent")), Code::Od02);
        assert_eq!(code(Path::new("/")), Code::Od02);
    }
}
