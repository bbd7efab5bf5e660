//! Rules as they are judged here, and in the kernel's form: which programs it stops,
//! and by which of their words.

use std::collections::BTreeMap;

use agent_recorder_abi::agent_rule::{EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::exec_gate::{ALWAYS, PROGRAM};
use agent_recorder_abi::limits::NAME_KEY_BYTES;
use agent_recorder_abi::policy::{NAME_GATE_WORD, NAME_INTERPRETER, NAME_MANY, NameKey};

use super::words::{Argument, Word, begin_with, states};
use crate::config::{ExecGate, Gate as Config, GateAction, GateRule, alternatives};
use crate::guard::policy::key;
use crate::session::agents;

/// Whether a file of this name runs scripts.
pub(super) fn interprets(name: &str) -> bool {
    let stem = name.split(|it: char| !it.is_ascii_lowercase()).next();
    let known = &ExecGate::built_in().programs.interpreters;
    stem.is_some_and(|stem| known.iter().any(|it| it == stem))
}

/// The conditions of a rule, and its action.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) action: GateAction,
    programs: Vec<String>,
    words: Vec<Word>,
    any: Vec<Argument>,
    unless: Vec<Argument>,
    statements: Vec<Word>,
    /// For each pattern its alternatives.
    environment: Vec<Vec<Argument>>,
    interpreters: Vec<Argument>,
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
    /// Names of the environment's variables.
    pub(super) environment: Vec<String>,
}

impl Rule {
    fn new(rule: &GateRule) -> Self {
        let arguments = |patterns: &[String]| {
            let all = patterns.iter().flat_map(|pattern| Argument::all(pattern));
            all.collect()
        };
        let words = |patterns: &[String]| patterns.iter().map(|it| Word::new(it)).collect();
        Self {
            name: rule.name.clone(),
            action: rule.action,
            programs: rule.programs.clone(),
            words: words(&rule.words),
            any: arguments(&rule.any),
            unless: arguments(&rule.unless),
            statements: words(&rule.statements),
            environment: rule
                .environment
                .iter()
                .map(|it| Argument::all(it))
                .collect(),
            interpreters: arguments(&rule.interpreters),
        }
    }

    pub(super) fn is_met_by(&self, started: &Started) -> bool {
        let some = |patterns: &[Argument]| {
            let mut arguments = started.arguments.iter();
            arguments.any(|argument| patterns.iter().any(|it| it.is(argument)))
        };
        let named = |alternatives: &Vec<Argument>| {
            let mut names = started.environment.iter();
            names.any(|name| alternatives.iter().any(|it| it.is(name)))
        };
        let stated = |argument: &String| states(&self.statements, argument);
        self.programs.contains(&started.program)
            && begin_with(&self.words, &started.arguments)
            && (self.any.is_empty() || some(&self.any))
            && !some(&self.unless)
            && (self.statements.is_empty() || started.arguments.iter().any(stated))
            && self.environment.iter().all(named)
            && (self.interpreters.is_empty()
                || self
                    .interpreters
                    .iter()
                    .any(|it| it.is(&started.interpreter)))
    }
}

/// All rules, and the programs that they name.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    /// Names of the programs, numbered from 1, each with whether it is stopped
    /// whatever its arguments are.
    pub(super) programs: Vec<(String, bool)>,
    words: Vec<NameKey>,
}

impl Rules {
    /// Builds the rules from a checked configuration.
    pub(super) fn of(config: &Config) -> Self {
        let rules = config.in_force();
        let mut programs = BTreeMap::new();
        let mut words = Vec::new();
        for rule in &rules {
            let triggers = triggers(rule);
            for program in &rule.programs {
                *programs.entry(program.clone()).or_insert(false) |= triggers.is_none();
            }
            words.extend(triggers.into_iter().flatten());
        }
        words.sort_by_key(|key| key.name);
        words.dedup();
        Self {
            rules: rules.iter().map(Rule::new).collect(),
            programs: programs.into_iter().collect(),
            words,
        }
    }

    /// The kernel's value for the program at this position.
    pub(super) fn value(&self, position: usize) -> u32 {
        let always = self
            .programs
            .get(position)
            .is_some_and(|(_, always)| *always);
        // The configuration was checked: there are at most MAX_GATED programs.
        let number = u32::try_from(position + 1).unwrap_or_default();
        number << PROGRAM | if always { ALWAYS } else { 0 }
    }

    /// Names of the programs, both as executables and as scripts.
    pub(super) fn for_kernel(&self) -> Vec<(RuleKey, u32)> {
        let programs = self.programs.iter().enumerate();
        programs
            .flat_map(|(position, (name, _))| {
                let value = self.value(position);
                [EXECUTABLE, SCRIPT]
                    .into_iter()
                    .filter_map(move |kind| Some((agents::key(kind, name.as_bytes())?, value)))
            })
            .collect()
    }

