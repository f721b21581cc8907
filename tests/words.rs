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
        let output = study.compare(out, flags).arg("--cache-dir").arg(study.path("cache")).output().unwrap();
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

/// The rows of `rows.csv` behind its header, and the header.
fn rows(study: &TinyStudy, out: &str) -> (String, Vec<String>) {
    let csv = study.read(&format!("{out}/rows.csv"));
    let mut lines = csv.lines().map(str::to_owned);
    (lines.next().unwrap(), lines.collect())
}

fn near(a: &[f32], b: &[f32]) -> bool {
    largest_difference(a, b) < 1e-5
}

#[test]
fn causal_windows_are_texts_of_their_own() {
    let study = TinyStudy::new();
    const N: usize = 3;
    let text = "The boat-child  falls. Red\u{a0}door opens! the boat waits the boat waits";
    study.write("text.txt", text);
    let told = extract(&study, "text.txt", "causal", &["--pooling", "words", "--context", "causal:3"]);
    assert!(told.is_empty(), "{told}");
    let causal = features(&study, "causal");
    let (header, rows) = rows(&study, "causal");
    assert_eq!(header, "row,text,word,string,start,end,context");
    assert_eq!(rows[1], "1,0,1,boat-child,4,14,causal:3");
    assert_eq!((rows[3].as_str(), rows.len()), ("3,0,3,Red,23,26,causal:3", 12));

    let words: Vec<&str> = text.split_whitespace().collect();
    let windows: Vec<String> = (0..words.len()).map(|k| words[(k + 1).saturating_sub(N)..=k].join(" ")).collect();
    study.write("windows.txt", windows.join("\n"));
    extract(&study, "windows.txt", "windows", &["--pooling", "words", "--context", "full"]);
    let alone = features(&study, "windows");
    let mut last = 0;
    for (k, window) in windows.iter().enumerate() {
        last += window.split(' ').count();
        for layer in 0..LAYERS {
            assert!(near(&causal[layer][k], &alone[layer][last - 1]), "word {k}, layer {layer}");
        }
    }
    // Equal windows are one.
    assert_eq!((windows[8].as_str(), &windows[8], &causal[1][8]), ("the boat waits", &windows[11], &causal[1][11]));
    assert_ne!(causal[1][6], causal[1][9]);
}

#[test]
fn contexts_differ_where_they_should() {
    let study = TinyStudy::new();
    study.write("texts.json", serde_json::json!(["The boat falls. Red door opens!", "Red door opens!"]).to_string());
    let with = |context: &str| {
        let told = extract(&study, "texts.json", context, &["--pooling", "words", "--context", context]);
        (told, features(&study, context), rows(&study, context).0)
    };
    let (told, full, header) = with("full");
    assert!(told.contains("[CT-01]") && header.ends_with(",context,sees_future"), "{told} {header}");
    let (told, sentence, header) = with("sentence");
    assert!(told.contains("[CT-01]") && header.ends_with(",sees_future"), "{told} {header}");
    let (told, causal, header) = with("causal:20");
    assert!(told.is_empty() && header.ends_with(",context"), "{told} {header}");
    // The default is causal:20.
    extract(&study, "texts.json", "default", &["--pooling", "words"]);
    assert!(bytes(&study, "default/features.npy") == bytes(&study, "causal:20/features.npy"));
    for word in 0..8 {
        let last = [5, 8].contains(&word);
        assert_eq!(near(&full[1][word], &causal[1][word]), last, "word {word}: the last one has seen all");
    }
    // The second sentence, and the second text, which is the same.
    for (own, (within, alone)) in sentence[1][3..6].iter().zip(full[1][3..6].iter().zip(&full[1][6..])) {
        assert!(near(own, alone) && !near(own, within));
    }
    assert_eq!(sentence[1][3..6], sentence[1][6..]);
    assert_eq!(full.iter().map(Vec::len).collect::<Vec<_>>(), [9, 9]);
}

