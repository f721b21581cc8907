//! What must hold of any ridge regression (R-1 … R-8), on random problems of every shape.

use brainscore::compute::cpu::eigh;
use brainscore::encoding::cv::{self, CvFit};
use brainscore::encoding::engine::{self, Options, Precision, Targets};
use brainscore::encoding::{AlphaGrid, Folds, score};
use brainscore::watch::Quiet;
use ndarray::{Array2, Axis, concatenate, s};
use ndarray_linalg::{QR, Solve};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

use crate::tolerance;

fn random(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_fn((rows, columns), |_| rng.random_range(-1.0..1.0))
}

/// Features of decaying size with an offset, and responses that some of them explain.
pub fn problem(n: usize, p: usize, t: usize, seed: u64) -> (Array2<f64>, Array2<f64>) {
    let x = random(n, p, seed).dot(&random(p, p, seed + 1)) + 3.0;
    let y = x.dot(&random(p, t, seed + 2)) / (p as f64) + random(n, t, seed + 3) * 2.0 + 50.0;
    (x, y)
}

fn folds(n: usize, k: usize) -> Folds {
    Folds::from_labels(&(0..n).map(|i| i * k / n).collect::<Vec<_>>())
}

fn grid() -> AlphaGrid {
    AlphaGrid::log_spaced(0.1, 1e5, 2).unwrap()
}

fn fit(x: &Array2<f64>, y: &Array2<f64>, folds: &Folds, grid: &AlphaGrid, precision: Precision) -> CvFit {
    let options = Options { precision, ..Options::default() };
    engine::fit(x.view(), y.view(), folds, grid, &options, &Quiet).unwrap().0
}

