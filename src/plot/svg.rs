//! What plotters' SVG lacks: a size in pixels beside the `viewBox` in units, a role, a title and a description.

use crate::plot::canvas::UNITS;

/// The finished document from what plotters drew on `size` units.
pub(super) fn finish(drawn: &str, size: (u32, u32), title: &str, description: &str) -> String {
    let (width, height) = (size.0 / UNITS, size.1 / UNITS);
    // Everything after the root's own tag, which is plotters' and says pixels where it means units.
    let body = drawn.split_once('>').map_or("", |(_, body)| body);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" role=\"img\">\n<title>",
        size.0, size.1
    );
    escape(title, &mut svg);
    svg.push_str("</title>\n<desc>");
    escape(description, &mut svg);
    svg.push_str("</desc>");
    svg.push_str(body);
    svg
}

/// Appends text of an XML element. Characters that XML does not allow must be gone ([`crate::visible`]).
fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '&' => to.push_str("&amp;"),
            other => to.push(other),
        }
    }
}
