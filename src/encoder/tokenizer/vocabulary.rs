//! Tokenizers from the files of older checkpoints, as documents in the form of `tokenizer.json`. What the files do not
//! say is as in transformers' slow tokenizers of the family.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::encoder::config::Config;
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::bounded;

/// The files that are looked for, the first that exists decides.
pub(super) const FILES: [&str; 2] = ["vocab.txt", "vocab.json"];

/// Vocabularies in SentencePiece's own format, which is not read.
const SENTENCEPIECE: [&str; 4] = ["spm.model", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"];

/// Families with WordPiece, and their classifier, separator, mask and padding tokens.
const WORDPIECE: &[(&str, [&str; 4])] = &[
    ("bert", ["[CLS]", "[SEP]", "[MASK]", "[PAD]"]),
    ("distilbert", ["[CLS]", "[SEP]", "[MASK]", "[PAD]"]),
    ("electra", ["[CLS]", "[SEP]", "[MASK]", "[PAD]"]),
    ("mpnet", ["<s>", "</s>", "<mask>", "<pad>"]),
];

type Files = Vec<(PathBuf, Digest)>;

/// The document, and the files that it was made from.
///
/// # Errors
/// `TK-01` when the folder holds no such files, or ones that this family does not use.
pub(super) fn assemble(folder: &Path, family: Option<&str>) -> Result<(Value, Files)> {
    const SAVE: &str = "Save the tokenizer with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)";
    let found = FILES.iter().find(|name| folder.join(name).exists());
    let Some(found) = found else {
        let error = Error::new(Code::Tk01, folder.display(), "holds no tokenizer.json").hint(SAVE);
        return Err(match SENTENCEPIECE.iter().find(|name| folder.join(name).exists()) {
            Some(name) => {
                Error::new(Code::Tk01, folder.join(name).display(), "is a SentencePiece model, which is not read")
                    .expected("tokenizer.json, made from it")
                    .hint(SAVE)
            }
            None => error,
        });
    };
    let settings = folder.join("tokenizer_config.json");
    let settings = if settings.exists() { Some(Config::read_file(&settings)?) } else { None };
    let mut files = Vec::new();
    let family = family.unwrap_or_default();
    let wordpiece = WORDPIECE.iter().find(|(name, _)| *name == family);
    let document = match (*found, wordpiece, family) {
        ("vocab.txt", Some((_, tokens)), _) => words(folder, settings.as_ref(), tokens, &mut files)?,
        ("vocab.json", _, "roberta" | "gpt2") => pairs(folder, settings.as_ref(), family == "roberta", &mut files)?,
        _ => {
            return Err(Error::new(
                Code::Tk01,
                folder.join(found).display(),
                format!("does not say how {family} splits texts"),
            )
            .expected("tokenizer.json")
            .hint(SAVE));
        }
    };
    if let Some(settings) = settings {
        files.push((folder.join("tokenizer_config.json"), settings.digest()));
    }
    Ok((document, files))
}

/// A setting that is a string, or an object with the string under `content`.
fn token(settings: Option<&Config>, key: &str, default: &str) -> Result<String> {
    let Some(settings) = settings else { return Ok(default.to_owned()) };
    Ok(settings.text_or_content(key)?.unwrap_or_else(|| default.to_owned()))
}

fn flag(settings: Option<&Config>, key: &str, default: bool) -> Result<bool> {
    settings.map_or(Ok(default), |settings| settings.flag(key, default))
}

/// A token that is never split, if it is in the vocabulary.
fn added(vocabulary: &Map<String, Value>, token: &str, lstrip: bool) -> Option<Value> {
    let id = vocabulary.get(token)?;
    Some(json!({
        "id": id, "content": token, "single_word": false, "lstrip": lstrip, "rstrip": false, "normalized": false,
        "special": true
    }))
}

/// Added tokens stand in the order of their ids, each once.
fn in_order(mut tokens: Vec<Value>) -> Value {
    tokens.sort_by_key(|token| token["id"].as_u64());
    tokens.dedup_by_key(|token| token["id"].as_u64());
    Value::Array(tokens)
}

/// WordPiece from `vocab.txt`, one token a line (BERT's `tokenization_bert.py`).
fn words(folder: &Path, settings: Option<&Config>, tokens: &[&str; 4], files: &mut Files) -> Result<Value> {
    let path = folder.join("vocab.txt");
    let (text, digest) = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a vocabulary", Code::Tk01)?;
    let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n');
    // A token that stands twice has its last line, as in transformers.
    let vocabulary: Map<String, Value> =
        lines.enumerate().map(|(id, line)| (line.strip_suffix('\r').unwrap_or(line).to_owned(), id.into())).collect();
    let [cls, sep, mask, pad] = tokens;
    let (cls, sep) = (token(settings, "cls_token", cls)?, token(settings, "sep_token", sep)?);
    let (mask, pad) = (token(settings, "mask_token", mask)?, token(settings, "pad_token", pad)?);
    let unknown = token(settings, "unk_token", "[UNK]")?;
    let id = |token: &str| {
        vocabulary.get(token).cloned().ok_or_else(|| {
            Error::new(Code::Tk01, path.display(), format!("lacks the token {token:?}"))
                .expected("the special tokens of tokenizer_config.json")
        })
    };
    let (cls_id, sep_id) = (id(&cls)?, id(&sep)?);
    id(&unknown)?;
    let lower = flag(settings, "do_lower_case", true)?;
    let special = [&pad, &unknown, &cls, &sep, &mask];
    let special: Vec<Value> =
        special.into_iter().filter_map(|t| added(&vocabulary, t, *t == mask && cls == "<s>")).collect();
    let document = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": in_order(special),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "lowercase": lower,
            "handle_chinese_chars": flag(settings, "tokenize_chinese_chars", true)?,
            "strip_accents": settings.map_or(Ok(None), |s| s.optional_flag("strip_accents"))?,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": cls, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": sep, "type_id": 0}}
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                &cls: {"id": cls, "ids": [cls_id], "tokens": [cls]}, &sep: {"id": sep, "ids": [sep_id], "tokens": [sep]}
            }
        },
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary
        }
    });
    files.push((path, digest));
    Ok(document)
}

