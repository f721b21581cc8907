//! Hidden states of texts as files, for whoever wants the features themselves.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ndarray::ArrayView3;
use safetensors::tensor::{Dtype, TensorView};

use super::parts::{Parts, read_segments};
use super::runner::Site;
use super::states::{Pooled, extract, for_each_window};
use crate::compute::cpu::single_threaded_blas;
use crate::compute::device::{Device, Offload};
use crate::encoder::{Checkpoint, CheckpointSpec, Context, LongText, Pooling, Tokens};
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::ids::Layer;
use crate::io::table::{Output, OutputTable, Table};
use crate::io::{atomic, bounded, npy};
use crate::store::{RunDir, StateCache, default_cache_folder};
use crate::study::LayerSelection;
use crate::watch::Watch;

/// What is written of every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// One vector per text and layer.
    Pooled(Pooling),
    /// The states of every token.
    Tokens,
    /// One vector per word and layer: the mean over its tokens.
    Words(Context),
    /// One vector per segment and layer, with the text before it as its context: the mean over its own tokens.
    Segments,
}

/// What to extract.
#[derive(Debug, Clone)]
pub struct ExtractPlan {
    /// The checkpoint.
    pub checkpoint: CheckpointSpec,
    /// A file of texts: `.txt` line by line, `.csv`/`.tsv`/`.parquet` with a column `text`, or a `.json` list; for
    /// segments a `.json` list of lists, or a table with a column `segments` (`|||` between them).
    pub texts: PathBuf,
    /// What is written.
    pub want: Want,
    /// What happens to texts with more tokens than the checkpoint takes.
    pub long_text: LongText,
    /// Which layers.
    pub layers: LayerSelection,
    /// What runs the encoder: the CPU, or cards.
    pub device: Device,
    /// Where to.
    pub out: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// Number of texts.
    pub texts: usize,
    /// Number of tokens that ran, special ones included.
    pub tokens: usize,
    /// Number of vectors per layer.
    pub vectors: usize,
    /// The layers.
    pub layers: Vec<Layer>,
    /// Width of a state.
    pub width: usize,
    /// Seconds that tokenising and the forward passes took, without loading the weights.
    pub seconds: f64,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

/// Extracts hidden states into a new directory: `features.npy` (layers, texts or words or segments, width; float32),
/// `layer_names.json` and `rows.csv`; or, for all tokens, `hidden_states.safetensors` with `ids_i` (tokens; int64) and `states_i` (layers,
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
    let input = Input::read(plan);
    let checkpoint = Checkpoint::open(&plan.checkpoint);
    let (input, checkpoint) = match (input, checkpoint) {
        (Ok(input), Ok(checkpoint)) => (input, checkpoint),
        (input, checkpoint) => {
            let problems = input.err().into_iter().chain(checkpoint.err()).flatten().collect();
            return Err(Problems::from_list(problems));
        }
    };
    let (offload, without_cards) = crate::compute::open(plan.device, default_cache_folder().ok().as_deref())?;
    let mut warnings = Vec::from_iter(without_cards);
    let layers = plan.layers.resolve(checkpoint.n_layers(), &plan.checkpoint.label)?;
    let run = RunDir::stage(&plan.out, false)?;
    let width = checkpoint.width();
    let mut done = match input {
        Input::Parts(parts) => {
            let places = parts.places(&checkpoint, plan.long_text).map_err(Problems::from_list)?;
            let found = places.vectors(&checkpoint, &layers, offload.as_ref(), cache, watch)?;
            write_features(&found.layers, parts.len(), width, run.path())?;
            parts.write_rows(&checkpoint, run.path())?;
            let (texts, vectors) = (parts.n_texts(), parts.len());
            let tokens = places.tokens.iter().map(|t| t.ids.len()).sum();
            warnings.extend(places.warnings.into_iter().chain(found.warnings));
            Extracted { texts, tokens, vectors, layers, width, seconds: found.forward_seconds, warnings }
        }
        Input::Texts(texts) => {
            let names: Vec<String> = (1..=texts.len()).map(|n| format!("text {n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let clock = Instant::now();
            let contents: Vec<&str> = texts.iter().map(String::as_str).collect();
            let tokens = checkpoint.tokenize_long(&contents, &names, plan.long_text).map_err(Problems::from_list)?;
            let tokenising = clock.elapsed().as_secs_f64();
            warnings.extend(checkpoint.long_texts(&tokens, &names));
            warnings.extend(checkpoint.unknown_texts(&tokens, &names));
            let count = tokens.iter().map(|t| t.ids.len()).sum();
            let (vectors, forward) = if let Want::Pooled(pooling) = plan.want {
                let found = extract(&checkpoint, &tokens, pooling, &layers, offload.as_ref(), cache, watch)?;
                write_features(&found.layers, texts.len(), width, run.path())?;
                warnings.extend(found.warnings);
                (texts.len(), found.forward_seconds)
            } else {
                (count, write_tokens(&checkpoint, &tokens, &layers, offload.as_ref(), run.path(), watch)?)
            };
            let seconds = tokenising + forward;
            write_rows(&texts, &tokens, run.path())?;
            Extracted { texts: texts.len(), tokens: count, vectors, layers, width, seconds, warnings }
        }
    };
    done.warnings.extend(offload.as_ref().and_then(|o| o.lost().cloned()));
    watch.check()?;
    run.commit()?;
    Ok(done)
}

/// What vectors are made of.
enum Input {
    Texts(Vec<String>),
    Parts(Parts),
}

impl Input {
    fn read(plan: &ExtractPlan) -> std::result::Result<Input, Vec<Error>> {
        let one = |e: Error| vec![e];
        match plan.want {
            Want::Pooled(_) | Want::Tokens => read_texts(&plan.texts).map(Input::Texts).map_err(one),
            Want::Words(context) => Parts::words(read_texts(&plan.texts).map_err(one)?, context).map(Input::Parts),
            Want::Segments => Parts::segments(&read_segments(&plan.texts).map_err(one)?).map(Input::Parts),
        }
    }
}

/// `features.npy` and `layer_names.json`.
fn write_features(layers: &[Pooled], vectors: usize, width: usize, folder: &Path) -> Result<()> {
    let values: Vec<f32> = layers.iter().flat_map(|l| l.vectors.iter().copied()).collect();
    let array = ArrayView3::from_shape((layers.len(), vectors, width), &values)
        .map_err(|e| Error::new(Code::Io01, "features.npy", "has the wrong shape").source(e))?;
    npy::write(&folder.join("features.npy"), array)?;
    let named: Vec<String> = layers.iter().map(|l| format!("layer_{}", l.layer)).collect();
    atomic::write(&folder.join("layer_names.json"), serde_json::json!(named).to_string().as_bytes())
}

/// The texts of a file.
pub(super) fn read_texts(path: &Path) -> Result<Vec<String>> {
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
    offload: Option<&Offload>,
    folder: &Path,
    watch: &dyn Watch,
) -> Result<f64> {
    let runner = Site::new(checkpoint, tokens, offload).load(checkpoint)?;
    let clock = Instant::now();
    let width = checkpoint.width();
    let total: usize = tokens.iter().map(|t| t.ids.len()).sum();
    watch.begin("hidden states", "tokens", total as u64);
    let mut stored: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::with_capacity(2 * tokens.len());
    for (i, text) in tokens.iter().enumerate() {
        watch.check()?;
        let n = text.ids.len();
        let ids = text.ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
        stored.push((format!("ids_{i}"), Dtype::I64, vec![n], ids));
        let (states, _) = runner.run(|encoder| {
            let mut states = vec![0u8; layers.len() * n * width * 4];
            for_each_window(encoder, text, |layer, tokens, values| {
                if let Ok(at) = layers.binary_search(&Layer(layer)) {
                    let from = (at * n + tokens.start) * width * 4;
                    for (bytes, value) in states[from..].chunks_exact_mut(4).zip(values) {
                        bytes.copy_from_slice(&value.to_le_bytes());
                    }
                }
            })?;
            Ok(states)
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
