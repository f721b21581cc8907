//! BERT (Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>), as in transformers' `modeling_bert.py`: learned
//! absolute positions, post-norm blocks. MiniLM and other distilled copies share it.

use super::most;
use super::post_norm::{BERT_NAMES, Blocks, Embeddings, HIDDEN_KEYS, PostNorm};
use crate::encoder::config::Config;
use crate::error::Result;

/// Refuses what would make a BERT-like encoder another one.
pub(super) fn plain_encoder(config: &Config) -> Result<()> {
    config.choice("position_embedding_type", &[("absolute", ())])?;
    config.must_be_off("is_decoder")?;
    config.must_be_off("add_cross_attention")
}

/// Reads a BERT configuration.
pub(super) fn read(config: &Config) -> Result<PostNorm> {
    plain_encoder(config)?;
    let blocks = Blocks::read(config, "gelu", &BERT_NAMES)?;
    let types = config.size_or("type_vocab_size", 2, most::TYPES)?;
    Ok(PostNorm {
        stem: "bert",
        embeddings: Embeddings::read(config, blocks.width, HIDDEN_KEYS, types)?,
        projection: None,
        blocks,
        order: PostNorm::numbered("encoder.layer", config.size("num_hidden_layers", most::BLOCKS)?),
        bias: None,
        initializer_range: config.number("initializer_range", 0.02)?,
    })
}
