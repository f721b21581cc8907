//! Many checkpoints at once: their list, their pairs, and what a sceptic can compute again.

use std::process::Output;

use brainscore::encoding::cv;
use brainscore::encoding::engine::{self, Options, Precision};
use brainscore::encoding::{AlphaGrid, Folds, ScoreName, score};
use brainscore::error::Code;
use brainscore::io::npy;
use brainscore::io::table::{Number, Table};
use brainscore::record::RunRecord;
use brainscore::watch::Quiet;

use crate::support::brainscore;
use crate::support::study::{TinyStudy, listing, responses, tensors};

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    vec![Code::Ck03, Code::Rr02]
}

/// Seven names that nobody should give to a checkpoint.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";
const FORMULA: &str = "=HYPERLINK(\"http://e.x\")";

/// A tiny study with six subjects, and three folders of weights: a model and what two trainings made of it.
fn many() -> TinyStudy {
    let study = TinyStudy::new();
    for (folder, shift) in [("model/early", 0.2f32), ("model/late", 0.7)] {
        let place = study.path(&folder.replace('/', "-"));
        std::fs::create_dir(&place).unwrap();
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::copy(study.path("model").join(file), place.join(file)).unwrap();
        }
        let mut moved = tensors("");
        for (name, (.., bytes)) in &mut moved {
            if !name.contains("output") {
                continue;
            }
            for value in bytes.chunks_exact_mut(4) {
                let old = f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
                value.copy_from_slice(&(old + shift * (100.0 * old).sin()).to_le_bytes());
            }
        }
        study.weights(&moved);
        std::fs::rename(study.path("model/model.safetensors"), place.join("model.safetensors")).unwrap();
        study.weights(&tensors(""));
    }
    let rows: Vec<String> = responses().lines().skip(1).map(str::to_owned).collect();
    let mut csv = "stimulus_id,subject,a,b,c\n".to_owned();
    for s in 0..6 {
        for (at, row) in rows.iter().take(30).enumerate() {
            let cells: Vec<&str> = row.split(',').collect();
            let other: Vec<&str> = rows[(at * 7 + s * 11) % 60].split(',').collect();
            csv += &format!("{},q{s},{},{},{}\n", cells[0], other[2], other[3], other[4]);
        }
    }
    study.write("responses.csv", csv);
    study.write("list.toml", list());
    study
}

fn list() -> String {
    let one = |label: &str, path: &str, more: &str| {
        format!("[[checkpoint]]\nlabel = {}\npath = \"{path}\"\n{more}\n", serde_json::to_string(label).unwrap())
    };
    let based = format!("base = {}\nfamily = \"moral\"\n", serde_json::to_string(HOSTILE).unwrap());
    [
        one(HOSTILE, "model", "size = 1000"),
        one("early", "model-early", &format!("{based}steps = 10")),
        one("middle", "untrained:4:model", &format!("{based}steps = 100")),
        one(FORMULA, "model-late", &format!("{based}steps = 1000")),
        one("other", "untrained:1:model", "size = 3000"),
    ]
    .concat()
}

