use ndarray::{Array2, s};

use super::super::gpu::{Cards, Gpu};
use super::super::ridge::{Extents, PathReal, choose, errors, flat, narrow, noise, refit};
use super::{Check, Extent, Noise, of_sum};
use crate::compute::device::{Accelerator, PathFactor};
use crate::error::Result;

/// Held-out rows, eigenvalues, targets, alphas.
const QUICK: &[[usize; 4]] = &[[33, 31, 100, 3], [100, 257, 65, 2]];
const THOROUGH: &[[usize; 4]] = &[
    [1, 1, 1, 1],
    [31, 32, 33, 2],
    [32, 33, 31, 3],
    [33, 31, 1000, 1],
    [33, 1025, 32, 1],
    [1025, 5, 31, 1],
    [1000, 31, 1, 2],
    [3, 31, 5, 25],
    [1, 1000, 33, 1],
    [2, 32, 1025, 1],
    [65, 64, 129, 3],
    [5, 3, 100_000, 1],
];

struct Case {
    of: Extents,
    p: Array2<f64>,
    q: Array2<f64>,
    values: Vec<f64>,
    alphas: Vec<f64>,
    truth: Array2<f64>,
}

impl Case {
    fn new([rows, k, targets, alphas]: [usize; 4]) -> Case {
        // float32 values, so that the float32 kernel and the reference start from the same.
        let rounded = |a: Array2<f64>| a.mapv(|v| f64::from(v as f32));
        let values: Vec<f64> = (0..k).map(|j| 10f64.powf(-1.0 + 4.0 * j as f64 / k as f64)).collect();
        let root = |j: usize| values[j].sqrt();
        let mut p = Noise(1).matrix(rows, k);
        let mut q = Noise(2).matrix(k, targets);
        p.indexed_iter_mut().for_each(|((_, j), v)| *v *= root(j));
        q.indexed_iter_mut().for_each(|((j, _), v)| *v *= root(j));
        let mut truth = Noise(3).matrix(rows, targets);
        // A constant target.
        truth.column_mut(0).fill(0.25);
        Case {
            of: Extents { rows, k, targets, alphas },
            p: rounded(p),
            q: rounded(q),
            alphas: (0..alphas).map(|a| 10f64.powf(-1.0 + 0.5 * a as f64)).collect(),
            values,
            truth,
        }
    }

    fn predicted(&self, a: usize) -> Array2<f64> {
        let mut p = self.p.clone();
        p.indexed_iter_mut().for_each(|((_, j), v)| *v /= self.values[j] + self.alphas[a]);
        p.dot(&self.q)
    }

    /// Σ (p − y)², Σ p, Σ p², Σ p y for every alpha and target, one after the other.
    fn sums(&self) -> [Vec<f64>; 4] {
        let mut sums: [Vec<f64>; 4] = Default::default();
        for a in 0..self.of.alphas {
            let p = self.predicted(a);
            for t in 0..self.of.targets {
                let pairs = || p.column(t).into_iter().zip(self.truth.column(t));
                sums[0].push(pairs().map(|(p, y)| (p - y) * (p - y)).sum());
                sums[1].push(pairs().map(|(p, _)| *p).sum());
                sums[2].push(pairs().map(|(p, _)| p * p).sum());
                sums[3].push(pairs().map(|(p, y)| p * y).sum());
            }
        }
        sums
    }

    fn shape(&self) -> String {
        let Extents { rows, k, targets, alphas } = self.of;
        format!("{rows} rows, {k} eigenvalues, {targets} targets, {alphas} alphas")
    }
}

pub(super) fn run(cards: &Cards, extent: Extent) -> Result<Vec<Check>> {
    let gpu = &cards.gpus()[0];
    let mut checks = Vec::new();
    for shape in if extent == Extent::Quick { QUICK } else { THOROUGH } {
        let case = Case::new(*shape);
        for tile in [32, 64] {
            checks.extend(kernels::<f64>(gpu, &case, tile)?);
            checks.extend(kernels::<f32>(gpu, &case, tile)?);
        }
        checks.extend(bounds(gpu, &case)?);
        checks.extend(coefficients(gpu, &case)?);
        for single in [false, true] {
            checks.push(whole(cards, &case, single)?);
        }
    }
    checks.extend(eigenvectors(gpu)?);
    Ok(checks)
}

