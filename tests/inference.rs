//! Tests, intervals and power against numbers of scipy and statsmodels (tests/golden/inference), and quick versions of the
//! calibrations in examples/calibration.rs.

use brainscore::compare::{ByGroup, Comparison, LayerFit, Settings, SubjectParts};
use brainscore::encoding::{AlphaGrid, Folds, GroupSums, ScoreName, cv, score};
use brainscore::ids::Layer;
use brainscore::stats::benjamini_hochberg;
use brainscore::stats::bootstrap::{Resamples, bca, mean_intervals, two_way};
use brainscore::stats::flips::{SignFlips, sign_flip_test};
use brainscore::stats::labels::{Relabelings, contrast_groups};
use brainscore::stats::paired::{Sample, detectable, tost};
use ndarray::{Array1, Array2, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::Value;

fn golden() -> Value {
    stored("inference.json")
}

fn stored(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/inference");
    serde_json::from_str(&std::fs::read_to_string(format!("{folder}/{name}")).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn whole(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(list).collect();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

fn column(values: Vec<f64>) -> Array2<f64> {
    Array1::from(values).insert_axis(Axis(1))
}

fn cases(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

#[track_caller]
fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{what}: {found} instead of {expected}");
}

#[test]
fn sign_flips_are_those_of_scipy() {
    for case in cases(&golden()["sign_flip"]) {
        let d = column(list(&case["d"]));
        let test = sign_flip_test(d.view(), &SignFlips::new(d.nrows(), 0, 0))[0].unwrap();
        close("t", test.t, number(&case["t"]), 1e-12);
        close("p", test.p, number(&case["p"]), 1e-12);
    }
    let family = &golden()["max_t"];
    let d = matrix(&family["d"]);
    let tests = sign_flip_test(d.view(), &SignFlips::new(9, 0, 0));
    for ((test, t), p) in tests.iter().zip(list(&family["t"])).zip(list(&family["p_fwe"])) {
        close("t", test.unwrap().t, t, 1e-12);
        close("p_fwe", test.unwrap().p_fwe, p, 1e-12);
    }
}

#[test]
fn q_is_that_of_statsmodels() {
    let golden = &golden()["bh"];
    let p: Vec<Option<f64>> = list(&golden["p"]).into_iter().map(Some).collect();
    for (q, expected) in benjamini_hochberg(&p).into_iter().zip(list(&golden["q"])) {
        close("q", q.unwrap(), expected, 1e-12);
    }
}

#[test]
fn equivalence_and_power_are_those_of_statsmodels() {
    for case in cases(&golden()["tost"]) {
        let found = tost(Sample::of(&list(&case["d"])).unwrap(), number(&case["margin"])).unwrap();
        close("p of TOST", found, number(&case["p"]), 1e-10);
    }
    for case in cases(&golden()["mde"]) {
        let n = case["n"].as_u64().unwrap() as usize;
        let found = detectable(n, 0.05, 0.8).unwrap() / (n as f64).sqrt();
        close(&format!("effect found with {n} units"), found, number(&case["effect"]), 1e-6);
    }
}

#[test]
fn bca_is_that_of_scipy() {
    for case in cases(&golden()["bca"]) {
        let (replicates, jackknife) = (Array1::from(list(&case["replicates"])), Array1::from(list(&case["jackknife"])));
        let found = bca(number(&case["value"]), replicates.view(), jackknife.view(), 0.95).unwrap();
        close("low", found.0, number(&case["low"]), 1e-9);
        close("high", found.1, number(&case["high"]), 1e-9);
    }
}

/// Both sides resample, so that they agree to what 20,000 draws leave open: 2 % of the interval's width.
#[test]
fn the_two_way_interval_is_that_of_plain_resampling() {
    for case in cases(&stored("two_way.json")["cases"]) {
        let (gains, shares) = (matrix(&case["gains"]), matrix(&case["shares"]));
        let (low, high) = two_way(&gains, &shares, 20_000, 7, 0.95).unwrap();
        let (e_low, e_high) = (number(&case["low"]), number(&case["high"]));
        let width = e_high - e_low;
        assert!((low - e_low).abs() < 0.02 * width, "low end {low} instead of {e_low}");
        assert!((high - e_high).abs() < 0.02 * width, "high end {high} instead of {e_high}");
    }
}

#[test]
fn group_contrasts_are_those_of_scipy_and_statsmodels() {
    for case in cases(&golden()["two_groups"]) {
        let (a, b) = (list(&case["a"]), list(&case["b"]));
        let second: Vec<bool> = (0..a.len() + b.len()).map(|i| i >= a.len()).collect();
        let y = column([a, b].concat());
        let none = Array2::zeros((second.len(), 0));
        let all = Relabelings::new(&second, false, 0, 0);
        assert!(matches!(all, Relabelings::All(_)));
        let found = contrast_groups(y.view(), &second, none.view(), &all, None).unwrap()[0].unwrap();
        close("t", found.t, number(&case["t"]), 1e-10);
        close("p", found.p, number(&case["p"]), 1e-12);
        close("low", found.interval.0, number(&case["low"]), 1e-9);
        close("high", found.interval.1, number(&case["high"]), 1e-9);
    }
    let case = &golden()["freedman_lane"];
    let second: Vec<bool> = cases(&case["second"]).iter().map(|v| v.as_bool().unwrap()).collect();
    let orders = Relabelings::Given(cases(&case["orders"]).iter().map(whole).collect());
    let (y, covariates) = (matrix(&case["y"]), matrix(&case["covariates"]));
    let found = contrast_groups(y.view(), &second, covariates.view(), &orders, None).unwrap();
    for (at, found) in found.iter().enumerate() {
        let found = found.unwrap();
        let expected = |key: &str| list(&case[key])[at];
        close("contrast", found.estimate, expected("estimate"), 1e-9);
        close("t", found.t, expected("t"), 1e-9);
        close("low", found.interval.0, expected("low"), 1e-9);
        close("high", found.interval.1, expected("high"), 1e-9);
        close("p", found.p, expected("p"), 1e-12);
        close("p_fwe", found.p_fwe, expected("p_fwe"), 1e-12);
    }
}

/// Scores of one subject, taken apart by stimulus group, resampled, and their predictions swapped.
#[test]
fn blocks_of_one_subject_are_those_of_a_plain_computation() {
    let case = &golden()["blocks"];
    let y = column(list(&case["truth"]));
    let folds = Folds::from_labels(&whole(&case["fold"]));
    let groups = whole(&case["groups"]);
    let train_mean = column(list(&case["train_mean"]));
    let sums: Vec<GroupSums> = ["a", "b"]
        .iter()
        .map(|m| GroupSums::of(y.view(), column(list(&case[*m])).view(), train_mean.view(), &folds, &groups))
        .collect();
    for (name, key) in [(ScoreName::Cod, "cod"), (ScoreName::R, "r"), (ScoreName::CodTestMean, "cod_test_mean")] {
        for (sums, expected) in sums.iter().zip(list(&case[key])) {
            let parts = sums.parts(name);
            close(key, parts.offset + parts.gains.sum(), expected, 1e-12);
            close("shares", parts.shares.sum(), 1.0, 1e-12);
            close(key, sums.resampled(&Array2::ones((1, 9)), name)[[0, 0]], expected, 1e-12);
        }
    }
    let weights = matrix(&case["weights"]);
    for (model, sums) in sums.iter().enumerate() {
        let found = sums.resampled(&weights, ScoreName::Cod);
        for (draw, expected) in matrix(&case["resampled"]).column(model).iter().enumerate() {
            close("resampled cod", found[[draw, 0]], *expected, 1e-12);
        }
    }
    let paired = sums[1].parts(ScoreName::Cod).gains - sums[0].parts(ScoreName::Cod).gains;
    close("difference", paired.sum(), number(&case["difference"]), 1e-12);
    let test = sign_flip_test(paired.view(), &SignFlips::new(9, 0, 0))[0].unwrap();
    close("p of swapped blocks", test.p, number(&case["p"]), 1e-12);
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// The 99.9 % band of the share of rejections at 0.05 among `n` true nulls.
fn within_band(rejected: usize, n: usize) -> bool {
    let half = 3.29 * (0.05 * 0.95 / n as f64).sqrt();
    (rejected as f64 / n as f64 - 0.05).abs() <= half
}

#[test]
fn under_the_null_one_test_in_twenty_rejects() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (studies, subjects, layers) = (400, 12, 10);
    let (mut alone, mut family) = (0, 0);
    for _ in 0..studies {
        let own: Vec<f64> = (0..subjects).map(|_| normal(&mut rng)).collect();
        let d = Array2::from_shape_fn((subjects, layers), |(s, _)| own[s] + normal(&mut rng));
        let tests = sign_flip_test(d.view(), &SignFlips::new(subjects, 0, 0));
        alone += usize::from(tests[0].unwrap().p <= 0.05);
        family += usize::from(tests.iter().any(|t| t.unwrap().p_fwe <= 0.05));
    }
    assert!(within_band(alone, studies), "{alone} of {studies} single tests reject");
    assert!(within_band(family, studies), "{family} of {studies} families reject");
}

#[test]
fn intervals_of_forty_subjects_cover() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (studies, subjects) = (600, 40);
    let values = Array2::from_shape_fn((subjects, studies), |_| normal(&mut rng) * 0.1 + 0.3);
    let (_, intervals) = mean_intervals(&values, &Resamples::new(subjects, 1000, 3), 0.95);
    let covered = intervals.iter().flatten().filter(|(low, high)| *low <= 0.3 && 0.3 <= *high).count();
    let share = covered as f64 / studies as f64;
    assert!((0.925..=0.975).contains(&share), "covers in {share}");
}

#[test]
fn planted_signal_is_scored_as_it_is() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (n, p) = (1500, 8);
    let x = Array2::from_shape_fn((n, p), |_| normal(&mut rng));
    let w = Array2::from_shape_fn((p, 12), |_| normal(&mut rng) / (p as f64).sqrt());
    let signal = x.dot(&w);
    let folds = Folds::from_labels(&(0..n).map(|i| i * 5 / n).collect::<Vec<_>>());
    for snr in [0.25, 1.0, 4.0f64] {
        let mut y = signal.clone();
        for (t, mut column) in y.columns_mut().into_iter().enumerate() {
            let power: f64 = w.column(t).iter().map(|v| v * v).sum();
            column.mapv_inplace(|v| v / power.sqrt() + normal(&mut rng) / snr.sqrt());
        }
        let fit = cv::fit(x.view(), y.view(), &folds, &AlphaGrid::default(), &brainscore::watch::Quiet).unwrap();
        let cods: Vec<f64> = score(y.view(), &fit, &folds).iter().map(|s| s.cod.value().unwrap()).collect();
        let mean = cods.iter().sum::<f64>() / cods.len() as f64;
        assert!((mean - snr / (1.0 + snr)).abs() < 0.02, "SNR {snr}: cod {mean}");
    }
}

/// The number of threads changes no p.
#[test]
fn threads_change_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let d = Array2::from_shape_fn((30, 40), |_| rng.random::<f64>() - 0.4);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| sign_flip_test(d.view(), &SignFlips::new(30, 2000, 9)))
    };
    assert_eq!(with(1), with(5));
}

