//! The shape of the code: which module may use which, and what library code never does.
//!
//! A module uses modules of lower rungs, or ones to its left on its own rung. CONTRIBUTING.md shows the same ladder.

mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::{Source, Token, reads};

const RUNGS: &[&[&str]] = &[
    &["error", "ids", "visible", "watch"],
    &["stats", "missing"],
    &["io"],
    &["store", "compute"],
    &["stimuli", "subjects", "encoder", "bold", "atlas"],
    &["features", "responses"],
    &["encoding"],
    &["roi"],
    &["compare"],
    &["record", "plot"],
    &["report"],
    &["study"],
    &["pipeline"],
    &["cli"],
];

const MAIN_LINES: usize = 40;
const FILE_LINES: usize = 500;
/// The only file that writes to the disk.
const DISK: &str = "src/io/disk.rs";

/// Rung of a module and its place there, counted from the left.
fn place(module: &str) -> Option<(usize, usize)> {
    RUNGS
        .iter()
        .enumerate()
        .find_map(|(rung, modules)| modules.iter().position(|name| *name == module).map(|place| (rung, place)))
}

/// Every use of a module that the ladder forbids, one line each.
fn ladder(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|s| !["src/lib.rs", "src/main.rs"].contains(&s.path.as_str())) {
        let module = source.module();
        let user = &module[0];
        let Some(own) = place(user) else {
            wrong.push(format!("{}: module `{user}` is on no rung; add it to tests/architecture.rs", source.path));
            continue;
        };
        for reference in source::references(&module, &source.tokens()) {
            let at = format!("{}:{}", source.path, reference.line);
            match reference.path.first() {
                Some(used) if used == user => {}
                Some(used) => match place(used) {
                    Some(other) if other < own => {}
                    Some(other) => {
                        let side = if other.0 == own.0 { ", to the right of it" } else { "" };
                        wrong.push(format!("{at}: {user} (rung {}) uses {used} (rung {}{side})", own.0, other.0));
                    }
                    None => wrong.push(format!(
                        "{at}: {user} (rung {}) uses crate::{used}, which is no module; name the module that holds it",
                        own.0
                    )),
                },
                None => wrong.push(format!("{at}: {user} (rung {}) renames the crate's root", own.0)),
            }
        }
    }
    wrong
}

/// What library code never does, one line for each time that it does.
fn manners(sources: &[Source]) -> Vec<String> {
    let mut test_modules = BTreeSet::new();
    for source in sources {
        let (_, files) = source::test_code(&source.tokens());
        test_modules.extend(files.into_iter().map(|file| match source.path.as_str() {
            "src/lib.rs" | "src/main.rs" => vec![file],
            _ => [source.module(), vec![file]].concat(),
        }));
    }

    let mut wrong = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        let most = if source.path == "src/main.rs" { MAIN_LINES } else { FILE_LINES };
        if lines.len() > most {
            wrong.push(format!("{}: {} lines, more than {most}", source.path, lines.len()));
        }
        let module = source.module();
        let tokens = source.tokens();
        let (in_test, _) = source::test_code(&tokens);
        let test_file = (1..=module.len()).any(|n| test_modules.contains(&module[..n]));
        for (i, token) in tokens.iter().enumerate() {
            let may_write = test_file || in_test[i] || source.path == DISK;
            if let Some(what) = offence(&tokens, i, &module[0], test_file || in_test[i], &lines)
                .or_else(|| (!may_write).then(|| past_the_door(&tokens, i)).flatten())
            {
                wrong.push(format!("{}:{}: {what}", source.path, token.line));
            }
        }
    }
    wrong
}

