//! Ridge against numbers of an independent implementation, against a plain one, and against what must hold of any.

mod banded;
mod properties;
mod sharing;

use std::path::{Path, PathBuf};

use brainscore::encoding::engine::{self, Options, Precision};
use brainscore::encoding::{AlphaGrid, Combine, Folds, Score, TargetScores, cv, score};
use brainscore::error::Code;
use brainscore::io::npy;
use brainscore::watch::Quiet;
use ndarray::Array2;
use serde_json::Value;

use crate::support::shared;
use crate::tolerance;

/// One folder of the golden numbers.
struct Case {
    x: Array2<f64>,
    y: Array2<f64>,
    folds: Folds,
    grid: AlphaGrid,
    scale: Option<Vec<f64>>,
    expected: Vec<Value>,
}

impl Case {
    fn read(folder: &Path) -> Case {
        let array = |name: &str| npy::read(&folder.join(name)).unwrap().0;
        let labels: Vec<i64> = array("fold.npy").iter().map(|v| *v as i64).collect();
        let scale = folder.join("bands.npy").exists().then(|| {
            let scales = array("band_scales.npy");
            array("bands.npy").iter().map(|b| scales[[*b as usize, 0]]).collect()
        });
        Case {
            x: array("x.npy"),
            y: array("y.npy"),
            folds: Folds::from_labels(&labels),
            grid: AlphaGrid::given(array("alphas.npy").iter().copied().collect()).unwrap(),
            scale,
            expected: serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap(),
        }
    }

    fn fit(&self, precision: Precision) -> Vec<TargetScores> {
        let options = Options { precision, scale: self.scale.clone(), ..Options::default() };
        let (fit, _) = engine::fit(self.x.view(), self.y.view(), &self.folds, &self.grid, &options, &Quiet).unwrap();
        score(self.y.view(), &fit, &self.folds)
    }

    /// Compares with the expected numbers; null is an undefined score.
    fn check(&self, name: &str, precision: Precision, tolerance: f64) {
        let scores = self.fit(precision);
        assert_eq!(scores.len(), self.expected.len());
        for (t, (found, expected)) in scores.iter().zip(&self.expected).enumerate() {
            let place = format!("{name}, target {t}, {precision:?}");
            let close = |what: &str, found: Score, expected: &Value| match expected.as_f64() {
                None => assert!(found.value().is_none(), "{place}: {what} is {found:?}, not undefined"),
                Some(e) => {
                    let f = found.value().unwrap_or(f64::NAN);
                    assert!((f - e).abs() <= tolerance, "{place}: {what} is {f}, not {e}");
                }
            };
            close("cod", found.cod, &expected["cod"]);
            close("r", found.r, &expected["r"]);
            for (fold, r) in found.per_fold.iter().zip(expected["r_per_fold"].as_array().unwrap()) {
                close("r in a fold", fold.r, r);
            }
            let Some(alphas) = expected["alpha_per_fold"].as_array() else { continue };
            for (fold, alpha) in found.per_fold.iter().zip(alphas) {
                let alpha = alpha.as_f64().unwrap();
                assert!((fold.alpha / alpha - 1.0).abs() < 1e-12, "{place}: alpha is {}, not {alpha}", fold.alpha);
            }
        }
    }
}

/// Folders of golden cases: the shared ones, and those that `$BRAINSCORE_RIDGE_GOLDEN` names (other seeds).
fn golden() -> Vec<PathBuf> {
    let mut parents: Vec<PathBuf> = shared().into_iter().map(|s| s.join("golden/ridge")).collect();
    parents.extend(std::env::var_os("BRAINSCORE_RIDGE_GOLDEN").map(PathBuf::from));
    let folders = |parent: PathBuf| std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = parents.into_iter().flat_map(folders).filter(|f| f.is_dir()).collect();
    all.sort();
    all
}

