//! The gate decides whether a program of a session that the kernel has stopped may
//! run.
//!
//! Not here: stopping the program (the kernel programs), asking a person, and the
//! records (`daemon`).

mod options;
mod patterns;
mod program_files;
mod rules;
mod runners;
mod shell;
mod statements;
mod stopped;
mod stopped_files;
#[cfg(test)]
mod table;
mod texts;
mod tokens;
mod triggers;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use agent_recorder_abi::agent_rule::RuleKey;
use agent_recorder_abi::exec_gate::{BY_SIZE, Held};
use agent_recorder_abi::policy::{NameKey, PlaceKey};

pub use stopped::Stopped;

use crate::bpf::Tags;
use crate::config::{Answer, Gate as Config, GateAction};
use program_files::ProgramFiles;
use rules::Rules;

/// The rules, and the files of the gated programs.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    programs: ProgramFiles,
    /// How long a person has to answer.
    pub timeout: Duration,
    /// The answer when no person answers in time.
    pub answer: Answer,
}

/// Files of gated programs for the kernel; they can come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Gated programs by file.
    pub programs: Vec<(PlaceKey, u32)>,
    /// Gated programs by file size, bytes.
    pub sizes: BTreeMap<u64, u32>,
}

/// A program that meets a rule.
#[derive(Debug)]
pub struct Met {
    /// Name of the rule.
    pub rule: String,
    /// Action of the rule.
    pub action: GateAction,
    /// The program's arguments, its name first.
    pub argv: Vec<Vec<u8>>,
    /// The words that the rules compared. The same command in another program of the
    /// same process meets the same rule.
    pub command: Vec<String>,
}

/// A program that meets a rule, and runs already.
#[derive(Debug)]
pub struct Unstopped {
    /// Name of the rule.
    pub rule: String,
    /// The program's arguments, its name first.
    pub argv: Vec<Vec<u8>>,
}

impl Gate {
    /// Builds the gate from a checked configuration.
    pub fn of(config: &Config) -> Self {
        let rules = Rules::of(config);
        Self {
            programs: ProgramFiles::find(&rules),
            rules,
            timeout: config.timeout,
            answer: config.answer,
        }
    }

    /// Names of the gated programs in the kernel's form.
    pub fn for_kernel(&self) -> Vec<(RuleKey, u32)> {
        self.rules.triggers.for_kernel()
    }

    /// Words and interpreters for which the kernel stops a program.
    pub fn names(&self) -> Vec<(NameKey, u32)> {
        self.rules.triggers.names()
    }

    /// Looks the programs' files up again.
    pub fn files(&mut self) -> Files {
        self.programs = ProgramFiles::find(&self.rules);
        Files {
            programs: self.programs.keys(&self.rules).into_values().collect(),
            sizes: self.programs.sizes(&self.rules),
        }
    }

    /// The stopped process, and the rule that its program meets; `None` when the
    /// process has ended.
    pub fn judge(&self, tags: &Tags, held: &Held) -> Option<(Stopped, Option<Met>)> {
        let stopped = Stopped::open(tags, held)?;
        let position = if held.body.known_by == BY_SIZE {
            self.programs.copied(&stopped.file())
        } else {
            usize::try_from(held.body.program)
                .ok()
                .and_then(|it| it.checked_sub(1))
        };
        let program = position.and_then(|position| self.rules.triggers.programs.get(position));
        let Some((program, _)) = program else {
            return Some((stopped, None));
        };
        let Some((started, argv)) = stopped.read(program, held.body.known_by) else {
            return Some((stopped, None));
        };
        let met = self.rules.met(&started, &stopped.files()).map(|rule| Met {
            rule: rule.name.clone(),
            action: rule.action,
            argv,
            command: std::iter::once(started.program)
                .chain(started.arguments)
                .collect(),
        });
        Some((stopped, met))
    }

    /// The rule that a program meets which the kernel had no name for, so that it runs
    /// already.
    pub fn judge_unstopped(&self, exe: &[u8], argv: &[Vec<u8>]) -> Option<Unstopped> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let arguments: Vec<_> = argv.iter().map(|it| text(it)).collect();
        let rule = self.rules.met_unstopped(&arguments, &text(exe))?;
        (rule.action != GateAction::Allow).then(|| Unstopped {
            rule: rule.name.clone(),
            argv: argv.to_vec(),
        })
    }
}
