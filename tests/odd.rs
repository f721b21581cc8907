//! What is odd but clear: read, with a warning where the user should look. The good side of `bad.rs`, in the same corpus.

use std::process::Output;

use brainscore::io::table::{Number, Table};
use serde_json::json;

use crate::support::brainscore;
use crate::support::corpus::{self, Files, Observed};
use crate::support::image::{Image, SIDE, TinyRun, atlas, bold, gzip};
use crate::support::study::{TinyStudy, npy, npz, responses, stimuli, tensors};

/// Name, what the program warns of (nothing: no warning at all), the change.
type Odd<T> = (&'static str, &'static [&'static str], fn(&T));

fn image(run: &TinyRun, change: impl FnOnce(&mut Image)) {
    let mut image = bold();
    change(&mut image);
    run.write("bold.nii", image.bytes());
}

/// An extension of so many bytes, and what follows it.
fn extension(size: i32, padding: usize) -> Vec<u8> {
    let text = vec![b'x'; size as usize - 8];
    [&size.to_le_bytes()[..], &6i32.to_le_bytes(), &text, &vec![0; padding]].concat()
}

/// Images that give the same parcels as the good one.
const IMAGES: &[Odd<TinyRun>] = &[
    ("nifti/NI-02-version-2", &[], |r| image(r, |i| i.version = 2)),
    ("nifti/NI-02-version-2-big-endian", &[], |r| image(r, |i| (i.version, i.big) = (2, true))),
    ("nifti/NI-03-packed-under-nii", &["[NI-03]"], |r| r.write("bold.nii", gzip(&bold().bytes()))),
    ("nifti/NI-06-members", &["[NI-03]"], |r| {
        let bytes = bold().bytes();
        r.write("bold.nii", [gzip(&bytes[..500]), gzip(&bytes[500..])].concat());
    }),
    ("nifti/NI-12-padding", &[], |r| image(r, |i| i.gap = vec![7; 16])),
    ("nifti/NI-12-extension", &[], |r| image(r, |i| (i.gap, i.extended) = (extension(32, 16), true))),
    ("nifti/NI-13-multiple-of-8", &["[NI-13]"], |r| image(r, |i| (i.gap, i.extended) = (extension(24, 0), true))),
    ("nifti/NI-14-slope-0", &[], |r| image(r, |i| (i.slope, i.intercept) = (0.0, 0.0))),
    ("nifti/NI-16-fourth-axis-of-1", &[], |r| image(r, |i| i.dim = vec![4, 4, 4, 1, 24])),
    ("nifti/NI-17-forms-disagree", &["[NI-17]"], |r| image(r, |i| i.qform = 1)),
    ("nifti/NI-19-nan-outside-the-mask", &[], |r| image(r, |i| i.raw[5] = f64::NAN)),
];

fn array(study: &TinyStudy, descr: &str, fortran: bool, value: fn(f64) -> Vec<u8>) {
    // One subject; row and column of the good table decide the value.
    let cells: Vec<Vec<f64>> = responses()
        .lines()
        .skip(1)
        .take(30)
        .map(|l| l.split(',').skip(2).map(|c| c.parse().unwrap()).collect())
        .collect();
    let data: Vec<u8> = match fortran {
        false => cells.iter().flatten().flat_map(|v| value(*v)).collect(),
        true => (0..3).flat_map(|c| cells.iter().flat_map(move |row| value(row[c]))).collect(),
    };
    let order = if fortran { "True" } else { "False" };
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (30, 3), }}");
    study.write("y.npy", npy(&dict, &data));
    study.edit(
        "study.toml",
        "table = \"responses.csv\"\nsubject = \"subject\"",
        "table = \"y.npy\"\nrows_in_order = true",
    );
}

/// Subject p1 lacks a value of target a, p2 two of target c.
fn missing(study: &TinyStudy) {
    let mut table = responses();
    for (row, target, cell) in [("s00,p1", 0, "NaN"), ("s03,p2", 2, ""), ("s04,p2", 2, "n/a")] {
        let line = table.lines().find(|line| line.starts_with(row)).unwrap().to_owned();
        let mut cells: Vec<&str> = line.split(',').collect();
        cells[2 + target] = cell;
        table = table.replace(&line, &cells.join(","));
    }
    study.write("responses.csv", table);
}

/// The three targets are parcels, and `[rois]` names regions.
fn rois(study: &TinyStudy, rois: &str) {
    let side = SIDE as i64;
    let z = (0..SIDE.pow(3)).map(|v| 5.0 - 3.0 * (v % SIDE) as f64).collect();
    study.write("atlas.nii", atlas().bytes());
    study.write("labels.csv", "component,name\n1,a\n2,b\n3,c\n");
    study.write("z.nii", Image::new(&[side, side, side], z).bytes());
    let toml = study.read("study.toml");
    study.write("study.toml", format!("{toml}\n[rois]\natlas = \"atlas.nii\"\nlabels = \"labels.csv\"\n{rois}\n"));
}

