//! The tables of ROIs: `rois.csv`, `roi_summary.csv`, `roi_comparison.csv`, `roi_matrix.csv`, `roi_overlap.csv`.

use std::path::Path;

use ndarray::Array2;

use super::super::outputs::{CheckpointFits, reason, stamp, unit_name, untested, whys};
use super::super::preflight::Prepared;
use crate::compare::{Comparison, LayerFit, RoiDifference, RoiResults};
use crate::encoding::{FoldSpec, Reason, Score, ScoreName};
use crate::error::Result;
use crate::ids::Layer;
use crate::io::table::{Output, OutputTable, write_batches};
use crate::roi::Rois;

/// What stands for a layer where each checkpoint is at its own.
const BEST: &str = "best";

/// Writes all tables of ROIs; none without ROIs.
pub(in super::super) fn write(
    folder: &Path,
    prepared: &Prepared,
    fits: &[CheckpointFits],
    baselines: [&LayerFit; 2],
    comparison: &Comparison,
) -> Result<()> {
    let (Some(rois), Some(results)) = (&prepared.rois, &comparison.rois) else { return Ok(()) };
    scores(folder, prepared, rois, fits, baselines)?;
    summary(folder, prepared, results, comparison)?;
    differences(folder, prepared.plan.folds, results, comparison)?;
    matrix(folder, prepared, results)?;
    overlap(folder, results)
}

/// Scores (subjects, ROIs) of a fit.
fn projected(rois: &Rois, fit: &LayerFit, name: ScoreName) -> Array2<f64> {
    rois.matrix.project(&values(fit, |s, t| fit.scores[s][t].get(name).value()))
}

fn values(fit: &LayerFit, of: impl Fn(usize, usize) -> Option<f64>) -> Array2<f64> {
    let targets = fit.scores.first().map_or(0, Vec::len);
    Array2::from_shape_fn((fit.scores.len(), targets), |(s, t)| of(s, t).unwrap_or(f64::NAN))
}

/// `rois.csv` and `rois.parquet`: one row per checkpoint, layer, ROI and subject.
fn scores(
    folder: &Path,
    prepared: &Prepared,
    rois: &Rois,
    fits: &[CheckpointFits],
    [confounds, oasm]: [&LayerFit; 2],
) -> Result<()> {
    let of = |fit: &LayerFit| [ScoreName::Cod, ScoreName::R].map(|name| projected(rois, fit, name));
    let baselines = [of(confounds), of(oasm)];
    let produce = |append: &mut dyn FnMut(&OutputTable) -> Result<()>| -> Result<()> {
        for checkpoint in fits {
            for (layer, fit) in &checkpoint.layers {
                append(&score_rows(prepared, rois, &checkpoint.label, *layer, fit, confounds, &baselines))?;
            }
        }
        Ok(())
    };
    write_batches(folder, "rois", produce)
}

fn score_rows(
    prepared: &Prepared,
    rois: &Rois,
    label: &str,
    layer: Layer,
    fit: &LayerFit,
    confounds: &LayerFit,
    [words, oasm]: &[[Array2<f64>; 2]; 2],
) -> OutputTable {
    let rows: Vec<(usize, usize)> =
        (0..rois.list.len()).flat_map(|r| (0..prepared.subjects.len()).map(move |s| (r, s))).collect();
    let n = rows.len();
    let real = |of: &Array2<f64>| {
        Output::Real(rows.iter().map(|(r, s)| Some(of[[*s, *r]]).filter(|v| v.is_finite())).collect())
    };
    let text = |f: &dyn Fn(usize, usize) -> String| Output::Text(rows.iter().map(|(r, s)| f(*r, *s)).collect());
    let own = ScoreName::ALL.map(|name| projected(rois, fit, name));
    let unique = rois.matrix.project(&values(fit, |s, t| fit.unique(confounds, s, t)));
    let known = rois.matrix.defined(&values(fit, |s, t| fit.scores[s][t].cod.value()));
    let undefined = |r: usize, s: usize| -> String {
        let inside = || fit.scores[s].iter().enumerate().filter(|(t, _)| rois.matrix.rows()[[r, *t]] > 0.0);
        let why = |name: ScoreName| inside().find_map(|(_, scores)| scores.get(name).reason());
        let absent = ScoreName::ALL.into_iter().zip(&own).filter(|(_, of)| !of[[s, r]].is_finite());
        whys(absent.map(|(name, _)| (name, why(name).unwrap_or(Reason::NothingDefined))))
    };
    let mut table = OutputTable::new(vec![
        ("checkpoint", Output::Text(vec![label.to_owned(); n])),
        ("layer", Output::Integer(vec![layer.0 as i64; n])),
        ("roi", text(&|r, _| rois.list[r].name.clone())),
        ("subject", text(&|_, s| prepared.subjects[s].to_string())),
        ("cod", real(&own[0])),
        ("cod_test_mean", real(&own[1])),
        ("r", real(&own[2])),
        ("cod_confounds", real(&words[0])),
        ("r_confounds", real(&words[1])),
        ("cod_oasm", real(&oasm[0])),
        ("r_oasm", real(&oasm[1])),
        ("cod_unique", real(&unique)),
        ("weight_defined", real(&known)),
        ("undefined", text(&undefined)),
    ]);
    stamp(&mut table, prepared.plan.folds, n);
    table
}

