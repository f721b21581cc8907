use statrs::function::erf::erfc;

use super::Counts;
use crate::atlas::Grid;
use crate::error::{Code, Error, Result};
use crate::stats::benjamini_hochberg;

/// Maps of a selection of studies, one value per voxel of the grid; 0 outside the mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Association {
    /// The grid.
    pub grid: Grid,
    /// The voxels that were tested.
    pub mask: Vec<bool>,
    /// Selected studies.
    pub n_selected: usize,
    /// All studies.
    pub n_studies: usize,
    /// z of association.
    pub association: Vec<f32>,
    /// z of uniformity.
    pub uniformity: Vec<f32>,
    /// Where the false discovery rate puts the limit, for both maps.
    pub thresholds: [Threshold; 2],
}

/// A limit from a false discovery rate.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Threshold {
    /// The rate.
    pub q: f64,
    /// The largest two-sided p that is called; nothing where none is.
    pub p: Option<f64>,
    /// The smallest |z| that is called.
    pub z: Option<f64>,
    /// Voxels with z > 0 that are called.
    pub n_positive: usize,
    /// Voxels with z < 0 that are called.
    pub n_negative: usize,
}

impl Threshold {
    /// Benjamini & Hochberg's limit over `z` of the voxels in `mask`.
    fn new(z: &[f64], mask: &[bool], q: f64) -> Threshold {
        let p: Vec<Option<f64>> = z.iter().zip(mask).map(|(z, inside)| inside.then(|| two_sided(*z))).collect();
        let adjusted = benjamini_hochberg(&p);
        let called = |at: &usize| adjusted[*at].is_some_and(|value| value <= q);
        let limit = (0..z.len()).filter(called).filter_map(|at| p[at]).reduce(f64::max);
        let is_called = |v: &f64| limit.is_some_and(|limit| two_sided(*v) <= limit);
        let inside = || z.iter().zip(mask).filter(|(_, inside)| **inside).map(|(z, _)| *z).filter(is_called);
        Threshold {
            q,
            p: limit,
            z: inside().map(f64::abs).reduce(f64::min),
            n_positive: inside().filter(|z| *z > 0.0).count(),
            n_negative: inside().filter(|z| *z < 0.0).count(),
        }
    }

    /// The map with 0 wherever it is not called.
    pub fn apply(&self, map: &[f32]) -> Vec<f32> {
        // The limit is a value of the map before it was rounded to float32.
        let limit = self.z.map_or(f32::INFINITY, |z| z as f32);
        map.iter().map(|z| if z.abs() >= limit { *z } else { 0.0 }).collect()
    }
}

/// Two-sided p of a standard normal deviate, which is the p of χ² = z² with one degree of freedom.
fn two_sided(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Association and uniformity of the selected studies over the voxels in `mask`, at false discovery rate `q`.
///
/// # Errors
/// `NS-04` when no study or every study is selected: then there is nothing to compare.
pub fn association(counts: &Counts, mask: Vec<bool>, q: f64) -> Result<Association> {
    let (n, n1) = (counts.n_studies as f64, counts.n_selected as f64);
    if counts.n_selected == 0 || counts.n_selected == counts.n_studies {
        return Err(Error::new(
            Code::Ns04,
            "the selection",
            format!("holds {} of {} studies", counts.n_selected, counts.n_studies),
        )
        .expected("some of them, so that they can be compared with the others"));
    }
    let inside = || (0..mask.len()).filter(|v| mask[*v]);
    let (sum, size) = inside().fold((0.0, 0.0), |(sum, size), v| (sum + f64::from(counts.selected[v]), size + 1.0));
    let mean = if size > 0.0 { sum / size } else { 0.0 };
    let (mut association, mut uniformity) = (vec![0.0; mask.len()], vec![0.0; mask.len()]);
    for v in inside() {
        let (active, all) = (f64::from(counts.selected[v]), f64::from(counts.all[v]));
        association[v] = two_by_two(active, all, n1, n);
        uniformity[v] = one_way(active, mean, n1);
    }
    let thresholds = [&association, &uniformity].map(|z| Threshold::new(z, &mask, q));
    let single = |z: Vec<f64>| z.into_iter().map(|v| v as f32).collect();
    Ok(Association {
        grid: counts.grid,
        mask,
        n_selected: counts.n_selected,
        n_studies: counts.n_studies,
        association: single(association),
        uniformity: single(uniformity),
        thresholds,
    })
}

/// Signed √χ² of active × selected, without Yates' correction; 0 where a margin is 0.
fn two_by_two(active: f64, all: f64, n1: f64, n: f64) -> f64 {
    let (others, n0) = (all - active, n - n1);
    let cross = active * (n0 - others) - others * (n1 - active);
    let margins = n1 * n0 * all * (n - all);
    if margins == 0.0 {
        0.0
    } else {
        cross.signum() * (n * cross * cross / margins).sqrt() * f64::from(u8::from(cross != 0.0))
    }
}

/// Signed √χ² of the active selected studies against their mean over voxels.
fn one_way(active: f64, mean: f64, n1: f64) -> f64 {
    let apart = active - mean;
    if mean <= 0.0 || mean >= n1 || apart == 0.0 {
        return 0.0;
    }
    apart.signum() * (apart * apart / mean + apart * apart / (n1 - mean)).sqrt()
}
