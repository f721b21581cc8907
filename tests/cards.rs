//! What commands give to cards, on emulated ones: the same results as on the CPU, and what becomes of a run whose cards fail.
#![cfg(feature = "cuda")]

use std::path::Path;
use std::process::{Command, Output};

use brainscore::io::npy;
use serde_json::Value;

use crate::kernels::{driver, emulated, noise};
use crate::support::image::Image;
use crate::support::study::TinyStudy;
use crate::support::{brainscore, hostile_dir};

/// The kernels that a command launches, while it runs on emulated cards.
pub fn launched(folder: &Path, settings: &[(&str, &str)], run: impl FnOnce(Command) -> Output) -> (Output, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = emulated(folder, settings);
    command.env("EMULATED_LOG", log.path());
    let output = run(command);
    (output, std::fs::read_to_string(log.path()).unwrap())
}

/// One subject, 400 texts of 13 words, 210 targets: permutations of 400 groups, and products of 400 rows, are worth sending.
fn large_study() -> TinyStudy {
    const WORDS: [&str; 8] = ["boat", "child", "door", "opens", "quiet", "red", "stone", "waits"];
    let study = TinyStudy::new();
    let mut stimuli = "stimulus_id,text\n".to_owned();
    let targets: Vec<String> = (0..210).map(|t| format!("t{t:03}")).collect();
    let mut responses = format!("stimulus_id,subject,{}\n", targets.join(","));
    for i in 0..400 {
        stimuli += &format!("s{i:03},{} {} {}\n", WORDS[i % 8], WORDS[i / 8 % 8], WORDS[i / 64]);
        let value = |t: usize| noise(i * 211 + t) + 0.3 * ((i / 8 % 8) as f64 - 3.5) * noise(t);
        let values: Vec<String> = (0..210).map(|t| format!("{:.5}", value(t))).collect();
        responses += &format!("s{i:03},p,{}\n", values.join(","));
    }
    study.write("stimuli.csv", stimuli);
    study.write("responses.csv", responses);
    study
}

fn compare(mut command: Command, study: &TinyStudy, out: &str, device: &str) -> Output {
    let model = study.path("model");
    let checkpoints = [format!("m={}", model.display()), format!("r=untrained:1:{}", model.display())];
    command.arg("compare").args(checkpoints).arg("--study").arg(study.path("study.toml"));
    command.args(["--metrics", "cka", "--permutations", "250", "--unique", "none", "--threads", "2"]);
    command.args(["--device", device, "--out"]).arg(study.path(out)).output().unwrap()
}

