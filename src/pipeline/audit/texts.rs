//! Texts that are nearly the same: shared runs of three words.

use std::collections::{HashMap, HashSet};

/// Words of a run.
const RUN: usize = 3;
/// Runs that stand in more texts than this say nothing about any two of them.
const COMMON: usize = 200;
/// Share of runs in common (of those in either text) from which two texts are near-duplicates.
pub(super) const NEAR: f64 = 0.6;

/// The runs of three words of a text, in lower case and without punctuation; of a shorter text, the text.
fn runs(text: &str) -> HashSet<String> {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|w| w.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>())
        .filter(|w| !w.is_empty())
        .collect();
    if words.len() < RUN {
        return HashSet::from([words.join(" ")]);
    }
    words.windows(RUN).map(|w| w.join(" ")).collect()
}

/// Pairs (first, second) of texts, one from each list, that share at least [`NEAR`] of their runs.
pub(super) fn near_pairs(first: &[&str], second: &[&str]) -> Vec<(usize, usize)> {
    let of_first: Vec<HashSet<String>> = first.iter().map(|t| runs(t)).collect();
    let of_second: Vec<HashSet<String>> = second.iter().map(|t| runs(t)).collect();
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (text, runs) in of_second.iter().enumerate() {
        runs.iter().for_each(|run| places.entry(run).or_default().push(text));
    }
    let mut pairs = Vec::new();
    for (text, runs) in of_first.iter().enumerate() {
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for run in runs {
            let Some(others) = places.get(run.as_str()).filter(|others| others.len() <= COMMON) else { continue };
            others.iter().for_each(|other| *shared.entry(*other).or_default() += 1);
        }
        let near = |(other, shared): (usize, usize)| {
            let either = runs.len() + of_second[other].len() - shared;
            (shared as f64 >= NEAR * either as f64).then_some((text, other))
        };
        let mut found: Vec<(usize, usize)> = shared.into_iter().filter_map(near).collect();
        found.sort_unstable();
        pairs.extend(found);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_word_is_a_near_duplicate_and_another_story_is_none() {
        let story =
            "Grace and her friend visit a chemical plant. Grace puts the white powder into the coffee of her friend.";
        let version =
            "Grace and her friend visit a chemical plant; Grace puts the white powder into the coffee of her brother";
        let other = "The sailor ties his boat to the pier, and walks up the hill to the lighthouse before the storm.";
        assert_eq!(near_pairs(&[story, other], &[other, version]), [(0, 1), (1, 0)]);
        assert_eq!(near_pairs(&["Yes."], &["yes", "no"]), [(0, 0)]);
    }
}
