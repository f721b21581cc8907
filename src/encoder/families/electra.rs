//! ELECTRA (Clark et al. 2020, <https://arxiv.org/abs/2003.10555>), as in transformers' `modeling_electra.py`: BERT with
//! embeddings that may be narrower than the hidden states and are then projected to their width.

use super::post_norm::{BERT_NAMES, Blocks, Embeddings, FACTOR_KEYS, PostNorm};
use super::{bert, most};
use crate::encoder::config::Config;
use crate::error::Result;

/// Reads an ELECTRA configuration.
pub(super) fn read(config: &Config) -> Result<PostNorm> {
    bert::plain_encoder(config)?;
    let blocks = Blocks::read(config, "gelu", &BERT_NAMES)?;
    let width = config.size_or("embedding_size", 128, most::WIDTH)?;
    let types = config.size_or("type_vocab_size", 2, most::TYPES)?;
    Ok(PostNorm {
        stem: "electra",
        embeddings: Embeddings::read(config, width, FACTOR_KEYS, types)?,
        projection: (width != blocks.width).then_some("embeddings_project"),
        blocks,
        order: PostNorm::numbered("encoder.layer", config.size("num_hidden_layers", most::BLOCKS)?),
        bias: None,
        initializer_range: config.number("initializer_range", 0.02)?,
    })
}
