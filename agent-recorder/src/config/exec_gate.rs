//! `policy/exec_gate/`: the built-in rules of the gate with their tests, how programs
//! read their command lines, and programs that run others.
//!
//! Not here: the configuration's own rules (`gate`), and comparing a command with a
//! rule (`guard::gate`).

use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize};

use super::built_in::{EXEC_GATE, PolicyFile};
use super::gate_rule::GateRule;

/// The files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecGate {
    /// Directories and interpreters of gated programs.
    pub programs: GatePrograms,
    /// How programs read their command lines.
    #[serde(rename = "command_line")]
    pub command_lines: Vec<CommandLine>,
    /// Programs that run others.
    #[serde(rename = "runner")]
    pub runners: Vec<Runner>,
    /// The rules. The first one that a program meets applies.
    #[serde(rename = "rule")]
    pub rules: Vec<TestedRule>,
}

/// `[programs]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatePrograms {
    /// Directories of programs, beside the daemon's `PATH`.
    pub directories: Vec<PathBuf>,
    /// Programs that run scripts, without their versions.
    pub interpreters: Vec<String>,
    /// Interpreters whose file contains many programs.
    pub multicall: Vec<String>,
    /// Shells, core utilities and package managers, which a rule for all programs is
    /// not about.
    pub ordinary: Vec<String>,
    /// Programs that start often: the kernel stops them by their words. Of other programs
    /// it stops each start.
    pub frequent: Vec<String>,
    /// Programs that are also installed under names with a version, and the versions.
    pub versions: Vec<Versions>,
}

/// Names with versions: `psql15`, `psql-15`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Names of the programs.
    pub names: Vec<String>,
    /// Their versions.
    pub versions: Vec<String>,
}

/// How a program reads its command line.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandLine {
    /// Names of the programs.
    pub names: Vec<String>,
    /// How their options are written.
    pub style: OptionStyle,
    /// Whether the words behind an option's value are values of it, too.
    pub greedy: bool,
    /// Whether a long option may be cut short.
    pub abbreviates: bool,
    /// Patterns for options that take a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Patterns for options that take none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Options whose value is a file with statements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Whether statements are read from the standard input.
    pub input: bool,
    /// Environment variables whose words are arguments. `{}` is the first word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
}

/// How options are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionStyle {
    /// Letters behind one hyphen, words behind two (getopt_long(3)).
    #[default]
    Letters,
    /// Words behind one hyphen or two, as Go's `flag` has them.
    Words,
}

/// A program that runs another, elsewhere or in its own process.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runner {
    /// Names of the programs.
    pub programs: Vec<String>,
    /// First words that are no options, as in a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// How many words come before the command.
    pub skip: usize,
    /// Whether the command's words are a shell's text.
    pub shell: bool,
    /// Whether assignments may come before the command.
    pub assignments: bool,
    /// Whether a `--` begins the command wherever it stands.
    pub dashes: bool,
    /// Options that take a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Options that take none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Options whose value is a program that is given the words behind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entry: Vec<String>,
    /// Words behind which a command begins; then it begins nowhere else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub begins: Vec<String>,
    /// Options whose value is a shell's text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
    /// Whether it counts only behind another runner: on this host the kernel sees
    /// what it runs.
    pub elsewhere: bool,
}

/// A rule, and command lines that show what it is about.
#[derive(Debug)]
pub struct TestedRule {
    /// The rule.
    pub rule: GateRule,
    /// Command lines that this rule decides.
    pub holds: Vec<String>,
    /// Command lines that no rule decides.
    pub runs: Vec<String>,
}

impl<'de> Deserialize<'de> for TestedRule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut table = toml::Table::deserialize(from)?;
        let mut lines = |key: &str| match table.remove(key) {
            Some(lines) => lines.try_into().map_err(D::Error::custom),
            None => Ok(Vec::new()),
        };
        let (holds, runs) = (lines("holds")?, lines("runs")?);
        let rule = table.try_into().map_err(D::Error::custom)?;
        Ok(Self { rule, holds, runs })
    }
}

impl ExecGate {
    /// The built-in files.
    pub fn built_in() -> &'static Self {
        static READ: LazyLock<ExecGate> = LazyLock::new(|| PolicyFile::read_all(&EXEC_GATE));
        &READ
    }

    /// Programs that the kernel stops for what they run.
    pub fn gated_runners(&self) -> impl Iterator<Item = &str> {
        let runners = self.runners.iter().filter(|it| !it.elsewhere);
        runners.flat_map(|it| &it.programs).map(String::as_str)
    }
}
