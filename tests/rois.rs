//! Regions of interest from beginning to end: what is refused, what is computed, and that names stay names.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use brainscore::atlas::{Grid, StatisticMap, Threshold};
use brainscore::error::{Code, Status};
use brainscore::io::table::Table;

use crate::support::image::{Image, SIDE, atlas};
use crate::support::study::{TinyStudy, listing};
use crate::support::{brainscore, shared};

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    CASES.iter().map(|case| code_of(case.0)).collect()
}

fn code_of(name: &str) -> Code {
    *Code::ALL.iter().find(|c| name.starts_with(c.as_str())).unwrap_or_else(|| panic!("{name} names no code"))
}

/// A z map on the atlas's grid: large where x is small.
fn z_map() -> Image {
    let side = SIDE as i64;
    Image::new(&[side, side, side], (0..SIDE.pow(3)).map(|v| 6.0 - 2.0 * (v % SIDE) as f64).collect())
}

/// A study with an atlas of three maps, which are its three targets, and the section `[rois]`.
fn study(rois: &str) -> TinyStudy {
    let study = TinyStudy::new();
    study.write("atlas.nii", atlas().bytes());
    study.write("labels.csv", "component,name\n1,a\n2,b\n3,c\n");
    study.write("z.nii", z_map().bytes());
    let toml = study.read("study.toml");
    study.write("study.toml", format!("{toml}\n[rois]\n{rois}\n"));
    study
}

fn compare(study: &TinyStudy, flags: &[&str]) -> Output {
    let here = study.dir.path().to_str().unwrap();
    let mut command = brainscore();
    command.arg("compare").arg(format!("m={here}/model")).arg(format!("u=untrained:1:{here}/model"));
    command.args(flags.iter().map(|f| f.replace("{}", here)));
    command.arg("--study").arg(study.path("study.toml")).arg("--out").arg(study.path("out"));
    command.output().unwrap()
}

fn ok(study: &TinyStudy, flags: &[&str]) -> Output {
    let output = compare(study, flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

type BadCase = (&'static str, &'static str, &'static [&'static str], fn(&TinyStudy), &'static [&'static str]);

const NOTHING: fn(&TinyStudy) = |_| {};
const ATLAS: &str = "atlas = \"atlas.nii\"\nlabels = \"labels.csv\"\n";

