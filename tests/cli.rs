//! The program as a user meets it: the demo, its files, its promises.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use brainscore::io::table::{Number, Table};
use brainscore::record::RunRecord;
use brainscore::store::RUN_ENTRIES;
use tempfile::TempDir;

use crate::support::study::{TinyStudy, listing, responses};
use crate::support::{brainscore, hostile_dir};

/// One run of the demo for all tests that look at it.
pub fn demo() -> &'static Path {
    static DEMO: OnceLock<TempDir> = OnceLock::new();
    let folder = DEMO.get_or_init(|| {
        let folder = hostile_dir();
        let output = brainscore()
            .args(["compare", "--demo", "--threads", "2", "--out"])
            .arg(folder.path().join("out"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains("planted") && told.contains("report:"), "{told}");
        folder
    });
    folder.path()
}

fn record(folder: &Path) -> RunRecord {
    serde_json::from_slice(&std::fs::read(folder.join("run.json")).unwrap()).unwrap()
}

/// What a run may hold and the demo has no reason to: metrics, groups of subjects, series of checkpoints, layers together.
const NOT_OF_THE_DEMO: [&str; 7] = ["metrics", "groups", "trends", "steps", "size", "combined", "stack"];

/// All that the demo writes.
fn entries() -> impl Iterator<Item = &'static str> {
    let of_others = |name: &str| name.split_once('.').is_some_and(|(stem, _)| NOT_OF_THE_DEMO.contains(&stem));
    RUN_ENTRIES.iter().copied().filter(move |name| !of_others(name))
}

