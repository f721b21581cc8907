//! The operations that encoders are made of: on the CPU candle custom operations of BLAS and vectorised loops, on a card
//! those of [`Operations`](crate::compute::operations::Operations), see [`Rows`].
//!
//! Texts are packed, not padded: a batch is the tokens of several texts one after the other, so no work is done for
//! padding and no mask can be wrong. Only attention, rotary positions and convolutions know where one text ends.

mod attention;
mod disentangled;
mod pointwise;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Error as CandleError, Layout, Result, Shape, Tensor};

pub(crate) use crate::compute::operations::Mask;
pub(crate) use attention::{Attention, RelativeBias};
pub(crate) use disentangled::Disentangled;
pub(crate) use pointwise::{gated, neighbours, rotate};

use super::rows::Rows;
use crate::compute::cpu::{self, Activation, Operand};

/// The values of a contiguous float32 operand.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => Err(CandleError::Msg("an operand is not contiguous".to_owned())),
    }
}

/// `x · wᵀ + b`, then an activation: x (tokens, inputs), w (outputs, inputs), b (outputs) or none.
pub(crate) fn linear(x: &Rows, w: &Tensor, b: Option<&Tensor>, activation: Option<Activation>) -> Result<Rows> {
    match (x, b) {
        (Rows::Cpu(x), Some(b)) => Ok(Rows::Cpu(x.apply_op3_no_bwd(w, b, &Linear { activation })?)),
        (Rows::Cpu(x), None) => Ok(Rows::Cpu(x.apply_op2_no_bwd(w, &Linear { activation })?)),
        (Rows::Card(x), b) => {
            let (w, b) = (x.weight(w)?, b.map(|b| x.weight(b)).transpose()?);
            x.then(|card, x| card.linear(x, &w, b.as_ref(), activation))
        }
    }
}

struct Linear {
    activation: Option<Activation>,
}

impl Linear {
    fn run(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (w, w_layout): (&CpuStorage, &Layout),
        bias: Option<&[f32]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = x_layout.shape().dims2()?;
        let (outputs, _) = w_layout.shape().dims2()?;
        // The bias stands in the result first and the product is added to it: one pass less than adding it afterwards.
        let (mut out, keep) = match bias {
            Some(bias) => (bias.repeat(tokens), 1.0),
            None => (vec![0f32; tokens * outputs], 0.0),
        };
        let (x, w) = (values(x, x_layout)?, values(w, w_layout)?);
        cpu::sgemm(1.0, Operand::new(x, tokens, inputs), Operand::new(w, outputs, inputs).t(), keep, &mut out, outputs);
        if let Some(activation) = self.activation {
            activation.apply(&mut out);
        }
        Ok((CpuStorage::F32(out), (tokens, outputs).into()))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run((x, xl), (w, wl), None)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run((x, xl), (w, wl), Some(values(b, bl)?))
    }
}

/// Which normalisation of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Normalise {
    /// LayerNorm: mean 0 and variance 1, then scaled and shifted.
    Layer,
    /// RMSNorm: mean square 1, then scaled.
    Rms,
}

/// Normalises each row of `x`, or of `x + residual`; `norm` holds the scale and, in its second row if there is one, the
/// shift.
pub(crate) fn norm(kind: Normalise, x: &Rows, residual: Option<&Rows>, norm: &Tensor, epsilon: f32) -> Result<Rows> {
    let op = Norm { kind, epsilon };
    match (x, residual) {
        (Rows::Cpu(x), Some(residual)) => Ok(Rows::Cpu(x.apply_op3_no_bwd(residual.on_cpu()?, norm, &op)?)),
        (Rows::Cpu(x), None) => Ok(Rows::Cpu(x.apply_op2_no_bwd(norm, &op)?)),
        (Rows::Card(x), residual) => {
            let (norm, residual) = (x.weight(norm)?, residual.map(Rows::on_card).transpose()?);
            x.then(|card, x| card.norm(kind == Normalise::Rms, x, residual, &norm, epsilon))
        }
    }
}

struct Norm {
    kind: Normalise,
    epsilon: f32,
}

impl Norm {
    fn run(&self, mut out: Vec<f32>, shape: &Shape, norm: &[f32]) -> Result<(CpuStorage, Shape)> {
        let (_, width) = shape.dims2()?;
        let (scale, shift) = norm.split_at(width);
        match self.kind {
            Normalise::Layer if shift.is_empty() => {
                cpu::layer_norm(&mut out, width, scale, &vec![0.0; width], self.epsilon);
            }
            Normalise::Layer => cpu::layer_norm(&mut out, width, scale, shift, self.epsilon),
            Normalise::Rms => cpu::rms_norm(&mut out, width, scale, self.epsilon),
        }
        Ok((CpuStorage::F32(out), shape.clone()))
    }
}

impl CustomOp2 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, n: &CpuStorage, nl: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(values(x, xl)?.to_vec(), xl.shape(), values(n, nl)?)
    }
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        residual: &CpuStorage,
        rl: &Layout,
        n: &CpuStorage,
        nl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut out = values(x, xl)?.to_vec();
        cpu::add(&mut out, values(residual, rl)?);
        self.run(out, xl.shape(), values(n, nl)?)
    }
}

/// Calls `f` with the values of a contiguous float32 tensor on the CPU.
pub(crate) fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => Ok(f(values(storage, layout)?)),
        _ => Err(CandleError::Msg("a tensor is not on the CPU".to_owned())),
    }
}
