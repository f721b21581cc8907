//! `ceilings.csv` and `normalised.csv`.

use std::path::Path;

use super::outputs::{reason, stamp};
use super::preflight::Prepared;
use crate::compare::{Ceiling, Comparison, share};
use crate::encoding::Score;
use crate::error::Result;
use crate::io::table::{Output, OutputTable};
use crate::stats::bootstrap::Interval;

/// Writes both tables; neither where the responses allow no ceiling.
pub(super) fn write(folder: &Path, prepared: &Prepared, comparison: &Comparison) -> Result<()> {
    if comparison.ceilings.is_empty() {
        return Ok(());
    }
    levels(folder, prepared, comparison)?;
    shares(folder, prepared, comparison)
}

/// A target (empty for the mean over targets), its ceiling and the interval of that.
type Level = (String, Score, Option<Interval>);

/// The levels of a ceiling: the mean, then the targets.
fn targets(prepared: &Prepared, ceiling: &Ceiling) -> Vec<Level> {
    let own =
        prepared.targets.iter().zip(&ceiling.targets).map(|(t, (score, interval))| (t.to_string(), *score, *interval));
    std::iter::once((String::new(), ceiling.mean, ceiling.interval)).chain(own).collect()
}

fn levels(folder: &Path, prepared: &Prepared, comparison: &Comparison) -> Result<()> {
    let rows: Vec<(&Ceiling, Level)> =
        comparison.ceilings.iter().flat_map(|c| targets(prepared, c).into_iter().map(move |t| (c, t))).collect();
    let of_mean = |of: &dyn Fn(&Ceiling) -> Option<f64>| {
        Output::Real(rows.iter().map(|(c, t)| if t.0.is_empty() { of(c) } else { None }).collect())
    };
    let mut table = OutputTable::new(vec![
        ("ceiling", Output::Text(rows.iter().map(|(c, _)| c.kind.to_string()).collect())),
        ("score", Output::Text(rows.iter().map(|(c, _)| c.score.column().to_owned()).collect())),
        ("target", Output::Text(rows.iter().map(|(_, t)| t.0.clone()).collect())),
        ("value", Output::Real(rows.iter().map(|(_, t)| t.1.value()).collect())),
        ("ci_low", Output::Real(rows.iter().map(|(_, t)| t.2.map(|i| i.0)).collect())),
        ("ci_high", Output::Real(rows.iter().map(|(_, t)| t.2.map(|i| i.1)).collect())),
        ("r_foldwise", of_mean(&|c| c.foldwise.and_then(Score::value))),
        ("tau", of_mean(&|c| c.tau)),
        ("undefined", Output::Text(rows.iter().map(|(_, t)| reason(t.1)).collect())),
    ]);
    stamp(&mut table, prepared.plan.folds, rows.len());
    table.write(folder, "ceilings")
}

/// A score divided by a ceiling of its own unit: of every layer's mean, and of every target in the ranking score.
struct Share<'a> {
    checkpoint: &'a str,
    layer: i64,
    target: String,
    ceiling: &'a Ceiling,
    score: Score,
    level: Score,
    share: Score,
}

fn shares(folder: &Path, prepared: &Prepared, comparison: &Comparison) -> Result<()> {
    let mut rows = Vec::new();
    for ceiling in &comparison.ceilings {
        let at = |checkpoint, layer, target, score, level, interval| Share {
            checkpoint,
            layer,
            target,
            ceiling,
            score,
            level,
            share: share(score, level, interval),
        };
        for curve in comparison.curves.iter().filter(|c| c.score == ceiling.score) {
            rows.extend(curve.points.iter().map(|p| {
                at(&curve.checkpoint, p.layer.0 as i64, String::new(), p.mean, ceiling.mean, ceiling.interval)
            }));
        }
        for place in comparison.target_means.iter().filter(|_| ceiling.score == comparison.score) {
            let own = place.means.iter().zip(&ceiling.targets).zip(&prepared.targets);
            rows.extend(own.map(|((score, (level, interval)), target)| {
                at(&place.checkpoint, place.layer.0 as i64, target.to_string(), *score, *level, *interval)
            }));
        }
    }
    let mut table = OutputTable::new(vec![
        ("checkpoint", Output::Text(rows.iter().map(|r| r.checkpoint.to_owned()).collect())),
        ("layer", Output::Integer(rows.iter().map(|r| r.layer).collect())),
        ("target", Output::Text(rows.iter().map(|r| r.target.clone()).collect())),
        ("normalised_score", Output::Text(rows.iter().map(|r| r.ceiling.name()).collect())),
        ("value", Output::Real(rows.iter().map(|r| r.share.value()).collect())),
        ("score_value", Output::Real(rows.iter().map(|r| r.score.value()).collect())),
        ("ceiling_value", Output::Real(rows.iter().map(|r| r.level.value()).collect())),
        ("undefined", Output::Text(rows.iter().map(|r| reason(r.share)).collect())),
    ]);
    stamp(&mut table, prepared.plan.folds, rows.len());
    table.write(folder, "normalised")
}