/// Code and slug; what stands in `[rois]` after the atlas; what the message says; what else is changed; flags.
const CASES: &[BadCase] = &[
    ("OD-05-missing-map", "tom = \"tom.nii\"", &["tom.nii"], NOTHING, &[]),
    (
        "RO-04-several-volumes",
        "tom = \"atlas.nii\"",
        &["atlas.nii: holds 3 volumes", "one statistic map"],
        NOTHING,
        &[],
    ),
    (
        "RO-05-nothing-above",
        "tom = { map = \"z.nii\", threshold = 9.5 }",
        &["no voxel of 9.5 or more", "its largest is 6"],
        NOTHING,
        &[],
    ),
    (
        "RO-05-empty-map",
        "tom = \"zero.nii\"",
        &["zero.nii: has no voxel above 0"],
        |s| {
            let side = SIDE as i64;
            s.write("zero.nii", Image::new(&[side, side, side], vec![0.0; SIDE.pow(3)]).bytes());
        },
        &[],
    ),
    ("RO-05-no-such-label", "tom = { map = \"z.nii\", label = 5 }", &["has no voxel of label 5"], NOTHING, &[]),
    (
        "RO-05-all-claimed",
        "disjoint = true\na = \"z.nii\"\nb = \"z.nii\"",
        &["nothing of the ROI \"a\" is left", "disjoint"],
        NOTHING,
        &[],
    ),
    (
        "RO-03-elsewhere",
        "tom = \"far.nii\"",
        &["far.nii: lies on", "an overlap with"],
        |s| {
            let mut far = z_map();
            far.rows[0][3] = 500.0;
            s.write("far.nii", far.bytes());
        },
        &[],
    ),
    (
        "RO-03-no-map-reaches",
        "tom = \"z.nii\"",
        &["nothing of the ROI \"tom\" is left", "a map of the atlas reaches"],
        |s| {
            // The map is high where x is small, and the atlas reaches only where it is large.
            let mut image = atlas();
            image.raw.iter_mut().enumerate().for_each(|(i, v)| *v = f64::from(u8::from(i % SIDE == 3)));
            s.write("atlas.nii", image.bytes());
        },
        &[],
    ),
    (
        "RO-09-other-atlas",
        "tom = \"z.nii\"",
        &["has 2 maps", "3, one per target"],
        |s| {
            let mut image = atlas();
            image.raw.truncate(2 * SIDE.pow(3));
            image.dim[3] = 2;
            s.write("atlas.nii", image.bytes());
            s.write("labels.csv", "component,name\n1,x\n2,y\n");
        },
        &[],
    ),
    (
        "RO-09-other-names",
        "tom = \"z.nii\"",
        &["1 of 3 targets are none of its maps: c"],
        |s| {
            s.write("labels.csv", "component,name\n1,a\n2,b\n3,d\n");
        },
        &[],
    ),
    (
        "RO-10-control",
        "control = \"visoin\"\nvision = \"z.nii\"",
        &["no ROI to be the control, \"visoin\"", "Did you mean \"vision\"?"],
        NOTHING,
        &[],
    ),
    (
        "RO-10-contrast",
        "contrasts = [[\"tom\", \"lang\"]]\ntom = \"z.nii\"",
        &["no ROI to be compared, \"lang\""],
        NOTHING,
        &[],
    ),
    ("RO-10-unknown-target", "tom = { targets = [\"a\", \"q\"] }", &["1 targets that are none: q"], NOTHING, &[]),
    (
        "RO-10-built-in",
        "coordinates = [\"tomm\"]",
        &["no built-in ROI \"tomm\"", "Did you mean \"tom\"?"],
        NOTHING,
        &[],
    ),
    (
        "RO-10-weights-of-a-map",
        "tom = { map = \"z.nii\", weights = [1, 2] }",
        &["\"tom\" has weights, which says something of targets only"],
        NOTHING,
        &[],
    ),
    (
        "RO-10-threshold-of-targets",
        "tom = { targets = [\"a\"], threshold = 2 }\nb = { targets = [\"b\"], label = 3 }",
        &["\"tom\" has threshold, which says something of a map only", "\"b\" has label"],
        NOTHING,
        &[],
    ),
    (
        "RO-09-atlas-of-targets-alone",
        "own = { targets = [\"a\"] }",
        &["1 of 3 targets are none of its maps: c"],
        |s| {
            s.write("labels.csv", "component,name\n1,a\n2,b\n3,d\n");
        },
        &[],
    ),
    ("RO-10-nothing", "control = \"vision\"", &["[rois] names no ROI"], NOTHING, &[]),
    ("RO-10-twice", "tom = \"z.nii\"", &["two ROIs have the name \"tom\""], NOTHING, &["--roi", "tom={}/z.nii"]),
    (
        "RC-01-unknown-key",
        "tom = { map = \"z.nii\", treshold = 2 }",
        &["unknown key in [rois.tom] \"treshold\"", "Did you mean \"threshold\"?"],
        NOTHING,
        &[],
    ),
    ("FL-02-roi", "", &["--roi: is \"tom\"", "name=PATH:threshold"], NOTHING, &["--roi", "tom"]),
    ("NI-01-no-image", "tom = \"study.toml\"", &["study.toml"], NOTHING, &[]),
];