/// Every table of a run: the same text, numbers within `tolerance`, and p-values to the last digit.
fn assert_same_tables(study: &TinyStudy, own: &str, other: &str, tolerance: f64) {
    let mut compared = 0;
    for entry in std::fs::read_dir(study.path(own)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".csv") {
            continue;
        }
        let [a, b] = [own, other].map(|run| study.read(&format!("{run}/{name}")));
        assert_eq!(a.lines().count(), b.lines().count(), "{name}");
        let head: Vec<&str> = a.lines().next().unwrap().split(',').collect();
        for (a, b) in a.lines().zip(b.lines()) {
            if b.contains("oasm") {
                continue;
            }
            for (column, (a, b)) in head.iter().zip(a.split(',').zip(b.split(','))) {
                // Alphas of a row's place alone hang on eigenvalues that rounding decides, on the CPU as well: `mixed` and
                // `double` differ there. What cards do is no part of it.
                if column.contains("oasm") {
                    continue;
                }
                match (a.parse::<f64>(), b.parse::<f64>()) {
                    (Ok(x), Ok(y)) if !column.starts_with('p') && *column != "q_fdr" => {
                        assert!((x - y).abs() <= tolerance * (1.0 + x.abs()), "{name}, {column}: {x} {y}");
                    }
                    _ => assert_eq!(a, b, "{name}, {column}"),
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 10_000, "{compared} cells");
}

/// Permutations, and the products behind CKA: the same p-values on a card; a card that is lost leaves them to the CPU, or the
/// run fails with nothing left behind.
#[test]
fn permutations_and_products_are_the_same_on_cards() {
    let Some(driver) = driver() else { return };
    let study = large_study();
    let own = compare(brainscore(), &study, "cpu", "cpu");
    assert!(own.status.success(), "{own:?}");
    let (output, kernels) = launched(driver, &[("EMULATED_DEVICES", "2")], |c| compare(c, &study, "cuda", "cuda"));
    assert!(output.status.success(), "{output:?}");
    for kernel in ["sign_flip_scores", "pairwise_products_f64"] {
        assert!(kernels.lines().any(|k| k == kernel), "{kernel} was not launched");
    }
    assert_same_tables(&study, "cpu", "cuda", 1e-9);
    // The first launch of the permutations fails.
    let before = kernels.lines().position(|k| k == "sign_flip_scores").unwrap().to_string();
    let lost = [("EMULATED_DEVICES", "2"), ("EMULATED_LOSE_AFTER", before.as_str())];
    let output = compare(emulated(driver, &lost), &study, "lost", "auto");
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("[GP-02]"), "{output:?}");
    assert_same_tables(&study, "cpu", "lost", 1e-9);
    let record: Value = serde_json::from_str(&study.read("lost/run.json")).unwrap();
    assert!(record["warnings"].to_string().contains("computed on the CPU"), "{}", record["warnings"]);
    let output = compare(emulated(driver, &lost), &study, "failed", "cuda");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(!study.path("failed").exists());
}

/// Twelve maps that all reach every voxel, and ten volumes.
#[test]
fn parcels_are_the_same_on_cards() {
    let Some(driver) = driver() else { return };
    let folder = hostile_dir();
    let (side, voxels) = (6i64, 216usize);
    let maps = (0..12 * voxels).map(|i| noise(i * 31).abs() + f64::from(i % voxels / 18 == i / voxels)).collect();
    let bold = (0..10 * voxels).map(|i| 100.0 + noise(7 + i * 13)).collect();
    std::fs::write(folder.path().join("maps.nii"), Image::new(&[side, side, side, 12], maps).bytes()).unwrap();
    std::fs::write(folder.path().join("bold.nii"), Image::new(&[side, side, side, 10], bold).bytes()).unwrap();
    let parcellate = |mut command: Command, device: &str| {
        let out = folder.path().join(device.replace(':', "-"));
        command
            .arg("parcellate")
            .arg(folder.path().join("bold.nii"))
            .arg("--atlas")
            .arg(folder.path().join("maps.nii"));
        command.args(["--no-cache", "--device", device, "--out"]).arg(&out).output().unwrap()
    };
    let series = |device: &str| npy::read(&folder.path().join(device).join("bold_parcels.npy")).unwrap().0;
    let record = |device: &str| {
        let text = std::fs::read_to_string(folder.path().join(device).join("bold_parcels.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let own = parcellate(brainscore(), "cpu");
    assert!(own.status.success(), "{own:?}");
    assert_eq!(record("cpu")["device"], "cpu");
    let (output, kernels) = launched(driver, &[], |command| parcellate(command, "cuda"));
    assert!(output.status.success(), "{output:?}");
    assert!(kernels.contains("parcellate_sums"), "{kernels}");
    assert!(record("cuda")["device"].as_str().unwrap().contains("Emulated card 0"));
    let (expected, found) = (series("cpu"), series("cuda"));
    assert_eq!(found.dim(), (10, 12));
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + b.abs())), "{found} {expected}");
    // Too little memory for the maps: the CPU under auto, an error under cuda.
    let small = [("EMULATED_MEMORY", "5000")];
    let output = parcellate(emulated(driver, &small), "auto");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(series("auto"), expected);
    assert!(record("auto")["warnings"].to_string().contains("GP-01"), "{}", record("auto"));
    let output = parcellate(emulated(driver, &small), "cuda:0");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}
