//! Llama (Touvron et al. 2023, <https://arxiv.org/abs/2302.13971>) and its relatives Mistral and Qwen2, as in
//! transformers' `modeling_llama.py`: causal decoders with RMSNorm, rotary positions, gated feed-forward maps and keys
//! that several heads share.

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor};

use super::rotary::Frequencies;
use super::{Architecture, Model, Shape, Sink, most};
use crate::compute::cpu::Activation;
use crate::encoder::config::Config;
use crate::encoder::layers::{Dense, Norm, ParamList, Tensors, look_up};
use crate::encoder::ops::{self, Attention, Mask, Normalise};
use crate::encoder::packed::Packed;
use crate::encoder::params::Param;
use crate::error::Result;

/// What of `config.json` decides a Llama.
#[derive(Debug)]
pub(super) struct Llama {
    width: usize,
    heads: usize,
    /// Heads of keys and values.
    groups: usize,
    size: usize,
    inner: usize,
    vocabulary: usize,
    padding: Option<usize>,
    positions: usize,
    activation: Activation,
    epsilon: f64,
    initializer_range: f64,
    qkv_bias: bool,
    output_bias: bool,
    mlp_bias: bool,
    /// For each block who sees whom.
    masks: Vec<Mask>,
    frequencies: Frequencies,
}

impl Llama {
    /// Reads the configuration of a `family` among llama, mistral and qwen2, of transformers 4 (`rope_theta`,
    /// `rope_scaling`) or 5 (`rope_parameters`).
    pub fn read(config: &Config, family: &str) -> Result<Llama> {
        config.must_be("tie_last_hidden_states", true)?;
        let (width, heads) =
            (config.size("hidden_size", most::WIDTH)?, config.size("num_attention_heads", most::HEADS)?);
        let groups = config.size_or("num_key_value_heads", if family == "mistral" { 8 } else { heads }, most::HEADS)?;
        if !heads.is_multiple_of(groups) {
            let found = format!("num_attention_heads is {heads} with num_key_value_heads {groups}");
            return Err(config.impossible(found, "heads that the key-value heads divide"));
        }
        let size = config.size_or("head_dim", (width / heads).max(1), most::WIDTH)?;
        if size % 2 == 1 {
            return Err(config.impossible(format!("the width of a head is {size}"), "an even width"));
        }
        let settings = match config.object("rope_parameters")? {
            Some(settings) => Some(settings),
            None => config.object("rope_scaling")?,
        };
        let theta = config.number("rope_theta", 10_000.0)?;
        let vocabulary = config.size("vocab_size", most::VOCABULARY)?;
        let llama = family == "llama";
        let attention_bias = llama && config.flag("attention_bias", false)?;
        Ok(Llama {
            width,
            heads,
            groups,
            size,
            inner: config.size("intermediate_size", most::INNER)?,
            vocabulary,
            padding: config.padding(None, vocabulary)?,
            positions: config.size("max_position_embeddings", most::POSITIONS)?,
            activation: config.activation("hidden_act", "silu")?,
            epsilon: config.number("rms_norm_eps", 1e-6)?,
            initializer_range: config.number("initializer_range", 0.02)?,
            qkv_bias: attention_bias || family == "qwen2",
            output_bias: attention_bias,
            mlp_bias: llama && config.flag("mlp_bias", false)?,
            masks: masks(config, family)?,
            frequencies: Frequencies::read(settings.as_ref(), theta, size)?,
        })
    }
}

/// Who sees whom in each block.
fn masks(config: &Config, family: &str) -> Result<Vec<Mask>> {
    let blocks = config.size("num_hidden_layers", most::BLOCKS)?;
    let window = config.size_unless_null("sliding_window", 4096, most::POSITIONS)?;
    match family {
        "mistral" => {
            config.must_be_absent("layer_types")?;
            Ok(vec![window.map_or(Mask::Causal, Mask::CausalNear); blocks])
        }
        "qwen2" if config.flag("use_sliding_window", false)? => {
            let near = window.map_or(Mask::Causal, Mask::CausalNear);
            if let Some(types) = config.strings("layer_types")? {
                if types.len() != blocks {
                    let found = format!("layer_types lists {} with num_hidden_layers {blocks}", types.len());
                    return Err(config.impossible(found, "one type for each layer"));
                }
                let mask = |kind: &&str| match *kind {
                    "full_attention" => Ok(Mask::Causal),
                    "sliding_attention" => Ok(near),
                    other => Err(config.not_implemented("layer_types", other, "full_attention or sliding_attention")),
                };
                return types.iter().map(mask).collect();
            }
            let full = config.integer("max_window_layers", 28)?;
            Ok((0..blocks as i64).map(|i| if i >= full { near } else { Mask::Causal }).collect())
        }
        _ => Ok(vec![Mask::Causal; blocks]),
    }
}