fn first_text(study: &TinyStudy, text: &str) {
    let first = stimuli().lines().nth(1).unwrap().to_owned();
    study.edit("stimuli.csv", &first, &format!("s00,{text},0"));
}

/// Studies that are compared all the same.
const STUDIES: &[Odd<TinyStudy>] = &[
    ("config/CF-01-byte-order-mark", &[], |s| {
        let config = s.read("model/config.json");
        s.write("model/config.json", format!("\u{feff}{config}"));
    }),
    ("tokenizer/TK-04-only-unknown", &["[TK-04]", "s00"], |s| first_text(s, "zzz yyy xxx")),
    ("tokenizer/TK-06-more-rows", &[], |s| {
        let mut all = tensors("");
        let rows = all.get_mut("embeddings.word_embeddings.weight").unwrap();
        rows.1[0] += 4;
        rows.2.extend_from_slice(&[0; 4 * 8 * 4]);
        let vocabulary = rows.1[0];
        s.weights(&all);
        s.configure("vocab_size", json!(vocabulary));
    }),
    ("table/SC-01-mac-line-ends", &[], |s| s.write("stimuli.csv", stimuli().replace('\n', "\r"))),
    ("table/SC-04-same-text", &["[SC-04]", "s00 = s30"], |s| {
        let text = stimuli().lines().nth(1).unwrap().split(',').nth(1).unwrap().to_uppercase();
        s.write("stimuli.csv", format!("{}s30,\"  {text}\",3\n", stimuli()));
        s.write("responses.csv", responses() + "s30,p1,0.1,0.2,0.3\ns30,p2,0.3,0.4,0.1\n");
    }),
    ("table/SC-07-controls", &[], |s| first_text(s, "boat \u{1b}[31mred\u{202e} stone waits")),
    ("responses/RS-05-fortran-order", &[], |s| array(s, "<f8", true, |v| v.to_le_bytes().to_vec())),
    ("responses/RS-05-big-endian", &[], |s| array(s, ">f4", false, |v| (v as f32).to_be_bytes().to_vec())),
    ("responses/RS-05-half", &[], |s| array(s, "<f2", false, |v| half::f16::from_f64(v).to_le_bytes().to_vec())),
    ("responses/RS-05-integers", &[], |s| array(s, "<i2", false, |v| ((v * 1000.0) as i16).to_le_bytes().to_vec())),
    ("responses/RS-10-one-array", &[], |s| {
        array(s, "<f8", false, |v| v.to_le_bytes().to_vec());
        s.write("y.npz", npz(&[("y.npy", std::fs::read(s.path("y.npy")).unwrap())]));
        std::fs::remove_file(s.path("y.npy")).unwrap();
        s.edit("study.toml", "y.npy", "y.npz");
    }),
    ("responses/RS-10-key", &[], |s| {
        array(s, "<f8", false, |v| v.to_le_bytes().to_vec());
        let [good, other] = [std::fs::read(s.path("y.npy")).unwrap(), b"no array".to_vec()];
        s.write("y.npz", npz(&[("other.npy", other), ("y.npy", good)]));
        std::fs::remove_file(s.path("y.npy")).unwrap();
        s.edit("study.toml", "\"y.npy\"", "\"y.npz\"\nkey = \"y\"");
    }),
    (
        "responses/RS-08-dropped",
        &["[RS-08]", "2 of 6 targets lack values, of the subject", "a (p1, 1 of 30 rows), c (p2, 2 of 30 rows)"],
        |s| {
            missing(s);
            s.edit("study.toml", "[responses]", "[responses]\ndrop_nan_parcels = true");
        },
    ),
    ("responses/RS-09-one-constant", &["2 of 6 targets are constant"], |s| {
        let flat = |l: &str| format!("{},7.5\n", l.rsplit_once(',').unwrap().0);
        let rows: String = responses().lines().skip(1).map(flat).collect();
        s.write("responses.csv", format!("stimulus_id,subject,a,b,c\n{rows}"));
    }),
    ("rois/RO-06-negative", &[], |s| rois(s, "tom = \"z.nii\"")),
    ("rois/RO-08-names", &[], |s| {
        let long = "n".repeat(300);
        rois(
            s,
            &format!(
                "\"a/../../b\" = \"z.nii\"\n\"..\" = \"z.nii\"\n\"<script>alert(1)</script>\" = {{ targets = [\"c\"] }}\n\
                 \"two\\nlines\" = {{ targets = [\"b\"] }}\n{long} = {{ targets = [\"a\"] }}"
            ),
        );
    }),
    ("study/RC-05-relative-to-the-study", &[], |s| {
        std::fs::create_dir(s.path("tables")).unwrap();
        std::fs::rename(s.path("stimuli.csv"), s.path("tables/stimuli.csv")).unwrap();
        s.edit("study.toml", "stimuli.csv", "tables/../tables/stimuli.csv");
    }),
];

