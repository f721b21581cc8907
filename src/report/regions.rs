//! Every region by itself: its checkpoints, and its layers.

use crate::compare::{RoiResults, SummaryRow};
use crate::ids::Layer;
use crate::record::RunRecord;
use crate::report::batch::{cells, heads};
use crate::report::markup::Html;
use crate::report::number::number;
use crate::report::table;

/// A section for each region, under its own anchor.
pub(super) fn sections(h: &mut Html, record: &RunRecord) {
    let Some(results) = &record.comparison.rois else { return };
    let rows = record.comparison.summary();
    for (at, roi) in results.rois.iter().enumerate() {
        h.element("section", &[("id", &anchor(at, &roi.name)), ("data-roi", &roi.name)], |h| {
            h.leaf("h2", &[], format!("Region: {}", roi.name));
            let own: Vec<&SummaryRow<'_>> = rows.iter().filter(|r| r.roi == Some(&roi.name)).collect();
            let heads = heads(record, "checkpoint");
            let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
            table::table(h, &format!("Checkpoints in {}, each at its nested best layer", roi.name), &heads, |h| {
                h.element("tbody", &[], |h| {
                    for row in own {
                        table::row(h, row.checkpoint, |h| cells(h, record, row));
                    }
                });
            });
            layers(h, record, results, &roi.name);
        });
    }
}

/// Links to the sections.
pub(super) fn contents(h: &mut Html, record: &RunRecord) {
    let Some(results) = &record.comparison.rois else { return };
    h.element("p", &[], |h| {
        h.text("One by one: ");
        for (at, roi) in results.rois.iter().enumerate() {
            h.leaf("a", &[("href", &format!("#{}", anchor(at, &roi.name)))], &roi.name);
            h.text(" ");
        }
    });
}

/// An anchor that any name makes: its ASCII letters and digits, numbered.
fn anchor(at: usize, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let slug: String = name.chars().take(40).map(plain).collect();
    format!("roi-{}-{}", at + 1, slug.trim_matches('-'))
}

/// The ranking score over the layers, a column for each checkpoint.
fn layers(h: &mut Html, record: &RunRecord, results: &RoiResults, roi: &str) {
    let score = record.comparison.score;
    let points: Vec<_> = results.points.iter().filter(|p| p.roi == roi && p.score == score).collect();
    let mut all: Vec<Layer> = points.iter().map(|p| p.layer).collect();
    all.sort_unstable();
    all.dedup();
    let mut heads = vec!["layer"];
    heads.extend(record.checkpoints.iter().map(|c| c.label.as_str()));
    table::table(h, &format!("{score} in {roi} per layer, with interval"), &heads, |h| {
        h.element("tbody", &[], |h| {
            for layer in all {
                table::row(h, &layer.to_string(), |h| {
                    for checkpoint in &record.checkpoints {
                        match points.iter().find(|p| p.checkpoint == checkpoint.label && p.layer == layer) {
                            Some(point) => table::score(h, point.mean, point.interval, number),
                            None => table::figure(h, "–"),
                        }
                    }
                });
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_plain_and_distinct() {
        assert_eq!(anchor(0, "tom"), "roi-1-tom");
        assert_eq!(anchor(1, "\"><script>alert(1)</script>"), "roi-2-script-alert-1---script");
        assert_eq!((anchor(2, "脳"), anchor(3, "脳")), ("roi-3-".to_owned(), "roi-4-".to_owned()));
    }
}
