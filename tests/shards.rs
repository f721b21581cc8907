//! Comparisons in shares: whoever computes a unit, the tables are those of one run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use brainscore::encoder::CheckpointSpec;
use brainscore::error::Code;
use brainscore::io::disk::{Fault, inject};
use brainscore::pipeline::{Destination, Resume, share};
use brainscore::store::{RunDir, Shard};
use brainscore::study::{Overrides, Plan};
use brainscore::watch::Quiet;

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

fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), told(&output))
}

fn merge(study: &TinyStudy, out: &str, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = brainscore();
    run(command.arg("merge").arg(study.path(out)).args(flags))
}

#[test]
fn two_shares_at_once_are_one_run() {
    let study = TinyStudy::new();
    for (out, flags) in
        [("best", &[][..]), ("all", &["--unique", "all", "--metrics", "rank", "--combine", "concat,stack"][..])]
    {
        let single = format!("{out}-single");
        let (status, text) = run(&mut command(&study, "compare", &single, flags));
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
        let (status, text) = run(&mut command(&study, "compare", out, &[flags, &["--shard", "1/2"]].concat()));
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
    run(&mut command(&study, "compare", "single", &[]));
    assert_eq!(run(&mut command(&study, "compare", "out", &["--shard", "2/3"])).0, Some(0));
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
    run(&mut command(&study, "compare", "single", &[]));
    for moment in [1, 4, 9] {
        let mut child = command(&study, "compare", "out", &["--shard", "1/2"]).spawn().unwrap();
        let finished = || listing(&study.path(".out.units")).iter().filter(|n| n.ends_with(".unit")).count();
        while child.try_wait().unwrap().is_none() && (!study.path(".out.units").exists() || finished() < moment) {
            std::thread::yield_now();
        }
        child.kill().ok();
        child.wait().unwrap();
    }
    let (status, text) = run(&mut command(&study, "compare", "out", &["--shard", "1/2"]));
    assert!(status == Some(0) && text.contains("16 are finished"), "{text}");
    let (status, text) = run(&mut command(&study, "compare", "out", &["--resume"]));
    assert!(status == Some(0) && text.contains("resuming: 16 of 16 units are finished"), "{text}");
    assert_same(&study.path("out"), &study.path("single"));
}

/// The scripts, run by a shell as Slurm would run them, from names that shells misread.
#[cfg(unix)]
#[test]
fn job_scripts_do_what_they_say() {
    let study = TinyStudy::new();
    run(&mut command(&study, "compare", "single", &[]));
    // As a person may write it: a flag of all commands first, checkpoints last, behind a `--`.
    let plain = command(&study, "slurm", "out", &[]);
    let words: Vec<_> = plain.get_args().collect();
    let mut command_line = brainscore();
    command_line.arg("--log").arg(study.path("slurm.log")).arg("slurm").args(&words[5..]);
    command_line.args(["--shards", "2", "--mem", "2G", "--time=30:00", "--partition", "cpu", "--retries", "1", "--"]);
    let (status, text) = run(command_line.args(&words[1..5]));
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
    let lines = study.read("slurm.log");
    let forged = |line: &str| line.get(20..).is_none_or(|rest| rest.starts_with("  next"));
    assert!(lines.contains("hidden states of ") && !lines.lines().any(forged), "{lines}");
    let here = std::env::current_dir().unwrap();
    for place in [study.dir.path(), Path::new("/"), &here, &study.path("out.slurm")] {
        assert!(!place.join("owned").exists(), "a name was obeyed in {}", place.display());
    }
    let output = command(&study, "slurm", "told", &["--json", "--shards", "2"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["shards"] == 2 && told["complete"] == false && told["array_job"].is_null(), "{told}");
    assert!(Path::new(told["array"].as_str().unwrap()).is_file(), "{told}");
    let (status, text) = run(&mut command(&study, "slurm", "two", &["--partition", "a b"]));
    assert!(status == Some(2) && text.contains("[FL-02]"), "{text}");
    let (status, text) = run(&mut command(&study, "slurm", "out", &["--mem", "2G", "--partition", "other"]));
    assert!(status == Some(0) && text.contains("is finished") && !study.read("out.slurm/array.sh").contains("other"));
    let (status, text) = run(&mut command(&study, "slurm", "responses.csv", &[]));
    assert!(status == Some(4) && text.contains("[OD-02]") && !study.path("responses.csv.slurm").exists(), "{text}");
    let (status, text) = run(&mut command(&study, "slurm", "model/out", &[]));
    assert!(status == Some(2) && text.contains("[OD-03]") && !study.path("model/out.slurm").exists(), "{text}");
}

/// A program of the shell in a folder of its own.
#[cfg(unix)]
fn program(study: &TinyStudy, name: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(study.path("bin")).unwrap();
    let path = study.path("bin").join(name);
    study.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What a job does around the program, for which a script stands that says how it was called.
#[cfg(unix)]
#[test]
fn jobs_are_retried_where_that_may_help() {
    let study = TinyStudy::new();
    let model = study.path("model").display().to_string();
    let calls = study.path("calls");
    let stand_in = program(&study, "program", "echo \"$@\" >>\"$CALLS\"; exit $ENDS");
    let mut slurm = brainscore();
    slurm.args(["slurm", "--retries", "2", "--shards", "1", "--study"]).arg(study.path("study.toml"));
    slurm.arg("--out").arg(study.path("out")).args(["--mem", "1000M", "--", &model]);
    let (status, text) = run(&mut slurm);
    assert_eq!(status, Some(0), "{text}");
    let script = study.read("out.slurm/array.sh");
    let own = format!(" {} compare ", env!("CARGO_BIN_EXE_brainscore"));
    assert!(script.contains(&own), "{script}");
    let script = script.replace(&own, " \"$PROGRAM\" compare ");
    let bash = |script: &str, ends: &str| {
        std::fs::remove_file(&calls).ok();
        let mut shell = Command::new("bash");
        shell.args(["-c", script]).env("SLURM_ARRAY_TASK_ID", "1").env("CALLS", &calls);
        shell.env("PROGRAM", &stand_in).env("ENDS", ends);
        let status = shell.output().unwrap().status.code();
        (status, std::fs::read_to_string(&calls).unwrap_or_default())
    };
    for (ends, times) in [(0, 1), (1, 3), (2, 1), (3, 1), (4, 3), (130, 1), (137, 3), (143, 1)] {
        let (status, told) = bash(&script, &ends.to_string());
        assert_eq!((status, told.lines().count()), (Some(ends), times), "{told}");
        let threads = std::thread::available_parallelism().unwrap();
        let first = format!("compare --shard 1/1 --threads {threads} --memory 600M --study ");
        assert!(told.starts_with(&first) && told.trim_end().ends_with(&format!(" -- {model}")), "{told}");
    }
    // The log is there before anything can fail.
    let here = std::env::current_dir().unwrap();
    let gone = script.replace(&format!("cd {} ", here.display()), "cd /no/such/folder ");
    assert_eq!(bash(&gone, "0"), (Some(4), String::new()));
    assert!(study.read("out.slurm/logs/shard-1.log").contains("/no/such/folder"));
}

#[cfg(unix)]
#[test]
fn a_merge_that_is_not_submitted_is_said_with_the_job_that_is() {
    let study = TinyStudy::new();
    let sbatch =
        program(&study, "sbatch", "case \"$*\" in *--dependency*) echo no >&2; exit 1;; *) echo '4711;one';; esac");
    let mut slurm = command(&study, "slurm", "out", &["--submit"]);
    let path = std::env::var("PATH").unwrap();
    let (status, text) = run(slurm.env("PATH", format!("{}:{path}", sbatch.parent().unwrap().display())));
    assert!(status == Some(4) && text.contains("failed: no") && text.contains("scancel 4711"), "{text}");
    assert!(text.contains("sbatch --dependency=afterok:4711 ") && text.contains("merge.sh"), "{text}");
}

/// A share of two checkpoints, one of which cannot be used.
#[test]
fn a_share_says_what_it_knows() {
    let study = TinyStudy::new();
    std::fs::create_dir(study.path("empty")).unwrap();
    study.write(
        "list.toml",
        "[[checkpoint]]\nlabel = \"m\"\npath = \"model\"\n[[checkpoint]]\nlabel = \"bad\"\npath = \"empty\"\n",
    );
    let line = |verb: &str, flags: &[&str]| {
        let mut command = brainscore();
        command.arg(verb).arg("--checkpoints").arg(study.path("list.toml")).args(["--keep-going", "--threads", "1"]);
        command.arg("--study").arg(study.path("study.toml")).arg("--out").arg(study.path("out")).args(flags);
        run(&mut command)
    };
    let (status, text) = line("slurm", &["--shards", "1"]);
    assert!(status == Some(0) && text.contains("bad") && text.contains("[CF-01]"), "{text}");
    // Hidden states that cannot be kept, and a unit that cannot be read.
    let blocked = study.path("cache");
    std::fs::write(&blocked, "no folder").unwrap();
    let blocked = blocked.display().to_string();
    let share = ["--shard", "1/1", "--cache-dir", &blocked];
    let (status, text) = line("compare", &share);
    assert!(status == Some(0) && text.contains("[CF-01]") && text.contains("[CA-02]"), "{text}");
    let unit = study.path(".out.units/c0000-l001.unit");
    std::fs::write(&unit, "x").unwrap();
    let (status, text) = run(brainscore().arg("merge").arg("--compute-missing").arg(study.path("out")));
    assert!(status == Some(1) && text.contains("[UN-02]"), "{text}");
    let mut again = brainscore();
    again.arg("compare").arg("--checkpoints").arg(study.path("list.toml")).args(["--keep-going", "--threads", "1"]);
    again.arg("--study").arg(study.path("study.toml")).arg("--out").arg(study.path("out"));
    let output = again.args(["--json", "--shard", "1/1"]).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["complete"] == true && found["left_out"].to_string().contains("CF-01"), "{found}");
}

/// A share in this process, where the disk can be made to know no locks.
#[test]
fn a_share_looks_at_the_output_under_its_lock() {
    let study = TinyStudy::new();
    let out = study.path("out");
    let model = CheckpointSpec::parse(&format!("m={}", study.path("model").display())).unwrap();
    let share = || {
        let plan = Plan::new(&study.path("study.toml"), vec![model.clone()], &Overrides::default()).unwrap();
        let to = Destination { out: &out, overwrite: false, resume: Resume { wanted: true, ..Resume::default() } };
        share(plan, &to, Shard::parse("1/2").unwrap(), None, &Quiet)
    };
    let none = inject(Fault::NoLocks, 0);
    let shared = share().unwrap();
    assert!(none.struck() && shared.finished == shared.all);
    drop(none);
    let told = |warnings: &[brainscore::error::Warning]| warnings.iter().any(|w| w.message.contains("knows no locks"));
    assert!(told(&shared.warnings), "{:?}", shared.warnings);
    let shared = share().unwrap();
    assert!(!told(&shared.warnings) && shared.computed == 0);
    // Somebody replaces the results: they are not taken for finished.
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("run.json"), "{}").unwrap();
    let replacing = RunDir::stage(&out, true).unwrap();
    assert_eq!(share().unwrap_err().iter().next().unwrap().code(), Code::Od06);
    drop(replacing);
    assert_eq!(share().unwrap_err().iter().next().unwrap().code(), Code::Rr01);
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
