use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a finding of the audit matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Scores mean less than they seem to.
    Warning,
    /// Scores cannot be believed.
    Severe,
}

impl Severity {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Severe => "severe",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something about a study's design, checkpoints or folds that makes its scores doubtful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// Stable code, `AU-01` ….
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: String,
}

impl AuditFinding {
    /// A finding.
    pub fn new(code: &str, severity: Severity, found: impl fmt::Display, remedy: &str) -> AuditFinding {
        AuditFinding { code: code.to_owned(), severity, found: found.to_string(), remedy: remedy.to_owned() }
    }
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}. {}.", self.code, self.severity, self.found, self.remedy)
    }
}
