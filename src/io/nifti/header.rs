use std::path::Path;

use super::affine::{self, Affine};
use super::datatype::Datatype;
use crate::error::{Code, Error, Result, Warning};

/// Bytes of a NIfTI-1 header.
pub(super) const BYTES_1: usize = 348;
/// Bytes of a NIfTI-2 header.
pub(super) const BYTES_2: usize = 540;
/// Largest volume that is read (8 GiB).
const MAX_VOLUME_BYTES: u64 = 8 << 30;
/// Two transforms of one header that move a voxel further apart than this disagree (mm).
const DISAGREE_MM: f64 = 0.1;

/// What an image's header says, checked.
#[derive(Debug, Clone)]
pub struct Header {
    /// Voxels along the three axes of space.
    pub shape: [usize; 3],
    /// Number of volumes; 1 for a 3-D image.
    pub volumes: usize,
    /// Whether the image has a fourth axis, be it of one volume.
    pub four_dimensional: bool,
    /// Type of the stored voxels.
    pub datatype: Datatype,
    /// Slope and intercept, when the stored values are to be scaled.
    pub scale: Option<(f64, f64)>,
    /// From voxel indices to millimetres.
    pub affine: Affine,
    /// Seconds between volumes as the header has them, units converted; `None` when it says nothing usable.
    pub repetition_time: Option<f64>,
    /// The time step as written with its unit, for messages.
    pub time_step: String,
    /// Version of the format, 1 or 2.
    pub version: u8,
    /// Whether the file's byte order is big-endian.
    pub big_endian: bool,
    /// Where the voxels start.
    pub(super) vox_offset: u64,
    /// What was odd but usable.
    pub warnings: Vec<Warning>,
}

/// The fields that matter, of either version.
struct Fields {
    version: u8,
    big: bool,
    dim: [i64; 8],
    datatype: i16,
    bitpix: i16,
    pixdim: [f64; 8],
    vox_offset: f64,
    slope: f64,
    intercept: f64,
    units: u8,
    qform: i32,
    sform: i32,
    quaternion: [f64; 3],
    offset: [f64; 3],
    rows: [[f64; 4]; 3],
}

/// Version and byte order of a header, by its first four bytes.
pub(super) fn version(first: [u8; 4]) -> Option<(u8, bool)> {
    for big in [false, true] {
        let size = if big { i32::from_be_bytes(first) } else { i32::from_le_bytes(first) };
        match size {
            348 => return Some((1, big)),
            540 => return Some((2, big)),
            _ => {}
        }
    }
    None
}

/// Parses and checks a header of 348 or 540 bytes.
pub(super) fn parse(bytes: &[u8], place: &Path) -> Result<Header> {
    let fields = match bytes.first_chunk().and_then(|first| version(*first)) {
        Some((1, big)) if bytes.len() == BYTES_1 => fields_1(bytes, big, place)?,
        Some((2, big)) if bytes.len() == BYTES_2 => fields_2(bytes, big, place)?,
        _ => return Err(no_nifti(place, bytes)),
    };
    check(fields, place)
}

/// The error for a file that is something else.
pub(super) fn no_nifti(place: &Path, bytes: &[u8]) -> Error {
    let error = |found: String| Error::new(Code::Ni01, place.display(), found).expected("a NIfTI image");
    if bytes.is_empty() {
        return error("is empty".to_owned());
    }
    let first: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let shown = format!("is no NIfTI image; it starts with bytes {}", first.join(" "));
    match bytes.first_chunk().and_then(|first| version(*first)) {
        Some((version, _)) => {
            let wanted = if version == 1 { BYTES_1 } else { BYTES_2 };
            error(format!("has {} bytes, too few for a NIfTI-{version} header of {wanted}", bytes.len()))
        }
        None if bytes.starts_with(b"version https://git-lfs") => {
            error("is a Git-LFS pointer, not the image".to_owned()).hint("Run git lfs pull")
        }
        None if bytes.starts_with(b"PK") || bytes.starts_with(b"<") => error(shown).hint("Unpack or download it again"),
        None => error(shown),
    }
}

