//! `scripts/deps`, on systems made of a few stand-ins for the programs that it calls.
#![cfg(unix)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::hostile_dir;

/// A system on which only the stand-ins exist, besides what every system has.
struct System(TempDir);

impl System {
    /// A user's system with cargo, and a compiler that finds OpenBLAS once the file `installed` exists.
    fn new() -> Self {
        let system = System(hostile_dir());
        for program in ["mktemp", "rm", "cat", "env", "touch"] {
            let real = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(program));
            symlink(real.iter().find(|path| path.exists()).unwrap(), system.0.path().join(program)).unwrap();
        }
        system.with("cargo", "exit 0").with("cc", r#"[ -e "$HOME/installed" ]"#).with("id", "echo 1000")
    }

    fn with(self, program: &str, script: &str) -> Self {
        // Written by a process of its own: a file that this one has open for writing, some other thread's child may
        // hold open, too, and then it cannot be run ("text file busy").
        let written = Command::new("/bin/sh")
            .args(["-c", "printf '%s' \"$2\" >\"$1\" && chmod +x \"$1\"", "sh"])
            .arg(self.0.path().join(program))
            .arg(format!("#!/bin/sh\necho \"{program} $*\" >>\"$HOME/calls\"\n{script}\n"))
            .status();
        assert!(written.unwrap().success());
        self
    }

    fn without(self, program: &str) -> Self {
        std::fs::remove_file(self.0.path().join(program)).unwrap();
        self
    }

    fn deps(&self, arguments: &[&str]) -> Output {
        Command::new("/bin/sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/deps"))
            .args(arguments)
            .env_clear()
            .env("PATH", self.0.path())
            .env("HOME", self.0.path())
            .output()
            .unwrap()
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.0.path().join("calls")).unwrap()
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

const INSTALLS: &str = r#"case "$*" in *install*) touch "$HOME/installed" ;; esac"#;

#[test]
fn is_silent_when_all_is_there_and_runs_the_command() {
    let system = System::new().with("apt-get", INSTALLS).with("cc", "exit 0");
    let output = system.deps(&[]);
    assert!(output.status.success() && words(&output).is_empty(), "{output:?}");
    assert!(!system.calls().contains("apt-get"), "{}", system.calls());
    let output = system.deps(&["/bin/sh", "-c", "echo \"$1\"; exit 7", "sh", "a  b"]);
    assert_eq!((output.status.code(), words(&output).as_str()), (Some(7), "a  b\n"));
}

#[test]
fn installs_as_root() {
    let system = System::new().with("id", "echo 0").with("apt-get", INSTALLS);
    let output = system.deps(&[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(words(&output), "scripts/deps: OpenBLAS is missing; installing libopenblas-dev with apt-get\n");
    assert!(!system.calls().contains("apt-get update"), "{}", system.calls());
    assert!(words(&system.deps(&[])).is_empty(), "a second time, there is nothing to do");
}

#[test]
fn updates_the_package_lists_only_when_they_lack_the_package() {
    let stale =
        r#"case "$*" in *update*) touch "$HOME/fresh" ;; *) [ -e "$HOME/fresh" ] && touch "$HOME/installed" ;; esac"#;
    let system = System::new().with("sudo", "shift; [ $1 = true ] || exec \"$@\"").with("apt-get", stale);
    let output = system.deps(&[]);
    assert!(output.status.success(), "{output:?}");
    let calls = system.calls();
    assert_eq!((calls.matches("apt-get update").count(), calls.matches(" install ").count()), (2, 4), "{calls}");
}

#[test]
fn knows_dnf_and_a_homebrew_off_the_linkers_path() {
    let system = System::new().with("id", "echo 0").with("dnf", INSTALLS);
    assert!(system.deps(&[]).status.success());

    let keg = r#"case "$1" in --prefix) echo "$HOME/keg" ;; install) [ -d "$HOME/keg/lib" ] || exit 1 ;; esac"#;
    let system = System::new().with("brew", keg).with("cc", r#"[ "$LIBRARY_PATH" = "$HOME/keg/lib" ]"#);
    assert_eq!(system.deps(&[]).status.code(), Some(4), "the installation fails");
    std::fs::create_dir_all(system.0.path().join("keg/lib")).unwrap();
    let output = system.deps(&["/bin/sh", "-c", "echo \"$LIBRARY_PATH\""]);
    assert_eq!(words(&output), format!("{}/keg/lib\n", system.0.path().display()));
}

#[test]
fn says_what_to_install_where_it_cannot() {
    let no_root = System::new().with("sudo", "exit 1").with("apt-get", INSTALLS);
    let no_effect = System::new().with("id", "echo 0").with("apt-get", "exit 0");
    let broken = System::new().with("id", "echo 0").with("apt-get", "echo 'no space left'; exit 100");
    for (system, expected) in [
        (no_root, "libopenblas-dev"),
        (System::new(), "openblas-devel"),
        (no_effect, "LIBRARY_PATH"),
        (broken, "no space left"),
        (System::new().without("cc"), "build-essential"),
        (System::new().without("cargo"), "rustup"),
    ] {
        let output = system.deps(&["/bin/sh", "-c", "echo never"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert!(words(&output).contains(expected) && !words(&output).contains("never"), "{output:?}");
    }
}
