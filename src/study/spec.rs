//! `study.toml` as the user wrote it. Unknown keys are refused, the nearest known one named.

use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::encoder::{LongText, Pooling};
use crate::encoding::ScoreName;
use crate::error::{Code, Error, nearest};
use crate::ids::Digest;
use crate::io::bounded;

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
    /// `[finetuning]`
    #[serde(default)]
    pub finetuning: FinetuningSection,
    /// `[inference]`
    #[serde(default)]
    pub inference: InferenceSection,
    /// `[subjects]`
    pub subjects: Option<SubjectsSection>,
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
}

/// `[responses]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ResponsesSection {
    /// A table, or a pattern with `{subject}`.
    pub table: String,
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
}

/// `[features]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct FeaturesSection {
    /// How tokens become one vector.
    pub pooling: Option<Pooling>,
    /// What happens to texts with more tokens than a checkpoint takes.
    pub long_text: Option<LongText>,
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

/// `[series]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct SeriesSection {
    /// Seconds between rows.
    pub tr: f64,
    /// Longest delay of the features, in seconds.
    #[serde(default = "default_delay")]
    pub longest_delay: f64,
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

/// The longest of the default delays of `resample`.
fn default_delay() -> f64 {
    8.0
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

/// Every section with its keys.
const KNOWN: &[(&str, &[&str])] = &[
    ("study", &["name"]),
    ("stimuli", &["table", "id", "text", "group", "fold", "run", "confounds"]),
    ("responses", &["table", "id", "targets", "subject", "subjects", "rows_in_order"]),
    ("features", &["pooling", "long_text"]),
    ("encoding", &["folds", "k", "gap", "alphas", "score"]),
    ("series", &["tr", "longest_delay"]),
    ("finetuning", &["texts"]),
    ("inference", &["permutations", "seed", "margin"]),
    ("subjects", &["table", "id", "group", "covariates"]),
];

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
                Some(span) => place(path, text, span.start),
                None => path.display().to_string(),
            };
            vec![Error::new(Code::Rc01, place, e.message().trim().replace('\n', ", ")).source(e)]
        };
        let table = DeTable::parse(text).map_err(syntax)?;
        let unknown = unknown_keys(table.get_ref(), text, path);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        toml::from_str(text).map_err(syntax)
    }
}

fn place(path: &Path, text: &str, offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    format!("{}:{line}:{column}", path.display())
}

fn unknown_keys(table: &DeTable<'_>, text: &str, path: &Path) -> Vec<Error> {
    let mut problems = Vec::new();
    let refuse = |what: &str, name: &str, known: &mut dyn Iterator<Item = &'static str>, at: usize| {
        let known: Vec<&str> = known.collect();
        let error = Error::new(Code::Rc01, place(path, text, at), format!("unknown {what} {name:?}"))
            .expected(format!("one of: {}", known.join(", ")));
        match nearest(name, known.iter().copied()) {
            Some(near) => error.hint(format!("Did you mean {near:?}?")),
            None => error,
        }
    };
    for (section, value) in table.iter() {
        let name = section.get_ref().as_ref();
        let Some((_, keys)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            let mut sections = KNOWN.iter().map(|(known, _)| *known);
            problems.push(refuse("section", name, &mut sections, section.span().start));
            continue;
        };
        if let DeValue::Table(inner) = value.get_ref() {
            for (key, _) in inner.iter().filter(|(key, _)| !keys.contains(&key.get_ref().as_ref())) {
                let what = format!("key in [{name}]");
                problems.push(refuse(&what, key.get_ref().as_ref(), &mut keys.iter().copied(), key.span().start));
            }
        }
    }
    problems
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
