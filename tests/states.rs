//! Hidden states: against transformers' own, through the program, and through the cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brainscore::encoder::CheckpointSpec;
use brainscore::pipeline::prepare;
use brainscore::record::RunRecord;
use brainscore::study::{Overrides, Plan};
use brainscore::watch::Quiet;
use safetensors::SafeTensors;

use crate::support::study::TinyStudy;
use crate::support::{brainscore, hostile_dir, shared};

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    file.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Token ids equal, all states of all layers within 1e-4 of transformers' (worked out there in float64).
#[test]
fn extracted_states_are_those_of_transformers() {
    let Some(shared) = shared() else { return };
    for family in ["bert", "bert-prefixed"] {
        let folder = shared.join("golden/encoders").join(family);
        let place = hostile_dir();
        let out = place.path().join("out");
        let output = brainscore()
            .arg("extract")
            .arg(&folder)
            .arg("--texts")
            .arg(folder.join("texts.json"))
            .args(["--pooling", "tokens", "--out"])
            .arg(&out)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (found, expected) = (
            std::fs::read(out.join("hidden_states.safetensors")).unwrap(),
            std::fs::read(folder.join("hidden_states.safetensors")).unwrap(),
        );
        let (found, expected) =
            (SafeTensors::deserialize(&found).unwrap(), SafeTensors::deserialize(&expected).unwrap());
        assert_eq!(found.len(), expected.len());
        for text in 0..expected.len() / 2 {
            let ids = format!("ids_{text}");
            assert_eq!(found.tensor(&ids).unwrap().data(), expected.tensor(&ids).unwrap().data(), "{family}: {ids}");
            let states = format!("states_{text}");
            assert_eq!(found.tensor(&states).unwrap().shape(), expected.tensor(&states).unwrap().shape());
            let worst = floats(&found, &states)
                .iter()
                .zip(floats(&expected, &states))
                .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= 1e-4, "{family}, {states}: {worst}");
        }
    }
}

struct Runs {
    study: TinyStudy,
    cache: PathBuf,
}

impl Runs {
    fn new() -> Runs {
        let study = TinyStudy::new();
        let cache = study.path("cache");
        Runs { study, cache }
    }

    fn command(&self, out: &str) -> std::process::Command {
        let mut command = self.study.compare(out, &["--cache-dir"]);
        command.arg(&self.cache);
        command
    }

    /// Runs, and gives the record and the warnings that were printed.
    fn run(&self, out: &str) -> (RunRecord, String) {
        let output = self.command(out).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        (serde_json::from_str(&self.study.read(&format!("{out}/run.json"))).unwrap(), told)
    }

    fn entries(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(&self.cache, &mut found);
        found.sort();
        found
    }
}

#[test]
fn a_second_run_needs_no_forward_pass() {
    let runs = Runs::new();
    let (first, _) = runs.run("one");
    let (second, _) = runs.run("two");
    assert_eq!((first.extraction[0].texts_run, first.extraction[0].texts_cached), (30, 0));
    assert_eq!((second.extraction[0].texts_run, second.extraction[0].texts_cached), (0, 30));
    assert_eq!(runs.study.read("one/scores.csv"), runs.study.read("two/scores.csv"));
    // Anything that changes the states makes the cache silent: here the pooling, then the weights.
    let output = runs.command("three").args(["--pooling", "last"]).output().unwrap();
    assert!(output.status.success());
    let record: RunRecord = serde_json::from_str(&runs.study.read("three/run.json")).unwrap();
    assert_eq!(record.extraction[0].texts_run, 30);
    let mut other = crate::support::study::tensors("");
    other.get_mut("embeddings.LayerNorm.bias").unwrap().2[0] ^= 1;
    runs.study.weights(&other);
    assert_eq!(runs.run("four").0.extraction[0].texts_run, 30);
}

#[test]
fn a_damaged_entry_is_noticed_and_computed_again() {
    let runs = Runs::new();
    runs.run("one");
    let entry = runs.entries().remove(0);
    let mut bytes = std::fs::read(&entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&entry, bytes).unwrap();
    let (second, told) = runs.run("two");
    assert!(second.extraction[0].texts_run > 0 && told.contains("1 damaged cache entries"), "{told}");
    assert_eq!(runs.study.read("one/scores.csv"), runs.study.read("two/scores.csv"));
    assert_eq!(runs.run("three").0.extraction[0].texts_run, 0);
    let verify = brainscore().args(["cache", "verify", "--cache-dir"]).arg(&runs.cache).output().unwrap();
    assert!(String::from_utf8_lossy(&verify.stdout).contains("0 damaged removed"));
}

