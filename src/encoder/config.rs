//! `config.json`: what the architecture is. Keys are read one by one; whatever changes results and is not implemented
//! is refused by name.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::bounded;

/// A parsed `config.json` with its place for messages.
#[derive(Debug, Clone)]
pub struct Config {
    path: PathBuf,
    digest: Digest,
    keys: Map<String, Value>,
}

impl Config {
    /// Reads `config.json` from a checkpoint folder.
    pub fn read(folder: &Path) -> Result<Config> {
        let path = folder.join("config.json");
        if !path.exists() {
            return Err(Error::new(Code::Cf01, path.display(), "does not exist")
                .hint("A checkpoint is a folder with config.json, tokenizer.json and model.safetensors"));
        }
        let (text, digest) = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a configuration", Code::Cf01)?;
        Config::parse(&text, path, digest)
    }

    fn parse(text: &str, path: PathBuf, digest: Digest) -> Result<Config> {
        let unique: UniqueKeys = serde_json::from_str(text).map_err(|e| {
            let twice = e.to_string().contains(TWICE);
            let code = if twice { Code::Cf02 } else { Code::Cf01 };
            let error =
                Error::new(code, path.display(), if twice { e.to_string() } else { format!("is no JSON: {e}") });
            if twice { error.hint("Remove one of them") } else { error }
        })?;
        match unique.0 {
            Value::Object(keys) => Ok(Config { path, digest, keys }),
            _ => Err(Error::new(Code::Cf01, path.display(), "is no JSON object").expected("{\"model_type\": …}")),
        }
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The `model_type` key.
    pub fn model_type(&self) -> Result<&str> {
        self.text("model_type")?.ok_or_else(|| self.missing("model_type"))
    }

    /// The error for a model type that is not among `families`.
    pub fn unsupported(&self, found: &str, families: &[&str]) -> Error {
        Error::new(Code::Cf03, self.path.display(), format!("model_type is {found:?}"))
            .expected(format!("one of: {}", families.join(", ")))
    }

    fn missing(&self, key: &str) -> Error {
        Error::new(Code::Cf04, self.path.display(), format!("key {key:?} is missing"))
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        Error::new(Code::Cf04, self.path.display(), format!("key {key:?} is {value}")).expected(expected)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|v| !v.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key).map(|v| v.as_str().ok_or_else(|| self.wrong(key, v, "a string"))).transpose()
    }

    /// A size between 1 and `largest`.
    pub fn size(&self, key: &str, largest: usize) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        let number = value.as_i64().ok_or_else(|| self.wrong(key, value, "a whole number"))?;
        usize::try_from(number).ok().filter(|n| (1..=largest).contains(n)).ok_or_else(|| {
            Error::new(Code::Cf05, self.path.display(), format!("key {key:?} is {number}"))
                .expected(format!("1 to {largest}"))
        })
    }

    /// A finite number, or `default` when the key is absent.
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        self.get(key).map_or(Ok(default), |v| v.as_f64().ok_or_else(|| self.wrong(key, v, "a number")))
    }

    /// An index, if the key is there.
    pub fn index(&self, key: &str) -> Result<Option<usize>> {
        self.get(key)
            .map(|v| v.as_u64().map(|n| n as usize).ok_or_else(|| self.wrong(key, v, "a whole number, 0 or more")))
            .transpose()
    }

    /// A setting with a closed list of implemented values; an absent key means the first of them.
    pub fn choice<T: Copy>(&self, key: &str, implemented: &[(&str, T)]) -> Result<T> {
        let Some(found) = self.text(key)? else { return Ok(implemented[0].1) };
        implemented.iter().find(|(name, _)| *name == found).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = implemented.iter().map(|(name, _)| *name).collect();
            Error::new(
                Code::Cf06,
                self.path.display(),
                format!("{key} is {found:?}, which changes results and is not implemented"),
            )
            .expected(names.join(" or "))
        })
    }

    /// Refuses a boolean setting that changes results and is not implemented.
    pub fn must_be_off(&self, key: &str) -> Result<()> {
        match self.get(key) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(value) => Err(Error::new(
                Code::Cf06,
                self.path.display(),
                format!("{key} is {value}, which changes results and is not implemented"),
            )
            .expected("false")),
        }
    }

    /// Refuses code that would come with the checkpoint.
    pub fn no_remote_code(&self) -> Result<()> {
        match self.get("auto_map") {
            None => Ok(()),
            Some(_) => Err(Error::new(
                Code::Cf06,
                self.path.display(),
                "auto_map asks for Python code of the checkpoint's own",
            )
            .expected("an architecture of the library's own")
            .hint("Such code is never run")),
        }
    }

    /// An error about sizes that cannot be.
    pub fn impossible(&self, found: String, expected: &str) -> Error {
        Error::new(Code::Cf05, self.path.display(), found).expected(expected)
    }
}

const TWICE: &str = "stands twice";

/// JSON in which a repeated key is an error: serde_json alone would take the last one.
struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = UniqueKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> std::result::Result<UniqueKeys, A::Error> {
                let mut map = Map::new();
                while let Some(key) = access.next_key::<String>()? {
                    if map.contains_key(&key) {
                        return Err(de::Error::custom(format!("key {key:?} {TWICE}")));
                    }
                    map.insert(key, access.next_value::<UniqueKeys>()?.0);
                }
                Ok(UniqueKeys(Value::Object(map)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> std::result::Result<UniqueKeys, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = access.next_element::<UniqueKeys>()? {
                    list.push(item.0);
                }
                Ok(UniqueKeys(Value::Array(list)))
            }

            fn visit_bool<E>(self, v: bool) -> std::result::Result<UniqueKeys, E> {
                Ok(UniqueKeys(v.into()))
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<UniqueKeys, E> {
                Ok(UniqueKeys(v.into()))
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<UniqueKeys, E> {
                Ok(UniqueKeys(v.into()))
            }

            fn visit_f64<E>(self, v: f64) -> std::result::Result<UniqueKeys, E> {
                Ok(UniqueKeys(v.into()))
            }

            fn visit_str<E>(self, v: &str) -> std::result::Result<UniqueKeys, E> {
                Ok(UniqueKeys(v.into()))
            }

            fn visit_unit<E>(self) -> std::result::Result<UniqueKeys, E> {
                Ok(UniqueKeys(Value::Null))
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, "config.json".into(), Digest([0; 32]))
    }

    #[test]
    fn keys_are_checked_one_by_one() {
        let config =
            parse(r#"{"model_type": "bert", "hidden_size": 0, "eps": "x", "act": "swish", "flag": true}"#).unwrap();
        assert_eq!(config.model_type().unwrap(), "bert");
        assert_eq!(config.size("hidden_size", 10).unwrap_err().code(), Code::Cf05);
        assert_eq!(config.size("layers", 10).unwrap_err().code(), Code::Cf04);
        assert_eq!(config.number("eps", 1.0).unwrap_err().code(), Code::Cf04);
        assert_eq!(config.choice("act", &[("gelu", 1)]).unwrap_err().code(), Code::Cf06);
        assert_eq!(config.choice("absent", &[("gelu", 1)]).unwrap(), 1);
        assert_eq!(config.must_be_off("flag").unwrap_err().code(), Code::Cf06);
    }

    #[test]
    fn broken_documents_are_refused() {
        assert_eq!(parse("{").unwrap_err().code(), Code::Cf01);
        assert_eq!(parse("[1]").unwrap_err().code(), Code::Cf01);
        assert_eq!(parse(r#"{"a": 1, "b": {"c": 1, "c": 2}}"#).unwrap_err().code(), Code::Cf02);
    }
}