fn fields_1(bytes: &[u8], big: bool, place: &Path) -> Result<Fields> {
    let magic = &bytes[344..348];
    if magic == b"ni1\0" {
        return Err(Error::new(Code::Ni01, place.display(), "is the header of a .hdr/.img pair")
            .expected("one file with header and voxels")
            .hint("Convert it to .nii"));
    }
    if magic != b"n+1\0" {
        let shown: Vec<String> = magic.iter().map(|b| format!("{b:02x}")).collect();
        return Err(Error::new(Code::Ni01, place.display(), format!("has the magic bytes {}", shown.join(" ")))
            .expected("\"n+1\"")
            .hint("It looks like Analyze 7.5, whose orientation is not known; convert it to NIfTI"));
    }
    let short = [bytes[40], bytes[41]];
    rank(if big { i16::from_be_bytes(short) } else { i16::from_le_bytes(short) }.into(), place)?;
    // With a rank of 1 to 7 the crate finds the same byte order as we did.
    let h = nifti::NiftiHeader::from_reader(bytes).map_err(|e| {
        Error::new(Code::Ni01, place.display(), format!("has a header that cannot be parsed: {e}")).source(e)
    })?;
    Ok(Fields {
        version: 1,
        big,
        dim: h.dim.map(|d| i64::from(d as i16)),
        datatype: h.datatype,
        bitpix: h.bitpix,
        pixdim: h.pixdim.map(f64::from),
        vox_offset: h.vox_offset.into(),
        slope: h.scl_slope.into(),
        intercept: h.scl_inter.into(),
        units: h.xyzt_units,
        qform: h.qform_code.into(),
        sform: h.sform_code.into(),
        quaternion: [h.quatern_b, h.quatern_c, h.quatern_d].map(f64::from),
        offset: [h.quatern_x, h.quatern_y, h.quatern_z].map(f64::from),
        rows: [h.srow_x, h.srow_y, h.srow_z].map(|row| row.map(f64::from)),
    })
}

/// The crate knows no NIfTI-2; its layout is that of `nifti2.h`.
fn fields_2(bytes: &[u8], big: bool, place: &Path) -> Result<Fields> {
    if bytes[4..8] != *b"n+2\0" {
        let shown: Vec<String> = bytes[4..8].iter().map(|b| format!("{b:02x}")).collect();
        return Err(Error::new(Code::Ni01, place.display(), format!("has the magic bytes {}", shown.join(" ")))
            .expected("\"n+2\""));
    }
    if bytes[8..12] != *b"\r\n\x1a\n" {
        return Err(Error::new(Code::Ni01, place.display(), "has a damaged NIfTI-2 signature")
            .expected("bytes 0d 0a 1a 0a")
            .hint("It was transferred as text; copy it again in binary mode"));
    }
    fn word<const N: usize>(bytes: &[u8], at: usize, big: bool) -> [u8; N] {
        let mut word = [0; N];
        word.copy_from_slice(&bytes[at..at + N]);
        if big {
            word.reverse();
        }
        word
    }
    let short = |at| i16::from_le_bytes(word(bytes, at, big));
    let int = |at| i32::from_le_bytes(word(bytes, at, big));
    let long = |at| i64::from_le_bytes(word(bytes, at, big));
    let real = |at| f64::from_le_bytes(word(bytes, at, big));
    let dim = std::array::from_fn(|i| long(16 + 8 * i));
    rank(dim[0], place)?;
    let row = |at: usize| std::array::from_fn(|i| real(at + 8 * i));
    Ok(Fields {
        version: 2,
        big,
        dim,
        datatype: short(12),
        bitpix: short(14),
        pixdim: std::array::from_fn(|i| real(104 + 8 * i)),
        vox_offset: long(168) as f64,
        slope: real(176),
        intercept: real(184),
        units: int(500) as u8,
        qform: int(344),
        sform: int(348),
        quaternion: [real(352), real(360), real(368)],
        offset: [real(376), real(384), real(392)],
        rows: [row(400), row(432), row(464)],
    })
}

