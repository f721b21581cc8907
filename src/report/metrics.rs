//! Scores of patterns and geometries, where they were asked for.

use crate::record::RunRecord;
use crate::report::markup::Html;
use crate::report::number::number;
use crate::report::table;

/// One row per checkpoint, layer and metric.
pub(super) fn section(h: &mut Html, record: &RunRecord) {
    let all = &record.comparison.metrics;
    if all.is_empty() {
        return;
    }
    h.leaf("h3", &[], "Patterns and geometries");
    let heads = ["layer", "metric", "mean over subjects", "intercept only", "p"];
    table::table(h, "Scores over all targets, with interval, beside what the mean map alone reaches", &heads, |h| {
        for checkpoint in &record.checkpoints {
            h.element("tbody", &[], |h| {
                table::group(h, &checkpoint.label, heads.len());
                for point in all.iter().filter(|p| p.checkpoint == checkpoint.label) {
                    table::row(h, &point.layer.to_string(), |h| {
                        table::words(h, point.metric.as_str());
                        table::score(h, point.mean, point.interval, number);
                        table::score(h, point.intercept_only, None, number);
                        table::figure(h, point.p.map_or("–".to_owned(), |p| format!("{p:.3}")));
                    });
                }
            });
        }
    });
    h.leaf(
        "p",
        &[("class", "note")],
        "pattern-r: correlation across targets, the training mean map removed from both sides; chance 0. rank: share of the \
         fold\u{2019}s other rows that a prediction resembles less than its own; chance 0.5. legacy-pattern-r: the mean map \
         left in; it says nothing without its intercept-only value, which is −1 where targets were centred over just these rows \
         (the mean of the others then points away from the row left out). rsa: distances between rows \
         against distances cross-validated over subjects. cka: debiased linear centred kernel alignment. p: 1,000 \
         permutations of rows, one-sided, of one layer, not corrected for the number of layers.",
    );
}
