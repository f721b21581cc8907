//! Comparisons in shares: whoever computes a unit, the tables are those of one run.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::resume::assert_same;
use crate::support::study::{TinyStudy, listing};
use crate::support::{brainscore, skip};

/// A label that a shell would love to read.
const LABEL: &str = "it's $(touch owned) `touch owned` \"x\" ;&\nnext";

/// A command on four checkpoints of the tiny study, one thread each.
fn command(study: &TinyStudy, verb: &str, out: &str, flags: &[&str]) -> Command {
    let model = study.path("model").display().to_string();
    let mut command = brainscore();
    command.arg(verb).arg(format!("{LABEL}={model}"));
    command.args((0..3).map(|seed| format!("u{seed}=untrained:{seed}:{model}")));
    command
        .args(["--threads", "1", "--no-cache", "--study"])
        .arg(study.path("study.toml"))
        .arg("--out")
        .arg(study.path(out));
    command.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), told(&output))
}

fn merge(study: &TinyStudy, out: &str, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = brainscore();
    command.arg("merge").arg(study.path(out)).args(flags);
    run(command)
}

#[test]
fn two_shares_at_once_are_one_run() {
    let study = TinyStudy::new();
    for (out, flags) in
        [("best", &[][..]), ("all", &["--unique", "all", "--metrics", "rank", "--combine", "concat,stack"][..])]
    {
        let single = format!("{out}-single");
        let (status, text) = run(command(&study, "compare", &single, flags));
        assert_eq!(status, Some(0), "{text}");
        let share = |i: &str| command(&study, "compare", out, &[flags, &["--shard", i]].concat()).spawn().unwrap();
        let both = [share("1/2"), share("2/2")];
        let told: Vec<String> = both
            .map(|child| {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{}", told(&output));
                told(&output)
            })
            .into();
        assert!(told.iter().any(|t| t.contains("are finished, 0 claimed by other shards, 0 open")), "{told:?}");
        let progress = brainscore().arg("progress").arg(study.path(out)).output().unwrap();
        let text = String::from_utf8_lossy(&progress.stdout).into_owned();
        assert!(
            text.contains("shard     1/2") && text.contains("not at work") && text.contains("0 are open"),
            "{text}"
        );
        let (status, text) = merge(&study, out, &[]);
        assert_eq!(status, Some(0), "{text}");
        assert_same(&study.path(out), &study.path(&single));
        let hidden: Vec<String> = listing(study.dir.path()).into_iter().filter(|n| n.starts_with('.')).collect();
        assert!(hidden.is_empty(), "{hidden:?}");
        let (status, text) = run(command(&study, "compare", out, &[flags, &["--shard", "1/2"]].concat()));
        assert!(status == Some(0) && text.contains("is finished"), "{text}");
        let (status, text) = merge(&study, out, &[]);
        assert!(status == Some(0) && text.contains("is finished"), "{text}");
    }
}

