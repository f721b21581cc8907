//! The main job: checkpoints against a study, into a run directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ndarray::s;
use rayon::prelude::*;

use super::attest::attest_all;
use super::audit;
use super::ceiling_tables;
use super::edges::Edges;
use super::fit::{SpaceFit, fit_space};
use super::maps;
use super::metrics::{self, Metrics};
use super::outputs::{self, CheckpointFits};
use super::preflight::{Prepared, prepare};
use super::recheck::{self, Checked};
use super::report;
use super::rois;
use super::rows;
use super::states::Pooled;
use super::summary_table;
use super::target_table;
use super::unique::add_unique;
use crate::compare::{Ceiling, Comparison, LayerFit, baselines, ceilings, compare_layer};
use crate::compute::cpu::{self, blas_description, single_threaded_blas};
use crate::compute::device::Offload;
use crate::encoder::Attestation;
use crate::encoding::AlphaGrid;
use crate::encoding::ceiling::SubjectRows;
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::features::{self, FeatureSpace};
use crate::ids::Layer;
use crate::io::table::write_parquet_batches;
use crate::record::{
    BootstrapRecord, ExtractionRecord, FORMAT, FoldRecord, MachineRecord, PlanRecord, Planted, ResponsesRecord,
    RunRecord, StageRecord,
};
use crate::stats::bootstrap::Resamples;
use crate::stats::permuter::Permuter;
use crate::store::{RunDir, StateCache};
use crate::study::{BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, Overrides, Plan, demo};
use crate::watch::Watch;

/// A finished run.
#[derive(Debug)]
pub struct Finished {
    /// Where it was written.
    pub folder: PathBuf,
    /// What was found.
    pub record: RunRecord,
}

