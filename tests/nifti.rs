//! Images as other programs write them: every type, both byte orders, both versions, scaled, compressed, padded.

use std::io::Cursor;
use std::path::Path;

use brainscore::error::{Code, Result};
use brainscore::io::nifti::{self, Header, Reader};
use proptest::prelude::*;

use crate::support::image::{Image, bold, gzip, noise};

fn read(bytes: Vec<u8>, name: &str) -> Result<(Header, Vec<f64>)> {
    let length = bytes.len() as u64;
    let mut reader = Reader::new(Cursor::new(bytes), length, Path::new(name))?;
    let header = reader.header().clone();
    let mut volume: Vec<f64> = reader.buffer()?;
    let mut all = Vec::new();
    while reader.next_volume(&mut volume)? {
        all.extend_from_slice(&volume);
    }
    Ok((header, all))
}

fn codes(header: &Header) -> Vec<&str> {
    header.warnings.iter().map(|w| w.code.as_str()).collect()
}

#[test]
fn every_type_order_version_and_scaling_is_read() {
    const TYPES: [(i16, f64, f64); 10] = [
        (2, 0.0, 255.0),
        (256, -128.0, 127.0),
        (4, -32768.0, 32767.0),
        (512, 0.0, 65535.0),
        (8, -2147483648.0, 2147483647.0),
        (768, 0.0, 4294967295.0),
        (1024, -4503599627370496.0, 4503599627370496.0),
        (1280, 0.0, 9007199254740992.0),
        (16, -1e6, 1e6),
        (64, -1e6, 1e6),
    ];
    for (datatype, low, high) in TYPES {
        let whole = datatype != 16 && datatype != 64;
        let mut raw: Vec<f64> = noise(3 * 4 * 2 * 5, datatype as u64)
            .iter()
            .map(|v| low + (v + 0.5) * (high - low))
            .map(|v| if whole { v.round() } else { f64::from(v as f32) })
            .collect();
        (raw[0], raw[1]) = (low, high);
        for (version, big, slope, intercept) in
            [(1, false, 0.0, 7.0), (1, true, 1.0, 0.0), (2, false, 0.25, -3.0), (2, true, -0.5, 100.0)]
        {
            let image = Image { version, big, datatype, slope, intercept, ..Image::new(&[3, 4, 2, 5], raw.clone()) };
            let expected: Vec<f64> = match slope {
                0.0 => raw.clone(),
                _ => raw.iter().map(|v| v * slope + intercept).collect(),
            };
            for packed in [false, true] {
                let bytes = if packed { gzip(&image.bytes()) } else { image.bytes() };
                let name = if packed { "a.nii.gz" } else { "a.nii" };
                let (header, found) = read(bytes, name).unwrap();
                assert_eq!(found, expected, "type {datatype}, version {version}, big-endian {big}");
                assert_eq!((header.shape, header.volumes), ([3, 4, 2], 5));
                assert_eq!((header.version, header.big_endian), (version, big));
                assert_eq!(header.affine[1], [0.0, 2.0, 0.0, -4.0]);
                assert_eq!(header.repetition_time, Some(2.0));
                assert!(header.warnings.is_empty());
            }
        }
    }
}

#[test]
fn large_integers_are_scaled_before_they_are_rounded() {
    let image = Image { datatype: 8, slope: 0.5, ..Image::new(&[1, 1, 1], vec![16_777_217.0]) };
    let bytes = image.bytes();
    let mut reader = Reader::new(Cursor::new(bytes.clone()), bytes.len() as u64, Path::new("a.nii")).unwrap();
    let mut volume: Vec<f32> = reader.buffer().unwrap();
    reader.next_volume(&mut volume).unwrap();
    assert_eq!(volume, [8_388_608.5]);
}

/// NI-03, NI-06, NI-12, NI-13 and NI-16: odd, but there is no doubt what is meant.
#[test]
fn what_is_odd_but_clear_is_read() {
    let image = bold();
    let expected: Vec<f64> = image.raw.iter().map(|v| f64::from(*v as f32)).collect();
    let bytes = image.bytes();
    let (header, found) = read(gzip(&bytes), "a.nii").unwrap();
    assert_eq!((codes(&header), &found), (vec!["NI-03"], &expected), "compressed, against its name");
    let (header, found) = read(bytes.clone(), "a.nii.gz").unwrap();
    assert_eq!((codes(&header), &found), (vec!["NI-03"], &expected), "not compressed, against its name");
    let members = [gzip(&bytes[..500]), gzip(&bytes[500..])].concat();
    assert_eq!(read(members, "a.nii.gz").unwrap().1, expected, "several members");
    let padded = Image { gap: vec![7; 16], ..image.clone() };
    assert_eq!(read(padded.bytes(), "a.nii").unwrap().1, expected, "padding is no voxel");
    let extension = [&32i32.to_le_bytes()[..], &6i32.to_le_bytes(), &[b'x'; 24], &[0; 16]].concat();
    for version in [1, 2] {
        let extended = Image { version, gap: extension.clone(), extended: true, ..image.clone() };
        assert_eq!(read(gzip(&extended.bytes()), "a.nii.gz").unwrap().1, expected, "an extension and padding");
    }
    let eight = [&24i32.to_le_bytes()[..], &6i32.to_le_bytes(), &[b'x'; 16]].concat();
    let (header, found) = read(Image { gap: eight, extended: true, ..image.clone() }.bytes(), "a.nii").unwrap();
    assert_eq!((codes(&header), &found), (vec!["NI-13"], &expected), "an extension of a multiple of 8");
    let five = Image { dim: vec![4, 4, 4, 1, 24], ..image.clone() };
    assert_eq!(read(five.bytes(), "a.nii").unwrap().0.volumes, 24, "five axes, the fourth of length 1");
}

