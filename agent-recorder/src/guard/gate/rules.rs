//! Rules as they are judged here: the first one that a command meets, or a command
//! that it runs elsewhere.
//!
//! Not here: which programs the kernel stops for them (`triggers`).

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use super::options::{Item, Reading, program_of};
use super::runners::{Behind, Compiled};
use super::shell::{Simple, commands, words as shell_words};
use super::texts::{Files, NoFiles, Texts};
use super::triggers::Triggers;
use super::words::{Argument, Word, ends};
use crate::config::{EVERY_PROGRAM, ExecGate, Gate as Config, GateAction, GateRule};
use crate::guard::script::after_script;

/// Commands within one another: `ssh a docker exec b sudo sh -c c`, and some more.
const DEPTH: usize = 8;
/// Most commands that are judged for one program.
const MOST: u32 = 512;
/// Words among which a rule for all programs looks for its own.
const FIRST_WORDS: usize = 3;

/// Whether a file of this name runs scripts.
pub(super) fn interprets(name: &str) -> bool {
    let stem = name.split(|it: char| !it.is_ascii_lowercase()).next();
    let known = &ExecGate::built_in().programs.interpreters;
    stem.is_some_and(|stem| known.iter().any(|it| it == stem))
}

/// Last component of a path.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The conditions of a rule, and its action.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) action: GateAction,
    programs: Vec<String>,
    /// How each program's command line is read.
    readings: Vec<Reading>,
    words: Vec<Word>,
    until: Vec<Word>,
    any: Vec<Argument>,
    unless: Vec<Argument>,
    statements: Vec<Word>,
    code: Vec<Word>,
    /// For each pattern its alternatives.
    environment: Vec<Vec<Argument>>,
    interpreters: Vec<Argument>,
    elsewhere: bool,
}

/// A started program as rules see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Started {
    /// The gated program's name.
    pub(super) program: String,
    /// Last component of the file that runs.
    pub(super) interpreter: String,
    /// Arguments after the program's name, or after the script.
    pub(super) arguments: Vec<String>,
    /// The environment's variables.
    pub(super) environment: Vec<(String, String)>,
}

/// A command as it is judged: a started program, or what one runs elsewhere.
#[derive(Clone, Debug, Default)]
struct Command {
    started: Started,
    /// What is written to it, where a shell's text says so.
    input: Option<String>,
    elsewhere: bool,
}

impl Rule {
    fn new(rule: &GateRule) -> Self {
        let arguments = |patterns: &[String]| {
            let all = patterns.iter().flat_map(|pattern| Argument::all(pattern));
            all.collect()
        };
        let words = |patterns: &[String]| patterns.iter().map(|it| Word::new(it)).collect();
        let readings = rule
            .programs
            .iter()
            .map(|it| Reading::for_rule(program_of(it), rule));
        Self {
            name: rule.name.clone(),
            action: rule.action,
            programs: rule.programs.clone(),
            readings: readings.collect(),
            words: words(&rule.words),
            until: words(&rule.until),
            any: arguments(&rule.any),
            unless: arguments(&rule.unless),
            statements: words(&rule.statements),
            code: words(&rule.code),
            environment: rule
                .environment
                .iter()
                .map(|it| Argument::all(it))
                .collect(),
            interpreters: arguments(&rule.interpreters),
            elsewhere: rule.elsewhere,
        }
    }

    fn is_for_all(&self) -> bool {
        self.programs.iter().any(|it| it == EVERY_PROGRAM)
    }

    fn is_met_by(&self, command: &Command, files: &dyn Files) -> bool {
        let Some(at) = self
            .programs
            .iter()
            .position(|it| *it == command.started.program)
        else {
            return false;
        };
        self.readings
            .get(at)
            .is_some_and(|reading| self.is_met_as(reading, usize::MAX, command, files))
    }

    /// Whether the command of any program meets a rule for all.
    fn is_met_by_any(&self, command: &Command) -> bool {
        let mut readings = self.readings.iter();
        readings.any(|it| self.is_met_as(it, FIRST_WORDS - 1, command, &NoFiles))
    }

    fn is_met_as(
        &self,
        reading: &Reading,
        passed: usize,
        command: &Command,
        files: &dyn Files,
    ) -> bool {
        let started = &command.started;
        if self.elsewhere && !command.elsewhere {
            return false;
        }
        let items = reading.items(&started.arguments);
        let named = |alternatives: &Vec<Argument>| {
            let mut names = started.environment.iter();
            names.any(|(name, _)| alternatives.iter().any(|it| it.is(name)))
        };
        !ends(&self.words, &self.until, passed, &items).is_empty()
            && (self.any.is_empty() || self.any.iter().any(|it| it.is_in(&items, reading)))
            && !self
                .unless
                .iter()
                .any(|it| it.is_surely_in(&items, reading))
            && self.environment.iter().all(named)
            && (self.interpreters.is_empty()
                || self
                    .interpreters
                    .iter()
                    .any(|it| it.is(&started.interpreter)))
            && (self.statements.is_empty() && self.code.is_empty() || {
                let input = command.input.as_deref();
                let texts = Texts::of(&started.program, &items, reading, input, files);
                let is = |words: &[Word], text: &str| words.iter().any(|it| it.is(text));
                (self.statements.is_empty() || texts.state(|it| is(&self.statements, it)))
                    && (self.code.is_empty() || texts.have_code(|it| is(&self.code, it)))
            })
    }
}

