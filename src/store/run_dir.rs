//! A run directory is written beside its final place and appears there by one rename: it is whole or absent.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::io::atomic::{sync_directory, write_error};

/// The file whose presence says that a directory is a finished run.
pub const RECORD: &str = "run.json";

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
        let parent = parent_of(target)?;
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
        tempfile::Builder::new().prefix(".brainscore-probe-").tempdir_in(&parent).map_err(|e| {
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
        let parent = parent_of(target)?;
        let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).ok_or_else(|| nameless(target))?;
        let lock = Lock::take(parent.join(format!(".{name}.lock")), target)?;
        let partial = format!(".{name}.partial-");
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&partial) {
                fs::remove_dir_all(entry.path()).ok();
            }
        }
        let staging = tempfile::Builder::new()
            .prefix(&partial)
            .tempdir_in(&parent)
            .map_err(|e| write_error(&parent, "creating a directory in", e))?
            .keep();
        let run = RunDir { target: target.to_owned(), staging, lock, replace: target.exists() };
        readable_by_all(&run.staging)?;
        Ok(run)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// Makes the run appear under its final name.
    pub fn commit(self) -> Result<()> {
        let parent = parent_of(&self.target)?;
        sync_directory(&self.staging)?;
        if self.replace && fs::read_dir(&self.target).is_ok_and(|mut d| d.next().is_some()) {
            // Exchanges both names at once; the old run is then the one that is dropped with `self`.
            exchange(&self.staging, &self.target).map_err(|e| write_error(&self.target, "replacing", e))?;
        } else {
            fs::rename(&self.staging, &self.target).map_err(|e| write_error(&self.target, "renaming to", e))?;
        }
        sync_directory(&parent)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.staging).ok();
        self.lock.release();
    }
}

fn parent_of(target: &Path) -> Result<PathBuf> {
    if target.file_name().is_none() {
        return Err(nameless(target));
    }
    let parent = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    };
    if parent.is_dir() {
        return Ok(parent);
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

#[cfg(target_os = "linux")]
fn exchange(staging: &Path, target: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, staging, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // Some file systems cannot exchange.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => exchange_in_steps(staging, target),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(staging: &Path, target: &Path) -> std::io::Result<()> {
    exchange_in_steps(staging, target)
}

/// Moves the old run aside first and puts it back when the new one cannot take its place.
fn exchange_in_steps(staging: &Path, target: &Path) -> std::io::Result<()> {
    let aside = staging.with_extension("old");
    fs::rename(target, &aside)?;
    if let Err(e) = fs::rename(staging, target) {
        fs::rename(&aside, target)?;
        return Err(e);
    }
    fs::rename(&aside, staging)
}

#[cfg(unix)]
fn readable_by_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(|e| write_error(path, "setting permissions of", e))
}

#[cfg(not(unix))]
fn readable_by_all(_: &Path) -> Result<()> {
    Ok(())
}

/// An operating-system lock: it vanishes with its process, whatever happens to it.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn take(path: PathBuf, target: &Path) -> Result<Lock> {
        let io = |e: std::io::Error| write_error(&path, "locking", e);
        loop {
            let mut file =
                File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
            if let Err(error) = file.try_lock() {
                if let TryLockError::Error(e) = error {
                    return Err(io(e));
                }
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok();
                let holder =
                    if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
                return Err(Error::new(Code::Od06, target.display(), format!("is being written by {holder}"))
                    .hint("Wait for it, or choose another --out"));
            }
            // The holder before us may have removed the file between our opening and locking it: look again.
            if same_file(&file, &path) {
                file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
                writeln!(file, "process {} on {}", std::process::id(), host()).map_err(io)?;
                return Ok(Lock { file, path });
            }
        }
    }

    fn release(&self) {
        fs::remove_file(&self.path).ok();
        self.file.unlock().ok();
    }
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
