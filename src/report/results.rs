//! The tables of numbers: layers, baselines, differences.

use std::collections::BTreeMap;

use crate::compare::{Difference, Point};
use crate::encoding::{EDGE_LIMIT, Reason, Score, ScoreName};
use crate::ids::Layer;
use crate::plot::seeds::Seeds;
use crate::plot::words::counted;
use crate::record::RunRecord;
use crate::report::findings::{BestLayer, Findings, gain, points, unique};
use crate::report::markup::Html;
use crate::report::number::{self, number, signed};
use crate::report::summary::minus;
use crate::report::verdict::{Verdict, p_value};
use crate::report::{ceiling, combined, metrics, table};

/// Targets listed by size of their difference.
const LARGEST: usize = 20;

/// All tables of results.
pub(super) fn sections(h: &mut Html, record: &RunRecord) {
    h.element("section", &[("id", "layers")], |h| {
        h.leaf("h2", &[], "Scores per layer");
        layers(h, record);
        h.leaf("h3", &[], "Baselines");
        baselines(h, record);
        ceiling::section(h, record);
        combined::section(h, record);
        metrics::section(h, record);
    });
    if !record.comparison.layer_differences.is_empty() {
        h.element("section", &[("id", "differences")], |h| {
            h.leaf("h2", &[], format!("Differences to {}", record.comparison.compared_with()));
            layer_differences(h, record);
            h.leaf("h3", &[], "Targets that differ most");
            target_differences(h, record);
        });
    }
}

fn layers(h: &mut Html, record: &RunRecord) {
    let findings = Findings::of(record);
    let mut heads = vec!["layer"];
    heads.extend(ScoreName::ALL.map(ScoreName::as_str));
    let over = format!("{} over confounds", record.comparison.score);
    heads.push(&over);
    if !record.comparison.unique_cod.is_empty() {
        heads.push("unique cod");
    }
    heads.extend(["undefined", "alpha at edge"]);
    table::table(h, "Mean over subjects and targets, with interval, per layer", &heads, |h| {
        for checkpoint in &record.checkpoints {
            let best = findings.best.iter().find(|b| b.checkpoint == checkpoint.label);
            h.element("tbody", &[], |h| {
                table::group(h, &checkpoint.label, heads.len());
                for layer in layers_of(record, &checkpoint.label) {
                    layer_row(h, record, &checkpoint.label, layer, best);
                }
            });
        }
    });
    h.leaf(
        "p",
        &[("class", "note")],
        format!(
            "▲ marks the highest {}. Undefined: scores of a subject and target that have no value, of all of them; they are \
             left out of the means. Alpha at edge: share of choices of the ridge penalty at an end of the grid; over {} \
             the grid is too narrow.",
            record.comparison.score,
            number::share(EDGE_LIMIT)
        ),
    );
}

