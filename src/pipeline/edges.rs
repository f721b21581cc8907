//! Alphas at the edges of their grids.

use super::fit::SpaceFit;
use crate::encoding::{AlphaGrid, EDGE_LIMIT};
use crate::error::Warning;

/// How often the chosen alpha lay at the edge of its grid.
#[derive(Default)]
pub(super) struct Edges {
    /// Share per feature space.
    pub shares: Vec<(String, f64)>,
    fits: usize,
    over_limit: usize,
    widened: usize,
    largest: f64,
}

impl Edges {
    pub fn add(&mut self, name: String, space: &SpaceFit) {
        let Some(share) = space.share_at_edge() else { return };
        self.shares.push((name, share));
        self.fits += 1;
        self.over_limit += usize::from(share > EDGE_LIMIT);
        self.largest = self.largest.max(share);
        let default = AlphaGrid::default().values.len();
        self.widened += usize::from(space.grids.iter().any(|g| !g.given && g.values.len() > default));
    }

    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.widened > 0 {
            warnings.push(Warning::new(
                "AL-01",
                format!(
                    "the default alpha grid was widened by two decades for {} of {} feature spaces, because more than {:.0} % of their choices lay at its edge",
                    self.widened, self.fits, 100.0 * EDGE_LIMIT
                ),
            ));
        }
        if self.over_limit > 0 {
            warnings.push(Warning::new(
                "AL-02",
                format!(
                    "in {} of {} feature spaces more than {:.0} % of the chosen alphas lie at an edge of the grid (at most {:.0} %): targets that nothing predicts take the largest alpha; otherwise give a wider grid",
                    self.over_limit, self.fits, 100.0 * EDGE_LIMIT, 100.0 * self.largest
                ),
            ));
        }
        warnings
    }
}