/// Byte-level BPE from `vocab.json` and `merges.txt` (GPT-2's `tokenization_gpt2.py`), for RoBERTa with its special
/// tokens around the text.
fn pairs(folder: &Path, settings: Option<&Config>, roberta: bool, files: &mut Files) -> Result<Value> {
    let path = folder.join("vocab.json");
    let (text, digest) = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a vocabulary", Code::Tk01)?;
    let vocabulary: Map<String, Value> = serde_json::from_str(&text).map_err(|e| {
        Error::new(Code::Tk01, path.display(), format!("is no vocabulary: {e}"))
            .expected("{\"token\": id, …}")
            .source(e)
    })?;
    let merges_path = folder.join("merges.txt");
    let (merges, merges_digest) =
        bounded::read_text(&merges_path, bounded::MAX_DOCUMENT_BYTES, "a list of merges", Code::Tk01)?;
    // The first line may name the version; a merge is two tokens with a space between them.
    let merges: Vec<Vec<&str>> = merges
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.trim().is_empty())
        .map(|line| line.split(' ').collect())
        .collect();
    if let Some(bad) = merges.iter().find(|merge| merge.len() != 2) {
        return Err(Error::new(Code::Tk01, merges_path.display(), format!("has the line {:?}", bad.join(" ")))
            .expected("two tokens with a space between them"));
    }
    let prefix_space = flag(settings, "add_prefix_space", false)?;
    let mut special = Vec::new();
    let mut post = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    if roberta {
        let (cls, sep) = (token(settings, "cls_token", "<s>")?, token(settings, "sep_token", "</s>")?);
        let mask = token(settings, "mask_token", "<mask>")?;
        for name in
            [&cls, &sep, &token(settings, "pad_token", "<pad>")?, &token(settings, "unk_token", "<unk>")?, &mask]
        {
            special.extend(added(&vocabulary, name, *name == mask));
        }
        let id = |token: &str| {
            vocabulary.get(token).cloned().ok_or_else(|| {
                Error::new(Code::Tk01, path.display(), format!("lacks the token {token:?}"))
                    .expected("the special tokens of tokenizer_config.json")
            })
        };
        post = json!({
            "type": "RobertaProcessing", "sep": [sep, id(&sep)?], "cls": [cls, id(&cls)?], "trim_offsets": true,
            "add_prefix_space": prefix_space
        });
    } else {
        special.extend(added(&vocabulary, "<|endoftext|>", false));
    }
    let document = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
        "added_tokens": in_order(special),
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": true
        },
        "post_processor": post,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": merges
        }
    });
    files.extend([(path, digest), (merges_path, merges_digest)]);
    Ok(document)
}
