//! A command line as its program reads it: options with their values, and words.
//!
//! Of an option that is not known either reading is possible: that it takes the next
//! word, and that it does not. What accuses a command counts in one reading, what
//! excuses it must hold in the known one.
//!
//! Not here: comparing what was read with a rule (`words`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::patterns::Pattern;
use crate::config::{CommandLine, ExecGate, GateRule, OptionStyle, Runner, alternatives};

/// How the options of one command are read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// What the recorder knows of the program.
    program: Option<&'static Program>,
    /// What the rule says of options.
    said: Options,
    /// What the rule's conditions tell of options.
    named: Options,
}

/// How a program reads its command line.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) line: &'static CommandLine,
    options: Options,
}

/// Whether options take values.
#[derive(Clone, Debug, Default)]
struct Options {
    plain: HashMap<String, bool>,
    globs: Vec<(Pattern, bool)>,
}

impl Options {
    /// Flags come first: they are the exceptions where all others take values.
    fn of(style: OptionStyle, flags: &[String], values: &[String]) -> Self {
        let mut options = Self::default();
        flags.iter().for_each(|it| options.learn(style, it, false));
        values.iter().for_each(|it| options.learn(style, it, true));
        options
    }

    fn learn(&mut self, style: OptionStyle, pattern: &str, takes: bool) {
        for name in alternatives(pattern) {
            let name = normal(style, name);
            match Pattern::new(name, false) {
                Some(pattern) if !pattern.is_plain() => self.globs.push((pattern, takes)),
                _ => {
                    self.plain.entry(name.to_owned()).or_insert(takes);
                }
            }
        }
    }

    fn takes(&self, name: &str) -> Option<bool> {
        let plain = self.plain.get(name).copied();
        plain.or_else(|| {
            self.globs
                .iter()
                .find(|(it, _)| it.is(name))
                .map(|(_, takes)| *takes)
        })
    }
}

/// How the program of this name reads its command line, where that is known.
pub(super) fn program_of(name: &str) -> Option<&'static Program> {
    static PROGRAMS: LazyLock<HashMap<&'static str, Program>> = LazyLock::new(|| {
        let lines = ExecGate::built_in().command_lines.iter();
        let programs = lines.flat_map(|line| {
            line.names.iter().map(move |name| {
                let values = [&line.values[..], &line.files].concat();
                let options = Options::of(line.style, &line.flags, &values);
                (name.as_str(), Program { line, options })
            })
        });
        programs.collect()
    });
    PROGRAMS.get(name)
}

/// Where one hyphen is as good as two, a name has one.
fn normal(style: OptionStyle, name: &str) -> &str {
    match name.strip_prefix('-') {
        Some(short) if style == OptionStyle::Words && short.starts_with('-') => short,
        _ => name,
    }
}

/// An option that is set, by its name with hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) value: Option<&'a str>,
    /// Whether all letters before it are known.
    pub(super) is_sure: bool,
}

/// Whether an option takes the next word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Next,
    Unknown,
}

/// An argument as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Option {
        raw: &'a str,
        settings: Vec<Setting<'a>>,
        takes: Takes,
    },
    /// The value of the option before it.
    Value(&'a str),
    /// `--`
    End,
    /// A word.
    Operand(&'a str),
}

impl Item<'_> {
    pub(super) fn settings(&self) -> &[Setting<'_>] {
        match self {
            Self::Option { settings, .. } => settings,
            _ => &[],
        }
    }
}

