use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Affine;
use crate::error::{Code, Error, Result};
use crate::io::atomic;

/// Writes an image of float32 voxels as NIfTI-1, compressed when the name ends in `.gz`.
///
/// `volumes` hold one value per voxel in the file's order (first axis fastest). One volume makes a 3-D image, several a
/// 4-D one whose `step` is the time between volumes in seconds (0 for maps). The affine is stored as the sform with code
/// 2 (aligned to something else); the qform is left out.
///
/// # Errors
/// `NI-08` when the shape does not fit the format or the volumes; `IO-01` when the disk does not take it.
pub fn write(path: &Path, shape: [usize; 3], affine: &Affine, step: f32, volumes: &[&[f32]]) -> Result<()> {
    let head = header(path, shape, affine, step, volumes)?;
    let compressed = crate::io::file_name(path).to_ascii_lowercase().ends_with(".gz");
    let failed = |e| atomic::write_error(path, "writing", e);
    atomic::write_with(path, |w| {
        if compressed {
            let mut packed = GzEncoder::new(w, Compression::default());
            body(&mut packed, &head, volumes).and_then(|()| packed.finish().map(|_| ())).map_err(failed)
        } else {
            body(w, &head, volumes).map_err(failed)
        }
    })
}

fn body(out: &mut dyn Write, head: &[u8], volumes: &[&[f32]]) -> std::io::Result<()> {
    out.write_all(head)?;
    let mut buffer = Vec::with_capacity(1 << 16);
    for part in volumes.iter().flat_map(|v| v.chunks(1 << 14)) {
        buffer.clear();
        part.iter().for_each(|v| buffer.extend_from_slice(&v.to_le_bytes()));
        out.write_all(&buffer)?;
    }
    Ok(())
}

/// 348 bytes of header and four that say "no extensions", little-endian.
fn header(path: &Path, shape: [usize; 3], affine: &Affine, step: f32, volumes: &[&[f32]]) -> Result<Vec<u8>> {
    let fail = |found: String| Error::new(Code::Ni08, path.display(), found);
    let voxels: usize = shape.iter().product();
    if volumes.is_empty() || volumes.iter().any(|v| v.len() != voxels) {
        return Err(fail(format!("{} volumes do not have {voxels} voxels each", volumes.len())));
    }
    let mut bytes = vec![0u8; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    let extents = [if volumes.len() > 1 { 4 } else { 3 }, shape[0], shape[1], shape[2], volumes.len(), 1, 1, 1];
    for (i, extent) in extents.into_iter().enumerate() {
        let short = i16::try_from(extent).map_err(|e| {
            fail(format!("an axis of {extent}")).expected("at most 32767 along an axis of NIfTI-1").source(e)
        })?;
        put(40 + 2 * i, &short.to_le_bytes());
    }
    put(70, &16i16.to_le_bytes());
    put(72, &32i16.to_le_bytes());
    let zoom = |c: usize| (0..3).map(|r| affine[r][c] * affine[r][c]).sum::<f64>().sqrt() as f32;
    for (i, value) in [1.0, zoom(0), zoom(1), zoom(2), step, 1.0, 1.0, 1.0].into_iter().enumerate() {
        put(76 + 4 * i, &value.to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    // Millimetres and seconds.
    put(123, &[2 | 8]);
    put(254, &2i16.to_le_bytes());
    for (r, row) in affine[..3].iter().enumerate() {
        for (c, value) in row.iter().enumerate() {
            put(280 + 16 * r + 4 * c, &(*value as f32).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    Ok(bytes)
}
