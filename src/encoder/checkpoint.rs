use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use super::config::Config;
use super::families::{self, Architecture, Model};
use super::layers::Tensors;
use super::long::{self, LongText};
use super::packed::Packed;
use super::params::{Param, candle_error};
use super::rows::{Passes, Rows, passes};
use super::source::{CheckpointSpec, Place};
use super::tokenizer::{Tokenizer, Tokens};
use super::weights::{Adapter, Weights};
use super::{CheckpointRecord, hub};
use crate::compute::operations::Operations;
use crate::error::{Code, Error, Result, Warning, first_five};

/// A checkpoint that was opened and checked: config, tokenizer and weights belong together. Holds no weights yet.
#[derive(Debug)]
pub struct Checkpoint {
    record: CheckpointRecord,
    architecture: Box<dyn Architecture>,
    params: Vec<Param>,
    tokenizer: Tokenizer,
    weights: Option<Weights>,
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
        let adapter = Adapter::find(&folder).map_err(|e| vec![e])?;
        // An adapter's folder may hold a tokenizer of its own; the configuration is always that of its base.
        let base = adapter.as_ref().map_or(&folder, |adapter| &adapter.base).clone();
        let own_tokenizer = adapter.is_none() || Tokenizer::is_in(&folder);
        let architecture = Config::read(&base)
            .and_then(|config| Ok((families::read(&config)?, config.digest(), config.model_type()?.to_owned())));
        let family = architecture.as_ref().ok().map(|(_, _, family)| family.as_str());
        let tokenizer = Tokenizer::read(if own_tokenizer { &folder } else { &base }, family);
        let (architecture, config_sha256, family) = match architecture {
            Ok(architecture) => architecture,
            Err(e) => return Err(std::iter::once(e).chain(tokenizer.err()).collect()),
        };
        let (shape, params) = (architecture.shape(), architecture.params());
        let weights = match spec.source.untrained {
            Some(_) => Ok(None),
            None => {
                let (stem, transposed) = (architecture.stem(), architecture.transposed());
                Weights::check(&base, &params, stem, adapter, transposed).map(Some)
            }
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
            blocks: shape.blocks,
            width: shape.width,
            parameters: params.iter().map(|p| p.len() as u64).sum(),
            config_sha256,
            tokenizer_sha256: tokenizer.digest(),
            weights_sha256: weights.as_ref().map(Weights::digest),
            weights_files: weights.as_ref().map(Weights::file_names).unwrap_or_default(),
            adapter: weights.as_ref().and_then(Weights::adapter),
            prefix: weights.as_ref().map(|w| w.prefix.clone()).unwrap_or_default(),
            ignored_tensors: weights.as_ref().map(|w| w.ignored.clone()).unwrap_or_default(),
            warnings: weights.as_ref().map(|w| w.warnings.clone()).unwrap_or_default(),
        };
        Ok(Checkpoint { record, architecture, params, tokenizer, weights })
    }

    /// What the checkpoint is.
    pub fn record(&self) -> &CheckpointRecord {
        &self.record
    }

    /// Holds the tokenizer in common with another checkpoint where both have the same: vocabularies are large.
    pub fn share_tokenizer(&mut self, other: &Checkpoint) {
        if self.record.family == other.record.family {
            self.tokenizer.share(&other.tokenizer);
        }
    }

    /// Number of layers: the embedding output and one per block.
    pub fn n_layers(&self) -> usize {
        self.record.blocks + 1
    }

    /// Width of a hidden state.
    pub fn width(&self) -> usize {
        self.record.width
    }

    /// Multiplications per token, about: 12 · width² in a block of the usual proportions, those of attention scores not
    /// counted.
    pub fn multiplications(&self) -> usize {
        12 * self.record.width * self.record.width * self.record.blocks
    }

    /// Whether no token sees those behind it, as in a decoder.
    pub fn is_causal(&self) -> bool {
        self.architecture.causal()
    }

    /// Tokenises texts; `names` identify them in messages.
    ///
    /// # Errors
    /// All texts that cannot be encoded: no token (`TK-04`), a token without embedding (`TK-02`), too long (`TK-05`),
    /// or a tokenizer that adds no special tokens (`TK-03`).
    pub fn tokenize(&self, texts: &[&str], names: &[&str]) -> std::result::Result<Vec<Tokens>, Vec<Error>> {
        self.tokenize_long(texts, names, LongText::Refuse)
    }

    /// Tokenises texts, too long ones as `long` says.
    ///
    /// # Errors
    /// As [`Checkpoint::tokenize`].
    pub fn tokenize_long(
        &self,
        texts: &[&str],
        names: &[&str],
        long: LongText,
    ) -> std::result::Result<Vec<Tokens>, Vec<Error>> {
        let mut problems = Vec::new();
        let mut all = Vec::with_capacity(texts.len());
        for (text, name) in texts.iter().zip(names) {
            match self.tokenizer.encode(text).and_then(|tokens| self.check_tokens(tokens, name, long)) {
                Ok(tokens) => all.push(tokens),
                Err(e) => problems.push(e),
            }
        }
        let bare = self.architecture.shape().special_tokens && all.iter().all(|t| !t.special.contains(&true));
        if let Some(first) = all.first().filter(|_| bare) {
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

    fn check_tokens(&self, tokens: Tokens, name: &str, long: LongText) -> Result<Tokens> {
        let place = || format!("stimulus {name:?} in checkpoint {:?}", self.record.label);
        if tokens.ids.is_empty() {
            return Err(Error::new(Code::Tk04, place(), "yields no token"));
        }
        let shape = self.architecture.shape();
        if let Some(id) = tokens.ids.iter().find(|id| **id as usize >= shape.vocabulary) {
            return Err(Error::new(Code::Tk02, place(), format!("token {id} has no embedding"))
                .expected(format!("ids below vocab_size {}", shape.vocabulary))
                .hint("The tokenizer belongs to another model"));
        }
        if tokens.ids.len() <= shape.longest {
            return Ok(tokens);
        }
        long::fit(tokens, shape.longest, long).map_err(|tokens| {
            let error = Error::new(Code::Tk05, place(), format!("has {} tokens", tokens.ids.len()))
                .expected(format!("at most {} (max_position_embeddings)", shape.longest));
            match long {
                LongText::Refuse => error.hint("Shorten the text, or choose --long-text window or truncate"),
                _ => error.hint("Shorten the text: the special tokens leave no room for it"),
            }
        })
    }

    /// Says which texts did not fit, if any, and what became of them.
    pub fn long_texts(&self, texts: &[Tokens], names: &[&str]) -> Option<Warning> {
        let long: Vec<&str> = texts
            .iter()
            .zip(names)
            .filter(|(tokens, _)| tokens.dropped > 0 || !tokens.windows.is_empty())
            .map(|(_, name)| *name)
            .collect();
        let dropped: usize = texts.iter().map(|t| t.dropped).sum();
        let fate = match dropped {
            0 => "run in overlapping windows".to_owned(),
            n => format!("were truncated, {n} tokens dropped"),
        };
        let most = self.architecture.shape().longest;
        (!long.is_empty()).then(|| {
            let (count, label) = (long.len(), &self.record.label);
            let message =
                format!("{count} texts have more than {most} tokens in {label:?} and {fate}: {}", first_five(&long));
            Warning::new(Code::Tk05.as_str(), message)
        })
    }

    /// Says which texts the tokenizer knows no part of, if any: their vectors tell them apart by their lengths alone.
    pub fn unknown_texts(&self, texts: &[Tokens], names: &[&str]) -> Option<Warning> {
        let unknown = self.tokenizer.unknown_id()?;
        let all_unknown = |t: &Tokens| t.ids.iter().zip(&t.special).all(|(id, special)| *special || *id == unknown);
        let found: Vec<&str> = texts.iter().zip(names).filter(|(t, _)| all_unknown(t)).map(|(_, name)| *name).collect();
        (!found.is_empty()).then(|| {
            let message = format!(
                "{} texts hold only tokens that {:?} does not know: {}",
                found.len(),
                self.record.label,
                first_five(&found)
            );
            Warning::new(Code::Tk04.as_str(), message)
        })
    }

    /// Share of tokens that the tokenizer does not know.
    pub fn unknown_share(&self, texts: &[Tokens]) -> f64 {
        let Some(unknown) = self.tokenizer.unknown_id() else { return 0.0 };
        let all: usize = texts.iter().map(|t| t.ids.len()).sum();
        let found: usize = texts.iter().map(|t| t.ids.iter().filter(|id| **id == unknown).count()).sum();
        found as f64 / all.max(1) as f64
    }

    /// Every tensor that the architecture needs.
    pub(super) fn params(&self) -> &[Param] {
        &self.params
    }

    /// The tensors: stored, or fresh random ones.
    pub(super) fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        match (&self.weights, self.record.untrained_seed) {
            (Some(weights), _) => weights.load(&self.params),
            (None, seed) => {
                let seed = seed.unwrap_or_default();
                self.params.par_iter().map(|p| Ok((p.name.clone(), p.untrained(seed)?))).collect()
            }
        }
    }

    /// Loads the weights (or draws fresh ones) and returns the encoder.
    pub fn load(&self) -> Result<Encoder> {
        self.load_on(&[])
    }

    /// The same; it runs on the streams of cards, or on the CPU where there are none.
    pub fn load_on(&self, streams: &[Arc<dyn Operations>]) -> Result<Encoder> {
        let model = self.architecture.build(&mut Tensors::new(self.tensors()?)).map_err(candle_error)?.into();
        Ok(Encoder { model, width: self.record.width, passes: passes(streams) })
    }
}

