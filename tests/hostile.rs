//! Files from strangers who mean harm: bombs, claims, code, paths, links. Each is refused or inert, and no process needs more than
//! 500 MB to find that out. Names that are markup, formulas or escapes are tested where they are shown: `batch`, `rois`, `odd`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::image::{Image, TinyRun, bold};
use crate::support::study::{TinyStudy, listing, npy, npz};
use crate::support::{brainscore, hostile_dir};

/// Bytes that no refusal may need.
const MOST_MIB: u64 = 500;

/// Runs a command; its output, and the most memory that it held in MiB (what the process itself finds in
/// `/proc/self/status` as it ends).
fn measured(command: &mut Command) -> (Output, u64) {
    let folder = hostile_dir();
    let log = folder.path().join("log");
    let output = command.arg("--log").arg(&log).output().unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains(" ends with status "), "the process ended by itself: {text}");
    let mib = last.split(", ").nth(1).and_then(|m| m.split(' ').next()).and_then(|m| m.parse().ok());
    (output, if cfg!(target_os = "linux") { mib.unwrap() } else { 0 })
}

fn refused(name: &str, command: &mut Command, code: &str, says: &str) -> u64 {
    let (output, mib) = measured(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("[{code}]")) && said.contains(says), "{name}: {said}");
    assert_eq!(output.status.code(), Some(3), "{name}: {said}");
    assert!(mib < MOST_MIB, "{name}: {mib} MiB");
    println!("{name}: {code}, {mib} MiB at most");
    mib
}

fn compare(study: &TinyStudy) -> Command {
    study.compare("out", &["--unique", "none"])
}

/// `head`, then so many zeros, compressed.
fn bomb(head: &[u8], zeros: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(head).unwrap();
    let piece = vec![0; 1 << 20];
    (0..zeros >> 20).for_each(|_| packed.write_all(&piece).unwrap());
    packed.finish().unwrap()
}

#[test]
fn bombs_and_claims_are_refused_in_little_memory() {
    let run = TinyRun::new();
    let before = listing(run.dir.path());
    // 768 MiB behind the last volume, in less than 4 MiB.
    let bytes = bomb(&bold().bytes(), 768 << 20);
    assert!(bytes.len() < 4 << 20);
    run.write("bold.nii", &bytes);
    refused("gzip bomb behind an image", &mut run.parcellate("bold.nii", "out"), "NI-07", "after its last volume");
    // The same as an atlas, whose header claims the zeros: maps of 768 MiB.
    let claims = Image { dim: vec![512, 512, 768, 1], ..Image::new(&[1, 1, 1], Vec::new()) };
    run.write("bold.nii", bold().bytes());
    run.write("bold-2.nii.gz", crate::support::image::gzip(&claims.bytes()));
    refused(
        "image that claims more than it can hold",
        &mut run.parcellate("bold-2.nii.gz", "out"),
        "NI-09",
        "can hold",
    );
    std::fs::remove_file(run.path("bold-2.nii.gz")).unwrap();
    assert_eq!(listing(run.dir.path()), before);

    let study = TinyStudy::new();
    // 1 TB in a header.
    study.write("y.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (500000, 500000), }", &[0; 24]));
    study.edit("study.toml", "responses.csv\"\nsubject = \"subject\"", "y.npy\"\nrows_in_order = true");
    refused("npy of 1 TB", &mut compare(&study), "RS-03", "claims shape [500000, 500000]");
    let mut fit = brainscore();
    fit.arg("fit").arg("--x").arg(study.path("y.npy")).arg("--y").arg(study.path("y.npy"));
    fit.arg("--folds").arg(study.path("y.npy")).arg("--out").arg(study.path("out"));
    refused("npy of 1 TB to fit", &mut fit, "RS-03", "claims shape");
    study.edit("study.toml", "y.npy", "y.npz");
    let zeros = npy("{'descr': '|i1', 'fortran_order': False, 'shape': (30, 8947848), }", &vec![0; 30 * 8_947_848]);
    study.write("y.npz", npz(&[("y.npy", zeros)]));
    assert!(std::fs::metadata(study.path("y.npz")).unwrap().len() < 1 << 20);
    refused("zip bomb of an array", &mut compare(&study), "RS-10", "(2147483520 as float64) and takes");
    study.write("y.npz", npz(&[("../../y.npy", vec![0; 24])]));
    refused("array that leads elsewhere", &mut compare(&study), "RS-10", "has a member");
    assert!(!study.path("out").exists());
}

/// A tar whose member claims a terabyte, and one that is a gzip bomb by content: read as what they are.
#[test]
fn archives_are_no_larger_than_their_files() {
    let mut header = tar::Header::new_gnu();
    header.set_path("ds-x_sub-1.bold.pyd").unwrap();
    header.set_size(1 << 40);
    header.set_mode(0o644);
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &[7; 700]].concat();
    let error = brainscore::io::tar::parse(&bytes, Path::new("a.tar")).unwrap_err();
    assert_eq!(error.code().as_str(), "RS-13");
    let packed = bomb(b"", 64 << 20);
    let error = brainscore::io::tar::parse(&packed, Path::new("a.tar")).unwrap_err();
    assert_eq!(error.code().as_str(), "RS-13", "{error}");
}

