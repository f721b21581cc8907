//! Hidden states of texts as files, for whoever wants the features themselves.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ndarray::ArrayView3;
use safetensors::tensor::{Dtype, TensorView};

use super::states::extract;
use crate::compute::cpu::single_threaded_blas;
use crate::encoder::{Checkpoint, CheckpointSpec, Pooling, Tokens};
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::ids::Layer;
use crate::io::table::{Output, OutputTable, Table};
use crate::io::{atomic, bounded, npy};
use crate::store::{RunDir, StateCache};
use crate::study::LayerSelection;
use crate::watch::Watch;

/// What is written of every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// One vector per text and layer.
    Pooled(Pooling),
    /// The states of every token.
    Tokens,
}

/// What to extract.
#[derive(Debug, Clone)]
pub struct ExtractPlan {
    /// The checkpoint.
    pub checkpoint: CheckpointSpec,
    /// A file of texts: `.txt` line by line, `.csv`/`.tsv`/`.parquet` with a column `text`, or a `.json` list.
    pub texts: PathBuf,
    /// What is written.
    pub want: Want,
    /// Which layers.
    pub layers: LayerSelection,
    /// Where to.
    pub out: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Number of texts.
    pub texts: usize,
    /// Number of tokens, special ones included.
    pub tokens: usize,
    /// The layers.
    pub layers: Vec<Layer>,
    /// Width of a state.
    pub width: usize,
    /// Seconds that tokenising and the forward passes took, without loading the weights.
    pub seconds: f64,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

/// Extracts hidden states into a new directory: `features.npy` (layers, texts, width; float32), `layer_names.json` and
/// `rows.csv`; or, for all tokens, `hidden_states.safetensors` with `ids_i` (tokens; int64) and `states_i` (layers,
/// tokens, width; float32) for text i.
///
/// # Errors
/// All problems of checkpoint and texts at once.
pub fn extract_to_files(
    plan: &ExtractPlan,
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> std::result::Result<Extracted, Problems> {
    single_threaded_blas();
    RunDir::check(&plan.out, false)?;
    let texts = read_texts(&plan.texts);
    let checkpoint = Checkpoint::open(&plan.checkpoint);
    let (texts, checkpoint) = match (texts, checkpoint) {
        (Ok(texts), Ok(checkpoint)) => (texts, checkpoint),
        (texts, checkpoint) => {
            let problems = texts.err().into_iter().chain(checkpoint.err().unwrap_or_default()).collect();
            return Err(Problems::from_list(problems));
        }
    };
    let names: Vec<String> = (1..=texts.len()).map(|n| format!("text {n}")).collect();
    let text_refs: Vec<&str> = texts.iter().map(String::as_str).collect();
    let name_refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let clock = Instant::now();
    let tokens = checkpoint.tokenize(&text_refs, &name_refs).map_err(Problems::from_list)?;
    let tokenising = clock.elapsed().as_secs_f64();
    let layers = plan.layers.resolve(checkpoint.n_layers(), &plan.checkpoint.label)?;
    let run = RunDir::stage(&plan.out, false)?;
    let (warnings, forward) = match plan.want {
        Want::Tokens => (Vec::new(), write_tokens(&checkpoint, &tokens, &layers, run.path(), watch)?),
        Want::Pooled(pooling) => {
            let found = extract(&checkpoint, &tokens, pooling, &layers, cache, watch)?;
            let values: Vec<f32> = found.layers.iter().flat_map(|l| l.vectors.iter().copied()).collect();
            let shape = (layers.len(), texts.len(), checkpoint.width());
            let array = ArrayView3::from_shape(shape, &values)
                .map_err(|e| Error::new(Code::Io01, "features.npy", "has the wrong shape").source(e))?;
            npy::write(&run.path().join("features.npy"), array)?;
            let named: Vec<String> = layers.iter().map(|l| format!("layer_{l}")).collect();
            atomic::write(&run.path().join("layer_names.json"), serde_json::json!(named).to_string().as_bytes())?;
            (found.warnings, found.forward_seconds)
        }
    };
    write_rows(&texts, &tokens, run.path())?;
    watch.check()?;
    run.commit()?;
    let count = tokens.iter().map(|t| t.ids.len()).sum();
    let seconds = tokenising + forward;
    Ok(Extracted { texts: texts.len(), tokens: count, layers, width: checkpoint.width(), seconds, warnings })
}

/// The texts of a file.
fn read_texts(path: &Path) -> Result<Vec<String>> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let texts: Vec<String> = match extension.as_str() {
        "txt" => {
            let (text, _) = bounded::read_text(path, bounded::MAX_TABLE_BYTES, "a text file", Code::Sc06)?;
            text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned).collect()
        }
        "json" => {
            let (text, _) = bounded::read_text(path, bounded::MAX_DOCUMENT_BYTES, "a list of texts", Code::Sc06)?;
            serde_json::from_str(&text).map_err(|e| {
                Error::new(Code::Sc01, path.display(), format!("is no list of texts: {e}"))
                    .expected("[\"…\", \"…\"]")
                    .source(e)
            })?
        }
        _ => Table::read(path)?.required_texts("text")?,
    };
    if texts.is_empty() {
        return Err(Error::new(Code::Sc01, path.display(), "holds no text").expected("at least one"));
    }
    Ok(texts)
}

/// `rows.csv`: which row of the features is which text.
fn write_rows(texts: &[String], tokens: &[Tokens], folder: &Path) -> Result<()> {
    OutputTable::new(vec![
        ("row", Output::Integer((0..texts.len() as i64).collect())),
        ("tokens", Output::Integer(tokens.iter().map(|t| t.ids.len() as i64).collect())),
        ("text", Output::Text(texts.to_vec())),
    ])
    .write_csv(&folder.join("rows.csv"))
}

/// All tokens of every text, one text at a time. Gives the seconds of the forward passes.
fn write_tokens(
    checkpoint: &Checkpoint,
    tokens: &[Tokens],
    layers: &[Layer],
    folder: &Path,
    watch: &dyn Watch,
) -> Result<f64> {
    let encoder = checkpoint.load()?;
    let clock = Instant::now();
    let width = encoder.width();
    let total: usize = tokens.iter().map(|t| t.ids.len()).sum();
    watch.begin("hidden states", "tokens", total as u64);
    let mut stored: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::with_capacity(2 * tokens.len());
    for (i, text) in tokens.iter().enumerate() {
        watch.check()?;
        let n = text.ids.len();
        let ids = text.ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
        stored.push((format!("ids_{i}"), Dtype::I64, vec![n], ids));
        let mut states = Vec::with_capacity(layers.len() * n * width * 4);
        encoder.hidden_states(&[&text.ids], |layer, values: &[f32], _: &[Range<usize>]| {
            if layers.contains(&Layer(layer)) {
                states.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            }
        })?;
        stored.push((format!("states_{i}"), Dtype::F32, vec![layers.len(), n, width], states));
        watch.advance(n as u64);
    }
    watch.end();
    let seconds = clock.elapsed().as_secs_f64();
    let path = folder.join("hidden_states.safetensors");
    let fail = |e: safetensors::SafeTensorError| {
        Error::new(Code::Io01, path.display(), format!("cannot be written: {e}")).source(e)
    };
    let views: std::result::Result<Vec<(&str, TensorView<'_>)>, _> = stored
        .iter()
        .map(|(name, dtype, shape, data)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), data)?)))
        .collect();
    let bytes = safetensors::serialize(views.map_err(fail)?, None).map_err(fail)?;
    atomic::write(&path, &bytes)?;
    Ok(seconds)
}
