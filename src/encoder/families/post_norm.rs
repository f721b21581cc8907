//! What BERT and its descendants share: summed and normalised embeddings, then blocks that normalise after each
//! residual sum (Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>; transformers' `modeling_bert.py`).

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor};

use super::{Architecture, Model, Shape, Sink, heads_divide, most};
use crate::compute::cpu::Activation;
use crate::encoder::config::Config;
use crate::encoder::layers::{Dense, Norm, Numbering, ParamList, Tensors, look_up, select};
use crate::encoder::ops::{Attention, Normalise, RelativeBias};
use crate::encoder::packed::Packed;
use crate::encoder::params::{Param, Start};
use crate::encoder::rows::Rows;
use crate::error::Result;

/// What the parts of a block are called, below the block's own name.
#[derive(Debug)]
pub(super) struct Names {
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub attention_output: &'static str,
    pub attention_norm: &'static str,
    pub intermediate: &'static str,
    pub output: &'static str,
    pub output_norm: &'static str,
}

/// BERT's names, used by most of its descendants.
pub(super) static BERT_NAMES: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
};

/// The sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    pub width: usize,
    pub heads: usize,
    /// Width of a head.
    pub size: usize,
    pub inner: usize,
    pub activation: Activation,
    pub epsilon: f64,
    pub names: &'static Names,
}

impl Blocks {
    /// Reads the sizes under the keys that most families use.
    pub fn read(config: &Config, activation: &'static str, names: &'static Names) -> Result<Blocks> {
        let (width, heads) =
            (config.size("hidden_size", most::WIDTH)?, config.size("num_attention_heads", most::HEADS)?);
        heads_divide(config, ("hidden_size", width), ("num_attention_heads", heads))?;
        Ok(Blocks {
            width,
            heads,
            size: width / heads,
            inner: config.size("intermediate_size", most::INNER)?,
            activation: config.activation("hidden_act", activation)?,
            epsilon: config.number("layer_norm_eps", 1e-12)?,
            names,
        })
    }

    /// Adds the tensors of the block called `stem`.
    pub fn params(&self, stem: &str, list: &mut ParamList) {
        let (width, inner, all) = (self.width, self.inner, self.heads * self.size);
        let at = |name: &str| format!("{stem}.{name}");
        for name in [self.names.query, self.names.key, self.names.value] {
            list.dense(&at(name), [all, width], true, "hidden_size");
        }
        list.dense(&at(self.names.attention_output), [width, all], true, "hidden_size");
        list.norm(&at(self.names.attention_norm), width, true, "hidden_size");
        list.dense(&at(self.names.intermediate), [inner, width], true, "intermediate_size, hidden_size");
        list.dense(&at(self.names.output), [width, inner], true, "hidden_size, intermediate_size");
        list.norm(&at(self.names.output_norm), width, true, "hidden_size");
    }

    /// Arranges the tensors of the block called `stem`; query, key and value become one product.
    pub fn build(&self, stem: &str, tensors: &mut Tensors) -> CandleResult<Block> {
        let at = |name: &str| format!("{stem}.{name}");
        let mut norm = |name: &str| tensors.norm(&at(name), Normalise::Layer, self.epsilon);
        let (attention_norm, output_norm) = (norm(self.names.attention_norm)?, norm(self.names.output_norm)?);
        Ok(Block {
            qkv: tensors.joined(&[at(self.names.query), at(self.names.key), at(self.names.value)])?,
            attention_output: tensors.dense(&at(self.names.attention_output))?,
            attention_norm,
            intermediate: tensors.dense(&at(self.names.intermediate))?,
            output: tensors.dense(&at(self.names.output))?,
            output_norm,
            activation: self.activation,
        })
    }
}

/// One block with its weights.
pub(super) struct Block {
    /// Query, key and value, side by side.
    pub qkv: Dense,
    attention_output: Dense,
    attention_norm: Norm,
    intermediate: Dense,
    output: Dense,
    output_norm: Norm,
    activation: Activation,
}

impl Block {
    /// (tokens, width) → (tokens, width); `attend` maps queries, keys and values to what was attended to.
    pub fn forward(&self, x: &Rows, attend: impl FnOnce(&Rows) -> CandleResult<Rows>) -> CandleResult<Rows> {
        let attended = attend(&self.qkv.apply(x)?)?;
        let middle = self.attention_norm.apply_sum(&self.attention_output.apply(&attended)?, x)?;
        let inner = self.intermediate.activated(&middle, self.activation)?;
        self.output_norm.apply_sum(&self.output.apply(&inner)?, &middle)
    }
}

