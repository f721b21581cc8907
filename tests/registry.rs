//! The registry of bad inputs: what must be survived, and where it is shown that it is.
//!
//! A file of the corpus that no case makes fails, a case without its expectation fails, and so does an entry of the list
//! that nothing shows. `BRAINSCORE_BLESS=1` writes what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::corpus;
use crate::{bad, bad_bold, odd, rois, windows};

/// Where an input of the list is shown to be dealt with, beside the fixtures whose names begin with its code.
enum Shown {
    /// By those fixtures alone.
    Fixtures,
    /// By tests, because it takes more than a file.
    By(&'static [&'static str]),
}

use Shown::{By, Fixtures};

/// All bad inputs: weights, configuration, tokenizer, images, events, stimuli, responses, regions, studies, places, flags.
const LIST: &[(&str, Shown)] = &[
    ("ST-01", Fixtures),
    ("ST-02", Fixtures),
    ("ST-03", Fixtures),
    ("ST-04", Fixtures),
    ("ST-05", Fixtures),
    ("ST-06", Fixtures),
    ("ST-07", Fixtures),
    ("ST-08", Fixtures),
    ("ST-09", Fixtures),
    ("ST-10", Fixtures),
    ("ST-11", By(&["shards_must_agree"])),
    ("ST-12", By(&["weights_that_change_after_the_check_are_noticed"])),
    ("ST-13", By(&["every_form_gives_the_same_bits", "pickles_that_ask_for_more_are_refused_by_name"])),
    ("CF-01", Fixtures),
    ("CF-02", Fixtures),
    ("CF-03", Fixtures),
    ("CF-04", Fixtures),
    ("CF-05", Fixtures),
    ("CF-06", Fixtures),
    ("TK-01", Fixtures),
    ("TK-02", Fixtures),
    ("TK-03", Fixtures),
    ("TK-04", Fixtures),
    ("TK-05", Fixtures),
    ("TK-06", Fixtures),
    ("NI-01", Fixtures),
    ("NI-02", Fixtures),
    ("NI-03", Fixtures),
    ("NI-04", Fixtures),
    ("NI-05", Fixtures),
    ("NI-06", Fixtures),
    ("NI-07", Fixtures),
    ("NI-08", Fixtures),
    ("NI-09", Fixtures),
    ("NI-10", Fixtures),
    ("NI-11", Fixtures),
    ("NI-12", Fixtures),
    ("NI-13", Fixtures),
    ("NI-14", Fixtures),
    ("NI-15", Fixtures),
    ("NI-16", Fixtures),
    ("NI-17", Fixtures),
    ("NI-18", Fixtures),
    ("NI-19", Fixtures),
    ("NI-20", Fixtures),
    ("NI-21", Fixtures),
    ("EV-01", Fixtures),
    ("EV-02", Fixtures),
    ("EV-03", Fixtures),
    ("EV-04", Fixtures),
    ("EV-05", Fixtures),
    ("EV-06", Fixtures),
    ("EV-07", Fixtures),
    ("EV-08", By(&["trials_without_a_text_are_refused_by_name"])),
    ("EV-09", Fixtures),
    ("SC-01", Fixtures),
    ("SC-02", Fixtures),
    ("SC-03", Fixtures),
    ("SC-04", Fixtures),
    ("SC-05", Fixtures),
    ("SC-06", Fixtures),
    ("SC-07", Fixtures),
    ("SC-08", Fixtures),
    ("RS-01", Fixtures),
    ("RS-02", Fixtures),
    ("RS-03", Fixtures),
    ("RS-04", Fixtures),
    ("RS-05", Fixtures),
    ("RS-06", Fixtures),
    ("RS-07", Fixtures),
    ("RS-08", Fixtures),
    ("RS-09", Fixtures),
    ("RS-10", Fixtures),
    ("RS-11", Fixtures),
    ("RS-12", Fixtures),
    ("RO-01", Fixtures),
    ("RO-02", Fixtures),
    ("RO-03", Fixtures),
    ("RO-04", Fixtures),
    ("RO-05", Fixtures),
    ("RO-06", By(&["the_report_says_what_was_done_with_odd_regions"])),
    ("RO-07", Fixtures),
    ("RO-08", By(&["the_report_says_what_was_done_with_odd_regions"])),
    ("RC-01", Fixtures),
    ("RC-02", Fixtures),
    ("RC-03", Fixtures),
    ("RC-04", Fixtures),
    ("RC-05", Fixtures),
    ("RC-06", By(&["a_finished_run_is_replaced_only_on_demand"])),
    ("OD-01", Fixtures),
    ("OD-02", Fixtures),
    ("OD-03", By(&["an_output_inside_an_input_is_refused"])),
    ("OD-04", By(&["places_may_have_any_name"])),
    ("OD-05", Fixtures),
    ("FL-01", By(&["no_card_is_no_fault_unless_one_was_named", "auto_falls_back_with_a_warning"])),
    ("FL-02", Fixtures),
    ("FL-03", By(&["help_and_usage"])),
    ("FL-04", By(&["a_reader_that_leaves_early_is_no_error"])),
];

