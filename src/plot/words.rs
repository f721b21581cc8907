//! Phrases that figures and reports share.

use crate::compare::{Comparison, Unit};

/// What intervals are over, with their number.
pub fn units(results: &Comparison) -> String {
    match results.unit {
        Unit::Subjects => counted(results.n_units, "subject"),
        Unit::StimulusGroups => counted(results.n_units, "stimulus group"),
    }
}

/// `1 subject`, `8 subjects`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A confidence level in per cent, without needless zeros.
pub fn percent(level: f64) -> String {
    let text = format!("{:.1}", level * 100.0);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}