#[test]
fn places_follow_sform_then_qform() {
    let mut image = Image { qform: 1, ..bold() };
    let quaternion = |image: &Image, d: f32, x: f32| {
        let mut bytes = image.bytes();
        bytes[264..268].copy_from_slice(&d.to_le_bytes());
        for (i, offset) in [x, -4.0, -4.0].into_iter().enumerate() {
            bytes[268 + 4 * i..272 + 4 * i].copy_from_slice(&offset.to_le_bytes());
        }
        bytes
    };
    let (header, _) = read(quaternion(&image, 0.0, -4.0), "a.nii").unwrap();
    assert!(header.warnings.is_empty(), "both say the same");
    let (header, _) = read(quaternion(&image, 0.0, 5.0), "a.nii").unwrap();
    assert_eq!((codes(&header), header.affine[0][3]), (vec!["NI-17"], -4.0));
    assert!(header.warnings[0].message.contains("9.0 mm"), "{}", header.warnings[0]);
    image.sform = 0;
    let (header, _) = read(quaternion(&image, 1.0, 5.0), "a.nii").unwrap();
    assert_eq!(header.affine[0], [-2.0, 0.0, 0.0, 5.0], "half a turn about z");
}

#[test]
fn times_have_units() {
    let step = |step: f32, units: u8| read(Image { step, units, ..bold() }.bytes(), "a.nii").unwrap().0.repetition_time;
    assert_eq!(step(0.72, 8), Some(0.72));
    assert_eq!(step(1490.0, 16), Some(1.49));
    assert_eq!(step(2e6, 24), Some(2.0));
    assert_eq!((step(0.0, 8), step(f32::NAN, 8), step(-1.0, 8), step(2.0, 32)), (None, None, None, None));
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let affine = [[-3.0, 0.25, 0.0, 90.5], [0.0, 3.0, 0.0, -126.0], [0.5, 0.0, 3.5, -72.0], [0.0, 0.0, 0.0, 1.0]];
    let values: Vec<f32> = noise(2 * 60, 3).iter().map(|v| *v as f32).collect();
    let (first, second) = values.split_at(60);
    for name in ["a.nii", "b.nii.gz"] {
        let path = dir.path().join(name);
        nifti::write(&path, [3, 4, 5], &affine, 1.5, &[first, second]).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let header = reader.header().clone();
        assert_eq!((header.affine, header.repetition_time, header.volumes), (affine, Some(1.5), 2));
        let mut volume: Vec<f32> = reader.buffer().unwrap();
        for expected in [first, second] {
            assert!(reader.next_volume(&mut volume).unwrap());
            assert_eq!(volume, expected);
        }
        assert!(!reader.next_volume(&mut volume).unwrap());
        assert_eq!(reader.digest(), Some(brainscore::io::digest_file(&path).unwrap()));
        nifti::write(&path, [3, 4, 5], &affine, 0.0, &[first]).unwrap();
        assert!(!Reader::open(&path).unwrap().header().four_dimensional);
    }
    let path = dir.path().join("c.nii");
    assert_eq!(nifti::write(&path, [3, 4, 6], &affine, 0.0, &[first]).unwrap_err().code(), Code::Ni08);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes are, the answer is an image or an error.
    #[test]
    fn no_header_breaks_the_reader(
        version in 1u8..=2,
        big: bool,
        extended: bool,
        packed: bool,
        changes in prop::collection::vec((0usize..620, any::<u8>()), 0..6),
        cut in prop::option::of(0usize..4000),
    ) {
        let gap = [&32i32.to_le_bytes()[..], &[1; 28]].concat();
        let image = Image { version, big, extended, gap, dim: vec![3, 3, 3, 4], raw: noise(108, 5), ..bold() };
        let mut bytes = image.bytes();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        let bytes = if packed { gzip(&bytes) } else { bytes };
        read(bytes, "a.nii").ok();
    }

    #[test]
    fn no_stream_breaks_the_reader(mut bytes in prop::collection::vec(any::<u8>(), 0..900), kind in 0u8..4) {
        let start: &[u8] = match kind {
            0 => &[0x1f, 0x8b, 8, 0],
            1 => &348i32.to_le_bytes(),
            2 => &540i32.to_be_bytes(),
            _ => &[],
        };
        if bytes.len() > 4 {
            bytes[..start.len()].copy_from_slice(start);
        }
        read(bytes, "a.nii.gz").ok();
    }
}
