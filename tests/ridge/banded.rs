//! Banded ridge against a search by plain solves, and against planted shares.

use brainscore::encoding::engine::{self, Banded, BandedFit, Bands, Options, Precision, random_weights};
use brainscore::encoding::{AlphaGrid, Folds, score};
use brainscore::watch::Quiet;
use ndarray::{Array1, Array2, Axis};
use ndarray_linalg::{FactorizeInto, Solve};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

fn normal(shape: (usize, usize), rng: &mut ChaCha8Rng) -> Array2<f64> {
    Array2::from_shape_simple_fn(shape, || StandardNormal.sample(rng))
}

/// Two bands that share something, targets driven by either, by both or by none.
fn data(n: usize, sizes: [usize; 2], seed: u64) -> (Array2<f64>, Array2<f64>, Bands) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let common = normal((n, 2), &mut rng);
    let band = |p: usize, rng: &mut ChaCha8Rng| {
        let spread = Array1::logspace(10.0, 0.0, -1.5, p);
        normal((n, p), rng) * spread + common.dot(&normal((2, p), rng)) * 0.5 + 3.0
    };
    let (a, b) = (band(sizes[0], &mut rng), band(sizes[1], &mut rng));
    let (from_a, from_b) = (a.dot(&normal((sizes[0], 6), &mut rng)), b.dot(&normal((sizes[1], 6), &mut rng)));
    let mut y = normal((n, 6), &mut rng);
    for (t, (in_a, in_b)) in [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.3, 2.0), (2.0, 0.1), (0.0, 0.0)].iter().enumerate()
    {
        let mut column = y.column_mut(t);
        column.scaled_add(*in_a / (sizes[0] as f64).sqrt(), &from_a.column(t));
        column.scaled_add(*in_b / (sizes[1] as f64).sqrt(), &from_b.column(t));
    }
    let x = ndarray::concatenate(Axis(1), &[a.view(), b.view()]).unwrap();
    (x, y + 10.0, Bands::of_sizes(&sizes).unwrap())
}

fn grid() -> AlphaGrid {
    AlphaGrid::given(vec![0.1, 1.0, 10.0, 100.0, 1e3, 1e4]).unwrap()
}

/// Predictions of `test` rows by normal equations on z-scored, weighted columns, for one alpha.
fn solve(x: &Array2<f64>, y: &Array2<f64>, test: &Array2<f64>, scale: &[f64], alpha: f64) -> Array2<f64> {
    let (mean, sd) = (x.mean_axis(Axis(0)).unwrap(), x.std_axis(Axis(0), 0.0));
    let scale = Array1::from(scale.to_vec());
    let z = |m: &Array2<f64>| (m - &mean) / &sd * &scale;
    let (a, b, y_mean) = (z(x), z(test), y.mean_axis(Axis(0)).unwrap());
    let system = (a.t().dot(&a) + Array2::<f64>::eye(x.ncols()) * alpha).factorize_into().unwrap();
    let right = a.t().dot(&(y - &y_mean));
    let mut out = Array2::zeros((test.nrows(), y.ncols()));
    for (t, column) in right.columns().into_iter().enumerate() {
        out.column_mut(t).assign(&b.dot(&system.solve(&column.to_owned()).unwrap()));
    }
    out + &y_mean
}

