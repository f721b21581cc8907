//! A WordPiece tokenizer for the demo's texts. Any other English text falls apart into letters, never into `[UNK]`.

use std::collections::BTreeSet;

/// The special tokens, with their ids as places.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Tokens in the order of their ids: special ones, printable ASCII, its continuations, the words of the texts.
pub(super) fn vocabulary<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let letters = || ('a'..='z').chain('0'..='9');
    let marks = ('!'..='~').filter(char::is_ascii_punctuation);
    let words: BTreeSet<String> = texts.flat_map(words).filter(|word| word.len() > 1).collect();
    let mut all: Vec<String> = SPECIAL.iter().map(|s| (*s).to_owned()).collect();
    all.extend(marks.chain(letters()).map(String::from));
    all.extend(letters().map(|c| format!("##{c}")));
    all.extend(words);
    all
}

/// The words of an ASCII text, cut as BERT's pre-tokeniser cuts them.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase).collect()
}

/// `tokenizer.json` with this vocabulary.
pub(super) fn tokenizer(vocabulary: &[String]) -> String {
    let entries: Vec<String> = vocabulary
        .iter()
        .enumerate()
        .map(|(id, token)| {
            let escaped = token.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\n      \"{escaped}\": {id}")
        })
        .collect();
    let object = format!("{{{}\n    }}", entries.join(","));
    include_str!("files/tokenizer.json").replace("\"VOCABULARY\"", &object)
}
