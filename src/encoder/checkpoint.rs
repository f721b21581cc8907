use std::ops::Range;
use std::path::PathBuf;

use candle_core::Tensor;

use super::bert::{self, Bert, BertConfig};
use super::config::Config;
use super::packed::Packed;
use super::params::{Param, candle_error};
use super::source::{CheckpointSpec, Place};
use super::tokenizer::{Tokenizer, Tokens};
use super::weights::WeightsFile;
use super::{CheckpointRecord, hub, ops};
use crate::error::{Code, Error, Result};

/// Model families that can be scored (`model_type` in config.json).
pub const FAMILIES: &[&str] = &["bert"];

/// A checkpoint that was opened and checked: config, tokenizer and weights belong together. Holds no weights yet.
#[derive(Debug)]
pub struct Checkpoint {
    record: CheckpointRecord,
    config: BertConfig,
    params: Vec<Param>,
    tokenizer: Tokenizer,
    weights: Option<WeightsFile>,
}

impl Checkpoint {
    /// Opens a checkpoint and checks everything about it that can be checked without running it.
    ///
    /// # Errors
    /// All problems at once.
    pub fn open(spec: &CheckpointSpec) -> std::result::Result<Checkpoint, Vec<Error>> {
        let folder = match &spec.source.place {
            Place::Folder(path) => path.clone(),
            Place::Hub { id, revision } => {
                hub::fetch(id, revision, spec.source.untrained.is_none()).map_err(|e| vec![e])?
            }
        };
        Checkpoint::open_folder(spec, folder)
    }

    fn open_folder(spec: &CheckpointSpec, folder: PathBuf) -> std::result::Result<Checkpoint, Vec<Error>> {
        let tokenizer = Tokenizer::read(&folder);
        let architecture = Config::read(&folder).and_then(|config| {
            let family = config.model_type()?.to_owned();
            if !FAMILIES.contains(&family.as_str()) {
                return Err(config.unsupported(&family, FAMILIES));
            }
            Ok((BertConfig::read(&config)?, config.digest(), family))
        });
        let (config, config_sha256, family) = match architecture {
            Ok(architecture) => architecture,
            Err(e) => return Err(std::iter::once(e).chain(tokenizer.err()).collect()),
        };
        let params = config.params();
        let weights = match spec.source.untrained {
            Some(_) => Ok(None),
            None => WeightsFile::check(&folder, &params, &bert::PREFIXES).map(Some),
        };
        let (weights, tokenizer) = match (weights, tokenizer) {
            (Ok(weights), Ok(tokenizer)) => (weights, tokenizer),
            (weights, tokenizer) => {
                return Err(weights.err().unwrap_or_default().into_iter().chain(tokenizer.err()).collect());
            }
        };
        let record = CheckpointRecord {
            label: spec.label.clone(),
            source: spec.source.to_string(),
            untrained_seed: spec.source.untrained,
            family,
            blocks: config.blocks,
            width: config.width,
            parameters: params.iter().map(|p| p.len() as u64).sum(),
            config_sha256,
            tokenizer_sha256: tokenizer.digest(),
            weights_sha256: weights.as_ref().map(|w| w.digest),
            prefix: weights.as_ref().map(|w| w.prefix.clone()).unwrap_or_default(),
            ignored_tensors: weights.as_ref().map(|w| w.ignored.clone()).unwrap_or_default(),
        };
        Ok(Checkpoint { record, config, params, tokenizer, weights })
    }

    /// What the checkpoint is.
    pub fn record(&self) -> &CheckpointRecord {
        &self.record
    }

    /// Number of layers: the embedding output and one per block.
    pub fn n_layers(&self) -> usize {
        self.config.blocks + 1
    }

    /// Width of a hidden state.
    pub fn width(&self) -> usize {
        self.config.width
    }

    /// Tokenises texts; `names` identify them in messages.
    ///
    /// # Errors
    /// All texts that cannot be encoded: no token (`TK-04`), a token without embedding (`TK-02`), too long (`TK-05`),
    /// or a tokenizer that adds no special tokens (`TK-03`).
    pub fn tokenize(&self, texts: &[&str], names: &[&str]) -> std::result::Result<Vec<Tokens>, Vec<Error>> {
        let mut problems = Vec::new();
        let mut all = Vec::with_capacity(texts.len());
        for (text, name) in texts.iter().zip(names) {
            match self.tokenizer.encode(text).and_then(|tokens| self.check_tokens(tokens, name)) {
                Ok(tokens) => all.push(tokens),
                Err(e) => problems.push(e),
            }
        }
        if let Some(first) = all.first().filter(|_| all.iter().all(|t| !t.special.contains(&true))) {
            problems.push(
                Error::new(Code::Tk03, self.tokenizer.place(), "adds no special tokens around a text")
                    .expected(format!("[CLS] … [SEP], as {} was trained with", self.record.family))
                    .hint(format!(
                        "A text became {} tokens, none special; save the tokenizer with its post-processor",
                        first.ids.len()
                    )),
            );
        }
        if problems.is_empty() { Ok(all) } else { Err(problems) }
    }

    fn check_tokens(&self, tokens: Tokens, name: &str) -> Result<Tokens> {
        let place = || format!("stimulus {name:?} in checkpoint {:?}", self.record.label);
        if tokens.ids.is_empty() {
            return Err(Error::new(Code::Tk04, place(), "yields no token"));
        }
        if let Some(id) = tokens.ids.iter().find(|id| **id as usize >= self.config.vocabulary) {
            return Err(Error::new(Code::Tk02, place(), format!("token {id} has no embedding"))
                .expected(format!("ids below vocab_size {}", self.config.vocabulary))
                .hint("The tokenizer belongs to another model"));
        }
        if tokens.ids.len() > self.config.positions {
            return Err(Error::new(Code::Tk05, place(), format!("has {} tokens", tokens.ids.len()))
                .expected(format!("at most {} (max_position_embeddings)", self.config.positions))
                .hint("Shorten the text"));
        }
        Ok(tokens)
    }

    /// Loads the weights (or draws fresh ones) and returns the encoder.
    pub fn load(&self) -> Result<Encoder> {
        let tensors = match (&self.weights, self.record.untrained_seed) {
            (Some(file), _) => file.load(&self.params)?,
            (None, seed) => {
                let seed = seed.unwrap_or_default();
                self.params.iter().map(|p| Ok((p.name.clone(), p.untrained(seed)?))).collect::<Result<_>>()?
            }
        };
        let model = Bert::new(&self.config, tensors).map_err(candle_error)?;
        Ok(Encoder { model, width: self.config.width })
    }
}

/// An encoder with its weights in memory.
pub struct Encoder {
    model: Bert,
    width: usize,
}

impl Encoder {
    /// Runs texts (token ids, special tokens included) through all layers in one pass. `sink` gets every layer with the
    /// states of all tokens (tokens × width, row-major) and each text's range of tokens.
    pub fn hidden_states(&self, texts: &[&[u32]], mut sink: impl FnMut(usize, &[f32], &[Range<usize>])) -> Result<()> {
        let packed = Packed::new(texts.iter().copied());
        let ranges: Vec<Range<usize>> = packed.ranges().collect();
        self.model
            .forward(&packed, |layer, states: &Tensor| ops::with_values(states, |values| sink(layer, values, &ranges)))
            .map_err(candle_error)
    }

    /// Width of a hidden state.
    pub fn width(&self) -> usize {
        self.width
    }
}
