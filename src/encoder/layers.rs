//! The parts that all families share: linear maps, normalisations, embeddings, and the list of tensors they need.

use std::collections::HashMap;

use candle_core::{Device, Error as CandleError, Result, Tensor};

use super::ops::{self, Normalise};
use super::packed::Packed;
use super::params::{Param, Start};
use super::rows::Rows;
use crate::compute::cpu::Activation;

/// Collects the tensors that an architecture needs, with how transformers initialises them.
pub(crate) struct ParamList {
    list: Vec<Param>,
    normal: Start,
}

impl ParamList {
    /// A list whose weights start normally distributed with standard deviation `sd` (`initializer_range`; like
    /// transformers, 0 means 0.02).
    pub fn new(sd: f64) -> ParamList {
        ParamList { list: Vec::new(), normal: Start::Normal(if sd == 0.0 { 0.02 } else { sd }) }
    }

    /// A list whose weights start like this.
    pub fn starting(normal: Start) -> ParamList {
        ParamList { list: Vec::new(), normal }
    }

    /// Any tensor.
    pub fn add(&mut self, name: impl Into<String>, shape: &[usize], keys: &'static str, start: Start) {
        self.list.push(Param { name: name.into(), shape: shape.to_vec(), keys, start });
    }

    /// An embedding table (rows, width) named `name.weight`; the padding token's row starts at zero.
    pub fn embedding(&mut self, name: &str, shape: [usize; 2], padding: Option<usize>, keys: &'static str) {
        let start = match (self.normal, padding) {
            (Start::Normal(sd), Some(row)) => Start::NormalPadded(sd, row),
            (start, _) => start,
        };
        self.add(format!("{name}.weight"), &shape, keys, start);
    }

    /// A linear map `name.weight` (outputs, inputs) and, if wanted, `name.bias`.
    pub fn dense(&mut self, name: &str, [outputs, inputs]: [usize; 2], bias: bool, keys: &'static str) {
        self.dense_starting(name, [outputs, inputs], bias, keys, self.normal);
    }

    /// A linear map whose weight starts in a way of its own.
    pub fn dense_starting(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
        keys: &'static str,
        start: Start,
    ) {
        self.add(format!("{name}.weight"), &[outputs, inputs], keys, start);
        if bias {
            self.add(format!("{name}.bias"), &[outputs], keys, Start::Zeros);
        }
    }

    /// A normalisation `name.weight` and, if wanted, `name.bias`.
    pub fn norm(&mut self, name: &str, width: usize, bias: bool, keys: &'static str) {
        self.add(format!("{name}.weight"), &[width], keys, Start::Ones);
        if bias {
            self.add(format!("{name}.bias"), &[width], keys, Start::Zeros);
        }
    }

    /// The list.
    pub fn finish(self) -> Vec<Param> {
        self.list
    }
}

/// The tensors of a checkpoint by name; each is taken once.
pub(crate) struct Tensors(HashMap<String, Tensor>);

impl Tensors {
    /// Tensors by their names without prefix.
    pub fn new(tensors: HashMap<String, Tensor>) -> Tensors {
        Tensors(tensors)
    }

    /// One tensor.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        self.0.remove(name).ok_or_else(|| CandleError::Msg(format!("tensor {name} was not loaded")))
    }

    /// Whether all were taken.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take_if(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// The linear map `name`, with its bias if it has one.
    pub fn dense(&mut self, name: &str) -> Result<Dense> {
        Ok(Dense { weight: self.take(&format!("{name}.weight"))?, bias: self.take_if(&format!("{name}.bias")) })
    }

    /// Several linear maps of the same inputs as one, their outputs side by side: one large product is faster.
    pub fn joined(&mut self, names: &[String]) -> Result<Dense> {
        let parts = names.iter().map(|name| self.dense(name)).collect::<Result<Vec<Dense>>>()?;
        let weights: Vec<&Tensor> = parts.iter().map(|p| &p.weight).collect();
        let biases: Option<Vec<&Tensor>> = parts.iter().map(|p| p.bias.as_ref()).collect();
        let bias = match biases {
            Some(biases) => Some(Tensor::cat(&biases, 0)?),
            None if parts.iter().all(|p| p.bias.is_none()) => None,
            None => return Err(CandleError::Msg(format!("only some of {names:?} have a bias"))),
        };
        Ok(Dense { weight: Tensor::cat(&weights, 0)?, bias })
    }

    /// A linear map whose weight is stored as (inputs, outputs), as GPT-2's `Conv1D`.
    pub fn transposed(&mut self, name: &str) -> Result<Dense> {
        let Dense { weight, bias } = self.dense(name)?;
        Ok(Dense { weight: weight.t()?.contiguous()?, bias })
    }

    /// The normalisation `name`, with its shift if it has one.
    pub fn norm(&mut self, name: &str, kind: Normalise, epsilon: f64) -> Result<Norm> {
        let scale = self.take(&format!("{name}.weight"))?;
        let parameters = match self.take_if(&format!("{name}.bias")) {
            Some(shift) => Tensor::stack(&[scale, shift], 0)?,
            None => scale.unsqueeze(0)?,
        };
        Ok(Norm { parameters, kind, epsilon: epsilon as f32 })
    }
}

