//! Are the p-values uniform when there is nothing, do intervals cover, is planted truth found?
//!
//! `cargo run --release --example calibration` prints every figure of benches/README.md, "Calibration"; all seeds are fixed.
//! With names of parts (`sign-flips`, `blocks`, `labels`, `coverage`, `planted`, `best-layer`, `speed`), only those.

use std::time::Instant;

use brainscore::compare::{ByGroup, Comparison, LayerFit, Settings, SubjectParts, by_subject, compare_layer};
use brainscore::encoding::{AlphaGrid, Folds, GroupSums, ScoreName, TargetScores, cv, score};
use brainscore::ids::Layer;
use brainscore::stats::bootstrap::{Resamples, mean_intervals, two_way};
use brainscore::stats::flips::{SignFlips, sign_flip_test};
use brainscore::stats::labels::{Relabelings, contrast_groups};
use brainscore::watch::Quiet;
use ndarray::{Array2, Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

const STUDIES: u64 = 500;

fn main() {
    let parts: [(&str, fn()); 7] = [
        ("sign-flips", sign_flips),
        ("blocks", blocks),
        ("labels", labels),
        ("coverage", coverage),
        ("planted", planted),
        ("best-layer", best_layer),
        ("speed", speed),
    ];
    let asked: Vec<String> = std::env::args().skip(1).collect();
    for (name, part) in parts {
        if asked.is_empty() || asked.iter().any(|a| a == name) {
            part();
        }
    }
}

/// A generator of its own for each study, so that studies may run in any order.
fn generator(part: u64, study: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(part);
    rng.set_stream(study);
    rng
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

fn noise(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> Array2<f64> {
    Array2::from_shape_simple_fn((rows, columns), || normal(rng))
}

/// Columns whose neighbouring rows resemble each other: an AR(1) process of variance 1.
fn slow(rng: &mut ChaCha8Rng, rows: usize, columns: usize, memory: f64) -> Array2<f64> {
    let mut x = noise(rng, rows, columns);
    for row in 1..rows {
        for column in 0..columns {
            x[[row, column]] = memory * x[[row - 1, column]] + (1.0 - memory * memory).sqrt() * x[[row, column]];
        }
    }
    x
}

/// Says whether p-values of true nulls are uniform and reject as often as they should.
fn report(what: &str, p: &[f64]) {
    let n = p.len() as f64;
    let mut sorted = p.to_vec();
    sorted.sort_by(f64::total_cmp);
    let distance = sorted
        .iter()
        .enumerate()
        .map(|(i, p)| (p - i as f64 / n).abs().max((p - (i + 1) as f64 / n).abs()))
        .fold(0.0, f64::max);
    let scaled = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance;
    let sum: f64 =
        (1..100).map(f64::from).map(|k| (-1f64).powf(k - 1.0) * (-2.0 * k * k * scaled * scaled).exp()).sum();
    let rejected = p.iter().filter(|p| **p <= 0.05).count() as f64 / n;
    let half = 3.29 * (0.05 * 0.95 / n).sqrt();
    let verdict = if (rejected - 0.05).abs() <= half && 2.0 * sum > 0.001 { "ok" } else { "NOT calibrated" };
    println!(
        "{what}: KS p {:.3}, rejected at 0.05: {rejected:.3} (99.9 % band {:.3} to {:.3}) {verdict}",
        (2.0 * sum).clamp(0.0, 1.0),
        0.05 - half,
        0.05 + half
    );
}

fn sign_flips() {
    for subjects in [8, 14, 30] {
        // Layers share what is a subject's own: their differences are correlated.
        let p: Vec<(f64, f64)> = (0..STUDIES)
            .into_par_iter()
            .map(|study| {
                let mut rng = generator(1, study);
                let own = noise(&mut rng, subjects, 1);
                let d = noise(&mut rng, subjects, 25) + &own;
                let tests = sign_flip_test(d.view(), &SignFlips::new(subjects, 10_000, study));
                let family = tests.iter().flatten().map(|t| t.p_fwe).fold(1.0, f64::min);
                (tests[0].map_or(1.0, |t| t.p), family)
            })
            .collect();
        report(&format!("sign flip, {subjects} subjects"), &p.iter().map(|p| p.0).collect::<Vec<_>>());
        report(&format!("largest t over 25 layers, {subjects} subjects"), &p.iter().map(|p| p.1).collect::<Vec<_>>());
    }
}

/// One subject with slow responses: two feature spaces that know equally much (or nothing), ridge and all.
fn blocks() {
    let (rows, per_group) = (300, 6);
    let design = Design::new(rows, per_group);
    for (what, signal) in [("equally good", 1.0), ("equally useless", 0.0)] {
        for name in [ScoreName::Cod, ScoreName::R] {
            let p: Vec<Option<f64>> = (0..STUDIES)
                .into_par_iter()
                .map(|study| {
                    let mut rng = generator(2, study);
                    let latent = slow(&mut rng, rows, 5, 0.5);
                    let y =
                        (latent.sum_axis(Axis(1)) * signal).insert_axis(Axis(1)) + slow(&mut rng, rows, 1, 0.5) * 2.0;
                    let mut fit = || {
                        let x = &latent + &noise(&mut rng, rows, 5);
                        let x = if signal > 0.0 { x } else { slow(&mut rng, rows, 5, 0.5) };
                        vec![(Layer(0), design.fit(&x, &y, 1, name))]
                    };
                    let (a, b) = (fit(), fit());
                    let found = design.compare(&[("a", &a), ("b", &b)], 1, name, study);
                    found.layer_differences.iter().find(|d| d.score == name).and_then(|d| d.inference.p)
                })
                .collect();
            let tested: Vec<f64> = p.iter().flatten().copied().collect();
            let what = format!("block permutation, one subject, two {what} feature spaces, {name}");
            if signal > 0.0 {
                report(&format!("{what} ({} of {} tested)", tested.len(), p.len()), &tested);
            } else {
                let rejected = tested.iter().filter(|p| **p <= 0.05).count() as f64 / p.len() as f64;
                println!("{what}: {} of {} tested, rejected at 0.05: {rejected:.3}", tested.len(), p.len());
            }
        }
    }
}

/// Rows in groups in five folds.
struct Design {
    groups: Vec<usize>,
    folds: Folds,
    fold_of_group: Vec<usize>,
}

impl Design {
    fn new(rows: usize, per_group: usize) -> Design {
        let n = rows / per_group;
        let groups: Vec<usize> = (0..rows).map(|r| r / per_group).collect();
        let folds = Folds::from_labels(&groups.iter().map(|g| g * 5 / n).collect::<Vec<_>>());
        Design { groups, folds, fold_of_group: (0..n).map(|g| g * 5 / n).collect() }
    }

    /// Fits `x` to the responses of some subjects side by side.
    fn fit(&self, x: &Array2<f64>, y: &Array2<f64>, subjects: usize, name: ScoreName) -> LayerFit {
        let targets = y.ncols() / subjects;
        let fit = cv::fit(x.view(), y.view(), &self.folds, &AlphaGrid::default(), &Quiet).expect("a fit");
        let scores = by_subject(score(y.view(), &fit, &self.folds), targets);
        let mut by_group = ByGroup::new(subjects, self.fold_of_group.clone());
        let mut groups = None;
        for (s, scores) in scores.iter().enumerate() {
            let columns = s![.., s * targets..(s + 1) * targets];
            let (y, predicted) = (y.slice(columns), fit.predicted.slice(columns));
            let sums = GroupSums::of(y, predicted, fit.train_mean.slice(columns), &self.folds, &self.groups);
            let inner_error = fit.inner_error.slice(columns);
            by_group.enter(
                s,
                &SubjectParts { sums: &sums, inner_error, folds: &[0, 1, 2, 3, 4], y, scores },
                name,
                None,
            );
            groups = (subjects == 1).then_some(sums);
        }
        LayerFit { scores, groups, by_group: Some(by_group), by_roi: Vec::new(), joint: None }
    }

    /// Compares checkpoints that have the same layers.
    fn compare(
        &self,
        fits: &[(&str, &[(Layer, LayerFit)])],
        subjects: usize,
        name: ScoreName,
        seed: u64,
    ) -> Comparison {
        let confounds = &fits[0].1[0].1;
        let resamples = Resamples::new(confounds.n_units(), 100, 0);
        let targets: Vec<_> = (0..confounds.scores[0].len()).map(|t| format!("t{t}").into()).collect();
        let labels: Vec<String> = fits.iter().map(|(label, _)| (*label).to_owned()).collect();
        let mut comparison = Comparison::new(name, &labels, confounds, subjects, &resamples);
        let bases = comparison.bases(&labels);
        for (at, (layer, _)) in fits[0].1.iter().enumerate() {
            let own: Vec<_> = fits.iter().map(|(label, layers)| (*label, &layers[at].1)).collect();
            comparison.add_layer(compare_layer(*layer, &own, &bases, confounds, name, &targets, &resamples));
        }
        let settings = Settings { permutations: 2000, seed, margin: None };
        comparison.test(fits, confounds, &settings, None, &resamples);
        comparison
    }
}

fn labels() {
    let second: Vec<bool> = (0..39).map(|s| s >= 25).collect();
    let p: Vec<(f64, f64)> = (0..STUDIES)
        .into_par_iter()
        .map(|study| {
            let mut rng = generator(3, study);
            let age = Array2::from_shape_fn((39, 1), |(s, _)| if second[s] { 1.0 } else { 0.0 } + normal(&mut rng));
            let y = noise(&mut rng, 39, 25) + &age;
            let draws = Relabelings::new(&second, true, 1000, study);
            let found = contrast_groups(y.view(), &second, age.view(), &draws, None).unwrap_or_default();
            let family = found.iter().flatten().map(|c| c.p_fwe).fold(1.0, f64::min);
            (found[0].map_or(1.0, |c| c.p), family)
        })
        .collect();
    report("Freedman–Lane, 25 and 14 subjects, a covariate that differs", &p.iter().map(|p| p.0).collect::<Vec<_>>());
    report("the same, largest t over 25 layers", &p.iter().map(|p| p.1).collect::<Vec<_>>());
}

/// How often 95 % intervals of a mean hold it.
fn coverage() {
    for subjects in [4, 8, 14, 25, 40] {
        let studies = 4000;
        let mut rng = generator(4, subjects as u64);
        let values = noise(&mut rng, subjects, studies) * 0.05 + 0.1;
        let (_, intervals) = mean_intervals(&values, &Resamples::new(subjects, 2000, 0), 0.95);
        let held = intervals.iter().flatten().filter(|(low, high)| (*low..=*high).contains(&0.1)).count();
        println!("BCa, {subjects} subjects: covers in {:.3} of {studies}", held as f64 / studies as f64);
        // A skewed population, too: differences of squares.
        let values = (noise(&mut rng, subjects, studies).mapv(|v| v * v) - 1.0) * 0.05 + 0.1;
        let (_, intervals) = mean_intervals(&values, &Resamples::new(subjects, 2000, 0), 0.95);
        let held = intervals.iter().flatten().filter(|(low, high)| (*low..=*high).contains(&0.1)).count();
        println!(
            "BCa, {subjects} subjects, skewed (chi-square): covers in {:.3} of {studies}",
            held as f64 / studies as f64
        );
    }
    let (subjects, groups, studies) = (20, 30, 1000);
    let held: usize = (0..studies)
        .into_par_iter()
        .filter(|study| {
            let mut rng = generator(5, *study);
            let (of_subject, of_group) = (noise(&mut rng, subjects, 1), noise(&mut rng, 1, groups));
            let gains = (noise(&mut rng, subjects, groups) + &of_subject + &of_group) / groups as f64;
            let shares = Array2::from_elem((subjects, groups), 1.0 / groups as f64);
            let interval = two_way(&gains, &shares, 1000, *study, 0.95);
            interval.is_some_and(|(low, high)| low <= 0.0 && 0.0 <= high)
        })
        .count();
    println!(
        "two-way, {subjects} subjects × {groups} groups: covers in {:.3} of {studies}",
        held as f64 / studies as f64
    );
}

fn fit(x: &Array2<f64>, y: &Array2<f64>, folds: &Folds) -> Vec<TargetScores> {
    let fit = cv::fit(x.view(), y.view(), folds, &AlphaGrid::default(), &Quiet).expect("a fit");
    score(y.view(), &fit, folds)
}

/// 25 layers of which neighbours resemble each other; layer 11 drives 40 targets.
fn planted() {
    let (rows, width, layers, truth, targets) = (2000, 20, 25, 11, 40);
    let folds = Folds::from_labels(&(0..rows).map(|r| r * 5 / rows).collect::<Vec<_>>());
    let mut rng = generator(6, 0);
    let mut states = vec![noise(&mut rng, rows, width)];
    for layer in 1..layers {
        let next = &states[layer - 1] * 0.8 + noise(&mut rng, rows, width) * 0.6;
        states.push(next);
    }
    let weights = noise(&mut rng, width, targets);
    let mut signal = states[truth].dot(&weights);
    for mut column in signal.columns_mut() {
        let sd = column.std(0.0);
        column /= sd;
    }
    for snr in [0.25, 1.0, 4.0f64] {
        let y = &signal + &(noise(&mut rng, rows, targets) / snr.sqrt());
        let means: Vec<f64> = states
            .par_iter()
            .map(|x| fit(x, &y, &folds).iter().filter_map(|t| t.cod.value()).sum::<f64>() / targets as f64)
            .collect();
        let best = (0..layers).max_by(|a, b| means[*a].total_cmp(&means[*b])).unwrap_or(0);
        println!(
            "planted, SNR {snr}: best layer {best} (planted {truth}), cod {:.4}, SNR/(1+SNR) {:.4}, difference {:+.4}",
            means[best],
            snr / (1.0 + snr),
            means[best] - snr / (1.0 + snr)
        );
    }
}

/// The best of 25 layers where nothing predicts: chosen and scored on the same data, and nested.
fn best_layer() {
    let (rows, width, layers, targets) = (120, 4, 25, 6);
    let design = Design::new(rows, 4);
    for (subjects, common) in [(8, 0.0), (8, 1.0), (1, 0.0)] {
        let found: Vec<(f64, f64)> = (0..200u64)
            .into_par_iter()
            .filter_map(|study| {
                let mut rng = generator(7 + subjects as u64, study);
                // What subjects have in common is no layer's doing either.
                let same = noise(&mut rng, rows, 1) * common;
                let y = noise(&mut rng, rows, subjects * targets) + &same;
                let fits: Vec<(Layer, LayerFit)> = (0..layers)
                    .map(|layer| (Layer(layer), design.fit(&noise(&mut rng, rows, width), &y, subjects, ScoreName::R)))
                    .collect();
                let comparison = design.compare(&[("noise", &fits)], subjects, ScoreName::R, study);
                let best = &comparison.best_layers[0];
                best.naive.value().zip(best.nested.value())
            })
            .collect();
        let mean = |f: fn(&(f64, f64)) -> f64| found.iter().map(f).sum::<f64>() / found.len() as f64;
        let (naive, nested) = (mean(|b| b.0), mean(|b| b.1));
        let spread = found.iter().map(|b| (b.1 - nested).powi(2)).sum::<f64>() / (found.len() - 1) as f64;
        println!(
            "best of 25 layers of noise, {subjects} subject(s), variance in common {:.0} %, r: naive {naive:+.4}, nested {nested:+.4} (standard error {:.4}, {} studies)",
            100.0 * common / (1.0 + common),
            (spread / found.len() as f64).sqrt(),
            found.len()
        );
    }
}

fn speed() {
    for subjects in [16, 30, 100] {
        let mut rng = generator(9, 0);
        let d = noise(&mut rng, subjects, 25 * 1024);
        let start = Instant::now();
        // Sixteen subjects have 32,768 patterns; all others 10,000 draws.
        let flips = SignFlips::new(subjects, 10_000, 0);
        let tests = sign_flip_test(d.view(), &flips);
        println!(
            "{} sign patterns × 25 layers × 1,024 parcels, {subjects} subjects: {:.2} s ({} tests, {} threads)",
            flips.count(),
            start.elapsed().as_secs_f64(),
            tests.iter().flatten().count(),
            rayon::current_num_threads()
        );
    }
}