/// (draw, alpha, predictions of the fold) for every fold and target, every choice tried by plain solves.
fn check(x: &Array2<f64>, y: &Array2<f64>, bands: &Bands, weights: &Array2<f64>, folds: &Folds, found: &BandedFit) {
    let k = folds.count();
    for fold in 0..k {
        let mut best = vec![(f64::INFINITY, 0, 0); y.ncols()];
        for (draw, w) in weights.rows().into_iter().enumerate() {
            let scale = bands.scale(&w.to_vec());
            let mut errors = Array2::<f64>::zeros((grid().values.len(), y.ncols()));
            for inner in (0..k).filter(|j| *j != fold) {
                let (train, held_out) = (folds.train_rows(&[fold, inner]), folds.test_rows(inner));
                let (tx, ty) = (x.select(Axis(0), &train), y.select(Axis(0), &train));
                let (vx, vy) = (x.select(Axis(0), &held_out), y.select(Axis(0), &held_out));
                for (a, alpha) in grid().values.iter().enumerate() {
                    let residual = solve(&tx, &ty, &vx, &scale, *alpha) - &vy;
                    let mut row = errors.row_mut(a);
                    row += &residual.mapv(|v| v * v).sum_axis(Axis(0));
                }
            }
            for (t, best) in best.iter_mut().enumerate() {
                for (a, e) in errors.column(t).iter().enumerate() {
                    if *e < best.0 {
                        *best = (*e, draw, a);
                    }
                }
            }
        }
        let train = folds.train_rows(&[fold]);
        let (tx, ty) = (x.select(Axis(0), &train), y.select(Axis(0), &train));
        let vx = x.select(Axis(0), &folds.test_rows(fold));
        for (t, (_, draw, alpha)) in best.into_iter().enumerate() {
            assert_eq!((found.draw[[fold, t]], found.fit.chosen[[fold, t]]), (draw, alpha), "fold {fold}, target {t}");
            let scale = bands.scale(&weights.row(draw).to_vec());
            let expected = solve(&tx, &ty, &vx, &scale, grid().values[alpha]);
            for (row, e) in folds.test_rows(fold).into_iter().zip(expected.column(t)) {
                assert!((found.fit.predicted[[row, t]] - e).abs() < 1e-8, "fold {fold}, target {t}, row {row}");
            }
        }
    }
}

/// Every route: a narrow band and two wide ones, more rows than features and fewer.
#[test]
fn every_choice_is_that_of_a_search_by_plain_solves() {
    for (n, sizes, gap) in [(90, [12, 3], 0), (90, [12, 3], 2), (40, [3, 60], 1), (48, [40, 36], 1), (240, [34, 36], 0)]
    {
        let (x, y, bands) = data(n, sizes, 5);
        let folds = Folds::from_labels(&(0..n).map(|i| (i * 4 / n) as i64).collect::<Vec<_>>());
        let folds = folds.with_gap(&vec![0; n], gap);
        let weights = random_weights(2, 5, 3);
        for precision in [Precision::Double, Precision::Mixed] {
            for memory in [None, Some(1 << 20)] {
                let options = Options { precision, memory, ..Options::default() };
                let of = Banded { x: x.view(), y: y.view(), bands: &bands, weights: &weights, folds: &folds };
                let (found, report) = engine::fit_banded(of, &grid(), &options, &Quiet).unwrap();
                check(&x, &y, &bands, &weights, &folds, &found);
                if sizes.iter().min() == Some(&3) && memory.is_none() {
                    assert!(report.eigendecompositions <= 6 + 4 * 5, "one per training set serves all draws");
                }
            }
        }
    }
}

#[test]
fn one_draw_is_ridge_on_scaled_columns() {
    let (x, y, bands) = data(60, [50, 4], 1);
    let folds = Folds::from_labels(&(0..60).map(|i| i / 12).collect::<Vec<_>>());
    let weights = ndarray::arr2(&[[0.9, 0.1]]);
    let options = Options { precision: Precision::Double, ..Options::default() };
    let of = Banded { x: x.view(), y: y.view(), bands: &bands, weights: &weights, folds: &folds };
    let (found, _) = engine::fit_banded(of, &grid(), &options, &Quiet).unwrap();
    let scaled = Options { scale: Some(bands.scale(&[0.9, 0.1])), ..options };
    let (plain, _) = engine::fit(x.view(), y.view(), &folds, &grid(), &scaled, &Quiet).unwrap();
    assert_eq!(found.fit.chosen, plain.chosen);
    assert!((&found.fit.predicted - &plain.predicted).iter().all(|d| d.abs() < 1e-10));
    for (t, s) in score(y.view(), &found.fit, &folds).iter().enumerate() {
        let parts: f64 = found.split.column(t).sum();
        assert!((parts - s.cod.value().unwrap()).abs() < 1e-10, "the parts sum to cod");
    }
}

