//! Runs that are killed go on from what they finished, and end as if nothing had happened.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brainscore::encoder::CheckpointSpec;
use brainscore::error::{Code, Error, Problems, Result};
use brainscore::pipeline::{Destination, Finished, Resume, compare};
use brainscore::study::{Overrides, Plan};
use brainscore::watch::{Quiet, Watch};

use crate::support::corpus::results;
use crate::support::study::{TinyStudy, listing};
use crate::support::{brainscore, hostile_dir};

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    vec![Code::Od07, Code::Od08]
}

/// Interrupts the work after so many fits.
struct Interrupt {
    left: AtomicUsize,
    fitting: AtomicBool,
}

impl Watch for Interrupt {
    fn begin(&self, _: &str, unit: &str, _: u64) {
        self.fitting.store(unit == "fits", Ordering::SeqCst);
    }
    fn advance(&self, _: u64) {
        if self.fitting.load(Ordering::SeqCst) {
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1))).unwrap();
        }
    }
    fn end(&self) {}
    fn check(&self) -> Result<()> {
        if self.left.load(Ordering::SeqCst) == 0 {
            return Err(Error::new(Code::Ix01, "brainscore", "interrupted").hint("Nothing was written"));
        }
        Ok(())
    }
}

/// Two checkpoints of the tiny study, in this process: the number of threads is the same for all runs.
fn run(
    study: &TinyStudy,
    overrides: &Overrides,
    (resume, overwrite): (bool, bool),
    watch: &dyn Watch,
) -> std::result::Result<Finished, Problems> {
    let model = study.path("model").display().to_string();
    let specs = [format!("m={model}"), format!("u=untrained:1:{model}")];
    let specs = specs.iter().map(|s| CheckpointSpec::parse(s).unwrap()).collect();
    let plan = Plan::new(&study.path("study.toml"), specs, overrides).map_err(|mut e| Problems::from(e.remove(0)))?;
    let resume = Resume { wanted: resume, ..Resume::default() };
    compare(plan, &Destination { out: &study.path("out"), overwrite, resume }, None, watch)
}

/// A run that is interrupted after so many fits: at once, after the two baselines, among the four layers, the two joint
/// models, or when all that is left is to give the results their name.
fn interrupted(study: &TinyStudy, fits: usize) -> String {
    let watch = Interrupt { left: AtomicUsize::new(fits), fitting: AtomicBool::new(false) };
    run(study, &Overrides::default(), (false, false), &watch).unwrap_err().to_string()
}

fn units(study: &TinyStudy) -> Vec<PathBuf> {
    let folder = study.path(".out.units");
    let all = if folder.exists() { listing(&folder) } else { Vec::new() };
    all.into_iter().filter(|n| n.ends_with(".unit")).map(|n| folder.join(n)).collect()
}

pub fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (results(a), results(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    assert!(a.len() > 15);
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{name} differs");
    }
}

fn codes_of(problems: &Problems) -> Vec<&'static str> {
    problems.iter().map(|e| e.code().as_str()).collect()
}

/// Interrupted at every place where a run asks, with damage of both kinds done to what it left.
#[test]
fn an_interrupted_run_ends_as_an_undisturbed_one() {
    let study = TinyStudy::new();
    run(&study, &Overrides::default(), (false, false), &Quiet).unwrap();
    std::fs::rename(study.path("out"), study.path("undisturbed")).unwrap();
    for fits in [0, 2, 3, 4, 5, 6, 7, 8] {
        let told = interrupted(&study, fits);
        let left = units(&study);
        assert!(!study.path("out").exists());
        let beside: Vec<String> = listing(study.dir.path()).into_iter().filter(|n| n.starts_with('.')).collect();
        if left.is_empty() {
            assert!(told.contains("Nothing was written") && beside.is_empty(), "{told} {beside:?}");
            continue;
        }
        assert!(
            told.contains(&format!("{} of 8 units are finished", left.len())) && told.contains("--resume"),
            "{told}"
        );
        assert_eq!(beside, [".out.units"], "nothing but the units");
        let bytes = std::fs::read(&left[0]).unwrap();
        let damaged = match fits % 3 {
            0 => bytes[..bytes.len() - fits].to_vec(),
            1 => bytes.iter().enumerate().map(|(i, b)| b ^ u8::from(i == bytes.len() / fits)).collect(),
            _ => bytes.clone(),
        };
        std::fs::write(&left[0], &damaged).unwrap();
        let done = run(&study, &Overrides::default(), (true, false), &Quiet).unwrap();
        let warned = done.record.warnings.iter().any(|w| w.code == "UN-02");
        assert_eq!(warned, damaged != bytes, "damage is told, and only damage");
        assert_same(&study.path("out"), &study.path("undisturbed"));
        assert!(!study.path(".out.units").exists(), "a finished run needs no units");
        std::fs::remove_dir_all(study.path("out")).unwrap();
    }
}

