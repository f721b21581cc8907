use std::path::PathBuf;

use clap::{ArgGroup, ValueHint};
use serde_json::json;

use super::commands::warnings;
use super::messages::say;
use super::progress::Progress;
use crate::atlas::neurosynth::{Recipe, Selection};
use crate::error::Problems;
use crate::pipeline::{self, NeurosynthMade, NeurosynthSpec};

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore atlas fetch neurosynth-v7 --out databases
  brainscore atlas neurosynth --database databases/neurosynth-v7 --recipe tom --out tom.nii.gz
      Recipes: tom, language, vision (topics 8, 37, 42 of NeuroSynth's 50) and moral (terms of NeuroQuery).
  brainscore atlas neurosynth --database neuroquery --term moral --term morality --mask mask.nii.gz --out moral.nii.gz
  brainscore atlas neurosynth --database neuroquery --regex '^memory' --threshold 1 --out memory.nii.gz
Writes MAP.nii.gz (association z), MAP_fdr-0.01.nii.gz (0 where the false discovery rate does not call it),
MAP_uniformity.nii.gz, MAP_uniformity_fdr-0.01.nii.gz, MAP_peaks.csv, MAP_studies.csv (PubMed ids) and MAP.json.";

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("selection").required(true).multiple(false).args(["recipe", "topic", "term", "regex"]))]
pub(super) struct NeurosynthArgs {
    /// Folder with the files of the database: data-…_metadata.tsv.gz, data-…_coordinates.tsv.gz, features, vocabulary.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub database: PathBuf,
    /// tom, moral, language or vision.
    #[arg(long, value_name = "NAME", value_parser = recipe)]
    pub recipe: Option<Recipe>,
    /// Studies that load on this topic.
    #[arg(long, value_name = "NUMBER")]
    pub topic: Option<usize>,
    /// Studies that use this term, as the vocabulary writes it; repeat for any of several.
    #[arg(long, value_name = "TERM")]
    pub term: Vec<String>,
    /// Studies that use any term which this regular expression matches.
    #[arg(long, value_name = "EXPRESSION")]
    pub regex: Option<String>,
    /// Part of the names of the feature files to use, where the database has several vocabularies.
    #[arg(long, value_name = "PART")]
    pub features: Option<String>,
    /// What a topic's weight, a count or a tf-idf must exceed [default: 0.1, 0, 0.001].
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Voxels that count, and the grid of the maps [default: FSL's 2 mm MNI grid, the voxels where at least 0.2 % of all
    /// studies are active].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub mask: Option<PathBuf>,
    /// False discovery rate of the thresholded maps and of the peaks.
    #[arg(long, value_name = "Q", default_value_t = 0.01, allow_negative_numbers = true)]
    pub fdr: f64,
    /// Peaks lie more than this apart (mm).
    #[arg(long, value_name = "MM", default_value_t = 14.0, allow_negative_numbers = true)]
    pub apart: f64,
    /// The association map; the other files are named after it.
    #[arg(long, value_name = "MAP.nii.gz", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// Replace files of these names.
    #[arg(long)]
    pub overwrite: bool,
}

fn recipe(text: &str) -> Result<Recipe, String> {
    Recipe::ALL.into_iter().find(|r| r.name == text).ok_or_else(|| {
        let names: Vec<&str> = Recipe::ALL.iter().map(|r| r.name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Runs the command.
pub(super) fn run(args: &NeurosynthArgs, json: bool) -> Result<(), Problems> {
    let selection = match (args.recipe, args.topic, &args.regex) {
        (Some(recipe), ..) => Selection::Recipe(recipe),
        (_, Some(topic), _) => Selection::Topic(topic),
        (.., Some(expression)) => Selection::Regex(expression.clone()),
        _ => Selection::Terms(args.term.clone()),
    };
    let made = pipeline::neurosynth(
        &NeurosynthSpec {
            database: args.database.clone(),
            selection,
            features: args.features.clone(),
            threshold: args.threshold,
            mask: args.mask.clone(),
            q: args.fdr,
            apart: args.apart,
            out: args.out.clone(),
            overwrite: args.overwrite,
        },
        &Progress::new(),
    )?;
    warnings(&made.warnings);
    if json {
        say(&json!(made).to_string())
    } else {
        told(&made, args)
    }
    Ok(())
}

fn told(made: &NeurosynthMade, args: &NeurosynthArgs) {
    say(&format!("database    {}: {} studies, {} peaks", made.database, made.n_studies, made.n_peaks));
    say(&format!(
        "selection   {} studies: {} > {}",
        made.n_selected,
        crate::error::first_five(&made.matched),
        made.threshold
    ));
    say(&format!("mask        {} {}", made.n_voxels, made.mask));
    let limits = &made.association;
    say(&format!("association z from {:.2} to {:.2}", limits.z_min, limits.z_max));
    match (limits.fdr.p, limits.fdr.z) {
        (Some(p), Some(z)) => say(&format!(
            "FDR {}    |z| ≥ {z:.3} (p ≤ {p:.2e}): {} voxels above 0, {} below",
            limits.fdr.q, limits.fdr.n_positive, limits.fdr.n_negative
        )),
        _ => say(&format!("FDR {}    no voxel", limits.fdr.q)),
    }
    for peak in made.peaks.iter().take(8) {
        let [x, y, z] = peak.place;
        say(&format!("peak        ({x:.0}, {y:.0}, {z:.0}) z = {:.1}", peak.z));
    }
    say(&args.out.display().to_string());
}
