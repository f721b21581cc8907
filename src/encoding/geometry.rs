//! Similarity of geometries: distances or kernels between rows, in features and in responses. Nothing is fitted.
//!
//! *RSA*: the correlation, over pairs of rows, of squared distances between features with cross-validated distances
//! between responses. Those are inner products of the differences of two rows in one subject and in another, averaged
//! over pairs of subjects: without what subjects share they are 0 on average, however noisy the responses.
//! *CKA*: debiased linear centred kernel alignment, from the unbiased estimator of HSIC.
//! Both get their null by permuting rows. Inner products of rows may be a card's, see [`Offload::products`].
//!
//! Sources: Walther et al. (2016, NeuroImage) for cross-validated distances; Song et al. (2012, JMLR) and Kornblith et
//! al. (2019, ICML) for HSIC and CKA.

use ndarray::{Array2, ArrayView2};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::compute::device::Offload;
use crate::error::Result;

/// Fewest rows.
pub const LEAST: usize = 4;
/// Permutations of a null.
pub const PERMUTATIONS: usize = 1000;

/// A symmetric matrix between rows, centred and scaled so that similarity to another is a sum of products over pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry(Array2<f64>);

/// Permutations of rows, the same for every comparison.
#[derive(Debug, Clone)]
pub struct Permutations(Vec<Vec<usize>>);

impl Permutations {
    /// [`PERMUTATIONS`] of `rows` rows.
    pub fn new(rows: usize, seed: u64) -> Permutations {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let one = |_| {
            let mut order: Vec<usize> = (0..rows).collect();
            order.shuffle(&mut rng);
            order
        };
        Permutations((0..PERMUTATIONS).map(one).collect())
    }
}

impl Geometry {
    fn of_distances(distances: Array2<f64>) -> Option<Geometry> {
        let n = distances.nrows();
        if n < LEAST {
            return None;
        }
        let pairs = (n * (n - 1)) as f64;
        let mean = (distances.sum() - distances.diag().sum()) / pairs;
        let mut centred = distances - mean;
        centred.diag_mut().fill(0.0);
        let length = centred.iter().map(|v| v * v).sum::<f64>().sqrt();
        (length > 1e-12 * mean.abs() * pairs.sqrt()).then(|| Geometry(centred / length))
    }

    /// Squared Euclidean distances between the rows of z-scored features; none when no feature varies.
    ///
    /// # Errors
    /// Those of [`Offload::products`]; so for all of these.
    pub fn of_features(x: ArrayView2<'_, f64>, offload: Option<&Offload>) -> Result<Option<Geometry>> {
        let gram = inner(x, true, offload)?;
        Ok(Geometry::of_distances(distances(&gram)))
    }

    /// Cross-validated distances over pairs of subjects (rows, targets); none with one subject.
    pub fn across_subjects(subjects: &[ArrayView2<'_, f64>], offload: Option<&Offload>) -> Result<Option<Geometry>> {
        let Some(first) = subjects.first().filter(|_| subjects.len() > 1) else { return Ok(None) };
        let mut sum = Array2::<f64>::zeros(first.dim());
        let mut own = Array2::<f64>::zeros((first.nrows(), first.nrows()));
        for y in subjects {
            sum += y;
            own += &Offload::products(offload, *y)?;
        }
        // Inner products of different subjects only.
        Ok(Geometry::of_distances(distances(&(Offload::products(offload, sum.view())? - own))))
    }

    /// A kernel for debiased CKA: unbiased centring, scaled to unit length; none when its own HSIC is not positive.
    pub fn kernel(x: ArrayView2<'_, f64>, z_score: bool, offload: Option<&Offload>) -> Result<Option<Geometry>> {
        let n = x.nrows();
        if n < LEAST {
            return Ok(None);
        }
        let mut k = inner(x, z_score, offload)?;
        k.diag_mut().fill(0.0);
        let rows = k.sum_axis(ndarray::Axis(1));
        let total = rows.sum();
        let (m, few) = (n as f64 - 2.0, (n as f64 - 1.0) * (n as f64 - 2.0));
        for ((i, j), v) in k.indexed_iter_mut() {
            *v = if i == j { 0.0 } else { *v - (rows[i] + rows[j]) / m + total / few };
        }
        let length = k.iter().map(|v| v * v).sum::<f64>().sqrt();
        Ok((length > 1e-9 * total.abs() / n as f64).then(|| Geometry(k / length)))
    }

    /// The mean of several; similarity to it is the mean of the similarities to each.
    pub fn mean(all: &[Geometry]) -> Option<Geometry> {
        let sum = all.iter().skip(1).fold(all.first()?.0.clone(), |sum, g| sum + &g.0);
        Some(Geometry(sum / all.len() as f64))
    }

    /// Correlation of distances, or CKA.
    pub fn similarity(&self, other: &Geometry) -> f64 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }

    /// The similarity when the rows of the other are permuted, for every permutation.
    pub fn null(&self, other: &Geometry, permutations: &Permutations) -> Vec<f64> {
        let n = self.0.nrows();
        let permuted = |order: &Vec<usize>| -> f64 {
            (0..n).map(|i| (0..i).map(|j| self.0[[i, j]] * other.0[[order[i], order[j]]]).sum::<f64>()).sum::<f64>()
                * 2.0
        };
        permutations.0.iter().map(permuted).collect()
    }
}