#[test]
fn segments_are_means_within_what_came_before() {
    let study = TinyStudy::new();
    study.write(
        "texts.json",
        serde_json::json!([["The boat falls.", " Ünï child runs", "red door "], ["Quiet."]]).to_string(),
    );
    study.write("texts.csv", "segments\nThe boat falls. ||| Ünï child runs|||red door\nQuiet.\n");
    let told = extract(&study, "texts.json", "json", &["--pooling", "segments"]);
    extract(&study, "texts.csv", "csv", &["--pooling", "segments"]);
    assert!(told.is_empty(), "{told}");
    for file in ["features.npy", "rows.csv", "layer_names.json"] {
        assert!(bytes(&study, &format!("json/{file}")) == bytes(&study, &format!("csv/{file}")), "{file}");
    }
    let (header, rows) = rows(&study, "json");
    assert_eq!(header, "row,text,segment,string,start,end");
    assert_eq!(
        rows,
        ["0,0,0,The boat falls.,0,15", "1,0,1,Ünï child runs,16,30", "2,0,2,red door,31,39", "3,1,0,Quiet.,0,6"]
    );
    let found = features(&study, "json");
    study.write(
        "whole.txt",
        "The boat falls.\nThe boat falls. Ünï child runs\nThe boat falls. Ünï child runs red door\nQuiet.",
    );
    extract(&study, "whole.txt", "tokens", &["--pooling", "tokens"]);
    // [CLS] the boat falls . | [UNK] child runs | red door [SEP]
    for (segment, tokens) in [vec![1, 2, 3, 4], vec![5, 6, 7], vec![8, 9], vec![1, 2]].iter().enumerate() {
        let states = token_states(&study, "tokens", segment).1;
        for (layer, expected) in mean(&states, tokens).iter().enumerate() {
            assert!(near(&found[layer][segment], expected), "segment {segment}, layer {layer}");
        }
    }
}

/// Long contexts run in windows; what truncation cuts off is refused by name.
#[test]
fn words_of_long_texts() {
    let study = TinyStudy::new();
    study.write("text.txt", words(LONG));
    let full = ["--pooling", "words", "--context", "full", "--long-text"];
    let told = refused(&study, "text.txt", &full[..4]);
    assert!(told.contains("[TK-05]"), "{told}");
    let told = refused(&study, "text.txt", &[&full[..], &["truncate"]].concat());
    assert!(told.contains("text 1, word 15") && told.contains("[TK-05]"), "{told}");
    extract(&study, "text.txt", "words", &[&full[..], &["window"]].concat());
    extract(&study, "text.txt", "tokens", &["--pooling", "tokens", "--long-text", "window"]);
    let (found, states) = (features(&study, "words"), token_states(&study, "tokens", 0).1);
    for (layer, found) in found.iter().enumerate() {
        for (word, found) in found.iter().enumerate() {
            assert!(near(found, &mean(&states, &[word + 1])[layer]), "word {word}, layer {layer}");
        }
    }
    assert_eq!(found[0].len(), LONG);
    // A second run reads the cache, and only for the same context.
    let cached = |out: &str, context: &str| {
        let flags = ["--pooling", "words", "--context", context, "--cache-dir", study.path("cache").to_str().unwrap()]
            .map(str::to_owned);
        extract(&study, "text.txt", out, &flags.iter().map(String::as_str).collect::<Vec<_>>());
        bytes(&study, &format!("{out}/features.npy"))
    };
    let first = cached("one", "causal:4");
    assert!(first == cached("two", "causal:4") && first != cached("three", "causal:5"));
}

