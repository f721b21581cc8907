//! What flows through an encoder: a row per token, on the CPU or on a card.
//!
//! The families are written once. Weights are candle tensors on the CPU, whatever computes; what differs is where the
//! embeddings are looked up. [`Packed`](super::packed::Packed) says that, and every operation of `ops` then runs where its
//! first operand lies: as a candle operation on the CPU, or as one of [`Operations`] on a card, which copies a weight over the
//! first time that it meets it and knows it by its candle id from then on. Between the look-up and a layer's sink nothing
//! leaves the card. So the CPU's path is what it was, bit by bit, and candle needs no CUDA.
//!
//! A card's states differ from the CPU's in the last bits (less than 1e-3, checked on every family), and so may two cards'.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Error as CandleError, Result, Tensor, TensorId};

use super::ops;
use crate::compute::operations::{Matrix, Operations};
use crate::compute::turns::Turns;
use crate::error::Error;

/// A float32 matrix with a row per token.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// On the CPU.
    Cpu(Tensor),
    /// On a card.
    Card(OnCard),
}

/// A matrix on a card.
#[derive(Debug, Clone)]
pub(crate) struct OnCard {
    matrix: Matrix,
    pass: Pass,
}

/// One forward pass on a stream of a card.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    operations: Arc<dyn Operations>,
    weights: Held,
    /// What only this pass needs.
    passing: Held,
}

/// Copies of tensors on a card.
type Held = Arc<Mutex<HashMap<TensorId, Matrix>>>;

/// The streams that passes of a checkpoint run on. Each card has one copy of the weights.
pub(crate) type Passes = Turns<Pass>;

/// Passes on some streams, with no weights there yet.
pub(crate) fn passes(streams: &[Arc<dyn Operations>]) -> Passes {
    let mut weights: HashMap<usize, Held> = HashMap::new();
    Turns::new(streams.iter().map(|stream| Pass {
        operations: Arc::clone(stream),
        weights: Arc::clone(weights.entry(stream.card()).or_default()),
        passing: Held::default(),
    }))
}

/// An error of a card inside of the tensor library's; `params::candle_error` takes it out again.
pub(crate) fn of_card(error: Error) -> CandleError {
    CandleError::Cuda(Box::new(error))
}

/// The copy of a tensor, made the first time that it is asked for.
fn held(
    all: &Held,
    tensor: &Tensor,
    make: impl FnOnce(&[f32], usize) -> crate::error::Result<Matrix>,
) -> Result<Matrix> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(&tensor.id()) {
        return Ok(known.clone());
    }
    let columns = tensor.dims().last().copied().unwrap_or(1);
    let made = ops::with_values(tensor, |values| make(values, columns))?.map_err(of_card)?;
    all.insert(tensor.id(), made.clone());
    Ok(made)
}

impl Pass {
    /// The same stream and weights for another pass.
    pub fn anew(&self) -> Pass {
        Pass { passing: Held::default(), ..self.clone() }
    }

    /// The copy of a weight on the card. Other streams of the card meet it once it has arrived there.
    fn weight(&self, tensor: &Tensor) -> Result<Matrix> {
        held(&self.weights, tensor, |values, columns| self.operations.keep(values, columns))
    }

    /// The rows of a weight that the tokens name.
    pub fn look_up(&self, table: &Tensor, rows: &[u32]) -> Result<Rows> {
        let table = self.weight(table)?;
        self.rows(self.operations.gather(&table, rows))
    }

    /// Waits for whatever was begun.
    pub fn settle(&self) -> crate::error::Result<()> {
        self.operations.settle()
    }

    fn rows(&self, made: crate::error::Result<Matrix>) -> Result<Rows> {
        Ok(Rows::Card(OnCard { matrix: made.map_err(of_card)?, pass: self.clone() }))
    }
}

impl OnCard {
    /// The copy of a weight on the card.
    pub fn weight(&self, tensor: &Tensor) -> Result<Matrix> {
        self.pass.weight(tensor)
    }

    /// The copy of what was made for this pass.
    pub fn passing(&self, tensor: &Tensor) -> Result<Matrix> {
        held(&self.pass.passing, tensor, |values, columns| self.pass.operations.upload(values, columns))
    }

    /// Does something with the matrix.
    pub fn then(&self, work: impl FnOnce(&dyn Operations, &Matrix) -> crate::error::Result<Matrix>) -> Result<Rows> {
        self.pass.rows(work(&*self.pass.operations, &self.matrix))
    }
}

impl Rows {
    /// The tensor of rows that are on the CPU.
    pub fn on_cpu(&self) -> Result<&Tensor> {
        match self {
            Rows::Cpu(tensor) => Ok(tensor),
            Rows::Card(_) => Err(elsewhere()),
        }
    }

    /// The matrix of rows that are on a card; all rows of a pass are on one.
    pub fn on_card(&self) -> Result<&Matrix> {
        match self {
            Rows::Card(on) => Ok(&on.matrix),
            Rows::Cpu(_) => Err(elsewhere()),
        }
    }

    /// The sum with as many rows.
    pub fn add(&self, other: &Rows) -> Result<Rows> {
        match (self, other) {
            (Rows::Cpu(x), y) => Ok(Rows::Cpu(x.add(y.on_cpu()?)?)),
            (Rows::Card(x), y) => {
                let y = y.on_card()?;
                x.then(|card, x| card.add(x, y))
            }
        }
    }

    /// The sum of every row with that of a weight (1, columns).
    pub fn add_row(&self, row: &Tensor) -> Result<Rows> {
        match self {
            Rows::Cpu(x) => Ok(Rows::Cpu(x.broadcast_add(row)?)),
            Rows::Card(x) => {
                let row = x.weight(row)?;
                x.then(|card, x| card.add(x, &row))
            }
        }
    }

    /// Calls `f` with the values, row by row.
    pub fn with_values<T>(&self, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
        match self {
            Rows::Cpu(tensor) => ops::with_values(tensor, f),
            Rows::Card(on) => Ok(f(&on.pass.operations.download(&on.matrix).map_err(of_card)?)),
        }
    }
}

fn elsewhere() -> CandleError {
    CandleError::Msg("operands are on different devices".to_owned())
}
