use std::sync::Arc;

use ndarray::{Array2, Axis};

use super::super::fold_gram::Centring;
use super::super::gpu::Gpu;
use super::super::parcellate::HeldMap;
use super::super::ridge::{PathReal, flat};
use super::{Check, Extent, Noise, of_sum};
use crate::compute::device::SparseMap;
use crate::error::Result;

/// Rows, columns.
const QUICK: &[[usize; 2]] = &[[33, 31], [100, 65]];
const THOROUGH: &[[usize; 2]] =
    &[[1, 1], [31, 33], [32, 32], [33, 31], [1000, 1], [1, 1000], [1025, 33], [33, 1025], [3, 100_000]];

pub(super) fn run(gpu: &Arc<Gpu>, extent: Extent) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for shape in if extent == Extent::Quick { QUICK } else { THOROUGH } {
        checks.extend(standardise::<f64>(gpu, *shape, ["column_moments_f64", "standardise_f64"])?);
        checks.extend(standardise::<f32>(gpu, *shape, ["column_moments_f32", "standardise_f32"])?);
        checks.push(products::<f64>(gpu, *shape, "fold_products_f64")?);
        checks.push(products::<f32>(gpu, *shape, "fold_products_f32")?);
        // Square results: the long side of the others.
        let [n, p] = *shape;
        if n.max(p) <= 1025 {
            checks.push(gram::<f64>(gpu, p, "fold_gram_f64")?);
            checks.push(gram::<f32>(gpu, p, "fold_gram_f32")?);
            checks.extend(pairwise::<f64>(gpu, *shape, ["pairwise_products_f64", "pairwise_distances_f64"])?);
            checks.extend(pairwise::<f32>(gpu, *shape, ["pairwise_products_f32", "pairwise_distances_f32"])?);
        }
        checks.extend(parcels(gpu, *shape)?);
    }
    Ok(checks)
}

fn named<T: PathReal>(n: usize, p: usize) -> (String, bool, impl Fn(Array2<f64>) -> Array2<T>) {
    (format!("{n} × {p}"), T::NAME == "f32", |a: Array2<f64>| a.mapv(T::of))
}

