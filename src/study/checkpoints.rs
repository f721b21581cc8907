//! A list of checkpoints: a TOML file with one `[[checkpoint]]` for each.
//!
//! ```toml
//! [[checkpoint]]
//! label = "base"
//! path = "bert-base"            # as on the command line; folders relative to this file
//!
//! [[checkpoint]]
//! label = "moral-1000"
//! path = "runs/moral/step-1000"
//! base = "base"                 # what it was fine-tuned from and is compared with
//! family = "moral"              # checkpoints of one family form a series
//! steps = 1000
//! size = 110e6                  # for series along the size of models
//! ```

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use crate::compare::{Lineage, base_of};
use crate::encoder::CheckpointSpec;
use crate::error::{Code, Error, Warning, nearest};
use crate::io::{bounded, file_name, without_folders};

/// The one key at the top.
const TOP: &str = "checkpoint";
/// What may be said of a checkpoint.
const KEYS: [&str; 6] = ["label", "path", "base", "family", "steps", "size"];

/// The checkpoints of a list, in its order, with what it says of them.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointList {
    /// Where they are.
    pub specs: Vec<CheckpointSpec>,
    /// Where they come from.
    pub lineage: Vec<Lineage>,
    /// What is no checkpoint and was left out, by name.
    pub left_out: Vec<Warning>,
}

#[derive(Deserialize)]
struct File {
    checkpoint: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    label: Option<String>,
    path: String,
    base: Option<String>,
    family: Option<String>,
    steps: Option<f64>,
    size: Option<f64>,
}

impl CheckpointList {
    /// Reads a list. With `keep_going`, places that are no checkpoints are left out, unless others are compared with them
    /// or nothing would remain.
    ///
    /// # Errors
    /// All problems at once: unknown keys (`RC-01`, the nearest known one named), places that are no checkpoints, labels
    /// that stand twice (`RC-04`), bases that are not in the list or come from themselves, impossible steps and sizes
    /// (`CK-03`).
    pub fn read(path: &Path, keep_going: bool) -> std::result::Result<CheckpointList, Vec<Error>> {
        let (text, _) = bounded::read_text(path, bounded::MAX_DOCUMENT_BYTES, "a list of checkpoints", Code::Rc01)
            .map_err(|e| vec![e])?;
        CheckpointList::parse(&text, path, keep_going)
    }