/// Inner products of rows, columns centred and, if asked, divided by their sd.
fn inner(x: ArrayView2<'_, f64>, z_score: bool, offload: Option<&Offload>) -> Result<Array2<f64>> {
    let n = x.nrows().max(1) as f64;
    let mut x = x.to_owned();
    for mut column in x.columns_mut() {
        let mean = column.sum() / n;
        column -= mean;
        let sd = (column.dot(&column) / n).sqrt();
        let constant = sd <= 1e-12 * mean.abs().max(1e-300);
        if z_score {
            column.mapv_inplace(|v| if constant { 0.0 } else { v / sd });
        }
    }
    Offload::products(offload, x.view())
}

fn distances(gram: &Array2<f64>) -> Array2<f64> {
    Array2::from_shape_fn(gram.dim(), |(i, j)| gram[[i, i]] + gram[[j, j]] - 2.0 * gram[[i, j]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, StandardNormal};

    fn normal(shape: (usize, usize), seed: u64) -> Array2<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Array2::from_shape_simple_fn(shape, || StandardNormal.sample(&mut rng))
    }

    fn features(x: &Array2<f64>) -> Geometry {
        Geometry::of_features(x.view(), None).unwrap().unwrap()
    }

    fn kernel(x: ArrayView2<'_, f64>, z_score: bool) -> Option<Geometry> {
        Geometry::kernel(x, z_score, None).unwrap()
    }

    fn p_value(a: &Geometry, b: &Geometry, orders: &Permutations) -> f64 {
        let above = a.null(b, orders).into_iter().filter(|v| *v >= a.similarity(b) - 1e-12).count();
        (above + 1) as f64 / (PERMUTATIONS + 1) as f64
    }

    #[test]
    fn equal_geometries_have_similarity_one_and_the_smallest_p() {
        let x = normal((30, 6), 1);
        let orders = Permutations::new(30, 0);
        let (a, b) = (features(&x), kernel(x.view(), false).unwrap());
        for g in [a, b] {
            assert!((g.similarity(&g) - 1.0).abs() < 1e-12);
            assert_eq!(p_value(&g, &g, &orders), 1.0 / 1001.0);
        }
        assert!(kernel(Array2::ones((30, 2)).view(), false).is_none());
    }

    /// Many features and few rows: plain CKA of unrelated noise is near 1 here, and debiased CKA near 0.
    #[test]
    fn unrelated_noise_has_similarity_zero_and_uniform_p() {
        let (mut cka, mut rsa, mut ps) = (Vec::new(), Vec::new(), Vec::new());
        let orders = Permutations::new(20, 0);
        for seed in 0..60 {
            let x = normal((20, 100), 1000 + seed);
            let subjects: Vec<Array2<f64>> = (0..4).map(|s| normal((20, 50), 5000 + 10 * seed + s)).collect();
            let views: Vec<ArrayView2<f64>> = subjects.iter().map(|s| s.view()).collect();
            let k = kernel(x.view(), true).unwrap();
            cka.push(k.similarity(&kernel(views[0], false).unwrap()));
            let d = Geometry::across_subjects(&views, None).unwrap().unwrap();
            let g = features(&x);
            rsa.push(g.similarity(&d));
            ps.push(p_value(&g, &d, &orders));
        }
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        assert!(mean(&cka).abs() < 0.03 && mean(&rsa).abs() < 0.03, "{} {}", mean(&cka), mean(&rsa));
        assert!((mean(&ps) - 0.5).abs() < 0.13, "{}", mean(&ps));
    }

    /// Against the definition of the unbiased estimator, term by term.
    #[test]
    fn cka_is_the_ratio_of_unbiased_hsic() {
        let (x, y) = (normal((9, 3), 3), normal((9, 5), 4));
        let plain = |m: &Array2<f64>| {
            let c = m - &m.mean_axis(ndarray::Axis(0)).unwrap();
            let mut k = c.dot(&c.t());
            k.diag_mut().fill(0.0);
            k
        };
        let n = 9.0;
        let hsic = |k: &Array2<f64>, l: &Array2<f64>| {
            let product = k.dot(l);
            (product.diag().sum() + k.sum() * l.sum() / ((n - 1.0) * (n - 2.0)) - 2.0 / (n - 2.0) * product.sum())
                / (n * (n - 3.0))
        };
        let (k, l) = (plain(&x), plain(&y));
        let expected = hsic(&k, &l) / (hsic(&k, &k) * hsic(&l, &l)).sqrt();
        let found = kernel(x.view(), false).unwrap().similarity(&kernel(y.view(), false).unwrap());
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn what_subjects_share_is_found() {
        let x = normal((40, 5), 7);
        let subjects: Vec<Array2<f64>> =
            (0..6).map(|s| x.dot(&normal((5, 30), 8)) + normal((40, 30), 50 + s) * 3.0).collect();
        let views: Vec<ArrayView2<f64>> = subjects.iter().map(|s| s.view()).collect();
        let (g, d) = (features(&x), Geometry::across_subjects(&views, None).unwrap().unwrap());
        assert!(g.similarity(&d) > 0.3 && p_value(&g, &d, &Permutations::new(40, 0)) < 0.01);
    }
}
