//! Whether scores can be believed: leaks are shown, every finding of the audit is made where it should be.

use std::process::Output;

use brainscore::encoding::{AlphaGrid, FoldSpec, Folds, ScoreName, cv, score};
use brainscore::io::table::Table;
use brainscore::record::RunRecord;
use brainscore::stimuli::{Stimuli, StimuliColumns};
use brainscore::watch::Quiet;
use ndarray::{Array2, Axis, concatenate};
use serde_json::{Value, json};

use crate::support::brainscore;
use crate::support::study::{TinyStudy, tensors};

const ROWS: usize = 120;
const WORDS: [&str; 12] =
    ["the", "boat", "child", "door", "opens", "falls", "quiet", "red", "runs", "sees", "stone", "waits"];

/// A fixed sequence of standard normal values (sums of twelve uniform ones).
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A time series of 120 volumes in one run: four subjects whose responses are autocorrelated noise, another text at every
/// volume.
fn series() -> TinyStudy {
    let study = TinyStudy::new();
    let mut draw = Normal(7);
    let mut csv = "stimulus_id,text,position\n".to_owned();
    for row in 0..ROWS {
        let words: Vec<&str> = (0..7).map(|_| WORDS[(draw.uniform() * 12.0) as usize]).collect();
        csv += &format!("s{row:03},{} {} {},{row}\n", words.join(" "), WORDS[row % 12], WORDS[row / 12]);
    }
    study.write("stimuli.csv", csv);
    let mut csv = "stimulus_id,subject,a,b,c\n".to_owned();
    for subject in 1..=4 {
        let mut state = [0.0f64; 3];
        for row in 0..ROWS {
            state.iter_mut().for_each(|v| *v = 0.9 * *v + 0.19f64.sqrt() * draw.next());
            csv += &format!("s{row:03},p{subject},{:.5},{:.5},{:.5}\n", state[0], state[1], state[2]);
        }
    }
    study.write("responses.csv", csv);
    study.edit("study.toml", "k = 5", "k = 5\n[series]\ntr = 2.0\n");
    study
}

fn audit(study: &TinyStudy, checkpoints: &[&str], flags: &[&str]) -> (Output, Value) {
    let arguments = checkpoints.iter().map(|c| c.replace("{}", &study.dir.path().display().to_string()));
    let output = brainscore()
        .arg("audit")
        .arg(study.path("study.toml"))
        .args(arguments)
        .args(["--no-cache", "--json", "--threads", "1"])
        .args(flags)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}{output:?}"));
    (output, value)
}

fn severities(found: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    found["findings"].as_array().unwrap().iter().map(|f| (text(&f["code"]), text(&f["severity"]))).collect()
}

