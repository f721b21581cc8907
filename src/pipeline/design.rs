//! How the rows of a study get their features: from vectors of whole texts, of segments, or of words in time.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};

use super::parts::Parts;
use crate::error::{Result, Warning};
use crate::features::{FeatureSpace, Method, Timeline, Words, delay, resample};
use crate::ids::StimulusId;

/// From vectors to rows.
#[derive(Debug)]
pub struct Design {
    /// The parts of texts that get vectors; none: every distinct text of the stimuli is one.
    pub(super) parts: Option<Parts>,
    /// Which vectors make a row.
    pub(super) rows: Rows,
}

/// Which vectors make a row.
#[derive(Debug)]
pub(super) enum Rows {
    /// For each row its vector.
    Vectors(Vec<usize>),
    /// Words in time.
    Volumes(Box<Volumes>),
}

/// From words to the volumes that belong in a fit.
#[derive(Debug)]
pub(super) struct Volumes {
    pub words: Words,
    /// Which of the vectors are of words with times.
    pub timed: Vec<usize>,
    pub timeline: Timeline,
    pub method: Method,
    pub delays: Vec<f64>,
    /// Volumes whose every delayed sample lies within their run.
    pub kept: Vec<usize>,
    /// The file of the words.
    pub place: String,
}

impl Design {
    /// Features of the rows from the vectors (vectors, width; row-major) of one layer.
    pub fn space(&self, name: String, ids: Arc<[StimulusId]>, vectors: &[f32], width: usize) -> Result<FeatureSpace> {
        match &self.rows {
            Rows::Vectors(of_row) => Ok(FeatureSpace::from_texts(name, ids, vectors, width, of_row)),
            Rows::Volumes(volumes) => {
                let at = |(word, j): (usize, usize)| f64::from(vectors[volumes.timed[word] * width + j]);
                let x = Array2::from_shape_fn((volumes.timed.len(), width), at);
                Ok(FeatureSpace::new(name, ids, volumes.features(x.view())?.0))
            }
        }
    }

    /// Whether rows are volumes of a narrative: then no row has a text of its own.
    pub fn is_narrative(&self) -> bool {
        matches!(self.rows, Rows::Volumes(_))
    }

    /// How many vectors a layer has, where they are not those of distinct texts.
    pub fn n_parts(&self) -> Option<usize> {
        self.parts.as_ref().map(Parts::len)
    }
}

impl Volumes {
    /// Features of the kept volumes from features of the words.
    pub fn features(&self, x: ArrayView2<'_, f64>) -> Result<(Array2<f64>, Option<Warning>)> {
        let done = resample(&self.words, x, &self.timeline, self.method, &self.place)?;
        let x = if self.delays.is_empty() { done.x } else { delay(&done.x, &self.timeline, &self.delays)?.0 };
        Ok((x.select(Axis(0), &self.kept), done.warning))
    }
}
