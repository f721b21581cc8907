//! What a score is: a value, or the reason why there is none.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::io::binary::{Binary, binary_by_json};

/// A score of one target, or why it has none. Never NaN, never a stand-in 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Score {
    /// A finite value.
    Value(f64),
    /// No value, and why.
    Undefined {
        /// Why there is no value.
        undefined: Reason,
    },
}

/// Why a score is undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The target has one value throughout.
    ConstantTarget,
    /// Responses to the target are missing (NaN), and the study drops such targets.
    MissingValues,
    /// The target has one value on the training rows or the test rows of this fold (counted from 0).
    ConstantTargetInFold(usize),
    /// No feature varies on the training rows of this fold.
    NoVaryingFeature(usize),
    /// The prediction has one value on the test rows of this fold.
    ConstantPrediction(usize),
    /// This test fold has fewer than three rows.
    FoldTooSmall(usize),
    /// No subject or target has a value to average.
    NothingDefined,
    /// Fewer than three targets make no pattern.
    TooFewTargets,
    /// There is no second subject whose responses could cross-validate distances.
    NoReplication,
    /// The study asks for no such number.
    NotComputed,
    /// The interval of the ceiling that a score would be divided by includes 0, or there is none.
    CeilingNotAboveZero,
}

binary_by_json!(Reason);

impl Binary for Score {
    fn write(&self, to: &mut Vec<u8>) {
        self.value().is_some().write(to);
        match self {
            Score::Value(value) => value.write(to),
            Score::Undefined { undefined } => undefined.write(to),
        }
    }

    fn read(from: &mut &[u8]) -> Option<Score> {
        if bool::read(from)? { f64::read(from).map(Score::Value) } else { Reason::read(from).map(Score::undefined) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::ConstantTarget => f.write_str("constant target"),
            Reason::MissingValues => f.write_str("missing values"),
            Reason::ConstantTargetInFold(fold) => write!(f, "constant target in fold {fold}"),
            Reason::NoVaryingFeature(fold) => {
                write!(f, "no varying feature in the training rows of fold {fold}")
            }
            Reason::ConstantPrediction(fold) => write!(f, "constant prediction in fold {fold}"),
            Reason::FoldTooSmall(fold) => write!(f, "fold {fold} has fewer than 3 test rows"),
            Reason::NothingDefined => f.write_str("nothing defined to average"),
            Reason::TooFewTargets => f.write_str("fewer than 3 targets"),
            Reason::NoReplication => f.write_str("no second subject to cross-validate with"),
            Reason::NotComputed => f.write_str("not computed"),
            Reason::CeilingNotAboveZero => f.write_str("the ceiling is not above 0 beyond doubt"),
        }
    }
}

impl Score {
    /// An undefined score.
    pub fn undefined(reason: Reason) -> Score {
        Score::Undefined { undefined: reason }
    }

    /// The value, if there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Score::Value(value) => Some(value),
            Score::Undefined { .. } => None,
        }
    }

    /// The reason, if there is no value.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Score::Value(_) => None,
            Score::Undefined { undefined } => Some(undefined),
        }
    }

    /// The value for arithmetic in which NaN marks what is left out.
    pub(crate) fn or_nan(self) -> f64 {
        self.value().unwrap_or(f64::NAN)
    }

    /// A score from arithmetic in which NaN marks what was left out.
    pub(crate) fn from_nan(value: f64, reason: Reason) -> Score {
        if value.is_finite() { Score::Value(value) } else { Score::undefined(reason) }
    }
}

/// The scores of this program, named as in the field (definitions: docs of [`super::cv`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreName {
    /// 1 − Σ SSE / Σ (y − ȳ_train)², summed over folds: out-of-sample R² against the training mean.
    Cod,
    /// scikit-learn's R² (against the test mean) per fold, averaged over folds; for comparison with papers.
    CodTestMean,
    /// Pearson correlation within a fold, averaged over folds.
    R,
}

impl ScoreName {
    /// All scores, in the order of the tables.
    pub const ALL: [ScoreName; 3] = [ScoreName::Cod, ScoreName::CodTestMean, ScoreName::R];

    /// The name in studies and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            ScoreName::Cod => "cod",
            ScoreName::CodTestMean => "cod-test-mean",
            ScoreName::R => "r",
        }
    }

    /// The name as a column of a table.
    pub fn column(self) -> &'static str {
        match self {
            ScoreName::CodTestMean => "cod_test_mean",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for ScoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
