//! Every reader of strangers' bytes on damaged files: seeds are good files, cut, flipped, spliced and inflated at random.
//! What `fuzz/` does at length, for a second each, with a fixed seed. A panic or an abort is a defect.

#[path = "../fuzz/readers.rs"]
mod readers;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::support::corpus;
use crate::support::image::{bold, gzip};
use crate::support::study::{TinyStudy, config, npy, npz, tokenizer};

/// Damaged copies of each seed; `$BRAINSCORE_FUZZ_ROUNDS` asks for more.
fn rounds() -> usize {
    std::env::var("BRAINSCORE_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1500)
}

/// Numbers that lengths and counts like to trip over.
const EVIL: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let text = |t: &str| vec![t.as_bytes().to_vec()];
    match name {
        "nifti" => vec![bold().bytes(), gzip(&bold().bytes())],
        "npy" => vec![npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &[1; 24])],
        "npz" => {
            let array = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &[1; 24]);
            vec![npz(&[("x.npy", array.clone())]), npz(&[("x.npy", array.clone()), ("y.npy", array)])]
        }
        "pickle" => vec![
            // numpy.array([[1, 2]], dtype=float32), protocol 2, and a float.
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02c_codecs\nencode\nq\x03X\x01\x00\x00\x00bq\x04X\x06\x00\x00\x00latin1q\x05\x86q\x06Rq\x07\x87q\x08Rq\t(K\x01K\x01K\x02\x86q\ncnumpy\ndtype\nq\x0bX\x02\x00\x00\x00f4q\x0cK\x00K\x01\x87q\rRq\x0e(K\x03X\x01\x00\x00\x00<q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x10b\x89h\x03X\x08\x00\x00\x00\x00\x00\x00?\x00\x00\x00@q\x11h\x05\x86q\x12Rq\x13tq\x14b.".to_vec(),
            b"\x80\x04\x95\n\x00\x00\x00\x00\x00\x00\x00G@\x00\x00\x00\x00\x00\x00\x00.".to_vec(),
        ],
        "tar" => {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(700);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, "ds-x_sub-1.bold.pyd", &[7u8; 700][..]).unwrap();
            vec![builder.into_inner().unwrap()]
        }
        "events" => text("onset\tduration\titem\tkey\n[7][7]\t14\ta\t0\n40.5\t14\t\"b\tc\"\t3\n"),
        "table" => text("id,text,x\na,\"one, \"\"two\"\"\n three\",1\nb,four,2.5e3\n"),
        "textgrid" => text(
            "File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n0\n2\n<exists>\n1\n\"IntervalTier\"\n\"w\"\n0\n2\n2\n0\n1\n\"a\"\n1\n2\n\"b\"\n",
        ),
        "study" => vec![
            include_bytes!("../examples/ds000212/study.toml").to_vec(),
            include_bytes!("../examples/alice2016/study.toml").to_vec(),
        ],
        "gifti" => ["ASCII", "Base64Binary", "GZipBase64Binary"]
            .map(|encoding| crate::gifti::tetrahedron(encoding, false).into_bytes())
            .to_vec(),
        "sparse" => vec![crate::neurosynth::archive("csc", &[3, 2], &[0, 1, 2], &[0, 2], &[0.5, 1.0])],
        "weights" => {
            let study = TinyStudy::new();
            let weights = std::fs::read(study.path("model/model.safetensors")).unwrap();
            vec![[config().to_string().as_bytes(), b"\n", &weights].concat()]
        }
        "tokenizer" => [true, false].map(|special| tokenizer(special).to_string().into_bytes()).to_vec(),
        other => panic!("no seeds for {other}"),
    }
}

/// Whether a file of the corpus is one for a reader. `fuzz/run.sh` chooses its seeds by the same endings.
fn suits(reader: &str, file: &str) -> bool {
    let endings: &[&str] = match reader {
        "nifti" => &[".nii", ".nii.gz"],
        "npy" => &[".npy"],
        "pickle" => &[".bin", ".pyd"],
        "tar" => &[".tar"],
        "events" => &["events.tsv"],
        "table" => &[".csv", ".tsv"],
        "study" => &[".toml"],
        "gifti" => &[".gii"],
        "sparse" | "npz" => &[".npz"],
        "tokenizer" => &["tokenizer.json"],
        _ => &[],
    };
    endings.iter().any(|end| file.ends_with(end))
}

/// A damaged copy.
fn damaged(seed: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => {
                let value = EVIL[rng.random_range(0..EVIL.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.random_range(0..4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            4 => {
                let end = rng.random_range(at..bytes.len().min(at + 64));
                let piece = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let end = rng.random_range(at..bytes.len().min(at + 64));
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

/// Damage to a file that is refused at its first byte tests little: every good file is read to its end, also those that fuzzing
/// starts from.
#[test]
fn good_files_are_read_to_their_end() {
    let seeds_of_fuzzing = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, _) in readers::ALL {
        let own = seeds_of_fuzzing.join(name);
        let kept = if own.exists() { corpus::files(&own).into_values().collect() } else { Vec::new() };
        for (number, seed) in seeds(name).iter().chain(&kept).enumerate() {
            assert!(readers::run(name, seed), "{name}, seed {number}");
        }
    }
}

#[test]
fn no_reader_panics_on_damaged_files() {
    for (number, (name, _)) in readers::ALL.iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        // What lies in the corpus is read as it is; a good file or two are damaged at random.
        for seed in corpus::seeds(|file| suits(name, file)) {
            readers::run(name, &seed);
        }
        for seed in seeds(name) {
            readers::run(name, &seed);
            for _ in 0..rounds() {
                readers::run(name, &damaged(&seed, &mut rng));
            }
        }
    }
}
