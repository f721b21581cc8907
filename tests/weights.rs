//! The same weights in every form in which they can be saved (`golden/weights/make_weights.py`).

use std::path::{Path, PathBuf};

use brainscore::encoder::{Checkpoint, CheckpointSpec};
use brainscore::error::{Code, Error};
use safetensors::SafeTensors;

use crate::encoders::{largest_difference, open, states};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights").join(name)
}

/// A copy of a fixture that may be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn refusal(folder: &Path) -> Error {
    let spec = CheckpointSpec::parse(folder.to_str().unwrap()).unwrap();
    Checkpoint::open(&spec).unwrap_err().remove(0)
}

const IDS: [&[u32]; 3] = [&[2, 5, 7, 3], &[2, 9, 4, 8, 12, 6, 13, 3], &[2, 3]];

/// Hidden states of all texts, by their bits.
fn bits(folder: &Path) -> Vec<u32> {
    let encoder = open(folder).load().unwrap();
    states(&encoder, &IDS).concat().concat().into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_form_gives_the_same_bits() {
    let single = bits(&folder("single"));
    for form in ["sharded", "bin", "ckpt"] {
        assert!(bits(&folder(form)) == single, "{form}");
    }
}

#[test]
fn the_record_says_what_was_read() {
    let record = |name: &str| open(&folder(name)).record().clone();
    let single = record("single");
    assert_eq!((single.prefix.as_str(), single.weights_files.len(), single.warnings.len()), ("", 1, 0));
    let sharded = record("sharded");
    assert_eq!(sharded.weights_files.len(), 3);
    assert_ne!(sharded.weights_sha256, single.weights_sha256);
    let ckpt = record("ckpt");
    assert_eq!(ckpt.prefix, "model._orig_mod.bert.");
    assert_eq!(
        ckpt.ignored_tensors,
        ["model._orig_mod.bert.embeddings.position_ids", "model._orig_mod.classifier.weight"]
    );
    assert_eq!(ckpt.warnings[0].code, "ST-13");
    let lora = record("lora");
    assert_eq!(lora.adapter.as_deref(), Some("LoRA on 6 tensors of single"));
    assert_eq!(lora.weights_files, ["model.safetensors", "adapter_config.json", "adapter_model.safetensors"]);
}

#[test]
fn adapters_are_merged_as_peft_does() {
    for name in ["lora", "lora-gpt2"] {
        let found = states(&open(&folder(name)).load().unwrap(), &IDS);
        let bytes = std::fs::read(folder(name).join("hidden_states.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        for (i, found) in found.iter().enumerate() {
            let expected = golden.tensor(&format!("states_{i}")).unwrap();
            let expected: Vec<f32> =
                expected.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let difference = largest_difference(&found.concat(), &expected);
            assert!(difference < 1e-5, "{name}: text {i} differs by {difference}");
        }
    }
}

#[test]
fn an_adapter_needs_its_base() {
    let copy = copy("lora");
    let error = refusal(copy.path());
    assert_eq!(error.code(), Code::St15, "{error}");
    assert!(error.to_string().contains("\"../single\""), "{error}");
    // A folder `base` inside the adapter's is as good.
    let base = copy.path().join("base");
    std::fs::create_dir(&base).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(folder("single").join(name), base.join(name)).unwrap();
    }
    assert!(bits(copy.path()) == bits(&folder("lora")));
}

#[test]
fn pickles_that_ask_for_more_are_refused_by_name() {
    let error = refusal(&folder("hostile"));
    assert_eq!(error.code(), Code::St13);
    assert!(error.to_string().contains("posix.system"), "{error}");
    let error = refusal(&folder("legacy"));
    assert_eq!(error.code(), Code::St13);
    assert!(error.to_string().contains("before version 1.6"), "{error}");
    assert!(!Path::new("PWNED").exists());
}

#[test]
fn damaged_archives_are_errors() {
    let copy = copy("bin");
    let path = copy.path().join("pytorch_model.bin");
    let whole = std::fs::read(&path).unwrap();
    for n in (0..whole.len()).step_by(531) {
        std::fs::write(&path, &whole[..n]).unwrap();
        refusal(copy.path());
    }
    // One changed byte is noticed by the checksums of the archive, or changes nothing that is read.
    let good = bits(&folder("bin"));
    for n in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[n] ^= 0x41;
        std::fs::write(&path, &bytes).unwrap();
        let spec = CheckpointSpec::parse(copy.path().to_str().unwrap()).unwrap();
        if Checkpoint::open(&spec).is_ok() {
            assert!(bits(copy.path()) == good, "byte {n}");
        }
    }
}

#[test]
fn shards_must_agree() {
    let copy = copy("sharded");
    let index = copy.path().join("model.safetensors.index.json");
    let shard = |i: usize| copy.path().join(format!("model-0000{i}-of-00003.safetensors"));
    std::fs::copy(shard(1), shard(2)).unwrap();
    let error = refusal(copy.path());
    assert_eq!(error.code(), Code::St11);
    assert!(error.to_string().contains("stands in two shards"), "{error}");
    std::fs::copy(folder("sharded").join(shard(2).file_name().unwrap()), shard(2)).unwrap();
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(
        &index,
        text.replacen("\"weight_map\": {", "\"weight_map\": {\"x\": \"model-00001-of-00003.safetensors\",", 1),
    )
    .unwrap();
    let error = refusal(copy.path());
    assert!(error.code() == Code::St11 && error.to_string().contains("\"x\""), "{error}");
}

#[test]
fn one_encoder_is_wanted() {
    let copy = copy("single");
    let path = copy.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let twice = file
        .iter()
        .flat_map(|(name, view)| [(format!("model.bert.{name}"), view.clone()), (format!("module.bert.{name}"), view)]);
    std::fs::write(&path, safetensors::serialize(twice.collect::<Vec<_>>(), None).unwrap()).unwrap();
    let error = refusal(copy.path());
    assert!(error.code() == Code::St07 && error.to_string().contains("holds the encoder twice"), "{error}");
}
