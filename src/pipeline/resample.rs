//! Word features → features of volumes.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2};

use crate::error::{Code, Error, Problems, Result, Warning};
use crate::features::{Method, Timeline, Words, delay, resample as to_volumes};
use crate::io::npy;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct ResampleSpec {
    /// Table of the words (`onset`, `offset`).
    pub words: PathBuf,
    /// Words × features (`.npy`).
    pub features: PathBuf,
    /// Volumes and runs.
    pub timeline: Timeline,
    /// Way from words to volumes.
    pub method: Method,
    /// Delays in seconds; none for the features as they are.
    pub delays: Vec<f64>,
    /// The array to be written.
    pub out: PathBuf,
}

/// What was written.
#[derive(Debug)]
pub struct ResampledFiles {
    /// Volumes and features.
    pub shape: [usize; 2],
    /// The array that marks valid rows, with delays only.
    pub valid: Option<PathBuf>,
    /// Rows whose every delayed sample lies within its run.
    pub n_valid: usize,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

/// Writes the features of volumes as float64 (volumes × features); with delays also `<out>_valid.npy`, one boolean per row.
///
/// # Errors
/// All problems of the inputs at once, before anything is written.
pub fn resample(spec: &ResampleSpec) -> std::result::Result<ResampledFiles, Problems> {
    let mut problems = Vec::new();
    let words = Words::read(&spec.words).map_err(|e| problems.push(e)).ok();
    let features = read_features(&spec.features).map_err(|e| problems.push(e)).ok();
    if spec.method == Method::Hrf && !spec.delays.is_empty() {
        problems.push(
            Error::new(Code::Fl02, "--delays", "given beside --method hrf")
                .expected("delays or a response, which delays by itself"),
        );
    }
    let valid_place = valid_place(&spec.out).map_err(|e| problems.push(e)).ok();
    let (Some(words), Some(features), Some(valid_place), true) = (words, features, valid_place, problems.is_empty())
    else {
        return Err(Problems::from_list(problems));
    };
    let place = spec.words.display().to_string();
    let done = to_volumes(&words, features.view(), &spec.timeline, spec.method, &place)?;
    let (x, valid) = if spec.delays.is_empty() {
        (done.x, None)
    } else {
        let (x, valid) = delay(&done.x, &spec.timeline, &spec.delays)?;
        (x, Some(valid))
    };
    npy::write(&spec.out, x.view())?;
    let n_valid = valid.as_ref().map_or(x.nrows(), |v| v.iter().filter(|v| **v).count());
    let written = match valid {
        Some(valid) => {
            npy::write(&valid_place, Array1::from(valid).view())?;
            Some(valid_place)
        }
        None => None,
    };
    let warnings = done.warning.into_iter().collect();
    Ok(ResampledFiles { shape: [x.nrows(), x.ncols()], valid: written, n_valid, warnings })
}

fn read_features(path: &Path) -> Result<Array2<f64>> {
    let (features, _) = npy::read(path)?;
    if let Some(((row, column), value)) = features.indexed_iter().find(|(_, v)| !v.is_finite()) {
        let found = format!("row {row}, column {column} holds {value}");
        return Err(Error::new(Code::Rs08, path.display(), found).expected("finite features"));
    }
    Ok(features)
}

/// `X_valid.npy` beside `X.npy`.
fn valid_place(out: &Path) -> Result<PathBuf> {
    let stem = out.file_stem().filter(|_| out.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")));
    match stem {
        Some(stem) => {
            let mut name = stem.to_owned();
            name.push("_valid.npy");
            Ok(out.with_file_name(name))
        }
        None => Err(Error::new(Code::Fl02, "--out", out.display()).expected("a file name that ends in .npy")),
    }
}
