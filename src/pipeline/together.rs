//! All layers of a checkpoint as one model: their columns side by side, or their predictions mixed.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayView2, Axis, s};
use rayon::prelude::*;

use super::compare::layer_features;
use super::fit::{components, fit_cohorts, fit_options};
use super::gather::States;
use super::outputs::{reason, stamp};
use super::preflight::Prepared;
use super::states::Pooled;
use super::units::{Unit, Units};
use crate::compare::{Comparison, LayerFit, Paired, compare_layer};
use crate::encoding::engine::{self, Options};
use crate::encoding::stacking::{Stacking, stack_in_blocks};
use crate::encoding::{AlphaGrid, Combine, FoldSpec};
use crate::error::Result;
use crate::features::FeatureSpace;
use crate::ids::Layer;
use crate::io::binary::binary;
use crate::io::table::{Output, OutputTable};
use crate::stats::bootstrap::Resamples;
use crate::watch::Watch;

/// The layers of a checkpoint as one model.
pub(super) struct Together {
    pub fit: LayerFit,
    /// Of mixtures, the mean weight of each layer.
    pub weights: Vec<f64>,
}
binary!(Together { fit, weights });

/// Fits all layers of a checkpoint together. `grids` has, layer by layer, the alphas that its own fits were searched with:
/// a default grid is widened for all targets of a fit, and a mixture is found for some targets at a time.
pub(super) fn together_fit(
    prepared: &Prepared,
    pooled: &[Pooled],
    grids: &[Vec<AlphaGrid>],
    (checkpoint, model): (usize, Combine),
    watch: &dyn Watch,
) -> Result<Together> {
    let spaces: Vec<FeatureSpace> =
        pooled.iter().map(|layer| layer_features(prepared, checkpoint, layer)).collect::<Result<_>>()?;
    let all: Vec<&FeatureSpace> = spaces.iter().collect();
    let options = Options { components: components(prepared, &spaces[0]), ..fit_options(prepared) };
    // Of each fit, by its number: targets, and the sum of each layer's weights over folds and targets.
    let weights: Mutex<Vec<(usize, f64, Vec<f64>)>> = Mutex::default();
    let fitted = fit_cohorts(prepared, &all, &|one| match model {
        Combine::Concat => {
            engine::fit(one.x, one.y, one.folds, &prepared.plan.alphas, &options, watch).map(|(fit, _)| fit)
        }
        Combine::Stack => {
            let width = one.x.ncols() / spaces.len();
            let views: Vec<ArrayView2<'_, f64>> =
                (0..spaces.len()).map(|l| one.x.slice_move(s![.., l * width..(l + 1) * width])).collect();
            let searched: Vec<AlphaGrid> =
                grids.iter().map(|of| AlphaGrid { given: true, ..of[one.number].clone() }).collect();
            let of = Stacking { spaces: &views, grids: &searched, y: one.y, folds: one.folds };
            let mixed = stack_in_blocks(of, &options, watch)?;
            let there: Vec<usize> = (0..one.missing.len()).filter(|t| one.missing[*t] == 0).collect();
            let sums = mixed.weights.sum_axis(Axis(0)).select(Axis(1), &there).sum_axis(Axis(1)).to_vec();
            let count = (mixed.weights.len_of(Axis(0)) * there.len()) as f64;
            weights.lock().unwrap_or_else(PoisonError::into_inner).push((one.number, count, sums));
            Ok(mixed.fit)
        }
    })
    .map_err(|e| {
        e.computing(format!("all layers of {}", prepared.checkpoints[checkpoint].checkpoint.record().label))
    })?;
    let mut found = weights.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Sums do not depend on which fit was ready first.
    found.sort_by_key(|(number, ..)| *number);
    let count: f64 = found.iter().map(|(_, count, _)| count).sum();
    let weights = match model {
        Combine::Concat => Vec::new(),
        Combine::Stack => {
            (0..spaces.len()).map(|l| found.iter().map(|(.., sums)| sums[l]).sum::<f64>() / count).collect()
        }
    };
    Ok(Together { fit: fitted.fit, weights })
}

