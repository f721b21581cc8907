//! The demo's checkpoints: small BERTs with random weights, and a plain float64 forward pass through them.
//!
//! Random encoders with the usual small weights hardly change their input, and all of their layers predict alike. Here
//! weights are large and the hidden units of the feed-forward part are shifted to the bend of their activation, so that
//! each block makes something new of its input and a layer can be told from its neighbours.

use std::collections::{BTreeMap, HashMap};

use ndarray::{Array1, Array2, Axis, Slice};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::tensor::{Dtype, TensorView};
use statrs::function::erf::erf;

use crate::error::{Code, Error, Result};

const WIDTH: usize = 48;
const INNER: usize = 192;
const HEADS: usize = 4;
pub(super) const BLOCKS: usize = 6;
const POSITIONS: usize = 128;
const TYPES: usize = 2;
const EPSILON: f64 = 1e-12;

const BASE_SEED: u64 = 1;
const TUNED_SEED: u64 = 2;
/// Blocks that fine-tuning left alone.
pub(super) const SHARED_BLOCKS: usize = 2;
/// Spread of a linear map's outputs for inputs of spread 1: attention, and the second half of the feed-forward part.
const GAIN: f64 = 2.0;
const OUTPUT_GAIN: f64 = 3.0;
const INNER_BIAS: f32 = -1.0;
/// Spread of position and type embeddings; that of words is 1.
const POSITION_SPREAD: f64 = 0.3;

#[derive(Debug, Clone, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The tensors of a checkpoint by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model(BTreeMap<String, Tensor>);

impl Model {
    /// The checkpoint that fine-tuning starts from.
    pub fn base(vocabulary: usize) -> Model {
        let mut rng = ChaCha8Rng::seed_from_u64(BASE_SEED);
        let mut model = Model(BTreeMap::new());
        model.normal("embeddings.word_embeddings.weight", &[vocabulary, WIDTH], 1.0, &mut rng);
        model.normal("embeddings.position_embeddings.weight", &[POSITIONS, WIDTH], POSITION_SPREAD, &mut rng);
        model.normal("embeddings.token_type_embeddings.weight", &[TYPES, WIDTH], POSITION_SPREAD, &mut rng);
        model.norm("embeddings.LayerNorm");
        for block in 0..BLOCKS {
            model.block(block, &mut rng);
        }
        model.dense("pooler.dense", WIDTH, WIDTH, 1.0, 0.0, &mut rng);
        model
    }

    /// The same checkpoint with other weights in its upper blocks.
    pub fn tuned(&self) -> Model {
        let mut rng = ChaCha8Rng::seed_from_u64(TUNED_SEED);
        let mut model = self.clone();
        for block in SHARED_BLOCKS..BLOCKS {
            model.block(block, &mut rng);
        }
        model
    }

    fn block(&mut self, block: usize, rng: &mut ChaCha8Rng) {
        let at = |part: &str| format!("encoder.layer.{block}.{part}");
        for part in ["query", "key", "value"] {
            self.dense(&at(&format!("attention.self.{part}")), WIDTH, WIDTH, GAIN, 0.0, rng);
        }
        self.dense(&at("attention.output.dense"), WIDTH, WIDTH, GAIN, 0.0, rng);
        self.norm(&at("attention.output.LayerNorm"));
        self.dense(&at("intermediate.dense"), INNER, WIDTH, GAIN, INNER_BIAS, rng);
        self.dense(&at("output.dense"), WIDTH, INNER, OUTPUT_GAIN, 0.0, rng);
        self.norm(&at("output.LayerNorm"));
    }

    fn dense(&mut self, name: &str, outputs: usize, inputs: usize, gain: f64, bias: f32, rng: &mut ChaCha8Rng) {
        self.normal(&format!("{name}.weight"), &[outputs, inputs], gain / (inputs as f64).sqrt(), rng);
        self.constant(&format!("{name}.bias"), outputs, bias);
    }

    fn norm(&mut self, name: &str) {
        self.constant(&format!("{name}.weight"), WIDTH, 1.0);
        self.constant(&format!("{name}.bias"), WIDTH, 0.0);
    }

    fn normal(&mut self, name: &str, shape: &[usize], spread: f64, rng: &mut ChaCha8Rng) {
        let draw = |_| (spread * Distribution::<f64>::sample(&StandardNormal, rng)) as f32;
        let values = (0..shape.iter().product()).map(draw).collect();
        self.0.insert(name.to_owned(), Tensor { shape: shape.to_vec(), values });
    }

