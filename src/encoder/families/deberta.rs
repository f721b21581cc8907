//! DeBERTa-v2 and -v3 (He et al. 2020, <https://arxiv.org/abs/2006.03654>; 2021, <https://arxiv.org/abs/2111.09543>), as
//! in transformers' `modeling_deberta_v2.py`: post-norm blocks whose attention also compares contents with relative
//! positions, which are sorted into logarithmic buckets; v2-xlarge adds a convolution beside the first block.

use std::sync::Arc;

use candle_core::{Result as CandleResult, Tensor};

use super::post_norm::{Block, Blocks, EmbeddingKeys, EmbeddingTables, Embeddings, Names, PostNorm};
use super::{Architecture, Model, Shape, Sink, most};
use crate::compute::cpu::Activation;
use crate::encoder::config::Config;
use crate::encoder::layers::{Dense, Norm, ParamList, Tensors};
use crate::encoder::ops::{self, Attention, Disentangled, Normalise};
use crate::encoder::packed::Packed;
use crate::encoder::params::Param;
use crate::encoder::rows::Rows;
use crate::error::Result;

static NAMES: Names = Names {
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_norm: "output.LayerNorm",
};

const KEYS: EmbeddingKeys = EmbeddingKeys {
    words: "vocab_size, embedding_size or hidden_size",
    positions: "max_position_embeddings, embedding_size or hidden_size",
    types: "type_vocab_size, embedding_size or hidden_size",
    norm: "hidden_size",
};

/// What of `config.json` decides a DeBERTa-v2.
#[derive(Debug)]
pub(super) struct Deberta {
    embeddings: Embeddings,
    blocks: Blocks,
    order: Vec<String>,
    /// Without it positions come from the embeddings alone.
    relative: Option<Relative>,
    /// Contents attend to positions, and positions to contents. Both count in the scale even without `relative`.
    terms: (bool, bool),
    convolution: Option<(usize, Activation)>,
    longest: usize,
    initializer_range: f64,
}

/// Relative positions.
#[derive(Debug, Clone, Copy)]
struct Relative {
    /// Distances from −span to span − 1 have rows of their own.
    span: usize,
    /// Number of buckets on either side, and the largest distance that they tell apart.
    buckets: Option<(usize, usize)>,
    /// The projections of contents serve for positions, too.
    shared: bool,
    /// Positions are normalised before they are projected.
    normalised: bool,
}

impl Deberta {
    /// Reads a DeBERTa-v2 configuration.
    pub fn read(config: &Config) -> Result<Deberta> {
        let mut blocks = Blocks::read(config, "gelu", &NAMES)?;
        blocks.epsilon = config.number("layer_norm_eps", 1e-7)?;
        blocks.size = config.size_or("attention_head_size", blocks.size, most::WIDTH)?;
        let types = config.integer("type_vocab_size", 0)?;
        let types = usize::try_from(types)
            .ok()
            .filter(|n| *n <= most::TYPES)
            .ok_or_else(|| config.impossible(format!("type_vocab_size is {types}"), "0 or more"))?;
        let width = config.size_or("embedding_size", blocks.width, most::WIDTH)?;
        let longest = config.size("max_position_embeddings", most::POSITIONS)?;
        let mut embeddings = Embeddings::read(config, width, KEYS, types)?;
        embeddings.epsilon = blocks.epsilon;
        if !config.flag("position_biased_input", true)? {
            embeddings.positions = None;
        }
        Ok(Deberta {
            embeddings,
            blocks,
            order: PostNorm::numbered("encoder.layer", config.size("num_hidden_layers", most::BLOCKS)?),
            relative: if config.flag("relative_attention", false)? { Some(relative(config, longest)?) } else { None },
            terms: terms(config)?,
            convolution: convolution(config)?,
            longest,
            initializer_range: config.number("initializer_range", 0.02)?,
        })
    }

    /// Factor of attention scores.
    fn scale(&self) -> f32 {
        let terms = 1 + usize::from(self.terms.0) + usize::from(self.terms.1);
        1.0 / ((self.blocks.size * terms) as f32).sqrt()
    }

