//! Finished units of a run that is not finished: a hidden folder `.NAME.units` beside the place `NAME` of its results.
//!
//! `plan.json` says what is computed, in names and digests; every other file is one unit, sealed with a checksum and the
//! digest of its plan. Units appear by a rename, whole, and what does not verify is removed and reported: a folder of units
//! can save time, it never decides a number. The folder is no result: it may hold paths of this machine, and it goes when
//! the run is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::run_dir::parent_and_name;
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::atomic::{self, place, write_error};
use crate::io::binary::{Binary, seal, unseal};
use crate::io::{bounded, digest, disk};

/// Version of plan and units; another one is another plan.
const FORMAT: u32 = 2;
const PLAN: &str = "plan.json";
const MAGIC: &[u8] = b"BRUNIT01";
const EXTENSION: &str = "unit";

/// What the units of a folder belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitsPlan {
    /// Version of the format.
    pub format: u32,
    /// Everything that decides the bytes of a unit, under names for people.
    pub identity: BTreeMap<String, String>,
    /// Bytes of memory that the computations of a unit may take: they keep to those of the process that began.
    pub memory: u64,
    /// The command that began, where others shall be able to take part.
    pub command: Option<Command>,
}

/// A command line and where it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The working directory.
    pub directory: String,
    /// Arguments, the program's name left out.
    pub arguments: Vec<String>,
}

/// One thing in which two plans differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanDifference {
    /// What.
    pub name: String,
    /// What it was in the first plan, if anything.
    pub then: Option<String>,
    /// What it is in the second.
    pub now: Option<String>,
}

impl PlanDifference {
    /// As a problem of the place where the first plan stands.
    pub fn problem(&self, code: Code, place: &Path, hint: &str) -> Error {
        let digest = |v: &str| v.len() == 64 && v.bytes().all(|b| b.is_ascii_hexdigit());
        let quoted = |value: &Option<String>| match value {
            None => "absent".to_owned(),
            Some(v) if digest(v) => format!("{}…", &v[..12]),
            Some(v) => format!("{v:?}"),
        };
        Error::new(
            code,
            place.display(),
            format!("{} was {} and is {} now", self.name, quoted(&self.then), quoted(&self.now)),
        )
        .expected("the same plan")
        .hint(hint)
    }
}

/// All differences between two identities, by name.
pub fn differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<PlanDifference> {
    let mut names: Vec<&String> = then.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let of = |name: &String| PlanDifference {
        name: name.clone(),
        then: then.get(name).cloned(),
        now: now.get(name).cloned(),
    };
    names.into_iter().map(of).filter(|d| d.then != d.now).collect()
}

impl UnitsPlan {
    /// A plan of the present format.
    pub fn new(identity: BTreeMap<String, String>, memory: u64, command: Option<Command>) -> UnitsPlan {
        UnitsPlan { format: FORMAT, identity, memory, command }
    }

    /// Digest of what decides the bytes of units.
    fn digest(&self) -> Digest {
        let mut bytes = self.format.to_le_bytes().to_vec();
        for (name, value) in &self.identity {
            name.write(&mut bytes);
            value.write(&mut bytes);
        }
        digest(&bytes)
    }
}

/// The folder of the units of one plan.
#[derive(Debug, Clone)]
pub struct UnitFolder {
    folder: PathBuf,
    plan: Digest,
}

/// What a look for a unit gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Absent,
    /// There was one that does not verify; it has been removed.
    Damaged,
    /// There is one that the system does not give, and why.
    Unreadable(ErrorKind),
    /// Its content.
    Whole(Vec<u8>),
}

