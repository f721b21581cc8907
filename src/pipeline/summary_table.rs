//! `summary.csv` and `trends.csv`, each with its Parquet twin.

use std::path::Path;

use super::outputs::{reason, stamp};
use crate::compare::{Comparison, SummaryDifference, SummaryRow, Trend, TrendPoint};
use crate::encoding::FoldSpec;
use crate::error::Result;
use crate::io::table::{Output, OutputTable};

/// Writes both tables; the second only where there are series.
pub(super) fn write(folder: &Path, comparison: &Comparison, folds: FoldSpec) -> Result<()> {
    summary(folder, comparison, folds)?;
    trends(folder, comparison, folds)
}

fn summary(folder: &Path, comparison: &Comparison, folds: FoldSpec) -> Result<()> {
    let rows = comparison.summary();
    let text = |f: &dyn Fn(&SummaryRow<'_>) -> String| Output::Text(rows.iter().map(f).collect());
    let real = |f: &dyn Fn(&SummaryRow<'_>) -> Option<f64>| Output::Real(rows.iter().map(f).collect());
    let tested = |f: &dyn Fn(&SummaryDifference) -> Option<f64>| {
        Output::Real(rows.iter().map(|r| r.difference.as_ref().and_then(f)).collect())
    };
    let said = |r: &SummaryRow<'_>| r.lineage.cloned().unwrap_or_default();
    let mut table = OutputTable::new(vec![
        ("model", text(&|r| r.model.to_owned())),
        ("checkpoint", text(&|r| r.checkpoint.to_owned())),
        ("roi", text(&|r| r.roi.unwrap_or_default().to_owned())),
        ("base", text(&|r| comparison.base_of(r.checkpoint).unwrap_or_default().to_owned())),
        ("family", text(&|r| said(r).family.unwrap_or_default())),
        ("steps", real(&|r| said(r).steps)),
        ("size", real(&|r| said(r).size)),
        ("score", text(&|_| comparison.score.column().to_owned())),
        ("mean", real(&|r| r.mean.value())),
        ("sd", real(&|r| r.sd)),
        ("ci_low", real(&|r| r.interval.map(|i| i.0))),
        ("ci_high", real(&|r| r.interval.map(|i| i.1))),
        ("difference", tested(&|d| d.difference.value())),
        ("difference_ci_low", tested(&|d| d.interval.map(|i| i.0))),
        ("difference_ci_high", tested(&|d| d.interval.map(|i| i.1))),
        ("p", tested(&|d| d.inference.p)),
        ("p_fwe", tested(&|d| d.inference.p_fwe)),
        (
            "p_fwe_over",
            text(&|r| {
                let what = if r.roi.is_some() { "regions" } else { "differences" };
                r.difference.map_or(String::new(), |d| format!("{} {what}", d.family))
            }),
        ),
        ("mde80", tested(&|d| d.inference.mde80)),
        ("p_tost", tested(&|d| d.inference.p_tost)),
        ("undefined", text(&|r| reason(r.mean))),
    ]);
    stamp(&mut table, folds, rows.len());
    table.write(folder, "summary")
}

fn trends(folder: &Path, comparison: &Comparison, folds: FoldSpec) -> Result<()> {
    let rows: Vec<(&Trend, &TrendPoint)> =
        comparison.trends.iter().flat_map(|t| t.points.iter().map(move |p| (t, p))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let text = |f: &dyn Fn(&Trend, &TrendPoint) -> String| Output::Text(rows.iter().map(|(t, p)| f(t, p)).collect());
    let real =
        |f: &dyn Fn(&Trend, &TrendPoint) -> Option<f64>| Output::Real(rows.iter().map(|(t, p)| f(t, p)).collect());
    let mut table = OutputTable::new(vec![
        ("along", text(&|t, _| t.along.as_str().to_owned())),
        ("series", text(&|t, _| t.series.clone())),
        ("checkpoint", text(&|_, p| p.checkpoint.clone())),
        ("at", real(&|_, p| Some(p.at))),
        ("score", text(&|_, _| comparison.score.column().to_owned())),
        ("mean", real(&|_, p| p.score.value())),
        ("ci_low", real(&|_, p| p.interval.map(|i| i.0))),
        ("ci_high", real(&|_, p| p.interval.map(|i| i.1))),
        ("fitted", real(&|t, p| t.fitted(p.at))),
        ("slope_per_tenfold", real(&|t, _| t.slope.value())),
        ("slope_ci_low", real(&|t, _| t.interval.map(|i| i.0))),
        ("slope_ci_high", real(&|t, _| t.interval.map(|i| i.1))),
        ("slope_p", real(&|t, _| t.inference.p)),
        ("slope_p_fwe", real(&|t, _| t.inference.p_fwe)),
        ("undefined", text(&|_, p| reason(p.score))),
    ]);
    stamp(&mut table, folds, rows.len());
    table.write(folder, "trends")
}
