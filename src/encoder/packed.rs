use std::ops::Range;

use super::rows::Pass;

/// Several texts as one run of tokens, without padding.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// Token ids of all texts, one text after the other.
    pub ids: Vec<u32>,
    /// For each text the index after its last token.
    pub ends: Vec<usize>,
    /// Where they run, if not on the CPU.
    pub pass: Option<Pass>,
}

impl Packed {
    /// Packs texts given as token ids.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a [u32]>) -> Packed {
        let mut packed = Packed { ids: Vec::new(), ends: Vec::new(), pass: None };
        for text in texts {
            packed.ids.extend_from_slice(text);
            packed.ends.push(packed.ids.len());
        }
        packed
    }

    /// The tokens of each text.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.ends.iter().scan(0, |start, end| Some(std::mem::replace(start, *end)..*end))
    }

    /// The position of each token within its text, from 0.
    pub fn positions(&self) -> Vec<u32> {
        self.ranges().flat_map(|range| 0..range.len() as u32).collect()
    }

    /// The number of tokens of the longest text.
    pub fn longest(&self) -> usize {
        self.ranges().map(|range| range.len()).max().unwrap_or(0)
    }
}
