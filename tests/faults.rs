//! Faults: interrupts, defects, full disks, little memory, two runs at once, odd clocks and places, inputs that change. What each of
//! them must come to stands in the list at the end, with the tests that show it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use brainscore::encoder::CheckpointSpec;
use brainscore::error::{Code, Error, Result};
use brainscore::pipeline::{self, Destination, Resume};
use brainscore::study::{Overrides, Plan};
use brainscore::watch::Watch;

use crate::registry::is_a_test;
use crate::support::corpus::{Files, files, results};
use crate::support::skip;
use crate::support::study::{TinyStudy, listing, npy, tensors};

fn command(study: &TinyStudy, out: &str) -> Command {
    study.compare(out, &["--threads", "2", "--unique", "none"])
}

/// The same command under a shell that first does something to itself.
fn under(shell: &str, command: &Command) -> Command {
    let mut wrapped = Command::new("sh");
    wrapped.arg("-c").arg(format!("{shell} exec \"$@\"")).arg("sh").arg(command.get_program()).args(command.get_args());
    wrapped.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?)))).stdin(Stdio::null());
    wrapped
}

/// All names but that of the finished units, from which `--resume` goes on.
fn but_units(folder: &Path) -> Vec<String> {
    listing(folder).into_iter().filter(|name| name != ".out.units").collect()
}

fn hidden(folder: &Path) -> Vec<String> {
    but_units(folder).into_iter().filter(|name| name.starts_with('.')).collect()
}

/// Does something when a stage begins.
struct At<F: Fn(&str) -> Result<()> + Sync> {
    act: F,
    stages: Mutex<Vec<String>>,
    /// What `check` has answered since the act.
    stop: Mutex<Option<Code>>,
}

impl<F: Fn(&str) -> Result<()> + Sync> At<F> {
    fn new(act: F) -> At<F> {
        At { act, stages: Mutex::new(Vec::new()), stop: Mutex::new(None) }
    }
}

impl<F: Fn(&str) -> Result<()> + Sync> Watch for At<F> {
    fn begin(&self, stage: &str, _: &str, _: u64) {
        self.stages.lock().unwrap().push(stage.to_owned());
        if let Err(e) = (self.act)(stage) {
            *self.stop.lock().unwrap() = Some(e.code());
        }
    }

    fn advance(&self, _: u64) {}

    fn end(&self) {}

    fn check(&self) -> Result<()> {
        match *self.stop.lock().unwrap() {
            Some(code) => Err(Error::new(code, "brainscore", "interrupted")),
            None => Ok(()),
        }
    }
}

fn compare(
    study: &TinyStudy,
    watch: &dyn Watch,
) -> std::result::Result<pipeline::Finished, brainscore::error::Problems> {
    let here = study.dir.path().display();
    let specs = [format!("m={here}/model"), format!("u=untrained:1:{here}/model")];
    let specs = specs.iter().map(|s| CheckpointSpec::parse(s).unwrap()).collect();
    let plan = Plan::new(&study.path("study.toml"), specs, &Overrides::default()).unwrap();
    let to = Destination { out: &study.path("out"), overwrite: false, resume: Resume::default() };
    pipeline::compare(plan, &to, None, watch)
}

fn stages() -> Vec<String> {
    let all = At::new(|_| Ok(()));
    compare(&TinyStudy::new(), &all).unwrap();
    let stages = all.stages.into_inner().unwrap();
    assert!(stages.len() >= 4, "{stages:?}");
    stages
}

/// F-02: whatever a run is doing when it is told to stop, it stops and leaves nothing.
#[test]
fn every_stage_can_be_interrupted() {
    for stage in stages() {
        let study = TinyStudy::new();
        let before = listing(study.dir.path());
        let at = At::new(|s: &str| if s == stage { Err(Error::new(Code::Ix01, "", "")) } else { Ok(()) });
        let problems = compare(&study, &at).unwrap_err();
        assert_eq!(problems.iter().map(Error::code).collect::<Vec<_>>(), [Code::Ix01], "{stage}");
        assert_eq!(at.stages.into_inner().unwrap().last(), Some(&stage), "nothing else has begun");
        assert_eq!(but_units(study.dir.path()), before, "{stage}");
    }
}

/// F-23: a defect in any stage leaves nothing either. (The exit status is tested beside `main`.)
#[test]
fn a_panic_leaves_nothing_behind() {
    let left: Vec<(String, bool)> = stages()
        .into_iter()
        .map(|stage| {
            let study = TinyStudy::new();
            let before = listing(study.dir.path());
            let at = At::new(|s: &str| if s == stage { panic!("trap") } else { Ok(()) });
            let caught = catch_unwind(AssertUnwindSafe(|| compare(&study, &at).map(drop)));
            (stage, caught.is_err() && but_units(study.dir.path()) == before)
        })
        .collect();
    assert!(left.iter().all(|(_, clean)| *clean), "{left:?}");
}

