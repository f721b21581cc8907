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

/// A piece of HTML under construction.
///
/// Names of elements and attributes are the program's own (`&'static str`); all else goes through [`Escaped`]. There is
/// no way to put a string in as markup, so none can be put in by mistake.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Starts a document.
    pub fn document() -> Html {
        Html("<!DOCTYPE html>".to_owned())
    }

    /// An element with attributes around what `inside` writes.
    pub fn element(&mut self, name: &'static str, attributes: Attributes<'_>, inside: impl FnOnce(&mut Html)) {
        self.start(name, attributes);
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        if BLOCKS.contains(&name) {
            self.0.push('\n');
        }
    }

    /// An element with text in it.
    pub fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: impl AsRef<str>) {
        self.element(name, attributes, |h| h.text(text));
    }

    /// An element that has no content and no end tag, as `img`.
    pub fn void(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.start(name, attributes);
        self.0.push('\n');
    }

    /// Text.
    pub fn text(&mut self, text: impl AsRef<str>) {
        self.0.push_str(&Escaped::new(text.as_ref()).0);
    }

    /// The page's style sheet: a constant of the program, because CSS is not escaped.
    pub fn style(&mut self, css: &'static str) {
        self.0.push_str("<style>\n");
        self.0.push_str(css);
        self.0.push_str("</style>\n");
    }

    /// The finished text.
    pub fn finish(self) -> String {
        self.0
    }

    fn start(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            self.0.push(' ');
            self.0.push_str(key);
            self.0.push_str("=\"");
            self.0.push_str(&Escaped::new(value).0);
            self.0.push('"');
        }
        self.0.push('>');
    }
}

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
