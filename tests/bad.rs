//! Every bad input: its code, its message, its exit status, and an output place that stays empty.
//!
//! Each case is named like a fixture, `<kind>/<CODE>-<slug>`, and is made from a good study by one change. A code
//! without a case fails `every_code_has_a_case`.

use std::process;

use brainscore::error::{Code, Status};
use brainscore::io::table::{Output, OutputTable};
use serde_json::json;

use crate::support::brainscore;
use crate::support::corpus::{self, Observed};
use crate::support::study::{TinyStudy, listing, npy, npz, responses, stimuli, tensors, tokenizer};
use crate::{atlas, bad_bold, batch, gifti, neurosynth, resume, rois, runs, windows};

struct Case {
    name: &'static str,
    /// What the message must say, beside the code.
    says: &'static [&'static str],
    change: fn(&TinyStudy),
    /// The checkpoint argument, `{}` standing for the study's folder.
    checkpoint: &'static str,
    /// Further flags; the output is `out` unless `OUT=` names another place.
    flags: &'static [&'static str],
}

const MODEL: &str = "m={}/model";
const UNTRAINED: &str = "m=untrained:0:{}/model";

const fn case(name: &'static str, says: &'static [&'static str], change: fn(&TinyStudy)) -> Case {
    Case { name, says, change, checkpoint: MODEL, flags: &[] }
}

const WEIGHTS: &str = "model/model.safetensors";

/// A safetensors file with this header and so many bytes of data.
fn header(study: &TinyStudy, header: &str, data: usize) {
    study.write(WEIGHTS, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat());
}

/// Responses as Parquet, and the study that reads them.
fn parquet(study: &TinyStudy, columns: Vec<(&str, Output)>) {
    OutputTable::new(columns).write_parquet(&study.path("r.parquet")).unwrap();
    study.edit("study.toml", "responses.csv", "r.parquet");
}

/// An alpha grid.
fn alphas(study: &TinyStudy, grid: &str) {
    study.edit("study.toml", "k = 5", &format!("k = 5\nalphas = {grid}"));
}

/// The stimuli are what a link points to, or a thing that is no file.
#[cfg(unix)]
fn special(study: &TinyStudy, program: &str, arguments: &[&str]) {
    std::fs::remove_file(study.path("stimuli.csv")).unwrap();
    let done = std::process::Command::new(program).args(arguments).current_dir(study.dir.path()).status().unwrap();
    assert!(done.success());
}

/// Responses as an array, and the study that reads it.
fn array(study: &TinyStudy, bytes: &[u8], in_order: bool) {
    study.write("y.npy", bytes);
    let order = if in_order { "rows_in_order = true" } else { "" };
    study.edit(
        "study.toml",
        "table = \"responses.csv\"\nsubject = \"subject\"",
        &format!("table = \"y.npy\"\n{order}"),
    );
}

/// Responses in an archive of arrays.
fn archive(study: &TinyStudy, bytes: &[u8]) {
    study.write("y.npz", bytes);
    study.edit(
        "study.toml",
        "table = \"responses.csv\"\nsubject = \"subject\"",
        "table = \"y.npz\"\nrows_in_order = true",
    );
}

/// Replaces the weights by a list that names one shard.
fn shards(study: &TinyStudy, shard: &str) {
    std::fs::remove_file(study.path(WEIGHTS)).unwrap();
    let map = json!({"weight_map": {"embeddings.word_embeddings.weight": shard}});
    study.write("model/model.safetensors.index.json", map.to_string());
}

/// A table of subjects, and the study that reads it.
fn subjects(study: &TinyStudy, table: &str) {
    study.write("subjects.tsv", table);
    study.edit("study.toml", "[encoding]", "[subjects]\ntable = \"subjects.tsv\"\n[encoding]");
}

const CASES: &[Case] = &[
    case("weights/ST-01-empty", &["model.safetensors: is empty"], |s| s.write(WEIGHTS, "")),
    case("weights/ST-01-short", &["has 5 bytes"], |s| s.write(WEIGHTS, [1, 2, 3, 4, 5])),
    case("weights/ST-02-header-beyond-file", &["claims a header of 5000 bytes"], |s| {
        s.write(WEIGHTS, [&5000u64.to_le_bytes()[..], b"{}"].concat());
    }),
    case("weights/ST-03-pickle", &["Python pickle", "Nothing was executed"], |s| {
        s.write(WEIGHTS, b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00true\x85R.");
    }),
    case("weights/ST-03-zip", &["zip archive"], |s| s.write(WEIGHTS, b"PK\x03\x04 and more bytes")),
    case("weights/ST-04-lfs-pointer", &["Git-LFS pointer", "git lfs pull"], |s| {
        s.write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    }),
    case("weights/ST-04-html", &["HTML page"], |s| s.write(WEIGHTS, "<!DOCTYPE html><html>404</html>")),
    case("weights/ST-05-trailing-bytes", &["is damaged"], |s| {
        let mut bytes = std::fs::read(s.path(WEIGHTS)).unwrap();
        bytes.extend_from_slice(&[0; 4]);
        s.write(WEIGHTS, bytes);
    }),
    case("weights/ST-04-json", &["is a server's error message"], |s| {
        s.write(WEIGHTS, "{\"error\": \"Repository not found\"}")
    }),
    case("weights/ST-05-overlap", &["is damaged"], |s| {
        header(
            s,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            12,
        );
    }),
    case("weights/ST-05-hole", &["is damaged"], |s| {
        header(
            s,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
            12,
        );
    }),
    case("weights/ST-05-overflow", &["is damaged"], |s| {
        header(s, r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}"#, 4);
    }),
    case("weights/ST-06-duplicate-name", &["holds the tensor \"a\" twice"], |s| {
        let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let header = format!("{{\"a\":{entry},\"a\":{entry}}}");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
        s.write(WEIGHTS, bytes);
    }),
    case("weights/ST-07-missing-tensor", &["lacks 1 of", "encoder.layer.0.output.dense.bias"], |s| {
        let mut all = tensors("");
        all.remove("encoder.layer.0.output.dense.bias");
        s.weights(&all);
    }),
    case("weights/ST-07-wrong-prefix", &["start with \"encoder_model.\""], |s| s.weights(&tensors("encoder_model."))),
    case("weights/ST-08-shape", &["has shape [8]", "expected [12]", "intermediate_size"], |s| {
        let mut all = tensors("");
        let bias = all.get_mut("encoder.layer.0.intermediate.dense.bias").unwrap();
        bias.1 = vec![8];
        bias.2.truncate(32);
        s.weights(&all);
    }),
    case("weights/ST-09-integers", &["holds I32 values", "F32, F16 or BF16"], |s| {
        let mut all = tensors("");
        all.get_mut("embeddings.LayerNorm.bias").unwrap().0 = safetensors::Dtype::I32;
        s.weights(&all);
    }),
    case(
        "weights/ST-10-nan",
        &["embeddings.LayerNorm.bias", "1 values that are NaN or infinite, the first at index 2"],
        |s| {
            let mut all = tensors("");
            all.get_mut("embeddings.LayerNorm.bias").unwrap().2[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
            s.weights(&all);
        },
    ),
    case("weights/ST-11-shard-outside", &["model.safetensors.index.json", "\"../model.safetensors\""], |s| {
        shards(s, "../model.safetensors");
    }),
    case("weights/ST-11-shard-absolute", &["\"/model.safetensors\"", "plain names"], |s| {
        shards(s, "/model.safetensors");
    }),
    case("weights/ST-11-shard-missing", &["\"model-00001.safetensors\"", "does not exist"], |s| {
        shards(s, "model-00001.safetensors");
    }),
    case("weights/ST-13-foreign-name", &["pytorch_model.bin", "posix.system", "Nothing was executed"], |s| {
        std::fs::remove_file(s.path(WEIGHTS)).unwrap();
        s.write("model/pytorch_model.bin", b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00true\x85R.");
    }),
    case("weights/ST-15-other-adapter", &["adapter_config.json", "peft_type is \"LOHA\""], |s| {
        s.write("model/adapter_config.json", "{\"peft_type\": \"LOHA\"}");
    }),
    case("weights/ST-14-none", &["holds no model.safetensors"], |s| std::fs::remove_file(s.path(WEIGHTS)).unwrap()),
    case("config/CF-01-missing", &["config.json: does not exist"], |s| {
        std::fs::remove_file(s.path("model/config.json")).unwrap()
    }),
    case("config/CF-01-no-json", &["is no JSON"], |s| s.write("model/config.json", "{\"model_type\": ")),
    case("config/CF-02-duplicate-key", &["\"hidden_size\" stands twice"], |s| {
        s.write("model/config.json", "{\"model_type\": \"bert\", \"hidden_size\": 8, \"hidden_size\": 16}");
    }),
    case("config/CF-03-unknown-model", &["model_type is \"bart\"", "bert"], |s| {
        s.configure("model_type", json!("bart"))
    }),
    case("config/CF-04-missing-key", &["\"hidden_size\" is missing"], |s| {
        s.write("model/config.json", "{\"model_type\": \"bert\"}");
    }),
    case("config/CF-05-heads", &["hidden_size is 8 with num_attention_heads 3"], |s| {
        s.configure("num_attention_heads", json!(3))
    }),
    case("config/CF-05-huge", &["\"num_hidden_layers\" is 1000000000"], |s| {
        s.configure("num_hidden_layers", json!(1_000_000_000))
    }),
    case("config/CF-01-array", &["config.json"], |s| s.write("model/config.json", "[]")),
    case("config/CF-01-utf-16", &["is UTF-16"], |s| s.write("model/config.json", b"\xff\xfe{\0}\0")),
    case("config/CF-04-wrong-type", &["\"hidden_size\""], |s| s.configure("hidden_size", json!("eight"))),
    case("config/CF-05-zero", &["\"num_attention_heads\" is 0"], |s| s.configure("num_attention_heads", json!(0))),
    case("config/CF-05-negative", &["\"num_hidden_layers\""], |s| s.configure("num_hidden_layers", json!(-1))),
    case("config/CF-06-activation", &["hidden_act is \"swishish\""], |s| s.configure("hidden_act", json!("swishish"))),
    case("config/CF-06-relative-positions", &["position_embedding_type is \"relative_key\""], |s| {
        s.configure("position_embedding_type", json!("relative_key"));
    }),
    case("config/CF-06-remote-code", &["auto_map"], |s| s.configure("auto_map", json!({"AutoModel": "evil.Model"}))),
    case("tokenizer/TK-01-missing", &["holds no tokenizer.json"], |s| {
        std::fs::remove_file(s.path("model/tokenizer.json")).unwrap()
    }),
    case("tokenizer/TK-01-damaged", &["cannot be read"], |s| s.write("model/tokenizer.json", "{}")),
    case("tokenizer/TK-01-template", &["contradicts itself"], |s| {
        let mut tokenizer = tokenizer(true);
        tokenizer["post_processor"]["special_tokens"].as_object_mut().unwrap().remove("[SEP]");
        s.write("model/tokenizer.json", tokenizer.to_string());
    }),
    Case {
        checkpoint: UNTRAINED,
        ..case("tokenizer/TK-02-no-embedding", &["has no embedding", "belongs to another model"], |s| {
            s.configure("vocab_size", json!(9))
        })
    },
    case("tokenizer/TK-03-no-special-tokens", &["adds no special tokens"], |s| {
        s.write("model/tokenizer.json", tokenizer(false).to_string());
    }),
    case("tokenizer/TK-04-no-token", &["stimulus \"s00\"", "yields no token"], |s| {
        s.write("model/tokenizer.json", tokenizer(false).to_string());
        let first = stimuli().lines().nth(1).unwrap().to_owned();
        s.edit("stimuli.csv", &first, "s00,\u{200b}\u{200b},0");
    }),
    case("tokenizer/TK-05-too-long", &["stimulus \"s00\"", "at most 16 (max_position_embeddings)"], |s| {
        let first = stimuli().lines().nth(1).unwrap().to_owned();
        s.edit("stimuli.csv", &first, &format!("s00,{},0", ["boat"; 40].join(" ")));
    }),
    Case { checkpoint: "m={}/no/such/model", ..case("checkpoint/CK-01-missing", &["does not exist"], |_| {}) },
    Case {
        checkpoint: "m={}/stimuli.csv",
        ..case("checkpoint/CK-01-file", &["is a file", "holds config.json"], |_| {})
    },
    case("table/SC-01-missing-column", &["has no column \"text\"", "Did you mean \"texts\"?"], |s| {
        s.edit("stimuli.csv", "text", "texts")
    }),
    case("table/SC-01-empty", &["stimuli.csv: is empty"], |s| s.write("stimuli.csv", "")),
    case("table/SC-01-header-only", &["has no rows"], |s| s.write("stimuli.csv", "stimulus_id,text\n")),
    case("table/SC-02-duplicate-id", &["line 3", "holds the id \"s00\" again, first at", "line 2"], |s| {
        s.edit("stimuli.csv", "s01", "s00")
    }),
    case("table/SC-02-subject-sees-twice", &["holds the id \"s00\" twice for subject \"p1\""], |s| {
        s.edit("responses.csv", "s01", "s00")
    }),
    case("table/SC-03-blank-text", &["line 2", "1 blank texts"], |s| {
        let first = stimuli().lines().nth(1).unwrap().to_owned();
        s.edit("stimuli.csv", &first, "s00,\"  \",0");
    }),
    case("table/SC-05-unclosed-quote", &["line 2", "a quote opens here"], |s| s.edit("stimuli.csv", "s00,", "s00,\"")),
    case("table/SC-06-latin-1", &["line 2 holds byte 0xe9"], |s| {
        let text = s.read("stimuli.csv").replacen("s00,", "s00,caf\u{e9} ", 1);
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        s.write("stimuli.csv", latin);
    }),
    case("table/SC-06-utf-16", &["is UTF-16"], |s| s.write("stimuli.csv", b"\xff\xfes\x00")),
    case("table/SC-08-huge-field", &["more than 1000000 bytes"], |s| {
        s.edit("stimuli.csv", "s00,", &format!("s00,{}", "a".repeat(1_100_000)))
    }),
    case("table/SC-09-ragged", &["line 2", "has 4 fields", "expected 3"], |s| {
        s.edit("stimuli.csv", "s00,", "s00,one,")
    }),
    case("table/SC-10-duplicate-column", &["\"text\" twice"], |s| s.edit("stimuli.csv", "position", "text")),
    case("table/SC-11-confound", &["\"first\" in column \"position\""], |s| {
        s.edit("study.toml", "table = \"stimuli.csv\"", "table = \"stimuli.csv\"\nconfounds = [\"position\"]");
        s.edit("stimuli.csv", ",0\n", ",first\n");
    }),
    case("responses/RS-01-objects", &["holds Python objects"], |s| {
        array(s, &npy("{'descr': '|O', 'fortran_order': False, 'shape': (30, 2), }", b"\x80\x04K\x01."), true);
    }),
    case("responses/RS-02-three-dimensions", &["has shape [30, 1, 1]"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (30, 1, 1), }", &[0; 120]), true);
    }),
    case("responses/RS-03-claims-too-much", &["claims shape [500000, 500000]"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (500000, 500000), }", &[0; 24]), true);
    }),
    case("responses/RS-04-no-array", &["starts with bytes"], |s| array(s, b"1,2,3", true)),
    case("responses/RS-06-complex", &["values of type <c8"], |s| {
        array(s, &npy("{'descr': '<c8', 'fortran_order': False, 'shape': (30,), }", &[0; 240]), true);
    }),
    case("responses/RS-02-empty", &["has shape [0, 3]"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", &[]), true);
    }),
    case("responses/RS-03-overflow", &["claims shape [4294967296, 4294967296]"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", &[0; 24]), true);
    }),
    case("responses/RS-03-cut-short", &["(360 bytes) but holds 359 bytes"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (30, 3), }", &[0; 359]), true);
    }),
    case("responses/RS-04-trailing", &["has 1 bytes after its data"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (30, 3), }", &[0; 361]), true);
    }),
    case("responses/RS-06-bool", &["values of type"], |s| {
        array(s, &npy("{'descr': '|b1', 'fortran_order': False, 'shape': (30,), }", &[0; 30]), true);
    }),
    case("responses/RS-06-strings", &["values of type <U2"], |s| {
        array(s, &npy("{'descr': '<U2', 'fortran_order': False, 'shape': (30,), }", &[0; 240]), true);
    }),
    case("responses/RS-08-array", &["NaN"], |s| {
        let mut data = vec![0; 360];
        data[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (30, 3), }", &data), true);
    }),
    case("responses/RS-10-damaged", &["y.npz: is no zip archive"], |s| archive(s, b"PK\x03\x04 and more bytes")),
    case("responses/RS-10-empty", &["holds no array"], |s| archive(s, &npz(&[]))),
    case("responses/RS-10-several", &["holds 2 arrays: x, y", "key = \"x\", or --key x"], |s| {
        archive(s, &npz(&[("x.npy", Vec::new()), ("y.npy", Vec::new())]));
    }),
    case("responses/RS-10-outside", &["has a member \"../y.npy\""], |s| archive(s, &npz(&[("../y.npy", Vec::new())]))),
    case("responses/RS-10-bomb", &["(9600000 as float64) and takes"], |s| {
        let head = "{'descr': '|i1', 'fortran_order': False, 'shape': (30, 40000), }";
        archive(s, &npz(&[("y.npy", npy(head, &vec![0; 1_200_000]))]));
    }),
    case("responses/SC-01-parquet-column", &["has no column \"subject\""], |s| {
        parquet(s, vec![("stimulus_id", Output::Text(vec!["s00".into()])), ("a", Output::Real(vec![Some(1.0)]))]);
    }),
    case("responses/RS-08-parquet-null", &["has an empty cell in target a"], |s| {
        let ids = || (0..30).map(|i| format!("s{i:02}")).collect();
        let values = (0..30).map(|i| (i != 7).then(|| f64::from(i * i % 7))).collect();
        let subject = Output::Text(vec!["p1".into(); 30]);
        parquet(s, vec![("stimulus_id", Output::Text(ids())), ("subject", subject), ("a", Output::Real(values))]);
    }),
    case("responses/RS-11-damaged", &["cannot be read"], |s| {
        s.write("r.parquet", "PAR1 and not much more PAR1");
        s.edit("study.toml", "responses.csv", "r.parquet");
    }),
    case("responses/RS-07-array-without-order", &["rows_in_order = true"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (30,), }", &[0; 120]), false);
    }),
    case("responses/RS-07-rows", &["has 29 rows for 30 stimuli"], |s| {
        array(s, &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (29,), }", &[0; 116]), true);
    }),
    case(
        "responses/RS-07-unmatched",
        &["30 of 30 rows of subject \"p1\" name no stimulus: x00, x01, x02, x03, x04, …"],
        |s| {
            s.write("responses.csv", responses().replace("\ns", "\nx"));
        },
    ),
    case("responses/RS-07-silent-stimulus", &["1 of 31 stimuli have no response: s30"], |s| {
        s.write("stimuli.csv", stimuli() + "s30,stone waits,2\n");
    }),
    case("responses/RS-08-text", &["line 2", "holds \"high\" in target a"], |s| {
        let first = responses().lines().nth(1).unwrap().to_owned();
        s.edit("responses.csv", &first, "s00,p1,high,0.5,0.5");
    }),
    case("responses/RS-08-nan", &["holds \"NaN\" in target b"], |s| {
        let first = responses().lines().nth(1).unwrap().to_owned();
        s.edit("responses.csv", &first, "s00,p1,0.5,NaN,0.5");
    }),
    case("responses/RS-08-empty", &["has an empty cell in target c", "1 cells of this target"], |s| {
        let first = responses().lines().nth(1).unwrap().to_owned();
        s.edit("responses.csv", &first, "s00,p1,0.5,0.5,");
    }),
    case("responses/RS-09-all-constant", &["all 6 targets are constant"], |s| {
        let rows: Vec<String> = (1..=2).flat_map(|p| (0..30).map(move |i| format!("s{i:02},p{p},1,2,3\n"))).collect();
        s.write("responses.csv", "stimulus_id,subject,a,b,c\n".to_owned() + &rows.concat());
    }),
    case("responses/RS-11-no-parquet", &["is no Parquet file"], |s| {
        s.write("r.parquet", "PAR0");
        s.edit("study.toml", "responses.csv", "r.parquet");
    }),
    case("responses/RS-12-too-few", &["has 30 rows in 30 groups", "at least 80 rows"], |s| {
        s.edit("study.toml", "k = 5", "k = 40")
    }),
    case(
        "study/RC-01-unknown-key",
        &["study.toml:4:1", "unknown key in [stimuli] \"tabel\"", "Did you mean \"table\"?"],
        |s| {
            s.edit("study.toml", "table = \"stimuli.csv\"", "tabel = \"stimuli.csv\"");
        },
    ),
    case("study/RC-01-key-without-archive", &["array \"y\" is named", "npz"], |s| {
        s.edit("study.toml", "[responses]", "[responses]\nkey = \"y\"");
    }),
    case("study/RC-01-syntax", &["study.toml:1:"], |s| s.edit("study.toml", "[study]", "[study")),
    case("study/RC-02-alphas", &["holds -1"], |s| s.edit("study.toml", "k = 5", "k = 5\nalphas = [-1.0, 1.0]")),
    case("study/RC-01-wrong-type", &["study.toml:"], |s| s.edit("study.toml", "k = 5", "k = \"five\"")),
    case("study/RC-02-empty", &["alphas"], |s| alphas(s, "[]")),
    case("study/RC-02-nan", &["NaN"], |s| alphas(s, "[1.0, nan]")),
    case("study/RC-02-twice", &["alphas"], |s| alphas(s, "[1.0, 10.0, 1.0]")),
    case("study/RC-01-negative-gap", &["integer `-1`"], |s| s.edit("study.toml", "k = 5", "k = 5\ngap = -1")),
    case("study/RC-03-gap", &["a gap of 40 rows leaves 0 rows to train on", "smaller gap"], |s| {
        s.edit("study.toml", "k = 5", "k = 5\ngap = 40");
    }),
    case("study/RC-01-series", &["[series] has tr = 0"], |s| {
        s.edit("study.toml", "k = 5", "k = 5\n[series]\ntr = 0.0")
    }),
    case("study/RC-01-runs-without-column", &["without a run column", "[stimuli] run ="], |s| {
        s.edit("study.toml", "k = 5", "folds = \"leave-one-run-out\"");
    }),
    case("study/OD-05-finetuning-texts-missing", &["tuning.txt"], |s| {
        let study = s.read("study.toml");
        s.write("study.toml", format!("{study}\n[finetuning]\ntexts = [\"tuning.txt\"]\n"));
    }),
    case("study/RC-05-shuffled", &["asks for shuffled folds", "--allow-leaky-folds"], |s| {
        s.edit("study.toml", "k = 5", "folds = \"shuffled\"");
    }),
    case("study/RC-03-folds", &["k is 2", "at least 3 folds"], |s| s.edit("study.toml", "k = 5", "k = 2")),
    case("study/RC-03-group-in-two-folds", &["has group \"g\" in folds"], |s| {
        let text = stimuli().replace(",position", ",position,group,fold");
        let rows: Vec<String> = text
            .lines()
            .enumerate()
            .map(|(i, l)| if i == 0 { l.to_owned() } else { format!("{l},g,{}", i % 5) })
            .collect();
        s.write("stimuli.csv", rows.join("\n"));
        s.edit("study.toml", "k = 5", "folds = \"column\"");
        s.edit("study.toml", "table = \"stimuli.csv\"", "table = \"stimuli.csv\"\ngroup = \"group\"\nfold = \"fold\"");
    }),
    Case {
        flags: &["m={}/model"],
        ..case("study/RC-04-one-label-twice", &["two checkpoints have this label"], |_| {})
    },
    case("place/OD-05-no-study", &["does not exist", "There is a study.tml in that folder"], |s| {
        std::fs::rename(s.path("study.toml"), s.path("study.tml")).unwrap();
    }),
    case("place/OD-05-folder", &["is a directory"], |s| {
        std::fs::remove_file(s.path("stimuli.csv")).unwrap();
        std::fs::create_dir(s.path("stimuli.csv")).unwrap();
    }),
    Case {
        flags: &["OUT=no/such/out"],
        ..case("place/OD-02-no-parent", &["does not exist", "Create it first"], |_| {})
    },
    #[cfg(unix)]
    case("place/OD-02-link", &["is a symbolic link"], |s| {
        std::fs::create_dir(s.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", s.path("out")).unwrap();
    }),
    #[cfg(unix)]
    case("place/OD-05-pipe", &["is a pipe"], |s| special(s, "mkfifo", &["stimuli.csv"])),
    #[cfg(unix)]
    case("place/OD-05-device", &["a device"], |s| special(s, "ln", &["-s", "/dev/zero", "stimuli.csv"])),
    #[cfg(unix)]
    case("place/OD-05-broken-link", &["is a symbolic link to nothing"], |s| {
        special(s, "ln", &["-s", "gone", "stimuli.csv"])
    }),
    #[cfg(unix)]
    case("place/OD-05-cycle", &["cannot be opened"], |s| special(s, "ln", &["-s", "stimuli.csv", "stimuli.csv"])),
    case("place/OD-02-out-is-a-file", &["is a file"], |s| s.write("out", "")),
    case("place/OD-01-foreign-files", &["is not empty and holds no run"], |s| {
        std::fs::create_dir(s.path("out")).unwrap();
        s.write("out/thesis.tex", "years of work");
    }),
    case("study/RC-06-margin", &["[inference] margin is -0.1", "a number above 0"], |s| {
        s.edit("study.toml", "[encoding]", "[inference]\nmargin = -0.1\n[encoding]");
    }),
    case("study/RC-06-permutations", &["[inference] permutations is 10", "100 to 10000000"], |s| {
        s.edit("study.toml", "[encoding]", "[inference]\npermutations = 10\n[encoding]");
    }),
    case("study/SJ-01-one-group", &["subjects.tsv: puts all 2 subjects into one group"], |s| {
        subjects(s, "subject\tgroup\np1\ta\np2\ta\n");
    }),
    case("study/SJ-01-single", &["has 1 subject in group \"a\"", "at least 2 in each group"], |s| {
        subjects(s, "subject\tgroup\np1\ta\np2\tb\n");
    }),
    case("study/RS-07-subject-without-row", &["has no row for 1 of 2 subjects: p2", "It names p1, sub-p2"], |s| {
        subjects(s, "subject\tgroup\np1\ta\nsub-p2\tb\n");
    }),
    Case { flags: &["--margin", "0"], ..case("flags/FL-02-margin", &["--margin: is 0"], |_| {}) },
    Case { flags: &["--permutations", "5"], ..case("flags/FL-02-permutations", &["--permutations: is 5"], |_| {}) },
    Case { flags: &["--layers", "99"], ..case("flags/FL-02-layer", &["layer 99 does not exist", "0 to 1"], |_| {}) },
    Case { checkpoint: "untrained:x:{}/model", ..case("flags/FL-02-seed", &["the seed \"x\""], |_| {}) },
];

