//! What may be said of a difference: different, equivalent or undecided, by its tests and in their numbers.

use crate::compare::{ALPHA, Inference, Tests};
use crate::encoding::Score;
use crate::plot::words::counted;
use crate::record::RunRecord;
use crate::report::number::number;

/// What the tests say of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Different from 0, and above it.
    Higher,
    /// Different from 0, and below it.
    Lower,
    /// Not shown to differ, and shown to lie within the margin.
    Equivalent,
    /// Every unit has a difference of exactly 0.
    Same,
    /// Neither shown to differ nor to be equivalent.
    Undecided,
    /// There is no test.
    Untested,
}

impl Verdict {
    /// The verdict on a difference, `p` being the one that counts: corrected for whatever was looked at.
    pub fn of(difference: Score, p: Option<f64>, inference: &Inference) -> Verdict {
        match (difference.value(), p) {
            (Some(value), Some(p)) if p < ALPHA && value > 0.0 => Verdict::Higher,
            (Some(value), Some(p)) if p < ALPHA && value < 0.0 => Verdict::Lower,
            (Some(0.0), Some(1.0)) if inference.mde80.is_none() => Verdict::Same,
            (Some(_), Some(_)) if inference.equivalent == Some(true) => Verdict::Equivalent,
            (Some(_), Some(_)) => Verdict::Undecided,
            _ => Verdict::Untested,
        }
    }

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Higher => "higher",
            Verdict::Lower => "lower",
            Verdict::Equivalent => "equivalent",
            Verdict::Same => "the same",
            Verdict::Undecided => "undecided",
            Verdict::Untested => "not tested",
        }
    }
}

/// A p-value: three decimals, more where they are needed.
pub(super) fn p_value(p: f64) -> String {
    match p {
        _ if p < 0.0001 => "< 0.0001".to_owned(),
        _ if p < 0.001 => format!("{p:.4}"),
        _ => format!("{p:.3}"),
    }
}

/// `p = 0.031`, `p < 0.0001`.
pub(super) fn p_equals(p: f64) -> String {
    let text = p_value(p);
    if text.starts_with('<') { format!("p {text}") } else { format!("p = {text}") }
}

/// The verdict with its numbers: `different: higher, p = 0.008 corrected for 7 layers`.
pub(super) fn sentence(
    record: &RunRecord,
    difference: Score,
    p: Option<f64>,
    inference: &Inference,
    family: &str,
) -> String {
    let verdict = Verdict::of(difference, p, inference);
    let tests = record.comparison.tests;
    let p_text = p.map_or(String::new(), |p| format!("{}{family}", p_equals(p)));
    let margin = tests.and_then(|t| t.settings.margin).map_or(String::new(), |m| format!("± {}", number(m)));
    let within = match (inference.equivalent, inference.p_tost) {
        (Some(true), Some(p)) => Some(format!("within {margin} ({} of two one-sided tests)", p_equals(p))),
        (Some(true), None) => Some(format!("within {margin}")),
        _ => None,
    };
    match verdict {
        Verdict::Higher | Verdict::Lower => {
            let small = within.map_or(String::new(), |w| format!("; all the same small: {w}"));
            format!("different: {}, {p_text}{small}", verdict.as_str())
        }
        Verdict::Same => "exactly the same in every unit".to_owned(),
        Verdict::Equivalent => format!("equivalent: {}; {p_text}", within.unwrap_or_default()),
        Verdict::Undecided => {
            let found = inference.mde80.map_or(String::new(), |mde| {
                format!("; of a true difference this data would find {} or more in four cases of five", number(mde))
            });
            let not_within = match (inference.equivalent, inference.p_tost) {
                (Some(false), Some(p)) => format!("; not shown to lie within {margin} ({})", p_equals(p)),
                _ => String::new(),
            };
            format!("undecided: {p_text}{not_within}{found}")
        }
        Verdict::Untested => "not tested".to_owned(),
    }
}

/// What the number of units does not allow, if anything.
pub(super) fn too_few(record: &RunRecord) -> Option<String> {
    let results = &record.comparison;
    let tests: Tests = results.tests?;
    (tests.smallest_p >= ALPHA).then(|| {
        format!(
            "With {} no p-value below {} can come out: whatever the data, nothing can be called different at {ALPHA}. Six units \
             are the fewest that can.",
            crate::plot::words::units(results),
            p_value(tests.smallest_p)
        )
    })
}

/// What p is corrected for, in a sentence: ` corrected for 7 layers`.
pub(super) fn over_layers(n: usize) -> String {
    if n > 1 { format!(" corrected for {}", counted(n, "layer")) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Reason;
    use crate::record::sample;

    #[test]
    fn the_test_decides_and_not_the_size() {
        let of = |value: f64, p: f64, equivalent: Option<bool>| {
            Verdict::of(Score::Value(value), Some(p), &Inference { equivalent, ..Inference::default() })
        };
        assert_eq!(of(0.3, 0.01, None), Verdict::Higher);
        assert_eq!(of(-0.3, 0.01, Some(true)), Verdict::Lower);
        assert_eq!(of(0.3, 0.05, None), Verdict::Undecided);
        assert_eq!(of(0.3, 0.5, Some(true)), Verdict::Equivalent);
        assert_eq!(of(0.3, 0.5, Some(false)), Verdict::Undecided);
        assert_eq!(Verdict::of(Score::Value(0.3), None, &Inference::default()), Verdict::Untested);
        assert_eq!(of(0.0, 1.0, Some(true)), Verdict::Same);
        let undefined = Score::undefined(Reason::NothingDefined);
        assert_eq!(Verdict::of(undefined, Some(0.01), &Inference::default()), Verdict::Untested);
    }

    #[test]
    fn a_verdict_comes_with_its_numbers() {
        let mut record = sample::record();
        record.comparison.tests.as_mut().unwrap().settings.margin = Some(0.02);
        let say = |value: f64, p: f64, inference: Inference| {
            sentence(&record, Score::Value(value), Some(p), &inference, &over_layers(5))
        };
        let found = Inference { mde80: Some(0.0125), ..Inference::default() };
        assert_eq!(say(0.1, 0.03125, found), "different: higher, p = 0.031 corrected for 5 layers");
        let undecided = say(0.1, 0.4, Inference { equivalent: Some(false), p_tost: Some(0.3), ..found });
        assert!(undecided.starts_with("undecided: p = 0.400 corrected for 5 layers; not shown to lie within ± 0.020"));
        assert!(undecided.contains("0.013 or more"), "{undecided}");
        let equivalent = say(0.001, 0.4, Inference { equivalent: Some(true), p_tost: Some(0.00001), ..found });
        assert!(
            equivalent.starts_with("equivalent: within ± 0.020 (p < 0.0001 of two one-sided tests)"),
            "{equivalent}"
        );
    }

    #[test]
    fn four_subjects_are_told() {
        let mut record = sample::record();
        assert_eq!(too_few(&record), None);
        record.comparison.n_units = 4;
        record.comparison.tests.as_mut().unwrap().smallest_p = 0.125;
        assert!(too_few(&record).unwrap().starts_with("With 4 subjects no p-value below 0.125 can come out"));
    }
}
