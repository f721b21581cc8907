//! The summary of a run: one row per checkpoint, over all targets and in every region, at its nested best layer.

use super::{Comparison, Inference, Lineage};
use crate::encoding::Score;
use crate::stats::bootstrap::Interval;

/// A row of the summary: model × fine-tuning, over all targets or in a region.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRow<'a> {
    /// The region; none for all targets.
    pub roi: Option<&'a str>,
    /// The checkpoint that this one goes back to; itself when it goes back to nothing.
    pub model: &'a str,
    /// Its label.
    pub checkpoint: &'a str,
    /// What a list says of it.
    pub lineage: Option<&'a Lineage>,
    /// Mean score over subjects.
    pub mean: Score,
    /// Standard deviation over subjects.
    pub sd: Option<f64>,
    /// The interval of the mean.
    pub interval: Option<Interval>,
    /// Its difference to its base.
    pub difference: Option<SummaryDifference>,
}

/// A difference to a base, both checkpoints at their nested best layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SummaryDifference {
    /// Mean over subjects.
    pub difference: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// What the tests say of it.
    pub inference: Inference,
    /// Members of the family that p_fwe is corrected for: over all targets the differences of the run, in a region the
    /// regions of the checkpoint.
    pub family: usize,
}

impl Comparison {
    /// The rows: all targets first, then region by region; fine-tuned checkpoints after what they go back to.
    pub fn summary(&self) -> Vec<SummaryRow<'_>> {
        let mut rows = self.in_order(self.best_layers.iter().map(|best| {
            let found = self.best_differences.iter().find(|d| d.checkpoint == best.checkpoint);
            SummaryRow {
                roi: None,
                model: self.root_of(&best.checkpoint),
                checkpoint: &best.checkpoint,
                lineage: self.lineage_of(&best.checkpoint),
                mean: best.nested,
                sd: best.sd,
                interval: best.interval,
                difference: found.map(|d| SummaryDifference {
                    difference: d.difference,
                    interval: d.interval,
                    inference: d.inference,
                    family: self.best_differences.len(),
                }),
            }
        }));
        let Some(rois) = &self.rois else { return rows };
        for roi in &rois.rois {
            let own = rois.best.iter().filter(|b| b.roi == roi.name);
            rows.extend(self.in_order(own.map(|best| {
                let is_it = |d: &&super::RoiDifference| {
                    d.checkpoint == best.checkpoint && d.roi == best.roi && d.layer.is_none() && d.score == self.score
                };
                SummaryRow {
                    roi: Some(&best.roi),
                    model: self.root_of(&best.checkpoint),
                    checkpoint: &best.checkpoint,
                    lineage: self.lineage_of(&best.checkpoint),
                    mean: best.nested,
                    sd: best.sd,
                    interval: best.interval,
                    difference: rois.differences.iter().find(is_it).map(|d| SummaryDifference {
                        difference: d.difference,
                        interval: d.interval,
                        inference: d.inference,
                        family: rois.family(d),
                    }),
                }
            })));
        }
        rows
    }

    /// Model by model, each before what was made of it.
    fn in_order<'a>(&'a self, rows: impl Iterator<Item = SummaryRow<'a>>) -> Vec<SummaryRow<'a>> {
        let mut rows: Vec<SummaryRow<'_>> = rows.collect();
        let mut models: Vec<&str> = Vec::new();
        rows.iter().for_each(|row| {
            if !models.contains(&row.model) {
                models.push(row.model);
            }
        });
        rows.sort_by_key(|row| (models.iter().position(|m| *m == row.model), row.checkpoint != row.model));
        rows
    }

    /// Where the bases of a checkpoint begin.
    fn root_of<'a>(&'a self, checkpoint: &'a str) -> &'a str {
        let mut at = checkpoint;
        // A list without end is refused when it is read; a record may say anything.
        for _ in 0..=self.lineage.len() {
            match self.base_of(at) {
                Some(base) => at = base,
                None => break,
            }
        }
        at
    }
}
