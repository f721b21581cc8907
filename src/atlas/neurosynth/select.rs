use std::path::{Path, PathBuf};

use regex::RegexBuilder;

use super::Database;
use super::database::files;
use crate::error::{Code, Error, Result, first_five, nearest};
use crate::ids::Digest;
use crate::io::bounded;
use crate::io::sparse::Sparse;

/// Largest compiled expression (1 MiB); matching takes linear time whatever it is.
const MAX_EXPRESSION: usize = 1 << 20;

/// Which studies a map is of.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// Studies that load on a topic, by its number.
    Topic(usize),
    /// Studies that use any of these terms, which stand in the vocabulary as they are written here (but for case).
    Terms(Vec<String>),
    /// Studies that use any term of the vocabulary which the expression matches.
    Regex(String),
    /// A selection that comes with the program.
    Recipe(Recipe),
}

/// A selection that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Its name.
    pub name: &'static str,
    /// The topic of NeuroSynth's 50 (version 7), with its label; none where no topic of them is of it.
    topic: Option<(usize, &'static str)>,
    /// The terms of NeuroQuery.
    terms: &'static [&'static str],
}

impl Recipe {
    /// All of them.
    pub const ALL: [Recipe; 4] = [
        Recipe { name: "tom", topic: Some((8, "8_mpfc_social_medial")), terms: &["theory mind", "mentalizing"] },
        Recipe { name: "moral", topic: None, terms: &["moral", "morality"] },
        Recipe {
            name: "language",
            topic: Some((37, "37_language_reading_word")),
            terms: &["language", "language comprehension", "language processing", "languages"],
        },
        Recipe {
            name: "vision",
            topic: Some((42, "42_visual_cortex_sensory")),
            terms: &["visual", "vision", "visual cortex"],
        },
    ];
}

/// The studies of a selection.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// Whether each study of the database is among them.
    pub chosen: Vec<bool>,
    /// The largest value of any matched feature, per study.
    pub weights: Vec<f64>,
    /// Topics or terms that were matched.
    pub matched: Vec<String>,
    /// What a value had to exceed.
    pub threshold: f64,
    /// The feature files that were read, with their digests.
    pub files: Vec<(PathBuf, Digest)>,
}

/// Whether a name of a vocabulary is wanted.
type Wanted<'a> = Box<dyn Fn(&str) -> bool + 'a>;

/// One matrix of features: `data-NAME_vocab-V_source-S_type-T_features.npz`, its columns named by `…_vocabulary.txt`.
struct Features {
    path: PathBuf,
    vocabulary: PathBuf,
    kind: String,
}

impl Features {
    fn is_topics(&self) -> bool {
        self.kind == "weight"
    }

    /// What a value must exceed: a topic's weight 0.1, a count 0, a tf-idf 0.001 (NeuroSynth's own default).
    fn usual_threshold(&self) -> f64 {
        match self.kind.as_str() {
            "weight" => 0.1,
            "tfidf" => 0.001,
            _ => 0.0,
        }
    }
}

impl Selection {
    /// Finds the studies in a database. `only` picks feature files whose names hold it, where there are several
    /// vocabularies; `threshold` replaces the usual one (0.1 for a topic's weight, 0.001 for tf-idf, 0 for a count).
    ///
    /// # Errors
    /// `NS-01` for features, a topic or a term that the database lacks, `NS-02` for a matrix that does not fit studies or
    /// vocabulary, `NS-03` for a damaged one, `NS-04` when the selection holds no study or all, `FL-02` for an expression
    /// that is none.
    pub fn studies(&self, database: &Database, only: Option<&str>, threshold: Option<f64>) -> Result<Selected> {
        let all = features(database, only)?;
        let topics: Vec<&Features> = all.iter().filter(|f| f.is_topics()).collect();
        let terms: Vec<&Features> = all.iter().filter(|f| !f.is_topics()).collect();
        let lacks = |what: &str| {
            let names: Vec<String> = all.iter().map(|f| crate::io::file_name(&f.path)).collect();
            Error::new(Code::Ns01, database.folder.display(), format!("has no features of {what}"))
                .expected(format!("another selection: it has {}", first_five(&names)))
        };
        let (used, is_wanted): (Vec<&Features>, Wanted<'_>) = match self {
            Selection::Topic(number) => (topics, topic(*number)),
            Selection::Recipe(Recipe { topic: Some((number, label)), .. }) if !topics.is_empty() => {
                let is_it = topic(*number);
                (topics, Box::new(move |name| is_it(name) && name == *label))
            }
            Selection::Recipe(recipe) => {
                let wanted = recipe.terms;
                (terms, Box::new(move |name| wanted.contains(&name)))
            }
            Selection::Terms(wanted) => {
                let wanted: Vec<String> = wanted.iter().map(|w| w.trim().to_lowercase()).collect();
                (terms, Box::new(move |name| wanted.iter().any(|w| *w == name.to_lowercase())))
            }
            Selection::Regex(expression) => {
                let expression =
                    RegexBuilder::new(expression).case_insensitive(true).size_limit(MAX_EXPRESSION).build().map_err(
                        |e| {
                            let text = e.to_string();
                            let found = format!("is no expression: {}", text.lines().last().unwrap_or("it is damaged"));
                            Error::new(Code::Fl02, "--regex", found).source(e)
                        },
                    )?;
                let used = if terms.is_empty() { topics } else { terms };
                (used, Box::new(move |name| expression.is_match(name)))
            }
        };
        let Some(first) = used.first() else {
            return Err(lacks(if matches!(self, Selection::Topic(_)) { "topics" } else { "terms" }));
        };
        if let Some(other) = used.iter().find(|f| f.vocabulary != first.vocabulary || f.kind != first.kind) {
            let [a, b] = [&first.path, &other.path].map(|p| crate::io::file_name(p));
            return Err(Error::new(
                Code::Ns01,
                database.folder.display(),
                format!("has several vocabularies: {a}, {b}"),
            )
            .expected("one of them")
            .hint("Say which: --features with a part of the file's name"));
        }
        let threshold = threshold.unwrap_or_else(|| first.usual_threshold());
        let mut selected = Selected {
            chosen: vec![false; database.studies.len()],
            weights: vec![0.0; database.studies.len()],
            matched: Vec::new(),
            threshold,
            files: Vec::new(),
        };
        let (text, digest) =
            bounded::read_text(&first.vocabulary, bounded::MAX_TABLE_BYTES, "a vocabulary", Code::Sc06)?;
        selected.files.push((first.vocabulary.clone(), digest));
        let vocabulary: Vec<&str> = text.lines().map(str::trim).collect();
        let columns: Vec<bool> = vocabulary.iter().map(|name| is_wanted(name)).collect();
        selected.matched = vocabulary.iter().zip(&columns).filter(|(_, c)| **c).map(|(n, _)| (*n).to_owned()).collect();
        self.check_matched(&selected.matched, &vocabulary, &first.vocabulary)?;
        for one in used {
            selected.add(one, &columns, database)?;
        }
        let count = selected.chosen.iter().filter(|c| **c).count();
        if count == 0 || count == database.studies.len() {
            let place = database.folder.display();
            return Err(Error::new(
                Code::Ns04,
                place,
                format!(
                    "{count} of {count_all} studies exceed {threshold} in {}",
                    first_five(&selected.matched),
                    count_all = database.studies.len()
                ),
            )
            .expected("some studies, but not all")
            .hint("Give another --threshold"));
        }
        Ok(selected)
    }

