//! The summary for a terminal: aligned columns, plain characters.

use crate::compare::Inference;
use crate::encoding::Score;
use crate::plot::seeds::Seeds;
use crate::plot::words::{counted, percent, units};
use crate::record::{RunRecord, Severity};
use crate::report::findings::Findings;
use crate::report::number::{self, number, signed};
use crate::report::rois;
use crate::report::summary::{recovery_verdict, scope};
use crate::report::verdict::{Verdict, p_value, too_few};
use crate::stats::bootstrap::Interval;
use crate::visible::shortened;

/// Characters of a label that fit.
const LABEL: usize = 26;

/// The summary, line by line.
pub(super) fn summary(record: &RunRecord) -> String {
    let findings = Findings::of(record);
    let results = &record.comparison;
    let mut lines = vec![
        format!("Study {}", shortened(&record.plan.study, 70)),
        scope(record),
        format!(
            "Score: {}, mean over subjects and targets; [..] = {} % interval over {}.",
            results.score,
            percent(record.plan.bootstrap.level),
            units(results)
        ),
        String::new(),
    ];
    if record.plan.folds.leaks() {
        lines.insert(0, "LEAKY FOLDS: shuffled. No number below is an estimate for new data.".to_owned());
    }
    let head = [
        "checkpoint",
        "best layer",
        results.score.as_str(),
        "interval",
        "nested",
        "optimism",
        "over confounds",
        "unique cod",
    ];
    // Not asked for, not shown.
    let columns = head.len() - usize::from(results.unique_cod.is_empty());
    let mut rows = vec![head.map(str::to_owned)];
    for best in &findings.best {
        let (layer, score, interval) = match best.best {
            Some((point, value)) => (point.layer.to_string(), number(value), number::interval(point.interval)),
            None => ("-".to_owned(), "undefined".to_owned(), "-".to_owned()),
        };
        rows.push([
            label(best.checkpoint, best.untrained),
            layer,
            score,
            interval,
            best.nested.map_or("-".to_owned(), |n| number::score(n.nested)),
            best.nested.and_then(|n| n.optimism).map_or("-".to_owned(), signed),
            best.gain.map_or("-".to_owned(), |(d, by)| format!("{} {}", signed(by), number::interval(d.interval))),
            best.unique.map_or("-".to_owned(), |(d, by)| format!("{} {}", signed(by), number::interval(d.interval))),
        ]);
    }
    for one in &results.combined {
        let Some(score) = one.scores.iter().find(|s| s.score == results.score) else { continue };
        rows.push([
            format!("{} ({})", label(&one.checkpoint, false), one.model.as_str()),
            "all".to_owned(),
            number::score(score.mean),
            number::interval(score.interval),
            "-".to_owned(),
            "-".to_owned(),
            score
                .gain
                .difference
                .value()
                .map_or("-".to_owned(), |by| format!("{} {}", signed(by), number::interval(score.gain.interval))),
            "-".to_owned(),
        ]);
    }
    if let Some((mean, interval)) = findings.confounds {
        rows.push([
            "(confounds only)".to_owned(),
            "-".to_owned(),
            number::score(mean),
            number::interval(interval),
            "-".to_owned(),
            "-".to_owned(),
            String::new(),
            String::new(),
        ]);
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|r| r.into_iter().take(columns).collect()).collect();
    lines.extend(aligned(&rows));
    if let Some(seeds) = Seeds::of(record) {
        let text = seeds.in_words(record, number).replace(['−', '–'], "-");
        lines.push(format!("Untrained, {}: {text}.", counted(seeds.n, "seed")));
    }
    if findings.best.iter().any(|b| b.n_layers > 1) {
        lines.push(
            "The best of several layers is optimistic, chosen on the data that scored it; the nested score is not."
                .to_owned(),
        );
    }
    if !findings.differences.is_empty() {
        lines.push(String::new());
        let head = format!("difference to {}", shortened(results.compared_with(), 20));
        let heads = [head.as_str(), "layer", results.score.as_str(), "interval", "p", "verdict"];
        let mut rows = vec![heads.map(str::to_owned)];
        for difference in &findings.differences {
            let name = label(difference.checkpoint, false);
            if let Some((d, value)) = difference.largest {
                rows.push(tested(&name, &d.layer.to_string(), value, d.interval, d.inference.p_fwe, &d.inference));
            } else {
                rows.push([name.as_str(), "-", "undefined", "-", "-", ""].map(str::to_owned));
            }
            if let Some((d, value)) = difference.at_best.and_then(|d| Some((d, d.difference.value()?))) {
                rows.push(tested(&name, "nested", value, d.interval, d.inference.p, &d.inference));
            }
        }
        lines.extend(aligned(&rows));
        lines.push(
            "Largest over the layers (p corrected for them), and each checkpoint at its own nested best layer."
                .to_owned(),
        );
        lines.extend(regions(record));
        lines.extend(too_few(record));
    }
    if let Some(outcome) = &findings.planted {
        let (word, rest) = recovery_verdict(outcome);
        lines.push(String::new());
        lines.push(format!("Planted: {word}, {rest}"));
        if let (Some((checkpoint, layer, _)), Some(planted)) = (outcome.found, &record.planted) {
            lines.push(format!(
                "  planted in layer {} of {}; found in layer {layer} of {}; {} of {} peak there",
                planted.layer,
                shortened(&planted.checkpoint, LABEL),
                shortened(checkpoint, LABEL),
                outcome.n_highest_there,
                counted(outcome.n_planted, "planted target"),
            ));
        }
    }
    let severe = record.audit.iter().filter(|f| f.severity == Severity::Severe);
    for finding in severe {
        lines.push(String::new());
        lines.push(format!("SEVERE {}: {}. {}.", finding.code, finding.found, finding.remedy));
    }
    if !record.warnings.is_empty() {
        lines.push(String::new());
        lines.push(format!("{}: see the report.", counted(record.warnings.len(), "warning")));
    }
    lines.join("\n")
}

