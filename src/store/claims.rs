//! Who computes which unit, where several processes share one folder of units.
//!
//! Every unit has a token, a small file. A process claims a unit by renaming its token from `open` into a folder of its own:
//! of all who try, the file system lets one succeed. There is no server, and no clock decides anything. Claims of a
//! process that died stay its own until a process of the same share takes them up again; an operating-system lock says whether
//! the one before still lives. A claim only shares out work: what is computed twice is the same, and appears by a rename.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::run_dir::readable_by_all;
use crate::error::{Code, Error, Result, Warning};
use crate::io::atomic::write_error;
use crate::io::disk;

const CLAIMS: &str = "claims";
const OPEN: &str = "open";

/// Which share of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Share `index` of `count`, counted from 1.
    pub fn new(index: usize, count: usize) -> Option<Shard> {
        (1..=count).contains(&index).then_some(Shard { index, count })
    }

    /// Understands `i/n`.
    ///
    /// # Errors
    /// `FL-02` for anything else.
    pub fn parse(text: &str) -> Result<Shard> {
        let parts = text.split_once('/').and_then(|(i, n)| Shard::new(i.parse().ok()?, n.parse().ok()?));
        parts.ok_or_else(|| {
            Error::new(Code::Fl02, "--shard", format!("is {text:?}")).expected("i/n with 1 ≤ i ≤ n, such as 3/8")
        })
    }

    /// The place in `all` things where this share begins.
    pub fn start(self, all: usize) -> usize {
        (self.index - 1) * all / self.count
    }

    fn folder(self) -> String {
        format!("{}-of-{}", self.index, self.count)
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// The claims of one process.
#[derive(Debug)]
pub struct Claims {
    open: PathBuf,
    own: PathBuf,
    lock: Lock,
}

/// Which units a share has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// `i/n`.
    pub shard: String,
    /// Names of units.
    pub units: BTreeSet<String>,
    /// Whether a process of this share is at work.
    pub alive: bool,
}

impl Claims {
    /// Takes part as `shard` in the folder of units `units`; `names` are all units that there are to claim.
    ///
    /// # Errors
    /// `OD-06` naming the process that is this share already; `IO-01` where nothing can be written.
    pub fn join(units: &Path, shard: Shard, names: &[String]) -> Result<Claims> {
        let folder = units.join(CLAIMS);
        let own = folder.join(shard.folder());
        let make = |path: &Path| disk::create_dir_all(path).map_err(|e| write_error(path, "creating", e));
        make(&folder)?;
        let lock = Lock::alone(&lock_of(&own), units, &format!("shard {shard} is at work already: "))?;
        make(&own)?;
        let open = folder.join(OPEN);
        if !open.exists() {
            spread(&folder, &open, names)?;
        }
        Ok(Claims { open, own, lock })
    }

    /// Claims a unit; false when another share has it.
    ///
    /// # Errors
    /// `IO-01` when the disk refuses.
    pub fn claim(&self, name: &str) -> Result<bool> {
        let own = self.own.join(name);
        match disk::rename(&self.open.join(name), &own) {
            Ok(()) => Ok(true),
            // Over a network a rename can be done and yet be reported as failed: what counts is where the token lies.
            Err(_) if own.exists() => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(write_error(&own, "claiming", e)),
        }
    }

    /// What the user must know about the place.
    pub fn warning(&self) -> Option<Warning> {
        self.lock.warning()
    }

    /// The units that nobody has claimed, at this moment.
    ///
    /// # Errors
    /// `IO-01` when they cannot be listed: a share that saw none would take the work for done.
    pub fn open(&self) -> Result<BTreeSet<String>> {
        listed(&self.open)
    }

    /// The units that this share has claimed, in this life or an earlier one.
    ///
    /// # Errors
    /// As [`Claims::open`].
    pub fn own(&self) -> Result<BTreeSet<String>> {
        listed(&self.own)
    }
}

fn listed(folder: &Path) -> Result<BTreeSet<String>> {
    let refuse = |e| Error::new(Code::Io01, folder.display(), format!("cannot be listed: {e}")).source(e);
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(refuse)? {
        let name = entry.map_err(refuse)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            all.insert(name);
        }
    }
    Ok(all)
}

/// As [`listed`], for whoever only looks on: what cannot be listed is not there.
fn names(folder: &Path) -> BTreeSet<String> {
    listed(folder).unwrap_or_default()
}

/// The units of a folder that no share has claimed.
pub fn open_claims(units: &Path) -> BTreeSet<String> {
    names(&units.join(CLAIMS).join(OPEN))
}

/// Who has claimed what in a folder of units, by share.
pub fn holdings(units: &Path) -> Vec<Holding> {
    let folder = units.join(CLAIMS);
    let shards = names(&folder).into_iter().filter_map(|name| {
        let (index, count) = name.split_once("-of-")?;
        Some((Shard::new(index.parse().ok()?, count.parse().ok()?)?, folder.join(&name)))
    });
    let mut shards: Vec<(Shard, PathBuf)> = shards.filter(|(_, own)| own.is_dir()).collect();
    shards.sort_by_key(|(shard, _)| (shard.count, shard.index));
    let of = |(shard, own): (Shard, PathBuf)| Holding {
        shard: shard.to_string(),
        units: names(&own),
        alive: Lock::is_held(&lock_of(&own)),
    };
    shards.into_iter().map(of).collect()
}

