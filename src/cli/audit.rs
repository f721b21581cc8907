use std::path::PathBuf;

use clap::ValueHint;
use serde_json::json;

use super::args::{CacheArgs, ListArgs, SharedArgs};
use super::commands::{open_cache, overrides, plan, threads, warnings};
use super::messages::say;
use super::progress::Progress;
use crate::error::{Problems, Status};
use crate::pipeline::{self, Audited};
use crate::record::{AuditFinding, Severity};

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore audit study.toml base=bert-base tuned=bert-moral
      Lists what makes the scores of this study doubtful, with remedies; exit status 1 when anything is severe.
  brainscore audit study.toml bert-base --folds shuffled --allow-leaky-folds
      Shows what a shuffled split would have hidden.";

#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// The study file.
    #[arg(value_name = "STUDY", value_hint = ValueHint::FilePath)]
    pub study: PathBuf,
    /// As for `compare`; the first is the reference.
    #[arg(value_name = "CHECKPOINT", required_unless_present = "list", value_hint = ValueHint::DirPath)]
    pub checkpoints: Vec<String>,
    #[command(flatten)]
    pub list: ListArgs,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Runs `audit`.
pub(super) fn run(args: &AuditArgs) -> Result<Option<Status>, Problems> {
    threads(args.shared.threads)?;
    let plan = plan(&args.checkpoints, &args.list, &args.study, &overrides(&args.shared))?;
    let audited = pipeline::audit(plan, open_cache(&args.cache)?.as_ref(), &Progress::new())?;
    warnings(&audited.prepared.warnings);
    if args.shared.json {
        say(&json!({"findings": audited.findings, "severe": audited.is_severe()}).to_string());
    } else {
        findings(&audited.findings);
    }
    Ok(status(&audited))
}

/// Exit status 1 when a finding is severe.
pub(super) fn status(audited: &Audited) -> Option<Status> {
    audited.is_severe().then_some(Status::Partial)
}

/// Prints findings and their number.
pub(super) fn findings(all: &[AuditFinding]) {
    for finding in all {
        say(&format!("{} {}: {}", finding.code, finding.severity, finding.found));
        say(&format!("      → {}", finding.remedy));
    }
    let count = |severity| all.iter().filter(|f| f.severity == severity).count();
    say(&format!(
        "audit: {} severe, {} warnings, {} notes",
        count(Severity::Severe),
        count(Severity::Warning),
        count(Severity::Note)
    ));
}
