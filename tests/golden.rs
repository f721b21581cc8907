//! Numbers that trusted tools worked out, stored with their generators outside the repository.

use std::path::Path;

use brainscore::encoding::{AlphaGrid, Folds, Score, TargetScores, cv, score};
use brainscore::io::npy;
use brainscore::io::table::Table;
use brainscore::watch::Quiet;
use ndarray::{Array2, Axis};
use serde_json::Value;

use crate::support::shared;

fn load(folder: &Path, name: &str) -> Array2<f64> {
    npy::read(&folder.join(name)).unwrap().0
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn fit(x: &Array2<f64>, y: &Array2<f64>, fold: &[i64], alphas: AlphaGrid) -> Vec<TargetScores> {
    let folds = Folds::from_labels(fold);
    let fit = cv::fit(x.view(), y.view(), &folds, &alphas, &Quiet).unwrap();
    score(y.view(), &fit, &folds)
}

#[track_caller]
fn same(what: &str, found: Score, expected: &Value, tolerance: f64) {
    match (found, expected.as_f64()) {
        (Score::Value(v), Some(e)) => assert!((v - e).abs() <= tolerance, "{what}: {v} instead of {e}"),
        (Score::Undefined { .. }, None) => {}
        (found, expected) => panic!("{what}: {found:?} instead of {expected:?}"),
    }
}

/// A sentence encoder's layer against the language network, worked out with NumPy from its features.
#[test]
fn a_real_response_gives_the_real_number() {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden/compare/pereira_minilm");
    let expected = json(&golden.join("expected.json"));
    let stimuli = Table::read(&shared.join("data/pereira2018/stimuli.csv")).unwrap();
    let y = Array2::from_shape_vec((stimuli.rows(), 1), stimuli.finite_numbers("language_network").unwrap()).unwrap();
    let fold: Vec<i64> = stimuli.finite_numbers("fold").unwrap().iter().map(|f| *f as i64).collect();
    let grid = || AlphaGrid::log_spaced(0.1, 1e7, 2).unwrap();

    let layer = &expected["models"]["mean"][4];
    let found = &fit(&load(&golden, "features_mean_layer4.npy"), &y, &fold, grid())[0];
    same("cod", found.cod, &layer["cod"], 1e-9);
    same("r", found.r, &layer["r"], 1e-9);
    for (own, (r, alpha)) in found
        .per_fold
        .iter()
        .zip(layer["r_per_fold"].as_array().unwrap().iter().zip(layer["alpha_per_fold"].as_array().unwrap()))
    {
        same("r of a fold", own.r, r, 1e-9);
        assert!((own.alpha / alpha.as_f64().unwrap() - 1.0).abs() < 1e-9);
    }

    let texts = stimuli.required_texts("text").unwrap();
    let position = stimuli.finite_numbers("position").unwrap();
    let confounds = Array2::from_shape_fn((texts.len(), 3), |(row, column)| match column {
        0 => texts[row].split_whitespace().count() as f64,
        1 => texts[row].chars().count() as f64,
        _ => position[row],
    });
    let found = &fit(&confounds, &y, &fold, grid())[0];
    same("cod of the confounds", found.cod, &expected["confounds_words_chars_position"]["cod"], 1e-9);
    same("r of the confounds", found.r, &expected["confounds_words_chars_position"]["r"], 1e-9);
    assert_eq!(y.len_of(Axis(0)), 627);
}
