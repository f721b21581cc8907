//! NIfTI images: `.nii` and `.nii.gz`, versions 1 and 2, real voxel types, both byte orders.
//!
//! Nothing is believed before it was checked: the header against itself and against the file's length before anything is
//! allocated, the compressed stream by its checksum, and the file must end where its last volume does. Volumes are read
//! one at a time, so that a run never sits in memory as a whole. Whether a file is compressed is told from its content.
//!
//! Voxels come in the file's order: the first axis runs fastest, voxel (i, j, k) of a volume stands at i + nx (j + ny k).
//! Values are raw · slope + intercept, computed in float64.
//!
//! Format: <https://nifti.nimh.nih.gov/nifti-1> and `nifti2.h`. The crate `nifti` parses NIfTI-1 headers; extensions,
//! offsets, compression, voxel decoding, NIfTI-2 and all checks are here, because the crate takes padding for voxels,
//! never sees a wrong checksum and panics on types that contradict themselves.
//!
//! Not for: pairs of `.hdr` and `.img`, Analyze 7.5, complex or colour images.

mod affine;
mod datatype;
mod extensions;
mod hashing;
mod header;
mod read;
mod write;

pub use affine::{Affine, determinant, inverse};
pub use datatype::{Datatype, Sample};
pub use header::Header;
pub use read::Reader;
pub use write::write;

/// Whether a file name ends as NIfTI files do.
pub fn has_nifti_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".nii") || name.ends_with(".nii.gz")
}

/// A file name without `.nii` or `.nii.gz`.
pub fn stem(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let cut = [".nii.gz", ".nii"].iter().find(|end| lower.ends_with(*end)).map_or(0, |end| end.len());
    // The ends are ASCII and of the same length in both cases.
    &name[..name.len() - cut]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!([stem("a.nii.gz"), stem("b.NII"), stem("c.gz"), stem(".nii")], ["a", "b", "c.gz", ""]);
        assert!(has_nifti_name("x.Nii.GZ") && !has_nifti_name("x.gz"));
    }
}
