//! BERT (Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>), as in transformers' `modeling_bert.py`: learned
//! absolute positions, post-norm blocks. MiniLM and other distilled copies share it.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::config::Config;
use super::ops;
use super::packed::Packed;
use super::params::{Param, Start};
use crate::compute::cpu::Activation;
use crate::error::Result;

/// What of `config.json` decides a BERT encoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BertConfig {
    pub width: usize,
    pub blocks: usize,
    pub vocabulary: usize,
    pub positions: usize,
    heads: usize,
    inner: usize,
    types: usize,
    activation: Activation,
    epsilon: f64,
    initializer_range: f64,
    padding: Option<usize>,
}

/// What may stand before the tensor names: a model saved alone, or inside a task model.
pub(crate) const PREFIXES: [&str; 2] = ["", "bert."];

impl BertConfig {
    pub fn read(config: &Config) -> Result<BertConfig> {
        config.no_remote_code()?;
        config.choice("position_embedding_type", &[("absolute", ())])?;
        config.must_be_off("is_decoder")?;
        config.must_be_off("add_cross_attention")?;
        let activation = config.choice(
            "hidden_act",
            &[
                ("gelu", Activation::GeluErf),
                ("gelu_new", Activation::GeluTanh),
                ("gelu_pytorch_tanh", Activation::GeluTanh),
                ("relu", Activation::Relu),
            ],
        )?;
        let bert = BertConfig {
            width: config.size("hidden_size", 1 << 16)?,
            blocks: config.size("num_hidden_layers", 1000)?,
            heads: config.size("num_attention_heads", 1 << 12)?,
            inner: config.size("intermediate_size", 1 << 20)?,
            vocabulary: config.size("vocab_size", 1 << 24)?,
            positions: config.size("max_position_embeddings", 1 << 20)?,
            types: config.size("type_vocab_size", 1 << 10)?,
            activation,
            epsilon: config.number("layer_norm_eps", 1e-12)?,
            initializer_range: config.number("initializer_range", 0.02)?,
            padding: config.index("pad_token_id")?,
        };
        if !bert.width.is_multiple_of(bert.heads) {
            let found = format!("hidden_size is {} with num_attention_heads {}", bert.width, bert.heads);
            return Err(config.impossible(found, "a width that the heads divide"));
        }
        if bert.padding.is_some_and(|p| p >= bert.vocabulary) {
            let found = format!("pad_token_id is {:?} with vocab_size {}", bert.padding, bert.vocabulary);
            return Err(config.impossible(found, "a padding token inside the vocabulary"));
        }
        Ok(bert)
    }

    /// Every tensor of the encoder; the pooler and heads are none of its layers.
    pub fn params(&self) -> Vec<Param> {
        let mut list = Vec::new();
        let mut add = |name: String, shape: &[usize], keys: &'static str, start: Start| {
            list.push(Param { name, shape: shape.to_vec(), keys, start });
        };
        let normal = Start::Normal(self.initializer_range);
        let words = self.padding.map_or(normal, |row| Start::NormalPadded(self.initializer_range, row));
        let (h, i) = (self.width, self.inner);
        add("embeddings.word_embeddings.weight".into(), &[self.vocabulary, h], "vocab_size, hidden_size", words);
        let positions = "max_position_embeddings, hidden_size";
        add("embeddings.position_embeddings.weight".into(), &[self.positions, h], positions, normal);
        add("embeddings.token_type_embeddings.weight".into(), &[self.types, h], "type_vocab_size, hidden_size", normal);
        add("embeddings.LayerNorm.weight".into(), &[h], "hidden_size", Start::Ones);
        add("embeddings.LayerNorm.bias".into(), &[h], "hidden_size", Start::Zeros);
        for block in 0..self.blocks {
            let mut dense = |name: &str, outputs: usize, inputs: usize, keys: &'static str| {
                add(format!("encoder.layer.{block}.{name}.weight"), &[outputs, inputs], keys, normal);
                add(format!("encoder.layer.{block}.{name}.bias"), &[outputs], keys, Start::Zeros);
            };
            for name in ["query", "key", "value"] {
                dense(&format!("attention.self.{name}"), h, h, "hidden_size");
            }
            dense("attention.output.dense", h, h, "hidden_size");
            dense("intermediate.dense", i, h, "intermediate_size, hidden_size");
            dense("output.dense", h, i, "hidden_size, intermediate_size");
            for name in ["attention.output", "output"] {
                add(format!("encoder.layer.{block}.{name}.LayerNorm.weight"), &[h], "hidden_size", Start::Ones);
                add(format!("encoder.layer.{block}.{name}.LayerNorm.bias"), &[h], "hidden_size", Start::Zeros);
            }
        }
        list
    }
}

