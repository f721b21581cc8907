use std::path::PathBuf;

use clap::{ValueEnum, ValueHint};
use serde_json::json;

use super::commands::warnings;
use super::messages::say;
use crate::error::Problems;
use crate::features::{Method, Timeline};
use crate::pipeline::{self, ResampleSpec};

pub(super) const EXAMPLES: &str = "\
Example:
  brainscore resample --words story.tsv --features layer_8.npy --tr 2 --volumes 362 \\
      --method lanczos --delays 2,4,6,8 --out X.npy
      Writes X.npy (volumes × four delays of each feature) and X_valid.npy (rows that belong in a fit).";

#[derive(Debug, clap::Args)]
pub(super) struct ResampleArgs {
    /// Table of the words: columns onset and offset, in seconds.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub words: PathBuf,
    /// Features of the words (.npy), one row per word.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub features: PathBuf,
    /// Seconds between volumes.
    #[arg(long, value_name = "S")]
    pub tr: f64,
    /// Number of volumes.
    #[arg(long, value_name = "N")]
    pub volumes: usize,
    /// When the first volume begins, on the words' clock (s).
    #[arg(long, value_name = "S", default_value_t = 0.0, allow_negative_numbers = true)]
    pub first_volume: f64,
    /// First volume of each run, from 0.
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub run_starts: Vec<usize>,
    /// How words become volumes.
    #[arg(long, value_enum)]
    pub method: MethodArg,
    /// Delays in seconds: one block of columns for each, in this order.
    #[arg(long, value_name = "S,S,…", value_delimiter = ',')]
    pub delays: Vec<f64>,
    /// The array to write (.npy).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum MethodArg {
    /// The sum over words whose middle lies in the volume.
    Sum,
    /// Their mean; 0 where there is no word.
    Mean,
    /// Lanczos interpolation, 3 lobes, cutoff 1 / TR.
    Lanczos,
    /// Convolution with the SPM canonical response.
    Hrf,
}

/// Runs the command.
pub(super) fn run(args: &ResampleArgs) -> Result<(), Problems> {
    let done = pipeline::resample(&ResampleSpec {
        words: args.words.clone(),
        features: args.features.clone(),
        timeline: Timeline::new(args.tr, args.first_volume, args.volumes, &args.run_starts)?,
        method: match args.method {
            MethodArg::Sum => Method::Sum,
            MethodArg::Mean => Method::Mean,
            MethodArg::Lanczos => Method::Lanczos,
            MethodArg::Hrf => Method::Hrf,
        },
        delays: args.delays.clone(),
        out: args.out.clone(),
    })?;
    warnings(&done.warnings);
    let [volumes, features] = done.shape;
    let out = args.out.display().to_string();
    if args.json {
        let valid = done.valid.as_ref().map(|v| v.display().to_string());
        say(&json!({"out": out, "volumes": volumes, "features": features, "valid": valid, "n_valid": done.n_valid})
            .to_string());
    } else {
        say(&format!("{out}: {volumes} volumes × {features} features"));
        if let Some(valid) = &done.valid {
            say(&format!("{}: {} of {volumes} rows are valid", valid.display(), done.n_valid));
        }
    }
    Ok(())
}
