use std::fmt;

use serde::{Deserialize, Serialize};

/// How the tokens of a text become one vector per layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Mean over all attended tokens, special tokens included.
    Mean,
    /// Mean over all attended tokens but the special ones.
    MeanWords,
    /// The first token.
    Cls,
    /// The last attended token.
    Last,
}

impl Pooling {
    /// All poolings, in the order of the help text.
    pub const ALL: [Pooling; 4] = [Pooling::Mean, Pooling::MeanWords, Pooling::Cls, Pooling::Last];

    /// The name on the command line and in study files.
    pub fn as_str(self) -> &'static str {
        match self {
            Pooling::Mean => "mean",
            Pooling::MeanWords => "mean-words",
            Pooling::Cls => "cls",
            Pooling::Last => "last",
        }
    }

    /// The tokens of a text whose states are averaged; `special` says for each token whether it is a special one.
    ///
    /// A text of special tokens alone has no words: `mean-words` then gives none, as of a text without content.
    pub(crate) fn tokens(self, special: &[bool]) -> Vec<usize> {
        match self {
            Pooling::Cls => vec![0],
            Pooling::Last => vec![special.len() - 1],
            Pooling::Mean => (0..special.len()).collect(),
            Pooling::MeanWords => (0..special.len()).filter(|t| !special[*t]).collect(),
        }
    }
}

/// A mean of states, row by row. Sums are accumulated in float64, so that equal inputs give equal means whatever the
/// number of tokens; the mean of none is 0.
#[derive(Debug, Clone)]
pub(crate) struct Mean {
    sums: Vec<f64>,
    n: u32,
}

impl Mean {
    /// Of no rows yet.
    pub fn new(width: usize) -> Mean {
        Mean { sums: vec![0.0; width], n: 0 }
    }

    /// Adds a row.
    pub fn add(&mut self, row: &[f32]) {
        self.n += 1;
        for (sum, value) in self.sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }

    /// Writes the mean.
    pub fn write(&self, out: &mut [f32]) {
        for (o, sum) in out.iter_mut().zip(&self.sums) {
            *o = (sum / f64::from(self.n.max(1))) as f32;
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pooling_takes_its_tokens() {
        let special = [true, false, false, true];
        assert_eq!(Pooling::Cls.tokens(&special), [0]);
        assert_eq!(Pooling::Last.tokens(&special), [3]);
        assert_eq!(Pooling::Mean.tokens(&special), [0, 1, 2, 3]);
        assert_eq!(Pooling::MeanWords.tokens(&special), [1, 2]);
        assert!(Pooling::MeanWords.tokens(&[true, true]).is_empty());
    }

    #[test]
    fn a_mean_is_a_mean() {
        let mut mean = Mean::new(2);
        let mut out = [f32::NAN; 2];
        mean.write(&mut out);
        assert_eq!(out, [0.0, 0.0]);
        mean.add(&[9.0, 9.0]);
        mean.add(&[1.0, 2.0]);
        mean.write(&mut out);
        assert_eq!(out, [5.0, 5.5]);
    }
}
