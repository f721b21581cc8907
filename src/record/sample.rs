//! Synthetic records for tests: smooth curves with known peaks, nothing computed.

use std::collections::BTreeMap;

use super::*;
use crate::compare::{
    Baseline, BestDifference, Ceiling, Curve, Difference, Inference, NestedBest, Point, ProfileDifference, TargetMeans,
    Tests, Unit,
};
use crate::encoding::Score;
use crate::encoding::ceiling::CeilingKind;

const TARGETS: usize = 8;
const PLANTED: usize = 3;

/// Two checkpoints of four blocks and an untrained one; three of eight targets are driven by layer 3 of `tuned`.
pub(crate) fn record() -> RunRecord {
    let mut record = of(&[("base", 4), ("tuned", 4), ("untrained", 4)]);
    record.checkpoints[2].untrained_seed = Some(7);
    record.checkpoints[2].weights_sha256 = None;
    record.planted = Some(Planted {
        checkpoint: "tuned".to_owned(),
        layer: Layer(3),
        targets: record.responses.targets[..PLANTED].to_vec(),
        signal_share: 0.4,
        roi: None,
    });
    record
}

/// A record of checkpoints given by label and number of blocks. The `c`-th peaks at layer 3 with 0.12 + 0.03 c − 0.1 c².
pub(crate) fn of(checkpoints: &[(&str, usize)]) -> RunRecord {
    let reference = checkpoints[0].0.to_owned();
    let targets: Vec<TargetId> = (0..TARGETS).map(|t| TargetId::from(format!("parcel-{t}"))).collect();
    let mut comparison = Comparison {
        score: ScoreName::Cod,
        reference: reference.clone(),
        unit: Unit::Subjects,
        n_units: 6,
        n_subjects: 6,
        curves: Vec::new(),
        confounds: ScoreName::ALL
            .map(|score| Baseline { score, mean: Score::Value(0.021), interval: Some((0.008, 0.035)) })
            .to_vec(),
        oasm: ScoreName::ALL
            .map(|score| Baseline { score, mean: Score::Value(-0.004), interval: Some((-0.01, 0.002)) })
            .to_vec(),
        ceilings: [ScoreName::R, ScoreName::Cod]
            .map(|score| Ceiling {
                kind: CeilingKind::Loso,
                score,
                mean: Score::Value(0.2),
                interval: Some((0.15, 0.26)),
                foldwise: None,
                tau: None,
                targets: Vec::new(),
                rois: Vec::new(),
            })
            .to_vec(),
        metrics: Vec::new(),
        rois: None,
        confound_gains: Vec::new(),
        unique_cod: Vec::new(),
        layer_differences: Vec::new(),
        target_differences: Vec::new(),
        target_means: Vec::new(),
        best_layers: checkpoints.iter().enumerate().map(|(c, (label, blocks))| nested(c, label, *blocks)).collect(),
        best_differences: Vec::new(),
        profile_differences: Vec::new(),
        group_design: None,
        group_contrasts: Vec::new(),
        tests: Some(Tests { settings: Settings::default(), patterns: 31, exact: true, smallest_p: 1.0 / 32.0 }),
        lineage: Vec::new(),
        trends: Vec::new(),
        combined: Vec::new(),
    };
    for (c, (label, blocks)) in checkpoints.iter().enumerate() {
        for score in ScoreName::ALL {
            let points = (0..=*blocks)
                .map(|l| {
                    let mean = mean(c, l);
                    Point {
                        layer: Layer(l),
                        mean: Score::Value(mean),
                        interval: Some((mean - 0.025, mean + 0.03)),
                        n_defined: TARGETS * 6,
                        n_undefined: 0,
                        share_at_edge: 0.01 * l as f64,
                    }
                })
                .collect();
            comparison.curves.push(Curve { checkpoint: (*label).to_owned(), score, points });
            comparison.confound_gains.extend((0..=*blocks).map(|l| {
                let gain = mean(c, l) - 0.021;
                Difference {
                    checkpoint: (*label).to_owned(),
                    layer: Layer(l),
                    target: None,
                    score,
                    difference: Score::Value(gain),
                    interval: Some((gain - 0.02, gain + 0.02)),
                    n_subjects: 6,
                    inference: tested(gain),
                }
            }));
            for l in 0..=(*blocks).min(checkpoints[0].1) {
                let d = mean(c, l) - mean(0, l);
                let difference = Difference {
                    checkpoint: (*label).to_owned(),
                    layer: Layer(l),
                    target: None,
                    score,
                    difference: Score::Value(d),
                    interval: Some((d - 0.02, d + 0.02)),
                    n_subjects: 6,
                    inference: tested(d),
                };
                if c > 0 {
                    for (t, target) in targets.iter().enumerate() {
                        let d = target_mean(c, l, t) - target_mean(0, l, t);
                        comparison.target_differences.push(Difference {
                            target: Some(target.clone()),
                            difference: Score::Value(d),
                            interval: Some((d - 0.05, d + 0.05)),
                            inference: Inference { q_fdr: Some(0.04), ..tested(d) },
                            ..difference.clone()
                        });
                    }
                    comparison.layer_differences.push(difference);
                }
            }
        }
        if c > 0 {
            let d = mean(c, 3.min(*blocks)) - mean(0, 3.min(checkpoints[0].1));
            let (checkpoint, interval) = ((*label).to_owned(), Some((d - 0.02, d + 0.02)));
            comparison.profile_differences.push(ProfileDifference {
                checkpoint: checkpoint.clone(),
                difference: Score::Value(0.01),
                interval: Some((-0.1, 0.12)),
                p: Some(0.875),
            });
            let difference = Score::Value(d);
            comparison.best_differences.push(BestDifference { checkpoint, difference, interval, inference: tested(d) });
        }
        comparison.target_means.extend((0..=*blocks).map(|l| TargetMeans {
            checkpoint: (*label).to_owned(),
            layer: Layer(l),
            means: (0..TARGETS).map(|t| Score::Value(target_mean(c, l, t))).collect(),
        }));
    }
    RunRecord {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        plan: PlanRecord {
            study: "a study".to_owned(),
            pooling: Pooling::Mean,
            long_text: LongText::Refuse,
            layers: checkpoints.iter().map(|(l, n)| ((*l).to_owned(), (0..=*n).map(Layer).collect())).collect(),
            folds: FoldSpec::Contiguous { k: 5 },
            gap: 0,
            untrained: 0,
            alphas: AlphaGrid::default(),
            score: ScoreName::Cod,
            confounds: vec!["words".to_owned(), "characters".to_owned()],
            rows: None,
            precision: "double".to_owned(),
            inference: Settings::default(),
            unique: "none".to_owned(),
            components: None,
            memory: 8 << 30,
            bootstrap: BootstrapRecord { draws: 2000, level: 0.95, seed: 0 },
            overrides: BTreeMap::from([("--pooling".to_owned(), "mean".to_owned())]),
        },
        inputs: vec![
            InputRecord { role: "stimuli".to_owned(), name: "stimuli.csv".to_owned(), sha256: Digest([0x5a; 32]) },
            InputRecord { role: "responses".to_owned(), name: "responses.npy".to_owned(), sha256: Digest([0xc3; 32]) },
        ],
        checkpoints: checkpoints.iter().map(|(label, blocks)| checkpoint(label, *blocks)).collect(),
        attestations: Vec::new(),
        extraction: Vec::new(),
        responses: ResponsesRecord {
            subjects: (1..=6).map(|s| SubjectId::from(format!("sub-{s:02}"))).collect(),
            targets,
            n_stimuli: 120,
            n_texts: 118,
            n_groups: 40,
        },
        folds: (0..5)
            .map(|f| FoldRecord {
                test_rows: (0..24).map(|r| StimulusId::from(format!("s{:03}", f * 24 + r))).collect(),
            })
            .collect(),
        machine: MachineRecord {
            device: "cpu".to_owned(),
            threads: 2,
            platform: "linux x86_64".to_owned(),
            blas: "OpenBLAS".to_owned(),
        },
        left_out: Vec::new(),
        warnings: Vec::new(),
        audit: Vec::new(),
        timings: vec![
            StageRecord { stage: "extract".to_owned(), seconds: 3.21, peak_mib: None },
            StageRecord { stage: "fit".to_owned(), seconds: 74.9, peak_mib: None },
        ],
        planted: None,
        identity: BTreeMap::new(),
        comparison,
    }
}

