//! The configured policy in the kernel's form: budgets in steps, names and programs
//! as keys of maps.
//!
//! Not here: directories, which can come and go (`places`).

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agent_recorder_abi::limits::{MAX_STEPS, NAME_KEY_BYTES};
use agent_recorder_abi::policy::{
    Budget, GUARD_ALERT, GUARD_DENY, GUARD_FREEZE, GUARD_KILL, GuardConfig, NAME_BELOW,
    NAME_DIRECTORY, NAME_JUDGED, NAME_PARENT, NAME_SUFFIX, NAME_VERB, NameKey,
};

use crate::config::{Guard, GuardAction, Throwaway, is_suffix};

/// The part of the policy that is constant while a recorder runs.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The budgets and the action.
    pub config: GuardConfig,
    /// Whether the judge looks at what was destroyed before the action.
    pub is_judged: bool,
    /// Meanings of names.
    pub names: Vec<(NameKey, u32)>,
    /// Files of programs that store elsewhere what they remove.
    pub programs: Vec<PathBuf>,
    /// Temporary directories.
    pub temporary: Vec<PathBuf>,
    /// Protected paths, in the order of their counters, with their limits.
    pub protected: Vec<(PathBuf, u32)>,
}

impl Policy {
    /// Builds the policy from a checked configuration.
    pub fn of(guard: &Guard) -> Self {
        let Throwaway {
            directories,
            judged_directories,
            suffixes,
            temporary,
            git_verbs,
            git_files,
        } = Throwaway::built_in();
        let in_force = |all: &'static [String]| {
            all.iter()
                .filter(|name| guard.builtin && !guard.keep.contains(name))
        };
        let mut names = Vec::new();
        in_force(directories).for_each(|name| directory(name, 0, &mut names));
        in_force(judged_directories).for_each(|name| directory(name, NAME_JUDGED, &mut names));
        in_force(suffixes).for_each(|name| names.push((key(NAME_SUFFIX, name), NAME_SUFFIX)));
        in_force(git_verbs).for_each(|name| names.push((key(NAME_VERB, name), NAME_VERB)));
        for name in &guard.throwaway {
            match name.strip_suffix('/') {
                Some(name) => directory(name, 0, &mut names),
                None if is_suffix(name) => names.push((key(NAME_SUFFIX, name), NAME_SUFFIX)),
                None => directory(name, 0, &mut names),
            }
        }
        Self {
            config: budgets(guard),
            is_judged: guard.judge
                && matches!(guard.action, GuardAction::Kill | GuardAction::Freeze),
            names,
            programs: if guard.builtin {
                programs(git_files)
            } else {
                Vec::new()
            },
            temporary: in_force(temporary)
                .map(PathBuf::from)
                .chain(guard.temporary.iter().cloned())
                .collect(),
            protected: guard
                .protect
                .iter()
                .map(|protect| (protect.path.clone(), protect.limit))
                .collect(),
        }
    }
}

fn budgets(guard: &Guard) -> GuardConfig {
    // The configuration was checked: a window is at most a week.
    let nanos = |window: std::time::Duration| u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    let (window, long) = (nanos(guard.window), nanos(guard.long_window));
    GuardConfig {
        action: match guard.action {
            GuardAction::Off => 0,
            GuardAction::Alert => GUARD_ALERT,
            GuardAction::Freeze => GUARD_FREEZE,
            GuardAction::Deny => GUARD_DENY,
            GuardAction::Kill => GUARD_KILL,
        },
        files: Budget {
            steps: guard.limit,
            step: 1,
            window,
        },
        files_long: in_steps(guard.long_limit, long),
        bytes: in_steps(guard.bytes, window),
        bytes_long: in_steps(guard.long_bytes, long),
    }
}

/// A budget in steps. The kernel stores one time per step, so the limit is rounded
/// down to whole steps.
fn in_steps(limit: u64, window: u64) -> Budget {
    let steps = limit.min(MAX_STEPS as u64);
    Budget {
        steps,
        step: limit.checked_div(steps).unwrap_or(1),
        window,
    }
}

/// A directory's name; `mark`: `NAME_JUDGED`, or 0.
fn directory(name: &str, mark: u32, names: &mut Vec<(NameKey, u32)>) {
    match name.split_once('/') {
        Some((parent, name)) => {
            names.push((key(NAME_DIRECTORY, name), NAME_BELOW | mark));
            names.push((key(NAME_PARENT, parent), NAME_PARENT));
        }
        None => names.push((key(NAME_DIRECTORY, name), NAME_DIRECTORY | mark)),
    }
}

pub(super) fn key(kind: u32, name: &str) -> NameKey {
    let mut bytes = [0; NAME_KEY_BYTES];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    NameKey { kind, name: bytes }
}

/// Files of git(1): the usual paths and those in `PATH`.
fn programs(git_files: &[PathBuf]) -> Vec<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&on_path).map(|directory| directory.join("git"));
    let mut files: Vec<_> = git_files
        .iter()
        .cloned()
        .chain(found)
        .filter(|file| is_program(file))
        .collect();
    files.sort();
    files.dedup();
    files
}

fn is_program(file: &Path) -> bool {
    !file.as_os_str().as_bytes().is_empty() && file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_larger_than_its_limit() {
        for limit in [1, 63, 64, 65, 512, 1000, 32 << 30] {
            let budget = in_steps(limit, 1);
            assert!(budget.limit() <= limit && budget.steps <= 64, "{budget:?}");
            assert!(budget.limit() * 2 > limit, "{budget:?}");
        }
        assert_eq!(in_steps(0, 1).steps, 0);
    }

    #[test]
    fn what_is_kept_is_no_longer_thrown_away() {
        let guard = Guard {
            keep: vec!["build".to_owned(), ".o".to_owned(), "/tmp".to_owned()],
            ..Guard::default()
        };
        let policy = Policy::of(&guard);
        let has = |wanted: NameKey| policy.names.iter().any(|(key, _)| *key == wanted);
        assert!(!has(key(NAME_DIRECTORY, "build")) && !has(key(NAME_SUFFIX, ".o")));
        assert!(has(key(NAME_DIRECTORY, "node_modules")));
        assert!(!policy.temporary.contains(&PathBuf::from("/tmp")));
    }
}
