//! Text → token ids, by the checkpoint's own `tokenizer.json`, or by the vocabulary files of older checkpoints.
//! Truncation and padding stored there are ignored.

mod vocabulary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::long::Window;
use crate::error::{Code, Error, Result, contained};
use crate::ids::Digest;
use crate::io::{bounded, digest_of_files};

/// Longest text that is tokenised (1 MB): some pre-tokenisers are not linear in the length of the text.
const MAX_TEXT_BYTES: usize = 1_000_000;

/// A text as the encoder sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Which of them are special tokens.
    pub special: Vec<bool>,
    /// For each token the bytes of the text that it stands for, from and to; equal for special tokens.
    pub offsets: Vec<(usize, usize)>,
    /// The parts in which a long text runs; none when it runs as a whole.
    pub windows: Vec<Window>,
    /// Number of tokens that were cut off a long text.
    pub dropped: usize,
}

/// The tokenizer of a checkpoint.
pub struct Tokenizer {
    path: PathBuf,
    /// Which files it was made from.
    files: Vec<(PathBuf, Digest)>,
    inner: Arc<tokenizers::Tokenizer>,
}

impl Tokenizer {
    /// Whether a folder holds a tokenizer of any kind.
    pub fn is_in(folder: &Path) -> bool {
        std::iter::once("tokenizer.json").chain(vocabulary::FILES).any(|name| folder.join(name).exists())
    }

    /// Reads the tokenizer of a checkpoint folder: `tokenizer.json`, else `vocab.txt` (WordPiece) or `vocab.json` with
    /// `merges.txt` (byte-level BPE), put together as transformers does for the `family`.
    ///
    /// # Errors
    /// `TK-01` when there is none that can be read.
    pub fn read(folder: &Path, family: Option<&str>) -> Result<Tokenizer> {
        let path = folder.join("tokenizer.json");
        let (text, path, files) = if path.exists() {
            let (text, digest) = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a tokenizer", Code::Tk01)?;
            (text, path.clone(), vec![(path, digest)])
        } else {
            let (document, files) = vocabulary::assemble(folder, family)?;
            (document.to_string(), files[0].0.clone(), files)
        };
        let parsed: Option<std::result::Result<tokenizers::Tokenizer, _>> = contained(|| text.parse());
        let mut inner = parsed
            .ok_or_else(|| broken(path.display().to_string()))?
            .map_err(|e: tokenizers::Error| Error::new(Code::Tk01, path.display(), format!("cannot be read: {e}")))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| Error::new(Code::Tk01, path.display(), format!("cannot be used: {e}")))?;
        Ok(Tokenizer { path, files, inner: Arc::new(inner) })
    }

    /// SHA-256 of the file; of several files that of the lines `SHA-256  name`.
    pub fn digest(&self) -> Digest {
        digest_of_files(&self.files)
    }

    /// Holds its vocabulary in common with another tokenizer of the same family that was made from the same bytes.
    pub fn share(&mut self, other: &Tokenizer) {
        if self.digest() == other.digest() {
            self.inner = Arc::clone(&other.inner);
        }
    }

    /// The token for what the vocabulary lacks; byte-level vocabularies lack nothing.
    pub fn unknown_id(&self) -> Option<u32> {
        ["[UNK]", "<unk>"].iter().find_map(|token| self.inner.token_to_id(token))
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
        let encoding = contained(|| self.inner.encode(text, true))
            .ok_or_else(|| broken(self.place()))?
            .map_err(|e| Error::new(Code::Tk01, self.place(), format!("a text cannot be tokenised: {e}")))?;
        Ok(Tokens {
            ids: encoding.get_ids().to_vec(),
            special: encoding.get_special_tokens_mask().iter().map(|m| *m != 0).collect(),
            offsets: encoding.get_offsets().to_vec(),
            ..Tokens::default()
        })
    }
}

/// A description that was read, and on which the tokenizers library panics: a template that names tokens which are not there, for
/// one.
fn broken(place: String) -> Error {
    Error::new(Code::Tk01, place, "contradicts itself: the tokenizers library stops on it")
        .hint("Save the tokenizer again")
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("path", &self.path).finish_non_exhaustive()
    }
}
