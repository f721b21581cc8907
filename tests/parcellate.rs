//! BOLD → parcels: against numbers of nilearn, and as users meet it.

use std::path::{Path, PathBuf};

use brainscore::atlas::{Atlas, Extraction, Grid, Interpolation, Projector, extract};
use brainscore::bold::{Cleaning, Filter, Selection, Standardize, Strategy};
use brainscore::compute::device::Device;
use brainscore::io::nifti::Reader;
use brainscore::io::npy;
use brainscore::io::table::Table;
use brainscore::pipeline::{ParcellateSpec, parcellate};
use brainscore::watch::Quiet;
use ndarray::Array2;
use serde_json::Value;

use crate::support::image::{Image, TinyRun, atlas, bold, gzip};
use crate::support::study::listing;
use crate::support::{brainscore, hostile_dir, shared};

/// The largest difference over the root mean square of what was expected.
fn error(found: &Array2<f64>, expected: &Array2<f64>) -> f64 {
    assert_eq!(found.dim(), expected.dim());
    let rms = (expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64).sqrt();
    (found - expected).iter().fold(0.0f64, |m, v| m.max(v.abs())) / rms
}

pub fn spec(bold: PathBuf, atlas: PathBuf, out: PathBuf) -> ParcellateSpec {
    ParcellateSpec {
        bold: vec![bold],
        atlas,
        labels: None,
        mask: None,
        confounds: Vec::new(),
        selection: Selection::Columns(Vec::new()),
        scrub: None,
        smoothing: None,
        cleaning: Cleaning::default(),
        repetition_time: None,
        interpolation: Interpolation::Trilinear,
        device: Device::Cpu,
        out,
        cache: None,
    }
}

fn load(path: impl AsRef<Path>) -> Array2<f64> {
    npy::read(path.as_ref()).unwrap().0
}

