//! The summary of a run: one row per checkpoint, at its nested best layer.

use super::{BestDifference, Comparison, Lineage};
use crate::encoding::Score;
use crate::stats::bootstrap::Interval;

/// A row of the summary: model × fine-tuning.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRow<'a> {
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
    /// Its difference to its base, p_fwe corrected for all rows that have one.
    pub difference: Option<&'a BestDifference>,
}

impl Comparison {
    /// The rows, fine-tuned checkpoints after what they go back to.
    pub fn summary(&self) -> Vec<SummaryRow<'_>> {
        let rows = self.best_layers.iter().map(|best| SummaryRow {
            model: self.root_of(&best.checkpoint),
            checkpoint: &best.checkpoint,
            lineage: self.lineage_of(&best.checkpoint),
            mean: best.nested,
            sd: best.sd,
            interval: best.interval,
            difference: self.best_differences.iter().find(|d| d.checkpoint == best.checkpoint),
        });
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
