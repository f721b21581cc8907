use crate::io::gifti::Hemisphere;

use super::colours::{Scale, UNDEFINED};
use super::{Picture, SurfaceValues};

/// Finer pixels per pixel of the picture, each way: edges are averaged.
const FINER: usize = 2;

/// From outside or from the midline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Lateral,
    Medial,
}

/// What is seen at a finer pixel: how near it is, and its colour.
type Seen = (f64, [u8; 3]);

/// Draws a hemisphere into a box of `picture`, by painting each triangle where it is nearest to the eye.
pub(super) fn put(
    picture: &mut Picture,
    corner: (usize, usize),
    (width, height): (usize, usize),
    half: &SurfaceValues<'_>,
    side: Side,
    colours: &Scale,
) {
    let points = &half.surface.points;
    // The eye stands to the left for a left hemisphere seen from outside and a right one seen from the midline.
    let from_left = (half.hemisphere == Hemisphere::Left) == (side == Side::Lateral);
    let turn = if from_left { -1.0 } else { 1.0 };
    let seen_at = |p: &[f64; 3]| [turn * p[1], p[2], turn * p[0]];
    let extent = |axis: usize| {
        points
            .iter()
            .map(|p| seen_at(p)[axis])
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
    };
    let ((left, right), (bottom, top)) = (extent(0), extent(1));
    let (wide, tall) = (width * FINER, height * FINER);
    let scale = (wide as f64 / (right - left).max(1e-9)).min(tall as f64 / (top - bottom).max(1e-9)) * 0.98;
    let middle = [(left + right) / 2.0, (bottom + top) / 2.0];
    let screen: Vec<[f64; 3]> = points
        .iter()
        .map(|p| {
            let [u, v, depth] = seen_at(p);
            [wide as f64 / 2.0 + (u - middle[0]) * scale, tall as f64 / 2.0 - (v - middle[1]) * scale, depth]
        })
        .collect();
    let normals = normals(half);
    let mut seen: Vec<Seen> = vec![(f64::NEG_INFINITY, [255; 3]); wide * tall];
    for triangle in &half.surface.triangles {
        let corners = triangle.map(|v| screen[v as usize]);
        let light = triangle.map(|v| shade(normals[v as usize], turn));
        let values = triangle.map(|v| half.values.get(v as usize).copied().flatten());
        fill(&mut seen, (wide, tall), corners, |[a, b, c]| {
            let value = match values {
                [Some(x), Some(y), Some(z)] => Some(a * x + b * y + c * z),
                // Towards an undefined vertex the nearest corner decides.
                _ => {
                    values[if a >= b && a >= c {
                        0
                    } else if b >= c {
                        1
                    } else {
                        2
                    }]
                }
            };
            let colour = value.map_or(UNDEFINED, |v| colours.colour(v));
            let light = a * light[0] + b * light[1] + c * light[2];
            // Few steps of light make small files, and are not seen.
            let light = (light * 40.0).round() / 40.0;
            colour.map(|c| (f64::from(c) * light).round().min(255.0) as u8)
        });
    }
    for y in 0..height {
        for x in 0..width {
            let mut sum = [0usize; 3];
            for (dy, dx) in (0..FINER).flat_map(|dy| (0..FINER).map(move |dx| (dy, dx))) {
                let (_, colour) = seen[(y * FINER + dy) * wide + x * FINER + dx];
                (0..3).for_each(|c| sum[c] += usize::from(colour[c]));
            }
            picture.set(corner.0 + x, corner.1 + y, sum.map(|s| (s / (FINER * FINER)) as u8));
        }
    }
}

/// Gives every pixel within a triangle its colour where nothing nearer was there; `colour` is given the corners' shares.
fn fill(seen: &mut [Seen], (wide, tall): (usize, usize), t: [[f64; 3]; 3], colour: impl Fn([f64; 3]) -> [u8; 3]) {
    let area = (t[1][0] - t[0][0]) * (t[2][1] - t[0][1]) - (t[2][0] - t[0][0]) * (t[1][1] - t[0][1]);
    if area.abs() < 1e-12 {
        return;
    }
    let range = |axis: usize, most: usize| {
        let low = t.iter().map(|p| p[axis]).fold(f64::INFINITY, f64::min).floor().max(0.0) as usize;
        let high = t.iter().map(|p| p[axis]).fold(f64::NEG_INFINITY, f64::max).ceil().max(0.0) as usize;
        low..high.min(most)
    };
    for y in range(1, tall) {
        for x in range(0, wide) {
            let (px, py) = (x as f64 + 0.5, y as f64 + 0.5);
            let share = |a: [f64; 3], b: [f64; 3]| ((a[0] - px) * (b[1] - py) - (b[0] - px) * (a[1] - py)) / area;
            let shares = [share(t[1], t[2]), share(t[2], t[0]), share(t[0], t[1])];
            if shares.iter().any(|s| *s < -1e-9) {
                continue;
            }
            let depth: f64 = (0..3).map(|k| shares[k] * t[k][2]).sum();
            let pixel = &mut seen[y * wide + x];
            if depth > pixel.0 {
                *pixel = (depth, colour(shares));
            }
        }
    }
}

/// The direction of the surface at each vertex: the mean over its triangles, by area.
fn normals(half: &SurfaceValues<'_>) -> Vec<[f64; 3]> {
    let points = &half.surface.points;
    let mut normals = vec![[0.0; 3]; points.len()];
    for triangle in &half.surface.triangles {
        let [a, b, c] = triangle.map(|v| points[v as usize]);
        let (u, v): ([f64; 3], [f64; 3]) = (std::array::from_fn(|i| b[i] - a[i]), std::array::from_fn(|i| c[i] - a[i]));
        let cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        for vertex in triangle {
            (0..3).for_each(|i| normals[*vertex as usize][i] += cross[i]);
        }
    }
    for n in &mut normals {
        let length = n.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
        n.iter_mut().for_each(|v| *v /= length);
    }
    normals
}

/// How bright a direction is: light comes from the eye and a little from above. Either side of a triangle may be outside.
fn shade(normal: [f64; 3], turn: f64) -> f64 {
    const LIGHT: (f64, f64) = (0.94, 0.34);
    let facing = turn * normal[0];
    let up = if facing < 0.0 { -normal[2] } else { normal[2] };
    (0.42 + 0.6 * (facing.abs() * LIGHT.0 + up * LIGHT.1)).clamp(0.3, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::gifti::Surface;

    #[test]
    fn the_nearer_triangle_hides_the_other() {
        let square = |x: f64| [[x, -10.0, -10.0], [x, 10.0, -10.0], [x, 10.0, 10.0], [x, -10.0, 10.0]];
        let points: Vec<[f64; 3]> = square(-30.0).into_iter().chain(square(-5.0)).collect();
        let triangles = vec![[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]];
        let surface = Surface { points, triangles, hemisphere: None };
        let values: Vec<Option<f64>> = (0..8).map(|v| Some(if v < 4 { -1.0 } else { 1.0 })).collect();
        let half = SurfaceValues { surface: &surface, hemisphere: Hemisphere::Left, values: &values };
        let scale = Scale { low: -1.0, high: 1.0, diverging: true, reversed: false };
        let middle = |side: Side| {
            let mut picture = Picture::new(40, 40);
            put(&mut picture, (0, 0), (40, 40), &half, side, &scale);
            picture.get(20, 20)
        };
        let (outside, inside) = (middle(Side::Lateral), middle(Side::Medial));
        assert!(outside[2] > outside[0], "from the left the blue square is nearer: {outside:?}");
        assert!(inside[0] > inside[2], "from the midline the red one: {inside:?}");
    }
}
