use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::attention::{longest, texts};
use super::values;
use crate::compute::cpu::{self, Operand};
use crate::compute::operations::{Attending, Mask, ScoreTerms};
use crate::encoder::rows::Rows;

/// Disentangled self-attention over packed texts (He et al. 2020, <https://arxiv.org/abs/2006.03654>; transformers'
/// `modeling_deberta_v2.py`).
///
/// Score of tokens i and j: scale · (q_i · k_j + q_i · pk_r + k_j · pq_r), where pk and pq are keys and queries of
/// relative positions and r is the row that belongs to the distance i − j. The input is (tokens, 3 · heads · size) and
/// (rows, parts · heads · size): pk, then pq, each only where it takes part.
#[derive(Debug, Clone)]
pub(crate) struct Disentangled {
    /// For each text the token after its last one.
    pub ends: Arc<[usize]>,
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub size: usize,
    /// Factor of the scores, 1/√(size · (1 + number of position terms)).
    pub scale: f32,
    /// Whether contents attend to positions (`c2p`).
    pub to_position: bool,
    /// Whether positions attend to contents (`p2c`).
    pub from_position: bool,
    /// Row of the distance d at index `longest − 1 + d`, never falling as d grows, for the longest text here.
    pub rows: Arc<[usize]>,
}

impl Disentangled {
    /// Runs it.
    pub fn apply(&self, qkv: &Rows, positions: &Tensor) -> Result<Rows> {
        match qkv {
            Rows::Cpu(qkv) => Ok(Rows::Cpu(qkv.apply_op2_no_bwd(positions, self)?)),
            Rows::Card(qkv) => {
                let positions = &qkv.weight(positions)?;
                let (to, from) = (self.to_position, self.from_position);
                let Disentangled { heads, size, scale, ref rows, .. } = *self;
                let terms = ScoreTerms::Disentangled { positions, to, from, places: rows };
                let mask = Mask::Full;
                let of = Attending { ends: &self.ends, heads, groups: heads, size, scale, mask, terms };
                qkv.then(|card, x| card.attention(x, &of))
            }
        }
    }
}

impl CustomOp2 for Disentangled {
    fn name(&self) -> &'static str {
        "disentangled-attention"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        positions: &CpuStorage,
        position_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, three) = layout.shape().dims2()?;
        let (_, parts) = position_layout.shape().dims2()?;
        let (size, width) = (self.size, self.heads * self.size);
        let (qkv, positions) = (values(qkv, layout)?, values(positions, position_layout)?);
        let middle = self.rows.len() / 2;
        let longest = longest(&self.ends);
        let span = |n: usize| (self.rows[middle + 1 - n], self.rows[middle + n - 1] - self.rows[middle + 1 - n] + 1);
        let mut out = vec![0f32; tokens * width];
        let mut scores = vec![0f32; longest * longest];
        let mut terms = vec![0f32; longest * if longest > 0 { span(longest).1 } else { 0 }];
        for text in texts(&self.ends) {
            let (start, n) = (text.start, text.len());
            let (first, reach) = span(n);
            // Rows of the table by i − j, relative to the first row that this text needs.
            let row = |i: usize, j: usize| self.rows[middle + i - j] - first;
            for head in 0..self.heads {
                let part = |which: usize| {
                    Operand::strided(&qkv[start * three + which * width + head * size..], n, size, three)
                };
                let table = |which: usize| {
                    Operand::strided(&positions[first * parts + which * width + head * size..], reach, size, parts)
                };
                let scores = &mut scores[..n * n];
                let terms = &mut terms[..n * reach];
                cpu::sgemm(self.scale, part(0), part(1).t(), 0.0, scores, n);
                if self.to_position {
                    cpu::sgemm(self.scale, part(0), table(0).t(), 0.0, terms, reach);
                    for i in 0..n {
                        let term = &terms[i * reach..(i + 1) * reach];
                        for (j, score) in scores[i * n..(i + 1) * n].iter_mut().enumerate() {
                            *score += term[row(i, j)];
                        }
                    }
                }
                if self.from_position {
                    let which = usize::from(self.to_position);
                    cpu::sgemm(self.scale, part(1), table(which).t(), 0.0, terms, reach);
                    for i in 0..n {
                        for (j, score) in scores[i * n..(i + 1) * n].iter_mut().enumerate() {
                            *score += terms[j * reach + row(i, j)];
                        }
                    }
                }
                cpu::softmax_rows(scores, n, |_| 0..n);
                let values = Operand::new(scores, n, n);
                cpu::sgemm(1.0, values, part(2), 0.0, &mut out[start * width + head * size..], width);
            }
        }
        Ok((CpuStorage::F32(out), (tokens, width).into()))
    }
}
