use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use super::examples;
use crate::compute::device::Device;
use crate::encoder::{Context, LongText, Pooling};
use crate::encoding::Combine;
use crate::encoding::MetricName;
use crate::encoding::engine::Precision;
use crate::pipeline::Want;
use crate::store::Shard;
use crate::study::{FoldKind, UniqueLayers};

/// How well the layers of a text encoder predict a brain, and whether fine-tuning changed that.
#[derive(Debug, Parser)]
#[command(name = "brainscore", version, after_help = examples::COMPARE, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Command,
    /// Append a log to this file: the command, stages, warnings and errors, with times (UTC) and the memory that was needed.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub log: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Score checkpoints against a study and write tables, figures and a report.
    #[command(after_help = examples::COMPARE)]
    Compare(CompareArgs),
    /// Read and check every input of a comparison; list all problems; audit the design; no checkpoint runs.
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Say what makes the scores of a study doubtful: leaks, equal weights, too few rows, …; exit status 1 when severe.
    #[command(after_help = super::audit::EXAMPLES)]
    Audit(super::audit::AuditArgs),
    /// Plant a known effect into a study and say whether it is found, and with how many subjects it would be.
    #[command(after_help = super::selftest::EXAMPLES)]
    Selftest(super::selftest::SelftestArgs),
    /// Fit cross-validated ridge on plain NumPy arrays.
    #[command(after_help = examples::FIT)]
    Fit(FitArgs),
    /// Write the hidden states of texts as NumPy or safetensors files.
    #[command(after_help = examples::EXTRACT)]
    Extract(ExtractArgs),
    /// Say what a checkpoint is, and what would be refused about it and why.
    #[command(after_help = examples::INSPECT)]
    Inspect(InspectArgs),
    /// Look after the cache: hidden states, factorised atlases, series of parcels, compiled kernels.
    #[command(after_help = examples::CACHE)]
    Cache(CacheCommandArgs),
    /// Rebuild figures and report of a finished run, or merge several runs of one study into one comparison.
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Make the results of a comparison whose units were computed in shares (`compare --shard i/n`), or were left by a killed run.
    #[command(after_help = super::shards::MERGE_EXAMPLES)]
    Merge(super::shards::MergeArgs),
    /// Say how far the shares of a comparison are.
    #[command(after_help = examples::PROGRESS)]
    Progress(super::shards::ProgressArgs),
    /// Write, and submit, a comparison in shares as an array job for Slurm.
    #[command(after_help = super::slurm::EXAMPLES)]
    Slurm(Box<super::slurm::SlurmArgs>),
    /// Turn BOLD runs into one series per parcel of an atlas.
    #[command(after_help = super::parcellate::EXAMPLES)]
    Parcellate(Box<super::parcellate::ParcellateArgs>),
    /// Carry the parcel scores of a finished run to voxels and surfaces, with pictures.
    #[command(after_help = super::maps::EXAMPLES)]
    Maps(super::maps::MapsArgs),
    /// Take features of words to the volumes of a run.
    #[command(after_help = super::resample::EXAMPLES)]
    Resample(super::resample::ResampleArgs),
    /// List, show or fetch atlases that the program knows of.
    #[command(after_help = super::atlas::EXAMPLES)]
    Atlas(super::atlas::AtlasArgs),
    /// List the volumes that stand for each trial of events files.
    #[command(after_help = super::windows::EXAMPLES)]
    Windows(super::windows::WindowsArgs),
    /// Say what this machine has to compute with, and check it: processor, OpenBLAS, memory, cache, NVIDIA cards.
    #[command(after_help = super::doctor::EXAMPLES)]
    Doctor(super::doctor::DoctorArgs),
    /// Print a completion script for a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// `[label=]folder`, `[label=]hub-id[@revision]` (downloaded) or `[label=]untrained:SEED:folder`; the first is the
    /// reference.
    #[arg(value_name = "CHECKPOINT", required_unless_present_any = ["demo", "list"], conflicts_with = "demo", value_hint = ValueHint::DirPath)]
    pub checkpoints: Vec<String>,
    #[command(flatten)]
    pub list: ListArgs,
    /// The study file.
    #[arg(long, value_name = "FILE", required_unless_present = "demo", conflicts_with = "demo", value_hint = ValueHint::FilePath)]
    pub study: Option<PathBuf>,
    /// Run the built-in demo study: two small encoders, eight invented subjects, a planted effect.
    #[arg(long, conflicts_with = "list")]
    pub demo: bool,
    /// Directory for the results; appears when everything is done.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Replace a finished run at --out.
    #[arg(long)]
    pub overwrite: bool,
    /// Go on from what a killed run of the same plan finished (layers, joint models, attested weights), with the same tables
    /// in the end. Where nothing was finished it runs; where the run is complete it says so.
    #[arg(long)]
    pub resume: bool,
    /// Compute one of n shares of the units, beside others that do the same for the same --out; `brainscore merge` then makes
    /// the results. A share that was killed is started again with the same command.
    #[arg(long, value_name = "I/N", conflicts_with = "demo", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
    /// Add so many untrained copies (seeds 0, 1, …) of the first checkpoint's architecture as a baseline.
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub untrained: u64,
    /// More scores, separated by commas: pattern-r, rank, legacy-pattern-r (each beside its intercept-only value), rsa
    /// and cka (each with a permutation null).
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = metric)]
    pub metrics: Vec<MetricName>,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub rois: super::rois::RoiArgs,
    #[command(flatten)]
    pub shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// As for `compare`.
    #[arg(value_name = "CHECKPOINT", required_unless_present = "list", value_hint = ValueHint::DirPath)]
    pub checkpoints: Vec<String>,
    #[command(flatten)]
    pub list: ListArgs,
    /// The study file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub study: PathBuf,
    #[command(flatten)]
    pub rois: super::rois::RoiArgs,
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Many checkpoints at once.
#[derive(Debug, Default, clap::Args)]
pub(super) struct ListArgs {
    /// A TOML file with one [[checkpoint]] for each: label, path, base (what it is compared with), family, steps, size.
    #[arg(id = "list", long = "checkpoints", value_name = "LIST", conflicts_with = "checkpoints", value_hint = ValueHint::FilePath)]
    pub list: Option<PathBuf>,
    /// Leave out checkpoints that cannot be used, by name, and run the others; the exit status is then 1.
    #[arg(long)]
    pub keep_going: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SharedArgs {
    /// Layers to score: `all`, or numbers such as `0,3,-1` (0 is the embedding output, -1 the last layer).
    #[arg(long, value_name = "LIST", default_value = "all", allow_hyphen_values = true)]
    pub layers: String,
    /// How the tokens of a text become one vector [default: the study's, else mean].
    #[arg(long, value_parser = pooling)]
    pub pooling: Option<Pooling>,
    /// Texts with more tokens than a checkpoint takes: refuse, window (overlapping windows) or truncate [default: the
    /// study's, else refuse].
    #[arg(long, value_name = "HOW", value_parser = long_text)]
    pub long_text: Option<LongText>,
    /// Call differences within ± this equivalent when two one-sided t tests say so; in units of the score [default: the
    /// study's, else no such test].
    #[arg(long, value_name = "M")]
    pub margin: Option<f64>,
    /// Random permutations of a test, where there are too many to use all [default: the study's, else 10000].
    #[arg(long, value_name = "N")]
    pub permutations: Option<usize>,
    /// Layers that get `unique cod`, what they add to the confounds in a joint (banded) model: best (of each checkpoint),
    /// all (about 100 times the work of the plain fits) or none [default: best, and none with principal components].
    #[arg(long, value_name = "LAYERS", value_parser = unique_layers)]
    pub unique: Option<UniqueLayers>,
    /// Confine each fit to so many principal components of the features, found on its training rows; there is no `unique
    /// cod` then [default: the study's, else all].
    #[arg(long, value_name = "N")]
    pub pca: Option<NonZeroUsize>,
    /// Models of all layers of a checkpoint together, beside those of each alone: concat (their columns side by side) and
    /// stack (their predictions mixed per target by weights from the inner folds), in combined.csv [default: the study's,
    /// else none].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = combine)]
    pub combine: Option<Vec<Combine>>,
    /// Let targets with empty, NaN or infinite responses have no score in the subjects concerned, instead of refusing the
    /// study [default: the study's, else refuse].
    #[arg(long)]
    pub drop_nan_parcels: bool,
    /// The array of responses that is meant, where a NumPy archive (.npz) holds several [default: the study's].
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// double, mixed (searches alphas in float32, decides close calls and fits in float64) or single.
    #[arg(long, default_value = "mixed", value_parser = precision)]
    pub precision: Precision,
    /// What runs encoders and fits encoding models: cpu; cuda (all NVIDIA cards) or cuda:N, and nothing else; or auto: cards
    /// where there are some, else the CPU with a warning. See `brainscore doctor`.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Memory that the encoding models may use, such as 2G [default: 60 % of what is available].
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<u64>,
    /// What the encoder sees of a narrative for the vector of a word: causal:N (the N words up to and including this one),
    /// sentence, or full [default: the study's, else causal:20].
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<Context>,
    /// Outer folds: contiguous, group-k, leave-one-run-out, leave-one-subject-out, column or shuffled [default: the
    /// study's, else contiguous].
    #[arg(long, value_name = "KIND", value_parser = fold_kind)]
    pub folds: Option<FoldKind>,
    /// Let folds be shuffled. Every output will say that they leak.
    #[arg(long)]
    pub allow_leaky_folds: bool,
    /// Number of threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CacheArgs {
    /// Compute hidden states anew and keep none.
    #[arg(long, conflicts_with = "cache_dir")]
    pub no_cache: bool,
    /// Where hidden states are kept [default: $BRAINSCORE_CACHE, else the user's cache folder].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache_dir: Option<PathBuf>,
    /// Largest size of the cache; the least recently used entries leave first.
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = bytes)]
    pub cache_size: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExtractArgs {
    /// `[label=]folder`, `[label=]hub-id[@revision]` or `[label=]untrained:SEED:folder`.
    #[arg(value_name = "CHECKPOINT", value_hint = ValueHint::DirPath)]
    pub checkpoint: String,
    /// Texts: .txt line by line, .json list, or a table with a column `text`; segments: .json list of lists, or a table
    /// with a column `segments`, ||| between them.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub texts: PathBuf,
    /// New directory for the files.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// One vector per text (mean, mean-words, cls, last), per word (words) or per segment (segments: each with the text
    /// before it as its context), or `tokens`: the states of every token.
    #[arg(long, default_value = "mean", value_parser = want)]
    pub pooling: Want,
    /// What the encoder sees of a text for the vector of a word: causal:N (the N words up to and including this one),
    /// sentence (up to a word that ends in . ! or ?), or full [default: causal:20].
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<Context>,
    /// Texts with more tokens than the checkpoint takes: refuse, window (overlapping windows) or truncate.
    #[arg(long, value_name = "HOW", default_value = "refuse", value_parser = long_text)]
    pub long_text: LongText,
    /// Layers: `all`, or numbers such as `0,3,-1`.
    #[arg(long, value_name = "LIST", default_value = "all", allow_hyphen_values = true)]
    pub layers: String,
    /// What runs the encoder: cpu; cuda (all NVIDIA cards) or cuda:N, and nothing else; or auto: cards where there are some,
    /// else the CPU with a warning. See `brainscore doctor`.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Number of threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    #[command(flatten)]
    pub cache: CacheArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct FitArgs {
    /// Features (rows, features); repeat for more feature spaces.
    #[arg(long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub x: Vec<PathBuf>,
    /// Responses (rows, targets); repeat for more subjects.
    #[arg(long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub y: Vec<PathBuf>,
    /// Outer fold of each row.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub folds: PathBuf,
    /// Ridge penalties [default: 1e-1 … 1e7 in half decades].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub alphas: Option<PathBuf>,
    /// Band of each feature, counted from 0. Without --band-scales the bands' weights are chosen per target by random
    /// search on the inner folds; bands.csv then says what each band contributes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub bands: Option<PathBuf>,
    /// Factor of each band's columns after z-scoring.
    #[arg(long, value_name = "FILE", requires = "bands", value_hint = ValueHint::FilePath)]
    pub band_scales: Option<PathBuf>,
    /// Weightings of bands that the random search tries.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub draws: usize,
    /// Seed of the random search.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Confine each fit to so many principal components of the features, found on its training rows.
    #[arg(long, value_name = "N", conflicts_with = "bands")]
    pub pca: Option<NonZeroUsize>,
    /// Models of all feature spaces together, after each alone: concat (their columns side by side) and stack (their
    /// predictions mixed per target by weights from the inner folds, in stack.csv).
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "bands", value_parser = combine)]
    pub combine: Vec<Combine>,
    /// New directory for the scores.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// double, mixed (searches alphas in float32, decides close calls and fits in float64) or single.
    #[arg(long, default_value = "mixed", value_parser = precision)]
    pub precision: Precision,
    /// What fits the encoding models: cpu; cuda (all NVIDIA cards) or cuda:N, and nothing else; or auto: cards where there are
    /// some, else the CPU with a warning. See `brainscore doctor`.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Memory to use at most, such as 2G [default: 60 % of what is available]. Responses that do not fit are read in
    /// blocks of targets.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<u64>,
    /// Number of threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the summary as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// `[label=]folder`, `[label=]hub-id[@revision]` or `[label=]untrained:SEED:folder`.
    #[arg(value_name = "CHECKPOINT", value_hint = ValueHint::DirPath)]
    pub checkpoint: String,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CacheCommandArgs {
    /// What to do.
    #[arg(value_enum)]
    pub action: CacheAction,
    /// Where the cache is [default: $BRAINSCORE_CACHE, else the user's cache folder].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum CacheAction {
    /// Count entries and bytes of all that is kept.
    List,
    /// Read every entry of hidden states and remove damaged ones.
    Verify,
    /// Remove all that can be made again; atlases that were fetched stay.
    Clear,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// The directory of a finished run; two or more are merged into one comparison at --out.
    #[arg(value_name = "DIR", required = true, value_hint = ValueHint::DirPath)]
    pub folders: Vec<PathBuf>,
    /// New directory for the merged comparison.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Replace a finished run at --out.
    #[arg(long, requires = "out")]
    pub overwrite: bool,
}

