//! Weights from `model.safetensors`: every structural defect, missing, misshapen or non-finite tensor is found before
//! anything is computed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::params::{Param, tensor};
use crate::error::{Code, Error, Result, first_five};
use crate::ids::Digest;
use crate::io::bounded::{self, FileBytes};

/// Largest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// A weights file that holds everything the architecture needs, checked value by value.
#[derive(Debug, Clone)]
pub(crate) struct WeightsFile {
    path: PathBuf,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// What stands before the names of the architecture (`bert.` or nothing).
    pub prefix: String,
    /// Tensors of the file that the architecture does not use.
    pub ignored: Vec<String>,
}

impl WeightsFile {
    /// Checks the weights of a checkpoint folder against the parameters of its architecture.
    ///
    /// # Errors
    /// All problems with the tensors at once (`ST-07`, `ST-08`, `ST-09`, `ST-10`), or the one that makes the file
    /// unreadable (`ST-01` … `ST-06`, `ST-14`).
    pub fn check(folder: &Path, params: &[Param], prefixes: &[&str]) -> std::result::Result<WeightsFile, Vec<Error>> {
        let path = find(folder).map_err(|e| vec![e])?;
        let FileBytes { bytes, digest } =
            bounded::read(&path, bounded::MAX_ARRAY_BYTES, "a weights file").map_err(|e| vec![e])?;
        let file = parse(&bytes, &path).map_err(|e| vec![e])?;
        let names: HashMap<&str, TensorView<'_>> = file.iter().collect();
        let prefix = prefixes
            .iter()
            .max_by_key(|prefix| params.iter().filter(|p| lookup(&names, prefix, &p.name).is_some()).count())
            .copied()
            .unwrap_or("");
        let mut problems = Vec::new();
        let mut missing = Vec::new();
        let mut used = Vec::new();
        for param in params {
            match lookup(&names, prefix, &param.name) {
                None => missing.push(format!("{prefix}{}", param.name)),
                Some((name, view)) => {
                    used.push(name);
                    problems.extend(check_tensor(&path, name, view, param));
                }
            }
        }
        if !missing.is_empty() {
            problems.push(missing_tensors(&path, &missing, params.len(), &names, params));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut ignored: Vec<String> = names.keys().filter(|n| !used.contains(n)).map(|n| (*n).to_owned()).collect();
        ignored.sort_unstable();
        Ok(WeightsFile { path, digest, prefix: prefix.to_owned(), ignored })
    }

    /// Loads the parameters as float32 tensors.
    ///
    /// # Errors
    /// `IN-01` when the file is no longer the one that was checked.
    pub fn load(&self, params: &[Param]) -> Result<HashMap<String, Tensor>> {
        let FileBytes { bytes, digest } = bounded::read(&self.path, bounded::MAX_ARRAY_BYTES, "a weights file")?;
        if digest != self.digest {
            return Err(Error::new(Code::In01, self.path.display(), "changed after it was checked")
                .hint("Run again when nothing writes to it"));
        }
        let file = parse(&bytes, &self.path)?;
        let names: HashMap<&str, TensorView<'_>> = file.iter().collect();
        params
            .iter()
            .map(|param| {
                let (name, view) = lookup(&names, &self.prefix, &param.name)
                    .ok_or_else(|| Error::new(Code::In01, self.path.display(), "changed after it was checked"))?;
                let values = widen(view).ok_or_else(|| unusable(&self.path, name, view.dtype()))?;
                Ok((param.name.clone(), tensor(values, &param.shape)?))
            })
            .collect()
    }
}

/// The weights file of a folder.
fn find(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("model.safetensors");
    if path.exists() || path.is_symlink() {
        return Ok(path);
    }
    let others: Vec<String> =
        ["pytorch_model.bin", "model.safetensors.index.json", "tf_model.h5", "flax_model.msgpack"]
            .iter()
            .filter(|name| folder.join(name).exists())
            .map(|name| (*name).to_owned())
            .collect();
    let error = Error::new(Code::St14, folder.display(), "holds no model.safetensors");
    Err(if others.is_empty() {
        error.expected("the weights beside config.json")
    } else {
        error.hint(format!(
            "It holds {}: save the model again with save_pretrained(path, safe_serialization=True) as one file",
            others.join(", ")
        ))
    })
}

/// Parses a safetensors file, after saying what a file that is none really is.
fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<SafeTensors<'a>> {
    let fail = |code: Code, found: &str| Error::new(code, path.display(), found);
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if bytes.is_empty() {
        return Err(fail(Code::St01, "is empty").hint("Download or save it again"));
    }
    if starts(b"version https://git-lfs") {
        return Err(fail(Code::St04, "is a Git-LFS pointer, not the weights").hint("Run `git lfs pull` in its folder"));
    }
    let text_start = bytes.trim_ascii_start();
    if text_start.starts_with(b"<") {
        return Err(fail(Code::St04, "is an HTML page, not the weights").hint("Download it again"));
    }
    if text_start.starts_with(b"{\"error") {
        return Err(fail(Code::St04, "is a server's error message, not the weights").hint("Download it again"));
    }
    if starts(b"PK\x03\x04") || (bytes[0] == 0x80 && bytes.get(1).is_some_and(|v| (2..=5).contains(v))) {
        return Err(fail(Code::St03, "holds a Python pickle or zip archive under a safetensors name")
            .expected("a safetensors file")
            .hint("Nothing was executed. Save the model with safe_serialization=True"));
    }
    if bytes.len() < 8 {
        return Err(fail(Code::St01, &format!("has {} bytes, too short for a safetensors header", bytes.len())));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&bytes[..8]);
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > bytes.len() as u64 - 8 {
        return Err(fail(Code::St02, &format!("claims a header of {length} bytes in a file of {}", bytes.len()))
            .expected(format!("a header inside the file, of at most {MAX_HEADER} bytes"))
            .hint("The file was cut short or is no safetensors file"));
    }
    if let Some(name) = repeated_key(&bytes[8..8 + length as usize]) {
        return Err(fail(Code::St06, &format!("holds the tensor {name:?} twice")));
    }
    SafeTensors::deserialize(bytes)
        .map_err(|e| fail(Code::St05, &format!("is damaged: {e}")).hint("Download or save it again").source(e))
}

