use std::fmt;

use serde::{Deserialize, Serialize};

use crate::io::binary::binary_by_json;

/// Scores beyond those of single targets: of whole patterns, and of geometries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricName {
    /// Per held-out row the correlation across targets, the training mean map removed from both sides.
    PatternR,
    /// Share of the other rows of the fold that a held-out row's prediction resembles less than its own; chance is 0.5.
    Rank,
    /// The correlation across targets with the mean map left in, of fits on all other rows: for comparison with a
    /// published number, always beside what the mean map alone reaches.
    LegacyPatternR,
    /// Correlation of the distances between rows in features and, cross-validated over subjects, in responses.
    Rsa,
    /// Debiased linear centred kernel alignment.
    Cka,
}

binary_by_json!(MetricName);

impl MetricName {
    /// All of them.
    pub const ALL: [MetricName; 5] =
        [MetricName::PatternR, MetricName::Rank, MetricName::LegacyPatternR, MetricName::Rsa, MetricName::Cka];

    /// The name in flags, tables and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricName::PatternR => "pattern-r",
            MetricName::Rank => "rank",
            MetricName::LegacyPatternR => "legacy-pattern-r",
            MetricName::Rsa => "rsa",
            MetricName::Cka => "cka",
        }
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
