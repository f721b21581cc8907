//! Many checkpoints at a glance: the summary of model × fine-tuning, and scores along steps and sizes.

use crate::compare::{Along, SummaryRow, Trend};
use crate::encoding::Score;
use crate::plot::words::{counted, percent, units};
use crate::record::RunRecord;
use crate::report::markup::Html;
use crate::report::number::{number, signed};
use crate::report::table;
use crate::report::verdict::{self, Verdict, p_value};

/// The summary; a run of one checkpoint has none.
pub(super) fn summary(h: &mut Html, record: &RunRecord) {
    let results = &record.comparison;
    let rows = results.summary();
    let (whole, by_region): (Vec<&SummaryRow<'_>>, Vec<&SummaryRow<'_>>) = rows.iter().partition(|r| r.roi.is_none());
    if whole.len() < 2 {
        return;
    }
    let compared = whole.iter().filter(|r| r.difference.is_some()).count();
    h.element("section", &[("id", "summary")], |h| {
        h.leaf("h2", &[], "Summary: model × fine-tuning");
        h.leaf(
            "p",
            &[],
            format!(
                "{}, each checkpoint at its nested best layer. μ and σ: mean and standard deviation over {}; brackets: {} % \
                 intervals. Differences are paired, to {}; p corrected by the largest |t|: over all targets for the {} of the \
                 table, in regions for the regions of a checkpoint.",
                results.score,
                units(results),
                percent(record.plan.bootstrap.level),
                results.compared_with(),
                counted(compared, "difference"),
            ),
        );
        let heads = heads(record, "fine-tuning");
        let names: Vec<&str> = heads.iter().map(String::as_str).collect();
        table::table(h, "All targets: every checkpoint, under the model that it goes back to", &names, |h| {
            for own in whole.chunk_by(|a, b| a.model == b.model) {
                h.element("tbody", &[], |h| {
                    table::group(h, own[0].model, names.len());
                    own.iter().for_each(|row| table::row(h, tuning(row), |h| cells(h, record, row)));
                });
            }
        });
        if !by_region.is_empty() {
            let mut names: Vec<&str> = vec!["region"];
            names.extend(heads.iter().map(String::as_str));
            table::table(h, "Region by region", &names, |h| {
                for own in by_region.chunk_by(|a, b| (a.roi, a.model) == (b.roi, b.model)) {
                    h.element("tbody", &[], |h| {
                        for row in own {
                            table::row(h, row.roi.unwrap_or_default(), |h| {
                                table::words(h, format!("{}: {}", row.model, tuning(row)));
                                cells(h, record, row);
                            });
                        }
                    });
                }
            });
        }
        h.leaf("p", &[("class", "note")], "The same rows are in summary.csv.");
    });
}

/// What was done to a model.
fn tuning<'a>(row: &SummaryRow<'a>) -> &'a str {
    if row.checkpoint == row.model { "none" } else { row.checkpoint }
}

/// The heads of [`cells`], after `first`.
pub(super) fn heads(record: &RunRecord, first: &str) -> Vec<String> {
    let mut heads = vec![first];
    heads.extend(has_steps(record).then_some("steps"));
    heads.extend(["μ", "σ", "difference", "p", "p corrected", "smallest detectable", "verdict"]);
    heads.into_iter().map(str::to_owned).collect()
}

fn has_steps(record: &RunRecord) -> bool {
    record.comparison.lineage.iter().any(|l| l.steps.is_some())
}

/// The numbers of a row.
pub(super) fn cells(h: &mut Html, record: &RunRecord, row: &SummaryRow<'_>) {
    if has_steps(record) {
        let steps = row.lineage.and_then(|l| l.steps);
        table::figure(h, steps.map_or("–".to_owned(), |s| s.to_string()));
    }
    table::score(h, row.mean, row.interval, number);
    table::figure(h, row.sd.map_or("–".to_owned(), number));
    let Some(d) = row.difference else {
        (0..4).for_each(|_| table::figure(h, "–"));
        table::words(h, "a base");
        return;
    };
    table::score(h, d.difference, d.interval, signed);
    for p in [d.inference.p, d.inference.p_fwe] {
        table::figure(h, p.map_or("–".to_owned(), p_value));
    }
    table::figure(h, d.inference.mde80.map_or("–".to_owned(), number));
    table::words(h, Verdict::of(d.difference, d.inference.p_fwe, &d.inference).as_str());
}

/// Along what there are series.
pub(super) fn along(record: &RunRecord) -> impl Iterator<Item = Along> + '_ {
    let has = |along: &Along| record.comparison.trends.iter().any(|t| t.along == *along);
    [Along::Steps, Along::Size].into_iter().filter(has)
}

