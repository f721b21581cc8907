//! RoBERTa (Liu et al. 2019, <https://arxiv.org/abs/1907.11692>) and its multilingual and French copies XLM-RoBERTa and
//! CamemBERT, as in transformers' `modeling_roberta.py`: BERT with positions that count from the padding token's id + 1.

use super::post_norm::PostNorm;
use super::{bert, most};
use crate::encoder::config::Config;
use crate::encoder::layers::Numbering;
use crate::error::Result;

/// Reads a RoBERTa configuration.
pub(super) fn read(config: &Config) -> Result<PostNorm> {
    let mut roberta = bert::read(config)?;
    roberta.stem = "roberta";
    let embeddings = &mut roberta.embeddings;
    embeddings.padding = config.padding(Some(1), embeddings.vocabulary)?;
    let Some(padding) = embeddings.padding else {
        return Err(config.impossible("pad_token_id is null".to_owned(), "the id from which positions count"));
    };
    let rows = config.size("max_position_embeddings", most::POSITIONS)?;
    if rows < padding + 2 {
        let found = format!("max_position_embeddings is {rows} with pad_token_id {padding}");
        return Err(config.impossible(found, "more positions than the padding token's id + 1"));
    }
    embeddings.positions = Some((rows, Numbering::AfterPadding(padding as u32)));
    Ok(roberta)
}