/// Summed embeddings: words, absolute positions and token type 0, as far as there are any.
#[derive(Debug, Clone)]
pub(super) struct Embeddings {
    pub vocabulary: usize,
    pub width: usize,
    /// Rows of the table of positions and how tokens are numbered.
    pub positions: Option<(usize, Numbering)>,
    /// Rows of the table of token types; a single text has type 0 throughout.
    pub types: usize,
    pub padding: Option<usize>,
    pub epsilon: f64,
    /// The configuration key of the width.
    pub keys: EmbeddingKeys,
    /// Whether fresh positions are sinusoids (DistilBERT).
    pub sinusoidal: bool,
}

/// The configuration keys that the shapes of embeddings come from, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct EmbeddingKeys {
    pub words: &'static str,
    pub positions: &'static str,
    pub types: &'static str,
    pub norm: &'static str,
}

/// Keys of embeddings as wide as the hidden states.
pub(super) const HIDDEN_KEYS: EmbeddingKeys = EmbeddingKeys {
    words: "vocab_size, hidden_size",
    positions: "max_position_embeddings, hidden_size",
    types: "type_vocab_size, hidden_size",
    norm: "hidden_size",
};

/// Keys of embeddings with a width of their own.
pub(super) const FACTOR_KEYS: EmbeddingKeys = EmbeddingKeys {
    words: "vocab_size, embedding_size",
    positions: "max_position_embeddings, embedding_size",
    types: "type_vocab_size, embedding_size",
    norm: "embedding_size",
};

impl Embeddings {
    /// Reads the sizes under the keys that most families use; positions count from 0.
    pub fn read(config: &Config, width: usize, keys: EmbeddingKeys, types: usize) -> Result<Embeddings> {
        let vocabulary = config.size("vocab_size", most::VOCABULARY)?;
        Ok(Embeddings {
            vocabulary,
            width,
            positions: Some((config.size("max_position_embeddings", most::POSITIONS)?, Numbering::FromZero)),
            types,
            padding: config.padding(Some(0), vocabulary)?,
            epsilon: config.number("layer_norm_eps", 1e-12)?,
            keys,
            sinusoidal: false,
        })
    }

    /// The longest text that the positions allow.
    pub fn longest(&self) -> usize {
        match self.positions {
            Some((rows, Numbering::FromZero)) => rows,
            Some((rows, Numbering::AfterPadding(padding))) => rows.saturating_sub(padding as usize + 1),
            None => usize::MAX,
        }
    }

    /// Adds the tables, without the norm, which some families place elsewhere.
    pub fn table_params(&self, list: &mut ParamList) {
        list.embedding("embeddings.word_embeddings", [self.vocabulary, self.width], self.padding, self.keys.words);
        if let Some((rows, numbering)) = self.positions {
            let padding = match numbering {
                Numbering::FromZero => None,
                Numbering::AfterPadding(padding) => Some(padding as usize),
            };
            let name = "embeddings.position_embeddings";
            if self.sinusoidal {
                list.add(format!("{name}.weight"), &[rows, self.width], self.keys.positions, Start::Sinusoids);
            } else {
                list.embedding(name, [rows, self.width], padding, self.keys.positions);
            }
        }
        if self.types > 0 {
            list.embedding("embeddings.token_type_embeddings", [self.types, self.width], None, self.keys.types);
        }
    }

    /// Arranges the tables.
    pub fn build(&self, tensors: &mut Tensors) -> CandleResult<EmbeddingTables> {
        let words = tensors.take("embeddings.word_embeddings.weight")?;
        let positions = match self.positions {
            Some((_, numbering)) => Some((tensors.take("embeddings.position_embeddings.weight")?, numbering)),
            None => None,
        };
        let type_zero = match self.types {
            0 => None,
            _ => Some(tensors.take("embeddings.token_type_embeddings.weight")?.narrow(0, 0, 1)?.contiguous()?),
        };
        Ok(EmbeddingTables { words, positions, type_zero })
    }
}

/// Tables of embeddings.
pub(super) struct EmbeddingTables {
    words: Tensor,
    positions: Option<(Tensor, Numbering)>,
    /// The embedding of token type 0, the only one that a single text uses.
    type_zero: Option<Tensor>,
}

impl EmbeddingTables {
    /// The sum of each token's embeddings (tokens, width).
    pub fn sum(&self, packed: &Packed) -> CandleResult<Rows> {
        let mut sum = look_up(&self.words, &packed.ids, packed)?;
        if let Some(type_zero) = &self.type_zero {
            sum = sum.add_row(type_zero)?;
        }
        if let Some((table, numbering)) = &self.positions {
            sum = sum.add(&look_up(table, &numbering.positions(packed), packed)?)?;
        }
        Ok(sum)
    }
}

/// The row of a table of relative positions that belongs to the distance j − i.
pub(super) type RowOf = fn(i64) -> usize;

