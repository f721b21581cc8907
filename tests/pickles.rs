//! Pickled arrays as data sets publish them: the same numbers as NumPy reads, and nothing is ever executed.

use std::path::Path;

use brainscore::error::Code;
use brainscore::io::{npy, pickle};

use crate::support::shared;

/// The members of a plain tar file, in order.
fn members(tar: &[u8]) -> Vec<(String, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    while tar[at] != 0 {
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&tar[at + range.start..at + range.end]).trim_end_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        found.push((text(0..100), &tar[at + 512..at + 512 + size]));
        at += 512 + size.div_ceil(512) * 512;
    }
    found
}

fn floats(array: &pickle::Array<'_>) -> Vec<f64> {
    assert_eq!(array.dtype, "<f4");
    array.bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
}

/// Six runs, pickle protocols 2 to 5, C and Fortran order.
#[test]
fn published_arrays_are_read_as_numpy_reads_them() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("golden/lfb");
    let mut runs = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let Some(key) = name.strip_suffix(".tar").filter(|k| k.starts_with("ds-")) else { continue };
        runs += 1;
        let tar = std::fs::read(folder.join(&name)).unwrap();
        for (member, bytes) in members(&tar) {
            if !member.ends_with(".pyd") {
                continue;
            }
            let (read, _) = pickle::read(bytes, pickle::NUMPY, &member, Code::St13).unwrap();
            let array = read.array(read.root()).unwrap();
            let values = floats(&array);
            if member.ends_with(".t_r.pyd") {
                assert_eq!((array.shape.len(), &values[..]), (0, &[2.0][..]));
                continue;
            }
            let expected = npy::read(&folder.join(format!("expected_{key}.npy"))).unwrap().0;
            assert_eq!(array.shape, [expected.nrows(), expected.ncols()], "{member}");
            for ((row, column), value) in expected.indexed_iter() {
                let at = if array.fortran { column * expected.nrows() + row } else { row * expected.ncols() + column };
                assert_eq!(values[at], *value, "{member}: {row}, {column}");
            }
        }
    }
    assert_eq!(runs, 6);
}

#[test]
fn a_pickle_that_would_run_code_is_refused_by_name() {
    let Some(shared) = shared() else { return };
    let tar = std::fs::read(shared.join("golden/lfb/hostile_sub-99_task-dis_run-1.tar")).unwrap();
    let (member, bytes) = members(&tar).remove(0);
    let refused = pickle::read(bytes, pickle::NUMPY, &member, Code::St13).unwrap_err();
    assert_eq!(refused.code(), Code::St13);
    let message = refused.to_string();
    assert!(message.contains("system") && message.contains(&member), "{message}");
    assert!(!Path::new("PWNED").exists(), "nothing was executed");
}
