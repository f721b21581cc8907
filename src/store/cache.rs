//! Pooled hidden states on disk, so that no text runs twice through one checkpoint.
//!
//! An entry's name is a digest of everything that decides its content (weights, configuration, tokenizer, token ids,
//! pooling, version of the code); its content carries a checksum. Entries are written beside their place and renamed, so
//! any number of processes may share a cache, and a killed one leaves no half entry. Whatever does not verify is removed
//! and computed again: a cache can cost time, never a wrong number.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::io::atomic::{place, write_error};
use crate::io::binary::{Binary, seal, unseal};
use crate::io::disk;
use crate::store::kept::is_hex;

/// Folder of the entries; a change of their format takes a new one.
const BUCKET: &str = "states-1";
const MAGIC: &[u8; 8] = b"BRSTATE1";
/// Leftovers of killed writers are removed once they are this old.
const STALE_SECONDS: u64 = 3600;

/// A cache of hidden states in a folder.
#[derive(Debug)]
pub struct StateCache {
    bucket: PathBuf,
    limit: u64,
    damaged: AtomicUsize,
    unwritten: AtomicUsize,
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheContent {
    /// Number of entries.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that did not verify and were removed (after [`StateCache::verify`]).
    pub damaged: usize,
}

impl StateCache {
    /// A cache below `root`, which is created when it does not exist, of at most `limit` bytes.
    ///
    /// A folder that cannot be created or written is no error: what is there is read, nothing is kept.
    pub fn open(root: &Path, limit: u64) -> StateCache {
        let bucket = root.join(BUCKET);
        disk::create_dir_all(&bucket).ok();
        StateCache { bucket, limit, damaged: AtomicUsize::new(0), unwritten: AtomicUsize::new(0) }
    }

    /// Where entries are kept.
    pub fn folder(&self) -> &Path {
        &self.bucket
    }

    /// The folder that was given, in which entries have one of their own.
    pub fn root(&self) -> &Path {
        self.bucket.parent().unwrap_or(&self.bucket)
    }

    fn path(&self, key: Digest) -> PathBuf {
        let name = key.to_string();
        self.bucket.join(&name[..2]).join(name)
    }

