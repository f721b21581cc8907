//! `config.json`: what the architecture is. Keys are read one by one; whatever changes results and is not implemented
//! is refused by name.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::compute::cpu::Activation;
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::bounded;

/// A parsed `config.json`, or an object inside it, with its place for messages.
#[derive(Debug, Clone)]
pub struct Config {
    place: String,
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
        Config::read_file(&path)
    }

    /// Reads a configuration of any name (`adapter_config.json`).
    pub fn read_file(path: &Path) -> Result<Config> {
        let (text, digest) = bounded::read_text(path, bounded::MAX_DOCUMENT_BYTES, "a configuration", Code::Cf01)?;
        Config::parse(&text, path.display().to_string(), digest)
    }

    /// A configuration given as text.
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Result<Config> {
        Config::parse(text, "config.json".to_owned(), Digest([0; 32]))
    }

    fn parse(text: &str, place: String, digest: Digest) -> Result<Config> {
        let unique: UniqueKeys = serde_json::from_str(text).map_err(|e| {
            let twice = e.to_string().contains(TWICE);
            let code = if twice { Code::Cf02 } else { Code::Cf01 };
            let error = Error::new(code, &place, if twice { e.to_string() } else { format!("is no JSON: {e}") });
            if twice { error.hint("Remove one of them") } else { error }
        })?;
        match unique.0 {
            Value::Object(keys) => Ok(Config { place, digest, keys }),
            _ => Err(Error::new(Code::Cf01, &place, "is no JSON object").expected("{\"model_type\": …}")),
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
        Error::new(Code::Cf03, &self.place, format!("model_type is {found:?}"))
            .expected(format!("one of: {}", families.join(", ")))
    }

    fn missing(&self, key: &str) -> Error {
        Error::new(Code::Cf04, &self.place, format!("key {key:?} is missing"))
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        Error::new(Code::Cf04, &self.place, format!("key {key:?} is {value}")).expected(expected)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|v| !v.is_null())
    }

    /// A string, if the key is there.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key).map(|v| v.as_str().ok_or_else(|| self.wrong(key, v, "a string"))).transpose()
    }

    /// A size between 1 and `largest`.
    pub fn size(&self, key: &str, largest: usize) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        let number = value.as_i64().ok_or_else(|| self.wrong(key, value, "a whole number"))?;
        usize::try_from(number).ok().filter(|n| (1..=largest).contains(n)).ok_or_else(|| {
            Error::new(Code::Cf05, &self.place, format!("key {key:?} is {number}")).expected(format!("1 to {largest}"))
        })
    }

    /// A size between 1 and `largest`, or `default` when the key is absent.
    pub fn size_or(&self, key: &str, default: usize, largest: usize) -> Result<usize> {
        if self.get(key).is_none() { Ok(default) } else { self.size(key, largest) }
    }

    /// A size between 1 and `largest`, `default` when the key is absent, and none when it is null.
    pub fn size_unless_null(&self, key: &str, default: usize, largest: usize) -> Result<Option<usize>> {
        if self.keys.contains_key(key) && self.get(key).is_none() {
            return Ok(None);
        }
        self.size_or(key, default, largest).map(Some)
    }

    /// A boolean, or `default` when the key is absent.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |v| v.as_bool().ok_or_else(|| self.wrong(key, v, "true or false")))
    }

    /// A boolean, if the key is there.
    pub fn optional_flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key).map(|v| v.as_bool().ok_or_else(|| self.wrong(key, v, "true, false or null"))).transpose()
    }

    /// A string, or an object that holds it under `content` (tokens in tokenizer_config.json).
    pub fn text_or_content(&self, key: &str) -> Result<Option<String>> {
        match self.get(key) {
            Some(Value::Object(_)) => {
                self.object(key)?.map_or(Ok(None), |o| o.text("content").map(|t| t.map(str::to_owned)))
            }
            _ => self.text(key).map(|t| t.map(str::to_owned)),
        }
    }

    /// A whole number of either sign, or `default` when the key is absent.
    pub fn integer(&self, key: &str, default: i64) -> Result<i64> {
        self.get(key).map_or(Ok(default), |v| v.as_i64().ok_or_else(|| self.wrong(key, v, "a whole number")))
    }

    /// The object under a key, if the key is there.
    pub fn object(&self, key: &str) -> Result<Option<Config>> {
        self.get(key)
            .map(|v| {
                let keys = v.as_object().ok_or_else(|| self.wrong(key, v, "an object"))?;
                Ok(Config { place: format!("{} ({key})", self.place), digest: self.digest, keys: keys.clone() })
            })
            .transpose()
    }

    /// A list of strings, if the key is there; a single string is a list of one.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        self.get(key)
            .map(|v| match v {
                Value::String(text) => Ok(vec![text.as_str()]),
                Value::Array(items) => items
                    .iter()
                    .map(|item| item.as_str().ok_or_else(|| self.wrong(key, v, "a list of strings")))
                    .collect(),
                _ => Err(self.wrong(key, v, "a list of strings")),
            })
            .transpose()
    }

    /// The activation function under a key, by its name in transformers' `activations.py`.
    pub fn activation(&self, key: &str, default: &'static str) -> Result<Activation> {
        let name = self.text(key)?.unwrap_or(default);
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation).ok_or_else(|| {
            let names: Vec<&str> = ACTIVATIONS.iter().map(|(known, _)| *known).collect();
            self.not_implemented(key, &format!("{name:?}"), &names.join(", "))
        })
    }

    /// The row of the padding token: `default` where the key is absent, none where it is null. A negative one counts
    /// from the end, as in PyTorch.
    pub fn padding(&self, default: Option<usize>, vocabulary: usize) -> Result<Option<usize>> {
        if !self.keys.contains_key("pad_token_id") {
            return Ok(default.filter(|row| *row < vocabulary));
        }
        let Some(value) = self.get("pad_token_id") else { return Ok(None) };
        let id = value.as_i64().ok_or_else(|| self.wrong("pad_token_id", value, "a whole number"))?;
        let row = if id < 0 { id.saturating_add(vocabulary as i64) } else { id };
        usize::try_from(row).ok().filter(|row| *row < vocabulary).map(Some).ok_or_else(|| {
            let found = format!("pad_token_id is {id} with vocab_size {vocabulary}");
            self.impossible(found, "a padding token inside the vocabulary")
        })
    }

    /// A finite number, or `default` when the key is absent.
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        self.get(key).map_or(Ok(default), |v| v.as_f64().ok_or_else(|| self.wrong(key, v, "a number")))
    }

    /// A setting with a closed list of implemented values; an absent key means the first of them.
    pub fn choice<T: Copy>(&self, key: &str, implemented: &[(&str, T)]) -> Result<T> {
        let Some(found) = self.text(key)? else { return Ok(implemented[0].1) };
        implemented.iter().find(|(name, _)| *name == found).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = implemented.iter().map(|(name, _)| *name).collect();
            self.not_implemented(key, &format!("{found:?}"), &names.join(" or "))
        })
    }

    /// Refuses a boolean setting that changes results and is not implemented.
    pub fn must_be_off(&self, key: &str) -> Result<()> {
        self.must_be(key, false)
    }

    /// Refuses the other value of a boolean setting of which only one is implemented.
    pub fn must_be(&self, key: &str, value: bool) -> Result<()> {
        match self.get(key) {
            None => Ok(()),
            Some(found) if *found == Value::Bool(value) => Ok(()),
            Some(found) => Err(self.not_implemented(key, &found.to_string(), &value.to_string())),
        }
    }

    /// Refuses a setting, whatever its value, that changes results and is not implemented.
    pub fn must_be_absent(&self, key: &str) -> Result<()> {
        match self.get(key) {
            None => Ok(()),
            Some(found) => Err(self.not_implemented(key, &found.to_string(), "no such setting")),
        }
    }

    /// Refuses an object that says anything and is not implemented.
    pub fn must_be_empty(&self, key: &str) -> Result<()> {
        match self.object(key)? {
            Some(object) if !object.keys.is_empty() => Err(self.not_implemented(key, "not empty", "nothing in it")),
            _ => Ok(()),
        }
    }

    /// Refuses a setting that is neither a boolean nor one of `names`.
    pub fn flag_or(&self, key: &str, names: &[&str]) -> Result<()> {
        match self.get(key) {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(Value::String(name)) if names.contains(&name.as_str()) => Ok(()),
            Some(other) => {
                let expected = format!("true, false or {}", names.join(", "));
                Err(self.not_implemented(key, &other.to_string(), &expected))
            }
        }
    }

    /// The error for a setting that changes results and is not implemented.
    pub fn not_implemented(&self, key: &str, found: &str, expected: &str) -> Error {
        let found: String = found.chars().take(200).collect();
        Error::new(Code::Cf06, &self.place, format!("{key} is {found}, which changes results and is not implemented"))
            .expected(expected)
    }

    /// Refuses code that would come with the checkpoint.
    pub fn no_remote_code(&self) -> Result<()> {
        match self.get("auto_map") {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(Code::Cf06, &self.place, "auto_map asks for Python code of the checkpoint's own")
                    .expected("an architecture of the library's own")
                    .hint("Such code is never run"))
            }
        }
    }

    /// An error about sizes that cannot be.
    pub fn impossible(&self, found: String, expected: &str) -> Error {
        Error::new(Code::Cf05, &self.place, found).expected(expected)
    }
}

/// The activation functions by name (transformers' `activations.py`); the GELUs by tanh differ in rounding only.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::GeluErf),
    ("gelu_python", Activation::GeluErf),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

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

    #[test]
    fn keys_are_checked_one_by_one() {
        let config =
            Config::from_text(r#"{"model_type": "bert", "hidden_size": 0, "eps": "x", "act": "swish", "flag": true}"#)
                .unwrap();
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
        assert_eq!(Config::from_text("{").unwrap_err().code(), Code::Cf01);
        assert_eq!(Config::from_text("[1]").unwrap_err().code(), Code::Cf01);
        assert_eq!(Config::from_text(r#"{"a": 1, "b": {"c": 1, "c": 2}}"#).unwrap_err().code(), Code::Cf02);
    }
}
