//! The tests: differences per layer, best layers without their optimism, where scores lie, groups of subjects.

use crate::compare::{ALPHA, Difference, GroupContrast, Outcome, Unit};
use crate::plot::words::{counted, units};
use crate::record::RunRecord;
use crate::report::markup::Html;
use crate::report::number::{self, number, signed};
use crate::report::summary::minus;
use crate::report::table;
use crate::report::verdict::{Verdict, p_value, too_few};

/// All sections about tests.
pub(super) fn sections(h: &mut Html, record: &RunRecord) {
    best_layers(h, record);
    if record.comparison.tests.is_some() && !record.comparison.layer_differences.is_empty() {
        tests(h, record);
    }
    groups(h, record);
}

/// A p-value in a cell.
fn p_cell(h: &mut Html, p: Option<f64>) {
    table::figure(h, p.map_or("–".to_owned(), p_value));
}

fn tests(h: &mut Html, record: &RunRecord) {
    let results = &record.comparison;
    h.element("section", &[("id", "tests")], |h| {
        h.leaf("h2", &[], "Are the differences there?");
        h.leaf("p", &[], how(record));
        if let Some(warning) = too_few(record) {
            h.element("p", &[], |h| h.leaf("strong", &[], warning));
        }
        let margin = results.tests.and_then(|t| t.settings.margin);
        let difference = format!("difference in {}", results.score);
        let mut heads = vec!["layer", difference.as_str(), "p", "p corrected", "smallest detectable"];
        let within = margin.map(|m| format!("p within ± {}", number(m)));
        heads.extend(within.as_deref());
        let both = results.layer_differences.iter().any(|d| d.inference.two_way.is_some());
        if both {
            heads.push("two-way interval");
        }
        heads.push("verdict");
        let caption = "Tests of the differences, mean over targets";
        table::table(h, caption, &heads, |h| {
            for checkpoint in record.checkpoints.iter().filter(|c| results.base_of(&c.label).is_some()) {
                h.element("tbody", &[], |h| {
                    table::group(h, &minus(record, &checkpoint.label), heads.len());
                    let own = |d: &&Difference| d.checkpoint == checkpoint.label && d.score == results.score;
                    for d in results.layer_differences.iter().filter(own) {
                        table::row(h, &d.layer.to_string(), |h| {
                            table::score(h, d.difference, d.interval, signed);
                            p_cell(h, d.inference.p);
                            p_cell(h, d.inference.p_fwe);
                            table::figure(h, d.inference.mde80.map_or("–".to_owned(), number));
                            if margin.is_some() {
                                p_cell(h, d.inference.p_tost);
                            }
                            if both {
                                table::figure(h, number::interval(d.inference.two_way));
                            }
                            table::words(h, Verdict::of(d.difference, d.inference.p_fwe, &d.inference).as_str());
                        });
                    }
                });
            }
        });
        h.leaf(
            "p",
            &[("class", "note")],
            "Smallest detectable: the true difference that a t test of these units finds at 0.05 in four cases of five, \
             uncorrected; a smaller one is easily missed. Two-way interval: over subjects and stimulus groups at once, for new \
             people and new stimuli. Every score, layer and target with p, p_fwe, q_fdr and mde80 is in comparison.csv.",
        );
    });
}

/// How the tests were made, in two or three sentences.
pub(super) fn how(record: &RunRecord) -> String {
    let results = &record.comparison;
    let Some(tests) = results.tests else { return String::new() };
    let patterns = if tests.exact {
        format!("all {} patterns of signs", tests.patterns + 1)
    } else {
        format!("{} random patterns of signs (seed {})", tests.patterns, tests.settings.seed)
    };
    let what = match results.unit {
        Unit::Subjects => format!(
            "Paired sign-flip permutation over {}, {patterns}: under the null a subject's difference is as likely to have the \
             other sign.",
            units(results)
        ),
        Unit::StimulusGroups => format!(
            "One subject, or one averaged response: block permutation over {}, {patterns}. Under the null the two models' \
             contributions of a group can be swapped. This says whether the difference holds for other stimuli of this kind in \
             this response, and nothing about other people. Where neither model predicts the response there is no test.",
            units(results)
        ),
    };
    format!(
        "{what} Corrected p: the largest |t| over the layers of a checkpoint, or over its layers and targets for single targets \
         (q: Benjamini–Hochberg over the same)."
    )
}

/// How nested best layers are chosen.
pub(super) fn chosen_by(unit: Unit) -> &'static str {
    match unit {
        Unit::Subjects => "for each subject and fold by the inner errors of the other subjects",
        Unit::StimulusGroups => "for each fold by its inner errors",
    }
}

