//! The main job: checkpoints against a study, into a run directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ndarray::s;
use rayon::prelude::*;

use super::attest::attest_all;
use super::audit;
use super::ceiling_tables;
use super::destination::{Destination, apart};
use super::edges::Edges;
use super::fit::{SpaceFit, fit_space};
use super::gather::States;
use super::maps;
use super::metrics::{self, Metrics};
use super::outputs::{self, CheckpointFits};
use super::preflight::{Prepared, prepare};
use super::recheck::{self, Checked};
use super::report;
use super::rois;
use super::run_record::described;
use super::states::Pooled;
use super::summary_table;
use super::target_table;
use super::together::{self, add_together};
use super::unique::add_unique;
use super::units::{self, Fitted, Unit, Units};
use crate::compare::{Ceiling, Comparison, LayerFit, LayerScores, baselines, ceilings, compare_layer};
use crate::compute::cpu::{self, single_threaded_blas};
use crate::compute::device::Offload;
use crate::encoding::AlphaGrid;
use crate::encoding::ceiling::SubjectRows;
use crate::error::{Code, Error, Problems, Result, Warning};
use crate::features::{self, FeatureSpace};
use crate::ids::Layer;
use crate::io::atomic::write_error;
use crate::io::disk;
use crate::io::table::write_parquet_batches;
use crate::record::{AuditFinding, ExtractionRecord, Planted, RunRecord, StageRecord};
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
    /// Whether it was there already, made by the same plan.
    pub before: bool,
}

impl Finished {
    /// Whether all that was asked for was used, as it was when the run began; a run that is not whole says so by its exit
    /// status.
    pub fn is_whole(&self) -> bool {
        self.record.left_out.is_empty() && !self.record.warnings.iter().any(|w| w.code == Code::In01.as_str())
    }

    pub(super) fn now(folder: &Path, record: RunRecord) -> Finished {
        Finished { folder: folder.to_owned(), record, before: false }
    }

    /// A run that was there; what its end left beside it goes.
    fn before(to: &Destination<'_>, record: RunRecord) -> Finished {
        to.clear(&record);
        Finished { folder: to.out.to_owned(), record, before: true }
    }
}

/// Compares the plan's checkpoints and writes a run directory, by one rename at the end. Units that are finished are kept
/// beside it until then.
///
/// # Errors
/// All problems of the preflight at once, before anything is computed; `OD-07` naming every difference to the plan of an
/// unfinished run that is to go on; later, whatever made the run impossible. A run that fails leaves nothing behind but the
/// units that it finished.
pub fn compare(
    plan: Plan,
    to: &Destination<'_>,
    cache: Option<&StateCache>,
    watch: &dyn Watch,
) -> std::result::Result<Finished, Problems> {
    apart(&plan, to.out, cache)?;
    to.check()?;
    let mut clock = Clock::start();
    let mut prepared = prepare(plan, watch)?;
    clock.lap("preflight");
    if let Some(record) = to.finished(&prepared)? {
        return Ok(Finished::before(to, record));
    }
    let run = RunDir::stage(to.out, to.overwrite)?;
    prepared.warnings.extend(run.warning());
    conclude(prepared, run, to, None, (cache, clock, watch))
}

/// Writes the built-in demo study under `out`/demo and compares its checkpoints.
///
/// # Errors
/// As [`compare`].
pub fn compare_demo(
    to: &Destination<'_>,
    overrides: &Overrides,
    watch: &dyn Watch,
) -> std::result::Result<Finished, Problems> {
    let mut clock = Clock::start();
    if to.resume.wanted && to.holds_a_run() {
        let scratch = disk::scratch_folder().map_err(|e| Error::io("a scratch directory", "creating", e))?;
        let (prepared, _) = demo_study(scratch.path(), overrides, &mut Clock::start(), watch)?;
        if let Some(record) = to.finished(&prepared)? {
            return Ok(Finished::before(to, record));
        }
    }
    let run = RunDir::stage(to.out, to.overwrite)?;
    let (prepared, planted) = demo_study(run.path(), overrides, &mut clock, watch)?;
    conclude(prepared, run, to, Some(planted), (None, clock, watch))
}

/// Writes the demo study into `folder`/demo and reads it as any other.
fn demo_study(
    folder: &Path,
    overrides: &Overrides,
    clock: &mut Clock,
    watch: &dyn Watch,
) -> std::result::Result<(Prepared, Planted), Problems> {
    let folder = folder.join("demo");
    disk::create_dir(&folder).map_err(|e| write_error(&folder, "creating", e))?;
    let planted = demo::write(&folder)?;
    clock.lap("demo study");
    let plan =
        Plan::new(&folder.join("study.toml"), demo::checkpoints(&folder), overrides).map_err(Problems::from_list)?;
    let prepared = prepare(plan, watch)?;
    clock.lap("preflight");
    Ok((prepared, planted))
}