/// F-16: an input that is another one when the run ends is named, and the run does not count as whole.
#[test]
fn an_input_that_changes_is_marked() {
    let study = TinyStudy::new();
    let table = study.read("responses.csv");
    let late = At::new(|stage: &str| {
        if stage == "encoding models" {
            study.write("responses.csv", table.replacen("0.", "1.", 1));
        }
        Ok(())
    });
    let finished = compare(&study, &late).unwrap();
    assert!(!finished.is_whole());
    let marked: Vec<_> = finished.record.warnings.iter().filter(|w| w.code == "IN-01").collect();
    let digest = finished.record.inputs.iter().find(|i| i.role == "responses").unwrap().sha256;
    assert_eq!(digest, brainscore::io::digest(table.as_bytes()), "the digest of what was read");
    assert!(marked.len() == 1 && marked[0].message.contains("responses.csv changed during the run"));
    assert!(marked[0].message.contains(&digest.to_string()));
    assert!(study.read("out/report.html").contains("responses.csv changed during the run"));
}

/// F-03: no room for the results, or for what is told.
#[cfg(unix)]
#[test]
fn a_full_disk_is_said() {
    let study = TinyStudy::new();
    assert!(command(&study, "out").status().unwrap().success());
    let before = files(study.dir.path());
    // Files of at most 8 KiB, as on a disk that fills up.
    let mut overwrite = command(&study, "out");
    let output = under("trap '' XFSZ; ulimit -f 16;", overwrite.arg("--overwrite")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("[IO-01]") && said.contains(study.dir.path().to_str().unwrap()), "{said}");
    let after: Files = files(study.dir.path()).into_iter().filter(|(n, _)| !n.starts_with(".out.units/")).collect();
    assert!(after == before && hidden(study.dir.path()).is_empty(), "the old run is untouched");
    if Path::new("/dev/full").exists() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command(&study, "told").arg("--json").stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("standard output: writing it failed") && said.contains("[IO-01]"), "{said}");
        assert!(study.path("told/run.json").is_file(), "the files are whole");
    }
}

/// F-05: what does not fit into memory is refused with its size, before it is read. (Memory itself is limited: an array of zeros
/// takes no room on the disk.)
#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_said() {
    let study = TinyStudy::new();
    let columns = 40_000_000;
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (30, {columns}), }}");
    let head = npy(&dict, &[]);
    study.write("y.npy", &head);
    let array = std::fs::File::options().append(true).open(study.path("y.npy")).unwrap();
    array.set_len(head.len() as u64 + 4 * 30 * columns).unwrap();
    study.edit("study.toml", "responses.csv\"\nsubject = \"subject\"", "y.npy\"\nrows_in_order = true");
    let before = listing(study.dir.path());
    // One thread each: every one of them reserves addresses of its own.
    let limit = "ulimit -v 3000000; OPENBLAS_NUM_THREADS=1; export OPENBLAS_NUM_THREADS;";
    let output = under(limit, &command(&study, "out")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("y.npy: ") && said.contains("do not fit into memory") && said.contains("[IO-01]"), "{said}");
    assert_eq!(listing(study.dir.path()), before);
}

/// F-11 and F-12: the second run to one place names the first; a lock dies with its holder.
#[cfg(unix)]
#[test]
fn two_runs_to_one_place() {
    let study = TinyStudy::new();
    let lock = study.path(".out.lock");
    // A first run that waits for its input for ever, the lock in its hands: a process that holds the lock stands for it.
    let mut holder = Command::new("sh");
    holder.arg("-c").arg("exec 9>>\"$1\"; flock 9; echo \"process $$ on somewhere\" >&9; echo held; exec sleep 1000");
    let mut holder = match holder.arg("sh").arg(&lock).stdout(Stdio::piped()).spawn() {
        Ok(child) if Command::new("flock").arg("--version").output().is_ok() => child,
        _ => return skip("no flock(1)"),
    };
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "held\n");
    let output = command(&study, "out").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("[OD-06]") && said.contains(&format!("process {} on somewhere", holder.id())), "{said}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(lock.exists(), "its file is still there");
    assert!(command(&study, "out").status().unwrap().success());
    assert!(hidden(study.dir.path()).is_empty());
}

