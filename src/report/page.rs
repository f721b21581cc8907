use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::encoding::ScoreName;
use crate::plot::words::percent;
use crate::plot::{Figure, Figures};
use crate::record::RunRecord;
use crate::report::findings::Findings;
use crate::report::markup::{DOCTYPE, Html};
use crate::report::{audit, inference, methods, provenance, results, rois, summary};

/// No network, no scripts: the page is what it is when it is written.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The sections, by anchor, in the order of the page. Those that a run lacks are left out.
const CONTENTS: [(&str, &str); 12] = [
    ("#audit", "Audit"),
    ("#found", "What was found"),
    ("#figures", "Figures"),
    ("#rois", "Regions of interest"),
    ("#layers", "Scores per layer"),
    ("#best", "Best layers"),
    ("#tests", "Tests"),
    ("#groups", "Groups"),
    ("#differences", "Differences"),
    ("#compared", "What was compared"),
    ("#methods", "Methods"),
    ("#glossary", "What each number means"),
];

/// The whole page.
pub(super) fn page(record: &RunRecord, figures: &Figures) -> String {
    format!("{DOCTYPE}{}", document(record, figures).finish())
}

/// The whole page as a tree, from which the Markdown is written, too.
pub(super) fn document(record: &RunRecord, figures: &Figures) -> Html {
    let findings = Findings::of(record);
    let study = record.plan.study.as_str();
    let mut h = Html::default();
    h.element("html", &[("lang", "en")], |h| {
        h.element("head", &[], |h| {
            h.void("meta", &[("charset", "utf-8")]);
            h.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
            h.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
            h.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
            h.leaf("title", &[], format!("{study} – brainscore"));
            h.raw("style", include_str!("style.css"));
        });
        h.element("body", &[], |h| {
            h.element("header", &[], |h| {
                h.leaf("h1", &[], study);
                h.leaf("p", &[("class", "lead")], summary::scope(record));
                h.element("nav", &[("aria-label", "Contents")], |h| {
                    for (anchor, name) in CONTENTS {
                        if has(record, anchor) {
                            h.leaf("a", &[("href", anchor)], name);
                            h.text(" ");
                        }
                    }
                });
            });
            h.element("main", &[], |h| {
                audit::section(h, record);
                summary::sections(h, record, &findings);
                pictures(h, record, figures);
                rois::section(h, record, figures.regions.as_ref());
                inference::sections(h, record);
                results::sections(h, record);
                weights(h, record, figures);
                provenance::sections(h, record);
                methods::sections(h, record);
            });
            h.element("footer", &[], |h| {
                h.leaf(
                    "p",
                    &[],
                    format!(
                        "Written by brainscore {} from run.json (format {}), which holds the same numbers in full precision.",
                        record.version, record.format
                    ),
                );
            });
        });
    });
    h
}

/// Whether the page has this section.
fn has(record: &RunRecord, anchor: &str) -> bool {
    let results = &record.comparison;
    match anchor {
        "#best" => !results.best_layers.is_empty(),
        "#tests" => results.tests.is_some() && !results.layer_differences.is_empty(),
        "#rois" => results.rois.is_some(),
        "#groups" => results.group_design.is_some(),
        "#differences" => !results.layer_differences.is_empty(),
        _ => true,
    }
}

fn pictures(h: &mut Html, record: &RunRecord, figures: &Figures) {
    h.element("section", &[("id", "figures")], |h| {
        h.leaf("h2", &[], "Figures");
        let score = record.comparison.score;
        picture(
            h,
            "layerwise.svg",
            &figures.layerwise,
            &layerwise_caption(record),
        );
        if let Some(difference) = &figures.difference {
            picture(
                h,
                "difference.svg",
                difference,
                &format!(
                    "Figure 2. Paired difference in {score} to {}, on the same folds and rows. Bands are {} % intervals of one \
                     layer each; which differences stand when all layers are looked at is said under Tests.",
                    record.comparison.compared_with(),
                    percent(record.plan.bootstrap.level)
                ),
            );
        }
        if !figures.brains.is_empty() {
            h.leaf("h3", &[], "Brain maps");
            for brain in &figures.brains {
                picture(h, &brain.file, &brain.figure, &brain.caption);
            }
        }
    });
}

/// Which weights moved, beside the other provenance.
fn weights(h: &mut Html, record: &RunRecord, figures: &Figures) {
    let Some(figure) = &figures.weights else { return };
    h.element("section", &[("id", "weights")], |h| {
        h.leaf("h2", &[], "Which weights moved");
        let caption = format!(
            "Figure {}. Distance of each layer's weights from those of {}: 0 where fine-tuning changed nothing. Every \
             tensor's distance, also from a fresh initialisation, is in run.json.",
            if figures.difference.is_some() { 3 } else { 2 },
            record.comparison.compared_with()
        );
        picture(h, "weights.svg", figure, &caption);
    });
}

