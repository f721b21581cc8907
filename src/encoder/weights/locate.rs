//! Which files of a folder hold the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::error::{Code, Error, Result, first_five};
use crate::io::bounded;

/// The weights files of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// One file, or all shards in the order of their names.
    pub files: Vec<PathBuf>,
    /// The list of shards, if there is one, with the shard of every tensor.
    pub index: Option<(PathBuf, BTreeMap<String, String>)>,
}

/// Finds the weights of a folder. The first of these that exists is taken: `model.safetensors`, the shards of
/// `model.safetensors.index.json`, `pytorch_model.bin`, the shards of `pytorch_model.bin.index.json`, and a `.ckpt` file
/// if there is exactly one.
pub(super) fn locate(folder: &Path) -> Result<Located> {
    let there = |path: &Path| path.exists() || path.is_symlink();
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let path = folder.join(name);
        if there(&path) {
            return Ok(Located { files: vec![path], index: None });
        }
        let index = folder.join(format!("{name}.index.json"));
        if there(&index) {
            return shards(folder, &index);
        }
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder.display(), "listing", e))?;
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let checkpoints: Vec<&String> = names.iter().filter(|name| name.ends_with(".ckpt")).collect();
    if let [one] = checkpoints[..] {
        return Ok(Located { files: vec![folder.join(one)], index: None });
    }
    let error = Error::new(Code::St14, folder.display(), "holds no model.safetensors");
    if !checkpoints.is_empty() {
        let found = format!("It holds {}: keep one .ckpt file in the folder", first_five(checkpoints));
        return Err(error.hint(found));
    }
    let foreign = ["tf_model.h5", "flax_model.msgpack", "model.onnx", "adapter_model.safetensors"];
    let others: Vec<&str> = foreign.into_iter().filter(|name| folder.join(name).exists()).collect();
    Err(if others.is_empty() {
        error.expected("the weights beside config.json: model.safetensors, its shards, pytorch_model.bin or one .ckpt")
    } else {
        error.hint(format!("It holds {}: save the model again with save_pretrained(path)", others.join(", ")))
    })
}

/// The shard of every tensor that an index lists, and the names of the shards: those of files beside it.
///
/// # Errors
/// `ST-11` for what is no such list.
pub(crate) fn shards_of(index: &Path) -> Result<(BTreeMap<String, String>, BTreeSet<String>)> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let fail = |found: String| Error::new(Code::St11, index.display(), found);
    let (text, _) = bounded::read_text(index, bounded::MAX_DOCUMENT_BYTES, "a list of shards", Code::St11)?;
    let Index { weight_map } = serde_json::from_str(&text).map_err(|e| {
        fail(format!("is no list of shards: {e}")).expected("{\"weight_map\": {tensor: file, …}}").source(e)
    })?;
    let names: BTreeSet<String> = weight_map.values().cloned().collect();
    if names.is_empty() {
        return Err(fail("lists no tensor".to_owned()));
    }
    for name in &names {
        let mut components = Path::new(name).components();
        let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
        if !plain || name.contains(['/', '\\', '\0']) {
            return Err(fail(format!("names the shard {name:?}")).expected("plain names of files in the same folder"));
        }
    }
    Ok((weight_map, names))
}

/// The shards that an index lists.
fn shards(folder: &Path, index: &Path) -> Result<Located> {
    let (weight_map, names) = shards_of(index)?;
    let mut files = Vec::new();
    for name in names {
        let path = folder.join(&name);
        if !path.exists() {
            let found = format!("names the shard {name:?}, which does not exist");
            return Err(Error::new(Code::St11, index.display(), found)
                .hint("Download the missing file, or save the model again"));
        }
        files.push(path);
    }
    Ok(Located { files, index: Some((index.to_owned(), weight_map)) })
}
