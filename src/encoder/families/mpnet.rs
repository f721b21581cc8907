//! MPNet (Song et al. 2020, <https://arxiv.org/abs/2004.09297>), as in transformers' `modeling_mpnet.py`: RoBERTa without
//! token types, and with a bias on attention scores that depends on the distance of two tokens.

use super::most;
use super::post_norm::{Blocks, Embeddings, HIDDEN_KEYS, Names, PostNorm};
use crate::encoder::config::Config;
use crate::encoder::layers::Numbering;
use crate::error::Result;

static NAMES: Names = Names {
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    attention_output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
};

/// Distances are sorted into this many buckets, whatever `relative_attention_num_buckets` says (transformers passes the
/// setting to the size of the table only).
const BUCKETS: usize = 32;
/// Half of the buckets for tokens before, half for tokens after.
const SIDE: usize = BUCKETS / 2;

/// Reads an MPNet configuration.
pub(super) fn read(config: &Config) -> Result<PostNorm> {
    let blocks = Blocks::read(config, "gelu", &NAMES)?;
    let mut embeddings = Embeddings::read(config, blocks.width, HIDDEN_KEYS, 0)?;
    // Fixed in this family, whatever pad_token_id says.
    let padding = 1;
    let rows = config.size("max_position_embeddings", most::POSITIONS)?;
    if rows < padding + 2 || embeddings.vocabulary <= padding {
        let found = format!("max_position_embeddings is {rows} with vocab_size {}", embeddings.vocabulary);
        return Err(config.impossible(found, "at least 3 positions and 2 tokens"));
    }
    embeddings.padding = Some(padding);
    embeddings.positions = Some((rows, Numbering::AfterPadding(padding as u32)));
    let buckets = config.size_or("relative_attention_num_buckets", BUCKETS, most::TYPES)?;
    if buckets < BUCKETS {
        let found = format!("relative_attention_num_buckets is {buckets}");
        return Err(config.impossible(found, &format!("at least {BUCKETS}, which this family always uses")));
    }
    Ok(PostNorm {
        stem: "mpnet",
        embeddings,
        projection: None,
        blocks,
        order: PostNorm::numbered("encoder.layer", config.size("num_hidden_layers", most::BLOCKS)?),
        bias: Some(("encoder.relative_attention_bias", buckets, bucket)),
        initializer_range: config.number("initializer_range", 0.02)?,
    })
}

/// The bucket of the distance j − i from the attending token i: exact up to 8, then logarithmic up to 128 (T5's scheme,
/// Raffel et al. 2019, <https://arxiv.org/abs/1910.10683>). In float32, as the buckets' edges were in training.
fn bucket(distance: i64) -> usize {
    const EXACT: usize = SIDE / 2;
    const FARTHEST: f64 = 128.0;
    let after = if distance > 0 { SIDE } else { 0 };
    let n = distance.unsigned_abs() as usize;
    if n < EXACT {
        return after + n;
    }
    let scale = (FARTHEST / EXACT as f64).ln() as f32;
    let log = (n as f32 / EXACT as f32).ln() / scale * (SIDE - EXACT) as f32;
    after + (EXACT + log as usize).min(SIDE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_the_buckets_of_transformers() {
        // MPNetEncoder.relative_position_bucket(torch.tensor([...])).
        let expected = [(0, 0), (-1, 1), (1, 17), (-7, 7), (7, 23), (-8, 8), (16, 26), (-32, 12), (64, 30), (128, 31)];
        for (distance, row) in expected {
            assert_eq!(bucket(distance), row, "{distance}");
        }
    }
}
