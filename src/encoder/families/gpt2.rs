//! GPT-2 (Radford et al. 2019), as in transformers' `modeling_gpt2.py`: a causal decoder with learned absolute positions
//! and norms before each sub-layer. Its linear maps are stored transposed (`Conv1D`).

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor};

use super::{Architecture, Model, Shape, Sink, heads_divide, most};
use crate::compute::cpu::Activation;
use crate::encoder::config::Config;
use crate::encoder::layers::{Dense, Norm, Numbering, ParamList, Tensors, look_up};
use crate::encoder::ops::{Attention, Mask, Normalise};
use crate::encoder::packed::Packed;
use crate::encoder::params::{Param, Start};
use crate::error::Result;

/// What of `config.json` decides a GPT-2.
#[derive(Debug)]
pub(super) struct Gpt2 {
    width: usize,
    blocks: usize,
    heads: usize,
    inner: usize,
    vocabulary: usize,
    positions: usize,
    activation: Activation,
    epsilon: f64,
    initializer_range: f64,
    /// Scores are divided by √(width of a head).
    scaled: bool,
    /// Scores of block k (from 0) are divided by k + 1.
    scaled_by_depth: bool,
}

impl Gpt2 {
    /// Reads a GPT-2 configuration.
    pub fn read(config: &Config) -> Result<Gpt2> {
        config.must_be_off("add_cross_attention")?;
        config.must_be("tie_last_hidden_states", true)?;
        let (width, heads) = (config.size("n_embd", most::WIDTH)?, config.size("n_head", most::HEADS)?);
        heads_divide(config, ("n_embd", width), ("n_head", heads))?;
        Ok(Gpt2 {
            width,
            blocks: config.size("n_layer", most::BLOCKS)?,
            heads,
            inner: config.size_or("n_inner", 4 * width, most::INNER)?,
            vocabulary: config.size("vocab_size", most::VOCABULARY)?,
            positions: config.size("n_positions", most::POSITIONS)?,
            activation: config.activation("activation_function", "gelu_new")?,
            epsilon: config.number("layer_norm_epsilon", 1e-5)?,
            initializer_range: config.number("initializer_range", 0.02)?,
            scaled: config.flag("scale_attn_weights", true)?,
            scaled_by_depth: config.flag("scale_attn_by_inverse_layer_idx", false)?,
        })
    }
}

impl Architecture for Gpt2 {
    fn shape(&self) -> Shape {
        Shape {
            width: self.width,
            blocks: self.blocks,
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
        let mut list = ParamList::new(self.initializer_range);
        list.embedding("wte", [self.vocabulary, width], None, "vocab_size, n_embd");
        list.embedding("wpe", [self.positions, width], None, "n_positions, n_embd");
        // The paths into the residual stream start smaller, the more there are (Radford et al. 2019, section 2.3).
        let residual = Start::Normal(self.initializer_range / (2.0 * self.blocks as f64).sqrt());
        let normal = Start::Normal(self.initializer_range);
        for block in 0..self.blocks {
            let mut conv = |name: &str, inputs: usize, outputs: usize, start: Start, keys: &'static str| {
                list.add(format!("h.{block}.{name}.weight"), &[inputs, outputs], keys, start);
                list.add(format!("h.{block}.{name}.bias"), &[outputs], keys, Start::Zeros);
            };
            conv("attn.c_attn", width, 3 * width, normal, "n_embd");
            conv("attn.c_proj", width, width, residual, "n_embd");
            conv("mlp.c_fc", width, inner, normal, "n_embd, n_inner");
            conv("mlp.c_proj", inner, width, residual, "n_inner, n_embd");
            list.norm(&format!("h.{block}.ln_1"), width, true, "n_embd");
            list.norm(&format!("h.{block}.ln_2"), width, true, "n_embd");
        }
        list.norm("ln_f", width, true, "n_embd");
        list.finish()
    }

    fn stem(&self) -> &'static str {
        "transformer"
    }

    fn transposed(&self) -> bool {
        true
    }

    fn build(&self, tensors: &mut Tensors) -> CandleResult<Box<dyn Model>> {
        let block = |block: usize| {
            let at = |name: &str| format!("h.{block}.{name}");
            let scale = if self.scaled { ((self.width / self.heads) as f32).sqrt() } else { 1.0 };
            let depth = if self.scaled_by_depth { (block + 1) as f32 } else { 1.0 };
            Ok(Block {
                attention_norm: tensors.norm(&at("ln_1"), Normalise::Layer, self.epsilon)?,
                qkv: tensors.transposed(&at("attn.c_attn"))?,
                attention_output: tensors.transposed(&at("attn.c_proj"))?,
                norm: tensors.norm(&at("ln_2"), Normalise::Layer, self.epsilon)?,
                intermediate: tensors.transposed(&at("mlp.c_fc"))?,
                output: tensors.transposed(&at("mlp.c_proj"))?,
                scale: 1.0 / (scale * depth),
            })
        };
        let blocks = (0..self.blocks).map(block).collect::<CandleResult<_>>()?;
        Ok(Box::new(Gpt2Model {
            words: tensors.take("wte.weight")?,
            positions: tensors.take("wpe.weight")?,
            blocks,
            final_norm: tensors.norm("ln_f", Normalise::Layer, self.epsilon)?,
            heads: self.heads,
            size: self.width / self.heads,
            activation: self.activation,
        }))
    }
}

struct Block {
    attention_norm: Norm,
    qkv: Dense,
    attention_output: Dense,
    norm: Norm,
    intermediate: Dense,
    output: Dense,
    scale: f32,
}

struct Gpt2Model {
    words: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
    final_norm: Norm,
    heads: usize,
    size: usize,
    activation: Activation,
}

impl Model for Gpt2Model {
    fn forward(&self, packed: &Packed, sink: &mut Sink<'_>) -> CandleResult<()> {
        let positions = look_up(&self.positions, &Numbering::FromZero.positions(packed), packed)?;
        let mut x = look_up(&self.words, &packed.ids, packed)?.add(&positions)?;
        sink(0, &x)?;
        let ends: Arc<[usize]> = packed.ends.clone().into();
        let attention = Attention { mask: Mask::Causal, ..Attention::full(&ends, self.heads, self.size) };
        for (i, block) in self.blocks.iter().enumerate() {
            let attention = Attention { scale: block.scale, ..attention.clone() };
            let attended = attention.apply(&block.qkv.apply(&block.attention_norm.apply(&x)?)?, None)?;
            x = x.add(&block.attention_output.apply(&attended)?)?;
            let inner = block.intermediate.activated(&block.norm.apply(&x)?, self.activation)?;
            x = x.add(&block.output.apply(&inner)?)?;
            if i + 1 == self.blocks.len() {
                x = self.final_norm.apply(&x)?;
            }
            sink(i + 1, &x)?;
        }
        Ok(())
    }
}