/// What is wrong with token `i`, if anything.
fn offence(tokens: &[Token], i: usize, module: &str, in_test: bool, lines: &[&str]) -> Option<String> {
    let word = tokens[i].text.as_str();
    let before = if i > 0 { tokens[i - 1].text.as_str() } else { "" };
    let is_macro = reads(tokens, i + 1, &["!"]) && !reads(tokens, i + 1, &["!", "="]);
    let is_call = reads(tokens, i + 1, &["("]) && before != "fn";
    let may_talk = in_test || ["cli", "main"].contains(&module);
    match word {
        "todo" | "unimplemented" | "dbg" if is_macro => Some(format!("{word}! is for work in progress only")),
        "unsafe" if module != "compute" => Some("unsafe code belongs under src/compute".into()),
        "print" | "println" | "eprint" | "eprintln" if is_macro && !may_talk => {
            Some(format!("{word}! outside src/cli: errors and warnings are values"))
        }
        "stdout" | "stderr" if is_call && before == "::" && !may_talk => {
            Some(format!("{word} outside src/cli: errors and warnings are values"))
        }
        "exit" | "abort" if is_call && !may_talk => Some(format!("{word}() outside src/cli: return an error")),
        "unwrap" | "unwrap_err" if [".", "::"].contains(&before) && !in_test => {
            Some(format!("{word} outside tests: return an error, or say in expect() why this cannot happen"))
        }
        "expect" | "expect_err" if [".", "::"].contains(&before) && is_call && !in_test => {
            invariant_missing(tokens, i, lines).then(|| format!("{word}() without `// INVARIANT:` on the line above"))
        }
        "panic" | "unreachable" if is_macro && !in_test => {
            invariant_missing(tokens, i, lines).then(|| format!("{word}! without `// INVARIANT:` on the line above"))
        }
        _ => None,
    }
}

/// What token `i` writes to the disk by another way than `crate::io::disk`, if anything.
fn past_the_door(tokens: &[Token], i: usize) -> Option<String> {
    let word = tokens[i].text.as_str();
    let text = |back: usize| i.checked_sub(back).map_or("", |k| tokens[k].text.as_str());
    let owner = if text(1) == "::" { text(2) } else { "" };
    let writes = match owner {
        "fs" => {
            ["write", "rename", "copy", "hard_link", "create_dir", "create_dir_all", "set_permissions", "DirBuilder"]
                .contains(&word)
        }
        "File" => ["create", "create_new", "options"].contains(&word),
        "OpenOptions" => word == "new",
        "tempfile" => !["NamedTempFile", "TempDir"].contains(&word),
        _ => word == "persist" && text(1) == ".",
    };
    writes.then(|| format!("{word} writes past crate::io::disk, where tests make every operation fail in turn"))
}

/// Whether neither the line of token `i` nor the one where its statement begins has a comment with `INVARIANT:` above.
fn invariant_missing(tokens: &[Token], i: usize, lines: &[&str]) -> bool {
    let statement = (0..i).rev().find(|k| ["{", "}", ";"].contains(&tokens[*k].text.as_str())).map_or(0, |k| k + 1);
    let above = |line: usize| {
        let comments = lines[..line - 1].iter().rev().take_while(|l| l.trim_start().starts_with("//"));
        comments.into_iter().any(|l| l.trim_start().starts_with("// INVARIANT:"))
    };
    !above(tokens[i].line) && !above(tokens[statement].line)
}

