//! Hidden states on emulated cards: those of the CPU for every family, and what becomes of passes whose card is small, or fails.
#![cfg(feature = "cuda")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use brainscore::encoder::FAMILIES;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cards::launched;
use crate::kernels::{driver, emulated};
use crate::support::study::{TinyStudy, tokenizer};
use crate::support::{brainscore, hostile_dir};

/// Largest difference to the CPU, relative to 1 + the value. The words that states are promised by are 1e-3.
const TOLERANCE: f32 = 5e-5;
const WIDTH: usize = 216;

/// What of `config.json` differs from a BERT's; sizes are no multiples of a kernel's tiles, and texts long enough that cards are
/// worth it.
fn config(family: &str) -> Value {
    let mut config = json!({
        "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 97, "num_hidden_layers": 2, "vocab_size": 16,
        "max_position_embeddings": 70, "pad_token_id": 0, "initializer_range": 0.1
    });
    let more = match family {
        "albert" => json!({"embedding_size": 33, "num_hidden_groups": 2}),
        "electra" => json!({"embedding_size": 33}),
        "deberta-v2" => json!({
            "relative_attention": true, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "pos_att_type": "p2c|c2p",
            "conv_kernel_size": 3, "embedding_size": 33
        }),
        "distilbert" => json!({"dim": WIDTH, "n_heads": 2, "hidden_dim": 97, "n_layers": 2}),
        "gpt2" => json!({"n_embd": WIDTH, "n_head": 2, "n_positions": 70, "n_layer": 2}),
        "llama" | "qwen2" => json!({"num_key_value_heads": 1}),
        "mistral" => json!({"num_key_value_heads": 1, "sliding_window": 7}),
        "modernbert" => json!({"num_hidden_layers": 3, "local_attention": 10}),
        _ => json!({}),
    };
    config["model_type"] = family.into();
    more.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
    config
}

/// A BERT of one block, for many texts.
fn narrow(width: usize) -> Value {
    let mut config = config("bert");
    config["hidden_size"] = width.into();
    config["num_hidden_layers"] = 1.into();
    config
}

/// A checkpoint without weights, which are drawn, and texts.
struct Fresh {
    family: String,
    dir: TempDir,
}

impl Fresh {
    fn new(family: &str) -> Fresh {
        let fresh = Fresh { family: family.to_owned(), dir: hostile_dir() };
        std::fs::create_dir(fresh.path("model")).unwrap();
        std::fs::write(fresh.path("model/config.json"), config(family).to_string()).unwrap();
        let special = !["gpt2", "llama", "mistral", "qwen2"].contains(&family);
        std::fs::write(fresh.path("model/tokenizer.json"), tokenizer(special).to_string()).unwrap();
        // The longer text has 33 tokens, a tile of the kernels and one more.
        fresh.texts("texts.txt", [1, if special { 31 } else { 33 }].into_iter());
        fresh
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of texts with so many words.
    fn texts(&self, name: &str, lengths: impl Iterator<Item = usize>) {
        const WORDS: [&str; 7] = ["boat", "child", "door", "opens", "quiet", "red", "stone"];
        let text =
            |(i, n): (usize, usize)| (0..n).map(|w| WORDS[(i * 3 + w * w + w / 5) % 7]).collect::<Vec<_>>().join(" ");
        let texts: Vec<String> = lengths.enumerate().map(text).collect();
        std::fs::write(self.path(name), texts.join("\n")).unwrap();
    }

    /// Extracts into `out`.
    fn extract(&self, mut command: Command, out: &str, flags: &[&str]) -> Output {
        command.arg("extract").arg(format!("m=untrained:7:{}", self.path("model").display()));
        command.arg("--texts").arg(self.path("texts.txt")).arg("--out").arg(self.path(out)).args(flags);
        if !flags.contains(&"--cache-dir") {
            command.arg("--no-cache");
        }
        command.output().unwrap()
    }

    /// The same on the CPU, and on a card; the kernels of the latter.
    fn both(&self, driver: &Path, pooling: &str) -> String {
        let [own, other] = ["cpu", "cuda"].map(|device| format!("{device}-{pooling}"));
        let flags = |device| ["--pooling", pooling, "--threads", "2", "--device", device];
        succeeded(&self.extract(brainscore(), &own, &flags("cpu")));
        let (output, kernels) = launched(driver, &[], |c| self.extract(c, &other, &flags("cuda")));
        assert_eq!(succeeded(&output), "");
        self.assert_close(&own, &other);
        kernels
    }

    /// All states that were written.
    fn states(&self, out: &str) -> Vec<f32> {
        let floats = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        if let Ok(bytes) = std::fs::read(self.path(out).join("features.npy")) {
            return floats(&bytes[10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))..]);
        }
        let bytes = std::fs::read(self.path(out).join("hidden_states.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        (0..file.len() / 2).flat_map(|i| floats(file.tensor(&format!("states_{i}")).unwrap().data())).collect()
    }

    /// Close, and not the same: other hardware computed them.
    fn assert_close(&self, own: &str, other: &str) {
        let (a, b) = (self.states(own), self.states(other));
        assert!(a.len() == b.len() && a.len() > 2 * WIDTH, "{} and {} values", a.len(), b.len());
        let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / (1.0 + a.abs()));
        let worst = apart.fold(0f32, |worst, d| if d.is_nan() { f32::INFINITY } else { worst.max(d) });
        assert!(worst <= TOLERANCE && a != b, "{}, {other}: {worst}", self.family);
    }
}

