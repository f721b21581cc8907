//! Regions of interest: what they are, what they have in common, and whether an effect is theirs alone.

use crate::compare::{RoiCeiling, RoiDifference, RoiResults};
use crate::encoding::ScoreName;
use crate::ids::Layer;
use crate::plot::Regions;
use crate::plot::words::counted;
use crate::record::RunRecord;
use crate::report::inference::{chosen, chosen_by};
use crate::report::markup::Html;
use crate::report::number::{self, number, signed};
use crate::report::page::picture;
use crate::report::summary::minus;
use crate::report::table;
use crate::report::verdict::{Verdict, p_equals, p_value};
use crate::roi::{Overlap, RoiInfo};

/// Cosines below this are not worth a row.
const LITTLE: f64 = 0.1;

/// What was found in the regions, a sentence per checkpoint: its name and what is said of it.
pub(super) fn found(record: &RunRecord) -> Vec<(String, String)> {
    let Some(results) = &record.comparison.rois else { return Vec::new() };
    let checkpoints = record.checkpoints.iter().filter(|c| record.comparison.base_of(&c.label).is_some());
    checkpoints.filter_map(|c| Some((minus(record, &c.label) + ", by region", sentence(results, &c.label)?))).collect()
}

/// The differences of a checkpoint, each at its own nested best layer.
fn nested<'a>(all: &'a [RoiDifference], checkpoint: &'a str) -> impl Iterator<Item = &'a RoiDifference> {
    all.iter().filter(move |d| d.layer.is_none() && d.checkpoint == checkpoint)
}

fn verdict_of(d: &RoiDifference) -> Verdict {
    Verdict::of(d.difference, d.inference.p_fwe, &d.inference)
}

fn sentence(results: &RoiResults, checkpoint: &str) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for d in nested(&results.differences, checkpoint) {
        parts.push(match (d.difference.value(), d.inference.p_fwe) {
            (Some(value), Some(p)) => {
                format!("{} {} ({}, {})", d.roi, signed(value), verdict_of(d).as_str(), p_equals(p))
            }
            (Some(value), None) => format!("{} {} (not tested)", d.roi, signed(value)),
            (None, _) => format!("{} undefined", d.roi),
        });
    }
    if parts.is_empty() {
        return None;
    }
    let mut text = format!(
        "each at its own best layer (nested), p corrected for {}: {}.",
        counted(parts.len(), "region"),
        parts.join("; ")
    );
    let larger: Vec<String> = nested(&results.contrasts, checkpoint)
        .filter(|d| matches!(verdict_of(d), Verdict::Higher | Verdict::Lower))
        .filter_map(|d| Some((d, d.difference.value()?, d.versus.as_deref()?)))
        .map(|(d, value, versus)| {
            let word = if value > 0.0 { "more" } else { "less" };
            format!(
                "{word} in {} than in {versus} by {} ({})",
                d.roi,
                number(value.abs()),
                d.inference.p_fwe.map_or(String::new(), p_equals)
            )
        })
        .collect();
    if !larger.is_empty() {
        text.push_str(&format!(" Compared with each other: {}.", larger.join("; ")));
    } else if !results.contrasts.is_empty() {
        text.push_str(" No region differs more than another with which it was compared.");
    }
    Some(text)
}

/// The section.
pub(super) fn section(h: &mut Html, record: &RunRecord, figures: Option<&Regions>) {
    let Some(results) = &record.comparison.rois else { return };
    h.element("section", &[("id", "rois")], |h| {
        h.leaf("h2", &[], "Regions of interest");
        h.leaf(
            "p",
            &[],
            "A region is a set of weights over targets that sum to 1: its map, where it is at least its threshold, averaged over \
             the voxels that the atlas reaches. Its score is that weighted mean of the targets\u{2019} scores. Targets without a \
             score drop out and the others\u{2019} weights are renormalised.",
        );
        super::regions::contents(h, record);
        planted(h, record, results);
        if let Some(figures) = figures {
            pictures(h, figures);
        }
        regions(h, results);
        overlaps(h, &results.overlaps);
        scores(h, record, results);
        if results.differences.is_empty() {
            return;
        }
        differences(h, record, results);
        contrasts(h, record, results);
        h.leaf(
            "p",
            &[("class", "note")],
            format!(
                "Both checkpoints are at their own best layer in the region, chosen {}. p corrected: the largest |t| over the regions \
                 (or comparisons) of a checkpoint. Layers: those that differ when all layers and regions are looked at together. \
                 Tests of every layer, region and score are in roi_comparison.csv, subjects\u{2019} scores in rois.csv, the weights \
                 in roi_matrix.csv.",
                chosen_by(record.comparison.unit)
            ),
        );
    });
}

