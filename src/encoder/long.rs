//! Texts with more tokens than a checkpoint takes at once.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::tokenizer::Tokens;

/// What happens to a text with more tokens than a checkpoint takes at once. A text that fits is never touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongText {
    /// It is an error.
    #[default]
    Refuse,
    /// It runs in overlapping windows, each with special tokens of its own, each half a window after the one before (the
    /// last one ends with the text). Every token's state comes from the window where the smaller of the numbers of
    /// tokens to its left and to its right is largest; the special tokens in front come from the first window, those
    /// behind from the last.
    Window,
    /// The first tokens are kept, special tokens at both ends included.
    Truncate,
}

impl LongText {
    /// All choices, in the order of the help text.
    pub const ALL: [LongText; 3] = [LongText::Refuse, LongText::Window, LongText::Truncate];

    /// The name on the command line and in study files.
    pub fn as_str(self) -> &'static str {
        match self {
            LongText::Refuse => "refuse",
            LongText::Window => "window",
            LongText::Truncate => "truncate",
        }
    }
}

impl fmt::Display for LongText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A part of a long text that runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Which of its tokens' states are those of the text: one window after the other they give every token once.
    pub take: Range<usize>,
}

/// Makes a text of more than `longest` tokens fit; gives it back when that is refused or impossible.
pub(super) fn fit(mut tokens: Tokens, longest: usize, long: LongText) -> Result<Tokens, Tokens> {
    let count = tokens.ids.len();
    let lead = tokens.special.iter().take_while(|s| **s).count();
    let trail = tokens.special[lead..].iter().rev().take_while(|s| **s).count();
    let content = count - lead - trail;
    let Some(room) = longest.checked_sub(lead + trail).filter(|room| *room > 0 && content > *room) else {
        return Err(tokens);
    };
    match long {
        LongText::Refuse => Err(tokens),
        LongText::Truncate => {
            let cut = lead + room..count - trail;
            tokens.dropped = cut.len();
            tokens.ids.drain(cut.clone());
            tokens.special.drain(cut.clone());
            tokens.offsets.drain(cut);
            Ok(tokens)
        }
        LongText::Window => {
            let starts = starts(content, room);
            let (front, back) = (&tokens.ids[..lead], &tokens.ids[count - trail..]);
            let mut from = 0;
            let windows = starts.iter().enumerate().map(|(w, start)| {
                let inner = &tokens.ids[lead + start..lead + start + room];
                let to = starts.get(w + 1).map_or(content, |next| handover(*start, *next, room));
                let first = if w == 0 { 0 } else { lead + from - start };
                let last = lead + to - start + if to == content { trail } else { 0 };
                from = to;
                Window { ids: [front, inner, back].concat(), take: first..last }
            });
            tokens.windows = windows.collect();
            Ok(tokens)
        }
    }
}

/// Where the windows of `room` tokens start: every half window, the last one such that it ends with the text.
fn starts(content: usize, room: usize) -> Vec<usize> {
    let last = content - room;
    let mut starts: Vec<usize> = (0..last).step_by((room / 2).max(1)).collect();
    starts.push(last);
    starts
}

/// The first token that the window from `next` serves better than the one from `start`: the first one nearer to the
/// middle of the later window.
fn handover(start: usize, next: usize, room: usize) -> usize {
    (start + next + room - 1) / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: u32) -> Tokens {
        let special = std::iter::once(true).chain((0..content).map(|_| false)).chain([true]);
        let ids = std::iter::once(900).chain(0..content).chain([901]);
        Tokens {
            ids: ids.collect(),
            special: special.collect(),
            offsets: vec![(0, 0); content as usize + 2],
            ..Tokens::default()
        }
    }

    #[test]
    fn every_token_has_one_state_from_where_it_has_most_context() {
        for (content, longest) in (4..40).flat_map(|content| (3..content as usize + 2).map(move |l| (content, l))) {
            let windowed = fit(text(content), longest, LongText::Window).unwrap();
            assert_eq!(windowed.ids, text(content).ids);
            let taken: Vec<u32> = windowed.windows.iter().flat_map(|w| w.ids[w.take.clone()].to_vec()).collect();
            assert_eq!(taken, windowed.ids, "{content} tokens, {longest} at once");
            let context = |w: &Window, at: usize| (at - 1).min(w.ids.len() - 2 - at);
            for window in &windowed.windows {
                assert!(window.ids.len() == longest && window.ids[0] == 900 && window.ids[longest - 1] == 901);
                for at in window.take.clone().filter(|at| window.ids[*at] < 900) {
                    let of = |w: &Window| w.ids.iter().position(|id| *id == window.ids[at]).map(|at| context(w, at));
                    let most = windowed.windows.iter().filter_map(of).max();
                    assert_eq!(Some(context(window, at)), most, "{content} tokens, {longest} at once");
                }
            }
        }
    }

    #[test]
    fn truncation_keeps_both_ends() {
        let cut = fit(text(10), 5, LongText::Truncate).unwrap();
        assert_eq!((cut.ids, cut.special, cut.dropped), (vec![900, 0, 1, 2, 901], text(3).special, 7));
        assert_eq!(cut.offsets.len(), 5);
    }

    #[test]
    fn what_cannot_fit_comes_back() {
        for long in LongText::ALL {
            assert_eq!(fit(text(10), 2, long), Err(text(10)));
        }
        assert_eq!(fit(text(10), 11, LongText::Refuse), Err(text(10)));
    }
}