#[test]
fn what_is_missing_is_named_with_who_has_it() {
    let study = TinyStudy::new();
    let (status, text) = merge(&study, "out", &[]);
    assert!(status == Some(4) && text.contains("[OD-08]"), "{text}");
    run(command(&study, "compare", "single", &[]));
    assert_eq!(run(command(&study, "compare", "out", &["--shard", "2/3"])).0, Some(0));
    let units = study.path(".out.units");
    std::fs::remove_file(units.join("c0001-l001.unit")).unwrap();
    let damaged = units.join("c0002-l000.unit");
    let bytes = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let before = study.read("stimuli.csv");
    let (status, text) = merge(&study, "out", &[]);
    assert_eq!(status, Some(4), "{text}");
    assert!(
        text.contains("1 of 16 units are missing: layer 1 of u0; shard 2/3 has claimed them and is not at work"),
        "{text}"
    );
    study.edit("stimuli.csv", "s03,", "s03,red ");
    let (status, text) = merge(&study, "out", &["--compute-missing"]);
    assert!(status == Some(4) && text.contains("stimuli stimuli.csv was ") && text.contains("[OD-07]"), "{text}");
    study.write("stimuli.csv", before);
    let (status, text) = merge(&study, "out", &["--compute-missing"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("[UN-02]"), "the damaged unit is told: {text}");
    assert_same(&study.path("out"), &study.path("single"));
}

/// A share that is killed takes its claims up again, and a whole run can do the rest.
#[cfg(unix)]
#[test]
fn a_killed_share_starts_again() {
    let study = TinyStudy::new();
    run(command(&study, "compare", "single", &[]));
    for moment in [1, 4, 9] {
        let mut child = command(&study, "compare", "out", &["--shard", "1/2"]).spawn().unwrap();
        let finished = || listing(&study.path(".out.units")).iter().filter(|n| n.ends_with(".unit")).count();
        while child.try_wait().unwrap().is_none() && (!study.path(".out.units").exists() || finished() < moment) {
            std::thread::yield_now();
        }
        child.kill().ok();
        child.wait().unwrap();
    }
    let (status, text) = run(command(&study, "compare", "out", &["--shard", "1/2"]));
    assert!(status == Some(0) && text.contains("16 are finished"), "{text}");
    let (status, text) = run(command(&study, "compare", "out", &["--resume"]));
    assert!(status == Some(0) && text.contains("resuming: 16 of 16 units are finished"), "{text}");
    assert_same(&study.path("out"), &study.path("single"));
}

/// The scripts, run by a shell as Slurm would run them, from names that shells misread.
#[cfg(unix)]
#[test]
fn job_scripts_do_what_they_say() {
    let study = TinyStudy::new();
    run(command(&study, "compare", "single", &[]));
    let flags = ["--shards", "2", "--mem", "2G", "--time=30:00", "--partition", "cpu", "--retries", "1"];
    let (status, text) = run(command(&study, "slurm", "out", &flags));
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("2 shards on 1 threads, 2048 MiB and 30:00 each"), "{text}");
    let script = study.read("out.slurm/array.sh");
    for line in ["--array=1-2", "--cpus-per-task=1", "--mem=2048M", "--time=30:00", "--partition=cpu", "--requeue"] {
        assert!(script.contains(&format!("#SBATCH {line}\n")), "{script}");
    }
    let bash = |name: &str, task: &str| {
        let mut shell = Command::new("bash");
        shell.arg(study.path("out.slurm").join(name)).env("SLURM_ARRAY_TASK_ID", task).current_dir("/");
        shell.status().unwrap().code()
    };
    assert_eq!(
        (bash("array.sh", "2"), bash("array.sh", "1")),
        (Some(0), Some(0)),
        "{}",
        study.read("out.slurm/logs/shard-2.log")
    );
    assert_eq!(bash("merge.sh", ""), Some(0), "{}", study.read("out.slurm/logs/merge.log"));
    assert_same(&study.path("out"), &study.path("single"));
    let here = std::env::current_dir().unwrap();
    for place in [study.dir.path(), Path::new("/"), &here, &study.path("out.slurm")] {
        assert!(!place.join("owned").exists(), "a name was obeyed in {}", place.display());
    }
    let (status, text) = run(command(&study, "slurm", "two", &["--partition", "a b"]));
    assert!(status == Some(2) && text.contains("[FL-02]"), "{text}");
}

/// A cluster of one host (tests/slurm/run.sh), where Slurm is installed and this user may run it.
#[cfg(unix)]
#[test]
fn a_real_slurm_runs_the_shards() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/run.sh");
    let work = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .arg(script)
        .args([
            "--program",
            env!("CARGO_BIN_EXE_brainscore"),
            "--shards",
            "3",
            "--checkpoints",
            "3",
            "--layers",
            "0,3,6",
            "--unique",
            "none",
        ])
        .arg("--work")
        .arg(work.path().join("it's a place"))
        .output()
        .unwrap();
    let text = told(&output);
    if output.status.code() == Some(77) {
        return skip(text.trim().rsplit("skipped: ").next().unwrap_or_default());
    }
    assert!(output.status.success() && text.contains("tables are those of the single run"), "{text}");
}