pub fn worst(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The same with few rows and many targets, which mixed precision searches in another way.
    #[test]
    fn few_rows_and_many_targets_choose_as_the_plain_route(n in 15usize..70, p in 60usize..120, k in 3usize..6, seed in 0u64..10_000) {
        let (x, y) = problem(n, p, 150, seed);
        let folds = folds(n, k);
        let grid = AlphaGrid::default();
        let plain = cv::plain(x.view(), y.view(), &folds, &grid, None, &Quiet).unwrap();
        let options = Options { precision: Precision::Mixed, ..Options::default() };
        let (fast, report) = engine::fit(x.view(), y.view(), &folds, &grid, &options, &Quiet).unwrap();
        prop_assert!(report.base_alphas > 0 && report.searched_again < report.choices / 4, "{report:?}");
        prop_assert_eq!(&fast.chosen, &plain.chosen);
        prop_assert!(worst(&fast.predicted, &plain.predicted) < tolerance::SAME_FIT);
        let relative = |(a, b): (&f64, &f64)| ((a - b) / b).abs();
        prop_assert!(fast.inner_error.iter().zip(&plain.inner_error).map(relative).all(|d| d < 1e-5));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// primal and dual, summed Grams and refits, all precisions = z-scoring and decomposing every training set.
    #[test]
    fn the_engine_equals_the_plain_route(n in 15usize..70, p in 1usize..80, k in 3usize..6, seed in 0u64..10_000) {
        let (x, y) = problem(n, p, 4, seed);
        let folds = folds(n, k);
        let plain = cv::plain(x.view(), y.view(), &folds, &grid(), None, &Quiet).unwrap();
        for precision in [Precision::Double, Precision::Mixed] {
            let fast = fit(&x, &y, &folds, &grid(), precision);
            prop_assert_eq!(&fast.chosen, &plain.chosen);
            prop_assert_eq!(&fast.varying, &plain.varying);
            prop_assert!(worst(&fast.predicted, &plain.predicted) < tolerance::SAME_FIT);
            prop_assert!(worst(&fast.train_mean, &plain.train_mean) < tolerance::SAME_FIT);
        }
    }

    /// The default grid is widened as the plain route widens it.
    #[test]
    fn a_default_grid_is_widened_alike(n in 15usize..50, p in 1usize..60, noise in 0.0f64..3.0, seed in 0u64..10_000) {
        let (x, signal) = problem(n, p, 5, seed);
        let y = signal + random(n, 5, seed + 9) * 10f64.powf(noise);
        let folds = folds(n, 4);
        let plain = cv::plain(x.view(), y.view(), &folds, &AlphaGrid::default(), None, &Quiet).unwrap();
        let fast = fit(&x, &y, &folds, &AlphaGrid::default(), Precision::Mixed);
        prop_assert_eq!(&fast.grid, &plain.grid);
        prop_assert!(worst(&fast.predicted, &plain.predicted) < tolerance::SAME_FIT);
    }

    /// blocks of any size give the same fit.
    #[test]
    fn blocks_do_not_matter(t in 1usize..40, memory in 1u64..200_000, seed in 0u64..10_000) {
        let (x, y) = problem(30, 20, t, seed);
        let folds = folds(30, 5);
        let whole = fit(&x, &y, &folds, &grid(), Precision::Double);
        let options = Options { precision: Precision::Double, memory: Some(memory), ..Options::default() };
        let (blocks, _) = engine::fit(x.view(), y.view(), &folds, &grid(), &options, &Quiet).unwrap();
        prop_assert!(worst(&whole.predicted, &blocks.predicted) < tolerance::SAME_FIT);
        for target in 0..t {
            let alone = fit(&x, &y.slice(s![.., target..=target]).to_owned(), &folds, &grid(), Precision::Double);
            let own = whole.predicted.slice(s![.., target..=target]).to_owned();
            prop_assert!(worst(&own, &alone.predicted) < tolerance::SAME_FIT);
        }
    }

    /// A purge gap: the engine, which sums cells, fits what z-scoring and decomposing the rows that are left fits.
    #[test]
    fn a_purge_gap_is_exact(
        n in 24usize..70, p in 1usize..60, gap in 1usize..4, runs in 1usize..4, scattered: bool, seed in 0u64..10_000,
    ) {
        let (x, y) = problem(n, p, 4, seed);
        let labels: Vec<usize> = (0..n).map(|i| if scattered { (i * 7 + i / 5) % 4 } else { i * 4 / n }).collect();
        let run: Vec<usize> = (0..n).map(|i| i * runs / n).collect();
        let folds = Folds::from_labels(&labels).with_gap(&run, gap);
        let enough = (0..4).all(|a| (a..4).all(|b| folds.train_rows(&[a, b]).len() >= 3));
        prop_assume!(enough);
        let plain = cv::plain(x.view(), y.view(), &folds, &grid(), None, &Quiet).unwrap();
        for precision in [Precision::Double, Precision::Mixed] {
            let fast = fit(&x, &y, &folds, &grid(), precision);
            prop_assert!(worst(&fast.train_mean, &plain.train_mean) < tolerance::SAME_FIT);
            prop_assert!(worst(&fast.predicted, &plain.predicted) < tolerance::SAME_FIT);
            prop_assert_eq!(&fast.varying, &plain.varying);
        }
        // What the gap leaves out has no influence at all.
        let mut changed = y.clone();
        for row in (0..n).filter(|row| folds.near(*row).contains(&0)) {
            changed.row_mut(row).fill(1e3);
        }
        let other = fit(&x, &changed, &folds, &AlphaGrid::given(vec![1.0]).unwrap(), Precision::Double);
        let same = fit(&x, &y, &folds, &AlphaGrid::given(vec![1.0]).unwrap(), Precision::Double);
        for row in folds.test_rows(0) {
            for (a, b) in other.predicted.row(row).iter().zip(same.predicted.row(row)) {
                prop_assert!((a - b).abs() < 1e-6, "{} {}", a, b);
            }
        }
    }

    /// row order, a rotation of the z-scored features, and an affine change of the responses.
    #[test]
    fn changes_that_do_not_matter(n in 20usize..60, p in 2usize..50, scale in 0.1f64..20.0, seed in 0u64..10_000) {
        let (x, y) = problem(n, p, 3, seed);
        let labels: Vec<usize> = (0..n).map(|i| i * 4 / n).collect();
        let base = fit(&x, &y, &Folds::from_labels(&labels), &grid(), Precision::Mixed);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|i| (i * 7919) % n.max(1));
        let permuted: Vec<usize> = order.iter().map(|i| labels[*i]).collect();
        let turned = fit(
            &x.select(Axis(0), &order), &y.select(Axis(0), &order), &Folds::from_labels(&permuted), &grid(), Precision::Mixed,
        );
        prop_assert!(worst(&base.predicted.select(Axis(0), &order), &turned.predicted) < tolerance::SAME_FIT);
        let columns: Vec<usize> = (0..p).rev().collect();
        let reversed = fit(&x.select(Axis(1), &columns), &y, &Folds::from_labels(&labels), &grid(), Precision::Mixed);
        prop_assert!(worst(&base.predicted, &reversed.predicted) < tolerance::SAME_FIT);
        let moved = fit(&x, &(&y * -scale + 7.0), &Folds::from_labels(&labels), &grid(), Precision::Mixed);
        prop_assert_eq!(&moved.chosen, &base.chosen);
        prop_assert!(worst(&(&base.predicted * -scale + 7.0), &moved.predicted) < tolerance::SAME_FIT * (1.0 + scale));
        let (a, b) = (score(y.view(), &base, &Folds::from_labels(&labels)), moved);
        let flipped = score((&y * -scale + 7.0).view(), &b, &Folds::from_labels(&labels));
        for (a, b) in a.iter().zip(&flipped) {
            let difference = a.cod.value().unwrap_or(0.0) - b.cod.value().unwrap_or(0.0);
            prop_assert!(difference.abs() < tolerance::SAME_FIT);
        }
    }

    /// a constant column adds nothing; duplicating all columns halves alpha.
    #[test]
    fn duplicated_and_constant_columns(n in 20usize..50, p in 1usize..40, seed in 0u64..10_000) {
        let (x, y) = problem(n, p, 3, seed);
        let folds = folds(n, 4);
        let base = fit(&x, &y, &folds, &grid(), Precision::Double);
        let constant = concatenate(Axis(1), &[x.view(), Array2::from_elem((n, 2), 4.2).view()]).unwrap();
        let with = fit(&constant, &y, &folds, &grid(), Precision::Double);
        prop_assert_eq!(&with.varying, &base.varying);
        prop_assert!(worst(&with.predicted, &base.predicted) < tolerance::SAME_FIT);
        let twice = concatenate(Axis(1), &[x.view(), x.view()]).unwrap();
        let double = AlphaGrid::given(grid().values.iter().map(|a| 2.0 * a).collect()).unwrap();
        let duplicated = fit(&twice, &y, &folds, &double, Precision::Double);
        prop_assert!(worst(&duplicated.predicted, &base.predicted) < tolerance::SAME_FIT);
    }

    /// one alpha against normal equations and their optimality condition; its limits.
    #[test]
    fn one_alpha_is_the_minimum(n in 20usize..60, p in 1usize..15, log_alpha in -2.0f64..4.0, seed in 0u64..10_000) {
        is_the_minimum(n, p, log_alpha, seed)?;
    }
}

