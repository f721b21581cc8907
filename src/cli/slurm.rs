use std::process;

use serde_json::{Value, json};

use crate::error::{Code, Error, Problems};
use crate::pipeline::{self, Destination, Resume, SlurmScripts, SlurmSpec};

use super::args::{CompareArgs, bytes};
use super::commands::warnings;
use super::messages::say;
use super::progress::Progress;
use super::shards::{finished, planned};

pub(super) const EXAMPLES: &str = "\
Examples:
  brainscore slurm --checkpoints list.toml --study study.toml --out results --threads 4 --shards 8
      Checks all inputs and writes results.slurm/array.sh and merge.sh: an array job of eight shards, and a merge after it.
  brainscore slurm --checkpoints list.toml --study study.toml --out results --threads 4 --partition cpu --submit
      Submits both as well.
  brainscore progress results
      How far each shard is; results.slurm/logs says what they said.";

#[derive(Debug, clap::Args)]
pub(super) struct SlurmArgs {
    #[command(flatten)]
    pub compare: CompareArgs,
    /// Number of shards [default: one for every ten minutes of estimated work, as many as layers at most].
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub shards: Option<usize>,
    /// As for sbatch.
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// As for sbatch.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Time limit of each job, as for sbatch [default: by the estimate of `check`, three times].
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Memory of each job, such as 8G [default: by the estimate of `check`, one and a half times].
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub mem: Option<u64>,
    /// How often a shard that is killed or fails is started again within its job.
    #[arg(long, value_name = "K", default_value_t = 2)]
    pub retries: usize,
    /// Submit the jobs with sbatch.
    #[arg(long)]
    pub submit: bool,
}

/// Flags of this command alone: with a value, and without.
const WITH_VALUE: [&str; 6] = ["--shards", "--partition", "--account", "--time", "--mem", "--retries"];
const SWITCHES: [&str; 1] = ["--submit"];

pub(super) fn run(args: &SlurmArgs) -> Result<(), Problems> {
    let compare = &args.compare;
    let refused = |what: &str| {
        Err(Error::new(Code::Fl02, what, "is given").expected("neither --demo, --resume nor --shard").into())
    };
    match (&compare.study, compare.shard, compare.resume) {
        (None, ..) => return refused("--demo"),
        (_, Some(_), _) => return refused("--shard"),
        (_, _, true) => return refused("--resume"),
        (Some(_), None, false) => {}
    }
    let (command, plan) = planned(compare)?;
    let program = std::env::current_exe().map_err(|e| Error::io("brainscore", "finding", e))?;
    let spec = SlurmSpec {
        program,
        directory: command.directory.into(),
        arguments: compared(command.arguments),
        threads: rayon::current_num_threads(),
        threads_given: compare.shared.threads.is_some(),
        shards: args.shards,
        partition: args.partition.clone(),
        account: args.account.clone(),
        time: args.time.clone(),
        memory_mib: args.mem.map(|bytes| bytes.div_ceil(1 << 20)),
        retries: args.retries,
    };
    let resume = Resume { wanted: true, ..Resume::default() };
    let to = Destination { out: &compare.out, overwrite: compare.overwrite, resume };
    let scripts = pipeline::slurm(plan, &to, &spec, &Progress::new())?;
    if let Some(scripts) = &scripts {
        warnings(&scripts.warnings);
        warnings(&scripts.left_out);
    }
    let jobs = scripts.as_ref().filter(|_| args.submit).map(submit).transpose()?;
    if compare.shared.json {
        say(&as_json(scripts.as_ref(), jobs.as_ref()).to_string());
        return Ok(());
    }
    let Some(scripts) = scripts else {
        say(&finished(&compare.out));
        return Ok(());
    };
    say(&format!(
        "{}: {} shards on {} threads, {} MiB and {} each, then a merge",
        scripts.folder.display(),
        scripts.shards,
        spec.threads,
        scripts.memory_mib,
        scripts.time
    ));
    match jobs {
        Some(Jobs { array, merge }) => say(&format!("submitted: array job {array}, merge job {merge}")),
        None => {
            say(&format!("submit: sbatch {}", scripts.array.display()));
            say(&format!("then:   sbatch --dependency=afterok:JOB {}", scripts.merge.display()));
        }
    }
    Ok(())
}

