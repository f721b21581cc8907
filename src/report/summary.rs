//! The top of the page: what was run, what was found, what was planted, what to beware of.

use crate::error::Warning;
use crate::plot::seeds::Seeds;
use crate::plot::words::{counted, percent, units};
use crate::record::{Planted, RunRecord};
use crate::report::findings::{BestLayer, Findings, LargestDifference, PlantedOutcome};
use crate::report::markup::Html;
use crate::report::number::{self, number, signed};
use crate::report::rois;
use crate::report::verdict::{self, Verdict, over_layers, p_equals};
use crate::stats::bootstrap::Interval;

/// What was run, in one sentence.
pub(super) fn scope(record: &RunRecord) -> String {
    format!(
        "{}, {} at {}, {} ({}, {}), {}.",
        counted(record.checkpoints.len(), "checkpoint"),
        counted(record.responses.subjects.len(), "subject"),
        counted(record.responses.targets.len(), "target"),
        if record.responses.n_stimuli == 1 {
            "1 stimulus".to_owned()
        } else {
            format!("{} stimuli", record.responses.n_stimuli)
        },
        counted(record.responses.n_texts, "distinct text"),
        counted(record.responses.n_groups, "group"),
        record.plan.folds,
    )
}

/// What a reader of shuffled folds must know first.
pub(super) const LEAKY: &str = "The folds were shuffled at the user's request: rows that belong together, and neighbours in \
    time, are on both sides. A model that knows nothing but a row's place scores well on such folds. No number here is an \
    estimate for new data.";

/// Warnings, found, planted.
pub(super) fn sections(h: &mut Html, record: &RunRecord, findings: &Findings<'_>) {
    if record.plan.folds.leaks() {
        h.element("section", &[("id", "leaky"), ("class", "verdict fail")], |h| {
            h.leaf("h2", &[], "These folds leak");
            h.leaf("p", &[], LEAKY);
        });
    }
    warnings(h, record);
    found(h, record, findings);
    if let (Some(planted), Some(outcome)) = (&record.planted, &findings.planted) {
        recovery(h, record, planted, outcome);
    }
}

fn found(h: &mut Html, record: &RunRecord, findings: &Findings<'_>) {
    let results = &record.comparison;
    h.element("section", &[("id", "found")], |h| {
        h.leaf("h2", &[], "What was found");
        h.leaf(
            "p",
            &[],
            format!(
                "All numbers here are {}, averaged over subjects and targets; brackets are {} % confidence intervals over {}.",
                results.score,
                percent(record.plan.bootstrap.level),
                units(results)
            ),
        );
        h.element("ul", &[("class", "found")], |h| {
            for best in &findings.best {
                h.element("li", &[], |h| named(h, best.checkpoint, &best_sentence(best, findings)));
            }
            if let Some(seeds) = Seeds::of(record) {
                h.element("li", &[], |h| {
                    let name = format!("untrained, {}", counted(seeds.n, "seed"));
                    named(h, &name, &format!("{}: the best of its layers by the mean.", seeds.in_words(record, number)));
                });
            }
            h.leaf("li", &[], confounds_sentence(findings));
            for difference in &findings.differences {
                h.element("li", &[], |h| {
                    let name = minus(record, difference.checkpoint);
                    named(h, &name, &difference_sentence(record, difference));
                });
            }
            for (name, sentence) in rois::found(record) {
                h.element("li", &[], |h| named(h, &name, &sentence));
            }
        });
        if let Some(few) = verdict::too_few(record) {
            h.element("p", &[], |h| h.leaf("strong", &[], few));
        }
        h.leaf("p", &[("class", "note")], caveat(findings));
    });
}

/// `tuned − base`.
pub(super) fn minus(record: &RunRecord, checkpoint: &str) -> String {
    format!("{checkpoint} − {}", record.comparison.base_of(checkpoint).unwrap_or_default())
}

fn named(h: &mut Html, name: &str, sentence: &str) {
    h.leaf("strong", &[], name);
    h.text(": ");
    h.text(sentence);
}

/// Value and interval: `0.105 [0.080, 0.135]`.
fn with_interval(value: &str, interval: Option<Interval>) -> String {
    match interval {
        Some(_) => format!("{value} {}", number::interval(interval)),
        None => format!("{value} (no interval)"),
    }
}

fn confounds_sentence(findings: &Findings<'_>) -> String {
    match findings.confounds {
        Some((mean, interval)) => match (mean.value(), mean.reason()) {
            (Some(value), _) => format!("Confounds alone score {}.", with_interval(&number(value), interval)),
            (None, Some(reason)) => format!("The score of the confounds alone is undefined: {reason}."),
            (None, None) => "The score of the confounds alone is undefined.".to_owned(),
        },
        None => "Confounds were not scored.".to_owned(),
    }
}

