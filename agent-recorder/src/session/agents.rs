//! Agent rules: those of the configuration, the built-in ones, and their form for the
//! kernel.
//!
//! The kernel compares a program's file name, its first arguments and its environment
//! with the rules. This module does the same for programs that ran before the
//! recorder.

use agent_recorder_abi::agent_rule::{ENVIRONMENT, ENVIRONMENT_NAME, EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::limits::{MAX_RULES, PATTERN_BYTES, SCRIPT_ARGS};

use super::RuleName;
use crate::config::{AgentRule, Config};

/// One pattern of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    agent: String,
    key: RuleKey,
}

/// A pattern that cannot be a rule.
#[derive(Debug, thiserror::Error)]
#[error("the rule {pattern:?} of the agent {agent:?} {why}")]
pub struct Error {
    agent: String,
    pattern: String,
    why: &'static str,
}

/// All rules; their numbers begin at 1.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// The configuration's rules first, then the built-in ones, unless the
    /// configuration drops them.
    ///
    /// # Errors
    ///
    /// A pattern is too long or too short, or there are too many rules.
    pub fn from_config(config: &Config) -> Result<Self, Error> {
        let mut set = Self::default();
        for rule in config.rules.iter().chain(config.agents.built_in()) {
            set.add(rule)?;
        }
        Ok(set)
    }

    fn add(&mut self, rule: &AgentRule) -> Result<(), Error> {
        let AgentRule {
            name: agent,
            executables,
            scripts,
            environment,
        } = rule;
        let executables = executables.iter().map(|it| (EXECUTABLE, it));
        let scripts = scripts.iter().map(|it| (SCRIPT, it));
        let environment = environment.iter().map(|pattern| {
            let kind = if pattern.contains('=') {
                ENVIRONMENT
            } else {
                ENVIRONMENT_NAME
            };
            (kind, pattern)
        });
        for (kind, pattern) in executables.chain(scripts).chain(environment) {
            let refuse = |why| Error {
                agent: agent.clone(),
                pattern: pattern.clone(),
                why,
            };
            let key = key(kind, pattern.as_bytes())
                .ok_or_else(|| refuse("is empty or longer than 47 bytes"))?;
            if matches!(kind, ENVIRONMENT | ENVIRONMENT_NAME) && pattern.len() < 7 {
                return Err(refuse(
                    "is shorter than the 7 bytes that a pattern of the environment needs",
                ));
            }
            if kind == SCRIPT && pattern.split('/').count() > 2 {
                return Err(refuse("has more than two components"));
            }
            if self.rules.len() >= MAX_RULES as usize {
                return Err(refuse("is one more than the 256 that fit"));
            }
            self.rules.push(Rule {
                agent: agent.clone(),
                key,
            });
        }
        Ok(())
    }

    /// The rules in the kernel's form. Of two equal patterns the first rule is taken.
    pub fn for_kernel(&self) -> Vec<(RuleKey, u32)> {
        let mut keys: Vec<(RuleKey, u32)> = self
            .rules
            .iter()
            .zip(1..)
            .map(|(rule, number)| (rule.key, number))
            .collect();
        keys.reverse();
        keys
    }

    /// The rules' names in records, in the order of their numbers.
    pub fn names(&self) -> Vec<RuleName> {
        let name = |rule: &Rule| RuleName {
            agent: rule.agent.clone(),
            rule: describe(&rule.key),
        };
        self.rules.iter().map(name).collect()
    }

    /// The number of the rule that a program matches. The comparison is the kernel's.
    pub fn match_program(&self, exe: &[u8], argv: &[&[u8]], environ: &[&[u8]]) -> Option<u32> {
        let scripts = argv.iter().skip(1).take(SCRIPT_ARGS as usize - 1);
        let candidates = std::iter::once((EXECUTABLE, last_components(exe, 1)))
            .chain(scripts.flat_map(|argument| {
                [
                    (SCRIPT, last_components(argument, 1)),
                    (SCRIPT, last_components(argument, 2)),
                ]
            }))
            .chain(environ.iter().flat_map(|entry| {
                let name = entry.split(|&byte| byte == b'=').next().unwrap_or_default();
                [(ENVIRONMENT, *entry), (ENVIRONMENT_NAME, name)]
            }));
        candidates.into_iter().find_map(|(kind, pattern)| {
            let key = key(kind, pattern)?;
            (1..)
                .zip(&self.rules)
                .find(|(_, rule)| rule.key == key)
                .map(|(number, _)| number)
        })
    }
}