#[test]
fn the_demo_finds_what_was_planted() {
    let record = record(&demo().join("out"));
    let planted = record.planted.as_ref().unwrap();
    let mean = |checkpoint: &str, layer: usize, inside: bool| {
        let means =
            record.comparison.target_means.iter().find(|m| m.checkpoint == checkpoint && m.layer.0 == layer).unwrap();
        let values: Vec<f64> = means
            .means
            .iter()
            .zip(&record.responses.targets)
            .filter(|(_, t)| planted.targets.contains(t) == inside)
            .map(|(s, _)| s.value().unwrap())
            .collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let best = record
        .comparison
        .target_means
        .iter()
        .max_by(|a, b| mean(&a.checkpoint, a.layer.0, true).total_cmp(&mean(&b.checkpoint, b.layer.0, true)))
        .unwrap();
    assert_eq!((best.checkpoint.as_str(), best.layer), (planted.checkpoint.as_str(), planted.layer));
    let (inside, outside) =
        (mean(&planted.checkpoint, planted.layer.0, true), mean(&planted.checkpoint, planted.layer.0, false));
    assert!(inside > 0.15 && outside.abs() < 0.03, "planted parcels {inside}, the others {outside}");
    assert!(inside < planted.signal_share, "no model can explain more than the signal");
}

/// The effect is in the region where it was planted and in no other, vision among them, and larger there than elsewhere.
#[test]
fn the_demo_finds_the_planted_effect_in_one_region_alone() {
    let record = record(&demo().join("out"));
    let planted = record.planted.as_ref().unwrap();
    let rois = record.comparison.rois.as_ref().unwrap();
    let nested = |all: &[brainscore::compare::RoiDifference]| -> Vec<_> {
        all.iter().filter(|d| d.checkpoint == planted.checkpoint && d.layer.is_none()).cloned().collect()
    };
    let differences = nested(&rois.differences);
    assert_eq!(differences.iter().map(|d| d.roi.as_str()).collect::<Vec<_>>(), ["tom", "moral", "language", "vision"]);
    for d in &differences {
        let (value, p) = (d.difference.value().unwrap(), d.inference.p_fwe.unwrap());
        if Some(&d.roi) == planted.roi.as_ref() {
            assert!(value > 0.15 && p < 0.05 && d.inference.equivalent == Some(false), "{d:?}");
        } else {
            assert!(value.abs() < 0.03 && p > 0.05 && d.inference.equivalent == Some(true), "{d:?}");
        }
        assert_eq!(d.subjects.len(), record.responses.subjects.len());
    }
    let against: Vec<_> = nested(&rois.contrasts).into_iter().filter(|d| d.roi == "tom").collect();
    assert_eq!(against.len(), 2, "vision and language");
    assert!(against.iter().all(|d| d.difference.value().unwrap() > 0.15 && d.inference.p_fwe.unwrap() < 0.05));
    assert!(rois.rois.iter().all(|r| r.control == (r.name == "vision") && r.covered > 0.999));
    let page = std::fs::read_to_string(demo().join("out/report.html")).unwrap();
    assert!(page.contains("planted in tom alone") && page.contains("no other region differs"));
}

#[test]
fn the_tables_have_their_columns_and_rows() {
    let out = demo().join("out");
    let record = record(&out);
    let scores = Table::read(&out.join("scores.csv")).unwrap();
    let columns = "checkpoint layer subject target n cod cod_test_mean r cod_confounds r_confounds cod_oasm r_oasm cod_unique alpha_median alpha_at_edge undefined";
    assert_eq!(scores.names().collect::<Vec<_>>().join(" "), columns);
    let layers: usize = record.plan.layers.values().map(Vec::len).sum();
    assert_eq!(scores.rows(), layers * record.responses.subjects.len() * record.responses.targets.len());
    let parquet = Table::read(&out.join("scores.parquet")).unwrap();
    assert_eq!(parquet.rows(), scores.rows());
    assert_eq!(
        parquet.numbers("cod").unwrap(),
        scores.numbers("cod").unwrap(),
        "CSV and Parquet hold the same numbers"
    );
    let comparison = Table::read(&out.join("comparison.csv")).unwrap();
    assert_eq!(
        comparison.names().collect::<Vec<_>>().join(" "),
        "reference checkpoint layer target score difference ci_low ci_high n_subjects p p_fwe q_fdr mde80 p_tost equivalent \
         two_way_low two_way_high family ci_over undefined"
    );
    let predictions = Table::read(&out.join("predictions.parquet")).unwrap();
    assert_eq!(predictions.rows(), (layers + 2) * record.responses.subjects.len() * record.responses.n_stimuli);
}

/// A sceptic recomputes a score from the run's own files.
#[test]
fn scores_follow_from_the_predictions() {
    let out = demo().join("out");
    let record = record(&out);
    let target = record.responses.targets[0].as_str();
    let predictions = Table::read(&out.join("predictions.parquet")).unwrap();
    let text = |table: &Table, name: &str| table.required_texts(name).unwrap();
    let (labels, subjects, ids) =
        (text(&predictions, "checkpoint"), text(&predictions, "subject"), text(&predictions, "stimulus_id"));
    let layers = predictions.finite_numbers("layer").unwrap();
    let folds = predictions.finite_numbers("fold").unwrap();
    let values = predictions.finite_numbers(target).unwrap();
    let (label, layer, subject) = ("tuned", 3.0, record.responses.subjects[0].as_str());
    let responses = Table::read(&out.join(format!("demo/responses/sub-{subject}.csv"))).unwrap();
    let y_of: std::collections::HashMap<String, f64> =
        text(&responses, "stimulus_id").into_iter().zip(responses.finite_numbers(target).unwrap()).collect();
    let rows: Vec<(f64, f64, f64)> = (0..predictions.rows())
        .filter(|r| labels[*r] == label && layers[*r] == layer && subjects[*r] == subject)
        .map(|r| (folds[r], y_of[&ids[r]], values[r]))
        .collect();
    assert_eq!(rows.len(), record.responses.n_stimuli);
    let (mut sse, mut reference) = (0.0, 0.0);
    for (fold, y, p) in &rows {
        let train: Vec<f64> = rows.iter().filter(|r| r.0 != *fold).map(|r| r.1).collect();
        let mean = train.iter().sum::<f64>() / train.len() as f64;
        sse += (y - p) * (y - p);
        reference += (y - mean) * (y - mean);
    }
    let scores = Table::read(&out.join("scores.csv")).unwrap();
    let at = (0..scores.rows())
        .find(|r| {
            text(&scores, "checkpoint")[*r] == label
                && scores.finite_numbers("layer").unwrap()[*r] == layer
                && text(&scores, "subject")[*r] == subject
                && text(&scores, "target")[*r] == target
        })
        .unwrap();
    let Number::Finite(cod) = scores.numbers("cod").unwrap()[at] else { panic!("a defined score") };
    assert!((cod - (1.0 - sse / reference)).abs() < 1e-12);
}

/// And a p-value, by trying all signs of eight subjects.
#[test]
fn p_follows_from_the_scores() {
    let out = demo().join("out");
    let scores = Table::read(&out.join("scores.csv")).unwrap();
    let text = |name: &str| scores.required_texts(name).unwrap();
    let (labels, subjects, cod) = (text("checkpoint"), text("subject"), scores.finite_numbers("cod").unwrap());
    let layers = scores.finite_numbers("layer").unwrap();
    let mut d = std::collections::BTreeMap::<String, f64>::new();
    for row in (0..scores.rows()).filter(|r| layers[*r] == 5.0 && labels[*r] != "untrained") {
        *d.entry(subjects[row].clone()).or_default() += if labels[row] == "tuned" { cod[row] } else { -cod[row] };
    }
    let d: Vec<f64> = d.into_values().collect();
    let sums: Vec<f64> = (0..256u32)
        .map(|signs| d.iter().enumerate().map(|(s, d)| if signs >> s & 1 == 1 { -d } else { *d }).sum::<f64>().abs())
        .collect();
    let p = sums.iter().filter(|s| **s >= sums[0] * (1.0 - 1e-9)).count() as f64 / 256.0;
    let record = record(&out);
    let found = record
        .comparison
        .layer_differences
        .iter()
        .find(|f| f.checkpoint == "tuned" && f.layer.0 == 5 && f.score == brainscore::encoding::ScoreName::Cod)
        .unwrap();
    assert_eq!(found.inference.p, Some(p));
    assert!(found.inference.p_fwe.unwrap() >= p);
    assert!((found.difference.value().unwrap() - d.iter().sum::<f64>() / 8.0 / 64.0).abs() < 1e-12);
}

/// Six subjects in two groups with a covariate, and a margin; then four of them, and one.
#[test]
fn groups_margins_and_few_subjects_are_dealt_with() {
    let study = TinyStudy::new();
    let rows: Vec<String> = responses().lines().skip(1).map(str::to_owned).collect();
    let people = |n: usize| {
        let mut csv = "stimulus_id,subject,a,b,c\n".to_owned();
        for s in 0..n {
            for (at, row) in rows.iter().take(30).enumerate() {
                let cells: Vec<&str> = row.split(',').collect();
                let other: Vec<&str> = rows[(at * 7 + s * 11) % 60].split(',').collect();
                csv += &format!("{},q{s},{},{},{}\n", cells[0], other[2], other[3], other[4]);
            }
        }
        study.write("responses.csv", csv);
    };
    let run = |out: &str, flags: &[&str]| {
        let model = study.path("model").display().to_string();
        let output = brainscore()
            .args(["compare", &format!("m={model}"), &format!("u=untrained:1:{model}"), "--no-cache"])
            .args(flags)
            .arg("--study")
            .arg(study.path("study.toml"))
            .arg("--out")
            .arg(study.path(out))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    people(6);
    study.write(
        "subjects.tsv",
        "subject\tgroup\tage\nq0\ta\t20\nq1\tb\t30\nq2\ta\t25\nq3\tb\t24\nq4\ta\t31\nq5\tb\t27\n",
    );
    let plain = study.read("study.toml");
    study.write("study.toml", format!("{plain}[subjects]\ntable = \"subjects.tsv\"\ncovariates = [\"age\"]\n"));
    run("six", &["--margin", "5", "--permutations", "200"]);
    run("six", &["--margin", "5", "--permutations", "200", "--overwrite"]);
    let groups = Table::read(&study.path("six").join("groups.csv")).unwrap();
    // Scores of two checkpoints and one difference, each at two layers and the nested best.
    assert_eq!(groups.rows(), 9);
    assert!(groups.finite_numbers("p").unwrap().iter().all(|p| (1.0 / 201.0..=1.0).contains(p)));
    let record = record(&study.path("six"));
    assert_eq!(record.plan.inference.margin, Some(5.0));
    assert_eq!(record.plan.overrides["--permutations"], "200");
    let cod = |d: &&brainscore::compare::Difference| d.score == brainscore::encoding::ScoreName::Cod;
    let layers: Vec<_> = record.comparison.layer_differences.iter().filter(cod).collect();
    assert!(layers.iter().all(|d| d.inference.equivalent == Some(true) && d.inference.two_way.is_some()));
    let page = std::fs::read_to_string(study.path("six").join("report.html")).unwrap();
    assert!(page.contains("Held fixed: age") && page.contains("equivalent: within ± 5.000"));

    study.write("study.toml", plain);
    people(4);
    assert!(run("four", &[]).contains("With 4 subjects no p-value below 0.125 can come out"));
    people(1);
    run("one", &[]);
    let page = std::fs::read_to_string(study.path("one").join("report.html")).unwrap();
    assert!(page.contains("block permutation over 30 stimulus groups") && page.contains("nothing about other people"));
}

#[test]
fn a_run_is_complete_and_private() {
    let out = demo().join("out");
    let mut expected: Vec<&str> = entries().collect();
    expected.sort_unstable();
    assert_eq!(listing(&out), expected);
    let parent = demo().to_str().unwrap().to_owned();
    for name in ["run.json", "report.html", "report.md", "check_in_python.py", "layerwise.svg", "scores.csv"] {
        let text = std::fs::read_to_string(out.join(name)).unwrap();
        assert!(!text.contains(&parent) && !text.contains("/tmp/"), "{name} holds a path of this machine");
    }
}

#[test]
fn the_report_is_rebuilt_from_the_record_alone() {
    let folder = hostile_dir();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::copy(demo().join("out/run.json"), run.join("run.json")).unwrap();
    // Pictures of brains are made from images, which a record does not hold; they are taken as they lie there.
    std::fs::create_dir(run.join("maps")).unwrap();
    for name in listing(&demo().join("out/maps")) {
        std::fs::copy(demo().join("out/maps").join(&name), run.join("maps").join(&name)).unwrap();
    }
    let output = brainscore().arg("report").arg(&run).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["report.html", "report.md", "layerwise.svg", "layerwise.png", "difference.svg"] {
        assert_eq!(
            std::fs::read(run.join(name)).unwrap(),
            std::fs::read(demo().join("out").join(name)).unwrap(),
            "{name}"
        );
    }
}

/// The demo's own files, run as a user would run them, in two thread counts.
#[test]
fn the_same_plan_gives_the_same_bytes() {
    let folder = hostile_dir();
    let study = demo().join("out/demo");
    for (name, threads) in [("one", "1"), ("two", "2")] {
        let output = Command::new(env!("CARGO_BIN_EXE_brainscore"))
            .current_dir(&study)
            .args([
                "compare",
                "base=checkpoints/base",
                "tuned=checkpoints/tuned",
                "untrained=untrained:0:checkpoints/base",
            ])
            .args(["--study", "study.toml", "--threads", threads, "--out"])
            .arg(folder.path().join(name))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let tables: Vec<&str> = entries().filter(|name| name.ends_with(".csv") || name.ends_with(".parquet")).collect();
    assert!(tables.len() > 20);
    for table in tables {
        let read = |run: &Path| std::fs::read(run.join(table)).unwrap();
        let two = read(&folder.path().join("two"));
        assert!(two == read(&demo().join("out")), "{table} differs between two runs");
        assert!(two == read(&folder.path().join("one")), "{table} differs between thread counts");
    }
}

#[test]
fn a_finished_run_is_replaced_only_on_demand() {
    let study = TinyStudy::new();
    let run = |flags: &[&str]| study.compare("out", flags).output().unwrap();
    assert!(run(&["--metrics", "rank"]).status.success());
    let second = run(&[]);
    assert_eq!(second.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&second.stderr).contains("[OD-01]"));
    let third = run(&["--overwrite", "--json", "--pooling", "cls", "--layers=-1"]);
    assert!(third.status.success());
    let json: serde_json::Value = serde_json::from_slice(&third.stdout).unwrap();
    assert_eq!(json["curves"][0]["points"].as_array().unwrap().len(), 1);
    let record = record(&study.path("out"));
    assert_eq!((record.plan.pooling.as_str(), record.plan.overrides.len()), ("cls", 2));
}

#[test]
fn check_runs_no_checkpoint() {
    let study = TinyStudy::new();
    let before = listing(study.dir.path());
    let output = brainscore()
        .arg("check")
        .arg(study.path("model"))
        .arg("--study")
        .arg(study.path("study.toml"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("2 subjects × 3 targets") && told.contains("no checkpoint ran"), "{told}");
    // The tiny study's texts are made of twelve words in turn: the audit that runs inside notices.
    assert!(output.status.code() == Some(1) && told.contains("AU-02 severe"), "{told}");
    assert_eq!(listing(study.dir.path()), before);
}

/// The constant layer 0 of `cls` pooling is undefined, with its reason, and no cause for a failure.
#[test]
fn an_undefined_score_is_an_empty_cell_with_a_reason() {
    let study = TinyStudy::new();
    let output = study.compare("out", &["--pooling", "cls"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let scores = study.read("out/scores.csv");
    let zero: Vec<&str> = scores.lines().filter(|l| l.starts_with("m,0,")).collect();
    assert_eq!(zero.len(), 6);
    assert!(zero.iter().all(|l| l.ends_with("no varying feature in the training rows of fold 0")), "{zero:?}");
    assert!(!scores.contains("NaN") && !scores.contains("inf"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_but_finished_units() {
    use std::io::Read as _;
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let folder = hostile_dir();
        let mut child = brainscore()
            .args(["compare", "--demo", "--threads", "1", "--out"])
            .arg(folder.path().join("out"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The staging directory says that the signal handlers are in place and the work has begun.
        while !listing(folder.path()).iter().any(|n| n.starts_with(".out.partial-")) {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be interrupted");
            std::thread::yield_now();
        }
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let code = child.wait().unwrap().code();
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(code, Some(status), "{told}");
        // Units that were finished by then are kept, and the message says so.
        let left = listing(folder.path());
        if left.is_empty() {
            assert!(told.contains("Nothing was written"), "{told}");
        } else {
            assert_eq!(left, [".out.units"], "{told}");
            assert!(told.contains("units are finished; the same command with --resume goes on from there"), "{told}");
        }
    }
}

/// Killed at any moment, the output is absent or whole, and the next run is not disturbed.
#[cfg(unix)]
#[test]
fn a_killed_run_leaves_no_half_output() {
    let study = TinyStudy::new();
    let command = || {
        let mut command = study.compare("out", &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let out = study.path("out");
    let mut whole = 0;
    for moment in 0..12 {
        let mut child = command().spawn().unwrap();
        // Moments are counted in looks at the folder, not in time: the later ones fall into writing and committing.
        let mut looks = 0;
        while child.try_wait().unwrap().is_none() && looks < moment * 200 {
            listing(study.dir.path());
            looks += 1;
        }
        child.kill().ok();
        child.wait().unwrap();
        if out.exists() {
            whole += 1;
            assert!(
                brainscore().arg("report").arg(&out).output().unwrap().status.success(),
                "a run that is there is whole"
            );
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
    assert!(command().status().unwrap().success());
    let leftovers: Vec<String> = listing(study.dir.path()).into_iter().filter(|n| n.starts_with('.')).collect();
    assert!(leftovers.is_empty(), "{leftovers:?} after {whole} whole runs");
}

/// OD-04: spaces, quotes and signs are in every test's folder; here a line end, 255 bytes, and bytes that are no UTF-8.
#[cfg(unix)]
#[test]
fn places_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt as _;
    let study = TinyStudy::new();
    let long = "n".repeat(255);
    let too_long = "n".repeat(256);
    let names: [(&[u8], i32); 4] =
        [(b"two\nlines", 0), (long.as_bytes(), 4), (too_long.as_bytes(), 4), (b"caf\xe9", 0)];
    for (name, status) in names {
        let out = study.dir.path().join(std::ffi::OsStr::from_bytes(name));
        let mut command = brainscore();
        command.arg("compare").arg(study.path("model")).args(["--unique", "none", "--study"]);
        let output = command.arg(study.path("study.toml")).arg("--out").arg(&out).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert_eq!(out.join("run.json").is_file(), status == 0);
        assert!(status == 0 || said.contains("[OD-02]") && said.contains("name"), "{said}");
        assert_eq!(said.lines().filter(|l| l.starts_with("error: ")).count(), usize::from(status != 0), "{said}");
    }
    let left = listing(study.dir.path()).into_iter().filter(|n| n.starts_with('.')).count();
    assert_eq!(left, 0, "neither lock nor staging directory is left");
}

/// FL-04: `brainscore … | head -1` still writes all its files.
#[cfg(unix)]
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let study = TinyStudy::new();
    for (out, flags) in [("text", &[][..]), ("json", &["--json"])] {
        let mut command = study.compare(out, flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            !String::from_utf8_lossy(&output.stderr).contains("error") && study.path(out).join("run.json").is_file()
        );
    }
}

#[test]
fn help_and_usage() {
    let help = brainscore().args(["compare", "--help"]).output().unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("Examples:"));
    for wrong in [
        &["compare"][..],
        &["compare", "--demo", "x", "--out", "y"],
        &["compre"],
        &["compare", "--demo", "--threads", "0", "--out", "o"],
    ] {
        assert_eq!(brainscore().args(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
    let script = brainscore().args(["completions", "bash"]).output().unwrap();
    assert!(String::from_utf8_lossy(&script.stdout).contains("complete -F"));
}