/// What is said of a checkpoint's best layer.
fn best_sentence(best: &BestLayer<'_>, findings: &Findings<'_>) -> String {
    let Some((point, value)) = best.best else { return "no layer has a defined score.".to_owned() };
    let role = if best.untrained { " This checkpoint is untrained: a baseline." } else { "" };
    let gain = match best.gain {
        Some((gain, by)) => format!(
            "; {} over the confounds alone{}",
            with_interval(&signed(by), gain.interval),
            match (Verdict::of(gain.difference, gain.inference.p_fwe, &gain.inference), gain.inference.p_fwe) {
                (Verdict::Higher, Some(p)) => format!(" ({}{})", p_equals(p), over_layers(best.n_layers)),
                (Verdict::Lower, Some(p)) => format!(": below them ({}{})", p_equals(p), over_layers(best.n_layers)),
                (Verdict::Equivalent, _) => ", equivalent to them".to_owned(),
                (_, Some(p)) => format!(", undecided ({}{})", p_equals(p), over_layers(best.n_layers)),
                (_, None) => ", not tested".to_owned(),
            }
        ),
        None if findings.confounds.is_none() => String::new(),
        None => "; without a defined difference to the confounds alone".to_owned(),
    };
    let unique = best
        .unique
        .map_or(String::new(), |(unique, by)| format!("; unique cod {}", with_interval(&signed(by), unique.interval)));
    let layers = if best.n_layers == 1 { "its only layer is" } else { "best at layer" };
    let nested = match best.nested.and_then(|n| Some((n, n.nested.value()?, n.optimism?))) {
        Some((nested, value, optimism)) if best.n_layers > 1 => format!(
            " Nested, so without the optimism of that choice ({}): {}.",
            signed(optimism),
            with_interval(&number(value), nested.interval)
        ),
        _ => String::new(),
    };
    format!("{layers} {}: {}{gain}{unique}.{nested}{role}", point.layer, with_interval(&number(value), point.interval))
}

/// What is said of a difference: what its tests say.
fn difference_sentence(record: &RunRecord, difference: &LargestDifference<'_>) -> String {
    let Some((largest, value)) = difference.largest else {
        return "no layer has a defined difference.".to_owned();
    };
    let family = over_layers(difference.n_layers);
    let mut text = format!(
        "largest difference at layer {} (of {}): {}, {}.",
        largest.layer,
        counted(difference.n_layers, "layer"),
        with_interval(&signed(value), largest.interval),
        verdict::sentence(record, largest.difference, largest.inference.p_fwe, &largest.inference, &family)
    );
    if let Some((best, value)) = difference.at_best.and_then(|b| Some((b, b.difference.value()?))) {
        text.push_str(&format!(
            " Each at its own best layer (nested): {}, {}.",
            with_interval(&signed(value), best.interval),
            verdict::sentence(record, best.difference, best.inference.p, &best.inference, "")
        ));
    }
    text
}

/// How to read the numbers above.
fn caveat(findings: &Findings<'_>) -> String {
    let most = findings.best.iter().map(|b| b.n_layers).max().unwrap_or(0);
    let mut text = String::new();
    if most > 1 {
        text.push_str(&format!(
            "A best layer is the highest of up to {most} on the same data that scored it, so its score and its gain are optimistic; \
             the nested score is not. "
        ));
    }
    if !findings.differences.is_empty() {
        text.push_str(
            "Intervals are for one layer each; p-values are corrected for the choice among layers where they say so.",
        );
    }
    text.trim_end().to_owned()
}

fn recovery(h: &mut Html, record: &RunRecord, planted: &Planted, outcome: &PlantedOutcome<'_>) {
    let score = record.comparison.score;
    let class = if outcome.recovered { "verdict pass" } else { "verdict fail" };
    h.element("section", &[("id", "planted"), ("class", class)], |h| {
        h.leaf("h2", &[], "What was planted, and what was recovered");
        h.element("p", &[], |h| {
            let (word, rest) = recovery_verdict(outcome);
            h.leaf("strong", &[], word);
            h.text(format!(": {rest}"));
        });
        h.leaf(
            "p",
            &[],
            format!(
                "Planted: {} of {} are driven by layer {} of {}. Of their variance, {} is signal: no model can be expected \
                 to score a cod above {}.",
                planted.targets.len(),
                counted(record.responses.targets.len(), "target"),
                planted.layer,
                planted.checkpoint,
                number::share(planted.signal_share),
                number(planted.signal_share)
            ),
        );
        h.element("ul", &[], |h| {
            h.leaf("li", &[], match outcome.found {
                Some((checkpoint, layer, mean)) => format!(
                    "Highest mean {score} over the planted targets: layer {layer} of {checkpoint}, with {}.",
                    number(mean)
                ),
                None => "No planted target has a defined score.".to_owned(),
            });
            h.leaf(
                "li",
                &[],
                format!(
                    "{} of {} have their own highest {score} at the planted layer{}.",
                    outcome.n_highest_there,
                    counted(outcome.n_planted, "planted target"),
                    match outcome.n_planted {
                        0 => String::new(),
                        n => format!(" ({})", number::share(outcome.n_highest_there as f64 / n as f64)),
                    }
                ),
            );
            let mean = |m: Option<f64>| m.map_or("undefined".to_owned(), number);
            h.leaf(
                "li",
                &[],
                format!(
                    "Mean {score} at the planted layer: {} over the planted targets, {} over the others.",
                    mean(outcome.planted_mean),
                    mean(outcome.other_mean)
                ),
            );
        });
    });
}

