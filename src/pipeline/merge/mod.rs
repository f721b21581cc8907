//! Finished runs into one comparison, from their records and their per-subject scores; nothing is fitted again.
//!
//! Runs belong together when they have the same subjects, targets, folds and data: then any two checkpoints were scored on
//! the same rows, whichever runs they come from, and their differences are paired like those of one run. What else the
//! runs differ in (pooling, precision, version) is named, and the scores are shown side by side.

mod labels;
mod rois;
mod scores;
mod tables;

use std::path::{Path, PathBuf};

use super::compare::Finished;
use super::outputs;
use super::report;
use super::rois::tables as region_tables;
use super::{summary_table, together};
use crate::compare::{Comparison, Lineage, Outcome, RoiDifference, compare_layer};
use crate::error::{Code, Error, Problems, Result, Warning, first_five};
use crate::ids::Digest;
use crate::io::file_name;
use crate::record::{InputRecord, RunRecord};
use crate::stats::bootstrap::Resamples;
use crate::store::RunDir;
use labels::Labels;
use scores::Scores;

/// A finished run as it is read.
struct Run {
    /// What it is called beside the others.
    name: String,
    record: RunRecord,
    digest: Digest,
    scores: Scores,
    folder: PathBuf,
}

/// Merges the runs in `folders` into a new run directory, the first run's reference being what all are compared with
/// (or each checkpoint's base, where a list named them).
///
/// # Errors
/// `OD-05` and `RR-01` for what is no run, `RR-02` naming everything that keeps runs apart, `OD-03` for an output that is
/// one of the runs.
pub fn merge(folders: &[PathBuf], out: &Path, overwrite: bool) -> std::result::Result<Finished, Problems> {
    let place = |p: &Path| p.canonicalize().ok();
    if let Some(same) = folders.iter().find(|f| place(f).is_some() && place(f) == place(out)) {
        return Err(Error::new(Code::Od03, out.display(), format!("is the run {} itself", same.display()))
            .expected("a new directory")
            .into());
    }
    RunDir::check(out, overwrite)?;
    let mut problems = Vec::new();
    let runs: Vec<Run> = folders
        .iter()
        .enumerate()
        .filter_map(|(at, folder)| Run::read(folder, name(folders, at)).map_err(|e| problems.push(e)).ok())
        .collect();
    Problems::check(problems)?;
    let Some((first, others)) = runs.split_first() else {
        return Err(Error::new(Code::Od05, "report", "no run was named").into());
    };
    Problems::check(others.iter().flat_map(|other| apart(first, other)).collect())?;
    let run = RunDir::stage(out, overwrite)?;
    let record = merged(&runs);
    let regions = record.comparison.rois.as_ref();
    tables::write(run.path(), &runs, &Labels::of(&runs), regions.is_some())?;
    if let Some(regions) = regions {
        region_tables::differences(run.path(), record.plan.folds, regions, &record.comparison)?;
    }
    outputs::write_comparison(run.path(), &record.comparison, record.responses.targets.len(), record.plan.folds)?;
    outputs::write_layers(run.path(), &record.comparison, record.plan.folds)?;
    summary_table::write(run.path(), &record.comparison, record.plan.folds)?;
    together::write(run.path(), &record.comparison, record.plan.folds)?;
    report::write(&record, run.path())?;
    report::write_record(&record, run.path())?;
    run.commit()?;
    Ok(Finished::now(out, record))
}

/// The folder's name, numbered where two are called alike.
fn name(folders: &[PathBuf], at: usize) -> String {
    let own = file_name(&folders[at]);
    if folders.iter().filter(|f| file_name(f) == own).count() > 1 { format!("{own} {}", at + 1) } else { own }
}

impl Run {
    fn read(folder: &Path, name: String) -> Result<Run> {
        let (record, digest) = report::read(folder)?;
        let scores = Scores::read(&folder.join("scores.parquet"), &record)?;
        Ok(Run { name, record, digest, scores, folder: folder.to_owned() })
    }

