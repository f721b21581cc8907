use std::path::PathBuf;

use clap::ValueHint;
use serde_json::json;

use super::args::{CacheArgs, ListArgs, SharedArgs};
use super::commands::{open_cache, overrides, plan, threads};
use super::messages::say;
use super::progress::Progress;
use crate::error::{Code, Error, Problems, Status};
use crate::pipeline::{self, Selftest};

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore selftest
      Planted truth in the built-in study: is what is planted found, and nothing where nothing is?
  brainscore selftest study.toml base=bert-base tuned=bert-moral
      The same on your stimuli, folds and noise: which effects could your study have seen, and with how many subjects?";

#[derive(Debug, clap::Args)]
pub(super) struct SelftestArgs {
    /// The study file [default: the built-in study].
    #[arg(value_name = "STUDY", value_hint = ValueHint::FilePath)]
    pub study: Option<PathBuf>,
    /// As for `compare`. A layer of the last one plays the brain, tested against the same layer of the first one; with
    /// one checkpoint against the confounds.
    #[arg(value_name = "CHECKPOINT", value_hint = ValueHint::DirPath)]
    pub checkpoints: Vec<String>,
    /// The layer that plays the brain [default: the middle one].
    #[arg(long, value_name = "N")]
    pub layer: Option<usize>,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Runs `selftest`; exit status 1 when tests reject more or less often than they should.
pub(super) fn run(args: &SelftestArgs) -> Result<Option<Status>, Problems> {
    threads(args.shared.threads)?;
    let overrides = overrides(&args.shared);
    let plan = match &args.study {
        Some(study) if args.checkpoints.is_empty() => {
            return Err(Error::new(Code::Fl02, study.display(), "comes without a checkpoint")
                .expected("a study and at least one checkpoint, or neither for the built-in study")
                .into());
        }
        Some(study) => Some(plan(&args.checkpoints, &ListArgs::default(), study, &overrides)?),
        None => None,
    };
    let cache = open_cache(&args.cache)?;
    let found = pipeline::selftest(plan, &overrides, args.layer, cache.as_ref(), &Progress::new())?;
    if args.shared.json {
        say(&json!(found).to_string());
    } else {
        summary(&found);
    }
    Ok((!found.is_calibrated()).then_some(Status::Partial))
}

fn summary(found: &Selftest) {
    say(&format!(
        "{}: layer {} of {} plays the brain, tested against {}; {} rows in {} folds, {} subjects",
        found.study, found.layer, found.checkpoint, found.against, found.rows, found.folds, found.subjects
    ));
    match (found.noise.signal_share, found.noise.from) {
        (Some(share), Some(kind)) => say(&format!(
            "your responses: {share:.3} of their variance could be explained (ceiling: {kind}); neighbouring rows correlate {:.2}",
            found.noise.autocorrelation
        )),
        _ => say(&format!(
            "your responses: no ceiling says how much could be explained; neighbouring rows correlate {:.2}",
            found.noise.autocorrelation
        )),
    }
    say("\nIs the planted layer found?");
    say("   SNR  perfect cod     cod    bias  other targets  layer found  targets at it");
    for r in &found.recovery {
        say(&format!(
            "{:>6.2}  {:>11.3}  {:>6.3}  {:>6.3}  {:>13.3}  {:>11}  {:>12.0} %",
            r.snr,
            r.expected_cod,
            r.cod,
            r.bias,
            r.cod_of_others,
            format!("{} {}", r.found, if r.recovered { "(yes)" } else { "(no)" }),
            100.0 * r.targets_recovered
        ));
    }
    say("\nIs nothing found where nothing is?");
    for n in &found.null {
        say(&format!(
            "  {}: {} studies of {} subjects, {:.3} rejected at 0.05 (99.9 % band {:.3} to {:.3}), KS p {:.3}: {}",
            n.score,
            n.studies,
            n.subjects,
            n.rejected,
            n.band.0,
            n.band.1,
            n.ks_p,
            if n.calibrated { "as it should be" } else { "NOT as it should be" }
        ));
    }
    say(&format!("\nWhich effects are found? (share of studies, by number of subjects; {} here)", found.subjects));
    if let Some(first) = found.power.first() {
        let heads: Vec<String> = first.by_subjects.iter().map(|(n, _)| format!("{n:>5}")).collect();
        say(&format!("  share  difference  here {}   80 % with", heads.join("")));
    }
    for p in &found.power {
        let cells: Vec<String> = p.by_subjects.iter().map(|(_, power)| format!("{power:>5.2}")).collect();
        say(&format!(
            "  {:>5.3}  {:>10.4}  {} {}   {}",
            p.share,
            p.difference,
            p.own.map_or("   –".to_owned(), |own| format!("{own:>4.2}")),
            cells.join(""),
            p.needed.map_or("more than 128 subjects".to_owned(), |n| format!("{n} subjects"))
        ));
    }
    say(&verdict(found));
}

/// Could this study have seen it?
fn verdict(found: &Selftest) -> String {
    let seen = found.power.iter().find(|p| p.own.is_some_and(|power| power >= 0.8));
    match seen {
        Some(p) => format!(
            "\nWith {} subjects and one response per subject, an effect is seen in 80 % of studies when the layer explains about {:.1} % of the variance or more.",
            found.subjects,
            100.0 * p.share
        ),
        None => "\nNone of these effects would be seen in 80 % of studies of this size: a null result of this study says little.".to_owned(),
    }
}
