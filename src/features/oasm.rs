use std::collections::HashMap;
use std::sync::Arc;

use ndarray::Array2;

use super::FeatureSpace;
use crate::ids::StimulusId;
use crate::stimuli::Stimuli;

/// Name of the model that knows only where a row stands.
pub const OASM: &str = "oasm";

/// Standard deviation of the Gaussian, in rows.
const SIGMA: f64 = 2.0;
/// Where the Gaussian ends, in standard deviations.
const REACH: f64 = 3.0;

/// A row's place and nothing else: one column per row, 1 on it and smoothed by a Gaussian (sd 2 rows, cut at 6) along the
/// rows of its run; and one column per block of several rows that stay together, 1 on its rows.
///
/// Responses that resemble those of neighbouring rows, or of rows of one block, are predicted by it exactly where these lie
/// on both sides of a split: it must score 0, or the split leaks. Fitted like a model.
///
/// Source: the orthogonal autocorrelated sequences model of Feghhi, Hadidi, Song, Blank & Kao (2024), arXiv 2406.01538.
pub fn oasm(stimuli: &Stimuli, ids: &Arc<[StimulusId]>) -> FeatureSpace {
    let (rows, groups) = (stimuli.len(), stimuli.groups());
    let mut size = vec![0usize; stimuli.n_groups()];
    groups.iter().for_each(|group| size[*group] += 1);
    let blocks: Vec<usize> = (0..size.len()).filter(|group| size[*group] > 1).collect();
    let mut x = Array2::<f64>::zeros((rows, rows + blocks.len()));
    let mut rows_of: HashMap<usize, Vec<usize>> = HashMap::new();
    stimuli.runs().into_iter().enumerate().for_each(|(row, run)| rows_of.entry(run).or_default().push(row));
    let reach = (SIGMA * REACH) as usize;
    for rows in rows_of.values() {
        for (at, row) in rows.iter().enumerate() {
            for (other, near) in rows.iter().enumerate().take(at + reach + 1).skip(at.saturating_sub(reach)) {
                let distance = other.abs_diff(at) as f64 / SIGMA;
                x[[*row, *near]] = (-distance * distance / 2.0).exp();
            }
        }
    }
    for (row, group) in groups.iter().enumerate() {
        if let Ok(block) = blocks.binary_search(group) {
            x[[row, rows + block]] = 1.0;
        }
    }
    FeatureSpace::new(OASM, Arc::clone(ids), x)
}
