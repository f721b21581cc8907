//! All layers of a checkpoint as one model.

use std::path::Path;
use std::process::Command;

use crate::support::brainscore;
use crate::support::study::{TinyStudy, npy};

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Rows of a table as the text of the columns that are named.
fn columns(table: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(table).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let at: Vec<usize> = names.iter().map(|n| head.iter().position(|h| h == n).unwrap()).collect();
    lines.map(|row| at.iter().map(|i| row[*i].clone()).collect()).collect()
}

fn matrix(path: &Path, rows: usize, values: &[f64]) {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let shape = if values.len() == rows { format!("({rows},)") } else { format!("({rows}, {})", values.len() / rows) };
    std::fs::write(path, npy(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"), &bytes))
        .unwrap();
}

/// A study whose folds a column gives, so that plain arrays can have the same.
fn study() -> TinyStudy {
    let study = TinyStudy::new();
    let stimuli: Vec<String> = study
        .read("stimuli.csv")
        .lines()
        .enumerate()
        .map(|(i, line)| if i == 0 { format!("{line},fold") } else { format!("{line},{}", (i - 1) % 5) })
        .collect();
    study.write("stimuli.csv", stimuli.join("\n") + "\n");
    study.edit("study.toml", "table = \"stimuli.csv\"", "table = \"stimuli.csv\"\nfold = \"fold\"");
    study.edit("study.toml", "k = 5", "folds = \"column\"");
    study
}

/// The scores of combined layers are those of the engine on the layers' arrays.
#[test]
fn combined_layers_score_as_their_arrays_do() {
    let study = study();
    study.edit("study.toml", "[encoding]", "[features]\ncombine = [\"stack\"]\n[encoding]");
    let model = study.path("model").display().to_string();
    let compare = |out: &str, flags: &[&str]| {
        let mut command = brainscore();
        command.arg("compare").args([format!("m={model}"), format!("u=untrained:1:{model}")]).arg("--study");
        command.arg(study.path("study.toml")).arg("--out").arg(study.path(out));
        done(command.args(["--precision", "double", "--no-cache", "--unique", "none", "--threads", "2"]).args(flags));
    };
    compare("both", &["--combine", "stack,concat"]);
    compare("own", &[]);
    // A bound so small that few targets are mixed at a time changes nothing.
    compare("narrow", &["--combine", "concat,stack", "--memory", "20M"]);
    let read = |out: &str| columns(&study.path(out).join("combined.csv"), &["model", "checkpoint", "score", "mean"]);
    let both = read("both");
    assert_eq!((both.len(), read("own").len(), both.clone()), (12, 6, read("narrow")));
    assert_eq!(both[6..], read("own")[..]);
    let mixed = columns(&study.path("both/stack.csv"), &["checkpoint", "weight_mean"]);
    let sum = |label: &str| {
        let own = mixed.iter().filter(|row| row[0] == label);
        own.map(|row| row[1].parse::<f64>().unwrap()).sum::<f64>()
    };
    assert!((sum("m") - 1.0).abs() < 1e-9 && (sum("u") - 1.0).abs() < 1e-9, "{mixed:?}");

    let mut command = brainscore();
    done(
        command
            .arg("extract")
            .arg(&model)
            .arg("--texts")
            .arg(study.path("stimuli.csv"))
            .arg("--out")
            .arg(study.path("x")),
    );
    let states = std::fs::read(study.path("x/features.npy")).unwrap();
    let header = 10 + u16::from_le_bytes([states[8], states[9]]) as usize;
    let values: Vec<f64> =
        states[header..].chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
    let mut fit = brainscore();
    fit.arg("fit").args(["--precision", "double", "--threads", "2", "--combine", "concat,stack"]);
    for layer in 0..2 {
        let file = study.path(&format!("x_{layer}.npy"));
        matrix(&file, 30, &values[layer * values.len() / 2..(layer + 1) * values.len() / 2]);
        fit.arg("--x").arg(file);
    }
    for subject in ["p1", "p2"] {
        let rows = columns(&study.path("responses.csv"), &["subject", "a", "b", "c"]);
        let own = rows.iter().filter(|row| row[0] == subject);
        let y: Vec<f64> =
            own.flat_map(|row| row[1..].iter().map(|v| v.parse().unwrap()).collect::<Vec<f64>>()).collect();
        let file = study.path(&format!("{subject}.npy"));
        matrix(&file, 30, &y);
        fit.arg("--y").arg(file);
    }
    matrix(&study.path("folds.npy"), 30, &(0..30).map(|i| f64::from(i % 5)).collect::<Vec<_>>());
    done(fit.arg("--folds").arg(study.path("folds.npy")).arg("--out").arg(study.path("fit")));
    let alone = columns(&study.path("fit/scores.csv"), &["feature_space", "cod", "r"]);
    for model in ["concat", "stack"] {
        for (column, score) in ["cod", "r"].into_iter().enumerate() {
            let own: Vec<f64> =
                alone.iter().filter(|row| row[0] == model).map(|row| row[1 + column].parse().unwrap()).collect();
            let row = both.iter().find(|row| row[..3] == [model, "m", score]).unwrap();
            let (mean, found) = (own.iter().sum::<f64>() / own.len() as f64, row[3].parse::<f64>().unwrap());
            assert!(own.len() == 6 && (mean - found).abs() < 1e-9, "{model} {score}: {mean} {found}");
        }
    }
    let report = study.read("both/report.md");
    assert!(report.contains("All layers together"), "{report}");
}