/// F-14: a cache that may only be read is read; what is not in it is computed, and nothing is kept.
#[cfg(unix)]
#[test]
fn a_read_only_cache_is_read() {
    let study = TinyStudy::new();
    let cache = study.path("cache");
    let run = |out: &str, pooling: &str| {
        let mut command = command(&study, out);
        command.env_remove("BRAINSCORE_CACHE").args(["--pooling", pooling, "--cache-dir"]).arg(&cache);
        command
    };
    assert!(run("first", "mean").status().unwrap().success());
    let kept = files(&cache);
    let mode = |bits: &str| assert!(Command::new("chmod").args(["-R", bits]).arg(&cache).status().unwrap().success());
    // Root may write anywhere: the program runs as nobody, in a place where nobody may write results.
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    let version = |by: &mut Command| by.arg("--version").output().is_ok_and(|o| o.status.success());
    let nobody = || {
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_brainscore")]);
        nobody.env_remove("BRAINSCORE_CACHE").stdin(Stdio::null());
        nobody
    };
    if root && !version(&mut nobody()) {
        return skip("the program cannot be run as nobody");
    }
    assert!(Command::new("chmod").arg("a+rwx").arg(study.dir.path()).status().unwrap().success());
    mode("a+rX,a-w");
    let outputs = [("second", "mean"), ("third", "last")].map(|(out, pooling)| {
        let plain = run(out, pooling);
        let output = if root { nobody().args(plain.get_args()).output() } else { { plain }.output() };
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let record = std::fs::read_to_string(study.path(out).join("run.json")).unwrap_or_default();
        let record: Option<brainscore::record::RunRecord> = serde_json::from_str(&record).ok();
        (said, record.map(|r| (r.extraction[0].texts_run, r.extraction[0].texts_cached)))
    });
    mode("u+w");
    let [(second, read), (third, computed)] = outputs;
    assert!(read == Some((0, 30)) && !second.contains("[CA-02]"), "{read:?}: {second}");
    assert!(computed == Some((30, 0)) && third.contains("[CA-02]"), "{computed:?}: {third}");
    assert!(files(&cache) == kept, "nothing was kept");
    assert!(results(&study.path("first")) == results(&study.path("second")));
}

/// F-15 and F-25: files of the future, another time zone, another locale: the same bytes.
#[test]
fn clocks_and_locales_do_not_matter() {
    let study = TinyStudy::new();
    let cache = study.path("cache");
    let run = |out: &str, settings: &[(&str, &str)]| {
        let mut command = command(&study, out);
        command.arg("--cache-dir").arg(&cache).envs(settings.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("here", &[("LC_ALL", "C"), ("TZ", "UTC")]);
    run("there", &[("LC_ALL", "de_DE.UTF-8"), ("LC_NUMERIC", "de_DE.UTF-8"), ("TZ", "Pacific/Apia")]);
    for (out, year) in [("future", 2040), ("past", 1971)] {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952);
        for name in files(study.dir.path()).keys().filter(|n| !n.contains("here/")) {
            std::fs::File::options().append(true).open(study.path(name)).unwrap().set_modified(then).unwrap();
        }
        run(out, &[]);
    }
    let expected = results(&study.path("here"));
    for out in ["there", "future", "past"] {
        assert!(results(&study.path(out)) == expected, "{out}");
    }
}

/// F-17: weights that are finite and too large for their products: the error says which layer of which checkpoint.
#[test]
fn a_computation_that_overflows_says_where() {
    let study = TinyStudy::new();
    let mut large = tensors("");
    let (_, _, bytes) = large.get_mut("encoder.layer.0.output.LayerNorm.weight").unwrap();
    *bytes = 3e38f32.to_le_bytes().repeat(bytes.len() / 4);
    study.weights(&large);
    let output = command(&study, "out").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("error: layer 1 of m: ") && said.contains("[NU-01]"), "{said}");
    assert!(!study.path("out").exists());
}

/// The log says what was run, what it warned of, how it ended and with how much memory; in UTC, and whatever the time zone.
#[test]
fn a_log_is_kept() {
    let study = TinyStudy::new();
    let log = study.path("run.log");
    let mut first = command(&study, "out");
    assert!(first.arg("--log").arg(&log).env("TZ", "Pacific/Apia").status().unwrap().success());
    assert_eq!(command(&study, "out").arg("--log").arg(&log).status().unwrap().code(), Some(4));
    let text = study.read("run.log");
    let now = Command::new("date").args(["-u", "+%Y-%m-%dT"]).output().unwrap();
    let today = String::from_utf8(now.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines.iter().filter(|l| l.starts_with(today.trim()) && l[19..].starts_with("Z  ")).count() + 2 >= lines.len()
    );
    assert_eq!(text.matches(" begins: compare ").count(), 2, "{text}");
    assert!(text.contains("encoding models begins: ") && text.contains("encoding models ends after "), "{text}");
    assert!(text.contains(" ends with status 0 after ") && text.contains(" MiB of memory at most"), "{text}");
    assert!(
        text.contains("error: ") && text.contains("[OD-01]") && lines.last().unwrap().contains("ends with status 4")
    );
    let refused = command(&study, "other").arg("--log").arg(study.path("no/such/run.log")).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(4) && said.contains("[OD-02]") && !study.path("other").exists(), "{said}");
}