/// A linear map with its bias.
struct Dense {
    weight: Tensor,
    bias: Tensor,
}

struct Block {
    qkv: Dense,
    attention_output: Dense,
    attention_norm: Tensor,
    intermediate: Dense,
    output: Dense,
    output_norm: Tensor,
}

/// A BERT encoder with its weights.
pub(crate) struct Bert {
    words: Tensor,
    positions: Tensor,
    /// The embedding of token type 0, the only one a single text uses.
    type_zero: Tensor,
    embedding_norm: Tensor,
    blocks: Vec<Block>,
    heads: usize,
    activation: Activation,
    epsilon: f32,
}

impl Bert {
    /// Arranges the tensors named by [`BertConfig::params`]; query, key and value become one product.
    pub fn new(config: &BertConfig, mut tensors: HashMap<String, Tensor>) -> candle_core::Result<Bert> {
        let mut take = |name: String| {
            tensors.remove(&name).ok_or_else(|| candle_core::Error::Msg(format!("tensor {name} was not loaded")))
        };
        let mut blocks = Vec::with_capacity(config.blocks);
        for block in 0..config.blocks {
            let at = |name: &str, part: &str| format!("encoder.layer.{block}.{name}.{part}");
            let mut pair =
                |name: &str| Ok::<_, candle_core::Error>((take(at(name, "weight"))?, take(at(name, "bias"))?));
            let (query, key, value) =
                (pair("attention.self.query")?, pair("attention.self.key")?, pair("attention.self.value")?);
            let qkv = Dense {
                weight: Tensor::cat(&[query.0, key.0, value.0], 0)?,
                bias: Tensor::cat(&[query.1, key.1, value.1], 0)?,
            };
            let dense = |(weight, bias): (Tensor, Tensor)| Dense { weight, bias };
            let norm = |(scale, shift): (Tensor, Tensor)| Tensor::stack(&[scale, shift], 0);
            blocks.push(Block {
                qkv,
                attention_output: dense(pair("attention.output.dense")?),
                attention_norm: norm(pair("attention.output.LayerNorm")?)?,
                intermediate: dense(pair("intermediate.dense")?),
                output: dense(pair("output.dense")?),
                output_norm: norm(pair("output.LayerNorm")?)?,
            });
        }
        let norm = [take("embeddings.LayerNorm.weight".into())?, take("embeddings.LayerNorm.bias".into())?];
        Ok(Bert {
            words: take("embeddings.word_embeddings.weight".into())?,
            positions: take("embeddings.position_embeddings.weight".into())?,
            type_zero: take("embeddings.token_type_embeddings.weight".into())?.narrow(0, 0, 1)?,
            embedding_norm: Tensor::stack(&norm, 0)?,
            blocks,
            heads: config.heads,
            activation: config.activation,
            epsilon: config.epsilon as f32,
        })
    }

    /// Runs packed texts through the encoder and hands every layer (0 … blocks) to `sink` as (tokens, width).
    pub fn forward(
        &self,
        packed: &Packed,
        mut sink: impl FnMut(usize, &Tensor) -> candle_core::Result<()>,
    ) -> candle_core::Result<()> {
        let device = Device::Cpu;
        let ids = Tensor::from_slice(&packed.ids, packed.ids.len(), &device)?;
        let positions = Tensor::from_vec(packed.positions(), packed.ids.len(), &device)?;
        let words = self.words.index_select(&ids, 0)?.broadcast_add(&self.type_zero)?;
        let positions = self.positions.index_select(&positions, 0)?;
        let mut x = ops::add_layer_norm(&words, &positions, &self.embedding_norm, self.epsilon)?;
        let ends: Arc<[usize]> = packed.ends.clone().into();
        sink(0, &x)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let qkv = ops::linear(&x, &block.qkv.weight, &block.qkv.bias, None)?;
            let attended = ops::attention(&qkv, &ends, self.heads)?;
            let out = ops::linear(&attended, &block.attention_output.weight, &block.attention_output.bias, None)?;
            let middle = ops::add_layer_norm(&out, &x, &block.attention_norm, self.epsilon)?;
            let inner =
                ops::linear(&middle, &block.intermediate.weight, &block.intermediate.bias, Some(self.activation))?;
            let out = ops::linear(&inner, &block.output.weight, &block.output.bias, None)?;
            x = ops::add_layer_norm(&out, &middle, &block.output_norm, self.epsilon)?;
            sink(i + 1, &x)?;
        }
        Ok(())
    }
}
