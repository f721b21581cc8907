//! The scores of a run as its table holds them.

use std::collections::HashMap;
use std::path::Path;

use super::labels::Labels;
use crate::compare::LayerFit;
use crate::encoding::{Reason, Score, TargetScores};
use crate::error::{Code, Error, Result};
use crate::ids::Layer;
use crate::io::table::{Number, Table};
use crate::record::RunRecord;

/// Scores of every checkpoint and layer.
pub(super) struct Scores {
    pub table: Table,
    fits: HashMap<(String, usize), LayerFit>,
    confounds: LayerFit,
}

fn fit(subjects: usize, targets: usize) -> LayerFit {
    let nothing = Score::undefined(Reason::NotComputed);
    let empty = TargetScores {
        n: 0,
        cod: nothing,
        cod_test_mean: nothing,
        r: nothing,
        alpha_median: None,
        alpha_at_edge: 0.0,
        per_fold: Vec::new(),
    };
    LayerFit {
        scores: vec![vec![empty; targets]; subjects],
        groups: None,
        by_group: None,
        by_roi: Vec::new(),
        joint: None,
    }
}

impl Scores {
    /// Reads the scores of a run.
    ///
    /// # Errors
    /// Those of the table; `RR-02` for scores of subjects or targets that the record does not know, or too few of them.
    pub fn read(path: &Path, record: &RunRecord) -> Result<Scores> {
        let table = Table::read(path)?;
        let text = |name: &str| table.required_texts(name);
        let real = |name: &str| -> Result<Vec<Option<f64>>> {
            let finite = |n: Number| if let Number::Finite(v) = n { Some(v) } else { None };
            Ok(table.numbers(name)?.into_iter().map(finite).collect())
        };
        let (labels, who, what) = (text("checkpoint")?, text("subject")?, text("target")?);
        let (layers, n) = (table.finite_numbers("layer")?, table.finite_numbers("n")?);
        let (cod, test_mean, r) = (real("cod")?, real("cod_test_mean")?, real("r")?);
        let (cod_confounds, r_confounds) = (real("cod_confounds")?, real("r_confounds")?);
        let (alpha, edge) = (real("alpha_median")?, real("alpha_at_edge")?);
        let subjects: HashMap<&str, usize> =
            record.responses.subjects.iter().enumerate().map(|(i, s)| (s.as_str(), i)).collect();
        let targets: HashMap<&str, usize> =
            record.responses.targets.iter().enumerate().map(|(i, t)| (t.as_str(), i)).collect();
        let mut fits: HashMap<(String, usize), LayerFit> = HashMap::new();
        let mut confounds = fit(subjects.len(), targets.len());
        let score = |v: Option<f64>| v.map_or(Score::undefined(Reason::NothingDefined), Score::Value);
        for row in 0..table.rows() {
            let (Some(s), Some(t)) = (subjects.get(who[row].as_str()), targets.get(what[row].as_str())) else {
                return Err(Error::new(Code::Rr02, table.place(row), "is of a subject or target that run.json lacks")
                    .expected("the scores of the same run"));
            };
            let key = (labels[row].clone(), layers[row] as usize);
            let place = fits.entry(key).or_insert_with(|| fit(subjects.len(), targets.len()));
            place.scores[*s][*t] = TargetScores {
                n: n[row] as usize,
                cod: score(cod[row]),
                cod_test_mean: score(test_mean[row]),
                r: score(r[row]),
                alpha_median: alpha[row],
                alpha_at_edge: edge[row].unwrap_or(0.0),
                per_fold: Vec::new(),
            };
            confounds.scores[*s][*t].cod = score(cod_confounds[row]);
            confounds.scores[*s][*t].r = score(r_confounds[row]);
        }
        let expected: usize = record.plan.layers.values().map(Vec::len).sum();
        if table.rows() != expected * subjects.len() * targets.len() {
            return Err(Error::new(Code::Rr02, path.display(), format!("has {} rows", table.rows())).expected(
                format!(
                    "{}: a row for each checkpoint, layer, subject and target of run.json",
                    expected * subjects.len() * targets.len()
                ),
            ));
        }
        Ok(Scores { table, fits, confounds })
    }

    /// The confounds-only scores that stand beside the others; cod-test-mean is not among them.
    pub fn confounds(&self) -> LayerFit {
        self.confounds.clone()
    }
}

/// The fits of the merged run's checkpoints, in the order of `names`.
pub(super) fn fits(runs: &[&Scores], labels: &Labels, names: &[String]) -> Vec<(String, Vec<(Layer, LayerFit)>)> {
    let one = |name: &String| {
        let mut layers: Vec<(Layer, LayerFit)> = Vec::new();
        for (at, run) in runs.iter().enumerate() {
            let own = run.fits.iter().filter(|((label, _), _)| labels.kept(at, label) == Some(name));
            layers.extend(own.map(|((_, layer), fit)| (Layer(*layer), fit.clone())));
        }
        layers.sort_by_key(|(layer, _)| *layer);
        (name.clone(), layers)
    };
    names.iter().map(one).collect()
}
