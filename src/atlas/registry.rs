use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result, nearest};
use crate::ids::Digest;
use crate::io::download::{Download, download};
use crate::io::{atomic, bounded, disk};
use crate::watch::Watch;

/// Registries that come with the program.
const BUILT_IN: &[(&str, &str)] = &[
    ("difumo.toml", include_str!("../../atlases/difumo.toml")),
    ("neurosynth.toml", include_str!("../../atlases/neurosynth.toml")),
];
/// Most bytes of a file whose entry gives no limit (16 GiB).
const LIMIT: u64 = 16 << 30;
/// What was fetched from where, beside the files.
const RECORD: &str = "fetched.json";

/// An atlas that can be fetched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its name on the command line.
    pub name: String,
    /// What may be done with it.
    pub licence: String,
    /// The paper.
    pub citation: String,
    /// The space of its images.
    pub space: String,
    /// Number of maps, for a soft atlas.
    pub maps: Option<usize>,
    /// Extents of its grid.
    pub grid: Option<[usize; 3]>,
    /// Edge of a voxel (mm).
    pub voxel_mm: Option<f64>,
    /// Columns of its label table, one row per map.
    pub labels: Vec<String>,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

/// A file of an atlas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteFile {
    /// Where it is.
    pub url: String,
    /// Its name here.
    pub file: String,
    /// SHA-256, where the source publishes one.
    pub sha256: Option<Digest>,
    /// Most bytes that it may have.
    pub max_bytes: Option<u64>,
    /// Files of a zip archive that are taken out, by their last names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    licence: String,
    citation: String,
    space: String,
    #[serde(default)]
    defaults: Defaults,
    atlas: Vec<Listed>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    grid: Option<[usize; 3]>,
    voxel_mm: Option<f64>,
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    maps: Option<usize>,
    files: Vec<RemoteFile>,
}

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    /// Where from.
    pub url: String,
    /// Its name here.
    pub file: String,
    /// What it hashes to.
    pub sha256: Digest,
    /// Whether that was known before.
    pub verified: bool,
}

/// The atlases of the program, and of a registry of the user's own (`.toml`, as those in `atlases/`).
///
/// # Errors
/// `AT-04` for a registry that cannot be understood, or whose files' names are no plain names.
pub fn registry(own: Option<&Path>) -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    for (name, text) in BUILT_IN {
        all.extend(parse(text, Path::new(name))?);
    }
    if let Some(path) = own {
        let (text, _) = bounded::read_text(path, bounded::MAX_DOCUMENT_BYTES, "a registry", Code::At04)?;
        let entries = parse(&text, path)?;
        all.retain(|e: &Entry| !entries.iter().any(|o| o.name == e.name));
        all.extend(entries);
    }
    Ok(all)
}

fn parse(text: &str, path: &Path) -> Result<Vec<Entry>> {
    let fail = |found: String| Error::new(Code::At04, path.display(), found);
    let read: Registry = toml::from_str(text).map_err(|e| fail(e.message().replace('\n', ", ")).source(e))?;
    let plain = |name: &str| !name.is_empty() && !name.contains(['/', '\\', '\0']) && !name.starts_with('.');
    let names = read.atlas.iter().flat_map(|a| a.files.iter().map(|f| &f.file).chain([&a.name]));
    if let Some(bad) = names.into_iter().find(|name| !plain(name)) {
        return Err(fail(format!("names a file {bad:?}")).expected("a plain name, without folders"));
    }
    let entry = |a: Listed| Entry {
        name: a.name,
        licence: read.licence.clone(),
        citation: read.citation.clone(),
        space: read.space.clone(),
        maps: a.maps,
        grid: read.defaults.grid,
        voxel_mm: read.defaults.voxel_mm,
        labels: read.defaults.labels.clone(),
        files: a.files,
    };
    Ok(read.atlas.into_iter().map(entry).collect())
}

