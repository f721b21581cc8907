use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::io::binary::binary;

/// The grid of ridge penalties, ascending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlphaGrid {
    /// The penalties, ascending and distinct.
    pub values: Vec<f64>,
    /// Whether the user gave them. A default grid is widened once when too many targets sit at its edge; a user's never.
    pub given: bool,
}

binary!(AlphaGrid { values, given });

/// Share of choices at an edge of the grid above which a run warns, and widens a default grid.
pub const EDGE_LIMIT: f64 = 0.05;

impl Default for AlphaGrid {
    /// 10^-1 … 10^7 in half decades.
    fn default() -> Self {
        AlphaGrid { values: decades(-1.0, 17, 2.0), given: false }
    }
}

/// `count` values from 10^`from`, `per_decade` to the decade.
fn decades(from: f64, count: usize, per_decade: f64) -> Vec<f64> {
    (0..count).map(|i| 10f64.powf(from + i as f64 / per_decade)).collect()
}

impl AlphaGrid {
    /// A grid of the user's: positive, finite, distinct; sorted here.
    pub fn given(mut values: Vec<f64>) -> Result<AlphaGrid> {
        let refuse = |found: String| {
            Err(Error::new(Code::Rc02, "[encoding] alphas", found).expected("distinct positive finite numbers"))
        };
        if values.is_empty() {
            return refuse("is empty".to_owned());
        }
        if let Some(bad) = values.iter().find(|a| !(a.is_finite() && **a > 0.0)) {
            return refuse(format!("holds {bad}"));
        }
        values.sort_by(f64::total_cmp);
        if let Some(pair) = values.windows(2).find(|w| w[0] == w[1]) {
            return refuse(format!("holds {} twice", pair[0]));
        }
        Ok(AlphaGrid { values, given: true })
    }

    /// A logarithmic grid of the user's: `from` … `to` with `per_decade` values to the decade.
    pub fn log_spaced(from: f64, to: f64, per_decade: u32) -> Result<AlphaGrid> {
        let decades_apart = (to / from).log10();
        if !(from > 0.0 && to.is_finite() && (0.0..=60.0).contains(&decades_apart) && (1..=100).contains(&per_decade)) {
            return Err(Error::new(
                Code::Rc02,
                "[encoding] alphas",
                format!("from {from} to {to}, {per_decade} per decade"),
            )
            .expected("0 < from ≤ to and 1 to 100 per decade"));
        }
        let count = (decades_apart * f64::from(per_decade) + 1e-9).floor() as usize + 1;
        AlphaGrid::given(decades(from.log10(), count, f64::from(per_decade)))
    }

    /// The same grid with two more decades below and/or above, in half decades.
    pub fn widened(&self, below: bool, above: bool) -> AlphaGrid {
        let mut values = Vec::new();
        let (first, last) = (self.values[0].log10(), self.values[self.values.len() - 1].log10());
        if below {
            values.extend(decades(first - 2.0, 4, 2.0));
        }
        values.extend(&self.values);
        if above {
            values.extend(decades(last + 0.5, 4, 2.0));
        }
        AlphaGrid { values, given: self.given }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_grid_is_half_decades() {
        let grid = AlphaGrid::default();
        assert_eq!((grid.values.len(), grid.values[0], grid.values[16]), (17, 0.1, 1e7));
        let wide = grid.widened(true, true);
        assert_eq!(wide.values.len(), 25);
        assert!((wide.values[0] / 1e-3 - 1.0).abs() < 1e-12 && (wide.values[24] / 1e9 - 1.0).abs() < 1e-12);
        assert!(wide.values.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn impossible_grids_are_refused() {
        for bad in [vec![], vec![0.0], vec![-1.0], vec![f64::NAN], vec![1.0, 1.0]] {
            assert_eq!(AlphaGrid::given(bad).unwrap_err().code(), Code::Rc02);
        }
        assert_eq!(AlphaGrid::given(vec![10.0, 1.0]).unwrap().values, [1.0, 10.0]);
        assert_eq!(AlphaGrid::log_spaced(0.1, 1e7, 2).unwrap().values.len(), 17);
        assert!(AlphaGrid::log_spaced(1.0, 0.1, 2).is_err());
    }
}