impl Reading {
    /// The reading of a program's command line for a rule.
    pub(super) fn for_rule(program: Option<&'static Program>, rule: &GateRule) -> Self {
        let style = style_of(program);
        let named = rule.any.iter().chain(&rule.unless);
        let named: Vec<_> = named
            .flat_map(|it| alternatives(it))
            .filter(|it| it.starts_with('-') && !it.contains(['*', '?']))
            .collect();
        let mut options = Options::default();
        // A flag that is also named with a value takes it behind `=` only.
        let flags = named.iter().filter(|it| !it.contains('='));
        flags.for_each(|it| options.learn(style, it, false));
        let values = rule.any.iter().chain(&rule.unless);
        let values = values
            .flat_map(|it| alternatives(it))
            .filter_map(|it| it.split_once('='));
        let values = values.filter(|(name, _)| name.starts_with('-'));
        values.for_each(|(name, _)| options.learn(style, name, true));
        Self {
            program,
            said: Options::of(style, &rule.flags, &rule.values),
            named: options,
        }
    }

    /// The reading of a program's command line for what it runs.
    pub(super) fn for_runner(program: Option<&'static Program>, runner: &Runner) -> Self {
        let values = [&runner.values[..], &runner.entry, &runner.text].concat();
        Self {
            program,
            said: Options::of(style_of(program), &runner.flags, &values),
            named: Options::default(),
        }
    }

    /// The reading of a program's command line as it is.
    pub(super) fn plain(program: Option<&'static Program>) -> Self {
        Self {
            program,
            ..Self::default()
        }
    }

    pub(super) fn line(&self) -> Option<&'static CommandLine> {
        self.program.map(|it| it.line)
    }

    fn style(&self) -> OptionStyle {
        style_of(self.program)
    }

    fn is_greedy(&self) -> bool {
        self.line().is_some_and(|it| it.greedy)
    }

    fn normal<'a>(&self, name: &'a str) -> &'a str {
        normal(self.style(), name)
    }

    fn takes(&self, name: &str) -> Takes {
        let program = self.program.and_then(|it| it.options.takes(name));
        let said = self.said.takes(name);
        match said.or(program).or_else(|| self.named.takes(name)) {
            Some(true) => Takes::Next,
            Some(false) => Takes::Nothing,
            None if name.starts_with("--no-") => Takes::Nothing,
            None => Takes::Unknown,
        }
    }

    /// Whether a setting is that of the option, or of one that is cut short.
    pub(super) fn is_named(&self, setting: &str, option: &str) -> bool {
        const SHORTEST: usize = "--xxx".len();
        let (setting, option) = (self.normal(setting), self.normal(option));
        setting == option
            || self.line().is_some_and(|it| it.abbreviates)
                && setting.len() >= SHORTEST
                && setting.starts_with("--")
                && option.starts_with(setting)
    }

    /// Reads arguments.
    pub(super) fn items<'a>(&self, arguments: &'a [String]) -> Vec<Item<'a>> {
        let mut items: Vec<Item<'a>> = Vec::with_capacity(arguments.len());
        let (mut pending, mut many, mut over) = (false, false, false);
        for argument in arguments {
            let argument = argument.as_str();
            let is_option = argument.len() > 1 && argument.starts_with(['-', '+']);
            let item = if over {
                Item::Operand(argument)
            } else if std::mem::take(&mut pending) && !(self.is_greedy() && is_option) {
                if let Some(Item::Option { settings, .. }) = items.last_mut()
                    && let Some(last) = settings.last_mut()
                {
                    last.value = Some(argument);
                }
                Item::Value(argument)
            } else if argument == "--" {
                over = true;
                Item::End
            } else if is_option {
                let (settings, takes) = self.option(argument);
                pending = takes == Takes::Next;
                many = pending && self.is_greedy();
                Item::Option {
                    raw: argument,
                    settings,
                    takes,
                }
            } else if many {
                Item::Value(argument)
            } else {
                Item::Operand(argument)
            };
            items.push(item);
        }
        items
    }

    fn option<'a>(&self, argument: &'a str) -> (Vec<Setting<'a>>, Takes) {
        let is_word = self.style() == OptionStyle::Words || argument.starts_with("--");
        if is_word || argument.starts_with('+') {
            let (name, value) = parted(argument);
            let name = self.normal(name);
            let takes = match value {
                Some(_) => Takes::Nothing,
                None => self.takes(name),
            };
            return (vec![sure(name, value)], takes);
        }
        self.letters(argument)
    }

    /// Reads a group of letters: `-xzf`, `-ofile`.
    fn letters<'a>(&self, argument: &'a str) -> (Vec<Setting<'a>>, Takes) {
        let mut settings = Vec::new();
        let mut is_known = true;
        let mut takes = Takes::Nothing;
        for (at, letter) in argument.char_indices().skip(1) {
            let after = &argument[at + letter.len_utf8()..];
            let name = format!("-{letter}");
            takes = self.takes(&name);
            let value = (takes == Takes::Next && !after.is_empty()).then_some(after);
            let is_only = argument.len() == 1 + letter.len_utf8();
            if takes == Takes::Unknown && !is_only {
                is_known = false;
                if !letter.is_alphanumeric() {
                    break;
                }
            }
            settings.push(Setting {
                name: Cow::Owned(name),
                value,
                is_sure: true,
            });
            if value.is_some() {
                takes = Takes::Nothing;
                break;
            }
        }
        for setting in &mut settings {
            setting.is_sure = is_known;
        }
        if !is_known {
            takes = Takes::Unknown;
        }
        if settings.len() != 1 || !is_known {
            // Some programs write words behind one hyphen.
            let (name, value) = parted(argument);
            if value.is_some() && !is_known {
                takes = Takes::Nothing;
            }
            settings.insert(0, sure(name, value));
        }
        (settings, takes)
    }
}

