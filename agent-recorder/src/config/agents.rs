//! The rules by which agents are known: the form of one, the built-in ones, and which
//! of these are in use.
//!
//! Not here: comparing a program with a rule (`session::agents`).

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::built_in;

/// `[agents]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// Whether the recorder uses its built-in agent rules.
    pub builtin: bool,
    /// Names of agents whose built-in rules the recorder does not use. When empty, it uses all of them.
    pub disable: Vec<String>,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            builtin: true,
            disable: Vec::new(),
        }
    }
}

impl Agents {
    /// The built-in rules in use.
    pub fn built_in(&self) -> impl Iterator<Item = &AgentRule> {
        let rules = AgentRules::built_in().rules.iter();
        rules.filter(|rule| self.builtin && !self.disable.contains(&rule.name))
    }
}

/// `agents.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRules {
    /// The rules. The first one that a program matches applies.
    #[serde(rename = "agent")]
    pub rules: Vec<AgentRule>,
}

impl AgentRules {
    /// The built-in file.
    pub fn built_in() -> &'static Self {
        static READ: LazyLock<AgentRules> = LazyLock::new(|| built_in::AGENTS.read());
        &READ
    }
}

/// `[[agent]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRule {
    /// Name of the agent in records.
    pub name: String,
    /// Names of the agent's program files, without their directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
    /// Last one or two components of a script's path, such as `codex.js` or `bin/codex.js`. The recorder looks
    /// for the script in the program's first 4 arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
    /// Environment variables that mark the agent: `NAME=value`, or `NAME` for any value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
}