/// Every layer that has a point in any score, once.
fn layers_of(record: &RunRecord, checkpoint: &str) -> Vec<Layer> {
    let mut layers: Vec<Layer> =
        ScoreName::ALL.iter().flat_map(|score| points(record, checkpoint, *score)).map(|p| p.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

fn layer_row(h: &mut Html, record: &RunRecord, checkpoint: &str, layer: Layer, best: Option<&BestLayer<'_>>) {
    let at = |score| points(record, checkpoint, score).iter().find(|p| p.layer == layer);
    let is_best = best.and_then(|b| b.best).is_some_and(|(p, _)| p.layer == layer);
    let class = if is_best { "best" } else { "" };
    h.element("tr", &[("class", class)], |h| {
        h.leaf("th", &[("scope", "row")], format!("{layer}{}", if is_best { " ▲" } else { "" }));
        for score in ScoreName::ALL {
            match at(score) {
                Some(point) => table::score(h, point.mean, point.interval, number),
                None => table::score(h, Score::undefined(Reason::NotComputed), None, number),
            }
        }
        match gain(record, checkpoint, layer) {
            Some((d, _)) => table::score(h, d.difference, d.interval, signed),
            None => table::figure(h, "–"),
        }
        if !record.comparison.unique_cod.is_empty() {
            match unique(record, checkpoint, layer) {
                Some((d, _)) => table::score(h, d.difference, d.interval, signed),
                None => table::figure(h, "–"),
            }
        }
        table::words(h, undefined(&ScoreName::ALL.map(|s| at(s).map(|p| (s, p))), &reasons(record, checkpoint, layer)));
        let edge = at(record.comparison.score).map_or("–".to_owned(), |p| number::share(p.share_at_edge));
        table::figure(h, edge);
    });
}

/// `2 of 48`, or one number per score where they differ, with the reasons that are known.
fn undefined(points: &[Option<(ScoreName, &Point)>], reasons: &str) -> String {
    let counts: Vec<(ScoreName, usize, usize)> =
        points.iter().flatten().map(|(s, p)| (*s, p.n_undefined, p.n_undefined + p.n_defined)).collect();
    let Some((_, first, of)) = counts.first().copied() else { return "–".to_owned() };
    if counts.iter().all(|(_, n, _)| *n == 0) {
        return "0".to_owned();
    }
    let text = if counts.iter().all(|(_, n, _)| *n == first) {
        format!("{first} of {of}")
    } else {
        counts.iter().map(|(score, n, of)| format!("{score} {n} of {of}")).collect::<Vec<_>>().join(", ")
    };
    if reasons.is_empty() { text } else { format!("{text} ({reasons})") }
}

/// Why targets have no score in any subject, with how many there are of each.
fn reasons(record: &RunRecord, checkpoint: &str, layer: Layer) -> String {
    let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
    for place in record.comparison.target_means.iter().filter(|p| p.checkpoint == checkpoint && p.layer == layer) {
        for reason in place.means.iter().filter_map(|m| m.reason()) {
            *counts.entry(reason).or_default() += 1;
        }
    }
    counts.iter().map(|(reason, n)| format!("{}: {reason}", counted(*n, "target"))).collect::<Vec<_>>().join("; ")
}

fn baselines(h: &mut Html, record: &RunRecord) {
    let findings = Findings::of(record);
    let mut heads = vec!["baseline"];
    heads.extend(ScoreName::ALL.map(ScoreName::as_str));
    table::table(h, "What a score has to be compared with", &heads, |h| {
        h.element("tbody", &[], |h| {
            table::row(h, "intercept only", |h| {
                table::figure(h, "0 by definition");
                table::figure(h, "–");
                table::figure(h, "undefined: constant prediction");
            });
            table::row(h, "confounds only", |h| {
                for score in ScoreName::ALL {
                    match record.comparison.confounds.iter().find(|b| b.score == score) {
                        Some(level) => table::score(h, level.mean, level.interval, number),
                        None => table::score(h, Score::undefined(Reason::NotComputed), None, number),
                    }
                }
            });
            table::row(h, "oasm: a row's place alone", |h| {
                for score in ScoreName::ALL {
                    match record.comparison.oasm.iter().find(|b| b.score == score) {
                        Some(level) => table::score(h, level.mean, level.interval, number),
                        None => table::score(h, Score::undefined(Reason::NotComputed), None, number),
                    }
                }
            });
            untrained_seeds(h, record);
            for untrained in findings.best.iter().filter(|b| b.untrained) {
                let Some((best, _)) = untrained.best else { continue };
                table::row(h, &format!("{} (untrained), layer {}", untrained.checkpoint, best.layer), |h| {
                    for score in ScoreName::ALL {
                        let points = points(record, untrained.checkpoint, score);
                        match points.iter().find(|p| p.layer == best.layer) {
                            Some(point) => table::score(h, point.mean, point.interval, number),
                            None => table::score(h, Score::undefined(Reason::NotComputed), None, number),
                        }
                    }
                });
            }
        });
    });
}

/// The untrained seeds that were asked for as a baseline: at every seed's own best layer, mean and range.
fn untrained_seeds(h: &mut Html, record: &RunRecord) {
    let Some(seeds) = Seeds::of(record) else { return };
    let head = format!(
        "untrained, {}: mean (range) at the layer with the highest mean, {}",
        counted(seeds.n, "seed"),
        seeds.best
    );
    table::row(h, &head, |h| {
        for score in ScoreName::ALL {
            match seeds.at(record, score, seeds.best) {
                Some((mean, low, high)) => {
                    table::figure(h, format!("{} ({} to {})", number(mean), number(low), number(high)));
                }
                None => table::score(h, Score::undefined(Reason::NothingDefined), None, number),
            }
        }
    });
}

fn layer_differences(h: &mut Html, record: &RunRecord) {
    let results = &record.comparison;
    let ranking = results.score;
    let mut heads = vec!["layer"];
    heads.extend(ScoreName::ALL.map(ScoreName::as_str));
    let verdict = format!("verdict on {ranking}");
    heads.extend([verdict.as_str(), "subjects"]);
    let caption =
        "Paired difference, checkpoint less what it is compared with, mean over subjects and targets, with interval";
    table::table(h, caption, &heads, |h| {
        for checkpoint in record.checkpoints.iter().filter(|c| results.base_of(&c.label).is_some()) {
            let of: Vec<&Difference> = results
                .layer_differences
                .iter()
                .filter(|d| d.checkpoint == checkpoint.label && d.target.is_none())
                .collect();
            let mut layers: Vec<Layer> = of.iter().map(|d| d.layer).collect();
            layers.sort_unstable();
            layers.dedup();
            h.element("tbody", &[], |h| {
                table::group(h, &minus(record, &checkpoint.label), heads.len());
                for layer in layers {
                    let at = |score| of.iter().find(|d| d.layer == layer && d.score == score);
                    table::row(h, &layer.to_string(), |h| {
                        for score in ScoreName::ALL {
                            match at(score) {
                                Some(d) => table::score(h, d.difference, d.interval, signed),
                                None => table::score(h, Score::undefined(Reason::NotComputed), None, signed),
                            }
                        }
                        let of = |d: &&Difference| Verdict::of(d.difference, d.inference.p_fwe, &d.inference);
                        table::words(h, at(ranking).map_or(Verdict::Untested, of).as_str());
                        table::figure(h, at(ranking).map_or("–".to_owned(), |d| d.n_subjects.to_string()));
                    });
                }
            });
        }
    });
}

fn target_differences(h: &mut Html, record: &RunRecord) {
    let results = &record.comparison;
    let mut of: Vec<(&Difference, f64)> = results
        .target_differences
        .iter()
        .filter(|d| d.score == results.score && d.target.is_some())
        .filter_map(|d| Some((d, d.difference.value()?)))
        .collect();
    let total = of.len();
    // A stable sort: targets that differ equally keep the order of the record.
    of.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    of.truncate(LARGEST);
    if of.is_empty() {
        h.leaf("p", &[], "No target has a defined difference.");
        return;
    }
    let difference = format!("difference in {}", results.score);
    let heads = ["target", "checkpoint", "layer", difference.as_str(), "p", "p corrected", "q", "verdict", "subjects"];
    let caption = format!("The {} of {total} differences of single targets that are largest in size", of.len());
    table::table(h, &caption, &heads, |h| {
        h.element("tbody", &[], |h| {
            for (d, _) in &of {
                table::row(h, d.target.as_ref().map_or("", |t| t.as_str()), |h| {
                    table::words(h, &d.checkpoint);
                    table::figure(h, d.layer.to_string());
                    table::score(h, d.difference, d.interval, signed);
                    for p in [d.inference.p, d.inference.p_fwe, d.inference.q_fdr] {
                        table::figure(h, p.map_or("–".to_owned(), p_value));
                    }
                    table::words(h, Verdict::of(d.difference, d.inference.q_fdr, &d.inference).as_str());
                    table::figure(h, d.n_subjects.to_string());
                });
            }
        });
    });
    h.leaf(
        "p",
        &[("class", "note")],
        format!(
            "Picked as the largest of {total}: expect their sizes to be optimistic, and some intervals without 0 by chance \
             alone. p corrected: over all layers and targets of the checkpoint by the largest |t|; q: Benjamini–Hochberg over \
             the same, by which the verdict goes."
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn undefined_scores_are_counted_with_their_reasons() {
        let mut record = sample::record();
        for curve in record.comparison.curves.iter_mut().filter(|c| c.checkpoint == "base") {
            curve.points[1].n_undefined = 6;
            curve.points[1].n_defined = 42;
        }
        record.comparison.target_means[1].means[4] = Score::undefined(Reason::ConstantTarget);
        let at = |record: &RunRecord| {
            let found = ScoreName::ALL.map(|s| points(record, "base", s).get(1).map(|p| (s, p)));
            undefined(&found, &reasons(record, "base", Layer(1)))
        };
        assert_eq!(at(&record), "6 of 48 (1 target: constant target)");
        let r =
            record.comparison.curves.iter_mut().find(|c| c.checkpoint == "base" && c.score == ScoreName::R).unwrap();
        r.points[1].n_undefined = 7;
        assert!(at(&record).starts_with("cod 6 of 48, cod-test-mean 6 of 48, r 7 of 49"));
    }

    #[test]
    fn the_largest_targets_come_first_and_are_twenty() {
        let mut record = sample::record();
        let last = record.comparison.target_differences.iter_mut().rfind(|d| d.score == ScoreName::Cod).unwrap();
        last.difference = Score::Value(-7.0);
        last.target = Some("the largest".into());
        let mut h = Html::default();
        target_differences(&mut h, &record);
        let text = h.finish();
        assert_eq!(text.matches("scope=\"row\"").count(), LARGEST);
        let first = text.split("scope=\"row\">").nth(1).unwrap();
        assert!(first.starts_with("the largest") && first.contains("−7.000"), "{first}");
        assert!(text.contains("The 20 of 80 differences"));
    }
}