/// All rules, and the programs that they name.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    runners: Vec<Compiled>,
    /// For each program the rules about it, in their order.
    about: HashMap<String, Vec<usize>>,
    /// Programs that run others.
    running: HashSet<&'static str>,
    /// What the kernel stops.
    pub(super) triggers: Triggers,
}

impl Rules {
    /// Builds the rules from a checked configuration.
    pub(super) fn of(config: &Config) -> Self {
        let rules = config.in_force();
        let runners = || {
            ExecGate::built_in()
                .runners
                .iter()
                .filter(|_| config.builtin)
        };
        let mut about = HashMap::<_, Vec<_>>::new();
        for (position, rule) in rules.iter().enumerate() {
            for program in &rule.programs {
                about.entry(program.clone()).or_default().push(position);
            }
        }
        Self {
            triggers: Triggers::of(&rules, config.builtin),
            rules: rules.iter().map(Rule::new).collect(),
            running: runners()
                .flat_map(|it| &it.programs)
                .map(String::as_str)
                .collect(),
            runners: runners().map(Compiled::new).collect(),
            about,
        }
    }

    /// The first rule that the program meets, or what it runs elsewhere.
    pub(super) fn met(&self, started: &Started, files: &dyn Files) -> Option<&Rule> {
        let mut command = Command {
            started: started.clone(),
            ..Command::default()
        };
        add_variables(&mut command.started);
        self.met_by(&command, files, DEPTH, &Cell::new(MOST))
    }

    fn met_by(
        &self,
        command: &Command,
        files: &dyn Files,
        depth: usize,
        left: &Cell<u32>,
    ) -> Option<&Rule> {
        left.set(left.get().checked_sub(1)?);
        let about = self.about.get(&command.started.program);
        let mut rules = about
            .into_iter()
            .flatten()
            .filter_map(|at| self.rules.get(*at));
        let met = rules.find(|rule| rule.is_met_by(command, files));
        if met.is_some() {
            return met;
        }
        let depth = depth.checked_sub(1)?;
        let program = &command.started.program;
        let runners = self.runners.iter().filter(|it| {
            it.runner.programs.contains(program) && (command.elsewhere || !it.runner.elsewhere)
        });
        let mut behind = runners.flat_map(|it| it.commands(program, &command.started.arguments));
        behind.find_map(|behind| match behind {
            Behind::Words(words) => {
                let simple = Simple {
                    words,
                    input: command.input.clone(),
                    ..Simple::default()
                };
                self.met_elsewhere(simple, command, files, depth, left)
            }
            Behind::Text(text) => commands(&text)
                .into_iter()
                .find_map(|simple| self.met_elsewhere(simple, command, files, depth, left)),
        })
    }

