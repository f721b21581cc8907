use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array2;

use super::*;
use crate::encoder::Mean;
use crate::encoding::{AlphaGrid, FoldSpec, Folds, cv, score};
use crate::features::{FeatureSpace, confounds};
use crate::ids::SubjectId;
use crate::io::table::Table;
use crate::missing::MissingValues;
use crate::responses::{Aligned, Cohort, Responses, SubjectColumn};
use crate::stimuli::{Stimuli, StimuliColumns};
use crate::watch::Quiet;

struct Demo {
    folder: tempfile::TempDir,
    planted: Planted,
}

fn demo() -> Demo {
    let folder = tempfile::tempdir().unwrap();
    let planted = write(folder.path()).unwrap();
    Demo { folder, planted }
}

/// Every file below a folder by its path inside it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn stimuli_of(folder: &Path) -> Stimuli {
    let table = Table::read(&folder.join("stimuli.csv")).unwrap();
    let columns = StimuliColumns {
        id: "stimulus_id".into(),
        text: "text".into(),
        group: Some("group".into()),
        fold: None,
        run: None,
        confounds: vec!["position".into()],
    };
    let (stimuli, warnings) = Stimuli::from_table(&table, &columns).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    stimuli
}

/// The mean-pooled states of every layer, by the encoder that scores every checkpoint.
fn encoded(spec: &CheckpointSpec, stimuli: &Stimuli) -> Vec<Array2<f64>> {
    let checkpoint = Checkpoint::open(spec).unwrap();
    let texts: Vec<&str> = stimuli.texts().iter().map(String::as_str).collect();
    let ids: Vec<&str> = stimuli.ids().iter().map(|id| id.as_str()).collect();
    let tokens = checkpoint.tokenize(&texts, &ids).unwrap();
    let encoder = checkpoint.load().unwrap();
    let width = encoder.width();
    let mut layers = vec![Array2::zeros((texts.len(), width)); checkpoint.n_layers()];
    for (row, text) in tokens.iter().enumerate() {
        let mut pooled = vec![0f32; width];
        let sink = |layer: usize, states: &[f32], _: &[std::ops::Range<usize>]| {
            let mut mean = Mean::new(width);
            states.chunks_exact(width).for_each(|row| mean.add(row));
            mean.write(&mut pooled);
            layers[layer].row_mut(row).iter_mut().zip(&pooled).for_each(|(x, p): (&mut f64, _)| *x = f64::from(*p));
        };
        encoder.hidden_states(&[&text.ids], sink).unwrap();
    }
    layers
}

#[test]
fn every_machine_and_every_time_the_same_bytes() {
    let (first, second) = (demo(), demo());
    let (a, b) = (files(first.folder.path()), files(second.folder.path()));
    assert_eq!(a, b);
    let names: Vec<String> = a.keys().map(|p| p.display().to_string()).collect();
    assert_eq!(names.len(), 8 + 8 + 3 + 6, "{names:?}");
    let bytes: usize = a.values().map(Vec::len).sum();
    assert!(bytes < 5_000_000, "{bytes} bytes");
    let mut all = Vec::new();
    for (path, content) in &a {
        all.extend_from_slice(path.to_string_lossy().replace('\\', "/").as_bytes());
        all.extend_from_slice(content);
    }
    // A change here changes the figures in README.md: look at the recovery below before writing a new digest.
    assert_eq!(crate::io::digest(&all).to_string(), "54ec7081de1510fa66744c787fe98a96e3b45edfdea010318ee8ebe49adceed1");
}

#[test]
fn texts_are_distinct_balanced_and_complete() {
    let scenarios = texts::scenarios();
    assert_eq!(scenarios.len(), 120);
    let texts: BTreeSet<&str> = scenarios.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(texts.len(), 120);
    for s in &scenarios {
        assert!(s.text.is_ascii() && !s.text.contains(['{', '}', '"']), "{}", s.text);
        assert!(s.text.ends_with('.') && (3..=4).contains(&s.text.matches('.').count()), "{}", s.text);
    }
    for condition in ["accidental_harm", "intentional_harm", "accidental_neutral", "intentional_neutral"] {
        assert_eq!(scenarios.iter().filter(|s| s.condition == condition).count(), 30);
    }
    let words = |s: &texts::Scenario| s.text.split_whitespace().count();
    let (least, most) = (scenarios.iter().map(words).min(), scenarios.iter().map(words).max());
    assert_eq!((least, most), (Some(26), Some(50)));
}

#[test]
fn checkpoints_open_and_know_every_word() {
    let demo = demo();
    let stimuli = stimuli_of(demo.folder.path());
    let specs = checkpoints(demo.folder.path());
    assert_eq!(specs.len(), ARGUMENTS.len());
    for (spec, argument) in specs.iter().zip(ARGUMENTS) {
        assert_eq!(format!("{}={}", spec.label, spec.source), argument.replace("checkpoints/", ""));
        let checkpoint = Checkpoint::open(spec).unwrap();
        assert_eq!((checkpoint.n_layers(), checkpoint.record().prefix.as_str()), (model::BLOCKS + 1, ""));
        let texts: Vec<&str> = stimuli.texts().iter().map(String::as_str).chain(["Zebra #7 vexes [us]!"]).collect();
        for (text, tokens) in texts.iter().zip(checkpoint.tokenize(&texts, &texts).unwrap()) {
            assert!(!tokens.ids.contains(&1), "{text}");
            assert!(tokens.special[0] && tokens.special[tokens.ids.len() - 1], "{text}");
        }
    }
}

