use std::path::PathBuf;

use clap::{Subcommand, ValueHint};
use serde_json::json;

use super::messages::{note, say};
use super::progress::Progress;
use crate::atlas::{Entry, registry};
use crate::error::Problems;
use crate::store::default_cache_folder;

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore atlas list
  brainscore atlas show difumo-1024
  brainscore atlas fetch difumo-1024 --out atlases
      Downloads into atlases/difumo-1024; a transfer that was cut goes on where it stopped.
  brainscore atlas neurosynth --database neurosynth-v7 --recipe tom --out tom.nii.gz
      Computes the map of theory of mind from a database of studies.
Nothing else of this program downloads an atlas: any maps and labels can be given by their files.";

#[derive(Debug, clap::Args)]
pub(super) struct AtlasArgs {
    #[command(subcommand)]
    pub action: Action,
    /// A registry of your own (.toml) beside the program's.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub registry: Option<PathBuf>,
    /// Print the result as JSON on standard output.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the atlases that can be fetched.
    List,
    /// Say where an atlas comes from, what may be done with it, and what it looks like.
    Show {
        /// Its name.
        name: String,
    },
    /// Download an atlas.
    Fetch {
        /// Its name.
        name: String,
        /// Folder for it [default: atlases in the cache].
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
    /// Compute a meta-analytic map (MKDA) from a database of studies: NeuroSynth, or NeuroQuery.
    #[command(after_help = super::neurosynth::EXAMPLES)]
    Neurosynth(Box<super::neurosynth::NeurosynthArgs>),
}

/// Runs the command.
pub(super) fn run(args: &AtlasArgs) -> Result<(), Problems> {
    if let Action::Neurosynth(wanted) = &args.action {
        return super::neurosynth::run(wanted, args.json);
    }
    let all = registry(args.registry.as_deref())?;
    match &args.action {
        Action::List if args.json => say(&json!(all).to_string()),
        Action::List => {
            for entry in &all {
                let maps = entry.maps.map_or(String::new(), |n| format!("{n} maps, "));
                say(&format!("{:<14} {maps}{}; licence: {}", entry.name, entry.space, entry.licence));
            }
        }
        Action::Show { name } => show(&Entry::named(&all, name)?, args.json),
        Action::Fetch { name, out } => {
            let entry = Entry::named(&all, name)?;
            let folder = match out {
                Some(folder) => folder.clone(),
                None => default_cache_folder()?.join("atlases"),
            };
            note(&format!("licence: {}", entry.licence));
            let (folder, files) = entry.fetch(&folder, &Progress::new())?;
            if args.json {
                say(&json!({"folder": folder.display().to_string(), "files": files}).to_string());
            } else {
                for file in &files {
                    let checked = if file.verified { "verified" } else { "no checksum is published; recorded" };
                    say(&format!("{}: {} ({checked})", file.file, file.sha256));
                }
                say(&folder.display().to_string());
            }
        }
        // Needs no registry.
        Action::Neurosynth(_) => {}
    }
    Ok(())
}

fn show(entry: &Entry, json: bool) {
    if json {
        say(&json!(entry).to_string());
        return;
    }
    say(&format!("name      {}", entry.name));
    say(&format!("licence   {}", entry.licence));
    say(&format!("citation  {}", entry.citation));
    say(&format!("space     {}", entry.space));
    if let Some(maps) = entry.maps {
        say(&format!("maps      {maps}"));
    }
    if let (Some([x, y, z]), Some(edge)) = (entry.grid, entry.voxel_mm) {
        say(&format!("grid      {x} × {y} × {z}, {edge} mm"));
    }
    if !entry.labels.is_empty() {
        say(&format!("labels    one row per map: {}", entry.labels.join(", ")));
    }
    for file in &entry.files {
        let digest = file.sha256.map_or("no published checksum".to_owned(), |d| format!("sha256 {d}"));
        say(&format!("file      {} from {} ({digest})", file.file, file.url));
    }
}