/// Six subjects find what is larger than its interval is wide.
fn tested(difference: f64) -> Inference {
    let p = Some(if difference.abs() > 0.02 { 0.03125 } else { 0.5 });
    Inference { p, p_fwe: p, mde80: Some(0.016), ..Inference::default() }
}

/// The best layer of checkpoint `c`, with an optimism of 0.01.
fn nested(c: usize, label: &str, blocks: usize) -> NestedBest {
    let naive = mean(c, 3.min(blocks));
    NestedBest {
        checkpoint: label.to_owned(),
        chosen: vec![(Layer(3.min(blocks)), 30)],
        nested: Score::Value(naive - 0.01),
        interval: Some((naive - 0.035, naive + 0.015)),
        subjects: Vec::new(),
        sd: Some(0.03),
        naive: Score::Value(naive),
        optimism: Some(0.01),
        centre: Score::Value(0.7),
        centre_interval: Some((0.6, 0.8)),
    }
}

/// The names of all tags of HTML or SVG, opened or empty, in order. Fails where tags are not properly nested,
/// where an ampersand starts no entity, or where an attribute is not quoted.
pub(crate) fn tags(markup: &str) -> Vec<String> {
    const VOID: [&str; 3] = ["meta", "img", "br"];
    let (mut seen, mut open) = (Vec::new(), Vec::new());
    let body = markup.strip_prefix("<!DOCTYPE html>").unwrap_or(markup);
    // What stands in a script is no markup.
    let without = body.split_once("<script>").and_then(|(before, rest)| {
        let (_, after) = rest.split_once("</script>")?;
        Some(format!("{before}<script></script>{after}"))
    });
    let body = without.as_deref().unwrap_or(body);
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("a tag without an end: {piece}"));
        if open.last().map(String::as_str) != Some("style") && !tag.starts_with("style") {
            assert!(!text.contains('>'), "a bare > in {text:?}");
            for entity in text.split('&').skip(1) {
                assert!(entity.split(';').next().is_some_and(|e| e.len() < 6), "no entity: &{entity}");
            }
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "wrong end tag");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "an open attribute in {tag:?}");
        let name: String = tag.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name.clone());
        }
        seen.push(name);
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    seen
}

