//! The embedded font: measures all text, and draws that of bitmaps.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};

use crate::visible::shortened;

static NORMAL: &[u8] = include_bytes!("fonts/DejaVuSans-subset.ttf");
static BOLD: &[u8] = include_bytes!("fonts/DejaVuSans-Bold-subset.ttf");

/// What SVG viewers are asked for: the embedded font, one of nearly the same widths, whatever there is.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// Height of a lower-case x, in em.
pub(super) const X_HEIGHT: f64 = 0.547;

/// The font in one weight.
pub(super) fn face(bold: bool) -> FontRef<'static> {
    // INVARIANT: both files are part of the program, and a test below parses them.
    FontRef::try_from_slice(if bold { BOLD } else { NORMAL }).expect("the embedded font parses")
}

/// The scale at which one em is `em` pixels.
pub(super) fn scale(face: &FontRef<'_>, em: f64) -> PxScale {
    let height_per_em = face.units_per_em().map_or(1.0, |units| face.height_unscaled() / units);
    PxScale::from(em as f32 * height_per_em)
}

/// Width of a line of text whose em is `em`.
pub(super) fn width(text: &str, em: f64, bold: bool) -> f64 {
    let face = face(bold);
    let scaled = face.as_scaled(scale(&face, em));
    let mut width = 0.0;
    let mut before = None;
    for c in text.chars() {
        let glyph = scaled.glyph_id(c);
        width += before.map_or(0.0, |b| scaled.kern(b, glyph)) + scaled.h_advance(glyph);
        before = Some(glyph);
    }
    f64::from(width)
}

/// `text` cut to `most` pixels, with `…` where something is missing.
pub(super) fn fitted(text: &str, em: f64, bold: bool, most: f64) -> String {
    if width(text, em, bold) <= most {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while !kept.is_empty() {
        kept.pop();
        let candidate: String = kept.iter().copied().chain(['…']).collect();
        if width(&candidate, em, bold) <= most {
            return candidate;
        }
    }
    "…".to_owned()
}

/// As [`fitted`] in the normal weight, but cut in the middle: labels often differ at their ends.
pub(super) fn fitted_middle(text: &str, em: f64, most: f64) -> String {
    let mut characters = text.chars().count();
    let mut candidate = text.to_owned();
    while width(&candidate, em, false) > most && characters > 1 {
        characters -= 1;
        candidate = shortened(text, characters);
    }
    candidate
}

/// `text` broken at spaces into lines of at most `most` pixels; a longer word is cut.
pub(super) fn wrapped(text: &str, em: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), em, false) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fitted(word, em, false, most)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_weights_have_the_characters_of_the_figures() {
        for bold in [false, true] {
            let face = face(bold);
            for c in "AZaz09 −²≤≥±…°éßłαΩ→×–“”R‐".chars() {
                assert_ne!(face.glyph_id(c).0, 0, "{c:?} in bold={bold}");
            }
        }
    }

    #[test]
    fn text_is_cut_and_wrapped_to_its_width() {
        let long = "a-very-long-checkpoint-label-that-goes-on-and-on-and-on";
        let cut = fitted(long, 12.0, false, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, false) <= 100.0 && cut.len() > 8, "{cut}");
        let middle = fitted_middle("models/bert-base-cased-finetuned-on-stories-seed-7", 12.0, 120.0);
        assert!(
            middle.starts_with("model") && middle.ends_with("seed-7") && width(&middle, 12.0, false) <= 120.0,
            "{middle}"
        );
        let lines = wrapped("one two three four five six seven", 12.0, 80.0);
        assert!(lines.len() > 1 && lines.iter().all(|l| width(l, 12.0, false) <= 80.0), "{lines:?}");
        assert_eq!(lines.join(" "), "one two three four five six seven");
    }

    #[test]
    fn an_em_is_an_em() {
        // DejaVu Sans: a digit is 1303 of 2048 units wide.
        assert!((width("0", 2048.0, false) - 1303.0).abs() < 1.0);
    }
}