    /// Keys and queries of the relative positions for one block, side by side as far as they take part.
    fn positions(&self, block: &Block, name: &str, table: &Tensor, tensors: &mut Tensors) -> CandleResult<Tensor> {
        let all = self.blocks.heads * self.blocks.size;
        let shared = self.relative.is_some_and(|r| r.shared);
        let mut parts = Vec::new();
        // The joined projection of contents holds queries first, then keys.
        for (wanted, own, row) in [(self.terms.0, "pos_key_proj", all), (self.terms.1, "pos_query_proj", 0)] {
            if wanted {
                let projection = if shared {
                    block.qkv.rows(row, all)?
                } else {
                    tensors.dense(&format!("{name}.attention.self.{own}"))?
                };
                parts.push(projection.apply(&Rows::Cpu(table.clone()))?.on_cpu()?.clone());
            }
        }
        Tensor::cat(&parts, 1)
    }
}

/// The settings of relative positions.
fn relative(config: &Config, longest: usize) -> Result<Relative> {
    let farthest = match config.integer("max_relative_positions", -1)? {
        n if n < 1 => longest,
        _ => config.size("max_relative_positions", most::POSITIONS)?,
    };
    let buckets = match config.integer("position_buckets", -1)? {
        n if n < 1 => None,
        _ => Some(config.size("position_buckets", most::POSITIONS)?),
    };
    if buckets.is_some_and(|n| n < 4 || farthest <= n / 2 + 1) {
        let found = format!("position_buckets is {buckets:?} with max_relative_positions {farthest}");
        return Err(config.impossible(found, "4 buckets or more, and distances beyond half of them"));
    }
    let norms = config.strings("norm_rel_ebd")?.unwrap_or_default().join("|").to_lowercase();
    let norms: Vec<&str> = norms.split('|').map(str::trim).filter(|n| !["", "none"].contains(n)).collect();
    if let Some(other) = norms.iter().find(|n| **n != "layer_norm") {
        return Err(config.not_implemented("norm_rel_ebd", other, "none or layer_norm"));
    }
    Ok(Relative {
        span: buckets.unwrap_or(farthest),
        buckets: buckets.map(|n| (n, farthest)),
        shared: config.flag("share_att_key", false)?,
        normalised: !norms.is_empty(),
    })
}

/// Which of the position terms `pos_att_type` asks for: a list, or one string with bars.
fn terms(config: &Config) -> Result<(bool, bool)> {
    let text = config.strings("pos_att_type")?.unwrap_or_default().join("|").to_lowercase();
    let terms: Vec<&str> = text.split('|').map(str::trim).filter(|t| !t.is_empty()).collect();
    if let Some(other) = terms.iter().find(|t| !["c2p", "p2c"].contains(t)) {
        return Err(config.not_implemented("pos_att_type", other, "c2p or p2c"));
    }
    Ok((terms.contains(&"c2p"), terms.contains(&"p2c")))
}

/// Kernel and activation of the convolution, if there is one.
fn convolution(config: &Config) -> Result<Option<(usize, Activation)>> {
    let kernel = config.integer("conv_kernel_size", 0)?;
    if kernel <= 0 {
        return Ok(None);
    }
    if config.size_or("conv_groups", 1, most::WIDTH)? != 1 {
        return Err(config.not_implemented("conv_groups", "not 1", "1"));
    }
    let size = config.size("conv_kernel_size", 255)?;
    if size.is_multiple_of(2) {
        return Err(config.impossible(format!("conv_kernel_size is {size}"), "an odd number, so that lengths stay"));
    }
    Ok(Some((size, config.activation("conv_act", "tanh")?)))
}

impl Relative {
    /// The row for the distance i − j.
    fn row(self, distance: i64) -> usize {
        let place = match self.buckets {
            Some((buckets, farthest)) => bucket(distance, buckets, farthest),
            None => distance,
        };
        (place + self.span as i64).clamp(0, 2 * self.span as i64 - 1) as usize
    }

