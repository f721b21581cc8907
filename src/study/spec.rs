//! `study.toml` as the user wrote it. Unknown keys are refused, the nearest known one named.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::Deserialize;
use toml::de::DeTable;

use super::keys;
use super::rois::RoisSection;
use super::sections::{EventsSection, ResponsesKind, SeriesSection, StimuliKind};
use crate::bold::{Filter, Standardize};
use crate::encoder::{Context, LongText, Pooling};
use crate::encoding::{Combine, ScoreName};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::bounded;
use crate::missing::MissingValues;

/// A study file: every optional key may be absent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StudySpec {
    /// `[study]`
    pub study: StudySection,
    /// `[stimuli]`
    pub stimuli: StimuliSection,
    /// `[responses]`
    pub responses: ResponsesSection,
    /// `[features]`
    #[serde(default)]
    pub features: FeaturesSection,
    /// `[encoding]`
    #[serde(default)]
    pub encoding: EncodingSection,
    /// `[series]`: the rows are volumes of a time series.
    pub series: Option<SeriesSection>,
    /// `[events]`: trials of runs.
    pub events: Option<EventsSection>,
    /// `[finetuning]`
    #[serde(default)]
    pub finetuning: FinetuningSection,
    /// `[inference]`
    #[serde(default)]
    pub inference: InferenceSection,
    /// `[subjects]`
    pub subjects: Option<SubjectsSection>,
    /// `[rois]`
    pub rois: Option<RoisSection>,
}

/// `[study]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StudySection {
    /// The study's name, as titles show it.
    pub name: String,
}

/// `[stimuli]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StimuliSection {
    /// CSV, TSV or Parquet.
    pub table: String,
    /// Column of row ids.
    #[serde(default = "default_id")]
    pub id: String,
    /// Column of texts.
    #[serde(default = "default_text")]
    pub text: String,
    /// Column of rows that stay together.
    pub group: Option<String>,
    /// Column of explicit outer folds.
    pub fold: Option<String>,
    /// Column of runs: rows recorded without a break, in the order of the table.
    pub run: Option<String>,
    /// Numeric columns beside words and characters.
    #[serde(default)]
    pub confounds: Vec<String>,
    /// What the stimuli are.
    #[serde(default)]
    pub kind: StimuliKind,
    /// Column of words.
    pub word: Option<String>,
    /// Column of onsets.
    pub onset: Option<String>,
    /// Column of offsets.
    pub offset: Option<String>,
    /// The tier of a TextGrid.
    pub tier: Option<String>,
    /// Labels that are no words.
    pub skip: Option<Vec<String>>,
    /// Columns in the order in which they are read; `{version}` is the column named like the version.
    #[serde(default)]
    pub segments: Vec<String>,
    /// Version of a text → the conditions under which it was shown.
    #[serde(default)]
    pub versions: BTreeMap<String, Vec<String>>,
    /// Rows in which the columns of two versions stand for each other.
    #[serde(default)]
    pub swapped: Vec<toml::Value>,
}

/// `[responses]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ResponsesSection {
    /// A table, or a pattern with `{subject}`.
    pub table: Option<String>,
    /// Column of row ids.
    #[serde(default = "default_id")]
    pub id: String,
    /// Columns of responses; default: every numeric column not otherwise named.
    pub targets: Option<Vec<String>>,
    /// Column of subjects.
    pub subject: Option<String>,
    /// The subjects that the pattern stands for.
    pub subjects: Option<Vec<String>>,
    /// Rows of an array without ids follow the stimuli table.
    #[serde(default)]
    pub rows_in_order: bool,
    /// The array that is meant, of an archive that holds several.
    pub key: Option<String>,
    /// Targets with missing values have no score, instead of being an error.
    #[serde(default)]
    pub drop_nan_parcels: bool,
    /// Where the responses come from.
    #[serde(default)]
    pub kind: ResponsesKind,
    /// Folder of the tars, root of the dataset.
    pub folder: Option<String>,
    /// Task whose runs are taken.
    pub task: Option<String>,
    /// Space of the images.
    pub space: Option<String>,
    /// Runs left out, as `sub-14_task-dis_run-6`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Seconds between volumes, where files do not say or say it wrong.
    pub tr: Option<f64>,
    /// Files of nuisance regressors, with `{subject}` and `*`.
    pub confounds: Option<String>,
    /// Columns of them.
    pub confound_columns: Option<Vec<String>>,
    /// Rows of them before the first volume.
    #[serde(default)]
    pub confounds_skip: usize,
    /// Maps or labels of the atlas.
    pub atlas: Option<String>,
    /// Its label table.
    pub labels: Option<String>,
    /// Brain mask for all runs.
    pub mask: Option<String>,
    /// fMRIPrep's confounds, as `motion6+wm_csf+global`.
    pub strategy: Option<String>,
    /// Smoothing (mm).
    pub smooth: Option<f64>,
    /// Linear detrending.
    #[serde(default)]
    pub detrend: bool,
    /// High-pass filter (Hz).
    pub high_pass: Option<f64>,
    /// `butterworth` or `cosine`.
    pub filter: Option<Filter>,
    /// `zscore_sample`, `zscore`, `psc` or `none`.
    pub standardize: Option<Standardize>,
}

