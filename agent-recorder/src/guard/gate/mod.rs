//! The gate: whether a program of a session that the kernel has stopped may run.
//!
//! Not here: stopping it (the kernel programs), asking a person, and records of
//! it (`daemon`).

mod program_files;
mod rules;
mod stopped;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use agent_recorder_abi::held::{BY_SIZE, Held};
use agent_recorder_abi::policy::{NameKey, PlaceKey};
use agent_recorder_abi::rule::RuleKey;

pub use stopped::Stopped;

use crate::bpf::Tags;
use crate::config::{Answer, Gate as Config, GateAction};
use program_files::ProgramFiles;
use rules::Rules;

/// The rules, and the files that they are about.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    programs: ProgramFiles,
    /// How long a person has to answer.
    pub timeout: Duration,
    /// What nobody's answer is.
    pub answer: Answer,
}

/// What the kernel has to know of files that can come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Gated programs by their files.
    pub programs: Vec<(PlaceKey, u32)>,
    /// And by their sizes.
    pub sizes: BTreeMap<u64, u32>,
}

/// A program that meets a rule.
#[derive(Debug)]
pub struct Met {
    /// The rule.
    pub rule: String,
    /// What becomes of it.
    pub action: GateAction,
    /// The program's arguments, its name first.
    pub argv: Vec<Vec<u8>>,
    /// What the rules looked at: the same command in another program of the same process meets the same rule.
    pub command: Vec<String>,
}

impl Gate {
    /// By the configuration, which was checked.
    pub fn of(config: &Config) -> Self {
        let rules = Rules::of(config);
        Self {
            programs: ProgramFiles::find(&rules),
            rules,
            timeout: config.timeout,
            answer: config.answer,
        }
    }

    /// The programs' names as the kernel takes them.
    pub fn for_kernel(&self) -> Vec<(RuleKey, u32)> {
        self.rules.for_kernel()
    }

    /// The words and interpreters that it looks for.
    pub fn names(&self) -> Vec<(NameKey, u32)> {
        self.rules.names()
    }

    /// The programs' files, looked for anew.
    pub fn files(&mut self) -> Files {
        self.programs = ProgramFiles::find(&self.rules);
        Files {
            programs: self.programs.keys(&self.rules).into_values().collect(),
            sizes: self.programs.sizes(&self.rules),
        }
    }

    /// The process, and the rule that its program meets, if it does; `None` when it has ended.
    pub fn judge(&self, tags: &Tags, held: &Held) -> Option<(Stopped, Option<Met>)> {
        let stopped = Stopped::open(tags, held)?;
        let position = if held.body.known_by == BY_SIZE {
            self.programs.copied(&stopped.file())
        } else {
            usize::try_from(held.body.program)
                .ok()
                .and_then(|it| it.checked_sub(1))
        };
        let program = position.and_then(|position| self.rules.programs.get(position));
        let Some((program, _)) = program else {
            return Some((stopped, None));
        };
        let Some((started, argv)) = stopped.read(program, held.body.known_by) else {
            return Some((stopped, None));
        };
        let mut rules = self.rules.rules.iter();
        let met = rules.find(|rule| rule.is_met_by(&started)).map(|rule| Met {
            rule: rule.name.clone(),
            action: rule.action,
            argv,
            command: std::iter::once(started.program)
                .chain(started.arguments)
                .collect(),
        });
        Some((stopped, met))
    }
}