fn best_layers(h: &mut Html, record: &RunRecord) {
    let results = &record.comparison;
    let score = results.score;
    if results.best_layers.is_empty() {
        return;
    }
    h.element("section", &[("id", "best")], |h| {
        h.leaf("h2", &[], "Best layers without their optimism");
        let over = chosen_by(results.unit);
        h.leaf(
            "p",
            &[],
            format!(
                "The highest of several scores is too high: chance helped it win. Here the layer is chosen {over}, and scored \
                 where it was not chosen (nested). Optimism: how much higher the naive maximum is. Centre of mass: where in the \
                 network the scores above 0 lie, from 0 (embedding output) to 1 (last layer)."
            ),
        );
        let head = format!("nested {score}");
        let heads =
            ["checkpoint", "layers chosen", head.as_str(), "naive maximum", "optimism", "centre of mass"];
        table::table(h, "Best layers chosen on other data than they are scored on", &heads, |h| {
            h.element("tbody", &[], |h| {
                for best in &results.best_layers {
                    table::row(h, &best.checkpoint, |h| {
                        table::words(h, chosen(&best.chosen));
                        table::score(h, best.nested, best.interval, number);
                        table::score(h, best.naive, None, number);
                        table::figure(h, best.optimism.map_or("–".to_owned(), signed));
                        table::score(h, best.centre, best.centre_interval, number);
                    });
                }
            });
        });
        if results.best_differences.is_empty() {
            return;
        }
        let difference = format!("difference in nested {score}");
        let heads =
            ["checkpoint", difference.as_str(), "p", "smallest detectable", "verdict", "shift of centre", "p of shift"];
        let caption = format!("Each checkpoint at its own best layer against {} at its own", results.compared_with());
        table::table(h, &caption, &heads, |h| {
            h.element("tbody", &[], |h| {
                for (best, shift) in results.best_differences.iter().zip(&results.profile_differences) {
                    table::row(h, &best.checkpoint, |h| {
                        table::score(h, best.difference, best.interval, signed);
                        p_cell(h, best.inference.p);
                        table::figure(h, best.inference.mde80.map_or("–".to_owned(), number));
                        table::words(h, Verdict::of(best.difference, best.inference.p, &best.inference).as_str());
                        table::score(h, shift.difference, shift.interval, signed);
                        p_cell(h, shift.p);
                    });
                }
            });
        });
    });
}

/// `3 (38 of 40), 4 (2)`.
pub(super) fn chosen(layers: &[(crate::ids::Layer, usize)]) -> String {
    let all: usize = layers.iter().map(|(_, n)| n).sum();
    match layers {
        [] => "–".to_owned(),
        [(only, _)] => format!("{only} always"),
        _ => {
            let list: Vec<String> = layers.iter().map(|(layer, n)| format!("{layer} ({n})")).collect();
            format!("{} of {all}", list.join(", "))
        }
    }
}

fn groups(h: &mut Html, record: &RunRecord) {
    let results = &record.comparison;
    let Some(design) = &results.group_design else { return };
    h.element("section", &[("id", "groups")], |h| {
        h.leaf("h2", &[], "Groups of subjects");
        let covariates = match design.covariates.as_slice() {
            [] => "No covariates.".to_owned(),
            names => format!("Held fixed: {} (Freedman–Lane).", names.join(", ")),
        };
        h.leaf(
            "p",
            &[],
            format!(
                "{}: permutation of the group labels, mean over targets, corrected over layers by the largest |t|. {covariates} \
                 Intervals are from least squares. All layers are in groups.csv.",
                counted(design.groups.len(), "group")
            ),
        );
        if let Some(few) = few_deals(&results.group_contrasts) {
            h.element("p", &[], |h| h.leaf("strong", &[], few));
        }
        let contrast = format!("contrast in {}", results.score);
        let heads = ["checkpoint", "groups", "layer", "means", contrast.as_str(), "p", "p corrected"];
        table::table(h, "Groups compared: nested best layer, and the layer that differs most", &heads, |h| {
            h.element("tbody", &[], |h| {
                for (best, largest) in pairs(&results.group_contrasts) {
                    for row in [best, largest].into_iter().flatten() {
                        group_row(h, record, row);
                    }
                }
            });
        });
    });
}

