//! How numbers are written: three decimals, a true minus sign, and words where there is none.

use crate::encoding::Score;
use crate::stats::bootstrap::Interval;

/// Three decimals; never `-0.000`.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "undefined".to_owned();
    }
    let text = if value.abs() >= 1e6 { format!("{value:.3e}") } else { format!("{value:.3}") };
    match text.strip_prefix('-') {
        Some(digits) if digits == "0.000" => digits.to_owned(),
        Some(digits) => format!("−{}", digits.replace('-', "−")),
        None => text,
    }
}

/// As [`number`], with a plus sign for what is above zero.
pub(super) fn signed(value: f64) -> String {
    let text = number(value);
    if value > 0.0 && text != "0.000" { format!("+{text}") } else { text }
}

/// A score, or `undefined`.
pub(super) fn score(score: Score) -> String {
    score.value().map_or("undefined".to_owned(), number)
}

/// `[low, high]`, or a dash where there is no interval.
pub(super) fn interval(interval: Option<Interval>) -> String {
    match interval.filter(|(low, high)| low.is_finite() && high.is_finite()) {
        Some((low, high)) => format!("[{}, {}]", number(low), number(high)),
        None => "–".to_owned(),
    }
}

/// A share in per cent with one decimal.
pub(super) fn share(value: f64) -> String {
    if value.is_finite() { format!("{:.1} %", value * 100.0) } else { "undefined".to_owned() }
}

/// A count with thin spaces between thousands.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Reason;

    #[test]
    fn numbers_have_three_decimals_and_a_true_minus() {
        assert_eq!(number(-0.12345), "−0.123");
        assert_eq!((number(-0.0001), signed(0.0001), signed(0.02), signed(-0.02)).0, "0.000");
        assert_eq!(
            (signed(0.0001).as_str(), signed(0.02).as_str(), signed(-0.02).as_str()),
            ("0.000", "+0.020", "−0.020")
        );
        assert_eq!((number(f64::NAN).as_str(), number(-2.5e7).as_str()), ("undefined", "−2.500e7"));
        assert_eq!(score(Score::undefined(Reason::ConstantTarget)), "undefined");
        assert_eq!(interval(Some((-0.1, 0.25))), "[−0.100, 0.250]");
        assert_eq!(
            (interval(None), count(1_234_567), count(12)),
            ("–".into(), "1\u{202f}234\u{202f}567".into(), "12".into())
        );
    }
}
