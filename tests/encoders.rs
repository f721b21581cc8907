//! Every family against hidden states that transformers computed in float64 (`make_encoders.py` beside them), and
//! against itself: a text alone, and the same text packed with others.

use std::ops::Range;
use std::path::{Path, PathBuf};

use brainscore::encoder::{Checkpoint, CheckpointSpec, Encoder};
use safetensors::SafeTensors;

use crate::support;

/// Largest difference to transformers that is accepted, over all layers, tokens and texts.
const GOLDEN: f32 = 1e-4;
/// Largest difference between a text alone and the same text packed with others.
const PACKED: f32 = 1e-5;

/// Opens a checkpoint folder.
pub fn open(folder: &Path) -> Checkpoint {
    let spec = CheckpointSpec::parse(folder.to_str().unwrap()).unwrap();
    Checkpoint::open(&spec).unwrap_or_else(|e| panic!("{e:?}"))
}

/// Hidden states of every text as [text][layer], each (tokens × width) row-major.
pub fn states(encoder: &Encoder, texts: &[&[u32]]) -> Vec<Vec<Vec<f32>>> {
    let mut all = vec![Vec::new(); texts.len()];
    let width = encoder.width();
    encoder
        .hidden_states(texts, |layer, values, ranges: &[Range<usize>]| {
            for (text, range) in all.iter_mut().zip(ranges) {
                assert_eq!(text.len(), layer, "layers come in order");
                text.push(values[range.start * width..range.end * width].to_vec());
            }
        })
        .unwrap();
    all
}

pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .fold(0.0, |worst, (a, b)| worst.max(if a.is_nan() || b.is_nan() { f32::INFINITY } else { (a - b).abs() }))
}

fn compare(folder: &Path) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let checkpoint = open(folder);
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(folder.join("texts.json")).unwrap()).unwrap();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens = checkpoint.tokenize(&texts, &texts).unwrap();
    let bytes = std::fs::read(folder.join("hidden_states.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    for (i, tokens) in tokens.iter().enumerate() {
        let ids = golden.tensor(&format!("ids_{i}")).unwrap();
        let ids: Vec<u32> =
            ids.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect();
        assert_eq!(tokens.ids, ids, "{name}: ids of text {i}");
    }
    let encoder = checkpoint.load().unwrap();
    let ids: Vec<&[u32]> = tokens.iter().map(|t| t.ids.as_slice()).collect();
    let packed = states(&encoder, &ids);
    let mut worst = 0.0f32;
    for (i, text) in packed.iter().enumerate() {
        let expected = golden.tensor(&format!("states_{i}")).unwrap();
        assert_eq!(expected.shape(), [checkpoint.n_layers(), ids[i].len(), checkpoint.width()], "{name}: text {i}");
        let expected: Vec<f32> =
            expected.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        worst = worst.max(largest_difference(&text.concat(), &expected));
    }
    println!("{name:24} largest difference {worst:.1e}");
    assert!(worst <= GOLDEN, "{name}: {worst}");

    let mut alone = 0.0f32;
    for (text, ids) in packed.iter().zip(&ids) {
        alone = alone.max(largest_difference(&states(&encoder, &[ids])[0].concat(), &text.concat()));
    }
    let backwards: Vec<&[u32]> = ids.iter().rev().copied().collect();
    for (text, other) in packed.iter().rev().zip(states(&encoder, &backwards)) {
        alone = alone.max(largest_difference(&other.concat(), &text.concat()));
    }
    assert!(alone <= PACKED, "{name}: packing moves states by {alone}");
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(of).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn families_compute_what_transformers_computes() {
    let Some(shared) = support::shared() else { return };
    for folder in folders(&shared.join("golden/encoders")) {
        compare(&folder);
    }
}

/// The same for checkpoints of one's own: `BRAINSCORE_ENCODERS=folder cargo test`.
#[test]
fn further_checkpoints_compute_what_transformers_computes() {
    let Some(further) = std::env::var_os("BRAINSCORE_ENCODERS") else { return };
    for folder in folders(Path::new(&further)) {
        compare(&folder);
    }
}