/// All of `src`, in the order of the paths.
fn sources() -> Vec<Source> {
    fn collect(folder: &Path, path: &str, found: &mut Vec<Source>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{path}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                collect(&entry.path(), &path, found);
            } else if path.ends_with(".rs") {
                found.push(Source { path, text: std::fs::read_to_string(entry.path()).unwrap() });
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "src", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[test]
fn modules_use_only_lower_rungs() {
    let wrong = ladder(&sources());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn library_code_minds_its_manners() {
    let wrong = manners(&sources());
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// No `allow` within a module overrides a `forbid`. `s!` of ndarray expands to one, hence the exceptions.
#[test]
fn whatever_reads_strangers_bytes_forbids_unsafe_code() {
    let lib = include_str!("../src/lib.rs");
    let open: Vec<&str> = lib
        .lines()
        .zip(lib.lines().skip(1))
        .filter(|(before, _)| *before != "#[forbid(unsafe_code)]")
        .filter_map(|(_, line)| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(open, ["compute", "encoding", "pipeline"]);
}

#[test]
fn the_ladder_in_contributing_is_this_one() {
    let guide = include_str!("../CONTRIBUTING.md");
    for (rung, modules) in RUNGS.iter().enumerate() {
        let line = format!("{rung:>2}  {}", modules.join(" "));
        assert!(guide.lines().any(|l| l.trim_end() == line), "CONTRIBUTING.md lacks the line `{line}`");
    }
}

/// The checkers themselves, on sources of a few lines.
mod checker {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn climbs(path: &str, text: &str) -> Vec<String> {
        ladder(&[file(path, text)])
    }

    fn rude(path: &str, text: &str) -> Vec<String> {
        manners(&[file(path, text)])
    }

    #[test]
    fn finds_uses_in_the_real_code() {
        let sources = sources();
        let record = sources.iter().find(|s| s.path == "src/record.rs").unwrap();
        let used = source::references(&record.module(), &record.tokens());
        assert!(used.iter().any(|r| r.path[0] == "compare"), "{used:?}");
    }

    #[test]
    fn finds_a_wrong_use() {
        assert_eq!(
            climbs("src/stats/moments.rs", "//! Means.\n\nuse crate::io::npy::read;\n"),
            ["src/stats/moments.rs:3: stats (rung 1) uses io (rung 2)"]
        );
        assert!(climbs("src/io/npy.rs", "use crate::stats::mean;\nuse crate::{error::Result, ids};\n").is_empty());
    }

    #[test]
    fn looks_into_nested_braces() {
        let text = "use crate::{\n    error::{Code, Error},\n    encoding::{\n        folds::Folds,\n    },\n    ids as names,\n};\n";
        assert_eq!(climbs("src/io/table.rs", text), ["src/io/table.rs:3: io (rung 2) uses encoding (rung 6)"]);
        assert_eq!(climbs("src/io/table.rs", "use {std::fmt, crate::{ids::Digest, cli}};").len(), 1);
    }

    #[test]
    fn sees_paths_within_code_and_macros() {
        assert_eq!(climbs("src/ids.rs", "fn f() -> crate::io::Table { crate::stats::mean::<f32>(&[]) }").len(), 2);
        assert_eq!(climbs("src/error.rs", "macro_rules! m { () => { $crate::cli::run() } }").len(), 1);
        assert_eq!(climbs("src/ids.rs", "pub(in crate::roi) struct A;\npub(crate) struct B;").len(), 1);
    }

    #[test]
    fn follows_super_out_of_a_module() {
        let up = "use super::super::compare::Comparison;\nuse super::bounded;\nuse super::super::error::Result;\n";
        assert_eq!(climbs("src/io/npy.rs", up), ["src/io/npy.rs:1: io (rung 2) uses compare (rung 8)"]);
        assert_eq!(climbs("src/io/mod.rs", "use super::roi;\nuse self::super::cli as c;").len(), 2);
        assert!(
            climbs("src/roi.rs", "mod tests {\n    use super::*;\n    use super::{a, b::{self, C}};\n}\n").is_empty()
        );
        assert_eq!(
            climbs("src/roi.rs", "mod tests { use super::super::io; }\nfn f() { super::report::html() }"),
            ["src/roi.rs:2: roi (rung 7) uses report (rung 10)"]
        );
    }

    #[test]
    fn order_within_a_rung_is_left_to_right() {
        assert!(climbs("src/plot/layerwise.rs", "use crate::record::RunRecord;").is_empty());
        assert_eq!(
            climbs("src/record.rs", "use crate::plot::Figure;"),
            ["src/record.rs:1: record (rung 9) uses plot (rung 9, to the right of it)"]
        );
    }

    #[test]
    fn the_crates_root_is_no_way_round() {
        assert_eq!(climbs("src/ids.rs", "use crate::Comparison;\nuse crate::*;\nuse crate as root;\n").len(), 3);
        assert_eq!(climbs("src/ids.rs", "use crate::{self as root};").len(), 1);
        assert!(climbs("src/lib.rs", "pub use crate::cli::run;").is_empty());
    }

    #[test]
    fn ignores_comments_and_strings() {
        let text = r####"
            //! See [`crate::cli`]. /* not opened
            /* crate::cli /* nested crate::cli */ crate::cli */
            const A: &str = "crate::cli \" crate::cli";
            const B: &str = r#"crate::cli " crate::cli"#;
            const C: (char, char, &[u8]) = ('"', '\'', b"crate::cli");
            fn f<'a>(x: &'a str) -> &'a str { x /* crate::cli */ }
            use crate::r#pipeline;
        "####;
        assert_eq!(climbs("src/ids.rs", text), ["src/ids.rs:8: ids (rung 0) uses pipeline (rung 12)"]);
        assert!(
            rude("src/ids.rs", "// todo!() unsafe .unwrap()\nconst A: &str = \"todo!() unsafe .unwrap()\";").is_empty()
        );
    }

    #[test]
    fn a_module_needs_a_rung() {
        assert!(climbs("src/helpers/mod.rs", "")[0].contains("`helpers` is on no rung"));
    }

    #[test]
    fn library_code_does_not_talk_or_stop() {
        for text in
            ["println!()", "eprint!(\"a\")", "std::process::exit(1)", "exit(1)", "todo!()", "dbg!(x)", "io::stdout()"]
        {
            let text = format!("fn f() {{ {text} }}");
            assert_eq!(rude("src/io/npy.rs", &text).len(), 1, "{text}");
        }
        assert!(rude("src/cli/messages.rs", "fn f() { eprintln!(); std::process::exit(1) }").is_empty());
        assert!(rude("src/main.rs", "fn main() { eprintln!(); }").is_empty());
        assert_eq!(rude("src/cli/messages.rs", "fn f() { todo!() }").len(), 1);
        assert!(rude("src/io/npy.rs", "fn exit(&self) {}\nfn f() { if todo != 1 { child.stdout.take() } }").is_empty());
    }

    #[test]
    fn unwrap_is_for_tests() {
        assert_eq!(rude("src/ids.rs", "fn f() { a.unwrap() }\nfn g() { b.map(Option::unwrap) }").len(), 2);
        assert!(rude("src/ids.rs", "fn f() { a.unwrap_or(1) }").is_empty());
        let text = "#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n    fn f() { a.unwrap(); println!(); }\n}\nfn g() { b.unwrap() }\n";
        assert_eq!(rude("src/ids.rs", text).len(), 1);
        let apart =
            [file("src/io/mod.rs", "#[cfg(test)]\nmod tests;"), file("src/io/tests.rs", "fn f() { a.unwrap() }")];
        assert!(manners(&apart).is_empty());
    }

    #[test]
    fn expect_names_its_invariant() {
        assert_eq!(rude("src/ids.rs", "fn f() {\n    a.expect(\"b\");\n}\n").len(), 1);
        assert!(rude("src/ids.rs", "fn f() {\n    // INVARIANT: never empty.\n    a.expect(\"b\");\n}\n").is_empty());
        let chain = "fn f() {\n    // INVARIANT: never empty,\n    // see above.\n    let x = a\n        .b()\n        .expect(\"b\");\n}\n";
        assert!(rude("src/ids.rs", chain).is_empty());
        assert_eq!(rude("src/ids.rs", "fn f() {\n    // INVARIANT: no.\n    g();\n    a.expect(\"b\");\n}\n").len(), 1);
        assert_eq!(rude("src/ids.rs", "fn f() { unreachable!() }").len(), 1);
        assert!(rude("src/ids.rs", "#[expect(dead_code)]\nfn f() {}").is_empty());
    }

    #[test]
    fn unsafe_stays_in_compute() {
        assert_eq!(rude("src/io/npy.rs", "fn f() { unsafe { g() } }").len(), 1);
        assert!(rude("src/compute/cpu/eigh.rs", "#![allow(unsafe_code)]\nfn f() { unsafe { g() } }").is_empty());
    }

    #[test]
    fn writing_goes_through_one_door() {
        for text in [
            "std::fs::write(a, b)",
            "fs::rename(a, b)",
            "std::fs::create_dir_all(a)",
            "File::create(a)",
            "std::fs::File::options()",
            "std::fs::OpenOptions::new()",
            "tempfile::tempdir()",
            "file.persist(a)",
        ] {
            let text = format!("fn f() {{ {text} }}");
            assert_eq!(rude("src/store/cache.rs", &text).len(), 1, "{text}");
            assert!(rude(DISK, &text).is_empty());
            assert!(rude("src/store/cache.rs", &format!("#[cfg(test)]\nmod tests {{ {text} }}")).is_empty());
        }
        let reading = "fn f() { fs::read(a); File::open(a); fs::remove_file(a); disk::rename(a, b); frame.rename(a) }";
        assert!(rude("src/store/cache.rs", reading).is_empty());
    }

    #[test]
    fn files_stay_short() {
        assert_eq!(rude("src/roi.rs", &"\n".repeat(501)), ["src/roi.rs: 501 lines, more than 500"]);
        assert!(rude("src/roi.rs", &"\n".repeat(500)).is_empty());
        assert_eq!(rude("src/main.rs", &"\n".repeat(41)).len(), 1);
    }
}
