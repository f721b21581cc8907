//! ModernBERT (Warner et al. 2024, <https://arxiv.org/abs/2412.13663>), as in transformers' `modeling_modernbert.py`:
//! rotary positions, norms before each sub-layer, gated feed-forward maps, and attention that is local in most blocks.

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor};

use super::rotary::Frequencies;
use super::{Architecture, Model, Shape, Sink, heads_divide, most};
use crate::compute::cpu::Activation;
use crate::encoder::config::Config;
use crate::encoder::layers::{Dense, Norm, ParamList, Tensors, look_up};
use crate::encoder::ops::{self, Attention, Mask, Normalise};
use crate::encoder::packed::Packed;
use crate::encoder::params::{Param, Start};
use crate::error::Result;

/// What of `config.json` decides a ModernBERT.
#[derive(Debug)]
pub(super) struct ModernBert {
    width: usize,
    heads: usize,
    inner: usize,
    vocabulary: usize,
    positions: usize,
    activation: Activation,
    epsilon: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    initializer_range: f64,
    /// Fresh weights are drawn within so many standard deviations.
    cutoff: f64,
    /// For each block whether it attends to near tokens only.
    local: Vec<bool>,
    /// How far a local block sees on either side.
    window: usize,
    /// Frequencies of global and local blocks.
    frequencies: [Frequencies; 2],
}

impl ModernBert {
    /// Reads a ModernBERT configuration of transformers 4 (`global_rope_theta`, `global_attn_every_n_layers`) or 5
    /// (`rope_parameters`, `layer_types`).
    pub fn read(config: &Config) -> Result<ModernBert> {
        config.must_be("tie_last_hidden_states", true)?;
        config.must_be_absent("rope_scaling")?;
        let (width, heads) =
            (config.size("hidden_size", most::WIDTH)?, config.size("num_attention_heads", most::HEADS)?);
        heads_divide(config, ("hidden_size", width), ("num_attention_heads", heads))?;
        let size = width / heads;
        if size % 2 == 1 || config.size_or("head_dim", size, most::WIDTH)? != size {
            let found = format!("hidden_size is {width} with num_attention_heads {heads}");
            return Err(config.impossible(found, "heads of an even width, as rotary positions need"));
        }
        let cutoff = config.number("initializer_cutoff_factor", 2.0)?;
        if cutoff < 0.1 {
            return Err(config.impossible(format!("initializer_cutoff_factor is {cutoff}"), "0.1 or more"));
        }
        Ok(ModernBert {
            width,
            heads,
            inner: config.size("intermediate_size", most::INNER)?,
            vocabulary: config.size("vocab_size", most::VOCABULARY)?,
            positions: config.size("max_position_embeddings", most::POSITIONS)?,
            activation: config.activation("hidden_activation", "gelu")?,
            epsilon: config.number("norm_eps", 1e-5)?,
            norm_bias: config.flag("norm_bias", false)?,
            attention_bias: config.flag("attention_bias", false)?,
            mlp_bias: config.flag("mlp_bias", false)?,
            initializer_range: config.number("initializer_range", 0.02)?,
            cutoff,
            local: local_blocks(config)?,
            window: config.size_or("local_attention", 128, most::POSITIONS)? / 2,
            frequencies: [
                frequencies(config, "full_attention", ("global_rope_theta", 160_000.0), size)?,
                frequencies(config, "sliding_attention", ("local_rope_theta", 10_000.0), size)?,
            ],
        })
    }
}

/// Which blocks are local: as listed, or all but every n-th.
fn local_blocks(config: &Config) -> Result<Vec<bool>> {
    let blocks = config.size("num_hidden_layers", most::BLOCKS)?;
    let Some(types) = config.strings("layer_types")? else {
        let every = config.size_or("global_attn_every_n_layers", 3, most::BLOCKS)?;
        return Ok((0..blocks).map(|i| !i.is_multiple_of(every)).collect());
    };
    if types.len() != blocks {
        let found = format!("layer_types lists {} with num_hidden_layers {blocks}", types.len());
        return Err(config.impossible(found, "one type for each layer"));
    }
    let local = |kind: &&str| match *kind {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => Err(config.not_implemented("layer_types", other, "full_attention or sliding_attention")),
    };
    types.iter().map(local).collect()
}

fn frequencies(config: &Config, kind: &str, (key, default): (&str, f64), size: usize) -> Result<Frequencies> {
    let theta = config.number(key, default)?;
    let settings = match config.object("rope_parameters")? {
        Some(all) => {
            // One set for all layers would not say which of the two it is.
            all.must_be_absent("rope_theta")?;
            all.object(kind)?
        }
        None => None,
    };
    Frequencies::read(settings.as_ref(), theta, size)
}

impl Architecture for ModernBert {
    fn shape(&self) -> Shape {
        Shape {
            width: self.width,
            blocks: self.local.len(),
            vocabulary: self.vocabulary,
            longest: self.positions,
            special_tokens: true,
        }
    }