    /// The rule that a command behind another one meets. Only its input is of this host.
    fn met_elsewhere(
        &self,
        simple: Simple,
        runner: &Command,
        files: &dyn Files,
        depth: usize,
        left: &Cell<u32>,
    ) -> Option<&Rule> {
        struct Elsewhere<'a>(&'a dyn Files);
        impl Files for Elsewhere<'_> {
            fn read(&self, _: &str) -> super::texts::Content {
                super::texts::Content::None
            }
            fn input(&self) -> super::texts::Content {
                self.0.input()
            }
        }
        let (name, arguments) = simple.words.split_first()?;
        let interpreter = base(name);
        let (program, arguments) = self.script_in(&simple.words).unwrap_or_else(|| {
            (
                self.known(interpreter).unwrap_or(interpreter).to_owned(),
                arguments,
            )
        });
        let mut started = Started {
            program,
            interpreter: interpreter.to_owned(),
            arguments: arguments.to_vec(),
            environment: runner.started.environment.clone(),
        };
        started.environment.extend(simple.assignments);
        add_variables(&mut started);
        let command = Command {
            started,
            input: simple.input,
            elsewhere: true,
        };
        self.met_by(&command, &Elsewhere(files), depth, left)
    }

    /// The known script that an interpreter is given, and the arguments behind it.
    fn script_in<'a>(&self, words: &'a [String]) -> Option<(String, &'a [String])> {
        let interpreter = base(words.first()?);
        if !interprets(interpreter) {
            return None;
        }
        let argv: Vec<Vec<u8>> = words.iter().map(|it| it.as_bytes().to_vec()).collect();
        let scripts = words.iter().skip(1).take(SCRIPT_WITHIN);
        scripts.map(|it| base(it)).find_map(|script| {
            let program = self.known(script)?;
            let begin = after_script(interpreter, &argv, script.as_bytes())?;
            Some((program.to_owned(), words.get(begin..).unwrap_or_default()))
        })
    }

    /// The program of this name that a rule is about, perhaps without a version.
    pub(super) fn known<'a>(&self, name: &'a str) -> Option<&'a str> {
        let is_known = |name: &str| self.about.contains_key(name) || self.running.contains(name);
        if is_known(name) {
            return Some(name);
        }
        let stem = unversioned(name);
        (stem != name && is_known(stem)).then_some(stem)
    }

    /// The gated program of this name, perhaps with a version, and its position.
    pub(super) fn program<'a>(&self, name: &'a str) -> Option<(usize, &'a str)> {
        let known = self.known(name)?;
        let programs = &self.triggers.programs;
        let position = programs.binary_search_by(|(it, _)| it.as_str().cmp(known));
        Some((position.ok()?, known))
    }

    /// The rule by which a program is recorded that the kernel did not stop: one that it
    /// has no name for.
    pub(super) fn met_unstopped(&self, argv: &[String], exe: &str) -> Option<&Rule> {
        let interpreter = base(exe);
        let (names, arguments) = if interprets(interpreter) {
            let (script, arguments) = script_of(interpreter, argv)?;
            (vec![script], arguments)
        } else {
            // The file's own name, and the one that it was started by.
            let name = base(argv.first()?);
            (vec![name, interpreter], argv.get(1..)?)
        };
        let name = *names.first()?;
        let ordinary = &ExecGate::built_in().programs.ordinary;
        if names.iter().any(|it| self.triggers.stops(it)) {
            return None;
        }
        let known = names.iter().find_map(|it| self.known(it));
        let command = Command {
            started: Started {
                program: known.unwrap_or(name).to_owned(),
                interpreter: interpreter.to_owned(),
                arguments: arguments.to_vec(),
                environment: Vec::new(),
            },
            ..Command::default()
        };
        if known.is_some() {
            return self.met_by(&command, &NoFiles, DEPTH, &Cell::new(MOST));
        }
        if names.iter().any(|it| {
            ordinary
                .iter()
                .any(|known| known == it || known == unversioned(it))
        }) {
            return None;
        }
        let mut rules = self.rules.iter().filter(|it| it.is_for_all());
        rules.find(|it| it.is_met_by_any(&command))
    }
}

/// Most arguments among which a script is searched.
const SCRIPT_WITHIN: usize = 8;

/// A name without its version: `psql-15`, `mysql8.0`, `rails-7`.
fn unversioned(name: &str) -> &str {
    let stem = name.trim_end_matches(|it: char| it.is_ascii_digit() || it == '.');
    let stem = stem.strip_suffix("-v").unwrap_or(stem);
    let stem = stem.trim_end_matches(['-', '_', '.', '@']);
    if stem.is_empty() { name } else { stem }
}

/// The script of an interpreter's command line, and its arguments: the first word
/// that is no option.
fn script_of<'a>(interpreter: &str, argv: &'a [String]) -> Option<(&'a str, &'a [String])> {
    let bytes: Vec<Vec<u8>> = argv.iter().map(|it| it.as_bytes().to_vec()).collect();
    let at = argv.iter().skip(1).position(|it| !it.starts_with('-'))? + 1;
    let name = base(argv.get(at)?);
    after_script(interpreter, &bytes, name.as_bytes()).filter(|behind| *behind == at + 1)?;
    Some((name, argv.get(at + 1..)?))
}

