//! What decides the bytes of a run's units and tables, each under a name that a message can use.

use std::collections::BTreeMap;

use ndarray::ArrayView2;

use crate::compute::device::Offload;
use crate::ids::Digest;
use crate::io::binary::Binary;
use crate::io::digest;
use crate::pipeline::preflight::Prepared;
use crate::pipeline::rows;

/// Names → values. What files held stands there by digest, so that it does not matter where they lie; settings stand there
/// as they are in force, wherever they came from.
pub(in crate::pipeline) fn identity(prepared: &Prepared) -> BTreeMap<String, String> {
    let plan = &prepared.plan;
    let mut all = Identity(BTreeMap::new());
    all.add("program", concat!("brainscore ", env!("CARGO_PKG_VERSION")));
    all.add("study", &plan.name);
    for input in &prepared.inputs {
        all.add(&format!("{} {}", input.role, input.name), input.sha256);
    }
    let (texts, text_of_row) = prepared.stimuli.distinct_texts();
    all.add("texts", of(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<String>>()));
    all.add("rows", of(&(prepared.ids.iter().map(ToString::to_string).collect::<Vec<_>>(), text_of_row.to_vec())));
    all.add("stimulus groups", of(&prepared.stimuli.groups().to_vec()));
    all.add("described rows", rows::described(plan).unwrap_or_default());
    let names = |list: &[crate::ids::SubjectId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    all.add("subjects", names(&prepared.subjects).join(" "));
    all.add("targets", of(&prepared.targets.iter().map(ToString::to_string).collect::<Vec<_>>()));
    let mut responses = Vec::new();
    for cohort in &prepared.cohorts {
        (names(cohort.subjects()), cohort.rows().to_vec()).write(&mut responses);
        responses.extend_from_slice(&matrix(cohort.y().view()).0);
        cohort.missing().to_vec().write(&mut responses);
    }
    all.add("responses", digest(&responses));
    let mut confounds = prepared.confound_names.clone();
    confounds.push(matrix(prepared.confounds.x()).to_string());
    for subject in &prepared.subjects {
        confounds.extend(prepared.confounds.own(subject).map(|own| matrix(own).to_string()));
    }
    all.add("confounds", of(&confounds));
    all.add(
        "folds",
        format!("{} in {}, {}", plan.folds, prepared.folds.count(), of(&prepared.folds.of_row().to_vec())),
    );
    all.add("gap", plan.gap);
    all.add("pooling", plan.pooling);
    all.add("long texts", plan.long_text);
    let alphas: Vec<String> = plan.alphas.values.iter().map(|a| format!("{a:?}")).collect();
    all.add("alphas", format!("{}{}", if plan.alphas.given { "" } else { "may be widened: " }, alphas.join(" ")));
    all.add("score", plan.score);
    all.add("components", plan.components.map_or("all".to_owned(), |n| n.to_string()));
    all.add("unique cod", plan.unique.as_str());
    all.add("combined", plan.combine.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(" "));
    all.add("metrics", plan.metrics.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(" "));
    all.add("precision", plan.precision.as_str());
    all.add("device", prepared.offload.as_ref().map_or("cpu".to_owned(), Offload::describe));
    all.add("threads", rayon::current_num_threads());
    all.add("memory", if plan.memory_given { plan.memory.to_string() } else { "that of the first process".to_owned() });
    let inference = &plan.inference;
    all.add("permutations", format!("{} (seed {})", inference.permutations, inference.seed));
    all.add("margin", inference.margin.map_or("none".to_owned(), |m| format!("{m:?}")));
    if let Some(rois) = &prepared.rois {
        let list: Vec<String> = rois.list.iter().map(|r| r.name.clone()).collect();
        let weights = matrix(rois.matrix.rows().view());
        let contrasts: Vec<(usize, usize)> = rois.contrasts.clone();
        let content = of(&(list.clone(), (weights.to_string(), (rois.control, contrasts))));
        all.add("regions", format!("{}, {content}", list.join(" ")));
    }
    all.add("lineage", digest(format!("{:?}", plan.lineage).as_bytes()));
    let labels: Vec<&str> = prepared.checkpoints.iter().map(|c| c.checkpoint.record().label.as_str()).collect();
    all.add("checkpoints", labels.join(" "));
    for open in &prepared.checkpoints {
        let record = open.checkpoint.record();
        let mut more = |what: &str, value: String| all.add(&format!("{what} of {}", record.label), value);
        let random = || format!("random, seed {}", record.untrained_seed.unwrap_or_default());
        more("weights", record.weights_sha256.map_or_else(random, |w| w.to_string()));
        more("configuration", record.config_sha256.to_string());
        more("tokenizer", record.tokenizer_sha256.to_string());
        more("adapter", record.adapter.clone().unwrap_or_default());
        more("layers", open.layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let tokens = open.tokens.iter().map(|t| (t.ids.iter().map(|id| *id as usize).collect(), t.special.clone()));
        more("tokens", of(&tokens.collect::<Vec<(Vec<usize>, Vec<bool>)>>()).to_string());
        more("reference", prepared.base_of(&record.label).unwrap_or_default().to_owned());
    }
    all.0
}

struct Identity(BTreeMap<String, String>);

impl Identity {
    /// Adds a value; files of one role and name are numbered.
    fn add(&mut self, name: &str, value: impl ToString) {
        let mut key = name.to_owned();
        let mut number = 1;
        while self.0.contains_key(&key) {
            number += 1;
            key = format!("{name} ({number})");
        }
        self.0.insert(key, value.to_string());
    }
}

fn of(value: &impl Binary) -> Digest {
    let mut bytes = Vec::new();
    value.write(&mut bytes);
    digest(&bytes)
}

/// Row by row: a large matrix is not copied.
fn matrix(values: ArrayView2<'_, f64>) -> Digest {
    let mut bytes = Vec::new();
    let mut sums = Vec::new();
    values.dim().write(&mut sums);
    for row in values.rows() {
        bytes.clear();
        row.iter().for_each(|value| value.write(&mut bytes));
        sums.extend_from_slice(&digest(&bytes).0);
    }
    digest(&sums)
}