/// What a successful command had to say.
fn succeeded(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

/// Every token of every layer, texts one by one; and of some families texts packed together.
#[test]
fn every_family_has_the_states_of_the_cpu_on_a_card() {
    let Some(driver) = driver() else { return };
    let mut kernels = String::new();
    for family in FAMILIES {
        let fresh = Fresh::new(family);
        let own = fresh.both(driver, "tokens");
        for kernel in ["gather_rows", "add_norm", "attention_scores_64", "masked_softmax", "attention_context_64"] {
            assert!(own.lines().any(|k| k == kernel), "{family}: {kernel} was not launched");
        }
        if ["bert", "deberta-v2", "mistral", "modernbert", "mpnet"].contains(family) {
            fresh.both(driver, "mean");
        }
        kernels += &own;
    }
    for kernel in ["add_rows", "bias_activation", "gated", "neighbour_rows", "rotate_half", "attention_scores_32"] {
        assert!(kernels.lines().any(|k| k == kernel), "{kernel} was not launched");
    }
    // cuBLAS multiplied; without it our own kernel does.
    assert!(!kernels.contains("linear_"), "{kernels}");
    let bare = tempfile::tempdir().unwrap();
    for library in ["libcuda.so.1", "libnvrtc.so.12"] {
        std::fs::hard_link(driver.join(library), bare.path().join(library)).unwrap();
    }
    let kernels = Fresh::new("bert").both(bare.path(), "mean");
    assert!(kernels.contains("linear_64"), "{kernels}");
}

/// Weights go to the card once, whatever runs there; packs go to two streams, or two cards, with the same bytes.
#[test]
fn weights_are_copied_once() {
    let Some(driver) = driver() else { return };
    let fresh = Fresh::new("bert");
    std::fs::write(fresh.path("model/config.json"), narrow(72).to_string()).unwrap();
    // Two packs.
    fresh.texts("texts.txt", (0..53).map(|i| 8 + i % 3));
    let copied = |out: &str, settings: &[(&str, &str)]| -> u64 {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = emulated(driver, settings);
        command.env("EMULATED_COPIES", log.path());
        assert_eq!(succeeded(&fresh.extract(command, out, &["--threads", "4", "--device", "cuda"])), "");
        std::fs::read_to_string(log.path()).unwrap().lines().map(|line| line.parse::<u64>().unwrap()).sum()
    };
    // Cards of another kind than the first might round otherwise, and are left alone.
    let two = [("EMULATED_DEVICES", "2"), ("EMULATED_NAME", "Twin")];
    let (other, twins) = (copied("other", &two[..1]), copied("twins", &two));
    // Four matrices of attention and two of the feed-forward part, then embeddings, biases, and what texts need.
    let weights = 4 * (4 * 72 * 72 + 2 * 72 * 97);
    assert!(other > weights && other < weights * 3 / 2, "{weights} {other}");
    assert!(twins >= other && twins < 3 * weights, "{weights} {other} {twins}");
    assert!(fresh.states("other") == fresh.states("twins"));
}

/// States of the CPU and of a card are kept apart; each is found again.
#[test]
fn the_cache_tells_cards_from_the_cpu() {
    let Some(driver) = driver() else { return };
    let (fresh, cache) = (Fresh::new("bert"), tempfile::tempdir().unwrap());
    let place = cache.path().to_str().unwrap();
    let flags = |device| ["--cache-dir", place, "--threads", "1", "--device", device];
    succeeded(&fresh.extract(brainscore(), "cpu", &flags("cpu")));
    let run = |out: &str, device, settings: &[(&str, &str)]| {
        let (output, kernels) = launched(driver, settings, |c| fresh.extract(c, out, &flags(device)));
        (succeeded(&output), kernels.lines().count())
    };
    // Lost on the way: what the CPU did is the CPU's, and no card's.
    let (told, launches) = run("lost", "auto", &[("EMULATED_LOSE_AFTER", "9")]);
    assert!(told.contains("[GP-02]") && launches == 9, "{told}");
    assert!(fresh.states("lost") == fresh.states("cpu"));
    let (told, launches) = run("first", "cuda", &[]);
    assert!(told.is_empty() && launches > 9, "{told} {launches}");
    fresh.assert_close("cpu", "first");
    assert_eq!(run("again", "auto", &[]), (String::new(), 0));
    assert!(fresh.states("again") == fresh.states("first"));
    succeeded(&fresh.extract(brainscore(), "cpu-again", &flags("cpu")));
    assert!(fresh.states("cpu-again") == fresh.states("cpu"));
}

/// Too little memory for a pack: in parts. For one text, or the weights: the CPU under auto, an error under cuda, and nothing left
/// behind; so also where the card is lost.
#[test]
fn small_and_lost_cards_are_survived() {
    let Some(driver) = driver() else { return };
    let (fresh, cache) = (Fresh::new("bert"), tempfile::tempdir().unwrap());
    fresh.texts("texts.txt", (0..12).map(|i| 8 + i % 3));
    let flags = |device| ["--cache-dir", cache.path().to_str().unwrap(), "--threads", "1", "--device", device];
    let run = |out: &str, device, settings: &[(&str, &str)]| {
        launched(driver, settings, |c| fresh.extract(c, out, &flags(device)))
    };
    let (output, parts) = run("parts", "cuda", &[("EMULATED_MEMORY", "2300000")]);
    assert_eq!(succeeded(&output), "");
    // The parts were not kept: they are computed again, and as a whole now.
    let (output, whole) = run("whole", "cuda", &[]);
    assert_eq!(succeeded(&output), "");
    let launches = |kernels: &str| kernels.lines().count();
    assert!(launches(&whole) > 0 && launches(&parts) > launches(&whole) * 3 / 2, "{}", launches(&parts));
    succeeded(&fresh.extract(brainscore(), "cpu", &flags("cpu")));
    fresh.assert_close("cpu", "parts");
    fresh.assert_close("cpu", "whole");
    for (at, (code, setting)) in
        [("GP-01", ("EMULATED_MEMORY", "600000")), ("GP-02", ("EMULATED_LOSE_AFTER", "5"))].into_iter().enumerate()
    {
        for pooling in ["mean", "tokens"] {
            let bare = |out: &str, device| {
                let flags = ["--pooling", pooling, "--threads", "2", "--device", device];
                fresh.extract(emulated(driver, &[setting]), out, &flags)
            };
            let out = format!("auto-{at}-{pooling}");
            let told = succeeded(&bare(&out, "auto"));
            assert!(told.contains(&format!("[{code}]")) && told.contains("computed on the CPU"), "{told}");
            if pooling == "mean" {
                assert!(fresh.states(&out) == fresh.states("cpu"), "{code}");
            }
            let output = bare("failed", "cuda");
            assert_eq!(output.status.code(), Some(5), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains(code), "{output:?}");
            assert!(!fresh.path("failed").exists());
        }
    }
}

/// A comparison: its encoders run on the card, and its scores are those of the CPU's states to what their last bits move.
#[test]
fn a_comparison_runs_its_encoders_on_cards() {
    let Some(driver) = driver() else { return };
    let study = TinyStudy::new();
    study.write("model/config.json", narrow(112).to_string());
    let model = study.path("model");
    let compare = |mut command: Command, device: &str| {
        let checkpoints = ["a=untrained:1", "b=untrained:2"].map(|label| format!("{label}:{}", model.display()));
        command.arg("compare").args(checkpoints).arg("--study").arg(study.path("study.toml")).arg("--no-cache");
        command.args(["--threads", "2", "--device", device, "--out"]).arg(study.path(device)).output().unwrap()
    };
    succeeded(&compare(brainscore(), "cpu"));
    let (output, kernels) = launched(driver, &[], |command| compare(command, "cuda"));
    succeeded(&output);
    assert!(kernels.contains("masked_softmax") && kernels.contains("add_norm"), "{kernels}");
    let record: Value = serde_json::from_str(&study.read("cuda/run.json")).unwrap();
    assert!(record["machine"]["device"].as_str().unwrap().contains("Emulated card 0"), "{}", record["machine"]);
    let [own, found] = ["cpu", "cuda"].map(|device| study.read(&format!("{device}/scores.csv")));
    assert!(own.lines().count() > 20 && own.lines().count() == found.lines().count());
    for (a, b) in own.lines().zip(found.lines()) {
        for (a, b) in a.split(',').zip(b.split(',')) {
            match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(x), Ok(y)) => assert!((x - y).abs() <= 1e-3 * (1.0 + x.abs()), "{a} {b}"),
                _ => assert_eq!(a, b),
            }
        }
    }
}
