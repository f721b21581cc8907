use std::path::Path;
use std::sync::mpsc::sync_channel;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2};
use ndarray_linalg::{Cholesky as _, Diag, SolveTriangular as _, UPLO};
use rayon::prelude::*;

use super::space::Resampler;
use super::{Atlas, Grid, Interpolation, Mask, cache};
use crate::compute::cpu::eigh;
use crate::error::{Code, Error, Result, Warning, first_five};
use crate::io::nifti::Reader;
use crate::watch::Watch;

/// Share of empty maps above which the atlas does not belong to the data.
const MOST_EMPTY: f64 = 0.05;
/// A map of which less than this share (of its sum of squares) is left beside the others counts as dependent.
const DEPENDENT: f64 = 1e-10;
/// Parts that the Gram matrix is summed in; fixed, so that the sum does not depend on the number of threads.
const PARTS: usize = 8;
/// Voxels that are multiplied at a time where maps are dense.
const BLOCK: usize = 512;

/// An atlas on a run's grid and within a mask, with the factorisation that turns volumes into parcels.
///
/// M (voxels × parcels) is kept by voxel: for each voxel that any map reaches its parcels and their weights. MᵀM is
/// factorised once (Cholesky); where maps depend on each other there, its pseudo-inverse gives the solution of least norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Projector {
    /// The run's grid.
    pub grid: Grid,
    /// Voxels whose values must be finite: the mask, or all that a map reaches.
    pub(super) brain: Vec<u32>,
    /// Voxels that a map reaches.
    pub(super) voxels: Vec<u32>,
    /// Where the entries of each voxel start; one more than voxels.
    pub(super) starts: Vec<u64>,
    /// Parcel of each entry.
    pub(super) parcels: Vec<u16>,
    /// Weight of each entry.
    pub(super) weights: Vec<f32>,
    /// Number of parcels.
    pub(super) n_parcels: usize,
    pub(super) solver: Solver,
    /// Parcels without any voxel; their series is 0.
    pub empty: Vec<usize>,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

/// How MᵀM x = Mᵀv is solved, over the parcels that are not empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Solver {
    /// The lower Cholesky factor.
    Cholesky(Array2<f64>),
    /// The pseudo-inverse.
    PseudoInverse(Array2<f64>),
}

impl Projector {
    /// The projector of `atlas` for runs on `grid`, from the cache in the folder `cache` where it is there.
    ///
    /// # Errors
    /// `NI-21` when atlas and run do not overlap, `RO-07` when more than 5 % of the maps are empty there.
    pub fn cached(
        atlas: &Atlas,
        grid: &Grid,
        mask: Option<&Mask>,
        interpolation: Interpolation,
        cache: Option<&Path>,
        watch: &dyn Watch,
    ) -> Result<Projector> {
        let Some(folder) = cache else { return Projector::new(atlas, grid, mask, interpolation, watch) };
        let key = cache::key(atlas, grid, mask, interpolation);
        if let Some(found) = cache::load(folder, &key).filter(|p| p.grid == *grid) {
            return Ok(found);
        }
        let mut built = Projector::new(atlas, grid, mask, interpolation, watch)?;
        if let Err(e) = cache::store(folder, &key, &built) {
            built.warnings.push(Warning::new("IO-01", format!("the factorised atlas could not be kept: {e}")));
        }
        Ok(built)
    }