    /// Every term that was named must be there; a topic and an expression must match something.
    fn check_matched(&self, matched: &[String], vocabulary: &[&str], path: &Path) -> Result<()> {
        let fail = |found: String| Error::new(Code::Ns01, path.display(), found);
        match self {
            Selection::Terms(wanted) => {
                let known = |w: &&String| matched.iter().any(|m| m.to_lowercase() == w.trim().to_lowercase());
                let Some(unknown) = wanted.iter().find(|w| !known(w)) else { return Ok(()) };
                let error = fail(format!("has no term {unknown:?}"));
                Err(match nearest(unknown, vocabulary.iter().copied()) {
                    Some(near) => error.hint(format!("Did you mean {near:?}?")),
                    None => error.hint("--regex finds terms by a part of them"),
                })
            }
            _ if !matched.is_empty() => Ok(()),
            Selection::Topic(number) => Err(fail(format!("has no topic {number}"))
                .expected(format!("one of its {} topics, which their labels number", vocabulary.len()))),
            Selection::Regex(expression) => Err(fail(format!("has no term that {expression:?} matches"))),
            Selection::Recipe(recipe) => Err(fail(format!("is not the vocabulary of the recipe {}", recipe.name))
                .expected("the 50 topics of NeuroSynth version 7 or the terms of NeuroQuery")
                .hint("Name the topic or the terms yourself: --topic or --term")),
        }
    }
}

impl Selected {
    /// Adds the studies of one matrix.
    fn add(&mut self, features: &Features, columns: &[bool], database: &Database) -> Result<()> {
        let (matrix, digest) = Sparse::read(&features.path)?;
        let fail = |found: String| Error::new(Code::Ns02, features.path.display(), found);
        if matrix.rows != database.studies.len() {
            return Err(fail(format!("has {} rows", matrix.rows)).expected(format!(
                "{}, one per study of {}",
                database.studies.len(),
                database.name
            )));
        }
        if matrix.columns != columns.len() {
            return Err(fail(format!("has {} columns", matrix.columns)).expected(format!(
                "{}, as {} has lines",
                columns.len(),
                crate::io::file_name(&features.vocabulary)
            )));
        }
        for (study, _, value) in matrix.entries().filter(|(_, column, _)| columns[*column]) {
            self.weights[study] = self.weights[study].max(value);
            self.chosen[study] |= value > self.threshold;
        }
        self.files.push((features.path.clone(), digest));
        Ok(())
    }
}

/// Whether a label is of a topic's number: `8`, or `8_words_of_it`.
fn topic(number: usize) -> Wanted<'static> {
    Box::new(move |name| name.split('_').next().is_some_and(|n| n.parse() == Ok(number)))
}

/// The feature matrices of a database.
fn features(database: &Database, only: Option<&str>) -> Result<Vec<Features>> {
    let begin = format!("data-{}_vocab-", database.name);
    let wanted = |name: &str| {
        name.starts_with(&begin) && name.ends_with("_features.npz") && only.is_none_or(|part| name.contains(part))
    };
    let found = files(&database.folder, wanted)?;
    if found.is_empty() {
        let part = only.map_or(String::new(), |p| format!(" whose name holds {p:?}"));
        return Err(Error::new(
            Code::Ns01,
            database.folder.display(),
            format!("has no file {begin}…_features.npz{part}"),
        )
        .expected("a matrix of topics or terms"));
    }
    Ok(found
        .into_iter()
        .map(|path| {
            let name = crate::io::file_name(&path);
            let after = |key: &str| name.split(key).nth(1).unwrap_or("").split('_').next().unwrap_or("").to_owned();
            let vocabulary = database.folder.join(format!("{begin}{}_vocabulary.txt", after("_vocab-")));
            Features { vocabulary, kind: after("_type-"), path }
        })
        .collect())
}