/// From a study that was read to its results in their place.
fn conclude(
    mut prepared: Prepared,
    run: RunDir,
    to: &Destination<'_>,
    planted: Option<Planted>,
    (cache, clock, watch): (Option<&StateCache>, Clock, &dyn Watch),
) -> std::result::Result<Finished, Problems> {
    let units = Units::beside(to.out, &mut prepared, &to.resume, watch)?;
    let record = run_into(prepared, run.path(), planted, &units, (cache, clock, watch))
        .map_err(|error| units.explained(error))?;
    run.commit_and(|| units.remove())?;
    Ok(Finished::now(to.out, record))
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

/// Computes everything that is not among the units and writes it into `folder`.
fn run_into(
    prepared: Prepared,
    folder: &Path,
    planted: Option<Planted>,
    units: &Units,
    (cache, mut clock, watch): (Option<&StateCache>, Clock, &dyn Watch),
) -> Result<RunRecord> {
    single_threaded_blas();
    let identity = units::identity(&prepared);
    let mut states = States::new(&prepared, cache, watch);
    states.gather(units, |label| clock.lap(&format!("hidden states of {label}")))?;
    let mut warnings = states.warnings.clone();
    let attestations = attest_all(&prepared, units, watch)?;
    for attestation in &attestations {
        let declared =
            prepared.plan.checkpoints.iter().any(|c| c.label == attestation.checkpoint && c.source.untrained.is_some());
        let base = prepared.base_of(&attestation.checkpoint).unwrap_or_default();
        warnings.extend(attestation.alarms(declared, base));
    }
    clock.lap("attestation of the weights");
    let mut results = fit_all(&prepared, &states, units, folder, watch)?;
    warnings.extend(units.warnings());
    results.warnings.extend(warnings);
    clock.lap("encoding models");
    outputs::write_scores(folder, &prepared, &results.fits, &results.confounds.fit, &results.oasm.fit)?;
    outputs::write_comparison(folder, &results.comparison, prepared.targets.len(), prepared.plan.folds)?;
    outputs::write_layers(folder, &results.comparison, prepared.plan.folds)?;
    summary_table::write(folder, &results.comparison, prepared.plan.folds)?;
    together::write(folder, &results.comparison, prepared.plan.folds)?;
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
    if let Some((checkpoint, layer, grids)) = to_recheck(&prepared, &results) {
        let (pooled, _) = states.layer(checkpoint, layer)?;
        recheck::write(folder, &prepared, &Checked { checkpoint, pooled: &pooled, grids })?;
    }
    clock.lap("tables");
    let layer_zero = std::mem::take(&mut results.layer_zero);
    let measured =
        audit::Measured { oasm: Some(&results.oasm), attestations: &attestations, edges: &results.edges, layer_zero };
    let findings = audit::findings(&prepared, measured);
    let atlas = maps::atlas_of(&prepared.plan);
    drop(states);
    let watched = prepared.watched.clone();
    let mut record = described(prepared, results, planted, clock.stages);
    record.attestations = attestations;
    record.audit = findings;
    record.identity = identity;
    if let Some(atlas) = &atlas {
        let odd = maps::in_run(&record, folder, atlas, watch)?;
        let new = odd.into_iter().filter(|w| !record.warnings.contains(w)).collect::<Vec<_>>();
        record.warnings.extend(new);
    }
    record.warnings.extend(watched.changed());
    report::write(&record, folder)?;
    report::write_record(&record, folder)?;
    watch.check()?;
    Ok(record)
}

/// The best layer of the checkpoint with the highest score, and the grids searched there: what a sceptic will ask about first.
fn to_recheck<'a>(prepared: &Prepared, results: &'a Results) -> Option<(usize, Layer, &'a [AlphaGrid])> {
    let best = |at: usize| {
        let label = &prepared.checkpoints[at].checkpoint.record().label;
        let found = results.comparison.best_layers.iter().find(|b| b.checkpoint == *label)?;
        Some((at, results.comparison.best_layer(label)?, found.naive.value()?))
    };
    let all = (0..prepared.checkpoints.len()).filter_map(best);
    let (checkpoint, layer, _) = all.reduce(|best, next| if next.2 > best.2 { next } else { best })?;
    let (.., grids) = results.grids.iter().find(|(c, l, _)| (*c, *l) == (checkpoint, layer))?;
    Some((checkpoint, layer, grids))
}

/// What a run found.
pub(super) struct Results {
    confounds: SpaceFit,
    oasm: SpaceFit,
    fits: Vec<CheckpointFits>,
    pub comparison: Comparison,
    pub warnings: Vec<Warning>,
    edges: Vec<(String, f64)>,
    /// The alphas that were searched: checkpoint, layer, a grid per fit.
    grids: Vec<(usize, Layer, Vec<AlphaGrid>)>,
    /// How the states were come by, checkpoint by checkpoint.
    pub extraction: Vec<ExtractionRecord>,
    /// What layers 0 say of themselves.
    layer_zero: Vec<AuditFinding>,
}