/// What groups are too small to show, if any is.
fn few_deals(all: &[GroupContrast]) -> Option<String> {
    let smallest = |c: &GroupContrast| {
        let (a, b) = (c.first.n, c.second.n);
        let deals: f64 = (1..=a.min(b)).map(|i| (a + b + 1 - i) as f64 / i as f64).product();
        // Equal groups: each deal has a mirror image with the same |t|.
        if a == b { 2.0 / deals } else { 1.0 / deals }
    };
    let c = all.iter().find(|c| smallest(c) >= ALPHA)?;
    Some(format!(
        "With {} and {} subjects labels can be dealt in so few ways that no p-value below {} can come out.",
        c.first.n,
        c.second.n,
        p_value(smallest(c))
    ))
}

/// For each checkpoint, outcome and pair of groups: the nested best layer, and the layer with the largest |t|.
fn pairs(all: &[GroupContrast]) -> Vec<(Option<&GroupContrast>, Option<&GroupContrast>)> {
    let key = |c: &GroupContrast| (c.outcome, c.checkpoint.clone(), c.first.name.clone(), c.second.name.clone());
    let mut keys = Vec::new();
    for contrast in all {
        if !keys.contains(&key(contrast)) {
            keys.push(key(contrast));
        }
    }
    keys.iter()
        .map(|k| {
            let own = || all.iter().filter(|c| key(c) == *k);
            let best = own().find(|c| c.layer.is_none());
            let t = |c: &&GroupContrast| c.t.unwrap_or(0.0).abs();
            let largest = own().filter(|c| c.layer.is_some()).reduce(|a, b| if t(&b) > t(&a) { b } else { a });
            (best, largest)
        })
        .collect()
}

fn group_row(h: &mut Html, record: &RunRecord, row: &GroupContrast) {
    let name = match row.outcome {
        Outcome::Score => row.checkpoint.clone(),
        Outcome::Difference => minus(record, &row.checkpoint),
    };
    table::row(h, &name, |h| {
        table::words(h, format!("{} ({}) − {} ({})", row.second.name, row.second.n, row.first.name, row.first.n));
        table::figure(h, row.layer.map_or("best (nested)".to_owned(), |l| l.to_string()));
        table::figure(h, format!("{} and {}", number::score(row.second.mean), number::score(row.first.mean)));
        table::score(h, row.contrast, row.interval, signed);
        p_cell(h, row.p);
        p_cell(h, row.p_fwe);
    });
}

#[cfg(test)]
mod checks {
    use super::*;
    use crate::compare::{GroupDesign, GroupMean};
    use crate::encoding::Score;
    use crate::ids::Layer;
    use crate::record::sample;

    fn page(record: &RunRecord) -> String {
        let mut h = Html::default();
        sections(&mut h, record);
        let text = h.finish();
        sample::tags(&text);
        text
    }

    #[test]
    fn one_response_says_that_it_is_one() {
        let mut record = sample::record();
        assert!(page(&record).contains("all 32 patterns of signs"));
        record.comparison.unit = Unit::StimulusGroups;
        record.comparison.tests.as_mut().unwrap().exact = false;
        let text = page(&record);
        assert!(
            text.contains("block permutation over 6 stimulus groups") && text.contains("nothing about other people")
        );
    }

    #[test]
    fn groups_show_their_best_and_their_largest() {
        let mut record = sample::record();
        let mean = |name: &str| GroupMean { name: name.to_owned(), n: 3, mean: Score::Value(0.1) };
        record.comparison.group_design =
            Some(GroupDesign { groups: vec!["a".to_owned(), "b".to_owned()], covariates: vec!["age".to_owned()] });
        for (layer, t) in [(None, 1.0), (Some(Layer(0)), 2.0), (Some(Layer(1)), -3.0)] {
            record.comparison.group_contrasts.push(GroupContrast {
                outcome: Outcome::Score,
                checkpoint: "base".to_owned(),
                layer,
                first: mean("a"),
                second: mean("b"),
                contrast: Score::Value(0.01 * t),
                interval: None,
                t: Some(t),
                p: Some(0.2),
                p_fwe: Some(0.4),
            });
        }
        let text = page(&record);
        assert!(text.contains("Held fixed: age") && text.contains("best (nested)"));
        assert!(text.contains("−0.030") && !text.contains("+0.020"), "the layer with the largest |t| is shown");
        assert!(text.contains("With 3 and 3 subjects") && text.contains("no p-value below 0.100"), "{text}");
    }

    #[test]
    fn choices_are_counted() {
        assert_eq!(chosen(&[(Layer(3), 8)]), "3 always");
        assert_eq!(chosen(&[(Layer(3), 8), (Layer(1), 2)]), "3 (8), 1 (2) of 10");
    }
}