#[test]
fn a_changed_plan_is_refused_by_the_name_of_every_change() {
    let study = TinyStudy::new();
    interrupted(&study, 5);
    let before = units(&study).len();
    assert!(before > 2);
    study.edit("stimuli.csv", "s03,", "s03,red ");
    let weights = std::fs::read(study.path("model/model.safetensors")).unwrap();
    let mut other = weights.clone();
    *other.last_mut().unwrap() ^= 1;
    study.write("model/model.safetensors", other);
    let overrides = Overrides {
        memory: Some(1 << 30),
        unique: Some(brainscore::study::UniqueLayers::None),
        ..Overrides::default()
    };
    let refused = run(&study, &overrides, (true, false), &Quiet).unwrap_err();
    let named = |what: &str| refused.iter().any(|e| e.to_string().contains(what));
    assert!(codes_of(&refused).iter().all(|c| *c == "OD-07"), "{refused}");
    assert!(named("stimuli stimuli.csv was ") && named("texts was ") && named("weights of m was "), "{refused}");
    assert!(named("memory was \"that of the first process\" and is \"1073741824\" now"), "{refused}");
    assert!(named("unique cod was \"best\" and is \"none\" now") && named("tokens of u was "), "{refused}");
    assert!(!named("weights of u") && !named("responses"), "what is the same is not named: {refused}");
    assert_eq!(refused.status().exit_code(), 4);
    assert_eq!(units(&study).len(), before, "nothing is lost by a refusal");
}

/// Without `--resume` a run starts over; until its first unit is there the old ones stay.
#[test]
fn a_run_without_resume_starts_over() {
    let study = TinyStudy::new();
    interrupted(&study, 5);
    let output = study.compare("out", &[]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("finished units of an interrupted run lie in") && told.contains("[UN-01]"), "{told}");
    assert!(!study.path(".out.units").exists());
}

#[test]
fn a_finished_run_is_told_from_another() {
    let study = TinyStudy::new();
    let first = run(&study, &Overrides::default(), (true, false), &Quiet).unwrap();
    assert!(!first.before, "nothing was there to go on from: it ran");
    let second = run(&study, &Overrides::default(), (true, false), &Quiet).unwrap();
    assert!(second.before && second.record.identity == first.record.identity);
    assert_eq!(second.record.comparison.best_layers, first.record.comparison.best_layers);
    let other = Overrides { layers: Some("1".to_owned()), ..Overrides::default() };
    let refused = run(&study, &other, (true, false), &Quiet).unwrap_err();
    assert_eq!(codes_of(&refused), ["OD-01", "OD-01"], "the layers of two checkpoints: {refused}");
    assert!(refused.to_string().contains("layers of m was \"0 1\" and is \"1\" now"), "{refused}");
    assert!(!run(&study, &other, (true, true), &Quiet).unwrap().before, "--overwrite replaces it");
    let refused = run(&study, &Overrides::default(), (false, false), &Quiet).unwrap_err();
    assert_eq!(codes_of(&refused), ["OD-01"]);
}

/// A kill between the last rename and the removal of the units: whoever looks next removes them, and nobody else's.
#[test]
fn units_that_outlived_their_run_go() {
    let study = TinyStudy::new();
    let (own, kept) = (study.path(".out.units"), study.path("kept"));
    interrupted(&study, 5);
    std::fs::create_dir(&kept).unwrap();
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for name in listing(from) {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    };
    copy(&own, &kept);
    run(&study, &Overrides::default(), (true, false), &Quiet).unwrap();
    copy(&kept, &own);
    std::fs::create_dir(study.path(".out.units-half")).unwrap();
    assert!(run(&study, &Overrides::default(), (true, false), &Quiet).unwrap().before);
    assert!(!own.exists() && !study.path(".out.units-half").exists());
    // Somebody who had begun to replace the run by another one may want to go on.
    copy(&kept, &own);
    let plan = std::fs::read_to_string(own.join("plan.json")).unwrap();
    std::fs::write(own.join("plan.json"), plan.replacen("\"0 1\"", "\"1\"", 1)).unwrap();
    assert!(run(&study, &Overrides::default(), (true, false), &Quiet).unwrap().before);
    assert!(own.exists());
}

/// The demo, killed again and again without warning.
#[cfg(unix)]
#[test]
fn a_killed_demo_goes_on_to_the_same_tables() {
    let folder = hostile_dir();
    let out = folder.path().join("out");
    let demo = |flags: &[&str]| -> Command {
        let mut command = brainscore();
        command.args(["compare", "--demo", "--threads", "2"]).args(flags).arg("--out").arg(&out);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let count = || match std::fs::read_dir(folder.path().join(".out.units")) {
        Ok(all) => all.flatten().filter(|e| e.path().extension().is_some_and(|e| e == "unit")).count(),
        Err(_) => 0,
    };
    let mut seen = 0;
    for until in [2, 9, 17, 21] {
        let mut child = demo(&["--resume"]).spawn().unwrap();
        while count() < until && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().ok();
        child.wait().unwrap();
        assert!(!out.exists() && count() >= seen.max(until), "{} units after {until}", count());
        seen = count();
    }
    let last = demo(&["--resume"]).output().unwrap();
    let told = String::from_utf8_lossy(&last.stderr);
    assert!(last.status.success() && told.contains(&format!("resuming: {seen} of ")), "{told}");
    assert_same(&out, &crate::cli::demo().join("out"));
    assert_eq!(listing(folder.path()), ["out"]);
    let again = demo(&["--resume"]).output().unwrap();
    assert!(again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is finished"));
}
