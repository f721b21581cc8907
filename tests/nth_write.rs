//! Every writer, failing at its 1st, 2nd, … last operation on the disk: the old output is intact or the new one complete, no
//! temporary file is left, and the error names the place and leads to exit status 4.
//!
//! After SQLite (sqlite.org/testing.html, "I/O error testing"). Where a writer has more operations than a test run has time for, some of
//! them are taken; `BRAINSCORE_NTH=all cargo test --release --test tests nth_write -- --nocapture` takes all and says how many.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use brainscore::compute::device::Device;
use brainscore::encoder::{CheckpointSpec, LongText, Pooling};
use brainscore::error::{Problems, Status};
use brainscore::io::disk::{Fault, inject};
use brainscore::io::download::{Download, download};
use brainscore::io::table::{Output, OutputTable, write_csv_batches, write_parquet_batches};
use brainscore::io::{atomic, bounded, digest, gifti, nifti, npy};
use brainscore::pipeline::{self, ArrayFit, Destination, ExtractPlan, MapsSpec, Resume, Want};
use brainscore::store::StateCache;
use brainscore::study::{LayerSelection, Overrides, Plan, UniqueLayers};
use brainscore::watch::Quiet;
use ndarray::Array2;

use crate::atlas::Server;
use crate::support::corpus::{Files, files};
use crate::support::hostile_dir;
use crate::support::image::{Image, TinyRun, noise};
use crate::support::study::{TinyStudy, listing};

type Done = Result<(), Problems>;

/// Writers with more operations than this have only the first, the last and one between them fail in a usual test run.
const USUAL: u64 = 24;

struct Writer<'a> {
    name: &'static str,
    /// Puts inputs and an old output into a folder.
    prepare: &'a dyn Fn(&Path),
    /// Writes the new output.
    write: &'a dyn Fn(&Path) -> Done,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// All of the output appears at once.
    AtOnce,
    /// Each file by itself appears at once.
    ByFile,
    /// As `ByFile`, and what came of a download stays for the next time.
    Kept,
    /// What cannot be written is no error.
    Silent,
}

fn writer<'a>(
    name: &'static str,
    kind: Kind,
    prepare: &'a dyn Fn(&Path),
    write: &'a dyn Fn(&Path) -> Done,
) -> Writer<'a> {
    Writer { name, prepare, write, kind }
}

/// Whether every operation of every writer is to fail.
fn all() -> bool {
    std::env::var("BRAINSCORE_NTH").is_ok_and(|n| n == "all")
}

/// Makes the operations of a writer fail in turn; how many it has.
fn survive(writer: &Writer<'_>) -> u64 {
    let all = all();
    let fresh = || {
        let folder = hostile_dir();
        (writer.prepare)(folder.path());
        folder
    };
    let folder = fresh();
    let old = files(folder.path());
    let counted = inject(Fault::Broken, u64::MAX);
    (writer.write)(folder.path()).unwrap();
    let operations = counted.operations();
    drop(counted);
    let new = files(folder.path());
    assert!(operations > 0 && new != old, "{}: nothing was written", writer.name);
    let step = if all || operations <= USUAL { 1 } else { operations.div_ceil(2) };
    for fault in [Fault::Full, Fault::Broken, Fault::Short] {
        // Another phase for each fault, and always the first and the last operation.
        let chosen =
            (0..operations).filter(|n| (n + fault as u64).is_multiple_of(step) || *n == 0 || n + 1 == operations);
        for n in if fault == Fault::Short { vec![0] } else { chosen.collect() } {
            let at = format!("{}, {fault:?} at operation {n} of {operations}", writer.name);
            let folder = fresh();
            let faulty = inject(fault, n);
            let result = (writer.write)(folder.path());
            let struck = faulty.struck();
            drop(faulty);
            // Finished units stay for --resume. A lock that could not be asked for may be somebody's: the next run removes it.
            let lock = |name: &str| fault == Fault::Broken && name.ends_with(".lock");
            let unit = |name: &str| name.starts_with(".out.units") || lock(name);
            let found: Files = files(folder.path()).into_iter().filter(|(name, _)| !unit(name)).collect();
            let hidden: Vec<_> =
                listing(folder.path()).into_iter().filter(|n| n.starts_with('.') && !unit(n)).collect();
            assert!(hidden.is_empty(), "{at}: {hidden:?} is left");
            check(writer, &old, &new, &found, result.is_ok(), &at);
            if let Err(problems) = result {
                assert!(struck && fault != Fault::Short && writer.kind != Kind::Silent, "{at}: {problems}");
                assert_eq!(problems.status(), Status::Environment, "{at}: {problems}");
                let place = folder.path().file_name().unwrap().to_string_lossy().into_owned();
                assert!(problems.to_string().contains(&place), "{at}: {problems}");
            }
        }
    }
    operations
}

