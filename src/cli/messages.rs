//! Text for people, on a terminal that must not be controlled by what files contain.

use std::io::Write as _;

use crate::error::Problems;
use crate::visible::visible;

/// Lines without control characters: an escape sequence in a file name or a label is shown, not obeyed.
pub(super) fn printable(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Prints a line to standard output. A closed pipe ends the output, not the program.
pub(super) fn say(text: &str) {
    writeln!(std::io::stdout().lock(), "{}", printable(text)).ok();
}

/// Prints a line to standard error.
pub(super) fn note(text: &str) {
    writeln!(std::io::stderr().lock(), "{}", printable(text)).ok();
}

/// Prints every problem, one line each.
pub(super) fn problems(problems: &Problems) {
    let count = problems.iter().count();
    for problem in problems.iter() {
        note(&format!("error: {problem}"));
    }
    if count > 1 {
        note(&format!("{count} problems; nothing was written"));
    }
}

/// Makes a defect say what the user can do with it.
pub(super) fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        let text = info.payload();
        let text = text.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
        note(&format!(
            "error: brainscore {} stopped on a defect of its own at {place}: {text}. Please report this line; nothing was written.",
            env!("CARGO_PKG_VERSION")
        ));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}\nc\t"), "a\\u{1b}[31mb\\u{202e}\nc\\u{9}");
    }
}
