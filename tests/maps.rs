//! Maps of a run: numbers on voxels and vertices are those of the definition, files are whole, pictures are inert.

use std::path::Path;
use std::process::Output;

use brainscore::io::gifti;
use brainscore::io::nifti::Reader;
use serde_json::Value;

use crate::support::brainscore;
use crate::support::image::Image;
use crate::support::study::{TinyStudy, listing};

const LABEL: &str = "a <b> \"c\"";

/// The tiny study, scored, beside an atlas of three soft maps (its targets a, b, c in order) and a pair of surfaces.
fn scored() -> TinyStudy {
    let study = TinyStudy::new();
    let here = study.dir.path().to_str().unwrap();
    let mut command = brainscore();
    command.args(["compare", &format!("{LABEL}={here}/model"), &format!("u=untrained:0:{here}/model"), "--study"]);
    command.arg(study.path("study.toml")).arg("--out").arg(study.path("out"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    study.write("atlas.nii", atlas().bytes());
    study.write("labels.csv", "number,name\n1,a\n2,b\n3,c\n");
    for (file, x) in [("lh.surf.gii", -12.0), ("rh.surf.gii", 12.0)] {
        let half = if x < 0.0 { "CortexLeft" } else { "CortexRight" };
        let text = crate::gifti::tetrahedron("ASCII", false)
            .replace("0 0 0 10 0 0 0 10 0 0 0 10.5", &format!("{x} 0 0 {x} 10 0 {x} 0 10 {} 1 1", x / 2.0))
            .replace("CortexRight", half);
        study.write(file, text);
    }
    study
}

const SHAPE: [usize; 3] = [16, 16, 16];

/// Three blobs along the first axis; the third one overlaps the second. Nothing beyond.
fn atlas() -> Image {
    let mut raw = Vec::new();
    for map in 0..3 {
        for voxel in 0..SHAPE.iter().product() {
            let at = [voxel % 16, voxel / 16 % 16, voxel / 256].map(|c| c as f64);
            let middle = [3.0 + 4.5 * map as f64, 8.0, 8.0];
            let squared: f64 = at.iter().zip(middle).map(|(a, m)| (a - m).powi(2)).sum();
            raw.push(if squared < 16.0 { 1.0 - squared / 20.0 } else { 0.0 });
        }
    }
    let mut image = Image::new(&[16, 16, 16, 3], raw);
    image.rows = [[2.0, 0.0, 0.0, -15.0], [0.0, 2.0, 0.0, -15.0], [0.0, 0.0, 2.0, -15.0]];
    image
}

fn maps(study: &TinyStudy, flags: &[&str]) -> Output {
    let here = study.dir.path().to_str().unwrap();
    let mut command = brainscore();
    command.arg("maps").arg(study.path("out")).arg("--atlas").arg(study.path("atlas.nii"));
    command.args(flags.iter().map(|f| f.replace("{}", here)));
    command.output().unwrap()
}

fn made(study: &TinyStudy, flags: &[&str]) -> Value {
    let output = maps(study, &[flags, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn volume(path: &Path) -> Vec<f32> {
    let mut reader = Reader::open(path).unwrap();
    let mut values = reader.buffer().unwrap();
    assert!(reader.next_volume(&mut values).unwrap());
    values
}

/// Means over subjects from `targets.csv`, as the maps must carry them.
fn means(study: &TinyStudy, layer: &str) -> Vec<f64> {
    let text = study.read("out/targets.csv");
    let wanted = |t: &str| format!("\"a <b> \"\"c\"\"\",{layer},cod,{t},");
    ["a", "b", "c"]
        .map(|t| {
            let line = text.lines().find(|l| l.starts_with(&wanted(t))).unwrap_or_else(|| panic!("{t}: {text}"));
            line[wanted(t).len()..].split(',').next().unwrap().parse().unwrap()
        })
        .to_vec()
}

#[test]
fn voxels_are_weighted_averages_and_files_are_whole() {
    let study = scored();
    let made = made(&study, &["--labels", "{}/labels.csv", "--surface", "{}/lh.surf.gii,{}/rh.surf.gii"]);
    let list = made["record"]["maps"].as_array().unwrap();
    let kinds: Vec<&str> = list.iter().map(|m| m["kind"].as_str().unwrap()).collect();
    for kind in ["score", "neglog", "unique", "best-layer", "difference", "difference-fdr"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let score = list.iter().find(|m| m["kind"] == "score" && m["checkpoint"] == LABEL).unwrap();
    let found = volume(&study.path(&format!("out/maps/{}", score["file"].as_str().unwrap())));
    let (raw, scores) = (atlas().raw, means(&study, &score["layer"].to_string()));
    let n = found.len();
    let mut both = 0;
    for v in 0..n {
        // The image holds float32.
        let weights: Vec<f64> = (0..3).map(|p| f64::from(raw[p * n + v] as f32)).collect();
        let total: f64 = weights.iter().sum();
        both += usize::from(weights.iter().filter(|w| **w > 0.0).count() > 1);
        let expected = if total > 0.0 { (0..3).map(|p| weights[p] * scores[p]).sum::<f64>() / total } else { 0.0 };
        assert!((f64::from(found[v]) - expected).abs() < 1e-6, "voxel {v}");
    }
    assert!(both > 10, "maps overlap somewhere");
    // A vertex at a voxel's centre has its value: (-12, 0, 0) is not one, (-6, 1, 1) lies at indices (4.5, 8, 8).
    let surface = score["surface_files"][0].as_str().unwrap();
    let (values, _) = gifti::read(&study.path(&format!("out/maps/{surface}"))).unwrap();
    let at = |i: usize| 8 * 16 + 8 * 256 + i;
    let (m, s): (Vec<f64>, Vec<f64>) = [4, 5]
        .map(|i| {
            let w: Vec<f64> = (0..3).map(|p| f64::from(raw[p * n + at(i)] as f32)).collect();
            (w.iter().sum::<f64>(), (0..3).map(|p| w[p] * scores[p]).sum::<f64>())
        })
        .into_iter()
        .unzip();
    assert!((values.arrays[0].values[3] - (s[0] + s[1]) / (m[0] + m[1])).abs() < 1e-6);
    assert!(values.meta.contains(&("AnatomicalStructurePrimary".to_owned(), "CortexLeft".to_owned())));
    // Everything that the record names is there, and everything there is named in a way that any system takes.
    let files = listing(&study.path("out/maps"));
    for map in list {
        let name = map["file"].as_str().unwrap();
        assert!(files.iter().any(|f| f == name), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name}");
        assert!(volume(&study.path(&format!("out/maps/{name}"))).iter().all(|v| v.is_finite()), "{name}");
    }
    let neglog = list.iter().find(|m| m["kind"] == "neglog" && m["checkpoint"] == LABEL).unwrap();
    let undefined = scores.iter().filter(|s| **s <= 0.0 || **s > 1.0).count();
    assert_eq!(neglog["undefined_parcels"].as_u64(), Some(undefined as u64), "-ln is defined for 0 < cod <= 1 only");
    assert_eq!(undefined > 0, neglog["defined"].is_string(), "noise is worse than the mean somewhere: {scores:?}");
    for name in files.iter().filter(|n| n.ends_with(".svg")) {
        let svg = study.read(&format!("out/maps/{name}"));
        assert!(!svg.contains("<b>") && svg.contains("data:image/png;base64,"), "{name}");
        assert!(svg.len() < 1 << 20, "{name} has {} bytes", svg.len());
    }
    // The report shows pictures, and is rebuilt with them.
    let page = study.read("out/report.html");
    assert!(page.contains("Brain maps") && page.contains("alt=\"Brain map: a &lt;b&gt;"));
    let output = brainscore().arg("report").arg(study.path("out")).output().unwrap();
    assert!(output.status.success());
    assert_eq!(study.read("out/report.html"), page);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let study = scored();
    study.write("wrong.csv", "number,name\n1,a\n2,b\n3,z\n");
    study.write("small.surf.gii", crate::gifti::tetrahedron("ASCII", false).replace("CortexRight", "CortexLeft"));
    let before = listing(study.dir.path());
    let cases: [(&[&str], &str, &str, i32); 6] = [
        (&["--labels", "{}/wrong.csv"], "RO-09", "1 of 3 targets are none of its maps: c", 3),
        (&["--surface", "{}/rh.surf.gii,{}/lh.surf.gii"], "GI-03", "is of the other half of the brain", 3),
        (&["--surface", "{}/lh.surf.gii"], "", "expected two files, LEFT,RIGHT", 2),
        (&["--fdr", "1.5"], "FL-02", "--fdr", 2),
        (&["--out", "{}/model"], "OD-01", "is not empty", 4),
        (&["--white", "{}/lh.surf.gii,{}/rh.surf.gii"], "", "--surface", 2),
    ];
    for (flags, code, says, status) in cases {
        let output = maps(&study, flags);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(code) && stderr.contains(says), "{flags:?}: {stderr}");
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert_eq!(listing(study.dir.path()), before, "{flags:?}");
        assert!(!study.path("out/maps").exists());
    }
    let two = Image::new(&[16, 16, 16, 2], atlas().raw[..2 * 4096].to_vec());
    study.write("atlas.nii", two.bytes());
    let stderr = String::from_utf8_lossy(&maps(&study, &[]).stderr).into_owned();
    assert!(stderr.contains("has 2 maps; expected 3"), "{stderr}");
    study.write("atlas.nii", atlas().bytes());
    let made = made(&study, &["--out", "{}/elsewhere"]);
    assert!(made["record"]["warnings"][0]["message"].as_str().unwrap().contains("in order"), "{made}");
    assert!(!study.path("out/maps").exists());
    let again = maps(&study, &["--out", "{}/elsewhere"]);
    assert_eq!(again.status.code(), Some(4), "maps that are there stay");
}

#[test]
fn maps_replace_maps_and_nothing_else() {
    let study = scored();
    let with_surfaces: &[&str] = &["--surface", "{}/lh.surf.gii,{}/rh.surf.gii", "--out", "{}/maps"];
    made(&study, with_surfaces);
    let whole = listing(&study.path("maps"));
    assert!(whole.iter().any(|f| f.ends_with("_defined.shape.gii")), "{whole:?}");
    study.write("maps/thesis.tex", "years of work");
    let refused = maps(&study, &["--out", "{}/maps", "--overwrite"]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("[OD-01]") && stderr.contains("no part of a set of maps: thesis.tex"), "{stderr}");
    std::fs::remove_file(study.path("maps/thesis.tex")).unwrap();
    assert_eq!(listing(&study.path("maps")), whole);
    // What fails on the way leaves the old maps where they were.
    study.write("broken.surf.gii", "no document");
    let failed = maps(&study, &["--surface", "{}/lh.surf.gii,{}/broken.surf.gii", "--out", "{}/maps", "--overwrite"]);
    assert_eq!(failed.status.code(), Some(3), "{}", String::from_utf8_lossy(&failed.stderr));
    assert_eq!(listing(&study.path("maps")), whole);
    // Without surfaces there are fewer files: none of the old ones stays.
    made(&study, &["--out", "{}/maps", "--overwrite"]);
    assert!(listing(&study.path("maps")).iter().all(|f| !f.ends_with(".gii")));
    assert_eq!(listing(study.dir.path()).iter().filter(|f| f.starts_with(".")).count(), 0);
}
