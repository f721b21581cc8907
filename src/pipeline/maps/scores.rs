//! Which values a run has per target, and what they are called.

use std::collections::HashMap;
use std::path::Path;

use crate::encoding::ScoreName;
use crate::error::{Code, Result};
use crate::ids::Layer;
use crate::io::bounded::MAX_TABLE_BYTES;
use crate::io::records::{self, Records};
use crate::io::table::find_cell;
use crate::record::RunRecord;

/// Values per target, and what they are.
pub(super) struct TargetValues {
    /// What the files are named after.
    pub file: String,
    pub kind: &'static str,
    pub title: String,
    /// Score and unit, at the colour bar.
    pub unit: String,
    /// How it came about, in a sentence.
    pub says: String,
    pub checkpoint: String,
    pub reference: Option<String>,
    pub layer: Option<Layer>,
    /// In the order of the run's targets.
    pub values: Vec<Option<f64>>,
    /// Whether values are labels.
    pub labels: bool,
}

/// All maps that a run gives: for each checkpoint the score at its best layer, −ln of it where it is a cod, what it adds to
/// the confounds, each target's best layer, and the difference to the reference with and without a false discovery rate.
///
/// # Errors
/// Those of reading `scores.csv`.
pub(super) fn of(run: &RunRecord, tables: &Path, q: f64) -> Result<Vec<TargetValues>> {
    let results = &run.comparison;
    let score = results.score;
    let mut unique = unique(run, tables)?;
    let mut all = Vec::new();
    let mut names = Names::of_labels(run.checkpoints.iter().map(|c| c.label.as_str()));
    for checkpoint in &run.checkpoints {
        let label = checkpoint.label.as_str();
        let Some(best) = results.best_layer(label) else { continue };
        let name = names.of(label);
        let at = format!("{name}_layer-{:02}", best.0);
        let base = |kind, file: String, values: Vec<Option<f64>>| TargetValues {
            file,
            kind,
            title: String::new(),
            unit: String::new(),
            says: String::new(),
            checkpoint: label.to_owned(),
            reference: None,
            layer: Some(best),
            values,
            labels: false,
        };
        let means = |layer: Layer| {
            let found = results.target_means.iter().find(|m| m.checkpoint == label && m.layer == layer);
            found.map(|m| m.means.iter().map(|s| s.value()).collect::<Vec<_>>())
        };
        let Some(scores) = means(best) else { continue };
        let over = format!("mean over {}", crate::plot::words::counted(results.n_subjects, "subject"));
        if score == ScoreName::Cod {
            let values = scores.iter().map(|v| v.filter(|v| *v > 0.0 && *v <= 1.0).map(|v| -v.ln())).collect();
            all.push(TargetValues {
                title: format!("{label}: −ln(cod) at layer {best}"),
                unit: "−ln(cod): smaller is better".to_owned(),
                says: format!(
                    "−ln of the cod ({over}) at the layer with the highest mean; defined for 0 < cod ≤ 1 only."
                ),
                ..base("neglog", format!("{at}_cod-neglog"), values)
            });
        }
        all.push(TargetValues {
            title: format!("{label}: {score} at layer {best}"),
            unit: unit(score).to_owned(),
            says: format!("{score}, {over}, at the layer with the highest mean over targets."),
            ..base("score", format!("{at}_{}", score.column()), scores)
        });
        if let Some(values) = unique.remove(&(label.to_owned(), best.0)) {
            all.push(TargetValues {
                title: format!("{label}: unique cod at layer {best}"),
                unit: "unique cod: what the layer adds to the confounds".to_owned(),
                says: format!("cod of layer and confounds together less that of the confounds, {over}."),
                ..base("unique", format!("{at}_unique-cod"), values)
            });
        }
        let layers: Vec<Layer> = run.plan.layers.get(label).cloned().unwrap_or_default();
        if layers.len() > 1 {
            let rows: Vec<(Layer, Vec<Option<f64>>)> = layers.iter().filter_map(|l| Some((*l, means(*l)?))).collect();
            all.push(TargetValues {
                title: format!("{label}: best layer of each parcel"),
                unit: "layer (0 = embedding output)".to_owned(),
                says: format!(
                    "The layer in which a parcel's {score} ({over}) is highest, of the parcel that weighs most at a voxel. The maximum is not corrected for having been chosen."
                ),
                labels: true,
                layer: None,
                ..base("best-layer", format!("{name}_best-layer"), best_layers(&rows, run.responses.targets.len()))
            });
        }
        let Some(reference) = results.base_of(label) else { continue };
        let differences: Vec<_> = run
            .responses
            .targets
            .iter()
            .map(|target| {
                results.target_differences.iter().find(|d| {
                    d.checkpoint == label && d.layer == best && d.score == score && d.target.as_ref() == Some(target)
                })
            })
            .collect();
        if differences.iter().all(Option::is_none) {
            continue;
        }
        let minus = names.of_difference(label, reference);
        let difference = |kind, file: String, values| TargetValues {
            title: format!("{label} − {reference}: difference in {score} at layer {best}"),
            unit: format!("difference in {score}"),
            reference: Some(reference.to_owned()),
            ..base(kind, file, values)
        };
        let file = format!("{minus}_layer-{:02}_{}", best.0, score.column());
        let plain = differences.iter().map(|d| d.and_then(|d| d.difference.value())).collect();
        all.push(TargetValues {
            says: format!("Paired difference in {score}, {over}, at the best layer of {label}; not corrected."),
            ..difference("difference", file.clone(), plain)
        });
        let called =
            differences.iter().map(|d| d.and_then(|d| called(d.difference.value(), d.inference.q_fdr, q))).collect();
        all.push(TargetValues {
            says: format!(
                "As the difference, but 0 in parcels that are not called at a false discovery rate of {q} over layers and parcels, and undefined where there is no test."
            ),
            ..difference("difference-fdr", format!("{file}_fdr-{q}"), called)
        });
    }
    Ok(all)
}

