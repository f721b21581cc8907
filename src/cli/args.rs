use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::encoder::Pooling;

const EXAMPLES: &str = "\
Examples:
  brainscore compare --demo --out demo-report
      Runs the whole job on the built-in study (no download) and writes a report.
  brainscore compare base=bert-base tuned=bert-moral untrained=untrained:0:bert-base --study study.toml --out results
      Compares two checkpoint folders and an untrained copy; the first one is the reference.
  brainscore check bert-base --study study.toml
      Reads and checks every input, computes nothing.";

/// How well the layers of a text encoder predict a brain, and whether fine-tuning changed that.
#[derive(Debug, Parser)]
#[command(name = "brainscore", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Score checkpoints against a study and write tables, figures and a report.
    #[command(after_help = EXAMPLES)]
    Compare(CompareArgs),
    /// Read and check every input of a comparison; list all problems; compute nothing.
    Check(CheckArgs),
    /// Rebuild figures and report of a finished run from its run.json; compute nothing.
    Report(ReportArgs),
    /// Turn BOLD runs into one series per parcel of an atlas.
    #[command(after_help = super::parcellate::EXAMPLES)]
    Parcellate(Box<super::parcellate::ParcellateArgs>),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// `[label=]folder`, `[label=]hub-id[@revision]` (downloaded) or `[label=]untrained:SEED:folder`; the first is the
    /// reference.
    #[arg(value_name = "CHECKPOINT", required_unless_present = "demo", conflicts_with = "demo", value_hint = ValueHint::DirPath)]
    pub checkpoints: Vec<String>,
    /// The study file.
    #[arg(long, value_name = "FILE", required_unless_present = "demo", conflicts_with = "demo", value_hint = ValueHint::FilePath)]
    pub study: Option<PathBuf>,
    /// Run the built-in demo study: two small encoders, eight invented subjects, a planted effect.
    #[arg(long)]
    pub demo: bool,
    /// Directory for the results; appears when everything is done.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Replace a finished run at --out.
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// As for `compare`.
    #[arg(value_name = "CHECKPOINT", required = true, value_hint = ValueHint::DirPath)]
    pub checkpoints: Vec<String>,
    /// The study file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub study: PathBuf,
    #[command(flatten)]
    pub shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct SharedArgs {
    /// Layers to score: `all`, or numbers such as `0,3,-1` (0 is the embedding output, -1 the last layer).
    #[arg(long, value_name = "LIST", default_value = "all", allow_hyphen_values = true)]
    pub layers: String,
    /// How the tokens of a text become one vector [default: the study's, else mean].
    #[arg(long, value_parser = pooling)]
    pub pooling: Option<Pooling>,
    /// Number of threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// The directory of a finished run.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

fn pooling(text: &str) -> Result<Pooling, String> {
    Pooling::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = Pooling::ALL.iter().map(|p| p.as_str()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