/// Puts the words of environment variables where the program has them.
fn add_variables(started: &mut Started) {
    let reading = Reading::plain(program_of(&started.program));
    let Some(line) = reading.line().filter(|it| !it.variables.is_empty()) else {
        return;
    };
    let items = reading.items(&started.arguments);
    let Some(at) = items.iter().position(|it| matches!(it, Item::Operand(_))) else {
        return;
    };
    let verb = &started.arguments[at];
    let names: Vec<_> = line
        .variables
        .iter()
        .map(|it| it.replace("{}", verb))
        .collect();
    let of_name = started
        .environment
        .iter()
        .filter(|(name, _)| names.contains(name));
    let more: Vec<_> = of_name.flat_map(|(_, value)| shell_words(value)).collect();
    started.arguments.splice(at + 1..at + 1, more);
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::of(&Config::default()));

    /// Words from which rules and options are made, and arbitrary ones.
    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            2 => prop::sample::select(vec![
                "destroy", "delete", "rm", "-f", "--", "-", "+", "=", "", ";", "/*", "*/", "--x=y",
                "-c", "drop", "flushall", "push", "--force", "s3", "ec2", "system", "prune",
                "exec", "sh", "docker", "ssh", "psql", "'", "\"", "$(", "$$", "é",
            ])
            .prop_map(str::to_owned),
            1 => any::<String>(),
        ]
    }

    proptest! {
        /// A session chooses every word.
        #[test]
        fn any_words_are_judged(
            at in any::<prop::sample::Index>(),
            arguments in vec(word(), 0..40),
            environment in vec((word(), word()), 0..5),
            interpreter in word(),
        ) {
            let programs = &RULES.triggers.programs;
            let program = programs[at.index(programs.len())].0.clone();
            let mut argv = arguments.clone();
            argv.insert(0, interpreter.clone());
            RULES.met_unstopped(&argv, &interpreter);
            let started = Started { program, interpreter, arguments, environment };
            RULES.met(&started, &NoFiles);
        }

        /// An argument after a destructive command makes it no less destructive.
        #[test]
        fn words_behind_a_command_that_destroys_change_nothing(more in vec(word(), 0..40)) {
            let mut arguments = vec!["destroy".to_owned()];
            arguments.extend(more);
            let program = "terraform".to_owned();
            let started = Started { program, arguments, ..Started::default() };
            prop_assert!(RULES.met(&started, &NoFiles).is_some());
        }
    }

    #[test]
    fn a_program_that_starts_often_is_stopped_by_its_words() {
        let always = |name: &str| {
            let mut programs = RULES.triggers.programs.iter();
            programs
                .find(|(program, _)| program == name)
                .map(|(_, always)| *always)
        };
        for name in &ExecGate::built_in().programs.frequent {
            assert_eq!(always(name), Some(false), "{name}");
        }
        assert_eq!(always("psql"), Some(true));
        assert_eq!(always("mkfs.ext4"), Some(true));
        assert_eq!(always("rm"), None);
    }

    fn rule(change: impl FnOnce(&mut GateRule)) -> Rules {
        let mut rule = GateRule {
            name: "x".to_owned(),
            programs: vec!["deploy".to_owned()],
            ..GateRule::default()
        };
        change(&mut rule);
        Rules::of(&Config {
            rules: vec![rule],
            ..Config::default()
        })
    }

    fn names(variables: &[&str]) -> Vec<(String, String)> {
        let all = variables.iter().map(|it| ((*it).to_owned(), String::new()));
        all.collect()
    }

    #[test]
    fn a_condition_on_the_environment_or_the_interpreter_must_hold() {
        let rules = rule(|it| {
            it.environment = vec!["AWS_*".to_owned()];
            it.interpreters = vec!["python*".to_owned()];
        });
        let met = |interpreter: &str, variable: &str| {
            let started = Started {
                program: "deploy".to_owned(),
                interpreter: interpreter.to_owned(),
                arguments: Vec::new(),
                environment: names(&["HOME", variable]),
            };
            rules.met(&started, &NoFiles).is_some()
        };
        assert!(met("python3.13", "AWS_PROFILE"));
        assert!(!met("python3.13", "PATH"));
        assert!(!met("perl", "AWS_PROFILE"));
    }

    #[test]
    fn a_bar_separates_alternatives_of_a_variable_name() {
        let rules = rule(|it| it.environment = vec!["AWS_*|GOOGLE_*".to_owned(), "CI".to_owned()]);
        let met = |variables: &[&str]| {
            let started = Started {
                program: "deploy".to_owned(),
                environment: names(variables),
                ..Started::default()
            };
            rules.met(&started, &NoFiles).is_some()
        };
        assert!(met(&["CI", "AWS_PROFILE"]) && met(&["GOOGLE_PROJECT", "CI"]));
        assert!(!met(&["AWS_PROFILE", "GOOGLE_PROJECT"]) && !met(&["CI"]));
    }

    #[test]
    fn a_rule_says_which_options_take_a_value() {
        let rules = rule(|it| {
            it.words = vec!["production".to_owned()];
            it.values = vec!["--label".to_owned()];
            it.unless = vec!["--dry-run|staging".to_owned()];
        });
        let met = |line: &str| {
            let started = Started {
                program: "deploy".to_owned(),
                arguments: line.split(' ').map(str::to_owned).collect(),
                ..Started::default()
            };
            rules.met(&started, &NoFiles).is_some()
        };
        assert!(
            met("production")
                && met("production --label --dry-run")
                && met("production --label staging")
        );
        assert!(
            !met("production --dry-run")
                && !met("production staging")
                && !met("--label production")
        );
    }
}