/// One subject, 15 layers of noise: the highest is above 0, the one chosen on inner folds is not.
#[test]
fn the_best_of_many_layers_of_noise_is_nothing_when_nested() {
    let (rows, layers, studies) = (90, 15, 60u64);
    let fold_of_group: Vec<usize> = (0..30).map(|g| g / 6).collect();
    let groups: Vec<usize> = (0..rows).map(|r| r / 3).collect();
    let folds = Folds::from_labels(&groups.iter().map(|g| fold_of_group[*g]).collect::<Vec<_>>());
    let grid = AlphaGrid::given(vec![1.0, 100.0]).unwrap();
    let name = ScoreName::R;
    let (mut naive, mut nested) = (Vec::new(), Vec::new());
    for study in 0..studies {
        let mut rng = ChaCha8Rng::seed_from_u64(100 + study);
        let y = Array2::from_shape_simple_fn((rows, 4), || normal(&mut rng));
        let fits: Vec<(Layer, LayerFit)> = (0..layers)
            .map(|layer| {
                let x = Array2::from_shape_simple_fn((rows, 3), || normal(&mut rng));
                let fit = cv::fit(x.view(), y.view(), &folds, &grid, &brainscore::watch::Quiet).unwrap();
                let scores = score(y.view(), &fit, &folds);
                let sums = GroupSums::new(y.view(), &fit, &folds, &groups);
                let mut by_group = ByGroup::new(1, fold_of_group.clone());
                let inner_error = fit.inner_error.view();
                let parts =
                    SubjectParts { sums: &sums, inner_error, folds: &[0, 1, 2, 3, 4], y: y.view(), scores: &scores };
                by_group.enter(0, &parts, name, None);
                (
                    Layer(layer),
                    LayerFit {
                        scores: vec![scores],
                        groups: Some(sums),
                        by_group: Some(by_group),
                        by_roi: Vec::new(),
                        joint: None,
                    },
                )
            })
            .collect();
        let resamples = Resamples::new(30, 20, 0);
        let mut comparison = Comparison::new(name, &["noise".to_owned()], &fits[0].1, 1, &resamples);
        let settings = Settings { permutations: 100, ..Settings::default() };
        comparison.test(&[("noise", &fits)], &fits[0].1, &settings, None, &resamples);
        naive.push(comparison.best_layers[0].naive.value().unwrap());
        nested.push(comparison.best_layers[0].nested.value().unwrap());
    }
    let (naive, nested) = (Sample::of(&naive).unwrap(), Sample::of(&nested).unwrap());
    let error = nested.sd / (studies as f64).sqrt();
    assert!(nested.mean.abs() < 3.3 * error, "nested: {} ± {error}", nested.mean);
    assert!(naive.mean > 0.05 && naive.mean > 5.0 * error, "naive: {}", naive.mean);
}