impl UnitFolder {
    /// Where the units of the results at `target` are kept.
    ///
    /// # Errors
    /// `OD-02` for a target without a name or without a parent directory.
    pub fn beside(target: &Path) -> Result<PathBuf> {
        let (parent, name) = parent_and_name(target)?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".units");
        Ok(parent.join(hidden))
    }

    /// The plan of a folder; none where there is no folder or no plan in it.
    ///
    /// # Errors
    /// `OD-07` for a plan that cannot be read.
    pub fn plan(folder: &Path) -> Result<Option<UnitsPlan>> {
        let path = folder.join(PLAN);
        if !path.exists() {
            return Ok(None);
        }
        let unreadable = |why: String| {
            Error::new(Code::Od07, path.display(), format!("cannot be read: {why}"))
                .expected("what the unfinished run there was computing")
                .hint("Run without --resume and --shard: it starts over")
        };
        let (text, _) = bounded::read_text(&path, bounded::MAX_DOCUMENT_BYTES, "a plan", Code::Od07)?;
        let plan: UnitsPlan = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()).source(e))?;
        if plan.format != FORMAT {
            return Err(unreadable(format!("its format is {}, this program reads {FORMAT}", plan.format)));
        }
        Ok(Some(plan))
    }

    /// Names of the units in a folder, whatever they belong to.
    pub fn names(folder: &Path) -> BTreeSet<String> {
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
        let units = files.filter(|path| path.extension().is_some_and(|e| e == EXTENSION));
        units.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect()
    }

    /// Their number.
    pub fn count(folder: &Path) -> usize {
        UnitFolder::names(folder).len()
    }

    /// A new folder with `plan`, which appears whole. Whatever else has the name is removed before.
    ///
    /// # Errors
    /// `IO-01` when it cannot be written.
    pub fn replace(folder: &Path, plan: &UnitsPlan) -> Result<UnitFolder> {
        UnitFolder::remove(folder)?;
        UnitFolder::create(folder, plan)
    }

    /// As [`UnitFolder::replace`], but fails where there is such a folder.
    pub fn create(folder: &Path, plan: &UnitsPlan) -> Result<UnitFolder> {
        let staging = aside(folder)?;
        let written = serde_json::to_vec_pretty(plan)
            .map_err(|e| Error::new(Code::Io01, folder.display(), format!("cannot be written: {e}")).source(e));
        let placed = written.and_then(|json| atomic::write(&staging.join(PLAN), &json)).and_then(|()| {
            super::run_dir::readable_by_all(&staging)?;
            disk::rename(&staging, folder).map_err(|e| write_error(folder, "creating", e))
        });
        if placed.is_err() {
            fs::remove_dir_all(&staging).ok();
        }
        placed.map(|()| UnitFolder::open(folder, plan))
    }

    /// A folder that is there and whose plan is `plan`.
    pub fn open(folder: &Path, plan: &UnitsPlan) -> UnitFolder {
        UnitFolder { folder: folder.to_owned(), plan: plan.digest() }
    }

    /// Removes a folder of units, if there is one, under another name: nobody sees half of it. A file or a link of that name
    /// goes as well, what a link points to stays.
    ///
    /// # Errors
    /// `IO-01` when it cannot be moved.
    pub fn remove(folder: &Path) -> Result<()> {
        let refused = |e| write_error(folder, "removing", e);
        match fs::symlink_metadata(folder) {
            Err(_) => return Ok(()),
            Ok(meta) if !meta.is_dir() => return fs::remove_file(folder).map_err(refused),
            Ok(_) => {}
        }
        let away = aside(folder)?;
        if let Err(e) = disk::rename(folder, &away) {
            fs::remove_dir(&away).ok();
            return Err(refused(e));
        }
        fs::remove_dir_all(&away).map_err(|e| write_error(&away, "removing", e))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{EXTENSION}"))
    }

    /// Whether there is a unit of this name; whether it verifies is seen when it is read.
    pub fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        UnitFolder::count(&self.folder)
    }

    /// Whether there is no unit.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The content of a unit.
    pub fn get(&self, name: &str) -> Found {
        let path = self.file(name);
        match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Found::Absent,
            Ok(mut bytes) => match self.content(name, &bytes) {
                Some(content) => {
                    bytes.truncate(content.end);
                    bytes.drain(..content.start);
                    Found::Whole(bytes)
                }
                None => {
                    self.discard(name);
                    Found::Damaged
                }
            },
            // It may be whole: a disk that cannot give it back now, permissions.
            Err(e) => Found::Unreadable(e.kind()),
        }
    }

    /// Removes a unit. What cannot be removed costs space and nothing else.
    pub fn discard(&self, name: &str) {
        fs::remove_file(self.file(name)).ok();
    }

    /// Where in the bytes of a file the content stands.
    fn content(&self, name: &str, bytes: &[u8]) -> Option<Range<usize>> {
        let sealed = unseal(MAGIC, bytes)?;
        let (plan, mut body) = sealed.split_at_checked(self.plan.0.len())?;
        let of_this = plan == self.plan.0 && String::read(&mut body)? == name;
        let end = MAGIC.len() + sealed.len();
        of_this.then(|| end - body.len()..end)
    }

    /// Keeps a unit.
    pub fn put(&self, name: &str, fill: impl FnOnce(&mut Vec<u8>)) -> std::io::Result<()> {
        let bytes = seal(MAGIC, |to| {
            to.extend_from_slice(&self.plan.0);
            name.to_owned().write(to);
            fill(to);
        });
        place(&self.file(name), &bytes)
    }
}

