use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

use super::filter::{self, HighPass, PADDING};
use super::spline;
use crate::error::{Code, Error, Result, Warning};

/// How a high-pass is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Butterworth of order 5, forwards and backwards.
    Butterworth,
    /// Discrete cosines among the confounds.
    Cosine,
}

/// How the series are scaled in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardize {
    /// Not at all.
    None,
    /// Mean 0, sample standard deviation 1.
    ZscoreSample,
    /// Mean 0, population standard deviation 1.
    Zscore,
    /// Per cent of the mean.
    Psc,
}

/// What is done to series after extraction, in this order: censored volumes are filled by a spline (Butterworth only),
/// linear trends removed, the high-pass applied, censored volumes dropped, confounds removed, the rest scaled. Confounds
/// go through the same steps first (Lindquist et al. 2019), so that removing them brings back nothing of the filtered band.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cleaning {
    /// Remove the mean and a straight line.
    pub detrend: bool,
    /// Cutoff of the high-pass in Hz.
    pub high_pass: Option<f64>,
    /// Kind of the high-pass.
    pub filter: Filter,
    /// Final scaling.
    pub standardize: Standardize,
}

impl Default for Cleaning {
    fn default() -> Self {
        Cleaning { detrend: false, high_pass: None, filter: Filter::Butterworth, standardize: Standardize::None }
    }
}

