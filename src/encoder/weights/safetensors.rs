//! The safetensors format: <https://github.com/huggingface/safetensors>. Only the header and the wanted tensors are read.

use std::path::Path;

use safetensors::tensor::Metadata;

use super::stored::{Parts, Place, Stored, unusable, widen};
use crate::error::{Code, Error, Result};

/// Largest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file whose structure was checked.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    parts: Parts,
    pub tensors: Vec<Stored>,
}

impl SafetensorsFile {
    /// Reads and checks the header.
    pub fn open(path: &Path) -> Result<SafetensorsFile> {
        let mut parts = Parts::open(path)?;
        let fail = |code: Code, found: &str| Error::new(code, path.display(), found);
        let head = parts.read(0..parts.length.min(8))?;
        if head.starts_with(b"PK\x03\x04") || (head[0] == 0x80 && head.get(1).is_some_and(|v| (2..=5).contains(v))) {
            return Err(fail(Code::St03, "holds a Python pickle or zip archive under a safetensors name")
                .expected("a safetensors file")
                .hint("Nothing was executed. Save the model with safe_serialization=True"));
        }
        let Ok(length) = <[u8; 8]>::try_from(head.as_slice()) else {
            let found = format!("has {} bytes, too short for a safetensors header", parts.length);
            return Err(fail(Code::St01, &found));
        };
        let (length, file) = (u64::from_le_bytes(length), parts.length);
        if length > MAX_HEADER || length > file - 8 {
            return Err(fail(Code::St02, &format!("claims a header of {length} bytes in a file of {file}"))
                .expected(format!("a header inside the file, of at most {MAX_HEADER} bytes"))
                .hint("The file was cut short or is no safetensors file"));
        }
        let header = parts.read(8..8 + length)?;
        if let Some(name) = repeated_key(&header) {
            return Err(fail(Code::St06, &format!("holds the tensor {name:?} twice")));
        }
        let damaged = |what: String| fail(Code::St05, &format!("is damaged: {what}")).hint("Download or save it again");
        // Parsing checks that tensors follow one another without holes and are as long as their shapes say.
        let header: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(e.to_string()).source(e))?;
        let (start, end) = (8 + length, 8 + length + header.data_len() as u64);
        if end != file {
            return Err(damaged(format!("its tensors end at byte {end} of {file}")));
        }
        let mut tensors: Vec<Stored> = header
            .tensors()
            .into_iter()
            .map(|(name, info)| Stored {
                name,
                dtype: format!("{:?}", info.dtype),
                shape: info.shape.clone(),
                place: Place::Bytes(start + info.data_offsets.0 as u64..start + info.data_offsets.1 as u64),
            })
            .collect();
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(SafetensorsFile { parts, tensors })
    }

    /// See [`super::stored::Archive::read`].
    pub fn read(&mut self, index: usize) -> Result<Vec<f32>> {
        let stored = &self.tensors[index];
        let Place::Bytes(range) = &stored.place else { return Err(unusable(&self.parts.path, stored)) };
        let bytes = self.parts.read(range.clone())?;
        widen(&stored.dtype, &bytes).ok_or_else(|| unusable(&self.parts.path, stored))
    }
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