fn kernels<T: PathReal>(gpu: &Gpu, case: &Case, tile: usize) -> Result<Vec<Check>> {
    let of = case.of;
    let lane = gpu.lane();
    let up = |a: &Array2<f64>| lane.upload(&a.iter().map(|v| T::of(*v)).collect::<Vec<T>>());
    let inverse = Array2::from_shape_fn((of.alphas, of.k), |(a, j)| 1.0 / (case.values[j] + case.alphas[a]));
    let (p, q, weights, truth) = (up(&case.p)?, up(&case.q)?, up(&inverse)?, lane.upload(&flat(case.truth.view()))?);
    let count = of.alphas * of.targets;
    let (mut sse, mut moments) = (lane.zeros::<f64>(count)?, lane.zeros::<f64>(3 * count)?);
    errors(gpu, &lane, of, tile, &p, &weights, &q, &truth, &mut sse, Some(&mut moments))?;
    let chosen = choose(gpu, &lane, &sse, of.alphas, of.targets)?;
    let (values, alphas) = (lane.upload(&case.values)?, lane.upload(&case.alphas)?);
    let (predicted, sums) = refit(gpu, &lane, of, tile, &p, &values, &q, &alphas, &chosen, &truth)?;
    let expected = case.sums();
    let single = T::NAME == "f32";
    let tolerance = of_sum(single, of.k);
    let name = |f32_64, f32_32, f64_64, f64_32| match (single, tile) {
        (true, 64) => f32_64,
        (true, _) => f32_32,
        (false, 64) => f64_64,
        (false, _) => f64_32,
    };
    let kernel = name("ridge_errors_f32_64", "ridge_errors_f32_32", "ridge_errors_f64_64", "ridge_errors_f64_32");
    let sse = lane.download(&sse, count)?;
    let moments = lane.download(&moments, 3 * count)?;
    // Alpha by alpha, kind by kind. Sums of signed numbers are as exact as sums of their sizes: those set the scale.
    let size: Vec<f64> = expected[2].iter().map(|v| (v * of.rows as f64).sqrt()).collect();
    let mut checks = Vec::new();
    let kinds = [("errors", &sse[..], 0), ("p", &moments[..count], 1), ("p²", &moments[count..2 * count], 2)];
    for (what, found, kind) in kinds.into_iter().chain([("p y", &moments[2 * count..], 3)]) {
        let scale = if kind % 2 == 1 { &size } else { &expected[0] };
        let (found, own) = match kind {
            0 | 2 => (found.to_vec(), expected[kind].clone()),
            _ => (with(found, scale, of.targets), with(&expected[kind], scale, of.targets)),
        };
        let width = found.len() / of.alphas;
        let tolerance = if kind == 2 { 2.0 * tolerance } else { tolerance };
        checks.push(Check::in_rows(kernel, format!("{}, {what}", case.shape()), &found, &own, width, tolerance));
    }
    let chosen: Vec<usize> = lane.download(&chosen, of.targets)?.into_iter().map(|c| c as usize).collect();
    let own: Vec<f64> = (0..of.targets).map(|t| smallest(&sse, of.targets, t) as f64).collect();
    let as_floats: Vec<f64> = chosen.iter().map(|c| *c as f64).collect();
    checks.push(Check::new("ridge_choose", case.shape(), &as_floats, &own, 0.0));
    let all: Vec<Array2<f64>> = (0..of.alphas).map(|a| case.predicted(a)).collect();
    let own = Array2::from_shape_fn((of.rows, of.targets), |at| all[chosen[at.1]][at]);
    let found: Vec<f64> = lane.download(&predicted, of.rows * of.targets)?.iter().map(|v| v.wide()).collect();
    let kernel = name("ridge_refit_f32_64", "ridge_refit_f32_32", "ridge_refit_f64_64", "ridge_refit_f64_32");
    checks.push(Check::new(kernel, case.shape(), &found, &flat(own.view()), tolerance));
    let found = lane.download(&sums, 4 * of.targets)?;
    let own = |kind: usize| (0..of.targets).map(|t| expected[kind][chosen[t] * of.targets + t]).collect::<Vec<f64>>();
    let size: Vec<f64> = own(2).iter().map(|v| (v * of.rows as f64).sqrt()).collect();
    for (kind, what) in ["errors", "p", "p²", "p y"].into_iter().enumerate() {
        let found = &found[kind * of.targets..(kind + 1) * of.targets];
        let (found, own) = match kind {
            0 | 2 => (found.to_vec(), own(kind)),
            _ => (with(found, &size, of.targets), with(&own(kind), &size, of.targets)),
        };
        let tolerance = if kind == 2 { 2.0 * tolerance } else { tolerance };
        checks.push(Check::new(kernel, format!("{}, {what}", case.shape()), &found, &own, tolerance));
    }
    Ok(checks)
}

/// Each row of `width` values with others behind it that set its scale.
fn with(values: &[f64], scale: &[f64], width: usize) -> Vec<f64> {
    values.chunks(width).zip(scale.chunks(width)).flat_map(|(v, s)| v.iter().chain(s).copied()).collect()
}

/// The rule of the engine: the smallest error; within 1e-12 of it, the largest alpha.
fn smallest(sse: &[f64], targets: usize, target: usize) -> usize {
    let errors: Vec<f64> = sse.iter().skip(target).step_by(targets).copied().collect();
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    errors.iter().rposition(|e| *e <= least * (1.0 + 1e-12)).unwrap_or(errors.len() - 1)
}

