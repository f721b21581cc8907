//! The operations that encoders are made of, as candle custom operations whose CPU side is BLAS and vectorised loops.
//!
//! Texts are packed, not padded: a batch is the tokens of several texts one after the other, so no work is done for
//! padding and no mask can be wrong. Only attention knows where one text ends.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Error as CandleError, Layout, Result, Shape, Tensor};

use crate::compute::cpu::{self, Activation, Operand};

/// The values of a contiguous float32 operand.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => Err(CandleError::Msg("an operand is not contiguous".to_owned())),
    }
}

/// `x · wᵀ + b`, then an activation: x (tokens, inputs), w (outputs, inputs), b (outputs).
pub(crate) fn linear(x: &Tensor, w: &Tensor, b: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
    x.apply_op3_no_bwd(w, b, &Linear { activation })
}

struct Linear {
    activation: Option<Activation>,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = x_layout.shape().dims2()?;
        let (outputs, _) = w_layout.shape().dims2()?;
        let bias = values(b, b_layout)?;
        let mut out = bias.repeat(tokens);
        let (x, w) = (values(x, x_layout)?, values(w, w_layout)?);
        cpu::sgemm(1.0, Operand::new(x, tokens, inputs), Operand::new(w, outputs, inputs).t(), 1.0, &mut out, outputs);
        if let Some(activation) = self.activation {
            activation.apply(&mut out);
        }
        Ok((CpuStorage::F32(out), (tokens, outputs).into()))
    }
}

/// LayerNorm of `x + residual`; `norm` (2, width) holds the scale and the shift.
pub(crate) fn add_layer_norm(x: &Tensor, residual: &Tensor, norm: &Tensor, epsilon: f32) -> Result<Tensor> {
    x.apply_op3_no_bwd(residual, norm, &AddLayerNorm { epsilon })
}

struct AddLayerNorm {
    epsilon: f32,
}

impl CustomOp3 for AddLayerNorm {
    fn name(&self) -> &'static str {
        "add-layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        norm: &CpuStorage,
        norm_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = x_layout.shape().dims2()?;
        let mut out = values(x, x_layout)?.to_vec();
        let (scale, shift) = values(norm, norm_layout)?.split_at(width);
        cpu::add_layer_norm(&mut out, values(residual, residual_layout)?, width, scale, shift, self.epsilon);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// Multi-head self-attention over packed texts: `qkv` (tokens, 3 · width) → (tokens, width).
///
/// `ends[i]` is the token after the last one of text i. Within a text every token attends to every other
/// (softmax(q kᵀ / √d) v per head; Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>).
pub(crate) fn attention(qkv: &Tensor, ends: &Arc<[usize]>, heads: usize) -> Result<Tensor> {
    qkv.apply_op1_no_bwd(&Attention { ends: Arc::clone(ends), heads })
}

struct Attention {
    ends: Arc<[usize]>,
    heads: usize,
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, three) = layout.shape().dims2()?;
        let width = three / 3;
        let size = width / self.heads;
        let qkv = values(qkv, layout)?;
        let mut out = vec![0f32; tokens * width];
        let longest =
            self.ends.iter().scan(0, |start, end| Some(end - std::mem::replace(start, *end))).max().unwrap_or(0);
        let mut scores = vec![0f32; longest * longest];
        let scale = 1.0 / (size as f32).sqrt();
        let mut start = 0;
        for end in self.ends.iter() {
            let n = end - start;
            for head in 0..self.heads {
                let part = |which: usize| {
                    Operand::strided(&qkv[start * three + which * width + head * size..], n, size, three)
                };
                let scores = &mut scores[..n * n];
                cpu::sgemm(scale, part(0), part(1).t(), 0.0, scores, n);
                cpu::softmax_rows(scores, n);
                cpu::sgemm(
                    1.0,
                    Operand::new(scores, n, n),
                    part(2),
                    0.0,
                    &mut out[start * width + head * size..],
                    width,
                );
            }
            start = *end;
        }
        Ok((CpuStorage::F32(out), (tokens, width).into()))
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
