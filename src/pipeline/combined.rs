//! Several feature spaces of plain arrays as one model: side by side, or mixed.

use ndarray::{Array2, ArrayView2, Axis, concatenate};

use super::arrays::{Scored, fit_one};
use crate::encoding::engine::{Options, Report, Targets};
use crate::encoding::stacking::stack;
use crate::encoding::{AlphaGrid, Folds, score};
use crate::error::Result;
use crate::io::table::{Output, OutputTable};
use crate::watch::Watch;

/// How several feature spaces become one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// Their columns side by side, each z-scored, with one alpha.
    Concat,
    /// Their predictions, mixed per target ([`crate::encoding::stacking`]).
    Stack,
}

impl Combine {
    /// All of them.
    pub const ALL: [Combine; 2] = [Combine::Concat, Combine::Stack];

    /// Its name, also that of its feature space in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Combine::Concat => "concat",
            Combine::Stack => "stack",
        }
    }
}

/// The weight of a feature space in a mixture.
pub(super) struct Weight {
    response: usize,
    target: usize,
    space: String,
    /// Mean over outer folds.
    weight: f64,
}

/// The feature spaces that are fitted together once each was fitted alone.
pub(super) struct Together<'a> {
    wanted: &'a [Combine],
    names: Vec<String>,
    x: Vec<Array2<f64>>,
    rows: usize,
}

impl<'a> Together<'a> {
    pub(super) fn new(wanted: &'a [Combine], names: &[String], rows: usize) -> Together<'a> {
        Together { wanted, names: names.to_vec(), x: Vec::new(), rows }
    }

    /// Keeps the next feature space, when it will be needed.
    pub(super) fn keep(&mut self, x: Array2<f64>) {
        if !self.wanted.is_empty() {
            self.x.push(x);
        }
    }

    /// Bytes of what was kept.
    pub(super) fn bytes(&self) -> u64 {
        self.x.iter().map(|x| (x.len() * 8) as u64).sum()
    }

    /// Fits what is wanted: names, scores and work; and the weights of mixtures.
    #[allow(clippy::type_complexity, reason = "one entry per model")]
    pub(super) fn fit(
        &self,
        responses: &[&dyn Targets],
        folds: &Folds,
        grid: &AlphaGrid,
        options: &Options,
        watch: &dyn Watch,
    ) -> Result<(Vec<(String, Vec<Scored>, Report)>, Vec<Weight>)> {
        let (mut found, mut weights) = (Vec::new(), Vec::new());
        let views: Vec<ArrayView2<'_, f64>> = self.x.iter().map(|x| x.view()).collect();
        if self.wanted.contains(&Combine::Concat) {
            let mut all = Array2::zeros((self.rows, 0));
            for x in &views {
                all = concatenate![Axis(1), all, *x];
            }
            let (scores, report) = fit_one(all.view(), responses, folds, grid, options, watch)?;
            found.push((Combine::Concat.as_str().to_owned(), scores, report));
        }
        if self.wanted.contains(&Combine::Stack) {
            let mut scores: Vec<Scored> = Vec::new();
            for (response, targets) in responses.iter().enumerate() {
                let y = targets.read(0..targets.columns())?;
                let mixed = stack(&views, y.view(), folds, grid, options, watch)?;
                let mean = mixed.weights.mean_axis(Axis(0)).unwrap_or_default();
                weights.extend(mean.indexed_iter().map(|((space, target), weight)| Weight {
                    response,
                    target,
                    space: self.names[space].clone(),
                    weight: *weight,
                }));
                scores.push((response, 0..y.ncols(), score(y.view(), &mixed.fit, folds)));
            }
            found.push((Combine::Stack.as_str().to_owned(), scores, Report::default()));
        }
        Ok((found, weights))
    }
}

/// `stack.csv`: one row per response, feature space and target.
pub(super) fn weights_table(weights: &[Weight], subjects: &[String]) -> OutputTable {
    OutputTable::new(vec![
        ("subject", Output::Text(weights.iter().map(|w| subjects[w.response].clone()).collect())),
        ("feature_space", Output::Text(weights.iter().map(|w| w.space.clone()).collect())),
        ("target", Output::Integer(weights.iter().map(|w| w.target as i64).collect())),
        ("weight_mean", Output::Real(weights.iter().map(|w| Some(w.weight)).collect())),
    ])
}
