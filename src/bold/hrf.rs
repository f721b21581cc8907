/// Samples per repetition time on which events and response are laid out.
const OVERSAMPLING: f64 = 16.0;
/// The grid begins this long before the first volume (s).
const BEFORE: f64 = 24.0;
/// Length of the response (s).
const LENGTH: f64 = 32.0;
/// Γ(6) and Γ(16).
const GAMMA_6: f64 = 120.0;
const GAMMA_16: f64 = 1_307_674_368_000.0;

/// The SPM canonical response of one run, on a fine grid.
///
/// As nilearn's `compute_regressor(…, "spm", oversampling=16, min_onset=-24)`: a difference of gamma densities (peak at 6 s,
/// undershoot at 16 s, ratio 0.167), scaled to sum 1, convolved with boxes of the events on a grid of TR / 16, read off
/// linearly at the start of each volume. Since a box is a difference of two steps, the convolution is a difference of two
/// entries of the response's running sum.
pub struct Response {
    /// Times of the fine grid (s, from the run's first volume).
    grid: Vec<f64>,
    /// Running sum of the response.
    steps: Vec<f64>,
    /// For each volume the grid point above it and how far it is from the one below.
    reads: Vec<(usize, f64)>,
}

impl Response {
    /// The response for volumes that begin at `times`, of which there are at least two, the first at 0.
    pub fn new(times: &[f64]) -> Response {
        let n = times.len() as f64;
        let last = times.iter().fold(0.0f64, |m, v| m.max(*v));
        let step = times.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
        let end = last * (1.0 + 1.0 / (n - 1.0));
        let count = (((n - 1.0) / last) * ((end + BEFORE) * OVERSAMPLING) + 1.0).round_ties_even() as usize;
        let grid = line(-BEFORE, end, count);
        let fine = step / OVERSAMPLING;
        let stamps = line(0.0, LENGTH, (LENGTH / fine).round_ties_even() as usize);
        let response: Vec<f64> = stamps
            .iter()
            .map(|t| {
                let t = (t - fine).max(0.0);
                (t.powi(5) / GAMMA_6 - 0.167 * t.powi(15) / GAMMA_16) * (-t).exp()
            })
            .collect();
        let total: f64 = response.iter().sum();
        let mut sum = 0.0;
        let steps = response
            .iter()
            .map(|v| {
                sum += v / total;
                sum
            })
            .collect();
        let reads = times
            .iter()
            .map(|t| {
                let above = grid.partition_point(|g| g < t).clamp(1, grid.len() - 1);
                (above, (t - grid[above - 1]) / (grid[above] - grid[above - 1]))
            })
            .collect();
        Response { grid, steps, reads }
    }

    /// First and one past the last grid point of an event; at least one point, but at the very end of the grid.
    pub fn span(&self, onset: f64, duration: f64) -> (usize, usize) {
        let most = self.grid.len() - 1;
        let at = |seconds: f64| self.grid.partition_point(|g| *g < seconds).min(most);
        let (on, off) = (at(onset), at(onset + duration));
        (on, if off == on && off < most { off + 1 } else { off })
    }

    /// What an event of height 1 over the grid points `on..off` adds to a volume.
    pub fn weight(&self, volume: usize, on: usize, off: usize) -> f64 {
        let (above, share) = self.reads[volume];
        let (low, high) = (self.boxed(above - 1, on, off), self.boxed(above, on, off));
        low + (high - low) * share
    }

    /// The convolved box at one grid point.
    fn boxed(&self, at: usize, on: usize, off: usize) -> f64 {
        self.step(at, on) - self.step(at, off)
    }

    fn step(&self, at: usize, from: usize) -> f64 {
        match at.checked_sub(from) {
            None => 0.0,
            Some(behind) => self.steps[behind.min(self.steps.len() - 1)],
        }
    }
}

/// `count` points from `start` to `end`.
fn line(start: f64, end: f64, count: usize) -> Vec<f64> {
    let count = count.max(2);
    let step = (end - start) / (count - 1) as f64;
    (0..count).map(|i| if i + 1 == count { end } else { i as f64 * step + start }).collect()
}
