//! Word features → volumes: against independent numbers, and as users meet it.

use std::path::Path;

use brainscore::features::{Method, Timeline, Words, delay, resample};
use brainscore::io::npy;
use ndarray::{Array2, array};
use serde_json::Value;

use crate::support::study::listing;
use crate::support::{brainscore, hostile_dir, shared};

fn load(folder: &Path, name: &str) -> Array2<f64> {
    npy::read(&folder.join(name)).unwrap().0
}

/// One boolean per row, which the reader of numbers refuses.
fn load_valid(path: &Path, rows: usize) -> Vec<bool> {
    let bytes = std::fs::read(path).unwrap();
    assert!(String::from_utf8_lossy(&bytes[..80]).contains("'|b1'"));
    bytes[bytes.len() - rows..].iter().map(|b| *b == 1).collect()
}

#[test]
fn golden_narratives_agree() {
    let Some(shared) = shared() else { return };
    let folder = hostile_dir();
    for name in ["tr1.49", "tr2.0"] {
        let golden = shared.join("golden/narrative").join(name);
        let case: Value = serde_json::from_str(&std::fs::read_to_string(golden.join("case.json")).unwrap()).unwrap();
        let starts: Vec<usize> =
            case["run_starts"].as_array().unwrap().iter().map(|s| s.as_u64().unwrap() as usize).collect();
        let (tr, first) = (case["tr"].as_f64().unwrap(), case["first_volume_s"].as_f64().unwrap());
        let volumes = case["n_volumes"].as_u64().unwrap() as usize;
        let timeline = Timeline::new(tr, first, volumes, &starts).unwrap();
        let words = Words::read(&golden.join("words.tsv")).unwrap();
        let features = load(&golden, "features.npy");
        let worst = |found: &Array2<f64>, expected: &str| {
            let expected = load(&golden, expected);
            assert_eq!(found.dim(), expected.dim());
            (found - &expected).iter().fold(0.0f64, |m, v| m.max(v.abs()))
        };
        for (method, expected) in [
            (Method::Sum, "sum.npy"),
            (Method::Mean, "mean.npy"),
            (Method::Lanczos, "lanczos.npy"),
            (Method::Hrf, "hrf.npy"),
        ] {
            let found = resample(&words, features.view(), &timeline, method, "w").unwrap().x;
            let worst = worst(&found, expected);
            assert!(worst < 1e-6, "{name}, {expected}: {worst:e}");
        }
        let out = folder.path().join(format!("{name}.npy"));
        let mut command = brainscore();
        command.arg("resample").arg("--words").arg(golden.join("words.tsv"));
        command.arg("--features").arg(golden.join("features.npy")).arg("--out").arg(&out);
        let starts: Vec<String> = starts.iter().map(usize::to_string).collect();
        command.args([
            "--tr",
            &tr.to_string(),
            "--volumes",
            &volumes.to_string(),
            "--first-volume",
            &first.to_string(),
        ]);
        command.args(["--run-starts", &starts.join(","), "--method", "lanczos", "--delays", "2,4,6,8"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let worst = worst(&load(folder.path(), &format!("{name}.npy")), "fir.npy");
        assert!(worst < 1e-6, "{name}, fir: {worst:e}");
        let valid = load_valid(&folder.path().join(format!("{name}_valid.npy")), volumes);
        assert_eq!(valid, load_valid(&golden.join("fir_valid.npy"), volumes));
    }
}

fn write_words(folder: &Path, rows: &str) -> std::path::PathBuf {
    let path = folder.join("words.tsv");
    std::fs::write(&path, format!("word\tonset\toffset\n{rows}")).unwrap();
    path
}

/// By hand: five volumes of 2 s in two runs, from 10 s on.
#[test]
fn words_fall_into_their_volumes() {
    let dir = hostile_dir();
    let rows = "before\t8\t9\na\t10.1\t10.3\nb\t11\t11.8\nc\t13.8\t14.4\nd\t16.5\t17\nafter\t20\t20.5\n";
    let words = Words::read(&write_words(dir.path(), rows)).unwrap();
    let features = array![[100.0, 0.0], [1.0, 2.0], [3.0, 6.0], [5.0, 1.0], [7.0, 1.0], [100.0, 0.0]];
    let timeline = Timeline::new(2.0, 10.0, 5, &[0, 3]).unwrap();
    let run = |method| resample(&words, features.view(), &timeline, method, "w").unwrap();
    let sum = run(Method::Sum);
    assert_eq!(sum.x, array![[4.0, 8.0], [0.0, 0.0], [5.0, 1.0], [7.0, 1.0], [0.0, 0.0]]);
    assert!(sum.warning.unwrap().message.contains("2 of 6 words lie outside"));
    assert_eq!(run(Method::Mean).x.row(0).to_vec(), [2.0, 4.0]);
    // The word d belongs to the second run: the first knows nothing of it.
    let lanczos = run(Method::Lanczos).x;
    let kernel = |x: f64| {
        let pi = std::f64::consts::PI;
        3.0 * (pi * x).sin() * (pi * x / 3.0).sin() / (pi * pi * x * x)
    };
    let expected = kernel((15.0 - 10.2) / 2.0) + 3.0 * kernel((15.0 - 11.4) / 2.0) + 5.0 * kernel(0.9 / 2.0);
    assert!((lanczos[[2, 0]] - expected).abs() < 1e-12);
    assert!((lanczos[[4, 1]] - kernel((19.0 - 16.75) / 2.0)).abs() < 1e-12);
    let (delayed, valid) = delay(&sum.x, &timeline, &[2.0]).unwrap();
    assert_eq!(valid, [false, true, true, false, true]);
    assert_eq!(delayed.row(4).to_vec(), [7.0, 1.0]);
}

#[test]
fn bad_words_are_refused() {
    let dir = hostile_dir();
    let features = dir.path().join("f.npy");
    npy::write(&features, array![[1.0], [2.0]].view()).unwrap();
    let refused = |rows: &str, flags: &[&str], says: &[&str]| {
        let words = write_words(dir.path(), rows);
        let mut command = brainscore();
        command.arg("resample").arg("--words").arg(&words).arg("--features").arg(&features);
        command.args(["--tr", "2", "--volumes", "10"]).args(flags);
        if !flags.contains(&"--out") {
            command.arg("--out").arg(dir.path().join("x.npy"));
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        says.iter().for_each(|part| assert!(stderr.contains(part), "{part:?} is not in {stderr}"));
        assert_eq!(listing(dir.path()), ["f.npy", "words.tsv"]);
    };
    let good = "a\t1\t2\nb\t3\t4\n";
    let sum = &["--method", "sum"];
    refused("a\t1\t2\nb\t4\t3\n", sum, &["line 3", "begins at 4 s and ends at 3 s", "[EV-05]"]);
    refused("a\t1000\t2000\nb\t3000\t4000\n", sum, &["no word lies within", "milliseconds", "[EV-06]"]);
    refused("a\t1\t2\n", sum, &["has 1 words for 2 rows", "[RS-07]"]);
    refused("a\tn/a\t2\nb\t3\t4\n", sum, &["\"n/a\" in column \"onset\"", "[SC-11]"]);
    refused(good, &["--method", "sum", "--run-starts", "0,12"], &["--run-starts", "[FL-02]"]);
    refused(good, &["--method", "hrf", "--delays", "2"], &["beside --method hrf", "[FL-02]"]);
    refused(good, &["--method", "sum", "--out", "x.csv"], &["ends in .npy", "[FL-02]"]);
}
