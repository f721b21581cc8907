//! ALBERT (Lan et al. 2019, <https://arxiv.org/abs/1909.11942>), as in transformers' `modeling_albert.py`: narrow
//! embeddings, always projected, and blocks that share their weights.

use super::post_norm::{Blocks, Embeddings, FACTOR_KEYS, Names, PostNorm};
use super::{bert, most};
use crate::encoder::config::Config;
use crate::error::Result;

static NAMES: Names = Names {
    query: "attention.query",
    key: "attention.key",
    value: "attention.value",
    attention_output: "attention.dense",
    attention_norm: "attention.LayerNorm",
    intermediate: "ffn",
    output: "ffn_output",
    output_norm: "full_layer_layer_norm",
};

/// Reads an ALBERT configuration. With several inner blocks per group each of them is a layer, as in transformers 5.
pub(super) fn read(config: &Config) -> Result<PostNorm> {
    bert::plain_encoder(config)?;
    let blocks = Blocks::read(config, "gelu_new", &NAMES)?;
    let width = config.size_or("embedding_size", 128, most::WIDTH)?;
    let types = config.size_or("type_vocab_size", 2, most::TYPES)?;
    let depth = config.size("num_hidden_layers", most::BLOCKS)?;
    let groups = config.size_or("num_hidden_groups", 1, most::BLOCKS)?;
    let inner = config.size_or("inner_group_num", 1, most::BLOCKS)?;
    if groups > depth {
        let found = format!("num_hidden_groups is {groups} with num_hidden_layers {depth}");
        return Err(config.impossible(found, "at most one group per layer"));
    }
    let name = |group: usize, block: usize| format!("encoder.albert_layer_groups.{group}.albert_layers.{block}");
    // The group of layer i as transformers computes it: int(i / (layers / groups)), in floating point.
    let group = |i: usize| (i as f64 / (depth as f64 / groups as f64)) as usize;
    let order = (0..depth).flat_map(|i| (0..inner).map(move |block| name(group(i), block))).collect();
    Ok(PostNorm {
        stem: "albert",
        embeddings: Embeddings::read(config, width, FACTOR_KEYS, types)?,
        projection: Some("encoder.embedding_hidden_mapping_in"),
        blocks,
        order,
        bias: None,
        initializer_range: config.number("initializer_range", 0.02)?,
    })
}
