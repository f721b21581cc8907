use std::path::PathBuf;

use clap::{ArgAction, ValueEnum, ValueHint};
use serde_json::json;

use super::commands::{threads, warnings};
use super::messages::{note, say};
use super::progress::Progress;
use crate::atlas::Interpolation;
use crate::bold::{Cleaning, Filter, Selection, Standardize, Strategy};
use crate::compute::device::Device;
use crate::error::{Code, Error, Problems, Status, Warning};
use crate::pipeline::{self, ParcellateSpec, Parcellated};
use crate::store::default_cache_folder;

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore parcellate sub-01_bold.nii.gz --atlas maps.nii.gz --mask mask.nii.gz --out parcels
      Writes parcels/sub-01_bold_parcels.npy, .parquet and .json.
  brainscore parcellate run-1_bold.nii.gz run-2_bold.nii.gz --atlas maps.nii.gz --labels labels.csv \\
      --confounds run-1_confounds.tsv --confounds run-2_confounds.tsv --strategy motion6+wm_csf+global \\
      --smooth 3 --detrend --high-pass 0.008 --standardize zscore_sample --out parcels
      Cleans two runs as a first-level analysis would; each run has its confounds, in the same order.";

#[derive(Debug, clap::Args)]
pub(super) struct ParcellateArgs {
    /// BOLD runs (.nii or .nii.gz), in the space of the atlas.
    #[arg(value_name = "BOLD", required = true, value_hint = ValueHint::FilePath)]
    pub bold: Vec<PathBuf>,
    /// 4-D soft maps, or a 3-D image of labels.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub atlas: PathBuf,
    /// Names of the parcels: a table, or a .txt file with one name per line.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub labels: Option<PathBuf>,
    /// Voxels that count; resampled to the run's grid by the nearest voxel.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub mask: Option<PathBuf>,
    /// Table of confounds, fMRIPrep's names; once per run, in their order.
    #[arg(long, value_name = "TSV", action = ArgAction::Append, value_hint = ValueHint::FilePath)]
    pub confounds: Vec<PathBuf>,
    /// Confounds to remove: motion6, motion24, wm_csf, global, joined by +.
    #[arg(long, value_name = "NAMES", requires = "confounds", conflicts_with = "confound_columns")]
    pub strategy: Option<String>,
    /// Columns of the confounds to remove.
    #[arg(long, value_name = "A,B,C", requires = "confounds", value_delimiter = ',')]
    pub confound_columns: Option<Vec<String>>,
    /// Leave out volumes of more framewise displacement than this (mm).
    #[arg(long, value_name = "MM", requires = "confounds")]
    pub scrub: Option<f64>,
    /// Smooth by a Gaussian of this full width at half maximum (mm) before extraction.
    #[arg(long, value_name = "MM")]
    pub smooth: Option<f64>,
    /// Remove mean and straight line.
    #[arg(long)]
    pub detrend: bool,
    /// Remove what is slower than this (Hz).
    #[arg(long, value_name = "HZ")]
    pub high_pass: Option<f64>,
    /// How the high-pass is done.
    #[arg(long, value_enum, default_value = "butterworth")]
    pub filter: FilterArg,
    /// How the series are scaled in the end.
    #[arg(long, value_enum, default_value = "none")]
    pub standardize: StandardizeArg,
    /// Seconds between volumes [default: the sidecar's, else the header's].
    #[arg(long, value_name = "S")]
    pub tr: Option<f64>,
    /// How soft maps come to a run's grid.
    #[arg(long, value_enum, default_value = "trilinear")]
    pub interpolation: InterpolationArg,
    /// What multiplies volumes by maps of at least 8 weights per voxel: cpu; cuda (all NVIDIA cards) or cuda:N, and nothing
    /// else; or auto: cards where there are some, else the CPU with a warning.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Directory for the results; complete ones of the same inputs and settings are left as they are.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Where factorised atlases are kept [default: $BRAINSCORE_CACHE, else the user's cache directory].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache: Option<PathBuf>,
    /// Neither read nor keep a factorised atlas.
    #[arg(long, conflicts_with = "cache")]
    pub no_cache: bool,
    /// Number of threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FilterArg {
    /// Butterworth of order 5, forwards and backwards.
    Butterworth,
    /// Discrete cosines among the confounds.
    Cosine,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum StandardizeArg {
    /// Not at all.
    None,
    /// Mean 0, sample standard deviation 1.
    ZscoreSample,
    /// Mean 0, population standard deviation 1.
    Zscore,
    /// Per cent of the mean.
    Psc,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum InterpolationArg {
    /// Linear along each axis.
    Trilinear,
    /// The nearest voxel's value.
    Nearest,
}

/// Runs the command.
pub(super) fn run(args: &ParcellateArgs) -> Result<Option<Status>, Problems> {
    threads(args.threads)?;
    let done = pipeline::parcellate(&spec(args)?, &Progress::new())?;
    let mut all: Vec<Warning> = done.runs.iter().flat_map(|r| r.warnings.iter().cloned()).collect();
    let mut seen = std::collections::HashSet::new();
    all.retain(|w| seen.insert(w.to_string()));
    warnings(&all);
    for error in &done.failed {
        note(&format!("error: {error}"));
    }
    if args.json {
        say(&as_json(&done).to_string())
    } else {
        told(&done)
    }
    Ok((!done.failed.is_empty()).then_some(Status::Partial))
}

fn spec(args: &ParcellateArgs) -> Result<ParcellateSpec, Error> {
    let selection = match (&args.strategy, &args.confound_columns) {
        (Some(strategy), _) => Selection::Strategies(Strategy::parse_list(strategy)?),
        (None, Some(columns)) => Selection::Columns(columns.iter().map(|c| c.trim().to_owned()).collect()),
        (None, None) if !args.confounds.is_empty() && args.scrub.is_none() => {
            return Err(Error::new(Code::Fl02, "--confounds", "no columns were chosen")
                .expected("--strategy or --confound-columns beside it"));
        }
        (None, None) => Selection::Columns(Vec::new()),
    };
    Ok(ParcellateSpec {
        bold: args.bold.clone(),
        atlas: args.atlas.clone(),
        labels: args.labels.clone(),
        mask: args.mask.clone(),
        confounds: args.confounds.clone(),
        selection,
        scrub: args.scrub,
        smoothing: args.smooth.filter(|mm| *mm != 0.0),
        cleaning: Cleaning {
            detrend: args.detrend,
            high_pass: args.high_pass,
            filter: match args.filter {
                FilterArg::Butterworth => Filter::Butterworth,
                FilterArg::Cosine => Filter::Cosine,
            },
            standardize: match args.standardize {
                StandardizeArg::None => Standardize::None,
                StandardizeArg::ZscoreSample => Standardize::ZscoreSample,
                StandardizeArg::Zscore => Standardize::Zscore,
                StandardizeArg::Psc => Standardize::Psc,
            },
        },
        repetition_time: args.tr,
        interpolation: match args.interpolation {
            InterpolationArg::Trilinear => Interpolation::Trilinear,
            InterpolationArg::Nearest => Interpolation::Nearest,
        },
        device: args.device,
        out: args.out.clone(),
        // Without a home there is no cache, and every run factorises anew.
        cache: (!args.no_cache).then(|| args.cache.clone().or_else(|| default_cache_folder().ok())).flatten(),
    })
}

fn told(done: &Parcellated) {
    for run in &done.runs {
        let [volumes, parcels] = run.shape;
        let kept = if run.skipped { " (already there)" } else { "" };
        say(&format!("{}: {volumes} volumes × {parcels} parcels{kept}", run.array.display()));
    }
}

fn as_json(done: &Parcellated) -> serde_json::Value {
    let runs: Vec<_> = done
        .runs
        .iter()
        .map(|run| {
            json!({
                "run": run.bold.display().to_string(),
                "array": run.array.display().to_string(),
                "volumes": run.shape[0],
                "parcels": run.shape[1],
                "skipped": run.skipped,
                "warnings": run.warnings,
            })
        })
        .collect();
    let failed: Vec<_> = done
        .failed
        .iter()
        .map(|e| json!({"code": e.code().as_str(), "place": e.place(), "message": e.to_string()}))
        .collect();
    json!({ "runs": runs, "errors": failed })
}
