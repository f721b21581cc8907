//! One function per reader of strangers' bytes. The fuzz targets and a randomised test on the stable toolchain call the
//! same: whatever the bytes, a reader gives a value or an error; it never panics, and asks for no more memory than the
//! bytes are evidence for.

use std::io::Cursor;
use std::path::Path;

use tempfile::TempDir;

use brainscore::bold::{EventColumns, Events};
use brainscore::encoder::{Checkpoint, CheckpointSpec};
use brainscore::error::Code;
use brainscore::ids::Digest;
use brainscore::io::nifti::Reader;
use brainscore::io::table::Table;
use brainscore::io::{gifti, npy, npz, pickle, sparse, tar, textgrid};
use brainscore::study::StudySpec;

/// A reader by its name. It says whether it read the bytes to their end.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All readers.
pub const ALL: [Target; 13] = [
    ("nifti", nifti),
    ("npy", npy_array),
    ("npz", archived_array),
    ("pickle", pickled_array),
    ("tar", archive),
    ("events", events),
    ("table", table),
    ("textgrid", praat),
    ("study", study),
    ("gifti", surface),
    ("sparse", matrix),
    ("weights", weights),
    ("tokenizer", tokenizer),
];

fn nifti(bytes: &[u8]) -> bool {
    let length = bytes.len() as u64;
    let Ok(mut reader) = Reader::new(Cursor::new(bytes.to_vec()), length, Path::new("fuzz.nii.gz")) else {
        return false;
    };
    let Ok(mut volume) = reader.buffer::<f32>() else { return false };
    loop {
        match reader.next_volume(&mut volume) {
            Ok(true) => {}
            end => return end.is_ok(),
        }
    }
}

fn npy_array(bytes: &[u8]) -> bool {
    npy::parse(bytes, Path::new("fuzz.npy")).is_ok()
}

fn archived_array(bytes: &[u8]) -> bool {
    let path = Path::new("fuzz.npz");
    let alone = npz::parse(bytes, path, None).is_ok();
    npz::parse(bytes, path, Some("y")).is_ok() || alone
}

fn pickled_array(bytes: &[u8]) -> bool {
    let Ok((read, _)) = pickle::read(bytes, pickle::NUMPY, "fuzz.pyd", Code::St13) else { return false };
    if let Some(array) = read.array(read.root()) {
        npy::decode(&array.dtype, &array.bytes);
    }
    true
}

fn archive(bytes: &[u8]) -> bool {
    tar::parse(bytes, Path::new("fuzz.tar")).is_ok()
}

fn events(bytes: &[u8]) -> bool {
    let path = Path::new("sub-1_task-x_run-1_events.tsv");
    Events::parse(path, bytes, Digest([0; 32]), &EventColumns::usual(), 2.0)
        .map(|found| found.check_run(100.0).ok())
        .is_ok()
}

fn table(bytes: &[u8]) -> bool {
    [b',', b'\t'].map(|s| Table::parse(Path::new("fuzz.csv"), bytes, Digest([0; 32]), s).is_ok()).contains(&true)
}

fn praat(bytes: &[u8]) -> bool {
    textgrid::parse(bytes, Path::new("fuzz.TextGrid")).is_ok()
}

fn study(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| StudySpec::parse(text, Path::new("study.toml")).is_ok())
}

fn surface(bytes: &[u8]) -> bool {
    gifti::parse(bytes, Path::new("fuzz.surf.gii")).is_ok()
}

fn matrix(bytes: &[u8]) -> bool {
    let Ok(found) = sparse::Sparse::parse(bytes, Path::new("fuzz.npz")) else { return false };
    assert!(found.entries().all(|(row, column, _)| row < found.rows && column < found.columns));
    true
}

/// A configuration of 4 tokens, width 4 and one block.
const CONFIG: &str = r#"{"model_type": "bert", "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
"intermediate_size": 4, "vocab_size": 4, "max_position_embeddings": 8, "type_vocab_size": 2, "hidden_act": "gelu",
"layer_norm_eps": 1e-12, "pad_token_id": 0, "initializer_range": 0.5}"#;

/// A checkpoint in a folder of this thread's own.
fn checkpoint(files: [(&str, &[u8]); 3], spec: &str) -> Option<Checkpoint> {
    thread_local! {
        static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
    }
    FOLDER.with(|folder| {
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("a file in it");
        }
        Checkpoint::open(&CheckpointSpec::parse(&format!("{spec}{}", folder.path().display())).ok()?).ok()
    })
}

/// The first line is config.json, the rest model.safetensors.
fn weights(bytes: &[u8]) -> bool {
    let (config, tensors) = bytes.split_at(bytes.iter().position(|b| *b == b'\n').unwrap_or(0));
    let files: [(&str, &[u8]); 3] = [
        ("config.json", config),
        ("model.safetensors", tensors.get(1..).unwrap_or(&[])),
        // Without a tokenizer no checkpoint opens.
        ("tokenizer.json", include_bytes!("seeds/tokenizer/word-level.json")),
    ];
    checkpoint(files, "m=").is_some_and(|checkpoint| checkpoint.load().is_ok())
}

fn tokenizer(bytes: &[u8]) -> bool {
    let files: [(&str, &[u8]); 3] =
        [("config.json", CONFIG.as_bytes()), ("model.safetensors", b""), ("tokenizer.json", bytes)];
    let Some(checkpoint) = checkpoint(files, "m=untrained:0:") else { return false };
    let texts = ["the boat", "", "\u{1b}[31m \u{202e} 脳 é \u{1f9e0}", "a a a a a a a a a a a a a a a a a a a a"];
    checkpoint.tokenize(&texts, &["1", "2", "3", "4"]).ok();
    true
}

/// Gives bytes to the reader of a name; whether it read them to their end.
///
/// # Panics
/// When there is no such reader, or when the reader has a defect.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    let (_, read) = ALL.iter().find(|(known, _)| *known == name).expect("a known reader");
    read(bytes)
}
