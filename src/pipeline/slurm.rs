//! Job scripts for Slurm: an array of shards, and a merge that waits for all of them.

use std::path::{Path, PathBuf};

use super::destination::{Destination, apart};
use super::estimate::estimate;
use super::preflight::{Prepared, prepare};
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::io::{atomic, disk};
use crate::study::Plan;
use crate::watch::Watch;

/// Least time that is asked for, in minutes.
const LEAST_MINUTES: u64 = 15;
/// What is asked for beyond an estimate that is meant to tell a minute from an hour.
const TIME_MARGIN: f64 = 3.0;
const MEMORY_MARGIN: f64 = 1.5;
/// Seconds of estimated work that a shard is given at least, unless it is said how many there are.
const SHARD_SECONDS: f64 = 600.0;
/// Share of a job's memory that encoding models may use.
const MODELS: f64 = 0.6;

/// What the jobs are to be.
#[derive(Debug, Clone, PartialEq)]
pub struct SlurmSpec {
    /// The program.
    pub program: PathBuf,
    /// Where its arguments hold.
    pub directory: PathBuf,
    /// Those of `compare`, its name left out.
    pub arguments: Vec<String>,
    /// Threads of each job.
    pub threads: usize,
    /// Whether the arguments say so.
    pub threads_given: bool,
    /// Number of shards; chosen by the estimate where none is given.
    pub shards: Option<usize>,
    /// Partition, account, time limit and memory, as sbatch takes them.
    pub partition: Option<String>,
    /// See `partition`.
    pub account: Option<String>,
    /// See `partition`.
    pub time: Option<String>,
    /// Megabytes per job.
    pub memory_mib: Option<u64>,
    /// How often a shard is started again within its job.
    pub retries: usize,
}

/// The scripts that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmScripts {
    /// Their folder.
    pub folder: PathBuf,
    /// The array job.
    pub array: PathBuf,
    /// The job that waits for it.
    pub merge: PathBuf,
    /// Number of shards.
    pub shards: usize,
    /// Memory of each job, in MiB.
    pub memory_mib: u64,
    /// Time limit of each job.
    pub time: String,
    /// What was left out because it could not be used.
    pub left_out: Vec<Warning>,
    /// What the user must know.
    pub warnings: Vec<Warning>,
}

/// Checks all inputs and the output place of a comparison, and writes `array.sh` and `merge.sh` into the folder `NAME.slurm`
/// beside the output `NAME`; nothing where this plan has made the output already.
///
/// Every argument stands in the scripts as one word of the shell, whatever it holds. Lines of options hold nothing but
/// numbers and plain words.
///
/// # Errors
/// As [`super::share`]; `FL-02` for a partition, account or time that is no plain word; `IO-01` when nothing can be written.
pub fn slurm(
    plan: Plan,
    to: &Destination<'_>,
    spec: &SlurmSpec,
    watch: &dyn Watch,
) -> std::result::Result<Option<SlurmScripts>, Problems> {
    for (flag, value) in [("--partition", &spec.partition), ("--account", &spec.account), ("--time", &spec.time)] {
        if let Some(value) = value {
            plain_word(flag, value)?;
        }
    }
    apart(&plan, to.out, None)?;
    to.check()?;
    let mut prepared = prepare(plan, watch)?;
    let estimate = estimate(&prepared);
    let units: usize = prepared.checkpoints.iter().map(|c| c.layers.len()).sum();
    let shards =
        spec.shards.unwrap_or_else(|| ((estimate.seconds() / SHARD_SECONDS).ceil() as usize).clamp(1, units.max(1)));
    let needed = (estimate.peak_bytes as f64 * MEMORY_MARGIN / f64::from(1 << 20)).ceil() as u64 + 256;
    let memory_mib = spec.memory_mib.unwrap_or(needed);
    let models_mib = (!prepared.plan.memory_given).then_some((memory_mib as f64 * MODELS) as u64);
    if let Some(mib) = models_mib {
        // It is part of the plan of the jobs.
        (prepared.plan.memory, prepared.plan.memory_given) = (mib << 20, true);
    }
    if let Some(record) = to.finished(&prepared)? {
        to.clear(&record);
        return Ok(None);
    }
    let minutes = (TIME_MARGIN * estimate.seconds() / shards as f64 / 60.0).ceil() as u64 + LEAST_MINUTES;
    let time = spec.time.clone().unwrap_or_else(|| format!("{:02}:{:02}:00", minutes / 60, minutes % 60));
    let mut name = to.out.file_name().unwrap_or_default().to_os_string();
    name.push(".slurm");
    let folder = spec.directory.join(to.out.with_file_name(name));
    let logs = folder.join("logs");
    disk::create_dir_all(&logs).map_err(|e| atomic::write_error(&logs, "creating", e))?;
    let (array, merge) = (folder.join("array.sh"), folder.join("merge.sh"));
    let resources = Resources { spec, memory_mib, models_mib, time: &time };
    atomic::write(&array, resources.array(shards, &logs)?.as_bytes())?;
    atomic::write(&merge, resources.merge(&spec.directory.join(to.out), &logs)?.as_bytes())?;
    let Prepared { left_out, warnings, .. } = prepared;
    Ok(Some(SlurmScripts { folder, array, merge, shards, memory_mib, time, left_out, warnings }))
}

