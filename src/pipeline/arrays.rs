//! Ridge on plain NumPy arrays: every feature space against every response, scores into a folder.
//!
//! `scores.csv` has one row per feature space, response and target, in the order given. `folds.parquet` has the values
//! per fold. `fit.json` has what was done and how long it took.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::{Array2, ArrayView2};
use serde::Serialize;

use crate::encoding::engine::{self, Fitted, Options, Precision, Report, Targets};
use crate::encoding::{AlphaGrid, Folds, Score, TargetScores, score};
use crate::error::{Code, Error, Result};
use crate::io::table::{Output, OutputTable};
use crate::io::{atomic, npy};
use crate::store::RunDir;
use crate::watch::Watch;

/// Files and choices of one fit.
#[derive(Debug, Clone, Default)]
pub struct ArrayFit {
    /// Feature spaces (rows, features).
    pub x: Vec<PathBuf>,
    /// Responses (rows, targets); every feature space is fitted to each.
    pub y: Vec<PathBuf>,
    /// One fold label per row.
    pub folds: PathBuf,
    /// Penalties; none for the default grid.
    pub alphas: Option<PathBuf>,
    /// Band of each feature, and the scale of each band.
    pub bands: Option<(PathBuf, PathBuf)>,
    /// Precision.
    pub precision: Precision,
    /// Bytes to use at most.
    pub memory: Option<u64>,
    /// Folder to write; it must not exist, unless it may be replaced.
    pub out: PathBuf,
    /// Whether a folder that an earlier run wrote may be replaced.
    pub overwrite: bool,
}

/// Response, its targets, their scores.
type Scored = (usize, Range<usize>, Vec<TargetScores>);

/// What a fit of arrays did; also the content of `fit.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArraySummary {
    /// One entry per feature space.
    pub feature_spaces: Vec<SpaceSummary>,
    /// Threads it ran on.
    pub threads: usize,
    /// Seconds spent reading.
    pub read_seconds: f64,
    /// Seconds spent fitting and scoring.
    pub fit_seconds: f64,
    /// Seconds spent writing.
    pub write_seconds: f64,
}

/// One feature space against all responses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpaceSummary {
    /// File name without its extension.
    pub name: String,
    /// Mean over the targets that have a value.
    pub mean_cod: Option<f64>,
    /// Mean over the targets that have a value.
    pub mean_r: Option<f64>,
    /// Targets without a cod.
    pub undefined: usize,
    /// Work and time.
    pub report: Report,
}

/// Fits, and writes the folder in one rename.
///
/// # Errors
/// `RS-*` for arrays that cannot be read or do not belong together, `RC-02` and `RC-03` for alphas and folds, `OD-*` for
/// the folder.
pub fn fit_arrays(plan: &ArrayFit, watch: &dyn Watch) -> Result<ArraySummary> {
    let clock = std::time::Instant::now();
    let folder = RunDir::stage(&plan.out, plan.overwrite)?;
    let folds = Folds::from_labels(&labels(&plan.folds)?);
    let grid = match &plan.alphas {
        Some(path) => AlphaGrid::given(read(path)?.iter().copied().collect())?,
        None => AlphaGrid::default(),
    };
    let rows = folds.of_row().len();
    let y = plan.y.iter().map(|path| checked(path, rows)).collect::<Result<Vec<_>>>()?;
    let views: Vec<ArrayView2<'_, f64>> = y.iter().map(|y| y.view()).collect();
    let responses: Vec<&dyn Targets> = views.iter().map(|y| y as &dyn Targets).collect();
    let subjects: Vec<String> = plan.y.iter().map(|p| stem(p)).collect();
    let mut read_seconds = clock.elapsed().as_secs_f64();
    let (mut fit_seconds, mut spaces, mut all) = (0.0, Vec::new(), Vec::new());
    for path in &plan.x {
        let clock = std::time::Instant::now();
        let x = checked(path, rows)?;
        let scale = plan.bands.as_ref().map(|bands| band_scales(bands, x.ncols())).transpose()?;
        read_seconds += clock.elapsed().as_secs_f64();
        let options = Options { precision: plan.precision, memory: plan.memory, scale };
        let clock = std::time::Instant::now();
        let found: Mutex<Vec<Scored>> = Mutex::new(Vec::new());
        let receive = |part: Fitted| {
            let scores = score(part.y.view(), &part.fit, &folds);
            let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            found.push((part.response, part.columns, scores));
            Ok(())
        };
        let report = engine::fit_blocks(x.view(), &responses, &folds, &grid, &options, watch, &receive)?;
        fit_seconds += clock.elapsed().as_secs_f64();
        let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.sort_by_key(|(response, columns, _)| (*response, columns.start));
        spaces.push(summary(stem(path), found.iter().flat_map(|(.., scores)| scores), report));
        all.push(found);
    }
    let clock = std::time::Instant::now();
    let names: Vec<String> = plan.x.iter().map(|p| stem(p)).collect();
    let mut rows = Vec::new();
    for (space, found) in names.iter().zip(&all) {
        for (response, columns, scores) in found {
            let subject = &subjects[*response];
            rows.extend(columns.clone().zip(scores).map(|(target, s)| Row { space, subject, target, scores: s }));
        }
    }
    scores_table(&rows).write_csv(&folder.path().join("scores.csv"))?;
    folds_table(&rows).write_parquet(&folder.path().join("folds.parquet"))?;
    let summary = ArraySummary {
        feature_spaces: spaces,
        threads: rayon::current_num_threads(),
        read_seconds,
        fit_seconds,
        write_seconds: clock.elapsed().as_secs_f64(),
    };
    let json = serde_json::to_vec_pretty(&summary)
        .map_err(|e| Error::new(Code::Io01, "fit.json", "cannot be written as JSON").source(e))?;
    atomic::write(&folder.path().join("fit.json"), &json)?;
    folder.commit()?;
    Ok(summary)
}

