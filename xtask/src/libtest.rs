//! The output of Rust's test programs in its plain format: the list of tests, the
//! result of each, and the message of a failure.
//!
//! The plain format is for people, and the one for programs is unstable, so each line
//! is only a hint. The list of failures, the closing line and the exit status decide
//! together, and a test without a result counts as failed.
//!
//! Not here: starting the programs (`test::program`, and the guest's script).

use std::collections::{BTreeMap, BTreeSet};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// The test has `#[ignore]`, and was not requested.
    Ignored,
    /// The program ended before the test did.
    Unfinished,
}

impl Verdict {
    /// Whether the run fails because of it.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Unfinished)
    }
}

/// Beginning of the closing line of a program that ran to its end.
const RESULT: &str = "test result: ";
/// Heading of the list of failed tests, and of their output.
const FAILURES: &str = "failures:";
/// Beginnings of lines that are not a failure's message: they follow every failure,
/// or head a list.
const EMPTY_WORDS: [&str; 3] = ["note: ", "missing:", "spurious:"];
/// Beginnings of backtraces, of an error and of a panic.
const BACKTRACES: [&str; 2] = ["\nStack backtrace:", "\nstack backtrace:"];

/// The tests of a program, from what it prints with `--list --format terse`.
pub(crate) fn listed(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| line.trim_end().strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// The result of each requested test, by the program's output and by whether its exit
/// status was 0.
pub(crate) fn verdicts(
    asked: &[String],
    output: &str,
    ended_well: bool,
) -> BTreeMap<String, Verdict> {
    let failed = failed(output);
    let lines = lines(output);
    let is_whole = closed(output);
    // The program decides both the status and the list. If they contradict each
    // other, something else ended it.
    let is_credible = is_whole && ended_well == failed.is_empty();
    let of = |name: &String| {
        if failed.contains(name.as_str()) {
            return Verdict::Failed;
        }
        match lines.get(name.as_str()) {
            Some(verdict) => *verdict,
            // The output of a child can be between a test's name and its result.
            None if is_credible => Verdict::Passed,
            None => Verdict::Unfinished,
        }
    };
    let mut verdicts: BTreeMap<_, _> = asked.iter().map(|name| (name.clone(), of(name))).collect();
    if !ended_well && !verdicts.values().any(|verdict| verdict.is_failure()) {
        // The program failed without a failed test: none of its results can be
        // trusted.
        for verdict in verdicts.values_mut() {
            *verdict = Verdict::Unfinished;
        }
    }
    verdicts
}

/// The numbers of passed, failed and ignored tests, by the lines alone.
pub(crate) fn counts(output: &str) -> (usize, usize, usize) {
    let number = |line: &str, what: &str| {
        let (before, _) = line.split_once(what)?;
        before
            .rsplit([' ', '.'])
            .find(|word| !word.is_empty())?
            .parse()
            .ok()
    };
    let closing = output.lines().filter(|line| line.starts_with(RESULT));
    closing.fold((0, 0, 0), |(passed, failed, ignored), line| {
        let of = |what| number(line, what).unwrap_or(0);
        (
            passed + of(" passed"),
            failed + of(" failed"),
            ignored + of(" ignored"),
        )
    })
}

/// The last line of a failed test's output that is no note.
pub(crate) fn last_words<'a>(output: &'a str, name: &str) -> Option<&'a str> {
    let (_, said) = output.split_once(&format!("---- {name} stdout ----\n"))?;
    let said = said.split("\n---- ").next().unwrap_or(said);
    let said = said.split("\nfailures:\n").next().unwrap_or(said);
    let before = |said: &'a str, what: &str| said.split(what).next().unwrap_or(said);
    let said = BACKTRACES
        .iter()
        .fold(said, |said, what| before(said, what));
    said.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !EMPTY_WORDS.iter().any(|empty| line.starts_with(empty)))
}

/// Whether the program reached its closing line.
fn closed(output: &str) -> bool {
    output.lines().any(|line| line.starts_with(RESULT))
}

/// The results on one line with their tests' names.
fn lines(output: &str) -> BTreeMap<&str, Verdict> {
    output
        .lines()
        .filter_map(|line| {
            let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
            let name = name.strip_suffix(" - should panic").unwrap_or(name);
            let verdict = match result.trim_end() {
                "ok" => Verdict::Passed,
                "FAILED" => Verdict::Failed,
                result if result == "ignored" || result.starts_with("ignored, ") => {
                    Verdict::Ignored
                }
                _ => return None,
            };
            Some((name, verdict))
        })
        .collect()
}

