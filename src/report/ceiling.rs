//! How well anything could do, and which share of that the best layers reach.

use crate::encoding::{Reason, Score};
use crate::record::RunRecord;
use crate::report::findings::{Findings, points};
use crate::report::markup::Html;
use crate::report::number::{self, number};
use crate::report::table;

/// Ceilings and shares of them.
pub(super) fn section(h: &mut Html, record: &RunRecord) {
    let all = &record.comparison.ceilings;
    h.leaf("h3", &[], "Ceiling");
    if all.is_empty() {
        h.leaf(
            "p",
            &[],
            "The responses allow none: there is one subject (or averaged response), and no text was repeated often enough.",
        );
        return;
    }
    let findings = Findings::of(record);
    let mut heads = vec!["ceiling".to_owned(), "unit".to_owned(), "level".to_owned()];
    heads.extend(findings.best.iter().map(|b| format!("share reached: {}", b.checkpoint)));
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    table::table(h, "Ceilings, with interval, and the share that each checkpoint's best layer reaches", &heads, |h| {
        h.element("tbody", &[], |h| {
            for ceiling in all {
                table::row(h, ceiling.kind.as_str(), |h| {
                    table::words(h, ceiling.score.as_str());
                    table::score(h, ceiling.mean, ceiling.interval, number);
                    for best in &findings.best {
                        let at = best.best.and_then(|(point, _)| {
                            points(record, best.checkpoint, ceiling.score).iter().find(|p| p.layer == point.layer)
                        });
                        let score = at.map_or(Score::undefined(Reason::NothingDefined), |p| p.mean);
                        table::score(h, ceiling.share(score), None, number);
                    }
                });
            }
        });
    });
    let foldwise = all.iter().find_map(|c| c.foldwise?.value());
    let mut note = "loso: each subject against the mean of the others, within runs. repeats: what repetitions of a text \
                    share within a subject. extrapolated: loso for infinitely many subjects. A share is a score of the same \
                    unit divided by the ceiling, never clipped; it is undefined where the ceiling\u{2019}s interval includes 0. \
                    Shares of single targets are in normalised.csv."
        .to_owned();
    if let Some(value) = foldwise {
        note.push_str(&format!(" loso r within folds, beside scores per fold: {}.", number::number(value)));
    }
    h.leaf("p", &[("class", "note")], note);
}
