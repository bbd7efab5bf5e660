//! `[[gate.rule]]`: the conditions of a rule, and what could match nothing.
//!
//! Not here: which rules are in force (`gate`), and comparing a command with one
//! (`guard::gate`).

use agent_recorder_abi::limits::PATTERN_BYTES;
use globset::GlobBuilder;
use serde::{Deserialize, Serialize};

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
    /// Patterns for words in front of which the search of a `**` in `words` ends, in any case: what comes behind
    /// `list` or `describe` is a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub until: Vec<String>,
    /// Patterns one of which an argument must match. `-f` is also found in `-uf`, `--force` in `--force=true`.
    /// `-X=DELETE` is the option `-X` with this value, in whatever way it is written. When empty, no argument is
    /// required.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<String>,
    /// Patterns that no argument may match. An option counts where the program takes it for one: `-n` in a group
    /// of letters only if `flags` has the others, and never as the value of an option.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<String>,
    /// Options that take a value, beside those that the recorder knows of the program. Patterns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Options that take no value, beside those that the recorder knows of the program. Patterns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Patterns for what a statement does, in any case: its first word, or `delete-all` and `update-all` for one
    /// without a condition, `alter-drop` for an `alter` that drops. Statements are found in arguments and in the
    /// files that these name, and one must match. When empty, no statement is required.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// Patterns for program text in arguments and in the files that these name, without its blanks, comments
    /// and quoted strings. When empty, no text is required.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
    /// Patterns for names of environment variables. The program's environment must have a match for each; a bar
    /// separates alternatives. When empty, the environment is not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// Patterns for the name of the file that runs, which for a script is its interpreter. When empty, any file
    /// will do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interpreters: Vec<String>,
    /// Whether the rule is only about commands that another program runs elsewhere, as `docker exec` and ssh(1) do.
    pub elsewhere: bool,
    /// What happens to a program that meets the rule.
    pub action: GateAction,
}

impl GateRule {
    /// Checks the values. An error has the key, and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.name.is_empty() {
            return Err(("name", "must not be empty".to_owned()));
        }
        if self.programs.is_empty() {
            return Err(("programs", "must name a program".to_owned()));
        }
        for program in &self.programs {
            let is_name = !program.is_empty() && !program.contains(['/', '*', '?', '|', '\0']);
            if program == EVERY_PROGRAM {
                continue;
            }
            if !is_name || program.len() >= PATTERN_BYTES {
                let why = format!(
                    "has {program:?}, which is no name of a program of less than {PATTERN_BYTES} bytes"
                );
                return Err(("programs", why));
            }
        }
        let every_program = self.programs.iter().any(|it| it == EVERY_PROGRAM);
        if every_program && self.programs.len() > 1 {
            return Err((
                "programs",
                "has \"*\", which is all programs, beside others".to_owned(),
            ));
        }
        if every_program && !matches!(self.action, GateAction::Alert) {
            let why = "must be \"alert\" for all programs: one is stopped by its name only";
            return Err(("action", why.to_owned()));
        }
        type Fault = fn(&str) -> Option<&'static str>;
        let lists: [(_, _, Fault); 10] = [
            ("words", &self.words, in_words),
            ("until", &self.until, in_words),
            ("any", &self.any, nowhere),
            ("unless", &self.unless, in_unless),
            ("values", &self.values, in_options),
            ("flags", &self.flags, in_options),
            ("statements", &self.statements, in_statements),
            ("code", &self.code, in_code),
            ("environment", &self.environment, in_names),
            ("interpreters", &self.interpreters, in_files),
        ];
        for (key, patterns, fault) in lists {
            for alternative in patterns.iter().flat_map(|pattern| alternatives(pattern)) {
                if alternative.is_empty() || glob(alternative, false).is_err() {
                    return Err((key, format!("has {alternative:?}, which is no pattern")));
                }
                if let Some(why) = fault(alternative).or_else(|| unknown_wildcard(alternative)) {
                    return Err((
                        key,
                        format!("has {alternative:?}, which matches nothing: {why}"),
                    ));
                }
            }
        }
        if let Some(word) = self
            .words
            .iter()
            .find(|it| *it != "**" && alternatives(it).any(|it| it == "**"))
        {
            let why = format!("has {word:?}; \"**\" has no alternatives, write two rules");
            return Err(("words", why));
        }
        if !self.until.is_empty() && !self.words.iter().any(|it| it == "**") {
            let why = "ends the search of a \"**\", and `words` has none; remove it".to_owned();
            return Err(("until", why));
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

/// In place of programs' names: all of them.
pub const EVERY_PROGRAM: &str = "*";

/// Faults of a pattern, by which it would match nothing, and what to write instead.
fn nowhere(_: &str) -> Option<&'static str> {
    None
}

fn in_words(pattern: &str) -> Option<&'static str> {
    (pattern.len() > 1 && pattern.starts_with('-'))
        .then_some("words are no options; use `any` or `unless`")
}

fn in_unless(pattern: &str) -> Option<&'static str> {
    pattern.chars().all(|it| it == '*').then_some(
        "with it no program would meet the rule; remove the rule, or use action = \"allow\"",
    )
}

fn in_options(pattern: &str) -> Option<&'static str> {
    let is_option = pattern.starts_with(['-', '+']) && !pattern.contains(['=', ' ']);
    (!is_option).then_some("an option begins with a hyphen and is written without its value")
}

fn in_statements(pattern: &str) -> Option<&'static str> {
    let is_word = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | '*' | '?');
    (!pattern.chars().all(is_word))
        .then_some("a statement is known by its first word, or by `delete-all` and such")
}

fn in_code(pattern: &str) -> Option<&'static str> {
    pattern
        .contains([' ', '\t', '\n', '"', '\''])
        .then_some("code is compared without its blanks and quoted strings")
}

fn in_names(pattern: &str) -> Option<&'static str> {
    pattern
        .contains(['=', '/', ' '])
        .then_some("a variable is known by its name, without its value")
}

fn in_files(pattern: &str) -> Option<&'static str> {
    pattern
        .contains('/')
        .then_some("a file is known by its name, without its directory")
}

/// Wildcards of other languages, which are ordinary characters here.
fn unknown_wildcard(pattern: &str) -> Option<&'static str> {
    let between = |open, close| {
        let (_, behind) = pattern.split_once(open)?;
        behind
            .split_once(close)
            .map(|(inside, _): (&str, &str)| inside)
    };
    let is_set = between('[', ']').is_some_and(|it| !it.is_empty());
    let is_list = between('{', '}').is_some_and(|it| it.contains(','));
    (is_set || is_list)
        .then_some("brackets are no wildcards; write `?`, or alternatives with a bar between them")
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
