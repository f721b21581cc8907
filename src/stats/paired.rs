//! What the t distribution says of paired differences: equivalence and power.

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::gamma::ln_gamma;

/// Size, mean and standard deviation (divisor n − 1) of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Values that are finite.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
}

impl Sample {
    /// Describes the finite ones of `values`; `None` for fewer than two.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a f64>) -> Option<Sample> {
        let finite: Vec<f64> = values.into_iter().copied().filter(|v| v.is_finite()).collect();
        let n = finite.len();
        if n < 2 {
            return None;
        }
        let mean = finite.iter().sum::<f64>() / n as f64;
        let squares: f64 = finite.iter().map(|v| (v - mean) * (v - mean)).sum();
        Some(Sample { n, mean, sd: (squares / (n - 1) as f64).sqrt() })
    }

    /// Standard error of the mean.
    fn error(&self) -> f64 {
        self.sd / (self.n as f64).sqrt()
    }
}

/// The p of two one-sided t tests that the mean lies within ± `margin`: the larger of the two.
///
/// `None` where the values do not vary. Source: Schuirmann, *Journal of Pharmacokinetics and Biopharmaceutics* 15
/// (1987), 657–680.
pub fn tost(sample: Sample, margin: f64) -> Option<f64> {
    if !(sample.sd > 0.0 && margin > 0.0) {
        return None;
    }
    let t = StudentsT::new(0.0, 1.0, (sample.n - 1) as f64).ok()?;
    let above = t.sf((sample.mean + margin) / sample.error());
    let below = t.cdf((sample.mean - margin) / sample.error());
    Some(above.max(below))
}

/// The mean, in standard errors, that a two-sided one-sample t test of `n` values at level `alpha` finds with
/// probability `power`; times the standard error it is the smallest detectable effect.
///
/// `None` for fewer than two values. For one test, without correction for a family.
pub fn detectable(n: usize, alpha: f64, power: f64) -> Option<f64> {
    if n < 2 {
        return None;
    }
    let freedom = (n - 1) as f64;
    let critical = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(1.0 - alpha / 2.0);
    let (mut low, mut high) = (0.0, critical.max(1.0));
    while t_power(critical, freedom, high) < power {
        (low, high) = (high, 2.0 * high);
        if high > 1e6 {
            return None;
        }
    }
    while high - low > 1e-10 * high {
        let middle = 0.5 * (low + high);
        if t_power(critical, freedom, middle) < power { low = middle } else { high = middle }
    }
    Some(0.5 * (low + high))
}

/// The probability that |t| exceeds `critical` when its noncentrality is `shift`.
///
/// t² is noncentral F with 1 and `freedom` degrees of freedom: a Poisson mixture of beta distributions.
fn t_power(critical: f64, freedom: f64, shift: f64) -> f64 {
    let x = critical * critical / (freedom + critical * critical);
    let rate = 0.5 * shift * shift;
    let spread = 12.0 * rate.sqrt() + 40.0;
    let (from, to) = ((rate - spread).max(0.0) as usize, (rate + spread) as usize);
    let mut below = 0.0;
    for j in from..=to {
        let log_rate = if rate > 0.0 { j as f64 * rate.ln() } else { 0.0 };
        let weight = if rate == 0.0 && j > 0 { 0.0 } else { (log_rate - rate - ln_gamma(j as f64 + 1.0)).exp() };
        below += weight * beta_reg(0.5 + j as f64, 0.5 * freedom, x);
    }
    1.0 - below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_effect_is_found_as_often_as_the_level_says() {
        for freedom in [1.0, 3.0, 24.0, 400.0] {
            let critical = StudentsT::new(0.0, 1.0, freedom).unwrap().inverse_cdf(0.975);
            assert!((t_power(critical, freedom, 0.0) - 0.05).abs() < 1e-9);
        }
        // Many values: the normal distribution's 1.96 + 0.84.
        assert!((detectable(100_000, 0.05, 0.8).unwrap() - 2.8016).abs() < 1e-3);
        assert!(detectable(2, 0.05, 0.8).unwrap() > detectable(3, 0.05, 0.8).unwrap());
        assert_eq!(detectable(1, 0.05, 0.8), None);
    }

    #[test]
    fn equivalence_needs_the_whole_interval_within() {
        let within = Sample { n: 20, mean: 0.0, sd: 0.01 };
        assert!(tost(within, 0.02).unwrap() < 1e-6);
        assert!(tost(Sample { mean: 0.02, ..within }, 0.02).unwrap() > 0.49);
        assert_eq!(tost(Sample { sd: 0.0, ..within }, 0.02), None);
        assert_eq!(Sample::of(&[1.0, f64::NAN]), None);
        assert_eq!(Sample::of(&[1.0, f64::NAN, 3.0]).unwrap(), Sample { n: 2, mean: 2.0, sd: 2f64.sqrt() });
    }
}
