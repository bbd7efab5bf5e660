//! The list of groups of end-to-end tests that guests run. The tests themselves
//! know nothing of guests: a test that needs what an image lacks skips itself.
//!
//! Not here: the shell script that runs them (`script`), and its output (`heard`).

use anyhow::{Result, ensure};

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
    "guard::contents",
    "guard::judge",
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
    "guard::judge",
];

/// The group that prints the programs' cost for the verifier.
pub(super) const COST: &str = "kernels::verifier_cost";

/// All groups that a guest can run.
pub(super) fn whole() -> Vec<&'static str> {
    [TRUTH, DAEMON].concat()
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
    fn what_there_is_always_time_for_is_part_of_the_whole() {
        assert!(QUICK.iter().all(|name| TRUTH.contains(name)));
        assert!(whole().contains(&COST));
    }
}
