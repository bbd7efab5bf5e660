//! The end-to-end tests on this host: each group in turn, as root, and failed tests
//! once more at the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::outcome::Outcome;
use super::program::{Group, Start, User, log_name};
use super::retry;
use crate::libtest::{self, Verdict};
use crate::skips;
use crate::step::say;

/// Runs the groups one after the other. A folder has their logs and the tally of
/// skips.
///
/// # Errors
///
/// A program cannot be started, or a file cannot be written.
pub(super) fn run(groups: &[Group], place: &str, user: User, logs: &Path) -> Result<Outcome> {
    fs::create_dir_all(logs).with_context(|| format!("create {}", logs.display()))?;
    let tally = logs.join(format!("{place}-tally.jsonl"));
    fs::write(&tally, "").with_context(|| format!("write {}", tally.display()))?;
    let mut outcome = Outcome::of(place);
    for group in groups {
        let start = Start {
            group,
            tests: &group.tests,
            is_alone: false,
            user,
            tally: &tally,
            log: &logs.join(log_name(&group.name)),
        };
        enter(&mut outcome, &start)?;
    }
    if user == User::Root {
        once_more(&mut outcome, groups, &tally, &logs.join("again"))?;
    }
    outcome.skips = skips::in_file(&tally)?;
    Ok(outcome)
}

/// Runs a group, reports its result, and stores it.
fn enter(outcome: &mut Outcome, start: &Start<'_>) -> Result<()> {
    let ended = start.run()?;
    let group = start.group;
    let verdicts = libtest::verdicts(start.tests, &ended.output, ended.is_well);
    let failed: Vec<_> = names(&verdicts, Verdict::is_failure);
    let passed = names(&verdicts, |verdict| verdict == Verdict::Passed).len();
    say(&format!(
        "{:>7.1} s  {}: {passed} passed, {} failed",
        ended.took.as_secs_f64(),
        group.name,
        failed.len()
    ));
    if !failed.is_empty() {
        eprintln!("{}", ended.output.trim_end());
        say(&format!("the above is in {}", start.log.display()));
    }
    for test in failed {
        let words = libtest::last_words(&ended.output, test).unwrap_or("it did not end");
        let words = words.to_owned();
        outcome.words.insert(group.shown(test), words);
    }
    outcome.times.push((group.name.clone(), ended.took));
    let verdicts = verdicts.into_iter();
    outcome
        .verdicts
        .extend(verdicts.map(|(test, verdict)| (group.shown(&test), verdict)));
    Ok(())
}

fn once_more(outcome: &mut Outcome, groups: &[Group], tally: &Path, logs: &Path) -> Result<()> {
    let failed = outcome.failed().len();
    if failed > retry::MOST {
        say(&format!("{failed} tests failed: too many to run again"));
        return Ok(());
    }
    retry::settle(outcome, |test| {
        let found = groups.iter().find_map(|group| {
            let name = group.tests.iter().find(|name| group.shown(name) == test)?;
            Some((group, name))
        });
        let (group, name) = found.with_context(|| format!("no group has {test}"))?;
        say(&format!("once more, alone: {test}"));
        let tests = [name.clone()];
        let start = Start {
            group,
            tests: &tests,
            is_alone: true,
            user: User::Root,
            tally,
            log: &logs.join(log_name(test)),
        };
        let ended = start.run()?;
        let verdicts = libtest::verdicts(&tests, &ended.output, ended.is_well);
        let has_passed = verdicts.values().all(|verdict| !verdict.is_failure());
        if !has_passed {
            eprintln!("{}", ended.output.trim_end());
        }
        Ok(has_passed)
    })
}

fn names(verdicts: &BTreeMap<String, Verdict>, is_so: impl Fn(Verdict) -> bool) -> Vec<&str> {
    verdicts
        .iter()
        .filter(|(_, verdict)| is_so(**verdict))
        .map(|(test, _)| test.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_have_a_folder_also_where_nothing_runs() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let logs = folder.path().join("unit");
        let outcome = run(&[], "unit", User::Ours, &logs)?;
        assert!(outcome.verdicts.is_empty() && logs.join("unit-tally.jsonl").exists());
        Ok(())
    }

    /// A program whose `b` fails unless it runs alone, and whose `c` always fails;
    /// `d` skips.
    const PROGRAM: &str = r#"#!/bin/sh
case "$*" in
*"--exact c "*) echo "test c ... FAILED"; list='    c' ;;
*--test-threads*) echo "test b ... ok" ;;
*) echo '{"skipped":"d","why":"so"}' >>$AGENT_RECORDER_TALLY
   printf 'test a ... ok\ntest b ... FAILED\ntest d ... ok\n\nfailures:\n\n'
   printf -- '---- b stdout ----\nno luck\n'
   list='    b
    c' ;;
esac
[ "$list" ] || { printf '\ntest result: ok. 1 passed; 0 failed; 0 ignored\n'; exit 0; }
printf '\nfailures:\n%s\n\ntest result: FAILED. 2 passed\n' "$list"
exit 101
"#;

    #[test]
    fn a_test_that_passes_alone_is_unstable_and_one_that_does_not_has_failed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("program");
        fs::write(&program, PROGRAM)?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, executable)?;
        let group = Group {
            name: "g".into(),
            program,
            folder: folder.path().to_owned(),
            tests: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            scope: "g::".into(),
        };
        let tally = folder.path().join("tally");
        let mut outcome = Outcome::of("host");
        let start = Start {
            group: &group,
            tests: &group.tests,
            is_alone: false,
            user: User::Ours,
            tally: &tally,
            log: &folder.path().join("g.log"),
        };
        enter(&mut outcome, &start)?;
        assert_eq!(outcome.failed(), ["g::b", "g::c"]);
        assert_eq!(outcome.words["g::b"], "no luck");
        once_more(&mut outcome, &[group], &tally, &folder.path().join("again"))?;
        assert_eq!(outcome.failed(), ["g::c"]);
        assert_eq!(outcome.unstable[0].test, "g::b");
        assert_eq!(outcome.unstable[0].words, "no luck");
        assert_eq!(skips::in_file(&tally)?.len(), 1);
        Ok(())
    }
}