/// Responses beyond float32's range are searched in float64, as `double` searches all.
#[test]
fn targets_that_overflow_choose_as_in_double() {
    let (x, mut y, bands) = data(120, [90, 40], 4);
    y.column_mut(1).mapv_inplace(|v| v * 1e39);
    let folds = Folds::from_labels(&(0..120).map(|i| i / 24).collect::<Vec<_>>());
    let weights = random_weights(2, 6, 3);
    let of = Banded { x: x.view(), y: y.view(), bands: &bands, weights: &weights, folds: &folds };
    for grid in [grid(), AlphaGrid::default()] {
        let run =
            |precision| engine::fit_banded(of, &grid, &Options { precision, ..Options::default() }, &Quiet).unwrap().0;
        let (mixed, double) = (run(Precision::Mixed), run(Precision::Double));
        assert_eq!((&mixed.fit.chosen, &mixed.draw), (&double.fit.chosen, &double.draw));
        assert_eq!(mixed.fit.grid.values, double.fit.grid.values);
        let cod = |fit: &BandedFit| score(y.view(), &fit.fit, &folds)[1].cod.value().unwrap();
        assert!((cod(&mixed) - cod(&double)).abs() < 1e-6);
    }
}

/// Independent bands with known shares of the variance: 0.4 and 0.2 of it, and the other way round.
#[test]
fn the_split_recovers_planted_shares() {
    let (n, p) = (2400, [10, 24]);
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (a, b) = (normal((n, p[0]), &mut rng), normal((n, p[1]), &mut rng));
    let unit = |m: Array2<f64>| {
        let m = &m - &m.mean_axis(Axis(0)).unwrap();
        let sd = m.std_axis(Axis(0), 0.0);
        m / sd
    };
    let t = 8;
    let from_a = unit(a.dot(&normal((p[0], t), &mut rng)));
    let from_b = unit(b.dot(&normal((p[1], t), &mut rng)));
    let noise = unit(normal((n, t), &mut rng));
    let shares = |t: usize| if t.is_multiple_of(2) { (0.4f64, 0.2f64) } else { (0.1, 0.5) };
    let y = Array2::from_shape_fn((n, t), |(i, t)| {
        let (in_a, in_b) = shares(t);
        in_a.sqrt() * from_a[[i, t]] + in_b.sqrt() * from_b[[i, t]] + (1.0 - in_a - in_b).sqrt() * noise[[i, t]]
    });
    let x = ndarray::concatenate(Axis(1), &[a.view(), b.view()]).unwrap();
    let folds = Folds::from_labels(&(0..n).map(|i| (i * 5 / n) as i64).collect::<Vec<_>>());
    let bands = Bands::of_sizes(&p).unwrap();
    let weights = random_weights(2, 100, 0);
    let of = Banded { x: x.view(), y: y.view(), bands: &bands, weights: &weights, folds: &folds };
    let (found, _) = engine::fit_banded(of, &AlphaGrid::default(), &Options::default(), &Quiet).unwrap();
    let mean = |band: usize, odd: usize| {
        (0..t).filter(|i| i % 2 == odd).map(|i| found.split[[band, i]]).sum::<f64>() / (t / 2) as f64
    };
    for (band, odd, planted) in [(0, 0, 0.4), (1, 0, 0.2), (0, 1, 0.1), (1, 1, 0.5)] {
        assert!((mean(band, odd) - planted).abs() < 0.03, "band {band}: {} for {planted}", mean(band, odd));
    }
}