const EVENTS: &[(&str, &[u8], &[&str])] = &[
    ("events/EV-05-before-the-run", b"onset\tduration\n-3\t2\n44\t22\n", &["[EV-05]"]),
    ("events/EV-07-unsorted", b"onset\tduration\n44\t22\n12\t22\n", &["[EV-07]"]),
    ("events/EV-07-overlap", b"onset\tduration\n12\t22\n20\t22\n", &["[EV-07]"]),
    ("events/EV-09-mac-line-ends", b"onset\tduration\r12\t22\r44\t22\r", &[]),
];

/// The fixtures that are made here.
pub fn names() -> Vec<String> {
    let images = IMAGES.iter().map(|o| o.0);
    images.chain(STUDIES.iter().map(|o| o.0)).chain(EVENTS.iter().map(|o| o.0)).map(str::to_owned).collect()
}

/// A run that must have succeeded with these warnings and no others.
fn complaints(observed: &Observed<'_>, says: &[&str]) -> Vec<String> {
    let said = String::from_utf8_lossy(&observed.output.stderr);
    let mut wrong = observed.complaints();
    let code = says.iter().find(|part| part.starts_with('['));
    // Responses of noise take the largest alpha, which is said of every tiny study.
    let usual = |l: &str| l.contains("[AL-");
    let expected = |l: &str| {
        usual(l) || code.is_some_and(|c| l.ends_with(c)) || says.iter().any(|s| !s.starts_with('[') && l.contains(s))
    };
    let stray = said.lines().filter(|l| l.starts_with("warning: ") && !expected(l)).count();
    if observed.output.status.code() != Some(0) || stray > 0 || says.iter().any(|part| !said.contains(part)) {
        wrong.push(format!("{}: exit {:?}\n    {said}", observed.name, observed.output.status.code()));
    }
    wrong
}

fn parcellate(run: &TinyRun, out: &str) -> Output {
    run.parcellate("bold.nii", out).arg("--mask").arg(run.path("mask.nii")).output().unwrap()
}

