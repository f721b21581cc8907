//! Bootstrap over exchangeable units (subjects, or stimulus groups), with bias-corrected accelerated intervals.
//!
//! A resample is a vector of weights over the units (how often each was drawn), so that the statistics of all
//! resamples and all targets come from one matrix product with the per-unit sums.
//!
//! Source: Efron & Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 14.

use ndarray::{Array1, Array2, ArrayView1, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Weights of bootstrap and jackknife resamples over the same units.
#[derive(Debug, Clone)]
pub struct Resamples {
    /// (draws, units): how often each unit was drawn with replacement.
    pub bootstrap: Array2<f64>,
    /// (units, units): each unit left out once.
    pub jackknife: Array2<f64>,
    seed: u64,
}

impl Resamples {
    /// Draws `draws` resamples of `units` units; the same seed gives the same resamples.
    pub fn new(units: usize, draws: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bootstrap = Array2::zeros((draws, units));
        for mut row in bootstrap.axis_iter_mut(Axis(0)) {
            for _ in 0..units {
                row[rng.random_range(0..units)] += 1.0;
            }
        }
        let jackknife = Array2::from_shape_fn((units, units), |(i, j)| if i == j { 0.0 } else { 1.0 });
        Resamples { bootstrap, jackknife, seed }
    }

    /// The seed of the draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of units that are resampled.
    pub fn units(&self) -> usize {
        self.jackknife.nrows()
    }
}

/// A two-sided confidence interval.
pub type Interval = (f64, f64);

/// The level whose bootstrap quantiles cover as often as `level` says when there are few units.
///
/// A bootstrap of n units takes its spread for that of the population, which is larger by √(n / (n − 1)), and for known: the
/// tails of the normal distribution are exchanged for those of t with n − 1 degrees of freedom. With many units nothing
/// changes. Source: Hesterberg, *The American Statistician* 69 (2015), 371–386 ("expanded percentile").
pub fn expanded(level: f64, units: usize) -> f64 {
    let n = units as f64;
    let Some(t) = StudentsT::new(0.0, 1.0, n - 1.0).ok().filter(|_| units > 1) else { return level };
    let point = t.inverse_cdf(0.5 * (1.0 + level)) * (n / (n - 1.0)).sqrt();
    2.0 * Normal::standard().cdf(point) - 1.0
}

/// The BCa interval of a statistic from its value, its bootstrap replicates and its jackknife values.
///
/// Undefined replicates are `NaN` and are left out. `None` when fewer than three jackknife values or fewer than
/// nine tenths of the replicates are defined: an interval from the rest would not mean what it says.
/// A statistic that never varies gives the interval of its one value.
pub fn bca(value: f64, replicates: ArrayView1<f64>, jackknife: ArrayView1<f64>, level: f64) -> Option<Interval> {
    let mut sorted: Vec<f64> = replicates.iter().copied().filter(|v| v.is_finite()).collect();
    let left_out: Vec<f64> = jackknife.iter().copied().filter(|v| v.is_finite()).collect();
    if left_out.len() < 3 || sorted.len() * 10 < replicates.len() * 9 || !value.is_finite() {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    if first == last {
        return Some((first, last));
    }
    let normal = Normal::standard();
    let n = sorted.len() as f64;
    // Half of the ties count as below, so that a statistic on a lattice is not taken for a biased one.
    let below = sorted.partition_point(|v| *v < value) as f64;
    let ties = sorted.partition_point(|v| *v <= value) as f64 - below;
    let share = ((below + 0.5 * ties) / n).clamp(0.5 / n, 1.0 - 0.5 / n);
    let bias = normal.inverse_cdf(share);
    let centre = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let (mut square, mut cube) = (0.0, 0.0);
    for v in &left_out {
        let d = centre - v;
        square += d * d;
        cube += d * d * d;
    }
    let acceleration = if square > 0.0 { cube / (6.0 * square.powf(1.5)) } else { 0.0 };
    let point = |tail: f64| {
        let z = bias + normal.inverse_cdf(tail);
        let adjusted = normal.cdf(bias + z / (1.0 - acceleration * z));
        quantile(&sorted, adjusted)
    };
    let tail = (1.0 - level) / 2.0;
    Some((point(tail), point(1.0 - tail)))
}

/// The `q`-quantile of sorted values, interpolated linearly between order statistics.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let low = position.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (position - low as f64) * (sorted[high] - sorted[low])
}

/// Weighted means over units of `values` (units, columns), for each row of `weights` (resamples, units).
///
/// `NaN` entries of `values` are left out and the weights of the rest renormalised; a mean of nothing is `NaN`.
pub fn weighted_means(weights: &Array2<f64>, values: &Array2<f64>) -> Array2<f64> {
    let known = values.mapv(|v| if v.is_finite() { 1.0 } else { 0.0 });
    let filled = values.mapv(|v| if v.is_finite() { v } else { 0.0 });
    let mut means = weights.dot(&filled);
    let mass = weights.dot(&known);
    ndarray::Zip::from(&mut means).and(&mass).for_each(|m, w| *m = if *w > 0.0 { *m / w } else { f64::NAN });
    means
}

/// Weighted means over the columns of each unit: `values` (units, columns) and `weights` (kinds, columns) → (units,
/// kinds), gaps as in [`weighted_means`].
pub fn weighted_within(values: &Array2<f64>, weights: &Array2<f64>) -> Array2<f64> {
    weighted_means(weights, &values.t().to_owned()).t().to_owned()
}

/// The mean over units of each column of `values` (units, columns) and its BCa interval, [`expanded`].
pub fn mean_intervals(values: &Array2<f64>, resamples: &Resamples, level: f64) -> (Array1<f64>, Vec<Option<Interval>>) {
    let ones = Array2::ones((1, values.nrows()));
    let means = weighted_means(&ones, values).row(0).to_owned();
    let boot = weighted_means(&resamples.bootstrap, values);
    let jack = weighted_means(&resamples.jackknife, values);
    let level = expanded(level, resamples.units());
    let intervals = (0..values.ncols()).map(|j| bca(means[j], boot.column(j), jack.column(j), level)).collect();
    (means, intervals)
}

/// The percentile interval of a mean over subjects of ratios over stimulus groups, both resampled (two-way bootstrap).
///
/// `gains` and `shares` are (subjects, groups): a subject's value is Σ_g w_g gains / Σ_g w_g shares with w how often each
/// group was drawn; the groups drawn are the same for all subjects. A subject without a value (all `NaN`) is left out.
/// `None` for fewer than three subjects or groups. Resampling both ways counts the noise that is in neither twice: the
/// interval is wide rather than narrow (Owen, *Annals of Applied Statistics* 1, 2007, 386–411).
pub fn two_way(gains: &Array2<f64>, shares: &Array2<f64>, draws: usize, seed: u64, level: f64) -> Option<Interval> {
    assert_eq!(gains.raw_dim(), shares.raw_dim(), "one share per gain");
    let known: Vec<usize> =
        (0..gains.nrows()).filter(|s| gains.row(*s).iter().chain(shares.row(*s)).all(|v| v.is_finite())).collect();
    let (gains, shares) = (gains.select(Axis(0), &known), shares.select(Axis(0), &known));
    // A group that no subject saw is none.
    let seen: Vec<usize> = (0..shares.ncols()).filter(|g| shares.column(*g).iter().any(|v| *v != 0.0)).collect();
    let (gains, shares) = (gains.select(Axis(1), &seen), shares.select(Axis(1), &seen));
    if known.len() < 3 || seen.len() < 3 {
        return None;
    }
    let subjects = Resamples::new(known.len(), draws, seed).bootstrap;
    let groups = Resamples::new(seen.len(), draws, seed.wrapping_add(1)).bootstrap;
    let mut values = groups.dot(&gains.t());
    values.zip_mut_with(&groups.dot(&shares.t()), |v, s| *v = if *s > 0.0 { *v / s } else { f64::NAN });
    let mut sorted: Vec<f64> = values
        .rows()
        .into_iter()
        .zip(subjects.rows())
        .filter_map(|(values, weights)| {
            let (mut sum, mut mass) = (0.0, 0.0);
            for (v, w) in values.iter().zip(weights).filter(|(v, w)| v.is_finite() && **w > 0.0) {
                sum += v * w;
                mass += w;
            }
            (mass > 0.0).then(|| sum / mass)
        })
        .collect();
    if sorted.len() * 10 < draws * 9 || sorted.is_empty() {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    Some((quantile(&sorted, tail), quantile(&sorted, 1.0 - tail)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn both_ways_is_wider_than_one() {
        // Subjects agree about every group: all the spread is between groups.
        let gains = Array2::from_shape_fn((12, 20), |(_, g)| if g % 2 == 0 { 0.1 } else { -0.05 });
        let shares = Array2::from_elem((12, 20), 0.05);
        let (low, high) = two_way(&gains, &shares, 1000, 0, 0.95).unwrap();
        let means = gains.sum_axis(Axis(1)).insert_axis(Axis(1));
        let (_, one) = mean_intervals(&means, &Resamples::new(12, 1000, 0), 0.95);
        let (narrow, same) = one[0].unwrap();
        assert!(same - narrow < 1e-12 && low < narrow && same < high, "{low} {high} {narrow} {same}");
        assert_eq!(two_way(&gains, &shares, 1000, 0, 0.95), Some((low, high)));
        assert_eq!(
            two_way(
                &gains.slice_axis(Axis(0), (..2).into()).to_owned(),
                &shares.slice_axis(Axis(0), (..2).into()).to_owned(),
                100,
                0,
                0.95
            ),
            None
        );
    }

    #[test]
    fn a_resample_draws_every_place() {
        let r = Resamples::new(7, 50, 0);
        assert!(r.bootstrap.sum_axis(Axis(1)).iter().all(|s| *s == 7.0));
        assert!(r.jackknife.sum_axis(Axis(1)).iter().all(|s| *s == 6.0));
        assert_eq!(r.bootstrap, Resamples::new(7, 50, 0).bootstrap);
        assert_ne!(r.bootstrap, Resamples::new(7, 50, 1).bootstrap);
    }

    /// With no bias and no skew BCa equals the percentile interval.
    #[test]
    fn symmetric_sample_gives_the_percentile_interval() {
        let replicates = Array1::from_iter((-500..=500).map(f64::from));
        let jackknife = Array1::from_iter((-10..=10).map(f64::from));
        let (low, high) = bca(0.0, replicates.view(), jackknife.view(), 0.95).unwrap();
        assert!((low + 475.0).abs() < 1e-6 && (high - 475.0).abs() < 1e-6, "{low} {high}");
    }

    #[test]
    fn one_value_gives_a_point_and_two_units_give_nothing() {
        let same = Array1::from_elem(100, 0.25);
        assert_eq!(bca(0.25, same.view(), array![0.25, 0.25, 0.25].view(), 0.95), Some((0.25, 0.25)));
        assert_eq!(bca(0.25, same.view(), array![0.25, 0.25].view(), 0.95), None);
    }

    #[test]
    fn undefined_units_renormalise() {
        let values = array![[1.0, f64::NAN], [3.0, 5.0], [5.0, f64::NAN]];
        let means = weighted_means(&Array2::ones((1, 3)), &values);
        assert_eq!(means, array![[3.0, 5.0]]);
    }
}