/// The noise that decides what is searched again, and the narrowing.
fn bounds(gpu: &Gpu, case: &Case) -> Result<Vec<Check>> {
    let of = case.of;
    let lane = gpu.lane();
    let weights = Noise(4).matrix(of.alphas, of.k).mapv(f64::abs);
    let upload = |a: &Array2<f64>| lane.upload(&a.iter().map(|v| *v as f32).collect::<Vec<f32>>());
    let q = narrow(gpu, &lane, &lane.upload(&flat(case.q.view()))?, of.k * of.targets)?;
    let found: Vec<f64> = lane.download(&q, of.k * of.targets)?.into_iter().map(f64::from).collect();
    let narrowed = Check::new("ridge_narrow", case.shape(), &found, &flat(case.q.view()), 0.0);
    let mut sum = lane.zeros::<f64>(of.alphas * of.targets)?;
    noise(gpu, &lane, of, &upload(&weights)?, &q, &mut sum)?;
    let own = weights.mapv(|v| f64::from(v as f32)).dot(&case.q.mapv(|v| v * v));
    let found = lane.download(&sum, of.alphas * of.targets)?;
    // Sums of positive terms: rounding grows with their number, not with its root.
    let tolerance = of_sum(true, of.k * of.k);
    Ok(vec![narrowed, Check::new("ridge_noise", case.shape(), &found, &flat(own.view()), tolerance)])
}

/// The whole route that the engine takes, on every card in turn.
fn whole(cards: &Cards, case: &Case, single: bool) -> Result<Check> {
    let of = case.of;
    let d = of.k + 3;
    let vectors = Noise(5).matrix(d, of.k);
    let right = Noise(6).matrix(d, of.targets);
    let q = vectors.t().dot(&right);
    let factor = PathFactor {
        vectors: vectors.view(),
        values: &case.values,
        projected: case.p.view(),
        single: single.then_some(1.0),
    };
    let path = cards.ridge_path(&factor)?;
    let half = of.rows / 2;
    let parts = [0..half, half..of.rows];
    let held_out: Vec<_> = parts.iter().map(|r| (r.clone(), case.truth.slice(s![r.clone(), ..]).to_owned())).collect();
    let (mut found, mut own) = (Vec::new(), Vec::new());
    for block in 0..cards.gpus().len() {
        for errors in path.errors(&case.alphas, right.view(), &held_out, block)? {
            found.extend(errors.sse.iter().copied());
        }
        for (rows, truth) in &held_out {
            for alpha in &case.alphas {
                let mut p = case.p.slice(s![rows.clone(), ..]).to_owned();
                p.indexed_iter_mut().for_each(|((_, j), v)| *v /= case.values[j] + alpha);
                let apart = p.dot(&q) - truth;
                own.extend(apart.columns().into_iter().map(|c| c.iter().map(|v| v * v).sum::<f64>()));
            }
        }
    }
    let tolerance = of_sum(single, d * of.k);
    Ok(Check::new(
        if single { "ridge path, float32" } else { "ridge path, float64" },
        case.shape(),
        &found,
        &own,
        tolerance,
    ))
}

/// Uᵀ R by our own kernel, and by cuBLAS where it is there.
fn coefficients(gpu: &Gpu, case: &Case) -> Result<Vec<Check>> {
    let Extents { k, targets, .. } = case.of;
    let d = k + 3;
    let lane = gpu.lane();
    let (vectors, right) = (Noise(8).matrix(d, k), Noise(9).matrix(d, targets));
    let expected = vectors.t().dot(&right);
    let (u, r) = (lane.upload(&flat(vectors.view()))?, lane.upload(&flat(right.view()))?);
    let kernel = if targets <= 32 { "ridge_coefficients_f64_32" } else { "ridge_coefficients_f64_64" };
    let mut ways = vec![(kernel, true)];
    if lane.dense.names().contains(&"cuBLAS") {
        ways.push(("product by cuBLAS", false));
    }
    let shape = format!("{d} × {k} × {targets}");
    ways.into_iter()
        .map(|(name, own)| {
            let q = gpu.coefficients(&lane, &u, &r, (d, k, targets), own)?;
            let found = lane.download(&q, k * targets)?;
            Ok(Check::new(name, shape.clone(), &found, &flat(expected.view()), of_sum(false, d)))
        })
        .collect()
}

/// cuSOLVER's decomposition multiplied out again; nothing without it.
fn eigenvectors(gpu: &Gpu) -> Result<Option<Check>> {
    let n = 33;
    let half = Noise(7).matrix(n, n + 5);
    let matrix = half.dot(&half.t());
    let mut lower = matrix.clone();
    lower.indexed_iter_mut().filter(|((i, j), _)| j > i).for_each(|(_, v)| *v = f64::NAN);
    let Some(found) = gpu.eigh(lower.view())? else { return Ok(None) };
    let found = (&found.vectors * &found.values).dot(&found.vectors.t());
    let shape = format!("{n} × {n}");
    Ok(Some(Check::new("eigendecomposition", shape, &flat(found.view()), &flat(matrix.view()), of_sum(false, n))))
}
