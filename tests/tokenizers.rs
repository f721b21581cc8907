//! Tokenizers put together from vocabulary files, against `tokenizer.json` made from the same vocabulary.

use std::path::Path;

use brainscore::encoder::{Checkpoint, CheckpointSpec};
use brainscore::error::Code;
use serde_json::{Value, json};

use crate::support;

/// A copy of a checkpoint without its tokenizer, and that tokenizer.
fn bare(folder: &Path) -> (tempfile::TempDir, Value) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    (copy, serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap())
}

fn tokenised(folder: &Path, texts: &[&str]) -> Vec<(Vec<u32>, Vec<bool>)> {
    let checkpoint = Checkpoint::open(&CheckpointSpec::parse(folder.to_str().unwrap()).unwrap()).unwrap();
    checkpoint.tokenize(texts, texts).unwrap().into_iter().map(|t| (t.ids, t.special)).collect()
}

const TEXTS: [&str; 4] = [
    "You notice that the smoke alarm in the hallway has been unplugged.",
    "The naïve café owner said: “it's 3.50 €, isn't it?” – 東京 and smiled…",
    "UPPER lower MiXeD  http://example.org/?q=1&x=%20\tand a tab",
    "Yes.",
];

/// Tokens in the order of their ids.
fn by_id(vocabulary: &Value) -> Vec<&String> {
    let mut tokens: Vec<(&String, u64)> =
        vocabulary.as_object().unwrap().iter().map(|(t, id)| (t, id.as_u64().unwrap())).collect();
    tokens.sort_by_key(|(_, id)| *id);
    tokens.into_iter().map(|(token, _)| token).collect()
}

#[test]
fn word_pieces_from_a_vocabulary() {
    let Some(shared) = support::shared() else { return };
    for (name, lower) in [("bert", false), ("bert-prefixed", true), ("electra", true), ("distilbert", true)] {
        let folder = shared.join("golden/encoders").join(name);
        let (copy, document) = bare(&folder);
        let lines: String = by_id(&document["model"]["vocab"]).into_iter().map(|t| format!("{t}\n")).collect();
        std::fs::write(copy.path().join("vocab.txt"), lines).unwrap();
        std::fs::write(copy.path().join("tokenizer_config.json"), json!({"do_lower_case": lower}).to_string()).unwrap();
        assert_eq!(tokenised(copy.path(), &TEXTS), tokenised(&folder, &TEXTS), "{name}");
    }
}

#[test]
fn byte_pairs_from_a_vocabulary_and_merges() {
    let Some(shared) = support::shared() else { return };
    let folder = shared.join("golden/encoders/roberta");
    let (copy, document) = bare(&folder);
    std::fs::write(copy.path().join("vocab.json"), document["model"]["vocab"].to_string()).unwrap();
    let merges = document["model"]["merges"].as_array().unwrap().iter().map(|merge| match merge {
        Value::Array(pair) => format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        text => format!("{}\n", text.as_str().unwrap()),
    });
    std::fs::write(copy.path().join("merges.txt"), format!("#version: 0.2\n{}", merges.collect::<String>())).unwrap();
    assert_eq!(tokenised(copy.path(), &TEXTS), tokenised(&folder, &TEXTS));
}

#[test]
fn sentence_piece_models_are_refused_with_the_way_out() {
    let Some(shared) = support::shared() else { return };
    let (copy, _) = bare(&shared.join("golden/encoders/deberta-v3-like"));
    std::fs::write(copy.path().join("spm.model"), b"\n\x0e\n\x05<unk>").unwrap();
    let spec = CheckpointSpec::parse(copy.path().to_str().unwrap()).unwrap();
    let error = Checkpoint::open(&spec).unwrap_err().remove(0);
    assert_eq!(error.code(), Code::Tk01);
    assert!(error.to_string().contains("spm.model") && error.to_string().contains("save_pretrained"), "{error}");
}
