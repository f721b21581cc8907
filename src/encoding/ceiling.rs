//! How well anything could predict these responses: what subjects share, what repetitions share, and what more subjects
//! would share. Responses only; no model has a part in it.
//!
//! * `loso`: a subject's responses against the mean of the others' z-scored responses on the stimuli that they share. r
//!   within each run, then the mean over runs (the usual intersubject correlation), and fold by fold beside it; cod of a
//!   line fitted on the training rows of each fold. A model can exceed it: the mean of few subjects is noisy itself.
//! * `repeats`: of responses to texts that one subject saw more than once, the share of variance between texts,
//!   (MSB − MSW) / n₀ over itself and MSW: explainable variance, unbiased for a finite number of repetitions.
//! * `extrapolated`: v₀ of v₀ (1 − exp(−n / τ)), fitted to the mean loso r of random groups of n subjects.
//!
//! Sources: Nastase et al. (2019, Soc. Cogn. Affect. Neurosci.) for `loso`; Hsu, Borst & Theunissen (2004, Network) and
//! the one-way random-effects analysis of variance for `repeats`; Schrimpf et al. (2021, PNAS) for `extrapolated`.

use std::collections::HashMap;
use std::fmt;

use ndarray::{Array2, ArrayView1, ArrayView2};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::folds::Folds;
use super::is_constant;
use crate::stats;

/// Fewest rows for a correlation, and fewest repeated texts for a share of variance.
const LEAST: usize = 3;
/// Random groups of others per subject and number of subjects.
const GROUPS: usize = 20;

/// A kind of ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CeilingKind {
    /// A subject against the others.
    Loso,
    /// Repetitions within a subject.
    Repeats,
    /// What infinitely many subjects would share.
    Extrapolated,
}

impl CeilingKind {
    /// The name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            CeilingKind::Loso => "loso",
            CeilingKind::Repeats => "repeats",
            CeilingKind::Extrapolated => "extrapolated",
        }
    }
}

impl fmt::Display for CeilingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The responses of one subject.
#[derive(Debug, Clone)]
pub struct SubjectRows<'a> {
    /// Which stimuli, ascending.
    pub rows: &'a [usize],
    /// (rows, targets).
    pub y: ArrayView2<'a, f64>,
}

/// `loso` of every subject and target; NaN where undefined.
#[derive(Debug, Clone)]
pub struct Loso {
    /// r within runs, mean over runs (subjects, targets).
    pub r: Array2<f64>,
    /// r within folds, mean over folds.
    pub r_foldwise: Array2<f64>,
    /// cod of a line fitted on training rows.
    pub cod: Array2<f64>,
}

fn z_scored(y: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut z = y.to_owned();
    for mut column in z.columns_mut() {
        let values = column.to_vec();
        let (mean, sd) = (stats::mean(&values).unwrap_or(0.0), stats::population_sd(&values).unwrap_or(0.0));
        let flat = is_constant(column.view());
        column.mapv_inplace(|v| if sd > 0.0 && !flat { (v - mean) / sd } else { 0.0 });
    }
    z
}

