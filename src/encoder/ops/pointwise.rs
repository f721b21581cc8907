use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::attention::texts;
use super::values;
use crate::compute::cpu::{self, Activation};
use crate::encoder::rows::Rows;

/// Gated linear unit: x (tokens, 2 · width) → activation(first half) · second half.
pub(crate) fn gated(x: &Rows, activation: Activation) -> Result<Rows> {
    match x {
        Rows::Cpu(x) => Ok(Rows::Cpu(x.apply_op1_no_bwd(&Gated { activation })?)),
        Rows::Card(x) => x.then(|card, x| card.gated(x, activation)),
    }
}

struct Gated {
    activation: Activation,
}

impl CustomOp1 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, columns) = layout.shape().dims2()?;
        let width = columns / 2;
        let mut out = vec![0f32; tokens * width];
        cpu::gated(&mut values(x, layout)?.to_vec(), width, self.activation, &mut out);
        Ok((CpuStorage::F32(out), (tokens, width).into()))
    }
}

/// Rotary positions: turns the first `heads` heads of each row of `x` (queries, then keys, where values follow) by its
/// token's position. `turns` (longest, size) holds the cosines and sines of each position, see [`cpu::rotate`].
pub(crate) fn rotate(x: &Rows, turns: &Tensor, ends: &Arc<[usize]>, heads: usize) -> Result<Rows> {
    match x {
        Rows::Cpu(x) => Ok(Rows::Cpu(x.apply_op2_no_bwd(turns, &Rotate { ends: Arc::clone(ends), heads })?)),
        Rows::Card(x) => {
            let turns = x.passing(turns)?;
            x.then(|card, x| card.rotate(x, &turns, ends, heads))
        }
    }
}

struct Rotate {
    ends: Arc<[usize]>,
    heads: usize,
}

impl CustomOp2 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, turns: &CpuStorage, tl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, columns) = xl.shape().dims2()?;
        let (_, size) = tl.shape().dims2()?;
        let mut out = values(x, xl)?.to_vec();
        let turns = values(turns, tl)?;
        for text in texts(&self.ends) {
            let rows = out[text.start * columns..text.end * columns].chunks_exact_mut(columns);
            for (row, turn) in rows.zip(turns.chunks_exact(size)) {
                for head in row[..self.heads * size].chunks_exact_mut(size) {
                    cpu::rotate(head, turn);
                }
            }
        }
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }
}

/// Each token's row with those of its `kernel` / 2 neighbours on either side, zeros beyond the ends of its text:
/// x (tokens, width) → (tokens, kernel · width). A product with it is a convolution along the text.
pub(crate) fn neighbours(x: &Rows, ends: &Arc<[usize]>, kernel: usize) -> Result<Rows> {
    match x {
        Rows::Cpu(x) => Ok(Rows::Cpu(x.apply_op1_no_bwd(&Neighbours { ends: Arc::clone(ends), kernel })?)),
        Rows::Card(x) => x.then(|card, x| card.neighbours(x, ends, kernel)),
    }
}

struct Neighbours {
    ends: Arc<[usize]>,
    kernel: usize,
}

impl CustomOp1 for Neighbours {
    fn name(&self) -> &'static str {
        "neighbours"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let x = values(x, layout)?;
        let columns = self.kernel * width;
        let mut out = vec![0f32; tokens * columns];
        for text in texts(&self.ends) {
            for token in text.clone() {
                for offset in 0..self.kernel {
                    let Some(from) = (token + offset).checked_sub(self.kernel / 2) else { continue };
                    if text.contains(&from) {
                        let to = token * columns + offset * width;
                        out[to..to + width].copy_from_slice(&x[from * width..(from + 1) * width]);
                    }
                }
            }
        }
        Ok((CpuStorage::F32(out), (tokens, columns).into()))
    }
}
