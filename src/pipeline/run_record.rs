//! What `run.json` says of a comparison.

use std::collections::BTreeMap;

use super::compare::Results;
use super::preflight::Prepared;
use super::rows;
use crate::compute::cpu::blas_description;
use crate::compute::device::Offload;
use crate::record::{
    BootstrapRecord, FORMAT, FoldRecord, MachineRecord, PlanRecord, Planted, ResponsesRecord, RunRecord, StageRecord,
};
use crate::study::{BOOTSTRAP_DRAWS, BOOTSTRAP_SEED};

/// The record of a run, all but what is known about weights and what the audit says.
pub(super) fn described(
    prepared: Prepared,
    results: Results,
    planted: Option<Planted>,
    timings: Vec<StageRecord>,
) -> RunRecord {
    let Prepared {
        plan,
        stimuli,
        design,
        confound_names,
        left_out,
        subjects,
        targets,
        folds,
        checkpoints,
        inputs,
        offload,
        mut warnings,
        ..
    } = prepared;
    warnings.extend(results.warnings);
    // Cards that failed on the way: the CPU did the rest.
    warnings.extend(offload.as_ref().and_then(|o| o.lost().cloned()));
    let rows = rows::described(&plan);
    let n_texts = design.n_parts().unwrap_or_else(|| stimuli.distinct_texts().0.len());
    RunRecord {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        plan: PlanRecord {
            study: plan.name,
            pooling: plan.pooling,
            long_text: plan.long_text,
            layers: checkpoints.iter().map(|c| (c.checkpoint.record().label.clone(), c.layers.clone())).collect(),
            folds: plan.folds,
            gap: plan.gap,
            untrained: plan.untrained,
            alphas: plan.alphas,
            score: plan.score,
            confounds: confound_names,
            rows,
            inference: plan.inference,
            precision: plan.precision.as_str().to_owned(),
            unique: plan.unique.as_str().to_owned(),
            components: plan.components,
            memory: plan.memory,
            bootstrap: BootstrapRecord { draws: BOOTSTRAP_DRAWS, level: crate::compare::LEVEL, seed: BOOTSTRAP_SEED },
            overrides: plan.overrides,
        },
        inputs,
        checkpoints: checkpoints.iter().map(|c| c.checkpoint.record().clone()).collect(),
        attestations: Vec::new(),
        extraction: results.extraction,
        responses: ResponsesRecord {
            subjects,
            targets,
            n_stimuli: stimuli.len(),
            n_texts,
            n_groups: stimuli.n_groups(),
        },
        folds: (0..folds.count())
            .map(|k| FoldRecord { test_rows: folds.test_rows(k).iter().map(|r| stimuli.ids()[*r].clone()).collect() })
            .collect(),
        machine: MachineRecord {
            device: offload.as_ref().map_or("cpu".to_owned(), Offload::describe),
            threads: rayon::current_num_threads(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            blas: blas_description(),
        },
        left_out,
        warnings,
        audit: Vec::new(),
        timings,
        planted,
        identity: BTreeMap::new(),
        comparison: results.comparison,
    }
}
