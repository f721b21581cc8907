//! `unique cod`: what layers add to the confounds in a joint model.

use rayon::prelude::*;

use super::compare::layer_features;
use super::fit::fit_joint;
use super::outputs::CheckpointFits;
use super::preflight::Prepared;
use super::states::Pooled;
use crate::compare::{Comparison, LayerFit, unique_cod};
use crate::error::Result;
use crate::stats::bootstrap::Resamples;
use crate::study::UniqueLayers;
use crate::watch::Watch;

/// Fits the joint model of the layers that the plan asks for, adds its scores to `fits` and what it comes to, averaged over
/// targets, to `comparison`.
#[allow(clippy::too_many_arguments, reason = "what a run has found so far, and where it goes")]
pub(super) fn add_unique(
    prepared: &Prepared,
    states: &[Vec<Pooled>],
    baseline: &LayerFit,
    fits: &mut [CheckpointFits],
    comparison: &mut Comparison,
    resamples: &Resamples,
    watch: &dyn Watch,
) -> Result<()> {
    let wanted: Vec<(usize, &Pooled)> = states
        .iter()
        .enumerate()
        .flat_map(|(checkpoint, layers)| {
            let best = comparison.best_layer(&fits[checkpoint].label);
            layers.iter().map(move |pooled| (checkpoint, best, pooled))
        })
        .filter(|(_, best, pooled)| match prepared.plan.unique {
            UniqueLayers::None => false,
            UniqueLayers::Best => *best == Some(pooled.layer),
            UniqueLayers::All => true,
        })
        .map(|(checkpoint, _, pooled)| (checkpoint, pooled))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    watch.begin("unique cod", "fits", wanted.len() as u64);
    let joint = |(checkpoint, pooled): &(usize, &Pooled)| {
        let features = layer_features(prepared, *checkpoint, pooled)?;
        let fit = fit_joint(prepared, &features, &prepared.confounds, watch)?;
        watch.advance(1);
        Ok(fit)
    };
    let done = wanted.par_iter().map(joint).collect::<Result<Vec<_>>>()?;
    for ((checkpoint, pooled), joint) in wanted.iter().zip(done) {
        let CheckpointFits { label, layers } = &mut fits[*checkpoint];
        if let Some((layer, fit)) = layers.iter_mut().find(|(layer, _)| *layer == pooled.layer) {
            fit.joint = Some(Box::new(joint));
            comparison.unique_cod.extend(unique_cod(label, *layer, fit, baseline, resamples));
        }
    }
    watch.end();
    Ok(())
}
