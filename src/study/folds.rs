//! What a study and its flags say about folds and the purge gap, checked.

use std::path::Path;

use super::narrative::DEFAULT_DELAYS;
use super::plan::Overrides;
use super::sections::SeriesSection;
use super::spec::{FoldKind, StudySpec};
use crate::encoding::FoldSpec;
use crate::error::{Code, Error};
use crate::features::Method;

/// Folds, when the study does not say.
const DEFAULT_FOLDS: usize = 5;
/// Volumes beside the longest delay that a default purge gap has.
const GAP_VOLUMES: usize = 2;
/// Length of the canonical response (s).
const RESPONSE: f64 = 32.0;
/// Seed of shuffled folds.
const SHUFFLE_SEED: u64 = 0;

/// The folds and the default gap; what is wrong with them goes to `problems`.
pub(super) fn planned(
    spec: &StudySpec,
    study: &Path,
    overrides: &Overrides,
    problems: &mut Vec<Error>,
) -> (FoldSpec, Option<usize>) {
    let encoding = &spec.encoding;
    let k = encoding.k.unwrap_or(DEFAULT_FOLDS);
    let folds = match overrides.folds.or(encoding.folds).unwrap_or(FoldKind::Contiguous) {
        FoldKind::Contiguous => FoldSpec::Contiguous { k },
        FoldKind::GroupK => FoldSpec::GroupK { k },
        FoldKind::LeaveOneRunOut => FoldSpec::LeaveOneRunOut,
        FoldKind::LeaveOneSubjectOut => FoldSpec::LeaveOneSubjectOut { k },
        FoldKind::Column => FoldSpec::Column,
        FoldKind::Shuffled => FoldSpec::Shuffled { k, seed: SHUFFLE_SEED },
    };
    let counted = !matches!(folds, FoldSpec::Column | FoldSpec::LeaveOneRunOut);
    if counted && k < 3 {
        problems.push(
            Error::new(Code::Rc03, study.display(), format!("[encoding] k is {k}"))
                .expected("at least 3 folds: alpha is chosen on the folds that remain when one is held out"),
        );
    }
    let absent = match folds {
        FoldSpec::Column if spec.stimuli.fold.is_none() => Some(("column", "fold")),
        FoldSpec::LeaveOneRunOut if spec.stimuli.run.is_none() => Some(("leave-one-run-out", "run")),
        _ => None,
    };
    if let Some((kind, column)) = absent {
        problems.push(
            Error::new(Code::Rc01, study.display(), format!("[encoding] folds = {kind:?} without a {column} column"))
                .hint(format!("Name the column: [stimuli] {column} = {column:?}")),
        );
    }
    if folds.leaks() && !overrides.allow_leaky_folds {
        problems.push(
            Error::new(Code::Rc05, study.display(), "asks for shuffled folds")
                .expected("folds that keep together what belongs together")
                .hint("Use contiguous folds; to see what shuffling does, add --allow-leaky-folds"),
        );
    }
    (folds, spec.series.as_ref().and_then(|series| default_gap(series, study, problems)))
}

/// The longest delay as given, or of the words' delays; a response delays until its end.
fn longest_delay(series: &SeriesSection) -> f64 {
    let of_words = || match (&series.delays, series.method) {
        (Some(delays), _) => delays.clone(),
        (None, Some(Method::Hrf)) => vec![RESPONSE],
        (None, _) => DEFAULT_DELAYS.to_vec(),
    };
    series.longest_delay.unwrap_or_else(|| of_words().into_iter().fold(0.0, f64::max))
}

/// The longest delay and two volumes.
fn default_gap(series: &SeriesSection, study: &Path, problems: &mut Vec<Error>) -> Option<usize> {
    let usable = series.tr.is_finite() && series.tr > 0.0;
    let delay = longest_delay(series);
    if !usable || !(0.0..=120.0).contains(&delay) {
        problems.push(
            Error::new(
                Code::Rc01,
                study.display(),
                format!("[series] has tr = {} and a longest delay of {delay}", series.tr),
            )
            .expected("a positive tr and a delay from 0 to 120, both in seconds"),
        );
        return None;
    }
    // Guards against a quotient such as 10.000000000000002.
    Some((delay / series.tr - 1e-9).ceil() as usize + GAP_VOLUMES)
}