/// The series along one thing, in words and numbers.
pub(super) fn trends(h: &mut Html, record: &RunRecord, along: Along) {
    let own: Vec<&Trend> = record.comparison.trends.iter().filter(|t| t.along == along).collect();
    let unit = if along == Along::Steps { "steps" } else { "size" };
    h.element("ul", &[("class", "found")], |h| {
        for trend in &own {
            h.element("li", &[], |h| {
                h.leaf("strong", &[], &trend.series);
                h.text(format!(": {}", slope_sentence(record, trend, unit)));
            });
        }
    });
    let score = format!("{} at the nested best layer", record.comparison.score);
    let heads = ["checkpoint", unit, score.as_str(), "line"];
    table::table(h, &format!("Series along {}", along.as_str()), &heads, |h| {
        for trend in &own {
            h.element("tbody", &[], |h| {
                table::group(h, &trend.series, heads.len());
                for point in &trend.points {
                    table::row(h, &point.checkpoint, |h| {
                        table::figure(h, point.at.to_string());
                        table::score(h, point.score, point.interval, number);
                        table::figure(h, trend.fitted(point.at).map_or("–".to_owned(), number));
                    });
                }
            });
        }
    });
}

/// What the line says, and how far it holds.
fn slope_sentence(record: &RunRecord, trend: &Trend, unit: &str) -> String {
    let places: Vec<f64> = trend.points.iter().map(|p| p.at).filter(|at| *at > 0.0).collect();
    let (first, last) = places.iter().fold((f64::MAX, 0f64), |(l, h), v| (l.min(*v), h.max(*v)));
    let Score::Value(slope) = trend.slope else { return "no line: a checkpoint has no score.".to_owned() };
    let interval = trend
        .interval
        .map_or(" (no interval)".to_owned(), |i| format!(" {}", crate::report::number::interval(Some(i))));
    let n = record.comparison.trends.len();
    let family = if n > 1 { format!(" corrected for {n} series") } else { String::new() };
    format!(
        "{}{interval} {} per tenfold {unit}, {}. Measured at {} from {first} to {last}; the line says nothing beyond them, and \
         {} cannot tell a line from a curve.",
        signed(slope),
        record.comparison.score,
        verdict::sentence(record, trend.slope, trend.inference.p_fwe, &trend.inference, &family),
        counted(places.len(), "checkpoint"),
        if places.len() < 5 { "so few" } else { "they" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Inference, Lineage, TrendPoint};
    use crate::record::sample;

    #[test]
    fn the_summary_has_a_row_for_each_checkpoint() {
        let mut record = sample::record();
        record.comparison.lineage = ["base", "tuned"]
            .map(|label| Lineage {
                label: label.to_owned(),
                base: (label == "tuned").then(|| "base".to_owned()),
                steps: (label == "tuned").then_some(1000.0),
                ..Lineage::default()
            })
            .to_vec();
        let mut h = Html::default();
        summary(&mut h, &record);
        let text = h.finish();
        assert_eq!(text.matches("scope=\"row\"").count(), 3);
        assert!(text.contains("scope=\"rowgroup\" colspan=\"9\">base</th>"), "{text}");
        assert!(text.contains(">none</th>") && text.contains(">1000</td>") && text.contains("a base"));
        assert!(text.contains("to its base") && text.contains("for the 2 differences of the table"));
    }

    #[test]
    fn a_line_says_how_far_it_holds() {
        let mut record = sample::record();
        let point = |at: f64| TrendPoint { checkpoint: "c".to_owned(), at, score: Score::Value(0.1), interval: None };
        let trend = Trend {
            along: Along::Steps,
            series: "moral".to_owned(),
            points: [0.0, 10.0, 100.0, 1000.0].map(point).to_vec(),
            slope: Score::Value(0.012),
            interval: Some((0.002, 0.02)),
            intercept: Some(0.05),
            inference: Inference { p: Some(0.03), p_fwe: Some(0.03), ..Inference::default() },
        };
        record.comparison.trends.push(trend.clone());
        let text = slope_sentence(&record, &trend, "steps");
        assert_eq!(
            text,
            "+0.012 [0.002, 0.020] cod per tenfold steps, different: higher, p = 0.030. Measured at 3 checkpoints from 10 to \
             1000; the line says nothing beyond them, and so few cannot tell a line from a curve."
        );
        assert!((trend.fitted(100.0).unwrap() - 0.074).abs() < 1e-12);
        assert_eq!(trend.fitted(0.0), None);
    }
}
