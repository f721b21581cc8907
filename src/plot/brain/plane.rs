use crate::atlas::VoxelMap;

use super::Picture;
use super::colours::{BORDER, Scale, UNDEFINED};

/// Which way is looked at the brain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// From the right: y across, z up.
    Side,
    /// From behind: x across, z up, left on the left.
    Front,
    /// From above: x across, y up, left on the left.
    Above,
}

/// What of the brain is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Depth {
    /// The value furthest from 0 along the line of sight.
    Through,
    /// The smallest value along it.
    Smallest,
    /// The slice at this place (mm).
    Slice(f64),
}

impl View {
    /// The axes of space: across, up, along the line of sight.
    fn axes(self) -> [usize; 3] {
        match self {
            View::Side => [1, 2, 0],
            View::Front => [0, 2, 1],
            View::Above => [0, 1, 2],
        }
    }

    /// What is shown across and up (mm): a little more than the MNI152 brain.
    pub fn window(self) -> [(f64, f64); 2] {
        const X: (f64, f64) = (-80.0, 80.0);
        const Y: (f64, f64) = (-113.0, 80.0);
        const Z: (f64, f64) = (-79.0, 88.0);
        match self {
            View::Side => [Y, Z],
            View::Front => [X, Z],
            View::Above => [X, Y],
        }
    }
}

/// Values on a plane, in cells of the size of a voxel.
struct Plane {
    low: [f64; 2],
    step: f64,
    size: [usize; 2],
    values: Vec<Option<f64>>,
    inside: Vec<bool>,
}

/// A view as a bitmap of `scale` pixels per mm, put into `picture` with its upper left corner at `corner`.
pub(super) fn put(
    picture: &mut Picture,
    corner: (usize, usize),
    scale: f64,
    (map, cover): (&VoxelMap, &VoxelMap),
    (view, depth): (View, Depth),
    colours: &Scale,
) {
    let plane = Plane::of(map, cover, view, depth);
    let [(left, right), (bottom, top)] = view.window();
    let (width, height) = (((right - left) * scale) as usize, ((top - bottom) * scale) as usize);
    let mut reached = vec![false; width * height];
    for y in 0..height {
        for x in 0..width {
            let place = [left + (x as f64 + 0.5) / scale, top - (y as f64 + 0.5) / scale];
            let colour = match plane.at(place, map.is_labels()) {
                (_, false) => continue,
                (Some(value), _) => colours.colour(value),
                (None, _) => UNDEFINED,
            };
            reached[y * width + x] = true;
            picture.set(corner.0 + x, corner.1 + y, colour);
        }
    }
    // A border, two pixels wide, without which values near 0 would be white on white.
    let outside = |x: usize, y: usize, dx: isize, dy: isize| {
        let at = (x.checked_add_signed(dx), y.checked_add_signed(dy));
        let (Some(x), Some(y)) = at else { return true };
        x >= width || y >= height || !reached[y * width + x]
    };
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|(x, y)| reached[y * width + x]) {
        if [(-2, 0), (2, 0), (0, -2), (0, 2)].iter().any(|(dx, dy)| outside(x, y, *dx, *dy)) {
            picture.set(corner.0 + x, corner.1 + y, BORDER);
        }
    }
}

impl Plane {
    fn of(map: &VoxelMap, cover: &VoxelMap, view: View, depth_of: Depth) -> Plane {
        let [across, up, along] = view.axes();
        let (low, high) = corners(map);
        let step = voxel(map);
        let count = |axis: usize| ((high[axis] - low[axis]) / step + 1e-6) as usize + 1;
        let size = [count(across), count(up)];
        let depths: Vec<f64> = match depth_of {
            Depth::Through | Depth::Smallest => (0..count(along)).map(|k| low[along] + k as f64 * step).collect(),
            Depth::Slice(place) => vec![place],
        };
        let (mut values, mut inside) = (vec![None; size[0] * size[1]], vec![false; size[0] * size[1]]);
        for (cell, (value, within)) in values.iter_mut().zip(&mut inside).enumerate() {
            let mut place = [0.0; 3];
            place[across] = low[across] + (cell % size[0]) as f64 * step;
            place[up] = low[up] + (cell / size[0]) as f64 * step;
            for depth in &depths {
                place[along] = *depth;
                if cover.at(place).is_none() {
                    continue;
                }
                *within = true;
                let Some(found) = map.at(place) else { continue };
                let is_further = value.is_none_or(|v: f64| match depth_of {
                    Depth::Smallest => found < v,
                    _ => found.abs() > v.abs(),
                });
                if is_further {
                    *value = Some(found);
                }
            }
        }
        Plane { low: [low[across], low[up]], step, size, values, inside }
    }

    /// The value at a place, linear between cells (of the nearest cell for labels), and whether the atlas reaches there.
    fn at(&self, place: [f64; 2], labels: bool) -> (Option<f64>, bool) {
        let at: [f64; 2] = std::array::from_fn(|a| (place[a] - self.low[a]) / self.step);
        let last = [(self.size[0] - 1) as f64, (self.size[1] - 1) as f64];
        if at[0] < -0.5 || at[1] < -0.5 || at[0] > last[0] + 0.5 || at[1] > last[1] + 0.5 {
            return (None, false);
        }
        let at: [f64; 2] = std::array::from_fn(|a| at[a].clamp(0.0, last[a]));
        let (mut sum, mut weight, mut within, mut nearest) = (0.0, 0.0, 0.0, (0.0, None));
        for corner in 0..4usize {
            let step = [corner & 1, corner >> 1];
            let below = [at[0].floor(), at[1].floor()];
            let share: f64 =
                (0..2).map(|a| if step[a] == 1 { at[a] - below[a] } else { 1.0 - (at[a] - below[a]) }).product();
            if share <= 0.0 {
                continue;
            }
            let cell = (below[0] as usize + step[0]) + self.size[0] * (below[1] as usize + step[1]);
            within += share * f64::from(u8::from(self.inside[cell]));
            if share > nearest.0 {
                nearest = (share, self.values[cell]);
            }
            if let Some(value) = self.values[cell] {
                sum += share * value;
                weight += share;
            }
        }
        let value = if labels { nearest.1 } else { (weight > 0.0).then(|| sum / weight) };
        (value, within >= 0.5)
    }
}

/// The lowest and highest place of any voxel's centre.
fn corners(map: &VoxelMap) -> ([f64; 3], [f64; 3]) {
    let shape = map.grid.shape;
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    for corner in 0..8usize {
        let at: [f64; 3] = std::array::from_fn(|a| if corner >> a & 1 == 1 { (shape[a] - 1) as f64 } else { 0.0 });
        for (r, place) in map.grid.place(at).into_iter().enumerate() {
            (low[r], high[r]) = (low[r].min(place), high[r].max(place));
        }
    }
    (low, high)
}

/// The shortest edge of a voxel, at least half a millimetre: a picture shows no more.
fn voxel(map: &VoxelMap) -> f64 {
    (0..3).map(|axis| map.grid.edge(axis)).fold(f64::INFINITY, f64::min).clamp(0.5, 20.0)
}
