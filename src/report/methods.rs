//! How the numbers were made, written from the plan, and what each of them means.

use crate::encoder::{LongText, Pooling};
use crate::encoding::{AlphaGrid, EDGE_LIMIT, FoldSpec};
use crate::ids::Layer;
use crate::plot::words::{counted, percent, units};
use crate::record::RunRecord;
use crate::report::inference::{chosen_by, how};
use crate::report::markup::Html;
use crate::report::number::{number, share};
use crate::report::summary::minus;

/// Methods and glossary.
pub(super) fn sections(h: &mut Html, record: &RunRecord) {
    h.element("section", &[("id", "methods")], |h| {
        h.leaf("h2", &[], "Methods");
        for paragraph in paragraphs(record) {
            h.leaf("p", &[], paragraph);
        }
        h.leaf(
            "p",
            &[("class", "note")],
            "B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, Chapman & Hall, 1993, chapter 14 (BCa intervals). \
             T. C. Hesterberg, The American Statistician 69, 2015, 371–386 (few units). T. E. Nichols and A. P. Holmes, Human \
             Brain Mapping 15, 2002, 1–25 (largest |t|). B. Phipson and G. K. Smyth, Statistical Applications in Genetics and \
             Molecular Biology 9, 2010, 39 (p is never 0). Y. Benjamini and Y. Hochberg, JRSS B 57, 1995, 289–300. D. J. \
             Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987, 657–680 (two one-sided tests). D. Freedman and D. \
             Lane, J. Business & Economic Statistics 1, 1983, 292–298.",
        );
    });
    h.element("section", &[("id", "glossary")], |h| {
        h.leaf("h2", &[], "What each number means");
        h.element("dl", &[], |h| {
            for (term, meaning) in GLOSSARY {
                h.leaf("dt", &[], term);
                h.leaf("dd", &[], meaning);
            }
        });
    });
}

const GLOSSARY: [(&str, &str); 16] = [
    (
        "cod",
        "1 − Σ SSE / Σ (y − ȳ_train)², both sums over all folds: out-of-sample R² against the mean of the training rows. \
         1 is perfect, 0 is no better than that mean, below 0 is worse. Negative values are shown, never clipped.",
    ),
    (
        "cod-test-mean",
        "R² against the mean of the test rows, as in scikit-learn, per fold, then the mean over folds. For comparison with papers; \
         usually lower than cod.",
    ),
    ("r", "Pearson correlation within a fold, then the mean over folds. Blind to scale and offset."),
    (
        "target",
        "A column of the responses: a parcel, voxel, electrode or network mean. Scores are per subject and target, then averaged.",
    ),
    (
        "unique cod",
        "cod of a joint model of the layer and the confounds less that of the confounds alone. In the joint model each of the two \
         has a weight of its own (banded ridge), chosen per target and fold from 100 random draws on the inner folds.",
    ),
    ("layer", "0 is the embedding output, k the output of block k."),
    (
        "undefined",
        "No score exists: a constant target, missing responses, no varying feature in a training fold, a constant prediction, a test fold under \
         3 rows. Counted and left out of means, never replaced by 0.",
    ),
    (
        "confounds only",
        "The score of the confounds (such as numbers of words and characters) with the same folds, penalties and ridge: what a \
         text's length and the like explain without any language model.",
    ),
    (
        "interval",
        "Where the mean would lie if other subjects (or stimulus groups, where stated) had been drawn: a bootstrap interval for one \
         number, not corrected for how many numbers are looked at.",
    ),
    (
        "p, p corrected (p_fwe)",
        "How often a difference at least this large comes out when signs are flipped at random: alone, and as the largest of its \
         whole family of layers (or layers and targets). Below 0.05 it is called different.",
    ),
    (
        "q (q_fdr)",
        "Benjamini–Hochberg: of the single targets with a q below 0.05, about one in twenty or fewer is expected to be a false find.",
    ),
    (
        "smallest detectable (mde80)",
        "The true difference that a t test of these units would find at 0.05, uncorrected, in four cases of five. It says what this \
         study could have seen.",
    ),
    (
        "equivalent",
        "Two one-sided t tests say that the difference lies within the margin that was given. Without a margin nothing is ever called \
         equivalent.",
    ),
    ("undecided", "Neither shown to differ nor to be equivalent. That is no evidence that there is no difference."),
    (
        "nested best layer, optimism",
        "The score of the layer that was chosen without the data that scores it; optimism is how much higher the naive maximum is.",
    ),
    (
        "centre of mass",
        "Where in the network the scores lie: Σ depth · score / Σ score over the layers with a score above 0, depth from 0 to 1.",
    ),
];

