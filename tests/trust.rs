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
    let tables = ["scores.csv", "layers.csv", "ceilings.csv", "targets.csv", "normalised.csv"];
    for table in tables.into_iter().chain(["predictions.parquet", "scores.parquet"]) {
        let table = Table::read(&study.path("out").join(table)).unwrap();
        assert!(table.names().any(|n| n == "leaky_folds"), "{}", table.path().display());
    }
    assert!(study.read("out/comparison.csv").contains("leaky_folds"));
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

/// E-1, E-2: a layer that drives some targets comes back at every strength, at the cod that it should have; the others,
/// and the pairing of another row, stay at nothing.
#[test]
fn planted_layer_and_targets_come_back() {
    let (n, p, targets) = (1500, 10, 12);
    let mut draw = Normal(21);
    let mut noise = |shape: (usize, usize)| Array2::from_shape_simple_fn(shape, || draw.next());
    // Every layer keeps a part of the one before.
    let mut layers = vec![noise((n, p))];
    for layer in 1..5 {
        layers.push(&layers[layer - 1] * 0.6 + noise((n, p)) * 0.8);
    }
    let folds = Folds::from_labels(&(0..n).map(|i| i * 5 / n).collect::<Vec<_>>());
    let scores = |x: &Array2<f64>, y: &Array2<f64>| {
        let fit = cv::fit(x.view(), y.view(), &folds, &AlphaGrid::default(), &Quiet).unwrap();
        score(y.view(), &fit, &folds)
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for snr in [0.25, 1.0, 4.0] {
        let signal = layers[3].dot(&noise((p, targets)));
        let sd = signal.std_axis(Axis(0), 0.0);
        let driven = &signal / &sd * f64::sqrt(snr) + noise((n, targets));
        let y = concatenate(Axis(1), &[driven.view(), noise((n, targets)).view()]).unwrap();
        let of = |x: &Array2<f64>| scores(x, &y).iter().map(|s| s.cod.value().unwrap_or(0.0)).collect::<Vec<f64>>();
        let by_layer: Vec<f64> = layers.iter().map(|x| mean(&of(x)[..targets])).collect();
        let best = (0..5).max_by(|a, b| by_layer[*a].total_cmp(&by_layer[*b])).unwrap();
        assert_eq!(best, 3, "SNR {snr}: {by_layer:?}");
        let expected = snr / (1.0 + snr);
        assert!((by_layer[3] - expected).abs() < 0.02, "SNR {snr}: cod {}, not {expected}", by_layer[3]);
        let there = of(&layers[3]);
        let lowest = there[..targets].iter().copied().fold(f64::INFINITY, f64::min);
        let highest = there[targets..].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert!(lowest > 0.1 && highest < 0.02, "SNR {snr}: {lowest} {highest}");
        let other: Vec<usize> = (0..n).map(|i| (i * 7 + 3) % n).collect();
        let torn = scores(&layers[3].select(Axis(0), &other), &y);
        let r = mean(&torn.iter().filter_map(|s| s.r.value()).collect::<Vec<f64>>());
        assert!(r.abs() < 3.0 / ((n * targets * 2) as f64).sqrt(), "SNR {snr}: {r} after tearing rows apart");
    }
}

/// N-8: within-fold r is 0 on noise whatever alpha is; r of pooled predictions would not be.
#[test]
fn r_within_folds_is_unbiased_at_every_alpha() {
    let (n, p, targets) = (60, 20, 600);
    let mut draw = Normal(33);
    let mut noise = |shape: (usize, usize)| Array2::from_shape_simple_fn(shape, || draw.next());
    let (x, y) = (noise((n, p)), noise((n, targets)));
    let folds = Folds::from_labels(&(0..n).map(|i| i * 5 / n).collect::<Vec<_>>());
    for alpha in [1.0, 100.0, 1e5] {
        let fit = cv::fit(x.view(), y.view(), &folds, &AlphaGrid::given(vec![alpha]).unwrap(), &Quiet).unwrap();
        let rs: Vec<f64> = score(y.view(), &fit, &folds).iter().filter_map(|s| s.r.value()).collect();
        let mean = rs.iter().sum::<f64>() / rs.len() as f64;
        let sd = (rs.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / rs.len() as f64).sqrt();
        assert!(mean.abs() < 3.0 * sd / (rs.len() as f64).sqrt(), "alpha {alpha}: {mean}");
        let pooled: Vec<f64> = (0..targets)
            .filter_map(|t| brainscore::stats::pearson(&fit.predicted.column(t).to_vec(), &y.column(t).to_vec()))
            .collect();
        let pooled = pooled.iter().sum::<f64>() / pooled.len() as f64;
        assert!(alpha < 10.0 || pooled < -0.05, "alpha {alpha}: pooled {pooled}");
    }
}

/// N-2: a checkpoint less itself is exactly 0 everywhere. E-4: threads and the order of checkpoints change no score.
#[test]
fn what_must_not_matter_does_not() {
    let study = TinyStudy::new();
    let run = |name: &str, threads: &str, labels: [&str; 2]| {
        let model = study.path("model").display().to_string();
        let output = brainscore()
            .args([
                "compare",
                "--no-cache",
                "--threads",
                threads,
                "--metrics",
                "pattern-r,rank,legacy-pattern-r,rsa,cka",
            ])
            .args(["--untrained", "1", "--study"])
            .arg(study.path("study.toml"))
            .args(labels.map(|label| format!("{label}={model}")))
            .arg("--out")
            .arg(study.path(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let record: RunRecord =
            serde_json::from_slice(&std::fs::read(study.path(name).join("run.json")).unwrap()).unwrap();
        record
    };
    let (one, two) = (run("one", "1", ["a", "b"]), run("two", "2", ["b", "a"]));
    for d in one.comparison.layer_differences.iter().filter(|d| d.checkpoint == "b") {
        assert!(d.difference.value().is_none_or(|v| v == 0.0), "{d:?}");
    }
    for curve in &one.comparison.curves {
        let other = two.comparison.curves.iter().find(|c| c.checkpoint == curve.checkpoint && c.score == curve.score);
        assert_eq!(curve.points, other.unwrap().points);
    }
    for point in &one.comparison.metrics {
        let same = |m: &&brainscore::compare::MetricPoint| {
            m.checkpoint == point.checkpoint && m.layer == point.layer && m.metric == point.metric
        };
        assert_eq!(two.comparison.metrics.iter().find(same), Some(point));
    }
    assert_eq!(one.comparison.metrics.len(), 3 * 2 * 5, "three checkpoints, two layers, five metrics");
    assert!(one.checkpoints.iter().any(|c| c.label == "untrained-0" && c.untrained_seed == Some(0)));
    assert!(study.read("one/report.html").contains("untrained, 1 seed: mean (range)"));
}

/// A study's own design with a planted layer: power grows with the effect, and nothing is found where nothing is.
#[test]
fn the_selftest_says_what_could_be_seen() {
    let study = series();
    let run = |arguments: &[String]| {
        brainscore().arg("selftest").args(arguments).args(["--no-cache", "--json", "--threads", "1"]).output().unwrap()
    };
    let of = |name: &str| study.path(name).display().to_string();
    let output = run(&[of("study.toml"), format!("m={}", of("model"))]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(
        (&found["checkpoint"], &found["layer"], &found["against"]),
        (&json!("m"), &json!(1), &json!("the confounds"))
    );
    let noise = found["noise"]["autocorrelation"].as_f64().unwrap();
    assert!((0.75..0.95).contains(&noise), "0.9 was drawn: {noise}");
    let recovery = found["recovery"].as_array().unwrap();
    assert!(recovery.iter().any(|r| r["recovered"] == json!(true)), "{found}");
    let cods: Vec<f64> = recovery[..3].iter().map(|r| r["cod"].as_f64().unwrap()).collect();
    assert!(cods.windows(2).all(|w| w[0] < w[1]), "{cods:?}");
    let r = found["null"].as_array().unwrap().iter().find(|n| n["score"] == "r").unwrap();
    assert_eq!((&r["studies"], &r["calibrated"]), (&json!(500), &json!(true)), "{r}");
    let power = found["power"].as_array().unwrap();
    let last = |p: &Value| p["by_subjects"].as_array().unwrap().last().unwrap()[1].as_f64().unwrap();
    assert!(last(&power[5]) > last(&power[0]), "{power:?}");
    let alone = run(&[of("study.toml")]);
    assert_eq!(alone.status.code(), Some(2), "a study without a checkpoint");
    let layer = run(&[of("study.toml"), of("model"), "--layer".to_owned(), "9".to_owned()]);
    assert_eq!(layer.status.code(), Some(2));
}
