//! How often the study's test finds an effect, and how often it finds one that is not there.

use ndarray::Array2;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Bench, SEED};
use crate::encoding::ScoreName;
use crate::error::Result;
use crate::stats::flips::{SignFlips, sign_flip_test};
use crate::stats::uniform::{binomial_band, ks_uniform};

/// Shares of a response's variance that the planted layer explains.
const EFFECTS: [f64; 6] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
/// Numbers of subjects.
const SUBJECTS: [usize; 10] = [5, 8, 12, 16, 24, 32, 48, 64, 96, 128];
/// Invented subjects per effect, from which studies are drawn.
const POOL: usize = 256;
/// Studies drawn from a pool.
const DRAWS: usize = 500;
/// Invented studies without an effect.
const NULL_STUDIES: usize = 500;
/// Fewest and most subjects of those: below, exact p-values are too coarse to be called uniform or not.
const NULL_SUBJECTS: (usize, usize) = (8, 24);
/// Level of the tests, and power that is asked for.
const ALPHA: f64 = 0.05;
const WANTED: f64 = 0.8;
/// Steps of the progress bar.
pub(super) const STEPS: u64 = EFFECTS.len() as u64 + 1;

/// p-values of 500 studies in which nothing is planted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Null {
    /// The score whose differences were tested.
    pub score: ScoreName,
    /// Studies.
    pub studies: usize,
    /// Subjects of each.
    pub subjects: usize,
    /// Kolmogorov–Smirnov p of the p-values against the uniform distribution.
    pub ks_p: f64,
    /// Share of studies with p ≤ 0.05.
    pub rejected: f64,
    /// The 99.9 % band of that share when the level holds.
    pub band: (f64, f64),
    /// Whether the share lies in the band and uniformity is not rejected at 0.001.
    pub calibrated: bool,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Power {
    /// Share of the variance that the layer explains.
    pub share: f64,
    /// Mean difference in the ranking score.
    pub difference: f64,
    /// Its standard deviation over subjects.
    pub sd: f64,
    /// Number of subjects and share of studies that find it.
    pub by_subjects: Vec<(usize, f64)>,
    /// The same for the study's own number; none for fewer than two.
    pub own: Option<f64>,
    /// Fewest subjects with which at least 80 % of studies find it; none up to 128.
    pub needed: Option<usize>,
}

/// Differences of the planted layer's score to what it is tested against, one per invented subject, each with one response.
fn differences(bench: &Bench<'_>, y: &Array2<f64>, score: ScoreName) -> Result<Vec<f64>> {
    let (own, other) = (bench.scores(bench.planted(), y, score)?, bench.scores(&bench.against, y, score)?);
    // Where the other side has no score it explains nothing.
    Ok(own.iter().zip(other).map(|(a, b)| a - if b.is_finite() { b } else { 0.0 }).collect())
}

pub(super) fn curves(bench: &Bench<'_>, subjects: usize) -> Result<(Vec<Null>, Vec<Power>)> {
    let null = null(bench, subjects)?;
    bench.watch.advance(1);
    let mut power = Vec::new();
    for (i, share) in EFFECTS.into_iter().enumerate() {
        let y = bench.design.responses(bench.planted().view(), share, POOL, SEED + 100 + i as u64);
        power.push(curve(share, &differences(bench, &y, bench.score)?, subjects));
        bench.watch.advance(1);
    }
    Ok((null, power))
}

/// Sign-flip p-values of studies whose responses are noise.
fn null(bench: &Bench<'_>, subjects: usize) -> Result<Vec<Null>> {
    let subjects = subjects.clamp(NULL_SUBJECTS.0, NULL_SUBJECTS.1);
    let y = bench.design.noise(NULL_STUDIES * subjects, SEED + 50);
    let scores = if bench.score == ScoreName::R { vec![ScoreName::R] } else { vec![ScoreName::R, bench.score] };
    let flips = SignFlips::new(subjects, 2000, SEED);
    let mut found = Vec::new();
    for score in scores {
        let all = differences(bench, &y, score)?;
        let by_study = Array2::from_shape_fn((subjects, NULL_STUDIES), |(s, study)| all[study * subjects + s]);
        let p: Vec<f64> = sign_flip_test(by_study.view(), &flips).into_iter().flatten().map(|t| t.p).collect();
        let count = p.iter().filter(|p| **p <= ALPHA).count();
        let (low, high) = binomial_band(p.len() as u64, ALPHA, 0.999);
        let ks_p = ks_uniform(&p);
        let n = p.len().max(1) as f64;
        found.push(Null {
            score,
            studies: p.len(),
            subjects,
            ks_p,
            rejected: count as f64 / n,
            band: (low as f64 / n, high as f64 / n),
            calibrated: (low..=high).contains(&(count as u64)) && ks_p >= 0.001,
        });
    }
    Ok(found)
}

fn curve(share: f64, pool: &[f64], subjects: usize) -> Power {
    let known: Vec<f64> = pool.iter().copied().filter(|v| v.is_finite()).collect();
    let difference = crate::stats::mean(&known).unwrap_or(f64::NAN);
    let n = known.len() as f64;
    let sd = (known.iter().map(|v| (v - difference).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let by_subjects: Vec<(usize, f64)> = SUBJECTS.into_iter().map(|n| (n, found(&known, n))).collect();
    Power {
        share,
        difference,
        sd,
        needed: by_subjects.iter().find(|(_, power)| *power >= WANTED).map(|(n, _)| *n),
        by_subjects,
        own: (subjects > 1).then(|| found(&known, subjects)),
    }
}

/// Share of studies of `n` subjects drawn from the pool whose two-sided t test finds a difference above 0.
fn found(pool: &[f64], n: usize) -> f64 {
    let Ok(t) = StudentsT::new(0.0, 1.0, n as f64 - 1.0) else { return f64::NAN };
    if n < 2 || pool.len() < n {
        return f64::NAN;
    }
    let critical = t.inverse_cdf(1.0 - ALPHA / 2.0);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + n as u64);
    let hit = |_: usize| {
        let study: Vec<f64> = sample(&mut rng, pool.len(), n).iter().map(|i| pool[i]).collect();
        let mean = study.iter().sum::<f64>() / n as f64;
        let variance = study.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
        mean > critical * (variance / n as f64).sqrt()
    };
    (0..DRAWS).map(hit).filter(|hit| *hit).count() as f64 / DRAWS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_grows_with_subjects_and_is_small_without_an_effect() {
        let spread: Vec<f64> = (0..256).map(|i| f64::from(i * 37 % 256) / 128.0 - 1.0 + 1.0 / 256.0).collect();
        assert!(found(&spread, 20) < 0.06);
        let shifted: Vec<f64> = spread.iter().map(|v| v + 0.4).collect();
        let (few, many) = (found(&shifted, 8), found(&shifted, 48));
        assert!(few < 0.7 && many > 0.95, "{few} {many}");
        let curve = curve(0.1, &shifted, 8);
        assert!(curve.needed.is_some_and(|n| (12..=32).contains(&n)), "{curve:?}");
        assert!((curve.difference - 0.4).abs() < 1e-9 && curve.own == Some(few));
        assert!(found(&spread, 1000).is_nan());
    }
}