fn last_components(path: &[u8], count: usize) -> &[u8] {
    let mut slashes = path
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    slashes.nth(count - 1).map_or(path, |at| &path[at + 1..])
}

/// A pattern as a key of the kernel's map; `None` for an empty or too long one.
pub(crate) fn key(kind: u32, pattern: &[u8]) -> Option<RuleKey> {
    if pattern.is_empty() || pattern.len() >= PATTERN_BYTES {
        return None;
    }
    let mut bytes = [0; PATTERN_BYTES];
    bytes[..pattern.len()].copy_from_slice(pattern);
    // The length is below PATTERN_BYTES.
    Some(RuleKey {
        kind,
        len: pattern.len() as u32,
        pattern: bytes,
    })
}

fn describe(key: &RuleKey) -> String {
    let kind = match key.kind {
        EXECUTABLE => "executable",
        SCRIPT => "script",
        _ => "environment",
    };
    format!(
        "{kind}:{}",
        String::from_utf8_lossy(&key.pattern[..key.len as usize])
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn matched(exe: &str, argv: &[&str], environ: &[&str]) -> Option<String> {
        let rules = RuleSet::from_config(&Config::default()).unwrap();
        let argv: Vec<&[u8]> = argv.iter().map(|text| text.as_bytes()).collect();
        let environ: Vec<&[u8]> = environ.iter().map(|text| text.as_bytes()).collect();
        let number = rules.match_program(exe.as_bytes(), &argv, &environ)?;
        Some(rules.names()[number as usize - 1].rule.clone())
    }

    #[test]
    fn agents_are_known_by_program_script_and_mark() {
        assert_eq!(
            matched("/opt/bin/claude", &["claude"], &[]).unwrap(),
            "executable:claude"
        );
        let script = "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js";
        assert_eq!(
            matched("/usr/bin/node", &["node", "--x", script], &[]).unwrap(),
            "script:claude-code/cli.js"
        );
        assert_eq!(
            matched("/bin/sh", &["sh"], &["A=1", "CLAUDECODE=1"]).unwrap(),
            "environment:CLAUDECODE=1"
        );
        assert_eq!(
            matched("/bin/sh", &["sh"], &["AI_AGENT=new@1"]).unwrap(),
            "environment:AI_AGENT"
        );
    }

    #[test]
    fn what_only_looks_like_an_agent_is_none() {
        assert_eq!(
            matched(
                "/bin/cat",
                &["cat", "claude.md"],
                &["CLAUDECODE=0", "NOCLAUDECODE=1"]
            ),
            None
        );
        assert_eq!(matched("/home/claude/bin/ls", &["ls"], &[]), None);
        assert_eq!(
            matched("/usr/bin/node", &["node", "/srv/cli.js"], &[]),
            None
        );
    }

    #[test]
    fn a_rule_that_the_kernel_cannot_hold_is_refused() {
        let config = |pattern: &str| Config {
            rules: vec![AgentRule {
                name: "x".to_owned(),
                executables: vec![],
                scripts: vec![],
                environment: vec![pattern.to_owned()],
            }],
            ..Config::default()
        };
        assert!(RuleSet::from_config(&config("A=1")).is_err());
        assert!(RuleSet::from_config(&config(&"A".repeat(48))).is_err());
        assert!(RuleSet::from_config(&config("MY_AGENT=1")).is_ok());
    }
}
