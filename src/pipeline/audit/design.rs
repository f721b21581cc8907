//! What the design alone says: nothing is fitted.

use std::collections::{BTreeSet, HashMap};

use super::texts::{held, near_pairs};
use crate::error::first_five;
use crate::pipeline::preflight::Prepared;
use crate::record::{AuditFinding, Severity};
use crate::stats::distinct;

/// Fewest training rows of an inner fit below which ridge has little to learn from.
const FEW_ROWS: usize = 50;
/// Share of rows with a near-duplicate in another fold from which scores are inflated as a whole.
const MANY: f64 = 0.05;

/// All findings about texts, groups, runs, gap, fine-tuning and numbers of rows.
pub(super) fn findings(prepared: &Prepared) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    found.extend(leaky(prepared));
    found.extend(same_text(prepared));
    found.extend(near_text(prepared));
    found.extend(groups(prepared));
    found.extend(runs(prepared));
    found.extend(gap(prepared));
    found.extend(finetuned(prepared));
    found.extend(few_rows(prepared));
    found
}

fn leaky(prepared: &Prepared) -> Option<AuditFinding> {
    prepared.plan.folds.leaks().then(|| {
        AuditFinding::new(
            "AU-13",
            Severity::Severe,
            "the folds are shuffled: rows that belong together, and neighbours in time, lie on both sides",
            "Use contiguous folds",
        )
    })
}

/// Rows whose label (text, group, …) also stands in another fold.
fn torn(labels: &[usize], folds: &[usize]) -> Vec<usize> {
    let mut folds_of: HashMap<usize, BTreeSet<usize>> = HashMap::new();
    labels.iter().zip(folds).for_each(|(label, fold)| {
        folds_of.entry(*label).or_default().insert(*fold);
    });
    (0..labels.len()).filter(|row| folds_of[&labels[*row]].len() > 1).collect()
}

fn names(prepared: &Prepared, rows: &[usize]) -> String {
    first_five(rows.iter().map(|row| prepared.stimuli.ids()[*row].as_str()))
}

fn same_text(prepared: &Prepared) -> Option<AuditFinding> {
    let rows = torn(&prepared.text_of_row, prepared.folds.of_row());
    (!rows.is_empty()).then(|| {
        AuditFinding::new(
            "AU-01",
            Severity::Severe,
            format!("{} rows hold a text that also stands in another fold: {}", rows.len(), names(prepared, &rows)),
            "Use folds that keep a text together (contiguous, group-k)",
        )
    })
}

fn near_text(prepared: &Prepared) -> Option<AuditFinding> {
    if prepared.design.is_narrative() {
        // The few words of a volume resemble those of another without being the same text.
        return None;
    }
    let (texts, _) = prepared.stimuli.distinct_texts();
    let folds_of_text = |text: usize| {
        let rows = prepared.text_of_row.iter().zip(prepared.folds.of_row());
        rows.filter(|(t, _)| **t == text).map(|(_, fold)| *fold).collect::<BTreeSet<usize>>()
    };
    let folds: Vec<BTreeSet<usize>> = (0..texts.len()).map(folds_of_text).collect();
    let pairs: Vec<(usize, usize)> =
        near_pairs(&texts, &texts).into_iter().filter(|(a, b)| a < b && folds[*a] != folds[*b]).collect();
    let concerned: BTreeSet<usize> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let first_row = |text: usize| prepared.text_of_row.iter().position(|t| *t == text).unwrap_or(0);
    let shown = pairs.iter().map(|(a, b)| {
        let id = |text| prepared.stimuli.ids()[first_row(text)].as_str();
        format!("{} ~ {}", id(*a), id(*b))
    });
    let share = concerned.len() as f64 / texts.len().max(1) as f64;
    let severity = if share > MANY { Severity::Severe } else { Severity::Warning };
    (!pairs.is_empty()).then(|| {
        AuditFinding::new(
            "AU-02",
            severity,
            format!(
                "{} of {} texts have a near-duplicate in another fold (at least {:.0} % of their runs of three words in common): {}",
                concerned.len(),
                texts.len(),
                100.0 * super::texts::NEAR,
                first_five(shown)
            ),
            "Give versions of one text one value in a group column ([stimuli] group)",
        )
    })
}