impl Entry {
    /// The entry of a name.
    ///
    /// # Errors
    /// `AT-04` for a name that is not in the list, with the nearest one.
    pub fn named(all: &[Entry], name: &str) -> Result<Entry> {
        all.iter().find(|e| e.name == name).cloned().ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|e| e.name.as_str()).collect();
            let error = Error::new(Code::At04, name, "is no atlas of the registry")
                .expected(format!("one of {}", names.join(", ")));
            match nearest(name, names.iter().copied()) {
                Some(near) => error.hint(format!("Did you mean {near}?")),
                None => error,
            }
        })
    }

    /// Fetches all files into `folder`/NAME; those that are there and right are left as they are.
    ///
    /// # Errors
    /// Those of [`download`]; `AT-01` for an archive without the files that the registry names.
    pub fn fetch(&self, folder: &Path, watch: &dyn Watch) -> Result<(PathBuf, Vec<Fetched>)> {
        let folder = folder.join(&self.name);
        disk::create_dir_all(&folder).map_err(|e| atomic::write_error(&folder, "creating", e))?;
        let before = fetched(&folder);
        let mut all: Vec<Fetched> = Vec::new();
        for file in &self.files {
            let path = folder.join(&file.file);
            let known = before.iter().find(|f| f.file == file.file && f.url == file.url).map(|f| f.sha256);
            let expected = file.sha256.or(known);
            let there = path.is_file() && expected.is_some() && Some(bounded::digest(&path)?) == expected;
            let sha256 = match (there, expected) {
                (true, Some(digest)) => digest,
                _ => {
                    let limit = file.max_bytes.unwrap_or(LIMIT);
                    download(Download { url: &file.url, sha256: file.sha256, limit }, &path, watch)?
                }
            };
            for member in &file.members {
                take_out(&path, member, &folder)?;
            }
            let (url, name) = (file.url.clone(), file.file.clone());
            all.push(Fetched { url, file: name, sha256, verified: file.sha256.is_some() });
        }
        let record = serde_json::to_vec_pretty(&all)
            .map_err(|e| Error::new(Code::Io01, folder.display(), format!("cannot be recorded: {e}")).source(e))?;
        atomic::write(&folder.join(RECORD), &record)?;
        Ok((folder, all))
    }
}

/// What an earlier fetch recorded.
fn fetched(folder: &Path) -> Vec<Fetched> {
    let read = bounded::read_text(&folder.join(RECORD), bounded::MAX_DOCUMENT_BYTES, "a record", Code::At04);
    read.ok().and_then(|(text, _)| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// One file of an archive, under its last name. Nothing else of the archive is written anywhere.
fn take_out(archive: &Path, member: &str, folder: &Path) -> Result<()> {
    let name = member.rsplit('/').next().unwrap_or(member);
    let target = folder.join(name);
    let fail = |what: String| Error::new(Code::At01, archive.display(), what);
    let (file, _) = bounded::open(archive)?;
    let mut zip = zip::ZipArchive::new(std::io::BufReader::new(file))
        .map_err(|e| fail(format!("is no zip archive: {e}")).source(e))?;
    let mut entry = zip.by_name(member).map_err(|e| {
        fail(format!("has no file {member:?}: {e}")).expected("the archive that the registry describes")
    })?;
    if target.metadata().is_ok_and(|m| m.len() == entry.size()) {
        return Ok(());
    }
    atomic::write_with(&target, |writer| {
        let read = std::io::copy(&mut entry, writer);
        read.map(drop).map_err(|e| atomic::write_error(&target, "unpacking", e))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_registries_are_sound() {
        let all = registry(None).unwrap();
        let maps: Vec<usize> = all.iter().filter_map(|e| e.maps).collect();
        assert_eq!(maps, [64, 128, 256, 512, 1024]);
        assert!(all.iter().flat_map(|e| &e.files).all(|f| f.url.starts_with("https://")));
        let database = Entry::named(&all, "neurosynth-v7").unwrap();
        assert!(database.files.iter().all(|f| f.sha256.is_some()));
        let error = Entry::named(&all, "difumo-1025").unwrap_err();
        assert!(error.to_string().contains("difumo-1024"), "{error}");
    }

    #[test]
    fn names_are_no_paths() {
        let text = "licence = \"\"\ncitation = \"\"\nspace = \"\"\n[[atlas]]\nname = \"a\"\n\
            files = [{ url = \"https://x\", file = \"../a\" }]\n";
        assert_eq!(parse(text, Path::new("r.toml")).unwrap_err().code(), Code::At04);
    }
}
