//! Ceilings of a study, their intervals, and scores as shares of them.

use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

use super::LEVEL;
use crate::encoding::ceiling::{CeilingKind, SubjectRows, by_group_size, explainable, loso, repeated, saturation};
use crate::encoding::{Folds, Reason, Score, ScoreName};
use crate::stats::bootstrap::{Interval, Resamples, bca, mean_intervals, weighted_means, weighted_within};

/// Seed of the random groups of subjects.
const SEED: u64 = 0;

/// A ceiling in the unit of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Which kind.
    pub kind: CeilingKind,
    /// Its unit: r or cod. A score is divided by a ceiling of its own unit only.
    pub score: ScoreName,
    /// Mean over subjects of the mean over targets.
    pub mean: Score,
    /// Its interval.
    pub interval: Option<Interval>,
    /// For loso in r: the mean of r within folds, which is the value to hold beside scores per fold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foldwise: Option<Score>,
    /// For extrapolated: how many subjects reach 63 % of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tau: Option<f64>,
    /// Per target: the ceiling and its interval; empty where there is none per target.
    #[serde(skip)]
    pub targets: Vec<(Score, Option<Interval>)>,
    /// Per ROI: the mean over targets with the ROI's weights, and its interval; empty without ROIs.
    #[serde(skip)]
    pub rois: Vec<(Score, Option<Interval>)>,
}

impl Ceiling {
    /// What a score is called when divided by this ceiling, such as `cod/loso-cod`.
    pub fn name(&self) -> String {
        format!("{}/{}-{}", self.score, self.kind, self.score)
    }

    /// A score of this unit as a share of the ceiling.
    pub fn share(&self, score: Score) -> Score {
        share(score, self.mean, self.interval)
    }
}

/// `score / ceiling`, unclipped; undefined unless the whole interval of the ceiling lies above 0.
pub fn share(score: Score, ceiling: Score, interval: Option<Interval>) -> Score {
    match (score, ceiling.value(), interval) {
        (Score::Value(value), Some(ceiling), Some((low, _))) if low > 0.0 => {
            Score::from_nan(value / ceiling, Reason::CeilingNotAboveZero)
        }
        (Score::Value(_), ..) => Score::undefined(Reason::CeilingNotAboveZero),
        (undefined, ..) => undefined,
    }
}