/// An encoder with its weights in memory.
pub struct Encoder {
    model: Arc<dyn Model>,
    width: usize,
    passes: Passes,
}

impl Encoder {
    /// Runs texts (token ids, special tokens included) through all layers in one pass. `sink` gets every layer with the
    /// states of all tokens (tokens × width, row-major) and each text's range of tokens.
    pub fn hidden_states(&self, texts: &[&[u32]], mut sink: impl FnMut(usize, &[f32], &[Range<usize>])) -> Result<()> {
        let mut packed = Packed::new(texts.iter().copied());
        // Held until the pass is over: a stream does one at a time.
        let turn = self.passes.take();
        packed.pass = turn.as_ref().map(|pass| pass.anew());
        let ranges: Vec<Range<usize>> = packed.ranges().collect();
        let done = self
            .model
            .forward(&packed, &mut |layer, states: &Rows| states.with_values(|values| sink(layer, values, &ranges)));
        if let (Err(_), Some(pass)) = (&done, &packed.pass) {
            // What was begun still reads the weights. A card that fails here has failed before.
            pass.settle().ok();
        }
        done.map_err(candle_error)
    }

    /// The same weights on the CPU.
    pub fn on_cpu(&self) -> Encoder {
        Encoder { model: Arc::clone(&self.model), width: self.width, passes: passes(&[]) }
    }

    /// Width of a hidden state.
    pub fn width(&self) -> usize {
        self.width
    }
}