#[test]
fn golden_numbers() {
    for folder in golden() {
        let name = folder.display().to_string();
        let case = Case::read(&folder);
        case.check(&name, Precision::Double, tolerance::GOLDEN_DOUBLE);
        case.check(&name, Precision::Mixed, tolerance::GOLDEN_MIXED);
        let single = case.fit(Precision::Single);
        for (found, expected) in single.iter().zip(&case.expected) {
            let difference = found.cod.value().zip(expected["cod"].as_f64()).map_or(0.0, |(f, e)| (f - e).abs());
            assert!(difference <= tolerance::GOLDEN_SINGLE, "{name}: {difference} in single precision");
        }
    }
}

#[test]
fn the_plain_route_meets_the_golden_numbers_too() {
    for folder in golden() {
        let case = Case::read(&folder);
        let fit = cv::plain(case.x.view(), case.y.view(), &case.folds, &case.grid, case.scale.as_deref(), &Quiet);
        for (found, expected) in score(case.y.view(), &fit.unwrap(), &case.folds).iter().zip(&case.expected) {
            if let Some(e) = expected["cod"].as_f64() {
                assert!((found.cod.value().unwrap() - e).abs() <= tolerance::GOLDEN_DOUBLE, "{}", folder.display());
            }
        }
    }
}

