//! Checkpoints from a model hub: one on this machine, which has what real ones have.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::brainscore;
use crate::support::study::{TinyStudy, tensors, tokenizer};

/// Serves the files of one model, and notes what it was asked for.
struct Hub {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn start(files: BTreeMap<String, Vec<u8>>) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines: Vec<String> =
                    BufReader::new(&mut stream).lines().map(Result::unwrap).take_while(|l| !l.is_empty()).collect();
                let path = lines[0].split(' ').nth(1).unwrap().to_owned();
                let name = path.strip_prefix("/owner/model/resolve/main/").unwrap_or_default().to_owned();
                let range =
                    lines.iter().find_map(|l| l.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
                let (from, to) = range.as_deref().and_then(|r| r.split_once('-')).unwrap_or(("0", ""));
                let reply = match files.get(&name) {
                    None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
                    Some(content) => {
                        let from: usize = from.parse().unwrap();
                        let to = to.parse().map_or(content.len() - 1, |to: usize| to.min(content.len() - 1));
                        let etag: String = Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
                        let head = format!(
                            "HTTP/1.1 206 Partial Content\r\nX-Repo-Commit: 0123abcd\r\nETag: \"{etag}\"\r\nContent-Range: bytes \
                             {from}-{to}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                            content.len(),
                            to + 1 - from
                        );
                        [head.as_bytes(), &content[from..=to]].concat()
                    }
                };
                seen.lock().unwrap().push(name);
                stream.write_all(&reply).ok();
                stream.shutdown(std::net::Shutdown::Both).ok();
            }
        });
        Hub { address, asked }
    }

    fn asked_for(&self, name: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|n| n == name)
    }
}

fn inspect(endpoint: &str, home: &Path, checkpoint: &str) -> Output {
    let mut command = brainscore();
    command.args(["inspect", "--json", checkpoint]).env("HF_ENDPOINT", endpoint).env("HF_HOME", home);
    command.env_remove("HF_TOKEN").env("NO_PROXY", "127.0.0.1").output().unwrap()
}

fn record(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An older model: a vocabulary, settings beside it, weights in two shards.
fn older() -> TinyStudy {
    let study = TinyStudy::new();
    let vocabulary = tokenizer(true)["model"]["vocab"].as_object().unwrap().clone();
    let mut words: Vec<(&String, u64)> = vocabulary.iter().map(|(w, id)| (w, id.as_u64().unwrap())).collect();
    words.sort_by_key(|w| w.1);
    study.write("model/vocab.txt", words.iter().map(|w| format!("{}\n", w.0)).collect::<String>());
    study.write("model/tokenizer_config.json", json!({"do_lower_case": true, "mask_token": "[UNK]"}).to_string());
    std::fs::remove_file(study.path("model/tokenizer.json")).unwrap();
    let all = tensors("");
    let half = |second: bool| all.clone().into_iter().filter(|(n, _)| n.starts_with("encoder") == second).collect();
    for (second, shard) in [(false, "model-1.safetensors"), (true, "model-2.safetensors")] {
        study.weights(&half(second));
        std::fs::rename(study.path("model/model.safetensors"), study.path("model").join(shard)).unwrap();
    }
    let map: serde_json::Map<String, Value> = all
        .keys()
        .map(|n| {
            (n.clone(), if n.starts_with("encoder") { "model-2.safetensors" } else { "model-1.safetensors" }.into())
        })
        .collect();
    study.write("model/model.safetensors.index.json", json!({"weight_map": map}).to_string());
    study
}

fn files(study: &TinyStudy) -> BTreeMap<String, Vec<u8>> {
    let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name().to_string_lossy().into_owned();
    let names = std::fs::read_dir(study.path("model")).unwrap().map(name);
    names.map(|n| (n.clone(), std::fs::read(study.path("model").join(&n)).unwrap())).collect()
}

#[test]
fn what_a_folder_may_hold_the_hub_may_have() {
    let study = older();
    let hub = Hub::start(files(&study));
    let home = study.path("home");
    let fetched = record(&inspect(&hub.address, &home, "owner/model"));
    let local = record(&inspect(&hub.address, &home, study.path("model").to_str().unwrap()));
    for key in ["weights_sha256", "tokenizer_sha256", "config_sha256"] {
        assert!(fetched[key].is_string() && fetched[key] == local[key], "{key}: {fetched} {local}");
    }
    assert!(hub.asked_for("tokenizer_config.json") && hub.asked_for("model-2.safetensors"));
    assert!(!hub.asked_for("pytorch_model.bin"));
    // Without a connection what is in the cache serves.
    let offline = record(&inspect("http://127.0.0.1:1", &home, "owner/model"));
    assert_eq!(offline["weights_sha256"], local["weights_sha256"]);
}

/// A vocabulary may have no settings beside it: in the cache that is a file that is not there.
#[test]
fn without_a_connection_settings_that_never_were_are_not_missed() {
    let study = older();
    let mut all = files(&study);
    all.remove("tokenizer_config.json");
    let hub = Hub::start(all);
    let home = study.path("home");
    let fetched = record(&inspect(&hub.address, &home, "owner/model"));
    assert!(hub.asked_for("tokenizer_config.json"));
    let offline = record(&inspect("http://127.0.0.1:1", &home, "owner/model"));
    assert_eq!(offline["tokenizer_sha256"], fetched["tokenizer_sha256"]);
}

#[test]
fn a_list_of_shards_names_files_beside_it_and_nothing_else() {
    let study = older();
    let mut all = files(&study);
    all.insert("model.safetensors.index.json".to_owned(), b"{\"weight_map\": {\"a\": \"../../x\"}}".to_vec());
    let hub = Hub::start(all);
    let output = inspect(&hub.address, &study.path("home"), "owner/model");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ST-11") && said.contains("../../x"), "{said}");
    assert!(!hub.asked.lock().unwrap().iter().any(|n| n.contains("..")));
}

#[test]
fn a_hub_without_weights_or_tokenizer_is_told() {
    let study = older();
    for (gone, says) in [("model.safetensors.index.json", "has no weights"), ("vocab.txt", "has no tokenizer")] {
        let mut all = files(&study);
        all.remove(gone);
        let hub = Hub::start(all);
        let output = inspect(&hub.address, &study.path(gone), "owner/model");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("CK-02") && said.contains(says), "{said}");
    }
}