/// A row of `roi_summary.csv`.
struct Summary<'a> {
    checkpoint: &'a str,
    roi: &'a str,
    layer: String,
    score: ScoreName,
    mean: Score,
    sd: Option<f64>,
    interval: Option<(f64, f64)>,
    n: Option<usize>,
    weight: Option<f64>,
}

/// `roi_summary.csv`: means over subjects per checkpoint, layer (`best`: nested best layer) and ROI, with baselines and
/// ceiling beside them.
fn summary(folder: &Path, prepared: &Prepared, results: &RoiResults, comparison: &Comparison) -> Result<()> {
    let mut rows: Vec<Summary<'_>> = results
        .points
        .iter()
        .map(|p| Summary {
            checkpoint: &p.checkpoint,
            roi: &p.roi,
            layer: p.layer.to_string(),
            score: p.score,
            mean: p.mean,
            sd: p.sd,
            interval: p.interval,
            n: Some(p.n_defined),
            weight: Some(p.weight_defined),
        })
        .collect();
    rows.extend(results.best.iter().map(|b| Summary {
        checkpoint: &b.checkpoint,
        roi: &b.roi,
        layer: BEST.to_owned(),
        score: comparison.score,
        mean: b.nested,
        sd: b.sd,
        interval: b.interval,
        n: None,
        weight: None,
    }));
    let text = |f: &dyn Fn(&Summary<'_>) -> String| Output::Text(rows.iter().map(f).collect());
    let real = |f: &dyn Fn(&Summary<'_>) -> Option<f64>| Output::Real(rows.iter().map(f).collect());
    let baseline = |r: &Summary<'_>, name: &str| {
        let of = results.baselines.iter().find(|b| b.baseline == name && b.roi == r.roi && b.score == r.score);
        of.and_then(|b| b.mean.value())
    };
    let ceiling = |r: &Summary<'_>| {
        results.ceilings.iter().find(|c| c.roi == r.roi && c.score == r.score && c.mean.value().is_some())
    };
    let gain = |r: &Summary<'_>| {
        let same = |d: &&RoiDifference| {
            d.checkpoint == r.checkpoint && d.roi == r.roi && d.score == r.score && level(d) == r.layer
        };
        results.confound_gains.iter().find(same)
    };
    let mut table = OutputTable::new(vec![
        ("checkpoint", text(&|r| r.checkpoint.to_owned())),
        // Numbers, and a word for the layer that each subject's fellows chose.
        ("layer", text(&|r| r.layer.clone())),
        ("roi", text(&|r| r.roi.to_owned())),
        ("score", text(&|r| r.score.column().to_owned())),
        ("mean", real(&|r| r.mean.value())),
        ("sd", real(&|r| r.sd)),
        ("ci_low", real(&|r| r.interval.map(|i| i.0))),
        ("ci_high", real(&|r| r.interval.map(|i| i.1))),
        ("confounds", real(&|r| baseline(r, "confounds"))),
        ("oasm", real(&|r| baseline(r, "oasm"))),
        ("gain_over_confounds", real(&|r| gain(r).and_then(|d| d.difference.value()))),
        ("gain_p_fwe", real(&|r| gain(r).and_then(|d| d.inference.p_fwe))),
        ("ceiling", real(&|r| ceiling(r).and_then(|c| c.mean.value()))),
        ("ceiling_low", real(&|r| ceiling(r).and_then(|c| c.interval).map(|i| i.0))),
        ("ceiling_high", real(&|r| ceiling(r).and_then(|c| c.interval).map(|i| i.1))),
        ("ceiling_kind", text(&|r| ceiling(r).map_or(String::new(), |c| c.kind.to_string()))),
        ("weight_defined", real(&|r| r.weight)),
        ("n_subjects", real(&|r| r.n.map(|n| n as f64))),
        ("undefined", text(&|r| reason(r.mean))),
    ]);
    stamp(&mut table, prepared.plan.folds, rows.len());
    table.write(folder, "roi_summary")
}

