//! Rotary position embeddings (Su et al. 2021, <https://arxiv.org/abs/2104.09864>): frequencies, and the cosines and
//! sines for the positions of a text (transformers' `modeling_rope_utils.py`).

use candle_core::{Device, Result as CandleResult, Tensor};

use crate::encoder::config::Config;
use crate::error::Result;

/// How fast each pair of values of a head turns from one position to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frequencies(Vec<f32>);

impl Frequencies {
    /// theta^(−2i/size) for pair i of a head, in float32 as in transformers.
    pub fn new(theta: f64, size: usize) -> Frequencies {
        let frequency = |i: usize| 1.0 / (theta as f32).powf(2.0 * i as f32 / size as f32);
        Frequencies((0..size / 2).map(frequency).collect())
    }

    /// Reads the settings of one kind of layer, in the form of transformers 5 (`rope_parameters`) or of the older
    /// `rope_scaling`; `theta` holds where the settings have no `rope_theta` of their own.
    ///
    /// # Errors
    /// `CF-06` for a type of scaling that is not implemented.
    pub fn read(settings: Option<&Config>, theta: f64, size: usize) -> Result<Frequencies> {
        let Some(settings) = settings else { return Ok(Frequencies::new(theta, size)) };
        let kind = match settings.text("rope_type")? {
            Some(kind) => kind,
            None => settings.text("type")?.unwrap_or("default"),
        };
        if settings.number("partial_rotary_factor", 1.0)? != 1.0 {
            let found = settings.number("partial_rotary_factor", 1.0)?.to_string();
            return Err(settings.not_implemented("partial_rotary_factor", &found, "1"));
        }
        let plain = Frequencies::new(settings.number("rope_theta", theta)?, size);
        match kind {
            "default" => Ok(plain),
            "llama3" => plain.llama3(settings),
            _ => Err(settings.not_implemented("rope_type", &format!("{kind:?}"), "default or llama3")),
        }
    }

    /// Llama 3.1's scaling: low frequencies are divided by `factor`, high ones kept, those between interpolated.
    fn llama3(self, settings: &Config) -> Result<Frequencies> {
        let need = |key: &str| {
            let value = settings.number(key, f64::NAN)?;
            if value > 0.0 {
                return Ok(value as f32);
            }
            Err(settings.impossible(format!("{key} is missing or not positive"), "a positive number"))
        };
        let (factor, low, high) = (need("factor")?, need("low_freq_factor")?, need("high_freq_factor")?);
        let context = need("original_max_position_embeddings")?;
        if high <= low {
            let found = format!("high_freq_factor is {high} with low_freq_factor {low}");
            return Err(settings.impossible(found, "a larger high_freq_factor"));
        }
        let scaled = self.0.into_iter().map(|frequency| {
            let wavelength = 2.0 * std::f32::consts::PI / frequency;
            if wavelength < context / high {
                frequency
            } else if wavelength > context / low {
                frequency / factor
            } else {
                let smooth = (context / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        });
        Ok(Frequencies(scaled.collect()))
    }

    /// Cosines, then sines, of the angles at positions 0 … `longest` − 1: (longest, size).
    pub fn turns(&self, longest: usize) -> CandleResult<Tensor> {
        let mut turns = Vec::with_capacity(2 * longest * self.0.len());
        for position in 0..longest {
            // The angle is rounded to float32, as it was in training; its sine and cosine are then exact.
            let angles = || self.0.iter().map(|frequency| f64::from(position as f32 * frequency));
            turns.extend(angles().map(|angle| angle.cos() as f32));
            turns.extend(angles().map(|angle| angle.sin() as f32));
        }
        Tensor::from_vec(turns, (longest, 2 * self.0.len()), &Device::Cpu)
    }
}
