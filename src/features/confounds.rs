use std::sync::Arc;

use ndarray::Array2;

use super::FeatureSpace;
use crate::ids::StimulusId;
use crate::stimuli::Stimuli;

/// Name of the confound that counts whitespace-separated pieces of the text.
pub const WORDS: &str = "words";
/// Name of the confound that counts Unicode code points of the raw text, nothing trimmed.
pub const CHARACTERS: &str = "characters";

/// Name of the confounds-only model in tables.
pub const CONFOUNDS: &str = "confounds";

/// What any model could know without reading: words, characters, and the columns the study names.
///
/// Fitted like a model; its scores stand beside every model's.
pub fn confounds(stimuli: &Stimuli, ids: &Arc<[StimulusId]>) -> FeatureSpace {
    let named = stimuli.confounds();
    let x = Array2::from_shape_fn((stimuli.len(), 2 + named.len()), |(row, column)| {
        let text = &stimuli.texts()[row];
        match column {
            0 => text.split_whitespace().count() as f64,
            1 => text.chars().count() as f64,
            other => named[other - 2].1[row],
        }
    });
    FeatureSpace::new(CONFOUNDS, Arc::clone(ids), x)
}
