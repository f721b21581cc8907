//! `targets.csv`: every target's score in every layer, averaged over subjects.

use std::path::Path;

use super::outputs::{CheckpointFits, reason, stamp};
use super::preflight::Prepared;
use crate::compare::{LayerFit, target_means};
use crate::encoding::ScoreName;
use crate::error::Result;
use crate::features::CONFOUNDS;
use crate::ids::Layer;
use crate::io::table::{Output, OutputTable, write_batches};
use crate::stats::bootstrap::Resamples;

/// Writes the table: one row per checkpoint, layer, score and target, the confounds-only model last (layer −1).
pub(super) fn write(
    folder: &Path,
    prepared: &Prepared,
    fits: &[CheckpointFits],
    confounds: &LayerFit,
    resamples: &Resamples,
) -> Result<()> {
    write_batches(folder, "targets", |append| {
        for checkpoint in fits {
            for (layer, fit) in &checkpoint.layers {
                append(&rows(prepared, &checkpoint.label, Some(*layer), fit, resamples))?;
            }
        }
        append(&rows(prepared, CONFOUNDS, None, confounds, resamples))
    })
}

fn rows(prepared: &Prepared, label: &str, layer: Option<Layer>, fit: &LayerFit, resamples: &Resamples) -> OutputTable {
    let all: Vec<_> = ScoreName::ALL
        .into_iter()
        .flat_map(|score| target_means(fit, score, resamples).into_iter().enumerate().map(move |one| (score, one)))
        .collect();
    let defined = |score: ScoreName, target: usize| {
        fit.scores.iter().filter(|subject| subject[target].get(score).value().is_some()).count() as i64
    };
    let mut table = OutputTable::new(vec![
        ("checkpoint", Output::Text(vec![label.to_owned(); all.len()])),
        ("layer", Output::Integer(vec![layer.map_or(-1, |l| l.0 as i64); all.len()])),
        ("score", Output::Text(all.iter().map(|(score, _)| score.column().to_owned()).collect())),
        ("target", Output::Text(all.iter().map(|(_, (t, _))| prepared.targets[*t].to_string()).collect())),
        ("mean", Output::Real(all.iter().map(|(_, (_, (mean, _)))| mean.value()).collect())),
        ("ci_low", Output::Real(all.iter().map(|(_, (_, (_, i)))| i.map(|i| i.0)).collect())),
        ("ci_high", Output::Real(all.iter().map(|(_, (_, (_, i)))| i.map(|i| i.1)).collect())),
        ("n_subjects", Output::Integer(all.iter().map(|(score, (t, _))| defined(*score, *t)).collect())),
        ("undefined", Output::Text(all.iter().map(|(_, (_, (mean, _)))| reason(*mean)).collect())),
    ]);
    stamp(&mut table, prepared.plan.folds, all.len());
    table
}
