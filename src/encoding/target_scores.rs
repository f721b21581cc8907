//! Scores of held-out predictions, per target. All sums in float64.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use pulp::{Arch, NullaryFnOnce};

use super::cv::CvFit;
use super::folds::Folds;
use super::score::{Reason, Score, ScoreName};
use crate::io::binary::binary;
use crate::stats;

/// Fewest rows of a test fold for which a correlation means anything.
const MIN_FOLD_ROWS: usize = 3;
/// A spread below this share of the values' size is rounding.
const NO_SPREAD: f64 = 1e-12;

/// The scores of one target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetScores {
    /// Rows scored.
    pub n: usize,
    /// 1 − Σ SSE / Σ (y − ȳ_train)².
    pub cod: Score,
    /// scikit-learn's R² per fold, averaged over folds.
    pub cod_test_mean: Score,
    /// Pearson r per fold, averaged over folds.
    pub r: Score,
    /// Median over folds of the alpha chosen; none for a constant target.
    pub alpha_median: Option<f64>,
    /// Share of folds whose alpha lies at an edge of the grid.
    pub alpha_at_edge: f64,
    /// Per fold: Pearson r and the alpha, where defined.
    pub per_fold: Vec<FoldScore>,
}

impl TargetScores {
    /// Scores of a target whose responses are missing: none.
    pub(crate) fn missing(&mut self) {
        let none = Score::undefined(Reason::MissingValues);
        self.n = 0;
        (self.cod, self.cod_test_mean, self.r) = (none, none, none);
        (self.alpha_median, self.alpha_at_edge) = (None, 0.0);
        self.per_fold.iter_mut().for_each(|fold| (fold.r, fold.cod) = (none, none));
    }
}

/// One fold of one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoldScore {
    /// Pearson r in this fold.
    pub r: Score,
    /// 1 − SSE / Σ (y − ȳ_train)² in this fold alone.
    pub cod: Score,
    /// The alpha chosen for this fold.
    pub alpha: f64,
}

binary!(TargetScores { n, cod, cod_test_mean, r, alpha_median, alpha_at_edge, per_fold });
binary!(FoldScore { r, cod, alpha });
binary!(GroupSums { fold, folds, rows, error, about_train, y, p, yy, pp, yp });

impl TargetScores {
    /// A score by its name.
    pub fn get(&self, name: ScoreName) -> Score {
        match name {
            ScoreName::Cod => self.cod,
            ScoreName::CodTestMean => self.cod_test_mean,
            ScoreName::R => self.r,
        }
    }
}

/// Scores every column of `y` (rows, targets) against its held-out predictions.
pub fn score(y: ArrayView2<'_, f64>, fit: &CvFit, folds: &Folds) -> Vec<TargetScores> {
    // Rows are read one after the other, for all targets at once.
    let (y, predicted) = (y.as_standard_layout(), fit.predicted.as_standard_layout());
    let whole = Spread::of(y.view(), &(0..y.nrows()).collect::<Vec<_>>());
    let sums: Vec<FoldSums> = (0..folds.count())
        .map(|fold| FoldSums::new(y.view(), predicted.view(), fit.train_mean.row(fold), folds.test_rows(fold)))
        .collect();
    let mut scratch = Scratch::default();
    (0..y.ncols()).map(|t| score_target(y.nrows(), t, &whole, fit, &sums, &mut scratch)).collect()
}

/// Values of the folds of one target; memory used again for the next.
#[derive(Default)]
struct Scratch {
    alphas: Vec<f64>,
    rs: Vec<f64>,
    test_mean: Vec<f64>,
}

/// Means, squares about them and extremes of the columns of some rows.
struct Spread {
    mean: Vec<f64>,
    squares: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
    rows: usize,
}

impl Spread {
    fn of(y: ArrayView2<'_, f64>, rows: &[usize]) -> Spread {
        let n = y.ncols();
        let mut spread = Spread {
            mean: vec![0.0; n],
            squares: vec![0.0; n],
            low: vec![f64::INFINITY; n],
            high: vec![f64::NEG_INFINITY; n],
            rows: rows.len(),
        };
        Arch::new().dispatch(SpreadOf { y, rows, spread: &mut spread });
        spread
    }

