//! Forward passes of untrained encoders, all layers, one pack of texts on one thread; and the same arithmetic as bare
//! matrix products, which is the floor.
//!
//!     cargo bench --bench forward
//!
//! `BRAINSCORE_BENCH=bert-base,minilm` chooses among the shapes; without it the large DeBERTa is left out.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use brainscore::compute::cpu::{Operand, sgemm, single_threaded_blas};
use brainscore::encoder::{Checkpoint, CheckpointSpec};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};

/// Name, width, inner width and number of blocks of a shape, with the other keys of its configuration.
fn shapes() -> Vec<(&'static str, [usize; 3], Value)> {
    let bert = json!({"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2});
    let deberta = json!({
        "model_type": "deberta-v2", "vocab_size": 1000, "max_position_embeddings": 512, "relative_attention": true,
        "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": true, "pos_att_type": "p2c|c2p",
        "conv_kernel_size": 3, "conv_act": "gelu", "position_biased_input": false
    });
    vec![
        ("minilm", [384, 1536, 6], bert.clone()),
        ("bert-base", [768, 3072, 12], bert),
        ("deberta-v2-xlarge", [1536, 6144, 24], deberta),
    ]
}

/// Lengths of the texts in one pack: 512 tokens, as sentences are long.
const LENGTHS: [usize; 16] = [20, 25, 30, 35, 40, 44, 28, 18, 22, 36, 50, 31, 27, 41, 39, 26];

/// A checkpoint folder without weights.
fn write(folder: &Path, [width, inner, blocks]: [usize; 3], mut config: Value) {
    let heads = if width == 384 { 12 } else { width / 64 };
    for (key, value) in [
        ("hidden_size", width),
        ("intermediate_size", inner),
        ("num_hidden_layers", blocks),
        ("num_attention_heads", heads),
    ] {
        config[key] = value.into();
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let tokenizer = json!({"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}});
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

fn forward(criterion: &mut Criterion) {
    single_threaded_blas();
    let wanted = std::env::var("BRAINSCORE_BENCH").unwrap_or_else(|_| "minilm,bert-base".to_owned());
    let tokens: usize = LENGTHS.iter().sum();
    let texts: Vec<Vec<u32>> = LENGTHS.iter().map(|n| (0..*n as u32).map(|i| 5 + i * 7 % 900).collect()).collect();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(10).measurement_time(Duration::from_secs(8)).throughput(Throughput::Elements(tokens as u64));
    for (name, [width, inner, blocks], config) in shapes() {
        if !wanted.split(',').any(|w| w == name) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), [width, inner, blocks], config);
        let spec = CheckpointSpec::parse(&format!("untrained:1:{}", folder.path().display())).unwrap();
        let encoder = Checkpoint::open(&spec).unwrap().load().unwrap();
        group.bench_function(name, |b| {
            b.iter(|| {
                encoder
                    .hidden_states(&texts, |_, states, _| {
                        black_box(states[0]);
                    })
                    .unwrap()
            });
        });
        let product = |inputs: usize, outputs: usize| {
            (
                vec![0.5f32; tokens * inputs],
                vec![0.5f32; outputs * inputs],
                vec![0f32; tokens * outputs],
                inputs,
                outputs,
            )
        };
        let mut products =
            [product(width, 3 * width), product(width, width), product(width, inner), product(inner, width)];
        group.bench_function(format!("{name}, products alone"), |b| {
            b.iter(|| {
                for _ in 0..blocks {
                    for (x, w, out, inputs, outputs) in &mut products {
                        let (x, w) = (Operand::new(x, tokens, *inputs), Operand::new(w, *outputs, *inputs));
                        sgemm(1.0, x, w.t(), 0.0, out, *outputs);
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
