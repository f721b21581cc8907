//! PyTorch's archives (`pytorch_model.bin`, Lightning's `.ckpt`): a zip file with a pickle that describes tensors and one
//! member per storage (<https://docs.pytorch.org/docs/stable/notes/serialization.html>). The pickle is read, not run.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::stored::{Parts, Place, Stored, reserve, unusable, widen, width};
use crate::error::{Code, Error, Result};
use crate::io::bounded::MAX_DOCUMENT_BYTES;
use crate::io::pickle::{self, Id, Pickle, Value};

/// What every pickle of tensors may name, beside NumPy's arrays and scalars. Nothing of it is called; the names of
/// settings that Lightning keeps beside the tensors are harmless, and skipped.
const NAMES: &[&str] = &[
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "torch device",
    "torch BFloat16Storage",
    "torch BoolStorage",
    "torch ByteStorage",
    "torch CharStorage",
    "torch DoubleStorage",
    "torch FloatStorage",
    "torch HalfStorage",
    "torch IntStorage",
    "torch LongStorage",
    "torch ShortStorage",
    "torch bfloat16",
    "torch float16",
    "torch float32",
    "torch float64",
    "torch int64",
    "argparse Namespace",
    "builtins dict",
    "builtins set",
    "__builtin__ dict",
    "__builtin__ set",
    "collections Counter",
    "collections OrderedDict",
    "collections defaultdict",
    "lightning.fabric.utilities.data AttributeDict",
    "lightning_fabric.utilities.data AttributeDict",
    "pathlib Path",
    "pathlib PosixPath",
    "pathlib WindowsPath",
    "pytorch_lightning.utilities.parsing AttributeDict",
];

/// Where frameworks keep the tensors inside a checkpoint, in the order in which they are looked for.
const STATE_KEYS: &[&str] = &["state_dict", "model_state_dict", "module", "model"];

/// How PyTorch's format before 1.6 begins: a pickled number that nothing else has.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// An open PyTorch archive whose description of tensors was read.
#[derive(Debug)]
pub(super) struct TorchFile {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    /// What stands before the names of the members.
    root: String,
    pub tensors: Vec<Stored>,
}

impl TorchFile {
    /// Reads the description of the tensors.
    pub fn open(path: &Path) -> Result<TorchFile> {
        let mut parts = Parts::open(path)?;
        let head = parts.read(0..parts.length.min(16))?;
        if !head.starts_with(b"PK\x03\x04") {
            return Err(not_an_archive(&mut parts, &head));
        }
        let mut zip = ZipArchive::new(BufReader::new(parts.into_file())).map_err(|e| damaged(path, &e.to_string()))?;
        let root = root(&zip).ok_or_else(|| {
            Error::new(Code::St13, path.display(), "is a zip archive without a data.pkl")
                .expected("what torch.save writes")
        })?;
        let order = format!("{root}byteorder");
        if zip.index_for_name(&order).is_some() && member(path, &mut zip, &order, 16)? != b"little" {
            return Err(Error::new(Code::St13, path.display(), "holds big-endian tensors").expected("little-endian"));
        }
        let bytes = member(path, &mut zip, &format!("{root}data.pkl"), MAX_DOCUMENT_BYTES)?;
        let names: Vec<&str> = NAMES.iter().chain(pickle::NUMPY).copied().collect();
        let (pickle, _) = pickle::read(&bytes, &names, &path.display().to_string(), Code::St13)?;
        let tensors = state_dict(path, &pickle)?;
        Ok(TorchFile { path: path.to_owned(), zip, root, tensors })
    }

    /// See [`super::stored::Archive::read`].
    pub fn read(&mut self, index: usize) -> Result<Vec<f32>> {
        let stored = &self.tensors[index];
        let wrong = |what: &str| {
            let found = format!("tensor {:?} {what}", stored.name);
            Error::new(Code::St13, self.path.display(), found).expected("values inside its storage")
        };
        let Place::Storage { key, elements, offset, strides } = &stored.place else {
            return Err(unusable(&self.path, stored));
        };
        let width = width(&stored.dtype).ok_or_else(|| unusable(&self.path, stored))?;
        let count = stored.count().ok_or_else(|| wrong("has an impossible shape"))?;
        let size = elements.checked_mul(width).ok_or_else(|| wrong("has an impossible storage"))?;
        // The last value that the strides lead to, counted from the first.
        let last = stored.shape.iter().zip(strides).try_fold(0usize, |last, (extent, stride)| {
            last.checked_add(extent.saturating_sub(1).checked_mul(*stride)?)
        });
        let last = last.and_then(|last| last.checked_add(*offset)).ok_or_else(|| wrong("has impossible strides"))?;
        if count > 0 && (last >= *elements || count > *elements) {
            return Err(wrong(&format!("has {count} values, up to place {last} of a storage of {elements}")));
        }
        let bytes = member(&self.path, &mut self.zip, &format!("{}data/{key}", self.root), size as u64)?;
        if bytes.len() != size {
            return Err(wrong(&format!("has a storage of {} bytes that should have {size}", bytes.len())));
        }
        let all = |data: &[u8]| widen(&stored.dtype, data).ok_or_else(|| unusable(&self.path, stored));
        if count == 0 {
            return Ok(Vec::new());
        }
        if contiguous(&stored.shape, strides) {
            return all(&bytes[offset * width..(offset + count) * width]);
        }
        let values = all(&bytes)?;
        let mut out = Vec::with_capacity(count);
        let mut index = vec![0; stored.shape.len()];
        for _ in 0..count {
            let place: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
            out.push(values[offset + place]);
            for (i, extent) in index.iter_mut().zip(&stored.shape).rev() {
                *i += 1;
                if *i < *extent {
                    break;
                }
                *i = 0;
            }
        }
        Ok(out)
    }
}

