/// Pearson correlation of two slices of one length, in two passes.
///
/// `None` when either side does not vary (its sum of squares about the mean is 0) or there is nothing to correlate.
/// No constant is added to the denominator: an undefined value stays undefined. The result lies in [-1, 1].
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "both sides have one length");
    let (ma, mb) = (super::mean(a)?, super::mean(b)?);
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - ma, y - mb);
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_on_lines_and_undefined_on_constants() {
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), Some(1.0));
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(pearson(&[1.0, 1.0, 1.0], &[3.0, 2.0, 1.0]), None);
        assert_eq!(pearson(&[], &[]), None);
    }

    #[test]
    fn survives_a_large_offset() {
        let a: Vec<f64> = (0..50).map(|i| 1e6 + f64::from(i % 7) * 1e-2).collect();
        let b: Vec<f64> = (0..50).map(|i| f64::from(i % 7)).collect();
        assert!((pearson(&a, &b).unwrap() - 1.0).abs() < 1e-6);
    }
}