/// A difference that is called; one that is not counts as none: 0, which is a value. Without a test neither can be said.
fn called(difference: Option<f64>, q_fdr: Option<f64>, q: f64) -> Option<f64> {
    let (value, found) = difference.zip(q_fdr)?;
    Some(if found <= q { value } else { 0.0 })
}

/// For each target the layer with the highest score, the first of equals.
fn best_layers(rows: &[(Layer, Vec<Option<f64>>)], targets: usize) -> Vec<Option<f64>> {
    (0..targets)
        .map(|t| {
            let defined = rows.iter().filter_map(|(layer, scores)| Some((*layer, scores.get(t).copied().flatten()?)));
            defined.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(layer, _)| layer.0 as f64)
        })
        .collect()
}

/// Values per target, by checkpoint and layer.
type Unique = HashMap<(String, usize), Vec<Option<f64>>>;

/// Mean over subjects of each target's unique cod, by checkpoint and layer, from `scores.csv`.
fn unique(run: &RunRecord, tables: &Path) -> Result<Unique> {
    let path = tables.join("scores.csv");
    if run.comparison.unique_cod.is_empty() || !path.is_file() {
        return Ok(HashMap::new());
    }
    let (text, _) = records::read_text(&path, MAX_TABLE_BYTES, Code::Rr01)?;
    let mut rows = Records::new(&text, b',', &path)?;
    let columns =
        [rows.column("checkpoint")?, rows.column("layer")?, rows.column("target")?, rows.column("cod_unique")?];
    let places: HashMap<&str, usize> = run.responses.targets.iter().enumerate().map(|(i, t)| (t.as_str(), i)).collect();
    let mut sums: HashMap<(String, usize), Vec<(f64, usize)>> = HashMap::new();
    let mut fields = Vec::new();
    while rows.next_into(&mut fields)?.is_some() {
        let [checkpoint, layer, target, value] = columns.map(|c| fields[c].as_ref());
        let place = find_cell(target, |name| places.get(name).copied());
        let (Ok(layer), Some(place), Ok(value)) = (layer.parse::<usize>(), place, value.parse::<f64>()) else {
            continue;
        };
        let known = |label: &str| run.checkpoints.iter().find(|c| c.label == label).map(|c| c.label.clone());
        let Some(label) = find_cell(checkpoint, known) else { continue };
        let row = sums.entry((label, layer)).or_insert_with(|| vec![(0.0, 0); places.len()]);
        (row[place].0, row[place].1) = (row[place].0 + value, row[place].1 + 1);
    }
    let mean = |(sum, n): (f64, usize)| (n > 0).then(|| sum / n as f64);
    Ok(sums.into_iter().map(|(key, row)| (key, row.into_iter().map(mean).collect())).collect())
}

