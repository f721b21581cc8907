//! Whether p-values are uniform.

use statrs::distribution::{Binomial, Discrete};

/// p of the Kolmogorov–Smirnov test that `values` are uniform on 0 … 1, by the asymptotic distribution; 1 for none.
///
/// For ten values and more. Values on a lattice (exact permutation tests) make it conservative or, with a coarse
/// lattice, reject what is right. Source: Stephens (1970), J. R. Stat. Soc. B 32.
pub fn ks_uniform(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance =
        sorted.iter().enumerate().map(|(i, v)| (v - i as f64 / n).max((i + 1) as f64 / n - v)).fold(0.0f64, f64::max);
    let scaled = distance * (n.sqrt() + 0.12 + 0.11 / n.sqrt());
    if sorted.is_empty() || scaled < 0.2 {
        return 1.0;
    }
    let term = |k: i32| f64::from(k % 2 * 2 - 1) * (-2.0 * f64::from(k * k) * scaled * scaled).exp();
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// The narrowest range of counts, out of `n` at probability `p`, with at most (1 − level) / 2 beyond either end.
pub fn binomial_band(n: u64, p: f64, level: f64) -> (u64, u64) {
    let Ok(binomial) = Binomial::new(p, n) else { return (0, n) };
    let tail = (1.0 - level) / 2.0;
    let (mut low, mut below) = (0, binomial.pmf(0));
    while below < tail && low < n {
        low += 1;
        below += binomial.pmf(low);
    }
    let (mut high, mut above) = (n, binomial.pmf(n));
    while above < tail && high > 0 {
        high -= 1;
        above += binomial.pmf(high);
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_values_pass_and_others_do_not() {
        let even: Vec<f64> = (0..500).map(|i| (f64::from(i) + 0.5) / 500.0).collect();
        assert!(ks_uniform(&even) > 0.99);
        let low: Vec<f64> = even.iter().map(|p| p.powf(1.5)).collect();
        assert!(ks_uniform(&low) < 1e-6);
        // scipy.stats.kstwobign.sf(1.36) = 0.0494.
        let shifted: Vec<f64> = even.iter().map(|p| (p + 1.36 / 500f64.sqrt()).min(1.0)).collect();
        assert!((ks_uniform(&shifted) - 0.05).abs() < 0.01);
    }

    #[test]
    fn the_band_holds_its_level() {
        // scipy.stats.binom(500, 0.05).interval(0.999)
        assert_eq!(binomial_band(500, 0.05, 0.999), (11, 42));
    }
}