fn mean(checkpoint: usize, layer: usize) -> f64 {
    let c = checkpoint as f64;
    (0.12 + 0.03 * c - 0.1 * c * (c - 1.0) / (c + 1.0).max(2.0)) * near(layer, 2.0) - 0.015
}

fn target_mean(checkpoint: usize, layer: usize, target: usize) -> f64 {
    let driven = if target < PLANTED && checkpoint == 1 { 0.2 * near(layer, 1.0) } else { 0.0 };
    mean(checkpoint, layer) * 0.5 + driven + 0.002 * target as f64
}

fn near(layer: usize, width: f64) -> f64 {
    (-((layer as f64 - 3.0) / width).powi(2)).exp()
}

fn checkpoint(label: &str, blocks: usize) -> CheckpointRecord {
    CheckpointRecord {
        label: label.to_owned(),
        source: format!("models/{label}"),
        untrained_seed: None,
        family: "bert".to_owned(),
        blocks,
        width: 32,
        parameters: 1_234_567,
        config_sha256: Digest([0x11; 32]),
        tokenizer_sha256: Digest([0x22; 32]),
        weights_sha256: Some(Digest([0x33; 32])),
        prefix: "bert.".to_owned(),
        ignored_tensors: vec!["cls.predictions.bias".to_owned()],
        weights_files: vec!["model.safetensors".to_owned()],
        adapter: None,
        warnings: Vec::new(),
    }
}
