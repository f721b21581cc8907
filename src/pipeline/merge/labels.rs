//! Which checkpoints of several runs are one, and what the others are called.

use super::Run;
use crate::encoder::CheckpointRecord;
use crate::encoding::ScoreName;
use crate::error::Warning;

/// Two scores of one checkpoint that differ by less are the same.
const SAME: f64 = 1e-6;

/// The labels of the merged run.
pub(super) struct Labels {
    /// Per run: label there, label here, whether it is kept (a checkpoint that was there before is not).
    of: Vec<Vec<(String, String, bool)>>,
    /// Per run: label there and label here of what is kept.
    pub kept: Vec<Vec<(String, String)>>,
    /// What was found out.
    pub notes: Vec<Warning>,
}

impl Labels {
    pub fn of(runs: &[Run]) -> Labels {
        let mut labels = Labels { of: Vec::new(), kept: Vec::new(), notes: Vec::new() };
        for (at, run) in runs.iter().enumerate() {
            let mut own = Vec::new();
            for checkpoint in &run.record.checkpoints {
                own.push(labels.place(runs, at, checkpoint, &own));
            }
            let kept = own.iter().filter(|(.., kept)| *kept).map(|(there, here, _)| (there.clone(), here.clone()));
            labels.kept.push(kept.collect());
            labels.of.push(own);
        }
        labels
    }

    /// The label here of a checkpoint that is kept.
    pub fn kept(&self, run: usize, there: &str) -> Option<&str> {
        self.kept[run].iter().find(|(label, _)| label == there).map(|(_, here)| here.as_str())
    }

    /// The label here of a checkpoint, kept or known from before.
    pub fn now<'a>(&'a self, run: usize, there: &'a str) -> &'a str {
        self.of[run].iter().find(|(label, ..)| label == there).map_or(there, |(_, here, _)| here)
    }

    fn place(
        &mut self,
        runs: &[Run],
        at: usize,
        checkpoint: &CheckpointRecord,
        own: &[(String, String, bool)],
    ) -> (String, String, bool) {
        let there = checkpoint.label.clone();
        let before = (0..at).find_map(|run| {
            let same = runs[run].record.checkpoints.iter().find(|c| {
                is_same(c, checkpoint)
                    && runs[run].record.plan.pooling == runs[at].record.plan.pooling
                    && runs[run].record.plan.long_text == runs[at].record.plan.long_text
            })?;
            Some((run, same))
        });
        if let Some((run, same)) = before {
            let here = self.now(run, &same.label).to_owned();
            let apart = difference(&runs[run], &same.label, &runs[at], &there);
            if apart.is_some_and(|d| d <= SAME) {
                let text = format!(
                    "{there:?} of {:?} is {here:?} again, with the same scores: it is kept once",
                    runs[at].name
                );
                self.notes.push(Warning::new("RR-05", text));
                return (there, here, false);
            }
            let how = apart.map_or("in other layers".to_owned(), |d| format!("by up to {d:.2e}"));
            self.notes.push(Warning::new(
                "RR-05",
                format!(
                    "{there:?} of {:?} is the checkpoint {here:?}, but its scores differ {how}: both are kept",
                    runs[at].name
                ),
            ));
        }
        let taken = |label: &str| {
            let before = self.of.iter().flatten().chain(own).any(|(_, here, _)| here == label);
            before || runs[at].record.checkpoints.iter().any(|c| c.label == label && label != there)
        };
        let mut here = there.clone();
        let mut number = 1;
        while taken(&here) {
            number += 1;
            let again = if number > 2 { format!(" {number}") } else { String::new() };
            here = format!("{there} ({}{again})", runs[at].name);
        }
        (there, here, true)
    }
}

/// Whether two checkpoints are the same weights in the same architecture with the same tokenizer.
fn is_same(a: &CheckpointRecord, b: &CheckpointRecord) -> bool {
    let known = a.weights_sha256.is_some() || a.untrained_seed.is_some();
    known
        && (a.weights_sha256, a.untrained_seed, a.config_sha256, a.tokenizer_sha256, &a.adapter)
            == (b.weights_sha256, b.untrained_seed, b.config_sha256, b.tokenizer_sha256, &b.adapter)
}

/// The largest difference of the mean scores of one checkpoint in two runs; none where their layers differ.
fn difference(a: &Run, label_a: &str, b: &Run, label_b: &str) -> Option<f64> {
    let mut largest = 0f64;
    for score in ScoreName::ALL {
        let of = |run: &'_ Run, label: &str| -> Option<Vec<(usize, Option<f64>)>> {
            let curves = &run.record.comparison.curves;
            let curve = curves.iter().find(|c| c.checkpoint == label && c.score == score)?;
            Some(curve.points.iter().map(|p| (p.layer.0, p.mean.value())).collect())
        };
        let (one, other) = (of(a, label_a)?, of(b, label_b)?);
        if one.len() != other.len() {
            return None;
        }
        for ((layer, x), (same, y)) in one.into_iter().zip(other) {
            match (x, y) {
                _ if layer != same => return None,
                (Some(x), Some(y)) => largest = largest.max((x - y).abs()),
                (None, None) => {}
                _ => return None,
            }
        }
    }
    Some(largest)
}
