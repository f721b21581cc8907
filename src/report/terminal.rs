//! The summary for a terminal: aligned columns, plain characters.

use crate::plot::seeds::Seeds;
use crate::plot::words::{counted, percent, units};
use crate::record::{RunRecord, Severity};
use crate::report::findings::{Findings, Verdict};
use crate::report::number::{self, number, signed};
use crate::report::summary::{recovery_verdict, scope};
use crate::visible::shortened;

/// Characters of a label that fit.
const LABEL: usize = 36;

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
    let head = ["checkpoint", "best layer", results.score.as_str(), "interval", "over confounds"].map(str::to_owned);
    let mut rows = vec![head];
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
            best.gain.map_or("-".to_owned(), |(d, by)| format!("{} {}", signed(by), number::interval(d.interval))),
        ]);
    }
    if let Some((mean, interval)) = findings.confounds {
        rows.push([
            "(confounds only)".to_owned(),
            "-".to_owned(),
            number::score(mean),
            number::interval(interval),
            String::new(),
        ]);
    }
    lines.extend(aligned(&rows));
    if let Some(seeds) = Seeds::of(record) {
        let text = seeds.in_words(record, number).replace(['−', '–'], "-");
        lines.push(format!("Untrained, {}: {text}.", counted(seeds.n, "seed")));
    }
    if findings.best.iter().any(|b| b.n_layers > 1) {
        lines.push("The best of several layers is optimistic: chosen on the data that scored it.".to_owned());
    }
    if !findings.differences.is_empty() {
        lines.push(String::new());
        let head = [format!("largest difference to {}", shortened(&results.reference, 20))];
        let mut rows = vec![
            head.into_iter().chain(["layer", results.score.as_str(), "interval", "sign"].map(str::to_owned)).collect(),
        ];
        for difference in &findings.differences {
            let cells = match difference.largest {
                Some((d, value)) => [
                    d.layer.to_string(),
                    signed(value),
                    number::interval(d.interval),
                    match Verdict::of(d.interval) {
                        Verdict::Undecided => "undecided (0 inside)",
                        other => other.as_str(),
                    }
                    .to_owned(),
                ],
                None => ["-", "undefined", "-", ""].map(str::to_owned),
            };
            rows.push([label(difference.checkpoint, false)].into_iter().chain(cells).collect::<Vec<_>>());
        }
        lines.extend(aligned(&rows));
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
        assert!(row("base").contains("3  0.105  [0.080, 0.135]  +0.084 [0.064, 0.104]"), "{text}");
        assert_eq!(row("base").find("0.105"), row("tuned").find("0.135"), "{text}");
        assert!(lines.iter().any(|l| l.contains("tuned") && l.contains("+0.030") && l.ends_with("higher")), "{text}");
        assert!(lines.iter().any(|l| l.contains("untrained") && l.ends_with("undecided (0 inside)")), "{text}");
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
