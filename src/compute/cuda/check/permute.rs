use ndarray::{Array2, Axis};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::super::gpu::Gpu;
use super::{Check, Extent, Noise};
use crate::error::Result;
use crate::stats::flips::{SignFlips, t_squared};
use crate::stats::labels::Relabelings;
use crate::stats::permuter::{FlipFamily, RelabelFamily, Tally};

/// Units, members, draws (counted where there are too many units for all patterns).
const QUICK: &[[usize; 3]] = &[[10, 33, 0], [70, 300, 50]];
const THOROUGH: &[[usize; 3]] =
    &[[2, 1, 0], [9, 31, 0], [10, 1025, 0], [17, 32, 9], [33, 1000, 17], [1025, 33, 9], [17, 100_000, 3]];

pub(super) fn run(gpu: &Gpu, extent: Extent) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for shape in if extent == Extent::Quick { QUICK } else { THOROUGH } {
        for uniform in [true, false] {
            checks.push(flips(gpu, *shape, uniform)?);
        }
        checks.push(labels(gpu, *shape)?);
    }
    Ok(checks)
}

fn check(kernel: &'static str, shape: String, found: &Tally, own: &Tally) -> Check {
    let all = |scores: &Tally| -> Vec<f64> {
        scores.counts.iter().map(|c| f64::from(*c)).chain(scores.largest.iter().copied()).collect()
    };
    // Counts are compared with the rest: one more or less is far above the tolerance.
    Check::new(kernel, shape, &all(found), &all(own), 1e-11)
}

/// Against the generator and the product of `stats::flips`.
fn flips(gpu: &Gpu, [units, members, draws]: [usize; 3], uniform: bool) -> Result<Check> {
    let patterns = SignFlips::new(units, draws, 7);
    let mut scaled = Noise(61).matrix(units, members);
    let n: Vec<f64> =
        (0..members).map(|c| if uniform { units as f64 } else { units as f64 + (c % 3) as f64 }).collect();
    for (mut column, n) in scaled.axis_iter_mut(Axis(1)).zip(&n) {
        let squares: f64 = column.iter().map(|v| v * v).sum();
        column /= (n * squares).sqrt();
    }
    let least: Vec<f64> = scaled.columns().into_iter().map(|c| c.sum().powi(2) * (1.0 - 1e-9) - 1e-12).collect();
    let family = FlipFamily {
        scaled: scaled.view(),
        exact: patterns.exact(),
        seed: 7,
        patterns: patterns.count(),
        n: &n,
        least: &least,
        uniform,
    };
    let found = gpu.sign_flips(&family)?;
    let sums = patterns.rows(0..patterns.count()).dot(&scaled);
    let size = |u: f64, n: f64| if uniform { u } else { t_squared(u, n) };
    let mut own = Tally { counts: vec![0; members], largest: Vec::new() };
    for row in sums.rows() {
        let squares = || row.iter().map(|s| s * s);
        squares().zip(&least).zip(&mut own.counts).for_each(|((u, least), c)| *c += u32::from(u >= *least));
        own.largest.push(squares().zip(&n).map(|(u, n)| size(u, *n)).fold(0.0, f64::max));
    }
    let shape = format!("{units} units, {members} members, {} patterns", patterns.count());
    Ok(check("sign_flip_scores", shape, &found, &own))
}

fn labels(gpu: &Gpu, [units, outcomes, draws]: [usize; 3]) -> Result<Check> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let shuffled = |_| {
        let mut order: Vec<usize> = (0..units).collect();
        order.shuffle(&mut rng);
        order
    };
    let orders = Relabelings::Given((0..draws.clamp(1, 8)).map(shuffled).collect());
    let (directions, residuals) = (Noise(62).matrix(3, units), Noise(63).matrix(units, outcomes));
    let squares: Vec<f64> = residuals.columns().into_iter().map(|c| c.dot(&c) * units as f64 * 3.0).collect();
    let varies: Vec<bool> = (0..outcomes).map(|c| c % 5 != 4).collect();
    let least: Vec<f64> = (0..outcomes).map(|c| 0.01 * (c % 7) as f64).collect();
    let (spread, freedom) = (1.7, units as f64);
    let of = RelabelFamily {
        orders: &orders,
        directions: directions.view(),
        residuals: residuals.view(),
        squares: &squares,
        varies: &varies,
        least: &least,
        spread,
        freedom,
    };
    let found = gpu.relabelings(&of)?;
    let mut own = Tally { counts: vec![0; outcomes], largest: Vec::new() };
    for order in (0..orders.count()).map(|number| orders.order(number)) {
        let moved: Array2<f64> = directions.dot(&residuals.select(Axis(0), &order));
        let t2 = |c: usize| {
            let (along, lost) = (moved[[0, c]], moved[[1, c]].powi(2) + moved[[2, c]].powi(2));
            let rest = squares[c] - lost - along * along / spread;
            if rest <= 1e-12 * squares[c] { f64::INFINITY } else { (along / spread).powi(2) * spread * freedom / rest }
        };
        let sizes: Vec<f64> = (0..outcomes).map(|c| if varies[c] { t2(c) } else { 0.0 }).collect();
        (0..outcomes).filter(|c| varies[*c] && sizes[*c] >= least[*c]).for_each(|c| own.counts[c] += 1);
        own.largest.push(sizes.into_iter().fold(0.0, f64::max));
    }
    Ok(check("relabel_scores", format!("{units} units, {outcomes} outcomes, {} orders", orders.count()), &found, &own))
}