    fn constant(&mut self, name: &str, n: usize, value: f32) {
        self.0.insert(name.to_owned(), Tensor { shape: vec![n], values: vec![value; n] });
    }

    /// `model.safetensors`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let fail = |e: safetensors::SafeTensorError| {
            Error::new(Code::Io01, "the demo's weights", format!("cannot be written: {e}")).source(e)
        };
        let bytes: Vec<Vec<u8>> =
            self.0.values().map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let mut views = Vec::with_capacity(bytes.len());
        for ((name, tensor), data) in self.0.iter().zip(&bytes) {
            views.push((name, TensorView::new(Dtype::F32, tensor.shape.clone(), data).map_err(fail)?));
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).map_err(fail)
    }

    /// The states of all layers, mean over all tokens of a text: one (texts, width) matrix per layer.
    pub fn pooled<'a>(&self, texts: impl ExactSizeIterator<Item = &'a [u32]>) -> Vec<Array2<f64>> {
        let blocks: Vec<Block> = (0..BLOCKS).map(|b| Block::new(self, b)).collect();
        let (words, positions) =
            (self.matrix("embeddings.word_embeddings"), self.matrix("embeddings.position_embeddings"));
        let kind = self.matrix("embeddings.token_type_embeddings").row(0).to_owned();
        let mut layers = vec![Array2::zeros((texts.len(), WIDTH)); BLOCKS + 1];
        for (row, text) in texts.enumerate() {
            let rows: Vec<usize> = text.iter().map(|id| *id as usize).collect();
            let embedded = words.select(Axis(0), &rows) + positions.slice_axis(Axis(0), (..rows.len()).into()) + &kind;
            let mut x = normalised(embedded);
            let mut keep = |layer: usize, x: &Array2<f64>| {
                layers[layer].row_mut(row).assign(&(x.sum_axis(Axis(0)) / x.nrows() as f64));
            };
            keep(0, &x);
            for (i, block) in blocks.iter().enumerate() {
                x = block.forward(&x);
                keep(i + 1, &x);
            }
        }
        layers
    }

    fn matrix(&self, name: &str) -> Array2<f64> {
        let tensor = &self.0[&format!("{name}.weight")];
        Array2::from_shape_fn((tensor.shape[0], tensor.shape[1]), |(i, j)| {
            f64::from(tensor.values[i * tensor.shape[1] + j])
        })
    }
}

/// The maps of one block. Biases that are zero and norms that scale by one are left out.
struct Block {
    query: Array2<f64>,
    key: Array2<f64>,
    value: Array2<f64>,
    attention: Array2<f64>,
    intermediate: Array2<f64>,
    output: Array2<f64>,
}

impl Block {
    fn new(model: &Model, block: usize) -> Block {
        let map = |part: &str| model.matrix(&format!("encoder.layer.{block}.{part}"));
        Block {
            query: map("attention.self.query"),
            key: map("attention.self.key"),
            value: map("attention.self.value"),
            attention: map("attention.output.dense"),
            intermediate: map("intermediate.dense"),
            output: map("output.dense"),
        }
    }

    fn forward(&self, x: &Array2<f64>) -> Array2<f64> {
        let (query, key, value) = (x.dot(&self.query.t()), x.dot(&self.key.t()), x.dot(&self.value.t()));
        let size = WIDTH / HEADS;
        let mut attended = Array2::zeros(x.raw_dim());
        for head in 0..HEADS {
            let columns = Slice::from(head * size..(head + 1) * size);
            let [query, key, value] = [&query, &key, &value].map(|all| all.slice_axis(Axis(1), columns));
            let logits = query.dot(&key.t()) / (size as f64).sqrt();
            attended.slice_axis_mut(Axis(1), columns).assign(&softmax(logits).dot(&value));
        }
        let middle = normalised(attended.dot(&self.attention.t()) + x);
        let inner = (middle.dot(&self.intermediate.t()) + f64::from(INNER_BIAS)).mapv_into(gelu);
        normalised(inner.dot(&self.output.t()) + &middle)
    }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

fn softmax(mut logits: Array2<f64>) -> Array2<f64> {
    for mut row in logits.rows_mut() {
        let largest = row.fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        row.mapv_inplace(|v| (v - largest).exp());
        row /= row.sum();
    }
    logits
}

/// Every row with mean 0 and variance 1.
fn normalised(mut x: Array2<f64>) -> Array2<f64> {
    for mut row in x.rows_mut() {
        let centred: Array1<f64> = &row - row.sum() / WIDTH as f64;
        let variance = centred.dot(&centred) / WIDTH as f64;
        row.assign(&(centred / (variance + EPSILON).sqrt()));
    }
    x
}
