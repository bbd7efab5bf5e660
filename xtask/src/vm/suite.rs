//! The integration tests as a guest runs them: which, which not and why, and
//! what their output says. The tests themselves know nothing of guests.

use std::fmt::Write as _;
use std::ops::AddAssign;

use serde::Deserialize;

use super::image::TESTS;
use super::kernels::Kernel;

/// The tests that compare with the truth, and those of the guard's limit.
pub(super) const TRUTH: &[&str] = &[
    "file_operations",
    "process_operations",
    "network_operations",
    "uring_operations",
    "long_paths",
    "file_systems",
    "path_truth",
    "prototypes",
    "same_records",
    "verifier_cost",
    "bulk_delete",
    "machine",
    "condemned",
    "guard_policy",
    "whole_destruction",
];

/// Those of a daemon's life. Most start one of their own, and loading its
/// programs is what takes long where a kernel is emulated.
pub(super) const DAEMON: &[&str] = &["gate", "handoff", "tamper", "watch", "restart"];

/// All that a guest can run.
pub(super) fn all() -> Vec<&'static str> {
    [TRUTH, DAEMON].concat()
}

/// Those that `cargo xtask test` has time for on every kernel.
pub(super) const QUICK: &[&str] = &[
    "file_operations",
    "process_operations",
    "network_operations",
    "uring_operations",
    "verifier_cost",
    "prototypes",
    "bulk_delete",
    "machine",
];

/// The one that prints what programs cost the verifier.
const COST: &str = "verifier_cost";

/// Processes of the storm in a guest: emulated, one takes tens of milliseconds.
const STORM: u32 = 300;

/// The one whose expected records have all of the storm.
const WHOLE_STORM: &str = "same_records";

/// Where tests keep the state of a daemon that they share: emulated, loading
/// its programs takes as long as a test.
pub(super) const SHARED: &str = "/scratch/shared";

/// What of them does not run, and why.
struct Omitted {
    test: &'static str,
    kernels: &'static [Kernel],
    why: &'static str,
}

const NO_REQUESTS: &str =
    "its tracepoints of io_uring do not show requests, which the recorder says when it starts";

const OMITTED: &[Omitted] = &[
    Omitted {
        test: "a_hook_that_a_session_writes",
        kernels: &Kernel::ALL,
        why: "no git in the image",
    },
    Omitted {
        test: "a_terminal_multiplexer_works",
        kernels: &Kernel::ALL,
        why: "no tmux in the image",
    },
    Omitted {
        test: "a_job_that_a_session_gives_to_at",
        kernels: &Kernel::ALL,
        why: "no at in the image",
    },
    Omitted {
        test: "a_crontab_that_a_session_leaves",
        kernels: &Kernel::ALL,
        why: "no cron in the image",
    },
    Omitted {
        test: "git_clean_ends_at_the_limit",
        kernels: &Kernel::ALL,
        why: "no git in the image",
    },
    Omitted {
        test: "find_delete_and_rmtree_end_at_the_limit",
        kernels: &Kernel::ALL,
        why: "no python3 in the image",
    },
    Omitted {
        test: "every_operation_that_",
        kernels: &[Kernel::Bullseye],
        why: NO_REQUESTS,
    },
    Omitted {
        test: "an_io_uring_unlinker_ends_at_the_limit",
        kernels: &[Kernel::Bullseye],
        why: NO_REQUESTS,
    },
];

/// Before a line of the tests' tally, in the guest's output.
const TALLY: &str = "@tally ";

/// Lines that are not a failure's last words: they follow every one, or head a list.
const EMPTY_WORDS: [&str; 3] = ["note: ", "missing:", "spurious:"];

/// What the comparisons of a suite came to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Tally {
    pub done: u64,
    pub recorded: u64,
    pub missing: u64,
    pub spurious: u64,
    pub lost: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.recorded += other.recorded;
        self.missing += other.missing;
        self.spurious += other.spurious;
        self.lost += other.lost;
    }
}

/// The shell script that prints a line for each program: kernel, profile,
/// program, instructions that the verifier went through.
pub(super) fn cost_script(profile: &str) -> String {
    format!(
        "export AGENT_RECORDER_PROFILE={profile} AGENT_RECORDER_VERIFIER_COST=print\n\
        {TESTS}/{COST} --color never --nocapture\n"
    )
}

/// Its lines in an output.
pub(super) fn costs(output: &str) -> impl Iterator<Item = &str> {
    output
        .lines()
        .map(str::trim_end)
        .filter(|line| line.split('\t').count() == 4)
}

