//! The tables of a run.

use std::collections::HashMap;
use std::path::Path;

use super::fit::Predictions;
use super::preflight::Prepared;
use crate::compare::{Comparison, Difference, GroupContrast, Inference, LayerFit, Outcome, Unit};
use crate::encoding::{FoldSpec, Reason, Score, ScoreName, TargetScores};
use crate::error::Result;
use crate::ids::{Layer, TargetId};
use crate::io::table::{Output, OutputTable, write_batches};

/// The fits of one checkpoint, layer by layer.
pub(super) struct CheckpointFits {
    pub label: String,
    pub layers: Vec<(Layer, LayerFit)>,
}

/// `scores.csv` and `scores.parquet`: one row per checkpoint, layer, subject and target.
pub(super) fn write_scores(
    folder: &Path,
    prepared: &Prepared,
    fits: &[CheckpointFits],
    confounds: &LayerFit,
    oasm: &LayerFit,
) -> Result<()> {
    let produce = |append: &mut dyn FnMut(&OutputTable) -> Result<()>| -> Result<()> {
        for checkpoint in fits {
            for (layer, fit) in &checkpoint.layers {
                append(&score_rows(prepared, &checkpoint.label, *layer, fit, [confounds, oasm]))?;
            }
        }
        Ok(())
    };
    write_batches(folder, "scores", produce)
}

fn score_rows(
    prepared: &Prepared,
    label: &str,
    layer: Layer,
    fit: &LayerFit,
    [confounds, oasm]: [&LayerFit; 2],
) -> OutputTable {
    let rows: Vec<(usize, usize)> =
        (0..prepared.subjects.len()).flat_map(|s| (0..prepared.targets.len()).map(move |t| (s, t))).collect();
    let text = |f: &dyn Fn(usize, usize) -> String| Output::Text(rows.iter().map(|(s, t)| f(*s, *t)).collect());
    let real = |from: &LayerFit, f: &dyn Fn(&TargetScores) -> Option<f64>| {
        Output::Real(rows.iter().map(|(s, t)| f(&from.scores[*s][*t])).collect())
    };
    let score = |from: &LayerFit, name: ScoreName| real(from, &|t| t.get(name).value());
    let mut table = OutputTable::new(vec![
        ("checkpoint", text(&|_, _| label.to_owned())),
        ("layer", Output::Integer(vec![layer.0 as i64; rows.len()])),
        ("subject", text(&|s, _| prepared.subjects[s].to_string())),
        ("target", text(&|_, t| prepared.targets[t].to_string())),
        ("n", Output::Integer(rows.iter().map(|(s, t)| fit.scores[*s][*t].n as i64).collect())),
        ("cod", score(fit, ScoreName::Cod)),
        ("cod_test_mean", score(fit, ScoreName::CodTestMean)),
        ("r", score(fit, ScoreName::R)),
        ("cod_confounds", score(confounds, ScoreName::Cod)),
        ("r_confounds", score(confounds, ScoreName::R)),
        ("cod_oasm", score(oasm, ScoreName::Cod)),
        ("r_oasm", score(oasm, ScoreName::R)),
        ("cod_unique", Output::Real(rows.iter().map(|(s, t)| fit.unique(confounds, *s, *t)).collect())),
        ("alpha_median", real(fit, &|t| t.alpha_median)),
        ("alpha_at_edge", real(fit, &|t| t.alpha_median.map(|_| t.alpha_at_edge))),
        ("undefined", text(&|s, t| undefined(&fit.scores[s][t]))),
    ]);
    stamp(&mut table, prepared.plan.folds, rows.len());
    table
}

/// Says in every row that the folds leak, where they do.
pub(super) fn stamp(table: &mut OutputTable, folds: FoldSpec, rows: usize) {
    if folds.leaks() {
        table.push("leaky_folds".to_owned(), Output::Text(vec!["shuffled".to_owned(); rows]));
    }
}

/// Why scores of this target are undefined: `constant target`, or `r: …` when only some are.
fn undefined(scores: &TargetScores) -> String {
    whys(ScoreName::ALL.into_iter().filter_map(|name| Some((name, scores.get(name).reason()?))))
}

