//! Studies of runs: narratives, tars, BOLD; what is left out by name, and what is refused.

use std::path::Path;
use std::process::Output;

use brainscore::bold::{EventColumns, Events};
use brainscore::error::Code;
use brainscore::io::table::Table;
use brainscore::stimuli::Composition;
use serde_json::Value;

use crate::support::image::{Image, SIDE, atlas, mask, noise};
use crate::support::study::{TinyStudy, listing};
use crate::support::{brainscore, shared};

/// The codes that have a case here.
pub fn codes() -> Vec<Code> {
    vec![Code::Ev08, Code::Ev12, Code::Rs13]
}

fn compare(study: &TinyStudy, model: &Path, flags: &[&str]) -> Output {
    let mut command = brainscore();
    command.arg("compare").arg(format!("m={}", model.display())).args(flags);
    command.arg("--study").arg(study.path("study.toml")).arg("--out").arg(study.path("out"));
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn record(study: &TinyStudy) -> Value {
    serde_json::from_str(&study.read("out/run.json")).unwrap()
}

/// The cells of a CSV column in the rows whose first columns are these.
fn cells(study: &TinyStudy, file: &str, first: &[&str], column: &str) -> Vec<f64> {
    let text = study.read(file);
    let mut lines = text.lines();
    let at = lines.next().unwrap().split(',').position(|c| c == column).unwrap();
    lines
        .map(|l| l.split(',').collect::<Vec<_>>())
        .filter(|row| row.starts_with(first))
        .filter_map(|row| row[at].parse().ok())
        .collect()
}

/// 120 words, one a second from 10 s on; 60 volumes of 2 s that begin at 10 s; three listeners, two regions.
fn narrative() -> TinyStudy {
    const SAID: [&str; 5] = ["the", "boat", "falls", "quiet", "stone"];
    let study = TinyStudy::new();
    let word = |i: usize| format!("{}\t{}\t{}\n", SAID[(i * i + i / 3) % 5], 10 + i, 10.5 + i as f64);
    study.write("words.tsv", format!("word\tonset\toffset\n{}", (0..120).map(word).collect::<String>()));
    for (s, subject) in ["a", "b", "c"].iter().enumerate() {
        let shared_part = noise(120, 4);
        let own = noise(120, 50 + s as u64);
        let rows = (0..60).map(|v| {
            let at = |t: usize| shared_part[2 * v + t] + own[2 * v + t];
            format!("{:e} {:e}\n", at(0), at(1))
        });
        study.write(&format!("{subject}.txt"), rows.collect::<String>());
        let moved = noise(64, 90 + s as u64).iter().map(|m| format!("{m} 0.5\n")).collect::<String>();
        study.write(&format!("{subject}-rp_one.txt"), moved);
    }
    study.write(
        "study.toml",
        "[study]\nname = \"story\"\n[stimuli]\nkind = \"words\"\ntable = \"words.tsv\"\n[series]\ntr = 2.0\n\
         first_volume = 10.0\n[responses]\nkind = \"series\"\ntable = \"{subject}.txt\"\nsubjects = [\"a\", \"b\", \"c\"]\n\
         targets = [\"left\", \"right\"]\nconfounds = \"{subject}-rp_*.txt\"\nconfounds_skip = 4\n[features]\n\
         context = \"causal:4\"\n[encoding]\nk = 3\n",
    );
    study
}

#[test]
fn a_narrative_is_compared_by_volumes() {
    let study = narrative();
    let output = compare(&study, &study.path("model"), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let record = record(&study);
    // Four delays up to 8 s: the first four volumes are no rows; the gap is the longest delay and two volumes.
    assert_eq!((&record["responses"]["n_stimuli"], &record["plan"]["gap"]), (&56.into(), &6.into()));
    assert_eq!(record["folds"][0]["test_rows"][0], "volume-00004");
    let rows = record["plan"]["rows"].as_str().unwrap();
    assert!(rows.contains("context causal:4") && rows.contains("delayed by 2, 4, 6, 8 s"), "{rows}");
    assert!(study.read("out/report.html").contains("Rows are volumes, 2 s apart"));
    let confounds = record["plan"]["confounds"].to_string();
    assert_eq!(confounds, "[\"words\",\"characters\",\"nuisance_1\",\"nuisance_2\"]");
    assert_eq!(cells(&study, "out/targets.csv", &["m", "0", "r"], "mean").len(), 2);
    // The ceiling is that of the whole series.
    assert!(cells(&study, "out/ceilings.csv", &["loso", "r"], "value").iter().all(|r| *r > 0.2));
}

#[test]
fn textgrids_say_the_same_as_tables() {
    let study = narrative();
    assert!(compare(&study, &study.path("model"), &[]).status.success());
    let scores = study.read("out/scores.csv");
    let mut grid = "File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\n10\n130\n<exists>\n1\n\"IntervalTier\"\n\"word\"\n10\n130\n240\n".to_owned();
    for row in study.read("words.tsv").lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let end: f64 = cells[2].parse().unwrap();
        grid += &format!("{}\n{end}\n\"{}\"\n{end}\n{}\n\"sp\"\n", cells[1], cells[0], end + 0.5);
    }
    study.write("words.TextGrid", &grid);
    study.edit("study.toml", "words.tsv", "words.TextGrid");
    let output = compare(&study, &study.path("model"), &["--overwrite"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(study.read("out/scores.csv"), scores);
    study.write("words.TextGrid", &grid[..200]);
    let output = compare(&study, &study.path("model"), &["--overwrite"]);
    assert!(stderr(&output).contains("[EV-12]") && output.status.code() == Some(3), "{}", stderr(&output));
    assert_eq!(study.read("out/scores.csv"), scores, "the finished run stays");
}

/// A listener whose file holds the same number everywhere is named and left out; the others are compared.
#[test]
fn a_damaged_series_is_named_and_the_rest_runs() {
    let study = narrative();
    study.write("b.txt", "0 0\n".repeat(60));
    let output = compare(&study, &study.path("model"), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("b.txt: all 60 rows of subject \"b\" are the same"), "{}", stderr(&output));
    let record = record(&study);
    assert_eq!(record["responses"]["subjects"].to_string(), "[\"a\",\"c\"]");
    assert_eq!(record["left_out"][0]["code"], "RS-09");
}

#[test]
fn what_does_not_belong_to_a_narrative_is_refused() {
    for (file, from, to, says) in [
        ("study.toml", "confounds_skip = 4", "", "a-rp_one.txt: has 64 rows; expected 60: one per volume"),
        ("study.toml", "-rp_*", "-nothing_*", "fits no file"),
        ("study.toml", "tr = 2.0", "tr = 0.0", "[RC-01]"),
        ("study.toml", "context = \"causal:4\"", "context = \"causal:0\"", "causal:N"),
        ("study.toml", "kind = \"series\"", "kind = \"serie\"", "unknown variant"),
        (
            "study.toml",
            "kind = \"words\"",
            "kind = \"words\"\nid = \"x\"",
            "unknown key in [stimuli] of kind \"words\" \"id\"",
        ),
        ("words.tsv", "\t10\t10.5", "\tten\t10.5", "line 2: holds \"ten\" in column \"onset\""),
        ("words.tsv", "word\tonset", "token\tonset", "has no column \"word\""),
        ("c.txt", "\n", " 1\n", "line 2: has 2 numbers; expected 3, as before"),
    ] {
        let study = narrative();
        study.edit(file, from, to);
        let output = compare(&study, &study.path("model"), &[]);
        assert!(stderr(&output).contains(says), "{says}: {}", stderr(&output));
        assert_eq!(output.status.code(), Some(3), "{says}");
        assert!(!study.path("out").exists());
    }
    let study = narrative();
    let shorter: String = study.read("c.txt").lines().skip(1).map(|l| format!("{l}\n")).collect();
    study.write("c.txt", shorter);
    let output = compare(&study, &study.path("model"), &[]);
    assert!(stderr(&output).contains("c.txt: has 59 volumes; expected 60, as a.txt has"), "{}", stderr(&output));
}

/// Twelve minutes of a story: the ceiling is the published one, the damaged listener is named.
#[test]
fn a_real_story_and_its_ceiling() {
    let Some(shared) = shared() else { return };
    let study = TinyStudy::new();
    let data = shared.join("data/alice2016");
    let example = include_str!("../examples/alice2016/study.toml");
    let placed = example
        .replace("\"stim/", &format!("\"{}/stim/", data.display()))
        .replace("\"10mm/", &format!("\"{}/10mm/", data.display()))
        .replace("\"{subject}-rp", &format!("\"{}/{{subject}}-rp", data.display()));
    study.write("study.toml", placed);
    let output = compare(&study, &shared.join("golden/encoders/bert"), &["--layers", "0"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("s33-timecourses.txt: all 362 rows of subject \"s33\""), "{}", stderr(&output));
    let record = record(&study);
    assert_eq!(record["responses"]["subjects"].as_array().unwrap().len(), 27);
    let found = cells(&study, "out/ceilings.csv", &["loso", "r"], "value");
    for (found, expected) in found[1..].iter().zip([0.281, 0.137, 0.385, 0.268, 0.186, 0.120]) {
        assert!((found - expected).abs() < 0.005, "{found} is not {expected}");
    }
}

/// A study over the tars, with the mapping of the example.
fn tars(shared: &Path, files: &[&str]) -> TinyStudy {
    let study = TinyStudy::new();
    std::fs::create_dir(study.path("parcels")).unwrap();
    for file in files {
        std::fs::copy(shared.join("golden/lfb").join(file), study.path("parcels").join(file)).unwrap();
    }
    let example = include_str!("../examples/ds000212/study.toml");
    let scenarios = shared.join("data/ds000212/scenarios.csv");
    study.write("study.toml", example.replace("\"scenarios.csv\"", &format!("\"{}\"", scenarios.display())));
    study
}

const RUNS: [&str; 6] = [
    "ds-ds000212_sub-03_task-dis_run-1.tar",
    "ds-ds000212_sub-03_task-dis_run-2.tar",
    "ds-ds000212_sub-04_task-dis_run-1.tar",
    "ds-ds000212_sub-04_task-dis_run-2.tar",
    "ds-ds000212_sub-07_task-dis_run-1.tar",
    "ds-ds000212_sub-07_task-dis_run-2.tar",
];

#[test]
fn published_tars_are_compared_and_short_runs_named() {
    let Some(shared) = shared() else { return };
    let study = tars(&shared, &RUNS);
    let output =
        compare(&study, &shared.join("golden/encoders/bert"), &["--layers", "0,-1", "--long-text", "truncate"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("sub-07_task-dis_run-2: the run has 22 volumes (44 s), too few for 9 of its 10 trials"),
        "{said}"
    );
    let record = record(&study);
    assert_eq!(record["responses"]["subjects"].to_string(), "[\"03\",\"04\",\"07\"]");
    assert_eq!(record["responses"]["targets"].as_array().unwrap().len(), 48);
    // Trials of the three: 20 + 20 + 11.
    let text = study.read("out/scores.csv");
    let n = |subject: &str| {
        let row = text.lines().find(|l| l.starts_with(&format!("m,0,{subject},parcel_0001,"))).unwrap();
        row.split(',').nth(4).unwrap().parse::<usize>().unwrap()
    };
    assert_eq!((n("03"), n("04"), n("07")), (20, 20, 11));
    // With segments every trial gives four rows; a run can be left out on request.
    study.edit("study.toml", "window = \"last\"", "window = \"segments\"");
    study.edit("study.toml", "# exclude = [\"sub-14_task-dis_run-6\"]", "exclude = [\"sub-07_task-dis_run-02\"]");
    let output = compare(
        &study,
        &shared.join("golden/encoders/bert"),
        &["--layers", "0", "--overwrite", "--long-text", "window"],
    );
    assert!(output.status.success() && !stderr(&output).contains("EV-10"), "{}", stderr(&output));
    let n = study.read("out/scores.csv").lines().nth(1).unwrap().split(',').nth(4).unwrap().to_owned();
    assert_eq!(n, "80");
}

#[test]
fn a_hostile_tar_is_refused_by_name_and_nothing_is_written() {
    let Some(shared) = shared() else { return };
    let study = tars(&shared, &[&RUNS[..], &["hostile_sub-99_task-dis_run-1.tar"]].concat());
    let before = listing(study.dir.path());
    let output = compare(&study, &shared.join("golden/encoders/bert"), &[]);
    let said = stderr(&output);
    assert!(said.contains("hostile_sub-99_task-dis_run-1.tar") && said.contains("posix.system"), "{said}");
    assert!(said.contains("[ST-13]") && output.status.code() == Some(3), "{said}");
    assert_eq!(listing(study.dir.path()), before);
    assert!(!Path::new("PWNED").exists());
}

#[test]
fn bad_tars_and_unknown_items_are_refused() {
    let Some(shared) = shared() else { return };
    let bert = shared.join("golden/encoders/bert");
    let study = tars(&shared, &RUNS[..2]);
    let whole = std::fs::read(study.path("parcels").join(RUNS[0])).unwrap();
    study.write(&format!("parcels/{}", RUNS[0]), &whole[..whole.len() / 2]);
    let output = compare(&study, &bert, &[]);
    assert!(stderr(&output).contains("[RS-13]") && output.status.code() == Some(3), "{}", stderr(&output));
    let study = tars(&shared, &RUNS[..2]);
    study.edit("study.toml", "\"A_PHA\", ", "");
    study.edit("study.toml", "[stimuli.versions]", "[stimuli.versions] #");
    let output = compare(&study, &bert, &[]);
    assert!(stderr(&output).contains("has conditions that belong to no version: A_PHA"), "{}", stderr(&output));
    assert!(stderr(&output).contains("[EV-08]") && output.status.code() == Some(3));
}

/// All 2,340 trials of the real events have a text, and the versions are the right way round.
#[test]
fn every_real_trial_has_its_text() {
    let Some(shared) = shared() else { return };
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<String>>();
    let composition = Composition {
        segments: list(&["background", "action", "outcome", "{version}"]),
        versions: [
            ("accidental".to_owned(), list(&["A_PHA", "B_PSA", "C_IA", "D_PA", "E_NA"])),
            ("intentional".to_owned(), list(&["F_PHI", "G_PSI", "H_II", "I_PI", "J_NI"])),
        ]
        .into(),
        swapped: list(&["50", "51", "54", "56", "57", "60"]),
    };
    let data = shared.join("data/ds000212");
    let table = Table::read(&data.join("scenarios.csv")).unwrap();
    let texts = composition.texts(&table, "item", None, &[]).unwrap();
    assert_eq!(texts.len(), 120);
    let distinct: std::collections::BTreeSet<String> = texts.iter().map(|t| t.text(4)).collect();
    assert_eq!(distinct.len(), 120);
    let (mut joined, mut times) = (0, std::collections::BTreeMap::<String, usize>::new());
    for subject in std::fs::read_dir(&data).unwrap() {
        let Ok(files) = std::fs::read_dir(subject.unwrap().path().join("func")) else { continue };
        for file in files.map(|f| f.unwrap().path()).filter(|f| f.to_string_lossy().ends_with("_events.tsv")) {
            if !file.to_string_lossy().contains("task-dis") {
                continue;
            }
            for event in Events::read(&file, &EventColumns::usual(), 2.0).unwrap().list {
                let version = composition.version_of(event.condition.as_deref()).unwrap().unwrap();
                let id = format!("{}-{version}", event.item.unwrap());
                assert!(texts.iter().any(|t| t.id() == id), "{id}");
                *times.entry(id).or_default() += 1;
                joined += 1;
            }
        }
    }
    assert_eq!((joined, times.len()), (2340, 120));
    // A neutral item is accidental when somebody did not know.
    let last = |id: &str| texts.iter().find(|t| t.id() == id).unwrap().segments[3].contains("n't");
    for item in [49, 50, 51] {
        assert_eq!(
            (last(&format!("{item}-accidental")), last(&format!("{item}-intentional"))),
            (true, false),
            "{item}"
        );
    }
}

/// Two subjects with two runs of six trials: images, masks, confounds and events where BIDS derivatives have them.
fn bids() -> TinyStudy {
    let study = TinyStudy::new();
    study.write("atlas.nii", atlas().bytes());
    let (raw, derived) = (study.path("data"), study.path("data/derivatives/fmriprep"));
    let side = SIDE as i64;
    for subject in 1..=2 {
        for folder in [&raw, &derived] {
            std::fs::create_dir_all(folder.join(format!("sub-0{subject}/func"))).unwrap();
        }
        for run in 1..=2 {
            let stem = format!("sub-0{subject}/func/sub-0{subject}_task-read_run-{run}");
            let raw_stem = format!("sub-0{subject}/func/sub-0{subject}_task-read_run-0{run}");
            let values = noise(SIDE.pow(3) * 24, 10 * subject + run).iter().map(|v| 100.0 + 10.0 * v).collect();
            let image = Image::new(&[side, side, side, 24], values);
            let space = "space-MNI152NLin2009cAsym";
            std::fs::write(derived.join(format!("{stem}_{space}_desc-preproc_bold.nii")), image.bytes()).unwrap();
            std::fs::write(derived.join(format!("{stem}_{space}_desc-brain_mask.nii")), mask().bytes()).unwrap();
            let moved: String = noise(24, 70 + run).iter().map(|v| format!("{v}\n")).collect();
            std::fs::write(derived.join(format!("{stem}_desc-confounds_timeseries.tsv")), format!("csf\n{moved}"))
                .unwrap();
            let trial = |t: u64| format!("{}\t2\t{:02}\n", 6 * t, (run - 1) * 6 + t);
            let events = format!("onset\tduration\titem\n{}", (0..6).map(trial).collect::<String>());
            std::fs::write(raw.join(format!("{raw_stem}_events.tsv")), events).unwrap();
        }
    }
    let texts = study.read("stimuli.csv");
    let rows: String = texts.lines().take(13).map(|l| format!("{}\n", l.trim_start_matches('s'))).collect();
    study.write("stimuli.csv", rows.replace("timulus_id", "stimulus_id"));
    study.write(
        "study.toml",
        "[study]\nname = \"bids\"\n[stimuli]\ntable = \"stimuli.csv\"\n[responses]\nkind = \"bids\"\nfolder = \"data\"\n\
         task = \"read\"\nspace = \"MNI152NLin2009cAsym\"\natlas = \"atlas.nii\"\nconfound_columns = [\"csf\"]\n\
         standardize = \"zscore_sample\"\n[encoding]\nk = 3\n",
    );
    study
}

#[test]
fn bids_derivatives_are_paired_and_compared() {
    let study = bids();
    let output = compare(&study, &study.path("model"), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let record = record(&study);
    assert_eq!(record["responses"]["subjects"].to_string(), "[\"01\",\"02\"]");
    assert_eq!(
        (&record["responses"]["n_stimuli"], record["responses"]["targets"].as_array().unwrap().len()),
        (&12.into(), 3)
    );
    // Without saying which space, two images of one run are one too many.
    let from = study.path("data/derivatives/fmriprep/sub-01/func");
    let image = "sub-01_task-read_run-1_space-MNI152NLin2009cAsym_desc-preproc_bold.nii";
    std::fs::copy(from.join(image), from.join(image.replace("MNI152NLin2009cAsym", "T1w"))).unwrap();
    study.edit("study.toml", "space = \"MNI152NLin2009cAsym\"\n", "");
    let output = compare(&study, &study.path("model"), &["--overwrite"]);
    assert!(stderr(&output).contains("is an image of the same run"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(3));
}

/// Every run that is skipped is named, with its reason; the others are compared.
#[test]
fn skipped_runs_are_named() {
    let study = bids();
    let func = study.path("data/derivatives/fmriprep/sub-02/func");
    let image =
        |run: u8| func.join(format!("sub-02_task-read_run-{run}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii"));
    let bytes = std::fs::read(image(1)).unwrap();
    std::fs::write(image(1), &bytes[..bytes.len() - 100]).unwrap();
    std::fs::remove_file(study.path("data/sub-02/func/sub-02_task-read_run-02_events.tsv")).unwrap();
    let output = compare(&study, &study.path("model"), &[]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("run-1_space-MNI152NLin2009cAsym_desc-preproc_bold.nii: is cut short"), "{said}");
    assert!(said.contains("run-2_space-MNI152NLin2009cAsym_desc-preproc_bold.nii: has no events"), "{said}");
    assert_eq!(record(&study)["responses"]["subjects"].to_string(), "[\"01\"]");
}

/// EV-08, without anything written.
#[test]
fn trials_without_a_text_are_refused_by_name() {
    let study = bids();
    study.edit("data/sub-01/func/sub-01_task-read_run-02_events.tsv", "\t06\n", "\t99\n");
    let before = listing(study.dir.path());
    let output = compare(&study, &study.path("model"), &[]);
    let said = stderr(&output);
    assert!(said.contains("[EV-08]") && said.contains("99"), "{said}");
    assert_eq!((output.status.code(), listing(study.dir.path())), (Some(3), before));
}

/// The same runs by a table instead of by their names.
#[test]
fn a_table_of_runs_says_the_same_as_bids() {
    let study = bids();
    assert!(compare(&study, &study.path("model"), &[]).status.success());
    let scores = study.read("out/scores.csv");
    let mut runs = "subject,run,bold,events,mask,confounds\n".to_owned();
    for (s, r) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let stem = format!("data/derivatives/fmriprep/sub-0{s}/func/sub-0{s}_task-read_run-{r}");
        let space = "space-MNI152NLin2009cAsym";
        runs += &format!(
            "0{s},{r},{stem}_{space}_desc-preproc_bold.nii,data/sub-0{s}/func/sub-0{s}_task-read_run-0{r}_events.tsv,{stem}_{space}_desc-brain_mask.nii,{stem}_desc-confounds_timeseries.tsv\n"
        );
    }
    study.write("runs.csv", runs);
    study.edit(
        "study.toml",
        "kind = \"bids\"\nfolder = \"data\"\ntask = \"read\"\nspace = \"MNI152NLin2009cAsym\"",
        "kind = \"bold\"\ntable = \"runs.csv\"",
    );
    let output = compare(&study, &study.path("model"), &["--overwrite"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(study.read("out/scores.csv"), scores);
}

/// Records name files and not where this machine keeps them.
#[test]
fn what_is_left_out_is_named_without_its_folder() {
    let study = narrative();
    study.write("b.txt", "0 0\n".repeat(60));
    study.edit("words.tsv", "\t10\t10.5", "\t10\t9.5");
    compare(&study, &study.path("model"), &[]);
    let folder = study.dir.path().to_str().unwrap().to_owned();
    let text = study.read("out/run.json");
    assert!(text.contains("b.txt: all 60 rows") && text.contains("EV-05") && !text.contains(&folder), "{text}");
}
