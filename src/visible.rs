//! Text from strangers, made safe to look at: characters that steer instead of showing themselves become visible escapes.

use std::borrow::Cow;

/// `text` with every control, direction, zero-width or otherwise invisible character written out, e.g. `\u{202e}`.
///
/// What is left can be neither a terminal escape nor text that reads in another order than it is stored, and is
/// allowed in XML. It is *not* escaped for HTML or XML: the writers of those do that.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// [`visible`] in at most `most` characters: `…` stands for the middle of what is longer, because names often differ
/// at their ends.
pub fn shortened(text: &str, most: usize) -> String {
    let shown = visible(text);
    let characters: Vec<char> = shown.chars().collect();
    if characters.len() <= most {
        return shown.into_owned();
    }
    let kept = most.saturating_sub(1);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    let end = &characters[characters.len() - tail..];
    characters[..head].iter().chain(&['…']).chain(end).collect()
}

/// Whether a character acts on its neighbours or hides, or may not stand in XML.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_characters_show() {
        assert_eq!(visible("plain é 脳 −²"), "plain é 脳 −²");
        assert_eq!(visible("a\u{1b}]8;;x\u{7}b"), "a\\u{1b}]8;;x\\u{7}b");
        assert_eq!(visible("\u{202e}gpj\n"), "\\u{202e}gpj\\u{a}");
        assert_eq!(visible("a\u{200b}b\u{ffff}\0"), "a\\u{200b}b\\u{ffff}\\u{0}");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(shortened("αβγδ", 4), "αβγδ");
        assert_eq!(shortened("αβγδε", 4), "αβ…ε");
        assert_eq!(shortened("αβγδε", 1), "…");
    }
}