fn compare(study: &TinyStudy, flags: &[&str]) -> RunRecord {
    let output = brainscore()
        .args(["compare", "--threads", "1", "--no-cache", "--study"])
        .arg(study.path("study.toml"))
        .arg(format!("m={}", study.path("model").display()))
        .args(flags)
        .arg("--out")
        .arg(study.path("out"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(study.path("out/run.json")).unwrap()).unwrap()
}

fn oasm(record: &RunRecord) -> Option<f64> {
    record.comparison.oasm.iter().find(|b| b.score == ScoreName::Cod).unwrap().mean.value()
}

const LEAKY: [&str; 3] = ["--folds", "shuffled", "--allow-leaky-folds"];

/// N-3: the place of a row alone scores high on shuffled folds and nothing on the default ones, and the audit says so.
#[test]
fn the_leak_detector_tells_shuffled_folds_from_the_default() {
    let study = series();
    let (clean, found) = audit(&study, &["m={}/model"], &[]);
    assert_eq!(clean.status.code(), Some(0), "{found}");
    assert!(!severities(&found).iter().any(|(code, _)| code == "AU-07"), "{found}");
    let (leaky, found) = audit(&study, &["m={}/model"], &LEAKY);
    assert_eq!(leaky.status.code(), Some(1), "{found}");
    for code in ["AU-07", "AU-13"] {
        assert!(severities(&found).contains(&(code.to_owned(), "severe".to_owned())), "{found}");
    }

    let record = compare(&study, &[]);
    assert_eq!(record.plan.gap, 6, "8 s at 2 s, and 2 volumes");
    let place = oasm(&record).unwrap_or(0.0);
    assert!(place < 0.02, "default: {place}");
    assert!(record.audit.iter().all(|f| f.code != "AU-07"));
    std::fs::remove_dir_all(study.path("out")).unwrap();
    let record = compare(&study, &LEAKY);
    let place = oasm(&record).unwrap();
    assert!(place > 0.5, "shuffled: {place}");
    assert!(record.plan.folds.leaks() && record.audit.iter().any(|f| f.code == "AU-07"));

    // Stamped wherever a number could be read.
    for table in ["scores.csv", "layers.csv", "comparison.csv", "predictions.parquet", "scores.parquet"] {
        let table = Table::read(&study.path("out").join(table)).unwrap();
        assert!(table.names().any(|n| n == "leaky_folds"), "{}", table.path().display());
    }
    assert!(study.read("out/report.html").contains("These folds leak"));
    assert!(study.read("out/layerwise.svg").contains("LEAKY FOLDS"));
    assert!(study.read("out/run.json").contains("\"kind\": \"shuffled\""));
}

/// N-4: rows of one text stay together, so that a repeated text cannot raise a score.
#[test]
fn repeated_texts_do_not_leak() {
    let study = TinyStudy::new();
    let texts = study.read("stimuli.csv");
    let twice: Vec<String> = texts.lines().skip(1).map(|l| l.replacen('s', "t", 1)).collect();
    study.write("stimuli.csv", format!("{texts}{}\n", twice.join("\n")));
    let responses = study.read("responses.csv");
    let again: Vec<String> = responses.lines().skip(1).map(|l| l.replacen('s', "t", 1)).collect();
    study.write("responses.csv", format!("{responses}{}\n", again.join("\n")));
    let columns = StimuliColumns {
        id: "stimulus_id".into(),
        text: "text".into(),
        group: None,
        fold: None,
        run: None,
        confounds: Vec::new(),
    };
    let (stimuli, _) = Stimuli::from_table(&Table::read(&study.path("stimuli.csv")).unwrap(), &columns).unwrap();
    let mut draw = Normal(11);
    let mut noise = |shape: (usize, usize)| Array2::from_shape_simple_fn(shape, || draw.next());
    let (x, y) = (noise((30, 40)), noise((30, 20)));
    let twice = |m: &Array2<f64>| concatenate(Axis(0), &[m.view(), m.view()]).unwrap();
    let cod = |x: &Array2<f64>, y: &Array2<f64>, folds: &Folds| {
        let fit = cv::fit(x.view(), y.view(), folds, &AlphaGrid::default(), &Quiet).unwrap();
        let all: Vec<f64> = score(y.view(), &fit, folds).iter().filter_map(|s| s.cod.value()).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let (folds, _) = Folds::new(FoldSpec::Contiguous { k: 5 }, 0, &stimuli).unwrap();
    let grouped = cod(&twice(&x), &twice(&y), &folds);
    let once = cod(&x, &y, &folds.subset(&(0..30).collect::<Vec<_>>()));
    assert!((grouped - once).abs() < 0.05, "kept together, a repeated text adds nothing: {grouped} {once}");
    let (torn, _) = Folds::new(FoldSpec::Shuffled { k: 5, seed: 0 }, 0, &stimuli).unwrap();
    let torn = cod(&twice(&x), &twice(&y), &torn);
    assert!(torn > grouped + 0.3, "torn apart, noise is remembered: {torn} {grouped}");

    let record = compare(&study, &LEAKY);
    assert!(record.audit.iter().any(|f| f.code == "AU-01"));
    // Two responses to each text: a ceiling of repetitions exists, and here it is 1.
    let repeats = record.comparison.ceilings.iter().find(|c| c.kind.as_str() == "repeats").unwrap();
    assert!(repeats.mean.value().unwrap() > 0.99);
}

struct Case {
    code: &'static str,
    severity: &'static str,
    change: fn(&TinyStudy),
    checkpoints: &'static [&'static str],
    flags: &'static [&'static str],
}

const ONE: &[&str] = &["m={}/model"];

fn column(study: &TinyStudy, name: &str, value: fn(usize) -> String) {
    let text = study.read("stimuli.csv");
    let lines = text.lines().enumerate();
    let with = lines.map(|(i, l)| if i == 0 { format!("{l},{name}") } else { format!("{l},{}", value(i - 1)) });
    study.write("stimuli.csv", with.collect::<Vec<_>>().join("\n") + "\n");
    study.edit("study.toml", "table = \"stimuli.csv\"", &format!("table = \"stimuli.csv\"\n{name} = \"{name}\""));
}