#[test]
fn all_golden_cases_agree_with_nilearn() {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden/parcellate");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(golden.join("cases.json")).unwrap()).unwrap();
    let out = hostile_dir();
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 8);
    for (name, case) in cases {
        let maps = golden.join(format!("{}.nii.gz", case["maps"].as_str().unwrap()));
        let mut spec = spec(golden.join("bold.nii.gz"), maps, out.path().join(name));
        spec.mask = case["mask"].as_str().map(|mask| golden.join(format!("{mask}.nii.gz")));
        if let Some(columns) = case["confounds"].as_array() {
            spec.confounds = vec![golden.join("bold_confounds.tsv")];
            spec.selection = Selection::Columns(columns.iter().map(|c| c.as_str().unwrap().to_owned()).collect());
        }
        spec.smoothing = case["smoothing_fwhm"].as_f64();
        spec.cleaning = Cleaning {
            detrend: case["detrend"].as_bool().unwrap(),
            high_pass: case["high_pass"].as_f64(),
            filter: Filter::Butterworth,
            standardize: match case["standardize"].as_str() {
                Some("zscore_sample") => Standardize::ZscoreSample,
                _ => Standardize::None,
            },
        };
        let done = parcellate(&spec, &Quiet).unwrap();
        let error = error(&load(&done.runs[0].array), &load(golden.join(format!("expected_{name}.npy"))));
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn the_program_writes_three_files_and_leaves_whole_ones_alone() {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden/parcellate");
    let folder = hostile_dir();
    let out = folder.path().join("out");
    let run = |more: &[&str]| {
        let output = brainscore()
            .arg("parcellate")
            .arg(golden.join("bold.nii.gz"))
            .args(["--detrend", "--high-pass", "0.008", "--smooth", "3", "--standardize", "zscore_sample", "--json"])
            .args(["--strategy", "motion6+wm_csf+global", "--threads", "2", "--confounds"])
            .arg(golden.join("bold_confounds.tsv"))
            .arg("--atlas")
            .arg(golden.join("atlas_same_grid.nii.gz"))
            .arg("--mask")
            .arg(golden.join("mask.nii.gz"))
            .arg("--cache")
            .arg(folder.path().join("cache"))
            .arg("--out")
            .arg(&out)
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["runs"][0]["skipped"].as_bool().unwrap()
    };
    assert!(!run(&[]));
    assert_eq!(listing(&out), ["bold_parcels.json", "bold_parcels.npy", "bold_parcels.parquet"]);
    let expected = load(golden.join("expected_seed_recipe.npy"));
    let array = load(out.join("bold_parcels.npy"));
    assert!(error(&array, &expected) < 1e-5);
    let table = Table::read(&out.join("bold_parcels.parquet")).unwrap();
    assert_eq!(table.names().nth(35), Some("parcel_36"));
    assert_eq!(table.finite_numbers("parcel_3").unwrap(), array.column(2).to_vec());
    let record = std::fs::read_to_string(out.join("bold_parcels.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((record["volumes"].as_u64(), record["parcels"].as_u64()), (Some(120), Some(36)));
    assert_eq!(record["settings"]["repetition_time_s"].as_f64(), Some(2.0));
    assert!(run(&[]), "nothing has changed");
    let bytes = std::fs::read(out.join("bold_parcels.npy")).unwrap();
    std::fs::write(out.join("bold_parcels.npy"), &bytes[..900]).unwrap();
    assert!(!run(&[]), "a damaged array is made again");
    assert_eq!(
        std::fs::read(out.join("bold_parcels.npy")).unwrap(),
        bytes,
        "the factorised atlas gives the same bytes"
    );
    assert!(!run(&["--tr", "2.5"]), "another setting");
}

#[test]
fn threads_and_caches_change_no_bit() {
    let run = TinyRun::new();
    let bytes = |threads: &str, cache: Option<&str>| {
        let out = run.path(&format!("out-{threads}-{}", cache.is_some()));
        let mut command = brainscore();
        command.arg("parcellate").arg(run.path("bold.nii")).arg("--atlas").arg(run.path("atlas.nii"));
        command.args(["--smooth", "4", "--threads", threads, "--out"]).arg(&out);
        match cache {
            Some(cache) => command.arg("--cache").arg(run.path(cache)),
            None => command.arg("--no-cache"),
        };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(out.join("bold_parcels.npy")).unwrap()
    };
    let first = bytes("1", None);
    assert_eq!(bytes("3", None), first);
    assert_eq!(bytes("1", Some("cache")), first);
    assert_eq!(bytes("2", Some("cache")), first);
    let entry = run.path("cache/atlases").join(&listing(&run.path("cache/atlases"))[0]);
    let mut damaged = std::fs::read(&entry).unwrap();
    damaged[100] ^= 1;
    std::fs::write(&entry, damaged).unwrap();
    assert_eq!(bytes("3", Some("cache")), first, "a damaged entry is not used");
}

#[test]
fn several_runs_and_one_that_fails() {
    let run = TinyRun::new();
    run.write("other_bold.nii.gz", gzip(&bold().bytes()));
    let mut damaged = gzip(&bold().bytes());
    let end = damaged.len();
    damaged[end - 6] ^= 1;
    run.write("damaged_bold.nii.gz", damaged);
    let mut command = brainscore();
    command.args(["parcellate", "--no-cache", "--atlas"]).arg(run.path("atlas.nii")).arg("--out").arg(run.path("out"));
    command.args(["bold.nii", "damaged_bold.nii.gz", "other_bold.nii.gz"].map(|name| run.path(name)));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("damaged_bold.nii.gz: is damaged") && stderr.contains("[NI-04]"), "{stderr}");
    assert_eq!(listing(&run.path("out")).len(), 6);
    assert_eq!(load(run.path("out/bold_parcels.npy")), load(run.path("out/other_bold_parcels.npy")));
    let output = command.arg(run.path("bold.nii")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("[OD-01]"), "two runs of one name");
}

#[test]
fn scrubbed_volumes_are_named() {
    let run = TinyRun::new();
    let rows: Vec<String> = (0..24)
        .map(|t| {
            format!(
                "{}\n",
                if t == 0 {
                    "n/a"
                } else if t % 10 == 5 {
                    "0.9"
                } else {
                    "0.1"
                }
            )
        })
        .collect();
    run.write("confounds.tsv", format!("framewise_displacement\n{}", rows.concat()));
    let mut spec = spec(run.path("bold.nii"), run.path("atlas.nii"), run.path("out"));
    (spec.confounds, spec.scrub) = (vec![run.path("confounds.tsv")], Some(0.5));
    spec.selection = Selection::Strategies(Vec::<Strategy>::new());
    let done = parcellate(&spec, &Quiet).unwrap();
    assert_eq!(done.runs[0].shape, [22, 3]);
    let record = std::fs::read_to_string(run.path("out/bold_parcels.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let kept: Vec<u64> = record["kept_volumes"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
    assert_eq!(kept, (0..24).filter(|t| t % 10 != 5).collect::<Vec<_>>());
    assert!(done.runs[0].warnings.iter().any(|w| w.message.contains("2 of 24 volumes were left out")));
}

/// F-10: whoever comes second to a place replaces what the first wrote, wherever that one is; neither takes it for a failure.
#[test]
fn many_may_fill_one_place_at_once() {
    let run = TinyRun::new();
    let rounds = 40;
    let at_once = |_: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let spec = spec(run.path("bold.nii"), run.path("atlas.nii"), run.path("out"));
        pool.install(|| {
            for round in 0..rounds {
                // Every round asks for something else than what lies there.
                let spec = ParcellateSpec { repetition_time: Some(1.0 + f64::from(round)), ..spec.clone() };
                parcellate(&spec, &Quiet).unwrap();
            }
        });
    };
    std::thread::scope(|scope| (0..8).for_each(|n| drop(scope.spawn(move || at_once(n)))));
    assert_eq!(listing(&run.path("out")), ["bold_parcels.json", "bold_parcels.npy", "bold_parcels.parquet"]);
}

/// Labels: the mean over each label's voxels, named by number.
#[test]
fn labels_are_means() {
    let run = TinyRun::new();
    let labels: Vec<f64> = (0..64).map(|v| f64::from([0, 7, 3][v % 3])).collect();
    run.write("atlas.nii", Image { datatype: 4, ..Image::new(&[4, 4, 4], labels.clone()) }.bytes());
    run.write("labels.tsv", "index\tname\n0\tBackground\n7\tseven\n3\tthree\n");
    let mut spec = spec(run.path("bold.nii"), run.path("atlas.nii"), run.path("out"));
    spec.labels = Some(run.path("labels.tsv"));
    parcellate(&spec, &Quiet).unwrap();
    let table = Table::read(&run.path("out/bold_parcels.parquet")).unwrap();
    assert_eq!(table.names().collect::<Vec<_>>(), ["three", "seven"]);
    let raw = bold().raw;
    for (name, number) in [("three", 3.0), ("seven", 7.0)] {
        for (t, found) in table.finite_numbers(name).unwrap().into_iter().enumerate() {
            let of: Vec<f64> = (0..64).filter(|v| labels[*v] == number).map(|v| raw[64 * t + v]).collect();
            let expected = of.iter().sum::<f64>() / of.len() as f64;
            assert!((found - expected).abs() < 1e-4, "{name} at {t}: {found} instead of {expected}");
        }
    }
}

/// RO-07: of two maps that are one, each takes half; the fit is that of the map alone.
#[test]
fn maps_that_repeat_share_their_signal() {
    let run = TinyRun::new();
    let series = |maps: &[usize]| {
        let mut image = atlas();
        image.dim[3] = maps.len() as i64;
        image.raw = maps.iter().flat_map(|m| atlas().raw[64 * m..64 * (m + 1)].to_vec()).collect();
        run.write("atlas.nii", image.bytes());
        let atlas = Atlas::open(&run.path("atlas.nii"), None).unwrap();
        let reader = Reader::open(&run.path("bold.nii")).unwrap();
        let grid = Grid::of(reader.header());
        let projector = Projector::new(&atlas, &grid, None, Interpolation::Trilinear, &Quiet).unwrap();
        let series = extract(reader, &projector, Extraction::default(), &Quiet).unwrap().series;
        (series, projector.warnings)
    };
    let (alone, none) = series(&[0, 1]);
    let (shared, warnings) = series(&[0, 1, 0]);
    assert!(none.is_empty());
    assert!(warnings.iter().any(|w| w.code == "RO-07" && w.message.contains("1 of 3 maps depend")), "{warnings:?}");
    for t in 0..24 {
        for (found, expected) in [(shared[[t, 0]], alone[[t, 0]] / 2.0), (shared[[t, 2]], alone[[t, 0]] / 2.0)] {
            assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found} instead of {expected}");
        }
        assert!((shared[[t, 1]] - alone[[t, 1]]).abs() < 1e-6 * alone[[t, 1]].abs().max(1.0));
    }
}
