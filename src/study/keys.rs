//! Which keys a study file may have: those of its sections, and of the kinds of stimuli and responses it names.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::error::{Code, Error, nearest};

/// Every section with the keys that it always may have.
const SECTIONS: &[(&str, &[&str])] = &[
    ("study", &["name"]),
    ("stimuli", &["kind", "table", "group", "run", "confounds"]),
    ("responses", &["kind", "targets", "subjects", "drop_nan_parcels"]),
    ("features", &["pooling", "long_text", "context", "pca", "combine"]),
    ("encoding", &["folds", "k", "gap", "alphas", "score"]),
    ("series", &["tr", "longest_delay", "first_volume", "run_starts", "method", "delays"]),
    ("finetuning", &["texts"]),
    ("inference", &["permutations", "seed", "margin"]),
    ("subjects", &["table", "id", "group", "covariates"]),
    // Its other keys are names of ROIs.
    ("rois", super::rois::RESERVED),
    ("events", &["item", "condition", "window", "lag", "durations"]),
];

/// The first kind of a section is its default.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("stimuli", "texts", &["id", "text", "fold"]),
    ("stimuli", "words", &["word", "onset", "offset", "tier", "skip"]),
    ("stimuli", "composed", &["id", "segments", "versions", "swapped"]),
    ("responses", "table", &["table", "id", "subject", "rows_in_order", "key"]),
    ("responses", "series", &["table", "key", "confounds", "confound_columns", "confounds_skip"]),
    ("responses", "tars", &["folder", "task", "exclude", "tr"]),
    ("responses", "bold", &["table", "exclude", "tr"]),
    ("responses", "bids", &["folder", "task", "space", "exclude", "tr"]),
];

/// How BOLD becomes parcels.
const CLEANING: &[&str] = &[
    "atlas",
    "labels",
    "mask",
    "strategy",
    "confound_columns",
    "smooth",
    "detrend",
    "high_pass",
    "filter",
    "standardize",
];

/// File, line and column of a byte of a study file.
pub(super) fn place(path: &Path, text: &str, offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    format!("{}:{line}:{column}", path.display())
}

/// An unknown name at a byte of a file, with the nearest known one.
pub(super) fn refuse(path: &Path, text: &str, what: &str, name: &str, known: &[&str], at: usize) -> Error {
    let error = Error::new(Code::Rc01, place(path, text, at), format!("unknown {what} {name:?}"))
        .expected(format!("one of: {}", known.join(", ")));
    match nearest(name, known.iter().copied()) {
        Some(near) => error.hint(format!("Did you mean {near:?}?")),
        None => error,
    }
}

/// All keys and sections that are unknown, the nearest known one named.
pub(super) fn unknown(table: &DeTable<'_>, text: &str, path: &Path) -> Vec<Error> {
    let mut problems = Vec::new();
    let refuse = |what: &str, name: &str, known: &[&str], at: usize| refuse(path, text, what, name, known, at);
    for (section, value) in table.iter() {
        let name = section.get_ref().as_ref();
        let Some((_, always)) = SECTIONS.iter().find(|(known, _)| *known == name) else {
            let sections: Vec<&str> = SECTIONS.iter().map(|(known, _)| *known).collect();
            problems.push(refuse("section", name, &sections, section.span().start));
            continue;
        };
        let DeValue::Table(inner) = value.get_ref() else { continue };
        if name == "rois" {
            for (roi, value) in inner.iter() {
                if let DeValue::Table(own) = value.get_ref() {
                    problems.extend(super::rois::unknown(roi.get_ref(), own, refuse));
                }
            }
            continue;
        }
        let kinds: Vec<&(&str, &str, &[&str])> = KINDS.iter().filter(|(section, ..)| *section == name).collect();
        let named = inner.iter().find(|(key, _)| key.get_ref() == "kind").and_then(|(_, v)| v.get_ref().as_str());
        let kind = match named {
            Some(named) => kinds.iter().find(|(_, kind, _)| *kind == named),
            None => kinds.first(),
        };
        // A kind that is none is found out when its value is read, with the list of them.
        if kind.is_none() && !kinds.is_empty() {
            continue;
        }
        let mut known: Vec<&str> = always.iter().chain(kind.map_or(&[][..], |(.., keys)| keys)).copied().collect();
        if matches!(kind, Some((_, "bold" | "bids", _))) {
            known.extend(CLEANING);
        }
        let what = match (kind, named) {
            (Some((_, kind, _)), Some(_)) => format!("key in [{name}] of kind {kind:?}"),
            _ => format!("key in [{name}]"),
        };
        for (key, _) in inner.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            problems.push(refuse(&what, key.get_ref().as_ref(), &known, key.span().start));
        }
    }
    problems
}