fn rank(dim_0: i64, place: &Path) -> Result<()> {
    if (1..=7).contains(&dim_0) {
        return Ok(());
    }
    Err(Error::new(Code::Ni08, place.display(), format!("dim[0] is {dim_0}")).expected("a number of axes from 1 to 7"))
}

fn check(f: Fields, place: &Path) -> Result<Header> {
    let fail = |code, found: String| Error::new(code, place.display(), found);
    let mut warnings = Vec::new();
    let datatype = Datatype::from_code(f.datatype).map_err(|name| {
        fail(Code::Ni15, format!("datatype is {} ({name})", f.datatype))
            .expected("real voxels: integers of 8 to 64 bits, float32 or float64")
    })?;
    if i64::from(f.bitpix) != 8 * datatype.bytes() as i64 {
        return Err(fail(Code::Ni10, format!("datatype is {datatype} but bitpix is {}", f.bitpix))
            .expected(format!("bitpix {}", 8 * datatype.bytes())));
    }
    let (shape, volumes) = extents(&f, datatype, place)?;
    let least = if f.version == 1 { 352.0 } else { 544.0 };
    if !(f.vox_offset >= least && f.vox_offset.fract() == 0.0 && f.vox_offset < 2f64.powi(53)) {
        return Err(fail(Code::Ni11, format!("vox_offset is {}", f.vox_offset))
            .expected(format!("a whole number of at least {least}")));
    }
    if !f.slope.is_finite() || (f.slope != 0.0 && !f.intercept.is_finite()) {
        return Err(fail(Code::Ni14, format!("scl_slope is {} and scl_inter is {}", f.slope, f.intercept))
            .expected("finite numbers, or a slope of 0 for no scaling"));
    }
    let scale = (f.slope != 0.0 && (f.slope, f.intercept) != (1.0, 0.0)).then_some((f.slope, f.intercept));
    let affine = transform(&f, shape, place, &mut warnings)?;
    let (repetition_time, time_step) = time(&f);
    Ok(Header {
        shape,
        volumes,
        four_dimensional: f.dim[0] >= 4,
        datatype,
        scale,
        affine,
        repetition_time,
        time_step,
        version: f.version,
        big_endian: f.big,
        vox_offset: f.vox_offset as u64,
        warnings,
    })
}

/// Shape in space and number of volumes; every product is checked.
fn extents(f: &Fields, datatype: Datatype, place: &Path) -> Result<([usize; 3], usize)> {
    let fail = |code, found: String| Error::new(code, place.display(), found);
    let rank = f.dim[0] as usize;
    let mut extent = [1usize; 8];
    for (axis, (slot, dim)) in extent.iter_mut().zip(f.dim).enumerate().take(rank + 1).skip(1) {
        *slot = usize::try_from(dim).ok().filter(|d| *d > 0).ok_or_else(|| {
            fail(Code::Ni08, format!("dim[{axis}] is {dim}")).expected("at least one voxel along every axis")
        })?;
    }
    let long: Vec<usize> = (4..8).filter(|axis| extent[*axis] > 1).collect();
    if long.len() > 1 {
        return Err(fail(Code::Ni16, format!("has {rank} axes, of which {long:?} beyond space are longer than 1"))
            .expected("three axes of space and one of volumes"));
    }
    let product = |axes: &[usize]| axes.iter().try_fold(1u64, |n, axis| n.checked_mul(extent[*axis] as u64));
    let volume = product(&[1, 2, 3]).and_then(|n| n.checked_mul(datatype.bytes() as u64));
    let total = product(&[4, 5, 6, 7]).zip(volume).and_then(|(n, v)| n.checked_mul(v));
    let (Some(volume), Some(_)) = (volume, total) else {
        return Err(fail(Code::Ni08, format!("claims {:?} voxels, more than can be counted", &f.dim[1..=rank])));
    };
    if volume > MAX_VOLUME_BYTES {
        return Err(fail(Code::Ni09, format!("claims volumes of {volume} bytes"))
            .expected(format!("at most {MAX_VOLUME_BYTES}"))
            .hint("The header is damaged, or this is no image of a brain"));
    }
    Ok(([extent[1], extent[2], extent[3]], long.first().map_or(1, |axis| extent[*axis])))
}

