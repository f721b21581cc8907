use std::fmt;
use std::ops::Range;

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

    /// Pools the `tokens` rows of `states` (tokens × `width`, row-major) into `out` (`width` values).
    ///
    /// `special` says for each token of the text whether it is a special one. Sums are accumulated in float64, so that
    /// equal inputs give equal means whatever the number of tokens. A text of special tokens alone has no words:
    /// `mean-words` then gives zeros, as a text without content.
    pub(crate) fn apply(self, states: &[f32], width: usize, tokens: Range<usize>, special: &[bool], out: &mut [f32]) {
        let row = |t: usize| &states[t * width..(t + 1) * width];
        match self {
            Pooling::Cls => out.copy_from_slice(row(tokens.start)),
            Pooling::Last => out.copy_from_slice(row(tokens.end - 1)),
            Pooling::Mean => mean_rows(tokens.map(row), out),
            Pooling::MeanWords => {
                let start = tokens.start;
                mean_rows(tokens.filter(|t| !special[t - start]).map(row), out);
            }
        }
    }
}

fn mean_rows<'a>(rows: impl Iterator<Item = &'a [f32]>, out: &mut [f32]) {
    let mut sums = vec![0f64; out.len()];
    let mut n = 0u32;
    for row in rows {
        n += 1;
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    for (o, sum) in out.iter_mut().zip(sums) {
        *o = (sum / f64::from(n.max(1))) as f32;
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
        let states = [0.0, 0.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 60.0];
        let special = [true, false, false, true];
        let pool = |p: Pooling| {
            let mut out = [f32::NAN; 2];
            p.apply(&states, 2, 1..5, &special, &mut out);
            out
        };
        assert_eq!(pool(Pooling::Cls), [9.0, 9.0]);
        assert_eq!(pool(Pooling::Last), [5.0, 60.0]);
        assert_eq!(pool(Pooling::Mean), [4.5, 18.75]);
        assert_eq!(pool(Pooling::MeanWords), [2.0, 3.0]);
    }
}