/// Why scores are undefined, scores with one reason together; the reason alone where it is that of all.
pub(super) fn whys(absent: impl Iterator<Item = (ScoreName, Reason)>) -> String {
    let mut reasons: Vec<(Reason, Vec<&str>)> = Vec::new();
    for (name, why) in absent {
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name.column()),
            None => reasons.push((why, vec![name.column()])),
        }
    }
    match reasons.as_slice() {
        [(why, names)] if names.len() == ScoreName::ALL.len() => why.to_string(),
        some => some.iter().map(|(why, names)| format!("{}: {why}", names.join(" "))).collect::<Vec<_>>().join("; "),
    }
}

/// Column names of the targets in `predictions.parquet`: as they are, unless they would hide a key column.
fn prediction_column(target: &TargetId) -> String {
    const KEYS: [&str; 6] = ["checkpoint", "layer", "subject", "stimulus_id", "fold", "leaky_folds"];
    if KEYS.contains(&target.as_str()) { format!("target:{target}") } else { target.to_string() }
}

/// One batch of `predictions.parquet`: the held-out predictions of one feature space, a row per subject and stimulus;
/// none of targets whose responses are missing.
pub(super) fn prediction_rows(
    prepared: &Prepared,
    label: &str,
    layer: Option<Layer>,
    all: &[Predictions],
) -> OutputTable {
    let n_targets = prepared.targets.len();
    let (mut subjects, mut ids, mut folds) = (Vec::new(), Vec::new(), Vec::new());
    let mut columns: Vec<Vec<Option<f64>>> = vec![Vec::new(); n_targets];
    for predictions in all {
        let cohort = &prepared.cohorts[predictions.cohort];
        for (s, subject) in cohort.subjects().iter().enumerate() {
            for (row, fold) in predictions.folds.iter().enumerate() {
                subjects.push(subject.to_string());
                ids.push(cohort.stimulus(row).to_string());
                folds.push(*fold as i64);
                for (t, column) in columns.iter_mut().enumerate() {
                    let at = s * n_targets + t;
                    column.push((cohort.missing()[at] == 0).then(|| predictions.values[[row, at]]));
                }
            }
        }
    }
    let n = ids.len();
    let mut table = OutputTable::new(vec![
        ("checkpoint", Output::Text(vec![label.to_owned(); n])),
        // The confounds-only model has no layers; −1 keeps the column whole numbers.
        ("layer", Output::Integer(vec![layer.map_or(-1, |l| l.0 as i64); n])),
        ("subject", Output::Text(subjects)),
        ("stimulus_id", Output::Text(ids)),
        ("fold", Output::Integer(folds)),
    ]);
    stamp(&mut table, prepared.plan.folds, n);
    for (target, values) in prepared.targets.iter().zip(columns) {
        table.push(prediction_column(target), Output::Real(values));
    }
    table
}

