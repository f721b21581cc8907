//! `unique cod`: what layers add to the confounds in a joint model.

use rayon::prelude::*;

use super::compare::{layer_features, layer_name};
use super::fit::fit_joint;
use super::gather::States;
use super::outputs::CheckpointFits;
use super::preflight::Prepared;
use super::units::{Unit, Units};
use crate::compare::{Comparison, LayerFit, unique_cod};
use crate::error::Result;
use crate::ids::Layer;
use crate::stats::bootstrap::Resamples;
use crate::study::UniqueLayers;
use crate::watch::Watch;

/// Fits the joint model of the layers that the plan asks for, adds its scores to `fits` and what it comes to, averaged over
/// targets, to `comparison`.
#[allow(clippy::too_many_arguments, reason = "what a run has found so far, and where it goes")]
pub(super) fn add_unique(
    prepared: &Prepared,
    (states, units): (&States<'_>, &Units),
    baseline: &LayerFit,
    fits: &mut [CheckpointFits],
    comparison: &mut Comparison,
    resamples: &Resamples,
    watch: &dyn Watch,
) -> Result<()> {
    let layers_of = |checkpoint: usize| {
        let best = comparison.best_layer(&fits[checkpoint].label);
        let layers = prepared.checkpoints[checkpoint].layers.iter().copied();
        layers.filter(move |layer| match prepared.plan.unique {
            UniqueLayers::None => false,
            UniqueLayers::Best => best == Some(*layer),
            UniqueLayers::All => true,
        })
    };
    let wanted: Vec<(usize, Layer)> =
        (0..fits.len()).flat_map(|checkpoint| layers_of(checkpoint).map(move |layer| (checkpoint, layer))).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    watch.begin("unique cod", "fits", wanted.len() as u64);
    let joint = |(checkpoint, layer): &(usize, Layer)| {
        let fit =
            units.of(Unit::Joint(*checkpoint, *layer), || joint_fit(prepared, states, (*checkpoint, *layer), watch))?;
        watch.advance(1);
        Ok(fit)
    };
    let done = wanted.par_iter().map(joint).collect::<Result<Vec<_>>>()?;
    for ((checkpoint, wanted), joint) in wanted.iter().zip(done) {
        let CheckpointFits { label, layers } = &mut fits[*checkpoint];
        if let Some((layer, fit)) = layers.iter_mut().find(|(layer, _)| layer == wanted) {
            fit.joint = Some(Box::new(joint));
            comparison.unique_cod.extend(unique_cod(label, *layer, fit, baseline, resamples));
        }
    }
    watch.end();
    Ok(())
}

/// Fits a layer of a checkpoint and the confounds together.
pub(super) fn joint_fit(
    prepared: &Prepared,
    states: &States<'_>,
    (checkpoint, layer): (usize, Layer),
    watch: &dyn Watch,
) -> Result<LayerFit> {
    let (pooled, _) = states.layer(checkpoint, layer)?;
    let features = layer_features(prepared, checkpoint, &pooled)?;
    fit_joint(prepared, &features, &prepared.confounds, watch)
        .map_err(|e| e.computing(format!("{} and the confounds", layer_name(prepared, checkpoint, layer))))
}