    /// The rows for all distances within a text of `longest` tokens.
    fn rows(self, longest: usize) -> Arc<[usize]> {
        let reach = longest as i64 - 1;
        (-reach..=reach).map(|distance| self.row(distance)).collect()
    }
}

/// The bucket of a distance: itself up to half of the buckets, then logarithmic (`make_log_bucket_position`). In
/// float32, as the buckets' edges were in training.
fn bucket(distance: i64, buckets: usize, farthest: usize) -> i64 {
    let middle = (buckets / 2) as i64;
    let n = distance.abs();
    if n <= middle {
        return distance;
    }
    let scale = ((farthest - 1) as f64 / middle as f64) as f32;
    let log = (n as f32 / middle as f32).ln() / scale.ln() * (middle - 1) as f32;
    (log.ceil() as i64 + middle) * distance.signum()
}

impl Architecture for Deberta {
    fn shape(&self) -> Shape {
        Shape {
            width: self.blocks.width,
            blocks: self.order.len(),
            vocabulary: self.embeddings.vocabulary,
            longest: self.longest,
            special_tokens: true,
        }
    }

    fn params(&self) -> Vec<Param> {
        let (width, all) = (self.blocks.width, self.blocks.heads * self.blocks.size);
        let mut list = ParamList::new(self.initializer_range);
        self.embeddings.table_params(&mut list);
        if self.embeddings.width != width {
            let shape = [width, self.embeddings.width];
            list.dense("embeddings.embed_proj", shape, false, "hidden_size, embedding_size");
        }
        list.norm("embeddings.LayerNorm", width, true, "hidden_size");
        for name in &self.order {
            self.blocks.params(name, &mut list);
            if self.relative.is_some_and(|r| !r.shared) {
                for (wanted, own) in [(self.terms.0, "pos_key_proj"), (self.terms.1, "pos_query_proj")] {
                    if wanted {
                        list.dense(&format!("{name}.attention.self.{own}"), [all, width], true, "hidden_size");
                    }
                }
            }
        }
        if let Some(relative) = self.relative {
            let keys = "position_buckets or max_relative_positions, hidden_size";
            list.embedding("encoder.rel_embeddings", [2 * relative.span, width], None, keys);
            if relative.normalised {
                list.norm("encoder.LayerNorm", width, true, "hidden_size");
            }
        }
        if let Some((kernel, _)) = self.convolution {
            let start = crate::encoder::params::Start::Normal(self.initializer_range);
            list.add("encoder.conv.conv.weight", &[width, width, kernel], "hidden_size, conv_kernel_size", start);
            list.add("encoder.conv.conv.bias", &[width], "hidden_size", crate::encoder::params::Start::Zeros);
            list.norm("encoder.conv.LayerNorm", width, true, "hidden_size");
        }
        list.finish()
    }

    fn stem(&self) -> &'static str {
        "deberta"
    }

    fn build(&self, tensors: &mut Tensors) -> CandleResult<Box<dyn Model>> {
        let epsilon = self.blocks.epsilon;
        let mut table = None;
        if let Some(relative) = self.relative {
            let rows = tensors.take("encoder.rel_embeddings.weight")?;
            table = Some(match relative.normalised {
                true => {
                    let norm = tensors.norm("encoder.LayerNorm", Normalise::Layer, epsilon)?;
                    norm.apply(&Rows::Cpu(rows))?.on_cpu()?.clone()
                }
                false => rows,
            });
        }
        let table = table.filter(|_| self.terms != (false, false));
        let mut blocks = Vec::with_capacity(self.order.len());
        for name in &self.order {
            let block = self.blocks.build(name, tensors)?;
            let positions = table.as_ref().map(|table| self.positions(&block, name, table, tensors)).transpose()?;
            blocks.push((block, positions));
        }
        let convolution = match self.convolution {
            Some((kernel, activation)) => {
                let Dense { weight, bias } = tensors.dense("encoder.conv.conv")?;
                // (outputs, inputs, kernel) → (outputs, kernel · inputs), the order of `ops::neighbours`.
                let weight = weight.transpose(1, 2)?.contiguous()?.flatten_from(1)?;
                let norm = tensors.norm("encoder.conv.LayerNorm", Normalise::Layer, epsilon)?;
                Some(Convolution { kernel, map: Dense { weight, bias }, activation, norm })
            }
            None => None,
        };
        let projected = self.embeddings.width != self.blocks.width;
        Ok(Box::new(DebertaModel {
            embeddings: self.embeddings.build(tensors)?,
            projection: if projected { Some(tensors.dense("embeddings.embed_proj")?) } else { None },
            norm: tensors.norm("embeddings.LayerNorm", Normalise::Layer, epsilon)?,
            blocks,
            convolution,
            relative: self.relative,
            terms: self.terms,
            heads: self.blocks.heads,
            size: self.blocks.size,
            scale: self.scale(),
        }))
    }
}