/// `comparison.csv`: paired differences to the reference, one row per checkpoint, layer and score (target empty: the mean
/// over targets), then one per checkpoint, layer, score and target.
pub(super) fn write_comparison(
    folder: &Path,
    comparison: &Comparison,
    n_targets: usize,
    folds: FoldSpec,
) -> Result<()> {
    let all: Vec<&Difference> = comparison.layer_differences.iter().chain(&comparison.target_differences).collect();
    let text = |f: &dyn Fn(&Difference) -> String| Output::Text(all.iter().map(|d| f(d)).collect());
    let real = |f: &dyn Fn(&Difference) -> Option<f64>| Output::Real(all.iter().map(|d| f(d)).collect());
    let layers = |d: &Difference| {
        let same = |o: &&Difference| o.checkpoint == d.checkpoint && o.score == d.score;
        comparison.layer_differences.iter().filter(same).count()
    };
    let mut families: HashMap<(&str, ScoreName), usize> = HashMap::new();
    for d in &comparison.layer_differences {
        families.entry((&d.checkpoint, d.score)).or_insert_with(|| layers(d));
    }
    let family = |d: &Difference| {
        let n = families.get(&(d.checkpoint.as_str(), d.score)).copied().unwrap_or(0);
        if d.target.is_none() { format!("{n} layers") } else { format!("{n} layers x {n_targets} targets") }
    };
    let mut table = OutputTable::new(vec![
        ("reference", text(&|d| comparison.base_of(&d.checkpoint).unwrap_or_default().to_owned())),
        ("checkpoint", text(&|d| d.checkpoint.clone())),
        ("layer", Output::Integer(all.iter().map(|d| d.layer.0 as i64).collect())),
        ("target", text(&|d| d.target.as_ref().map_or(String::new(), ToString::to_string))),
        ("score", text(&|d| d.score.column().to_owned())),
        ("difference", real(&|d| d.difference.value())),
        ("ci_low", real(&|d| d.interval.map(|i| i.0))),
        ("ci_high", real(&|d| d.interval.map(|i| i.1))),
        ("n_subjects", Output::Integer(all.iter().map(|d| d.n_subjects as i64).collect())),
        ("p", real(&|d| d.inference.p)),
        ("p_fwe", real(&|d| d.inference.p_fwe)),
        ("q_fdr", real(&|d| d.inference.q_fdr)),
        ("mde80", real(&|d| d.inference.mde80)),
        ("p_tost", real(&|d| d.inference.p_tost)),
        ("equivalent", text(&|d| d.inference.equivalent.map_or(String::new(), |e| e.to_string()))),
        ("two_way_low", real(&|d| d.inference.two_way.map(|i| i.0))),
        ("two_way_high", real(&|d| d.inference.two_way.map(|i| i.1))),
        ("family", text(&family)),
        ("ci_over", text(&|_| unit_name(comparison.unit).to_owned())),
        ("undefined", text(&|d| untested(d.difference, &d.inference, comparison.unit))),
    ]);
    stamp(&mut table, folds, all.len());
    table.write(folder, "comparison")
}

/// Why there is no difference, or no test of it.
pub(super) fn untested(difference: Score, inference: &Inference, unit: Unit) -> String {
    match (difference.reason(), inference.p, unit) {
        (Some(reason), ..) => reason.to_string(),
        (None, Some(_), _) => String::new(),
        (None, None, Unit::Subjects) => "p: fewer than two subjects".to_owned(),
        (None, None, Unit::StimulusGroups) => "p: neither checkpoint predicts it".to_owned(),
    }
}

/// `layers.csv`: what the figures show, averaged over subjects and targets.
pub(super) fn write_layers(folder: &Path, comparison: &Comparison, folds: FoldSpec) -> Result<()> {
    let mut rows = Vec::new();
    for curve in &comparison.curves {
        for point in &curve.points {
            let same =
                |d: &&Difference| d.checkpoint == curve.checkpoint && d.score == curve.score && d.layer == point.layer;
            let gain = comparison.confound_gains.iter().find(same);
            let difference = comparison.layer_differences.iter().find(same);
            let unique = comparison.unique_cod.iter().find(same);
            rows.push((curve, point, gain, difference, unique));
        }
    }
    let value = |d: &Option<&Difference>| d.and_then(|d| d.difference.value());
    let low = |d: &Option<&Difference>| d.and_then(|d| d.interval).map(|i| i.0);
    let high = |d: &Option<&Difference>| d.and_then(|d| d.interval).map(|i| i.1);
    let mut table = OutputTable::new(vec![
        ("checkpoint", Output::Text(rows.iter().map(|r| r.0.checkpoint.clone()).collect())),
        ("layer", Output::Integer(rows.iter().map(|r| r.1.layer.0 as i64).collect())),
        ("score", Output::Text(rows.iter().map(|r| r.0.score.column().to_owned()).collect())),
        ("mean", Output::Real(rows.iter().map(|r| r.1.mean.value()).collect())),
        ("ci_low", Output::Real(rows.iter().map(|r| r.1.interval.map(|i| i.0)).collect())),
        ("ci_high", Output::Real(rows.iter().map(|r| r.1.interval.map(|i| i.1)).collect())),
        ("gain_over_confounds", Output::Real(rows.iter().map(|r| value(&r.2)).collect())),
        ("gain_ci_low", Output::Real(rows.iter().map(|r| low(&r.2)).collect())),
        ("gain_ci_high", Output::Real(rows.iter().map(|r| high(&r.2)).collect())),
        ("gain_p", Output::Real(rows.iter().map(|r| r.2.and_then(|d| d.inference.p)).collect())),
        ("gain_p_fwe", Output::Real(rows.iter().map(|r| r.2.and_then(|d| d.inference.p_fwe)).collect())),
        ("cod_unique", Output::Real(rows.iter().map(|r| value(&r.4)).collect())),
        ("cod_unique_ci_low", Output::Real(rows.iter().map(|r| low(&r.4)).collect())),
        ("cod_unique_ci_high", Output::Real(rows.iter().map(|r| high(&r.4)).collect())),
        ("difference_to_reference", Output::Real(rows.iter().map(|r| value(&r.3)).collect())),
        ("difference_ci_low", Output::Real(rows.iter().map(|r| low(&r.3)).collect())),
        ("difference_ci_high", Output::Real(rows.iter().map(|r| high(&r.3)).collect())),
        ("n_defined", Output::Integer(rows.iter().map(|r| r.1.n_defined as i64).collect())),
        ("n_undefined", Output::Integer(rows.iter().map(|r| r.1.n_undefined as i64).collect())),
        ("share_at_edge", Output::Real(rows.iter().map(|r| Some(r.1.share_at_edge)).collect())),
        ("undefined", Output::Text(rows.iter().map(|r| reason(r.1.mean)).collect())),
    ]);
    stamp(&mut table, folds, rows.len());
    table.write(folder, "layers")
}

