//! Weights from safetensors files and PyTorch archives, whole or in shards, with a LoRA adapter merged if there is one.
//! Every structural defect, missing, misshapen or non-finite tensor is found before anything is computed.

mod adapter;
mod locate;
mod prefix;
mod safetensors;
mod stored;
mod torch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::Tensor;

pub(crate) use adapter::Adapter;
#[cfg(feature = "hub")]
pub(crate) use locate::shards_of;

use self::stored::{Archive, Stored, unusable, width};
use super::params::{Param, tensor};
use crate::error::{Code, Error, Result, Warning, first_five};
use crate::ids::Digest;
use crate::io::{bounded, digest_of_files, file_name};

/// Weights that hold everything the architecture needs, checked value by value.
#[derive(Debug)]
pub(crate) struct Weights {
    /// All files, those of the adapter last, with their digests.
    files: Vec<(PathBuf, Digest)>,
    /// How many of them are the checkpoint's own.
    own: usize,
    /// What stands before the names of the architecture (`bert.` or nothing).
    pub prefix: String,
    /// Tensors of the files that the architecture does not use.
    pub ignored: Vec<String>,
    /// What is merged into them.
    adapter: Option<Adapter>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// All tensors of some files by name: which file and which of its tensors.
type Names = BTreeMap<String, (usize, usize)>;

impl Weights {
    /// Checks the weights of a checkpoint folder against the parameters of its architecture, whose task models put
    /// `stem` before their names; `adapter` is merged into them (`transposed`: see [`Adapter::bind`]).
    ///
    /// # Errors
    /// All problems with the tensors at once (`ST-07`, `ST-08`, `ST-09`, `ST-10`), or the one that makes a file
    /// unreadable (`ST-01` … `ST-06`, `ST-11`, `ST-13`, `ST-14`, `ST-15`).
    pub fn check(
        folder: &Path,
        params: &[Param],
        stem: &str,
        adapter: Option<Adapter>,
        transposed: bool,
    ) -> std::result::Result<Weights, Vec<Error>> {
        let one = |e: Error| vec![e];
        let located = locate::locate(folder).map_err(one)?;
        let mut files = Vec::new();
        for path in &located.files {
            files.push((path.clone(), bounded::digest(path).map_err(one)?));
        }
        let mut archives =
            files.iter().map(|(path, _)| Archive::open(path)).collect::<Result<Vec<_>>>().map_err(one)?;
        let names = names(&located, &archives).map_err(one)?;
        let place = located.index.as_ref().map_or(&located.files[0], |(index, _)| index);
        let prefix = choose_prefix(place, &names, params, stem).map_err(one)?;

        let mut problems = Vec::new();
        let mut missing = Vec::new();
        let mut used = BTreeSet::new();
        for param in params {
            match lookup(&names, &prefix, &param.name) {
                None => missing.push(format!("{prefix}{}", param.name)),
                Some((name, (file, index))) => {
                    used.insert(name);
                    problems.extend(check_tensor(&located.files[file], &mut archives[file], index, param));
                }
            }
        }
        if !missing.is_empty() {
            problems.push(missing_tensors(place, &missing, params, &names));
        }
        let mut adapter = adapter;
        let mut unused = Vec::new();
        if let Some(adapter) = &mut adapter {
            match adapter.bind(params, stem, transposed) {
                Ok(ignored) => unused = ignored,
                Err(e) => problems.extend(e),
            }
            files.extend(adapter.files());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut ignored: Vec<String> = names.keys().filter(|n| !used.contains(n.as_str())).cloned().collect();
        ignored.extend(unused);
        let pickled = archives.iter().any(|archive| matches!(archive, Archive::Torch(_)));
        let warnings = pickled.then(|| {
            let found = format!("{} is a Python pickle; its tensors were read, nothing was executed", file_name(place));
            Warning::new("ST-13", found)
        });
        Ok(Weights {
            own: located.files.len(),
            files,
            prefix,
            ignored,
            adapter,
            warnings: warnings.into_iter().collect(),
        })
    }

    /// One digest for all files: that of the file where there is one only, else that of the lines `SHA-256  name`.
    pub fn digest(&self) -> Digest {
        digest_of_files(&self.files)
    }

    /// What is merged, in words.
    pub fn adapter(&self) -> Option<String> {
        self.adapter.as_ref().map(Adapter::describe)
    }

    /// The names of the files.
    pub fn file_names(&self) -> Vec<String> {
        self.files.iter().map(|(path, _)| file_name(path)).collect()
    }

    /// Loads the parameters as float32 tensors.
    ///
    /// # Errors
    /// `IN-01` when a file is no longer the one that was checked.
    pub fn load(&self, params: &[Param]) -> Result<HashMap<String, Tensor>> {
        let changed = |path: &Path| {
            Error::new(Code::In01, path.display(), "changed after it was checked")
                .hint("Run again when nothing writes to it")
        };
        let mut archives =
            self.files[..self.own].iter().map(|(path, _)| Archive::open(path)).collect::<Result<Vec<_>>>()?;
        let mut names = Names::new();
        for (file, archive) in archives.iter().enumerate() {
            names.extend(archive.tensors().iter().enumerate().map(|(i, stored)| (stored.name.clone(), (file, i))));
        }
        let mut merge = self.adapter.as_ref().map(Adapter::open).transpose()?;
        let mut tensors = HashMap::with_capacity(params.len());
        for param in params {
            let (_, (file, index)) =
                lookup(&names, &self.prefix, &param.name).ok_or_else(|| changed(&self.files[0].0))?;
            let mut values = archives[file].read(index)?;
            if values.len() != param.len() {
                return Err(changed(&self.files[file].0));
            }
            if let Some(merge) = &mut merge {
                merge.apply(param, &mut values)?;
            }
            tensors.insert(param.name.clone(), tensor(values, &param.shape)?);
        }
        // Read again after the values were: what was used is what was checked.
        for (path, digest) in &self.files {
            if bounded::digest(path)? != *digest {
                return Err(changed(path));
            }
        }
        Ok(tensors)
    }
}

/// The tensors of all files, which must be where the list of shards says.
fn names(located: &locate::Located, archives: &[Archive]) -> Result<Names> {
    let mut names = Names::new();
    for (file, archive) in archives.iter().enumerate() {
        for (i, stored) in archive.tensors().iter().enumerate() {
            if let Some((other, _)) = names.insert(stored.name.clone(), (file, i)) {
                let place = located.index.as_ref().map_or(&located.files[file], |(index, _)| index);
                let found = format!(
                    "tensor {:?} stands in two shards, {} and {}",
                    stored.name,
                    file_name(&located.files[other]),
                    file_name(&located.files[file])
                );
                return Err(Error::new(Code::St11, place.display(), found).expected("each tensor once"));
            }
        }
    }
    if let Some((index, map)) = &located.index {
        for (name, shard) in map {
            let there = names.get(name).is_some_and(|(file, _)| file_name(&located.files[*file]) == *shard);
            if !there {
                let found = format!("lists tensor {name:?} in {shard}, which does not hold it");
                return Err(Error::new(Code::St11, index.display(), found).hint("Save the model again"));
            }
        }
    }
    Ok(names)
}

/// The prefix under which most parameters are found.
fn choose_prefix(place: &Path, names: &Names, params: &[Param], stem: &str) -> Result<String> {
    let probes: Vec<&str> = params.first().into_iter().chain(params.last()).map(|p| p.name.as_str()).collect();
    let candidates = prefix::candidates(names.keys().map(String::as_str), &probes, stem);
    let found = |prefix: &str| params.iter().filter(|p| lookup(names, prefix, &p.name).is_some()).count();
    let counted: Vec<(usize, &str)> = candidates.into_iter().map(|prefix| (found(prefix), prefix)).collect();
    let most = counted.iter().map(|(n, _)| *n).max().unwrap_or(0);
    let mut best = counted.iter().filter(|(n, _)| *n == most).map(|(_, prefix)| *prefix);
    let first = best.next().unwrap_or("");
    match best.next() {
        Some(second) if most == params.len() => Err(Error::new(
            Code::St07,
            place.display(),
            format!("holds the encoder twice, as {first:?} and as {second:?}"),
        )
        .expected("one encoder")
        .hint("Save the one to be scored alone: save_pretrained(path)")),
        _ => Ok(first.to_owned()),
    }
}

/// A tensor by its name of today or by the older names of a LayerNorm (`gamma`, `beta`).
fn lookup<'n>(names: &'n Names, prefix: &str, name: &str) -> Option<(&'n str, (usize, usize))> {
    let full = format!("{prefix}{name}");
    let older = full.strip_suffix("LayerNorm.weight").map(|stem| format!("{stem}LayerNorm.gamma"));
    let older = older.or_else(|| full.strip_suffix("LayerNorm.bias").map(|stem| format!("{stem}LayerNorm.beta")));
    let found = names.get_key_value(&full).or_else(|| older.and_then(|older| names.get_key_value(&older)));
    found.map(|(name, place)| (name.as_str(), *place))
}

fn missing_tensors(place: &Path, missing: &[String], params: &[Param], names: &Names) -> Error {
    let error = Error::new(
        Code::St07,
        place.display(),
        format!("lacks {} of {} tensors: {}", missing.len(), params.len(), first_five(missing)),
    );
    // What stands before the first parameter's name tells the prefix that the file really uses.
    let suffix = params.first().map_or("", |p| p.name.as_str());
    match names.keys().filter_map(|name| name.strip_suffix(suffix)).min_by_key(|prefix| prefix.len()) {
        Some(prefix) if missing.len() > 1 && missing.len() == params.len() => {
            error.hint(format!("Its tensor names start with {prefix:?}; rename them when saving"))
        }
        _ => error.hint(format!("It holds {} tensors; it may belong to another architecture", names.len())),
    }
}

fn check_tensor(path: &Path, archive: &mut Archive, index: usize, param: &Param) -> Option<Error> {
    let stored: &Stored = &archive.tensors()[index];
    let name = stored.name.clone();
    if stored.shape != param.shape {
        return Some(
            Error::new(Code::St08, path.display(), format!("tensor {name:?} has shape {:?}", stored.shape))
                .expected(format!("{:?} ({} in config.json)", param.shape, param.keys)),
        );
    }
    if width(&stored.dtype).is_none() {
        return Some(unusable(path, stored));
    }
    match archive.read(index) {
        Ok(values) => not_finite(path, &name, &values),
        Err(e) => Some(e),
    }
}

/// The error for values that are NaN or infinite, if there are any.
fn not_finite(path: &Path, name: &str, values: &[f32]) -> Option<Error> {
    let first = values.iter().position(|v| !v.is_finite())?;
    let bad = values.iter().filter(|v| !v.is_finite()).count();
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