    fn params(&self) -> Vec<Param> {
        let (width, inner, sd) = (self.width, self.inner, self.initializer_range);
        let mut list = ParamList::starting(Start::Truncated(sd, self.cutoff));
        let residual = Start::Truncated(sd / (2.0 * self.local.len() as f64).sqrt(), self.cutoff);
        list.embedding("embeddings.tok_embeddings", [self.vocabulary, width], None, "vocab_size, hidden_size");
        list.norm("embeddings.norm", width, self.norm_bias, "hidden_size");
        for block in 0..self.local.len() {
            let at = |name: &str| format!("layers.{block}.{name}");
            if block > 0 {
                list.norm(&at("attn_norm"), width, self.norm_bias, "hidden_size");
            }
            list.dense(&at("attn.Wqkv"), [3 * width, width], self.attention_bias, "hidden_size");
            list.dense_starting(&at("attn.Wo"), [width, width], self.attention_bias, "hidden_size", residual);
            list.norm(&at("mlp_norm"), width, self.norm_bias, "hidden_size");
            list.dense(&at("mlp.Wi"), [2 * inner, width], self.mlp_bias, "intermediate_size, hidden_size");
            let keys = "hidden_size, intermediate_size";
            list.dense_starting(&at("mlp.Wo"), [width, inner], self.mlp_bias, keys, residual);
        }
        list.norm("final_norm", width, self.norm_bias, "hidden_size");
        list.finish()
    }

    fn stem(&self) -> &'static str {
        "model"
    }

    fn build(&self, tensors: &mut Tensors) -> CandleResult<Box<dyn Model>> {
        let block = |(block, local): (usize, &bool)| {
            let at = |name: &str| format!("layers.{block}.{name}");
            let mut norm = |name: &str| tensors.norm(&at(name), Normalise::Layer, self.epsilon);
            let attention_norm = if block > 0 { Some(norm("attn_norm")?) } else { None };
            let norm = norm("mlp_norm")?;
            Ok(Block {
                attention_norm,
                qkv: tensors.dense(&at("attn.Wqkv"))?,
                attention_output: tensors.dense(&at("attn.Wo"))?,
                norm,
                intermediate: tensors.dense(&at("mlp.Wi"))?,
                output: tensors.dense(&at("mlp.Wo"))?,
                local: *local,
            })
        };
        let blocks = self.local.iter().enumerate().map(block).collect::<CandleResult<_>>()?;
        Ok(Box::new(ModernBertModel {
            words: tensors.take("embeddings.tok_embeddings.weight")?,
            embedding_norm: tensors.norm("embeddings.norm", Normalise::Layer, self.epsilon)?,
            blocks,
            final_norm: tensors.norm("final_norm", Normalise::Layer, self.epsilon)?,
            heads: self.heads,
            size: self.width / self.heads,
            window: self.window,
            frequencies: self.frequencies.clone(),
            activation: self.activation,
        }))
    }
}

struct Block {
    /// The first block has none: its input was just normalised.
    attention_norm: Option<Norm>,
    qkv: Dense,
    attention_output: Dense,
    norm: Norm,
    intermediate: Dense,
    output: Dense,
    local: bool,
}

struct ModernBertModel {
    words: Tensor,
    embedding_norm: Norm,
    blocks: Vec<Block>,
    final_norm: Norm,
    heads: usize,
    size: usize,
    window: usize,
    frequencies: [Frequencies; 2],
    activation: Activation,
}

impl Model for ModernBertModel {
    fn forward(&self, packed: &Packed, sink: &mut Sink<'_>) -> CandleResult<()> {
        let mut x = self.embedding_norm.apply(&look_up(&self.words, &packed.ids, packed)?)?;
        sink(0, &x)?;
        let ends: Arc<[usize]> = packed.ends.clone().into();
        let longest = packed.longest();
        let turns = [self.frequencies[0].turns(longest)?, self.frequencies[1].turns(longest)?];
        let full = Attention::full(&ends, self.heads, self.size);
        let near = Attention { mask: Mask::Near(self.window), ..full.clone() };
        for (i, block) in self.blocks.iter().enumerate() {
            let (attention, turns) = if block.local { (&near, &turns[1]) } else { (&full, &turns[0]) };
            let qkv = match &block.attention_norm {
                Some(norm) => block.qkv.apply(&norm.apply(&x)?)?,
                None => block.qkv.apply(&x)?,
            };
            let attended = attention.apply(&ops::rotate(&qkv, turns, &ends, 2 * self.heads)?, None)?;
            x = x.add(&block.attention_output.apply(&attended)?)?;
            let inner = ops::gated(&block.intermediate.apply(&block.norm.apply(&x)?)?, self.activation)?;
            x = x.add(&block.output.apply(&inner)?)?;
            if i + 1 == self.blocks.len() {
                x = self.final_norm.apply(&x)?;
            }
            sink(i + 1, &x)?;
        }
        Ok(())
    }
}