/// Cleaned series.
#[derive(Debug)]
pub struct Cleaned {
    /// Volumes that stayed × parcels.
    pub series: Array2<f64>,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

impl Cleaning {
    /// Checks the cutoff against the sampling rate; `place` names the run.
    ///
    /// # Errors
    /// `FL-02` when the cutoff is not between 0 and half the sampling rate.
    pub fn check(&self, repetition_time: Option<f64>, place: &str) -> Result<()> {
        let (Some(cutoff), Some(step)) = (self.high_pass, repetition_time) else { return Ok(()) };
        let nyquist = 0.5 / step;
        if cutoff > 0.0 && cutoff < nyquist {
            return Ok(());
        }
        Err(Error::new(Code::Fl02, "--high-pass", format!("{cutoff} Hz for {place}"))
            .expected(format!("above 0 and below {nyquist} Hz, half its sampling rate")))
    }
}

/// Cleans series (volumes × parcels), as nilearn's `signal.clean`.
///
/// `confounds` are volumes × regressors; `kept` are the volumes that stay, ascending, or all; `repetition_time` in s is
/// needed for a high-pass only.
///
/// # Errors
/// `BO-02` when there are too few volumes for the filter or none is left.
pub fn clean(
    mut series: Array2<f64>,
    how: &Cleaning,
    confounds: Option<Array2<f64>>,
    kept: Option<&[usize]>,
    repetition_time: f64,
    place: &str,
) -> Result<Cleaned> {
    how.check(Some(repetition_time), place)?;
    let mut warnings = Vec::new();
    let mut confounds = confounds.filter(|c| c.ncols() > 0);
    let mut kept: Option<Vec<usize>> = kept.filter(|k| k.len() < series.nrows()).map(<[usize]>::to_vec);
    if kept.as_ref().is_some_and(Vec::is_empty) || series.nrows() == 0 {
        return Err(Error::new(Code::Bo02, place, "no volume is left after scrubbing"));
    }
    if let (Filter::Cosine, Some(cutoff)) = (how.filter, how.high_pass) {
        confounds = with_cosines(confounds, series.nrows(), cutoff, repetition_time, place, &mut warnings);
    }
    let butterworth = how.high_pass.filter(|_| how.filter == Filter::Butterworth);
    if let Some(indices) = &mut kept {
        let rows: Vec<usize> = if butterworth.is_some() {
            // Fill the holes; what lies outside the first and last kept volume cannot be filled and goes.
            let span: Vec<usize> = (indices[0]..=indices[indices.len() - 1]).collect();
            spline::fill(&mut series, indices);
            confounds.iter_mut().for_each(|c| spline::fill(c, indices));
            span
        } else {
            indices.clone()
        };
        series = series.select(Axis(0), &rows);
        confounds = confounds.map(|c| c.select(Axis(0), &rows));
        let first = rows[0];
        indices.iter_mut().for_each(|i| *i -= first);
    }
    let original = series.mean_axis(Axis(0)).unwrap_or_default();
    if how.detrend {
        detrend(&mut series);
        confounds.iter_mut().for_each(detrend);
    }
    if let Some(cutoff) = butterworth {
        if series.nrows() <= PADDING {
            return Err(Error::new(Code::Bo02, place, format!("has {} volumes", series.nrows()))
                .expected(format!("more than {PADDING} for the high-pass"))
                .hint("Leave out --high-pass for so short a run"));
        }
        let filter = HighPass::new(cutoff, repetition_time);
        filter.apply(&mut series.view_mut());
        confounds.iter_mut().for_each(|c| filter.apply(&mut c.view_mut()));
        if let Some(indices) = &kept {
            series = series.select(Axis(0), indices);
            confounds = confounds.map(|c| c.select(Axis(0), indices));
        }
    }
    if let Some(mut confounds) = confounds {
        center_and_scale(&mut confounds, 1);
        if confounds.ncols() + 1 >= series.nrows() {
            return Err(Error::new(
                Code::Bo02,
                place,
                format!("{} confounds for {} volumes leave nothing", confounds.ncols(), series.nrows()),
            )
            .expected("fewer confounds than volumes"));
        }
        let basis = orthonormal(confounds);
        series = &series - &basis.dot(&basis.t().dot(&series));
    }
    match how.standardize {
        Standardize::None => {}
        Standardize::ZscoreSample => center_and_scale(&mut series, 1),
        Standardize::Zscore => center_and_scale(&mut series, 0),
        Standardize::Psc => per_cent(&mut series, &original, place, &mut warnings),
    }
    Ok(Cleaned { series, warnings })
}

/// Adds the cosines, unless the confounds already hold one (correlation above 0.9).
fn with_cosines(
    confounds: Option<Array2<f64>>,
    volumes: usize,
    cutoff: f64,
    step: f64,
    place: &str,
    warnings: &mut Vec<Warning>,
) -> Option<Array2<f64>> {
    let cosines = filter::cosines(volumes, cutoff, step);
    if cosines.ncols() == 0 {
        let text = format!("{place}: too short for any cosine below {cutoff} Hz; nothing was filtered");
        warnings.push(Warning::new("BO-03", text));
        return confounds;
    }
    let Some(given) = confounds else { return Some(cosines) };
    let exists = given.columns().into_iter().any(|column| {
        let column = column.to_vec();
        cosines
            .columns()
            .into_iter()
            .any(|cosine| crate::stats::pearson(&column, &cosine.to_vec()).is_some_and(|r| r > 0.9))
    });
    if exists {
        let text = format!("{place}: the confounds already hold cosines; no others were added");
        warnings.push(Warning::new("BO-03", text));
        return Some(given);
    }
    // INVARIANT: both have one row per volume.
    Some(ndarray::concatenate(Axis(1), &[given.view(), cosines.view()]).expect("one row per volume"))
}

/// Removes mean and straight line from every column; a single row stays as it is.
fn detrend(series: &mut Array2<f64>) {
    let n = series.nrows();
    if n < 2 {
        return;
    }
    center(series);
    let middle = (n as f64 - 1.0) / 2.0;
    let mut line: Array1<f64> = (0..n).map(|t| t as f64 - middle).collect();
    let size = line.dot(&line).sqrt();
    line /= size;
    for mut column in series.columns_mut() {
        let slope = line.dot(&column);
        column.scaled_add(-slope, &line);
    }
}

fn center(series: &mut Array2<f64>) {
    if let Some(mean) = series.mean_axis(Axis(0)) {
        *series -= &mean;
    }
}

/// Mean 0 and standard deviation 1 with `lost` degrees of freedom; a constant column becomes 0. One row stays.
fn center_and_scale(series: &mut Array2<f64>, lost: usize) {
    let n = series.nrows();
    if n < 2 {
        return;
    }
    center(series);
    for mut column in series.columns_mut() {
        // The mean again: of values that large numbers were subtracted from, it need not be 0.
        let mean = column.sum() / n as f64;
        let sd = (column.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - lost) as f64).sqrt();
        if sd >= f64::EPSILON {
            column.mapv_inplace(|v| v / sd);
        }
    }
}

/// Per cent change about the mean; of the series before cleaning where that took the mean away.
fn per_cent(series: &mut Array2<f64>, original: &Array1<f64>, place: &str, warnings: &mut Vec<Warning>) {
    let size = |means: &Array1<f64>| means.iter().map(|m| m.abs()).sum::<f64>();
    let now = series.mean_axis(Axis(0)).unwrap_or_default();
    if size(&now) / size(original) < 0.1 {
        *series += original;
    }
    let mut without = 0;
    for mut column in series.columns_mut() {
        let mean = column.sum() / column.len() as f64;
        if mean.abs() < f64::EPSILON {
            column.fill(0.0);
            without += 1;
        } else {
            column.mapv_inplace(|v| 100.0 * (v - mean) / mean.abs());
        }
    }
    if without > 0 {
        let text = format!("{place}: {without} parcels have a mean of 0; their per cent change is set to 0");
        warnings.push(Warning::new("BO-04", text));
    }
}

