use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use clap::CommandFactory;
use serde_json::json;

use super::args::{
    Args, CacheAction, CacheArgs, CacheCommandArgs, CheckArgs, Command, CompareArgs, ExtractArgs, FitArgs, InspectArgs,
    ListArgs, ReportArgs, SharedArgs,
};
use super::messages::{note, problems, say};
use super::progress::Progress;
use crate::encoder::{Checkpoint, CheckpointSpec};
use crate::error::{Code, Error, Problems, Status, Warning, first_five};
use crate::pipeline::{self, ArrayFit, Destination, ExtractPlan, Finished, Missing, Prepared, Resume, Want};
use crate::report;
use crate::store::{StateCache, clear_kept, default_cache_folder, kept};
use crate::study::{CheckpointList, InferenceFlags, LayerSelection, Overrides, Plan};

/// Runs a command; `None` is success.
pub(super) fn run(args: Args) -> Option<Status> {
    let (result, json) = match args.command {
        Command::Compare(args) => {
            let json = args.shared.json;
            match compare(args, Missing::Compute) {
                Ok(status) => return status,
                Err(problems) => (Err(problems), json),
            }
        }
        Command::Check(args) => match check(&args) {
            Ok(status) => return status,
            Err(problems) => (Err(problems), args.shared.json),
        },
        Command::Audit(args) => match super::audit::run(&args) {
            Ok(status) => return status,
            Err(problems) => (Err(problems), args.shared.json),
        },
        Command::Selftest(args) => match super::selftest::run(&args) {
            Ok(status) => return status,
            Err(problems) => (Err(problems), args.shared.json),
        },
        Command::Inspect(args) => (inspect(&args), args.json),
        Command::Fit(args) => {
            let json = args.json;
            (fit(args), json)
        }
        Command::Extract(args) => (extract(&args), false),
        Command::Cache(args) => (cache(&args), false),
        Command::Report(args) => (rebuild(&args), false),
        Command::Merge(args) => match super::shards::merge(&args) {
            Ok(status) => return status,
            Err(problems) => (Err(problems), false),
        },
        Command::Progress(args) => (super::shards::progress(&args), args.json),
        Command::Slurm(args) => (super::slurm::run(&args), args.compare.shared.json),
        Command::Parcellate(args) => match super::parcellate::run(&args) {
            Ok(status) => return status,
            Err(problems) => (Err(problems), args.json),
        },
        Command::Maps(args) => (super::maps::run(&args), args.json),
        Command::Resample(args) => (super::resample::run(&args), args.json),
        Command::Atlas(args) => (super::atlas::run(&args), args.json),
        Command::Windows(args) => (super::windows::run(&args), args.json),
        Command::Doctor(args) => match super::doctor::run(&args) {
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
pub(super) fn threads(asked: Option<u16>) -> Result<(), Error> {
    let n = match asked {
        Some(n) => usize::from(n),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global()
        .map_err(|e| Error::new(Code::Io01, "--threads", format!("{n} threads could not be started: {e}")).source(e))
}

pub(super) fn overrides(shared: &SharedArgs) -> Overrides {
    let layers = Some(shared.layers.clone()).filter(|l| l != "all");
    let inference = InferenceFlags { permutations: shared.permutations, margin: shared.margin };
    Overrides {
        layers,
        pooling: shared.pooling,
        long_text: shared.long_text,
        unique: shared.unique,
        pca: shared.pca,
        combine: shared.combine.clone(),
        key: shared.key.clone(),
        drop_nan_parcels: shared.drop_nan_parcels,
        precision: shared.precision,
        device: shared.device,
        memory: shared.memory,
        context: shared.context,
        folds: shared.folds,
        allow_leaky_folds: shared.allow_leaky_folds,
        inference,
        ..Overrides::default()
    }
}

fn specs(arguments: &[String]) -> Result<Vec<CheckpointSpec>, Problems> {
    let mut found = Vec::new();
    let specs = arguments.iter().filter_map(|a| CheckpointSpec::parse(a).map_err(|e| found.push(e)).ok()).collect();
    Problems::check(found)?;
    Ok(specs)
}

/// The plan of a command line; problems of the checkpoints' arguments and of the study file come together.
pub(super) fn plan(
    checkpoints: &[String],
    list: &ListArgs,
    study: &Path,
    overrides: &Overrides,
) -> Result<Plan, Problems> {
    let (specs, lineage, left_out) = match &list.list {
        None => (specs(checkpoints), Vec::new(), Vec::new()),
        Some(path) => match CheckpointList::read(path, list.keep_going) {
            Ok(list) => (Ok(list.specs), list.lineage, list.left_out),
            Err(problems) => (Err(Problems::from_list(problems)), Vec::new(), Vec::new()),
        },
    };
    let known = specs.as_ref().ok().cloned().unwrap_or_default();
    let overrides = Overrides { lineage, left_out, keep_going: list.keep_going, ..overrides.clone() };
    match (Plan::new(study, known, &overrides), specs) {
        (Ok(plan), Ok(_)) => Ok(plan),
        (Ok(_), Err(problems)) => Err(problems),
        (Err(list), Ok(_)) => Err(Problems::from_list(list)),
        (Err(list), Err(mut problems)) => {
            problems.extend(list);
            Err(problems)
        }
    }
}

/// Status `Partial` when something was left out by name, or changed meanwhile.
pub(super) fn compare(args: CompareArgs, missing: Missing) -> Result<Option<Status>, Problems> {
    if let Some(shard) = args.shard {
        return super::shards::share(&args, shard);
    }
    threads(args.shared.threads)?;
    let progress = Progress::new();
    let overrides = super::shards::comparison(&args);
    let resume = Resume { wanted: args.resume, missing, command: super::shards::command() };
    let to = Destination { out: &args.out, overwrite: args.overwrite, resume };
    let finished = match &args.study {
        Some(study) => {
            let plan = plan(&args.checkpoints, &args.list, study, &overrides)?;
            let cache = open_cache(&args.cache)?;
            pipeline::compare(plan, &to, cache.as_ref(), &progress)?
        }
        None => pipeline::compare_demo(&to, &overrides, &progress)?,
    };
    if finished.before {
        note(&super::shards::finished(&finished.folder));
    }
    warnings(&finished.record.warnings);
    if args.shared.json {
        say(&summary(&finished).to_string());
    } else {
        say(&report::text_summary(&finished.record));
        say(&format!("report: {}", finished.folder.join("report.html").display()));
    }
    for one in &finished.record.left_out {
        note(&format!("error: {one}"));
    }
    Ok((!finished.is_whole()).then_some(Status::Partial))
}

/// The cache that the flags ask for.
pub(super) fn open_cache(args: &CacheArgs) -> Result<Option<StateCache>, Error> {
    if args.no_cache {
        return Ok(None);
    }
    let folder = args.cache_dir.clone().map_or_else(default_cache_folder, Ok)?;
    Ok(Some(StateCache::open(&folder, args.cache_size)))
}

fn extract(args: &ExtractArgs) -> Result<(), Problems> {
    threads(args.threads)?;
    let want = match (args.pooling, args.context) {
        (Want::Words(_), Some(context)) => Want::Words(context),
        (other, None) => other,
        (_, Some(context)) => {
            return Err(Error::new(Code::Fl02, "--context", format!("is {context} without words"))
                .expected("--pooling words")
                .into());
        }
    };
    let plan = ExtractPlan {
        checkpoint: CheckpointSpec::parse(&args.checkpoint)?,
        texts: args.texts.clone(),
        want,
        long_text: args.long_text,
        layers: LayerSelection::parse(&args.layers)?,
        device: args.device,
        out: args.out.clone(),
    };
    let done = pipeline::extract_to_files(&plan, open_cache(&args.cache)?.as_ref(), &Progress::new())?;
    warnings(&done.warnings);
    say(&format!(
        "{} texts, {}{} tokens, {} layers × {} in {:.3} s: {}",
        done.texts,
        match want {
            Want::Words(context) => format!("{} words ({context}), ", done.vectors),
            Want::Segments => format!("{} segments, ", done.vectors),
            Want::Pooled(_) | Want::Tokens => String::new(),
        },
        done.tokens,
        done.layers.len(),
        done.width,
        done.seconds,
        args.out.display()
    ));
    Ok(())
}

fn fit(args: FitArgs) -> Result<(), Problems> {
    threads(args.threads)?;
    let plan = ArrayFit {
        x: args.x,
        y: args.y,
        folds: args.folds,
        alphas: args.alphas,
        bands: args.bands,
        band_scales: args.band_scales,
        draws: args.draws,
        seed: args.seed,
        components: args.pca.map(NonZeroUsize::get),
        combine: args.combine,
        precision: args.precision,
        device: args.device,
        memory: args.memory,
        out: args.out,
        overwrite: false,
    };
    let done = pipeline::fit_arrays(&plan, &Progress::new())?;
    warnings(&done.warnings);
    if args.json {
        say(&json!(done).to_string());
        return Ok(());
    }
    let number = |value: Option<f64>| value.map_or("undefined".to_owned(), |v| format!("{v:.4}"));
    for space in &done.feature_spaces {
        say(&format!(
            "{}: mean cod {}, mean r {}, {} undefined targets",
            space.name,
            number(space.mean_cod),
            number(space.mean_r),
            space.undefined
        ));
    }
    say(&format!("scores: {}", plan.out.join("scores.csv").display()));
    Ok(())
}

fn inspect(args: &InspectArgs) -> Result<(), Problems> {
    let spec = CheckpointSpec::parse(&args.checkpoint)?;
    let checkpoint = Checkpoint::open(&spec).map_err(Problems::from_list)?;
    let record = checkpoint.record();
    if args.json {
        say(&json!(record).to_string());
        return Ok(());
    }
    say(&format!("source      {}", record.source));
    say(&format!("family      {}", record.family));
    say(&format!(
        "layers      {} (embedding output and {} blocks) × {}",
        checkpoint.n_layers(),
        record.blocks,
        record.width
    ));
    say(&format!("parameters  {}", record.parameters));
    say(&format!("config      {}", record.config_sha256));
    say(&format!("tokenizer   {}", record.tokenizer_sha256));
    match (record.weights_sha256, record.untrained_seed) {
        (Some(weights), _) => say(&format!("weights     {weights}")),
        (None, seed) => say(&format!("weights     random, seed {}", seed.unwrap_or_default())),
    }
    say(&format!("prefix      {:?}", record.prefix));
    say(&format!("ignored     {} tensors: {}", record.ignored_tensors.len(), first_five(&record.ignored_tensors)));
    say("nothing would be refused");
    Ok(())
}

fn cache(args: &CacheCommandArgs) -> Result<(), Problems> {
    let folder = args.cache_dir.clone().map_or_else(default_cache_folder, Ok)?;
    let cache = StateCache::open(&folder, u64::MAX);
    let (content, others) = match args.action {
        CacheAction::List => (cache.content(), kept(&folder)),
        CacheAction::Verify => (cache.verify(), Vec::new()),
        CacheAction::Clear => (cache.clear()?, clear_kept(&folder)?),
    };
    let what = match args.action {
        CacheAction::List => "".to_owned(),
        CacheAction::Verify => format!(", {} damaged removed", content.damaged),
        CacheAction::Clear => ", all removed".to_owned(),
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    say(&format!("{}: {} entries, {:.1} MiB{what}", cache.folder().display(), content.entries, mib(content.bytes)));
    for kept in others {
        let what = match args.action {
            CacheAction::Clear if kept.stays => ", kept: they were fetched; remove the folder atlases by hand",
            CacheAction::Clear => ", all removed",
            _ => "",
        };
        say(&format!("{}: {} entries, {:.1} MiB{what}", kept.what, kept.entries, mib(kept.bytes)));
    }
    Ok(())
}

fn summary(finished: &Finished) -> serde_json::Value {
    let comparison = &finished.record.comparison;
    let labels: Vec<String> = finished.record.checkpoints.iter().map(|c| c.label.clone()).collect();
    let bases: BTreeMap<String, String> = comparison.bases(&labels).into_iter().collect();
    json!({
        "out": finished.folder.display().to_string(),
        "report": finished.folder.join("report.html").display().to_string(),
        "score": comparison.score,
        // Where checkpoints have bases of their own there is no one reference.
        "reference": Some(&comparison.reference).filter(|_| !comparison.has_bases()),
        "bases": bases,
        "lineage": comparison.lineage,
        "trends": comparison.trends,
        "folds": finished.record.plan.folds,
        "leaky_folds": finished.record.plan.folds.leaks(),
        "curves": comparison.curves,
        "confounds": comparison.confounds,
        "layer_differences": comparison.layer_differences,
        "best_layers": comparison.best_layers,
        "best_differences": comparison.best_differences,
        "profile_differences": comparison.profile_differences,
        "group_contrasts": comparison.group_contrasts,
        "rois": comparison.rois,
        "tests": comparison.tests,
        "left_out": finished.record.left_out,
        "warnings": finished.record.warnings,
    })
}

pub(super) fn warnings(list: &[Warning]) {
    for warning in list {
        note(&format!("warning: {warning}"));
    }
}

fn check(args: &CheckArgs) -> Result<Option<Status>, Problems> {
    threads(args.shared.threads)?;
    let overrides = Overrides { rois: args.rois.flags(), ..overrides(&args.shared) };
    let plan = plan(&args.checkpoints, &args.list, &args.study, &overrides)?;
    let audited = pipeline::check(plan, &Progress::new())?;
    let prepared = &audited.prepared;
    warnings(&prepared.warnings);
    warnings(&prepared.left_out);
    if args.shared.json {
        let mut overview = overview_json(prepared);
        overview["audit"] = json!(audited.findings);
        say(&overview.to_string());
    } else {
        overview(prepared);
        super::audit::findings(&audited.findings);
    }
    Ok(super::audit::status(&audited))
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
    for roi in prepared.rois.iter().flat_map(|r| &r.list) {
        say(&format!("roi         {}", roi.in_words()));
    }
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
    let estimate = pipeline::estimate(prepared);
    say(&format!(
        "estimate    about {} on {} threads (hidden states {}, encoding models {}, unique cod {}), {} MiB of memory",
        duration(estimate.seconds()),
        rayon::current_num_threads(),
        duration(estimate.hidden_states_seconds),
        duration(estimate.encoding_seconds),
        duration(estimate.unique_seconds),
        estimate.peak_bytes >> 20
    ));
    say("all inputs belong together; no checkpoint ran");
}

/// `40 s`, `12 min`, `3.5 h`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
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
        "rois": prepared.rois.as_ref().map(|r| &r.list),
        "folds": prepared.folds.count(),
        "checkpoints": checkpoints,
        "inputs": prepared.inputs,
        "estimate": pipeline::estimate(prepared),
        "warnings": prepared.warnings,
    })
}

fn rebuild(args: &ReportArgs) -> Result<(), Problems> {
    match (args.folders.as_slice(), &args.out) {
        ([folder], None) => {
            let record = pipeline::rebuild(folder)?;
            warnings(&record.warnings);
            say(&format!("rebuilt from run.json: {}", folder.join("report.html").display()));
        }
        (folders, Some(out)) => {
            let merged = pipeline::merge(folders, out, args.overwrite)?;
            warnings(&merged.record.warnings);
            say(&report::text_summary(&merged.record));
            say(&format!("report: {}", merged.folder.join("report.html").display()));
        }
        (_, None) => {
            return Err(Error::new(Code::Fl02, "--out", "is not given")
                .expected("a new directory for the comparison of several runs")
                .into());
        }
    }
    Ok(())
}
