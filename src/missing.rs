//! Responses that are missing: empty cells, NaN and infinities.

use ndarray::{Array2, ArrayViewMut1};

/// What is done with targets that hold empty, NaN or infinite values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingValues {
    /// They are an error.
    #[default]
    Refuse,
    /// The target has no score in the subject whose values are missing.
    Drop,
}

/// What to do about targets with missing values.
pub(crate) const DROP: &str = "Leave those rows or targets out, or let such targets have no score: [responses] \
                    drop_nan_parcels = true, or --drop-nan-parcels";

/// Puts zeros into every column that holds NaN or infinite values, and counts those.
pub(crate) fn zero_missing(y: &mut Array2<f64>) -> Vec<usize> {
    let mut missing = |mut column: ArrayViewMut1<'_, f64>| {
        let n = column.iter().filter(|v| !v.is_finite()).count();
        if n > 0 {
            column.fill(0.0);
        }
        n
    };
    y.columns_mut().into_iter().map(&mut missing).collect()
}
