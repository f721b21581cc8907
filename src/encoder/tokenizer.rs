//! Text → token ids, by the checkpoint's own `tokenizer.json`. Truncation and padding stored there are ignored.

use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::bounded;

/// Longest text that is tokenised (1 MB): some pre-tokenisers are not linear in the length of the text.
const MAX_TEXT_BYTES: usize = 1_000_000;

/// A text as the encoder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Which of them are special tokens.
    pub special: Vec<bool>,
}

/// The tokenizer of a checkpoint.
pub struct Tokenizer {
    path: PathBuf,
    digest: Digest,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a checkpoint folder.
    pub fn read(folder: &Path) -> Result<Tokenizer> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            return Err(Error::new(Code::Tk01, folder.display(), "holds no tokenizer.json")
                .hint("Save the tokenizer with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"));
        }
        let (text, digest) = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a tokenizer", Code::Tk01)?;
        let mut inner: tokenizers::Tokenizer = text
            .parse()
            .map_err(|e: tokenizers::Error| Error::new(Code::Tk01, path.display(), format!("cannot be read: {e}")))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| Error::new(Code::Tk01, path.display(), format!("cannot be used: {e}")))?;
        Ok(Tokenizer { path, digest, inner })
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The file, for messages.
    pub fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Tokenises one text, special tokens added.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::new(Code::Tk05, self.place(), format!("a text has {} bytes", text.len()))
                .expected(format!("at most {MAX_TEXT_BYTES}")));
        }
        let encoding = self
            .inner
            .encode(text, true)
            .map_err(|e| Error::new(Code::Tk01, self.place(), format!("a text cannot be tokenised: {e}")))?;
        Ok(Tokens {
            ids: encoding.get_ids().to_vec(),
            special: encoding.get_special_tokens_mask().iter().map(|m| *m != 0).collect(),
        })
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("path", &self.path).finish_non_exhaustive()
    }
}
