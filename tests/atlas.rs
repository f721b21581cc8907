//! Fetching an atlas, from a server on this machine: complete, cut short, changed, refused, and a disk that is full.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use brainscore::error::Code;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{brainscore, hostile_dir};

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    vec![Code::At01, Code::At02, Code::At03, Code::At04]
}

/// What the server does with a request for a file.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Sends it, or the rest that was asked for.
    Good,
    /// Says how long it is, sends half of it and hangs up.
    Cuts,
    /// Has no such file.
    Gone,
}

pub struct Server {
    pub address: String,
    mood: Arc<Mutex<Mood>>,
    /// The headers of every request that ask for a part.
    ranges: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(content: Vec<u8>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (mood, ranges) = (Arc::new(Mutex::new(Mood::Good)), Arc::new(Mutex::new(Vec::new())));
        let (now, seen) = (Arc::clone(&mood), Arc::clone(&ranges));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut from = 0;
                for line in BufReader::new(&mut stream).lines() {
                    let line = line.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    let lower = line.to_lowercase();
                    if let Some(range) = lower.strip_prefix("range: bytes=") {
                        from = range.trim_end_matches('-').parse().unwrap();
                        seen.lock().unwrap().push(lower);
                    }
                }
                let rest = &content[from..];
                let mood = *now.lock().unwrap();
                let head = match (mood, from) {
                    (Mood::Gone, _) => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                    (_, 0) => format!("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: {}\r\n\r\n", rest.len()),
                    _ => format!(
                        "HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                        content.len() - 1,
                        content.len(),
                        rest.len()
                    ),
                };
                let body = match mood {
                    Mood::Good => rest,
                    Mood::Cuts => &rest[..rest.len() / 2],
                    Mood::Gone => &[],
                };
                // A client that has heard enough hangs up.
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok();
                stream.shutdown(std::net::Shutdown::Both).ok();
            }
        });
        Server { address, mood, ranges }
    }

    fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

fn content() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 8).to_le_bytes()).collect()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

struct Place {
    folder: tempfile::TempDir,
    server: Server,
}

impl Place {
    fn new(sha256: &str) -> Place {
        let place = Place { folder: hostile_dir(), server: Server::start(content()) };
        place.registry(&format!(
            "url = \"{}/maps\", file = \"maps.nii.gz\", sha256 = \"{sha256}\"",
            place.server.address
        ));
        place
    }

    fn registry(&self, file: &str) {
        let text = format!(
            "licence = \"free\"\ncitation = \"none\"\nspace = \"MNI\"\n[[atlas]]\nname = \"tiny\"\nmaps = 3\nfiles = [{{ {file} }}]\n"
        );
        std::fs::write(self.folder.path().join("own.toml"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = brainscore();
        command.args(["atlas", "fetch", "tiny", "--json", "--registry"]).arg(self.folder.path().join("own.toml"));
        command.arg("--out").arg(self.folder.path().join("out"));
        command
    }

    fn fetch(&self) -> Output {
        self.command().output().unwrap()
    }

    fn files(&self) -> Vec<String> {
        crate::support::study::listing(&self.folder.path().join("out/tiny"))
    }

    fn refused(&self, output: &Output, code: &str, status: i32, says: &str) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(&format!("[{code}]")) && stderr.contains(says), "{stderr}");
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        let maps = self.folder.path().join("out/tiny/maps.nii.gz");
        assert!(!maps.exists(), "nothing has the file's name before it is the file");
    }
}