fn style_of(program: Option<&Program>) -> OptionStyle {
    program.map(|it| it.line.style).unwrap_or_default()
}

fn sure<'a>(name: &'a str, value: Option<&'a str>) -> Setting<'a> {
    Setting {
        name: Cow::Borrowed(name),
        value,
        is_sure: true,
    }
}

/// An option's name, and its value behind `=`.
fn parted(argument: &str) -> (&str, Option<&str>) {
    match argument.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (argument, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(program: &str, values: &[&str], flags: &[&str]) -> Reading {
        let owned = |all: &[&str]| all.iter().map(|&it| it.to_owned()).collect();
        let rule = GateRule {
            values: owned(values),
            flags: owned(flags),
            ..GateRule::default()
        };
        Reading::for_rule(program_of(program), &rule)
    }

    fn settings(reading: &Reading, line: &str) -> Vec<(String, Option<String>, bool)> {
        let arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let items = reading.items(&arguments);
        let settings = items.iter().flat_map(Item::settings);
        settings
            .map(|it| (it.name.to_string(), it.value.map(str::to_owned), it.is_sure))
            .collect()
    }

    #[test]
    fn a_letter_with_a_value_ends_its_group() {
        let reading = reading("x", &["-e", "-L"], &["-v", "-n"]);
        let set = |name: &str, value: Option<&str>, sure| {
            (name.to_owned(), value.map(str::to_owned), sure)
        };
        assert_eq!(
            settings(&reading, "-eDROP"),
            [set("-e", Some("DROP"), true)]
        );
        assert_eq!(
            settings(&reading, "-Lmain"),
            [set("-L", Some("main"), true)]
        );
        assert_eq!(settings(&reading, "-L -n"), [set("-L", Some("-n"), true)]);
        assert_eq!(
            settings(&reading, "-vn")[1..],
            [set("-v", None, true), set("-n", None, true)]
        );
        let unknown = settings(&reading, "-refresh");
        assert!(
            unknown.iter().skip(1).all(|(.., sure)| !sure),
            "{unknown:?}"
        );
    }

    #[test]
    fn a_word_behind_one_hyphen_is_no_group() {
        let reading = reading("terraform", &["-chdir"], &[]);
        let set =
            |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned), true);
        assert_eq!(settings(&reading, "-refresh"), [set("-refresh", None)]);
        assert_eq!(
            settings(&reading, "--destroy=1"),
            [set("-destroy", Some("1"))]
        );
        assert_eq!(settings(&reading, "-chdir x"), [set("-chdir", Some("x"))]);
    }
}