/// `groups.csv`: groups of subjects compared; not written without groups.
pub(super) fn write_groups(folder: &Path, comparison: &Comparison, folds: FoldSpec) -> Result<()> {
    let all = &comparison.group_contrasts;
    let Some(design) = &comparison.group_design else { return Ok(()) };
    let text = |f: &dyn Fn(&GroupContrast) -> String| Output::Text(all.iter().map(f).collect());
    let real = |f: &dyn Fn(&GroupContrast) -> Option<f64>| Output::Real(all.iter().map(f).collect());
    let count = |f: &dyn Fn(&GroupContrast) -> usize| Output::Integer(all.iter().map(|c| f(c) as i64).collect());
    let mut table = OutputTable::new(vec![
        ("outcome", text(&|c| if c.outcome == Outcome::Score { "score" } else { "difference" }.to_owned())),
        ("checkpoint", text(&|c| c.checkpoint.clone())),
        // Numbers, and a word for the layer that each subject's fellows chose.
        ("layer", text(&|c| c.layer.map_or("best".to_owned(), |l| l.to_string()))),
        ("score", text(&|_| comparison.score.column().to_owned())),
        ("group_1", text(&|c| c.first.name.clone())),
        ("group_2", text(&|c| c.second.name.clone())),
        ("n_1", count(&|c| c.first.n)),
        ("n_2", count(&|c| c.second.n)),
        ("mean_1", real(&|c| c.first.mean.value())),
        ("mean_2", real(&|c| c.second.mean.value())),
        ("contrast", real(&|c| c.contrast.value())),
        ("ci_low", real(&|c| c.interval.map(|i| i.0))),
        ("ci_high", real(&|c| c.interval.map(|i| i.1))),
        ("t", real(&|c| c.t)),
        ("p", real(&|c| c.p)),
        ("p_fwe", real(&|c| c.p_fwe)),
        ("covariates", text(&|_| design.covariates.join(" "))),
        ("undefined", text(&|c| reason(c.contrast))),
    ]);
    stamp(&mut table, folds, all.len());
    table.write(folder, "groups")
}

pub(super) fn reason(score: Score) -> String {
    score.reason().map_or(String::new(), |r| r.to_string())
}

pub(super) fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Subjects => "subjects",
        Unit::StimulusGroups => "stimulus groups",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_has_its_own_reason() {
        let (few, flat) = (Reason::NothingDefined, Reason::NotComputed);
        let all = ScoreName::ALL.map(|name| (name, few));
        assert_eq!(whys(all.into_iter()), few.to_string());
        assert_eq!(whys(std::iter::empty()), "");
        let mixed = [(ScoreName::Cod, flat), (ScoreName::R, few)];
        assert_eq!(whys(mixed.into_iter()), format!("cod: {flat}; r: {few}"));
        assert_eq!(
            whys([(ScoreName::CodTestMean, few), (ScoreName::R, few)].into_iter()),
            format!("cod_test_mean r: {few}")
        );
    }
}
