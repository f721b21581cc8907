//! What several tests need: the built program, material kept outside the repository, and an unkind folder.

pub mod corpus;
pub mod image;
pub mod study;

use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The folder of material too large for the repository (`$BRAINSCORE_SHARED`, else `shared` beside the repository).
///
/// Where there is none, says `skipped: TEST: no shared material` ([`skip`]) and returns nothing.
#[track_caller]
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("BRAINSCORE_SHARED").map_or_else(beside_the_repository, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    skip("no shared material");
    None
}

/// Says `skipped: TEST: why` to standard error past the capture of the test runner, and to the file that
/// `$BRAINSCORE_SKIP_LOG` names, if any. The test then returns at once.
#[track_caller]
pub fn skip(why: &str) {
    // The thread is named after the test, except where tests run one by one on the main thread.
    let place = Location::caller();
    let thread = std::thread::current();
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => format!("{}:{}", place.file(), place.line()),
    };
    let line = format!("skipped: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(log) = std::env::var_os("BRAINSCORE_SKIP_LOG") {
        let mut log = std::fs::File::options().append(true).create(true).open(log).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

fn beside_the_repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")
}

/// The built program, with nothing to read from standard input.
pub fn brainscore() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brainscore"));
    command.stdin(Stdio::null());
    // Tests share one cache of their own, never the user's.
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    command.env("BRAINSCORE_CACHE", CACHE.get_or_init(|| tempfile::tempdir().unwrap()).path());
    command
}

/// An empty folder whose name holds what breaks careless programs: spaces, quotes, signs of the shell, letters beyond ASCII.
pub fn hostile_dir() -> TempDir {
    let prefix =
        if cfg!(windows) { "a b 'c' $d &e ;f ünï-脑 " } else { "a b 'c' \"d\" $e &f ;g `h` <i> *j ünï-脑 " };
    tempfile::Builder::new().prefix(prefix).tempdir().unwrap()
}

#[test]
fn the_program_starts_in_a_hostile_folder() {
    let folder = hostile_dir();
    let output = brainscore().arg("--version").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn shared_material_holds_the_golden_numbers() {
    let Some(shared) = shared() else { return };
    assert!(shared.join("golden").is_dir(), "{} has no folder `golden`", shared.display());
}