fn standardise<T: PathReal>(gpu: &Gpu, [n, p]: [usize; 2], kernels: [&'static str; 2]) -> Result<Vec<Check>> {
    let (shape, single, typed) = named::<T>(n, p);
    let mut x = Noise(11).matrix(n, p) + 3.0;
    // Constant columns, one of them large.
    x.column_mut(p / 2).fill(1e6 + 0.5);
    x.column_mut(0).fill(0.0);
    let x = typed(x);
    let keep: Vec<bool> = (0..n).map(|i| n == 1 || i % 3 != 1).collect();
    let kept: Vec<usize> = (0..n).filter(|i| keep[*i]).collect();
    let rows: Vec<usize> = (0..n).rev().collect();
    let (z, mean, factor) = gpu.standardise(x.view(), &keep, &rows)?;
    let wide = x.mapv(|v| v.wide());
    let train = wide.select(Axis(0), &kept);
    let own_mean = train.sum_axis(Axis(0)) / kept.len() as f64;
    let own_factor: Vec<f64> = train
        .columns()
        .into_iter()
        .zip(&own_mean)
        .map(|(c, m)| {
            let sd = (c.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / kept.len() as f64).sqrt();
            let largest = c.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            if sd > 1e-12 * largest { 1.0 / sd } else { 0.0 }
        })
        .collect();
    let mut own = wide.select(Axis(0), &rows);
    for mut row in own.rows_mut() {
        row.iter_mut().zip(&own_mean).zip(&own_factor).for_each(|((v, m), f)| *v = (*v - m) * f);
    }
    // Column by column: they differ by six orders of magnitude.
    let found: Vec<f64> = mean.into_iter().chain(factor).collect();
    let expected: Vec<f64> = own_mean.iter().chain(&own_factor).copied().collect();
    let z: Vec<f64> = z.iter().map(|v| v.wide()).collect();
    Ok(vec![
        Check::in_rows(kernels[0], shape.clone(), &found, &expected, 1, 1e-12),
        Check::new(kernels[1], shape, &z, &flat(own.view()), of_sum(single, 1)),
    ])
}

fn gram<T: PathReal>(gpu: &Gpu, p: usize, kernel: &'static str) -> Result<Check> {
    let (shape, single, typed) = named::<T>(p, p);
    let cells: Vec<Array2<T>> = (0..4).map(|c| typed(Noise(20 + c).matrix(p, p))).collect();
    let used = [0, 2, 3];
    let (mean, factor) = (Noise(24).vector(p), Noise(25).vector(p));
    let by = Centring { n: 37.0, mean: &mean, factor: &factor };
    let views: Vec<_> = cells.iter().map(|c| c.view()).collect();
    let found = gpu.fold_gram(&views, &used, by)?;
    let own = Array2::from_shape_fn((p, p), |(i, j)| {
        let sum: f64 = used.iter().map(|c| cells[*c][[i, j]].wide()).sum();
        if j > i { 0.0 } else { (sum - 37.0 * mean[i] * mean[j]) * factor[i] * factor[j] }
    });
    let found: Vec<f64> = found.iter().map(|v| v.wide()).collect();
    Ok(Check::new(kernel, shape, &found, &flat(own.view()), of_sum(single, 3)))
}

fn products<T: PathReal>(gpu: &Gpu, [p, t]: [usize; 2], kernel: &'static str) -> Result<Check> {
    let (_, single, typed) = named::<T>(p, t);
    let cells: Vec<Array2<T>> = (0..3).map(|c| typed(Noise(30 + c).matrix(p, t))).collect();
    let used = [2, 0];
    let (mean, factor, target_mean) = (Noise(33).vector(p), Noise(34).vector(p), Noise(35).vector(t));
    let by = Centring { n: 37.0, mean: &mean, factor: &factor };
    let views: Vec<_> = cells.iter().map(|c| c.view()).collect();
    let found = gpu.fold_products(&views, &used, by, &target_mean)?;
    let own = Array2::from_shape_fn((p, t), |(i, t)| {
        let sum: f64 = used.iter().map(|c| cells[*c][[i, t]].wide()).sum();
        (sum - 37.0 * mean[i] * target_mean[t]) * factor[i]
    });
    let found: Vec<f64> = found.iter().map(|v| v.wide()).collect();
    Ok(Check::new(kernel, format!("{p} features, {t} targets"), &found, &flat(own.view()), of_sum(single, 2)))
}

fn pairwise<T: PathReal>(gpu: &Gpu, [n, p]: [usize; 2], kernels: [&'static str; 2]) -> Result<Vec<Check>> {
    let (_, _, typed) = named::<T>(n, p);
    // A square of 1025 is enough in one direction.
    let m = n.min(40) + 1;
    let (a, b) = (typed(Noise(41).matrix(n, p)), typed(Noise(42).matrix(m, p)));
    let (wide_a, wide_b) = (a.mapv(|v| v.wide()), b.mapv(|v| v.wide()));
    let apart = |i: usize, j: usize| wide_a.row(i).iter().zip(wide_b.row(j)).map(|(a, b)| (a - b) * (a - b)).sum();
    let distances = Array2::from_shape_fn((n, m), |(i, j)| apart(i, j));
    let shape = format!("{n} and {m} rows of {p}");
    let found = [gpu.pairwise(a.view(), b.view(), false)?, gpu.pairwise(a.view(), b.view(), true)?];
    let own = [wide_a.dot(&wide_b.t()), distances];
    let check = |at: usize| {
        let (found, own): (&Array2<f64>, &Array2<f64>) = (&found[at], &own[at]);
        Check::new(kernels[at], shape.clone(), &flat(found.view()), &flat(own.view()), of_sum(false, p))
    };
    Ok(vec![check(0), check(1)])
}

fn parcels(gpu: &Arc<Gpu>, [volumes, voxels]: [usize; 2]) -> Result<Vec<Check>> {
    // Voxel v belongs to parcels v % parcels and, sometimes, the next; the last parcel is empty.
    let (volumes, parcels) = (volumes.min(5), voxels.div_ceil(40).min(1024) + 1);
    let mut entries: Vec<Vec<(u32, f32)>> = vec![Vec::new(); parcels];
    let weight = Noise(51);
    for v in 0..voxels {
        for further in 0..1 + v % 2 {
            let parcel = (v + further) % parcels.saturating_sub(1).max(1);
            entries[parcel].push((v as u32, weight.at(2 * v + further).abs() as f32));
        }
    }
    let mut starts = vec![0u64];
    entries.iter().for_each(|e| starts.push(starts[starts.len() - 1] + e.len() as u64));
    let list: Vec<u32> = entries.iter().flatten().map(|e| e.0).collect();
    let weights: Vec<f32> = entries.iter().flatten().map(|e| e.1).collect();
    let data = Noise(52).matrix(volumes, voxels).mapv(|v| v as f32);
    let half = Noise(53).matrix(parcels, parcels);
    let inverse = &half + &half.t();
    let map = SparseMap { rows: voxels, starts: &starts, at: &list, weights: &weights };
    let (solved, right) = HeldMap::new(Arc::clone(gpu), &map)?.solve(data.view(), inverse.view())?;
    let own = Array2::from_shape_fn((volumes, parcels), |(l, p)| {
        entries[p].iter().map(|(v, w)| f64::from(*w) * f64::from(data[[l, *v as usize]])).sum::<f64>()
    });
    let shape = format!("{volumes} volumes, {voxels} voxels, {parcels} parcels");
    let expected = own.dot(&inverse);
    Ok(vec![
        Check::new("parcellate_sums", shape.clone(), &flat(right.view()), &flat(own.view()), of_sum(false, 80)),
        Check::new("parcellate_solve", shape, &flat(solved.view()), &flat(expected.view()), of_sum(false, parcels)),
    ])
}
