//! Scores of all layers of a checkpoint together, where they were asked for.

use crate::record::RunRecord;
use crate::report::markup::Html;
use crate::report::number::{number, signed};
use crate::report::table;

/// One row per checkpoint and model.
pub(super) fn section(h: &mut Html, record: &RunRecord) {
    let results = &record.comparison;
    if results.combined.is_empty() {
        return;
    }
    h.leaf("h3", &[], "All layers together");
    let over = format!("{} over confounds", results.score);
    let against = format!("difference to {}", results.compared_with());
    let heads = ["model", results.score.as_str(), &over, &against];
    table::table(h, "Mean over subjects and targets, with interval, of all layers as one model", &heads, |h| {
        for checkpoint in &record.checkpoints {
            h.element("tbody", &[], |h| {
                table::group(h, &checkpoint.label, heads.len());
                for one in results.combined.iter().filter(|c| c.checkpoint == checkpoint.label) {
                    let Some(score) = one.scores.iter().find(|s| s.score == results.score) else { continue };
                    table::row(h, one.model.as_str(), |h| {
                        table::score(h, score.mean, score.interval, number);
                        table::score(h, score.gain.difference, score.gain.interval, signed);
                        match score.difference {
                            Some(d) => table::score(h, d.difference, d.interval, signed),
                            None => table::figure(h, "–"),
                        }
                    });
                }
            });
        }
    });
    h.leaf(
        "p",
        &[("class", "note")],
        "concat: the columns of all layers side by side, with one ridge penalty. stack: a model per layer, their predictions \
         mixed per target by weights that are not negative and sum to 1, found on the inner folds (Breiman 1996). Differences \
         have intervals only; no test is corrected for having looked at them.",
    );
}