#[test]
fn words_are_means_of_their_tokens_in_every_family() {
    let Some(shared) = crate::support::shared() else { return };
    for family in ["bert", "roberta", "xlm-roberta", "deberta-v3-like", "gpt2", "modernbert"] {
        let folder = shared.join("golden/encoders").join(family);
        let study = TinyStudy::new();
        let texts: Vec<String> = serde_json::from_slice(&std::fs::read(folder.join("texts.json")).unwrap()).unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).filter(|t| !t.trim().is_empty()).collect();
        study.write("texts.json", serde_json::json!(texts).to_string());
        let run = |out: &str, flags: &[&str]| {
            let mut command = brainscore();
            command.arg("extract").arg(&folder).arg("--texts").arg(study.path("texts.json"));
            let output = command.arg("--no-cache").arg("--out").arg(study.path(out)).args(flags).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{family}: {told}");
            assert_eq!(told.contains("[CT-01]"), out == "words" && family != "gpt2", "{family}: {told}");
            std::fs::read(study.path(out).join(if out == "words" {
                "features.npy"
            } else {
                "hidden_states.safetensors"
            }))
            .unwrap()
        };
        let features = run("words", &["--pooling", "words", "--context", "full"]);
        let states = run("tokens", &["--pooling", "tokens"]);
        let states = SafeTensors::deserialize(&states).unwrap();
        let checkpoint = open(&folder);
        let (layers, width) = (checkpoint.n_layers(), checkpoint.width());
        let start = 10 + usize::from(u16::from_le_bytes([features[8], features[9]]));
        let features: Vec<f32> =
            features[start..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let total: usize = texts.iter().map(|t| t.split_whitespace().count()).sum();
        assert_eq!(features.len(), layers * total * width, "{family}");
        let mut row = 0;
        for (i, (text, tokens)) in texts.iter().zip(checkpoint.tokenize(&texts, &texts).unwrap()).enumerate() {
            let states = states.tensor(&format!("states_{i}")).unwrap();
            let states: Vec<f32> =
                states.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            for word in text.split_whitespace() {
                let from = word.as_ptr() as usize - text.as_ptr() as usize;
                let own: Vec<usize> = (0..tokens.ids.len())
                    .filter(|t| !tokens.special[*t])
                    .filter(|t| tokens.offsets[*t].0 < from + word.len() && tokens.offsets[*t].1 > from)
                    .collect();
                assert!(!own.is_empty(), "{family}: {word:?}");
                for layer in 0..layers {
                    let found = &features[(layer * total + row) * width..][..width];
                    let at = |t: usize, d: usize| states[(layer * tokens.ids.len() + t) * width + d];
                    let expected: Vec<f32> = (0..width)
                        .map(|d| (own.iter().map(|t| f64::from(at(*t, d))).sum::<f64>() / own.len() as f64) as f32)
                        .collect();
                    assert!(near(found, &expected), "{family}: {word:?}, layer {layer}");
                }
                row += 1;
            }
        }
        assert_eq!(row, total);
    }
}

#[test]
fn what_has_no_parts_is_refused_by_name() {
    let study = TinyStudy::new();
    let cases = [
        ("words", "[]", "holds no text", "SC-01"),
        ("words", "[\"the boat\", \" \\n \"]", "text 2: is blank", "SC-03"),
        ("words", "[[\"the boat\"]]", "is no list of texts", "SC-01"),
        ("words", "[\"the \u{200b} boat\"]", "text 1, word 2 (", "TK-04"),
        ("segments", "[]", "holds no text", "SC-01"),
        ("segments", "[[\"the boat\"], []]", "text 2: holds no segment", "SC-01"),
        ("segments", "[[\"the boat\", \"  \"]]", "text 1, segment 2: is blank", "SC-03"),
        ("segments", "[\"the boat\"]", "is no list of lists of segments", "SC-01"),
    ];
    for (pooling, content, says, code) in cases {
        study.write("texts.json", content);
        let told = refused(&study, "texts.json", &["--pooling", pooling]);
        assert!(told.contains(says) && told.contains(&format!("[{code}]")), "{content}: {told}");
    }
    study.write("texts.csv", "segments\nthe boat||||||falls\n");
    let told = refused(&study, "texts.csv", &["--pooling", "segments"]);
    assert!(told.contains("text 1, segment 2: is blank") && told.contains("[SC-03]"), "{told}");
    study.write("texts.txt", "the boat");
    assert!(refused(&study, "texts.txt", &["--pooling", "segments"]).contains("has no segments"));
    assert!(refused(&study, "texts.txt", &["--context", "full"]).contains("[FL-02]"));
    assert!(refused(&study, "texts.txt", &["--pooling", "words", "--context", "causal:0"]).contains("causal:N"));
}