fn check(writer: &Writer<'_>, old: &Files, new: &Files, found: &Files, done: bool, at: &str) {
    let kept = |name: &str| writer.kind == Kind::Kept && (name.ends_with(".part") || name.ends_with(".mark"));
    for name in found.keys() {
        let temporary = name.split('/').any(|part| part.starts_with('.'));
        assert!(!temporary, "{at}: {name} is left");
    }
    let is_old = |name: &String| found.get(name) == old.get(name);
    let is_new = |name: &String| match (found.get(name), new.get(name)) {
        (Some(a), Some(b)) => a == b || volatile(name) && whole(name, a),
        (a, b) => a.is_none() && b.is_none(),
    };
    let names: Vec<&String> = old.keys().chain(new.keys()).chain(found.keys()).filter(|n| !kept(n)).collect();
    let (all_old, all_new) = (names.iter().all(|n| is_old(n)), names.iter().all(|n| is_new(n)));
    match writer.kind {
        _ if done && writer.kind != Kind::Silent => {
            let wrong: Vec<_> = names.iter().filter(|n| !is_new(n)).collect();
            assert!(all_new, "{at}: success, but {wrong:?} is not new");
        }
        Kind::AtOnce | Kind::Silent => {
            let half: Vec<_> = names.iter().map(|n| (n, is_old(n), is_new(n))).collect();
            assert!(all_old || all_new, "{at}: half (old, new): {half:?}");
        }
        Kind::ByFile | Kind::Kept => {
            let half: Vec<_> = names.iter().filter(|n| !is_old(n) && !is_new(n)).collect();
            // The record of parcels goes first and comes last, so that it never vouches for what is not there.
            let half: Vec<_> = half.into_iter().filter(|n| !n.ends_with(".json") || found.contains_key(**n)).collect();
            assert!(half.is_empty(), "{at}: half: {half:?}");
        }
    }
}

/// Files that hold times, which no two runs share.
fn volatile(name: &str) -> bool {
    ["run.json", "fit.json", "report.html", "report.md"].iter().any(|end| name.ends_with(end))
}

fn whole(name: &str, bytes: &[u8]) -> bool {
    match name.rsplit('.').next() {
        Some("json") => serde_json::from_slice::<serde_json::Value>(bytes).is_ok(),
        Some("html") => bytes.ends_with(b"</html>\n"),
        _ => bytes.ends_with(b"\n"),
    }
}

fn report(found: &[(&str, u64)]) {
    for (name, operations) in found {
        println!("{name}: {operations} operations");
    }
    println!("{} writers, {} operations, 0 half files", found.len(), found.iter().map(|f| f.1).sum::<u64>());
}

fn old(name: &'static str) -> impl Fn(&Path) {
    move |folder| std::fs::write(folder.join(name), "old").unwrap()
}

fn table(rows: usize) -> OutputTable {
    let values = noise(rows, 3).into_iter().map(|v| (v > -0.4).then_some(v)).collect();
    OutputTable::new(vec![
        ("name", Output::Text((0..rows).map(|i| format!("row \"{i}\"")).collect())),
        ("n", Output::Integer((0..rows as i64).collect())),
        ("value", Output::Real(values)),
    ])
}

/// Faults are injected per thread: work in parallel has to stay on this one.
fn alone() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap()
}

