//! What fits, weights and states say.

use std::collections::HashSet;

use ndarray::{Array2, Axis};

use crate::encoder::{Attestation, Pooling};
use crate::encoding::EDGE_LIMIT;
use crate::ids::Layer;
use crate::pipeline::fit::SpaceFit;
use crate::pipeline::preflight::{OpenCheckpoint, Prepared};
use crate::pipeline::states::Pooled;
use crate::record::{AuditFinding, Severity};
use crate::stats::bootstrap::{Interval, Resamples, mean_intervals};
use crate::study::{BOOTSTRAP_DRAWS, BOOTSTRAP_SEED};

/// Share of variance that a row's place alone may explain before scores are doubtful.
const LEAK: f64 = 0.01;

/// Share of variance explained by a space's held-out predictions, mean over subjects and targets, with its interval over
/// subjects, or over stimulus groups where there are fewer than three. A constant prediction explains nothing and counts
/// as 0, so that a leak in one fold is not hidden by others without any.
pub fn explained(prepared: &Prepared, space: &SpaceFit) -> Option<(f64, Option<Interval>)> {
    let targets = prepared.targets.len();
    let (mut by_subject, mut by_group) = (Vec::new(), vec![0.0; prepared.stimuli.n_groups()]);
    for predictions in &space.predictions {
        let cohort = &prepared.cohorts[predictions.cohort];
        let y = cohort.y();
        let mean =
            Array2::from_shape_fn(y.dim(), |(row, column)| predictions.train_mean[[predictions.folds[row], column]]);
        let about = (y - &mean).mapv(|v| v * v);
        let total = about.sum_axis(Axis(0));
        let gain = about - (y - &predictions.values).mapv(|v| v * v);
        for subject in 0..cohort.subjects().len() {
            let columns =
                (subject * targets..(subject + 1) * targets).filter(|c| total[*c] > 0.0 && cohort.missing()[*c] == 0);
            let columns: Vec<usize> = columns.collect();
            let share = |column: &usize| gain.column(*column).sum() / total[*column];
            let shares: Vec<f64> = columns.iter().map(share).collect();
            by_subject.extend(crate::stats::mean(&shares));
            for (at, row) in cohort.rows().iter().enumerate() {
                let own: f64 = columns.iter().map(|c| gain[[at, *c]] / total[*c]).sum();
                by_group[prepared.stimuli.groups()[*row]] += own / columns.len().max(1) as f64;
            }
        }
    }
    let subjects = by_subject.len();
    let mean = crate::stats::mean(&by_subject)?;
    let units = if subjects >= 3 {
        by_subject
    } else {
        // The mean over groups of these is the share itself.
        let groups = by_group.len() as f64;
        by_group.iter().map(|share| share * groups / subjects as f64).collect()
    };
    let resamples = Resamples::new(units.len(), BOOTSTRAP_DRAWS, BOOTSTRAP_SEED);
    let column = Array2::from_shape_fn((units.len(), 1), |(unit, _)| units[unit]);
    let (_, mut intervals) = mean_intervals(&column, &resamples, crate::compare::LEVEL);
    Some((mean, intervals.pop().flatten()))
}

/// A row's place alone must explain nothing.
pub(super) fn leak(prepared: &Prepared, oasm: &SpaceFit) -> Option<AuditFinding> {
    let (share, interval) = explained(prepared, oasm)?;
    let (low, high) = interval.unwrap_or((share, share));
    let severity = match (share > LEAK, low > 0.0) {
        (true, true) => Severity::Severe,
        (false, false) => return None,
        _ => Severity::Warning,
    };
    Some(AuditFinding::new(
        "AU-07",
        severity,
        format!(
            "under this split a row's place alone (oasm) explains {share:.3} [{low:.3}, {high:.3}] of the variance: rows resemble their neighbours, and neighbours lie on both sides"
        ),
        "Use contiguous folds over whole runs or stories, and a purge gap ([encoding] gap)",
    ))
}

/// Weights that are not what they are said to be.
pub(super) fn weights(attestations: &[Attestation], prepared: &Prepared) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    let specs = &prepared.plan.checkpoints;
    for attestation in attestations {
        let label = &attestation.checkpoint;
        let declared = specs.iter().any(|c| c.label == *label && c.source.untrained.is_some());
        if attestation.equals_reference == Some(true) {
            let reference = prepared.base_of(label).unwrap_or_default();
            found.push(AuditFinding::new(
                "AU-10",
                Severity::Severe,
                format!("the weights of {label:?} equal those of {reference:?}: a checkpoint is compared with itself"),
                "Check the folders of the checkpoints",
            ));
        }
        if attestation.looks_random && !declared {
            found.push(AuditFinding::new(
                "AU-11",
                Severity::Severe,
                format!("the weights of {label:?} look random, as if never trained"),
                "Check the checkpoint; if it is meant to be random, write untrained:SEED:folder",
            ));
        }
    }
    found
}

/// Feature spaces with too many alphas at an edge of the grid.
pub(super) fn edges(shares: &[(String, f64)]) -> Option<AuditFinding> {
    let over: Vec<&(String, f64)> = shares.iter().filter(|(_, share)| *share > EDGE_LIMIT).collect();
    let most = over.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    (!over.is_empty()).then(|| {
        AuditFinding::new(
            "AU-08",
            Severity::Warning,
            format!(
                "in {} of {} feature spaces more than {:.0} % of the chosen alphas lie at an edge of the grid (at most {:.0} %): {}",
                over.len(),
                shares.len(),
                100.0 * EDGE_LIMIT,
                100.0 * most,
                crate::error::first_five(over.iter().map(|(name, _)| name))
            ),
            "Give a wider grid ([encoding] alphas), unless nothing predicts those targets: then the largest alpha is right",
        )
    })
}

/// A layer 0 in which texts do not differ, or differ by their length alone.
pub(super) fn layer_zero(open: &OpenCheckpoint, pooling: Pooling, states: &[Pooled]) -> Option<AuditFinding> {
    let zero = states.iter().find(|p| p.layer == Layer(0))?;
    let width = open.checkpoint.width();
    let bits = |vector: &[f32]| vector.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    let vectors: HashSet<Vec<u32>> = zero.vectors.chunks(width).map(bits).collect();
    let lengths: HashSet<usize> = open.tokens.iter().map(|t| t.ids.len()).collect();
    let artefact = vectors.len() <= lengths.len() && vectors.len() < open.tokens.len();
    artefact.then(|| {
        AuditFinding::new(
            "AU-12",
            Severity::Warning,
            format!(
                "layer 0 of {:?} has {} different vectors for {} texts of {} lengths: pooled by {pooling}, the embedding output knows at most how long a text is",
                open.checkpoint.record().label,
                vectors.len(),
                open.tokens.len(),
                lengths.len()
            ),
            "Do not read layer 0 as meaning; pool by mean",
        )
    })
}
