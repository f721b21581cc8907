//! Files from the network, only when the user asks for one: streamed, hashed on the way, verified before they get their
//! name, resumed where a transfer was cut.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{atomic, disk};
use crate::error::{Code, Error, Result};
use crate::ids::Digest;
use crate::watch::Watch;

/// Bytes that are read at a time.
const STEP: usize = 1 << 16;

/// What is to be fetched.
#[derive(Debug, Clone, Copy)]
pub struct Download<'a> {
    /// Where from: `https://…`, or `http://` on this machine.
    pub url: &'a str,
    /// What its bytes must hash to, where that is known.
    pub sha256: Option<Digest>,
    /// Most bytes that are taken.
    pub limit: u64,
}

/// Fetches a file to `path`. The bytes stand in `<path>.part` until they are complete and their digest is right; only then
/// does the file get its name. A transfer that was cut goes on where it stopped if the server still has the same file
/// (`If-Range`), and begins anew otherwise.
///
/// # Errors
/// `AT-01` when the bytes are not those that were expected (nothing is kept), `AT-02` when they cannot be had (what came is
/// kept for the next time), `AT-03` for an address that is not allowed; `IO-01` and the like for the disk.
pub fn download(what: Download<'_>, path: &Path, watch: &dyn Watch) -> Result<Digest> {
    check_address(what.url)?;
    let part = with_ending(path, ".part");
    let mark = with_ending(path, ".part.mark");
    let (mut hash, mut have) = (Sha256::new(), 0u64);
    let validator = std::fs::read_to_string(&mark).ok().filter(|v| !v.is_empty());
    if let Some(validator) = &validator
        && part.is_file()
    {
        have = hash_file(&part, &mut hash)?;
        if have == 0 || validator.contains(['\r', '\n']) {
            (hash, have) = (Sha256::new(), 0);
        }
    }
    let asked = if have > 0 { validator.as_deref().map(|v| (have, v)) } else { None };
    let mut answer = get(what.url, asked)?;
    if have > 0 && !answer.continues_at(have) {
        (hash, have) = (Sha256::new(), 0);
    }
    let write_failed = |e| atomic::write_error(&part, "writing", e);
    let mut file = disk::open_to_write(&part, have > 0).map_err(|e| atomic::write_error(&part, "creating", e))?;
    match &answer.validator {
        Some(validator) => atomic::write(&mark, validator.as_bytes())?,
        None => drop(std::fs::remove_file(&mark)),
    }
    watch.begin(&super::file_name(path), "bytes", answer.length.map_or(0, |n| n + have));
    watch.advance(have);
    let mut buffer = vec![0u8; STEP];
    let mut came = 0u64;
    loop {
        watch.check()?;
        let n = answer.body.read(&mut buffer).map_err(|e| cut(what.url, &format!("the transfer was cut: {e}")))?;
        if n == 0 {
            break;
        }
        came += n as u64;
        if have + came > what.limit {
            drop(file);
            forget(&part, &mark);
            let found = format!("is larger than {} bytes", what.limit);
            return Err(Error::new(Code::At01, what.url, found).expected("the file that the registry describes"));
        }
        hash.update(&buffer[..n]);
        disk::Sink(&mut file).write_all(&buffer[..n]).map_err(write_failed)?;
        watch.advance(n as u64);
    }
    watch.end();
    disk::sync_file(&file).map_err(write_failed)?;
    if let Some(length) = answer.length.filter(|length| *length != came) {
        return Err(cut(what.url, &format!("the transfer was cut: {came} of {length} bytes came")));
    }
    let digest = Digest(hash.finalize().into());
    if let Some(expected) = what.sha256.filter(|expected| *expected != digest) {
        forget(&part, &mark);
        return Err(Error::new(Code::At01, what.url, format!("has the SHA-256 {digest}"))
            .expected(format!("{expected}, as the registry says"))
            .hint("Nothing was kept. Try again; if it stays so, the file was changed at its source"));
    }
    disk::rename(&part, path).map_err(|e| atomic::write_error(path, "renaming to", e))?;
    std::fs::remove_file(&mark).ok();
    atomic::sync_directory(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    Ok(digest)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn forget(part: &Path, mark: &Path) {
    std::fs::remove_file(part).ok();
    std::fs::remove_file(mark).ok();
}

fn hash_file(path: &Path, hash: &mut Sha256) -> Result<u64> {
    let fail = |e| Error::io(path.display(), "reading", e);
    let mut file = File::open(path).map_err(fail)?;
    let (mut buffer, mut total) = (vec![0u8; STEP], 0);
    loop {
        let n = file.read(&mut buffer).map_err(fail)?;
        if n == 0 {
            return Ok(total);
        }
        hash.update(&buffer[..n]);
        total += n as u64;
    }
}

fn cut(url: &str, what: &str) -> Error {
    Error::new(Code::At02, url, what)
        .expected("the whole file")
        .hint("Run again: the transfer goes on where it stopped")
}

/// Encrypted, or within this machine.
fn check_address(url: &str) -> Result<()> {
    let host = |rest: &str| rest.split(['/', ':', '?']).next().unwrap_or_default().to_owned();
    let local =
        url.strip_prefix("http://").is_some_and(|rest| ["127.0.0.1", "localhost"].contains(&host(rest).as_str()));
    if url.starts_with("https://") || local {
        return Ok(());
    }
    Err(Error::new(Code::At03, url, "is no address that is fetched from").expected("https://…"))
}

/// What a server says.
struct Answer {
    status: u16,
    range: Option<String>,
    length: Option<u64>,
    validator: Option<String>,
    body: Box<dyn std::io::Read>,
}

impl Answer {
    /// Whether the body is the rest from byte `at` of the file that was asked for.
    fn continues_at(&self, at: u64) -> bool {
        let starts = |range: &String| range.strip_prefix("bytes ").is_some_and(|r| r.starts_with(&format!("{at}-")));
        self.status == 206 && self.range.as_ref().is_some_and(starts)
    }
}

#[cfg(feature = "hub")]
fn get(url: &str, resume: Option<(u64, &str)>) -> Result<Answer> {
    let agent = ureq::Agent::config_builder()
        .https_only(url.starts_with("https://"))
        .timeout_connect(Some(std::time::Duration::from_secs(30)))
        .timeout_recv_response(Some(std::time::Duration::from_secs(60)))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if let Some((at, validator)) = resume {
        request = request.header("Range", format!("bytes={at}-")).header("If-Range", validator);
    }
    let answer = request.call().map_err(|e| cut(url, &format!("cannot be reached: {e}")).source(e))?;
    let status = answer.status().as_u16();
    if !matches!(status, 200 | 206) {
        return Err(Error::new(Code::At02, url, format!("the server answers {status}"))
            .expected("the file")
            .hint("The registry may be out of date; give the files a place by hand"));
    }
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    // A weak validator promises no equal bytes.
    let validator = header("etag").filter(|tag| !tag.starts_with("W/"));
    let (range, length) = (header("content-range"), header("content-length").and_then(|n| n.parse().ok()));
    Ok(Answer { status, range, length, validator, body: Box::new(answer.into_body().into_reader()) })
}

#[cfg(not(feature = "hub"))]
fn get(url: &str, _: Option<(u64, &str)>) -> Result<Answer> {
    Err(Error::new(Code::At02, url, "this build cannot download").hint("Build with the feature `hub`"))
}
