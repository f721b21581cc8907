//! What lies in the cache's folder beside hidden states: what other commands keep there to be quicker the next time, and
//! what was fetched from the network.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::io::atomic::write_error;
use crate::io::disk;

/// A kind of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// What it is, in words.
    pub what: &'static str,
    /// How many there are.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it is never cleared: it came from the network and was asked for by name.
    pub stays: bool,
}

/// A kind: what it is, its folder, whether an entry is one of it, whether it stays.
type Kind = (&'static str, &'static str, fn(&str, bool) -> bool, bool);

/// Entries of other names are nobody's: they are neither counted nor removed.
const KINDS: [Kind; 4] = [
    ("factorised atlases", "atlases", |name, folder| !folder && is_hex(name.strip_suffix(".bin"), 64), false),
    ("series of parcels", "parcels", |name, folder| folder && is_hex(Some(name), 16), false),
    ("compiled kernels", "kernels", |name, folder| !folder && name.ends_with(".cubin"), false),
    ("fetched atlases", "atlases", |name, folder| folder && !name.starts_with('.'), true),
];

pub(super) fn is_hex(name: Option<&str>, digits: usize) -> bool {
    name.is_some_and(|name| name.len() == digits && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// What lies below the cache's folder `root`, kind by kind; kinds without an entry are left out.
pub fn kept(root: &Path) -> Vec<Kept> {
    let count = |kind: &Kind| {
        let entries = entries(root, kind);
        Kept { what: kind.0, entries: entries.len(), bytes: entries.iter().map(|e| size(e)).sum(), stays: kind.3 }
    };
    KINDS.iter().map(count).filter(|kept| kept.entries > 0).collect()
}

/// Removes all that does not stay; what was there.
///
/// # Errors
/// `IO-01` when something cannot be removed.
pub fn clear_kept(root: &Path) -> Result<Vec<Kept>> {
    let found = kept(root);
    for kind in KINDS.iter().filter(|kind| !kind.3) {
        for path in entries(root, kind) {
            disk::remove_if_there(&path).map_err(|e| write_error(&path, "removing", e))?;
        }
    }
    Ok(found)
}

/// Links are followed nowhere: what they point to is elsewhere.
fn entries(root: &Path, (_, folder, is_one, _): &Kind) -> Vec<PathBuf> {
    let all = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let own = all.filter(|entry| {
        let kind = entry.file_type();
        kind.is_ok_and(|k| !k.is_symlink() && is_one(&entry.file_name().to_string_lossy(), k.is_dir()))
    });
    own.map(|entry| entry.path()).collect()
}

fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_cleared_and_what_was_fetched_or_is_foreign_stays() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; bytes]).unwrap();
        };
        assert_eq!(kept(dir.path()), []);
        write(&format!("atlases/{}.bin", "0a".repeat(32)), 10);
        write("atlases/difumo-64/maps.nii.gz", 20);
        write("atlases/thesis.bin", 1);
        write(&format!("parcels/{}/run.npy", "0123456789abcdef"), 30);
        write("parcels/notes.txt", 1);
        write("kernels/ridge_path-sm_90-0123456789abcdef.cubin", 40);
        let one = |what, bytes, stays| Kept { what, entries: 1, bytes, stays };
        let all = [
            one("factorised atlases", 10, false),
            one("series of parcels", 30, false),
            one("compiled kernels", 40, false),
            one("fetched atlases", 20, true),
        ];
        assert_eq!(kept(dir.path()), all);
        assert_eq!(clear_kept(dir.path()).unwrap(), all);
        assert_eq!(kept(dir.path()), [all[3]]);
        for foreign in ["atlases/thesis.bin", "parcels/notes.txt", "atlases/difumo-64/maps.nii.gz"] {
            assert!(dir.path().join(foreign).exists(), "{foreign}");
        }
    }
}