#[test]
fn bad_rois_are_refused_by_name_and_nothing_is_written() {
    let mut wrong = Vec::new();
    for (name, rois, says, change, flags) in CASES {
        let study = study(&format!("{ATLAS}{rois}"));
        change(&study);
        let before = listing(study.dir.path());
        let output = compare(&study, flags);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = code_of(name);
        let status = output.status.code() == Some(i32::from(code.status().exit_code()));
        let said = says.iter().all(|part| stderr.contains(part)) && stderr.contains(&format!("[{code}]"));
        if !status || !said || listing(study.dir.path()) != before {
            wrong.push(format!("{name}: exit {:?}\n    {stderr}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{} complaints:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn all_problems_of_all_rois_come_at_once() {
    let study = study(&format!(
        "{ATLAS}tom = \"none.nii\"\nhigh = {{ map = \"z.nii\", threshold = 99 }}\nlist = {{ targets = [\"q\"] }}"
    ));
    let output = compare(&study, &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    for code in ["[OD-05]", "[RO-05]", "[RO-10]"] {
        assert!(stderr.contains(code), "{stderr}");
    }
    assert_eq!(output.status.code(), Some(i32::from(Status::Input.exit_code())));
}

#[test]
fn maps_without_an_atlas_need_one_and_lists_do_not() {
    let bad = study("tom = \"z.nii\"");
    let stderr = compare(&bad, &[]).stderr;
    assert!(String::from_utf8_lossy(&stderr).contains("the maps of the targets are not known"));
    let good = study("own = { targets = [\"a\", \"c\"], weights = [1, 3] }");
    ok(&good, &[]);
    let rows = good.read("out/roi_matrix.csv");
    assert_eq!(rows, "roi,target,weight\nown,a,0.25\nown,c,0.75\n");
}

/// Values of a table by the text of some columns.
fn by(path: &Path, keys: &[&str], value: &str) -> BTreeMap<Vec<String>, f64> {
    let table = Table::read(path).unwrap();
    let columns: Vec<Vec<Option<String>>> = keys.iter().map(|k| table.texts(k).unwrap()).collect();
    let values = table.texts(value).unwrap();
    (0..table.rows())
        .filter_map(|row| {
            let key = columns.iter().map(|c| c[row].clone().unwrap_or_default()).collect();
            Some((key, values[row].as_ref()?.parse().ok()?))
        })
        .collect()
}

#[test]
fn roi_scores_are_the_matrix_times_the_parcels() {
    let study = study(&format!("{ATLAS}tom = \"z.nii\"\nvision = {{ targets = [\"c\"] }}"));
    ok(&study, &["--margin", "0.5"]);
    let weights = by(&study.path("out/roi_matrix.csv"), &["roi", "target"], "weight");
    let scores = by(&study.path("out/scores.csv"), &["checkpoint", "layer", "subject", "target"], "cod");
    let rois = by(&study.path("out/rois.csv"), &["checkpoint", "layer", "subject", "roi"], "cod");
    assert_eq!(rois.len(), 2 * 2 * 2 * 2, "checkpoints × layers × subjects × ROIs");
    for (key, value) in &rois {
        let sum: f64 = ["a", "b", "c"]
            .iter()
            .filter_map(|t| {
                let weight = weights.get(&vec![key[3].clone(), (*t).to_owned()])?;
                Some(weight * scores[&vec![key[0].clone(), key[1].clone(), key[2].clone(), (*t).to_owned()]])
            })
            .sum();
        assert!((sum - value).abs() < 1e-12, "{key:?}: {value} instead of {sum}");
    }
    for roi in ["tom", "vision"] {
        let sum: f64 = weights.iter().filter(|(k, _)| k[0] == roi).map(|(_, w)| w).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
    // The difference of the means is that of the table, and the contrast is the difference of the two.
    let differences = by(&study.path("out/roi_comparison.csv"), &["layer", "roi", "versus", "score"], "difference");
    let of =
        |layer: &str, roi: &str, versus: &str| differences[&[layer, roi, versus, "cod"].map(str::to_owned).to_vec()];
    for layer in ["0", "1"] {
        let mean = |c: &str| {
            ["p1", "p2"].map(|s| rois[&[c, layer, s, "tom"].map(str::to_owned).to_vec()]).iter().sum::<f64>() / 2.0
        };
        assert!((of(layer, "tom", "") - (mean("u") - mean("m"))).abs() < 1e-12);
        let apart = of(layer, "tom", "") - of(layer, "vision", "");
        assert!((of(layer, "tom", "vision") - apart).abs() < 1e-12);
    }
    assert!(differences.keys().any(|k| k[0] == "best"), "nested best layers");
    // What was written can be read as the ROIs of another run.
    std::fs::copy(study.path("out/roi_matrix.csv"), study.path("again.csv")).unwrap();
    let toml = study.read("study.toml");
    let cut = toml.split("[rois]").next().unwrap();
    study.write("study.toml", format!("{cut}[rois]\nmatrix = \"again.csv\"\n"));
    ok(&study, &["--margin", "0.5", "--overwrite"]);
    assert_eq!(by(&study.path("out/rois.csv"), &["checkpoint", "layer", "subject", "roi"], "cod"), rois);
}

#[test]
fn built_in_rois_are_named_as_such_everywhere() {
    // An atlas over the whole brain: left, middle, right.
    let study = study("atlas = \"wide.nii\"\nlabels = \"labels.csv\"");
    let mut wide = Image::new(&[20, 24, 20, 3], vec![0.0; 3 * 20 * 24 * 20]);
    wide.rows = [[8.0, 0.0, 0.0, -76.0], [0.0, 8.0, 0.0, -108.0], [0.0, 0.0, 8.0, -64.0]];
    for (i, value) in wide.raw.iter_mut().enumerate() {
        let (map, x) = (i / (20 * 24 * 20), i % 20);
        *value = f64::from(u8::from(x * 3 / 20 == map));
    }
    study.write("wide.nii", wide.bytes());
    ok(&study, &["--rois", "coordinates"]);
    for file in ["rois.csv", "roi_summary.csv", "roi_comparison.csv", "roi_matrix.csv", "roi_overlap.csv"] {
        let text = study.read(&format!("out/{file}"));
        for name in ["tom", "moral", "language", "vision"] {
            assert!(text.contains(&format!("{name} (coordinates)")), "{file} does not name {name}");
            assert!(!text.contains(&format!(",{name},")), "{file} names {name} without its mark");
        }
    }
    let page = study.read("out/report.html");
    assert!(page.contains("tom (coordinates)") && page.contains("doi.org/10.1073/pnas.1018711108"));
    let json: serde_json::Value = serde_json::from_str(&study.read("out/run.json")).unwrap();
    let rois = json["comparison"]["rois"]["rois"].as_array().unwrap();
    let control: Vec<&str> =
        rois.iter().filter(|r| r["control"] == true).map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(control, ["vision (coordinates)"]);
}

#[test]
fn a_hostile_name_stays_a_name() {
    let name = "\\\"><script>alert(1)</script>";
    let study = study(&format!(
        "{ATLAS}\"{name}\" = \"z.nii\"\n\"=cmd|' /C calc'!A0\" = {{ targets = [\"c\"] }}\n\"a\\u001b]8;;x\\u0007\\u202eb\" = {{ targets = [\"b\"] }}"
    ));
    let output = ok(&study, &[]);
    let terminal = String::from_utf8_lossy(&output.stdout);
    assert!(!terminal.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{terminal:?}");
    let page = study.read("out/report.html");
    assert_eq!(page.matches("<script").count(), 1, "only the page\u{2019}s own");
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for file in listing(&study.path("out")).iter().filter(|f| f.ends_with(".svg")) {
        let svg = study.read(&format!("out/{file}"));
        assert!(!svg.contains("<script") && !svg.contains('\u{202e}') && !svg.contains('\u{1b}'), "{file}");
    }
    for file in listing(&study.path("out")).iter().filter(|f| f.starts_with("roi") && f.ends_with(".csv")) {
        for row in study.read(&format!("out/{file}")).lines() {
            assert!(!row.starts_with('=') && !row.contains(",=") && !row.contains("\"="), "{file}: {row}");
        }
    }
}

#[test]
fn real_maps_know_their_own_threshold() {
    let Some(shared) = shared() else { return };
    let maps = shared.join("data/roi_maps");
    let about: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(maps.join("maps.json")).unwrap()).unwrap();
    for name in ["theory_of_mind", "language"] {
        let cut = StatisticMap::open(&maps.join(format!("{name}_association-z_FDR_0.01.nii.gz"))).unwrap();
        let own = cut.cut(Threshold::Own).unwrap();
        let expected = about[name]["z_min_sig"].as_f64().unwrap();
        // The file holds two decimals.
        assert!((own.at - expected).abs() < 0.005, "{name}: {} instead of {expected}", own.at);
        // On its own grid every voxel of the map counts; on a coarser one nearly the same volume does.
        let fine = Grid {
            shape: [91, 109, 91],
            affine: [[-2.0, 0.0, 0.0, 90.0], [0.0, 2.0, 0.0, -126.0], [0.0, 0.0, 2.0, -72.0], [0.0, 0.0, 0.0, 1.0]],
        };
        let count = |grid: &Grid| cut.weights_on(grid, &own).unwrap().iter().filter(|w| **w > 0.0).count() as f64;
        assert_eq!(count(&fine), about[name]["n_sig_vox"].as_f64().unwrap());
        let coarse = Grid {
            shape: [46, 55, 46],
            affine: [[-4.0, 0.0, 0.0, 90.0], [0.0, 4.0, 0.0, -126.0], [0.0, 0.0, 4.0, -72.0], [0.0, 0.0, 0.0, 1.0]],
        };
        assert!((count(&coarse) * 8.0 / count(&fine) - 1.0).abs() < 0.03);
        // The map that was not thresholded, cut at the same z, is the same ROI but for voxels whose
        // two decimals are those of the threshold.
        let whole = StatisticMap::open(&maps.join(format!("{name}_association-z.nii.gz"))).unwrap();
        assert_eq!(whole.cut(Threshold::Own).unwrap().at, 3.1);
        let same = whole.cut(Threshold::AtLeast(own.at)).unwrap();
        let (a, b) = (whole.weights_on(&fine, &same).unwrap(), cut.weights_on(&fine, &own).unwrap());
        let apart: Vec<f32> = a.iter().zip(&b).filter(|(a, b)| a != b).map(|(a, b)| a.max(*b)).collect();
        assert!(apart.len() as f64 <= 0.01 * count(&fine), "{name}: {} voxels differ", apart.len());
        assert!(apart.iter().all(|z| (f64::from(*z) - own.at).abs() < 0.011), "{name}: {apart:?}");
    }
}

/// An ROI of all targets alike is the mean over targets: same scores, intervals and tests, whatever the units are.
#[test]
fn the_roi_of_all_targets_is_the_mean_over_targets() {
    for alone in [false, true] {
        let study = study("all = { targets = [\"a\", \"b\", \"c\"] }");
        if alone {
            let rows = study.read("responses.csv");
            let one: Vec<&str> = rows.lines().filter(|l| !l.contains(",p2,")).collect();
            study.write("responses.csv", one.join("\n"));
        }
        ok(&study, &[]);
        let layers = |value: &str| by(&study.path("out/layers.csv"), &["checkpoint", "layer", "score"], value);
        let rois = |value: &str| by(&study.path("out/roi_summary.csv"), &["checkpoint", "layer", "score"], value);
        for column in ["mean", "ci_low", "ci_high", "gain_over_confounds", "gain_p_fwe"] {
            let found = rois(column);
            let of_means = layers(column);
            // Two checkpoints, two layers, three scores. Two subjects give no interval; one subject of noise, no test.
            match column {
                "ci_low" | "ci_high" => assert_eq!(!of_means.is_empty(), alone, "{column}"),
                "gain_p_fwe" if alone => {}
                _ if alone => assert!(of_means.len() >= 8, "{column}"),
                _ => assert_eq!(of_means.len(), 12, "{column}"),
            }
            let at_layers = found.keys().filter(|k| k[1] != "best").count();
            assert_eq!(at_layers, of_means.len(), "alone {alone}, {column}");
            for (key, value) in of_means {
                let found = found[&key];
                assert!((found - value).abs() < 1e-9, "alone {alone}, {column} at {key:?}: {found}, not {value}");
            }
        }
        let mean = |value: &str| by(&study.path("out/comparison.csv"), &["layer", "target", "score"], value);
        let roi = |value: &str| by(&study.path("out/roi_comparison.csv"), &["layer", "versus", "score"], value);
        for column in ["difference", "ci_low", "p", "p_fwe", "mde80"] {
            let found = roi(column);
            let of_means: Vec<_> = mean(column).into_iter().filter(|(key, _)| key[1].is_empty()).collect();
            // Two layers, three scores.
            match column {
                "ci_low" => assert_eq!(!of_means.is_empty(), alone, "{column}"),
                "p" | "p_fwe" | "mde80" if alone => {}
                _ if alone => assert!(!of_means.is_empty(), "{column}"),
                _ => assert_eq!(of_means.len(), 6, "{column}"),
            }
            assert_eq!(found.keys().filter(|k| k[0] != "best").count(), of_means.len(), "alone {alone}, {column}");
            for (key, value) in of_means {
                assert!((found[&key] - value).abs() < 1e-9, "alone {alone}, {column} at {key:?}");
            }
        }
    }
}

/// Names that a spreadsheet would compute come back from the table as they were.
#[test]
fn a_matrix_of_hostile_names_is_read_back() {
    let study = study("\"+roi\" = { targets = [\"=a\", \"-b\"], weights = [1, 3] }");
    study.write("responses.csv", study.read("responses.csv").replacen("subject,a,b,c", "subject,=a,-b,c", 1));
    ok(&study, &[]);
    assert_eq!(study.read("out/roi_matrix.csv"), "roi,target,weight\n'+roi,'=a,0.25\n'+roi,'-b,0.75\n");
    std::fs::copy(study.path("out/roi_matrix.csv"), study.path("again.csv")).unwrap();
    let toml = study.read("study.toml");
    let cut = toml.split("[rois]").next().unwrap();
    study.write("study.toml", format!("{cut}[rois]\nmatrix = \"again.csv\"\n"));
    ok(&study, &["--overwrite"]);
    assert_eq!(study.read("out/roi_matrix.csv"), study.read("again.csv"));
}
