//! Checkpoints from the model hub, only when the user writes an id that is no folder. Files land in the hub's own cache.

use std::path::PathBuf;

use crate::error::{Code, Error, Result};

/// The folder of a downloaded model: config.json, tokenizer.json and, unless only the architecture is wanted, weights.
#[cfg(feature = "hub")]
pub(crate) fn fetch(id: &str, revision: &str, weights: bool) -> Result<PathBuf> {
    use hf_hub::{Repo, RepoType, api::sync::ApiBuilder};
    let fail = |what: String, cause: hf_hub::api::sync::ApiError| {
        Error::new(
            Code::Ck02,
            format!("{id}@{revision}"),
            format!("is no folder, and {what} could not be downloaded: {cause}"),
        )
        .hint("Check the spelling and the connection, or name a folder")
        .source(cause)
    };
    let api = ApiBuilder::from_env().with_progress(false).build().map_err(|e| fail("the hub".to_owned(), e))?;
    let repo = api.repo(Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned()));
    let mut folder = PathBuf::new();
    let files: &[&str] = &["config.json", "tokenizer.json", "model.safetensors"];
    for file in &files[..if weights { 3 } else { 2 }] {
        let path = repo.get(file).map_err(|e| fail((*file).to_owned(), e))?;
        folder = path.parent().map(PathBuf::from).unwrap_or_default();
    }
    Ok(folder)
}

/// Without the `hub` feature nothing is ever downloaded.
#[cfg(not(feature = "hub"))]
pub(crate) fn fetch(id: &str, revision: &str, _weights: bool) -> Result<PathBuf> {
    Err(Error::new(Code::Ck02, format!("{id}@{revision}"), "is no folder, and this build cannot download")
        .hint("Name a checkpoint folder, or build with the feature `hub`"))
}
