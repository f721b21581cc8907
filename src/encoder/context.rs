use std::fmt;

use serde::{Deserialize, Serialize};

/// What an encoder sees of a text when it gives the vector of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Context {
    /// The whole text; a bidirectional encoder sees the words that follow.
    Full,
    /// The word's sentence. A sentence ends with a word whose last character is `.`, `!` or `?`, and with the text.
    Sentence,
    /// So many words up to and including this one.
    Causal(usize),
}

impl Default for Context {
    fn default() -> Self {
        Context::Causal(20)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Context::Full => f.write_str("full"),
            Context::Sentence => f.write_str("sentence"),
            Context::Causal(n) => write!(f, "causal:{n}"),
        }
    }
}

impl TryFrom<String> for Context {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Context, String> {
        text.parse()
    }
}

impl From<Context> for String {
    fn from(context: Context) -> String {
        context.to_string()
    }
}

impl std::str::FromStr for Context {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Context, String> {
        let words = text.strip_prefix("causal:").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        match (text, words) {
            ("full", _) => Ok(Context::Full),
            ("sentence", _) => Ok(Context::Sentence),
            (_, Some(n)) => Ok(Context::Causal(n)),
            _ => Err("expected full, sentence, or causal:N with N words, such as causal:20".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_have_names() {
        for text in ["full", "sentence", "causal:7"] {
            assert_eq!(text.parse::<Context>().unwrap().to_string(), text);
        }
        for text in ["", "causal", "causal:0", "causal:-1", "Full"] {
            assert!(text.parse::<Context>().is_err(), "{text}");
        }
    }
}
