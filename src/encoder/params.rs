use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Result};

/// How an untrained parameter starts, as transformers initialises it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Like `Normal`, with this row (the padding token's) set to zero.
    NormalPadded(f64, usize),
    /// Normal with mean 0 and this standard deviation, cut off at so many of them on either side.
    Truncated(f64, f64),
    /// Sines and cosines of the position (Vaswani et al. 2017), interleaved: fixed, not random.
    Sinusoids,
    /// All ones (LayerNorm scale).
    Ones,
    /// All zeros (biases).
    Zeros,
}

/// One tensor that an architecture needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Param {
    /// Its name in the checkpoint, without prefix.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The configuration keys that the shape comes from, for messages.
    pub keys: &'static str,
    /// How it starts when untrained.
    pub start: Start,
}

impl Param {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Fresh random values. Every tensor has its own stream, seeded by its name: adding or reordering tensors does not
    /// change the others.
    pub fn untrained(&self, seed: u64) -> Result<Tensor> {
        let n = self.len();
        let mut values = match self.start {
            Start::Ones => vec![1f32; n],
            Start::Zeros => vec![0f32; n],
            Start::Normal(sd) | Start::NormalPadded(sd, _) => self.normal(seed, n, sd, f64::INFINITY),
            Start::Truncated(sd, cutoff) => self.normal(seed, n, sd, cutoff),
            Start::Sinusoids => sinusoids(self.shape[0], self.shape[1]),
        };
        if let Start::NormalPadded(_, row) = self.start {
            let width = self.shape[1];
            values[row * width..(row + 1) * width].fill(0.0);
        }
        tensor(values, &self.shape)
    }

    fn normal(&self, seed: u64, n: usize, sd: f64, cutoff: f64) -> Vec<f32> {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(self.name.as_bytes());
        let mut rng = ChaCha8Rng::from_seed(hash.finalize().into());
        let draws = std::iter::repeat_with(|| Distribution::<f64>::sample(&StandardNormal, &mut rng));
        draws.filter(|z| z.abs() <= cutoff).take(n).map(|z| (sd * z) as f32).collect()
    }
}

/// Column j of row t: the sine (even j) or cosine (odd j) of t / 10000^(2⌊j/2⌋/width).
fn sinusoids(rows: usize, width: usize) -> Vec<f32> {
    let angle = |t: usize, j: usize| t as f64 / 10_000f64.powf(2.0 * (j / 2) as f64 / width as f64);
    let value = |t: usize, j: usize| if j.is_multiple_of(2) { angle(t, j).sin() } else { angle(t, j).cos() };
    (0..rows).flat_map(|t| (0..width).map(move |j| value(t, j) as f32)).collect()
}

/// A float32 tensor on the CPU.
pub(crate) fn tensor(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu).and_then(|t| t.to_dtype(DType::F32)).map_err(candle_error)
}

/// An error inside the tensor library: that of a card, else a defect, or memory that ran out.
pub(crate) fn candle_error(error: candle_core::Error) -> Error {
    let error = match error {
        candle_core::Error::Cuda(inner) => match inner.downcast::<Error>() {
            Ok(own) => return *own,
            Err(inner) => candle_core::Error::Cuda(inner),
        },
        other => other,
    };
    Error::new(Code::Nu01, "encoder", format!("the forward pass failed: {error}")).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrained_values_follow_transformers() {
        let p = Param { name: "w".into(), shape: vec![200, 50], keys: "", start: Start::NormalPadded(0.02, 7) };
        let rows: Vec<Vec<f32>> = p.untrained(3).unwrap().to_vec2().unwrap();
        assert!(rows[7].iter().all(|v| *v == 0.0));
        let values: Vec<f64> = rows.iter().flatten().map(|v| f64::from(*v)).collect();
        let sd = crate::stats::population_sd(&values).unwrap();
        assert!((sd - 0.02).abs() < 0.0005, "{sd}");
        assert_eq!(rows, p.untrained(3).unwrap().to_vec2::<f32>().unwrap());
        assert_ne!(rows, p.untrained(4).unwrap().to_vec2::<f32>().unwrap());
    }
}
