//! Can the scores of this study be believed? What a sceptical reader would check first, checked.
//!
//! | code | what |
//! |---|---|
//! | AU-01 | the same text on both sides of a split |
//! | AU-02 | nearly the same text on both sides |
//! | AU-03 | rows of one group on both sides |
//! | AU-04 | runs cut by folds |
//! | AU-05 | neighbours closer than the gap |
//! | AU-06 | stimuli that checkpoints were fine-tuned on |
//! | AU-07 | a row's place alone (oasm) predicts responses |
//! | AU-08 | alphas at an edge of their grid |
//! | AU-09 | too few rows |
//! | AU-10 | equal weights |
//! | AU-11 | random weights that nobody declared |
//! | AU-12 | a layer 0 without meaning |
//! | AU-13 | shuffled folds |

mod design;
mod measured;
mod texts;

use std::sync::Arc;

use super::attest::attest_all;
use super::fit::{SpaceFit, fit_space};
use super::preflight::{Prepared, prepare};
use super::states::Pooled;
use super::units::Units;
use crate::encoder::Attestation;
use crate::error::{Problems, Result};
use crate::features::{self, FeatureSpace};
use crate::record::{AuditFinding, Severity};
use crate::store::StateCache;
use crate::study::Plan;
use crate::watch::Watch;

/// What an audit gives.
#[derive(Debug)]
pub struct Audited {
    /// The study as it was read.
    pub prepared: Prepared,
    /// The findings, the most severe first.
    pub findings: Vec<AuditFinding>,
}

impl Audited {
    /// Whether the scores of the study cannot be believed as it stands.
    pub fn is_severe(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Severe)
    }
}

/// What has been measured of a study, as far as it has been.
#[derive(Default)]
pub(super) struct Measured<'a> {
    /// The fit of the rows' places.
    pub oasm: Option<&'a SpaceFit>,
    /// What is known about the weights.
    pub attestations: &'a [Attestation],
    /// Share of alphas at an edge, by feature space.
    pub edges: &'a [(String, f64)],
    /// Findings made while states were in memory.
    pub layer_zero: Vec<AuditFinding>,
}

/// All findings, the most severe first.
pub(super) fn findings(prepared: &Prepared, measured: Measured<'_>) -> Vec<AuditFinding> {
    let mut found = design::findings(prepared);
    found.extend(measured.oasm.and_then(|oasm| measured::leak(prepared, oasm)));
    found.extend(measured::weights(measured.attestations, prepared));
    found.extend(measured::edges(measured.edges));
    found.extend(measured.layer_zero);
    found.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.code.clone()));
    found
}

/// What the states of a checkpoint's layer 0 say.
pub(super) fn layer_zero(prepared: &Prepared, checkpoint: usize, states: &[Pooled]) -> Option<AuditFinding> {
    measured::layer_zero(&prepared.checkpoints[checkpoint], prepared.plan.pooling, states)
}

/// Share of variance that a row's place alone explains, with its interval.
pub use measured::explained;

/// Audits the design alone, and whether a row's place predicts responses: no checkpoint runs.
///
/// # Errors
/// All problems of the preflight at once; `NU-01` when the fit overflows.
pub fn check(plan: Plan, watch: &dyn Watch) -> std::result::Result<Audited, Problems> {
    let prepared = prepare(plan, watch)?;
    let oasm = fit_space(&prepared, &features::oasm(&prepared.stimuli, &prepared.ids), watch)?;
    let findings = findings(&prepared, Measured { oasm: Some(&oasm), ..Measured::default() });
    Ok(Audited { prepared, findings })
}

/// Audits a study with its checkpoints: the design, the weights, layer 0, and fits of the baselines and of each
/// checkpoint's last layer.
///
/// # Errors
/// All problems of the preflight at once; then whatever makes states or fits impossible.
pub fn audit(plan: Plan, cache: Option<&StateCache>, watch: &dyn Watch) -> std::result::Result<Audited, Problems> {
    let prepared = prepare(plan, watch)?;
    let (found, attestations, oasm, edges) = measure(&prepared, cache, watch)?;
    let measured = Measured { oasm: Some(&oasm), attestations: &attestations, edges: &edges, layer_zero: found };
    let findings = findings(&prepared, measured);
    Ok(Audited { prepared, findings })
}

type Measurements = (Vec<AuditFinding>, Vec<Attestation>, SpaceFit, Vec<(String, f64)>);

fn measure(prepared: &Prepared, cache: Option<&StateCache>, watch: &dyn Watch) -> Result<Measurements> {
    let attestations = attest_all(prepared, &Units::none(), watch)?;
    let mut edges = Vec::new();
    let mut fit = |space: &FeatureSpace| -> Result<SpaceFit> {
        let fit = fit_space(prepared, space, watch)?;
        edges.extend(fit.share_at_edge().map(|share| (space.name().to_owned(), share)));
        Ok(fit)
    };
    fit(&prepared.confounds)?;
    let oasm = fit(&features::oasm(&prepared.stimuli, &prepared.ids))?;
    let mut found = Vec::new();
    for (index, open) in prepared.checkpoints.iter().enumerate() {
        let (Some(first), Some(last)) = (open.layers.first(), open.layers.last()) else { continue };
        let mut layers = vec![*first, *last];
        layers.dedup();
        let states = open.states(prepared.plan.pooling, &layers, prepared.offload.as_ref(), cache, watch)?.layers;
        found.extend(layer_zero(prepared, index, &states));
        let Some(pooled) = states.iter().find(|p| p.layer == *last) else { continue };
        let name = format!("layer {last} of {}", open.checkpoint.record().label);
        let ids = Arc::clone(&prepared.ids);
        let width = open.checkpoint.width();
        fit(&prepared.design.space(name, ids, &pooled.vectors, width)?)?;
    }
    // What rows' places choose says nothing about the models' grid.
    edges.retain(|(name, _)| name != features::OASM);
    Ok((found, attestations, oasm, edges))
}
