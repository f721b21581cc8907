//! A study of a narrative: words with times, and a series of volumes per subject.

use std::path::{Path, PathBuf};

use super::sections::{ResponsesKind, SeriesSection, StimuliKind};
use super::spec::StudySpec;
use crate::encoder::Context;
use crate::error::{Code, Error};
use crate::features::{Method, WordColumns};

/// Delays of the finite impulse response, when the study does not say (s).
pub(super) const DEFAULT_DELAYS: [f64; 4] = [2.0, 4.0, 6.0, 8.0];

/// Words, volumes, and how one becomes the other.
#[derive(Debug, Clone, PartialEq)]
pub struct NarrativePlan {
    /// What the columns of the words are.
    pub words: WordColumns,
    /// Columns of the words that are confounds, beside word rate and letters.
    pub confounds: Vec<String>,
    /// What an encoder sees for the vector of a word.
    pub context: Context,
    /// Seconds between volumes.
    pub repetition_time: f64,
    /// When the first volume begins, on the words' clock (s).
    pub first_volume: f64,
    /// First volume of each run.
    pub run_starts: Vec<usize>,
    /// From words to volumes.
    pub method: Method,
    /// Delays (s); none with a response that delays by itself.
    pub delays: Vec<f64>,
    /// Nuisance regressors of each subject: pattern with `{subject}` and `*`.
    pub nuisance: Option<NuisancePlan>,
}

/// Regressors that belong to a subject's own volumes, such as head movement. They are confounds, not delayed.
#[derive(Debug, Clone, PartialEq)]
pub struct NuisancePlan {
    /// Files, with `{subject}`, and `*` in the file's name.
    pub pattern: PathBuf,
    /// Their columns, when the study names them.
    pub columns: Option<Vec<String>>,
    /// Rows before the first volume.
    pub skip: usize,
}

/// What the study says of a narrative, if it is of one; what is wrong with it goes to `problems`.
pub(super) fn planned(
    spec: &StudySpec,
    folder: &Path,
    study: &Path,
    context: Option<Context>,
    problems: &mut Vec<Error>,
) -> Option<NarrativePlan> {
    let refuse = |found: &str, hint: &str| Error::new(Code::Rc01, study.display(), found).hint(hint);
    let words = spec.stimuli.kind == StimuliKind::Words;
    if words != (spec.responses.kind == ResponsesKind::Series) {
        problems.push(refuse(
            "[stimuli] kind = \"words\" and [responses] kind = \"series\" belong together",
            "Name both, or neither",
        ));
        return None;
    }
    if !words {
        let own = |s: &SeriesSection| s.method.is_some() || s.delays.is_some() || !s.run_starts.is_empty();
        if spec.series.as_ref().is_some_and(own) {
            problems.push(refuse(
                "[series] says how words become volumes, but there are no words",
                "Write [stimuli] kind = \"words\"",
            ));
        }
        if context.or(spec.features.context).is_some() {
            problems.push(refuse("a context without words", "Write [stimuli] kind = \"words\""));
        }
        return None;
    }
    let Some(series) = spec.series.clone() else {
        problems.push(refuse("words without [series]", "Write [series] tr = 2.0, in seconds"));
        return None;
    };
    if spec.features.pooling.is_some() {
        problems.push(refuse("[features] pooling for words", "A word is the mean over its tokens"));
    }
    let method = series.method.unwrap_or(Method::Lanczos);
    let delays = match (method, series.delays) {
        (Method::Hrf, None) => Vec::new(),
        (Method::Hrf, Some(_)) => {
            problems.push(refuse("[series] delays beside method = \"hrf\"", "The response delays by itself"));
            Vec::new()
        }
        (_, given) => given.unwrap_or_else(|| DEFAULT_DELAYS.to_vec()),
    };
    let named = |name: &Option<String>, usual: &str| name.clone().unwrap_or_else(|| usual.to_owned());
    let stimuli = &spec.stimuli;
    Some(NarrativePlan {
        words: WordColumns {
            word: named(&stimuli.word, "word"),
            onset: named(&stimuli.onset, "onset"),
            offset: named(&stimuli.offset, "offset"),
            tier: stimuli.tier.clone(),
            skip: stimuli.skip.clone(),
        },
        confounds: stimuli.confounds.clone(),
        context: context.or(spec.features.context).unwrap_or_default(),
        repetition_time: series.tr,
        first_volume: series.first_volume,
        run_starts: series.run_starts,
        method,
        delays,
        nuisance: spec.responses.confounds.as_ref().map(|pattern| NuisancePlan {
            pattern: folder.join(pattern),
            columns: spec.responses.confound_columns.clone(),
            skip: spec.responses.confounds_skip,
        }),
    })
}
