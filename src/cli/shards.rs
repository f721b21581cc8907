use std::path::{Path, PathBuf};

use clap::{Parser, ValueHint};
use serde_json::json;

use super::args::{Args, Command, CompareArgs};
use super::commands::{compare, open_cache, overrides, plan, threads, warnings};
use super::messages::{note, say};
use super::progress::Progress;
use crate::error::{Code, Error, Problems, Status};
use crate::pipeline::{self, Destination, Missing, Resume};
use crate::store::{self, RECORD, RunDir, Shard, UnitFolder};
use crate::study::{Overrides, Plan};

pub(super) const MERGE_EXAMPLES: &str = "\
Examples:
  brainscore compare --checkpoints list.toml --study study.toml --out results --threads 4 --shard 3/8
      One of eight shares, on any machine that sees the same files; run all eight, in any order and at any time.
  brainscore merge results
      Makes results of what they finished: the same tables as one run on the same number of threads.
  brainscore progress results
      How far each share is.
To compare finished runs with each other there is `brainscore report A B --out C`.";

#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// What was --out of the shards.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// Compute units that no shard has finished, instead of refusing.
    #[arg(long)]
    pub compute_missing: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ProgressArgs {
    /// What was --out of the shards.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// Print it as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// The command line of this process, for those who finish its work; none when it is no Unicode text.
pub(super) fn command() -> Option<store::Command> {
    let directory = std::env::current_dir().ok()?.into_os_string().into_string().ok()?;
    let arguments: Option<Vec<String>> = std::env::args_os().skip(1).map(|a| a.into_string().ok()).collect();
    Some(store::Command { directory, arguments: arguments? })
}

/// Starts the threads of a comparison that other processes take part in; its command line and its plan.
pub(super) fn planned(args: &CompareArgs) -> Result<(store::Command, Plan), Problems> {
    threads(args.shared.threads)?;
    let Some(command) = command() else {
        return Err(Error::new(Code::Fl02, "the command line", "holds a name that is no Unicode text")
            .expected("names that can be written down for other processes")
            .into());
    };
    // INVARIANT: clap asks for --study unless --demo is given, which neither --shard nor `slurm` takes.
    let study = args.study.as_deref().expect("a study");
    Ok((command, plan(&args.checkpoints, &args.list, study, &comparison(args))?))
}

/// Computes one share of a comparison. Its status is that of its own work: what is left out makes that of `merge`.
pub(super) fn share(args: &CompareArgs, shard: Shard) -> Result<Option<Status>, Problems> {
    let (command, plan) = planned(args)?;
    let cache = open_cache(&args.cache)?;
    let resume = Resume { wanted: true, missing: Missing::Compute, command: Some(command) };
    let to = Destination { out: &args.out, overwrite: args.overwrite, resume };
    let shared = pipeline::share(plan, &to, shard, cache.as_ref(), &Progress::new())?;
    warnings(&shared.warnings);
    warnings(&shared.left_out);
    let open = shared.all - shared.finished - shared.others;
    if args.shared.json {
        let found = json!({
            "shard": shard.to_string(), "computed": shared.computed, "finished": shared.finished,
            "claimed_by_others": shared.others, "open": open, "units": shared.all, "complete": shared.before,
            "left_out": shared.left_out, "warnings": shared.warnings,
        });
        say(&found.to_string());
    } else if shared.before {
        say(&finished(&args.out));
    } else {
        say(&format!(
            "shard {shard}: computed {} units; of {} in all {} are finished, {} claimed by other shards, {open} open",
            shared.computed, shared.all, shared.finished, shared.others
        ));
        if shared.finished == shared.all {
            say(&format!("all is there: brainscore merge {}", args.out.display()));
        }
    }
    Ok(None)
}

/// What is said where there is nothing to do.
pub(super) fn finished(out: &Path) -> String {
    format!("{} is finished: this plan made it, nothing is to be done", out.display())
}

/// What the flags of `compare` change of a study.
pub(super) fn comparison(args: &CompareArgs) -> Overrides {
    Overrides {
        untrained: args.untrained,
        metrics: args.metrics.clone(),
        rois: args.rois.flags(),
        ..overrides(&args.shared)
    }
}

/// Makes the results of units: the command that began runs to its end, where it was given.
pub(super) fn merge(args: &MergeArgs) -> Result<Option<Status>, Problems> {
    let out = std::path::absolute(&args.folder).map_err(|e| Error::io(args.folder.display(), "finding", e))?;
    let path = UnitFolder::beside(&out)?;
    let Some(plan) = UnitFolder::plan(&path)? else {
        if out.join(RECORD).is_file() {
            // Units whose removal a kill interrupted. What cannot be removed costs space and nothing else.
            RunDir::clear(&out, || ()).ok();
            say(&format!("{} is finished, nothing is to be done", args.folder.display()));
            return Ok(None);
        }
        return Err(Error::new(Code::Od08, args.folder.display(), "has no finished units beside it")
            .expected("what was --out of `brainscore compare … --shard i/n`")
            .into());
    };
    let begun =
        |found: String| Error::new(Code::Od08, path.display(), found).hint("Give its command again with --resume");
    let Some(command) = plan.command else {
        return Err(begun("does not say which command began it".to_owned()).into());
    };
    std::env::set_current_dir(&command.directory).map_err(|e| Error::io(&command.directory, "entering", e))?;
    let line = std::iter::once("brainscore".to_owned()).chain(command.arguments);
    let parsed = Args::try_parse_from(line).map_err(|e| begun(format!("was begun by another program: {e}")))?;
    let Command::Compare(mut compared) = parsed.command else {
        return Err(begun("was begun by another command than compare".to_owned()).into());
    };
    compared.out = out;
    compared.resume = true;
    compared.shard = None;
    if compared.shared.threads.is_none() {
        compared.shared.threads = plan.identity.get("threads").and_then(|n| n.parse().ok());
    }
    compare(compared, if args.compute_missing { Missing::Compute } else { Missing::Refuse })
}

/// How far the shares of a run are.
pub(super) fn progress(args: &ProgressArgs) -> Result<(), Problems> {
    let path = UnitFolder::beside(&args.folder)?;
    let standing = pipeline::standing(&path);
    if args.json {
        let shards: Vec<_> = standing.shards.iter().map(shard_json).collect();
        say(&json!({
            "units": standing.all, "finished": standing.finished, "open": standing.open, "shards": shards,
            "complete": is_complete(&args.folder),
        })
        .to_string());
        return Ok(());
    }
    if standing.all == 0 {
        let found = if is_complete(&args.folder) { "is finished" } else { "has no shards at work beside it" };
        say(&format!("{} {found}", args.folder.display()));
        return Ok(());
    }
    for shard in &standing.shards {
        let life = if shard.alive { "at work" } else { "not at work" };
        say(&format!(
            "shard {:>7}  {:>5} of {:>5} claimed units finished  {life}",
            shard.shard, shard.finished, shard.claimed
        ));
    }
    say(&format!("{} of {} units are finished, {} are open", standing.finished, standing.all, standing.open));
    if standing.finished == standing.all {
        note(&format!("all is there: brainscore merge {}", args.folder.display()));
    }
    Ok(())
}

fn is_complete(folder: &Path) -> bool {
    folder.join(RECORD).is_file()
}

fn shard_json(shard: &pipeline::ShardStanding) -> serde_json::Value {
    json!({"shard": shard.shard, "claimed": shard.claimed, "finished": shard.finished, "at_work": shard.alive})
}