fn read(path: &Path) -> Result<Array2<f64>> {
    let (array, _) = npy::read(path)?;
    if let Some(((row, column), bad)) = array.indexed_iter().find(|(_, v)| !v.is_finite()) {
        return Err(Error::new(Code::Rs08, path.display(), format!("row {row}, column {column} holds {bad}"))
            .expected("finite numbers"));
    }
    Ok(array)
}

/// An array with as many rows as there are fold labels.
fn checked(path: &Path, rows: usize) -> Result<Array2<f64>> {
    let array = read(path)?;
    if array.nrows() == rows {
        return Ok(array);
    }
    Err(Error::new(Code::Rs07, path.display(), format!("has {} rows", array.nrows()))
        .expected(format!("{rows} rows, one per fold label")))
}

/// Fold labels: whole numbers.
fn labels(path: &Path) -> Result<Vec<i64>> {
    let array = read(path)?;
    let bad = array.iter().find(|v| v.fract() != 0.0 || v.abs() > 1e15);
    match bad {
        Some(bad) => {
            Err(Error::new(Code::Rc03, path.display(), format!("holds {bad}")).expected("whole numbers, one per row"))
        }
        None if array.ncols() != 1 => {
            Err(Error::new(Code::Rc03, path.display(), "has several columns").expected("one fold label per row"))
        }
        None => Ok(array.iter().map(|v| *v as i64).collect()),
    }
}

/// The scale of each feature from the band of each feature and the scale of each band.
fn band_scales((bands, scales): &(PathBuf, PathBuf), features: usize) -> Result<Vec<f64>> {
    let (of_feature, of_band) = (read(bands)?, read(scales)?);
    if of_feature.len() != features {
        return Err(Error::new(Code::Rs07, bands.display(), format!("has {} values", of_feature.len()))
            .expected(format!("{features}, one per feature")));
    }
    let of_band: Vec<f64> = of_band.iter().copied().collect();
    of_feature
        .iter()
        .map(|band| {
            let index = (band.fract() == 0.0 && *band >= 0.0).then_some(*band as usize);
            index.and_then(|i| of_band.get(i)).copied().ok_or_else(|| {
                Error::new(Code::Rs07, bands.display(), format!("names band {band}")).expected(format!(
                    "0 to {}: {} has {} scales",
                    of_band.len() - 1,
                    scales.display(),
                    of_band.len()
                ))
            })
        })
        .collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |s| s.to_string_lossy().into_owned())
}

fn summary<'a>(name: String, scores: impl Iterator<Item = &'a TargetScores>, report: Report) -> SpaceSummary {
    let (mut cod, mut r, mut undefined) = (Vec::new(), Vec::new(), 0);
    for s in scores {
        cod.extend(s.cod.value());
        r.extend(s.r.value());
        undefined += usize::from(s.cod.value().is_none());
    }
    SpaceSummary { name, mean_cod: crate::stats::mean(&cod), mean_r: crate::stats::mean(&r), undefined, report }
}

/// One target of one response against one feature space.
struct Row<'a> {
    space: &'a str,
    subject: &'a str,
    target: usize,
    scores: &'a TargetScores,
}

fn scores_table(rows: &[Row<'_>]) -> OutputTable {
    let real = |f: &dyn Fn(&TargetScores) -> Option<f64>| Output::Real(rows.iter().map(|r| f(r.scores)).collect());
    OutputTable::new(vec![
        ("feature_space", Output::Text(rows.iter().map(|r| r.space.to_owned()).collect())),
        ("subject", Output::Text(rows.iter().map(|r| r.subject.to_owned()).collect())),
        ("target", Output::Integer(rows.iter().map(|r| r.target as i64).collect())),
        ("n", Output::Integer(rows.iter().map(|r| r.scores.n as i64).collect())),
        ("cod", real(&|s| s.cod.value())),
        ("cod_test_mean", real(&|s| s.cod_test_mean.value())),
        ("r", real(&|s| s.r.value())),
        ("alpha", real(&|s| s.alpha_median)),
        ("alpha_at_edge", real(&|s| Some(s.alpha_at_edge))),
        ("undefined", Output::Text(rows.iter().map(|r| why(r.scores)).collect())),
    ])
}

fn folds_table(rows: &[Row<'_>]) -> OutputTable {
    let each: Vec<_> =
        rows.iter().flat_map(|row| row.scores.per_fold.iter().enumerate().map(move |(k, f)| (row, k, f))).collect();
    OutputTable::new(vec![
        ("feature_space", Output::Text(each.iter().map(|(row, ..)| row.space.to_owned()).collect())),
        ("subject", Output::Text(each.iter().map(|(row, ..)| row.subject.to_owned()).collect())),
        ("target", Output::Integer(each.iter().map(|(row, ..)| row.target as i64).collect())),
        ("fold", Output::Integer(each.iter().map(|(_, k, _)| *k as i64).collect())),
        ("cod", Output::Real(each.iter().map(|(.., f)| f.cod.value()).collect())),
        ("r", Output::Real(each.iter().map(|(.., f)| f.r.value()).collect())),
        ("alpha", Output::Real(each.iter().map(|(.., f)| Some(f.alpha)).collect())),
    ])
}

/// Why scores of a target are undefined, each reason once.
fn why(scores: &TargetScores) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for reason in [scores.cod, scores.cod_test_mean, scores.r].into_iter().filter_map(Score::reason) {
        if !reasons.contains(&reason.to_string()) {
            reasons.push(reason.to_string());
        }
    }
    reasons.join("; ")
}
