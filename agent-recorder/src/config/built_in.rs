//! The files of the built-in policy, embedded in the binary, and their loader.
//!
//! Not here: the meaning of a file's rows, and the configuration's additions and
//! exceptions (`gate`, `handoff`, `throwaway`, and the agents' rules).

use serde::de::DeserializeOwned;

/// A file under `policy/`.
pub(super) struct PolicyFile {
    name: &'static str,
    text: &'static str,
}

macro_rules! policy_file {
    ($name:literal) => {
        PolicyFile {
            name: $name,
            text: include_str!(concat!("../../policy/", $name)),
        }
    };
}

/// Agent rules.
pub(super) const AGENTS: PolicyFile = policy_file!("agents.toml");
/// Files that may be thrown away.
pub(super) const THROWAWAY: PolicyFile = policy_file!("throwaway.toml");
/// Programs that destroy something other than files of this host, by kind.
pub(super) const EXEC_GATE: [PolicyFile; 8] = [
    policy_file!("exec_gate/programs.toml"),
    policy_file!("exec_gate/runners.toml"),
    policy_file!("exec_gate/infrastructure.toml"),
    policy_file!("exec_gate/containers.toml"),
    policy_file!("exec_gate/databases.toml"),
    policy_file!("exec_gate/platforms.toml"),
    policy_file!("exec_gate/host.toml"),
    policy_file!("exec_gate/any.toml"),
];
/// Ways by which work leaves a session.
pub(super) const HAND_OFF: PolicyFile = policy_file!("hand_off.toml");

impl PolicyFile {
    /// The rows of the file.
    ///
    /// # Panics
    ///
    /// The file does not parse as `T`. A unit test reads each file, so no binary is
    /// built with such a file.
    pub(super) fn read<T: DeserializeOwned>(&self) -> T {
        toml::from_str(self.text).unwrap_or_else(|why| panic!("policy/{}: {why}", self.name))
    }

    /// The rows of files that are one, in their order.
    ///
    /// # Panics
    ///
    /// As [`PolicyFile::read`].
    pub(super) fn read_all<T: DeserializeOwned>(files: &[Self]) -> T {
        let text: Vec<_> = files.iter().map(|file| file.text).collect();
        let name = files.first().map_or("", |file| file.name);
        toml::from_str(&text.join("\n")).unwrap_or_else(|why| panic!("policy/{name} …: {why}"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{
        AgentRules, Config, ExecGate, HandOffWays, Throwaway, is_suffix, path_glob,
    };
    use crate::session::agents::RuleSet;

    fn has_doubles<T: Ord>(names: impl IntoIterator<Item = T>) -> bool {
        let mut seen = BTreeSet::new();
        names.into_iter().any(|name| !seen.insert(name))
    }

    #[test]
    fn every_file_that_is_there_is_embedded() {
        let embedded = [AGENTS, THROWAWAY, HAND_OFF].into_iter().chain(EXEC_GATE);
        let embedded: BTreeSet<_> = embedded.map(|file| file.name.to_owned()).collect();
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policy"));
        let names = |folder: &std::path::Path| {
            let there = std::fs::read_dir(folder).unwrap();
            let names = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<BTreeSet<_>>()
        };
        let mut there = names(folder);
        assert!(there.remove("exec_gate"));
        there.extend(
            names(&folder.join("exec_gate"))
                .iter()
                .map(|it| format!("exec_gate/{it}")),
        );
        assert_eq!(there, embedded);
    }

    #[test]
    fn every_file_is_read_and_names_nothing_twice() {
        let Throwaway {
            directories,
            judged_directories,
            suffixes,
            git_verbs,
            ..
        } = Throwaway::built_in();
        assert!(!has_doubles(directories.iter().chain(judged_directories)));
        for names in [suffixes, git_verbs] {
            assert!(!has_doubles(names));
        }
        let agents = &AgentRules::built_in().rules;
        assert!(!has_doubles(agents.iter().map(|rule| &rule.name)));
        let gate = &ExecGate::built_in().rules;
        assert!(!has_doubles(gate.iter().map(|it| &it.rule.name)));
        let ways = &HandOffWays::built_in().ways;
        assert!(!has_doubles(ways.iter().map(|row| row.way as u8)));
    }

    #[test]
    fn every_agent_has_a_pattern_and_the_kernel_can_hold_all() {
        for rule in &AgentRules::built_in().rules {
            let patterns = rule.executables.len() + rule.scripts.len() + rule.environment.len();
            assert!(patterns > 0, "{}", rule.name);
        }
        RuleSet::from_config(&Config::default()).unwrap();
    }

    #[test]
    fn the_ways_of_a_hand_off_are_globs() {
        for row in &HandOffWays::built_in().ways {
            for pattern in row.sockets.iter().chain(&row.files) {
                assert!(path_glob(pattern).is_ok(), "{:?}: {pattern}", row.way);
            }
        }
    }

    #[test]
    fn places_are_absolute_and_suffixes_begin_with_a_dot() {
        let throwaway = Throwaway::built_in();
        let gate = &ExecGate::built_in().programs;
        let mut places = throwaway.git_files.iter().chain(&gate.directories);
        assert!(places.all(|path| path.is_absolute()));
        assert!(throwaway.temporary.iter().all(|path| path.starts_with('/')));
        assert!(throwaway.suffixes.iter().all(|suffix| is_suffix(suffix)));
    }

    #[test]
    fn a_program_that_is_many_is_an_interpreter() {
        let gate = &ExecGate::built_in().programs;
        let is_known = |name| gate.interpreters.contains(name);
        assert!(gate.multicall.iter().all(is_known));
    }
}