/// Plain arrays through the program: the golden numbers, in the order of the input.
#[test]
fn the_program_fits_arrays() {
    let Some(shared) = shared() else { return };
    for case in ["tall", "banded", "odd_columns"] {
        let folder = shared.join("golden/ridge").join(case);
        let place = crate::support::hostile_dir();
        let mut command = crate::support::brainscore();
        command.arg("fit").args(["--precision", "double", "--json"]);
        for (flag, file) in [("--x", "x"), ("--y", "y"), ("--folds", "fold"), ("--alphas", "alphas")] {
            command.arg(flag).arg(folder.join(format!("{file}.npy")));
        }
        if case == "banded" {
            command
                .arg("--bands")
                .arg(folder.join("bands.npy"))
                .arg("--band-scales")
                .arg(folder.join("band_scales.npy"));
        }
        let output = command.arg("--out").arg(place.path().join("fit")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let scores = brainscore::io::table::Table::read(&place.path().join("fit/scores.csv")).unwrap();
        let (cod, r) = (scores.numbers("cod").unwrap(), scores.numbers("r").unwrap());
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(expected.len(), scores.rows());
        for (t, e) in expected.iter().enumerate() {
            for (found, name) in [(&cod[t], "cod"), (&r[t], "r")] {
                match (found, e[name].as_f64()) {
                    (brainscore::io::table::Number::Finite(v), Some(e)) => {
                        assert!((v - e).abs() < 1e-8, "{case}, target {t}: {name} {v} instead of {e}");
                    }
                    (brainscore::io::table::Number::Missing(_), None) => {}
                    (found, e) => panic!("{case}, target {t}: {name} {found:?} instead of {e:?}"),
                }
            }
        }
    }
}

/// `--combine`: columns side by side are what they are in one file; the weights of a mixture sum to 1.
#[test]
fn the_program_combines_feature_spaces() {
    let place = crate::support::hostile_dir();
    let file = |name: &str| place.path().join(name);
    let value = |i: usize, j: usize, by: usize| ((i * 37 + j * 101 + i * j * 13 + by * 11) % 97) as f64 / 48.5 - 1.0;
    let array = |columns: usize, by: usize| Array2::from_shape_fn((48, columns), |(i, j)| value(i, j, by));
    let (a, b) = (array(5, 1), array(70, 2));
    let both = ndarray::concatenate![ndarray::Axis(1), a, b];
    let signal = a.slice(ndarray::s![.., ..4]).to_owned() + b.slice(ndarray::s![.., ..4]);
    let y = array(4, 3) + signal;
    for (name, array) in [("a.npy", &a), ("b.npy", &b), ("both.npy", &both), ("y.npy", &y)] {
        npy::write(&file(name), array.view()).unwrap();
    }
    npy::write(&file("fold.npy"), Array2::from_shape_fn((48, 1), |(i, _)| (i / 12) as f64).view()).unwrap();
    let run = |x: &[&str], more: &[&str], out: &str| {
        let mut command = crate::support::brainscore();
        command.arg("fit").args(["--precision", "double"]).args(more);
        x.iter().for_each(|x| _ = command.arg("--x").arg(file(x)));
        for (flag, path) in [("--y", "y.npy"), ("--folds", "fold.npy"), ("--out", out)] {
            command.arg(flag).arg(file(path));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        brainscore::io::table::Table::read(&file(out).join("scores.csv")).unwrap()
    };
    let spaces = |table: &brainscore::io::table::Table| -> Vec<String> {
        table.texts("feature_space").unwrap().into_iter().flatten().collect()
    };
    let cods = |table: &brainscore::io::table::Table, space: &str| -> Vec<f64> {
        let named = spaces(table);
        let values = table.numbers("cod").unwrap();
        let own = named.iter().zip(values).filter(|(name, _)| *name == space);
        own.map(|(_, v)| if let brainscore::io::table::Number::Finite(v) = v { v } else { f64::NAN }).collect()
    };
    let together = run(&["a.npy", "b.npy"], &["--combine", "concat,stack"], "together");
    let one = run(&["both.npy"], &[], "one");
    assert_eq!(cods(&together, "concat"), cods(&one, "both"));
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
    assert!(mean(cods(&together, "stack")) > mean(cods(&together, "a")).max(mean(cods(&together, "b"))) - 0.05);
    let weights = brainscore::io::table::Table::read(&file("together/stack.csv")).unwrap();
    assert_eq!(spaces(&weights), ["a", "a", "a", "a", "b", "b", "b", "b"]);
    let sum = |v: Vec<brainscore::io::table::Number>| -> f64 {
        v.iter().map(|v| if let brainscore::io::table::Number::Finite(v) = v { *v } else { f64::NAN }).sum()
    };
    assert!((sum(weights.numbers("weight_mean").unwrap()) - 4.0).abs() < 1e-9);
    let confined = run(&["b.npy"], &["--pca", "3"], "confined");
    assert_ne!(cods(&confined, "b"), cods(&together, "b"));
}

/// Ridge on principal components of each training set, against scikit-learn's pipeline (tests/golden/components).
#[test]
fn components_are_those_of_the_training_rows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/components/components.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(folder).unwrap()).unwrap();
    for case in &cases {
        let size = |name: &str| case[name].as_u64().unwrap() as usize;
        let (n, p, t, k) = (size("n"), size("p"), size("t"), size("k"));
        let value =
            |i: usize, j: usize, by: usize| ((i * 37 + j * 101 + i * j * 13 + by * 11) % 97) as f64 / 48.5 - 1.0;
        let left = Array2::from_shape_fn((n, 9), |(i, j)| value(i, j, 1) / (1 + j) as f64);
        let x = left.dot(&Array2::from_shape_fn((9, p), |(i, j)| value(i, j, 2)))
            + Array2::from_shape_fn((n, p), |(i, j)| 0.2 * value(i, j, 3));
        let y = x.slice(ndarray::s![.., ..5]).dot(&Array2::from_shape_fn((5, t), |(i, j)| value(i, j, 4)))
            + Array2::from_shape_fn((n, t), |(i, j)| value(i, j, 5));
        let folds = Folds::from_labels(&(0..n).map(|i| i * k / n).collect::<Vec<_>>());
        let alphas = case["alphas"].as_array().unwrap().iter().map(|a| a.as_f64().unwrap()).collect();
        let grid = AlphaGrid::given(alphas).unwrap();
        for precision in [Precision::Double, Precision::Mixed] {
            let options = Options { precision, components: Some(size("components")), ..Options::default() };
            let (fit, _) = engine::fit(x.view(), y.view(), &folds, &grid, &options, &Quiet).unwrap();
            for ((fold, target), chosen) in fit.chosen.indexed_iter() {
                assert_eq!(grid.values[*chosen], case["chosen"][fold][target].as_f64().unwrap());
            }
            for ((row, target), found) in fit.predicted.indexed_iter() {
                let expected = case["predicted"][row][target].as_f64().unwrap();
                assert!((found - expected).abs() < 1e-8, "{n} × {p}: {found} is not {expected}");
            }
        }
    }
}