/// The figures, the answer first.
fn pictures(h: &mut Html, figures: &Regions) {
    let captions = [
        (
            "roi-difference.svg",
            figures.difference.as_ref(),
            "Differences per region. Left: every region; right of the dashed line: one region\u{2019}s difference less another\u{2019}s. \
             What lies within the blue band is too small to matter, by the margin that was given.",
        ),
        (
            "roi-layerwise.svg",
            Some(&figures.layerwise),
            "Scores over layers in each region, all on one scale, beside the confounds and the ceiling.",
        ),
        (
            "roi-layers.svg",
            figures.layers.as_ref(),
            "Layers × regions. Colours are for the overview; what stands is framed.",
        ),
    ];
    for (file, figure, caption) in captions {
        if let Some(figure) = figure {
            picture(h, file, figure, caption);
        }
    }
}

/// What was planted in one region, and where an effect was found.
fn planted(h: &mut Html, record: &RunRecord, results: &RoiResults) {
    let Some((text, passed)) = planted_words(record, results) else { return };
    h.element("p", &[("class", if passed { "verdict pass" } else { "verdict fail" })], |h| {
        h.leaf("strong", &[], if passed { "PASS" } else { "FAIL" });
        h.text(text);
    });
}

/// The verdict on a planted region, `: the effect …`, and whether it was found there and nowhere else.
pub(super) fn planted_words(record: &RunRecord, results: &RoiResults) -> Option<(String, bool)> {
    let planted = record.planted.as_ref()?;
    let roi = planted.roi.as_deref()?;
    let all: Vec<&RoiDifference> = nested(&results.differences, &planted.checkpoint).collect();
    let there = all.iter().find(|d| d.roi == roi)?;
    let elsewhere: Vec<&str> = all
        .iter()
        .filter(|d| d.roi != roi && matches!(verdict_of(d), Verdict::Higher | Verdict::Lower))
        .map(|d| d.roi.as_str())
        .collect();
    let passed = verdict_of(there) == Verdict::Higher && elsewhere.is_empty();
    let value = there.difference.value().map_or("undefined".to_owned(), signed);
    let p = there.inference.p_fwe.map_or("not tested".to_owned(), p_equals);
    let others = match elsewhere.as_slice() {
        [] => "no other region differs".to_owned(),
        some => format!("{} differ, too", some.join(", ")),
    };
    Some((
        format!(": planted in {roi} alone; there {} scores {value} ({p}), and {others}.", planted.checkpoint),
        passed,
    ))
}

fn regions(h: &mut Html, results: &RoiResults) {
    let heads = ["region", "made of", "threshold", "voxels", "targets", "effective", "weight in targets", "role"];
    table::table(h, "The regions", &heads, |h| {
        h.element("tbody", &[], |h| {
            for roi in &results.rois {
                table::row(h, &roi.name, |h| {
                    let rule = if roi.rule.is_empty() { String::new() } else { format!(", {}", roi.rule) };
                    table::words(h, format!("{}{rule}", roi.source));
                    table::figure(h, roi.threshold.map_or("–".to_owned(), number));
                    table::figure(h, voxels(roi));
                    table::figure(h, roi.targets.to_string());
                    table::figure(h, format!("{:.1}", roi.effective_targets));
                    table::figure(h, number::share(roi.covered));
                    table::words(h, if roi.control { "control" } else { "" });
                });
            }
        });
    });
    let mut citations: Vec<&String> = results.rois.iter().flat_map(|r| &r.citations).collect();
    citations.sort_unstable();
    citations.dedup();
    if !citations.is_empty() {
        h.leaf(
            "p",
            &[("class", "note")],
            "Built-in regions are spheres around published peaks and only a rough stand-in for maps:",
        );
        h.element("ul", &[("class", "note")], |h| citations.iter().for_each(|c| h.leaf("li", &[], c)));
    }
}

fn voxels(roi: &RoiInfo) -> String {
    match (roi.voxels, roi.voxels_outside) {
        (Some(n), Some(outside)) => format!("{n} ({outside} outside the atlas)"),
        (Some(n), None) => n.to_string(),
        (None, _) => "–".to_owned(),
    }
}