/// `[features]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct FeaturesSection {
    /// How tokens become one vector.
    pub pooling: Option<Pooling>,
    /// What happens to texts with more tokens than a checkpoint takes.
    pub long_text: Option<LongText>,
    /// What an encoder sees of a narrative for the vector of a word.
    pub context: Option<Context>,
    /// Principal components that each fit is confined to, found on its training rows.
    pub pca: Option<NonZeroUsize>,
    /// Models of all layers together.
    #[serde(default)]
    pub combine: Vec<Combine>,
}

/// `[encoding]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct EncodingSection {
    /// How outer folds are made.
    pub folds: Option<FoldKind>,
    /// Rows on both sides of a test block that do not train, within its run.
    pub gap: Option<usize>,
    /// Number of folds.
    pub k: Option<usize>,
    /// The alpha grid.
    pub alphas: Option<AlphasSection>,
    /// What layers and checkpoints are ranked by.
    pub score: Option<ScoreName>,
}

/// `[inference]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct InferenceSection {
    /// Random permutations, where not all can be used.
    pub permutations: Option<usize>,
    /// Seed of the permutations.
    pub seed: Option<u64>,
    /// Differences within ± this are equivalent.
    pub margin: Option<f64>,
}

/// `[subjects]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SubjectsSection {
    /// One row per subject.
    pub table: String,
    /// Column of subjects.
    #[serde(default = "default_subject")]
    pub id: String,
    /// Column of groups.
    #[serde(default = "default_group")]
    pub group: String,
    /// Columns that are held fixed.
    #[serde(default)]
    pub covariates: Vec<String>,
}

/// Ways to make outer folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoldKind {
    /// Blocks of neighbouring groups.
    Contiguous,
    /// Groups dealt evenly.
    GroupK,
    /// Every run.
    LeaveOneRunOut,
    /// Subjects, by models of the others.
    LeaveOneSubjectOut,
    /// The study's fold column.
    Column,
    /// At random; refused unless leaky folds are allowed.
    Shuffled,
}

impl ResponsesSection {
    /// The array that is meant, by flag or by the study.
    ///
    /// # Errors
    /// `RC-01` where there is no archive.
    pub(super) fn key(&self, flag: Option<&String>, study: &Path) -> Result<Option<String>> {
        let key = flag.or(self.key.as_ref());
        let archive = self.table.as_ref().is_some_and(|table| table.to_lowercase().ends_with(".npz"));
        match key.filter(|_| !archive) {
            None => Ok(key.cloned()),
            Some(key) => Err(Error::new(Code::Rc01, study.display(), format!("array {key:?} is named"))
                .expected("responses in an archive: [responses] table = \"….npz\"")
                .hint("Leave key or --key out")),
        }
    }

    /// What is done with targets whose values are missing; `drop` when a flag says that they are dropped.
    pub(super) fn missing(&self, drop: bool) -> MissingValues {
        if drop || self.drop_nan_parcels { MissingValues::Drop } else { MissingValues::Refuse }
    }
}

impl FoldKind {
    /// All of them with their names.
    pub const ALL: [(FoldKind, &'static str); 6] = [
        (FoldKind::Contiguous, "contiguous"),
        (FoldKind::GroupK, "group-k"),
        (FoldKind::LeaveOneRunOut, "leave-one-run-out"),
        (FoldKind::LeaveOneSubjectOut, "leave-one-subject-out"),
        (FoldKind::Column, "column"),
        (FoldKind::Shuffled, "shuffled"),
    ];
}

/// `[finetuning]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct FinetuningSection {
    /// Files with the texts that checkpoints were fine-tuned on: .txt line by line, .json list, or a table with a column
    /// `text`.
    #[serde(default)]
    pub texts: Vec<String>,
}

/// An alpha grid: spaced, or listed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum AlphasSection {
    /// `{ from = 1e-1, to = 1e7, per_decade = 2 }`
    Spaced {
        /// Smallest.
        from: f64,
        /// Largest.
        to: f64,
        /// Values to a decade.
        per_decade: u32,
    },
    /// `[0.1, 1, 10]`
    Listed(Vec<f64>),
}