    /// Resamples, masks and factorises an atlas; see [`Projector::cached`].
    ///
    /// # Errors
    /// As [`Projector::cached`].
    pub fn new(
        atlas: &Atlas,
        grid: &Grid,
        mask: Option<&Mask>,
        interpolation: Interpolation,
        watch: &dyn Watch,
    ) -> Result<Projector> {
        if u32::try_from(grid.voxels()).is_err() {
            return Err(Error::new(
                Code::Ni09,
                atlas.path().display(),
                format!("the run has {} voxels", grid.voxels()),
            )
            .expected("at most 4294967295"));
        }
        let inside = mask.map(|m| m.on(grid)).transpose()?;
        let place = atlas.path().display().to_string();
        let resampler = match grid.same_as(atlas.grid()) {
            true => None,
            false if atlas.is_soft() => Some(Resampler::new(atlas.grid(), grid, interpolation, &place)?),
            false => Some(Resampler::new(atlas.grid(), grid, Interpolation::Nearest, &place)?),
        };
        let wanted = |voxel: usize| inside.as_ref().is_none_or(|i| i[voxel]);
        let pick = |data: &[f32]| {
            let mut entries: Entries = Vec::new();
            match &resampler {
                Some(resampler) => resampler.each(data, wanted, |voxel, value| entries.push((voxel as u32, value))),
                None => entries.extend(
                    data.iter()
                        .enumerate()
                        .filter(|(voxel, value)| **value != 0.0 && wanted(*voxel))
                        .map(|(voxel, value)| (voxel as u32, *value)),
                ),
            }
            entries
        };
        let mut warnings = atlas.warnings().to_vec();
        let maps = if atlas.is_soft() { soft(atlas, &pick, &mut warnings, watch)? } else { labels(atlas, &pick)? };
        let empty: Vec<usize> = (0..maps.len()).filter(|p| maps[*p].is_empty()).collect();
        report_empty(atlas, &empty, maps.len(), &mut warnings)?;
        let mut projector = by_voxel(*grid, &maps);
        drop(maps);
        projector.brain = match &inside {
            Some(inside) => (0..inside.len()).filter(|v| inside[*v]).map(|v| v as u32).collect(),
            None => projector.voxels.clone(),
        };
        projector.empty = empty;
        let gram = projector.gram();
        projector.solver = factorise(gram, atlas, &projector.active(), &mut warnings)?;
        projector.warnings = warnings;
        Ok(projector)
    }

    /// Number of parcels.
    pub fn n_parcels(&self) -> usize {
        self.n_parcels
    }

    /// Number of voxels that a map reaches.
    pub fn n_voxels(&self) -> usize {
        self.voxels.len()
    }

    /// Parcels that have voxels.
    fn active(&self) -> Vec<usize> {
        (0..self.n_parcels).filter(|p| self.empty.binary_search(p).is_err()).collect()
    }

    /// The maps by parcel: where the entries of each start (one more than parcels), then place among the reached voxels and
    /// weight of each entry.
    pub(super) fn by_parcel(&self) -> (Vec<u64>, Vec<u32>, Vec<f32>) {
        let mut place = vec![0u64; self.n_parcels + 1];
        self.parcels.iter().for_each(|p| place[usize::from(*p) + 1] += 1);
        for parcel in 0..self.n_parcels {
            place[parcel + 1] += place[parcel];
        }
        let starts = place.clone();
        let (mut at, mut weights) = (vec![0u32; self.weights.len()], vec![0f32; self.weights.len()]);
        for (voxel, span) in self.starts.windows(2).enumerate() {
            for entry in span[0] as usize..span[1] as usize {
                let to = &mut place[usize::from(self.parcels[entry])];
                (at[*to as usize], weights[*to as usize]) = (voxel as u32, self.weights[entry]);
                *to += 1;
            }
        }
        (starts, at, weights)
    }

    /// MᵀM, the lower triangle at least.
    fn gram(&self) -> Array2<f64> {
        let n = self.n_parcels;
        let dense = self.weights.len() * 6 > n * self.voxels.len();
        let per_part = self.voxels.len().div_ceil(PARTS).max(1);
        let parts: Vec<Array2<f64>> = (0..PARTS)
            .into_par_iter()
            .map(|part| {
                let mut gram = Array2::zeros((n, n));
                let first = (part * per_part).min(self.voxels.len());
                let last = (first + per_part).min(self.voxels.len());
                if dense {
                    self.gram_dense(first, last, &mut gram)
                } else {
                    self.gram_sparse(first, last, &mut gram)
                }
                gram
            })
            .collect();
        parts.into_iter().fold(Array2::zeros((n, n)), |sum, part| sum + part)
    }

    fn gram_sparse(&self, first: usize, last: usize, gram: &mut Array2<f64>) {
        for voxel in first..last {
            let entries = self.starts[voxel] as usize..self.starts[voxel + 1] as usize;
            for a in entries.clone() {
                let weight = f64::from(self.weights[a]);
                let mut row = gram.row_mut(usize::from(self.parcels[a]));
                // Entries of a voxel are in the order of the parcels: this is the lower triangle.
                for b in entries.start..=a {
                    row[usize::from(self.parcels[b])] += weight * f64::from(self.weights[b]);
                }
            }
        }
    }