    /// Digests of the files that scores depend on, by role.
    fn data(&self) -> Vec<(&str, Digest)> {
        const NONE_OF_THEM: [&str; 3] = ["study", "fine-tuning texts", "subjects"];
        let mut all: Vec<(&str, Digest)> = self.record.inputs.iter().map(|i| (i.role.as_str(), i.sha256)).collect();
        all.retain(|(role, _)| !NONE_OF_THEM.contains(role));
        all.sort_by_key(|(role, digest)| (role.to_string(), digest.to_string()));
        all
    }
}

/// Everything that keeps two runs from being compared.
fn apart(first: &Run, other: &Run) -> Vec<Error> {
    let (a, b) = (&first.record, &other.record);
    let differs = |what: &str, more: String| {
        Error::new(Code::Rr02, &other.name, format!("{what} differ from those of {:?}{more}", first.name))
            .expected("the same, so that every pair of checkpoints was scored on the same rows")
    };
    let only = |a: &[String], b: &[String]| {
        let own = |x: &[String], y: &[String]| first_five(x.iter().filter(|v| !y.contains(v)));
        format!(" (only here: {}; only there: {})", none_if_empty(own(b, a)), none_if_empty(own(a, b)))
    };
    let names = |list: &[crate::ids::SubjectId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let targets = |list: &[crate::ids::TargetId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut found = Vec::new();
    if a.responses.subjects != b.responses.subjects {
        found.push(differs("its subjects", only(&names(&a.responses.subjects), &names(&b.responses.subjects))));
    }
    if a.responses.targets != b.responses.targets {
        found.push(differs("its targets", only(&targets(&a.responses.targets), &targets(&b.responses.targets))));
    }
    if a.folds != b.folds {
        found.push(differs("its folds", format!(" ({} and {}, by row id in run.json)", b.plan.folds, a.plan.folds)));
    }
    if first.data() != other.data() {
        let of = |run: &Run, than: &Run| {
            first_five(
                run.record
                    .inputs
                    .iter()
                    .filter(|i| {
                        run.data().contains(&(i.role.as_str(), i.sha256))
                            && !than.data().contains(&(i.role.as_str(), i.sha256))
                    })
                    .map(|i| &i.name),
            )
        };
        found.push(differs("its data", format!(" ({})", none_if_empty(of(other, first)))));
    }
    if a.comparison.score != b.comparison.score {
        found.push(differs("its ranking scores", format!(" ({} and {})", b.comparison.score, a.comparison.score)));
    }
    found
}

fn none_if_empty(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

/// What runs differ in that does not keep them apart.
fn named(first: &Run, other: &Run) -> Option<Warning> {
    let (a, b) = (&first.record, &other.record);
    let study = |r: &RunRecord| r.inputs.iter().find(|i| i.role == "study").map(|i| i.sha256);
    let components = |r: &RunRecord| r.plan.components.map_or("all".to_owned(), |n| n.to_string());
    let checks: [(&str, bool, String); 9] = [
        ("study file", study(a) == study(b), "another digest".to_owned()),
        ("version", a.version == b.version, format!("{} and {}", b.version, a.version)),
        ("pooling", a.plan.pooling == b.plan.pooling, format!("{} and {}", b.plan.pooling, a.plan.pooling)),
        ("long texts", a.plan.long_text == b.plan.long_text, format!("{} and {}", b.plan.long_text, a.plan.long_text)),
        ("rows", a.plan.rows == b.plan.rows, "described otherwise".to_owned()),
        ("purge gap", a.plan.gap == b.plan.gap, format!("{} and {}", b.plan.gap, a.plan.gap)),
        ("components", a.plan.components == b.plan.components, format!("{} and {}", components(b), components(a))),
        ("alphas", a.plan.alphas == b.plan.alphas, "another grid".to_owned()),
        ("precision", a.plan.precision == b.plan.precision, format!("{} and {}", b.plan.precision, a.plan.precision)),
    ];
    let differing: Vec<String> =
        checks.into_iter().filter(|(_, same, _)| !same).map(|(what, _, how)| format!("{what} ({how})")).collect();
    (!differing.is_empty()).then(|| {
        Warning::new(
            "RR-04",
            format!("{:?} differs from {:?} in: {}; so may its scores", other.name, first.name, differing.join(", ")),
        )
    })
}

/// The record of all runs together.
fn merged(runs: &[Run]) -> RunRecord {
    let labels = Labels::of(runs);
    let mut record = runs[0].record.clone();
    record.planted = None;
    record.identity.clear();
    let names: Vec<String> = runs.iter().map(|r| format!("{:?}", r.name)).collect();
    record.warnings.insert(
        0,
        Warning::new(
            "RR-03",
            format!(
                "merged from {} runs ({}); differences are computed from their per-subject scores, nothing was fitted again",
                runs.len(),
                names.join(", ")
            ),
        ),
    );
    record.warnings.extend(labels.notes.iter().cloned());
    for (at, run) in runs.iter().enumerate().skip(1) {
        let RunRecord { inputs, checkpoints, attestations, extraction, left_out, warnings, audit, timings, .. } =
            run.record.clone();
        record.warnings.extend(named(&runs[0], run));
        let own = |w: Warning| Warning::new(&w.code, format!("{}: {}", run.name, w.message));
        record.warnings.extend(warnings.into_iter().map(own));
        record.left_out.extend(left_out.into_iter().map(own));
        record.inputs.extend(inputs);
        record.audit.extend(audit);
        record.timings.extend(timings);
        for mut checkpoint in checkpoints {
            let Some(label) = labels.kept(at, &checkpoint.label) else { continue };
            if let Some(layers) = run.record.plan.layers.get(&checkpoint.label) {
                record.plan.layers.insert(label.to_owned(), layers.clone());
            }
            checkpoint.label = label.to_owned();
            record.checkpoints.push(checkpoint);
        }
        record.attestations.extend(attestations.into_iter().filter_map(|mut a| {
            a.checkpoint = labels.kept(at, &a.checkpoint)?.to_owned();
            Some(a)
        }));
        record.extraction.extend(extraction.into_iter().filter_map(|mut e| {
            e.checkpoint = labels.kept(at, &e.checkpoint)?.to_owned();
            Some(e)
        }));
    }
    record.inputs.extend(runs.iter().map(|run| InputRecord {
        role: "run record".to_owned(),
        name: format!("{}/run.json", run.name),
        sha256: run.digest,
    }));
    let mut seen = Vec::new();
    record.inputs.retain(|i| {
        let new = !seen.contains(i);
        seen.push(i.clone());
        new
    });
    record.audit.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.code.cmp(&b.code)));
    record.audit.dedup();
    // Untrained seeds of one run's flag are checkpoints like any other here.
    record.plan.untrained = 0;
    record.comparison = comparison(runs, &labels, &record);
    record.warnings.extend(tables::lacking(record.comparison.rois.is_some(), runs));
    record
}

/// Scores as they were; differences between all of them.
fn comparison(runs: &[Run], labels: &Labels, record: &RunRecord) -> Comparison {
    let mut all = runs[0].record.comparison.clone();
    all.lineage = lineage(runs, labels);
    all.group_contrasts.retain(|c| c.outcome == Outcome::Score);
    for (at, run) in runs.iter().enumerate().skip(1) {
        let Comparison {
            curves,
            metrics,
            confound_gains,
            unique_cod,
            target_means,
            best_layers,
            group_contrasts,
            combined,
            ..
        } = run.record.comparison.clone();
        let label = |checkpoint: &mut String| match labels.kept(at, checkpoint) {
            Some(label) => {
                *checkpoint = label.to_owned();
                true
            }
            None => false,
        };
        all.curves.extend(curves.into_iter().filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
        all.metrics.extend(metrics.into_iter().filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
        all.confound_gains.extend(confound_gains.into_iter().filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
        all.unique_cod.extend(unique_cod.into_iter().filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
        all.target_means.extend(target_means.into_iter().filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
        all.best_layers.extend(best_layers.into_iter().filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
        all.combined.extend(combined.into_iter().filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
        all.rois = rois::joined(all.rois.take(), run.record.comparison.rois.as_ref(), |c| labels.kept(at, c));
        let scores = group_contrasts.into_iter().filter(|c| c.outcome == Outcome::Score);
        all.group_contrasts.extend(scores.filter_map(|mut c| label(&mut c.checkpoint).then_some(c)));
    }
    // Of regions and combined layers no table holds what new differences would take: those of single runs stay, where the
    // pair is the same.
    let pairs: Vec<(String, String)> = runs
        .iter()
        .enumerate()
        .flat_map(|(at, run)| {
            let own = run.record.checkpoints.iter();
            own.filter_map(move |c| {
                let base = run.record.comparison.base_of(&c.label)?;
                Some((labels.kept(at, &c.label)?.to_owned(), labels.now(at, base).to_owned()))
            })
        })
        .collect();
    let kept: Vec<String> =
        pairs.into_iter().filter(|(of, base)| all.base_of(of) == Some(base.as_str())).map(|(of, _)| of).collect();
    for one in all.combined.iter_mut().filter(|c| !kept.contains(&c.checkpoint)) {
        one.scores.iter_mut().for_each(|s| s.difference = None);
    }
    if let Some(mut regions) = all.rois.take() {
        let same = |d: &RoiDifference| kept.contains(&d.checkpoint);
        regions.differences.retain(same);
        regions.contrasts.retain(same);
        all.rois = Some(regions);
    }
    let names: Vec<String> = record.checkpoints.iter().map(|c| c.label.clone()).collect();
    let scores: Vec<&Scores> = runs.iter().map(|r| &r.scores).collect();
    let fits = scores::fits(&scores, labels, &names);
    let baseline = runs[0].scores.confounds();
    let resamples =
        Resamples::new(record.responses.subjects.len(), record.plan.bootstrap.draws, record.plan.bootstrap.seed);
    let mut paired = Comparison::new(all.score, &names, &baseline, record.responses.subjects.len(), &resamples);
    paired.lineage = all.lineage.clone();
    paired.reference = all.reference.clone();
    paired.best_layers = all.best_layers.clone();
    let bases = paired.bases(&names);
    let mut layers: Vec<_> = fits.iter().flat_map(|(_, layers)| layers.iter().map(|(layer, _)| *layer)).collect();
    layers.sort_unstable();
    layers.dedup();
    for layer in layers {
        let own: Vec<_> = fits
            .iter()
            .filter_map(|(label, layers)| Some((label.as_str(), &layers.iter().find(|(l, _)| *l == layer)?.1)))
            .collect();
        let targets = &record.responses.targets;
        paired.add_layer(compare_layer(layer, &own, &bases, &baseline, all.score, targets, &resamples));
    }
    let fits: Vec<_> = fits.iter().map(|(label, layers)| (label.as_str(), layers.as_slice())).collect();
    paired.test(&fits, &baseline, &record.plan.inference, None, &resamples);
    Comparison {
        layer_differences: paired.layer_differences,
        target_differences: paired.target_differences,
        best_differences: paired.best_differences,
        profile_differences: paired.profile_differences,
        trends: paired.trends,
        tests: paired.tests,
        ..all
    }
}

/// What the lists of all runs say. Where only some runs have one, the others' checkpoints are compared as they were.
fn lineage(runs: &[Run], labels: &Labels) -> Vec<Lineage> {
    let based = runs.iter().any(|r| r.record.comparison.has_bases());
    let mut all: Vec<Lineage> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let results = &run.record.comparison;
        for checkpoint in &run.record.checkpoints {
            let Some(label) = labels.kept(at, &checkpoint.label) else { continue };
            let said = results.lineage_of(&checkpoint.label);
            let base = results.base_of(&checkpoint.label).filter(|_| based);
            if said.is_some() || base.is_some() {
                all.push(Lineage {
                    label: label.to_owned(),
                    base: base.map(|b| labels.now(at, b).to_owned()),
                    ..said.cloned().unwrap_or_default()
                });
            }
        }
    }
    all
}