fn groups(prepared: &Prepared) -> Option<AuditFinding> {
    let labels = prepared.stimuli.group_labels()?;
    let rows = torn(&distinct(labels), prepared.folds.of_row());
    (!rows.is_empty()).then(|| {
        AuditFinding::new(
            "AU-03",
            Severity::Severe,
            format!(
                "{} rows belong to a group of the study that also has rows in another fold: {}",
                rows.len(),
                names(prepared, &rows)
            ),
            "Use folds that keep groups together (contiguous, group-k)",
        )
    })
}

fn runs(prepared: &Prepared) -> Option<AuditFinding> {
    prepared.stimuli.run_labels()?;
    let rows = torn(&prepared.stimuli.runs(), prepared.folds.of_row());
    if rows.is_empty() {
        return None;
    }
    let guarded = prepared.plan.default_gap.is_some_and(|least| prepared.plan.gap >= least);
    let severity = if guarded { Severity::Note } else { Severity::Warning };
    Some(AuditFinding::new(
        "AU-04",
        severity,
        format!(
            "{} rows lie in runs that are cut by folds, {}",
            rows.len(),
            match prepared.plan.gap {
                0 => "without a purge gap".to_owned(),
                gap => format!("with a purge gap of {gap} rows"),
            }
        ),
        "Use folds = \"leave-one-run-out\", or a gap as long as the responses stay correlated ([encoding] gap)",
    ))
}

fn gap(prepared: &Prepared) -> Option<AuditFinding> {
    let least = prepared.plan.default_gap.filter(|least| prepared.plan.gap < *least)?;
    let wide = prepared.folds.clone().with_gap(&prepared.stimuli.runs(), least);
    let is_closer = |row: &usize| wide.near(*row).len() > prepared.folds.near(*row).len();
    let rows: Vec<usize> = (0..prepared.stimuli.len()).filter(is_closer).collect();
    (!rows.is_empty()).then(|| {
        AuditFinding::new(
            "AU-05",
            Severity::Severe,
            format!(
                "{} rows train although they lie within {least} volumes (longest delay and 2 volumes) of a held-out row of their run; the gap is {}",
                rows.len(),
                prepared.plan.gap
            ),
            "Leave [encoding] gap out, or set it to that number",
        )
    })
}

fn finetuned(prepared: &Prepared) -> Option<AuditFinding> {
    if prepared.finetuning.is_empty() || prepared.design.is_narrative() {
        return None;
    }
    let (texts, _) = prepared.stimuli.distinct_texts();
    let seen: Vec<&str> = prepared.finetuning.iter().map(String::as_str).collect();
    let known = held(&texts, &seen);
    let rows: Vec<usize> =
        (0..prepared.stimuli.len()).filter(|row| known.contains(&prepared.text_of_row[*row])).collect();
    (!rows.is_empty()).then(|| {
        AuditFinding::new(
            "AU-06",
            Severity::Severe,
            format!(
                "{} of {} stimuli stand, word by word or nearly so, in texts that checkpoints were fine-tuned on: {}",
                rows.len(),
                prepared.stimuli.len(),
                names(prepared, &rows)
            ),
            "Score on stimuli that no checkpoint has seen, or leave those out",
        )
    })
}

fn few_rows(prepared: &Prepared) -> Vec<AuditFinding> {
    let mut found = Vec::new();
    let mut least = usize::MAX;
    let mut small = 0;
    for cohort in &prepared.cohorts {
        let folds = prepared.folds.subset(cohort.rows());
        small += (0..folds.count()).filter(|fold| folds.test_rows(*fold).len() < 3).count();
        let pairs = (0..folds.count()).flat_map(|a| (a + 1..folds.count()).map(move |b| [a, b]));
        least = pairs.map(|pair| folds.train_rows(&pair).len()).fold(least, usize::min);
    }
    if small > 0 {
        found.push(AuditFinding::new(
            "AU-09",
            Severity::Severe,
            format!("{small} test folds have fewer than 3 rows: their scores, and all means over folds, are undefined"),
            "Ask for fewer folds ([encoding] k)",
        ));
    }
    if least < FEW_ROWS {
        found.push(AuditFinding::new(
            "AU-09",
            Severity::Warning,
            format!("alpha is chosen on as few as {least} training rows: small effects cannot be seen, and scores below 0 are to be expected"),
            "Run `brainscore selftest` with this study: it says which effects could be seen",
        ));
    }
    found
}
