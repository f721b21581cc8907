//! The fit on all rows outside an outer fold, with each target's own alpha.
//!
//! Two exact routes, chosen by cost. *Eigen*: `P · (Q / (s + alpha_t))`: one eigendecomposition, then Q = Uᵀ right for
//! every target. *Solve*: for each alpha that any target has, `cross · (matrix + alpha I)⁻¹` by Cholesky, applied to the
//! targets that have it. The second wins when few alphas were chosen, and when targets are many: it needs no Q.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, Axis};

use super::rows::Rows;
use super::shape;
use super::system::{Block, Factor, Side, System};
use crate::compute::cpu::{Real, solve_positive};
use crate::error::Result;

/// A fitted outer fold.
pub(super) enum Refit<T> {
    Eigen(Factor<T>),
    Solve {
        fold: usize,
        side: Side<T>,
        varying: usize,
        /// Alpha index → (test rows, dimension).
        smoothers: BTreeMap<usize, Array2<T>>,
    },
}

impl<T: Real> Refit<T> {
    /// Fits for the alphas `used` (index, value) of `targets` targets.
    pub(super) fn new(system: System<T>, used: &[(usize, f64)], targets: usize) -> Result<Refit<T>> {
        let (dimension, test) = (system.matrix.nrows(), system.cross.nrows());
        let eigen = shape::eigen_flops(dimension, test, targets);
        let solve = shape::solve_flops(dimension, test, targets, used.len());
        if solve < eigen && system.components.is_none() {
            let mut smoothers = BTreeMap::new();
            for (index, alpha) in used {
                let mut matrix = system.matrix.clone();
                matrix.diag_mut().mapv_inplace(|v| T::of(v.wide() + alpha));
                match solve_positive(matrix, system.cross.clone()) {
                    Some(smoother) => smoothers.insert(*index, smoother),
                    // alpha is too small beside the largest eigenvalue for Cholesky.
                    None => return Ok(Refit::Eigen(system.factor()?)),
                };
            }
            let fold = system.without[0];
            return Ok(Refit::Solve { fold, side: system.side, varying: system.varying, smoothers });
        }
        Ok(Refit::Eigen(system.factor()?))
    }

    pub(super) fn varying(&self) -> usize {
        match self {
            Refit::Eigen(factor) => factor.varying,
            Refit::Solve { varying, .. } => *varying,
        }
    }

    /// Predictions of the held-out rows less the training means (rows of the system's `cross`, targets) for the targets
    /// `columns` (all of them when none are named); `chosen` has the alpha of each of these.
    pub(super) fn predict(
        &self,
        block: &Block<T>,
        rows: &Rows,
        mean: &[f64],
        columns: Option<&[usize]>,
        chosen: ArrayView1<'_, usize>,
        alphas: &[f64],
    ) -> Array2<T> {
        match self {
            Refit::Eigen(factor) => {
                let right = block.right(rows, &factor.without, &factor.side, mean, columns);
                let mut q = factor.coefficients(&right);
                for (mut row, s) in q.rows_mut().into_iter().zip(&factor.values) {
                    row.iter_mut().zip(chosen).for_each(|(q, c)| *q = T::of(q.wide() / (s + alphas[*c])));
                }
                factor.projected.dot(&q)
            }
            Refit::Solve { fold, side, smoothers, .. } => {
                let targets = chosen.len();
                let mut of_alpha: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
                chosen.iter().enumerate().for_each(|(t, c)| of_alpha.entry(*c).or_default().push(t));
                // The right-hand sides of an alpha's targets are gathered from the responses where that is what they are,
                // else from all of them.
                let whole = match side {
                    Side::Rows => None,
                    _ => Some(block.right(rows, &[*fold], side, mean, columns)),
                };
                let test = smoothers.values().next().map_or(0, Array2::nrows);
                let mut out = Array2::zeros((test, targets));
                for (index, own) in &of_alpha {
                    let right = match (&whole, columns) {
                        (Some(whole), _) => whole.select(Axis(1), own),
                        (None, None) => block.right(rows, &[*fold], side, mean, Some(own)),
                        (None, Some(columns)) => {
                            let own: Vec<usize> = own.iter().map(|t| columns[*t]).collect();
                            block.right(rows, &[*fold], side, mean, Some(&own))
                        }
                    };
                    let predicted = smoothers[index].dot(&right);
                    for (mut to, from) in out.rows_mut().into_iter().zip(predicted.rows()) {
                        own.iter().zip(from).for_each(|(t, v)| to[*t] = *v);
                    }
                }
                out
            }
        }
    }
}