/// Pairs with something in common, and what that means.
fn overlaps(h: &mut Html, all: &[Overlap]) {
    let worth = |o: &&Overlap| o.cosine >= LITTLE || o.dice.is_some_and(|d| d >= LITTLE);
    let pairs: Vec<&Overlap> = all.iter().filter(worth).collect();
    if all.is_empty() {
        return;
    }
    if pairs.is_empty() {
        h.leaf("p", &[], "No two regions have much in common: their scores can be compared as they are.");
        return;
    }
    let heads = ["pair", "shared voxels", "Dice", "correlation of weights", "cosine of rows", "what it means"];
    table::table(h, "What regions have in common", &heads, |h| {
        h.element("tbody", &[], |h| {
            for o in &pairs {
                table::row(h, &format!("{} and {}", o.first, o.second), |h| {
                    table::figure(h, o.shared_voxels.map_or("–".to_owned(), |n| n.to_string()));
                    for value in [o.dice, o.correlation, Some(o.cosine)] {
                        table::figure(h, value.map_or("–".to_owned(), number));
                    }
                    table::words(h, o.in_words());
                });
            }
        });
    });
    h.leaf(
        "p",
        &[("class", "note")],
        "Regions that share parcels share whatever happens there, so that an effect in both is not two findings. The tests of one \
         region against another are not fooled, because what both share cancels, but they only speak of the rest and have less to \
         go by. disjoint = true in [rois] takes from all regions the voxels that more than one claims.",
    );
}

/// The first ceiling of a region that has a value.
fn ceiling<'a>(results: &'a RoiResults, roi: &str, score: ScoreName) -> Option<&'a RoiCeiling> {
    results.ceilings.iter().find(|c| c.roi == roi && c.score == score && c.mean.value().is_some())
}

fn scores(h: &mut Html, record: &RunRecord, results: &RoiResults) {
    let score = record.comparison.score;
    let head = format!("nested {score}");
    let heads = ["region", head.as_str(), "sd", "layers chosen", "confounds", "oasm", "ceiling", "naive maximum"];
    table::table(
        h,
        "Scores per region at the best layer (nested), mean and standard deviation over subjects",
        &heads,
        |h| {
            for checkpoint in &record.checkpoints {
                let own: Vec<_> = results.best.iter().filter(|b| b.checkpoint == checkpoint.label).collect();
                h.element("tbody", &[], |h| {
                    table::group(h, &checkpoint.label, heads.len());
                    for best in own {
                        table::row(h, &best.roi, |h| {
                            table::score(h, best.nested, best.interval, number);
                            table::figure(h, best.sd.map_or("–".to_owned(), number));
                            table::words(h, chosen(&best.chosen));
                            for name in ["confounds", "oasm"] {
                                let of = |b: &&crate::compare::RoiBaseline| {
                                    b.baseline == name && b.roi == best.roi && b.score == score
                                };
                                match results.baselines.iter().find(of) {
                                    Some(level) => table::score(h, level.mean, None, number),
                                    None => table::figure(h, "–"),
                                }
                            }
                            match ceiling(results, &best.roi, score) {
                                Some(c) => table::score_of(h, c.mean, c.interval, number, c.kind.as_str()),
                                None => table::figure(h, "–"),
                            }
                            table::score(h, best.naive, None, number);
                        });
                    }
                });
            }
        },
    );
}

/// Layers of a checkpoint and ROI (or contrast) that differ in the ranking score, corrected over layers and ROIs.
fn layers_that_differ(all: &[RoiDifference], of: &RoiDifference, score: ScoreName) -> String {
    let layers: Vec<Layer> = all
        .iter()
        .filter(|d| d.checkpoint == of.checkpoint && d.roi == of.roi && d.versus == of.versus && d.score == score)
        .filter(|d| matches!(verdict_of(d), Verdict::Higher | Verdict::Lower))
        .filter_map(|d| d.layer)
        .collect();
    if layers.is_empty() {
        "none".to_owned()
    } else {
        layers.iter().map(Layer::to_string).collect::<Vec<_>>().join(" ")
    }
}

fn differences(h: &mut Html, record: &RunRecord, results: &RoiResults) {
    let caption = "Paired differences per region, with interval; p corrected for the regions of a checkpoint";
    tested(h, record, caption, &results.differences, "region");
}