impl Architecture for Llama {
    fn shape(&self) -> Shape {
        Shape {
            width: self.width,
            blocks: self.masks.len(),
            vocabulary: self.vocabulary,
            longest: self.positions,
            special_tokens: false,
        }
    }

    fn causal(&self) -> bool {
        true
    }

    fn params(&self) -> Vec<Param> {
        let (width, inner) = (self.width, self.inner);
        let (queries, keys) = (self.heads * self.size, self.groups * self.size);
        let mut list = ParamList::new(self.initializer_range);
        list.embedding("embed_tokens", [self.vocabulary, width], self.padding, "vocab_size, hidden_size");
        for block in 0..self.masks.len() {
            let at = |name: &str| format!("layers.{block}.{name}");
            let head = "num_attention_heads, head_dim, hidden_size";
            let group = "num_key_value_heads, head_dim, hidden_size";
            list.dense(&at("self_attn.q_proj"), [queries, width], self.qkv_bias, head);
            list.dense(&at("self_attn.k_proj"), [keys, width], self.qkv_bias, group);
            list.dense(&at("self_attn.v_proj"), [keys, width], self.qkv_bias, group);
            list.dense(&at("self_attn.o_proj"), [width, queries], self.output_bias, head);
            list.dense(&at("mlp.gate_proj"), [inner, width], self.mlp_bias, "intermediate_size, hidden_size");
            list.dense(&at("mlp.up_proj"), [inner, width], self.mlp_bias, "intermediate_size, hidden_size");
            list.dense(&at("mlp.down_proj"), [width, inner], self.mlp_bias, "hidden_size, intermediate_size");
            list.norm(&at("input_layernorm"), width, false, "hidden_size");
            list.norm(&at("post_attention_layernorm"), width, false, "hidden_size");
        }
        list.norm("norm", width, false, "hidden_size");
        list.finish()
    }

    fn stem(&self) -> &'static str {
        "model"
    }

    fn build(&self, tensors: &mut Tensors) -> CandleResult<Box<dyn Model>> {
        let block = |(block, mask): (usize, &Mask)| {
            let at = |name: &str| format!("layers.{block}.{name}");
            let (q, k, v) = (at("self_attn.q_proj"), at("self_attn.k_proj"), at("self_attn.v_proj"));
            Ok(Block {
                attention_norm: tensors.norm(&at("input_layernorm"), Normalise::Rms, self.epsilon)?,
                qkv: tensors.joined(&[q, k, v])?,
                attention_output: tensors.dense(&at("self_attn.o_proj"))?,
                norm: tensors.norm(&at("post_attention_layernorm"), Normalise::Rms, self.epsilon)?,
                gate_up: tensors.joined(&[at("mlp.gate_proj"), at("mlp.up_proj")])?,
                down: tensors.dense(&at("mlp.down_proj"))?,
                mask: *mask,
            })
        };
        let blocks = self.masks.iter().enumerate().map(block).collect::<CandleResult<_>>()?;
        Ok(Box::new(LlamaModel {
            words: tensors.take("embed_tokens.weight")?,
            blocks,
            final_norm: tensors.norm("norm", Normalise::Rms, self.epsilon)?,
            heads: self.heads,
            groups: self.groups,
            size: self.size,
            frequencies: self.frequencies.clone(),
            activation: self.activation,
        }))
    }
}

struct Block {
    attention_norm: Norm,
    qkv: Dense,
    attention_output: Dense,
    norm: Norm,
    /// Gate and up map, side by side.
    gate_up: Dense,
    down: Dense,
    mask: Mask,
}

struct LlamaModel {
    words: Tensor,
    blocks: Vec<Block>,
    final_norm: Norm,
    heads: usize,
    groups: usize,
    size: usize,
    frequencies: Frequencies,
    activation: Activation,
}

impl Model for LlamaModel {
    fn forward(&self, packed: &Packed, sink: &mut Sink<'_>) -> CandleResult<()> {
        let mut x = look_up(&self.words, &packed.ids, packed)?;
        sink(0, &x)?;
        let ends: Arc<[usize]> = packed.ends.clone().into();
        let turns = self.frequencies.turns(packed.longest())?;
        let full = Attention { groups: self.groups, ..Attention::full(&ends, self.heads, self.size) };
        for (i, block) in self.blocks.iter().enumerate() {
            let attention = Attention { mask: block.mask, ..full.clone() };
            let qkv = block.qkv.apply(&block.attention_norm.apply(&x)?)?;
            let qkv = ops::rotate(&qkv, &turns, &ends, self.heads + self.groups)?;
            x = x.add(&block.attention_output.apply(&attention.apply(&qkv, None)?)?)?;
            let inner = ops::gated(&block.gate_up.apply(&block.norm.apply(&x)?)?, self.activation)?;
            x = x.add(&block.down.apply(&inner)?)?;
            if i + 1 == self.blocks.len() {
                x = self.final_norm.apply(&x)?;
            }
            sink(i + 1, &x)?;
        }
        Ok(())
    }
}
