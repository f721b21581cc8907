use super::BrainScene;

/// ColorBrewer's RdBu (Harrower & Brewer 2003), from its blue end.
const DIVERGING: [[u8; 3]; 11] = [
    [0x05, 0x30, 0x61],
    [0x21, 0x66, 0xac],
    [0x43, 0x93, 0xc3],
    [0x92, 0xc5, 0xde],
    [0xd1, 0xe5, 0xf0],
    [0xf7, 0xf7, 0xf7],
    [0xfd, 0xdb, 0xc7],
    [0xf4, 0xa5, 0x82],
    [0xd6, 0x60, 0x4d],
    [0xb2, 0x18, 0x2b],
    [0x67, 0x00, 0x1f],
];

/// viridis (van der Walt & Smith 2015) at ten equal steps.
const SEQUENTIAL: [[u8; 3]; 10] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x28, 0x78],
    [0x3e, 0x49, 0x89],
    [0x31, 0x68, 0x8e],
    [0x26, 0x82, 0x8e],
    [0x1f, 0x9e, 0x89],
    [0x35, 0xb7, 0x79],
    [0x6e, 0xce, 0x58],
    [0xb5, 0xde, 0x2b],
    [0xfd, 0xe7, 0x25],
];

/// The border of what the atlas reaches.
pub(super) const BORDER: [u8; 3] = [0x8c, 0x8c, 0x8c];

/// Where the atlas reaches and nothing is defined.
pub(super) const UNDEFINED: [u8; 3] = [0xc9, 0xc9, 0xc9];

/// From values to colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
    pub diverging: bool,
    /// Whether the light end stands for the smallest value.
    pub reversed: bool,
}

impl Scale {
    /// A scale for all values of a scene: around 0 where any is negative, else from 0; over the range itself for labels.
    pub fn of(scene: &BrainScene<'_>) -> Scale {
        let on_surfaces = scene.surfaces.iter().flat_map(|s| s.values.iter().flatten()).copied();
        let all = scene.map.extremes().into_iter().flat_map(|(l, h)| [l, h]).chain(on_surfaces);
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if scene.map.is_labels() && low <= high {
            let high = if high > low { high } else { low + 1.0 };
            return Scale { low, high, diverging: false, reversed: false };
        }
        let most = low.abs().max(high.abs());
        // Nothing defined, or nothing but zeros: any range will do.
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        if low < 0.0 && low.is_finite() {
            Scale { low: -most, high: most, diverging: true, reversed: false }
        } else {
            Scale { low: 0.0, high: most, diverging: false, reversed: scene.low_is_best }
        }
    }

    /// The colour of a value; values beyond the ends take those of the ends.
    pub fn colour(&self, value: f64) -> [u8; 3] {
        let anchors: &[[u8; 3]] = if self.diverging { &DIVERGING } else { &SEQUENTIAL };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let share = if self.reversed { 1.0 - share } else { share };
        // An even number of steps, so that 0 is one; so many look smooth, and fewer colours make smaller files.
        let place = (share * 80.0).round() / 80.0 * (anchors.len() - 1) as f64;
        let below = (place as usize).min(anchors.len() - 2);
        let above = place - below as f64;
        std::array::from_fn(|c| {
            let (a, b) = (f64::from(anchors[below][c]), f64::from(anchors[below + 1][c]));
            (a + (b - a) * above).round() as u8
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_the_middle_of_a_diverging_scale() {
        let scale = Scale { low: -0.4, high: 0.4, diverging: true, reversed: false };
        assert_eq!(scale.colour(0.0), [0xf7; 3]);
        assert_eq!((scale.colour(-0.4), scale.colour(9.0)), (DIVERGING[0], DIVERGING[10]));
        let (red, blue) = (scale.colour(0.2), scale.colour(-0.2));
        assert!(red[0] > red[2] && blue[2] > blue[0]);
    }

    #[test]
    fn a_sequential_scale_grows_lighter() {
        let scale = Scale { low: 0.0, high: 2.0, diverging: false, reversed: false };
        let light = |v: f64| scale.colour(v).map(u32::from).iter().zip([3, 6, 1]).map(|(c, w)| c * w).sum::<u32>();
        assert!((0..20).all(|i| light(f64::from(i) / 10.0) < light(f64::from(i + 1) / 10.0)));
    }
}