    fn gram_dense(&self, first: usize, last: usize, gram: &mut Array2<f64>) {
        for start in (first..last).step_by(BLOCK) {
            let end = (start + BLOCK).min(last);
            let mut block = Array2::<f64>::zeros((end - start, self.n_parcels));
            for voxel in start..end {
                for e in self.starts[voxel] as usize..self.starts[voxel + 1] as usize {
                    block[[voxel - start, usize::from(self.parcels[e])]] = self.weights[e].into();
                }
            }
            general_mat_mul(1.0, &block.t(), &block, 1.0, gram);
        }
    }

    /// Solves MᵀM x = b for every row b of `right` (volumes × parcels).
    ///
    /// # Errors
    /// `NU-01` when LAPACK fails.
    pub(super) fn solve(&self, right: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let active = self.active();
        let failed = |e: ndarray_linalg::error::LinalgError| {
            Error::new(Code::Nu01, "parcellation", format!("LAPACK failed: {e}")).source(e)
        };
        let right = right.select(ndarray::Axis(1), &active);
        let solved = match &self.solver {
            Solver::Cholesky(lower) => {
                let columns = right.t().to_owned();
                let half = lower.solve_triangular(UPLO::Lower, Diag::NonUnit, &columns).map_err(failed)?;
                lower.t().solve_triangular(UPLO::Upper, Diag::NonUnit, &half).map_err(failed)?.reversed_axes()
            }
            Solver::PseudoInverse(inverse) => right.dot(inverse),
        };
        let mut out = Array2::zeros((right.nrows(), self.n_parcels));
        for (i, parcel) in active.into_iter().enumerate() {
            out.column_mut(parcel).assign(&solved.column(i));
        }
        Ok(out)
    }
}

/// Voxels and weights of one map, in the order of the voxels.
pub(super) type Entries = Vec<(u32, f32)>;

/// Reads soft maps one after the other and picks their entries on all threads.
pub(super) fn soft(
    atlas: &Atlas,
    pick: &(impl Fn(&[f32]) -> Entries + Sync),
    warnings: &mut Vec<Warning>,
    watch: &dyn Watch,
) -> Result<Vec<Entries>> {
    let mut reader = Reader::open(atlas.path())?;
    let count = atlas.names().len();
    if reader.header().volumes != count {
        return Err(Error::new(Code::In01, atlas.path().display(), "changed while it was read"));
    }
    watch.begin("atlas", "maps", count as u64);
    let found: Result<Vec<(usize, Entries, bool)>> = std::thread::scope(|scope| {
        let (send, receive) = sync_channel::<Result<(usize, Vec<f32>)>>(2);
        scope.spawn(move || {
            for map in 0..count {
                let read = (|| {
                    let mut volume = reader.buffer()?;
                    reader.next_volume(&mut volume)?;
                    Ok((map, volume))
                })();
                let stop = read.is_err();
                if send.send(read).is_err() || stop {
                    return;
                }
            }
        });
        let received = receive.into_iter().par_bridge();
        received
            .map(|message| {
                let (map, mut volume) = message?;
                watch.check()?;
                let mut cleared = false;
                for value in volume.iter_mut().filter(|v| !v.is_finite()) {
                    (*value, cleared) = (0.0, true);
                }
                let entries = pick(&volume);
                watch.advance(1);
                Ok((map, entries, cleared))
            })
            .collect()
    });
    watch.end();
    let mut found = found?;
    found.sort_unstable_by_key(|(map, ..)| *map);
    let cleared: Vec<&str> = found.iter().filter(|f| f.2).map(|f| atlas.names()[f.0].as_str()).collect();
    if !cleared.is_empty() {
        let text = format!("{} maps hold NaN or infinities, which count as 0: {}", cleared.len(), first_five(&cleared));
        warnings.push(Warning::new("RO-05", text));
    }
    Ok(found.into_iter().map(|(_, entries, _)| entries).collect())
}

/// The voxels of each label, with weight 1.
pub(super) fn labels(atlas: &Atlas, pick: &impl Fn(&[f32]) -> Entries) -> Result<Vec<Entries>> {
    let mut reader = Reader::open(atlas.path())?;
    let mut volume: Vec<f32> = reader.buffer()?;
    reader.next_volume(&mut volume)?;
    let mut maps = vec![Entries::new(); atlas.names().len()];
    for (voxel, value) in pick(&volume) {
        if let Ok(parcel) = atlas.numbers().binary_search(&(value as i64)) {
            maps[parcel].push((voxel, 1.0));
        }
    }
    Ok(maps)
}

