use std::ops::Range;

use rayon::prelude::*;

use super::permuter::Tally;

/// Permutations that are looked at together.
const CHUNK: usize = 64;

/// What permutations say of the members of a family: for each member how many reach its own size, and the largest size
/// of any member under each of them.
///
/// p = (b + 1) / (m + 1), never 0: Phipson & Smyth, *Statistical Applications in Genetics and Molecular Biology* 9 (2010),
/// article 39.
pub(super) struct Family {
    counts: Vec<usize>,
    /// Ascending.
    largest: Vec<f64>,
}

impl Family {
    /// Asks `chunk` of `permutations` in pieces. For a piece it gives how many of its permutations reach each of the
    /// `members`, and the largest size under each permutation.
    pub(super) fn of(
        permutations: usize,
        members: usize,
        chunk: impl Fn(Range<usize>) -> (Vec<usize>, Vec<f64>) + Sync + Send,
    ) -> Family {
        let (counts, mut largest) = chunks(permutations).into_par_iter().map(chunk).reduce(
            || (vec![0; members], Vec::new()),
            |(mut counts, mut largest), (other, more)| {
                counts.iter_mut().zip(other).for_each(|(a, b)| *a += b);
                largest.extend(more);
                (counts, largest)
            },
        );
        largest.sort_by(f64::total_cmp);
        Family { counts, largest }
    }

    /// What was tallied elsewhere.
    pub(super) fn tallied(tally: Tally) -> Family {
        let Tally { counts, mut largest } = tally;
        largest.sort_by(f64::total_cmp);
        Family { counts: counts.into_iter().map(|c| c as usize).collect(), largest }
    }

    /// p of a member alone.
    pub(super) fn p(&self, member: usize) -> f64 {
        self.share(self.counts[member])
    }

    /// p of a member corrected for the family: how many permutations have a largest size of `least` or more.
    pub(super) fn p_fwe(&self, least: f64) -> f64 {
        self.share(self.largest.len() - self.largest.partition_point(|v| *v < least))
    }

    fn share(&self, count: usize) -> f64 {
        (count + 1) as f64 / (self.largest.len() + 1) as f64
    }
}

/// Numbers of permutations in pieces.
pub(super) fn chunks(permutations: usize) -> Vec<Range<usize>> {
    (0..permutations).step_by(CHUNK).map(|from| from..(from + CHUNK).min(permutations)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_permutations_and_the_observed_one() {
        // Permutation i gives the first member the size i, and never reaches the second.
        let chunk = |range: Range<usize>| {
            let reached = range.clone().filter(|i| *i >= 90).count();
            (vec![reached, 0], range.map(|i| i as f64).collect())
        };
        let family = Family::of(199, 2, chunk);
        assert_eq!((family.p(0), family.p(1)), (110.0 / 200.0, 1.0 / 200.0));
        assert_eq!((family.p_fwe(190.0), family.p_fwe(1e9), family.p_fwe(0.0)), (10.0 / 200.0, 1.0 / 200.0, 1.0));
        assert_eq!(chunks(130), [0..64, 64..128, 128..130]);
    }
}