/// The names in the list before the closing line of a failure.
fn failed(output: &str) -> BTreeSet<&str> {
    let mut failed = BTreeSet::new();
    let mut list: Option<Vec<&str>> = None;
    for line in output.lines() {
        if line == FAILURES {
            list = Some(Vec::new());
        } else if line.starts_with(RESULT) {
            failed.extend(list.take().unwrap_or_default());
        } else if let (Some(list), Some(name)) = (&mut list, line.strip_prefix("    ")) {
            list.push(name.trim_end());
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of(asked: &[&str], output: &str, ended_well: bool) -> Vec<Verdict> {
        verdicts(&names(asked), output, ended_well)
            .into_values()
            .collect()
    }

    const FAILING: &str = "running 3 tests\ntest a ... ok\ntest b ... FAILED\n\
        test c ... ignored, guests run it\n\nfailures:\n\n\
        ---- b stdout ----\nError: of 3 done and 2 recorded\nmissing:\n1 × file op=1\nspurious:\n\n\n\
        failures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 5 filtered out; finished in 0.1s\n";

    #[test]
    fn every_test_has_the_result_of_its_line() {
        assert_eq!(
            of(&["a", "b", "c"], FAILING, false),
            [Verdict::Passed, Verdict::Failed, Verdict::Ignored]
        );
    }

    #[test]
    fn a_result_that_a_child_wrote_into_is_decided_by_the_list_and_the_status() {
        let torn = "running 2 tests\ntest a ... from a child\nok\ntest b ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert_eq!(of(&["a", "b"], torn, true), [Verdict::Passed; 2]);
        let failing = FAILING.replace("test b ... FAILED", "test b ... from a child\nFAILED");
        assert_eq!(of(&["b"], &failing, false), [Verdict::Failed]);
    }

    #[test]
    fn a_test_that_was_cut_off_is_unfinished_and_those_before_it_keep_their_results() {
        let cut = "running 3 tests\ntest a ... ok\ntest b ... ";
        assert_eq!(
            of(&["a", "b", "c"], cut, false),
            [Verdict::Passed, Verdict::Unfinished, Verdict::Unfinished]
        );
    }

    #[test]
    fn a_program_that_fails_without_a_failed_test_is_not_believed() {
        let whole = "test a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(of(&["a"], whole, false), [Verdict::Unfinished]);
        assert_eq!(of(&["a"], "", true), [Verdict::Unfinished]);
    }

    #[test]
    fn a_test_that_is_to_panic_is_known_by_its_name() {
        let said = "test a::b - should panic ... ok\n\ntest result: ok. 1 passed; 0 failed\n";
        assert_eq!(of(&["a::b"], said, true), [Verdict::Passed]);
    }

    #[test]
    fn a_test_that_speaks_of_failures_is_not_a_list_of_them() {
        let said = "---- x stdout ----\nfailures:\n    y\n\nfailures:\n    x\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored\n";
        assert_eq!(of(&["x", "y"], said, false)[0], Verdict::Failed);
        assert_eq!(failed(said), BTreeSet::from(["x"]));
    }

    #[test]
    fn a_list_names_tests_and_nothing_else() {
        assert_eq!(
            listed("a::b: test\nc: benchmark\nd: test\n\n2 tests, 1 benchmark\n"),
            ["a::b", "d"]
        );
    }

    #[test]
    fn counts_of_several_programs_add_up() {
        let said = format!("{FAILING}\ntest result: ok. 12 passed; 0 failed; 3 ignored\n");
        assert_eq!(counts(&said), (13, 1, 4));
        assert_eq!(counts("nothing"), (0, 0, 0));
    }

    #[test]
    fn the_last_words_are_the_last_that_say_something() {
        assert_eq!(last_words(FAILING, "b"), Some("1 × file op=1"));
        let panicked = "\n---- b stdout ----\n\nthread 'b' panicked at x.rs:1:2:\nno\n\
            note: run with `RUST_BACKTRACE=1`\n\n\nfailures:\n    b\n";
        assert_eq!(last_words(panicked, "b"), Some("no"));
        assert_eq!(last_words(panicked, "a"), None);
        let traced =
            "---- b stdout ----\nError: no\n\nStack backtrace:\n   0: main\n\n\nfailures:\n    b\n";
        assert_eq!(last_words(traced, "b"), Some("Error: no"));
    }
}
