//! Every kernel against the CPU, over shapes that launches are easily wrong for.
//!
//! The reference is float64 (for what encoders do between products and attention the CPU's own float32 operations). An error is
//! the largest absolute difference over the largest absolute value of the reference. Tolerances follow from roundoff: 64 u for
//! what is element by element, 8 u √k for sums of k terms in float32, and 1e-12 √k in float64.

mod encoder;
mod permute;
mod ridge;
mod rows;

use serde::Serialize;

use super::gpu::Cards;
use crate::error::Result;
use crate::ids::Digest;

/// One kernel on one shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The kernel, or kernels.
    pub kernel: &'static str,
    /// The extents.
    pub shape: String,
    /// Largest difference from the reference, relative to its largest value; infinite where a result is not finite.
    pub error: f64,
    /// What is allowed.
    pub tolerance: f64,
    /// Digest of the result's bytes.
    pub digest: Digest,
}

impl Check {
    /// Whether the kernel agrees.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
    }

    fn new(kernel: &'static str, shape: String, found: &[f64], expected: &[f64], tolerance: f64) -> Check {
        Check::in_rows(kernel, shape, found, expected, expected.len(), tolerance)
    }

    /// Rows of `width` values, each on a scale of its own.
    fn in_rows(
        kernel: &'static str,
        shape: String,
        found: &[f64],
        expected: &[f64],
        width: usize,
        tolerance: f64,
    ) -> Check {
        let bytes: Vec<u8> = found.iter().flat_map(|v| v.to_le_bytes()).collect();
        let rows = found.chunks(width.max(1)).zip(expected.chunks(width.max(1)));
        let error = rows.map(|(a, b)| difference(a, b)).fold(0.0, f64::max);
        let error = if found.len() == expected.len() { error } else { f64::INFINITY };
        Check { kernel, shape, error, tolerance, digest: crate::io::digest(&bytes) }
    }
}

/// Largest difference over the largest expected value; infinities must be met exactly.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let finite = expected.iter().filter(|v| v.is_finite());
    let largest = finite.fold(0.0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
    let apart = found.iter().zip(expected).map(|(a, b)| match (a - b).abs() {
        _ if a == b => 0.0,
        d if d.is_finite() => d / largest,
        _ => f64::INFINITY,
    });
    apart.fold(0.0, f64::max)
}

/// How many shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A few: seconds on a card, the first compilation included.
    Quick,
    /// All of the table.
    Thorough,
}

/// Checks every kernel on the first of the cards, and the ridge path on all of them.
///
/// # Errors
/// `GP-01`, `GP-02`, `GP-03` when something could not be run at all.
pub fn run(cards: &Cards, extent: Extent) -> Result<Vec<Check>> {
    let Some(gpu) = cards.gpus().first() else { return Ok(Vec::new()) };
    let mut checks = rows::run(gpu, extent)?;
    checks.extend(ridge::run(cards, extent)?);
    checks.extend(permute::run(gpu, extent)?);
    checks.extend(encoder::run(gpu, extent)?);
    Ok(checks)
}

/// Numbers in −1 … 1 that depend on place and salt alone.
struct Noise(u64);

impl Noise {
    fn at(&self, place: usize) -> f64 {
        // SplitMix64's output function (Steele, Lea & Flood 2014).
        let mut z = (place as u64).wrapping_add(self.0 << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn vector(&self, count: usize) -> Vec<f64> {
        (0..count).map(|i| self.at(i)).collect()
    }

    fn matrix(&self, rows: usize, columns: usize) -> ndarray::Array2<f64> {
        ndarray::Array2::from_shape_fn((rows, columns), |(i, j)| self.at(i * columns + j))
    }

    fn single(&self, count: usize) -> Vec<f32> {
        (0..count).map(|i| self.at(i) as f32).collect()
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Tolerance of a sum of `terms` products.
fn of_sum(single: bool, terms: usize) -> f64 {
    let root = (terms as f64).sqrt().max(1.0);
    if single { 8.0 * f64::from(f32::EPSILON) / 2.0 * root } else { 1e-12 * root }
}

/// Tolerance of what is done element by element in float32.
const ELEMENT: f64 = 64.0 * (f32::EPSILON as f64) / 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_noticed() {
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(difference(&[1.0, 2.5], &[1.0, 2.0]), 0.25);
        assert_eq!(difference(&[f64::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(difference(&[1.0], &[f64::INFINITY]), f64::INFINITY);
        assert_eq!(difference(&[f64::INFINITY, 1.0], &[f64::INFINITY, 1.0]), 0.0);
        assert_eq!(difference(&[], &[1.0]), f64::INFINITY);
        let noise = Noise(3).vector(1000);
        assert!(noise.iter().all(|v| v.abs() <= 1.0) && (noise.iter().sum::<f64>() / 1000.0).abs() < 0.1);
    }
}