    fn is_constant(&self, target: usize) -> bool {
        no_spread(self.low[target], self.high[target])
    }

    fn population_sd(&self, target: usize) -> f64 {
        (self.squares[target] / self.rows.max(1) as f64).sqrt()
    }
}

/// The body of [`Spread::of`]: as a type of its own it is compiled for the processor found at run time.
struct SpreadOf<'a> {
    y: ArrayView2<'a, f64>,
    rows: &'a [usize],
    spread: &'a mut Spread,
}

impl NullaryFnOnce for SpreadOf<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let SpreadOf { y, rows, spread: Spread { mean, squares, low, high, .. } } = self;
        for row in rows {
            let row = y.row(*row);
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += v);
            low.iter_mut().zip(row).for_each(|(low, v)| *low = if v < low { *v } else { *low });
            high.iter_mut().zip(row).for_each(|(high, v)| *high = if v > high { *v } else { *high });
        }
        mean.iter_mut().for_each(|m| *m /= rows.len().max(1) as f64);
        for row in rows {
            squares.iter_mut().zip(&*mean).zip(y.row(*row)).for_each(|((s, m), v)| *s += (v - m) * (v - m));
        }
    }
}

/// What the scores of one fold are made of, per target.
struct FoldSums {
    truth: Spread,
    /// Σ (ŷ − mean ŷ)², of predictions relative to the training mean: a common offset would hide that they do not vary.
    predicted: Vec<f64>,
    /// Σ (y − ŷ)², Σ (y − ȳ_train)², Σ (y − ȳ)(ŷ − mean ŷ).
    error: Vec<f64>,
    about_train: Vec<f64>,
    products: Vec<f64>,
}

impl FoldSums {
    fn new(
        y: ArrayView2<'_, f64>,
        predicted: ArrayView2<'_, f64>,
        train_mean: ArrayView1<'_, f64>,
        rows: Vec<usize>,
    ) -> FoldSums {
        let zeros = || vec![0f64; y.ncols()];
        let truth = Spread::of(y, &rows);
        let mut sums = FoldSums { truth, predicted: zeros(), error: zeros(), about_train: zeros(), products: zeros() };
        Arch::new().dispatch(FoldSumsOf { y, predicted, train_mean, rows: &rows, sums: &mut sums });
        sums
    }

    /// Standard deviation of the predictions.
    fn predicted_sd(&self, target: usize) -> f64 {
        (self.predicted[target] / self.truth.rows.max(1) as f64).sqrt()
    }

    /// Pearson correlation; none when a side does not vary.
    fn r(&self, target: usize) -> Option<f64> {
        let (a, b) = (self.truth.squares[target], self.predicted[target]);
        (a > 0.0 && b > 0.0).then(|| (self.products[target] / (a * b).sqrt()).clamp(-1.0, 1.0))
    }
}

/// The body of [`FoldSums::new`].
struct FoldSumsOf<'a> {
    y: ArrayView2<'a, f64>,
    predicted: ArrayView2<'a, f64>,
    train_mean: ArrayView1<'a, f64>,
    rows: &'a [usize],
    sums: &'a mut FoldSums,
}

impl NullaryFnOnce for FoldSumsOf<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let FoldSumsOf { y, predicted, train_mean, rows, sums } = self;
        let FoldSums { truth, predicted: squares, error, about_train, products } = sums;
        let mut mean = vec![0f64; squares.len()];
        for row in rows {
            let values = predicted.row(*row);
            mean.iter_mut().zip(values).zip(train_mean).for_each(|((sum, p), m)| *sum += p - m);
        }
        mean.iter_mut().for_each(|m| *m /= rows.len().max(1) as f64);
        for row in rows {
            let values = y.row(*row).into_iter().zip(predicted.row(*row)).zip(train_mean);
            let errors = error.iter_mut().zip(&mut *about_train);
            for ((e, a), ((y, p), m)) in errors.zip(values.clone()) {
                *e += (y - m - (p - m)) * (y - m - (p - m));
                *a += (y - m) * (y - m);
            }
            let moments = products.iter_mut().zip(&mut *squares).zip(truth.mean.iter().zip(&mean));
            for (((xy, pp), (my, mp)), ((y, p), m)) in moments.zip(values) {
                *xy += (y - my) * (p - m - mp);
                *pp += (p - m - mp) * (p - m - mp);
            }
        }
    }
}

