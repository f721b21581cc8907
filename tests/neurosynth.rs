//! Meta-analytic maps: against the reference maps, on invented databases whose answer is known, and on damaged ones.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use brainscore::error::Code;
use brainscore::io::nifti::Reader;
use serde_json::Value;
use zip::write::SimpleFileOptions;

use crate::support::image::{Image, gzip};
use crate::support::study::{listing, npy};
use crate::support::{brainscore, hostile_dir, shared};

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    vec![Code::Ns01, Code::Ns02, Code::Ns03, Code::Ns04]
}

const NAME: &str = "invented_version-1";

/// A database of 40 studies in a folder of its own: the first ten report around (-50, 20, 10) and one all report at
/// (0, -80, 0); the first ten load on topic 3 and use the word "tale".
struct Tiny {
    dir: tempfile::TempDir,
}

impl Tiny {
    fn new() -> Tiny {
        let tiny = Tiny { dir: hostile_dir() };
        tiny.write("metadata.tsv", gzip(metadata(|_| "MNI").as_bytes()));
        tiny.write("coordinates.tsv", gzip(coordinates().as_bytes()));
        tiny.rename("metadata.tsv", "metadata.tsv.gz");
        tiny.rename("coordinates.tsv", "coordinates.tsv.gz");
        tiny.write("vocab-LDA4_vocabulary.txt", "0_a_b\n1_c_d\n2_e_f\n3_tale_story\n");
        tiny.write(
            "vocab-LDA4_source-abstract_type-weight_features.npz",
            sparse(40, 4, "csc", |s, t| if t == 3 && s < 10 { 0.4 } else { 0.05 }),
        );
        tiny.write("vocab-words_vocabulary.txt", "cat\ntale\ntales of old\n");
        tiny.write(
            "vocab-words_source-title_type-count_features.npz",
            sparse(40, 3, "csr", |s, t| match (s, t) {
                (0..10, 1) => 2.0,
                (12, 2) => 1.0,
                (s, 0) => (s % 2) as f64,
                _ => 0.0,
            }),
        );
        tiny
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("data-{NAME}_{name}"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn run(&self, flags: &[&str]) -> Output {
        run(self.dir.path(), &self.dir.path().join("map.nii.gz"), &[flags, &["--overwrite"]].concat())
    }

    /// The record of a run that must succeed.
    fn made(&self, flags: &[&str]) -> Value {
        let output = self.run(&[flags, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn run(database: &Path, out: &Path, flags: &[&str]) -> Output {
    let mut command = brainscore();
    command.args(["atlas", "neurosynth", "--database"]).arg(database).arg("--out").arg(out).args(flags);
    command.output().unwrap()
}

fn metadata(space: impl Fn(usize) -> &'static str) -> String {
    let rows = (0..40).map(|s| format!("{}\t{}\t\"A \"\"quoted\"\" title\n{s}\"\n", 1000 + s, space(s)));
    format!("id\tspace\ttitle\n{}", rows.collect::<String>())
}

fn coordinates() -> String {
    let mut text = "id\ttable_id\tx\ty\tz\n".to_owned();
    for s in 0..40 {
        text += &format!("{}\t1\t0.0\t-80\t0\n", 1000 + s);
        if s < 10 {
            text += &format!("{}\t2\t-50\t{}\t10\n", 1000 + s, 20 + s % 2);
        }
    }
    text
}

/// A matrix as scipy writes it.
fn sparse(rows: usize, columns: usize, format: &str, value: impl Fn(usize, usize) -> f64) -> Vec<u8> {
    let (outer, inner) = if format == "csc" { (columns, rows) } else { (rows, columns) };
    let (mut starts, mut indices, mut data) = (vec![0i32], Vec::new(), Vec::new());
    for o in 0..outer {
        for i in 0..inner {
            let v = if format == "csc" { value(i, o) } else { value(o, i) };
            if v != 0.0 {
                indices.push(i as i32);
                data.push(v);
            }
        }
        starts.push(indices.len() as i32);
    }
    archive(format, &[rows as i64, columns as i64], &starts, &indices, &data)
}

pub fn archive(format: &str, shape: &[i64], starts: &[i32], indices: &[i32], data: &[f64]) -> Vec<u8> {
    let array = |descr: &str, shape: String, bytes: Vec<u8>| {
        npy(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"), &bytes)
    };
    let ints = |v: &[i32]| array("<i4", format!("({},)", v.len()), v.iter().flat_map(|i| i.to_le_bytes()).collect());
    let members = [
        ("indices", ints(indices)),
        ("indptr", ints(starts)),
        ("format", array("|S3", "()".to_owned(), format.as_bytes().to_vec())),
        ("shape", array("<i8", format!("({},)", shape.len()), shape.iter().flat_map(|i| i.to_le_bytes()).collect())),
        ("data", array("<f8", format!("({},)", data.len()), data.iter().flat_map(|v| v.to_le_bytes()).collect())),
    ];
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let packed = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in members {
        zip.start_file(format!("{name}.npy"), packed).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn volume(path: &Path) -> Vec<f32> {
    let mut reader = Reader::open(path).unwrap();
    let mut values = reader.buffer().unwrap();
    assert!(reader.next_volume(&mut values).unwrap());
    values
}

/// The voxel of the 2 mm MNI grid at a place.
fn voxel(x: i64, y: i64, z: i64) -> usize {
    ((90 - x) / 2 + 91 * ((y + 126) / 2 + 109 * ((z + 72) / 2))) as usize
}

#[test]
fn an_invented_database_gives_the_map_that_was_planted() {
    let tiny = Tiny::new();
    let made = tiny.made(&["--topic", "3"]);
    assert_eq!((made["n_selected"].as_u64(), made["n_studies"].as_u64()), (Some(10), Some(40)));
    assert_eq!(made["matched"], serde_json::json!(["3_tale_story"]));
    let z = volume(&tiny.dir.path().join("map.nii.gz"));
    // Ten of ten against none of thirty: chi-square is n.
    assert!((z[voxel(-50, 20, 10)] - 40f32.sqrt()).abs() < 1e-5);
    // Everyone reports there: nothing to tell apart. Nobody reports here.
    assert_eq!((z[voxel(0, -80, 0)], z[voxel(40, 0, 0)]), (0.0, 0.0));
    // y = 21 lies between two voxels and goes to the even index 74, y = 22: its sphere ends at 28, that of y = 20 at 26.
    assert_eq!(z[voxel(-50, 26, 10)], z[voxel(-50, 20, 10)]);
    assert!(z[voxel(-50, 28, 10)] > 0.0 && z[voxel(-50, 28, 10)] < z[voxel(-50, 26, 10)]);
    assert_eq!(z[voxel(-50, 30, 10)], 0.0);
    let uniformity = volume(&tiny.dir.path().join("map_uniformity.nii.gz"));
    assert!(uniformity[voxel(0, -80, 0)] > 1.0, "the selected studies are more active there than at most voxels");
    let peaks = std::fs::read_to_string(tiny.dir.path().join("map_peaks.csv")).unwrap();
    assert!(peaks.starts_with("peak,x,y,z,z_value,mm_to_higher_peak\n1,-"), "{peaks}");
    let place = [0, 1, 2].map(|axis| made["peaks"][0]["place"][axis].as_f64().unwrap());
    let apart: f64 = place.iter().zip([-50.0, 20.0, 10.0]).map(|(a, b)| (a - b).powi(2)).sum();
    assert!(apart <= 36.0, "within a sphere of the peak: {place:?}");
    let studies = std::fs::read_to_string(tiny.dir.path().join("map_studies.csv")).unwrap();
    assert!(studies.lines().count() == 11 && studies.contains("\n1009,0.4,"), "{studies}");
}

#[test]
fn terms_are_found_by_name_by_expression_and_above_a_threshold() {
    let tiny = Tiny::new();
    let count = |flags: &[&str]| tiny.made(flags)["n_selected"].as_u64().unwrap();
    assert_eq!(count(&["--term", "Tale"]), 10);
    assert_eq!(count(&["--term", "tale", "--term", "cat"]), 10 + 15);
    assert_eq!(count(&["--regex", "^tale"]), 11);
    assert_eq!(count(&["--regex", "^tale", "--threshold", "1"]), 10);
    let made = tiny.made(&["--regex", "story", "--features", "LDA4", "--threshold", "0.2"]);
    assert_eq!((made["n_selected"].as_u64(), made["threshold"].as_f64()), (Some(10), Some(0.2)));
}

#[test]
fn talairach_peaks_move_and_unknown_ones_stay() {
    let tiny = Tiny::new();
    std::fs::remove_file(tiny.path("metadata.tsv.gz")).unwrap();
    let at = |space: &'static str| {
        tiny.write("metadata.tsv", metadata(|_| space));
        let made = tiny.made(&["--topic", "3"]);
        [0, 1, 2].map(|axis| made["peaks"][0]["place"][axis].as_f64().unwrap())
    };
    assert_eq!(at("UNKNOWN"), at("MNI"));
    let (mni, moved) = (at("MNI"), at("TAL"));
    let apart: f64 = mni.iter().zip(moved).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    assert!(apart > 2.0 && apart < 10.0, "{mni:?} {moved:?}");
}

#[test]
fn a_mask_gives_the_grid() {
    let tiny = Tiny::new();
    let mut mask = Image::new(&[10, 10, 10], vec![1.0; 1000]);
    mask.rows = [[-4.0, 0.0, 0.0, -30.0], [0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 4.0, -10.0]];
    std::fs::write(tiny.dir.path().join("mask.nii"), mask.bytes()).unwrap();
    let flag = tiny.dir.path().join("mask.nii");
    let made = tiny.made(&["--topic", "3", "--mask", flag.to_str().unwrap()]);
    assert_eq!((made["n_voxels"].as_u64(), made["grid"]["shape"][0].as_u64()), (Some(1000), Some(10)));
    assert_eq!(volume(&tiny.dir.path().join("map.nii.gz")).len(), 1000);
}

#[test]
fn files_that_are_there_stay_unless_they_may_be_replaced() {
    let tiny = Tiny::new();
    let folder = tiny.dir.path();
    // 27 voxels around the peak, in the sphere of every selected study.
    let mut mask = Image::new(&[3, 3, 3], vec![1.0; 27]);
    mask.rows = [[2.0, 0.0, 0.0, -52.0], [0.0, 2.0, 0.0, 18.0], [0.0, 0.0, 2.0, 8.0]];
    std::fs::write(folder.join("map.nii"), mask.bytes()).unwrap();
    std::fs::write(folder.join("map_peaks.csv"), "somebody's own").unwrap();
    let before = listing(folder);
    let mask_flag = folder.join("map.nii").to_string_lossy().into_owned();
    let cases: [(&str, &[&str], &str, &str, i32); 4] = [
        ("map.nii.gz", &[], "OD-01", "map_peaks.csv: is there already", 4),
        ("map.nii", &["--mask", &mask_flag], "OD-03", "take the place of the mask", 2),
        ("map.nii", &["--mask", &mask_flag, "--overwrite"], "OD-03", "take the place of the mask", 2),
        ("none/map.nii.gz", &[], "OD-02", "is no directory", 4),
    ];
    for (out, flags, code, says, status) in cases {
        let output = run(folder, &folder.join(out), &[TOPIC, flags].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(code) && stderr.contains(says), "{flags:?}: {stderr}");
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert_eq!(listing(folder), before, "{flags:?}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("map_peaks.csv")).unwrap(), "somebody's own");
    let made = tiny.made(&["--topic", "3", "--mask", &mask_flag]);
    assert!(std::fs::read_to_string(folder.join("map_peaks.csv")).unwrap().starts_with("peak,"));
    assert_eq!(listing(folder).len(), before.len() + 6, "{:?}", listing(folder));
    // What lies outside the mask has no z: it is not the smallest.
    let limits = &made["association"];
    assert!((limits["z_min"].as_f64().unwrap() - 40f64.sqrt()).abs() < 1e-5, "{limits}");
}

/// What is changed, the flags, the code, and what the message must say.
type Case = (fn(&Tiny), &'static [&'static str], Code, &'static str);

const FEATURES: &str = "vocab-LDA4_source-abstract_type-weight_features.npz";
const TOPIC: &[&str] = &["--topic", "3"];

#[test]
fn damaged_databases_are_refused_by_name_and_nothing_is_written() {
    let cases: &[Case] = &[
        (
            |t| std::fs::remove_file(t.path("metadata.tsv.gz")).unwrap(),
            TOPIC,
            Code::Ns01,
            "has no file data-…_metadata.tsv.gz",
        ),
        (
            |t| std::fs::copy(t.path("metadata.tsv.gz"), t.path("metadata.tsv")).map(drop).unwrap(),
            TOPIC,
            Code::Ns01,
            "has 2 files",
        ),
        (|t| t.rename("coordinates.tsv.gz", "x_coordinates.tsv.gz"), TOPIC, Code::Ns01, "the files of one database"),
        (|t| std::fs::remove_file(t.path(FEATURES)).unwrap(), TOPIC, Code::Ns01, "has no features of topics"),
        (|_| {}, &["--topic", "7"], Code::Ns01, "has no topic 7"),
        (|_| {}, &["--term", "tail"], Code::Ns01, "Did you mean \"tale\"?"),
        (|_| {}, &["--regex", "zebra"], Code::Ns01, "has no term that \"zebra\" matches"),
        (|_| {}, &["--recipe", "tom"], Code::Ns01, "is not the vocabulary of the recipe tom"),
        (|_| {}, &["--topic", "3", "--features", "LDA400"], Code::Ns01, "whose name holds \"LDA400\""),
        (|_| {}, &["--regex", "("], Code::Fl02, "is no expression"),
        (|_| {}, &["--topic", "3", "--fdr", "0"], Code::Fl02, "--fdr"),
        (|_| {}, &["--topic", "3", "--apart", "-1"], Code::Fl02, "--apart"),
        (|_| {}, &["--topic", "3", "--threshold", "9"], Code::Ns04, "0 of 40 studies exceed 9"),
        (|_| {}, &["--topic", "3", "--threshold", "-1"], Code::Ns04, "40 of 40 studies"),
        (
            |t| t.write("coordinates.tsv.gz", gzip(coordinates().replace("1003\t1", "9999\t1").as_bytes())),
            TOPIC,
            Code::Ns02,
            "study \"9999\"",
        ),
        (|t| t.write(FEATURES, sparse(39, 4, "csc", |_, _| 0.4)), TOPIC, Code::Ns02, "has 39 rows"),
        (|t| t.write("vocab-LDA4_vocabulary.txt", "0_a\n3_b\n"), TOPIC, Code::Ns02, "has 4 columns"),
        (|t| t.write(FEATURES, "PK no zip"), TOPIC, Code::Ns03, "is no zip archive"),
        (
            |t| t.write(FEATURES, archive("coo", &[40, 4], &[0, 1], &[0], &[1.0])),
            TOPIC,
            Code::Ns03,
            "is of format \"coo\"",
        ),
        (
            |t| t.write(FEATURES, archive("csr", &[40, 4], &[0, 1], &[0], &[1.0])),
            TOPIC,
            Code::Ns03,
            "has 2 numbers for 40 lines",
        ),
        (
            |t| t.write(FEATURES, archive("csc", &[40, 4], &[0, 1, 1, 1, 2], &[0, 40], &[1.0, 1.0])),
            TOPIC,
            Code::Ns03,
            "entry 2 has index 40",
        ),
        (
            |t| t.write(FEATURES, archive("csc", &[40, 4], &[0, 1, 0, 1, 2], &[0, 4], &[1.0, 1.0])),
            TOPIC,
            Code::Ns03,
            "expected equal numbers",
        ),
        (
            |t| t.write(FEATURES, archive("csc", &[40, 4], &[0, -1, 0, 1, 2], &[0, 4], &[1.0, 1.0])),
            TOPIC,
            Code::Ns03,
            "\"indptr\" holds -1",
        ),
        (
            |t| t.write(FEATURES, archive("csc", &[40, 4, 1], &[0, 1, 1, 1, 1], &[0], &[1.0])),
            TOPIC,
            Code::Ns03,
            "a shape of 3 numbers",
        ),
        (
            |t| {
                let bytes = std::fs::read(t.path(FEATURES)).unwrap();
                t.write(FEATURES, &bytes[..bytes.len() / 2]);
            },
            TOPIC,
            Code::Ns03,
            "is no zip archive",
        ),
        (
            |t| {
                let bytes = std::fs::read(t.path("metadata.tsv.gz")).unwrap();
                t.write("metadata.tsv.gz", &bytes[..bytes.len() / 2]);
            },
            TOPIC,
            Code::Ns03,
            "is damaged",
        ),
        (|t| t.write("metadata.tsv.gz", metadata(|_| "MARS")), TOPIC, Code::Ns03, "names the space \"MARS\""),
        (
            |t| t.write("metadata.tsv.gz", metadata(|_| "MNI").replace("\n1001\t", "\n1000\t")),
            TOPIC,
            Code::Sc02,
            "\"1000\" stands twice",
        ),
        (
            |t| t.write("coordinates.tsv.gz", coordinates().replace("x\ty", "a\ty")),
            TOPIC,
            Code::Sc01,
            "has no column \"x\"",
        ),
        (
            |t| t.write("coordinates.tsv.gz", coordinates().replacen("0.0\t-80", "nan\t-80", 1)),
            TOPIC,
            Code::Sc11,
            "line 2: holds \"nan\"",
        ),
        (|t| t.write("coordinates.tsv.gz", coordinates() + "1000\t1\t2\n"), TOPIC, Code::Sc09, "has 3 fields"),
        (|t| std::fs::create_dir(t.dir.path().join("map.nii.gz")).unwrap(), TOPIC, Code::Od02, "is a directory"),
    ];
    for (number, (change, flags, code, says)) in cases.iter().enumerate() {
        let tiny = Tiny::new();
        change(&tiny);
        let before = listing(tiny.dir.path());
        let output = tiny.run(flags);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(&format!("[{code}]")) && stderr.contains(says),
            "case {number}, {code}, {says:?}: {stderr}"
        );
        assert_eq!(output.status.code(), Some(i32::from(code.status().exit_code())), "{stderr}");
        assert_eq!(listing(tiny.dir.path()), before, "case {number}");
    }
}

#[test]
fn maps_are_those_of_the_reference() {
    let Some(shared) = shared() else { return };
    let reference = shared.join("data/roi_maps");
    let golden: Value = serde_json::from_slice(&std::fs::read(reference.join("maps.json")).unwrap()).unwrap();
    let dir = hostile_dir();
    let mask = reference.join("mni152_brain_mask_2mm.nii.gz");
    let inside: Vec<bool> = volume(&mask).iter().map(|v| *v != 0.0).collect();
    let all = [
        ("neurosynth", "tom", "theory_of_mind", 742),
        ("neurosynth", "language", "language", 1396),
        ("neurosynth", "vision", "vision", 1125),
        ("neuroquery", "moral", "moral", 92),
    ];
    for (database, recipe, name, studies) in all {
        let out = dir.path().join("map.nii.gz");
        let flags = ["--recipe", recipe, "--mask", mask.to_str().unwrap(), "--json", "--overwrite"];
        let output = run(&shared.join("data").join(database), &out, &flags);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let golden = &golden[name];
        assert_eq!(made["n_selected"].as_u64(), Some(studies), "{name}");
        assert_eq!(made["association"]["fdr"]["n_positive"], golden["n_sig_vox"], "{name}");
        let (p, expected) = (made["association"]["fdr"]["p"].as_f64().unwrap(), golden["fdr_p"].as_f64().unwrap());
        assert!((p / expected - 1.0).abs() < 1e-6, "{name}: {p} instead of {expected}");
        let (z, expected) = (made["association"]["z_max"].as_f64().unwrap(), golden["z_max"].as_f64().unwrap());
        assert!((z - expected).abs() < 1e-5, "{name}: {z} instead of {expected}");
        let peaks: Vec<String> = made["peaks"].as_array().unwrap()[..8]
            .iter()
            .map(|peak| {
                let [x, y, z] = [0, 1, 2].map(|axis| peak["place"][axis].as_f64().unwrap());
                format!("({x},{y},{z}) z={:.1}", peak["z"].as_f64().unwrap())
            })
            .collect();
        assert_eq!(serde_json::json!(peaks), golden["peaks"], "{name}");
        let file = reference.join(format!("{name}_association-z.nii.gz"));
        if file.is_file() {
            let (ours, theirs) = (volume(&out), volume(&file));
            let pairs: (Vec<f64>, Vec<f64>) =
                (0..ours.len()).filter(|v| inside[*v]).map(|v| (f64::from(ours[v]), f64::from(theirs[v]))).unzip();
            let r = brainscore::stats::pearson(&pairs.0, &pairs.1).unwrap();
            assert!(r > 0.99999, "{name}: r = {r}");
        }
    }
}
