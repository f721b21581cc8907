//! Several feature spaces of plain arrays as one model: side by side, or mixed.

use ndarray::{Array2, ArrayView2, Axis, concatenate};

use super::arrays::{Scored, fit_one};
use super::bound::Bound;
use crate::encoding::engine::{Options, Report, Targets};
use crate::encoding::stacking::{Stacking, stack, width};
use crate::encoding::{AlphaGrid, Combine, Folds, score};
use crate::error::Result;
use crate::io::table::{Output, OutputTable};
use crate::watch::Watch;

/// The weight of a feature space in a mixture.
pub(super) struct Weight {
    response: usize,
    target: usize,
    space: usize,
    /// Mean over outer folds.
    weight: f64,
}

/// The feature spaces that are fitted together once each was fitted alone.
pub(super) struct Together<'a> {
    wanted: &'a [Combine],
    x: Vec<Array2<f64>>,
    /// Per feature space and response, the alphas that were searched.
    grids: Vec<Vec<AlphaGrid>>,
}

impl<'a> Together<'a> {
    pub(super) fn new(wanted: &'a [Combine]) -> Together<'a> {
        Together { wanted, x: Vec::new(), grids: Vec::new() }
    }

    /// Keeps the next feature space and its alphas, when they will be needed.
    pub(super) fn keep(&mut self, x: Array2<f64>, grids: Vec<AlphaGrid>) {
        if !self.wanted.is_empty() {
            self.x.push(x);
            self.grids.push(grids);
        }
    }

    /// Bytes of what was kept.
    pub(super) fn bytes(&self) -> u64 {
        self.x.iter().map(|x| (x.len() * 8) as u64).sum()
    }

    /// Fits what is wanted within the bound: names, scores and work; and the weights of mixtures.
    #[allow(clippy::type_complexity, reason = "one entry per model")]
    pub(super) fn fit(
        &self,
        responses: &[&dyn Targets],
        folds: &Folds,
        grid: &AlphaGrid,
        (plain, bound): (&Options, &Bound),
        watch: &dyn Watch,
    ) -> Result<(Vec<(String, Vec<Scored>, Report)>, Vec<Weight>)> {
        let (mut found, mut weights) = (Vec::new(), Vec::new());
        if self.wanted.contains(&Combine::Concat) {
            let features: usize = self.x.iter().map(Array2::ncols).sum();
            let memory = Some(bound.rest(features, 2 * self.bytes(), self.x.len() + 1)?);
            let views: Vec<ArrayView2<'_, f64>> = self.x.iter().map(|x| x.view()).collect();
            // INVARIANT: every feature space has the rows of the folds.
            let all = concatenate(Axis(1), &views).expect("feature spaces have the same rows");
            let options = Options { memory, ..plain.clone() };
            let (scores, _, report) = fit_one(all.view(), responses, folds, grid, &options, watch)?;
            found.push((Combine::Concat.as_str().to_owned(), scores, report));
        }
        if self.wanted.contains(&Combine::Stack) {
            let widest = self.x.iter().map(Array2::ncols).max().unwrap_or(0);
            let memory = bound.rest(widest, self.bytes(), self.x.len() + found.len() + 1)?;
            let (width, taken) = width(self.x.len(), folds.count(), bound.rows, bound.targets, memory);
            let options = Options { memory: Some(memory.saturating_sub(taken)), ..plain.clone() };
            let (scores, report) = self.stacked(responses, folds, width, &options, watch, &mut weights)?;
            found.push((Combine::Stack.as_str().to_owned(), scores, report));
        }
        Ok((found, weights))
    }

    /// The mixture, `width` targets at a time.
    fn stacked(
        &self,
        responses: &[&dyn Targets],
        folds: &Folds,
        width: usize,
        options: &Options,
        watch: &dyn Watch,
        weights: &mut Vec<Weight>,
    ) -> Result<(Vec<Scored>, Report)> {
        let views: Vec<ArrayView2<'_, f64>> = self.x.iter().map(|x| x.view()).collect();
        let (mut scores, mut report) = (Vec::new(), Report::default());
        for (response, targets) in responses.iter().enumerate() {
            // A default grid is widened for a response, not for some of its targets: by what each space was fitted with.
            let grids: Vec<AlphaGrid> =
                self.grids.iter().map(|of| AlphaGrid { given: true, ..of[response].clone() }).collect();
            let mut own: Vec<Weight> = Vec::new();
            for first in (0..targets.columns()).step_by(width) {
                let columns = first..(first + width).min(targets.columns());
                let y = targets.read(columns.clone())?;
                let of = Stacking { spaces: &views, grids: &grids, y: y.view(), folds };
                let mixed = stack(of, options, watch)?;
                let mean = mixed.weights.mean_axis(Axis(0)).unwrap_or_default();
                own.extend(mean.indexed_iter().map(|((space, target), weight)| Weight {
                    response,
                    target: first + target,
                    space,
                    weight: *weight,
                }));
                scores.push((response, columns, score(y.view(), &mixed.fit, folds)));
                report.add(&mixed.report);
            }
            own.sort_by_key(|w| (w.space, w.target));
            weights.extend(own);
        }
        Ok((scores, report))
    }
}

/// `stack.csv`: one row per response, feature space and target.
pub(super) fn weights_table(weights: &[Weight], subjects: &[String], spaces: &[String]) -> OutputTable {
    OutputTable::new(vec![
        ("subject", Output::Text(weights.iter().map(|w| subjects[w.response].clone()).collect())),
        ("feature_space", Output::Text(weights.iter().map(|w| spaces[w.space].clone()).collect())),
        ("target", Output::Integer(weights.iter().map(|w| w.target as i64).collect())),
        ("weight_mean", Output::Real(weights.iter().map(|w| Some(w.weight)).collect())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Quiet;

    /// Whether all targets are mixed at once or a few at a time is a matter of memory, not of what is found.
    #[test]
    fn mixtures_do_not_depend_on_blocks() {
        let value =
            |i: usize, j: usize, by: usize| ((i * 37 + j * 101 + i * j * 13 + by * 11) % 97) as f64 / 48.5 - 1.0;
        let x = [0, 1].map(|by| Array2::from_shape_fn((40, 5 + by), |(i, j)| value(i, j, by)));
        // Some targets are noise: they take the largest alpha, and the default grid is widened for all.
        let y = Array2::from_shape_fn((40, 23), |(i, t)| match t % 3 {
            0 => x[0][[i, t % 5]] + 0.3 * value(i, t, 7),
            1 => x[1][[i, t % 6]] + 0.3 * value(i, t, 8),
            _ => value(t, i, 9),
        });
        let folds = Folds::from_labels(&(0..40).map(|i| i / 10).collect::<Vec<_>>());
        let (grid, view) = (AlphaGrid::default(), y.view());
        let responses: [&dyn Targets; 1] = [&view];
        let mut together = Together::new(&[Combine::Stack]);
        let options = Options::default();
        for x in &x {
            let (_, grids, _) = fit_one(x.view(), &responses, &folds, &grid, &options, &Quiet).unwrap();
            assert!(grids[0].values.len() > grid.values.len(), "widened");
            together.keep(x.clone(), grids);
        }
        let run = |width| {
            let mut weights = Vec::new();
            let (scores, report) = together.stacked(&responses, &folds, width, &options, &Quiet, &mut weights).unwrap();
            let scores: Vec<_> = scores.into_iter().flat_map(|(_, columns, scores)| columns.zip(scores)).collect();
            (scores, weights, report)
        };
        let (whole, weights, _) = run(1000);
        let (parts, parted, report) = run(4);
        assert_eq!((whole.len(), weights.len(), report.choices), (23, 46, 2 * 4 * 23));
        for ((a, whole), (b, part)) in whole.iter().zip(&parts) {
            assert_eq!((a, whole.alpha_median, whole.alpha_at_edge), (b, part.alpha_median, part.alpha_at_edge));
            assert!((whole.cod.value().unwrap() - part.cod.value().unwrap()).abs() < 1e-9);
        }
        for (a, b) in weights.iter().zip(&parted) {
            assert_eq!((a.space, a.target), (b.space, b.target));
            assert!((a.weight - b.weight).abs() < 1e-6);
        }
    }
}
