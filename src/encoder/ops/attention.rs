use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::values;
use crate::compute::cpu::{self, Operand};
use crate::compute::operations::{Attending, Mask, ScoreTerms};
use crate::encoder::rows::Rows;

/// A bias on attention scores that depends on the distance of two tokens alone: a tensor (heads, 2·`longest` − 1) whose
/// column `longest − 1 + j − i` is added where token i attends to token j.
#[derive(Debug, Clone)]
pub(crate) struct RelativeBias {
    /// The table.
    pub table: Tensor,
    /// The longest text that it serves.
    pub longest: usize,
}

/// Multi-head self-attention over packed texts: softmax(scale · q kᵀ + bias) v per head (Vaswani et al. 2017,
/// <https://arxiv.org/abs/1706.03762>).
///
/// The input is (tokens, (heads + 2 · groups) · size): all queries, then keys, then values. Neighbouring heads share the
/// keys and values of one group (Ainslie et al. 2023, <https://arxiv.org/abs/2305.13245>) where there are fewer groups
/// than heads. The result is (tokens, heads · size).
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// For each text the token after its last one.
    pub ends: Arc<[usize]>,
    /// Number of heads.
    pub heads: usize,
    /// Number of heads of keys and values; divides `heads`.
    pub groups: usize,
    /// Width of a head.
    pub size: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Who sees whom.
    pub mask: Mask,
}

impl Attention {
    /// Bidirectional attention with as many keys as queries and the usual scale 1/√size.
    pub fn full(ends: &Arc<[usize]>, heads: usize, size: usize) -> Attention {
        let scale = 1.0 / (size as f32).sqrt();
        Attention { ends: Arc::clone(ends), heads, groups: heads, size, scale, mask: Mask::Full }
    }

    /// Runs it.
    pub fn apply(&self, qkv: &Rows, bias: Option<&RelativeBias>) -> Result<Rows> {
        match (qkv, bias) {
            (Rows::Cpu(qkv), Some(bias)) => {
                let biased = Biased { attention: self.clone(), longest: bias.longest };
                Ok(Rows::Cpu(qkv.apply_op2_no_bwd(&bias.table, &biased)?))
            }
            (Rows::Cpu(qkv), None) => Ok(Rows::Cpu(qkv.apply_op1_no_bwd(self)?)),
            (Rows::Card(qkv), bias) => {
                let table = bias.map(|bias| qkv.passing(&bias.table)).transpose()?;
                let terms = table.as_ref().map_or(ScoreTerms::None, ScoreTerms::Bias);
                qkv.then(|card, x| card.attention(x, &self.attending(terms)))
            }
        }
    }

    fn attending<'a>(&'a self, terms: ScoreTerms<'a>) -> Attending<'a> {
        let Attention { heads, groups, size, scale, mask, .. } = *self;
        Attending { ends: &self.ends, heads, groups, size, scale, mask, terms }
    }

    /// `adjust` may change the scores (n × n) of a head before the softmax.
    fn run(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        adjust: impl Fn(usize, usize, &mut [f32]),
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, row) = layout.shape().dims2()?;
        let (size, width) = (self.size, self.heads * self.size);
        let qkv = values(qkv, layout)?;
        let mut out = vec![0f32; tokens * width];
        let longest = longest(&self.ends);
        let mut scores = vec![0f32; longest * longest];
        for text in texts(&self.ends) {
            let (start, n) = (text.start, text.len());
            for head in 0..self.heads {
                let group = head * self.groups / self.heads;
                let part = |column: usize| Operand::strided(&qkv[start * row + column * size..], n, size, row);
                let (q, k, v) = (part(head), part(self.heads + group), part(self.heads + self.groups + group));
                let scores = &mut scores[..n * n];
                cpu::sgemm(self.scale, q, k.t(), 0.0, scores, n);
                adjust(head, n, scores);
                cpu::softmax_rows(scores, n, |i| self.mask.visible(i, n));
                cpu::sgemm(1.0, Operand::new(scores, n, n), v, 0.0, &mut out[start * width + head * size..], width);
            }
        }
        Ok((CpuStorage::F32(out), (tokens, width).into()))
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(qkv, layout, |_, _, _| {})
    }
}

struct Biased {
    attention: Attention,
    longest: usize,
}

impl CustomOp2 for Biased {
    fn name(&self) -> &'static str {
        "attention-with-bias"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let bias = values(bias, bias_layout)?;
        let columns = 2 * self.longest - 1;
        self.attention.run(qkv, layout, |head, n, scores| {
            let bias = &bias[head * columns..(head + 1) * columns];
            for (i, row) in scores.chunks_exact_mut(n).enumerate() {
                let first = self.longest - 1 - i;
                cpu::add(row, &bias[first..first + n]);
            }
        })
    }
}

/// The tokens of each text that has any.
pub(super) fn texts(ends: &[usize]) -> impl Iterator<Item = Range<usize>> + '_ {
    ends.iter().scan(0, |start, end| Some(std::mem::replace(start, *end)..*end)).filter(|text| !text.is_empty())
}

/// The number of tokens of the longest text.
pub(super) fn longest(ends: &[usize]) -> usize {
    texts(ends).map(|text| text.len()).max().unwrap_or(0)
}