/// All ceilings that these responses allow. `draws` and `seed` are those of the bootstrap; `rois` (ROIs, targets) are
/// weights of further means over targets.
#[allow(clippy::too_many_arguments, reason = "the responses, how they are arranged, and how they are resampled")]
pub fn ceilings(
    subjects: &[SubjectRows<'_>],
    runs: &[usize],
    text_of_row: &[usize],
    folds: &Folds,
    rois: Option<&Array2<f64>>,
    draws: usize,
    seed: u64,
) -> Vec<Ceiling> {
    let mut all = Vec::new();
    let resamples = Resamples::new(subjects.len(), draws, seed);
    if subjects.len() > 1 {
        let found = loso(subjects, runs, folds);
        let foldwise = over_subjects(CeilingKind::Loso, ScoreName::R, &found.r_foldwise, None, &resamples).mean;
        for (score, values) in [(ScoreName::R, &found.r), (ScoreName::Cod, &found.cod)] {
            let mut ceiling = over_subjects(CeilingKind::Loso, score, values, rois, &resamples);
            ceiling.foldwise = (score == ScoreName::R).then_some(foldwise);
            all.push(ceiling);
        }
    }
    all.extend(repeats(subjects, text_of_row, rois, &resamples, draws, seed));
    all.extend(extrapolated(subjects, &resamples));
    all
}

fn over_subjects(
    kind: CeilingKind,
    score: ScoreName,
    values: &Array2<f64>,
    rois: Option<&Array2<f64>>,
    resamples: &Resamples,
) -> Ceiling {
    let per_subject = weighted_within(values, &Array2::ones((1, values.ncols())));
    let (mean, mut interval) = mean_intervals(&per_subject, resamples, LEVEL);
    let (means, intervals) = mean_intervals(values, resamples, LEVEL);
    let in_rois = rois.map(|rows| mean_intervals(&weighted_within(values, rows), resamples, LEVEL));
    let defined = |value: f64| Score::from_nan(value, Reason::NothingDefined);
    Ceiling {
        kind,
        score,
        mean: defined(mean[0]),
        interval: interval.pop().flatten(),
        foldwise: None,
        tau: None,
        targets: means.iter().copied().map(defined).zip(intervals).collect(),
        rois: in_rois.map_or(Vec::new(), |(means, i)| means.iter().copied().map(defined).zip(i).collect()),
    }
}

/// In cod: the share of variance; in r: its root. One subject is resampled by texts, several by subject.
fn repeats(
    subjects: &[SubjectRows<'_>],
    text_of_row: &[usize],
    rois: Option<&Array2<f64>>,
    resamples: &Resamples,
    draws: usize,
    seed: u64,
) -> Vec<Ceiling> {
    let texts: Vec<Vec<Vec<usize>>> = subjects.iter().map(|s| repeated(s.rows, text_of_row)).collect();
    if texts.iter().all(|t| t.len() < 3) {
        return Vec::new();
    }
    let targets = subjects.first().map_or(0, |s| s.y.ncols());
    let of = |s: usize, t: usize, weight: &[f64]| explainable(subjects[s].y.column(t), &texts[s], weight);
    let once: Vec<Vec<f64>> = texts.iter().map(|t| vec![1.0; t.len()]).collect();
    let values = Array2::from_shape_fn((subjects.len(), targets), |(s, t)| of(s, t, &once[s]));
    let cod = if subjects.len() == 1 {
        let by_text = Resamples::new(texts[0].len(), draws, seed);
        let replicates = |weights: &Array2<f64>| {
            Array2::from_shape_fn((weights.nrows(), targets), |(draw, t)| of(0, t, &weights.row(draw).to_vec()))
        };
        let (boot, jack) = (replicates(&by_text.bootstrap), replicates(&by_text.jackknife));
        let mut ceiling = over_subjects(CeilingKind::Repeats, ScoreName::Cod, &values, rois, resamples);
        let intervals = |weights: &Array2<f64>| -> Vec<Option<Interval>> {
            let [value, boot, jack] = [&values, &boot, &jack].map(|m| weighted_within(m, weights));
            (0..weights.nrows()).map(|w| bca(value[[0, w]], boot.column(w), jack.column(w), LEVEL)).collect()
        };
        ceiling.interval = intervals(&Array2::ones((1, targets))).pop().flatten();
        for (roi, interval) in ceiling.rois.iter_mut().zip(rois.map_or(Vec::new(), intervals)) {
            roi.1 = interval;
        }
        for (t, target) in ceiling.targets.iter_mut().enumerate() {
            target.1 = bca(values[[0, t]], boot.column(t), jack.column(t), LEVEL);
        }
        ceiling
    } else {
        over_subjects(CeilingKind::Repeats, ScoreName::Cod, &values, rois, resamples)
    };
    let root = |score: Score| match score.value() {
        Some(value) if value > 0.0 => Score::Value(value.sqrt()),
        Some(_) => Score::undefined(Reason::CeilingNotAboveZero),
        None => score,
    };
    // The root of a negative share has no value; its sign is kept, so that the interval still shows that it includes 0.
    let ends =
        |interval: Option<Interval>| interval.map(|(a, b)| (a.signum() * a.abs().sqrt(), b.signum() * b.abs().sqrt()));
    let r = Ceiling {
        score: ScoreName::R,
        mean: root(cod.mean),
        interval: ends(cod.interval),
        targets: cod.targets.iter().map(|(value, interval)| (root(*value), ends(*interval))).collect(),
        rois: cod.rois.iter().map(|(value, interval)| (root(*value), ends(*interval))).collect(),
        ..cod.clone()
    };
    vec![r, cod]
}

fn extrapolated(subjects: &[SubjectRows<'_>], resamples: &Resamples) -> Option<Ceiling> {
    let curves = by_group_size(subjects, SEED)?;
    let level = |weights: &Array2<f64>| -> Array1<f64> {
        weighted_means(weights, &curves).axis_iter(Axis(0)).map(|curve| saturation(curve).0).collect()
    };
    let mean = weighted_means(&Array2::ones((1, subjects.len())), &curves);
    let (value, tau) = saturation(mean.row(0));
    let interval = bca(value, level(&resamples.bootstrap).view(), level(&resamples.jackknife).view(), LEVEL);
    Some(Ceiling {
        kind: CeilingKind::Extrapolated,
        score: ScoreName::R,
        mean: Score::from_nan(value, Reason::NothingDefined),
        interval,
        foldwise: None,
        tau: tau.is_finite().then_some(tau),
        targets: Vec::new(),
        rois: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_needs_a_ceiling_above_zero() {
        let score = Score::Value(0.3);
        assert_eq!(share(score, Score::Value(0.2), Some((0.1, 0.3))).value(), Some(0.3 / 0.2), "not clipped");
        let refused = Some(Reason::CeilingNotAboveZero);
        assert_eq!(share(score, Score::Value(0.2), Some((-0.01, 0.3))).reason(), refused);
        assert_eq!(share(score, Score::Value(0.2), Some((0.0, 0.3))).reason(), refused);
        assert_eq!(share(score, Score::Value(0.2), None).reason(), refused);
        let undefined = Score::undefined(Reason::ConstantTarget);
        assert_eq!(share(undefined, Score::Value(0.2), Some((0.1, 0.3))), undefined);
    }
}
