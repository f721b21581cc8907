use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::compare::Along;
use crate::encoding::ScoreName;
use crate::plot::words::percent;
use crate::plot::{Figure, Figures};
use crate::record::RunRecord;
use crate::report::findings::Findings;
use crate::report::markup::{DOCTYPE, Html};
use crate::report::{audit, batch, inference, methods, provenance, regions, results, rois, summary};
use crate::visible::visible;

/// The page's one script. Without it nothing is missing: it sorts, filters, and shows values under a pointer.
const SCRIPT: &str = include_str!("script.js");

/// No network, and no script but the page's own, by its hash.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{hash}'")
}

/// The sections, by anchor, in the order of the page. Those that a run lacks are left out.
const CONTENTS: [(&str, &str); 14] = [
    ("#audit", "Audit"),
    ("#found", "What was found"),
    ("#summary", "Summary"),
    ("#figures", "Figures"),
    ("#rois", "Regions of interest"),
    ("#trends", "Along steps and sizes"),
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
            h.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy())]);
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
                batch::summary(h, record);
                pictures(h, record, figures);
                rois::section(h, record, figures.regions.as_ref());
                regions::sections(h, record);
                series(h, record, figures);
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
            h.raw("script", SCRIPT);
        });
    });
    h
}

/// Whether the page has this section.
fn has(record: &RunRecord, anchor: &str) -> bool {
    let results = &record.comparison;
    match anchor {
        "#summary" => results.best_layers.len() > 1,
        "#trends" => !results.trends.is_empty(),
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

/// Scores along training steps and model sizes, where the list of checkpoints gives them.
fn series(h: &mut Html, record: &RunRecord, figures: &Figures) {
    if record.comparison.trends.is_empty() {
        return;
    }
    h.element("section", &[("id", "trends")], |h| {
        h.leaf("h2", &[], "Along steps and sizes");
        for along in batch::along(record) {
            let (file, figure) = match along {
                Along::Steps => ("steps.svg", &figures.steps),
                Along::Size => ("size.svg", &figures.size),
            };
            h.leaf("h3", &[], format!("Score along {}", along.as_str()));
            if let Some(figure) = figure {
                let caption = format!("Scores along {}, each checkpoint at its nested best layer.", along.as_str());
                picture(h, file, figure, &caption);
            }
            batch::trends(h, record, along);
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
    let points = points(figure);
    h.element("figure", &[], |h| {
        // Regions are told apart by their names.
        let name = format!("Figure: {}", file.trim_end_matches(".svg"));
        h.element("div", &[("class", "scroll"), ("role", "region"), ("tabindex", "0"), ("aria-label", &name)], |h| {
            h.void("img", &[("src", &source), ("alt", &figure.alt), ("data-file", file), ("data-points", &points)]);
        });
        h.leaf("figcaption", &[], caption);
    });
}

/// Places and values of a figure's points, as the page's script reads them.
fn points(figure: &Figure) -> String {
    let place = |v: f64| (v * 1e4).round() / 1e4;
    let spots: Vec<_> =
        figure.points.iter().map(|s| json!([place(s.x), place(s.y), visible(&s.text), s.layer])).collect();
    Value::from(spots).to_string()
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
        assert_eq!(tags.iter().filter(|t| *t == "script").count(), 1, "only the page's own");
        assert!(!tags.iter().any(|t| ["svg", "iframe", "object", "link", "form"].contains(&t.as_str())));
        assert!(!page.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'));
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = rendered(&sample::record());
        let policy = "content=\"default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; img-src data:; script-src &#39;sha256-";
        assert!(page.contains(policy));
        let (_, script) = page.split_once("<script>").unwrap();
        let (script, _) = script.split_once("</script>").unwrap();
        let hash = STANDARD.encode(Sha256::digest(script));
        assert!(page.contains(&format!("sha256-{hash}&#39;\"")), "the hash is that of the script in the page");
        assert!(script.len() < 30_000);
        for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "import("] {
            assert!(!script.contains(word), "{word} has no place in the script");
        }
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("));
        assert_eq!(page.matches(" src=\"").count(), page.matches(" src=\"data:image/svg+xml;base64,").count());
    }

    /// WCAG AA: 4.5 for text on every background that it stands on, in both colour schemes.
    #[test]
    fn text_has_contrast_in_light_and_dark() {
        let css = include_str!("style.css");
        let (light, rest) = css.split_once("@media (prefers-color-scheme: dark)").unwrap();
        let (dark, _) = rest.split_once("* { box-sizing").unwrap();
        let luminance = |block: &str, name: &str| {
            let (_, value) = block.split_once(&format!("--{name}: #")).unwrap();
            let part = |i: usize| {
                let v = f64::from(u8::from_str_radix(&value[2 * i..2 * i + 2], 16).unwrap()) / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(0) + 0.7152 * part(1) + 0.0722 * part(2)
        };
        for block in [light, dark] {
            for (text, behind) in [
                ("ink", "page"),
                ("soft", "page"),
                ("accent", "page"),
                ("ink", "shade"),
                ("soft", "shade"),
                ("pass-ink", "pass"),
                ("fail-ink", "fail"),
                ("warn-ink", "warn"),
            ] {
                let (a, b) = (luminance(block, text), luminance(block, behind));
                let ratio = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(ratio >= 4.5, "{text} on {behind}: {ratio:.2}");
            }
        }
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