/// Whether values lie one after the other in row-major order.
fn contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(extent, stride)| {
        let fits = *extent == 1 || *stride == expected;
        expected *= extent;
        fits
    })
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(Code::St13, path.display(), format!("is a damaged zip archive: {what}"))
        .expected("what torch.save writes")
        .hint("Download or save it again")
}

/// What a file is that is no zip archive. A bare pickle is read to name what it asks for.
fn not_an_archive(parts: &mut Parts, head: &[u8]) -> Error {
    let path = parts.path.clone();
    let pickled = head.first() == Some(&0x80) || head.first().is_some_and(|b| b"c(}]".contains(b));
    if pickled && let Ok(bytes) = parts.read(0..parts.length.min(MAX_DOCUMENT_BYTES)) {
        let names: Vec<&str> = NAMES.iter().chain(pickle::NUMPY).copied().collect();
        let place = path.display().to_string();
        let mut rest = bytes.as_slice();
        // The old format is several pickles one after the other, then the storages.
        for _ in 0..5 {
            match pickle::read(rest, &names, &place, Code::St13) {
                Ok((_, length)) => rest = &rest[length..],
                Err(e) if !head.starts_with(LEGACY_MAGIC) || e.to_string().contains("asks for") => return e,
                Err(_) => break,
            }
        }
    }
    let found = match head.starts_with(LEGACY_MAGIC) {
        true => "is in PyTorch's format from before version 1.6",
        false => "is no PyTorch archive",
    };
    Error::new(Code::St13, path.display(), found)
        .expected("the zip archive that torch.save has written since version 1.6")
        .hint("Save it again with a newer PyTorch, best as safetensors: save_pretrained(path)")
}

/// What stands before `data.pkl` among the members: one folder.
fn root(zip: &ZipArchive<BufReader<File>>) -> Option<String> {
    let names = zip.file_names().filter_map(|name| name.ok().map(|n| n.into_owned()));
    let mut roots = names.filter_map(|name| name.strip_suffix("data.pkl").map(str::to_owned));
    let root = roots.find(|root| root.is_empty() || root.matches('/').count() == 1 && root.ends_with('/'))?;
    Some(root)
}

/// A stored member of at most `limit` bytes.
fn member(path: &Path, zip: &mut ZipArchive<BufReader<File>>, name: &str, limit: u64) -> Result<Vec<u8>> {
    let file = zip.by_name(name).map_err(|e| damaged(path, &format!("member {name:?}: {e}")))?;
    // Nothing but stored members is built in: what a member takes is what the archive holds.
    let size = file.size();
    if size > limit {
        return Err(damaged(path, &format!("member {name:?} has {size} bytes, more than {limit}")));
    }
    let mut bytes = reserve(size.min(file.compressed_size()) as usize, path)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| damaged(path, &format!("member {name:?}: {e}")))?;
    Ok(bytes)
}

/// The tensors of a checkpoint: of a state dict, or of the one inside a Lightning checkpoint.
fn state_dict(path: &Path, pickle: &Pickle<'_>) -> Result<Vec<Stored>> {
    let root = pickle.root();
    let inner = STATE_KEYS.iter().find_map(|key| pickle.get(root, key).filter(|id| pickle.items(*id).is_some()));
    let items = pickle.items(inner.unwrap_or(root)).ok_or_else(|| {
        Error::new(Code::St13, path.display(), "holds no dictionary of tensors")
            .expected("a state dict, alone or under the key state_dict")
    })?;
    let mut tensors: Vec<Stored> = items
        .iter()
        .filter_map(|(key, value)| {
            let (name, tensor) = (pickle.text(*key)?, tensor(pickle, *value)?);
            Some(Stored { name: name.to_owned(), ..tensor })
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::new(Code::St06, path.display(), format!("holds the tensor {:?} twice", pair[0].name)));
    }
    Ok(tensors)
}

/// The tensor that a value stands for, without its name.
fn tensor(pickle: &Pickle<'_>, id: Id) -> Option<Stored> {
    if let Some(arguments) = pickle.arguments(id, &["torch._utils _rebuild_parameter"]) {
        // A parameter holds a tensor, never another parameter.
        let inner = *arguments.first()?;
        return pickle.arguments(inner, &["torch._utils _rebuild_tensor_v2"]).and_then(|a| rebuilt(pickle, a));
    }
    rebuilt(pickle, pickle.arguments(id, &["torch._utils _rebuild_tensor_v2"])?)
}

/// The arguments of `_rebuild_tensor_v2`: storage, offset, size, strides, ….
fn rebuilt(pickle: &Pickle<'_>, arguments: &[Id]) -> Option<Stored> {
    let [storage, offset, size, strides, ..] = arguments else { return None };
    let Value::Persistent(key) = pickle.value(*storage) else { return None };
    let [kind, class, key, _device, elements] = pickle.members(*key)? else { return None };
    if pickle.text(*kind)? != "storage" {
        return None;
    }
    let dtype = match pickle.global(*class)? {
        "torch FloatStorage" => "F32",
        "torch HalfStorage" => "F16",
        "torch BFloat16Storage" => "BF16",
        "torch DoubleStorage" => "F64",
        "torch LongStorage" => "I64",
        other => other.strip_prefix("torch ")?,
    };
    let (shape, strides) = (pickle.sizes(*size)?, pickle.sizes(*strides)?);
    if shape.len() != strides.len() {
        return None;
    }
    Some(Stored {
        name: String::new(),
        dtype: dtype.to_owned(),
        shape,
        place: Place::Storage {
            key: pickle.text(*key)?.to_owned(),
            elements: pickle.size(*elements)?,
            offset: pickle.size(*offset)?,
            strides,
        },
    })
}
