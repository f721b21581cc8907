//! Ridge on plain NumPy arrays: every feature space against every response, scores into a folder.
//!
//! `scores.csv` has one row per feature space, response and target, in the order given. `folds.parquet` has the values
//! per fold, `bands.csv` what each band contributes where weights were searched, `stack.csv` the weights of a mixture. `fit.json` has what was done and how long it took.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::{Array2, ArrayView2};
use serde::Serialize;

use super::bands::{Search, band_scales, bands_table, read_bands};
use super::bound::Bound;
use super::combined::{Together, weights_table};
use crate::compute::device::{Device, Offload};
use crate::compute::{self, cpu};
use crate::encoding::engine::{self, Fitted, Options, Precision, Report, Targets, random_weights};
use crate::encoding::{AlphaGrid, Combine, Folds, Score, TargetScores, score};
use crate::error::{Code, Error, Result, Warning};
use crate::io::table::{Output, OutputTable};
use crate::io::{atomic, npy};
use crate::store::{Owned, RunDir, default_cache_folder};
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
    /// Band of each feature.
    pub bands: Option<PathBuf>,
    /// Scale of each band; none to choose weights by random search.
    pub band_scales: Option<PathBuf>,
    /// Weightings that a random search tries.
    pub draws: usize,
    /// Seed of the random search.
    pub seed: u64,
    /// Principal components that each fit is confined to; none for all.
    pub components: Option<usize>,
    /// Models of all feature spaces together.
    pub combine: Vec<Combine>,
    /// Precision.
    pub precision: Precision,
    /// What computes: the CPU, or cards.
    pub device: Device,
    /// Bytes to use at most; none for 60 % of what is available.
    pub memory: Option<u64>,
    /// Folder to write; it must not exist, unless it may be replaced.
    pub out: PathBuf,
    /// Whether a folder that an earlier run wrote may be replaced.
    pub overwrite: bool,
}

/// Response, its targets, their scores.
pub(super) type Scored = (usize, Range<usize>, Vec<TargetScores>);

