/// Benjamini–Hochberg q of each p: the smallest false discovery rate at which it would be called; `None` stays out.
///
/// Source: Benjamini & Hochberg, *Journal of the Royal Statistical Society B* 57 (1995), 289–300.
pub fn benjamini_hochberg(p: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(usize, f64)> = p.iter().enumerate().filter_map(|(i, p)| Some((i, (*p)?))).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let m = order.len() as f64;
    let mut q = vec![None; p.len()];
    let mut least = 1.0f64;
    for (rank, (i, p)) in order.iter().enumerate().rev() {
        least = least.min(p * m / (rank + 1) as f64);
        q[*i] = Some(least);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_is_monotone_in_p_and_leaves_gaps() {
        let q = benjamini_hochberg(&[Some(0.04), None, Some(0.01), Some(0.03), Some(0.9)]);
        let expected = [Some(0.16 / 3.0), None, Some(0.04), Some(0.16 / 3.0), Some(0.9)];
        for (q, e) in q.iter().zip(expected) {
            assert!(q.is_some() == e.is_some() && (q.unwrap_or(0.0) - e.unwrap_or(0.0)).abs() < 1e-12, "{q:?} {e:?}");
        }
        assert!(benjamini_hochberg(&[]).is_empty());
    }
}
