//! What a model is given to predict with: one row per stimulus, one column per feature.

mod confounds;
mod oasm;
mod resample;
mod story;
mod timeline;

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

pub use confounds::{CHARACTERS, CONFOUNDS, WORDS, confounds};
pub use oasm::{OASM, oasm};
pub use resample::{Method, Resampled, Words, resample};
pub use story::{Story, WordColumns};
pub use timeline::{Timeline, delay};

use crate::ids::{StimulusId, SubjectId};

/// A named feature matrix whose rows are the stimuli, in the order of their table.
#[derive(Debug, Clone)]
pub struct FeatureSpace {
    name: String,
    ids: Arc<[StimulusId]>,
    x: Array2<f64>,
    own: Vec<(SubjectId, Array2<f64>)>,
}

impl FeatureSpace {
    /// Features `x` (stimuli, features) of the stimuli `ids`.
    ///
    /// # Panics
    /// When there is not one row per stimulus: a defect of the caller.
    pub fn new(name: impl Into<String>, ids: Arc<[StimulusId]>, x: Array2<f64>) -> FeatureSpace {
        assert_eq!(x.nrows(), ids.len(), "one row per stimulus");
        FeatureSpace { name: name.into(), ids, x, own: Vec::new() }
    }

    /// The features of stimuli from vectors of their distinct texts: `of_row` says which text a stimulus holds,
    /// `vectors` (texts, width) is row-major.
    pub fn from_texts(
        name: impl Into<String>,
        ids: Arc<[StimulusId]>,
        vectors: &[f32],
        width: usize,
        of_row: &[usize],
    ) -> FeatureSpace {
        let x = Array2::from_shape_fn((of_row.len(), width), |(row, j)| f64::from(vectors[of_row[row] * width + j]));
        FeatureSpace::new(name, ids, x)
    }

    /// Adds columns that differ between subjects, such as head movement: for each subject (stimuli, columns).
    ///
    /// # Panics
    /// When there is not one row per stimulus: a defect of the caller.
    pub fn with_own(mut self, own: Vec<(SubjectId, Array2<f64>)>) -> FeatureSpace {
        assert!(own.iter().all(|(_, x)| x.nrows() == self.ids.len()), "one row per stimulus");
        self.own = own;
        self
    }

    /// Whether features differ between subjects.
    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// The columns that a subject alone has.
    pub fn own(&self, subject: &SubjectId) -> Option<ArrayView2<'_, f64>> {
        self.own.iter().find(|(s, _)| s == subject).map(|(_, x)| x.view())
    }

    /// What the features are, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stimuli that the rows stand for.
    pub fn ids(&self) -> &Arc<[StimulusId]> {
        &self.ids
    }

    /// The values (stimuli, features).
    pub fn x(&self) -> ArrayView2<'_, f64> {
        self.x.view()
    }
}
