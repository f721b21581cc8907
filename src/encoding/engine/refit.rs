//! The fit on all rows outside an outer fold, with each target's own alpha.
//!
//! Two exact routes, chosen by cost. *Eigen*: `P · (Q / (s + alpha_t))`: one eigendecomposition, then Q = Uᵀ right for
//! every target. *Solve*: for each alpha that any target has, `cross · (matrix + alpha I)⁻¹` by Cholesky, applied to the
//! targets that have it. The second wins when few alphas were chosen, and when targets are many: it needs no Q.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, Axis, s};

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
        if solve < eigen {
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
                let right = block.right(rows, &[*fold], side, mean, columns);
                let test = smoothers.values().next().map_or(0, Array2::nrows);
                let mut out = Array2::zeros((test, right.ncols()));
                for (index, smoother) in smoothers {
                    let columns: Vec<usize> = (0..right.ncols()).filter(|t| chosen[*t] == *index).collect();
                    if columns.is_empty() {
                        continue;
                    }
                    let predicted = smoother.dot(&right.select(Axis(1), &columns));
                    for (from, to) in predicted.columns().into_iter().zip(&columns) {
                        out.slice_mut(s![.., *to]).assign(&from);
                    }
                }
                out
            }
        }
    }
}
