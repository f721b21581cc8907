//! What a problem costs: which route is cheaper, and how much time and memory it will take.
//!
//! Costs are in operations of a matrix product. An eigendecomposition of order n takes the time of about 10 n³ of them,
//! a Cholesky factorisation that of n³ / 2 (measured: OpenBLAS 0.3.21, one thread, n = 1024).

/// Operations of an eigendecomposition, in units of n³.
const EIGEN: f64 = 10.0;
/// Operations of a Cholesky factorisation, in units of n³.
const CHOLESKY: f64 = 0.5;

/// The size of one feature space and its responses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Features.
    pub features: usize,
    /// Targets, of all responses together.
    pub targets: usize,
    /// Outer folds.
    pub folds: usize,
    /// Alphas.
    pub alphas: usize,
}

impl Size {
    /// Whether XᵀX (primal) is cheaper to work with than XXᵀ (dual), over all training sets.
    ///
    /// Per inner training set of n rows, both routes decompose a matrix of their dimension d (10 d³), turn m held-out
    /// rows (2 m d²) and t targets (2 d² t) into its coordinates, and multiply them for every alpha (2 alphas m d t).
    /// The primal adds 2 rows p t + rows p² once; the dual n p (n + 2 m) per training set.
    pub fn primal(&self) -> bool {
        let total = |(factor, search): (f64, f64)| factor + search;
        total(self.route_flops(true)) <= total(self.route_flops(false))
    }

    /// Operations of the cheaper route: of Gram matrices, decompositions and coordinates, and of predictions for every
    /// alpha.
    pub fn flops(&self) -> (f64, f64) {
        self.route_flops(self.primal())
    }

    fn route_flops(&self, primal: bool) -> (f64, f64) {
        let (rows, p, t) = (self.rows as f64, self.features as f64, self.targets as f64);
        let (sets, folds) = (self.inner_sets() as f64, self.folds as f64);
        let held_out = rows / folds;
        let mut search = 0.0;
        let mut factor = if primal { 2.0 * rows * p * t + rows * p * p } else { 0.0 };
        for (count, out) in [(sets, 2.0 * held_out), (folds, held_out)] {
            let n = rows - out;
            let d = if primal { p } else { n };
            let alphas = if count == sets { self.alphas as f64 } else { 1.0 };
            let kernel = if primal { d * d } else { n * p * (n + 2.0 * out) };
            factor += count * (kernel + EIGEN * d.powi(3) + 2.0 * d * d * (out + t));
            search += count * 2.0 * alphas * out * d * t;
        }
        (factor, search)
    }

    /// Training sets of the inner fits: every pair of folds left out once.
    pub fn inner_sets(&self) -> usize {
        self.folds * (self.folds - 1) / 2
    }

    /// Bytes of all targets as they are worked on: as given, less their means, and multiplied by the features.
    pub(super) fn target_bytes(&self) -> u64 {
        let products = if self.primal() { self.folds * self.features } else { 0 };
        ((2 * self.rows + products) * 8 * self.targets) as u64
    }

    /// Targets per block: what the threads hold at once takes no more than a quarter of the memory.
    pub(super) fn block(&self, memory: Option<u64>, threads: usize) -> usize {
        let Some(memory) = memory else { return usize::MAX };
        let per_target =
            (self.rows * 8 * 6 + if self.primal() { self.folds * self.features * 8 * 2 } else { 0 }) as u64;
        (memory / 4 / (threads as u64 * per_target).max(1)) as usize
    }

    /// Inner training sets in memory at once: no more than half of it, at least one for each thread.
    pub(super) fn wave(&self, memory: Option<u64>, threads: usize) -> usize {
        let sets = self.inner_sets();
        let most = memory.map_or(sets as u64, |m| m / 2 / self.factor_bytes(2).max(1));
        (most as usize).clamp(threads.min(sets), sets)
    }

    /// Bytes of the factor of one training set, in float64 with the float32 copy of the search.
    pub fn factor_bytes(&self, held_out: usize) -> u64 {
        let out = held_out * self.rows / self.folds;
        let d = if self.primal() { self.features } else { self.rows - out };
        (d * d * 8 + out * d * 12) as u64
    }
}

/// Cost of predicting one test fold by an eigendecomposition.
pub(super) fn eigen_flops(dimension: usize, test: usize, targets: usize) -> f64 {
    let (d, m, t) = (dimension as f64, test as f64, targets as f64);
    EIGEN * d.powi(3) + 2.0 * m * d * d + 2.0 * d * d * t + 2.0 * m * d * t
}

/// Cost of predicting one test fold by one Cholesky factorisation per alpha in use.
pub(super) fn solve_flops(dimension: usize, test: usize, targets: usize, alphas: usize) -> f64 {
    let (d, m, t) = (dimension as f64, test as f64, targets as f64);
    alphas as f64 * (CHOLESKY * d.powi(3) + 2.0 * m * d * d) + 2.0 * m * d * t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_gram_is_chosen_near_the_crossover() {
        let size = |rows, features| Size { rows, features, targets: 1000, folds: 5, alphas: 17 };
        assert!(size(3000, 768).primal());
        assert!(!size(1000, 1024).primal());
        assert!(!size(60, 1024).primal());
        // Inner training sets have 0.6 of the rows; the dual also pays for its kernels.
        let crossover = (1..2000).find(|p| !size(1000, *p).primal()).unwrap();
        assert!((580..=720).contains(&crossover), "{crossover}");
        assert_eq!(size(10, 1).inner_sets(), 10);
    }

    #[test]
    fn solving_wins_with_few_alphas() {
        assert!(solve_flops(800, 200, 1024, 3) < eigen_flops(800, 200, 1024));
        assert!(solve_flops(800, 200, 10, 400) > eigen_flops(800, 200, 10));
    }
}
