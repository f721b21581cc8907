//! `check_in_python.py` and `check/`: one layer of one subject, for a sceptic to compute again in scikit-learn.

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis, s};

use super::compare::layer_features;
use super::preflight::Prepared;
use super::states::Pooled;
use crate::encoding::AlphaGrid;
use crate::encoding::engine::Precision;
use crate::error::{Code, Error, Result};
use crate::ids::Layer;
use crate::io::table::{Output, OutputTable};
use crate::io::{atomic, disk, npy};
use crate::responses::Aligned;

/// The script and the folder of its data.
const SCRIPT: &str = "check_in_python.py";
const FOLDER: &str = "check";
/// Targets that are computed again at most.
const TARGETS: usize = 64;

/// What is computed again.
pub(super) struct Checked<'a> {
    /// Index of the checkpoint.
    pub checkpoint: usize,
    /// The layer's states.
    pub pooled: &'a Pooled,
    /// The alphas that were searched in each cohort.
    pub grids: &'a [AlphaGrid],
}

/// Writes script and data for the first subject of the study.
pub(super) fn write(folder: &Path, prepared: &Prepared, checked: &Checked<'_>) -> Result<()> {
    let subject = &prepared.subjects[0];
    let found = prepared.cohorts.iter().enumerate().find_map(|(index, cohort)| {
        let at = cohort.subjects().iter().position(|s| s == subject)?;
        Some((index, cohort, at))
    });
    let (Some((index, cohort, at)), Some(grid)) = (found, checked.grids.first()) else { return Ok(()) };
    let grid = checked.grids.get(index).unwrap_or(grid);
    let space = layer_features(prepared, checked.checkpoint, checked.pooled)?;
    let aligned = Aligned::new(&space, cohort)?;
    let n = prepared.targets.len();
    // Spread over all of them where there are too many.
    let there: Vec<usize> = (0..n).filter(|t| cohort.missing()[at * n + t] == 0).collect();
    let few = there.len().min(TARGETS);
    if few == 0 {
        return Ok(());
    }
    let targets: Vec<usize> = (0..few).map(|i| there[i * there.len() / few]).collect();
    let columns = |y: ArrayView2<'_, f64>| y.slice(s![.., at * n..(at + 1) * n]).select(Axis(1), &targets);
    let data = folder.join(FOLDER);
    disk::create_dir(&data).map_err(|e| atomic::write_error(&data, "creating", e))?;
    write_features(&data.join("X.npy"), aligned.x())?;
    npy::write(&data.join("Y.npy"), columns(cohort.y().view()).view())?;
    if let Some(others) = prepared.others.get(index) {
        npy::write(&data.join("Y_train.npy"), columns(others.view()).view())?;
    }
    let folds = prepared.folds.subset(cohort.rows());
    let ids = (0..cohort.rows().len()).map(|row| cohort.stimulus(row).to_string()).collect();
    let mut table = OutputTable::new(vec![
        ("stimulus_id", Output::Text(ids)),
        ("fold", Output::Integer(folds.of_row().iter().map(|f| *f as i64).collect())),
    ]);
    for fold in 0..folds.count() {
        let mut trains = vec![0; cohort.rows().len()];
        folds.train_rows(&[fold]).into_iter().for_each(|row| trains[row] = 1);
        table.push(format!("trains_without_{fold}"), Output::Integer(trains));
    }
    table.write_csv(&data.join("folds.csv"))?;
    let names: Vec<String> = targets.iter().map(|t| prepared.targets[*t].to_string()).collect();
    let label = &prepared.checkpoints[checked.checkpoint].checkpoint.record().label;
    let plan = &prepared.plan;
    let how = How { grid, precision: plan.precision, components: plan.components };
    let script = script(label, checked.pooled.layer, subject.as_str(), (&names, n), how)?;
    atomic::write(&folder.join(SCRIPT), script.as_bytes())
}

