//! One file per family: what its `config.json` means, which tensors it needs, and how it computes.
//!
//! Layer 0 is the embedding output (after a projection to the hidden width, where there is one), layer k the output of
//! block k, exactly as transformers 5's `hidden_states`: the last one includes the final norm of GPT-2, Llama and
//! ModernBERT.

mod albert;
mod bert;
mod deberta;
mod distilbert;
mod electra;
mod gpt2;
mod llama;
mod modernbert;
mod mpnet;
mod post_norm;
mod roberta;
mod rotary;
#[cfg(test)]
mod tests;

use super::config::Config;
use super::layers::Tensors;
use super::packed::Packed;
use super::params::Param;
use super::rows::Rows;
use crate::error::Result;

/// Model families that can be scored (`model_type` in config.json).
pub const FAMILIES: &[&str] = &[
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "gpt2",
    "llama",
    "mistral",
    "modernbert",
    "mpnet",
    "qwen2",
    "roberta",
    "xlm-roberta",
];

/// The outer measures of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Width of a hidden state.
    pub width: usize,
    /// Number of blocks; there is one layer more, the embedding output.
    pub blocks: usize,
    /// Rows of the embedding table.
    pub vocabulary: usize,
    /// The longest text, in tokens.
    pub longest: usize,
    /// Whether the model was trained with special tokens around every text.
    pub special_tokens: bool,
}

/// An architecture: a family with the sizes and settings of one `config.json`.
pub(crate) trait Architecture: std::fmt::Debug + Send + Sync {
    /// Its outer measures.
    fn shape(&self) -> Shape;

    /// Every tensor of the encoder; poolers and heads are none of its layers.
    fn params(&self) -> Vec<Param>;

    /// What task models put before the tensor names (`bert.`), without the trailing dot.
    fn stem(&self) -> &'static str;

    /// Whether linear maps are stored as (inputs, outputs).
    fn transposed(&self) -> bool {
        false
    }

    /// Whether no token sees those behind it.
    fn causal(&self) -> bool {
        false
    }

    /// Arranges the tensors named by `params`.
    fn build(&self, tensors: &mut Tensors) -> candle_core::Result<Box<dyn Model>>;
}

/// Takes every layer (0 … blocks) as (tokens, width).
pub(crate) type Sink<'a> = dyn FnMut(usize, &Rows) -> candle_core::Result<()> + 'a;

/// An encoder with its weights.
pub(crate) trait Model: Send + Sync {
    /// Runs packed texts through the encoder and hands every layer to `sink`, in order.
    fn forward(&self, packed: &Packed, sink: &mut Sink<'_>) -> candle_core::Result<()>;
}

/// Reads the architecture that a configuration describes.
///
/// # Errors
/// `CF-03` for a family that is not among [`FAMILIES`], `CF-04` and `CF-05` for missing or impossible sizes, `CF-06` for
/// a setting that changes results and is not implemented.
pub(crate) fn read(config: &Config) -> Result<Box<dyn Architecture>> {
    let family = config.model_type()?;
    config.no_remote_code()?;
    config.must_be_absent("quantization_config")?;
    Ok(match family {
        "albert" => Box::new(albert::read(config)?),
        "bert" => Box::new(bert::read(config)?),
        "camembert" | "roberta" | "xlm-roberta" => Box::new(roberta::read(config)?),
        "deberta-v2" => Box::new(deberta::Deberta::read(config)?),
        "distilbert" => Box::new(distilbert::read(config)?),
        "electra" => Box::new(electra::read(config)?),
        "gpt2" => Box::new(gpt2::Gpt2::read(config)?),
        "llama" | "mistral" | "qwen2" => Box::new(llama::Llama::read(config, family)?),
        "modernbert" => Box::new(modernbert::ModernBert::read(config)?),
        "mpnet" => Box::new(mpnet::read(config)?),
        _ => return Err(config.unsupported(family, FAMILIES)),
    })
}

/// The largest sizes that are believed; beyond them a configuration is damaged (`CF-05`).
mod most {
    pub const WIDTH: usize = 1 << 16;
    pub const BLOCKS: usize = 1000;
    pub const HEADS: usize = 1 << 12;
    pub const INNER: usize = 1 << 20;
    pub const VOCABULARY: usize = 1 << 24;
    pub const POSITIONS: usize = 1 << 24;
    pub const TYPES: usize = 1 << 10;
}

/// Refuses a width that the heads do not divide.
fn heads_divide(config: &Config, (key, width): (&str, usize), (heads_key, heads): (&str, usize)) -> Result<()> {
    if width.is_multiple_of(heads) {
        return Ok(());
    }
    let found = format!("{key} is {width} with {heads_key} {heads}");
    Err(config.impossible(found, "a width that the heads divide"))
}