/// Every subject against the mean of the others. `runs` and `folds` are over all stimuli.
pub fn loso(subjects: &[SubjectRows<'_>], runs: &[usize], folds: &Folds) -> Loso {
    let targets = subjects.first().map_or(0, |s| s.y.ncols());
    let mut sum = Array2::<f64>::zeros((runs.len(), targets));
    let mut count = vec![0usize; runs.len()];
    // Targets that do not vary say nothing of what subjects share: they have no part in a mean.
    let mut flat = Array2::<usize>::zeros((runs.len(), targets));
    let z: Vec<Array2<f64>> = subjects.iter().map(|s| z_scored(s.y)).collect();
    for (subject, z) in subjects.iter().zip(&z) {
        let varies: Vec<bool> = z.columns().into_iter().map(|column| column.iter().any(|v| *v != 0.0)).collect();
        for (row, values) in subject.rows.iter().zip(z.rows()) {
            count[*row] += 1;
            let mut total = sum.row_mut(*row);
            total += &values;
            flat.row_mut(*row).iter_mut().zip(&varies).for_each(|(flat, varies)| *flat += usize::from(!varies));
        }
    }
    let undefined = || Array2::from_elem((subjects.len(), targets), f64::NAN);
    let mut found = Loso { r: undefined(), r_foldwise: undefined(), cod: undefined() };
    for (s, (subject, z)) in subjects.iter().zip(&z).enumerate() {
        let shared: Vec<usize> = (0..subject.rows.len()).filter(|at| count[subject.rows[*at]] > 1).collect();
        let rows: Vec<usize> = shared.iter().map(|at| subject.rows[*at]).collect();
        if rows.len() < LEAST {
            continue;
        }
        let own_folds = folds.subset(&rows);
        let runs: Vec<usize> = rows.iter().map(|row| runs[*row]).collect();
        for target in 0..targets {
            if z.column(target).iter().all(|v| *v == 0.0) {
                continue;
            }
            // Others whose target varies, row by row.
            let others = |row: usize| count[row] - 1 - flat[[row, target]];
            let there: Vec<usize> = (0..shared.len()).filter(|i| others(rows[*i]) > 0).collect();
            if there.len() < LEAST {
                continue;
            }
            let own: Vec<f64> = there.iter().map(|i| z[[shared[*i], target]]).collect();
            let mean_of_others = |i: &usize| {
                let row = rows[*i];
                (sum[[row, target]] - z[[shared[*i], target]]) / others(row) as f64
            };
            let means: Vec<f64> = there.iter().map(mean_of_others).collect();
            let all = there.len() == shared.len();
            let fewer = (!all).then(|| folds.subset(&there.iter().map(|i| rows[*i]).collect::<Vec<_>>()));
            let folds = fewer.as_ref().unwrap_or(&own_folds);
            let runs: Vec<usize> = there.iter().map(|i| runs[*i]).collect();
            found.r[[s, target]] = within(&own, &means, &runs);
            found.r_foldwise[[s, target]] = within(&own, &means, folds.of_row());
            found.cod[[s, target]] = line_cod(&own, &means, folds);
        }
    }
    found
}

/// Mean over parts of the correlation within each; NaN when a part has none.
fn within(a: &[f64], b: &[f64], part: &[usize]) -> f64 {
    let mut rows: HashMap<usize, Vec<usize>> = HashMap::new();
    part.iter().enumerate().for_each(|(row, part)| rows.entry(*part).or_default().push(row));
    let mut parts: Vec<(&usize, &Vec<usize>)> = rows.iter().collect();
    parts.sort_unstable();
    let of = |values: &[f64], rows: &[usize]| rows.iter().map(|r| values[*r]).collect::<Vec<f64>>();
    let rs: Vec<f64> = parts
        .into_iter()
        .filter(|(_, rows)| rows.len() >= LEAST)
        .map(|(_, rows)| stats::pearson(&of(a, rows), &of(b, rows)).unwrap_or(f64::NAN))
        .collect();
    stats::mean(&rs).unwrap_or(f64::NAN)
}

/// cod of held-out rows by a line through the training rows.
fn line_cod(y: &[f64], x: &[f64], folds: &Folds) -> f64 {
    let (mut error, mut about) = (0.0, 0.0);
    for fold in 0..folds.count() {
        let train = folds.train_rows(&[fold]);
        let n = train.len() as f64;
        let mean = |values: &[f64]| train.iter().map(|r| values[*r]).sum::<f64>() / n;
        let (mx, my) = (mean(x), mean(y));
        let xx: f64 = train.iter().map(|r| (x[*r] - mx).powi(2)).sum();
        let xy: f64 = train.iter().map(|r| (x[*r] - mx) * (y[*r] - my)).sum();
        if xx <= 0.0 {
            return f64::NAN;
        }
        for row in folds.test_rows(fold) {
            let predicted = my + xy / xx * (x[row] - mx);
            error += (y[row] - predicted).powi(2);
            about += (y[row] - my).powi(2);
        }
    }
    if about > 0.0 { 1.0 - error / about } else { f64::NAN }
}

/// Rows of each text that a subject saw more than once.
pub fn repeated(rows: &[usize], text_of_row: &[usize]) -> Vec<Vec<usize>> {
    let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
    rows.iter().enumerate().for_each(|(at, row)| places.entry(text_of_row[*row]).or_default().push(at));
    let mut repeated: Vec<Vec<usize>> = places.into_values().filter(|rows| rows.len() > 1).collect();
    repeated.sort_unstable();
    repeated
}

/// Share of variance between texts, each text counted `weight` times; NaN where there are too few.
pub fn explainable(y: ArrayView1<'_, f64>, texts: &[Vec<usize>], weight: &[f64]) -> f64 {
    let used: f64 = weight.iter().sum();
    let rows: f64 = texts.iter().zip(weight).map(|(t, w)| t.len() as f64 * w).sum();
    if used < LEAST as f64 || rows <= used {
        return f64::NAN;
    }
    let mean_of = |rows: &[usize]| rows.iter().map(|r| y[*r]).sum::<f64>() / rows.len() as f64;
    let grand = texts.iter().zip(weight).map(|(t, w)| w * t.len() as f64 * mean_of(t)).sum::<f64>() / rows;
    let (mut between, mut within, mut squares) = (0.0, 0.0, 0.0);
    for (text, w) in texts.iter().zip(weight).filter(|(_, w)| **w > 0.0) {
        let (n, mean) = (text.len() as f64, mean_of(text));
        between += w * n * (mean - grand).powi(2);
        within += w * text.iter().map(|r| (y[*r] - mean).powi(2)).sum::<f64>();
        squares += w * n * n;
    }
    let (msb, msw) = (between / (used - 1.0), within / (rows - used));
    let n0 = (rows - squares / rows) / (used - 1.0);
    let signal = (msb - msw) / n0;
    if signal + msw > 0.0 { signal / (signal + msw) } else { f64::NAN }
}

/// For each subject (rows) the mean loso r, over targets, within random groups of 2 … all subjects (columns), on the
/// rows that all of them share; none with fewer than four subjects or three such rows.
pub fn by_group_size(subjects: &[SubjectRows<'_>], seed: u64) -> Option<Array2<f64>> {
    let n = subjects.len();
    let shared: Vec<usize> =
        subjects.first()?.rows.iter().copied().filter(|row| subjects.iter().all(|s| s.rows.contains(row))).collect();
    if n < 4 || shared.len() < LEAST {
        return None;
    }
    let z: Vec<Array2<f64>> = subjects
        .iter()
        .map(|s| {
            let at: Vec<usize> = (0..s.rows.len()).filter(|at| shared.contains(&s.rows[*at])).collect();
            z_scored(s.y.select(ndarray::Axis(0), &at).view())
        })
        .collect();
    let targets = z[0].ncols();
    // Correlations between subjects, target by target: all that loso of any group needs.
    let mut products = vec![Array2::<f64>::zeros((n, n)); targets];
    for (target, c) in products.iter_mut().enumerate() {
        for a in 0..n {
            for b in a..n {
                let value = z[a].column(target).dot(&z[b].column(target)) / shared.len() as f64;
                (c[[a, b]], c[[b, a]]) = (value, value);
            }
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Array2::zeros((n, n - 1));
    for subject in 0..n {
        let mut others: Vec<usize> = (0..n).filter(|s| *s != subject).collect();
        let mut used = vec![0usize; n - 1];
        for _ in 0..GROUPS {
            others.shuffle(&mut rng);
            // The first so many of a random order are a random group: all sizes in one pass.
            for c in products.iter().filter(|c| c[[subject, subject]] > 0.0) {
                let (mut along, mut square) = (0.0, 0.0);
                // Those whose target does not vary are no members.
                let members = others.iter().enumerate().filter(|(_, new)| c[[**new, **new]] > 0.0);
                for (size, (at, new)) in members.enumerate() {
                    along += c[[subject, *new]];
                    square += c[[*new, *new]] + 2.0 * others[..at].iter().map(|o| c[[*o, *new]]).sum::<f64>();
                    if square > 0.0 {
                        found[[subject, size]] += along / square.sqrt();
                        used[size] += 1;
                    }
                }
            }
        }
        let mut row = found.row_mut(subject);
        row.iter_mut().zip(used).for_each(|(sum, n)| *sum = if n > 0 { *sum / n as f64 } else { f64::NAN });
    }
    Some(found)
}

/// v₀ and τ of v₀ (1 − exp(−n / τ)) by least squares through `values` of n = 2, 3, …; NaN where they do not determine it.
pub fn saturation(values: ArrayView1<'_, f64>) -> (f64, f64) {
    let fit = |tau: f64| {
        let basis: Vec<f64> = (0..values.len()).map(|i| 1.0 - (-((i + 2) as f64) / tau).exp()).collect();
        let bb: f64 = basis.iter().map(|b| b * b).sum();
        let level = basis.iter().zip(values).map(|(b, v)| b * v).sum::<f64>() / bb;
        let error: f64 = basis.iter().zip(values).map(|(b, v)| (v - level * b).powi(2)).sum();
        (error, level, tau)
    };
    // τ from a tenth of a subject to ten times as many as there are: beyond that the level is not determined.
    let steps = 200;
    let most = 10.0 * (values.len() + 1) as f64;
    let taus = (0..=steps).map(|i| 0.1 * (most / 0.1f64).powf(f64::from(i) / f64::from(steps)));
    let best = taus.map(fit).reduce(|best, next| if next.0 < best.0 { next } else { best });
    best.map_or((f64::NAN, f64::NAN), |(_, level, tau)| (level, tau))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;
    use rand_distr::{Distribution, StandardNormal};

    /// Signal and noise of variances `signal` and 1 for subjects who share the signal.
    fn responses(n: usize, subjects: usize, targets: usize, signal: f64, seed: u64) -> Vec<Array2<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal =
            |shape: (usize, usize)| Array2::from_shape_simple_fn(shape, || StandardNormal.sample(&mut rng));
        let shared: Array2<f64> = normal((n, targets));
        (0..subjects).map(|_| &shared * signal.sqrt() + normal((n, targets))).collect()
    }

    fn rows(n: usize) -> Vec<usize> {
        (0..n).collect()
    }

    #[test]
    fn loso_finds_what_subjects_share() {
        let (n, s) = (400, 8);
        for signal in [0.0, 1.0] {
            let y = responses(n, s, 5, signal, 1);
            let all = rows(n);
            let subjects: Vec<SubjectRows> = y.iter().map(|y| SubjectRows { rows: &all, y: y.view() }).collect();
            let folds = Folds::from_labels(&(0..n).map(|i| i * 5 / n).collect::<Vec<_>>());
            let found = loso(&subjects, &vec![0; n], &folds);
            // r of x + e with the mean of seven x + e': s / sqrt((s + 1) (s + 1/7)).
            let expected = signal / ((signal + 1.0) * (signal + 1.0 / 7.0)).sqrt();
            for (values, expected, what) in [
                (&found.r, expected, "r"),
                (&found.r_foldwise, expected, "r foldwise"),
                (&found.cod, expected * expected, "cod"),
            ] {
                let mean = values.mean().unwrap();
                assert!((mean - expected).abs() < 0.03, "{what} with signal {signal}: {mean}, not {expected}");
            }
        }
    }

    #[test]
    fn targets_that_do_not_vary_have_no_share() {
        let mut y = responses(60, 4, 2, 4.0, 3);
        // No multiple of a power of two: rounding leaves something of its spread.
        y[3].column_mut(0).fill(0.1);
        let (all, late) = (rows(60), (30..60).collect::<Vec<_>>());
        let part = y[2].slice(ndarray::s![30.., ..]).to_owned();
        let with = |n: usize| {
            let mut subjects = vec![SubjectRows { rows: &all, y: y[0].view() }];
            subjects.push(SubjectRows { rows: &late, y: part.view() });
            subjects.extend((3..n).map(|s| SubjectRows { rows: &all, y: y[s].view() }));
            let folds = Folds::from_labels(&(0..60).map(|i| i * 5 / 60).collect::<Vec<_>>());
            loso(&subjects, &[0; 60], &folds)
        };
        let (alone, beside) = (with(3), with(4));
        assert_eq!((alone.r[[0, 0]], alone.cod[[0, 0]]), (beside.r[[0, 0]], beside.cod[[0, 0]]));
        assert!(alone.r[[0, 0]].is_finite() && beside.r[[2, 0]].is_nan());
        assert_ne!(alone.r[[0, 1]], beside.r[[0, 1]]);
    }

    #[test]
    fn a_subject_with_other_stimuli_is_compared_where_they_meet() {
        let y = responses(60, 3, 2, 4.0, 2);
        let (all, late) = (rows(60), (40..60).collect::<Vec<_>>());
        let part = y[2].slice(ndarray::s![40.., ..]).to_owned();
        let subjects = [
            SubjectRows { rows: &all, y: y[0].view() },
            SubjectRows { rows: &all, y: y[1].view() },
            SubjectRows { rows: &late, y: part.view() },
        ];
        let folds = Folds::from_labels(&(0..60).map(|i| i * 5 / 60).collect::<Vec<_>>());
        let found = loso(&subjects, &[0; 60], &folds);
        assert!(found.r.iter().all(|r| *r > 0.5));
        let alone = loso(&subjects[..1], &[0; 60], &folds);
        assert!(alone.r.iter().all(|r| r.is_nan()), "nobody to compare with");
    }

    #[test]
    fn explainable_variance_is_unbiased() {
        for signal in [0.0, 0.25, 1.0] {
            let y = responses(200, 3, 40, signal, 3);
            // The three "subjects" are three repetitions.
            let stacked = ndarray::concatenate(ndarray::Axis(0), &[y[0].view(), y[1].view(), y[2].view()]).unwrap();
            let text_of_row: Vec<usize> = (0..600).map(|row| row % 200).collect();
            let texts = repeated(&rows(600), &text_of_row);
            assert_eq!(texts.len(), 200);
            let shares: Vec<f64> =
                stacked.columns().into_iter().map(|c| explainable(c, &texts, &vec![1.0; 200])).collect();
            let mean = stats::mean(&shares).unwrap();
            assert!((mean - signal / (1.0 + signal)).abs() < 0.015, "{signal}: {mean}");
        }
        assert!(explainable(Array1::zeros(4).view(), &[vec![0, 1], vec![2, 3]], &[1.0; 2]).is_nan());
    }

    #[test]
    fn more_subjects_are_extrapolated() {
        let y = responses(300, 10, 8, 1.0, 4);
        let all = rows(300);
        let subjects: Vec<SubjectRows> = y.iter().map(|y| SubjectRows { rows: &all, y: y.view() }).collect();
        let curves = by_group_size(&subjects, 0).unwrap();
        let mean = curves.mean_axis(ndarray::Axis(0)).unwrap();
        assert!(mean.as_slice().unwrap().windows(2).all(|w| w[1] > w[0] - 1e-3), "more others, more r: {mean}");
        let (level, tau) = saturation(mean.view());
        // Infinitely many others: sqrt(1 / 2).
        assert!((level - 0.5f64.sqrt()).abs() < 0.06 && tau > 0.1, "{level} {tau}");
        assert!(by_group_size(&subjects[..3], 0).is_none());
    }
}