#[test]
fn the_plain_forward_pass_is_the_encoders() {
    let demo = demo();
    let stimuli = stimuli_of(demo.folder.path());
    let texts = texts::scenarios();
    let base = Model::base(tokens::vocabulary(texts.iter().map(|s| s.text.as_str())).len());
    for (spec, model) in checkpoints(demo.folder.path()).iter().zip([base.clone(), base.tuned()]) {
        let checkpoint = Checkpoint::open(spec).unwrap();
        let rows: Vec<&str> = texts.iter().map(|s| s.text.as_str()).collect();
        let tokens = checkpoint.tokenize(&rows, &rows).unwrap();
        let plain = model.pooled(tokens.iter().map(|t| t.ids.as_slice()));
        for (layer, (x, y)) in encoded(spec, &stimuli).iter().zip(&plain).enumerate() {
            let worst = (x - y).fold(0.0f64, |m, v| m.max(v.abs()));
            assert!(worst < 1e-4, "{} layer {layer}: {worst}", spec.label);
        }
    }
}

#[test]
fn readme_and_study_say_what_is_there() {
    let demo = demo();
    let read = |name: &str| std::fs::read_to_string(demo.folder.path().join(name)).unwrap();
    assert!(read("README.md").contains(&format!("compare {} --study {STUDY} ", ARGUMENTS.join(" "))));
    let listed: Vec<String> = plant::BY_WORDS.iter().map(|p| format!("{p:02}")).collect();
    let (last, others) = listed.split_last().unwrap();
    assert!(read("README.md").contains(&format!("Parcels {} and {last}", others.join(", "))));
    assert!(plant::driven().eq((1..=12).map(|i| 5 * i)) && read("README.md").contains("Parcels 05, 10, 15, … 60"));
    let study: toml::Table = read(STUDY).parse().unwrap();
    assert_eq!(study["responses"]["subjects"].as_array().unwrap().len() as u64, plant::SUBJECTS);
    for roi in ["tom", "moral", "language", "vision"] {
        assert!(study["rois"].get(roi).is_some() && demo.folder.path().join(format!("rois/{roi}_z.nii")).is_file());
    }
    assert_eq!(demo.planted.roi.as_deref(), Some("tom"));
    assert_eq!(study["encoding"]["k"].as_integer().unwrap() as usize, texts::RUNS);
}

/// Mean cod per layer over subjects and some parcels, from the files as any study is scored.
struct Scored {
    layers: BTreeMap<(String, usize), f64>,
    confounds: f64,
}

fn scored(demo: &Demo, parcels: &[usize]) -> Scored {
    let folder = demo.folder.path();
    let stimuli = stimuli_of(folder);
    let ids: Arc<[_]> = stimuli.ids().into();
    let targets: Vec<TargetId> = parcels.iter().map(|p| TargetId::from(parcel(*p))).collect();
    let responses = (1..=plant::SUBJECTS).flat_map(|s| {
        let table = Table::read(&folder.join(format!("responses/sub-{s:02}.csv"))).unwrap();
        let subject = SubjectId::from(format!("{s:02}"));
        Responses::from_table(&table, "stimulus_id", SubjectColumn::One(&subject), &targets, MissingValues::Refuse)
            .unwrap()
    });
    let (cohorts, _) = Cohort::join(&ids, responses.collect()).unwrap();
    assert_eq!(cohorts.len(), 1);
    let (folds, _) = Folds::new(FoldSpec::Contiguous { k: 5 }, 0, &stimuli).unwrap();
    assert!((0..5).all(|k| folds.test_rows(k) == (k * 24..(k + 1) * 24).collect::<Vec<_>>()), "folds are runs");
    let mean_cod = |features: FeatureSpace| {
        let aligned = Aligned::new(&features, &cohorts[0]).unwrap();
        let y = cohorts[0].y().view();
        let fit = cv::fit(aligned.x().view(), y, &folds, &AlphaGrid::default(), &Quiet).unwrap();
        let cods: Vec<f64> = score(y, &fit, &folds).iter().map(|s| s.cod.value().unwrap()).collect();
        crate::stats::mean(&cods).unwrap()
    };
    let mut layers = BTreeMap::new();
    for spec in checkpoints(folder) {
        for (layer, x) in encoded(&spec, &stimuli).into_iter().enumerate() {
            let features = FeatureSpace::new(spec.label.as_str(), Arc::clone(&ids), x);
            layers.insert((spec.label.clone(), layer), mean_cod(features));
        }
    }
    Scored { layers, confounds: mean_cod(confounds(&stimuli, &ids)) }
}

#[test]
fn what_is_planted_is_found() {
    let demo = demo();
    assert_eq!(
        (demo.planted.checkpoint.as_str(), demo.planted.layer, demo.planted.targets.len()),
        ("tuned", Layer(3), 12)
    );
    let Scored { layers, confounds } = scored(&demo, &plant::driven().collect::<Vec<_>>());
    let planted = (demo.planted.checkpoint.clone(), demo.planted.layer.0);
    let best = layers[&planted];
    assert!(best > 0.35 && best < demo.planted.signal_share, "{best}");
    for (place, value) in &layers {
        assert!(*place == planted || *value < best - 0.1, "{place:?}: {value}, planted: {best}");
    }
    assert!(confounds < 0.05, "{confounds}");
}

#[test]
fn words_are_found_by_the_confounds() {
    let Scored { layers, confounds } = scored(&demo(), &plant::BY_WORDS);
    assert!(confounds > 0.2 && layers.values().all(|v| *v < confounds), "{confounds}, {layers:?}");
}

#[test]
fn nothing_is_found_in_noise() {
    let noise: Vec<usize> =
        (1..=64).filter(|p| !plant::BY_WORDS.contains(p) && plant::driven().all(|d| d != *p)).collect();
    let Scored { layers, confounds } = scored(&demo(), &noise);
    assert!(layers.values().all(|v| *v < 0.0) && confounds < 0.0, "{confounds}, {layers:?}");
}
