//! What a checkpoint comes from, as its list says: the pairs that are compared, and along what scores may change.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Comparison;
use super::inference::Fits;

/// What a list of checkpoints says of one of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// Its label.
    pub label: String,
    /// What it belongs to, such as `bert` or `moral`: checkpoints of one family form a series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Label of the checkpoint that it was fine-tuned from, and is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Training steps since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<f64>,
    /// Size of the model; in parameters, unless the list's author thinks of something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<f64>,
}

fn has_bases(lineage: &[Lineage]) -> bool {
    lineage.iter().any(|l| l.base.is_some())
}

/// What a checkpoint is compared with: its base, where the list names bases at all, else the first checkpoint.
pub fn base_of<'a>(lineage: &'a [Lineage], first: &'a str, checkpoint: &str) -> Option<&'a str> {
    match lineage.iter().find(|l| l.label == checkpoint) {
        Some(listed) if has_bases(lineage) => listed.base.as_deref(),
        // Untrained seeds that a flag adds stand in no list; they are initialisations of the first checkpoint.
        _ => (checkpoint != first).then_some(first),
    }
}

impl Comparison {
    /// What the list says of a checkpoint, if it stands in one.
    pub fn lineage_of(&self, checkpoint: &str) -> Option<&Lineage> {
        self.lineage.iter().find(|l| l.label == checkpoint)
    }

    /// Whether checkpoints are compared each with its own base, and not all with the first.
    pub fn has_bases(&self) -> bool {
        has_bases(&self.lineage)
    }

    /// The checkpoint that another one is compared with; none for one that is only compared with.
    pub fn base_of(&self, checkpoint: &str) -> Option<&str> {
        base_of(&self.lineage, &self.reference, checkpoint)
    }

    /// [`Comparison::base_of`] for each of some checkpoints that have one.
    pub fn bases(&self, checkpoints: &[String]) -> HashMap<String, String> {
        checkpoints.iter().filter_map(|c| Some((c.clone(), self.base_of(c)?.to_owned()))).collect()
    }

    /// The place of what a fit is compared with.
    pub(super) fn base_among(&self, fits: &[Fits<'_>], of: &str) -> Option<usize> {
        let base = self.base_of(of)?;
        fits.iter().position(|(label, _)| *label == base)
    }

    /// The places of all fits that are compared with another, and of those others.
    pub(super) fn pairs(&self, fits: &[Fits<'_>]) -> Vec<(usize, usize)> {
        fits.iter().enumerate().filter_map(|(of, (label, _))| Some((of, self.base_among(fits, label)?))).collect()
    }

    /// What differences are to, in words: the reference, or `its base`.
    pub fn compared_with(&self) -> &str {
        if self.has_bases() { "its base" } else { &self.reference }
    }
}