#[test]
fn many_processes_share_a_cold_cache() {
    let runs = Runs::new();
    let children: Vec<_> =
        (0..8).map(|n| runs.command(&format!("out{n}")).stderr(std::process::Stdio::null()).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let first = runs.study.read("out0/scores.csv");
    assert!((1..8).all(|n| runs.study.read(&format!("out{n}/scores.csv")) == first));
    assert!(runs.entries().iter().all(|e| !e.file_name().unwrap().to_string_lossy().starts_with('.')));
    assert_eq!(runs.run("last").0.extraction[0].texts_run, 0);
}

/// What fine-tuning moved shows; equal and untrained weights are called what they are.
#[test]
fn weights_are_attested() {
    use crate::support::study::{config, tensors};
    let study = TinyStudy::new();
    let copy = |name: &str, change: &dyn Fn(&mut crate::support::study::Tensors)| {
        std::fs::create_dir(study.path(name)).unwrap();
        let mut changed = tensors("");
        change(&mut changed);
        study.weights(&changed);
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::copy(study.path(&format!("model/{file}")), study.path(&format!("{name}/{file}"))).unwrap();
        }
        study.weights(&tensors(""));
    };
    copy("same", &|_| {});
    copy("moved", &|t| t.get_mut("encoder.layer.0.output.dense.bias").unwrap().2[2] ^= 0x40);
    // Uniform values of ±0.5 have a standard deviation of 0.2887: the initialisation that config.json now claims.
    let mut claims = config();
    claims["initializer_range"] = serde_json::json!(0.2887);
    study.write("model/config.json", claims.to_string());
    copy("fresh", &|all| {
        for (name, tensor) in all.iter_mut().filter(|(name, _)| name.contains("LayerNorm") || name.ends_with("bias")) {
            let start: f32 = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
            tensor.2 = start.to_le_bytes().repeat(tensor.2.len() / 4);
        }
    });
    study.write("model/config.json", config().to_string());
    let others = ["same", "moved", "fresh"].map(|name| study.path(name));
    let output = study.compare("out", &[]).args(others).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let record: RunRecord = serde_json::from_str(&study.read("out/run.json")).unwrap();
    let of = |name: &str| record.attestations.iter().find(|a| a.checkpoint == name).unwrap();
    assert!(of("m").equals_reference.is_none() && of("m").layers.is_empty() && !of("m").looks_random);
    assert_eq!((of("same").equals_reference, &of("same").layers[..]), (Some(true), &[0.0, 0.0][..]));
    assert_eq!((of("moved").equals_reference, of("moved").layers[0]), (Some(false), 0.0));
    assert!(of("moved").layers[1] > 0.0, "the moved block shows");
    let moved = of("moved").tensors.iter().filter(|t| t.from_reference != Some(0.0)).map(|t| t.name.as_str());
    assert_eq!(moved.collect::<Vec<_>>(), ["encoder.layer.0.output.dense.bias"]);
    assert!(of("fresh").looks_random);
    assert!(told.contains("\"same\" equal those of \"m\"") && told.contains("\"fresh\" look random"), "{told}");
    assert_eq!(told.matches("[AT-").count(), 2, "{told}");
}

/// Checkpoints of a series have one tokenizer: it and its tokens are held once.
#[test]
fn one_tokenizer_is_held_once() {
    let study = TinyStudy::new();
    std::fs::create_dir(study.path("other")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(study.path(&format!("model/{file}")), study.path(&format!("other/{file}"))).unwrap();
    }
    let tokenizer = study.read("model/tokenizer.json");
    study.write("other/tokenizer.json", tokenizer.replace("\"boat\":5,\"child\":6", "\"child\":5,\"boat\":6"));
    let here = study.dir.path().display();
    let specs = [format!("m={here}/model"), format!("u=untrained:1:{here}/model"), format!("o={here}/other")];
    let specs = specs.iter().map(|s| CheckpointSpec::parse(s).unwrap()).collect();
    let plan = Plan::new(&study.path("study.toml"), specs, &Overrides::default()).unwrap();
    let prepared = prepare(plan, &Quiet).unwrap();
    let [m, u, o] = &prepared.checkpoints[..] else { panic!("three checkpoints") };
    assert!(Arc::ptr_eq(&m.tokens, &u.tokens));
    assert!(m.tokens != o.tokens, "another vocabulary");
}
