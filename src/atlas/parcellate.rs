use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use ndarray::Array2;
use rayon::prelude::*;

use super::smooth::Work;
use super::{Grid, Projector, Smoothing};
use crate::compute::device::{MapSums, Offload, SparseMap};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::nifti::Reader;
use crate::watch::Watch;

/// Volumes that are multiplied at a time: their sums (volumes × parcels, float64) stay in the nearest cache.
const LANES: usize = 4;
/// Fewest weights per voxel of maps that a card multiplies.
const LEAST_ENTRIES: usize = 8;

/// How volumes become parcels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extraction<'a> {
    /// Full width at half maximum of the Gaussian, in mm; nothing is smoothed without it.
    pub smoothing: Option<f64>,
    /// Groups of four volumes that may wait for a thread; bounds the memory.
    pub waiting: usize,
    /// Where volumes are multiplied, if not here.
    pub elsewhere: Option<&'a Elsewhere<'a>>,
}

/// The projector's maps on cards.
#[derive(Debug)]
pub struct Elsewhere<'a> {
    offload: &'a Offload,
    maps: Box<dyn MapSums>,
}

impl<'a> Elsewhere<'a> {
    /// Hands the maps of a projector over, where a volume is worth the way: copying a value takes as long as multiplying
    /// several.
    ///
    /// # Errors
    /// Those of [`Offload::attempt`].
    pub fn new(projector: &Projector, offload: &'a Offload) -> Result<Option<Elsewhere<'a>>> {
        if projector.weights.len() < LEAST_ENTRIES * projector.voxels.len() {
            return Ok(None);
        }
        let (starts, at, weights) = projector.by_parcel();
        let map = SparseMap { rows: projector.voxels.len(), starts: &starts, at: &at, weights: &weights };
        let maps = offload.attempt(|cards| cards.sparse_map(&map))?;
        Ok(maps.map(|maps| Elsewhere { offload, maps }))
    }

    /// As [`multiply`]; nothing where the cards failed and may.
    fn multiply(&self, projector: &Projector, group: &[Vec<f32>]) -> Result<Option<Vec<f64>>> {
        // Only the voxels that a map reaches are worth copying.
        let shape = (group.len(), projector.voxels.len());
        let volumes = Array2::from_shape_fn(shape, |(lane, v)| group[lane][projector.voxels[v] as usize]);
        let sums = self.offload.attempt(|_| self.maps.sums(volumes.view()))?;
        // The volumes side by side.
        Ok(sums.map(|sums| {
            let mut lanes = vec![[0.0; LANES]; projector.n_parcels()];
            sums.indexed_iter().for_each(|((lane, parcel), sum)| lanes[parcel][lane] = *sum);
            lanes.into_flattened()
        }))
    }
}

/// The series of a run.
#[derive(Debug)]
pub struct Extracted {
    /// Volumes × parcels, in the run's units.
    pub series: Array2<f64>,
    /// SHA-256 of the run's file.
    pub digest: Digest,
}

/// Reads a run volume by volume and solves for its parcels.
///
/// One thread decompresses, the others smooth and multiply, or a card does. Sums are in float64 and do not depend on the
/// number of threads; a card's differ in the last bits. They are solved here, by the Cholesky factor: that is a hundredth
/// of the work, and a product with the inverse would lose digits.
///
/// # Errors
/// `NI-16` for a run of one volume, `NI-19` for NaN or infinities in the mask (or, without a mask, where a map reaches),
/// `NI-20` for a run that is constant, and whatever the reader finds.
pub fn extract(mut reader: Reader, projector: &Projector, how: Extraction<'_>, watch: &dyn Watch) -> Result<Extracted> {
    let header = reader.header();
    let place = reader.place().to_owned();
    let volumes = header.volumes;
    if !header.four_dimensional || volumes < 2 {
        return Err(Error::new(Code::Ni16, place.display(), format!("has {volumes} volume"))
            .expected("a 4-D run of at least 2 volumes"));
    }
    let grid = Grid::of(header);
    // INVARIANT: the caller makes one projector per grid.
    assert!(grid == projector.grid, "a projector of the run's grid");
    let smoothing = how.smoothing.map(|fwhm| Smoothing::new(fwhm, &grid)).transpose()?;
    let pool: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
    let spare = || pool.lock().ok().and_then(|mut pool| pool.pop());
    let (sums, digest) = std::thread::scope(|scope| -> Result<(Array2<f64>, Option<Digest>)> {
        let (send, receive) = sync_channel::<Result<(usize, Vec<Vec<f32>>)>>(how.waiting.max(1));
        let reading = scope.spawn(move || {
            let mut first = 0;
            while first < volumes {
                let read = (|| {
                    watch.check()?;
                    let mut group = Vec::with_capacity(LANES);
                    for _ in first..(first + LANES).min(volumes) {
                        let mut volume = spare().map_or_else(|| reader.buffer(), Ok)?;
                        reader.next_volume(&mut volume)?;
                        group.push(volume);
                    }
                    Ok((first, group))
                })();
                let stop = read.is_err();
                if send.send(read).is_err() || stop {
                    return None;
                }
                first += LANES;
            }
            reader.digest()
        });
        let found: Result<Vec<(usize, usize, Vec<f64>)>> = receive
            .into_iter()
            .par_bridge()
            .map_init(Work::default, |work, message| {
                let (first, mut group) = message?;
                for (i, volume) in group.iter_mut().enumerate() {
                    finite(volume, first + i, projector, &place)?;
                    if let Some(smoothing) = &smoothing {
                        volume.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = 0.0);
                        smoothing.apply(volume, work);
                    }
                }
                let sums = match how.elsewhere {
                    Some(elsewhere) => elsewhere.multiply(projector, &group)?,
                    None => None,
                };
                let sums = sums.unwrap_or_else(|| multiply(projector, &group));
                let count = group.len();
                if let Ok(mut pool) = pool.lock() {
                    pool.extend(group);
                }
                watch.advance(count as u64);
                Ok((first, count, sums))
            })
            .collect();
        let mut all = Array2::zeros((volumes, projector.n_parcels()));
        for (first, count, sums) in found? {
            for lane in 0..count {
                let row = sums.iter().skip(lane).step_by(LANES);
                all.row_mut(first + lane).iter_mut().zip(row).for_each(|(a, s)| *a = *s);
            }
        }
        match reading.join() {
            Ok(digest) => Ok((all, digest)),
            // A defect of the reader must not look like volumes of zeros.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    constant(&sums, projector, &place)?;
    let digest = match digest {
        Some(digest) => digest,
        None => crate::io::digest_file(&place)?,
    };
    Ok(Extracted { series: projector.solve(sums.view())?, digest })
}

/// Refuses values that are no numbers where they count.
fn finite(volume: &[f32], number: usize, projector: &Projector, place: &std::path::Path) -> Result<()> {
    let mut bad = projector.brain.iter().filter(|v| !volume[**v as usize].is_finite());
    let Some(first) = bad.next() else { return Ok(()) };
    let [i, j, k] = projector.grid.coordinates(*first as usize);
    let count = 1 + bad.count();
    Err(Error::new(
        Code::Ni19,
        place.display(),
        format!(
            "volume {number} holds {count} NaN or infinite values within the mask, the first at voxel ({i}, {j}, {k})"
        ),
    )
    .expected("finite values there")
    .hint("Give a --mask of the voxels that hold data"))
}

/// Refuses a run in which nothing happens.
fn constant(sums: &Array2<f64>, projector: &Projector, place: &std::path::Path) -> Result<()> {
    let first = sums.row(0);
    if sums.outer_iter().any(|row| row != first) {
        return Ok(());
    }
    let what = if first.iter().all(|v| *v == 0.0) { "all zero" } else { "the same in all volumes" };
    Err(Error::new(
        Code::Ni20,
        place.display(),
        format!("is {what} in the {} voxels of the atlas", projector.n_voxels()),
    )
    .expected("a run that varies"))
}

/// Mᵀ v for up to four volumes, parcel by parcel, the volumes side by side.
fn multiply(projector: &Projector, group: &[Vec<f32>]) -> Vec<f64> {
    // A short group repeats its first volume; those sums are not used.
    let volumes: [&[f32]; LANES] = std::array::from_fn(|lane| group.get(lane).unwrap_or(&group[0]).as_slice());
    let mut sums = vec![[0.0f64; LANES]; projector.n_parcels()];
    pulp::Arch::new().dispatch(|| {
        for (voxel, span) in projector.voxels.iter().zip(projector.starts.windows(2)) {
            let at = *voxel as usize;
            let values: [f64; LANES] = std::array::from_fn(|lane| f64::from(volumes[lane][at]));
            let entries = span[0] as usize..span[1] as usize;
            for (parcel, weight) in projector.parcels[entries.clone()].iter().zip(&projector.weights[entries]) {
                let sum = &mut sums[usize::from(*parcel)];
                let weight = f64::from(*weight);
                for (s, v) in sum.iter_mut().zip(&values) {
                    *s += weight * v;
                }
            }
        }
    });
    sums.into_flattened()
}
