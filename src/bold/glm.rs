use ndarray::{Array2, ArrayView2};

use super::hrf::Response;
use crate::error::{Code, Error, Result};

/// Share of a regressor's sum of squares that must be left when the others are taken out of it.
const LEAST_OWN: f64 = 1e-6;

/// Single-trial estimates by least squares separate (Mumford et al. 2012, <https://doi.org/10.1016/j.neuroimage.2011.08.076>):
/// for each trial a model of its own, y = b x_trial + c Σ x_other + d, of which b is kept. Regressors are boxes of the
/// trials' durations convolved with the SPM canonical response, sampled at the start of each volume.
///
/// `y` is (volumes, targets), cleaned: drifts have no regressor. `trials` are onset and duration (s from the first volume);
/// only those in `wanted` get an estimate, but all are modelled. Gives (wanted trials, targets).
///
/// # Errors
/// `BO-02` for fewer than four volumes, and for a trial whose regressor the others explain.
pub fn trial_betas(
    y: ArrayView2<'_, f64>,
    trials: &[(f64, f64)],
    wanted: &[usize],
    repetition_time: f64,
    place: &str,
) -> Result<Array2<f64>> {
    let volumes = y.nrows();
    if volumes < 4 {
        let found = format!("has {volumes} volumes");
        return Err(Error::new(Code::Bo02, place, found).expected("at least 4 for single-trial estimates"));
    }
    let times: Vec<f64> = (0..volumes).map(|v| v as f64 * repetition_time).collect();
    let response = Response::new(&times);
    let regressors: Vec<Vec<f64>> = trials
        .iter()
        .map(|(onset, duration)| {
            let (on, off) = response.span(*onset, *duration);
            (0..volumes).map(|v| response.weight(v, on, off)).collect()
        })
        .collect();
    let total: Vec<f64> = (0..volumes).map(|v| regressors.iter().map(|r| r[v]).sum()).collect();
    let mut betas = Array2::zeros((wanted.len(), y.ncols()));
    for (row, trial) in wanted.iter().enumerate() {
        // b by Frisch, Waugh and Lovell: what of the regressor neither the mean nor the other trials explain.
        let mut own = regressors[*trial].clone();
        let mut others: Vec<f64> = total.iter().zip(&own).map(|(t, o)| t - o).collect();
        centre(&mut own);
        centre(&mut others);
        let before = dot(&own, &own);
        let spread = dot(&others, &others);
        if spread > 0.0 {
            let share = dot(&own, &others) / spread;
            own.iter_mut().zip(&others).for_each(|(o, other)| *o -= share * other);
        }
        let left = dot(&own, &own);
        if left <= LEAST_OWN * before || before == 0.0 {
            let found = format!("trial {} cannot be told from the others", trial + 1);
            return Err(Error::new(Code::Bo02, place, found).expected("trials at different times, within the run"));
        }
        for (target, series) in y.columns().into_iter().enumerate() {
            betas[[row, target]] = own.iter().zip(series).map(|(o, v)| o * v).sum::<f64>() / left;
        }
    }
    Ok(betas)
}

fn centre(values: &mut [f64]) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|v| *v -= mean);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run made of known responses gives them back when trials do not overlap.
    #[test]
    fn planted_responses_come_back() {
        let trials: Vec<(f64, f64)> = (0..5).map(|i| (12.0 + 64.0 * f64::from(i), 22.0)).collect();
        let heights = [1.0, 1.0, -2.5, 1.0, 1.0];
        let times: Vec<f64> = (0..180).map(|v| f64::from(v) * 2.0).collect();
        let response = Response::new(&times);
        let mut y = Array2::from_elem((180, 1), 7.0);
        for ((onset, duration), height) in trials.iter().zip(heights) {
            let (on, off) = response.span(*onset, *duration);
            (0..180).for_each(|v| y[[v, 0]] += height * response.weight(v, on, off));
        }
        let betas = trial_betas(y.view(), &trials, &[0, 1, 2, 3, 4], 2.0, "run").unwrap();
        // The model of the third trial is the true one: all others are of one height.
        assert!((betas[[2, 0]] + 2.5).abs() < 1e-10, "{}", betas[[2, 0]]);
        // The others' models take one height for all but their own: near, not exact.
        assert!((betas[[0, 0]] - 1.0).abs() < 0.3, "{}", betas[[0, 0]]);
        let twice = [(12.0, 22.0), (12.0, 22.0)];
        assert_eq!(trial_betas(y.view(), &twice, &[0], 2.0, "run").unwrap_err().code(), Code::Bo02);
    }
}