fn score_target(
    n: usize,
    target: usize,
    all: &Spread,
    fit: &CvFit,
    folds: &[FoldSums],
    scratch: &mut Scratch,
) -> TargetScores {
    let last = fit.grid.values.len() - 1;
    let chosen = fit.chosen.column(target);
    let Scratch { alphas, rs, test_mean } = scratch;
    alphas.clear();
    rs.clear();
    test_mean.clear();
    alphas.extend(chosen.iter().map(|c| fit.grid.values[*c]));
    // Where no feature varies no alpha is better than another, and none is "at the edge".
    let at_edge =
        chosen.iter().zip(&fit.varying).filter(|(c, v)| last > 0 && **v > 0 && (**c == 0 || **c == last)).count();
    let sd = all.population_sd(target);
    let constant = all.is_constant(target);
    let mut whole = constant.then_some(Reason::ConstantTarget);
    let mut first_r = None;
    let mut first_test_mean = None;
    let (mut sse, mut reference) = (0.0, 0.0);
    let mut per_fold = Vec::with_capacity(folds.len());
    for (fold, sums) in folds.iter().enumerate() {
        let (error, about_train) = (sums.error[target], sums.about_train[target]);
        let about_test = sums.truth.squares[target];
        sse += error;
        reference += about_train;
        let spread = sums.predicted_sd(target);
        let fold_reason = if sums.truth.rows < MIN_FOLD_ROWS {
            Some(Reason::FoldTooSmall(fold))
        } else if fit.varying[fold] == 0 {
            Some(Reason::NoVaryingFeature(fold))
        } else if spread <= NO_SPREAD * sd {
            Some(Reason::ConstantPrediction(fold))
        } else {
            None
        };
        whole = whole.or(fold_reason);
        let flat = sums.truth.is_constant(target).then_some(Reason::ConstantTargetInFold(fold));
        let r = match fold_reason.or(flat) {
            Some(reason) => Score::undefined(reason),
            None => sums.r(target).map_or(Score::undefined(Reason::ConstantPrediction(fold)), Score::Value),
        };
        first_r = first_r.or(r.reason());
        first_test_mean = first_test_mean.or(flat);
        rs.extend(r.value());
        if flat.is_none() {
            test_mean.push(1.0 - error / about_test);
        }
        let cod = match fold_reason {
            Some(reason) => Score::undefined(reason),
            None if about_train > 0.0 => Score::Value(1.0 - error / about_train),
            None => Score::undefined(Reason::ConstantTargetInFold(fold)),
        };
        let defined = |s: Score| if constant { Score::undefined(Reason::ConstantTarget) } else { s };
        per_fold.push(FoldScore { r: defined(r), cod: defined(cod), alpha: alphas[fold] });
    }
    let or = |reason: Option<Reason>, value: f64| match whole.or(reason) {
        Some(reason) => Score::undefined(reason),
        None => Score::from_nan(value, Reason::NothingDefined),
    };
    TargetScores {
        n,
        cod: or(None, 1.0 - sse / reference),
        cod_test_mean: or(first_test_mean, stats::mean(test_mean).unwrap_or(f64::NAN)),
        r: or(first_r, stats::mean(rs).unwrap_or(f64::NAN)),
        alpha_median: if constant { None } else { stats::median(alphas) },
        alpha_at_edge: if constant { 0.0 } else { at_edge as f64 / folds.len() as f64 },
        per_fold,
    }
}