/// The convolution beside the first block.
struct Convolution {
    kernel: usize,
    map: Dense,
    activation: Activation,
    norm: Norm,
}

struct DebertaModel {
    embeddings: EmbeddingTables,
    projection: Option<Dense>,
    norm: Norm,
    /// Each block with the projected relative positions, where they take part.
    blocks: Vec<(Block, Option<Tensor>)>,
    convolution: Option<Convolution>,
    relative: Option<Relative>,
    terms: (bool, bool),
    heads: usize,
    size: usize,
    scale: f32,
}

impl Model for DebertaModel {
    fn forward(&self, packed: &Packed, sink: &mut Sink<'_>) -> CandleResult<()> {
        let mut sum = self.embeddings.sum(packed)?;
        if let Some(projection) = &self.projection {
            sum = projection.apply(&sum)?;
        }
        let embedded = self.norm.apply(&sum)?;
        sink(0, &embedded)?;
        let ends: Arc<[usize]> = packed.ends.clone().into();
        let plain = Attention { scale: self.scale, ..Attention::full(&ends, self.heads, self.size) };
        let disentangled = self.relative.map(|relative| Disentangled {
            ends: Arc::clone(&ends),
            heads: self.heads,
            size: self.size,
            scale: self.scale,
            to_position: self.terms.0,
            from_position: self.terms.1,
            rows: relative.rows(packed.longest()),
        });
        let mut x = embedded.clone();
        for (i, (block, positions)) in self.blocks.iter().enumerate() {
            x = block.forward(&x, |qkv| match (&disentangled, positions) {
                (Some(attention), Some(positions)) => attention.apply(qkv, positions),
                _ => plain.apply(qkv, None),
            })?;
            if let (0, Some(convolution)) = (i, &self.convolution) {
                let around = ops::neighbours(&embedded, &ends, convolution.kernel)?;
                let local = convolution.map.activated(&around, convolution.activation)?;
                x = convolution.norm.apply_sum(&local, &x)?;
            }
            sink(i + 1, &x)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_the_buckets_of_transformers() {
        // make_log_bucket_position(torch.tensor([...]), 256, 512) and (…, 16, 128).
        for (distance, expected) in [(0, 0), (-5, -5), (128, 128), (129, 129), (200, 169), (511, 255), (-300, -207)] {
            assert_eq!(bucket(distance, 256, 512), expected, "{distance}");
        }
        for (distance, expected) in [(8, 8), (9, 9), (-10, -9), (40, 13), (127, 15), (130, 16)] {
            assert_eq!(bucket(distance, 16, 128), expected, "{distance}");
        }
    }

    #[test]
    fn rows_never_fall() {
        for buckets in [None, Some((16, 128))] {
            let relative = Relative { span: 16, buckets, shared: true, normalised: false };
            let rows = relative.rows(300);
            assert!(rows.windows(2).all(|w| w[0] <= w[1]) && rows[299] == 16);
            assert_eq!((rows[0], rows[598]), (0, 31));
        }
    }
}