fn level(d: &RoiDifference) -> String {
    d.layer.map_or(BEST.to_owned(), |l| l.to_string())
}

/// `roi_comparison.csv`: paired differences to the reference per ROI, and with `versus` those of one ROI less another's.
pub(in super::super) fn differences(
    folder: &Path,
    folds: FoldSpec,
    results: &RoiResults,
    comparison: &Comparison,
) -> Result<()> {
    let all: Vec<&RoiDifference> = results.differences.iter().chain(&results.contrasts).collect();
    let text = |f: &dyn Fn(&RoiDifference) -> String| Output::Text(all.iter().map(|d| f(d)).collect());
    let real = |f: &dyn Fn(&RoiDifference) -> Option<f64>| Output::Real(all.iter().map(|d| f(d)).collect());
    let family = |d: &RoiDifference| {
        let what = if d.versus.is_some() { "contrasts" } else { "ROIs" };
        let n = results.family(d);
        if d.layer.is_some() { format!("{n} layers x {what}") } else { format!("{n} {what}") }
    };
    let mut table = OutputTable::new(vec![
        ("reference", text(&|d| comparison.base_of(&d.checkpoint).unwrap_or_default().to_owned())),
        ("checkpoint", text(&|d| d.checkpoint.clone())),
        ("layer", text(&level)),
        ("roi", text(&|d| d.roi.clone())),
        ("versus", text(&|d| d.versus.clone().unwrap_or_default())),
        ("score", text(&|d| d.score.column().to_owned())),
        ("difference", real(&|d| d.difference.value())),
        ("ci_low", real(&|d| d.interval.map(|i| i.0))),
        ("ci_high", real(&|d| d.interval.map(|i| i.1))),
        ("n_subjects", Output::Integer(all.iter().map(|d| d.n_subjects as i64).collect())),
        ("p", real(&|d| d.inference.p)),
        ("p_fwe", real(&|d| d.inference.p_fwe)),
        ("mde80", real(&|d| d.inference.mde80)),
        ("p_tost", real(&|d| d.inference.p_tost)),
        ("equivalent", text(&|d| d.inference.equivalent.map_or(String::new(), |e| e.to_string()))),
        ("family", text(&family)),
        ("ci_over", text(&|_| unit_name(comparison.unit).to_owned())),
        ("undefined", text(&|d| untested(d.difference, &d.inference, comparison.unit))),
    ]);
    stamp(&mut table, folds, all.len());
    table.write(folder, "roi_comparison")
}

/// `roi_matrix.csv`: the weight of every target in every ROI that is not 0; `[rois] matrix` reads it back.
fn matrix(folder: &Path, prepared: &Prepared, results: &RoiResults) -> Result<()> {
    let each = results.rois.iter().zip(&results.matrix);
    let rows: Vec<(&str, usize, f64)> = each
        .flat_map(|(roi, row)| row.iter().enumerate().map(|(t, w)| (roi.name.as_str(), t, *w)))
        .filter(|(_, _, weight)| *weight > 0.0)
        .collect();
    OutputTable::new(vec![
        ("roi", Output::Text(rows.iter().map(|r| r.0.to_owned()).collect())),
        ("target", Output::Text(rows.iter().map(|r| prepared.targets[r.1].to_string()).collect())),
        ("weight", Output::Real(rows.iter().map(|r| Some(r.2)).collect())),
    ])
    .write(folder, "roi_matrix")
}

/// `roi_overlap.csv`: what each pair has in common.
fn overlap(folder: &Path, results: &RoiResults) -> Result<()> {
    let all = &results.overlaps;
    let info = |name: &str| results.rois.iter().find(|r| r.name == name);
    let count = |name: &str| info(name).and_then(|r| r.voxels).map(|n| n as f64);
    OutputTable::new(vec![
        ("roi_1", Output::Text(all.iter().map(|o| o.first.clone()).collect())),
        ("roi_2", Output::Text(all.iter().map(|o| o.second.clone()).collect())),
        ("voxels_1", Output::Real(all.iter().map(|o| count(&o.first)).collect())),
        ("voxels_2", Output::Real(all.iter().map(|o| count(&o.second)).collect())),
        ("shared_voxels", Output::Real(all.iter().map(|o| o.shared_voxels.map(|n| n as f64)).collect())),
        ("dice", Output::Real(all.iter().map(|o| o.dice).collect())),
        ("weight_correlation", Output::Real(all.iter().map(|o| o.correlation).collect())),
        ("row_cosine", Output::Real(all.iter().map(|o| Some(o.cosine)).collect())),
        ("meaning", Output::Text(all.iter().map(|o| o.in_words().to_owned()).collect())),
    ])
    .write(folder, "roi_overlap")
}