/// Whether values differ by no more than rounding.
pub(crate) fn is_constant(values: ArrayView1<'_, f64>) -> bool {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for v in values {
        low = low.min(*v);
        high = high.max(*v);
    }
    no_spread(low, high)
}

fn no_spread(low: f64, high: f64) -> bool {
    high - low <= NO_SPREAD * low.abs().max(high.abs())
}

/// A score of one fit, taken apart into what each stimulus group adds to it.
#[derive(Debug, Clone)]
pub struct GroupParts {
    /// (groups, targets): the score is `offset` + Σ gains. NaN for a target without variation.
    pub gains: Array2<f64>,
    /// (groups, targets): each group's share of what the score is relative to; they add up to 1.
    pub shares: Array2<f64>,
    /// 1 for scores that count errors, 0 for a correlation.
    pub offset: f64,
}

/// Per stimulus group the sums from which scores of resampled groups follow, without a refit.
#[derive(Debug, Clone)]
pub struct GroupSums {
    /// Fold of each group.
    fold: Vec<usize>,
    folds: usize,
    /// Rows of each group (groups, 1).
    rows: Array2<f64>,
    /// (groups, targets): squared error, squares about the training mean, and the moments of truth and prediction about
    /// the fold's means.
    error: Array2<f64>,
    about_train: Array2<f64>,
    y: Array2<f64>,
    p: Array2<f64>,
    yy: Array2<f64>,
    pp: Array2<f64>,
    yp: Array2<f64>,
}

impl GroupSums {
    /// Sums over the rows of each group. `groups` gives the group of each row; rows of a group lie in one fold.
    pub fn new(y: ArrayView2<'_, f64>, fit: &CvFit, folds: &Folds, groups: &[usize]) -> GroupSums {
        GroupSums::of(y, fit.predicted.view(), fit.train_mean.view(), folds, groups)
    }

