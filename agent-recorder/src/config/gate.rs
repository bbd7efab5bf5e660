//! `[gate]`: programs that are stopped before their first instruction, and the rules
//! by which they are judged.
//!
//! Not here: comparing arguments with a rule (`guard::gate`).

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use agent_recorder_abi::limits::{MAX_GATED, PATTERN_BYTES};
use globset::GlobBuilder;
use serde::{Deserialize, Serialize};

use super::built_in::EXEC_GATE;
use super::{Wrong, duration};

/// `[gate]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// Whether the gate uses its built-in rules, after those of the configuration. `agent-recorder config show`
    /// prints them.
    pub builtin: bool,
    /// Names of built-in rules that the gate does not use. When empty, it uses all of them.
    pub disable: Vec<String>,
    /// Time for which a held program waits for a person's answer, from `1s` to `24h`.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Answer that a held program gets when nobody has answered within `timeout`. Without a daemon, it gets this
    /// answer at once.
    pub answer: Answer,
    /// A rule by which the gate judges a program. The gate applies the first rule that the program meets. A
    /// program meets a rule when every condition that is set holds. Patterns may contain `*` for any text and `?` for one
    /// character; a bar separates alternatives, as in `delete-*|terminate-*`.
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<GateRule>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            builtin: true,
            disable: Vec::new(),
            timeout: Duration::from_secs(300),
            answer: Answer::Deny,
            rules: Vec::new(),
        }
    }
}

/// The answer for a held program without a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The program ends without having run.
    Deny,
    /// The program runs.
    Approve,
}

/// The action on a program that meets a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GateAction {
    /// The program runs, whatever later rules say.
    Allow,
    /// The program runs, and the recorder writes an enforcement record.
    Alert,
    /// The program waits until a person answers with `approve` or `deny`.
    #[default]
    Hold,
    /// The program ends without having run.
    Kill,
}

/// `[[gate.rule]]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateRule {
    /// Name of the rule in records. Not empty, and not the name of another rule.
    pub name: String,
    /// Names of the programs that the rule is about, without their directories and without patterns. At least
    /// one; a name has at most 47 bytes.
    pub programs: Vec<String>,
    /// Patterns for the first arguments that are no options, in order and in any case. `**` stands for any number
    /// of arguments. When empty, any arguments will do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Patterns one of which an argument must match. `-f` is also found in `-uf`. When empty, no argument is
    /// required.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<String>,
    /// Patterns that no argument may match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<String>,
    /// Patterns for the first word of a statement, in any case. A statement is an argument's part between
    /// semicolons, and one statement must match. When empty, no statement is required.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// Patterns for names of environment variables. The program's environment must have a match for each. When
    /// empty, the environment is not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// Patterns for the name of the file that runs, which for a script is its interpreter. When empty, any file
    /// will do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interpreters: Vec<String>,
    /// What happens to a program that meets the rule.
    pub action: GateAction,
}

/// `exec_gate.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExecGate {
    /// Directories and interpreters of gated programs.
    pub programs: GatePrograms,
    /// The rules. The first one that a program meets applies.
    #[serde(rename = "rule")]
    pub rules: Vec<GateRule>,
}

/// `[programs]` of `exec_gate.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatePrograms {
    /// Directories of programs, beside the daemon's `PATH`.
    pub directories: Vec<PathBuf>,
    /// Programs that run scripts, without their versions.
    pub interpreters: Vec<String>,
    /// Interpreters whose file contains many programs.
    pub multicall: Vec<String>,
}

impl ExecGate {
    /// The built-in file.
    pub fn built_in() -> &'static Self {
        static READ: LazyLock<ExecGate> = LazyLock::new(|| EXEC_GATE.read());
        &READ
    }
}

/// Limits of the wait for a person: a shorter one is no time to read, a longer one is
/// forgotten.
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

impl Gate {
    /// The rules in force: those of the configuration, then the built-in ones.
    pub fn in_force(&self) -> Vec<GateRule> {
        let mut rules = self.rules.clone();
        rules.extend(self.built_in());
        rules
    }

    /// The built-in rules in force as TOML; empty where there are none.
    pub fn built_in_toml(&self) -> String {
        #[derive(Serialize)]
        struct Table<T> {
            gate: T,
        }
        #[derive(Serialize)]
        struct Rules {
            rule: Vec<GateRule>,
        }
        let rule = self.built_in();
        if rule.is_empty() {
            return String::new();
        }
        let gate = Rules { rule };
        // The rules consist of strings and tables that were read from TOML, so
        // writing them cannot fail.
        toml::to_string(&Table { gate }).unwrap_or_default()
    }