fn compare(study: &TinyStudy, flags: &[&str]) -> Output {
    let mut command = brainscore();
    command.args(["compare", "--checkpoints"]).arg(study.path("list.toml")).args(flags);
    command.arg("--study").arg(study.path("study.toml")).arg("--out").arg(study.path("out"));
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn record(study: &TinyStudy) -> RunRecord {
    serde_json::from_str(&study.read("out/run.json")).unwrap()
}

#[test]
fn each_checkpoint_is_compared_with_its_own_base() {
    let study = many();
    let output = compare(&study, &["--unique", "none", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["bases"]["early"], &said["trends"][0]["series"]), (&HOSTILE.into(), &"moral".into()), "{said}");
    let record = record(&study);
    let results = &record.comparison;
    assert_eq!(results.base_of("early"), Some(HOSTILE));
    assert_eq!((results.base_of(HOSTILE), results.base_of("other")), (None, None));
    let mean = |label: &str| {
        let curve = results.curves.iter().find(|c| c.checkpoint == label && c.score == ScoreName::Cod).unwrap();
        curve.points[1].mean.value().unwrap()
    };
    let compared: Vec<&str> = results.best_differences.iter().map(|d| d.checkpoint.as_str()).collect();
    assert_eq!(compared, ["early", "middle", FORMULA]);
    for d in results.layer_differences.iter().filter(|d| d.score == ScoreName::Cod && d.layer.0 == 1) {
        let expected = mean(&d.checkpoint) - mean(HOSTILE);
        assert!((d.difference.value().unwrap() - expected).abs() < 1e-12, "{}", d.checkpoint);
    }
    // Corrected for three pairs: never below the p of one of them.
    let at_best = results.best_differences.iter().map(|d| &d.inference);
    assert!(at_best.into_iter().all(|i| i.p_fwe.unwrap() >= i.p.unwrap()));
    let trend = &results.trends[0];
    assert_eq!((trend.series.as_str(), trend.points.len()), ("moral", 4));
    assert_eq!(trend.points[0].at, 0.0, "the base stands at 0 and is not fitted");
    let nested = |label: &str| results.best_layers.iter().find(|b| b.checkpoint == label).unwrap().nested;
    let slope = (nested(FORMULA).value().unwrap() - nested("early").value().unwrap()) / 2.0;
    assert!((trend.slope.value().unwrap() - slope).abs() < 1e-12, "of equal steps the ends decide");
    let summary = Table::read(&study.path("out/summary.parquet")).unwrap();
    assert_eq!(summary.required_texts("checkpoint").unwrap(), [HOSTILE, "early", "middle", FORMULA, "other"]);
    assert_eq!(summary.required_texts("model").unwrap()[3], HOSTILE);
    let trends = Table::read(&study.path("out/trends.csv")).unwrap();
    assert_eq!(trends.finite_numbers("at").unwrap(), [0.0, 10.0, 100.0, 1000.0]);
    assert!(study.read("out/report.html").contains("Score along training steps"));
    assert!(study.path("out/steps.png").exists() && !study.path("out/size.png").exists());
    let comparison = Table::read(&study.path("out/comparison.csv")).unwrap();
    assert!(comparison.required_texts("reference").unwrap().iter().all(|r| r == HOSTILE));
}

/// Labels that are markup, formulas or escapes are text wherever they are written.
#[test]
fn names_are_inert_in_all_outputs() {
    let study = many();
    study.edit("list.toml", "label = \"other\"", "label = \"\\u001b]8;;x\\u0007|`@all\"");
    study.edit("study.toml", "name = \"tiny\"", "name = \"\\\"><script>alert(1)</script>\"");
    let output = compare(&study, &["--unique", "none"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
    assert!(told.contains("\\u{1b}]8;;x\\u{7}|`@all") && !told.contains('\u{1b}'), "{told}");
    let page = study.read("out/report.html");
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(!page.contains("<img src=x") && !page.contains("<script>alert") && !page.contains('\u{1b}'));
    let markdown = study.read("out/report.md");
    assert!(markdown.contains("\\<img src=x onerror=alert(1)\\>") && !markdown.contains('\u{1b}'));
    assert!(!markdown.replace("\\<", "").contains('<'), "every < is escaped");
    assert!(markdown.contains("\\|\\`\\@all"));
    for table in listing(&study.path("out")).iter().filter(|n| n.ends_with(".csv")) {
        let text = study.read(&format!("out/{table}"));
        assert!(!text.contains(",=HYPERLINK") && !text.contains("\n=") && !text.contains(",\"=HYPERLINK"), "{table}");
    }
    assert!(study.read("out/comparison.csv").contains("\"'=HYPERLINK(\"\"http://e.x\"\")\""));
    let figure = study.read("out/layerwise.svg");
    assert!(figure.contains("&lt;img src=x") && !figure.contains("<img") && !figure.contains("<script"));
}

#[test]
fn the_list_is_checked_like_the_study() {
    let study = many();
    for (from, to, says) in [
        ("steps = 10\n", "step = 10\n", "Did you mean \"steps\"?"),
        ("steps = 10\n", "steps = -10\n", "steps of \"early\" is -10; expected a number that is 0 or more. [CK-03]"),
        ("label = \"early\"", "label = \"middle\"", "the label \"middle\" stands twice; expected a label of its own"),
        ("model-early", "no/such/./folder", "path \"no/such/./folder\""),
        ("[[checkpoint]]", "[[checkpoints]]", "unknown key \"checkpoints\""),
    ] {
        study.write("list.toml", list());
        study.edit("list.toml", from, to);
        let before = listing(study.dir.path());
        let output = compare(&study, &[]);
        assert_eq!(output.status.code(), Some(3), "{says}");
        assert!(stderr(&output).contains(says), "{says}: {}", stderr(&output));
        assert_eq!(listing(study.dir.path()), before);
    }
}

/// One bad checkpoint of many: refused with every problem; or, on request, left out by name.
#[test]
fn a_bad_checkpoint_among_many() {
    let study = many();
    study.write("model-early/config.json", "[]");
    std::fs::remove_file(study.path("model-late/model.safetensors")).unwrap();
    let output = compare(&study, &["--unique", "none"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("[CF-01]") && stderr(&output).contains("[ST-14]"), "{}", stderr(&output));
    assert!(!study.path("out").exists());
    let output = compare(&study, &["--unique", "none", "--keep-going"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("error: checkpoint \"early\" is left out: config.json: "), "{said}");
    let record = record(&study);
    assert_eq!(record.checkpoints.len(), 3);
    assert_eq!(record.left_out.len(), 2);
    assert!(study.read("out/report.html").contains("is left out"));
    // Without what the others are compared with there is nothing to say.
    study.write("model/config.json", "[]");
    let output = compare(&study, &["--keep-going", "--overwrite"]);
    assert_eq!(output.status.code(), Some(3));
}

/// A place of the list that is none is left out by name, like a checkpoint that cannot be used; what is left out says
/// nothing more, and one alone is refused.
#[test]
fn places_that_are_none_are_left_out_on_request() {
    let study = many();
    study.edit("list.toml", "path = \"model-early\"", "path = \"./model-erly\"");
    // Warned of when it is opened, and of no interest once it is left out.
    let config = study.read("model-late/config.json");
    study.write("model-late/config.json", config.replacen('{', "{\"surprise\": 1,", 1));
    std::fs::remove_file(study.path("model-late/model.safetensors")).unwrap();
    let output = compare(&study, &["--unique", "none", "--keep-going", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["reference"].is_null() && said["bases"]["middle"] == HOSTILE, "{said}");
    assert_eq!((said["lineage"].as_array().unwrap().len(), said["trends"].as_array().unwrap().len()), (5, 0), "{said}");
    let record = record(&study);
    let labels: Vec<&str> = record.checkpoints.iter().map(|c| c.label.as_str()).collect();
    assert_eq!(labels, [HOSTILE, "middle", "other"]);
    let left: Vec<&str> = record.left_out.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with("checkpoint \"early\" is left out: list.toml:") && left[0].contains("model-erly"));
    assert!(!record.warnings.iter().any(|w| w.message.contains(FORMULA)), "{:?}", record.warnings);

    study.write("list.toml", "[[checkpoint]]\nlabel = \"late\"\npath = \"model-late\"\n");
    let output = compare(&study, &["--unique", "none", "--keep-going", "--overwrite"]);
    assert_eq!(output.status.code(), Some(3), "a run of nothing: {}", stderr(&output));
}

/// What `check_in_python.py` does, by the plain reference path of the library.
#[test]
fn a_sceptic_finds_the_same_scores() {
    a_sceptic_finds_what_a_run_says(&["--unique", "none"], None);
}

/// The same where every fit is confined to principal components of its training rows.
#[test]
fn a_sceptic_finds_the_same_scores_of_components() {
    a_sceptic_finds_what_a_run_says(&["--pca", "3"], Some(3));
}

fn a_sceptic_finds_what_a_run_says(flags: &[&str], components: Option<usize>) {
    let study = many();
    assert!(compare(&study, flags).status.success());
    let script = study.read("out/check_in_python.py");
    let constant = |name: &str| {
        let line = script.lines().find_map(|l| l.strip_prefix(&format!("{name} = "))).unwrap();
        serde_json::from_str::<serde_json::Value>(line.replace("None", "null").as_str()).unwrap()
    };
    let (x, _) = npy::read(&study.path("out/check/X.npy")).unwrap();
    let (y, _) = npy::read(&study.path("out/check/Y.npy")).unwrap();
    let table = Table::read(&study.path("out/check/folds.csv")).unwrap();
    let labels: Vec<usize> = table.finite_numbers("fold").unwrap().iter().map(|f| *f as usize).collect();
    let folds = Folds::from_labels(&labels);
    for k in 0..folds.count() {
        let trains = table.finite_numbers(&format!("trains_without_{k}")).unwrap();
        let rows: Vec<usize> = (0..trains.len()).filter(|r| trains[*r] == 1.0).collect();
        assert_eq!(rows, folds.train_rows(&[k]));
    }
    let alphas: Vec<f64> = constant("ALPHAS").as_array().unwrap().iter().map(|a| a.as_f64().unwrap()).collect();
    let grid = AlphaGrid::given(alphas).unwrap();
    assert_eq!(constant("COMPONENTS").as_u64(), components.map(|n| n as u64));
    let fit = match components {
        None => cv::plain(x.view(), y.view(), &folds, &grid, None, &Quiet).unwrap(),
        // Its components are scikit-learn's (tests/ridge.rs).
        Some(_) => {
            let options = Options { precision: Precision::Double, components, ..Options::default() };
            engine::fit(x.view(), y.view(), &folds, &grid, &options, &Quiet).unwrap().0
        }
    };
    let mine = score(y.view(), &fit, &folds);
    let scores = Table::read(&study.path("out/scores.parquet")).unwrap();
    let text = |name: &str| scores.required_texts(name).unwrap();
    let (labels, subjects, targets) = (text("checkpoint"), text("subject"), text("target"));
    let layers = scores.finite_numbers("layer").unwrap();
    let (label, subject) = (constant("CHECKPOINT"), constant("SUBJECT"));
    for (t, target) in constant("TARGETS").as_array().unwrap().iter().enumerate() {
        let row = (0..scores.rows())
            .find(|r| {
                labels[*r] == label.as_str().unwrap()
                    && subjects[*r] == subject.as_str().unwrap()
                    && targets[*r] == target.as_str().unwrap()
                    && layers[*r] == constant("LAYER").as_f64().unwrap()
            })
            .unwrap();
        for name in ScoreName::ALL {
            let said = &scores.numbers(name.column()).unwrap()[row];
            match mine[t].get(name).value() {
                Some(mine) => assert!(matches!(said, Number::Finite(v) if (v - mine).abs() < 1e-9), "{said:?} {mine}"),
                None => assert!(matches!(said, Number::Missing(_)), "{said:?}"),
            }
        }
    }
}

/// Two runs over the same rows are one comparison: every difference is that of a run of all checkpoints.
#[test]
fn runs_are_merged() {
    let study = many();
    let run = |out: &str, checkpoints: &[&str], flags: &[&str]| {
        let mut command = brainscore();
        command.arg("compare").args(checkpoints.iter().map(|c| c.replace("{}", study.dir.path().to_str().unwrap())));
        command.args(["--unique", "none"]).args(flags).arg("--study").arg(study.path("study.toml"));
        let output = command.arg("--out").arg(study.path(out)).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    };
    let merge = |folders: &[&str], out: &str| {
        let mut command = brainscore();
        command.arg("report").args(folders.iter().map(|f| study.path(f)));
        command.arg("--out").arg(study.path(out)).output().unwrap()
    };
    study.write(
        "study.toml",
        study.read("study.toml") + "[rois]\nown = { targets = [\"a\", \"b\"] }\nc = { targets = [\"c\"] }\n",
    );
    run("one", &["base={}/model", "early={}/model-early"], &[]);
    run("two", &["same={}/model", "early={}/model-late"], &[]);
    run("all", &["base={}/model", "early={}/model-early", "late={}/model-late"], &[]);
    let output = merge(&["one", "two"], "both");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("\"same\" of \"two\" is \"base\" again, with the same scores: it is kept once"), "{said}");
    let read = |out: &str| -> RunRecord { serde_json::from_str(&study.read(&format!("{out}/run.json"))).unwrap() };
    let (both, all) = (read("both"), read("all"));
    let labels: Vec<&str> = both.checkpoints.iter().map(|c| c.label.as_str()).collect();
    assert_eq!(labels, ["base", "early", "early (two)"]);
    let renamed = |label: &str| if label == "late" { "early (two)".to_owned() } else { label.to_owned() };
    assert_eq!(both.comparison.layer_differences.len(), all.comparison.layer_differences.len());
    for (found, expected) in both.comparison.layer_differences.iter().zip(&all.comparison.layer_differences) {
        assert_eq!((found.checkpoint.clone(), found.layer), (renamed(&expected.checkpoint), expected.layer));
        let (a, b) = (found.difference.value().unwrap(), expected.difference.value().unwrap());
        assert!((a - b).abs() < 1e-12, "{a} {b}");
        assert_eq!((found.inference.p, found.inference.p_fwe), (expected.inference.p, expected.inference.p_fwe));
    }
    for (found, expected) in both.comparison.best_differences.iter().zip(&all.comparison.best_differences) {
        let (a, b) = (found.difference.value().unwrap(), expected.difference.value().unwrap());
        assert!((a - b).abs() < 1e-12, "{a} {b}");
        assert_eq!(found.inference.p_fwe, expected.inference.p_fwe);
    }
    // Every table of scores, targets, regions and ceilings has the rows of a run of all.
    for stem in ["scores", "targets", "rois", "roi_summary", "roi_comparison", "normalised"] {
        let rows = |out: &str| -> Vec<String> {
            let text = study.read(&format!("{out}/{stem}.csv"));
            // What is renamed, and the last digits of numbers that went through float64 and back, aside.
            let cells = |line: &str| line.split(',').take(4).collect::<Vec<_>>().join(",");
            let mut rows: Vec<String> = text.lines().map(cells).map(|l| l.replace("early (two)", "late")).collect();
            rows.sort_unstable();
            rows
        };
        assert_eq!(rows("both"), rows("all"), "{stem}");
        assert!(study.path(&format!("both/{stem}.parquet")).exists(), "{stem}");
    }
    for same in ["ceilings.csv", "roi_matrix.csv", "roi_overlap.parquet"] {
        assert_eq!(
            std::fs::read(study.path("both").join(same)).unwrap(),
            std::fs::read(study.path("all").join(same)).unwrap()
        );
    }
    assert!(study.path("both/report.md").exists() && study.path("both/summary.csv").exists());
    assert!(brainscore().arg("report").arg(study.path("both")).output().unwrap().status.success());

    // What only may make scores differ is told.
    run("few", &["late={}/model-late"], &["--pca", "3"]);
    let output = merge(&["one", "few"], "mixed");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("components (3 and all)"), "{}", stderr(&output));

    // What keeps runs apart is named, all of it, and nothing is written.
    study.edit("study.toml", "k = 5", "k = 3");
    study.write("responses.csv", study.read("responses.csv").replace(",q5,", ",q6,"));
    run("other", &["base={}/model"], &[]);
    let output = merge(&["one", "other"], "none");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("its folds differ") && said.contains("its data differ") && said.contains("responses.csv"),
        "{said}"
    );
    assert!(said.contains("its subjects differ") && said.contains("only here: q6"), "{said}");
    assert!(!study.path("none").exists());
    let output = merge(&["one", "two"], "one");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let alone = brainscore().arg("report").arg(study.path("one")).arg(study.path("two")).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
}