/// Codes whose case needs more than a file: where they are tested, or why they cannot be here.
const ELSEWHERE: &[(Code, &str)] = &[
    (Code::Fl01, "kernels::no_card_is_no_fault_unless_one_was_named"),
    (Code::Gp01, "kernels::a_card_that_fails_is_said_to"),
    (Code::Gp02, "kernels::a_card_that_fails_is_said_to"),
    (Code::Gp03, "kernels::compiled_kernels_are_kept_and_checked"),
    (Code::Ck02, "needs a network that fails; the message is made in one place"),
    (Code::Od03, "an_output_inside_an_input_is_refused"),
    (Code::Od06, "store::run_dir::tests::one_process_at_a_time"),
    (Code::Rr01, "a_damaged_record_is_refused"),
    (Code::Ev05, "resample::bad_words_are_refused"),
    (Code::Ev06, "resample::bad_words_are_refused"),
    (Code::Io01, "io::atomic::tests and a full disk, which a test cannot make everywhere"),
    (Code::In01, "weights_that_change_after_the_check_are_noticed"),
    (Code::Nu01, "compute::cpu::dense::tests::eigendecompositions_reconstruct"),
    (Code::Ix01, "cli::an_interrupt_leaves_nothing_but_finished_units"),
    (Code::Ix02, "cli::an_interrupt_leaves_nothing_but_finished_units"),
];