fn default_id() -> String {
    "stimulus_id".to_owned()
}

fn default_text() -> String {
    "text".to_owned()
}

fn default_subject() -> String {
    "subject".to_owned()
}

fn default_group() -> String {
    "group".to_owned()
}

impl StudySpec {
    /// Reads a study file.
    ///
    /// # Errors
    /// All unknown keys at once, or the first thing that is no TOML or has the wrong type, with line and column.
    pub fn read(path: &Path) -> std::result::Result<(StudySpec, Digest), Vec<Error>> {
        let (text, digest) =
            bounded::read_text(path, bounded::MAX_DOCUMENT_BYTES, "a study file", Code::Rc01).map_err(|e| vec![e])?;
        StudySpec::parse(&text, path).map(|spec| (spec, digest))
    }

    /// Parses the text of a study file; `path` is used in messages.
    pub fn parse(text: &str, path: &Path) -> std::result::Result<StudySpec, Vec<Error>> {
        let syntax = |e: toml::de::Error| {
            let place = match e.span() {
                Some(span) => keys::place(path, text, span.start),
                None => path.display().to_string(),
            };
            vec![Error::new(Code::Rc01, place, e.message().trim().replace('\n', ", ")).source(e)]
        };
        let table = DeTable::parse(text).map_err(syntax)?;
        let unknown = keys::unknown(table.get_ref(), text, path);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        toml::from_str(text).map_err(syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[study]\nname = \"s\"\n[stimuli]\ntable = \"s.csv\"\n[responses]\ntable = \"r.csv\"\n";

    fn refused(text: &str) -> Vec<String> {
        let problems = StudySpec::parse(text, Path::new("study.toml")).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_filled_in() {
        let spec = StudySpec::parse(MINIMAL, Path::new("study.toml")).unwrap();
        assert_eq!((spec.stimuli.id.as_str(), spec.stimuli.text.as_str()), ("stimulus_id", "text"));
        assert_eq!(spec.encoding, EncodingSection::default());
    }

    #[test]
    fn alphas_are_spaced_or_listed() {
        let with = |alphas: &str| {
            let text = format!("{MINIMAL}[encoding]\nfolds = \"group-k\"\nalphas = {alphas}\n");
            StudySpec::parse(&text, Path::new("study.toml")).unwrap().encoding
        };
        assert_eq!(with("[1, 10.5]").alphas, Some(AlphasSection::Listed(vec![1.0, 10.5])));
        let spaced = AlphasSection::Spaced { from: 0.1, to: 1e7, per_decade: 2 };
        assert_eq!(with("{ from = 1e-1, to = 1e7, per_decade = 2 }").alphas, Some(spaced));
    }

    #[test]
    fn features_may_be_confined_and_combined() {
        let text = format!(
            "{MINIMAL}[features]\npooling = \"cls\"\nlong_text = \"window\"\ncontext = \"full\"\npca = 5\ncombine = [\"stack\"]\n"
        );
        let features = StudySpec::parse(&text, Path::new("study.toml")).unwrap().features;
        assert_eq!((features.pca.map(NonZeroUsize::get), features.combine), (Some(5), vec![Combine::Stack]));
        let message = refused(&format!("{MINIMAL}[features]\ncombine = [\"both\"]\n")).remove(0);
        assert!(message.contains("both") && message.contains("concat"), "{message}");
    }

    #[test]
    fn all_unknown_keys_are_named_with_place_and_nearest() {
        let messages = refused(&format!("{MINIMAL}[encodign]\nk = 5\n[features]\npoolin = \"mean\"\n"));
        assert_eq!(messages.len(), 2);
        assert!(messages[0].starts_with("study.toml:7:2: unknown section \"encodign\""), "{}", messages[0]);
        assert!(messages[0].contains("Did you mean \"encoding\"?"), "{}", messages[0]);
        assert!(messages[1].starts_with("study.toml:10:1: unknown key in [features] \"poolin\""), "{}", messages[1]);
    }

    #[test]
    fn syntax_and_types_have_places() {
        assert!(refused("[study\nname = 1")[0].starts_with("study.toml:1:"), "{:?}", refused("[study\nname = 1"));
        let message = &refused(&MINIMAL.replace("\"s\"", "1"))[0];
        assert!(message.starts_with("study.toml:2:8: invalid type"), "{message}");
        let message = &refused("[study]\nname = \"s\"\n")[0];
        assert!(message.contains("missing field `stimuli`"), "{message}");
    }
}
