use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};

/// A checkpoint as the user names it: `[label=]path`, `[label=]hub-id[@revision]` or `[label=]untrained:SEED:path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// The label in tables and figures.
    pub label: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a checkpoint comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Seed of fresh random weights; `None` uses the stored ones.
    pub untrained: Option<u64>,
    /// The folder or hub id.
    pub place: Place,
}

/// A folder, or a model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder with config.json, tokenizer.json and weights.
    Folder(PathBuf),
    /// A model id with a revision (default `main`). Downloaded only because the user wrote an id that is no folder.
    Hub {
        /// `name` or `owner/name`.
        id: String,
        /// Branch, tag or commit.
        revision: String,
    },
}

impl CheckpointSpec {
    /// Understands one command-line argument.
    ///
    /// # Errors
    /// `FL-02` for an empty label, place or a seed that is no number; `CK-01` for what can neither be a folder nor an id.
    pub fn parse(argument: &str) -> Result<CheckpointSpec> {
        let refuse = |found: String| {
            Error::new(Code::Fl02, format!("checkpoint {argument:?}"), found)
                .expected("[label=]folder, [label=]hub-id[@revision] or [label=]untrained:SEED:folder")
        };
        // A folder whose name holds `=` is a folder first.
        let (label, rest) = match argument.split_once('=') {
            Some((label, rest)) if !Path::new(argument).is_dir() => (Some(label), rest),
            _ => (None, argument),
        };
        if label.is_some_and(|l| l.trim().is_empty()) {
            return Err(refuse("has an empty label".to_owned()));
        }
        let (untrained, place) = match rest.strip_prefix("untrained:") {
            None => (None, rest),
            Some(rest) => {
                let (seed, place) = rest.split_once(':').ok_or_else(|| refuse("has no seed".to_owned()))?;
                let seed =
                    seed.parse().map_err(|_| refuse(format!("has the seed {seed:?}, which is no whole number")))?;
                (Some(seed), place)
            }
        };
        if place.is_empty() {
            return Err(refuse("names no folder".to_owned()));
        }
        let place = Place::parse(place)?;
        let label = match (label, untrained) {
            (Some(label), _) => label.to_owned(),
            (None, Some(seed)) => format!("untrained-{seed}"),
            (None, None) => place.name(),
        };
        Ok(CheckpointSpec { label, source: Source { untrained, place } })
    }
}

impl Place {
    fn parse(text: &str) -> Result<Place> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Place::Folder(path.to_owned()));
        }
        if path.exists() {
            return Err(Error::new(Code::Ck01, text, "is a file")
                .expected("a checkpoint folder")
                .hint("Name the folder that holds config.json"));
        }
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let part = |p: &str| {
            !p.is_empty() && !p.starts_with('.') && p.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let parts: Vec<&str> = id.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|p| part(p)) || revision.is_empty() {
            return Err(Error::new(Code::Ck01, text, "does not exist").expected("a checkpoint folder"));
        }
        Ok(Place::Hub { id: id.to_owned(), revision: revision.to_owned() })
    }

    /// A short name: the folder's or the model's.
    pub fn name(&self) -> String {
        match self {
            Place::Folder(path) => match path.canonicalize() {
                Ok(full) => crate::io::file_name(&full),
                Err(_) => crate::io::file_name(path),
            },
            Place::Hub { id, .. } => id.rsplit('/').next().unwrap_or(id).to_owned(),
        }
    }
}

impl fmt::Display for Source {
    /// As recorded: without the directories of the user's machine.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seed) = self.untrained {
            write!(f, "untrained:{seed}:")?;
        }
        match &self.place {
            Place::Folder(_) => f.write_str(&self.place.name()),
            Place::Hub { id, revision } => write!(f, "{id}@{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bert=tuned");
        std::fs::create_dir(&path).unwrap();
        let text = path.to_str().unwrap();
        let plain = CheckpointSpec::parse(text).unwrap();
        assert_eq!(plain.label, "bert=tuned");
        let untrained = CheckpointSpec::parse(&format!("random=untrained:7:{text}")).unwrap();
        assert_eq!((untrained.label.as_str(), untrained.source.untrained), ("random", Some(7)));
        assert_eq!(untrained.source.to_string(), "untrained:7:bert=tuned");
        let hub = CheckpointSpec::parse("owner/model@v1.0").unwrap();
        assert_eq!((hub.label.as_str(), hub.source.to_string().as_str()), ("model", "owner/model@v1.0"));
    }

    #[test]
    fn nonsense_is_refused() {
        let code = |text: &str| CheckpointSpec::parse(text).unwrap_err().code();
        assert_eq!(code("=x"), Code::Fl02);
        assert_eq!(code("a="), Code::Fl02);
        assert_eq!(code("untrained:x:dir"), Code::Fl02);
        assert_eq!(code("untrained:3"), Code::Fl02);
        assert_eq!(code("./no/such/folder"), Code::Ck01);
        assert_eq!(code("/no/such/folder"), Code::Ck01);
    }
}
