use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use super::args::{Args, CheckArgs, Command, CompareArgs, ReportArgs, SharedArgs};
use super::messages::{note, problems, say};
use super::progress::Progress;
use crate::encoder::CheckpointSpec;
use crate::error::{Code, Error, Problems, Status, Warning};
use crate::pipeline::{self, Finished, Prepared};
use crate::report;
use crate::study::{Overrides, Plan};

/// Runs a command; `None` is success.
pub(super) fn run(args: Args) -> Option<Status> {
    let (result, json) = match args.command {
        Command::Compare(args) => {
            let json = args.shared.json;
            (compare(args), json)
        }
        Command::Check(args) => {
            let json = args.shared.json;
            (check(args), json)
        }
        Command::Report(args) => (rebuild(&args), false),
        Command::Parcellate(args) => match super::parcellate::run(&args) {
            Ok(status) => return status,
            Err(problems) => (Err(problems), args.json),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "brainscore", &mut script);
            // A completion script holds no control characters but line ends, and tabs that it needs.
            use std::io::Write as _;
            std::io::stdout().write_all(&script).ok();
            (Ok(()), false)
        }
    };
    let found = result.err()?;
    problems(&found);
    if json {
        let list: Vec<_> = found
            .iter()
            .map(|e| json!({"code": e.code().as_str(), "place": e.place(), "message": e.to_string()}))
            .collect();
        say(&json!({ "errors": list }).to_string());
    }
    Some(found.status())
}

/// Starts the threads that a flag asks for, or one per core.
pub(super) fn threads(wanted: Option<u16>) -> Result<(), Error> {
    let n = match wanted {
        Some(n) => usize::from(n),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| Error::new(Code::Io01, "--threads", format!("{n} threads could not be started: {e}")).source(e))
}

fn overrides(shared: &SharedArgs) -> Overrides {
    let layers = Some(shared.layers.clone()).filter(|l| l != "all");
    Overrides { layers, pooling: shared.pooling }
}

fn specs(arguments: &[String]) -> Result<Vec<CheckpointSpec>, Problems> {
    let mut found = Vec::new();
    let specs = arguments.iter().filter_map(|a| CheckpointSpec::parse(a).map_err(|e| found.push(e)).ok()).collect();
    Problems::check(found)?;
    Ok(specs)
}

/// The plan of a command line; problems of the checkpoints' arguments and of the study file come together.
fn plan(checkpoints: &[String], study: &Path, shared: &SharedArgs) -> Result<Plan, Problems> {
    let specs = specs(checkpoints);
    let known = specs.as_ref().ok().cloned().unwrap_or_default();
    match (Plan::new(study, known, &overrides(shared)), specs) {
        (Ok(plan), Ok(_)) => Ok(plan),
        (Ok(_), Err(problems)) => Err(problems),
        (Err(list), Ok(_)) => Err(Problems::from_list(list)),
        (Err(list), Err(mut problems)) => {
            problems.extend(list);
            Err(problems)
        }
    }
}

fn compare(args: CompareArgs) -> Result<(), Problems> {
    threads(args.shared.threads)?;
    let progress = Progress::new();
    let finished = match &args.study {
        Some(study) => {
            let plan = plan(&args.checkpoints, study, &args.shared)?;
            pipeline::compare(plan, &args.out, args.overwrite, &progress)?
        }
        None => pipeline::compare_demo(&args.out, &overrides(&args.shared), args.overwrite, &progress)?,
    };
    warnings(&finished.record.warnings);
    if args.shared.json {
        say(&summary(&finished).to_string());
    } else {
        say(&report::text_summary(&finished.record));
        say(&format!("report: {}", finished.folder.join("report.html").display()));
    }
    Ok(())
}

fn summary(finished: &Finished) -> serde_json::Value {
    let comparison = &finished.record.comparison;
    json!({
        "out": finished.folder.display().to_string(),
        "report": finished.folder.join("report.html").display().to_string(),
        "score": comparison.score,
        "reference": comparison.reference,
        "curves": comparison.curves,
        "confounds": comparison.confounds,
        "layer_differences": comparison.layer_differences,
        "warnings": finished.record.warnings,
    })
}

pub(super) fn warnings(list: &[Warning]) {
    for warning in list {
        note(&format!("warning: {warning}"));
    }
}

fn check(args: CheckArgs) -> Result<(), Problems> {
    threads(args.shared.threads)?;
    let prepared = pipeline::prepare(plan(&args.checkpoints, &args.study, &args.shared)?)?;
    warnings(&prepared.warnings);
    if args.shared.json {
        say(&overview_json(&prepared).to_string());
    } else {
        overview(&prepared);
    }
    Ok(())
}

fn overview(prepared: &Prepared) {
    let stimuli = &prepared.stimuli;
    say(&format!("study       {}", prepared.plan.name));
    say(&format!(
        "stimuli     {} rows, {} distinct texts, {} groups",
        stimuli.len(),
        stimuli.distinct_texts().0.len(),
        stimuli.n_groups()
    ));
    say(&format!("responses   {} subjects × {} targets", prepared.subjects.len(), prepared.targets.len()));
    let sizes: Vec<String> =
        (0..prepared.folds.count()).map(|k| prepared.folds.test_rows(k).len().to_string()).collect();
    say(&format!("folds       {}: {} rows", prepared.plan.folds, sizes.join(" + ")));
    for open in &prepared.checkpoints {
        let record = open.checkpoint.record();
        let tokens: usize = open.tokens.iter().map(|t| t.ids.len()).sum();
        say(&format!(
            "checkpoint  {}: {} of {}, {} blocks × {}, {} layers scored, {tokens} tokens",
            record.label,
            record.family,
            record.source,
            record.blocks,
            record.width,
            open.layers.len()
        ));
    }
    say("all inputs belong together; nothing was computed");
}

fn overview_json(prepared: &Prepared) -> serde_json::Value {
    let checkpoints: Vec<_> = prepared.checkpoints.iter().map(|c| c.checkpoint.record()).collect();
    json!({
        "study": prepared.plan.name,
        "stimuli": prepared.stimuli.len(),
        "texts": prepared.stimuli.distinct_texts().0.len(),
        "groups": prepared.stimuli.n_groups(),
        "subjects": prepared.subjects,
        "targets": prepared.targets.len(),
        "folds": prepared.folds.count(),
        "checkpoints": checkpoints,
        "inputs": prepared.inputs,
        "warnings": prepared.warnings,
    })
}

fn rebuild(args: &ReportArgs) -> Result<(), Problems> {
    let record = pipeline::rebuild(&args.folder)?;
    warnings(&record.warnings);
    say(&format!("rebuilt from run.json: {}", args.folder.join("report.html").display()));
    Ok(())
}