/// Fits one layer of a checkpoint to all subjects, and whatever else is asked of it.
pub(super) fn fit_layer(
    prepared: &Prepared,
    states: &States<'_>,
    wanted: &Metrics,
    (checkpoint, layer): (usize, Layer),
    watch: &dyn Watch,
) -> Result<Fitted> {
    let fit = || {
        let (pooled, extraction) = states.layer(checkpoint, layer)?;
        let features = layer_features(prepared, checkpoint, &pooled)?;
        let space = fit_space(prepared, &features, watch)?;
        let measured = wanted.of(prepared, &features, &space)?;
        let layer_zero = audit::layer_zero(prepared, checkpoint, std::slice::from_ref(&*pooled));
        Ok(Fitted { space, measured, extraction, layer_zero })
    };
    fit().map_err(|e: Error| e.computing(layer_name(prepared, checkpoint, layer)))
}

/// Fits every layer of every checkpoint that was not fitted before. Layers are independent and run on all threads; results
/// come in order.
fn fit_all(
    prepared: &Prepared,
    states: &States<'_>,
    units: &Units,
    folder: &Path,
    watch: &dyn Watch,
) -> Result<Results> {
    let labels: Vec<String> = prepared.checkpoints.iter().map(|c| c.checkpoint.record().label.clone()).collect();
    let mut layers: Vec<Layer> = prepared.checkpoints.iter().flat_map(|c| c.layers.iter().copied()).collect();
    layers.sort_unstable();
    layers.dedup();
    let places: Vec<(usize, Layer)> =
        layers.iter().flat_map(|layer| of_layer(prepared, *layer).map(|checkpoint| (checkpoint, *layer))).collect();
    watch.begin("encoding models", "fits", places.len() as u64 + 2);
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
    let mut extraction: Vec<Option<ExtractionRecord>> = vec![None; labels.len()];
    let mut layer_zero = Vec::new();
    let threads = rayon::current_num_threads().max(1);
    write_parquet_batches(&folder.join("predictions.parquet"), |append| {
        append(&outputs::prediction_rows(prepared, features::CONFOUNDS, None, &baseline.predictions))?;
        append(&outputs::prediction_rows(prepared, features::OASM, None, &oasm.predictions))?;
        // As many fits as threads at a time: predictions, by far the largest part of a fit, do not wait in memory.
        for chunk in places.chunks(threads) {
            let done: Result<Vec<Fitted>> = chunk
                .par_iter()
                .map(|place| {
                    let fitted = units
                        .of(Unit::Fit(place.0, place.1), || fit_layer(prepared, states, &wanted, *place, watch))?;
                    watch.advance(1);
                    Ok(fitted)
                })
                .collect();
            for ((checkpoint, layer), one) in chunk.iter().copied().zip(done?) {
                let (space, more) = (one.space, one.measured);
                let label = &labels[checkpoint];
                extraction[checkpoint].get_or_insert(one.extraction);
                layer_zero.extend(one.layer_zero);
                edges.add(format!("layer {layer} of {label}"), &space);
                append(&outputs::prediction_rows(prepared, label, Some(layer), &space.predictions))?;
                fits[checkpoint].layers.push((layer, space.fit));
                grids.push((checkpoint, layer, space.grids));
                comparison.metrics.extend(more.iter().map(|m| m.point(label, layer)));
                measured.push((label.clone(), layer, more));
            }
        }
        Ok(())
    })?;
    let compared: Vec<LayerScores> = layers
        .par_iter()
        .map(|layer| {
            let at_layer = |c: &CheckpointFits| c.layers.iter().position(|(l, _)| l == layer);
            let named = fits.iter().filter_map(|c| Some((c.label.as_str(), &c.layers[at_layer(c)?].1)));
            let named: Vec<(&str, &LayerFit)> = named.collect();
            compare_layer(*layer, &named, &bases, &baseline.fit, score, &prepared.targets, &resamples)
        })
        .collect();
    compared.into_iter().for_each(|layer| comparison.add_layer(layer));
    watch.end();
    add_unique(prepared, (states, units), &baseline.fit, &mut fits, &mut comparison, &resamples, watch)?;
    add_together(prepared, (states, units), &grids, &baseline.fit, &mut comparison, &resamples, watch)?;
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
    let extraction = extraction.into_iter().flatten().collect();
    let edges = edges.shares;
    Ok(Results { confounds: baseline, oasm, fits, comparison, warnings, edges, grids, extraction, layer_zero })
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

/// The checkpoints of which a layer is scored.
fn of_layer(prepared: &Prepared, layer: Layer) -> impl Iterator<Item = usize> {
    (0..prepared.checkpoints.len()).filter(move |c| prepared.checkpoints[*c].layers.contains(&layer))
}

/// One layer of a checkpoint as features of the rows.
pub(super) fn layer_features(prepared: &Prepared, checkpoint: usize, pooled: &Pooled) -> Result<FeatureSpace> {
    let name = layer_name(prepared, checkpoint, pooled.layer);
    let width = prepared.checkpoints[checkpoint].checkpoint.width();
    prepared.design.space(name, Arc::clone(&prepared.ids), &pooled.vectors, width)
}

/// What a layer of a checkpoint is called in messages.
pub(super) fn layer_name(prepared: &Prepared, checkpoint: usize, layer: Layer) -> String {
    format!("layer {layer} of {}", prepared.checkpoints[checkpoint].checkpoint.record().label)
}