/// The paragraphs, from the plan.
fn paragraphs(record: &RunRecord) -> Vec<String> {
    let plan = &record.plan;
    let results = &record.comparison;
    let pooling = match plan.pooling {
        Pooling::Mean => "the mean over all attended tokens, special tokens included",
        Pooling::MeanWords => "the mean over all attended tokens but the special ones",
        Pooling::Cls => "that of the first token",
        Pooling::Last => "that of the last attended token",
    };
    let long = match plan.long_text {
        LongText::Refuse => "None has more tokens than a checkpoint takes at once",
        LongText::Window => {
            "Texts with more tokens than a checkpoint takes at once ran in overlapping windows, each half a window after the \
             one before, every token's state taken from the window where it has most context on both sides"
        }
        LongText::Truncate => {
            "Of texts with more tokens than a checkpoint takes at once the first ones were kept, with the special tokens at \
             both ends"
        }
    };
    let rows = plan.rows.as_ref().map_or(String::new(), |rows| format!(" {rows}"));
    let layers: Vec<String> =
        plan.layers.iter().map(|(label, layers)| format!("{label}: {}", ranges(layers))).collect();
    let components = plan.components.map_or(String::new(), |n| {
        format!(
            " Each fit was confined to the {n} principal components of its training rows with the largest variance; with them \
             there is no unique cod."
        )
    });
    let features = format!(
        "Features. Each distinct text went through each checkpoint once; a layer's hidden states became one vector per text, \
         {pooling} (pooling {}). {long} (long texts: {}). Layers: {}. Features were z-scored with the mean and population standard deviation of the \
         training rows of a fold; columns constant there were set to 0.{components}{rows}",
        plan.pooling,
        plan.long_text,
        layers.join("; ")
    );
    let folds = match plan.folds {
        FoldSpec::Contiguous { .. } => "blocks of neighbouring groups in the order of the stimuli",
        FoldSpec::GroupK { .. } => "groups dealt to the smallest fold, largest first",
        FoldSpec::LeaveOneRunOut => "the runs",
        FoldSpec::LeaveOneSubjectOut { .. } => {
            "blocks of neighbouring groups in the order of the stimuli; a subject's responses were predicted by a model of the \
             other subjects' mean response to the stimuli of the other folds"
        }
        FoldSpec::Column => "read from the stimuli table",
        FoldSpec::Shuffled { .. } => {
            "rows dealt at random, whatever belongs together. THEY LEAK: rows of one group or text, and neighbours, are on both sides"
        }
    };
    let folds = format!(
        "Folds. {} outer folds, {folds}. {}{} rows with {} distinct texts make {}. Nothing was fitted on a test row.{}",
        record.folds.len(),
        if plan.folds.leaks() {
            ""
        } else {
            "Rows with the same text, and rows that the study groups, are never on both sides. "
        },
        record.responses.n_stimuli,
        record.responses.n_texts,
        counted(record.responses.n_groups, "group"),
        if plan.gap == 0 {
            String::new()
        } else {
            format!(" Rows within {} of a held-out row of their run were not trained on.", plan.gap)
        }
    );
    let ridge = format!(
        "Ridge. For each subject, target and fold, weights w minimise |y − ȳ_train − Xw|² + alpha |w|². Alpha was chosen for each \
         target from {}, by the smallest squared error summed over inner folds, which are the other outer folds, one left out at \
         a time; ties go to the larger alpha. Arithmetic: {}.",
        grid(&plan.alphas),
        plan.precision
    );
    let scores = format!(
        "Scores. Layers and checkpoints are ranked by {}; cod, cod-test-mean and r are defined below. A subject's score is the \
         mean over targets with a defined score; the reported mean is over subjects. Differences are paired: checkpoint less {}, \
         in the same subject and target, on the same folds and rows.",
        results.score,
        results.compared_with()
    );
    let confounds = if plan.confounds.is_empty() {
        "Confounds. The study names none.".to_owned()
    } else {
        format!(
            "Confounds. {}: scored alone, with the same z-scoring, folds, penalties and ridge.",
            plan.confounds.join(", ")
        )
    };
    let bootstrap = format!(
        "Intervals. {} % bias-corrected and accelerated (BCa) bootstrap intervals (Efron and Tibshirani, 1993) over {}, with \
         the tails widened for few units (Hesterberg, 2015), {} resamples, seed {}. There is none where fewer than three units have \
         a value.",
        percent(plan.bootstrap.level),
        units(results),
        plan.bootstrap.draws,
        plan.bootstrap.seed
    );
    let mut all = vec![features, folds, ridge, scores, confounds, bootstrap];
    if let Some(tests) = results.tests {
        let margin = match tests.settings.margin {
            Some(margin) => format!("Equivalence: two one-sided t tests against ± {}.", number(margin)),
            None => "Equivalence was not tested: no margin was given.".to_owned(),
        };
        all.push(format!("Tests. {} {margin}", how(record)));
    }
    all.extend(pairs(record));
    all.extend(regions(record));
    all
}