/// PASS or FAIL, and of what.
pub(super) fn recovery_verdict(outcome: &PlantedOutcome<'_>) -> (&'static str, &'static str) {
    match (outcome.recovered, outcome.found) {
        (true, _) => ("PASS", "the planted layer was recovered."),
        (false, None) => ("FAIL", "nothing was recovered, because no planted target has a defined score."),
        (false, Some(_)) => ("FAIL", "the planted layer was not recovered."),
    }
}

fn warnings(h: &mut Html, record: &RunRecord) {
    if !record.left_out.is_empty() {
        h.element("section", &[("id", "left-out"), ("class", "verdict fail")], |h| {
            h.leaf("h2", &[], "Left out");
            h.leaf("p", &[], "These could not be used. The rest ran without them.");
            list(h, &record.left_out);
        });
    }
    h.element(
        "section",
        &[("id", "warnings"), ("class", if record.warnings.is_empty() { "" } else { "warnings" })],
        |h| {
            h.leaf("h2", &[], "Warnings");
            if record.warnings.is_empty() {
                h.leaf("p", &[], "None.");
            } else {
                list(h, &record.warnings);
            }
        },
    );
}

fn list(h: &mut Html, warnings: &[Warning]) {
    h.element("ul", &[], |h| {
        for warning in warnings {
            h.element("li", &[], |h| {
                h.leaf("code", &[], &warning.code);
                h.text(" ");
                h.text(&warning.message);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Score;
    use crate::record::sample;

    fn difference(p_fwe: Option<f64>) -> String {
        let mut record = sample::record();
        for d in &mut record.comparison.layer_differences {
            d.difference = Score::Value(0.03);
            d.interval = Some((0.01, 0.05));
            d.inference.p_fwe = p_fwe;
        }
        difference_sentence(&record, &Findings::of(&record).differences[0])
    }

    #[test]
    fn only_a_test_decides() {
        assert!(difference(Some(0.03125)).starts_with(
            "largest difference at layer 0 (of 5 layers): +0.030 [0.010, 0.050], different: higher, p = 0.031 corrected for 5 \
             layers. Each at its own best layer (nested): +0.030"
        ));
        assert!(difference(Some(0.2)).contains("undecided: p = 0.200 corrected for 5 layers; of a true difference"));
        assert!(difference(None).contains("+0.030 [0.010, 0.050], not tested."));
    }

    #[test]
    fn a_best_layer_comes_with_its_optimism() {
        let record = sample::record();
        let findings = Findings::of(&record);
        assert_eq!(
            best_sentence(&findings.best[0], &findings),
            "best at layer 3: 0.105 [0.080, 0.135]; +0.084 [0.064, 0.104] over the confounds alone (p = 0.031 corrected for 5 \
             layers). Nested, so without the optimism of that choice (+0.010): 0.095 [0.070, 0.120]."
        );
        assert!(best_sentence(&findings.best[2], &findings).ends_with("untrained: a baseline."));
        let text = caveat(&findings);
        assert!(text.contains("highest of up to 5") && text.contains("optimistic"));
    }

    #[test]
    fn a_gain_is_one_only_where_its_test_says_so() {
        let mut record = sample::record();
        let mut sentence = |p| {
            for d in &mut record.comparison.confound_gains {
                d.difference = Score::Value(-0.01);
                d.interval = Some((-0.02, -0.005));
                d.inference.p_fwe = p;
            }
            let findings = Findings::of(&record);
            best_sentence(&findings.best[0], &findings)
        };
        assert!(
            sentence(Some(0.03125)).contains("−0.010 [−0.020, −0.005] over the confounds alone: below them (p = 0.031")
        );
        assert!(sentence(Some(0.3)).contains("over the confounds alone, undecided (p = 0.300"));
        assert!(sentence(None).contains("over the confounds alone, not tested."));
    }

    #[test]
    fn recovery_is_said_in_one_word() {
        let mut record = sample::record();
        let verdict = |record: &RunRecord| recovery_verdict(&Findings::of(record).planted.unwrap()).0;
        assert_eq!(verdict(&record), "PASS");
        record.planted.as_mut().unwrap().checkpoint = "base".to_owned();
        assert_eq!(verdict(&record), "FAIL");
    }
}