/// A top-level key that stands twice in a JSON header; the crate would take the last one.
fn repeated_key(header: &[u8]) -> Option<String> {
    struct Keys(Option<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Keys, A::Error> {
                    let mut seen = std::collections::HashSet::new();
                    let mut twice = None;
                    while let Some(key) = map.next_key::<String>()? {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        if !seen.insert(key.clone()) {
                            twice.get_or_insert(key);
                        }
                    }
                    Ok(Keys(twice))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_slice::<Keys>(header).ok().and_then(|keys| keys.0)
}

/// A tensor by its name of today or by the older names of a LayerNorm (`gamma`, `beta`).
fn lookup<'n, 'a>(
    names: &'n HashMap<&'a str, TensorView<'a>>,
    prefix: &str,
    name: &str,
) -> Option<(&'a str, &'n TensorView<'a>)> {
    let full = format!("{prefix}{name}");
    let older = full.strip_suffix("LayerNorm.weight").map(|stem| format!("{stem}LayerNorm.gamma"));
    let older = older.or_else(|| full.strip_suffix("LayerNorm.bias").map(|stem| format!("{stem}LayerNorm.beta")));
    let found = names.get_key_value(full.as_str());
    found.or_else(|| older.and_then(|older| names.get_key_value(older.as_str()))).map(|(name, view)| (*name, view))
}

fn missing_tensors(
    path: &Path,
    missing: &[String],
    needed: usize,
    names: &HashMap<&str, TensorView<'_>>,
    params: &[Param],
) -> Error {
    let error = Error::new(
        Code::St07,
        path.display(),
        format!("lacks {} of {needed} tensors: {}", missing.len(), first_five(missing)),
    );
    // What stands before the first parameter's name tells the prefix that the file really uses.
    let suffix = params.first().map_or("", |p| p.name.as_str());
    match names.keys().filter_map(|name| name.strip_suffix(suffix)).min_by_key(|prefix| prefix.len()) {
        Some(prefix) if missing.len() > 1 && missing.len() == needed => {
            error.hint(format!("Its tensor names start with {prefix:?}; rename them when saving"))
        }
        _ => error.hint(format!("The file holds {} tensors; it may belong to another architecture", names.len())),
    }
}

fn check_tensor(path: &Path, name: &str, view: &TensorView<'_>, param: &Param) -> Option<Error> {
    if view.shape() != param.shape {
        return Some(
            Error::new(Code::St08, path.display(), format!("tensor {name:?} has shape {:?}", view.shape()))
                .expected(format!("{:?} ({} in config.json)", param.shape, param.keys)),
        );
    }
    let Some(values) = widen(view) else { return Some(unusable(path, name, view.dtype())) };
    let bad = values.iter().filter(|v| !v.is_finite()).count();
    let first = values.iter().position(|v| !v.is_finite())?;
    Some(
        Error::new(
            Code::St10,
            path.display(),
            format!("tensor {name:?} holds {bad} values that are NaN or infinite, the first at index {first}"),
        )
        .expected("finite weights")
        .hint("Training diverged, or the file is damaged"),
    )
}

fn unusable(path: &Path, name: &str, dtype: Dtype) -> Error {
    Error::new(Code::St09, path.display(), format!("tensor {name:?} holds {dtype:?} values"))
        .expected("F32, F16 or BF16")
}

/// The values as float32; half precisions are widened exactly.
fn widen(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        _ => return None,
    })
}
