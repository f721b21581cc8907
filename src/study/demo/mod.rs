//! The built-in demo study: invented scenarios, two small checkpoints, and responses in which one layer of one
//! checkpoint is planted at a known strength. Nothing is downloaded.
//!
//! It is written as ordinary files and run like any study, so it doubles as the example of every format and as a test of
//! the whole program: the run must find what was planted. It is not for learning anything about brains.
//!
//! **Same bytes everywhere.** All draws come from ChaCha8 with fixed seeds. The planted signal is computed by a plain
//! float64 forward pass of the demo's own, so that the rounding of a machine's BLAS lies some eight digits below the four
//! decimals that are written.

mod model;
mod plant;
mod regions;
mod texts;
mod tokens;

#[cfg(test)]
mod tests;

use std::path::Path;

use ndarray::Array2;

use crate::compute::cpu::single_threaded_blas;
use crate::encoder::{Checkpoint, CheckpointSpec, Place, Source};
use crate::error::{Code, Error, Result};
use crate::ids::{Layer, TargetId};
use crate::io::{atomic, disk};
use crate::record::Planted;
use model::Model;
use texts::Scenario;

/// The study file inside the demo's folder.
pub const STUDY: &str = "study.toml";
/// The checkpoints as a user in the demo's folder writes them; the first one is the reference.
pub const ARGUMENTS: [&str; 3] =
    ["base=checkpoints/base", "tuned=checkpoints/tuned", "untrained=untrained:0:checkpoints/base"];

const BASE: &str = "base";
const TUNED: &str = "tuned";
const UNTRAINED: (&str, u64) = ("untrained", 0);

/// The checkpoints of [`ARGUMENTS`] for a demo in `folder`, wherever the program runs.
pub fn checkpoints(folder: &Path) -> Vec<CheckpointSpec> {
    let spec = |label: &str, name: &str, untrained| CheckpointSpec {
        label: label.to_owned(),
        source: Source { untrained, place: Place::Folder(folder.join("checkpoints").join(name)) },
    };
    vec![spec(BASE, BASE, None), spec(TUNED, TUNED, None), spec(UNTRAINED.0, BASE, Some(UNTRAINED.1))]
}

/// Writes the demo study into an existing, empty folder and says what is planted in it.
///
/// # Errors
/// `IO-01` when the folder cannot be written.
pub fn write(folder: &Path) -> Result<Planted> {
    single_threaded_blas();
    let scenarios = texts::scenarios();
    let vocabulary = tokens::vocabulary(scenarios.iter().map(|s| s.text.as_str()));
    let base = Model::base(vocabulary.len());
    let tuned = base.tuned();
    for (name, model) in [(BASE, &base), (TUNED, &tuned)] {
        let place = folder.join("checkpoints").join(name);
        create(&place)?;
        let config = include_str!("files/config.json").replace("\"VOCAB_SIZE\"", &vocabulary.len().to_string());
        atomic::write(&place.join("config.json"), config.as_bytes())?;
        atomic::write(&place.join("tokenizer.json"), tokens::tokenizer(&vocabulary).as_bytes())?;
        atomic::write(&place.join("tokenizer_config.json"), include_bytes!("files/tokenizer_config.json"))?;
        atomic::write(&place.join("model.safetensors"), &model.to_bytes()?)?;
    }
    atomic::write(&folder.join("stimuli.csv"), stimuli(&scenarios).as_bytes())?;

    let driver = driver(folder, &tuned, &scenarios)?;
    let words: Vec<f64> = scenarios.iter().map(|s| s.text.split_whitespace().count() as f64).collect();
    create(&folder.join("responses"))?;
    for subject in 1..=plant::SUBJECTS {
        let y = plant::responses(subject, &driver, &words);
        let path = folder.join("responses").join(format!("sub-{subject:02}.csv"));
        atomic::write(&path, responses(&scenarios, &y).as_bytes())?;
    }
    regions::write(folder)?;
    atomic::write(&folder.join("README.md"), include_bytes!("files/README.md"))?;
    atomic::write(&folder.join(STUDY), include_bytes!("files/study.toml"))?;
    Ok(Planted {
        checkpoint: TUNED.to_owned(),
        layer: Layer(plant::LAYER),
        targets: plant::driven().map(|p| TargetId::from(parcel(p))).collect(),
        signal_share: plant::SIGNAL_SHARE,
        roi: Some(regions::TOM.to_owned()),
    })
}

/// What drives the planted parcels, from the pooled states of the planted layer.
fn driver(folder: &Path, tuned: &Model, scenarios: &[Scenario]) -> Result<plant::Driver> {
    let spec = checkpoints(folder).swap_remove(1);
    let defect = |problems: Vec<Error>| {
        problems.into_iter().next().unwrap_or_else(|| Error::new(Code::In01, folder.display(), "changed while in use"))
    };
    let opened = Checkpoint::open(&spec).map_err(defect)?;
    let texts: Vec<&str> = scenarios.iter().map(|s| s.text.as_str()).collect();
    let ids: Vec<&str> = scenarios.iter().map(|s| s.id.as_str()).collect();
    let tokens = opened.tokenize(&texts, &ids).map_err(defect)?;
    let layers = tuned.pooled(tokens.iter().map(|t| t.ids.as_slice()));
    plant::Driver::new(&layers[plant::LAYER])
}

fn create(folder: &Path) -> Result<()> {
    disk::create_dir_all(folder).map_err(|e| atomic::write_error(folder, "creating", e))
}

/// The name of a parcel, counted from 1.
fn parcel(number: usize) -> String {
    format!("parcel_{number:02}")
}

fn stimuli(scenarios: &[Scenario]) -> String {
    let mut csv = "stimulus_id,text,group,condition,position\n".to_owned();
    for s in scenarios {
        // No text holds a quotation mark; commas are many.
        csv += &format!("{},\"{}\",{},{},{}\n", s.id, s.text, s.group, s.condition, s.position);
    }
    csv
}

fn responses(scenarios: &[Scenario], y: &Array2<f64>) -> String {
    let mut csv = "stimulus_id".to_owned();
    for p in 1..=y.ncols() {
        csv += &format!(",{}", parcel(p));
    }
    for (scenario, row) in scenarios.iter().zip(y.rows()) {
        csv += &format!("\n{}", scenario.id);
        for value in row {
            csv += &format!(",{value:.4}");
        }
    }
    csv + "\n"
}