/// sform where its code is above 0, else qform. Both are compared where both are there.
fn transform(f: &Fields, shape: [usize; 3], place: &Path, warnings: &mut Vec<Warning>) -> Result<Affine> {
    let fail = |found: String| Error::new(Code::Ni17, place.display(), found);
    let mut qfac = f.pixdim[0];
    if qfac != 1.0 && qfac != -1.0 {
        if f.qform > 0 && qfac != 0.0 {
            warnings.push(Warning::new(
                "NI-17",
                format!("{}: pixdim[0] is {qfac}, neither 1 nor -1; it is taken as 1", crate::io::file_name(place)),
            ));
        }
        qfac = 1.0;
    }
    let zooms = [f.pixdim[1], f.pixdim[2], f.pixdim[3]].map(f64::abs);
    let sform = (f.sform > 0).then(|| affine::from_rows(f.rows));
    let qform = (f.qform > 0).then(|| affine::from_quaternion(f.quaternion, f.offset, zooms, qfac));
    let chosen = match (sform, qform) {
        (Some(sform), other) => {
            if let Some(Some(qform)) = other
                && let Some(apart) = farthest(&sform, &qform, shape).filter(|mm| *mm > DISAGREE_MM)
            {
                warnings.push(Warning::new(
                    "NI-17",
                    format!(
                        "{}: sform and qform place a voxel up to {apart:.1} mm apart; the sform is used",
                        crate::io::file_name(place)
                    ),
                ));
            }
            sform
        }
        (None, Some(Some(qform))) => qform,
        (None, Some(None)) => {
            return Err(fail(format!("has the quaternion {:?}, which is no rotation", f.quaternion)));
        }
        (None, None) => {
            return Err(fail("has neither an sform nor a qform: where its voxels lie is not known".to_owned())
                .expected("sform_code or qform_code above 0")
                .hint("Write it again with the tool that made it, with an affine"));
        }
    };
    if affine::inverse(&chosen).is_none() {
        return Err(fail(format!("has the affine {:?}, which is singular or not finite", &chosen[..3])));
    }
    Ok(chosen)
}

/// How far two transforms move any corner of the grid apart (mm); nothing where that is no number.
fn farthest(a: &Affine, b: &Affine, shape: [usize; 3]) -> Option<f64> {
    let mut most: f64 = 0.0;
    for corner in 0..8usize {
        let index: [f64; 3] = std::array::from_fn(|i| if corner >> i & 1 == 1 { (shape[i] - 1) as f64 } else { 0.0 });
        let squared: f64 = (0..3)
            .map(|r| {
                let d: f64 = (0..3).map(|c| (a[r][c] - b[r][c]) * index[c]).sum::<f64>() + a[r][3] - b[r][3];
                d * d
            })
            .sum();
        most = most.max(squared.sqrt());
    }
    most.is_finite().then_some(most)
}

/// The time step in seconds, where the header has one, and as it is written.
fn time(f: &Fields) -> (Option<f64>, String) {
    let step = f.pixdim[4];
    let (factor, unit) = match f.units & 0x38 {
        16 => (1e-3, "ms"),
        24 => (1e-6, "µs"),
        8 => (1.0, "s"),
        0 => (1.0, "without a unit"),
        _ => return (None, format!("{step} in a unit that is no time")),
    };
    // pixdim is float32 in version 1: 0.72 must not become 0.7200000286.
    let seconds = if f.version == 1 { shortest(step as f32) * factor } else { step * factor };
    let usable = f.dim[0] >= 4 && seconds.is_finite() && seconds > 0.0;
    (usable.then_some(seconds), format!("{step} {unit}"))
}

/// The shortest decimal that a float32 stands for, as float64.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
