//! How differences will be tested, from `[inference]` and flags.

use std::path::{Path, PathBuf};

use super::spec::{InferenceSection, SubjectsSection};
use crate::compare::Settings;
use crate::error::{Code, Error, Result};

/// Most permutations that may be asked for.
const MOST_PERMUTATIONS: usize = 10_000_000;

/// What `--permutations` and `--margin` say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct InferenceFlags {
    /// `--permutations`
    pub permutations: Option<usize>,
    /// `--margin`
    pub margin: Option<f64>,
}

/// Settings of the study, changed by flags.
pub(super) fn settings(section: &InferenceSection, flags: &InferenceFlags, study: &Path) -> Result<Settings> {
    let defaults = Settings::default();
    let permutations = flags.permutations.or(section.permutations).unwrap_or(defaults.permutations);
    let margin = flags.margin.or(section.margin);
    let refuse = |flag: bool, name: &str, found: String| match flag {
        true => Error::new(Code::Fl02, format!("--{name}"), format!("is {found}")),
        false => Error::new(Code::Rc06, study.display(), format!("[inference] {name} is {found}")),
    };
    if !(100..=MOST_PERMUTATIONS).contains(&permutations) {
        return Err(refuse(flags.permutations.is_some(), "permutations", permutations.to_string())
            .expected(format!("100 to {MOST_PERMUTATIONS}")));
    }
    if let Some(margin) = margin.filter(|m| !(m.is_finite() && *m > 0.0)) {
        return Err(refuse(flags.margin.is_some(), "margin", margin.to_string())
            .expected("a number above 0, in units of the score"));
    }
    Ok(Settings { permutations, seed: section.seed.unwrap_or(defaults.seed), margin })
}

/// Where groups of subjects and their covariates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectsPlan {
    /// The table.
    pub path: PathBuf,
    /// Column of subjects.
    pub id: String,
    /// Column of groups.
    pub group: String,
    /// Columns that are held fixed.
    pub covariates: Vec<String>,
}

impl SubjectsPlan {
    pub(super) fn new(section: SubjectsSection, folder: &Path) -> SubjectsPlan {
        SubjectsPlan {
            path: folder.join(section.table),
            id: section.id,
            group: section.group,
            covariates: section.covariates,
        }
    }
}
