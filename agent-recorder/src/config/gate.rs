//! `[gate]`: programs that are stopped before their first instruction, and the rules
//! by which they are judged.
//!
//! Not here: comparing arguments with a rule (`guard::gate`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exec_gate::ExecGate;
use super::gate_rule::{EVERY_PROGRAM, GateRule};
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

/// Most gated programs. Each has two keys in a kernel table whose 16,896 keys are mostly
/// names of files that sessions wrote; those are forgotten where there is no room.
const MOST_PROGRAMS: usize = 512;

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
        let rules = ExecGate::built_in().rules.iter().map(|it| &it.rule);
        rules.filter(|rule| !disabled(rule)).cloned().collect()
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if !TIMEOUTS.contains(&self.timeout) {
            return Err(Wrong::new("gate.timeout", "must be from 1s to 24h"));
        }
        let known = &ExecGate::built_in().rules;
        for (position, name) in self.disable.iter().enumerate() {
            let wrong = |why: String| Wrong::new(format!("gate.disable.{position}"), why);
            if !known.iter().any(|it| it.rule.name == *name) {
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
            .filter(|it| !it.elsewhere)
            .flat_map(|it| it.programs)
            .chain(ExecGate::built_in().gated_runners().map(str::to_owned))
            .filter(|it| it != EVERY_PROGRAM)
            .collect();
        programs.sort();
        programs.dedup();
        if programs.len() > MOST_PROGRAMS {
            let why = format!(
                "name more than {MOST_PROGRAMS} programs, with the built-in ones; disable rules that you do not need"
            );
            return Err(Wrong::new("gate.rule", why));
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_rules() {
        for tested in &ExecGate::built_in().rules {
            tested.rule.check().unwrap();
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