#[test]
fn odd_images_give_the_parcels_of_the_good_one() {
    let good = TinyRun::new();
    assert!(parcellate(&good, "out").status.success());
    let expected = std::fs::read(good.path("out/bold_parcels.npy")).unwrap();
    let mut wrong = Vec::new();
    for (name, says, change) in IMAGES {
        let run = TinyRun::new();
        let before = corpus::files(run.dir.path());
        change(&run);
        let after = corpus::files(run.dir.path());
        let output = parcellate(&run, "out");
        wrong.extend(complaints(
            &Observed { name, folder: run.dir.path(), good: &before, bad: &after, output: &output },
            says,
        ));
        if std::fs::read(run.path("out/bold_parcels.npy")).ok().as_ref() != Some(&expected) {
            wrong.push(format!("{name}: other parcels"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn compare(study: &TinyStudy) -> Output {
    study.compare("out", &["--unique", "none", "--threads", "2"]).output().unwrap()
}

#[test]
fn odd_studies_are_compared() {
    let mut wrong = Vec::new();
    for (name, says, change) in STUDIES {
        let study = TinyStudy::new();
        let before = corpus::files(study.dir.path());
        change(&study);
        let after = corpus::files(study.dir.path());
        let output = compare(&study);
        let observed = Observed { name, folder: study.dir.path(), good: &before, bad: &after, output: &output };
        wrong.extend(complaints(&observed, says));
        if output.status.success() && !inert(&study) {
            wrong.push(format!("{name}: something is not inert"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether nothing of a run can act on whoever looks at it: no foreign script, no escape, no formula; and every file has a
/// name of the program's own choice.
fn inert(study: &TinyStudy) -> bool {
    let known = |name: &str| brainscore::store::RUN_ENTRIES.contains(&name);
    let files = corpus::files(&study.path("out"));
    let page = String::from_utf8_lossy(&files["report.html"]).into_owned();
    page.matches("<script").count() == 1
        && !files.iter().any(|(name, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            let shown = [".html", ".svg", ".md", ".csv"].iter().any(|end| name.ends_with(end));
            !known(name.split('/').next().unwrap()) || shown && text.contains('\u{1b}')
        })
}

#[test]
fn odd_events_are_read() {
    let folder = crate::support::hostile_dir();
    let path = folder.path().join("sub-01_task-x_run-1_events.tsv");
    let mut wrong = Vec::new();
    for (name, bytes, says) in EVENTS {
        std::fs::write(&path, bytes).unwrap();
        let bad = corpus::files(folder.path());
        let output = brainscore().arg("windows").arg(&path).args(["--tr", "2", "--volumes", "166"]).output().unwrap();
        let observed = Observed { name, folder: folder.path(), good: &Files::new(), bad: &bad, output: &output };
        wrong.extend(complaints(&observed, says));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// RO-06 and RO-08: what is done with negative values, and names that are no names, stand in the report.
#[test]
fn the_report_says_what_was_done_with_odd_regions() {
    let study = TinyStudy::new();
    rois(&study, "\"a/../<b>\" = \"z.nii\"");
    assert!(compare(&study).status.success());
    let page = study.read("out/report.html");
    // Only what is at least a threshold above 0 counts: the positive part.
    assert!(page.contains("where it is at least its threshold"), "{page}");
    let matrix = Table::read(&study.path("out/roi_matrix.csv")).unwrap();
    assert!(matrix.finite_numbers("weight").unwrap().iter().all(|w| *w >= 0.0));
    assert!(page.contains("a/../&lt;b&gt;"));
    let summary = Table::read(&study.path("out/roi_summary.csv")).unwrap();
    assert!(summary.required_texts("roi").unwrap().iter().any(|name| name == "a/../<b>"), "data keep their names");
}

/// RS-08: whose values are missing has no score there, and all others the scores that they had.
#[test]
fn targets_that_lack_values_have_no_score() {
    let study = TinyStudy::new();
    let scores = |out: &str| {
        let table = Table::read(&study.path(out)).unwrap();
        let [subject, target, reason] = ["subject", "target", "undefined"].map(|c| table.texts(c).unwrap());
        let cod = table.numbers("cod").unwrap();
        (0..table.rows())
            .map(|row| [&subject, &target, &reason].map(|c| c[row].clone().unwrap_or_default()))
            .zip(cod)
            .collect::<Vec<_>>()
    };
    assert!(compare(&study).status.success());
    let whole = scores("out/scores.csv");
    missing(&study);
    let again = ["--unique", "none", "--threads", "2", "--drop-nan-parcels", "--metrics", "pattern-r"];
    let output = study.compare("dropped", &again).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let dropped = scores("dropped/scores.csv");
    assert_eq!(whole.len(), dropped.len());
    for (before, ([subject, target, reason], cod)) in whole.iter().zip(&dropped) {
        let lacking = [("p1", "a"), ("p2", "c")].contains(&(subject, target));
        let expected = if lacking { "missing values" } else { &before.0[2] };
        assert_eq!(reason, expected, "{subject} {target}");
        assert_eq!(matches!(cod, Number::Finite(_)), !lacking, "{subject} {target}: {cod:?}");
        assert!(lacking || *cod == before.1, "{subject} {target}: {cod:?}, before {:?}", before.1);
    }
    // Two targets are left to each, too few for a pattern; and there is nothing that a prediction could be of.
    let metrics = Table::read(&study.path("dropped/metrics.csv")).unwrap();
    let reasons = metrics.texts("undefined").unwrap();
    assert!(reasons.iter().all(|r| r.as_deref() == Some("fewer than 3 targets")), "{reasons:?}");
    let predictions = Table::read(&study.path("dropped/predictions.parquet")).unwrap();
    let (subjects, values) = (predictions.required_texts("subject").unwrap(), predictions.numbers("a").unwrap());
    for (subject, value) in subjects.iter().zip(values) {
        assert_eq!(matches!(value, Number::Finite(_)), subject != "p1", "{subject}: {value:?}");
    }
}

/// RS-10: which array of an archive was scored is part of what runs must share.
#[test]
fn runs_of_other_arrays_are_not_merged() {
    let study = TinyStudy::new();
    array(&study, "<f8", false, |v| v.to_le_bytes().to_vec());
    let one = std::fs::read(study.path("y.npy")).unwrap();
    std::fs::remove_file(study.path("y.npy")).unwrap();
    // Other numbers of the same size: the first two rows' bytes trade places.
    let mut other = one.clone();
    let end = other.len();
    other[end - 48..].rotate_left(24);
    study.write("y.npz", npz(&[("one.npy", one), ("other.npy", other)]));
    study.edit("study.toml", "y.npy", "y.npz");
    for key in ["one", "other"] {
        let flags = ["--unique", "none", "--key", key];
        assert!(study.compare(key, &flags).output().unwrap().status.success(), "{key}");
    }
    let mut report = brainscore();
    let output =
        report.arg("report").arg(study.path("one")).arg(study.path("other")).arg("--out").arg(study.path("both"));
    let said = String::from_utf8(output.output().unwrap().stderr).unwrap();
    assert!(said.contains("[RR-02]") && said.contains("y.npz: other"), "{said}");
}