/// The tests that stand for a code without a case.
pub fn elsewhere() -> Vec<&'static str> {
    ELSEWHERE
        .iter()
        .map(|(_, where_)| *where_)
        .filter(|w| !w.contains(' '))
        .filter_map(|w| w.rsplit("::").next())
        .collect()
}

/// The codes that have their cases in other files.
const OTHERS: &[fn() -> Vec<Code>] = &[
    atlas::codes,
    bad_bold::codes,
    batch::codes,
    gifti::codes,
    neurosynth::codes,
    resume::codes,
    rois::codes,
    runs::codes,
    windows::codes,
];

fn compare(study: &TinyStudy, checkpoint: &str, flags: &[&str]) -> process::Output {
    let here = study.dir.path().to_str().unwrap();
    let out = flags.iter().find_map(|f| f.strip_prefix("OUT=")).unwrap_or("out");
    let mut command = brainscore();
    command.arg("compare").arg(checkpoint.replace("{}", here));
    command.args(flags.iter().filter(|f| !f.starts_with("OUT=")).map(|f| f.replace("{}", here)));
    command.arg("--study").arg(study.path("study.toml")).arg("--out").arg(study.path(out));
    command.output().unwrap()
}

/// The fixtures that are made here.
pub fn names() -> Vec<String> {
    CASES.iter().map(|case| case.name.to_owned()).collect()
}