    /// Parses the text of a list that lies at `path`.
    pub fn parse(text: &str, path: &Path, keep_going: bool) -> std::result::Result<CheckpointList, Vec<Error>> {
        let syntax = |e: toml::de::Error| {
            let place = e.span().map_or(path.display().to_string(), |span| keys::place(path, text, span.start));
            vec![Error::new(Code::Rc01, place, e.message().trim().replace('\n', ", ")).source(e)]
        };
        let mut problems = unknown(DeTable::parse(text).map_err(syntax)?.get_ref(), text, path);
        if !problems.is_empty() {
            return Err(problems);
        }
        let file: File = toml::from_str(text).map_err(syntax)?;
        if file.checkpoint.is_empty() {
            problems.push(Error::new(Code::Rc01, path.display(), "lists no checkpoint").expected("[[checkpoint]]"));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let (mut specs, mut lineage, mut places) = (Vec::new(), Vec::<Lineage>::new(), Vec::new());
        let mut unusable: Vec<(String, Error)> = Vec::new();
        for entry in &file.checkpoint {
            let place = keys::place(path, text, entry.span().start);
            let entry = entry.get_ref();
            if entry.label.as_ref().is_some_and(|label| label.trim().is_empty()) {
                problems.push(Error::new(Code::Ck03, &place, "label is empty").expected("a name"));
            }
            let spec = spec(entry, folder, &place);
            // What cannot be used still has a name: others may be compared with it.
            let label = match (&spec, &entry.label) {
                (Ok(spec), _) => spec.label.clone(),
                (Err(_), Some(label)) => label.clone(),
                (Err(_), None) => file_name(Path::new(&entry.path)),
            };
            if lineage.iter().any(|l| l.label == label) {
                problems.push(
                    Error::new(Code::Rc04, &place, format!("the label {label:?} stands twice"))
                        .expected("a label of its own for each checkpoint"),
                );
            }
            let impossible = |what: &str, value: f64, expected: &str| {
                Error::new(Code::Ck03, &place, format!("{what} of {label:?} is {value}")).expected(expected)
            };
            let steps = entry.steps.filter(|s| !(s.is_finite() && *s >= 0.0));
            problems.extend(steps.map(|s| impossible("steps", s, "a number that is 0 or more")));
            let size = entry.size.filter(|s| !(s.is_finite() && *s > 0.0));
            problems.extend(size.map(|s| impossible("size", s, "a number above 0")));
            match spec {
                Ok(spec) => specs.push(spec),
                Err(e) => unusable.push((label.clone(), e)),
            }
            lineage.push(Lineage {
                label,
                family: entry.family.clone(),
                base: entry.base.clone(),
                steps: entry.steps,
                size: entry.size,
            });
            places.push(place);
        }
        for (at, one) in lineage.iter().enumerate() {
            problems.extend(base_problem(one, &lineage, &places[at]));
        }
        let first = lineage.first().map_or(String::new(), |l| l.label.clone());
        let is_base = |label: &str| lineage.iter().any(|l| base_of(&lineage, &first, &l.label) == Some(label));
        let (spare, needed): (Vec<_>, Vec<_>) =
            unusable.into_iter().partition(|(label, _)| keep_going && !specs.is_empty() && !is_base(label));
        problems.extend(needed.into_iter().map(|(_, e)| e));
        if !problems.is_empty() {
            return Err(problems);
        }
        // The lineage stays whole: whether a list names bases at all does not hang on what could be used of it.
        let left_out = spare.iter().map(|(label, e)| left_out(label, e)).collect();
        Ok(CheckpointList { specs, lineage, left_out })
    }
}

/// That a checkpoint is left out, and why. A list may name one folder more than once: a checkpoint is told by its label.
pub(crate) fn left_out(label: &str, error: &Error) -> Warning {
    Warning::new(error.code().as_str(), format!("checkpoint {label:?} is left out: {}", without_folders(error)))
}

/// What the command line would have made of an entry.
fn spec(entry: &Entry, folder: &Path, place: &str) -> Result<CheckpointSpec, Error> {
    let (untrained, at) = match entry.path.strip_prefix("untrained:").and_then(|rest| rest.split_once(':')) {
        Some((seed, at)) => (format!("untrained:{seed}:"), at),
        None => (String::new(), entry.path.as_str()),
    };
    // What is no folder beside the list may be a hub id.
    let beside = folder.join(at);
    let at = if beside.exists() { beside.to_string_lossy().into_owned() } else { at.to_owned() };
    // A label in front keeps `=` in a path from being taken for the end of one.
    let mut spec = CheckpointSpec::parse(&format!("x={untrained}{at}")).map_err(|e| {
        Error::new(e.code(), place, format!("path {:?}: {}", entry.path, e.message().trim_end_matches('.')))
    })?;
    spec.label = match &entry.label {
        Some(label) => label.clone(),
        None => spec.source.untrained.map_or_else(|| spec.source.place.name(), |seed| format!("untrained-{seed}")),
    };
    Ok(spec)
}

/// Why nothing can be compared with the base of a checkpoint.
fn base_problem(one: &Lineage, all: &[Lineage], place: &str) -> Option<Error> {
    let base = one.base.as_ref()?;
    let refuse = |found: String| Error::new(Code::Ck03, place, found);
    if !all.iter().any(|l| l.label == *base) {
        let error =
            refuse(format!("base {base:?} of {:?} is not in the list", one.label)).expected("the label of another");
        return Some(match nearest(base, all.iter().map(|l| l.label.as_str())) {
            Some(near) => error.hint(format!("Did you mean {near:?}?")),
            None => error,
        });
    }
    let (mut at, mut steps) = (one, 0);
    while let Some(next) = at.base.as_ref().and_then(|b| all.iter().find(|l| l.label == *b)) {
        steps += 1;
        if next.label == one.label || steps > all.len() {
            return Some(refuse(format!("{:?} comes from itself", one.label)).expected("a base that came before it"));
        }
        at = next;
    }
    None
}

/// All keys that are unknown, with the nearest known one.
fn unknown(table: &DeTable<'_>, text: &str, path: &Path) -> Vec<Error> {
    let refuse = |what: &str, name: &str, known: &[&str], at: usize| keys::refuse(path, text, what, name, known, at);
    let mut problems = Vec::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        if name != TOP {
            problems.push(refuse("key", name, &[TOP], key.span().start));
            continue;
        }
        let DeValue::Array(entries) = value.get_ref() else { continue };
        for entry in entries.iter().filter_map(|e| e.get_ref().as_table()) {
            for (key, _) in entry.iter().filter(|(key, _)| !KEYS.contains(&key.get_ref().as_ref())) {
                problems.push(refuse("key of a checkpoint", key.get_ref().as_ref(), &KEYS, key.span().start));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<CheckpointList, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a=b")).unwrap();
        CheckpointList::parse(text, &dir.path().join("list.toml"), false)
            .map_err(|all| all.iter().map(|e| e.to_string().replace(dir.path().to_str().unwrap(), "")).collect())
    }

    #[test]
    fn a_list_says_what_the_command_line_cannot() {
        let list = parse(
            "[[checkpoint]]\nlabel = \"base\"\npath = \"a=b\"\nsize = 110e6\n[[checkpoint]]\nlabel = \"tuned\"\n\
             path = \"a=b\"\nbase = \"base\"\nfamily = \"moral\"\nsteps = 1000\n[[checkpoint]]\npath = \"untrained:3:a=b\"\n",
        )
        .unwrap();
        let labels: Vec<&str> = list.specs.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(labels, ["base", "tuned", "untrained-3"]);
        assert_eq!(list.specs[2].source.untrained, Some(3));
        assert_eq!(list.lineage[1].base.as_deref(), Some("base"));
        assert_eq!((list.lineage[1].steps, list.lineage[0].size), (Some(1000.0), Some(110e6)));
    }

    #[test]
    fn all_problems_come_at_once() {
        let found = parse(
            "[[checkpoint]]\nlabel = \"base\"\npath = \"a=b\"\nsize = 0\n[[checkpoint]]\nlabel = \"base\"\npath = \"a=b\"\n\
             base = \"bas\"\n[[checkpoint]]\nlabel = \"c\"\npath = \"./nowhere\"\n[[checkpoint]]\nlabel = \"d\"\n\
             path = \"a=b\"\nbase = \"d\"\nsteps = -1\n",
        )
        .unwrap_err();
        for says in [
            "/list.toml:1:1: size of \"base\" is 0; expected a number above 0. [CK-03]",
            "/list.toml:5:1: the label \"base\" stands twice",
            "base \"bas\" of \"base\" is not in the list; expected the label of another. Did you mean \"base\"?",
            "path \"./nowhere\": ./nowhere: does not exist",
            "steps of \"d\" is -1",
            "\"d\" comes from itself",
        ] {
            assert!(found.iter().any(|f| f.contains(says)), "{says}: {found:#?}");
        }
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn what_is_no_checkpoint_is_left_out_unless_others_need_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let parse = |text: &str| CheckpointList::parse(text, &dir.path().join("list.toml"), true);
        let one = |label: &str, path: &str, base: &str| {
            format!("[[checkpoint]]\nlabel = \"{label}\"\npath = \"{path}\"\n{base}\n")
        };
        let tuned = one("tuned", "a", "base = \"base\"");
        let gone = one("gone", "./nowhere", "base = \"base\"");
        let list = parse(&[one("base", "a", ""), gone.clone(), tuned.clone()].concat()).unwrap();
        assert_eq!((list.specs.len(), list.lineage.len()), (2, 3));
        let said = list.left_out[0].message.as_str();
        assert!(
            said.starts_with("checkpoint \"gone\" is left out: list.toml:") && said.contains("./nowhere"),
            "{said}"
        );
        // The base itself: refused for what it is, and not as one that is not in the list.
        let found = parse(&[one("base", "./nowhere", ""), tuned].concat()).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("path \"./nowhere\""), "{found:?}");
        // Without bases the first one is what all are compared with; and of one alone nothing would remain.
        assert_eq!(parse(&[one("first", "./nowhere", ""), one("b", "a", "")].concat()).unwrap_err().len(), 1);
        assert_eq!(parse(&one("alone", "./nowhere", "")).unwrap_err().len(), 1);
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest() {
        let found = parse("[[checkpoint]]\npath = \"a=b\"\nstep = 3\n[[chekpoint]]\npath = \"x\"\n").unwrap_err();
        assert!(found[0].contains("/list.toml:3:1: unknown key of a checkpoint \"step\""), "{found:?}");
        assert!(found[0].contains("Did you mean \"steps\"?") && found[1].contains("Did you mean \"checkpoint\"?"));
        assert!(parse("checkpoint = 3\n").unwrap_err()[0].contains("[RC-01]"));
        assert!(parse("").unwrap_err()[0].contains("[RC-01]"));
    }
}
