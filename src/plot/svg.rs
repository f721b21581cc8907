//! What plotters' SVG lacks: a size in pixels beside the `viewBox` in units, a role, a title and a description.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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

/// As [`finish`], for a drawing without a ground of its own: white, and on it a PNG file of the whole size.
pub(super) fn finish_over(drawn: &str, size: (u32, u32), title: &str, description: &str, image: &[u8]) -> String {
    const END: &str = "</desc>";
    let (wide, tall, data) = (size.0, size.1, STANDARD.encode(image));
    let ground = format!(
        "{END}\n<rect x=\"0\" y=\"0\" width=\"{wide}\" height=\"{tall}\" fill=\"#FFFFFF\"/>\n\
         <image x=\"0\" y=\"0\" width=\"{wide}\" height=\"{tall}\" href=\"data:image/png;base64,{data}\"/>"
    );
    finish(drawn, size, title, description).replacen(END, &ground, 1)
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