/// Which checkpoints were compared, and along what, where a list says so.
fn pairs(record: &RunRecord) -> Option<String> {
    let results = &record.comparison;
    if results.lineage.is_empty() {
        return None;
    }
    let pairs: Vec<String> = results.best_differences.iter().map(|d| minus(record, &d.checkpoint)).collect();
    let mut text = format!("Checkpoints. {} stood in a list.", counted(record.checkpoints.len(), "checkpoint"));
    if results.has_bases() {
        text.push_str(&format!(" Each was compared with the base that the list names ({}).", pairs.join("; ")));
    }
    if !results.trends.is_empty() {
        text.push_str(&format!(
            " {}: least squares of the nested score on the logarithm of steps or size, fitted to every subject by itself; \
             interval and p of the mean slope as above, p corrected over the series.",
            if results.trends.len() == 1 { "One series".to_owned() } else { format!("{} series", results.trends.len()) }
        ));
    }
    Some(text)
}

/// How scores of regions were made.
fn regions(record: &RunRecord) -> Option<String> {
    let rois = record.comparison.rois.as_ref()?;
    let names: Vec<&str> = rois.rois.iter().map(|r| r.name.as_str()).collect();
    let control =
        rois.rois.iter().find(|r| r.control).map_or(String::new(), |r| format!(" {} is the control.", r.name));
    Some(format!(
        "Regions. {}: {}. A region\u{2019}s score is a weighted mean of its targets\u{2019} scores. Weights are those of its map where \
         it is at least its threshold, averaged over the voxels that the atlas reaches, and sum to 1; targets without a score \
         drop out and the others\u{2019} weights are renormalised. Best layers are chosen anew in every region, {}. \
         Differences are corrected by the largest |t| over the regions of a checkpoint; differences of two \
         regions\u{2019} differences over the declared pairs.{control}",
        counted(names.len(), "region"),
        names.join(", "),
        chosen_by(record.comparison.unit)
    ))
}

/// The grid in words: its ends, its size, and what may have happened to it.
fn grid(alphas: &AlphaGrid) -> String {
    let (Some(first), Some(last)) = (alphas.values.first(), alphas.values.last()) else {
        return "an empty grid".to_owned();
    };
    let origin = if alphas.given {
        "given by the user".to_owned()
    } else {
        format!(
            "the default, widened once by two decades on a side where over {} of the choices lie at its edge",
            share(EDGE_LIMIT)
        )
    };
    format!("{} from {} to {} ({origin})", counted(alphas.values.len(), "value"), power(*first), power(*last))
}

/// A power of ten as one, anything else as a number.
fn power(value: f64) -> String {
    let exponent = value.log10();
    if (exponent - exponent.round()).abs() > 1e-9 || exponent.abs() > 300.0 {
        return format!("{value:.4e}");
    }
    let digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let raised = |c: char| match c.to_digit(10) {
        Some(d) => digits.chars().nth(d as usize).unwrap_or(c),
        None => '⁻',
    };
    format!("10{}", format!("{}", exponent.round() as i64).chars().map(raised).collect::<String>())
}

/// `0–4, 6`.
fn ranges(layers: &[Layer]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for Layer(layer) in layers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *layer => *last = *layer,
            _ => runs.push((*layer, *layer)),
        }
    }
    let run =
        |(first, last): &(usize, usize)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn layers_and_grids_are_short() {
        assert_eq!(ranges(&[Layer(0), Layer(1), Layer(2), Layer(6)]), "0–2, 6");
        assert_eq!(ranges(&[]), "");
        assert!(grid(&AlphaGrid::default()).starts_with("17 values from 10⁻¹ to 10⁷ (the default"));
        assert_eq!(power(2.5), "2.5000e0");
    }

    #[test]
    fn methods_follow_the_plan() {
        let mut record = sample::record();
        let text = |r: &RunRecord| paragraphs(r).join(" ");
        assert!(text(&record).contains("special tokens included") && text(&record).contains("base: 0–4"));
        assert!(text(&record).contains("words, characters: scored alone"));
        record.plan.pooling = Pooling::Cls;
        assert!(text(&record).contains("(long texts: refuse)"));
        record.plan.long_text = LongText::Window;
        assert!(text(&record).contains("ran in overlapping windows"));
        // One subject has no others who could choose its layers.
        record.comparison.rois = Some(crate::compare::RoiResults::default());
        assert!(
            text(&record)
                .contains("in every region, for each subject and fold by the inner errors of the other subjects")
        );
        record.comparison.unit = crate::compare::Unit::StimulusGroups;
        assert!(text(&record).contains("in every region, for each fold by its inner errors"));
        record.plan.confounds.clear();
        record.plan.folds = FoldSpec::Column;
        assert!(text(&record).contains("that of the first token"));
        assert!(
            text(&record).contains("The study names none.") && text(&record).contains("read from the stimuli table")
        );
    }
}
