//! A study small enough to be written anew for every test: 30 texts, 2 subjects × 3 targets, a BERT of one block.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const WIDTH: usize = 8;
const INNER: usize = 12;
pub const POSITIONS: usize = 16;
const WORDS: [&str; 12] =
    ["the", "boat", "child", "door", "opens", "falls", "quiet", "red", "runs", "sees", "stone", "waits"];

/// Tensors by name: type, shape, bytes.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The files of a study in a folder of its own.
pub struct TinyStudy {
    pub dir: TempDir,
}

impl TinyStudy {
    pub fn new() -> TinyStudy {
        let study = TinyStudy { dir: super::hostile_dir() };
        study.write("study.toml", STUDY);
        study.write("stimuli.csv", stimuli());
        study.write("responses.csv", responses());
        std::fs::create_dir(study.path("model")).unwrap();
        study.write("model/config.json", config().to_string());
        study.write("model/tokenizer.json", tokenizer(true).to_string());
        study.weights(&tensors(""));
        study
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces text that must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let old = self.read(name);
        assert!(old.contains(from), "{name} does not hold {from:?}");
        self.write(name, old.replacen(from, to, 1));
    }

    /// Changes config.json.
    pub fn configure(&self, key: &str, value: Value) {
        let mut config = config();
        config[key] = value;
        self.write("model/config.json", config.to_string());
    }

    /// `compare` of the model, labelled `m`, into `out`.
    pub fn compare(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = super::brainscore();
        command.arg("compare").arg(format!("m={}", self.path("model").display()));
        command.arg("--study").arg(self.path("study.toml")).arg("--out").arg(self.path(out)).args(flags);
        command
    }

    /// Writes model.safetensors.
    pub fn weights(&self, tensors: &Tensors) {
        let views = tensors
            .iter()
            .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        self.write("model/model.safetensors", bytes);
    }
}

const STUDY: &str = "\
[study]
name = \"tiny\"
[stimuli]
table = \"stimuli.csv\"
[responses]
table = \"responses.csv\"
subject = \"subject\"
[encoding]
k = 5
";

/// A small, fixed sequence without a pattern that matters.
fn noise(seed: usize) -> f64 {
    let x = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xD1B5_4A32_D192_ED03);
    (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

pub fn stimuli() -> String {
    let mut csv = "stimulus_id,text,position\n".to_owned();
    for i in 0..30 {
        let words: Vec<&str> = (0..4 + i % 4).map(|w| WORDS[(i * 5 + w * (i + 1) + w) % WORDS.len()]).collect();
        // The last two words number the text: no text stands twice.
        csv += &format!("s{i:02},{} {} {},{}\n", words.join(" "), WORDS[i % 12], WORDS[i / 12], i % 6);
    }
    csv
}

pub fn responses() -> String {
    let mut csv = "stimulus_id,subject,a,b,c\n".to_owned();
    for subject in 1..=2 {
        for i in 0..30 {
            let v = |t: usize| noise(1 + i * 7 + t * 1009 + subject * 50_021);
            csv += &format!("s{i:02},p{subject},{:.6},{:.6},{:.6}\n", v(0), v(1), v(2));
        }
    }
    csv
}

pub fn config() -> Value {
    json!({
        "model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": INNER, "vocab_size": WORDS.len() + 4, "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0, "initializer_range": 0.5
    })
}

pub fn tokenizer(special: bool) -> Value {
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].iter().chain(&WORDS);
    let vocab: serde_json::Map<String, Value> = names.enumerate().map(|(i, w)| ((*w).to_owned(), i.into())).collect();
    let token = |id: usize, content: &str| json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let around = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
        }
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [token(0, "[PAD]"), token(1, "[UNK]"), token(2, "[CLS]"), token(3, "[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": if special { around } else { Value::Null },
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}
    })
}

/// The tensors of the model, their names behind a prefix.
pub fn tensors(prefix: &str) -> Tensors {
    let (h, i) = (WIDTH, INNER);
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![WORDS.len() + 4, h]),
        ("embeddings.position_embeddings.weight".into(), vec![POSITIONS, h]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, h]),
        ("embeddings.LayerNorm.weight".into(), vec![h]),
        ("embeddings.LayerNorm.bias".into(), vec![h]),
    ];
    for (name, outputs, inputs) in [
        ("attention.self.query", h, h),
        ("attention.self.key", h, h),
        ("attention.self.value", h, h),
        ("attention.output.dense", h, h),
        ("intermediate.dense", i, h),
        ("output.dense", h, i),
    ] {
        shapes.push((format!("encoder.layer.0.{name}.weight"), vec![outputs, inputs]));
        shapes.push((format!("encoder.layer.0.{name}.bias"), vec![outputs]));
    }
    for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
        shapes.push((format!("encoder.layer.0.{name}.weight"), vec![h]));
        shapes.push((format!("encoder.layer.0.{name}.bias"), vec![h]));
    }
    shapes
        .into_iter()
        .enumerate()
        .map(|(n, (name, shape))| {
            let len: usize = shape.iter().product();
            let data = (0..len).flat_map(|k| (noise(n * 4099 + k + 1) as f32).to_le_bytes()).collect();
            (format!("{prefix}{name}"), (Dtype::F32, shape, data))
        })
        .collect()
}

/// A `.npy` file with this header and these bytes.
pub fn npy(dict: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(dict.len() as u16).to_le_bytes());
    bytes.extend_from_slice(dict.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// An archive of arrays by the names of its members.
pub fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// All names below a folder, sorted.
pub fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