    fn built_in(&self) -> Vec<GateRule> {
        if !self.builtin {
            return Vec::new();
        }
        let disabled = |rule: &GateRule| self.disable.contains(&rule.name);
        let mut rules = ExecGate::built_in().rules.clone();
        rules.retain(|rule| !disabled(rule));
        rules
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if !TIMEOUTS.contains(&self.timeout) {
            return Err(Wrong::new("gate.timeout", "must be from 1s to 24h"));
        }
        let known = &ExecGate::built_in().rules;
        for (position, name) in self.disable.iter().enumerate() {
            let wrong = |why: String| Wrong::new(format!("gate.disable.{position}"), why);
            if !known.iter().any(|rule| rule.name == *name) {
                let why = format!("has {name:?}, which is no built-in rule");
                return Err(wrong(why));
            }
            if !self.builtin {
                let why = "takes rules out of the built-in ones, and `builtin` is false";
                return Err(wrong(why.to_owned()).with("gate.builtin"));
            }
        }
        for (position, rule) in self.rules.iter().enumerate() {
            let at = format!("gate.rule.{position}");
            rule.check()
                .map_err(|(key, why)| Wrong::new(format!("{at}.{key}"), why).with(&at))?;
            if self
                .rules
                .iter()
                .take(position)
                .any(|it| it.name == rule.name)
            {
                let why = format!("{:?} is there twice", rule.name);
                return Err(Wrong::new(format!("gate.rule.{position}.name"), why));
            }
        }
        let mut programs: Vec<_> = self
            .in_force()
            .into_iter()
            .flat_map(|it| it.programs)
            .collect();
        programs.sort();
        programs.dedup();
        if programs.len() > MAX_GATED as usize {
            let why = format!("name more than {MAX_GATED} programs, with the built-in ones");
            return Err(Wrong::new("gate.rule", why));
        }
        Ok(())
    }
}

impl GateRule {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.name.is_empty() {
            return Err(("name", "must not be empty".to_owned()));
        }
        if self.programs.is_empty() {
            return Err(("programs", "must name a program".to_owned()));
        }
        for program in &self.programs {
            let is_name = !program.is_empty() && !program.contains(['/', '*', '?', '\0']);
            if !is_name || program.len() >= PATTERN_BYTES {
                let why = format!(
                    "has {program:?}, which is no name of a program of less than {PATTERN_BYTES} bytes"
                );
                return Err(("programs", why));
            }
        }
        let lists = [
            ("words", &self.words),
            ("any", &self.any),
            ("unless", &self.unless),
            ("statements", &self.statements),
            ("environment", &self.environment),
            ("interpreters", &self.interpreters),
        ];
        for (key, patterns) in lists {
            for alternative in patterns.iter().flat_map(|pattern| alternatives(pattern)) {
                if alternative.is_empty() || glob(alternative, false).is_err() {
                    return Err((key, format!("has {alternative:?}, which is no pattern")));
                }
            }
        }
        if self.words.last().is_some_and(|last| last == "**") {
            return Err((
                "words",
                "ends with \"**\", after which anything may follow as it is".to_owned(),
            ));
        }
        Ok(())
    }
}

/// The alternatives of a pattern, separated by bars.
pub fn alternatives(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('|')
}

/// Compiles an alternative. `*` and `?` are its only special characters, and both
/// match a slash.
///
/// # Errors
///
/// It cannot be compiled.
pub fn glob(pattern: &str, any_case: bool) -> Result<globset::Glob, globset::Error> {
    let literal: String = pattern
        .chars()
        .flat_map(|letter| {
            let special = matches!(letter, '[' | ']' | '{' | '}' | '\\' | '!' | ',');
            special.then_some('\\').into_iter().chain([letter])
        })
        .collect();
    GlobBuilder::new(&literal)
        .literal_separator(false)
        .backslash_escape(true)
        .case_insensitive(any_case)
        .build()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_rules() {
        for rule in &ExecGate::built_in().rules {
            rule.check().unwrap();
        }
        Gate::default().check().unwrap();
    }

    #[test]
    fn the_built_in_rules_can_be_copied_into_a_configuration() {
        let text = Gate::default().built_in_toml();
        let text = format!("[gate]\nbuiltin = false\n{text}");
        let copied = crate::config::Config::parse(std::path::Path::new("c.toml"), &text).unwrap();
        assert_eq!(copied.gate.in_force(), Gate::default().in_force());
    }
}