fn report_empty(atlas: &Atlas, empty: &[usize], count: usize, warnings: &mut Vec<Warning>) -> Result<()> {
    if empty.is_empty() {
        return Ok(());
    }
    let names = first_five(empty.iter().map(|p| &atlas.names()[*p]));
    if empty.len() == count || empty.len() as f64 > MOST_EMPTY * count as f64 {
        return Err(Error::new(
            Code::Ro07,
            atlas.path().display(),
            format!("{} of {count} parcels have no voxel in the mask and on the run's grid: {names}", empty.len()),
        )
        .expected(format!("at most {:.0} %", 100.0 * MOST_EMPTY))
        .hint("Is the mask right, and are run and atlas in one space?"));
    }
    let text = format!("{} of {count} parcels have no voxel there, and series of 0: {names}", empty.len());
    warnings.push(Warning::new("RO-07", text));
    Ok(())
}

/// Entries by voxel instead of by map.
fn by_voxel(grid: Grid, maps: &[Entries]) -> Projector {
    let mut place = vec![0u64; grid.voxels() + 1];
    for (voxel, _) in maps.iter().flatten() {
        place[*voxel as usize + 1] += 1;
    }
    let mut voxels = Vec::new();
    let mut starts = vec![0];
    for voxel in 0..grid.voxels() {
        if place[voxel + 1] > 0 {
            voxels.push(voxel as u32);
        }
        place[voxel + 1] += place[voxel];
        if place[voxel + 1] > place[voxel] {
            starts.push(place[voxel + 1]);
        }
    }
    let total = place[grid.voxels()] as usize;
    let (mut parcels, mut weights) = (vec![0u16; total], vec![0f32; total]);
    for (parcel, entries) in maps.iter().enumerate() {
        for (voxel, weight) in entries {
            let at = place[*voxel as usize] as usize;
            (parcels[at], weights[at]) = (parcel as u16, *weight);
            place[*voxel as usize] += 1;
        }
    }
    Projector {
        grid,
        brain: Vec::new(),
        voxels,
        starts,
        parcels,
        weights,
        n_parcels: maps.len(),
        solver: Solver::PseudoInverse(Array2::zeros((0, 0))),
        empty: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Cholesky, or the pseudo-inverse where maps depend on each other.
fn factorise(gram: Array2<f64>, atlas: &Atlas, active: &[usize], warnings: &mut Vec<Warning>) -> Result<Solver> {
    let mut gram = gram.select(ndarray::Axis(0), active).select(ndarray::Axis(1), active);
    let n = gram.nrows();
    for i in 0..n {
        for j in 0..i {
            gram[[j, i]] = gram[[i, j]];
        }
    }
    if let Ok(lower) = gram.cholesky(UPLO::Lower)
        && (0..n).all(|i| lower[[i, i]].powi(2) > DEPENDENT * gram[[i, i]])
    {
        return Ok(Solver::Cholesky(lower));
    }
    let spectrum = eigh(gram)?;
    let largest = spectrum.values.iter().fold(0.0f64, |m, v| m.max(*v));
    let least = largest * n as f64 * f64::EPSILON;
    let lost: Vec<usize> = (0..n).filter(|i| spectrum.values[*i] <= least).collect();
    if !lost.is_empty() {
        let names: Vec<&String> = lost
            .iter()
            .filter_map(|k| {
                let vector = spectrum.vectors.column(*k);
                let (most, _) = vector.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
                Some(&atlas.names()[active[most]])
            })
            .collect();
        warnings.push(Warning::new(
            "RO-07",
            format!(
                "{} of {n} maps depend on the others within the mask ({}); of all solutions the one of least norm is taken",
                lost.len(),
                first_five(names)
            ),
        ));
    }
    let scaled: Array2<f64> = &spectrum.vectors * &spectrum.values.mapv(|v| if v > least { 1.0 / v } else { 0.0 });
    Ok(Solver::PseudoInverse(scaled.dot(&spectrum.vectors.t())))
}