/// How many inputs the list has.
const COUNT: usize = 98;

/// All fixtures that cases make.
fn made() -> BTreeSet<String> {
    [bad::names(), bad_bold::names(), odd::names(), rois::names(), windows::names()].concat().into_iter().collect()
}

/// Whether the tests, or the tests within the source, have a function of this name.
pub fn is_a_test(name: &str) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wanted = format!("fn {name}(");
    ["tests", "src"].iter().flat_map(|folder| sources(&here.join(folder))).any(|text| {
        text.match_indices(&wanted).any(|(at, _)| {
            let above = text[..at].trim_end().lines().rev().map(str::trim);
            above.take_while(|line| line.starts_with("#[")).any(|line| line == "#[test]")
        })
    })
}

fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests/bad") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
    found
}

#[test]
fn every_fixture_has_its_case_and_every_case_its_expectation() {
    if std::env::var_os("BRAINSCORE_BLESS").is_some() {
        return;
    }
    let (made, kept): (_, BTreeSet<String>) = (made(), corpus::names().into_iter().collect());
    let stray: Vec<_> = kept.difference(&made).collect();
    let missing: Vec<_> = made.difference(&kept).collect();
    assert!(stray.is_empty(), "no case makes {stray:?}, and nothing says what to expect of them");
    assert!(missing.is_empty(), "not in tests/bad: {missing:?} (BRAINSCORE_BLESS=1 writes them)");
    for name in kept {
        let files = corpus::files(&corpus::root().join(&name));
        assert!(files.get("expected.txt").is_some_and(|text| text.starts_with(b"exit ")), "{name} has no expectation");
    }
}

#[test]
fn every_bad_input_of_the_list_is_shown() {
    let codes: BTreeSet<&str> = LIST.iter().map(|(code, _)| *code).collect();
    assert_eq!((codes.len(), LIST.len()), (COUNT, COUNT));
    let made = made();
    let mut counts = BTreeMap::<&str, [usize; 3]>::new();
    for (code, shown) in LIST {
        let own = made.iter().filter(|name| name.split('/').nth(1).is_some_and(|slug| slug.starts_with(code))).count();
        let count = counts.entry(&code[..2]).or_default();
        count[0] += 1;
        count[1] += own;
        match shown {
            Fixtures => assert!(own > 0, "no fixture for {code}"),
            By(tests) => {
                tests.iter().for_each(|test| assert!(is_a_test(test), "{code}: no test {test}"));
                count[2] += tests.len();
            }
        }
    }
    let mut sum = [0; 3];
    for (kind, count) in &counts {
        println!("{kind}: {} inputs, {} fixtures, {} further tests", count[0], count[1], count[2]);
        sum.iter_mut().zip(count).for_each(|(s, c)| *s += c);
    }
    println!("all: {} inputs, {} fixtures, {} further tests", sum[0], sum[1], sum[2]);
    println!("fixtures in the corpus: {}", made.len());
}

/// A function below another attribute is none.
#[test]
fn only_tests_are_tests() {
    assert!(is_a_test("only_tests_are_tests") && is_a_test("a_killed_run_leaves_no_half_output"));
    assert!(!is_a_test("no_link") && !is_a_test("sources") && !is_a_test("no_such_function"));
}

/// What stands in `Code`'s list of reasons must exist, too.
#[test]
fn tests_that_are_named_exist() {
    for name in bad::elsewhere() {
        assert!(is_a_test(name), "no test {name}");
    }
}