const CASES: &[Case] = &[
    Case {
        code: "AU-02",
        severity: "severe",
        // Each odd text is the one before it with another last word; a fold ends between them.
        change: |s| {
            let text = s.read("stimuli.csv");
            let lines: Vec<&str> = text.lines().collect();
            let mut out = vec![lines[0].to_owned()];
            for i in 0..ROWS {
                let twin: Vec<&str> = lines[1 + i % 60].split(',').collect();
                out.push(format!("s{i:03},{} {},{i}", twin[1], if i < 60 { "boat" } else { "door" }));
            }
            s.write("stimuli.csv", out.join("\n") + "\n");
        },
        checkpoints: ONE,
        flags: &[],
    },
    Case {
        code: "AU-03",
        severity: "severe",
        change: |s| column(s, "group", |i| format!("g{}", i / 4)),
        checkpoints: ONE,
        flags: &LEAKY,
    },
    Case {
        code: "AU-04",
        severity: "note",
        change: |s| column(s, "run", |i| format!("run-{}", i / 60)),
        checkpoints: ONE,
        flags: &[],
    },
    Case {
        code: "AU-05",
        severity: "severe",
        change: |s| s.edit("study.toml", "k = 5", "k = 5\ngap = 1"),
        checkpoints: ONE,
        flags: &[],
    },
    Case {
        code: "AU-06",
        severity: "severe",
        change: |s| {
            let third = s.read("stimuli.csv").lines().nth(3).unwrap().split(',').nth(1).unwrap().to_uppercase();
            s.write("tuning.txt", format!("Something else entirely was read here.\n{third}.\n"));
            let study = s.read("study.toml");
            s.write("study.toml", format!("{study}\n[finetuning]\ntexts = [\"tuning.txt\"]\n"));
        },
        checkpoints: ONE,
        flags: &[],
    },
    Case {
        code: "AU-08",
        severity: "warning",
        change: |s| s.edit("study.toml", "k = 5", "k = 5\nalphas = [1.0, 10.0]"),
        checkpoints: ONE,
        flags: &[],
    },
    Case {
        code: "AU-09",
        severity: "severe",
        change: |s| {
            column(s, "fold", |i| if i < 2 { "two".to_owned() } else { format!("f{}", i / 40) });
            s.edit("study.toml", "k = 5\n[series]\ntr = 2.0", "folds = \"column\"");
        },
        checkpoints: ONE,
        flags: &[],
    },
    Case { code: "AU-10", severity: "severe", change: |_| {}, checkpoints: &["m={}/model", "n={}/model"], flags: &[] },
    Case {
        code: "AU-11",
        severity: "severe",
        change: |s| {
            let mut draw = Normal(3);
            let mut all = tensors("");
            for (name, (_, shape, data)) in &mut all {
                let ones = name.ends_with("LayerNorm.weight");
                let value = |draw: &mut Normal| match shape.len() {
                    1 => f32::from(u8::from(ones)),
                    _ => 0.5 * draw.next() as f32,
                };
                *data = (0..shape.iter().product()).flat_map(|_| value(&mut draw).to_le_bytes()).collect();
            }
            s.weights(&all);
            s.configure("initializer_range", json!(0.5));
        },
        checkpoints: ONE,
        flags: &[],
    },
    Case { code: "AU-12", severity: "warning", change: |_| {}, checkpoints: ONE, flags: &["--pooling", "cls"] },
];

#[test]
fn every_finding_is_made_where_it_should_be() {
    for case in CASES {
        let study = series();
        let (_, before) = audit(&study, &["m={}/model"], &[]);
        if case.code != "AU-08" {
            assert!(!severities(&before).iter().any(|(code, s)| code == case.code && s == case.severity), "{before}");
        }
        (case.change)(&study);
        let (output, found) = audit(&study, case.checkpoints, case.flags);
        let expected = (case.code.to_owned(), case.severity.to_owned());
        assert!(severities(&found).contains(&expected), "{}: {found}", case.code);
        let severe = found["severe"].as_bool().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(severe)), "{}", case.code);
        let own = found["findings"].as_array().unwrap().iter().find(|f| f["code"] == case.code).unwrap();
        assert!(own["remedy"].as_str().is_some_and(|r| r.len() > 10));
    }
}

#[test]
fn runs_and_subjects_can_be_left_out() {
    let study = series();
    column(&study, "run", |i| format!("run-{}", i / 30));
    let record = compare(&study, &["--folds", "leave-one-run-out"]);
    assert_eq!(record.folds.len(), 4);
    assert!(record.folds.iter().all(|f| f.test_rows.len() == 30));
    std::fs::remove_dir_all(study.path("out")).unwrap();
    // Independent noise: the others' responses say nothing about a subject's.
    let record = compare(&study, &["--folds", "leave-one-subject-out"]);
    assert!(record.comparison.curves.iter().all(|c| c.points.iter().all(|p| p.mean.value().is_none_or(|v| v < 0.1))));
    assert!(study.read("out/report.html").contains("a model of the other subjects"));
}
