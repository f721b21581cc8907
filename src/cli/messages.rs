//! Text for people, on a terminal that must not be controlled by what files contain.

use std::io::{ErrorKind, Write as _};
use std::sync::OnceLock;

use crate::error::{Code, Error, Problems, Status, is_contained};
use crate::visible::visible;

/// Lines without control characters: an escape sequence in a file name or a label is shown, not obeyed.
pub(super) fn printable(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Why standard output could not be written, once that was so.
static UNSAID: OnceLock<String> = OnceLock::new();

/// Prints a line to standard output. A closed pipe ends the output, not the program; a full disk shows in [`unsaid`].
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = writeln!(out, "{}", printable(text)).and_then(|()| out.flush())
        && e.kind() != ErrorKind::BrokenPipe
    {
        // The first reason is the one that counts.
        UNSAID.set(e.to_string()).ok();
    }
}

/// What was to be said on standard output and could not be written.
fn unsaid() -> Option<Error> {
    let cause = UNSAID.get()?;
    let error = Error::new(Code::Io01, "standard output", format!("writing it failed: {cause}"));
    Some(error.hint("The files at --out, if any, are whole"))
}

/// Prints a line to standard error.
pub(super) fn note(text: &str) {
    writeln!(std::io::stderr().lock(), "{}", printable(text)).ok();
    super::log::note(text);
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

/// Says what could not be said on standard output; its status then.
pub(super) fn report_unsaid() -> Option<Status> {
    let error = unsaid()?;
    note(&format!("error: {error}"));
    Some(error.status())
}

/// Makes a defect say what the user can do with it.
pub(super) fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        if is_contained() {
            return;
        }
        let place = info.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        let text = info.payload();
        let text = text.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
        note(&format!(
            "error: brainscore {} stopped on a defect of its own at {place}: {text}. Please report this line. Unfinished results are gone; finished \
             units of a comparison, if any, stay for --resume.",
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
