//! Vectors of parts of texts, and texts with more tokens than the encoder takes.

use std::path::Path;
use std::process::Output;

use brainscore::encoder::{LongText, Tokens};
use brainscore::record::RunRecord;
use safetensors::SafeTensors;

use crate::encoders::{largest_difference, open, states};
use crate::support::brainscore;
use crate::support::study::{POSITIONS, TinyStudy, stimuli};

const WIDTH: usize = 8;
const LAYERS: usize = 2;
/// 40 words and 42 tokens, where the model takes 16.
const LONG: usize = 40;

/// Runs `extract` on a file of the study's folder, into `out`.
fn run(study: &TinyStudy, texts: &str, out: &str, flags: &[&str]) -> Output {
    let mut command = brainscore();
    command.arg("extract").arg(study.path("model")).arg("--texts").arg(study.path(texts));
    command.arg("--out").arg(study.path(out)).args(flags);
    if !flags.contains(&"--cache-dir") {
        command.arg("--no-cache");
    }
    command.output().unwrap()
}

/// As [`run`], and gives what was printed as warnings.
fn extract(study: &TinyStudy, texts: &str, out: &str, flags: &[&str]) -> String {
    let output = run(study, texts, out, flags);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

fn refused(study: &TinyStudy, texts: &str, flags: &[&str]) -> String {
    let output = run(study, texts, "refused", flags);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !study.path("refused").exists(), "{told}");
    told
}