/// The one of `all` that has this name.
fn named<T: Copy>(text: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|v| name(*v) == text).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|v| name(*v)).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn pooling(text: &str) -> Result<Pooling, String> {
    named(text, &Pooling::ALL, Pooling::as_str)
}

fn combine(text: &str) -> Result<Combine, String> {
    named(text, &Combine::ALL, Combine::as_str)
}

fn unique_layers(text: &str) -> Result<UniqueLayers, String> {
    named(text, &UniqueLayers::ALL, UniqueLayers::as_str)
}

fn fold_kind(text: &str) -> Result<FoldKind, String> {
    FoldKind::ALL.into_iter().find(|(_, name)| *name == text).map(|(kind, _)| kind).ok_or_else(|| {
        let names: Vec<&str> = FoldKind::ALL.iter().map(|(_, name)| *name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn metric(text: &str) -> Result<MetricName, String> {
    named(text, &MetricName::ALL, MetricName::as_str)
}

fn precision(text: &str) -> Result<Precision, String> {
    named(text, &Precision::ALL, Precision::as_str)
}

fn long_text(text: &str) -> Result<LongText, String> {
    LongText::ALL.into_iter().find(|l| l.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = LongText::ALL.iter().map(|l| l.as_str()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn want(text: &str) -> Result<Want, String> {
    match text {
        "tokens" => Ok(Want::Tokens),
        "words" => Ok(Want::Words(Context::default())),
        "segments" => Ok(Want::Segments),
        other => pooling(other).map(Want::Pooled).map_err(|e| format!("{e}, words, segments, tokens")),
    }
}

/// A size such as `500M`, `10G` or a number of bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        Some((at, 'T' | 't')) => (&text[..at], 1 << 40),
        _ => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| "expected a size such as 500M or 10G".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn sizes_have_units() {
        assert_eq!((bytes("10G"), bytes("5k"), bytes("7")), (Ok(10 << 30), Ok(5 << 10), Ok(7)));
        assert!(bytes("ten").is_err() && bytes("").is_err() && bytes("99999999999T").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Args::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.starts_with("Example") && help.contains("\n  brainscore "),
                "{}: {help:?}",
                command.get_name()
            );
            assert!(help.contains(command.get_name()), "{}: {help:?}", command.get_name());
        }
    }
}