    /// The values stored under `key`, if there are exactly `len` of them and their checksum holds.
    pub fn get(&self, key: Digest, len: usize) -> Option<Vec<f32>> {
        let path = self.path(key);
        let bytes = fs::read(&path).ok()?;
        let Some(values) = decode(&bytes).filter(|v| v.len() == len) else {
            fs::remove_file(&path).ok();
            self.damaged.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // The time of last use decides what leaves first when the cache is full; nothing else depends on it.
        disk::touch(&path).ok();
        Some(values)
    }

    /// Stores values under `key`. Failing to is no error: the values are at hand.
    pub fn put(&self, key: Digest, values: &[f32]) {
        if self.store(&self.path(key), values).is_err() {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn store(&self, path: &Path, values: &[f32]) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(&self.bucket);
        disk::create_dir_all(folder)?;
        // One that a crash swallows is computed again.
        place(path, &encode(values))
    }

    /// Entries that were damaged and removed since the cache was opened.
    pub fn damaged(&self) -> usize {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Entries that could not be written since the cache was opened (read-only folder, full disk).
    pub fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// All entries: path, bytes, time of last use. Files of other names, and in other folders, are somebody else's.
    fn entries(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let mut all = Vec::new();
        let named = |entry: &fs::DirEntry, digits: usize| is_hex(entry.file_name().to_str(), digits);
        for folder in fs::read_dir(&self.bucket).into_iter().flatten().flatten().filter(|f| named(f, 2)) {
            for entry in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                if entry.file_name().to_string_lossy().starts_with(".tmp-") {
                    let age = used.elapsed().map_or(0, |a| a.as_secs());
                    if age > STALE_SECONDS {
                        fs::remove_file(entry.path()).ok();
                    }
                    continue;
                }
                if !named(&entry, 64) || !meta.is_file() {
                    continue;
                }
                all.push((entry.path(), meta.len(), used));
            }
        }
        all
    }

    /// What the cache holds.
    pub fn content(&self) -> CacheContent {
        let entries = self.entries();
        CacheContent { entries: entries.len(), bytes: entries.iter().map(|e| e.1).sum(), damaged: 0 }
    }

    /// Reads every entry and removes those whose checksum does not hold.
    pub fn verify(&self) -> CacheContent {
        let mut damaged = 0;
        for (path, _, _) in self.entries() {
            if !fs::read(&path).is_ok_and(|bytes| decode(&bytes).is_some()) {
                fs::remove_file(&path).ok();
                damaged += 1;
            }
        }
        CacheContent { damaged, ..self.content() }
    }

    /// Removes entries, least recently used first, until the rest fits the limit.
    pub fn trim(&self) {
        let mut entries = self.entries();
        let mut bytes: u64 = entries.iter().map(|e| e.1).sum();
        if bytes <= self.limit {
            return;
        }
        entries.sort_by(|a, b| (a.2, &a.0).cmp(&(b.2, &b.0)));
        for (path, size, _) in entries {
            if bytes <= self.limit {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                bytes -= size;
            }
        }
    }

    /// Removes all entries.
    ///
    /// # Errors
    /// `IO-01` when one cannot be removed.
    pub fn clear(&self) -> Result<CacheContent> {
        let content = self.content();
        for (path, _, _) in self.entries() {
            disk::remove_if_there(&path).map_err(|e| write_error(&path, "removing", e))?;
        }
        Ok(content)
    }
}

/// The folder of the user's cache: `$BRAINSCORE_CACHE`, else `brainscore` in the system's place for caches.
pub fn default_cache_folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("BRAINSCORE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("brainscore")))
        .or_else(|| set("HOME").map(|p| p.join(".cache/brainscore")))
        .ok_or_else(|| {
            Error::new(Code::Od02, "cache", "has no place: neither BRAINSCORE_CACHE, XDG_CACHE_HOME nor HOME is set")
                .hint("Give --cache-dir DIR, or --no-cache")
        })
}

fn encode(values: &[f32]) -> Vec<u8> {
    seal(MAGIC, |bytes| {
        bytes.reserve(4 * values.len() + 64);
        values.len().write(bytes);
        values.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    })
}

fn decode(bytes: &[u8]) -> Option<Vec<f32>> {
    let mut data = unseal(MAGIC, bytes)?;
    let count = usize::read(&mut data)?;
    let fits = data.len() == count.checked_mul(4)?;
    fits.then(|| data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::digest;

    fn key(n: u8) -> Digest {
        digest(&[n])
    }

    #[test]
    fn entries_come_back_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StateCache::open(dir.path(), u64::MAX);
        let values = [1.0, -2.5, f32::MIN_POSITIVE];
        assert_eq!(cache.get(key(1), 3), None);
        cache.put(key(1), &values);
        assert_eq!(cache.get(key(1), 3).as_deref(), Some(&values[..]));
        assert_eq!((cache.content().entries, cache.damaged()), (1, 0));
        assert_eq!(cache.get(key(1), 4), None, "another shape is another thing");
        assert_eq!((cache.content().entries, cache.damaged()), (0, 1));
    }

    #[test]
    fn every_flipped_or_missing_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StateCache::open(dir.path(), u64::MAX);
        let whole = encode(&[1.0, 2.0]);
        let path = cache.path(key(1));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for bytes in [&flipped[..], &whole[..at]] {
                fs::write(&path, bytes).unwrap();
                assert_eq!(cache.get(key(1), 2), None);
                assert!(!path.exists());
            }
        }
        fs::write(&path, &whole[..5]).unwrap();
        assert_eq!(cache.verify(), CacheContent { entries: 0, bytes: 0, damaged: 1 });
    }

    #[test]
    fn files_of_others_are_neither_counted_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StateCache::open(dir.path(), 0);
        cache.put(key(1), &[1.0]);
        let name = "0a".repeat(32);
        let others = ["run/scores.csv", "0a/notes.txt", &format!("run/{name}"), &format!("0a/{name}.bin")];
        for other in others {
            let path = cache.folder().join(other);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "precious").unwrap();
        }
        assert_eq!((cache.content().entries, cache.verify().damaged), (1, 0));
        cache.trim();
        assert_eq!((cache.content().entries, cache.clear().unwrap().entries), (0, 0));
        assert!(others.iter().all(|other| cache.folder().join(other).exists()));
    }

    #[test]
    fn the_least_recently_used_leave_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = StateCache::open(dir.path(), 3 * encode(&[0.0; 10]).len() as u64);
        for n in 0..5 {
            cache.put(key(n), &[f32::from(n); 10]);
            let age = std::time::Duration::from_secs(1000 - 100 * u64::from(n));
            let file = fs::File::options().append(true).open(cache.path(key(n))).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        assert!(cache.get(key(0), 10).is_some(), "using it makes it the youngest");
        cache.trim();
        let left: Vec<bool> = (0..5).map(|n| cache.path(key(n)).exists()).collect();
        assert_eq!(left, [true, false, false, true, true]);
        assert_eq!(cache.clear().unwrap().entries, 3);
        assert_eq!(cache.content().entries, 0);
    }
}