/// Compares the plan's checkpoints and writes a run directory to `out`, by one rename at the end.
///
/// # Errors
/// All problems of the preflight at once, before anything is computed; later, whatever made the run impossible. A run
/// that fails leaves nothing behind.
pub fn compare(
    plan: Plan,
    out: &Path,
    overwrite: bool,
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> std::result::Result<Finished, Problems> {
    apart(&plan, out)?;
    RunDir::check(out, overwrite)?;
    let mut clock = Clock::start();
    let prepared = prepare(plan, watch)?;
    clock.lap("preflight");
    let run = RunDir::stage(out, overwrite)?;
    let record = run_into(prepared, run.path(), None, cache, clock, watch)?;
    run.commit()?;
    Ok(Finished { folder: out.to_owned(), record })
}

/// Writes the built-in demo study under `out`/demo and compares its checkpoints.
///
/// # Errors
/// As [`compare`].
pub fn compare_demo(
    out: &Path,
    overrides: &Overrides,
    overwrite: bool,
    watch: &dyn Watch,
) -> std::result::Result<Finished, Problems> {
    let mut clock = Clock::start();
    let run = RunDir::stage(out, overwrite)?;
    let folder = run.path().join("demo");
    std::fs::create_dir(&folder).map_err(|e| Error::io(folder.display(), "creating", e))?;
    let planted = demo::write(&folder)?;
    clock.lap("demo study");
    let plan =
        Plan::new(&folder.join("study.toml"), demo::checkpoints(&folder), overrides).map_err(Problems::from_list)?;
    let prepared = prepare(plan, watch)?;
    clock.lap("preflight");
    let record = run_into(prepared, run.path(), Some(planted), None, clock, watch)?;
    run.commit()?;
    Ok(Finished { folder: out.to_owned(), record })
}

/// The output must not lie inside an input, nor an input inside the output.
fn apart(plan: &Plan, out: &Path) -> Result<()> {
    use crate::encoder::Place;
    let full = |p: &Path| p.canonicalize().ok();
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(target) = full(parent).and_then(|p| Some(p.join(out.file_name()?))) else { return Ok(()) };
    let clash = |input: &Path| {
        Err(Error::new(Code::Od03, out.display(), format!("overlaps with the input {}", input.display()))
            .expected("an output directory of its own"))
    };
    for checkpoint in &plan.checkpoints {
        if let Place::Folder(folder) = &checkpoint.source.place
            && full(folder).is_some_and(|f| target.starts_with(&f) || f.starts_with(&target))
        {
            return clash(folder);
        }
    }
    for file in [&plan.study_path, &plan.stimuli_path] {
        if full(file).is_some_and(|f| f.starts_with(&target)) {
            return clash(file);
        }
    }
    Ok(())
}

/// Wall time per stage.
struct Clock {
    last: Instant,
    stages: Vec<StageRecord>,
}

impl Clock {
    fn start() -> Clock {
        Clock { last: Instant::now(), stages: Vec::new() }
    }

    fn lap(&mut self, stage: &str) {
        let seconds = self.last.elapsed().as_secs_f64();
        self.stages.push(StageRecord {
            stage: stage.to_owned(),
            seconds,
            peak_mib: cpu::peak_memory().map(|b| b >> 20),
        });
        self.last = Instant::now();
    }
}

/// Computes everything and writes it into `folder`.
fn run_into(
    prepared: Prepared,
    folder: &Path,
    planted: Option<Planted>,
    cache: Option<&StateCache>,
    mut clock: Clock,
    watch: &dyn Watch,
) -> Result<RunRecord> {
    single_threaded_blas();
    let mut states: Vec<Vec<Pooled>> = Vec::with_capacity(prepared.checkpoints.len());
    let (mut extraction, mut warnings) = (Vec::new(), Vec::new());
    let mut layer_zero = Vec::new();
    for (index, open) in prepared.checkpoints.iter().enumerate() {
        let pooling = prepared.plan.pooling;
        let found = open.states(pooling, &open.layers, cache, watch)?;
        layer_zero.extend(audit::layer_zero(&prepared, index, &found.layers));
        states.push(found.layers);
        extraction.push(found.record);
        warnings = found.warnings;
        clock.lap(&format!("hidden states of {}", open.checkpoint.record().label));
    }
    let attestations = attest_all(&prepared, watch)?;
    for attestation in &attestations {
        let declared =
            prepared.plan.checkpoints.iter().any(|c| c.label == attestation.checkpoint && c.source.untrained.is_some());
        let base = prepared.base_of(&attestation.checkpoint).unwrap_or_default();
        warnings.extend(attestation.alarms(declared, base));
    }
    clock.lap("attestation of the weights");
    let mut results = fit_all(&prepared, &states, folder, watch)?;
    results.warnings.extend(warnings);
    clock.lap("encoding models");
    outputs::write_scores(folder, &prepared, &results.fits, &results.confounds.fit, &results.oasm.fit)?;
    outputs::write_comparison(folder, &results.comparison, prepared.targets.len(), prepared.plan.folds)?;
    outputs::write_layers(folder, &results.comparison, prepared.plan.folds)?;
    summary_table::write(folder, &results.comparison, prepared.plan.folds)?;
    outputs::write_groups(folder, &results.comparison, prepared.plan.folds)?;
    target_table::write(
        folder,
        &prepared,
        &results.fits,
        &results.confounds.fit,
        &resamples_of(&results.confounds.fit),
    )?;
    ceiling_tables::write(folder, &prepared, &results.comparison)?;
    let baselines = [&results.confounds.fit, &results.oasm.fit];
    rois::tables::write(folder, &prepared, &results.fits, baselines, &results.comparison)?;
    if let Some(checked) = to_recheck(&prepared, &states, &results) {
        recheck::write(folder, &prepared, &checked)?;
    }
    clock.lap("tables");
    let measured =
        audit::Measured { oasm: Some(&results.oasm), attestations: &attestations, edges: &results.edges, layer_zero };
    let findings = audit::findings(&prepared, measured);
    let atlas = maps::atlas_of(&prepared.plan);
    let mut record = record(prepared, results, extraction, attestations, planted, clock.stages);
    record.audit = findings;
    if let Some(atlas) = &atlas {
        let odd = maps::in_run(&record, folder, atlas, watch)?;
        let new = odd.into_iter().filter(|w| !record.warnings.contains(w)).collect::<Vec<_>>();
        record.warnings.extend(new);
    }
    report::write(&record, folder)?;
    report::write_record(&record, folder)?;
    watch.check()?;
    Ok(record)
}

/// The best layer of the checkpoint with the highest score: what a sceptic will ask about first.
fn to_recheck<'a>(prepared: &Prepared, states: &'a [Vec<Pooled>], results: &'a Results) -> Option<Checked<'a>> {
    let best = |at: usize| {
        let label = &prepared.checkpoints[at].checkpoint.record().label;
        let found = results.comparison.best_layers.iter().find(|b| b.checkpoint == *label)?;
        Some((at, results.comparison.best_layer(label)?, found.naive.value()?))
    };
    let all = (0..prepared.checkpoints.len()).filter_map(best);
    let (checkpoint, layer, _) = all.reduce(|best, next| if next.2 > best.2 { next } else { best })?;
    let pooled = states[checkpoint].iter().find(|p| p.layer == layer)?;
    let (.., grids) = results.grids.iter().find(|(c, l, _)| (*c, *l) == (checkpoint, layer))?;
    Some(Checked { checkpoint, pooled, grids })
}

struct Results {
    confounds: SpaceFit,
    oasm: SpaceFit,
    fits: Vec<CheckpointFits>,
    comparison: Comparison,
    warnings: Vec<Warning>,
    edges: Vec<(String, f64)>,
    /// The alphas that were searched: checkpoint, layer, a grid per fit.
    grids: Vec<(usize, Layer, Vec<AlphaGrid>)>,
}

/// Fits every layer of every checkpoint. Layers are independent and run on all threads; results come in order.
fn fit_all(prepared: &Prepared, states: &[Vec<Pooled>], folder: &Path, watch: &dyn Watch) -> Result<Results> {
    let labels: Vec<String> = prepared.checkpoints.iter().map(|c| c.checkpoint.record().label.clone()).collect();
    let mut layers: Vec<Layer> = states.iter().flatten().map(|p| p.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    let total: usize = states.iter().map(Vec::len).sum();
    watch.begin("encoding models", "fits", total as u64 + 2);
    let baseline = fit_space(prepared, &prepared.confounds, watch)?;
    watch.advance(1);
    let oasm = fit_space(prepared, &features::oasm(&prepared.stimuli, &prepared.ids), watch)?;
    watch.advance(1);
    let resamples = resamples_of(&baseline.fit);
    let score = prepared.plan.score;
    let mut comparison = Comparison::new(score, &labels, &baseline.fit, prepared.subjects.len(), &resamples);
    comparison.oasm = baselines(&oasm.fit, &resamples);
    comparison.ceilings = ceilings_of(prepared);
    comparison.lineage = prepared.plan.lineage.clone();
    let bases = comparison.bases(&labels);
    let mut fits: Vec<CheckpointFits> =
        labels.iter().map(|label| CheckpointFits { label: label.clone(), layers: Vec::new() }).collect();
    let mut edges = Edges::default();
    edges.add(features::CONFOUNDS.to_owned(), &baseline);
    let wanted = Metrics::new(prepared)?;
    let (mut measured, mut grids) = (Vec::new(), Vec::new());
    let threads = rayon::current_num_threads().max(1);
    write_parquet_batches(&folder.join("predictions.parquet"), |append| {
        append(&outputs::prediction_rows(prepared, features::CONFOUNDS, None, &baseline.predictions))?;
        append(&outputs::prediction_rows(prepared, features::OASM, None, &oasm.predictions))?;
        for chunk in layers.chunks(threads) {
            // As many layers as threads at a time: predictions of the others do not wait in memory.
            let jobs: Vec<(Layer, Vec<(usize, &Pooled)>)> =
                chunk.iter().map(|layer| (*layer, of_layer(states, *layer))).collect();
            let done: Result<Vec<_>> = jobs
                .into_par_iter()
                .map(|(layer, spaces)| {
                    let fitted: Result<Vec<(usize, SpaceFit, Vec<metrics::Measured>)>> = spaces
                        .into_iter()
                        .map(|(checkpoint, pooled)| {
                            let space = layer_features(prepared, checkpoint, pooled)?;
                            let fit = fit_space(prepared, &space, watch)?;
                            let more = wanted.of(prepared, &space, &fit)?;
                            watch.advance(1);
                            Ok((checkpoint, fit, more))
                        })
                        .collect();
                    let fitted = fitted?;
                    let named: Vec<_> = fitted.iter().map(|(c, f, _)| (labels[*c].as_str(), &f.fit)).collect();
                    let compared =
                        compare_layer(layer, &named, &bases, &baseline.fit, score, &prepared.targets, &resamples);
                    Ok((layer, fitted, compared))
                })
                .collect();
            for (layer, fitted, compared) in done? {
                comparison.add_layer(compared);
                for (checkpoint, space, more) in fitted {
                    let label = &labels[checkpoint];
                    edges.add(format!("layer {layer} of {label}"), &space);
                    append(&outputs::prediction_rows(prepared, label, Some(layer), &space.predictions))?;
                    fits[checkpoint].layers.push((layer, space.fit));
                    grids.push((checkpoint, layer, space.grids));
                    comparison.metrics.extend(more.iter().map(|m| m.point(label, layer)));
                    measured.push((label.clone(), layer, more));
                }
            }
        }
        Ok(())
    })?;
    watch.end();
    add_unique(prepared, states, &baseline.fit, &mut fits, &mut comparison, &resamples, watch)?;
    let all: Vec<_> = fits.iter().map(|c| (c.label.as_str(), c.layers.as_slice())).collect();
    let settings = &prepared.plan.inference;
    let permuter = prepared.offload.clone().map(|offload| Arc::new(offload) as Arc<dyn Permuter>);
    comparison.test(&all, &baseline.fit, settings, permuter.clone(), &resamples);
    if let Some(rois) = &prepared.rois {
        comparison.add_rois(rois, &all, [&baseline.fit, &oasm.fit], settings, permuter.clone(), &resamples);
    }
    if let Some(groups) = &prepared.groups {
        comparison.contrast(&all, groups, settings, permuter.as_deref());
    }
    prepared.offload.as_ref().map_or(Ok(()), Offload::check)?;
    metrics::write(folder, prepared, &measured)?;
    let warnings = edges.warnings();
    Ok(Results { confounds: baseline, oasm, fits, comparison, warnings, edges: edges.shares, grids })
}

/// The ceilings of the study's responses.
pub(super) fn ceilings_of(prepared: &Prepared) -> Vec<Ceiling> {
    let targets = prepared.targets.len();
    let rois = prepared.rois.as_ref().map(|r| r.matrix.rows());
    let subjects: Vec<SubjectRows<'_>> = prepared
        .cohorts
        .iter()
        .flat_map(|cohort| {
            (0..cohort.subjects().len()).map(move |s| SubjectRows {
                rows: cohort.rows(),
                y: cohort.y().slice(s![.., s * targets..(s + 1) * targets]),
            })
        })
        .collect();
    if let Some(whole) = &prepared.whole {
        let rows: Vec<usize> = (0..whole.runs.len()).collect();
        let present = whole.subjects.iter().filter(|(subject, _)| prepared.subjects.contains(subject));
        let subjects: Vec<SubjectRows<'_>> = present.map(|(_, y)| SubjectRows { rows: &rows, y: y.view() }).collect();
        let folds = whole.folds(&prepared.folds);
        return ceilings(&subjects, &whole.runs, &rows, &folds, rois, BOOTSTRAP_DRAWS, BOOTSTRAP_SEED);
    }
    let runs = prepared.stimuli.runs();
    ceilings(&subjects, &runs, &prepared.text_of_row, &prepared.folds, rois, BOOTSTRAP_DRAWS, BOOTSTRAP_SEED)
}

/// The resamples of all intervals of a run.
fn resamples_of(fit: &LayerFit) -> Resamples {
    Resamples::new(fit.n_units(), BOOTSTRAP_DRAWS, BOOTSTRAP_SEED)
}

/// The pooled states of one layer, by checkpoint.
fn of_layer(states: &[Vec<Pooled>], layer: Layer) -> Vec<(usize, &Pooled)> {
    let found = |all: &'_ [Pooled]| all.iter().position(|p| p.layer == layer);
    states.iter().enumerate().filter_map(|(c, all)| Some((c, &all[found(all)?]))).collect()
}

/// One layer of a checkpoint as features of the rows.
pub(super) fn layer_features(prepared: &Prepared, checkpoint: usize, pooled: &Pooled) -> Result<FeatureSpace> {
    let open = &prepared.checkpoints[checkpoint].checkpoint;
    let name = format!("layer {} of {}", pooled.layer, open.record().label);
    prepared.design.space(name, Arc::clone(&prepared.ids), &pooled.vectors, open.width())
}

fn record(
    prepared: Prepared,
    results: Results,
    extraction: Vec<ExtractionRecord>,
    attestations: Vec<Attestation>,
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
        attestations,
        extraction,
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
        comparison: results.comparison,
    }
}