/// What cannot be had is an error with a flag's name, never a panic; and the bound on memory counts what is kept to be
/// combined.
#[test]
fn fits_that_cannot_be_are_refused() {
    use brainscore::pipeline::{ArrayFit, fit_arrays};
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let wide = Array2::from_shape_fn((24, 60_000), |(i, j)| ((i * 37 + j * 101 + i * j) % 97) as f32);
    for name in ["a.npy", "b.npy", "stack.npy"] {
        npy::write(&file(name), wide.view()).unwrap();
    }
    npy::write(&file("y.npy"), wide.slice(ndarray::s![.., ..2])).unwrap();
    npy::write(&file("fold.npy"), Array2::from_shape_fn((24, 1), |(i, _)| (i / 8) as f64).view()).unwrap();
    npy::write(&file("bands.npy"), Array2::from_shape_fn((60_000, 1), |(i, _)| (i % 2) as f64).view()).unwrap();
    let plan = |x: &[&str]| ArrayFit {
        x: x.iter().map(|x| file(x)).collect(),
        y: vec![file("y.npy")],
        folds: file("fold.npy"),
        out: file("out"),
        ..ArrayFit::default()
    };
    let bands = Some(file("bands.npy"));
    let stack = vec![Combine::Stack];
    // Alone: 96 + 64 MiB, and 11 MiB three times; together 11 more for each that is kept.
    let tight = Some(205 << 20);
    let cases = [
        (ArrayFit { bands: bands.clone(), combine: stack.clone(), draws: 2, ..plan(&["a.npy"]) }, "--combine"),
        (ArrayFit { bands: bands.clone(), components: Some(2), draws: 2, ..plan(&["a.npy"]) }, "--pca"),
        (ArrayFit { bands, ..plan(&["a.npy"]) }, "--draws"),
        (ArrayFit { band_scales: Some(file("bands.npy")), ..plan(&["a.npy"]) }, "--band-scales"),
        (ArrayFit { components: Some(0), ..plan(&["a.npy"]) }, "--pca"),
        (ArrayFit { combine: stack.clone(), ..plan(&["a.npy", "stack.npy"]) }, "stack.npy has the name of a model"),
        (plan(&[]), "--x, --y"),
        (ArrayFit { combine: vec![Combine::Concat], memory: tight, ..plan(&["a.npy", "b.npy"]) }, "--memory"),
    ];
    for (plan, says) in cases {
        let error = fit_arrays(&plan, &Quiet).unwrap_err();
        assert!(error.code() == Code::Fl02 && error.to_string().contains(says), "{says}: {error}");
        assert!(!plan.out.exists());
    }
    // Alone each fits into that memory, and the others' scores were not to be had with less.
    assert!(fit_arrays(&ArrayFit { memory: tight, ..plan(&["a.npy", "b.npy"]) }, &Quiet).is_ok());
    let mixed = ArrayFit { combine: stack, overwrite: true, ..plan(&["a.npy", "b.npy"]) };
    let done = fit_arrays(&mixed, &Quiet).unwrap();
    let report = done.feature_spaces[2].report;
    assert!(done.feature_spaces[2].name == "stack" && report.eigendecompositions > 0 && report.mix_seconds > 0.0);
}