/// A linear map, with or without a bias.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    /// (outputs, inputs).
    pub weight: Tensor,
    /// (outputs).
    pub bias: Option<Tensor>,
}

impl Dense {
    /// `x · wᵀ + b`: (tokens, inputs) → (tokens, outputs).
    pub fn apply(&self, x: &Rows) -> Result<Rows> {
        ops::linear(x, &self.weight, self.bias.as_ref(), None)
    }

    /// The same, then an activation.
    pub fn activated(&self, x: &Rows, activation: Activation) -> Result<Rows> {
        ops::linear(x, &self.weight, self.bias.as_ref(), Some(activation))
    }

    /// The outputs `start .. start + n` alone.
    pub fn rows(&self, start: usize, n: usize) -> Result<Dense> {
        let bias = self.bias.as_ref().map(|b| b.narrow(0, start, n)).transpose()?;
        Ok(Dense { weight: self.weight.narrow(0, start, n)?, bias })
    }
}

/// A LayerNorm or RMSNorm.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    parameters: Tensor,
    kind: Normalise,
    epsilon: f32,
}

impl Norm {
    /// Normalises every row.
    pub fn apply(&self, x: &Rows) -> Result<Rows> {
        ops::norm(self.kind, x, None, &self.parameters, self.epsilon)
    }

    /// Normalises every row of `x + residual`.
    pub fn apply_sum(&self, x: &Rows, residual: &Rows) -> Result<Rows> {
        ops::norm(self.kind, x, Some(residual), &self.parameters, self.epsilon)
    }
}

/// The rows of `table` that `rows` names.
pub(crate) fn select(table: &Tensor, rows: &[u32]) -> Result<Tensor> {
    table.index_select(&Tensor::from_slice(rows, rows.len(), &Device::Cpu)?, 0)
}

/// The rows of an embedding table that the tokens of a pass name, where that pass runs.
pub(crate) fn look_up(table: &Tensor, rows: &[u32], packed: &Packed) -> Result<Rows> {
    match &packed.pass {
        Some(pass) => pass.look_up(table, rows),
        None => Ok(Rows::Cpu(select(table, rows)?)),
    }
}

/// How tokens are numbered for a table of absolute positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// 0, 1, 2, …
    FromZero,
    /// From the padding token's id plus 1; padding tokens inside a text are not counted and have the padding token's
    /// id (fairseq's habit, transformers' `create_position_ids_from_input_ids`).
    AfterPadding(u32),
}

impl Numbering {
    /// The position of every token.
    pub fn positions(self, packed: &Packed) -> Vec<u32> {
        match self {
            Numbering::FromZero => packed.positions(),
            Numbering::AfterPadding(padding) => packed
                .ranges()
                .flat_map(|text| {
                    packed.ids[text].iter().scan(padding, move |last, id| {
                        let counted = *id != padding;
                        *last += u32::from(counted);
                        Some(if counted { *last } else { padding })
                    })
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_tokens_inside_a_text_are_not_counted() {
        let packed = Packed::new([[0u32, 7, 1, 8, 2].as_slice(), &[0, 2]]);
        assert_eq!(Numbering::FromZero.positions(&packed), [0, 1, 2, 3, 4, 0, 1]);
        assert_eq!(Numbering::AfterPadding(1).positions(&packed), [2, 3, 1, 4, 5, 2, 3]);
    }
}
