use crate::encoding::Score;
use crate::report::markup::Html;
use crate::report::number;
use crate::stats::bootstrap::Interval;

/// A table that scrolls by itself on narrow screens.
pub(super) fn table(h: &mut Html, caption: &str, heads: &[&str], rows: impl FnOnce(&mut Html)) {
    h.element("div", &[("class", "scroll"), ("role", "region"), ("tabindex", "0"), ("aria-label", caption)], |h| {
        h.element("table", &[], |h| {
            h.leaf("caption", &[], caption);
            h.element("thead", &[], |h| {
                h.element("tr", &[], |h| {
                    for head in heads {
                        h.leaf("th", &[("scope", "col")], head);
                    }
                });
            });
            rows(h);
        });
    });
}

/// A row: what it is about, then its cells.
pub(super) fn row(h: &mut Html, head: &str, cells: impl FnOnce(&mut Html)) {
    h.element("tr", &[], |h| {
        h.leaf("th", &[("scope", "row")], head);
        cells(h);
    });
}

/// A row that names the rows under it.
pub(super) fn group(h: &mut Html, name: &str, columns: usize) {
    h.element("tr", &[("class", "group")], |h| {
        h.leaf("th", &[("scope", "rowgroup"), ("colspan", &columns.to_string())], name);
    });
}

/// A cell of text.
pub(super) fn words(h: &mut Html, text: impl AsRef<str>) {
    h.leaf("td", &[], text);
}

/// A cell of a number.
pub(super) fn figure(h: &mut Html, text: impl AsRef<str>) {
    h.leaf("td", &[("class", "number")], text);
}

/// A cell of a score with its interval, or of why there is none.
pub(super) fn score(h: &mut Html, score: Score, interval: Option<Interval>, write: fn(f64) -> String) {
    score_of(h, score, interval, write, "");
}

/// The same, and of which kind it is.
pub(super) fn score_of(h: &mut Html, score: Score, interval: Option<Interval>, write: fn(f64) -> String, kind: &str) {
    h.element("td", &[("class", "number")], |h| match score {
        Score::Value(value) => {
            h.text(write(value));
            if interval.is_some() {
                h.text(" ");
                h.leaf("span", &[("class", "interval")], number::interval(interval));
            }
            if !kind.is_empty() {
                h.text(" ");
                h.leaf("span", &[("class", "interval")], kind);
            }
        }
        Score::Undefined { undefined } => {
            h.leaf("span", &[("class", "undefined")], format!("undefined: {undefined}"));
        }
    });
}
