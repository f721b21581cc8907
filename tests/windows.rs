//! Events files and the volumes that stand for their trials.

use std::path::Path;
use std::process::Output;

use brainscore::error::Code;
use serde_json::Value;

use crate::support::corpus::{self, Files, Observed};
use crate::support::{brainscore, hostile_dir, shared};

const GOOD: &str = "onset\tduration\tcondition\titem\tkey\n12\t22\tA\t1\t3\n44\t22\tB\t2\t0\n";

/// Fixture, bytes, what the message says.
const BAD: &[(&str, &[u8], &[&str])] = &[
    ("events/EV-01-no-onset", b"start\tduration\n1\t2\n", &["has no column \"onset\"", "start, duration"]),
    ("events/EV-01-no-duration", b"onset\tlength\n1\t2\n", &["has no column \"duration\""]),
    ("events/EV-01-header-only", b"onset\tduration\n", &["has no rows"]),
    ("events/EV-01-empty", b"", &["is empty"]),
    ("events/EV-02-commas", b"onset,duration\n1,2\n", &["looks comma-separated", "expected tabs"]),
    ("events/EV-03-ragged", b"onset\tduration\n1\t2\n3\n", &["line 3: has 1 fields", "expected 2"]),
    ("events/EV-03-blank-line", b"onset\tduration\n1\t2\n\n3\t4\n", &["line 3: is empty"]),
    ("events/EV-03-header-twice", b"onset\tduration\tonset\n1\t2\t3\n", &["\"onset\" twice"]),
    ("events/EV-04-decimal-comma", b"onset\tduration\n1,5\t2\n", &["line 2", "\"1,5\" in column \"onset\""]),
    ("events/EV-04-not-available", b"onset\tduration\n1\t2\nn/a\t2\n", &["line 3", "\"n/a\""]),
    ("events/EV-04-infinite", b"onset\tduration\ninf\t2\n", &["\"inf\""]),
    ("events/EV-04-duration", b"onset\tduration\n1\tnan\n", &["\"nan\" in column \"duration\""]),
    ("events/EV-04-two-volumes", b"onset\tduration\n[7][8]\t2\n", &["\"[7][8]\"", "[7][7]"]),
    ("events/EV-05-negative", b"onset\tduration\n1\t-2\n", &["line 2: the event lasts -2 s"]),
    ("events/EV-06-milliseconds", b"onset\tduration\n12000\t22\n44000\t22\n", &["44000 s", "332 s", "milliseconds"]),
    ("events/EV-06-behind", b"onset\tduration\n400\t22\n", &["begins at 400 s, the run ends at 332 s"]),
    ("events/EV-09-utf-16", b"\xff\xfeo\0n\0s\0", &["UTF-16"]),
    ("events/EV-09-latin-1", b"onset\tduration\titem\n1\t2\tcaf\xe9\n", &["UTF-8"]),
    ("events/EV-09-nul", b"onset\tduration\titem\n1\t2\t\0\n", &["NUL"]),
];

fn code_of(name: &str) -> Code {
    let slug = name.split('/').nth(1).unwrap();
    *Code::ALL.iter().find(|c| slug.starts_with(c.as_str())).unwrap()
}

/// The fixtures that are made here.
pub fn names() -> Vec<String> {
    BAD.iter().map(|(name, ..)| (*name).to_owned()).collect()
}

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    BAD.iter().map(|(name, ..)| code_of(name)).collect()
}

