//! The corpus of odd and bad inputs: `tests/bad/KIND/CODE-SLUG/` holds the files that make the input what it is, and
//! `expected.txt`, all that the program says about it.
//!
//! The cases in the tests are the generators: each changes a good study, run or file. What a case makes and what the program
//! says must be what lies in the corpus, byte for byte; `BRAINSCORE_BLESS=1 cargo test --release` writes it anew, and a look at the
//! difference says what that changed. The files are also the seeds of the fuzz targets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Files of a folder by their paths within it, `/` between folders.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The largest file that is kept; of larger ones only their size is.
const KEPT_BYTES: usize = 16 << 10;
const EXPECTED: &str = "expected.txt";
/// What stands for the case's folder in messages.
const FOLDER: &str = "FOLDER";

/// The corpus.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad")
}

/// All regular files below a folder.
pub fn files(folder: &Path) -> Files {
    fn collect(folder: &Path, before: &str, found: &mut Files) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{before}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                collect(&entry.path(), &format!("{name}/"), found);
            } else if kind.is_file() {
                found.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut found = Files::new();
    collect(folder, "", &mut found);
    found
}

/// Files of a run that hold times, which no two runs share.
pub const TIMED: [&str; 3] = ["run.json", "report.html", "report.md"];

/// What a run writes, but for the files that hold times.
pub fn results(folder: &Path) -> Files {
    files(folder).into_iter().filter(|(name, _)| !TIMED.contains(&name.as_str())).collect()
}

/// One input and what came of it.
pub struct Observed<'a> {
    /// `KIND/CODE-SLUG`.
    pub name: &'a str,
    /// Where the input lay.
    pub folder: &'a Path,
    /// What lay there before the change; nothing where the input is all there is.
    pub good: &'a Files,
    /// And after it.
    pub bad: &'a Files,
    pub output: &'a Output,
}

impl Observed<'_> {
    /// What is not as the corpus has it.
    pub fn complaints(&self) -> Vec<String> {
        let said = String::from_utf8_lossy(&self.output.stderr);
        let folder = self.folder.to_str().unwrap();
        // Some messages quote what stands on the command line.
        let quoted = format!("{folder:?}");
        let said = said.replace(folder, FOLDER).replace(quoted.trim_matches('"'), FOLDER);
        let mut wrong = Vec::new();
        for never in
            ["panicked", "defect of its own", env!("CARGO_MANIFEST_DIR"), std::env::temp_dir().to_str().unwrap()]
        {
            if said.contains(never) {
                wrong.push(format!("says {never:?}"));
            }
        }
        let mut expected = format!("exit {}\n", self.output.status.code().map_or("none".to_owned(), |c| c.to_string()));
        let mut kept = Files::new();
        for (name, bytes) in self.bad.iter().filter(|(name, bytes)| self.good.get(*name) != Some(bytes)) {
            if bytes.len() > KEPT_BYTES {
                expected += &format!("made {name}: {} bytes\n", bytes.len());
            } else {
                kept.insert(name.clone(), bytes.clone());
            }
        }
        for name in self.good.keys().filter(|name| !self.bad.contains_key(*name)) {
            expected += &format!("without {name}\n");
        }
        kept.insert(EXPECTED.to_owned(), (expected + &said).into_bytes());
        // Messages of the operating system are those of Unix.
        if cfg!(unix) {
            wrong.extend(self.settle(&kept));
        }
        wrong.into_iter().map(|w| format!("{}: {w}\n    {said}", self.name)).collect()
    }

    fn settle(&self, made: &Files) -> Vec<String> {
        let place = root().join(self.name);
        let there = if place.is_dir() { files(&place) } else { Files::new() };
        if there == *made {
            return Vec::new();
        }
        if std::env::var_os("BRAINSCORE_BLESS").is_some() {
            std::fs::remove_dir_all(&place).ok();
            for (name, bytes) in made {
                let path = place.join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            return Vec::new();
        }
        let text =
            |files: &Files| files.get(EXPECTED).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
        let different = |name: &&String| there.get(*name) != made.get(*name);
        let names: Vec<&String> = there.keys().chain(made.keys().filter(|n| !there.contains_key(*n))).collect();
        vec![format!(
            "is not what tests/bad has ({:?}); expected\n{}",
            names.into_iter().filter(different).collect::<Vec<_>>(),
            text(&there)
        )]
    }
}

/// The names of all fixtures that lie in the corpus.
pub fn names() -> Vec<String> {
    let mut found = Vec::new();
    for kind in super::study::listing(&root()) {
        found.extend(super::study::listing(&root().join(&kind)).into_iter().map(|name| format!("{kind}/{name}")));
    }
    found
}

/// The files of all fixtures whose names the filter takes: seeds for readers.
pub fn seeds(wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    files(&root()).into_iter().filter(|(name, _)| !name.ends_with(EXPECTED) && wanted(name)).map(|(_, b)| b).collect()
}