fn code_of(case: &Case) -> Code {
    let slug = case.name.split('/').nth(1).unwrap();
    *Code::ALL.iter().find(|c| slug.starts_with(c.as_str())).unwrap_or_else(|| panic!("{} names no code", case.name))
}

#[test]
fn the_good_study_runs() {
    let study = TinyStudy::new();
    let output = compare(&study, MODEL, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(study.path("out/report.html").exists());
}

#[test]
fn every_bad_input_is_refused_by_name_and_nothing_is_written() {
    let mut wrong = Vec::new();
    for case in CASES {
        let study = TinyStudy::new();
        let good = corpus::files(study.dir.path());
        (case.change)(&study);
        let bad = corpus::files(study.dir.path());
        let before = listing(study.dir.path());
        let inside = study.path("out").is_dir().then(|| listing(&study.path("out")));
        let output = compare(&study, case.checkpoint, case.flags);
        wrong.extend(
            Observed { name: case.name, folder: study.dir.path(), good: &good, bad: &bad, output: &output }
                .complaints(),
        );
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = code_of(case);
        let mut complain = |what: String| wrong.push(format!("{}: {what}\n    {stderr}", case.name));
        if output.status.code() != Some(i32::from(code.status().exit_code())) {
            complain(format!("exit status {:?}", output.status.code()));
        }
        if !stderr.contains(&format!("[{code}]")) || !stderr.starts_with("error: ") {
            complain(format!("no error [{code}]"));
        }
        for part in case.says {
            if !stderr.contains(part) {
                complain(format!("does not say {part:?}"));
            }
        }
        if listing(study.dir.path()) != before || inside.is_some_and(|i| i != listing(&study.path("out"))) {
            complain("something was written".to_owned());
        }
    }
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_code_has_a_case() {
    let missing: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| !CASES.iter().any(|case| code_of(case) == **code) && !ELSEWHERE.iter().any(|(c, _)| c == *code))
        .filter(|code| !OTHERS.iter().any(|codes| codes().contains(code)))
        .map(|code| code.as_str())
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    for (code, _) in ELSEWHERE {
        assert!(!CASES.iter().any(|case| code_of(case) == *code), "{code} has a case now");
    }
}

#[test]
fn all_problems_come_at_once() {
    let study = TinyStudy::new();
    study.edit("stimuli.csv", "s01", "s00");
    study.write("model/config.json", "[]");
    let first = responses().lines().nth(1).unwrap().to_owned();
    study.edit("responses.csv", &first, "s00,p1,high,0.5,0.5");
    let output = compare(&study, MODEL, &["--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    for code in ["[SC-02]", "[CF-01]", "[RS-08]"] {
        assert!(stderr.contains(code), "{stderr}");
    }
    assert!(stderr.contains("3 problems; nothing was written"), "{stderr}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["errors"].as_array().unwrap().len(), 3);
    assert_eq!(output.status.code(), Some(i32::from(Status::Input.exit_code())));
}

#[test]
fn what_is_odd_but_usable_is_a_warning() {
    let study = TinyStudy::new();
    // One constant target, and a text that stands twice (but for case and blanks).
    let rows: Vec<String> = responses()
        .lines()
        .enumerate()
        .map(|(i, l)| if i == 0 { l.to_owned() } else { format!("{},7.5", l.rsplit_once(',').unwrap().0) })
        .collect();
    study.write("responses.csv", rows.join("\n"));
    let text = stimuli().lines().nth(1).unwrap().split(',').nth(1).unwrap().to_uppercase();
    study.write("stimuli.csv", format!("{}s30,\"  {text}\",3\n", stimuli()));
    study.write("responses.csv", study.read("responses.csv") + "\ns30,p1,0.1,0.2,7.5\ns30,p2,0.3,0.4,7.5\n");
    let output = compare(&study, MODEL, &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("1 rows repeat a text of another row") && stderr.contains("s00 = s30"), "{stderr}");
    assert!(stderr.contains("2 of 6 targets are constant"), "{stderr}");
    let scores = study.read("out/scores.csv");
    let constant: Vec<&str> = scores.lines().filter(|l| l.contains(",c,31,")).collect();
    assert_eq!(constant.len(), 4, "2 layers × 2 subjects");
    assert!(constant.iter().all(|l| l.ends_with(",constant target") && l.contains(",c,31,,,,,,")), "{constant:?}");
}

#[test]
fn an_output_inside_an_input_is_refused() {
    let study = TinyStudy::new();
    let refused = |out: &str, says: &str| {
        let mut command = study.compare(out, &["--cache-dir"]);
        let output = command.arg(study.path("cache")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{out}: {said}");
        assert!(said.contains("[OD-03]") && said.contains(says), "{out}: {said}");
    };
    refused("model/out", "overlaps with the input");
    refused("cache/states-1/run", "overlaps with the cache");
    refused("cache", "overlaps with the cache");
    assert!(!study.path("model/out").exists() && listing(&study.path("cache/states-1")).is_empty());
}

#[test]
fn a_damaged_record_is_refused() {
    let study = TinyStudy::new();
    std::fs::create_dir(study.path("run")).unwrap();
    for (content, says) in
        [("{}", "missing field"), ("{\"format\": 999}", "has format 999"), ("nothing", "cannot be understood")]
    {
        study.write("run/run.json", content);
        let output = brainscore().arg("report").arg(study.path("run")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("[RR-01]") && stderr.contains(says), "{stderr}");
        assert_eq!((output.status.code(), listing(&study.path("run"))), (Some(3), vec!["run.json".to_owned()]));
    }
}

#[test]
fn weights_that_change_after_the_check_are_noticed() {
    use brainscore::encoder::{Checkpoint, CheckpointSpec};
    let study = TinyStudy::new();
    let spec = CheckpointSpec::parse(study.path("model").to_str().unwrap()).unwrap();
    let checkpoint = Checkpoint::open(&spec).unwrap();
    let mut other = tensors("");
    other.get_mut("embeddings.LayerNorm.bias").unwrap().2[0] ^= 1;
    study.weights(&other);
    assert_eq!(checkpoint.load().err().unwrap().code(), Code::In01);
}