/// A column whose mean is large beside its spread.
#[test]
fn one_alpha_is_the_minimum_far_from_zero() {
    is_the_minimum(38, 1, 0.0, 5494).unwrap();
}

fn is_the_minimum(n: usize, p: usize, log_alpha: f64, seed: u64) -> Result<(), TestCaseError> {
    let (x, y) = problem(n, p, 2, seed);
    let folds = folds(n, 4);
    let at = |alpha: f64| fit(&x, &y, &folds, &AlphaGrid::given(vec![alpha]).unwrap(), Precision::Double);
    let alpha = 10f64.powf(log_alpha);
    let (found, far, near) = (at(alpha), at(1e15), at(1e-9));
    for fold in 0..4 {
        let test = folds.test_rows(fold);
        let train: Vec<usize> = (0..n).filter(|r| !test.contains(r)).collect();
        let (xt, yt) = (x.select(Axis(0), &train), y.select(Axis(0), &train));
        let mean = xt.mean_axis(Axis(0)).unwrap();
        let sd = xt.std_axis(Axis(0), 0.0);
        let (z, new) = ((&xt - &mean) / &sd, (&x.select(Axis(0), &test) - &mean) / &sd);
        let centre = yt.mean_axis(Axis(0)).unwrap();
        let centred = &yt - &centre;
        let solve = |alpha: f64| {
            let gram = z.t().dot(&z) + Array2::<f64>::eye(p) * alpha;
            let right = z.t().dot(&centred);
            let mut w = Array2::zeros((p, 2));
            (0..2).for_each(|t| w.column_mut(t).assign(&gram.solve(&right.column(t)).unwrap()));
            w
        };
        let w = solve(alpha);
        let gradient = z.t().dot(&(&centred - &z.dot(&w))) - &w * alpha;
        prop_assert!(gradient.iter().all(|g| g.abs() < tolerance::SAME_FIT * n as f64));
        prop_assert!(worst(&found.predicted.select(Axis(0), &test), &(new.dot(&w) + &centre)) < tolerance::SAME_FIT);
        let nothing = Array2::zeros((test.len(), 2)) + &centre;
        prop_assert!(worst(&far.predicted.select(Axis(0), &test), &nothing) < tolerance::SAME_FIT);
        // Least squares by an orthogonal decomposition, which squares no condition number.
        if n >= 3 * p + 8 {
            let (q, r) = z.qr().unwrap();
            let mut w = Array2::zeros((p, 2));
            for t in 0..2 {
                w.column_mut(t).assign(&r.solve(&q.t().dot(&centred.column(t))).unwrap());
            }
            // What alpha takes from each direction of w, and what rounding adds to its eigenvalue.
            let s = eigh(z.t().dot(&z)).unwrap().values;
            let share = (1e-9 + tolerance::GRAM * s[p - 1]) / s[0];
            let length = |m: ndarray::ArrayView1<'_, f64>| m.dot(&m).sqrt();
            let most = |lengths: Vec<f64>| lengths.into_iter().fold(0f64, f64::max);
            let reach = most(new.rows().into_iter().map(length).collect());
            let limit = share * reach * most(w.columns().into_iter().map(length).collect());
            let difference = worst(&near.predicted.select(Axis(0), &test), &(new.dot(&w) + &centre));
            // Columns whose mean is large beside their spread lose digits to it when they are centred, on both sides.
            let far_off = xt.iter().fold(0f64, |m, v| m.max(v.abs())) / sd.iter().fold(f64::INFINITY, |m, v| m.min(*v));
            let centring = 4.0 * tolerance::summed(n) * far_off * (p as f64).sqrt();
            let limit = limit + centring * most(w.columns().into_iter().map(length).collect());
            // Both sides add up a mean of n values and p terms.
            let size = y.iter().fold(0f64, |m, v| m.max(v.abs()));
            let limit = limit + 2.0 * tolerance::summed(n + p) * size;
            prop_assert!(difference <= limit, "{} > {}", difference, limit);
        }
    }
    Ok(())
}

