//! The shell script that runs tests in a guest: all groups in one boot, and failed
//! tests once more, alone. `heard` reads the lines that it prints between them.

use std::fmt::Write as _;

use super::image::TESTS;
use super::suite::COST;
use crate::test::program::Group;
use crate::test::retry;

/// Prefix of a line with a group's name in the guest's output.
pub(super) const GROUP: &str = "@test ";
/// Prefix of a line with the name of a test that runs once more.
pub(super) const AGAIN: &str = "@again ";
/// Prefix of a line with a program's exit status and its time in seconds.
pub(super) const ENDED: &str = "@ended ";
/// Prefix of a line of the tests' tally.
pub(super) const TALLY: &str = "@tally ";

/// Processes of the storm in a guest: an emulated one takes tens of milliseconds.
const STORM: u32 = 300;

/// The group whose expected records include the whole storm.
const WHOLE_STORM: &str = "kernels::same_records";

/// Time limit of a group: an emulated one takes minutes, and one that hangs leaves
/// time for the others.
const GROUP_SECONDS: u32 = 900;

/// Directory of a daemon that tests share: when emulated, loading its programs takes
/// as long as a test.
pub(super) const SHARED: &str = "/scratch/shared";

/// Functions of the script. `start` runs a program with some of its tests; the output
/// goes to a file, because a process that a test left behind would keep a pipe open.
/// `group` does so and runs failed tests once more, alone, unless many have failed.
const FUNCTIONS: &str = r#"
start() {
    program=$1; shift
    : >$AGENT_RECORDER_TALLY
    begun=$(cut -d. -f1 /proc/uptime)
    timeout -s KILL $limit $program --color never --test-threads 1 --include-ignored \
        --exact "$@" >$work/said 2>&1
    status=$?
    cat $work/said
    echo
    sed "s/^/$tally/" $AGENT_RECORDER_TALLY
    echo "$ended$status $(($(cut -d. -f1 /proc/uptime) - begun))"
}
group() {
    echo "$group$1"; shift
    start "$@"
    grep -q '^test result: ' $work/said || return
    program=$1; shift
    failed=
    for test; do
        grep -qxF "    $test" $work/said && failed="$failed $test" && most=$((most - 1))
    done
    [ $most -ge 0 ] || return
    for test in $failed; do
        echo "$again$test"
        start $program $test
    done
}
"#;

/// Runs the groups with a profile.
pub(super) fn suite(profile: &str, groups: &[Group]) -> String {
    let mut script = format!(
        "work=${{TMPDIR:-/tmp}}\n\
        export AGENT_RECORDER_PROFILE={profile} AGENT_RECORDER_TALLY=$work/tally\n\
        export AGENT_RECORDER_SHARED={SHARED}\n\
        group='{GROUP}' again='{AGAIN}' ended='{ENDED}' tally='{TALLY}'\n\
        limit={GROUP_SECONDS} most={}{FUNCTIONS}",
        retry::MOST
    );
    for group in groups {
        let storm = if group.name == WHOLE_STORM {
            "unset AGENT_RECORDER_STORM".to_owned()
        } else {
            format!("export AGENT_RECORDER_STORM={STORM}")
        };
        let _ = writeln!(
            script,
            "{storm}\ngroup {} {} {}",
            group.name,
            program(group),
            group.tests.join(" ")
        );
    }
    // The output has the failures; the status says only whether the suite reached its
    // end.
    script.push_str("exit 0\n");
    script
}

/// Prints a line for each program: kernel, profile, program, instructions that the
/// verifier visited.
pub(super) fn cost(profile: &str, groups: &[Group]) -> String {
    let mut script =
        format!("export AGENT_RECORDER_PROFILE={profile} AGENT_RECORDER_VERIFIER_COST=print\n");
    for group in groups.iter().filter(|group| group.name == COST) {
        let _ = writeln!(
            script,
            "{} --color never --nocapture --exact {}",
            program(group),
            group.tests.join(" ")
        );
    }
    script
}