    /// Words for which the kernel stops a program, and names of interpreters.
    pub(super) fn names(&self) -> Vec<(NameKey, u32)> {
        let known = &ExecGate::built_in().programs;
        let interpreters = known.interpreters.iter().map(|name| {
            let key = key(NAME_INTERPRETER, name);
            let is_many = known.multicall.contains(name);
            (key, if is_many { NAME_MANY } else { key.kind })
        });
        let words = self.words.iter().map(|key| (*key, key.kind));
        words.chain(interpreters).collect()
    }
}

/// Words of which every command that meets the rule has at least one; `None` where
/// there are none.
fn triggers(rule: &GateRule) -> Option<Vec<NameKey>> {
    let last = rule.words.last()?;
    alternatives(last).map(trigger).collect()
}

/// A word as the kernel compares it: in lower case, up to a blank or `=`, whole or up
/// to the first hyphen.
fn trigger(alternative: &str) -> Option<NameKey> {
    let lower = alternative.to_ascii_lowercase();
    let fits = |word: &str| !word.is_empty() && word.len() < NAME_KEY_BYTES;
    let literal = !lower.contains(['*', '?', '=', ' ']);
    let word = if literal && fits(&lower) {
        lower.as_str()
    } else {
        // The pattern has to be literal up to its hyphen.
        let (before, _) = lower.split_once('-')?;
        before
    };
    (fits(word) && !word.contains(['*', '?', '=', ' '])).then(|| key(NAME_GATE_WORD, word))
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
            environment in vec(word(), 0..5),
            interpreter in word(),
        ) {
            let program = RULES.programs[at.index(RULES.programs.len())].0.clone();
            let started = Started { program, interpreter, arguments, environment };
            for rule in &RULES.rules {
                rule.is_met_by(&started);
            }
        }

        /// An argument after a destructive command makes it no less destructive.
        #[test]
        fn words_behind_a_command_that_destroys_change_nothing(more in vec(word(), 0..40)) {
            let mut arguments = vec!["destroy".to_owned()];
            arguments.extend(more);
            let program = "terraform".to_owned();
            let started = Started { program, arguments, ..Started::default() };
            prop_assert!(RULES.rules.iter().any(|rule| rule.is_met_by(&started)));
        }
    }

    fn met(program: &str, line: &str) -> Option<String> {
        let rules = Rules::of(&Config::default());
        let started = Started {
            program: program.to_owned(),
            arguments: line
                .split(' ')
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect(),
            ..Started::default()
        };
        let rule = rules.rules.iter().find(|rule| rule.is_met_by(&started))?;
        Some(rule.name.clone())
    }

    #[test]
    fn what_destroys_elsewhere_is_known() {
        for (program, line, rule) in [
            ("terraform", "destroy -auto-approve", "terraform-destroy"),
            ("terraform", "-chdir=prod destroy", "terraform-destroy"),
            (
                "terraform",
                "apply -destroy -auto-approve",
                "terraform-apply-destroy",
            ),
            ("tofu", "state rm aws_instance.x", "terraform-forget"),
            ("terragrunt", "run-all destroy", "terragrunt-destroy"),
            ("pulumi", "--stack prod destroy --yes", "pulumi-destroy"),
            ("cdk", "destroy --all", "cdk-destroy"),
            (
                "aws",
                "--region eu-west-1 ec2 terminate-instances --instance-ids i-1",
                "aws-delete",
            ),
            (
                "aws",
                "rds delete-db-instance --db-instance-identifier x",
                "aws-delete",
            ),
            ("aws", "s3 rb s3://bucket --force", "aws-s3-remove"),
            ("aws", "s3 rm s3://bucket --recursive", "aws-s3-remove"),
            (
                "gcloud",
                "--project p compute instances delete x -q",
                "gcloud-delete",
            ),
            ("az", "group delete --name x --yes", "az-delete"),
            ("kubectl", "-n prod delete ns x", "kubectl-delete"),
            (
                "kubectl",
                "--context=a delete deploy --all",
                "kubectl-delete",
            ),
            (
                "helm",
                "--kube-context c uninstall release",
                "helm-uninstall",
            ),
            (
                "docker",
                "--host tcp://h:1 system prune -af",
                "container-prune",
            ),
            ("docker", "compose -f a.yml down -v", "compose-down-volumes"),
            ("redis-cli", "-h db -p 6379 FLUSHALL", "redis-flush"),
            ("git", "-C dir push -uf origin main", "git-push-force"),
            ("git", "push origin +main", "git-push-force"),
            ("git", "push origin :old", "git-push-force"),
            ("mkfs.ext4", "-F /dev/sdb1", "file-system-made"),
            (
                "systemctl",
                "--no-ask-password stop nginx",
                "service-stopped",
            ),
            ("dropdb", "prod", "database-drop"),
            (
                "btrfs",
                "-q subvolume delete /srv/data",
                "btrfs-subvolume-delete",
            ),
            ("btrfs", "sub del /srv/data", "btrfs-subvolume-delete"),
        ] {
            assert_eq!(
                met(program, line).as_deref(),
                Some(rule),
                "{program} {line}"
            );
        }
    }

    #[test]
    fn what_only_speaks_of_it_is_let_go() {
        for (program, line) in [
            ("echo", "terraform destroy"),
            ("terraform", "plan -destroy"),
            ("terraform", "destroy -help"),
            ("terraform", "workspace select destroy"),
            ("terraform", "output destroy"),
            ("aws", "ec2 describe-instances --filters delete-me"),
            ("aws", "s3 ls s3://delete-bucket"),
            (
                "aws",
                "ec2 terminate-instances --dry-run --instance-ids i-1",
            ),
            ("kubectl", "get pods -l delete=true"),
            ("kubectl", "delete pod x --dry-run=client"),
            ("helm", "list"),
            ("docker", "system df"),
            ("docker", "compose down"),
            ("git", "push origin main"),
            ("git", "push -n --force origin main"),
            ("git", "commit -m push --force-is-bad"),
            ("redis-cli", "get flushall-count"),
            ("systemctl", "status nginx"),
            ("mkfs.ext4", "image.img"),
            ("btrfs", "subvolume list /srv/data"),
            ("btrfs", "filesystem du sub/data"),
        ] {
            assert_eq!(met(program, line), None, "{program} {line}");
        }
    }

    #[test]
    fn sql_is_read_where_a_program_is_given_some() {
        let rules = Rules::of(&Config::default());
        let met = |arguments: &[&str]| {
            let started = Started {
                program: "psql".to_owned(),
                arguments: arguments.iter().map(|&it| it.to_owned()).collect(),
                ..Started::default()
            };
            rules.rules.iter().any(|rule| rule.is_met_by(&started))
        };
        assert!(met(&["-h", "db", "-c", "begin; DROP table users"]));
        assert!(met(&["--command=truncate users"]));
        assert!(!met(&["-c", "select * from drops"]) && !met(&["-f", "file.sql"]));
    }

    #[test]
    fn a_program_that_no_word_gives_away_is_always_stopped() {
        let rules = Rules::of(&Config::default());
        let always = |name: &str| {
            let mut programs = rules.programs.iter();
            programs
                .find(|(program, _)| program == name)
                .map(|(_, always)| *always)
        };
        assert_eq!(always("terraform"), Some(false));
        assert_eq!(always("git"), Some(false));
        assert_eq!(always("aws"), Some(false));
        assert_eq!(always("psql"), Some(true));
        assert_eq!(always("mkfs.ext4"), Some(true));
    }

    #[test]
    fn a_condition_on_the_environment_or_the_interpreter_must_hold() {
        let rule = GateRule {
            name: "x".to_owned(),
            programs: vec!["deploy".to_owned()],
            environment: vec!["AWS_*".to_owned()],
            interpreters: vec!["python*".to_owned()],
            ..GateRule::default()
        };
        let rule = Rule::new(&rule);
        let started = |interpreter: &str, variable: &str| Started {
            program: "deploy".to_owned(),
            interpreter: interpreter.to_owned(),
            arguments: Vec::new(),
            environment: vec!["HOME".to_owned(), variable.to_owned()],
        };
        assert!(rule.is_met_by(&started("python3.13", "AWS_PROFILE")));
        assert!(!rule.is_met_by(&started("python3.13", "PATH")));
        assert!(!rule.is_met_by(&started("perl", "AWS_PROFILE")));
    }

    #[test]
    fn a_bar_separates_alternatives_of_a_variable_name() {
        let rule = Rule::new(&GateRule {
            name: "x".to_owned(),
            programs: vec!["deploy".to_owned()],
            environment: vec!["AWS_*|GOOGLE_*".to_owned(), "CI".to_owned()],
            ..GateRule::default()
        });
        let met = |names: &[&str]| {
            rule.is_met_by(&Started {
                program: "deploy".to_owned(),
                environment: names.iter().map(|&it| it.to_owned()).collect(),
                ..Started::default()
            })
        };
        assert!(met(&["CI", "AWS_PROFILE"]) && met(&["GOOGLE_PROJECT", "CI"]));
        assert!(!met(&["AWS_PROFILE", "GOOGLE_PROJECT"]) && !met(&["CI"]));
    }
}