fn contrasts(h: &mut Html, record: &RunRecord, results: &RoiResults) {
    if results.contrasts.is_empty() {
        return;
    }
    h.leaf("h3", &[], "Is the effect larger in one region than in another?");
    let control = results.rois.iter().find(|r| r.control).map(|r| r.name.as_str());
    let role = control.map_or(String::new(), |c| format!(" {c} is the control, where no effect is expected."));
    h.leaf(
        "p",
        &[],
        format!(
            "That one region differs and another does not is no difference between the two. This table tests the difference of the \
             differences itself.{role}"
        ),
    );
    let caption = "Differences of differences, with interval; p corrected for the comparisons of a checkpoint";
    tested(h, record, caption, &results.contrasts, "region − region");
}

fn tested(h: &mut Html, record: &RunRecord, caption: &str, all: &[RoiDifference], what: &str) {
    let score = record.comparison.score;
    let margin = record.comparison.tests.and_then(|t| t.settings.margin);
    let within = margin.map(|m| format!("p within ± {}", number(m)));
    let difference = format!("difference in {score}");
    let mut heads = vec![what, difference.as_str(), "p", "p corrected", "smallest detectable"];
    heads.extend(within.as_deref());
    heads.extend(["layers", "verdict"]);
    table::table(h, caption, &heads, |h| {
        for checkpoint in record.checkpoints.iter().filter(|c| record.comparison.base_of(&c.label).is_some()) {
            h.element("tbody", &[], |h| {
                table::group(h, &minus(record, &checkpoint.label), heads.len());
                for d in nested(all, &checkpoint.label) {
                    let row = match &d.versus {
                        Some(versus) => format!("{} − {versus}", d.roi),
                        None => d.roi.clone(),
                    };
                    table::row(h, &row, |h| {
                        table::score(h, d.difference, d.interval, signed);
                        for p in [d.inference.p, d.inference.p_fwe] {
                            table::figure(h, p.map_or("–".to_owned(), p_value));
                        }
                        table::figure(h, d.inference.mde80.map_or("–".to_owned(), number));
                        if margin.is_some() {
                            table::figure(h, d.inference.p_tost.map_or("–".to_owned(), p_value));
                        }
                        table::words(h, layers_that_differ(all, d, score));
                        table::words(h, said(d));
                    });
                }
            });
        }
    });
}

/// One or two words of a verdict.
fn said(d: &RoiDifference) -> String {
    match verdict_of(d) {
        verdict @ (Verdict::Higher | Verdict::Lower) if d.inference.equivalent == Some(true) => {
            format!("{}, within the margin", verdict.as_str())
        }
        verdict => verdict.as_str().to_owned(),
    }
}

/// Rows for the terminal: region, checkpoint, difference, interval, p, verdict; empty without regions to compare.
pub(super) fn terminal(record: &RunRecord) -> Vec<[String; 6]> {
    let Some(results) = &record.comparison.rois else { return Vec::new() };
    let mut rows = Vec::new();
    for checkpoint in record.checkpoints.iter().filter(|c| record.comparison.base_of(&c.label).is_some()) {
        for d in nested(&results.differences, &checkpoint.label).chain(nested(&results.contrasts, &checkpoint.label)) {
            let short = |name: &str| crate::visible::shortened(name, 24);
            let region = match &d.versus {
                Some(versus) => format!("{} - {}", short(&d.roi), short(versus)),
                None => short(&d.roi),
            };
            rows.push([
                region,
                short(&d.checkpoint),
                d.difference.value().map_or("undefined".to_owned(), signed),
                number::interval(d.interval),
                d.inference.p_fwe.map_or("-".to_owned(), p_value),
                said(d),
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::ceiling::CeilingKind;
    use crate::encoding::{Reason, Score};

    #[test]
    fn a_ceiling_without_a_value_hides_none_that_has_one() {
        let one = |kind, mean| RoiCeiling { roi: "tom".to_owned(), kind, score: ScoreName::Cod, mean, interval: None };
        let results = RoiResults {
            ceilings: vec![
                one(CeilingKind::Loso, Score::undefined(Reason::NothingDefined)),
                one(CeilingKind::Repeats, Score::Value(0.25)),
            ],
            ..RoiResults::default()
        };
        assert_eq!(ceiling(&results, "tom", ScoreName::Cod).map(|c| c.kind), Some(CeilingKind::Repeats));
        assert!(
            ceiling(&results, "tom", ScoreName::R).is_none() && ceiling(&results, "moral", ScoreName::Cod).is_none()
        );
    }
}
