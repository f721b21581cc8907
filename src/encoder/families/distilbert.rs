//! DistilBERT (Sanh et al. 2019, <https://arxiv.org/abs/1910.01108>), as in transformers' `modeling_distilbert.py`: half
//! of BERT's blocks, no token types.

use super::post_norm::{Blocks, EmbeddingKeys, Embeddings, Names, PostNorm};
use super::{heads_divide, most};
use crate::encoder::config::Config;
use crate::encoder::layers::Numbering;
use crate::error::Result;

static NAMES: Names = Names {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    intermediate: "ffn.lin1",
    output: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// Reads a DistilBERT configuration.
pub(super) fn read(config: &Config) -> Result<PostNorm> {
    let (width, heads) = (config.size("dim", most::WIDTH)?, config.size("n_heads", most::HEADS)?);
    heads_divide(config, ("dim", width), ("n_heads", heads))?;
    let vocabulary = config.size("vocab_size", most::VOCABULARY)?;
    // Not configurable in this family.
    let epsilon = 1e-12;
    let positions = config.size("max_position_embeddings", most::POSITIONS)?;
    Ok(PostNorm {
        stem: "distilbert",
        embeddings: Embeddings {
            vocabulary,
            width,
            positions: Some((positions, Numbering::FromZero)),
            types: 0,
            padding: config.padding(Some(0), vocabulary)?,
            epsilon,
            keys: EmbeddingKeys {
                words: "vocab_size, dim",
                positions: "max_position_embeddings, dim",
                types: "",
                norm: "dim",
            },
            sinusoidal: config.flag("sinusoidal_pos_embds", false)?,
        },
        projection: None,
        blocks: Blocks {
            width,
            heads,
            size: width / heads,
            inner: config.size("hidden_dim", most::INNER)?,
            activation: config.activation("activation", "gelu")?,
            epsilon,
            names: &NAMES,
        },
        order: PostNorm::numbered("transformer.layer", config.size("n_layers", most::BLOCKS)?),
        bias: None,
        initializer_range: config.number("initializer_range", 0.02)?,
    })
}