/// Fits the models that the plan asks for and adds what they come to, averaged over targets, to `comparison`. `grids` has
/// the alphas of every fit: checkpoint, layer, a grid per fit.
pub(super) fn add_together(
    prepared: &Prepared,
    (states, units): (&States<'_>, &Units),
    grids: &[(usize, Layer, Vec<AlphaGrid>)],
    baseline: &LayerFit,
    comparison: &mut Comparison,
    resamples: &Resamples,
    watch: &dyn Watch,
) -> Result<()> {
    let wanted = &prepared.plan.combine;
    if wanted.is_empty() {
        return Ok(());
    }
    let checkpoints = prepared.checkpoints.len();
    watch.begin("all layers together", "fits", (wanted.len() * checkpoints) as u64);
    let labels: Vec<String> = prepared.checkpoints.iter().map(|c| c.checkpoint.record().label.clone()).collect();
    let bases = comparison.bases(&labels);
    for model in wanted {
        let fit = |checkpoint: usize| {
            let made = units.of(Unit::Together(checkpoint, *model), || {
                let mut own: Vec<_> = grids.iter().filter(|(c, ..)| *c == checkpoint).collect();
                own.sort_by_key(|(_, layer, _)| *layer);
                let own: Vec<Vec<AlphaGrid>> = own.into_iter().map(|(.., grids)| grids.clone()).collect();
                together_fit(prepared, &states.layers(checkpoint)?, &own, (checkpoint, *model), watch)
            })?;
            watch.advance(1);
            Ok(made)
        };
        let fits = (0..checkpoints).into_par_iter().map(fit).collect::<Result<Vec<Together>>>()?;
        let named: Vec<_> = labels.iter().zip(&fits).map(|(label, made)| (label.as_str(), &made.fit)).collect();
        let score = prepared.plan.score;
        let found = compare_layer(Layer(0), &named, &bases, baseline, score, &prepared.targets, resamples);
        let weights: Vec<(String, Vec<(Layer, f64)>)> = labels
            .iter()
            .zip(&fits)
            .zip(&prepared.checkpoints)
            .map(|((label, made), open)| {
                (label.clone(), open.layers.iter().copied().zip(made.weights.iter().copied()).collect())
            })
            .collect();
        comparison.add_combined(*model, &found, &weights);
    }
    watch.end();
    Ok(())
}

/// `combined.csv` and `stack.csv`; not written where nothing was combined, or mixed.
pub(super) fn write(folder: &Path, comparison: &Comparison, folds: FoldSpec) -> Result<()> {
    let rows: Vec<_> = comparison.combined.iter().flat_map(|c| c.scores.iter().map(move |s| (c, s))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let real = |value: &dyn Fn(usize) -> Option<f64>| Output::Real((0..rows.len()).map(value).collect());
    let gain = |at: usize| Some(rows[at].1.gain);
    let difference = |at: usize| rows[at].1.difference;
    let value = |paired: Option<Paired>| paired.and_then(|p| p.difference.value());
    let end =
        |paired: Option<Paired>, high: bool| paired.and_then(|p| p.interval).map(|i| if high { i.1 } else { i.0 });
    let mut table = OutputTable::new(vec![
        ("model", Output::Text(rows.iter().map(|(c, _)| c.model.as_str().to_owned()).collect())),
        ("checkpoint", Output::Text(rows.iter().map(|(c, _)| c.checkpoint.clone()).collect())),
        ("score", Output::Text(rows.iter().map(|(_, s)| s.score.column().to_owned()).collect())),
        ("mean", real(&|at| rows[at].1.mean.value())),
        ("ci_low", real(&|at| rows[at].1.interval.map(|i| i.0))),
        ("ci_high", real(&|at| rows[at].1.interval.map(|i| i.1))),
        ("gain_over_confounds", real(&|at| value(gain(at)))),
        ("gain_ci_low", real(&|at| end(gain(at), false))),
        ("gain_ci_high", real(&|at| end(gain(at), true))),
        (
            "reference",
            Output::Text(
                rows.iter()
                    .map(|(c, s)| s.difference.and(comparison.base_of(&c.checkpoint)).unwrap_or_default().to_owned())
                    .collect(),
            ),
        ),
        ("difference_to_reference", real(&|at| value(difference(at)))),
        ("difference_ci_low", real(&|at| end(difference(at), false))),
        ("difference_ci_high", real(&|at| end(difference(at), true))),
        ("undefined", Output::Text(rows.iter().map(|(_, s)| reason(s.mean)).collect())),
    ]);
    stamp(&mut table, folds, rows.len());
    table.write(folder, "combined")?;
    let weights: Vec<_> =
        comparison.combined.iter().flat_map(|c| c.weights.iter().map(move |w| (&c.checkpoint, *w))).collect();
    if weights.is_empty() {
        return Ok(());
    }
    let mut table = OutputTable::new(vec![
        ("checkpoint", Output::Text(weights.iter().map(|(label, _)| (*label).clone()).collect())),
        ("layer", Output::Integer(weights.iter().map(|(_, (layer, _))| layer.0 as i64).collect())),
        ("weight_mean", Output::Real(weights.iter().map(|(_, (_, weight))| Some(*weight)).collect())),
    ]);
    stamp(&mut table, folds, weights.len());
    table.write(folder, "stack")
}
