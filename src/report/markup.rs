use crate::visible::visible;

/// Text that is safe inside an element or a quoted attribute: made only here, from any text.
///
/// Characters that steer or hide are shown ([`crate::visible`]); the five that HTML gives a meaning are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Escaped(String);

impl Escaped {
    fn new(text: &str) -> Escaped {
        let shown = visible(text);
        let mut escaped = String::with_capacity(shown.len() + 16);
        for c in shown.chars() {
            match c {
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '&' => escaped.push_str("&amp;"),
                '"' => escaped.push_str("&quot;"),
                '\'' => escaped.push_str("&#39;"),
                other => escaped.push(other),
            }
        }
        Escaped(escaped)
    }
}

/// Attributes of an element: names of the program, values of anyone.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// A part of a document.
#[derive(Debug)]
pub(super) enum Node {
    /// An element with what is in it.
    Element(Element),
    /// Text of anyone.
    Text(String),
    /// A constant of the program, in a language that is not escaped: a style sheet or a script.
    Raw(&'static str),
}

/// An element: its name and attributes, and what is in it; `None` where nothing can be (`img`).
#[derive(Debug)]
pub(super) struct Element {
    pub name: &'static str,
    pub attributes: Vec<(&'static str, String)>,
    pub inside: Option<Vec<Node>>,
}

impl Element {
    /// The value of an attribute; empty where it has none.
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.iter().find(|(name, _)| *name == attribute).map_or("", |(_, value)| value)
    }

    /// What is in it.
    pub fn nodes(&self) -> &[Node] {
        self.inside.as_deref().unwrap_or_default()
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(self.name);
        for (key, value) in &self.attributes {
            out.push(' ');
            out.push_str(key);
            out.push_str("=\"");
            out.push_str(&Escaped::new(value).0);
            out.push('"');
        }
        out.push('>');
        let Some(inside) = &self.inside else {
            out.push('\n');
            return;
        };
        write(inside, out);
        out.push_str("</");
        out.push_str(self.name);
        out.push('>');
        if BLOCKS.contains(&self.name) {
            out.push('\n');
        }
    }
}

fn write(nodes: &[Node], out: &mut String) {
    for node in nodes {
        match node {
            Node::Element(element) => element.write(out),
            Node::Text(text) => out.push_str(&Escaped::new(text).0),
            Node::Raw(text) => out.push_str(text),
        }
    }
}

/// A piece of a page under construction.
///
/// Names of elements and attributes are the program's own (`&'static str`); all else is escaped when it is written, for
/// HTML here and for Markdown in [`super::markdown`]. There is no way to put a string in as markup, so none can be put in
/// by mistake.
#[derive(Debug, Default)]
pub(super) struct Html(Vec<Node>);

impl Html {
    /// An element with attributes around what `inside` writes.
    pub fn element(&mut self, name: &'static str, attributes: Attributes<'_>, inside: impl FnOnce(&mut Html)) {
        let mut within = Html::default();
        inside(&mut within);
        self.push(name, attributes, Some(within.0));
    }

    /// An element with text in it.
    pub fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: impl AsRef<str>) {
        self.element(name, attributes, |h| h.text(text));
    }

    /// An element that has no content and no end tag, as `img`.
    pub fn void(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.push(name, attributes, None);
    }

    /// Text.
    pub fn text(&mut self, text: impl AsRef<str>) {
        self.0.push(Node::Text(text.as_ref().to_owned()));
    }

    /// A style sheet or a script: a constant of the program, because neither is escaped.
    pub fn raw(&mut self, name: &'static str, text: &'static str) {
        let inside = vec![Node::Raw(text)];
        self.0.push(Node::Element(Element { name, attributes: Vec::new(), inside: Some(inside) }));
        self.0.push(Node::Raw("\n"));
    }

    /// What there is so far.
    pub fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// The text of a piece.
    pub fn finish(self) -> String {
        let mut out = String::new();
        write(&self.0, &mut out);
        out
    }

    fn push(&mut self, name: &'static str, attributes: Attributes<'_>, inside: Option<Vec<Node>>) {
        let attributes = attributes.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        self.0.push(Node::Element(Element { name, attributes, inside }));
    }
}

/// What a document starts with.
pub(super) const DOCTYPE: &str = "<!DOCTYPE html>";

/// Elements after which a line ends, so that the file can be read and compared.
const BLOCKS: [&str; 22] = [
    "html", "head", "title", "body", "main", "header", "footer", "section", "h1", "h2", "h3", "p", "ul", "li", "dl",
    "dd", "table", "caption", "thead", "tbody", "tr", "figure",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        let mut html = Html::default();
        html.leaf("p", &[("title", "\"><script>")], "<img src=x onerror=alert(1)> & \u{202e}'\u{1b}");
        assert_eq!(
            html.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;img src=x onerror=alert(1)&gt; &amp; \\u{202e}&#39;\\u{1b}</p>\n"
        );
    }
}
