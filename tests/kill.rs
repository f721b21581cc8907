//! `kill -9` at random moments: the output is absent or whole, no cache entry is bad, and what a killed run left behind does not
//! disturb the next one.
//!
//! A few kills in a usual test run. For more, or another study:
//! `BRAINSCORE_KILLS=200 [BRAINSCORE_KILL="STUDY CHECKPOINT..." | BRAINSCORE_KILL=demo] cargo test --release --test tests kill:: -- --nocapture`

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::support::corpus::{Files, TIMED, files};
use crate::support::study::{TinyStudy, listing};
use crate::support::{brainscore, hostile_dir};

/// Kills in a usual test run.
const USUAL: usize = 6;

struct Job {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    demo: bool,
}

impl Job {
    fn new(tiny: &TinyStudy) -> Job {
        let asked = std::env::var("BRAINSCORE_KILL").ok();
        let demo = asked.as_deref() == Some("demo");
        let arguments = match &asked {
            Some(_) if demo => vec!["--demo".to_owned()],
            Some(paths) => {
                let mut parts = paths.split(' ').map(str::to_owned);
                let study = parts.next().unwrap();
                [vec!["--study".to_owned(), study], parts.collect()].concat()
            }
            None => {
                let here = tiny.dir.path().display();
                vec![format!("m={here}/model"), "--study".to_owned(), format!("{here}/study.toml")]
            }
        };
        Job { folder: hostile_dir(), arguments, demo }
    }

    fn command(&self, out: &str, resume: bool) -> Command {
        let mut command = brainscore();
        command.arg("compare").args(&self.arguments).arg("--out").arg(self.folder.path().join(out));
        if !self.demo {
            command.arg("--cache-dir").arg(self.folder.path().join("cache"));
        }
        if resume {
            command.arg("--resume");
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn run(&self, out: &str, resume: bool) -> Files {
        let output = self.command(out, resume).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.read(out)
    }

    fn read(&self, out: &str) -> Files {
        files(&self.folder.path().join(out))
    }

    /// Damaged entries, which `cache verify` would remove.
    fn damaged_entries(&self) -> String {
        let mut command = brainscore();
        let output = command.args(["cache", "verify", "--cache-dir"]).arg(self.folder.path().join("cache")).output();
        let told = String::from_utf8(output.unwrap().stdout).unwrap();
        told.rsplit(", ").next().unwrap().trim().to_owned()
    }
}

/// Lets a process run for a while, and kills it if it still runs then. A look every half millisecond, so that a process
/// that has ended is noticed; no result depends on when.
fn kill_after(child: &mut Child, moment: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < moment {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::park_timeout(Duration::from_micros(500));
    }
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Why an output is not that of an undisturbed run.
fn differences(found: &Files, expected: &Files, folder: &Path) -> Vec<String> {
    let mut wrong: Vec<String> = Vec::new();
    let names = |files: &Files| files.keys().cloned().collect::<Vec<String>>();
    if names(found) != names(expected) {
        wrong.push(format!("other files: {:?}", names(found)));
    }
    let timed = |name: &String| TIMED.contains(&name.as_str());
    wrong.extend(found.iter().filter(|(n, b)| !timed(n) && expected.get(*n) != Some(b)).map(|(n, _)| n.clone()));
    let record: Result<brainscore::record::RunRecord, _> =
        serde_json::from_slice(found.get("run.json").map_or(&[], Vec::as_slice));
    wrong.extend(record.err().map(|e| format!("{}: {e}", folder.display())));
    wrong
}

#[test]
fn killed_runs_leave_whole_results_or_none() {
    let kills = std::env::var("BRAINSCORE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(USUAL);
    let tiny = TinyStudy::new();
    let job = Job::new(&tiny);
    let started = Instant::now();
    let expected = job.run("undisturbed", false);
    let whole_run = started.elapsed();
    let out = job.folder.path().join("out");
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (mut killed, mut whole, mut resumed) = (0, 0, 0);
    for number in 0..kills {
        // Every third run starts with an empty cache, so that kills fall into the forward passes, too.
        if number % 3 == 0 && !job.demo {
            std::fs::remove_dir_all(job.folder.path().join("cache")).ok();
        }
        // Kills come in chains: a run that goes on with the work of a killed one may be killed itself.
        let go_on = number % 2 == 1;
        let moment = whole_run.mul_f64(rng.random_range(0.0..1.05));
        let mut child = job.command("out", go_on).spawn().unwrap();
        killed += usize::from(kill_after(&mut child, moment));
        if out.exists() && out.join("run.json").exists() {
            whole += 1;
            let wrong = differences(&job.read("out"), &expected, &out);
            assert!(wrong.is_empty(), "kill {number} after {moment:?}: {wrong:?}");
            assert!(brainscore().arg("report").arg(&out).output().unwrap().status.success(), "kill {number}");
            std::fs::remove_dir_all(&out).unwrap();
        } else {
            assert!(!out.exists(), "kill {number} left half an output: {:?}", job.read("out").keys());
            // Now and then the work is brought to its end from where it was.
            if number % 4 == 3 {
                let wrong = differences(&job.run("out", true), &expected, &out);
                assert!(wrong.is_empty(), "after kill {number}: {wrong:?}");
                std::fs::remove_dir_all(&out).unwrap();
                resumed += 1;
            }
        }
        if !job.demo {
            assert_eq!(job.damaged_entries(), "0 damaged removed", "kill {number} after {moment:?}");
        }
    }
    let wrong = differences(&job.run("out", false), &expected, &out);
    assert!(wrong.is_empty(), "at the end: {wrong:?}");
    let left: Vec<String> = listing(job.folder.path()).into_iter().filter(|n| n.starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
    println!(
        "{kills} runs of {whole_run:.1?}: {killed} killed, {whole} whole outputs, {resumed} resumed to the same bytes; 0 corrupt outputs, 0 bad cache entries"
    );
}