#[test]
fn every_file_is_whole_or_as_before() {
    let _pool = alone();
    let image = noise(600, 5).iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let affine = [[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let (surface, _) = {
        let folder = hostile_dir();
        let path = folder.path().join("a.surf.gii");
        std::fs::write(&path, crate::gifti::tetrahedron("Base64Binary", false)).unwrap();
        gifti::read(&path).unwrap()
    };
    let content: Vec<u8> = (0..200_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let server = Server::start(content.clone());
    let url = format!("{}/maps", server.address);
    let key = digest(b"key");
    let entry = |folder: &Path| {
        let cache = StateCache::open(folder, u64::MAX);
        cache.put(key, &image);
        Ok(())
    };
    let found: Vec<(&str, u64)> = [
        writer("bytes", Kind::AtOnce, &old("a"), &|f| Ok(atomic::write(&f.join("a"), &content)?)),
        writer("csv", Kind::AtOnce, &old("a.csv"), &|f| Ok(table(2000).write_csv(&f.join("a.csv"))?)),
        writer("parquet", Kind::AtOnce, &old("a.parquet"), &|f| Ok(table(2000).write_parquet(&f.join("a.parquet"))?)),
        writer("csv in batches", Kind::AtOnce, &old("a.csv"), &|f| {
            Ok(write_csv_batches(&f.join("a.csv"), |append| (1..4).try_for_each(|n| append(&table(n * 300))))?)
        }),
        writer("parquet in batches", Kind::AtOnce, &old("a.parquet"), &|f| {
            Ok(write_parquet_batches(&f.join("a.parquet"), |append| (1..4).try_for_each(|n| append(&table(n * 300))))?)
        }),
        writer("npy", Kind::AtOnce, &old("a.npy"), &|f| {
            Ok(npy::write(&f.join("a.npy"), Array2::from_shape_vec((20, 30), noise(600, 1)).unwrap().view())?)
        }),
        writer("nifti", Kind::AtOnce, &old("a.nii.gz"), &|f| {
            Ok(nifti::write(&f.join("a.nii.gz"), [10, 10, 6], &affine, 0.0, &[&image])?)
        }),
        writer("gifti", Kind::AtOnce, &old("a.gii"), &|f| Ok(gifti::write(&f.join("a.gii"), &surface)?)),
        writer("cache entry", Kind::Silent, &|_| {}, &entry),
        writer("download", Kind::Kept, &old("maps"), &|f| {
            let what = Download { url: &url, sha256: Some(digest(&content)), limit: 1 << 30 };
            Ok(download(what, &f.join("maps"), &Quiet).map(drop)?)
        }),
    ]
    .iter()
    .map(|w| (w.name, survive(w)))
    .collect();
    report(&found);
}

/// A finished run of the tiny study, copied wherever one is wanted.
fn tiny() -> &'static TinyStudy {
    static TINY: OnceLock<TinyStudy> = OnceLock::new();
    TINY.get_or_init(|| {
        let study = TinyStudy::new();
        std::fs::write(study.path("texts.txt"), "the boat waits\na child sees the red door\n").unwrap();
        let x = Array2::from_shape_vec((30, 4), noise(120, 1)).unwrap();
        npy::write(&study.path("x.npy"), x.view()).unwrap();
        npy::write(&study.path("y.npy"), Array2::from_shape_vec((30, 3), noise(90, 2)).unwrap().view()).unwrap();
        npy::write(&study.path("folds.npy"), Array2::from_shape_fn((30, 1), |(r, _)| (r / 6) as f64).column(0))
            .unwrap();
        let side = 4;
        let raw = (0..3 * 64).map(|v| f64::from(u8::from(v % 64 / 20 == v / 64))).collect();
        study.write("atlas.nii", Image::new(&[side, side, side, 3], raw).bytes());
        study.write("labels.csv", "component,name\n1,a\n2,b\n3,c\n");
        compare(study.dir.path(), &study.path("out"), false).unwrap();
        study
    })
}

fn compare(study: &Path, out: &Path, overwrite: bool) -> Done {
    let model = CheckpointSpec::parse(&format!("m={}", study.join("model").display())).unwrap();
    let overrides = Overrides { unique: Some(UniqueLayers::None), ..Overrides::default() };
    let plan = Plan::new(&study.join("study.toml"), vec![model], &overrides).unwrap();
    let to = Destination { out, overwrite, resume: Resume::default() };
    pipeline::compare(plan, &to, None, &Quiet).map(drop)
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The finished run, with a table by which one knows it again.
fn old_run(folder: &Path) {
    copy(&tiny().path("out"), &folder.join("out"));
    std::fs::write(folder.join("out/scores.csv"), "old").unwrap();
}

/// The finished run, with figures and pages to be made anew.
fn old_report(folder: &Path) {
    copy(&tiny().path("out"), &folder.join("out"));
    for name in ["report.html", "report.md", "layerwise.svg", "layerwise.png"] {
        std::fs::write(folder.join("out").join(name), "old").unwrap();
    }
}

fn maps(folder: &Path, overwrite: bool) -> Done {
    let spec = MapsSpec {
        run: tiny().path("out"),
        atlas: tiny().path("atlas.nii"),
        labels: Some(tiny().path("labels.csv")),
        surfaces: None,
        q: 0.05,
        out: Some(folder.join("maps")),
        overwrite,
    };
    Ok(pipeline::maps(&spec, &Quiet).map(drop)?)
}

fn extract(folder: &Path, want: Want) -> Done {
    let plan = ExtractPlan {
        checkpoint: CheckpointSpec::parse(tiny().path("model").to_str().unwrap()).unwrap(),
        texts: tiny().path("texts.txt"),
        want,
        long_text: LongText::Refuse,
        layers: LayerSelection::All,
        device: Device::Cpu,
        out: folder.join("out"),
    };
    pipeline::extract_to_files(&plan, None, &Quiet).map(drop)
}

fn fit(folder: &Path) -> Done {
    let place = |name: &str| tiny().path(name);
    let plan = ArrayFit {
        x: vec![place("x.npy")],
        y: vec![place("y.npy")],
        folds: place("folds.npy"),
        draws: 1,
        out: folder.join("out"),
        ..ArrayFit::default()
    };
    Ok(pipeline::fit_arrays(&plan, &Quiet).map(drop)?)
}

#[test]
fn every_output_is_there_or_as_before() {
    let _pool = alone();
    let nothing: &dyn Fn(&Path) = &|_| {};
    let run = TinyRun::new();
    let spec = |out: &Path| {
        let mut spec = crate::parcellate::spec(run.path("bold.nii"), run.path("atlas.nii"), out.join("out"));
        spec.cache = None;
        spec
    };
    let parcellate = |f: &Path| pipeline::parcellate(&spec(f), &Quiet).map(drop);
    let old_parcels = |f: &Path| {
        std::fs::create_dir(f.join("out")).unwrap();
        for end in ["npy", "parquet", "json"] {
            std::fs::write(f.join(format!("out/bold_parcels.{end}")), "{}").unwrap();
        }
    };
    let old_maps = |f: &Path| copy(&old_maps().0, &f.join("maps"));
    let mut writers = vec![
        writer("compare --overwrite", Kind::AtOnce, &old_run, &|f| compare(tiny().dir.path(), &f.join("out"), true)),
        writer("report", Kind::ByFile, &old_report, &|f| Ok(pipeline::rebuild(&f.join("out")).map(drop)?)),
        writer("maps --overwrite", Kind::AtOnce, &old_maps, &|f| maps(f, true)),
        writer("extract", Kind::AtOnce, nothing, &|f| extract(f, Want::Pooled(Pooling::Mean))),
        writer("extract tokens", Kind::AtOnce, nothing, &|f| extract(f, Want::Tokens)),
        writer("fit", Kind::AtOnce, nothing, &fit),
        writer("parcellate", Kind::ByFile, nothing, &parcellate),
        writer("parcellate over another", Kind::ByFile, &old_parcels, &parcellate),
    ];
    if all() {
        writers.push(writer("compare", Kind::AtOnce, nothing, &|f| compare(tiny().dir.path(), &f.join("out"), false)));
        writers.push(writer("maps", Kind::AtOnce, nothing, &|f| maps(f, false)));
    }
    let found: Vec<(&str, u64)> = writers.iter().map(|w| (w.name, survive(w))).collect();
    report(&found);
}

/// Maps of the tiny run, one of them not as it would be made again.
fn old_maps() -> (PathBuf, tempfile::TempDir) {
    let folder = hostile_dir();
    maps(folder.path(), false).unwrap();
    let record = folder.path().join("maps/maps.json");
    let mut text = std::fs::read_to_string(&record).unwrap();
    text.push('\n');
    std::fs::write(record, text).unwrap();
    (folder.path().join("maps"), folder)
}

/// A damaged factorised atlas is no atlas, wherever the damage is.
#[test]
fn a_kept_atlas_is_whole_or_made_again() {
    let run = TinyRun::new();
    let cache = hostile_dir();
    let parcellate = |out: &str| {
        let mut spec = crate::parcellate::spec(run.path("bold.nii"), run.path("atlas.nii"), run.path(out));
        spec.cache = Some(cache.path().to_owned());
        pipeline::parcellate(&spec, &Quiet).unwrap();
        bounded::digest(&run.path(out).join("bold_parcels.npy")).unwrap()
    };
    let expected = parcellate("first");
    let kept = files(cache.path());
    assert_eq!(kept.len(), 1);
    let (name, bytes) = kept.first_key_value().unwrap();
    for (n, at) in (0..bytes.len()).step_by(bytes.len() / 12).enumerate() {
        let mut damaged = bytes.clone();
        if n % 2 == 0 {
            damaged[at] ^= 1
        } else {
            damaged.truncate(at)
        }
        std::fs::write(cache.path().join(name), damaged).unwrap();
        assert_eq!(parcellate(&format!("out-{n}")), expected);
        assert!(files(cache.path()) == kept, "it was made again");
    }
}
