//! What encoders ask of a card: matrices that stay there, and the operations on them.

use std::any::Any;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use super::cpu::Activation;
use crate::error::Result;

/// A float32 matrix on a card, row-major. Copies share it.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// What the card's driver knows it by.
    values: Arc<dyn Any + Send + Sync>,
}

impl Matrix {
    /// A matrix that a driver holds as `values`.
    pub fn new<T: Any + Send + Sync>(values: T, rows: usize, columns: usize) -> Matrix {
        Matrix { rows, columns, values: Arc::new(values) }
    }

    /// What the driver holds, if it is of this kind.
    pub fn held<T: Any>(&self) -> Option<&T> {
        self.values.downcast_ref()
    }
}

/// Who a token of a text attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All.
    Full,
    /// Those at most this far away, on either side.
    Near(usize),
    /// Itself and those before it.
    Causal,
    /// Itself and those before it, this many in all.
    CausalNear(usize),
}

impl Mask {
    /// The tokens that token `i` of a text of `n` attends to.
    pub fn visible(self, i: usize, n: usize) -> Range<usize> {
        match self {
            Mask::Full => 0..n,
            Mask::Near(window) => i.saturating_sub(window)..n.min(i + window + 1),
            Mask::Causal => 0..i + 1,
            Mask::CausalNear(window) => (i + 1).saturating_sub(window)..i + 1,
        }
    }
}

/// Self-attention over packed texts. The input is (tokens, (heads + 2 · groups) · size): queries, keys, values.
#[derive(Debug, Clone, Copy)]
pub struct Attending<'a> {
    /// For each text the token after its last one.
    pub ends: &'a [usize],
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
    /// What positions add to the scores.
    pub terms: ScoreTerms<'a>,
}

/// What is added to attention scores before the softmax.
#[derive(Debug, Clone, Copy)]
pub enum ScoreTerms<'a> {
    /// Nothing.
    None,
    /// A relative bias (heads, 2 · longest − 1) whose column longest − 1 + j − i counts where token i attends to token j.
    Bias(&'a Matrix),
    /// DeBERTa's: scale · (q_i · pk_r + k_j · pq_r) with the row r of the distance i − j.
    Disentangled {
        /// pk, then pq, each only where it takes part: (rows, parts · heads · size).
        positions: &'a Matrix,
        /// Whether pk takes part.
        to: bool,
        /// Whether pq takes part.
        from: bool,
        /// Row of the distance d at index longest − 1 + d, never falling.
        places: &'a [usize],
    },
}

/// One stream of a card. What is asked for is done in order. A matrix belongs to the stream that made it, those that are kept to
/// all streams of their card.
///
/// # Errors
/// All of them: `GP-01` for too little memory, `GP-02` when the card fails.
pub trait Operations: Debug + Send + Sync {
    /// The card's place among those of the run; matrices belong to one card.
    fn card(&self) -> usize;
    /// What decides the last bits of a result: the card, its architecture, what multiplies, and the kernels.
    fn kind(&self) -> String;
    /// A copy on the card, for this stream.
    fn upload(&self, values: &[f32], columns: usize) -> Result<Matrix>;
    /// A copy that is there when this returns: for all streams of the card.
    fn keep(&self, values: &[f32], columns: usize) -> Result<Matrix>;
    /// Waits until everything that was asked for is done.
    fn settle(&self) -> Result<()>;
    /// The values, once everything that was asked for is done.
    fn download(&self, matrix: &Matrix) -> Result<Vec<f32>>;
    /// The rows of `table` that `rows` names.
    fn gather(&self, table: &Matrix, rows: &[u32]) -> Result<Matrix>;
    /// x + y; one row of y is added to every row of x.
    fn add(&self, x: &Matrix, y: &Matrix) -> Result<Matrix>;
    /// f(x · wᵀ + b): x (rows, inputs), w (outputs, inputs), b (1, outputs).
    fn linear(&self, x: &Matrix, w: &Matrix, b: Option<&Matrix>, activation: Option<Activation>) -> Result<Matrix>;
    /// LayerNorm, or RMSNorm, of the rows of x, or of x + residual; scale and, in a second row if there is one, shift.
    fn norm(&self, rms: bool, x: &Matrix, residual: Option<&Matrix>, norm: &Matrix, epsilon: f32) -> Result<Matrix>;
    /// f(first half) · second half of each row.
    fn gated(&self, x: &Matrix, activation: Activation) -> Result<Matrix>;
    /// The first `heads` heads of each row turned by its token's position; `turns` (longest, size) has cosines, then sines.
    fn rotate(&self, x: &Matrix, turns: &Matrix, ends: &[usize], heads: usize) -> Result<Matrix>;
    /// Each token's row with those of its `kernel` / 2 neighbours on either side, zeros beyond its text.
    fn neighbours(&self, x: &Matrix, ends: &[usize], kernel: usize) -> Result<Matrix>;
    /// What each token attends to, (tokens, heads · size).
    fn attention(&self, qkv: &Matrix, attending: &Attending<'_>) -> Result<Matrix>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_say_who_sees_whom() {
        assert_eq!(Mask::Full.visible(2, 5), 0..5);
        assert_eq!(Mask::Near(1).visible(0, 5), 0..2);
        assert_eq!(Mask::Near(1).visible(4, 5), 3..5);
        assert_eq!(Mask::Causal.visible(2, 5), 0..3);
        assert_eq!(Mask::CausalNear(2).visible(3, 5), 2..4);
        assert_eq!(Mask::CausalNear(2).visible(0, 5), 0..1);
    }
}
