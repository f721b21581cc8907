//! What was compared, from which files, in which folds, on which machine.

use crate::encoder::CheckpointRecord;
use crate::error::first_five;
use crate::ids::Digest;
use crate::plot::words::counted;
use crate::record::RunRecord;
use crate::report::markup::Html;
use crate::report::number::{count, share};
use crate::report::table;

/// Hexadecimal digits of a digest that are shown; the rest is in the `title` and in run.json.
const DIGITS: usize = 12;

/// All tables of provenance.
pub(super) fn sections(h: &mut Html, record: &RunRecord) {
    h.element("section", &[("id", "compared")], |h| {
        h.leaf("h2", &[], "What was compared");
        checkpoints(h, record);
        for checkpoint in &record.checkpoints {
            ignored(h, checkpoint);
        }
        h.leaf("h3", &[], "Inputs");
        inputs(h, record);
        h.leaf("h3", &[], "Folds");
        folds(h, record);
        h.leaf("h3", &[], "Machine and time");
        machine(h, record);
    });
}

fn checkpoints(h: &mut Html, record: &RunRecord) {
    let heads = ["checkpoint", "source", "family", "blocks", "width", "parameters", "weights", "config", "tokenizer"];
    table::table(h, "Checkpoints, identified by the SHA-256 of their files", &heads, |h| {
        h.element("tbody", &[], |h| {
            for c in &record.checkpoints {
                let alone = record.comparison.base_of(&c.label).is_none();
                let reference = if alone && !record.comparison.has_bases() { " (reference)" } else { "" };
                table::row(h, &format!("{}{reference}", c.label), |h| {
                    table::words(h, &c.source);
                    table::words(h, &c.family);
                    table::figure(h, c.blocks.to_string());
                    table::figure(h, c.width.to_string());
                    table::figure(h, count(c.parameters));
                    h.element("td", &[], |h| match (c.weights_sha256, c.untrained_seed) {
                        (Some(digest), _) => short(h, digest),
                        (None, Some(seed)) => h.text(format!("random, seed {seed}")),
                        (None, None) => h.text("not recorded"),
                    });
                    h.element("td", &[], |h| short(h, c.config_sha256));
                    h.element("td", &[], |h| short(h, c.tokenizer_sha256));
                });
            }
        });
    });
}

fn ignored(h: &mut Html, c: &CheckpointRecord) {
    if c.ignored_tensors.is_empty() {
        return;
    }
    h.element("details", &[], |h| {
        h.leaf(
            "summary",
            &[],
            format!(
                "{}: {} of the file not used, being no part of the encoder",
                c.label,
                counted(c.ignored_tensors.len(), "tensor")
            ),
        );
        h.element("p", &[("class", "names")], |h| {
            for name in &c.ignored_tensors {
                h.leaf("code", &[], name);
                h.text(" ");
            }
        });
    });
}

fn inputs(h: &mut Html, record: &RunRecord) {
    if record.inputs.is_empty() {
        h.leaf("p", &[], "No file was read.");
        return;
    }
    table::table(h, "Files that were read", &["file", "role", "SHA-256"], |h| {
        h.element("tbody", &[], |h| {
            for input in &record.inputs {
                table::row(h, &input.name, |h| {
                    table::words(h, &input.role);
                    h.element("td", &[], |h| short(h, input.sha256));
                });
            }
        });
    });
}

fn short(h: &mut Html, digest: Digest) {
    let full = digest.to_string();
    let shown: String = full.chars().take(DIGITS).chain(['…']).collect();
    h.leaf("code", &[("title", &full)], shown);
}

fn folds(h: &mut Html, record: &RunRecord) {
    table::table(
        h,
        "Outer folds, counted from 0 (all rows are in run.json)",
        &["fold", "rows held out", "first rows"],
        |h| {
            h.element("tbody", &[], |h| {
                for (i, fold) in record.folds.iter().enumerate() {
                    table::row(h, &i.to_string(), |h| {
                        table::figure(h, fold.test_rows.len().to_string());
                        table::words(h, first_five(&fold.test_rows));
                    });
                }
            });
        },
    );
}

fn machine(h: &mut Html, record: &RunRecord) {
    let m = &record.machine;
    h.leaf(
        "p",
        &[],
        format!(
            "brainscore {}, {} on {}, {}, {} arithmetic; BLAS: {}.",
            record.version,
            m.device,
            m.platform,
            counted(m.threads, "thread"),
            record.plan.precision,
            m.blas
        ),
    );
    let total: f64 = record.timings.iter().map(|t| t.seconds).sum();
    if total > 0.0 {
        table::table(h, "Wall time", &["stage", "seconds", "share"], |h| {
            h.element("tbody", &[], |h| {
                for stage in &record.timings {
                    table::row(h, &stage.stage, |h| {
                        table::figure(h, format!("{:.1}", stage.seconds));
                        table::figure(h, share(stage.seconds / total));
                    });
                }
                table::row(h, "all", |h| {
                    table::figure(h, format!("{total:.1}"));
                    table::figure(h, "");
                });
            });
        });
    }
    if !record.plan.overrides.is_empty() {
        table::table(h, "Flags that overrode the study file", &["flag", "value"], |h| {
            h.element("tbody", &[], |h| {
                for (flag, value) in &record.plan.overrides {
                    table::row(h, flag, |h| table::words(h, value));
                }
            });
        });
    }
}