/// The table of regions of interest, if there are any.
fn regions(record: &RunRecord) -> Vec<String> {
    let rows = rois::terminal(record);
    if rows.is_empty() {
        return Vec::new();
    }
    let heads =
        ["region", "checkpoint", record.comparison.score.as_str(), "interval", "p", "verdict"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(rows).collect();
    let mut lines = vec![String::new()];
    lines.extend(aligned(&rows));
    lines.push(
        "Each checkpoint at its own nested best layer in the region; p corrected for regions, or comparisons."
            .to_owned(),
    );
    if let Some((text, passed)) = record.comparison.rois.as_ref().and_then(|r| rois::planted_words(record, r)) {
        lines.push(format!("Region: {}{}", if passed { "PASS" } else { "FAIL" }, text.replace('−', "-")));
    }
    lines
}

/// A row of the table of differences.
fn tested(
    name: &str,
    layer: &str,
    value: f64,
    interval: Option<Interval>,
    p: Option<f64>,
    inference: &Inference,
) -> [String; 6] {
    let verdict = Verdict::of(Score::Value(value), p, inference);
    let more = match (verdict, inference.mde80) {
        (Verdict::Undecided, Some(mde)) => format!("undecided (detectable: {})", number(mde)),
        (Verdict::Higher | Verdict::Lower, _) if inference.equivalent == Some(true) => {
            format!("{}, within the margin", verdict.as_str())
        }
        _ => verdict.as_str().to_owned(),
    };
    [
        name.to_owned(),
        layer.to_owned(),
        signed(value),
        number::interval(interval),
        p.map_or("-".to_owned(), p_value),
        more,
    ]
}

fn label(checkpoint: &str, untrained: bool) -> String {
    format!("{}{}", shortened(checkpoint, LABEL), if untrained { " (untrained)" } else { "" })
}

/// Rows under each other: the first column to the left, numbers to the right, the last column as it comes.
fn aligned<R: AsRef<[String]>>(rows: &[R]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|r| r.as_ref()[column].chars().count()).max().unwrap_or(0);
    let columns = rows.first().map_or(0, |r| r.as_ref().len());
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let mut line = String::from(" ");
            for (i, cell) in row.as_ref().iter().enumerate() {
                let cell = cell.replace(['−', '–'], "-");
                let width = widths[i];
                match i {
                    0 => line.push_str(&format!(" {cell:<width$}")),
                    _ if i + 1 == columns => line.push_str(&format!("  {cell}")),
                    _ => line.push_str(&format!("  {cell:>width$}")),
                }
            }
            line.trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn the_summary_is_short_and_aligned() {
        let text = summary(&sample::record());
        let lines: Vec<&str> = text.lines().collect();
        assert!((10..=20).contains(&lines.len()), "{text}");
        assert!(lines.iter().all(|l| l.chars().count() <= 110), "{text}");
        let row = |start: &str| *lines.iter().find(|l| l.trim_start().starts_with(start)).unwrap();
        assert!(row("base").contains("3  0.105  [0.080, 0.135]   0.095    +0.010  +0.084 [0.064, 0.104]"), "{text}");
        assert_eq!(row("base").find("0.105"), row("tuned").find("0.135"), "{text}");
        assert!(
            lines.iter().any(|l| l.contains("tuned") && l.contains("+0.030") && l.ends_with("0.031  higher")),
            "{text}"
        );
        assert!(
            lines.iter().any(|l| l.contains("untrained") && l.ends_with("undecided (detectable: 0.016)")),
            "{text}"
        );
        assert!(text.contains("Planted: PASS, the planted layer was recovered."));
        assert!(text.contains("optimistic"));
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let mut record = sample::of(&[("a\u{1b}]8;;http://x\u{7}\u{202e}", 2), ("b\n\r", 2)]);
        record.plan.study = "\u{1b}[2J".to_owned();
        let text = summary(&record);
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("\\u{1b}[2J"));
    }
}
