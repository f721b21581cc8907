//! Ridge against numbers of an independent implementation, against a plain one, and against what must hold of any.

mod banded;
mod properties;

use std::path::{Path, PathBuf};

use brainscore::encoding::engine::{self, Options, Precision};
use brainscore::encoding::{AlphaGrid, Folds, Score, TargetScores, cv, score};
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