/// An orthonormal basis of the columns: Gram–Schmidt with column pivoting, each column projected twice. Columns of which
/// nothing is left (100 eps of the largest, as nilearn's threshold on R) are dropped.
fn orthonormal(mut columns: Array2<f64>) -> Array2<f64> {
    let (n, k) = columns.dim();
    let mut basis: Vec<Array1<f64>> = Vec::with_capacity(k);
    let mut left: Vec<usize> = (0..k).collect();
    let mut largest: f64 = 0.0;
    while !left.is_empty() {
        let size = |c: &usize| columns.column(*c).dot(&columns.column(*c)).sqrt();
        let Some((at, norm)) = left.iter().map(size).enumerate().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
        else {
            break;
        };
        largest = largest.max(norm);
        if norm <= 100.0 * f64::EPSILON * largest.max(1.0) {
            break;
        }
        let chosen = left.swap_remove(at);
        let mut unit = columns.column(chosen).to_owned() / norm;
        // Against the rounding of many projections.
        for earlier in &basis {
            let share = earlier.dot(&unit);
            unit.scaled_add(-share, earlier);
        }
        let again = unit.dot(&unit).sqrt();
        unit /= again;
        for other in &left {
            let share = unit.dot(&columns.column(*other));
            columns.column_mut(*other).scaled_add(-share, &unit);
        }
        basis.push(unit);
    }
    let mut out = Array2::zeros((n, basis.len()));
    for (mut column, unit) in out.columns_mut().into_iter().zip(&basis) {
        column.assign(unit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(rows: usize, columns: usize) -> Array2<f64> {
        let mut state = 7u64;
        Array2::from_shape_fn((rows, columns), |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        })
    }

    #[test]
    fn confounds_leave_nothing_of_themselves() {
        let confounds = noise(60, 4);
        let mut doubled = Array2::zeros((60, 6));
        doubled.slice_axis_mut(Axis(1), (..4).into()).assign(&confounds);
        // A repeated column and a sum of two others change nothing.
        doubled.column_mut(4).assign(&confounds.column(0));
        doubled.column_mut(5).assign(&(&confounds.column(1) + &confounds.column(2)));
        let series = confounds.dot(&noise(4, 3)) + 5.0;
        let cleaned = clean(series.clone(), &Cleaning::default(), Some(doubled), None, 2.0, "r").unwrap().series;
        for column in cleaned.columns() {
            let mean = column.sum() / 60.0;
            assert!(column.iter().all(|v| (v - mean).abs() < 1e-12), "a constant is left");
        }
    }

    #[test]
    fn scales() {
        let series = noise(50, 3) + 10.0;
        let how = |standardize| Cleaning { standardize, ..Cleaning::default() };
        let run = |standardize| clean(series.clone(), &how(standardize), None, None, 2.0, "r").unwrap().series;
        let squares = |a: &Array2<f64>| a.column(0).iter().map(|v| v * v).sum::<f64>();
        assert!((squares(&run(Standardize::ZscoreSample)) - 49.0).abs() < 1e-9);
        assert!((squares(&run(Standardize::Zscore)) - 50.0).abs() < 1e-9);
        let psc = run(Standardize::Psc);
        let mean = series.column(0).mean().unwrap();
        assert!((psc[[3, 0]] - 100.0 * (series[[3, 0]] - mean) / mean).abs() < 1e-10);
    }

    #[test]
    fn scrubbed_volumes_go() {
        let mut series = noise(60, 2);
        let cleaning = Cleaning { high_pass: Some(0.01), detrend: true, ..Cleaning::default() };
        let kept: Vec<usize> = (0..60).filter(|t| ![0, 7, 8, 59].contains(t)).collect();
        let clean_one = clean(series.clone(), &cleaning, None, Some(&kept), 2.0, "r").unwrap().series;
        assert_eq!(clean_one.nrows(), 56);
        for t in [0, 7, 8, 59] {
            series.row_mut(t).fill(1e6);
        }
        let other = clean(series, &cleaning, None, Some(&kept), 2.0, "r").unwrap().series;
        assert!((&other - &clean_one).iter().all(|v| v.abs() < 1e-12), "what is scrubbed has no influence");
    }

    #[test]
    fn short_runs_are_refused() {
        let cleaning = Cleaning { high_pass: Some(0.01), ..Cleaning::default() };
        let code = |rows, confounds| {
            clean(noise(rows, 2), &cleaning, confounds, None, 2.0, "r").map(|_| ()).unwrap_err().code()
        };
        assert_eq!(code(18, None), Code::Bo02);
        assert_eq!(code(30, Some(noise(30, 29))), Code::Bo02);
        let fast = Cleaning { high_pass: Some(0.25), ..cleaning };
        assert_eq!(fast.check(Some(2.0), "r").unwrap_err().code(), Code::Fl02);
    }
}