#[test]
fn a_file_is_fetched_once_and_verified() {
    let place = Place::new(&hex(&content()));
    let found: Value = serde_json::from_slice(&place.fetch().stdout).unwrap();
    assert_eq!((&found["files"][0]["verified"], &found["files"][0]["sha256"]), (&true.into(), &hex(&content()).into()));
    assert_eq!(place.files(), ["fetched.json", "maps.nii.gz"]);
    assert_eq!(std::fs::read(place.folder.path().join("out/tiny/maps.nii.gz")).unwrap(), content());
    // What is there and right is not fetched again: the server would not even have it.
    place.server.mood(Mood::Gone);
    assert!(place.fetch().status.success());
    // What is there and wrong is.
    std::fs::write(place.folder.path().join("out/tiny/maps.nii.gz"), "changed").unwrap();
    assert_eq!(place.fetch().status.code(), Some(4));
}

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let place = Place::new(&"0".repeat(64));
    let output = place.fetch();
    place.refused(&output, "AT-01", 4, &hex(&content()));
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped() {
    let place = Place::new(&hex(&content()));
    place.server.mood(Mood::Cuts);
    let output = place.fetch();
    place.refused(&output, "AT-02", 4, "goes on where it stopped");
    let half = content().len() / 2;
    assert_eq!(std::fs::metadata(place.folder.path().join("out/tiny/maps.nii.gz.part")).unwrap().len(), half as u64);
    place.server.mood(Mood::Good);
    let output = place.fetch();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(*place.server.ranges.lock().unwrap(), [format!("range: bytes={half}-")]);
    assert_eq!(std::fs::read(place.folder.path().join("out/tiny/maps.nii.gz")).unwrap(), content());
    assert_eq!(place.files(), ["fetched.json", "maps.nii.gz"]);
}

/// A part that was damaged in the meantime shows in the digest of the whole.
#[test]
fn a_damaged_part_is_not_trusted() {
    let place = Place::new(&hex(&content()));
    place.server.mood(Mood::Cuts);
    place.fetch();
    place.server.mood(Mood::Good);
    let part = place.folder.path().join("out/tiny/maps.nii.gz.part");
    let mut bytes = std::fs::read(&part).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    let output = place.fetch();
    place.refused(&output, "AT-01", 4, "Nothing was kept");
    assert!(place.fetch().status.success(), "the next try begins anew");
}

#[test]
fn files_that_are_gone_or_too_large_are_refused() {
    let place = Place::new(&hex(&content()));
    place.server.mood(Mood::Gone);
    let output = place.fetch();
    place.refused(&output, "AT-02", 4, "the server answers 404");
    place.server.mood(Mood::Good);
    place.registry(&format!("url = \"{}/maps\", file = \"maps.nii.gz\", max_bytes = 1000", place.server.address));
    let output = place.fetch();
    place.refused(&output, "AT-01", 4, "is larger than 1000 bytes");
}

/// Every byte beyond a limit on files fails to be written, as on a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_leaves_no_file() {
    let place = Place::new(&hex(&content()));
    let command = place.command();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("trap '' XFSZ; ulimit -f 64; exec \"$@\"").arg("sh").arg(command.get_program());
    shell.args(command.get_args()).envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = shell.output().unwrap();
    place.refused(&output, "IO-01", 4, "maps.nii.gz.part");
    // With room again the rest comes.
    assert!(place.fetch().status.success());
}

#[test]
fn addresses_and_registries_are_checked() {
    let place = Place::new(&hex(&content()));
    place.registry("url = \"http://example.org/maps\", file = \"maps.nii.gz\"");
    let output = place.fetch();
    place.refused(&output, "AT-03", 3, "expected https://");
    place.registry("url = \"https://example.org/maps\", file = \"../../maps.nii.gz\"");
    let output = place.fetch();
    place.refused(&output, "AT-04", 3, "expected a plain name");
    let output = brainscore().args(["atlas", "show", "difumo-1023"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("Did you mean difumo-1024?"));
    let output = brainscore().args(["atlas", "list"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("difumo-64") && text.contains("non-commercial"), "{text}");
}

/// An archive gives the files that the registry names, and no others.
#[test]
fn archives_give_what_is_named() {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("3/maps.nii.gz", &b"maps"[..]), ("3/labels.csv", b"labels"), ("../evil", b"evil")] {
        zip.start_file(name, plain).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let place = Place { folder: hostile_dir(), server: Server::start(bytes) };
    let members = "members = [\"3/maps.nii.gz\", \"3/labels.csv\"]";
    place.registry(&format!("url = \"{}/x\", file = \"tiny.zip\", {members}", place.server.address));
    let output = place.fetch();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.files(), ["fetched.json", "labels.csv", "maps.nii.gz", "tiny.zip"]);
    let mut maps = String::new();
    let path = place.folder.path().join("out/tiny/maps.nii.gz");
    std::fs::File::open(path).unwrap().read_to_string(&mut maps).unwrap();
    assert_eq!(maps, "maps");
}
