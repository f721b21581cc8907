//! Checkpoints from the model hub, only when the user writes an id that is no folder. Files land in the hub's own cache.
//!
//! What is fetched is what a folder may hold: `config.json`, the tokenizer in any of the forms that are read, and unless
//! only the architecture is wanted the weights, with all shards where there is a list of them. The first form that the
//! hub has is taken; without a connection, the first that is in the cache.

use std::path::PathBuf;

use crate::error::{Code, Error, Result};

/// Forms of a tokenizer: files that belong together.
#[cfg(feature = "hub")]
const TOKENIZERS: &[&[&str]] = &[&["tokenizer.json"], &["vocab.txt"], &["vocab.json", "merges.txt"]];
/// What tokenizers of files other than `tokenizer.json` may say of themselves.
#[cfg(feature = "hub")]
const SETTINGS: &str = "tokenizer_config.json";
/// Forms of weights; lists name their shards.
#[cfg(feature = "hub")]
const WEIGHTS: &[&[&str]] = &[
    &["model.safetensors"],
    &["model.safetensors.index.json"],
    &["pytorch_model.bin"],
    &["pytorch_model.bin.index.json"],
];

/// The folder of a downloaded model.
///
/// # Errors
/// `CK-02` for what the hub does not have or cannot be asked for, `ST-11` for a damaged list of shards.
#[cfg(feature = "hub")]
pub(crate) fn fetch(id: &str, revision: &str, weights: bool) -> Result<PathBuf> {
    let hub = Hub::open(id, revision)?;
    let config = hub.get("config.json")?;
    if hub.cache.get("tokenizer.json").is_none() {
        // Before the vocabulary that it belongs to: one in the cache says that the hub was asked for its settings.
        let asked = |files: &&[&str]| files.iter().all(|file| hub.cache.get(file).is_some());
        if let Err(e) = hub.ask(SETTINGS)
            && !TOKENIZERS.iter().any(asked)
        {
            return Err(e);
        }
    }
    hub.first_of(TOKENIZERS, "tokenizer")?;
    if weights {
        let name = hub.first_of(WEIGHTS, "weights")?;
        if name.ends_with(".index.json") {
            let (_, shards) = super::weights::shards_of(&hub.get(name)?)?;
            shards.iter().try_for_each(|shard| hub.get(shard).map(|_| ()))?;
        }
    }
    Ok(config.parent().map(PathBuf::from).unwrap_or_default())
}

/// A model on the hub.
#[cfg(feature = "hub")]
struct Hub {
    name: String,
    repo: hf_hub::api::sync::ApiRepo,
    cache: hf_hub::CacheRepo,
}

#[cfg(feature = "hub")]
impl Hub {
    fn open(id: &str, revision: &str) -> Result<Hub> {
        use hf_hub::{Cache, Repo, RepoType, api::sync::ApiBuilder};
        let name = format!("{id}@{revision}");
        let repo = Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned());
        let api = ApiBuilder::from_env().with_progress(false).build().map_err(|e| refused(&name, "the hub", e))?;
        Ok(Hub { repo: api.repo(repo.clone()), cache: Cache::from_env().repo(repo), name })
    }

    /// A file that must be there.
    fn get(&self, file: &str) -> Result<PathBuf> {
        self.repo.get(file).map_err(|e| refused(&self.name, file, e))
    }

    /// A file, or nothing where the hub has none of this name.
    fn ask(&self, file: &str) -> Result<Option<PathBuf>> {
        use hf_hub::api::sync::ApiError;
        match self.repo.get(file) {
            Ok(path) => Ok(Some(path)),
            Err(ApiError::RequestError(e)) if matches!(*e, ureq::Error::StatusCode(404)) => Ok(None),
            Err(e) => Err(refused(&self.name, file, e)),
        }
    }

    /// Fetches the first of some forms that is to be had; the name of its first file.
    fn first_of<'a>(&self, forms: &[&[&'a str]], what: &str) -> Result<&'a str> {
        let offline = |e: Error| {
            let cached = forms.iter().find(|files| files.iter().all(|file| self.cache.get(file).is_some()));
            cached.map(|files| files[0]).ok_or(e)
        };
        for files in forms {
            match self.ask(files[0]) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    files[1..].iter().try_for_each(|file| self.get(file).map(|_| ()))?;
                    return Ok(files[0]);
                }
                Err(e) => return offline(e),
            }
        }
        let names: Vec<&str> = forms.iter().map(|files| files[0]).collect();
        Err(Error::new(Code::Ck02, &self.name, format!("has no {what} that is read"))
            .expected(format!("one of {}", names.join(", ")))
            .hint("Save the model with save_pretrained(folder) and name that folder"))
    }
}

#[cfg(feature = "hub")]
fn refused(name: &str, what: &str, cause: hf_hub::api::sync::ApiError) -> Error {
    Error::new(Code::Ck02, name, format!("is no folder, and {what} could not be downloaded: {cause}"))
        .hint("Check the spelling and the connection, or name a folder")
        .source(cause)
}

/// Without the `hub` feature nothing is ever downloaded.
#[cfg(not(feature = "hub"))]
pub(crate) fn fetch(id: &str, revision: &str, _weights: bool) -> Result<PathBuf> {
    Err(Error::new(Code::Ck02, format!("{id}@{revision}"), "is no folder, and this build cannot download")
        .hint("Name a checkpoint folder, or build with the feature `hub`"))
}