/// What a fit of arrays did; also the content of `fit.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArraySummary {
    /// One entry per feature space.
    pub feature_spaces: Vec<SpaceSummary>,
    /// What computed: `cpu`, or the cards.
    pub device: String,
    /// What the user must know.
    pub warnings: Vec<Warning>,
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
/// `FL-02` for choices that cannot be had together and for too little memory; `RS-*` for arrays that cannot be read or do
/// not belong together, `RC-02` and `RC-03` for alphas and folds, `OD-*` for the folder.
pub fn fit_arrays(plan: &ArrayFit, watch: &dyn Watch) -> Result<ArraySummary> {
    check(plan)?;
    let clock = std::time::Instant::now();
    let (offload, mut warning) = compute::open(plan.device, default_cache_folder().ok().as_deref())?;
    let folder = RunDir::stage_as(&plan.out, plan.overwrite, Owned::FIT)?;
    let folds = Folds::from_labels(&labels(&plan.folds)?);
    let grid = match &plan.alphas {
        Some(path) => AlphaGrid::given(read(path)?.iter().copied().collect())?,
        None => AlphaGrid::default(),
    };
    let rows = folds.of_row().len();
    let memory = plan.memory.unwrap_or_else(cpu::default_memory);
    let y = open_responses(&plan.y, rows, memory)?;
    let responses: Vec<&dyn Targets> = y.iter().map(|y| y as &dyn Targets).collect();
    let subjects: Vec<String> = plan.y.iter().map(|p| stem(p)).collect();
    let mut read_seconds = clock.elapsed().as_secs_f64();
    let bound = Bound {
        memory,
        held: y.iter().map(Response::bytes).sum(),
        rows,
        targets: responses.iter().map(|r| r.columns()).sum(),
        folds: folds.count(),
        // A default grid may be widened by four values on either side.
        alphas: grid.values.len() + if grid.given { 0 } else { 8 },
    };
    let (mut fit_seconds, mut spaces, mut all) = (0.0, Vec::new(), Vec::new());
    let mut shares = Vec::new();
    let mut names: Vec<String> = plan.x.iter().map(|p| stem(p)).collect();
    let mut together = Together::new(&plan.combine);
    let plain = Options {
        precision: plan.precision,
        components: plan.components,
        offload: offload.clone(),
        ..Options::default()
    };
    for path in &plan.x {
        let clock = std::time::Instant::now();
        let x = checked(path, rows)?;
        let bands = plan.bands.as_deref().map(|bands| read_bands(bands, x.ncols())).transpose()?;
        let scale = match (&bands, &plan.band_scales) {
            (Some(bands), Some(scales)) => Some(band_scales(bands, scales)?),
            _ => None,
        };
        read_seconds += clock.elapsed().as_secs_f64();
        let held = (x.len() * 8) as u64 + together.bytes();
        let clock = std::time::Instant::now();
        if let (Some(bands), None) = (&bands, &plan.band_scales) {
            // A search over bands holds a response, its predictions and what each band contributes.
            let most = responses.iter().map(|r| r.columns()).max().unwrap_or(0);
            let whole = (8 * most * (3 * rows + bands.count())) as u64;
            let memory = Some(bound.rest(x.ncols(), held + whole, all.len() + 1)?);
            let options = Options { memory, ..plain.clone() };
            let search = Search { bands, weights: random_weights(bands.count(), plan.draws, plan.seed), folds: &folds };
            let (found, of_bands, report) = search.run(x.view(), &responses, &grid, &options, watch)?;
            fit_seconds += clock.elapsed().as_secs_f64();
            spaces.push(summary(stem(path), found.iter().flat_map(|(.., scores)| scores), report));
            all.push(found);
            shares.extend(of_bands.into_iter().map(|share| (stem(path), share)));
            continue;
        }
        let memory = Some(bound.rest(x.ncols(), held, all.len() + 1)?);
        let options = Options { memory, scale, ..plain.clone() };
        let (found, grids, report) = fit_one(x.view(), &responses, &folds, &grid, &options, watch)?;
        fit_seconds += clock.elapsed().as_secs_f64();
        spaces.push(summary(stem(path), found.iter().flat_map(|(.., scores)| scores), report));
        all.push(found);
        together.keep(x, grids);
    }
    let clock = std::time::Instant::now();
    let (combined, weights) = together.fit(&responses, &folds, &grid, (&plain, &bound), watch)?;
    for (name, found, report) in combined {
        spaces.push(summary(name.clone(), found.iter().flat_map(|(.., scores)| scores), report));
        names.push(name);
        all.push(found);
    }
    fit_seconds += clock.elapsed().as_secs_f64();
    let clock = std::time::Instant::now();
    let mut rows = Vec::new();
    for (space, found) in names.iter().zip(&all) {
        for (response, columns, scores) in found {
            let subject = &subjects[*response];
            rows.extend(columns.clone().zip(scores).map(|(target, s)| Row { space, subject, target, scores: s }));
        }
    }
    scores_table(&rows).write_csv(&folder.path().join("scores.csv"))?;
    folds_table(&rows).write_parquet(&folder.path().join("folds.parquet"))?;
    if !shares.is_empty() {
        bands_table(&shares, &subjects).write_csv(&folder.path().join("bands.csv"))?;
    }
    if !weights.is_empty() {
        weights_table(&weights, &subjects, &names).write_csv(&folder.path().join("stack.csv"))?;
    }
    warning = warning.or_else(|| offload.as_ref().and_then(|o| o.lost().cloned()));
    let summary = ArraySummary {
        feature_spaces: spaces,
        device: offload.as_ref().map_or("cpu".to_owned(), Offload::describe),
        warnings: warning.into_iter().collect(),
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

/// What cannot be had together.
fn check(plan: &ArrayFit) -> Result<()> {
    let refuse = |flag: &str, found: &str, expected: &str| Err(Error::new(Code::Fl02, flag, found).expected(expected));
    match (&plan.bands, &plan.band_scales) {
        (Some(_), _) if plan.components.is_some() => {
            return refuse("--pca", "is given with bands", "one of both: components mix what bands keep apart");
        }
        (Some(_), _) if !plan.combine.is_empty() => {
            return refuse("--combine", "is given with bands", "one of both: bands are those of single feature spaces");
        }
        (Some(_), None) if plan.draws == 0 => return refuse("--draws", "is 0", "at least one weighting of bands"),
        (None, Some(_)) => return refuse("--band-scales", "is given without bands", "the band of each feature"),
        _ => {}
    }
    if plan.components == Some(0) {
        return refuse("--pca", "is 0", "at least one component");
    }
    if plan.x.is_empty() || plan.y.is_empty() {
        return refuse("--x, --y", "are not both given", "features and responses");
    }
    for combine in &plan.combine {
        if let Some(path) = plan.x.iter().find(|path| stem(path) == combine.as_str()) {
            return Err(Error::new(Code::Fl02, "--x", format!("{} has the name of a model of all", path.display()))
                .expected("another name of the file: feature spaces are called after their files in all tables")
                .hint("Rename it, or leave out --combine"));
        }
    }
    Ok(())
}

/// Scores of one feature space for every response, in their order; and the alphas that were searched for each.
pub(super) fn fit_one(
    x: ArrayView2<'_, f64>,
    responses: &[&dyn Targets],
    folds: &Folds,
    grid: &AlphaGrid,
    options: &Options,
    watch: &dyn Watch,
) -> Result<(Vec<Scored>, Vec<AlphaGrid>, Report)> {
    let found: Mutex<(Vec<Scored>, Vec<AlphaGrid>)> = Mutex::new((Vec::new(), vec![grid.clone(); responses.len()]));
    let receive = |part: Fitted| {
        let scores = score(part.y.view(), &part.fit, folds);
        let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.0.push((part.response, part.columns, scores));
        found.1[part.response] = part.fit.grid;
        Ok(())
    };
    let report = engine::fit_blocks(x, responses, folds, grid, options, watch, &receive)?;
    let (mut found, grids) = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(response, columns, _)| (*response, columns.start));
    Ok((found, grids, report))
}

/// Responses in memory, or read from their file in blocks of targets.
enum Response {
    Held(Array2<f64>),
    InFile(npy::Columns),
}

impl Response {
    fn bytes(&self) -> u64 {
        match self {
            Response::Held(y) => (y.len() * 8) as u64,
            Response::InFile(_) => 0,
        }
    }
}

impl Targets for Response {
    fn columns(&self) -> usize {
        match self {
            Response::Held(y) => y.ncols(),
            Response::InFile(columns) => columns.dim().1,
        }
    }

    fn read(&self, columns: Range<usize>) -> Result<Array2<f64>> {
        match self {
            Response::Held(y) => y.view().read(columns),
            Response::InFile(file) => file.read(columns),
        }
    }
}

/// Opens all responses; those that do not fit into a quarter of the memory together stay in their files.
fn open_responses(paths: &[PathBuf], rows: usize, memory: u64) -> Result<Vec<Response>> {
    let mut open = Vec::new();
    for path in paths {
        let columns = npy::Columns::open(path)?;
        has_rows(path, columns.dim().0, rows)?;
        columns.check_finite()?;
        open.push(columns);
    }
    let bytes: u64 = open.iter().map(|c| (c.dim().0 * c.dim().1 * 8) as u64).sum();
    let hold = bytes <= memory / 4;
    open.into_iter()
        .map(|columns| {
            Ok(if hold { Response::Held(columns.read(0..columns.dim().1)?) } else { Response::InFile(columns) })
        })
        .collect()
}

pub(super) fn read(path: &Path) -> Result<Array2<f64>> {
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
    has_rows(path, array.nrows(), rows)?;
    Ok(array)
}

fn has_rows(path: &Path, found: usize, rows: usize) -> Result<()> {
    if found == rows {
        return Ok(());
    }
    Err(Error::new(Code::Rs07, path.display(), format!("has {found} rows"))
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
        ("alpha_at_edge", real(&|s| s.alpha_median.map(|_| s.alpha_at_edge))),
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