/// Path of a group's program in the image.
pub(super) fn program(group: &Group) -> String {
    let name = group.program.file_name().unwrap_or_default();
    format!("{TESTS}/{}", name.to_string_lossy())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::Command;

    use super::super::heard;
    use super::*;
    use crate::libtest::Verdict;
    use crate::step;

    /// The test `b` fails unless it runs again, and `c` always fails.
    const PROGRAM: &str = r#"
case "$*" in
*"--exact g::x::c") echo "test g::x::c ... FAILED"; list='    g::x::c' ;;
*"--exact g::x::b") echo "test g::x::b ... ok" ;;
*g::x::a*) echo '{"skipped":"g::x::a","why":"so"}' >>$AGENT_RECORDER_TALLY
   printf 'test g::x::a ... ok\n\nfailures:\n\n---- g::x::b stdout ----\nno luck\n'
   list='    g::x::b
    g::x::c' ;;
*) exit 7 ;;
esac
[ "$list" ] || { printf '\ntest result: ok. 1 passed; 0 failed; 0 ignored\n'; exit 0; }
printf '\nfailures:\n%s\n\ntest result: FAILED. 2 passed\n' "$list"
exit 101
"#;

    fn group(name: &str, tests: &[&str], folder: &Path) -> Group {
        Group {
            name: name.into(),
            program: folder.join("e2e"),
            folder: folder.to_owned(),
            tests: tests.iter().map(|test| format!("{name}::{test}")).collect(),
            scope: String::new(),
        }
    }

    #[test]
    fn what_fails_in_a_guest_runs_once_more_alone_and_a_program_that_dies_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::write(here.join("e2e"), format!("#!/bin/sh{PROGRAM}")).unwrap();
        fs::set_permissions(here.join("e2e"), fs::Permissions::from_mode(0o755)).unwrap();
        let groups = [
            group("g::y", &["d"], here),
            group("g::x", &["a", "b", "c"], here),
        ];
        let script = suite("lsm", &groups).replace(TESTS, &here.display().to_string());
        let mut shell = Command::new("sh");
        let said = step::output(shell.args(["-c", &script]).env("TMPDIR", here)).unwrap();
        let heard = heard::read(&said, "6.12-lsm", &groups);
        let of = |test: &str| heard.verdicts[test];
        assert_eq!(of("g::x::a"), Verdict::Passed, "{said}");
        assert_eq!(of("g::x::b"), Verdict::Passed, "{said}");
        assert_eq!(of("g::x::c"), Verdict::Failed);
        assert_eq!(of("g::y::d"), Verdict::Unfinished);
        assert_eq!(heard.unstable.len(), 1);
        assert_eq!(heard.unstable[0].words, "no luck");
        assert_eq!(heard.skips.len(), 1);
        assert_eq!(heard.times.len(), 2);
    }

    #[test]
    fn only_the_group_that_is_compared_whole_has_all_of_the_storm() {
        let here = Path::new("/t");
        let groups = [
            group(WHOLE_STORM, &["x"], here),
            group("a::b", &["y"], here),
        ];
        let script = suite("lsm", &groups);
        let at = |what: &str| script.find(what).unwrap();
        assert!(at("unset AGENT_RECORDER_STORM") < at("group kernels::same_records /tests/e2e"));
        assert!(at("STORM=300") < at("group a::b /tests/e2e a::b::y"));
    }

    #[test]
    fn of_the_programs_cost_one_group_is_started() {
        let groups = [
            group(COST, &["x"], Path::new("/t")),
            group("a::b", &["y"], Path::new("/t")),
        ];
        let script = cost("lsm", &groups);
        assert!(script.contains("PROFILE=lsm"));
        assert!(
            script.ends_with(
                "/tests/e2e --color never --nocapture --exact kernels::verifier_cost::x\n"
            )
        );
    }
}