/// An empty directory beside `folder`; [`super::RunDir::stage`] removes what killed processes leave of them.
fn aside(folder: &Path) -> Result<PathBuf> {
    let (parent, name) = parent_and_name(folder)?;
    let mut prefix = name.to_owned();
    prefix.push("-");
    let made = disk::temporary_folder(&prefix, &parent);
    Ok(made.map_err(|e| write_error(&parent, "creating a directory in", e))?.keep())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(threads: &str) -> UnitsPlan {
        let identity = [("threads", threads), ("study", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        UnitsPlan::new(identity.into(), 1 << 30, None)
    }

    fn filled() -> (tempfile::TempDir, UnitFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = UnitFolder::beside(&dir.path().join("out")).unwrap();
        let units = UnitFolder::create(&folder, &plan("2")).unwrap();
        units.put("a", |to| to.extend_from_slice(b"content")).unwrap();
        (dir, units)
    }

    #[test]
    fn units_come_back_to_their_plan_and_under_their_name_alone() {
        let (dir, units) = filled();
        assert_eq!(units.get("a"), Found::Whole(b"content".to_vec()));
        assert_eq!((units.get("b"), units.len(), units.has("a")), (Found::Absent, 1, true));
        assert_eq!(UnitFolder::plan(&units.folder).unwrap(), Some(plan("2")));
        fs::copy(units.file("a"), units.file("b")).unwrap();
        assert_eq!(units.get("b"), Found::Damaged, "a unit under another's name");
        let other = UnitFolder::open(&units.folder, &plan("1"));
        assert_eq!(other.get("a"), Found::Damaged, "a unit of another plan");
        assert!(!units.has("a") && !units.has("b"), "what does not verify is removed");
        UnitFolder::remove(&units.folder).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_flipped_or_missing_byte_is_noticed() {
        let (_dir, units) = filled();
        let whole = fs::read(units.file("a")).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            for bytes in [&flipped[..], &whole[..at]] {
                fs::write(units.file("a"), bytes).unwrap();
                assert_eq!(units.get("a"), Found::Damaged);
                assert!(!units.has("a"));
            }
        }
        fs::write(units.file("a"), &whole).unwrap();
        assert_eq!(units.get("a"), Found::Whole(b"content".to_vec()));
    }

    #[test]
    fn a_folder_is_made_once_and_replaced_as_a_whole() {
        let (dir, units) = filled();
        assert_eq!(UnitFolder::create(&units.folder, &plan("2")).unwrap_err().code(), Code::Io01);
        let again = UnitFolder::replace(&units.folder, &plan("1")).unwrap();
        assert!(again.is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::write(units.folder.join(PLAN), "{").unwrap();
        assert_eq!(UnitFolder::plan(&units.folder).unwrap_err().code(), Code::Od07);
    }

    #[test]
    fn what_has_the_name_of_the_folder_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let folder = UnitFolder::beside(&dir.path().join("out")).unwrap();
        fs::write(&folder, "a file").unwrap();
        UnitFolder::replace(&folder, &plan("1")).unwrap();
        assert!(folder.join(PLAN).is_file());
        #[cfg(unix)]
        {
            let elsewhere = tempfile::tempdir().unwrap();
            fs::write(elsewhere.path().join("kept"), "").unwrap();
            UnitFolder::remove(&folder).unwrap();
            std::os::unix::fs::symlink(elsewhere.path(), &folder).unwrap();
            UnitFolder::replace(&folder, &plan("1")).unwrap();
            assert!(elsewhere.path().join("kept").exists() && !folder.join("kept").exists());
        }
        // The folder for what is removed is made; the rename into it fails.
        let broken = disk::inject(disk::Fault::Broken, 1);
        assert_eq!(UnitFolder::remove(&folder).unwrap_err().code(), Code::Io01);
        drop(broken);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_unit_that_cannot_be_read_is_left_alone() {
        let (_dir, units) = filled();
        fs::create_dir(units.file("b")).unwrap();
        assert!(matches!(units.get("b"), Found::Unreadable(_)) && units.has("b"));
    }

    #[test]
    fn plans_differ_by_name() {
        let (then, mut now) = (plan("2").identity, plan("1").identity);
        now.remove("study");
        now.insert("gap".to_owned(), "2".to_owned());
        let found = differences(&then, &now);
        assert_eq!(found.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["gap", "study", "threads"]);
        let text = found[2].problem(Code::Od07, Path::new("x"), "Undo it").to_string();
        assert_eq!(text, "x: threads was \"2\" and is \"1\" now; expected the same plan. Undo it. [OD-07]");
        assert!(differences(&then, &then).is_empty());
    }
}
