use super::*;
use crate::error::Code;

/// The smallest configuration of each family, as transformers 4 would have written it.
const SMALLEST: &[(&str, &str)] = &[
    (
        "albert",
        r#""hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 5, "vocab_size": 9,
        "max_position_embeddings": 7, "num_hidden_layers": 3, "embedding_size": 4, "num_hidden_groups": 2"#,
    ),
    ("bert", BERT),
    ("camembert", BERT),
    (
        "deberta-v2",
        r#""hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 5, "vocab_size": 9,
        "max_position_embeddings": 7, "num_hidden_layers": 2, "relative_attention": true, "position_buckets": 4,
        "norm_rel_ebd": "layer_norm", "pos_att_type": "p2c|c2p", "conv_kernel_size": 3, "embedding_size": 4"#,
    ),
    (
        "distilbert",
        r#""dim": 6, "n_heads": 2, "hidden_dim": 5, "vocab_size": 9, "max_position_embeddings": 7,
        "n_layers": 2, "sinusoidal_pos_embds": true"#,
    ),
    (
        "electra",
        r#""hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 5, "vocab_size": 9,
        "max_position_embeddings": 7, "num_hidden_layers": 2, "embedding_size": 4"#,
    ),
    ("gpt2", r#""n_embd": 6, "n_head": 2, "vocab_size": 9, "n_positions": 7, "n_layer": 2"#),
    ("llama", LLAMA),
    ("mistral", LLAMA),
    (
        "modernbert",
        r#""hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 5, "vocab_size": 9,
        "max_position_embeddings": 7, "num_hidden_layers": 4, "local_attention": 2, "global_rope_theta": 160000.0"#,
    ),
    ("mpnet", BERT),
    ("qwen2", LLAMA),
    ("roberta", BERT),
    ("xlm-roberta", BERT),
];

const BERT: &str = r#""hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 5, "vocab_size": 9,
    "max_position_embeddings": 7, "num_hidden_layers": 2"#;

const LLAMA: &str = r#""hidden_size": 8, "num_attention_heads": 4, "intermediate_size": 5, "vocab_size": 9,
    "max_position_embeddings": 7, "num_hidden_layers": 2, "num_key_value_heads": 2"#;

fn architecture(family: &str, keys: &str) -> Result<Box<dyn Architecture>> {
    read(&Config::from_text(&format!(r#"{{"model_type": "{family}", {keys}}}"#))?)
}

fn smallest(family: &str, more: &str) -> Result<Box<dyn Architecture>> {
    let keys = SMALLEST.iter().find(|(name, _)| *name == family).unwrap().1;
    architecture(family, &format!("{keys}{more}"))
}

fn refusal(family: &str, more: &str) -> Code {
    smallest(family, more).map(|a| a.shape()).unwrap_err().code()
}

/// An untrained model of each family runs, gives every layer in its shape, and needs exactly the tensors that it lists.
#[test]
fn every_family_builds_and_runs_untrained() {
    assert_eq!(SMALLEST.iter().map(|(name, _)| *name).collect::<Vec<_>>(), FAMILIES);
    for (family, _) in SMALLEST {
        let architecture = smallest(family, "").unwrap();
        let tensors = architecture.params().iter().map(|p| (p.name.clone(), p.untrained(1).unwrap())).collect();
        let mut tensors = Tensors::new(tensors);
        let model = architecture.build(&mut tensors).unwrap();
        assert!(tensors.is_empty(), "{family} lists tensors that it does not use");
        let packed = Packed::new([[2u32, 5, 8].as_slice(), &[], &[3]]);
        let mut layers = Vec::new();
        let mut sink = |layer: usize, x: &Rows| {
            let x = x.on_cpu()?;
            assert_eq!(x.dims(), [4, architecture.shape().width], "{family}");
            assert!(x.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()), "{family}");
            layers.push(layer);
            Ok(())
        };
        model.forward(&packed, &mut sink).unwrap();
        assert_eq!(layers, (0..=architecture.shape().blocks).collect::<Vec<_>>(), "{family}");
    }
}

#[test]
fn texts_are_as_long_as_positions_allow() {
    assert_eq!(smallest("bert", "").unwrap().shape().longest, 7);
    assert_eq!(smallest("roberta", "").unwrap().shape().longest, 5);
    assert_eq!(smallest("xlm-roberta", r#", "pad_token_id": 3"#).unwrap().shape().longest, 3);
    assert_eq!(smallest("mpnet", "").unwrap().shape().longest, 5);
}

#[test]
fn settings_that_are_not_implemented_are_named() {
    let not_implemented = [
        ("bert", r#", "position_embedding_type": "relative_key""#),
        ("bert", r#", "hidden_act": "mish""#),
        ("bert", r#", "is_decoder": true"#),
        ("bert", r#", "auto_map": {"AutoModel": "x.Y"}"#),
        ("bert", r#", "quantization_config": {"bits": 4}"#),
        ("electra", r#", "add_cross_attention": true"#),
        ("gpt2", r#", "add_cross_attention": true"#),
        ("gpt2", r#", "tie_last_hidden_states": false"#),
        ("deberta-v2", r#", "conv_groups": 2"#),
        ("llama", r#", "rope_scaling": {"type": "linear", "factor": 2.0}"#),
        ("llama", r#", "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}"#),
        ("llama", r#", "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}"#),
        ("modernbert", r#", "layer_types": ["full_attention", "full_attention", "full_attention", "linear"]"#),
        ("modernbert", r#", "rope_scaling": {"type": "linear"}"#),
        ("modernbert", r#", "rope_parameters": {"rope_theta": 1e4}"#),
        ("modernbert", r#", "rope_parameters": {"full_attention": {"rope_type": "dynamic"}}"#),
    ];
    for (family, more) in not_implemented {
        assert_eq!(refusal(family, more), Code::Cf06, "{family}{more}");
    }
    let deberta = r#""hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 5, "vocab_size": 9,
        "max_position_embeddings": 7, "num_hidden_layers": 2, "relative_attention": true"#;
    for more in [r#", "pos_att_type": ["p2p"]"#, r#", "norm_rel_ebd": "batch_norm""#] {
        let refused = architecture("deberta-v2", &format!("{deberta}{more}")).unwrap_err();
        assert_eq!(refused.code(), Code::Cf06, "{more}");
    }
}

#[test]
fn impossible_sizes_are_refused() {
    let impossible = [
        ("bert", r#", "type_vocab_size": 0"#),
        ("bert", r#", "pad_token_id": 9"#),
        ("roberta", r#", "pad_token_id": 6"#),
        ("roberta", r#", "pad_token_id": null"#),
        ("mpnet", r#", "relative_attention_num_buckets": 16"#),
        ("albert", r#", "inner_group_num": -1"#),
        ("modernbert", r#", "initializer_cutoff_factor": 0"#),
        ("modernbert", r#", "layer_types": ["full_attention"]"#),
        ("llama", r#", "head_dim": 3"#),
        ("llama", r#", "rope_scaling": {"rope_type": "llama3", "factor": 8.0}"#),
    ];
    for (family, more) in impossible {
        assert_eq!(refusal(family, more), Code::Cf05, "{family}{more}");
    }
    let heads = BERT.replace("\"num_attention_heads\": 2", "\"num_attention_heads\": 4");
    assert_eq!(architecture("bert", &heads).unwrap_err().code(), Code::Cf05);
    let heads = LLAMA.replace("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3");
    assert_eq!(architecture("llama", &heads).unwrap_err().code(), Code::Cf05);
    assert_eq!(architecture("bert", r#""hidden_size": 6"#).unwrap_err().code(), Code::Cf04);
    assert_eq!(architecture("bart", BERT).unwrap_err().code(), Code::Cf03);
}

/// Heads wide enough for several frequencies.
const WIDE: &str = r#", "head_dim": 4"#;

/// The rotary settings of transformers 4 and 5 mean the same.
#[test]
fn both_generations_of_rotary_settings_are_read() {
    let print = |family: &str, more: &str| format!("{:?}", smallest(family, &format!("{more}{WIDE}")).unwrap());
    let four = print("modernbert", r#", "local_rope_theta": 5000.0"#);
    let five = print(
        "modernbert",
        r#", "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 160000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0}}"#,
    );
    assert_eq!(four, five);
    let four = print("llama", r#", "rope_theta": 500000.0, "rope_scaling": null"#);
    assert_eq!(four, print("llama", r#", "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}"#));
    assert_ne!(four, print("llama", ""));
}
