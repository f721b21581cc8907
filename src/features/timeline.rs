use ndarray::Array2;

use crate::error::{Code, Error, Result};

/// Rounding below which a delay counts as a whole number of volumes.
const WHOLE: f64 = 1e-9;

/// When the volumes of one or more runs were taken.
///
/// Volume k begins at `first_volume + k · repetition_time` on the recording's clock and its middle lies half a repetition
/// time later. Runs follow each other; nothing is carried over a run's border.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    repetition_time: f64,
    first_volume: f64,
    volumes: usize,
    run_starts: Vec<usize>,
}

impl Timeline {
    /// A timeline; `run_starts` are the first volumes of the runs, beginning with 0 (empty: one run).
    ///
    /// # Errors
    /// `FL-02` for times that are not finite, no volume, or starts that do not ascend from 0 within the volumes.
    pub fn new(repetition_time: f64, first_volume: f64, volumes: usize, run_starts: &[usize]) -> Result<Timeline> {
        let fail = |flag: &str, found: String| Error::new(Code::Fl02, flag, found);
        if !(repetition_time.is_finite() && repetition_time > 0.0) {
            return Err(fail("--tr", repetition_time.to_string()).expected("seconds, above 0"));
        }
        if !first_volume.is_finite() {
            return Err(fail("--first-volume", first_volume.to_string()).expected("seconds"));
        }
        if volumes == 0 {
            return Err(fail("--volumes", "0".to_owned()).expected("at least 1"));
        }
        let run_starts = if run_starts.is_empty() { vec![0] } else { run_starts.to_vec() };
        let ascending = run_starts[0] == 0 && run_starts.windows(2).all(|w| w[0] < w[1]);
        if !ascending || run_starts.iter().any(|s| *s >= volumes) {
            return Err(fail("--run-starts", format!("{run_starts:?}"))
                .expected(format!("the first volume of each run, ascending from 0, all below {volumes}")));
        }
        Ok(Timeline { repetition_time, first_volume, volumes, run_starts })
    }

    /// Number of volumes of all runs.
    pub fn volumes(&self) -> usize {
        self.volumes
    }

    /// Seconds between volumes.
    pub fn repetition_time(&self) -> f64 {
        self.repetition_time
    }

    /// When volume k begins (s).
    pub fn start(&self, volume: usize) -> f64 {
        self.first_volume + volume as f64 * self.repetition_time
    }

    /// The volume during which a time lies, if any.
    pub fn volume_of(&self, seconds: f64) -> Option<usize> {
        let volume = ((seconds - self.first_volume) / self.repetition_time).floor();
        (volume >= 0.0 && volume < self.volumes as f64).then_some(volume as usize)
    }

    /// First and one past the last volume of each run.
    pub fn runs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let ends = self.run_starts.iter().skip(1).copied().chain([self.volumes]);
        self.run_starts.iter().copied().zip(ends)
    }

    /// Volumes whose every delayed sample lies within their run: the rows of a fit.
    pub fn valid(&self, delays: &[f64]) -> Vec<bool> {
        let places: Vec<_> = delays.iter().map(|d| self.delayed(*d)).collect();
        (0..self.volumes).map(|row| places.iter().all(|p| p[row].is_some())).collect()
    }

    /// The run of each volume, from 0.
    pub fn run_of(&self) -> Vec<usize> {
        self.runs().enumerate().flat_map(|(run, (first, end))| std::iter::repeat_n(run, end - first)).collect()
    }

    /// Which volumes a delayed volume is made of: for each row the row below and the share of the one above, or nothing
    /// where the delay leaves the run.
    fn delayed(&self, delay: f64) -> Vec<Option<(usize, f64)>> {
        let shift = delay / self.repetition_time;
        self.runs()
            .flat_map(|(first, end)| (first..end).map(move |row| (first, row)))
            .map(|(first, row)| {
                let at = row as f64 - shift;
                let low = (at + WHOLE).floor();
                let share = if at - low < WHOLE { 0.0 } else { at - low };
                (low >= first as f64).then_some((low as usize, share))
            })
            .collect()
    }
}

/// A finite impulse response: every column delayed by each of `delays` seconds, blocks side by side in that order.
///
/// A delay that is no multiple of the repetition time is interpolated linearly between the two volumes around it. Rows of
/// which any delayed sample lies before its run are 0 and marked invalid: they belong in no fit.
///
/// # Errors
/// `FL-02` for a delay that is negative or not finite.
///
/// # Panics
/// When `x` does not have one row per volume: a defect of the caller.
pub fn delay(x: &Array2<f64>, timeline: &Timeline, delays: &[f64]) -> Result<(Array2<f64>, Vec<bool>)> {
    assert_eq!(x.nrows(), timeline.volumes(), "one row per volume");
    if let Some(bad) = delays.iter().find(|d| !(d.is_finite() && **d >= 0.0)) {
        return Err(Error::new(Code::Fl02, "--delays", bad.to_string()).expected("seconds, 0 or more"));
    }
    let (n, width) = x.dim();
    let places: Vec<_> = delays.iter().map(|d| timeline.delayed(*d)).collect();
    let valid: Vec<bool> = (0..n).map(|row| places.iter().all(|p| p[row].is_some())).collect();
    let mut out = Array2::zeros((n, width * delays.len()));
    for row in (0..n).filter(|r| valid[*r]) {
        for (block, place) in places.iter().enumerate() {
            let Some((low, share)) = place[row] else { continue };
            for column in 0..width {
                let mut value = (1.0 - share) * x[[low, column]];
                if share > 0.0 {
                    value += share * x[[low + 1, column]];
                }
                out[[row, block * width + column]] = value;
            }
        }
    }
    Ok((out, valid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn delays_stay_within_runs() {
        let timeline = Timeline::new(2.0, 0.0, 6, &[0, 3]).unwrap();
        let x = array![[1.0], [2.0], [4.0], [8.0], [16.0], [32.0]];
        let (out, valid) = delay(&x, &timeline, &[0.0, 2.0, 3.0]).unwrap();
        assert_eq!(valid, [false, false, true, false, false, true]);
        assert_eq!(out.row(2).to_vec(), [4.0, 2.0, 1.5]);
        assert_eq!(out.row(5).to_vec(), [32.0, 16.0, 12.0]);
        assert_eq!(out.row(3).to_vec(), [0.0; 3]);
        assert_eq!(delay(&x, &timeline, &[-1.0]).unwrap_err().code(), Code::Fl02);
    }

    #[test]
    fn impossible_timelines_are_refused() {
        let code = |tr, first, n, starts: &[usize]| Timeline::new(tr, first, n, starts).unwrap_err().code();
        assert_eq!(code(0.0, 0.0, 5, &[]), Code::Fl02);
        assert_eq!(code(2.0, f64::NAN, 5, &[]), Code::Fl02);
        assert_eq!(code(2.0, 0.0, 0, &[]), Code::Fl02);
        for starts in [&[1][..], &[0, 3, 3], &[0, 5]] {
            assert_eq!(code(2.0, 0.0, 5, starts), Code::Fl02);
        }
    }
}