/// An encoder of embeddings, perhaps a projection, and post-norm blocks with plain attention.
#[derive(Debug)]
pub(super) struct PostNorm {
    pub stem: &'static str,
    pub embeddings: Embeddings,
    /// Name of the map from the width of the embeddings to that of the hidden states, where there is one.
    pub projection: Option<&'static str>,
    pub blocks: Blocks,
    /// The names of the blocks, in the order in which they run; a name may stand several times (ALBERT).
    pub order: Vec<String>,
    /// Relative position bias (MPNet): the name of its table, its rows, and which row serves a distance.
    pub bias: Option<(&'static str, usize, RowOf)>,
    pub initializer_range: f64,
}

impl PostNorm {
    /// The usual names of `n` blocks.
    pub fn numbered(stem: &str, n: usize) -> Vec<String> {
        (0..n).map(|block| format!("{stem}.{block}")).collect()
    }

    /// The different blocks, in the order of their first use.
    fn distinct(&self) -> Vec<&String> {
        let mut seen = std::collections::HashSet::new();
        self.order.iter().filter(|name| seen.insert(name.as_str())).collect()
    }
}

impl Architecture for PostNorm {
    fn shape(&self) -> Shape {
        Shape {
            width: self.blocks.width,
            blocks: self.order.len(),
            vocabulary: self.embeddings.vocabulary,
            longest: self.embeddings.longest(),
            special_tokens: true,
        }
    }

    fn params(&self) -> Vec<Param> {
        let mut list = ParamList::new(self.initializer_range);
        self.embeddings.table_params(&mut list);
        list.norm("embeddings.LayerNorm", self.embeddings.width, true, self.embeddings.keys.norm);
        if let Some(name) = self.projection {
            list.dense(name, [self.blocks.width, self.embeddings.width], true, "hidden_size, embedding_size");
        }
        for name in self.distinct() {
            self.blocks.params(name, &mut list);
        }
        if let Some((name, rows, _)) = self.bias {
            let keys = "relative_attention_num_buckets, num_attention_heads";
            list.embedding(name, [rows, self.blocks.heads], None, keys);
        }
        list.finish()
    }

    fn stem(&self) -> &'static str {
        self.stem
    }

    fn build(&self, tensors: &mut Tensors) -> CandleResult<Box<dyn Model>> {
        let distinct = self.distinct();
        let blocks = distinct.iter().map(|name| self.blocks.build(name, tensors)).collect::<CandleResult<_>>()?;
        let order = self.order.iter().filter_map(|name| distinct.iter().position(|d| *d == name)).collect();
        let bias = match self.bias {
            Some((name, _, row)) => Some((tensors.take(&format!("{name}.weight"))?, row)),
            None => None,
        };
        Ok(Box::new(PostNormModel {
            embeddings: self.embeddings.build(tensors)?,
            norm: tensors.norm("embeddings.LayerNorm", Normalise::Layer, self.embeddings.epsilon)?,
            projection: self.projection.map(|name| tensors.dense(name)).transpose()?,
            blocks,
            order,
            bias,
            heads: self.blocks.heads,
            size: self.blocks.size,
        }))
    }
}

struct PostNormModel {
    embeddings: EmbeddingTables,
    norm: Norm,
    projection: Option<Dense>,
    blocks: Vec<Block>,
    order: Vec<usize>,
    bias: Option<(Tensor, RowOf)>,
    heads: usize,
    size: usize,
}

impl PostNormModel {
    /// The bias for every distance between tokens of texts of at most `longest` tokens.
    fn relative_bias(&self, longest: usize) -> CandleResult<Option<RelativeBias>> {
        let Some((table, row)) = &self.bias else { return Ok(None) };
        let reach = longest as i64 - 1;
        let rows: Vec<u32> = (-reach..=reach).map(|distance| row(distance) as u32).collect();
        let table = select(table, &rows)?.t()?.contiguous()?;
        Ok(Some(RelativeBias { table, longest }))
    }
}

impl Model for PostNormModel {
    fn forward(&self, packed: &Packed, sink: &mut Sink<'_>) -> CandleResult<()> {
        let mut x = self.norm.apply(&self.embeddings.sum(packed)?)?;
        if let Some(projection) = &self.projection {
            x = projection.apply(&x)?;
        }
        sink(0, &x)?;
        let ends: Arc<[usize]> = packed.ends.clone().into();
        let attention = Attention::full(&ends, self.heads, self.size);
        let bias = self.relative_bias(packed.longest())?;
        for (i, block) in self.order.iter().enumerate() {
            x = self.blocks[*block].forward(&x, |qkv| attention.apply(qkv, bias.as_ref()))?;
            sink(i + 1, &x)?;
        }
        Ok(())
    }
}