/// Columns that change between folds and hardly within: centring cancels in a sum of fold blocks.
#[test]
fn columns_that_are_nearly_constant_within_folds() {
    let (n, k) = (60, 4);
    let (mut x, y) = problem(n, 8, 3, 5);
    for i in 0..n {
        x[[i, 0]] = (i * k / n) as f64;
        x[[i, 1]] = if i < 15 { 1.0 } else { 0.0 };
        x[[i, 2]] += 1e6 * (i * k / n) as f64;
        x[[i, 3]] += 1e8;
    }
    let folds = folds(n, k);
    let plain = cv::plain(x.view(), y.view(), &folds, &grid(), None, &Quiet).unwrap();
    for precision in [Precision::Double, Precision::Mixed] {
        let fast = fit(&x, &y, &folds, &grid(), precision);
        assert_eq!(fast.varying, plain.varying);
        assert_eq!(fast.chosen, plain.chosen);
        assert!(worst(&fast.predicted, &plain.predicted) < tolerance::SAME_FIT);
    }
}

/// Columns that are 0 on all training rows of some fold, and 1 on the held-out ones: they must not predict anything there,
/// however large they would be on the scale of what rounding leaves of their spread.
#[test]
fn columns_that_are_zero_where_one_trains() {
    let n = 60;
    let (mut x, y) = problem(n, 70, 150, 6);
    for i in 0..n {
        for column in 0..5 {
            x[[i, column]] = if i * 5 / n == column { 1.0 } else { 0.0 };
        }
    }
    let folds = folds(n, 5);
    let plain = cv::plain(x.view(), y.view(), &folds, &grid(), None, &Quiet).unwrap();
    for precision in [Precision::Double, Precision::Mixed] {
        let fast = fit(&x, &y, &folds, &grid(), precision);
        assert_eq!(fast.varying, plain.varying);
        assert_eq!(fast.chosen, plain.chosen, "{precision:?}");
        assert!(worst(&fast.predicted, &plain.predicted) < tolerance::SAME_FIT);
    }
}

/// One decomposition per training set, whatever the number of responses, targets and alphas.
#[test]
fn nothing_shared_is_decomposed_twice() {
    let (x, y) = problem(40, 30, 200, 3);
    let others: Vec<Array2<f64>> = (0..5).map(|i| &y + f64::from(i)).collect();
    let views: Vec<_> = others.iter().map(|y| y.view()).collect();
    let responses: Vec<&dyn Targets> = views.iter().map(|y| y as &dyn Targets).collect();
    let folds = folds(40, 5);
    let report =
        engine::fit_blocks(x.view(), &responses, &folds, &grid(), &Options::default(), &Quiet, &|_| Ok(())).unwrap();
    assert!((10..=15).contains(&report.eigendecompositions), "{report:?}");
    assert_eq!(report.choices, 5 * 5 * 200);
}

/// The same bytes again, and on another number of threads nearly so.
#[test]
fn results_repeat() {
    let (x, y) = problem(60, 90, 100, 8);
    let folds = folds(60, 5);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit(&x, &y, &folds, &grid(), Precision::Double).predicted)
    };
    let two = on(2);
    assert_eq!(two, on(2));
    assert!(worst(&two, &on(1)) < tolerance::THREADS && worst(&two, &on(3)) < tolerance::THREADS);
}
