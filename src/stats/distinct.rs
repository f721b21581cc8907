use std::collections::HashMap;
use std::hash::Hash;

/// Numbers equal items alike, in the order in which they first appear.
pub fn distinct<T: Eq + Hash>(items: impl IntoIterator<Item = T>) -> Vec<usize> {
    let mut seen: HashMap<T, usize> = HashMap::new();
    items
        .into_iter()
        .map(|item| {
            let next = seen.len();
            *seen.entry(item).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_come_in_order() {
        assert_eq!(super::distinct(["b", "a", "b"]), [0, 1, 0]);
    }
}
