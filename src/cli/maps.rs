use std::path::PathBuf;

use clap::ValueHint;
use serde_json::json;

use super::commands::{threads, warnings};
use super::messages::say;
use super::progress::Progress;
use crate::error::Problems;
use crate::pipeline::{self, MapsSpec, SurfaceFiles};

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore maps results --atlas difumo-64.nii.gz --labels labels.csv
      Writes results/maps: images (NIfTI), pictures (SVG, PNG), maps.csv, maps.json; puts the pictures into the report.
  brainscore maps results --atlas maps.nii.gz --surface lh.pial.surf.gii,rh.pial.surf.gii \\
      --white lh.white.surf.gii,rh.white.surf.gii --draw-on lh.inflated.surf.gii,rh.inflated.surf.gii --out maps
      Also samples every map halfway between both surfaces (GIFTI .func.gii) and draws it on inflated ones.";

#[derive(Debug, clap::Args)]
pub(super) struct MapsArgs {
    /// The directory of a finished run.
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub run: PathBuf,
    /// The atlas whose parcels are the run's targets: 4-D soft maps, or a 3-D image of labels.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub atlas: PathBuf,
    /// Names of the parcels: a table, or a .txt file with one name per line.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub labels: Option<PathBuf>,
    /// Surfaces at whose vertices the maps are sampled, in the atlas's space.
    #[arg(long, value_name = "LEFT,RIGHT", value_parser = pair, value_hint = ValueHint::FilePath)]
    pub surface: Option<Pair>,
    /// The inner border of the cortex: maps are then sampled halfway between it and --surface.
    #[arg(long, value_name = "LEFT,RIGHT", value_parser = pair, requires = "surface", value_hint = ValueHint::FilePath)]
    pub white: Option<Pair>,
    /// Surfaces that pictures are drawn on [default: those of --surface].
    #[arg(long, value_name = "LEFT,RIGHT", value_parser = pair, requires = "surface", value_hint = ValueHint::FilePath)]
    pub draw_on: Option<Pair>,
    /// False discovery rate of the masked differences.
    #[arg(long, value_name = "Q", default_value_t = pipeline::USUAL_RATE, allow_negative_numbers = true)]
    pub fdr: f64,
    /// New directory for the maps [default: maps in RUN, and pictures in its report].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Replace maps that are there.
    #[arg(long)]
    pub overwrite: bool,
    /// Number of threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Files of the left and the right half.
#[derive(Debug, Clone)]
pub(super) struct Pair([PathBuf; 2]);

fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once(',') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(',') => {
            Ok(Pair([PathBuf::from(left), PathBuf::from(right)]))
        }
        _ => Err("expected two files, LEFT,RIGHT".to_owned()),
    }
}

/// Runs the command.
pub(super) fn run(args: &MapsArgs) -> Result<(), Problems> {
    threads(args.threads)?;
    let files = |pair: &Option<Pair>| pair.as_ref().map(|p| p.0.clone());
    let spec = MapsSpec {
        run: args.run.clone(),
        atlas: args.atlas.clone(),
        labels: args.labels.clone(),
        surfaces: files(&args.surface).map(|at| SurfaceFiles {
            at,
            white: files(&args.white),
            draw: files(&args.draw_on),
        }),
        q: args.fdr,
        out: args.out.clone(),
        overwrite: args.overwrite,
    };
    let made = pipeline::maps(&spec, &Progress::new())?;
    warnings(&made.record.warnings);
    if args.json {
        say(&json!(made).to_string());
        return Ok(());
    }
    for map in &made.record.maps {
        let range = match (map.low, map.high) {
            (Some(low), Some(high)) => format!("{low:.4} to {high:.4}"),
            _ => "nowhere defined".to_owned(),
        };
        let gaps = match map.undefined_parcels {
            0 => String::new(),
            n => format!(", {n} parcels undefined"),
        };
        say(&format!("{}: {range}{gaps}", map.file));
    }
    say(&made.folder.display().to_string());
    Ok(())
}