/// How to read the first figure, without what it does not show.
fn layerwise_caption(record: &RunRecord) -> String {
    let results = &record.comparison;
    let mut text = format!("Figure 1. {} over layers.", results.score);
    if results.confounds.iter().any(|b| b.score == results.score && b.mean.value().is_some()) {
        text.push_str(" A layer above the dashed line predicts more than the confounds do.");
    }
    if results.score == ScoreName::Cod {
        text.push_str(" Below 0 a layer predicts worse than the mean of the training rows.");
    }
    text.push_str(" Points without a score are gaps.");
    text
}

/// A figure; `file` is its file beside the page.
pub(super) fn picture(h: &mut Html, file: &str, figure: &Figure, caption: &str) {
    // As an image, not as markup: whatever stands in an SVG, a browser runs nothing in it and lets it load nothing.
    let source = format!("data:image/svg+xml;base64,{}", STANDARD.encode(&figure.svg));
    h.element("figure", &[], |h| {
        h.element(
            "div",
            &[("class", "scroll"), ("role", "region"), ("tabindex", "0"), ("aria-label", "Figure")],
            |h| {
                h.void("img", &[("src", &source), ("alt", &figure.alt), ("data-file", file)]);
            },
        );
        h.leaf("figcaption", &[], caption);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{Reason, Score};
    use crate::error::Warning;
    use crate::record::sample;

    const HOSTILE: &str =
        "<img src=x onerror=alert(1)>\"'&]]>\u{1b}]8;;\u{202e}\u{0}</style></title><script>alert(1)</script>";

    fn rendered(record: &RunRecord) -> String {
        page(record, &Figures::draw(record).unwrap())
    }

    #[test]
    fn hostile_names_are_inert_wherever_they_stand() {
        let mut record = sample::of(&[(HOSTILE, 4), ("b", 4)]);
        record.plan.study = HOSTILE.to_owned();
        record.plan.confounds = vec![HOSTILE.to_owned()];
        record.plan.precision = HOSTILE.to_owned();
        record.plan.overrides = [(HOSTILE.to_owned(), HOSTILE.to_owned())].into();
        record.inputs[0].name = HOSTILE.to_owned();
        record.inputs[0].role = HOSTILE.to_owned();
        record.checkpoints[0].source = HOSTILE.to_owned();
        record.checkpoints[0].family = HOSTILE.to_owned();
        record.checkpoints[0].ignored_tensors = vec![HOSTILE.to_owned()];
        record.responses.targets[0] = HOSTILE.into();
        record.responses.subjects[0] = HOSTILE.into();
        record.folds[0].test_rows[0] = HOSTILE.into();
        record.machine.blas = HOSTILE.to_owned();
        record.warnings = vec![Warning::new("SC-04", HOSTILE.to_owned())];
        record.timings[0].stage = HOSTILE.to_owned();
        record.comparison.target_differences.iter_mut().for_each(|d| d.target = Some(HOSTILE.into()));
        let page = rendered(&record);
        let tags = sample::tags(&page);
        assert_eq!(tags.iter().filter(|t| *t == "img").count(), 2, "only the figures");
        assert!(!tags.iter().any(|t| ["script", "svg", "iframe", "object", "link", "form"].contains(&t.as_str())));
        assert!(!page.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = rendered(&sample::record());
        assert!(
            page.contains("content=\"default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; img-src data:\"")
        );
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("));
        assert_eq!(page.matches(" src=\"").count(), page.matches(" src=\"data:image/svg+xml;base64,").count());
    }

    #[test]
    fn undefined_is_a_word_with_a_reason() {
        let mut record = sample::record();
        for curve in &mut record.comparison.curves {
            for point in &mut curve.points {
                point.mean = Score::undefined(Reason::FoldTooSmall(2));
                point.interval = None;
            }
        }
        let page = rendered(&record);
        assert!(page.contains("undefined: fold 2 has fewer than 3 test rows"));
        assert!(page.contains("no layer has a defined score"));
        assert!(!page.contains("NaN") && !page.contains(">inf"));
    }

    #[test]
    fn every_shape_of_record_makes_a_page() {
        let mut bare = sample::of(&[("one", 0)]);
        bare.comparison.curves.clear();
        bare.comparison.confounds.clear();
        bare.comparison.target_means.clear();
        bare.plan.confounds.clear();
        bare.plan.overrides.clear();
        bare.timings.clear();
        bare.inputs.clear();
        for record in [bare, sample::of(&[("one", 0)]), sample::of(&[("a", 2), ("b", 12)])] {
            sample::tags(&rendered(&record));
        }
        assert!(!rendered(&sample::of(&[("one", 3)])).contains("Figure 2"));
    }
}