/// Hidden states are float32: stored as such where nothing is lost.
fn write_features(path: &Path, x: &Array2<f64>) -> Result<()> {
    let narrow = x.mapv(|v| v as f32);
    if narrow.iter().zip(x).all(|(n, v)| f64::from(*n) == *v) {
        npy::write(path, narrow.view())
    } else {
        npy::write(path, x.view())
    }
}

/// How the layer was fitted.
struct How<'a> {
    grid: &'a AlphaGrid,
    precision: Precision,
    components: Option<usize>,
}

/// The script for this run. Every name goes in as a string literal of printable ASCII.
fn script(
    label: &str,
    layer: Layer,
    subject: &str,
    (targets, all): (&[String], usize),
    how: How<'_>,
) -> Result<String> {
    let targets: Vec<String> = targets.iter().map(|t| literal(t)).collect::<Result<_>>()?;
    let alphas: Vec<String> = how.grid.values.iter().map(|a| format!("{a:?}")).collect();
    let some = if targets.len() < all { format!(": {} of {all}", targets.len()) } else { String::new() };
    let tolerance = match how.precision {
        Precision::Double | Precision::Mixed => "1e-6",
        // float32 throughout, as it was asked for.
        Precision::Single => "1e-3",
    };
    let pca = how
        .components
        .map_or(String::new(), |n| format!(", then\n   turned into their first {n} principal components"));
    Ok(include_str!("check_in_python.py")
        .replace("«VERSION»", env!("CARGO_PKG_VERSION"))
        .replace("«LAYER»", &layer.to_string())
        .replace("«SOME»", &some)
        .replace("«ALPHAS»", &format!("[{}]", alphas.join(", ")))
        .replace("«TOLERANCE»", tolerance)
        .replace("«PCA»", &pca)
        .replace("«COMPONENTS»", &how.components.map_or("None".to_owned(), |n| n.to_string()))
        .replace("«TARGETS»", &format!("[{}]", targets.join(", ")))
        .replace("«SUBJECT»", &literal(subject)?)
        .replace("«CHECKPOINT»", &literal(label)?))
}

/// A Python string literal: that of JSON, whatever is not printable ASCII escaped. No name can hold the brackets of the
/// template then.
fn literal(text: &str) -> Result<String> {
    let json = serde_json::to_string(text)
        .map_err(|e| Error::new(Code::Io01, SCRIPT, format!("cannot be written: {e}")).source(e))?;
    let mut written = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => written.push(c),
            _ if (c as u32) < 0x1_0000 => written.push_str(&format!("\\u{:04x}", c as u32)),
            _ => written.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_inside_its_literal() {
        let hostile = "\"\"\"\n«TARGETS»'; import os #\u{202e}é\u{1f9e0}\\";
        let text = literal(hostile).unwrap();
        assert_eq!(text, "\"\\\"\\\"\\\"\\n\\u00abTARGETS\\u00bb'; import os #\\u202e\\u00e9\\U0001f9e0\\\\\"");
        let grid = AlphaGrid::given(vec![0.1, 1.0, 1e7]).unwrap();
        let names = [hostile.to_owned()];
        let how = |components| How { grid: &grid, precision: Precision::Mixed, components };
        let script = |components| script(hostile, Layer(3), hostile, (&names, 100), how(components)).unwrap();
        assert!(
            script(Some(5)).contains("\nCOMPONENTS = 5\n") && script(Some(5)).contains("first 5 principal components")
        );
        let script = script(None);
        assert!(script.contains("\nCOMPONENTS = None\n"));
        assert!(script.is_ascii(), "nothing of the template is left");
        assert!(script.contains("ALPHAS = [0.1, 1.0, 10000000.0]\nTOLERANCE = 1e-6\n"), "{script}");
        assert!(script.contains("check/Y.npy: 1 of 100."));
        assert!(script.contains(&format!("CHECKPOINT = {text}\nLAYER = 3\nSUBJECT = {text}\n")));
        assert_eq!(script.lines().filter(|l| l.starts_with("import") || l.starts_with("from")).count(), 9);
    }
}