fn windows(paths: &[&Path], flags: &[&str]) -> Output {
    brainscore().arg("windows").args(paths).args(["--tr", "2"]).args(flags).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_bad_events_file_is_refused_with_its_place() {
    let folder = hostile_dir();
    let mut wrong = Vec::new();
    for (name, bytes, says) in BAD {
        let path = folder.path().join("sub-01_task-x_run-1_events.tsv");
        std::fs::write(&path, bytes).unwrap();
        let output = windows(&[&path], &["--volumes", "166"]);
        let bad = corpus::files(folder.path());
        let observed = Observed { name, folder: folder.path(), good: &Files::new(), bad: &bad, output: &output };
        wrong.extend(observed.complaints());
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = code_of(name);
        let last = format!("[{code}]");
        if output.status.code() != Some(3) || !stderr.lines().any(|l| l.starts_with("error: ") && l.ends_with(&last)) {
            wrong.push(format!("{name}: {stderr}"));
        }
        wrong.extend(says.iter().filter(|s| !stderr.contains(**s)).map(|s| format!("{name}: no {s:?} in {stderr}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Old Mac line ends, disorder, overlap, an onset before the run: odd, but usable.
#[test]
fn odd_events_are_warnings() {
    let folder = hostile_dir();
    let path = folder.path().join("sub-01_task-x_run-1_events.tsv");
    std::fs::write(&path, GOOD.replace('\n', "\r")).unwrap();
    let found = json(&windows(&[&path], &["--volumes", "166", "--json"]));
    assert_eq!(found["files"][0]["trials"][1]["key"], Value::Null);
    assert_eq!(found["warnings"], Value::Array(vec![]));
    std::fs::write(&path, "onset\tduration\n44\t22\n-3\t2\n40\t22\n").unwrap();
    let output = windows(&[&path], &["--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((stderr.matches("[EV-07]").count(), stderr.matches("[EV-05]").count()), (2, 1), "{stderr}");
    let onsets: Vec<f64> =
        json(&output)["files"][0]["trials"].as_array().unwrap().iter().map(|t| t["onset"].as_f64().unwrap()).collect();
    assert_eq!(onsets, [-3.0, 40.0, 44.0]);
}

/// The volumes of every window in the first run of sub-03, counted by hand. The trials begin at 12, 44, …, 300 s; the four
/// parts of a text are read until 6, 10, 14 and 18 s after that; the response comes 6 s later; a volume takes 2 s.
#[test]
fn the_windows_of_a_real_run() {
    let Some(shared) = shared() else { return };
    let path = shared.join("data/ds000212/sub-03/func/sub-03_task-dis_run-01_events.tsv");
    let of = |window: &str| -> Vec<Vec<Vec<i64>>> {
        let flags = ["--volumes", "166", "--lag", "6", "--segments", "6,4,4,4", "--window", window, "--json"];
        let found = json(&windows(&[&path], &flags));
        assert_eq!(found["files"][0]["lost"], Value::Array(vec![]), "{window}");
        let volumes = |s: &Value| s["volumes"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
        let trials = found["files"][0]["trials"].as_array().unwrap();
        trials.iter().map(|t| t["samples"].as_array().unwrap().iter().map(volumes).collect()).collect()
    };
    let first_volume: Vec<i64> = (0..10).map(|trial| 6 + 16 * trial).collect();
    let each = |places: &dyn Fn(i64) -> Vec<Vec<i64>>| first_volume.iter().map(|v| places(*v)).collect::<Vec<_>>();
    // 12 + 18 + 6 = 36 s: volume 18, twelve after the first.
    assert_eq!(of("last"), each(&|v| vec![vec![v + 12]]));
    assert_eq!(of("last")[9], [[162]]);
    // (12 + 30) / 2 + 6 = 27 s: volume 13.
    assert_eq!(of("middle"), each(&|v| vec![vec![v + 7]]));
    // 18 to 36 s: volumes 9 to 17.
    assert_eq!(of("avg"), each(&|v| vec![(v + 3..=v + 11).collect()]));
    // 24, 28, 32 and 36 s: volumes 12, 14, 16 and 18.
    assert_eq!(of("segments"), each(&|v| [6, 8, 10, 12].map(|n| vec![v + n]).to_vec()));
    // The predecessor: 16 s after the onset; and 6, 4, 4 and 16 s after it.
    assert_eq!(of("seed-last"), each(&|v| vec![vec![v + 8]]));
    assert_eq!(of("seed-sentences"), each(&|v| [3, 2, 2, 8].map(|n| vec![v + n]).to_vec()));
    // The response to a trial: 14 s to 66 s.
    assert_eq!(of("beta")[0], [(7..=33).collect::<Vec<i64>>()]);
}

#[test]
fn all_real_events_files_are_read() {
    let Some(shared) = shared() else { return };
    let output = windows(&[&shared.join("data/ds000212")], &["--json"]);
    let found = json(&output);
    assert_eq!(found["files"].as_array().unwrap().len(), 372);
    let count = |task: &str, what: &str| found["tasks"][task][what].as_u64().unwrap();
    for (task, files, trials) in [("dis", 234, 2340), ("fb", 120, 1064), ("tom", 14, 140), ("tomloc", 4, 40)] {
        assert_eq!((count(task, "files"), count(task, "trials")), (files, trials), "{task}");
    }
    assert_eq!(count("tom", "bracketed_onsets") + count("tomloc", "bracketed_onsets"), 180);
    assert_eq!((count("dis", "bracketed_onsets"), count("dis", "without_key")), (0, 529));
    let twins: Vec<String> = found["twins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| format!("{} {} {}", t["runs"][0].as_str().unwrap(), t["runs"][1].as_str().unwrap(), t["identical"]))
        .collect();
    assert_eq!(
        twins,
        ["sub-14_task-dis_run-5 sub-14_task-dis_run-6 true", "sub-46_task-dis_run-1 sub-46_task-dis_run-6 false"]
    );
    // Eight subjects never pressed a key; their trials are all there.
    let mut pressed: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for file in found["files"].as_array().unwrap().iter().filter(|f| f["task"] == "dis") {
        let subject = file["run"].as_str().unwrap().split('_').next().unwrap().to_owned();
        let keys = file["trials"].as_array().unwrap().iter().filter(|t| !t["key"].is_null()).count();
        *pressed.entry(subject).or_default() += keys;
    }
    assert_eq!((pressed.len(), pressed.values().filter(|n| **n == 0).count()), (39, 8));
    // A volume number becomes seconds.
    let tom = found["files"].as_array().unwrap().iter().find(|f| f["task"] == "tom").unwrap();
    assert_eq!((&tom["trials"][0]["onset"], &tom["trials"][0]["bracketed"]), (&14.0.into(), &true.into()));
}

/// The run of sub-17 that was cut short in the real data set: its events look complete, only the images show it.
#[test]
fn a_short_run_is_named_and_its_lost_trials_are_counted() {
    let Some(shared) = shared() else { return };
    let path = shared.join("data/ds000212/sub-17/func/sub-17_task-dis_run-02_events.tsv");
    let output = windows(&[&path], &["--volumes", "67", "--segments", "6,4,4,4", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("sub-17_task-dis_run-02_events.tsv: the run has 67 volumes (134 s)"), "{stderr}");
    assert!(stderr.contains("too few for 6 of its 10 trials"), "{stderr}");
    assert_eq!(json(&output)["files"][0]["lost"].to_string(), "[5,6,7,8,9,10]");
}