/// All faults, and the tests that show what comes of them.
const LIST: &[(&str, &[&str])] = &[
    (
        "F-01 kill -9",
        &[
            "killed_runs_leave_whole_results_or_none",
            "a_killed_run_leaves_no_half_output",
            "leftovers_of_a_killed_run_are_removed",
        ],
    ),
    ("F-02 SIGINT, SIGTERM", &["every_stage_can_be_interrupted", "an_interrupt_leaves_nothing_but_finished_units"]),
    (
        "F-03 disk full",
        &[
            "every_file_is_whole_or_as_before",
            "every_output_is_there_or_as_before",
            "a_full_disk_is_said",
            "a_full_disk_is_said_and_leaves_no_file",
        ],
    ),
    (
        "F-04 EIO, short write, failed fsync",
        &["every_file_is_whole_or_as_before", "every_output_is_there_or_as_before"],
    ),
    ("F-05 memory", &["too_little_memory_is_said", "memory_does_not_grow_with_checkpoints"]),
    ("F-06 memory of a card", &["the_engine_chooses_and_scores_alike_on_cards", "a_card_that_fails_is_said_to"]),
    (
        "F-07 card missing or lost",
        &[
            "no_card_is_no_fault_unless_one_was_named",
            "auto_falls_back_with_a_warning",
            "permutations_and_products_are_the_same_on_cards",
        ],
    ),
    (
        "F-08 damaged cache",
        &[
            "every_flipped_or_missing_byte_is_noticed",
            "a_damaged_entry_is_noticed_and_computed_again",
            "a_kept_atlas_is_whole_or_made_again",
        ],
    ),
    ("F-09 cache of other settings", &["a_second_run_needs_no_forward_pass"]),
    ("F-10 two runs, one cache", &["many_processes_share_a_cold_cache", "many_may_fill_one_place_at_once"]),
    ("F-11 two runs, one output", &["two_runs_to_one_place", "one_process_at_a_time"]),
    ("F-12 stale lock", &["two_runs_to_one_place"]),
    ("F-13 no locks", &["without_locks_the_first_to_finish_wins"]),
    ("F-14 read-only cache", &["a_read_only_cache_is_read"]),
    ("F-15 clocks", &["clocks_and_locales_do_not_matter", "times_are_utc_to_the_second"]),
    (
        "F-16 input changes",
        &[
            "an_input_that_changes_is_marked",
            "weights_that_change_after_the_check_are_noticed",
            "only_other_bytes_are_a_change",
        ],
    ),
    ("F-17 NaN in a computation", &["a_computation_that_overflows_says_where"]),
    (
        "F-18 constant target or prediction",
        &["what_is_odd_but_usable_is_a_warning", "an_undefined_score_is_an_empty_cell_with_a_reason"],
    ),
    (
        "F-19 rank-deficient features",
        &["duplicated_and_constant_columns", "columns_that_are_nearly_constant_within_folds"],
    ),
    ("F-20 leakage", &["the_leak_detector_tells_shuffled_folds_from_the_default", "repeated_texts_do_not_leak"]),
    ("F-21 alpha at the edge", &["every_finding_is_made_where_it_should_be"]),
    ("F-22 one checkpoint of many", &["a_bad_checkpoint_among_many"]),
    ("F-23 panic", &["a_panic_leaves_nothing_behind", "a_panic_has_a_status_of_its_own"]),
    ("F-24 thread counts", &["the_same_plan_gives_the_same_bytes", "threads_and_caches_change_no_bit"]),
    ("F-25 locale", &["clocks_and_locales_do_not_matter"]),
];

#[test]
fn every_fault_is_shown() {
    assert_eq!(LIST.len(), 25);
    for (number, (fault, tests)) in LIST.iter().enumerate() {
        assert!(fault.starts_with(&format!("F-{:02}", number + 1)) && !tests.is_empty(), "{fault}");
        tests.iter().for_each(|test| assert!(is_a_test(test), "{fault}: no test {test}"));
    }
}
