//! The end-to-end tests in guests: the list of groups, and the tests that are left
//! out, with the reasons. The tests themselves know nothing of guests.
//!
//! Not here: the shell script that runs them (`script`), and its output (`heard`).

use anyhow::{Result, ensure};

use super::kernels::Kernel;
use crate::test::program::Group;

/// Groups that compare records with the truth, and those of the guard's limit.
pub(super) const TRUTH: &[&str] = &[
    "records::file_operations",
    "records::process_operations",
    "records::network_operations",
    "records::uring_operations",
    "records::long_paths",
    "records::renames",
    "records::file_systems",
    "records::path_truth",
    "kernels::prototypes",
    "kernels::same_records",
    "kernels::verifier_cost",
    "kernels::machine",
    "guard::bulk_delete",
    "guard::condemned",
    "guard::policy",
    "guard::whole_destruction",
];

/// Groups of a daemon's life. Most tests start a daemon, and loading its programs
/// takes long where a kernel is emulated.
const DAEMON: &[&str] = &[
    "guard::gate",
    "records::handoff",
    "life::tamper",
    "life::watch",
    "life::restart",
];

/// Groups that `cargo xtask test` runs.
pub(super) const QUICK: &[&str] = &[
    "records::file_operations",
    "records::process_operations",
    "records::network_operations",
    "records::uring_operations",
    "records::long_paths",
    "records::renames",
    "kernels::verifier_cost",
    "kernels::prototypes",
    "kernels::machine",
    "guard::bulk_delete",
];

/// The group that prints the programs' cost for the verifier.
pub(super) const COST: &str = "kernels::verifier_cost";

/// All groups that a guest can run.
pub(super) fn whole() -> Vec<&'static str> {
    [TRUTH, DAEMON].concat()
}

/// Tests that are left out, and the reason.
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
    Omitted {
        test: "a_rename_by_io_uring_says_what_it_replaced",
        kernels: &[Kernel::Bullseye],
        why: NO_REQUESTS,
    },
];

/// Tests that are left out on a kernel, by a part of the name, and the reason.
pub(super) fn omitted(kernel: Kernel) -> impl Iterator<Item = (&'static str, &'static str)> {
    OMITTED
        .iter()
        .filter(move |omitted| omitted.kernels.contains(&kernel))
        .map(|omitted| (omitted.test, omitted.why))
}

/// The groups of these names, in the names' order.
///
/// # Errors
///
/// A group of some name is missing: a file of tests was renamed, and its guests would
/// run nothing.
pub(super) fn named(all: &[Group], names: &[&str]) -> Result<Vec<Group>> {
    let mut found = Vec::new();
    for name in names {
        let mut groups = all.iter().filter(|group| group.name == *name).peekable();
        ensure!(
            groups.peek().is_some(),
            "there are no tests {name}, which guests are to run (xtask/src/vm/suite.rs)"
        );
        found.extend(groups.cloned());
    }
    Ok(found)
}

/// The groups without the tests that a kernel cannot run.
pub(super) fn of_kernel(groups: &[Group], kernel: Kernel) -> Vec<Group> {
    let is_omitted = |test: &String| omitted(kernel).any(|(part, _)| test.contains(part));
    let mut groups = groups.to_vec();
    for group in &mut groups {
        group.tests.retain(|test| !is_omitted(test));
    }
    groups.retain(|group| !group.tests.is_empty());
    groups
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn group(name: &str, tests: &[&str]) -> Group {
        Group {
            name: name.into(),
            program: "/t/e2e".into(),
            folder: "/w/tests".into(),
            tests: tests.iter().map(|test| format!("{name}::{test}")).collect(),
            scope: String::new(),
        }
    }

    #[test]
    fn a_name_of_which_there_is_no_group_is_an_error() {
        let all = [group("a::b", &["x"]), group("a::c", &["y"])];
        let found = named(&all, &["a::c", "a::b"]).unwrap();
        assert_eq!(found, [all[1].clone(), all[0].clone()]);
        let error = named(&all, &["a"]).unwrap_err();
        assert!(error.to_string().contains("no tests a,"), "{error}");
    }

    #[test]
    fn what_a_kernel_cannot_run_is_left_out_and_so_is_a_group_of_nothing_else() {
        let all = [
            group("guard::bulk_delete", &["rm", "git_clean_ends_at_the_limit"]),
            group("records::uring_operations", &["every_operation_that_is"]),
        ];
        let old = of_kernel(&all, Kernel::Bullseye);
        assert_eq!(old.len(), 1);
        assert_eq!(old[0].tests, ["guard::bulk_delete::rm"]);
        assert_eq!(of_kernel(&all, Kernel::Trixie).len(), 2);
    }

    #[test]
    fn what_there_is_always_time_for_is_part_of_the_whole() {
        assert!(QUICK.iter().all(|name| TRUTH.contains(name)));
        assert!(whole().contains(&COST));
    }
}
