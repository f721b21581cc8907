//! Numbers to places: ranges, round ticks, labels of ticks.

/// The ticks of an axis over a range.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ticks {
    /// Where they are.
    pub at: Vec<f64>,
    /// What is written there.
    pub labels: Vec<String>,
}

/// A range that holds all of `values` and zero, with some air; never empty, never clipped.
pub(super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((0f64, 0f64), |(low, high), v| (low.min(v), high.max(v)));
    if low == high {
        return (-0.1, 0.1);
    }
    let air = 0.06 * (high - low);
    (low - air, high + air)
}

/// About `about` ticks at 1, 2 or 5 times a power of ten, all inside the range.
pub(super) fn ticks((low, high): (f64, f64), about: usize) -> Ticks {
    let rough = (high - low) / about.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    // Counting in steps, so that zero is zero.
    let at: Vec<f64> = (first..=last).map(|i| i as f64 * step).collect();
    let largest = low.abs().max(high.abs());
    let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    let labels = at
        .iter()
        .map(|v| {
            let digits = if largest >= 1e5 || decimals > 6 {
                if *v == 0.0 { "0".to_owned() } else { format!("{v:e}") }
            } else {
                format!("{v:.decimals$}")
            };
            digits.replace('-', "−")
        })
        .collect();
    Ticks { at, labels }
}

/// Whole numbers from `first` to `last`, at most `most` of them, counted from a multiple of their step.
pub(super) fn whole(first: usize, last: usize, most: usize) -> Vec<usize> {
    let fits = |step: &usize| last / step + 1 - first.div_ceil(*step) <= most.max(1);
    let step = (0..)
        .flat_map(|power| [1, 2, 5].map(|m| m * 10usize.saturating_pow(power)))
        .take(60)
        .find(fits)
        .unwrap_or(usize::MAX);
    (first.div_ceil(step)..=last / step).map(|i| i * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_values_are_inside() {
        let (low, high) = range([-0.31, -0.02].into_iter());
        assert!(low < -0.31 && high > 0.0, "{low} {high}");
        assert_eq!(range(std::iter::empty()), (-0.1, 0.1));
    }

    #[test]
    fn ticks_are_round_and_few() {
        let t = ticks((-0.033, 0.12), 6);
        assert_eq!(t.labels, ["0.00", "0.05", "0.10"]);
        assert_eq!(ticks((-0.4, 0.1), 5).labels, ["−0.4", "−0.3", "−0.2", "−0.1", "0.0", "0.1"]);
        assert_eq!(ticks((-3e6, 1e6), 4).labels, ["−3e6", "−2e6", "−1e6", "0", "1e6"]);
        for high in [1e-9, 3e-4, 0.7, 12.0, 5e4] {
            let t = ticks((-high / 3.0, high), 6);
            assert!((2..=13).contains(&t.at.len()) && t.at.contains(&0.0), "{high}: {t:?}");
        }
    }

    #[test]
    fn layers_are_whole() {
        assert_eq!(whole(0, 4, 16), [0, 1, 2, 3, 4]);
        assert_eq!(whole(0, 24, 16), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]);
        assert_eq!(whole(7, 7, 16), [7]);
        assert_eq!(whole(3, 100, 12), [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    }
}