    /// The same for some columns of a fit: `y` and `predicted` (rows, targets), `train_mean` (folds, targets).
    pub fn of(
        y: ArrayView2<'_, f64>,
        predicted: ArrayView2<'_, f64>,
        train_mean: ArrayView2<'_, f64>,
        folds: &Folds,
        groups: &[usize],
    ) -> GroupSums {
        let (n, targets) = (groups.iter().max().map_or(0, |g| g + 1), y.ncols());
        let zeros = || Array2::<f64>::zeros((n, targets));
        let mut sums = GroupSums {
            fold: vec![0; n],
            folds: folds.count(),
            rows: Array2::zeros((n, 1)),
            error: zeros(),
            about_train: zeros(),
            y: zeros(),
            p: zeros(),
            yy: zeros(),
            pp: zeros(),
            yp: zeros(),
        };
        for fold in 0..folds.count() {
            let rows = folds.test_rows(fold);
            let mean = |m: ArrayView2<'_, f64>| -> Array1<f64> {
                rows.iter().fold(Array1::zeros(targets), |sum, r| sum + m.row(*r)) / rows.len() as f64
            };
            let (y_mean, p_mean) = (mean(y), mean(predicted));
            for row in rows {
                let g = groups[row];
                sums.fold[g] = fold;
                sums.rows[[g, 0]] += 1.0;
                let (y, p, train) = (y.row(row), predicted.row(row), train_mean.row(fold));
                let add = |to: &mut Array2<f64>, what: &dyn Fn(usize) -> f64| {
                    to.row_mut(g).iter_mut().enumerate().for_each(|(t, sum)| *sum += what(t));
                };
                add(&mut sums.error, &|t| (y[t] - p[t]).powi(2));
                add(&mut sums.about_train, &|t| (y[t] - train[t]).powi(2));
                add(&mut sums.y, &|t| y[t] - y_mean[t]);
                add(&mut sums.p, &|t| p[t] - p_mean[t]);
                add(&mut sums.yy, &|t| (y[t] - y_mean[t]).powi(2));
                add(&mut sums.pp, &|t| (p[t] - p_mean[t]).powi(2));
                add(&mut sums.yp, &|t| (y[t] - y_mean[t]) * (p[t] - p_mean[t]));
            }
        }
        sums
    }

    /// What each group adds to a score.
    pub fn parts(&self, name: ScoreName) -> GroupParts {
        let per_fold = |of: &Array2<f64>| {
            let mut sums = Array2::<f64>::zeros((self.folds, of.ncols()));
            self.fold.iter().zip(of.rows()).for_each(|(fold, row)| sums.row_mut(*fold).scaled_add(1.0, &row));
            sums
        };
        let k = self.folds as f64;
        let shape = self.error.raw_dim();
        let (mut gains, mut shares) = (Array2::zeros(shape), Array2::zeros(shape));
        match name {
            ScoreName::Cod => {
                let total = self.about_train.sum_axis(Axis(0));
                gains.assign(&(-&self.error / &total));
                shares.assign(&(&self.about_train / &total));
            }
            ScoreName::CodTestMean => {
                let total = per_fold(&self.yy);
                for (g, fold) in self.fold.iter().enumerate() {
                    gains.row_mut(g).assign(&(-&self.error.row(g) / total.row(*fold) / k));
                    shares.row_mut(g).assign(&(&self.yy.row(g) / &total.row(*fold) / k));
                }
            }
            ScoreName::R => {
                let (yy, pp, rows) = (per_fold(&self.yy), per_fold(&self.pp), per_fold(&self.rows));
                for (g, fold) in self.fold.iter().enumerate() {
                    let scale = (&yy.row(*fold) * &pp.row(*fold)).mapv(f64::sqrt) * k;
                    gains.row_mut(g).assign(&(&self.yp.row(g) / &scale));
                    shares.row_mut(g).fill(self.rows[[g, 0]] / rows[[*fold, 0]] / k);
                }
            }
        }
        GroupParts { gains, shares, offset: if name == ScoreName::R { 0.0 } else { 1.0 } }
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.fold.len()
    }

    /// The score of every target for every resample of groups, `weights` (resamples, groups) → (resamples, targets).
    /// NaN where a resample leaves a score undefined.
    pub fn resampled(&self, weights: &Array2<f64>, name: ScoreName) -> Array2<f64> {
        if name == ScoreName::Cod {
            let (error, reference) = (weights.dot(&self.error), weights.dot(&self.about_train));
            return ratio(error, &reference);
        }
        let shape = (weights.nrows(), self.error.ncols());
        let (mut total, mut used) = (Array2::<f64>::zeros(shape), Array2::<f64>::zeros(shape));
        for fold in 0..self.folds {
            let mut masked = weights.clone();
            for (mut column, f) in masked.columns_mut().into_iter().zip(&self.fold) {
                if *f != fold {
                    column.fill(0.0);
                }
            }
            let rows = masked.dot(&self.rows);
            let (y, p, yy) = (masked.dot(&self.y), masked.dot(&self.p), masked.dot(&self.yy));
            let (pp, yp, error) = (masked.dot(&self.pp), masked.dot(&self.yp), masked.dot(&self.error));
            for draw in 0..shape.0 {
                let n = rows[[draw, 0]];
                if n < MIN_FOLD_ROWS as f64 {
                    continue;
                }
                for t in 0..shape.1 {
                    let at = [draw, t];
                    let (vy, vp) = (yy[at] - y[at] * y[at] / n, pp[at] - p[at] * p[at] / n);
                    let value = if name == ScoreName::R {
                        (yp[at] - y[at] * p[at] / n) / (vy * vp).sqrt()
                    } else {
                        1.0 - error[at] / vy
                    };
                    if value.is_finite() && vy > 0.0 {
                        total[at] += value;
                        used[at] += 1.0;
                    }
                }
            }
        }
        total / used
    }
}

/// 1 − error / reference; NaN where there is nothing to divide by.
fn ratio(mut error: Array2<f64>, reference: &Array2<f64>) -> Array2<f64> {
    error.zip_mut_with(reference, |e, r| *e = if *r > 0.0 { 1.0 - *e / r } else { f64::NAN });
    error
}
