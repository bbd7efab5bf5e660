//! The built-in policy: files of rows under `policy/`, embedded, and their one
//! loader.
//!
//! Not here: what the configuration adds to them and takes out (`agents`,
//! `guard`, `gate`, `handoff`), and what becomes of them (`guard`, `session`).

use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{AgentRule, GateRule, Way};

const AGENTS: &str = include_str!("../../policy/agents.toml");
const THROWAWAY: &str = include_str!("../../policy/throwaway.toml");
const EXEC_GATE: &str = include_str!("../../policy/exec_gate.toml");
const HAND_OFF: &str = include_str!("../../policy/hand_off.toml");

/// All of it, each list in the order of its file.
#[derive(Debug)]
pub struct BuiltIn {
    /// Who is an agent.
    pub agents: Agents,
    /// What may be thrown away.
    pub throwaway: Throwaway,
    /// What destroys elsewhere than in this host's files.
    pub exec_gate: ExecGate,
    /// By what work leaves a session.
    pub hand_off: HandOff,
}

/// `agents.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    /// The first that a program matches counts.
    #[serde(rename = "agent")]
    pub rules: Vec<AgentRule>,
}

/// `throwaway.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Throwaway {
    /// Names of directories whose contents some tool makes again; `parent/name` is one only there.
    pub directories: Vec<String>,
    /// Endings of files that are made beside their sources.
    pub suffixes: Vec<String>,
    /// Directories for what is not kept.
    pub temporary: Vec<String>,
    /// What git(1) does to a working tree that its object store can undo.
    pub git_verbs: Vec<String>,
    /// Where git may be, beside `PATH`.
    pub git_files: Vec<PathBuf>,
}

impl Throwaway {
    /// Whether `keep` can name it.
    pub fn is_known(&self, name: &str) -> bool {
        let Self {
            directories,
            suffixes,
            temporary,
            git_verbs,
            git_files: _,
        } = self;
        [directories, suffixes, temporary, git_verbs]
            .iter()
            .any(|names| names.iter().any(|known| known == name))
    }
}

/// `exec_gate.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExecGate {
    /// By what the rules find programs and scripts.
    pub programs: GatePrograms,
    /// The first that a program meets counts.
    #[serde(rename = "rule")]
    pub rules: Vec<GateRule>,
}

/// `[programs]` of `exec_gate.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatePrograms {
    /// Where programs are, beside the daemon's `PATH`.
    pub directories: Vec<PathBuf>,
    /// Programs that run scripts, without their versions.
    pub interpreters: Vec<String>,
    /// Of those, files that are many programs at once.
    pub multicall: Vec<String>,
}

/// `hand_off.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HandOff {
    /// The first that a socket or a file matches counts.
    #[serde(rename = "way")]
    pub ways: Vec<HandOffWay>,
}

/// `[[way]]`: globs as `[handoff]` has them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HandOffWay {
    /// How work is handed on.
    #[serde(rename = "name")]
    pub way: Way,
    /// Unix sockets behind which others work for whoever connects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<String>,
    /// Files that others run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

impl BuiltIn {
    fn read() -> Result<Self, toml::de::Error> {
        Ok(Self {
            agents: toml::from_str(AGENTS)?,
            throwaway: toml::from_str(THROWAWAY)?,
            exec_gate: toml::from_str(EXEC_GATE)?,
            hand_off: toml::from_str(HAND_OFF)?,
        })
    }
}

/// The built-in policy.
#[expect(
    clippy::expect_used,
    reason = "the files are embedded, and a unit test reads them"
)]
pub fn built_in() -> &'static BuiltIn {
    static BUILT_IN: LazyLock<BuiltIn> =
        LazyLock::new(|| BuiltIn::read().expect("a unit test reads every file of policy/"));
    &BUILT_IN
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::Hash;

    use super::*;
    use crate::config::path_glob;
    use crate::session::agents::RuleSet;

    fn has_doubles<T: Ord + Hash>(names: impl IntoIterator<Item = T>) -> bool {
        let mut seen = BTreeSet::new();
        names.into_iter().any(|name| !seen.insert(name))
    }

    #[test]
    fn every_file_is_read_and_names_nothing_twice() {
        let BuiltIn {
            agents,
            throwaway,
            exec_gate,
            hand_off,
        } = BuiltIn::read().unwrap();
        assert!(!has_doubles(agents.rules.iter().map(|rule| &rule.name)));
        assert!(!has_doubles(&throwaway.directories));
        assert!(!has_doubles(&throwaway.suffixes));
        assert!(!has_doubles(&throwaway.git_verbs));
        assert!(!has_doubles(exec_gate.rules.iter().map(|rule| &rule.name)));
        assert!(!has_doubles(hand_off.ways.iter().map(|row| row.way as u8)));
    }

    #[test]
    fn every_agent_has_a_pattern_and_the_kernel_can_hold_all() {
        for rule in &built_in().agents.rules {
            let patterns = rule.executables.len() + rule.scripts.len() + rule.environment.len();
            assert!(patterns > 0, "{}", rule.name);
        }
        RuleSet::from_config(&crate::config::Config::default()).unwrap();
    }

    #[test]
    fn the_ways_of_a_hand_off_are_globs() {
        for HandOffWay {
            way,
            sockets,
            files,
        } in &built_in().hand_off.ways
        {
            for pattern in sockets.iter().chain(files) {
                assert!(path_glob(pattern).is_ok(), "{way:?}: {pattern}");
            }
        }
    }

    #[test]
    fn places_are_absolute_and_suffixes_begin_with_a_dot() {
        let BuiltIn {
            throwaway,
            exec_gate,
            ..
        } = built_in();
        let files = throwaway
            .git_files
            .iter()
            .chain(&exec_gate.programs.directories);
        assert!(files.clone().all(|path| path.is_absolute()));
        assert!(throwaway.temporary.iter().all(|path| path.starts_with('/')));
        assert!(
            throwaway
                .suffixes
                .iter()
                .all(|it| crate::config::is_suffix(it))
        );
    }

    #[test]
    fn a_program_that_is_many_is_an_interpreter() {
        let gate = &built_in().exec_gate.programs;
        let is_known = |name| gate.interpreters.contains(name);
        assert!(gate.multicall.iter().all(is_known));
    }
}
