//! Factorised atlases on disk. Each file ends in the SHA-256 of all before it; one that does not agree is built anew.

use std::path::{Path, PathBuf};

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::projector::Solver;
use super::{Atlas, Grid, Interpolation, Mask, Projector};
use crate::error::{Error, Result, Warning};
use crate::ids::Digest;
use crate::io::{atomic, bounded, disk};

/// Part of every key: a change of the format or of the computation leaves old entries behind.
const FORMAT: &str = "brainscore-projector-1";

/// What stands before the arrays.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    grid: Grid,
    n_parcels: usize,
    /// Lengths of brain, voxels, entries.
    lengths: [usize; 3],
    /// Whether the matrix is a Cholesky factor; its order.
    cholesky: bool,
    order: usize,
    empty: Vec<usize>,
    warnings: Vec<Warning>,
}

/// The digest of everything that a projector depends on.
pub(super) fn key(atlas: &Atlas, grid: &Grid, mask: Option<&Mask>, interpolation: Interpolation) -> Digest {
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    hash.update(atlas.digest().0);
    for name in atlas.names() {
        // Names stand in warnings.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
    }
    for warning in atlas.warnings() {
        hash.update(&warning.message);
    }
    match mask {
        Some(mask) => hash.update(mask.digest().0),
        None => hash.update(b"no mask"),
    }
    grid.shape.iter().for_each(|n| hash.update((*n as u64).to_le_bytes()));
    grid.affine.iter().flatten().for_each(|v| hash.update(v.to_bits().to_le_bytes()));
    hash.update(match interpolation {
        Interpolation::Nearest => b"nearest".as_slice(),
        Interpolation::Trilinear => b"trilinear".as_slice(),
    });
    Digest(hash.finalize().into())
}

fn path(folder: &Path, key: &Digest) -> PathBuf {
    folder.join("atlases").join(format!("{key}.bin"))
}

/// Writes a projector.
pub(super) fn store(folder: &Path, key: &Digest, projector: &Projector) -> Result<()> {
    let folder = folder.join("atlases");
    disk::create_dir_all(&folder).map_err(|e| atomic::write_error(&folder, "creating", e))?;
    let (cholesky, matrix) = match &projector.solver {
        Solver::Cholesky(matrix) => (true, matrix),
        Solver::PseudoInverse(matrix) => (false, matrix),
    };
    let head = Head {
        format: FORMAT.to_owned(),
        grid: projector.grid,
        n_parcels: projector.n_parcels,
        lengths: [projector.brain.len(), projector.voxels.len(), projector.weights.len()],
        cholesky,
        order: matrix.nrows(),
        empty: projector.empty.clone(),
        warnings: projector.warnings.clone(),
    };
    let place = folder.join(format!("{key}.bin"));
    let head = serde_json::to_vec(&head).map_err(|e| Error::io(place.display(), "encoding", e.into()))?;
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&head);
    projector.brain.iter().chain(&projector.voxels).for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    projector.starts.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    projector.parcels.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    projector.weights.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    matrix.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    let sum = crate::io::digest(&bytes);
    bytes.extend_from_slice(&sum.0);
    atomic::write(&place, &bytes)
}

/// Reads a projector; nothing where there is none or where it is damaged.
pub(super) fn load(folder: &Path, key: &Digest) -> Option<Projector> {
    let place = path(folder, key);
    if !place.is_file() {
        return None;
    }
    let file = bounded::read(&place, bounded::MAX_ARRAY_BYTES, "a factorised atlas").ok()?;
    let (body, sum) = file.bytes.split_last_chunk::<32>()?;
    if crate::io::digest(body).0 != *sum {
        return None;
    }
    let (length, rest) = body.split_first_chunk::<8>()?;
    let (head, mut rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let [brain, voxels, entries] = head.lengths;
    let brain = values(&mut rest, brain, u32::from_le_bytes)?;
    let voxels = values(&mut rest, voxels, u32::from_le_bytes)?;
    let starts = values(&mut rest, voxels.len() + 1, u64::from_le_bytes)?;
    let parcels = values(&mut rest, entries, u16::from_le_bytes)?;
    let weights = values(&mut rest, entries, f32::from_le_bytes)?;
    let matrix = values(&mut rest, head.order.checked_mul(head.order)?, f64::from_le_bytes)?;
    let matrix = Array2::from_shape_vec((head.order, head.order), matrix).ok()?;
    let solver = if head.cholesky { Solver::Cholesky(matrix) } else { Solver::PseudoInverse(matrix) };
    (rest.is_empty() && head.format == FORMAT).then_some(Projector {
        grid: head.grid,
        brain,
        voxels,
        starts,
        parcels,
        weights,
        n_parcels: head.n_parcels,
        solver,
        empty: head.empty,
        warnings: head.warnings,
    })
}

fn values<const N: usize, T>(rest: &mut &[u8], count: usize, decode: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (taken, left) = rest.split_at_checked(count.checked_mul(N)?)?;
    *rest = left;
    let (words, _) = taken.as_chunks::<N>();
    Some(words.iter().map(|word| decode(*word)).collect())
}