fn unit(score: ScoreName) -> &'static str {
    match score {
        ScoreName::Cod => "cod: out-of-sample R²",
        ScoreName::CodTestMean => "cod-test-mean: R² against the test mean",
        ScoreName::R => "r: correlation",
    }
}

/// Most characters of a label in a file name.
const MOST: usize = 60;

/// File names of labels and of their differences: what is neither a letter, a digit nor one of `._-` becomes `-`; no two of
/// them ever share a name, not even where a file system takes capitals for small letters.
#[derive(Default)]
struct Names {
    /// What, and its name.
    taken: Vec<(Named, String)>,
}

/// A label, or the difference of the first from the second.
type Named = (String, Option<String>);

impl Names {
    /// Labels come first: theirs are the plain names.
    fn of_labels<'a>(labels: impl Iterator<Item = &'a str>) -> Names {
        let mut names = Names::default();
        labels.for_each(|label| _ = names.of(label));
        names
    }

    fn of(&mut self, label: &str) -> String {
        self.given((label.to_owned(), None), label)
    }

    fn of_difference(&mut self, label: &str, reference: &str) -> String {
        let plain = format!("{}-minus-{}", self.of(label), self.of(reference));
        self.given((label.to_owned(), Some(reference.to_owned())), &plain)
    }

    fn given(&mut self, what: Named, wanted: &str) -> String {
        if let Some((_, name)) = self.taken.iter().find(|(known, _)| *known == what) {
            return name.clone();
        }
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let most = if what.1.is_some() { 2 * MOST + "-minus-".len() } else { MOST };
        let plain: String = wanted.chars().map(safe).take(most).collect();
        let plain = plain.trim_matches(|c| c == '.' || c == '-').to_owned();
        let plain = if plain.is_empty() { "checkpoint".to_owned() } else { plain };
        let is_taken = |name: &str| self.taken.iter().any(|(_, n)| n.eq_ignore_ascii_case(name));
        let mut name = plain.clone();
        let mut number = 2;
        while is_taken(&name) {
            name = format!("{plain}-{number}");
            number += 1;
        }
        self.taken.push((what, name.clone()));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names_of_files() {
        let mut names = Names::default();
        assert_eq!(names.of("a/b <c>"), "a-b--c");
        assert_eq!((names.of("a b"), names.of("a/b"), names.of("a b")), ("a-b".into(), "a-b-2".into(), "a-b".into()));
        assert_eq!(names.of("../.."), "checkpoint");
    }

    #[test]
    fn a_difference_never_takes_the_name_of_a_checkpoint() {
        let labels = ["a", "b", "a-minus-b", "b-minus-c", "c", "A"];
        let mut names = Names::of_labels(labels.into_iter());
        let mut all: Vec<String> = labels.iter().map(|l| names.of(l)).collect();
        assert_eq!(all[..5], labels[..5]);
        for (label, reference) in [("a", "b"), ("a", "b-minus-c"), ("a-minus-b", "c"), ("A", "b")] {
            all.push(names.of_difference(label, reference));
            assert_eq!(all.last(), Some(&names.of_difference(label, reference)));
        }
        all.iter_mut().for_each(|name| name.make_ascii_lowercase());
        all.sort_unstable();
        assert!(all.windows(2).all(|w| w[0] != w[1]), "{all:?}");
        let mut plain = Names::of_labels(["tuned", "base"].into_iter());
        assert_eq!(plain.of_difference("tuned", "base"), "tuned-minus-base");
    }

    #[test]
    fn what_was_not_tested_is_not_drawn_as_no_difference() {
        assert_eq!(called(Some(0.2), Some(0.01), 0.05), Some(0.2));
        assert_eq!(called(Some(0.2), Some(0.5), 0.05), Some(0.0));
        assert_eq!(called(Some(0.2), None, 0.05), None);
        assert_eq!(called(None, Some(0.01), 0.05), None);
    }

    #[test]
    fn the_first_of_equal_layers_is_best_and_gaps_stay() {
        let rows = [
            (Layer(0), vec![Some(0.1), None, None]),
            (Layer(3), vec![Some(0.1), Some(-0.2), None]),
            (Layer(4), vec![Some(0.0), Some(-0.1), None]),
        ];
        assert_eq!(best_layers(&rows, 3), [Some(0.0), Some(4.0), None]);
    }
}