/// The shell script that runs tests of the suite with a profile and tells their
/// tally. Ignored are those that want a machine of their own: a guest is one.
pub(super) fn script(kernel: Kernel, profile: &str, tests: &[&str]) -> String {
    let skips: String = omitted(kernel)
        .map(|(test, _)| format!(" --skip {test}"))
        .collect();
    let mut script = format!(
        "export AGENT_RECORDER_PROFILE={profile} AGENT_RECORDER_TALLY=/tmp/tally\n\
        export AGENT_RECORDER_SHARED={SHARED}\nworst=0\n"
    );
    for test in tests {
        let storm = if *test == WHOLE_STORM {
            String::new()
        } else {
            format!("AGENT_RECORDER_STORM={STORM} ")
        };
        // Told after each, so that a later one that hangs takes nothing with it.
        let _ = writeln!(
            script,
            "echo '@test {test}'\n\
            : >$AGENT_RECORDER_TALLY\n\
            {storm}{TESTS}/{test} --color never --test-threads 1 --include-ignored{skips} || worst=1\n\
            sed 's/^/{TALLY}/' $AGENT_RECORDER_TALLY"
        );
    }
    script.push_str("exit $worst\n");
    script
}

/// What does not run on a kernel, and why.
pub(super) fn omitted(kernel: Kernel) -> impl Iterator<Item = (&'static str, &'static str)> {
    OMITTED
        .iter()
        .filter(move |omitted| omitted.kernels.contains(&kernel))
        .map(|omitted| (omitted.test, omitted.why))
}

/// All tallies of an output together.
pub(super) fn tally(output: &str) -> Tally {
    let mut all = Tally::default();
    let lines = output.lines().filter_map(|line| line.strip_prefix(TALLY));
    for line in lines.filter_map(|line| serde_json::from_str::<Tally>(line).ok()) {
        all += line;
    }
    all
}

/// The first failing test and its last words, and how many more failed.
pub(super) fn reason(output: &str) -> Option<String> {
    let mut failures = failures(output);
    let (test, words) = failures.next()?;
    let more = match failures.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!("{test}: {words}{more}"))
}

/// Where a suite was when its guest ended before it.
pub(super) fn last_heard(output: &str) -> Option<&str> {
    output
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with(TALLY))
}

/// Each failed test with its last words (`---- NAME stdout ----`, then what it said).
fn failures(output: &str) -> impl Iterator<Item = (&str, &str)> {
    output.split("\n---- ").skip(1).filter_map(|section| {
        let (test, said) = section.split_once(" stdout ----\n")?;
        let said = said.split("\nfailures:\n").next().unwrap_or(said);
        let words = said
            .lines()
            .map(str::trim)
            .rfind(|line| {
                !line.is_empty() && !EMPTY_WORDS.iter().any(|empty| line.starts_with(empty))
            })
            .unwrap_or("it said nothing");
        Some((test, words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_skips_by_name_and_runs_every_test() {
        let script = script(Kernel::Bookworm, "lsm", &all());
        assert!(script.contains("AGENT_RECORDER_PROFILE=lsm"));
        for test in all() {
            assert!(script.contains(&format!("/tests/{test} ")), "{script}");
        }
        assert!(script.contains("--skip git_clean_ends_at_the_limit"));
    }

    #[test]
    fn tallies_add_up_and_other_lines_do_not_count() {
        let output = "@test x\n\
            @tally {\"done\":3,\"recorded\":2,\"missing\":1,\"spurious\":0}\n\
            @tally {\"lost\":5}\n\
            @tally torn\n\
            test @tally {\"done\":9}\n\
            @tally {\"done\":4,\"recorded\":4,\"missing\":0,\"spurious\":0}\n";
        assert_eq!(
            tally(output),
            Tally {
                done: 7,
                recorded: 6,
                missing: 1,
                spurious: 0,
                lost: 5
            }
        );
    }

    #[test]
    fn the_reason_is_the_first_failures_last_words() {
        let output = "running 2 tests\ntest a ... FAILED\n\nfailures:\n\n\
            ---- a stdout ----\nError: of 3 done and 2 recorded\nmissing:\n1 × file op=1\nspurious:\n\n\
            ---- b stdout ----\n\nthread 'b' panicked at x.rs:1:2:\nno\nnote: run with `RUST_BACKTRACE=1`\n\n\n\
            failures:\n    a\n    b\n\ntest result: FAILED.\n";
        assert_eq!(
            reason(output).as_deref(),
            Some("a: 1 × file op=1 (and 1 more)")
        );
        assert_eq!(reason("test result: ok\n"), None);
    }

    #[test]
    fn a_suite_that_was_cut_off_says_where_it_was() {
        let output = "@tally {\"done\":1}\n@test x\ntest y ... \n@tally {}\n\n";
        assert_eq!(last_heard(output), Some("test y ..."));
        assert_eq!(last_heard("\n"), None);
    }
}
