//! The report as Markdown: the same tree as the page, written for GitHub and for editors.
//!
//! Names of strangers are text here, too: every character that Markdown, its tables or an HTML block could take for
//! markup is escaped, mentions and bare addresses included.

use crate::report::markup::{Element, Node};
use crate::visible::visible;

/// A document of nodes.
pub(super) fn document(nodes: &[Node]) -> String {
    let mut out = String::new();
    blocks(nodes, &mut out);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Parts that only a page has: its head, its script, and its list of contents.
const PAGE_ONLY: [&str; 4] = ["head", "script", "nav", "style"];

fn blocks(nodes: &[Node], out: &mut String) {
    for node in nodes {
        let Node::Element(element) = node else { continue };
        let text = || inline(element.nodes());
        match element.name {
            name if PAGE_ONLY.contains(&name) => {}
            "h1" => block(out, &format!("# {}", text())),
            "h2" => block(out, &format!("## {}", text())),
            "h3" => block(out, &format!("### {}", text())),
            "p" => block(out, &text()),
            "summary" => block(out, &format!("**{}**", text().replace('*', "\\*"))),
            "figcaption" => block(out, &format!("*{}*", text())),
            "ul" | "ol" => {
                let items = element.nodes().iter().filter_map(as_element);
                let items: Vec<String> = items.map(|item| format!("- {}", inline(item.nodes()))).collect();
                block(out, &items.join("\n"));
            }
            "dl" => terms(element, out),
            "img" => block(out, &picture(element)),
            "table" => table(element, out),
            _ => blocks(element.nodes(), out),
        }
    }
}

fn block(out: &mut String, text: &str) {
    if !text.is_empty() {
        out.push_str(text);
        out.push_str("\n\n");
    }
}

fn as_element(node: &Node) -> Option<&Element> {
    match node {
        Node::Element(element) => Some(element),
        Node::Text(_) | Node::Raw(_) => None,
    }
}

/// Terms and their meanings, a list item each.
fn terms(list: &Element, out: &mut String) {
    let mut items = String::new();
    for part in list.nodes().iter().filter_map(as_element) {
        let text = inline(part.nodes());
        if part.name == "dt" {
            items.push_str(&format!("- **{text}**: "))
        } else {
            items.push_str(&format!("{text}\n"))
        }
    }
    block(out, items.trim_end());
}

/// A figure by the file beside the report. Where it has none, its description stands for it.
fn picture(image: &Element) -> String {
    let (file, alt) = (image.get("data-file"), escaped(image.get("alt")));
    // Names of files are the program's own; what a link cannot hold is written out all the same.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let file: String =
        file.chars().map(|c| if plain(c) { c.to_string() } else { format!("%{:02X}", c as u32) }).collect();
    if file.is_empty() { alt } else { format!("![{alt}]({file})") }
}

/// One head, as tables of GitHub have; rows that name the rows under them are bold.
fn table(table: &Element, out: &mut String) {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut caption = String::new();
    for part in table.nodes().iter().filter_map(as_element) {
        match part.name {
            "caption" => caption = inline(part.nodes()),
            "tr" => rows.push(cells(part)),
            _ => rows.extend(part.nodes().iter().filter_map(as_element).filter(|e| e.name == "tr").map(cells)),
        }
    }
    let Some(columns) = rows.iter().map(Vec::len).max() else { return };
    block(out, &format!("*{caption}*"));
    let line = |cells: &[String]| {
        let empty = String::new();
        let filled: Vec<&str> = (0..columns).map(|i| cells.get(i).unwrap_or(&empty).as_str()).collect();
        format!("| {} |", filled.join(" | "))
    };
    let mut lines: Vec<String> = rows.iter().map(|row| line(row)).collect();
    lines.insert(1, format!("|{}", " --- |".repeat(columns)));
    block(out, &lines.join("\n"));
}

fn cells(row: &Element) -> Vec<String> {
    let bold = row.get("class") == "group";
    let cells = row.nodes().iter().filter_map(as_element);
    let text = |cell: &Element| inline(cell.nodes());
    cells.map(|cell| if bold { format!("**{}**", text(cell)) } else { text(cell) }).collect()
}

/// Text within a line.
fn inline(nodes: &[Node]) -> String {
    let mut out = String::new();
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(&escaped(text)),
            Node::Raw(_) => {}
            Node::Element(element) => {
                let text = inline(element.nodes());
                match element.name {
                    "strong" if !text.trim().is_empty() => out.push_str(&format!("**{text}**")),
                    // Escaped text in plain type: within backticks nothing could be escaped.
                    _ => out.push_str(&text),
                }
            }
        }
    }
    out.trim().to_owned()
}

/// Text that Markdown takes for nothing but text. Blanks at its ends stay: pieces of a line are put together.
fn escaped(text: &str) -> String {
    let shown = visible(text);
    let mut out = String::with_capacity(shown.len() + 16);
    for (at, c) in shown.char_indices() {
        let rest = &shown[at + c.len_utf8()..];
        let escape = match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '$' | '@' | '#' => true,
            // Bare addresses become links: `http://…`, `www.…`.
            ':' => rest.starts_with("//"),
            '.' if rest.starts_with(' ') => at > 0 && out.chars().all(|c| c.is_ascii_digit()),
            '.' => shown[..at].to_ascii_lowercase().ends_with("www"),
            '!' => rest.starts_with('['),
            '+' | '-' => at == 0 && rest.starts_with(' '),
            '=' => at == 0,
            _ => false,
        };
        if escape {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::markup::Html;
    use crate::report::table;

    #[test]
    fn names_are_text() {
        let hostile =
            "<img src=x onerror=alert(1)> | `a` [x](javascript:1) @all http://e.x www.e.x ![i](u) $x$ \u{202e}#1";
        let text = escaped(hostile);
        assert!(text.starts_with("\\<img src=x onerror=alert(1)\\> \\| \\`a\\` \\[x\\](javascript:1)"), "{text}");
        assert!(text.contains("\\@all http\\://e.x www\\.e.x \\!\\[i\\](u) \\$x\\$ \\\\u{202e}\\#1"), "{text}");
        assert_eq!(
            (escaped("1. x"), escaped("- x"), escaped("a-b 1.5")),
            ("1\\. x".into(), "\\- x".into(), "a-b 1.5".into())
        );
    }

    #[test]
    fn blocks_are_blocks() {
        let mut h = Html::default();
        h.element("section", &[], |h| {
            h.leaf("h2", &[], "Found");
            h.element("ul", &[], |h| {
                h.element("li", &[], |h| {
                    h.leaf("strong", &[], "a");
                    h.text(": 1");
                });
                h.leaf("li", &[], "b");
            });
            table::table(h, "Numbers", &["x", "a|b"], |h| {
                h.element("tbody", &[], |h| {
                    table::group(h, "all", 2);
                    table::row(h, "one", |h| table::figure(h, "−1.000"));
                });
            });
            h.void("img", &[("data-file", "a b.svg"), ("alt", "A [line]")]);
        });
        assert_eq!(
            document(h.nodes()),
            "## Found\n\n- **a**: 1\n- b\n\n*Numbers*\n\n| x | a\\|b |\n| --- | --- |\n| **all** |  |\n| one | −1.000 |\n\n\
             ![A \\[line\\]](a%20b.svg)\n"
        );
    }
}