struct Resources<'a> {
    spec: &'a SlurmSpec,
    memory_mib: u64,
    /// What models may use of it, where the arguments do not say.
    models_mib: Option<u64>,
    time: &'a str,
}

impl Resources<'_> {
    fn head(&self, job: &str, more: &str, log: &str) -> Result<String> {
        let SlurmSpec { threads, partition, account, directory, .. } = self.spec;
        let option = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!("#SBATCH --{name}={value}\n"))
        };
        Ok(format!(
            "#!/bin/bash\n#SBATCH --job-name={job}\n{more}#SBATCH --ntasks=1\n#SBATCH --cpus-per-task={threads}\n\
             #SBATCH --mem={}M\n#SBATCH --time={}\n{}{}#SBATCH --output=/dev/null\n\
             exec >>{log} 2>&1\ncd {} || exit 4\n",
            self.memory_mib,
            self.time,
            option("partition", partition),
            option("account", account),
            path(directory)?,
        ))
    }

    fn array(&self, shards: usize, logs: &Path) -> Result<String> {
        let log = format!("{}/shard-\"$SLURM_ARRAY_TASK_ID\".log", path(logs)?);
        let more = format!("#SBATCH --array=1-{shards}\n#SBATCH --requeue\n");
        // Flags first: among the arguments there may be a `--`.
        let mut words = vec![path(&self.spec.program)?, format!("compare --shard \"$SLURM_ARRAY_TASK_ID/{shards}\"")];
        if !self.spec.threads_given {
            words.push(format!("--threads {}", self.spec.threads));
        }
        words.extend(self.models_mib.map(|mib| format!("--memory {mib}M")));
        words.extend(self.spec.arguments.iter().map(|a| quoted(a)));
        Ok(format!(
            "{}# A shard that is killed or fails is started again here, where its claims and its memory are. What is wrong with\n\
             # the command line (2) or an input (3) would be wrong again; who ended it (130, 143) meant it.\n\
             for attempt in $(seq 0 {}); do\n    {}\n    status=$?\n    \
             case $status in 0|2|3|130|143) exit $status;; esac\n    echo \"attempt $attempt ended with status $status\"\ndone\nexit $status\n",
            self.head("brainscore", &more, &log)?,
            self.spec.retries,
            words.join(" "),
        ))
    }

    fn merge(&self, out: &Path, logs: &Path) -> Result<String> {
        let log = format!("{}/merge.log", path(logs)?);
        let head = self.head("brainscore-merge", "", &log)?;
        Ok(format!(
            "{head}# Damaged units are the only ones that can be missing when all shards have ended well.\n{} merge --compute-missing {}\n",
            path(&self.spec.program)?,
            path(out)?
        ))
    }
}

/// One word of the shell, whatever it holds: between single quotes nothing means anything but a single quote.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn path(path: &Path) -> Result<String> {
    path.to_str().map(quoted).ok_or_else(|| {
        Error::new(Code::Fl02, path.display(), "is no Unicode text").expected("a name that can stand in a script")
    })
}

fn plain_word(flag: &str, value: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return Ok(());
    }
    Err(Error::new(Code::Fl02, flag, format!("is {value:?}")).expected("letters, digits and . _ - : , alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no name should be able to do, given back by a real shell.
    #[test]
    #[cfg(unix)]
    fn every_argument_is_one_word() {
        let hostile = [
            "",
            "a b",
            "it's",
            "\"$HOME\"",
            "$(touch owned)",
            "`id`",
            "a\nb\n",
            "*",
            "~",
            "-n",
            "\\",
            "ünï-脑",
            "!!",
            "#x",
        ];
        let words: Vec<String> = hostile.iter().map(|w| quoted(w)).collect();
        let script = format!("for w in {}; do printf '%s\\0' \"$w\"; done", words.join(" "));
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        let back: Vec<String> =
            String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect();
        assert_eq!(back, hostile);
    }

    #[test]
    fn options_are_plain_words() {
        assert!(plain_word("--time", "1-00:30:00").is_ok() && plain_word("--partition", "gpu_long,cpu").is_ok());
        for wrong in ["", "a b", "x\n#SBATCH --wrap=id", "$(id)", "'"] {
            assert_eq!(plain_word("--account", wrong).unwrap_err().code(), Code::Fl02);
        }
    }
}