/// What was written and submitted, for programs; nothing was where the output is there already.
fn as_json(scripts: Option<&SlurmScripts>, jobs: Option<&Jobs>) -> Value {
    let Some(scripts) = scripts else { return json!({"complete": true}) };
    json!({
        "complete": false, "array": scripts.array, "merge": scripts.merge, "shards": scripts.shards,
        "memory_mib": scripts.memory_mib, "time": scripts.time,
        "array_job": jobs.map(|j| &j.array), "merge_job": jobs.map(|j| &j.merge),
        "left_out": scripts.left_out, "warnings": scripts.warnings,
    })
}

/// The ids of submitted jobs.
struct Jobs {
    array: String,
    merge: String,
}

/// Flags before the name of the command, which belong to all commands: those with a value.
const GLOBAL: [&str; 1] = ["--log"];

/// The arguments of `compare`, its name left out, among those of this command.
fn compared(arguments: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut all = arguments.into_iter();
    while let Some(argument) = all.next().filter(|a| a != "slurm") {
        let value = if GLOBAL.contains(&argument.as_str()) { all.next() } else { None };
        kept.extend([argument].into_iter().chain(value));
    }
    let own = |argument: &str| {
        let (flag, value) = argument.split_once('=').map_or((argument, false), |(flag, _)| (flag, true));
        let takes = WITH_VALUE.contains(&flag);
        (takes || SWITCHES.contains(&flag)).then_some(takes && !value)
    };
    while let Some(argument) = all.next() {
        match own(&argument) {
            // No flags from here on.
            None if argument == "--" => kept.extend([argument].into_iter().chain(all.by_ref())),
            None => kept.push(argument),
            Some(true) => drop(all.next()),
            Some(false) => {}
        }
    }
    kept
}

fn submit(scripts: &SlurmScripts) -> Result<Jobs, Error> {
    let array = sbatch(&[scripts.array.as_os_str()])?;
    let dependency = format!("--dependency=afterok:{array}");
    let merge = sbatch(&[dependency.as_ref(), scripts.merge.as_os_str()]).map_err(|e| {
        let by_hand = format!("sbatch {dependency} {}", scripts.merge.display());
        e.hint(format!(
            "The array job {array} is submitted. Submit the merge: {by_hand}; or cancel it: scancel {array}"
        ))
    })?;
    Ok(Jobs { array, merge })
}

/// The id of a job.
fn sbatch(arguments: &[&std::ffi::OsStr]) -> Result<String, Error> {
    let failed = |why: String| Error::new(Code::Io01, "sbatch", format!("failed: {why}"));
    let output = process::Command::new("sbatch").arg("--parsable").args(arguments).output();
    let output =
        output.map_err(|e| failed(e.to_string()).hint("Run this where Slurm is, or without --submit").source(e))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // The id, and the name of the cluster where there are several.
    Ok(text.trim().split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::args::Args;
    use super::*;

    #[test]
    fn what_is_slurms_is_not_compares() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (given, kept) in [
            (
                "slurm a=b --shards 8 --study s --mem=4G --out --x --submit --layers=-1 --time 1:00",
                "a=b --study s --out --x --layers=-1",
            ),
            ("--log slurm slurm a=b --study s --retries 1", "--log slurm a=b --study s"),
            ("--log=x slurm --log y slurm --submit", "--log=x --log y slurm"),
            ("slurm --submit --study s -- a --submit --mem", "--study s -- a --submit --mem"),
        ] {
            assert_eq!(compared(words(given)), words(kept), "{given}");
        }
    }

    #[test]
    fn flags_of_all_commands_are_known() {
        let command = Args::command();
        let global = command.get_arguments().filter(|a| a.is_global_set() && a.get_action().takes_values());
        let names: Vec<String> = global.filter_map(|a| Some(format!("--{}", a.get_long()?))).collect();
        assert_eq!(names, GLOBAL);
    }
}