/// Weights that would run a program, and lists of shards that lead out of the folder.
#[test]
fn checkpoints_run_nothing_and_lead_nowhere() {
    let study = TinyStudy::new();
    let canary = study.path("canary");
    let call = format!("touch '{}'", canary.display().to_string().replace('\'', "'\\''"));
    let pickle =
        [b"\x80\x02cposix\nsystem\nX".as_slice(), &(call.len() as u32).to_le_bytes(), call.as_bytes(), b"\x85R."]
            .concat();
    let weights = std::fs::read(study.path("model/model.safetensors")).unwrap();
    std::fs::remove_file(study.path("model/model.safetensors")).unwrap();
    study.write("model/pytorch_model.bin", &pickle);
    refused("pickle with a call", &mut compare(&study), "ST-13", "posix.system");
    std::fs::remove_file(study.path("model/pytorch_model.bin")).unwrap();
    study.write("stolen.safetensors", &weights);
    for shard in ["../stolen.safetensors", "/etc/passwd", "..", "a/../../stolen.safetensors"] {
        let index = json!({"weight_map": {"embeddings.word_embeddings.weight": shard}});
        study.write("model/model.safetensors.index.json", index.to_string());
        refused(shard, &mut compare(&study), "ST-11", shard);
    }
    assert!(!canary.exists() && !study.path("out").exists());
}

/// Members of a zip archive are read by their names and never written by them.
#[test]
fn archives_of_arrays_are_not_unpacked() {
    let folder = hostile_dir();
    let inner = folder.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    let array = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]);
    let members = ["../evil.npy", "/tmp/evil.npy", "../../indices.npy", "data.npy"].map(|name| (name, array.clone()));
    let bytes = npz(&members);
    let path = inner.join("a.npz");
    std::fs::write(&path, &bytes).unwrap();
    let error = brainscore::io::sparse::Sparse::parse(&bytes, &path).unwrap_err();
    assert_eq!(error.code().as_str(), "NS-03", "{error}");
    for outside in &members[..3] {
        let error = brainscore::io::npz::parse(&npz(std::slice::from_ref(outside)), &path, None).unwrap_err();
        assert!(error.code().as_str() == "RS-10" && error.to_string().contains("has a member"), "{error}");
    }
    // Zeros: 64 MiB in 64 KiB.
    let zeros = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (8388608,), }", &vec![0; 64 << 20]);
    let error = brainscore::io::npz::parse(&npz(&[("y.npy", zeros)]), &path, Some("y")).unwrap_err();
    assert!(error.code().as_str() == "RS-10" && error.to_string().contains("67108864 as float64"), "{error}");
    assert_eq!((listing(folder.path()), listing(&inner)), (vec!["a".to_owned()], vec!["a.npz".to_owned()]));
}

/// Links that wait in an output folder others may write to: nothing is written through them.
#[cfg(unix)]
#[test]
fn links_are_not_written_through() {
    use std::os::unix::fs::symlink;
    let study = TinyStudy::new();
    study.write("victim", "precious");
    // The place itself, its lock, and (by name) what stands in it.
    symlink("model", study.path("out")).unwrap();
    let (output, _) = measured(&mut compare(&study));
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("[OD-02]"));
    std::fs::remove_file(study.path("out")).unwrap();
    symlink("victim", study.path(".out.lock")).unwrap();
    let (output, _) = measured(&mut compare(&study));
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((study.read("victim"), study.path("out").exists()), ("precious".to_owned(), false));
    std::fs::remove_file(study.path(".out.lock")).unwrap();

    let run = TinyRun::new();
    run.write("victim", "precious");
    std::fs::create_dir(run.path("out")).unwrap();
    for end in ["npy", "parquet", "json"] {
        symlink(run.path("victim"), run.path("out").join(format!("bold_parcels.{end}"))).unwrap();
    }
    let (output, _) = measured(&mut run.parcellate("bold.nii", "out"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(run.path("victim")).unwrap(), "precious");
    assert!(!run.path("out/bold_parcels.npy").is_symlink());
}

/// Memory for a hundred checkpoints is memory for ten: what is kept of each is its scores.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_checkpoints() {
    let study = TinyStudy::new();
    let most = |others: &str| {
        let mut command = compare(&study);
        command.args(["--threads", "2", "--untrained", others, "--no-cache", "--permutations", "100", "--overwrite"]);
        let (output, mib) = measured(&mut command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        mib
    };
    let (ten, hundred) = (most("9"), most("99"));
    println!("10 checkpoints {ten} MiB, 100 checkpoints {hundred} MiB");
    assert!(hundred < ten + 30, "10 checkpoints need {ten} MiB, 100 need {hundred}");
}
