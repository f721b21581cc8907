//! What makes the scores doubtful, before any of them is shown.

use crate::plot::words::counted;
use crate::record::{RunRecord, Severity};
use crate::report::markup::Html;
use crate::report::table;

/// One sentence, and a table where anything was found.
pub(super) fn section(h: &mut Html, record: &RunRecord) {
    let severe = record.audit.iter().filter(|f| f.severity == Severity::Severe).count();
    let class = if severe > 0 { "verdict fail" } else { "" };
    h.element("section", &[("id", "audit"), ("class", class)], |h| {
        h.leaf("h2", &[], "Audit");
        h.leaf("p", &[], verdict(record.audit.len(), severe));
        if record.audit.is_empty() {
            return;
        }
        table::table(h, "What was found, the most severe first", &["code", "severity", "found", "remedy"], |h| {
            h.element("tbody", &[], |h| {
                for finding in &record.audit {
                    table::row(h, &finding.code, |h| {
                        table::words(h, finding.severity.as_str());
                        table::words(h, &finding.found);
                        table::words(h, &finding.remedy);
                    });
                }
            });
        });
    });
}

fn verdict(all: usize, severe: usize) -> String {
    match (all, severe) {
        (0, _) => "Nothing was found that makes the scores doubtful: no leak between folds, no unexpected weights, enough rows.".to_owned(),
        (_, 0) => format!("{}, none of them severe.", counted(all, "finding")),
        _ => format!("{} of {} severe: the scores below cannot be believed as they stand.", severe, counted(all, "finding")),
    }
}