/// The states of all tokens of text `i`: (layers, tokens, width).
fn token_states(study: &TinyStudy, out: &str, i: usize) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(study.path(out).join("hidden_states.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor(&format!("ids_{i}")).unwrap();
    let ids: Vec<u32> = ids.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect();
    let states = file.tensor(&format!("states_{i}")).unwrap();
    assert_eq!(states.shape(), [LAYERS, ids.len(), WIDTH]);
    (ids, states.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

/// `features.npy` as [layer][vector].
fn features(study: &TinyStudy, out: &str) -> Vec<Vec<Vec<f32>>> {
    let bytes = std::fs::read(study.path(out).join("features.npy")).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values: Vec<f32> = bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let vectors = values.len() / LAYERS / WIDTH;
    let header: String = bytes[10..start].iter().map(|b| *b as char).filter(|c| !c.is_whitespace()).collect();
    assert!(header.contains(&format!("({LAYERS},{vectors},{WIDTH}")), "{header}");
    values.chunks_exact(vectors * WIDTH).map(|l| l.chunks_exact(WIDTH).map(<[f32]>::to_vec).collect()).collect()
}

/// The mean over some tokens of (layers, tokens, width), per layer.
fn mean(states: &[f32], tokens: &[usize]) -> Vec<Vec<f32>> {
    let n = states.len() / LAYERS / WIDTH;
    let of = |layer: usize, d: usize| tokens.iter().map(|t| states[(layer * n + t) * WIDTH + d]).sum::<f32>();
    (0..LAYERS).map(|l| (0..WIDTH).map(|d| of(l, d) / tokens.len() as f32).collect()).collect()
}

/// One long text of words that the tokenizer knows.
fn words(n: usize) -> String {
    const WORDS: [&str; 7] = ["the", "boat", "falls", "child", "runs", "quiet", "stone"];
    (0..n).map(|i| WORDS[(i * i + i / 3) % WORDS.len()]).collect::<Vec<_>>().join(" ")
}

fn bytes(study: &TinyStudy, file: &str) -> Vec<u8> {
    std::fs::read(study.path(file)).unwrap()
}

#[test]
fn texts_that_fit_are_untouched() {
    let study = TinyStudy::new();
    study.write("texts.txt", format!("the boat falls\n{}\nred door", words(POSITIONS - 2)));
    for how in ["refuse", "window", "truncate"] {
        let told = extract(&study, "texts.txt", &format!("tokens-{how}"), &["--pooling", "tokens", "--long-text", how]);
        extract(&study, "texts.txt", how, &["--long-text", how]);
        assert!(!told.contains("TK-05"), "{told}");
        for file in ["hidden_states.safetensors", "rows.csv"] {
            let place = |how: &str| format!("tokens-{how}/{file}");
            assert!(bytes(&study, &place(how)) == bytes(&study, &place("refuse")), "{how}: {file}");
        }
        assert!(bytes(&study, &format!("{how}/features.npy")) == bytes(&study, "refuse/features.npy"), "{how}");
    }
}

#[test]
fn windows_give_every_token_one_state() {
    let study = TinyStudy::new();
    study.write("texts.txt", format!("red door\n{}", words(LONG)));
    let told = refused(&study, "texts.txt", &["--pooling", "tokens"]);
    assert!(told.contains("[TK-05]") && told.contains("--long-text window"), "{told}");
    let told = extract(&study, "texts.txt", "tokens", &["--pooling", "tokens", "--long-text", "window"]);
    assert!(
        told.contains("1 texts have more than 16 tokens") && told.contains("overlapping windows: text 2"),
        "{told}"
    );
    let (ids, found) = token_states(&study, "tokens", 1);
    assert_eq!((ids.len(), ids[0], ids[LONG + 1]), (LONG + 2, 2, 3));

    // By hand: 14 tokens fit between the special ones, windows start every 7.
    let encoder = open(&study.path("model")).load().unwrap();
    let room = POSITIONS - 2;
    let starts = [0, 7, 14, 21, LONG - room];
    let windows: Vec<Vec<u32>> = starts.iter().map(|s| [&[2], &ids[1 + s..1 + s + room], &[3][..]].concat()).collect();
    let states: Vec<_> = windows.iter().map(|w| states(&encoder, &[w])).collect();
    for token in 0..ids.len() {
        let (window, at) = match token {
            0 => (0, 0),
            t if t == LONG + 1 => (starts.len() - 1, POSITIONS - 1),
            t => {
                let inside = |s: usize| (t > s && t <= s + room).then(|| (t - 1 - s).min(s + room - t));
                let most = starts.iter().filter_map(|s| inside(*s)).max();
                let window = starts.iter().position(|s| inside(*s) == most && most.is_some()).unwrap();
                (window, t - starts[window])
            }
        };
        for layer in 0..LAYERS {
            let expected = &states[window][0][layer][at * WIDTH..(at + 1) * WIDTH];
            let own = &found[(layer * ids.len() + token) * WIDTH..][..WIDTH];
            assert!(largest_difference(own, expected) < 1e-6, "token {token}, layer {layer}");
        }
    }

    // Pooling is over the tokens put together.
    let all: Vec<usize> = (0..ids.len()).collect();
    for (pooling, tokens) in
        [("mean", &all[..]), ("mean-words", &all[1..LONG + 1]), ("cls", &all[..1]), ("last", &all[LONG + 1..])]
    {
        extract(&study, "texts.txt", pooling, &["--pooling", pooling, "--long-text", "window"]);
        let pooled = features(&study, pooling);
        for (layer, expected) in mean(&found, tokens).iter().enumerate() {
            assert!(largest_difference(&pooled[layer][1], expected) < 1e-6, "{pooling}");
        }
    }
}

#[test]
fn truncation_is_the_shorter_text() {
    let study = TinyStudy::new();
    study.write("long.txt", words(LONG));
    study.write("short.txt", words(LONG).split(' ').take(POSITIONS - 2).collect::<Vec<_>>().join(" "));
    let told = extract(&study, "long.txt", "long", &["--pooling", "tokens", "--long-text", "truncate"]);
    assert!(told.contains("truncated, 26 tokens dropped: text 1 [TK-05]"), "{told}");
    extract(&study, "short.txt", "short", &["--pooling", "tokens"]);
    assert_eq!(token_states(&study, "long", 0), token_states(&study, "short", 0));
}

/// The choice is in the study or a flag, lands in the record, and no cached state of one is taken for the other.
#[test]
fn comparisons_take_long_texts_as_the_study_says() {
    let study = TinyStudy::new();
    let first = stimuli().lines().nth(1).unwrap().to_owned();
    study.edit("stimuli.csv", &first, &format!("s00,{},0", words(LONG)));
    study.edit("study.toml", "[encoding]", "[features]\nlong_text = \"truncate\"\n[encoding]");
    let compare = |out: &str, flags: &[&str]| -> (RunRecord, String) {
        let mut command = brainscore();
        command.arg("compare").arg(study.path("model")).arg("--study").arg(study.path("study.toml"));
        command.arg("--out").arg(study.path(out)).arg("--cache-dir").arg(study.path("cache")).args(flags);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let page = study.read(&format!("{out}/report.html"));
        (serde_json::from_str(&study.read(&format!("{out}/run.json"))).unwrap(), page)
    };
    let (truncated, page) = compare("truncated", &[]);
    assert_eq!(truncated.plan.long_text, LongText::Truncate);
    assert!(truncated.warnings.iter().any(|w| w.code == "TK-05" && w.message.ends_with("dropped: s00")));
    assert!(page.contains("(long texts: truncate)"));
    let (windowed, page) = compare("windowed", &["--long-text", "window"]);
    assert_eq!(windowed.plan.long_text, LongText::Window);
    assert_eq!(windowed.plan.overrides["--long-text"], "window");
    assert!(windowed.extraction[0].texts_run > 0 && page.contains("ran in overlapping windows"));
    assert_ne!(study.read("windowed/scores.csv"), study.read("truncated/scores.csv"));
    assert_eq!(compare("again", &["--long-text", "window"]).0.extraction[0].texts_run, 0);
    let output = brainscore()
        .arg("check")
        .arg(study.path("model"))
        .args(["--long-text", "refuse", "--study"])
        .arg(study.path("study.toml"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("[TK-05]"));
}

#[test]
fn no_choice_makes_a_text_fit_where_there_is_no_room() {
    let study = TinyStudy::new();
    study.configure("max_position_embeddings", 2.into());
    let folder: &Path = &study.path("model");
    let spec = brainscore::encoder::CheckpointSpec::parse(&format!("untrained:0:{}", folder.display())).unwrap();
    let checkpoint = brainscore::encoder::Checkpoint::open(&spec).unwrap();
    for how in LongText::ALL {
        let found: Result<Vec<Tokens>, _> = checkpoint.tokenize_long(&["the boat"], &["t"], how);
        assert!(found.unwrap_err()[0].to_string().contains("[TK-05]"), "{how}");
    }
}