fn lock_of(own: &Path) -> PathBuf {
    own.with_extension("lock")
}

/// Makes the tokens, all at once: whoever comes second finds them.
fn spread(folder: &Path, open: &Path, names: &[String]) -> Result<()> {
    let staging = disk::temporary_folder(".tmp-", folder);
    let staging = staging.map_err(|e| write_error(folder, "creating a directory in", e))?;
    readable_by_all(staging.path())?;
    // A folder can be renamed onto an empty one: this one never is, so that nobody spreads tokens again that all are claimed.
    for name in names.iter().map(String::as_str).chain([".spread"]) {
        let token = staging.path().join(name);
        disk::create_empty(&token).map_err(|e| write_error(&token, "creating", e))?;
    }
    match disk::rename(staging.path(), open) {
        Ok(()) => Ok(()),
        Err(_) if open.exists() => Ok(()),
        Err(e) => Err(write_error(open, "creating", e)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("unit {i:03}")).collect()
    }

    #[test]
    fn eight_claim_a_hundred_units_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let names = names(100);
        let claimed: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for i in 1..=8 {
                let (dir, names, claimed, barrier) = (&dir, &names, &claimed, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let claims = Claims::join(dir.path(), Shard::new(i, 8).unwrap(), names).unwrap();
                    for (name, count) in names.iter().zip(claimed) {
                        if claims.claim(name).unwrap() {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(claimed.iter().all(|c| c.load(Ordering::SeqCst) == 1), "{claimed:?}");
        let held = holdings(dir.path());
        assert_eq!(held.iter().map(|h| h.units.len()).sum::<usize>(), 100);
        assert!(held.iter().all(|h| !h.alive), "all are gone");
    }

    #[test]
    fn tokens_are_spread_once() {
        let dir = tempfile::tempdir().unwrap();
        let all = names(3);
        let claims = Claims::join(dir.path(), Shard::new(1, 2).unwrap(), &all).unwrap();
        assert!(all.iter().all(|name| claims.claim(name).unwrap()));
        // Somebody who saw no tokens because there were none yet, and makes his only now.
        spread(&dir.path().join(CLAIMS), &claims.open, &all).unwrap();
        assert!(claims.open().unwrap().is_empty());
        // A file system that is gone is no folder without claims.
        disk::rename(&claims.open, &dir.path().join("elsewhere")).unwrap();
        assert_eq!(claims.open().unwrap_err().code(), Code::Io01);
    }

    #[test]
    fn a_share_has_one_process_and_takes_up_its_claims_again() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Shard::parse("1/2").unwrap(), Shard::parse("2/2").unwrap());
        let first = Claims::join(dir.path(), one, &names(3)).unwrap();
        assert!(first.claim("unit 001").unwrap() && first.own().unwrap().contains("unit 001"));
        let refused = Claims::join(dir.path(), one, &names(3)).unwrap_err();
        assert_eq!(refused.code(), Code::Od06);
        let told = refused.to_string();
        assert!(told.contains("shard 1/2") && told.contains(&format!("process {}", std::process::id())), "{told}");
        let other = Claims::join(dir.path(), two, &names(3)).unwrap();
        assert!(!other.claim("unit 001").unwrap() && other.claim("unit 000").unwrap());
        assert!(holdings(dir.path()).iter().all(|h| h.alive));
        drop(first);
        let again = Claims::join(dir.path(), one, &names(3)).unwrap();
        assert_eq!((again.own().unwrap().len(), again.open().unwrap()), (1, ["unit 002".to_owned()].into()));
        let held = holdings(dir.path());
        assert_eq!((held[0].shard.as_str(), held[0].units.clone()), ("1/2", ["unit 001".to_owned()].into()));
    }

    #[test]
    fn a_disk_that_refuses_is_no_other_share() {
        let dir = tempfile::tempdir().unwrap();
        let claims = Claims::join(dir.path(), Shard::parse("1/2").unwrap(), &names(2)).unwrap();
        let broken = disk::inject(disk::Fault::Broken, 0);
        let refused = claims.claim("unit 000").unwrap_err();
        drop(broken);
        assert!(refused.code() == Code::Io01 && refused.to_string().contains("unit 000"), "{refused}");
        assert!(claims.claim("unit 000").unwrap() && !claims.claim("unit 007").unwrap());
        // A rename that is done and reported as failed.
        let broken = disk::inject(disk::Fault::Broken, 0);
        assert!(claims.claim("unit 000").unwrap() && broken.struck());
    }

    #[test]
    fn shares_are_written_i_of_n() {
        for wrong in ["", "0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"] {
            assert_eq!(Shard::parse(wrong).unwrap_err().code(), Code::Fl02, "{wrong}");
        }
        let starts: Vec<usize> = (1..=4).map(|i| Shard::new(i, 4).unwrap().start(10)).collect();
        assert_eq!(starts, [0, 2, 5, 7]);
    }
}
