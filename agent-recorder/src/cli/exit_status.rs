//! The meaning of each command's exit status, and the environment variables that the
//! program reads: for `--help`, the manual page and docs/reference.
//!
//! Not here: choosing the status, which each command does itself.

use std::fmt::Write as _;

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// A number, or the quantity that it is computed from.
    pub code: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
}

/// An environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its effect.
    pub meaning: &'static str,
}

/// Environment variables that the program reads.
pub const ENVIRONMENT: &[Variable] = &[
    Variable {
        name: "AGENT_RECORDER_LOG",
        meaning: "What is logged to standard error, as directives of the tracing crate: `debug`, or `warn,agent_recorder=info`, which is the default.",
    },
    Variable {
        name: "NO_COLOR",
        meaning: "The log has no colours when this is set and not empty.",
    },
    Variable {
        name: "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        meaning: "Set by systemd. The daemon reports that it is ready or stops, and answers the watchdog while its hooks are known to fire.",
    },
];

const fn status(code: &'static str, meaning: &'static str) -> ExitStatus {
    ExitStatus { code, meaning }
}

const DONE: ExitStatus = status("0", "The command did what it was asked for");
const STOPPED: ExitStatus = status("0", "SIGTERM or SIGINT stopped it");
const FAILED: ExitStatus = status("1", "An operation failed");
const BAD_INPUT: ExitStatus = status(
    "2",
    "The command line, the configuration or other input is wrong",
);
const GAPS: ExitStatus = status(
    "3",
    "Records are missing from what was searched, and the rest was shown",
);

const USUAL: &[ExitStatus] = &[DONE, FAILED, BAD_INPUT];
const SERVICE: &[ExitStatus] = &[STOPPED, FAILED, BAD_INPUT];
const SHOWING: &[ExitStatus] = &[DONE, FAILED, BAD_INPUT, GAPS];

/// The statuses of each command, by its words.
const STATUSES: &[(&str, &[ExitStatus])] = &[
    (
        "run",
        &[
            status("that of CMD", "CMD ended by itself"),
            status("128 + N", "Signal N ended CMD"),
            status("1", "An operation of the recorder failed before CMD ran"),
            status(
                "2",
                "The command line or the configuration is wrong; CMD did not run",
            ),
            status("125", "The recorder ended before CMD ran; CMD did not run"),
            status("126", "CMD cannot be executed"),
            status("127", "CMD was not found"),
        ],
    ),
    ("daemon", SERVICE),
    ("sessions", USUAL),
    ("kill", ACTED),
    ("freeze", ACTED),
    ("resume", ACTED),
    ("approve", USUAL),
    ("deny", USUAL),
    ("replay", SHOWING),
    ("who", SHOWING),
    ("collect", SERVICE),
    ("keys ca", USUAL),
    ("keys collector", USUAL),
    ("keys host", USUAL),
    (
        "verify",
        &[
            status("0", "Every stream is intact"),
            FAILED,
            BAD_INPUT,
            status(
                "3",
                "Records are missing, and the stream declares each loss",
            ),
            status("4", "A record was altered, or one is missing undeclared"),
            status("5", "A stream was cut off at its end"),
        ],
    ),
    (
        "doctor",
        &[
            status("0", "Recording works on this kernel"),
            status("1", "Recording does not work; the report says why"),
            BAD_INPUT,
        ],
    ),
    (
        "config check",
        &[
            status("0", "The configuration is valid"),
            status("2", "It is not; one line says what is wrong and where"),
        ],
    ),
    ("config show", USUAL),
    ("completions", USUAL),
    ("man", USUAL),
];

const ACTED: &[ExitStatus] = &[
    status("0", "It reached every process of the session"),
    status("1", "An operation failed, or a process survived"),
    BAD_INPUT,
];

/// The exit statuses of a command, by its words: `config check`. `None` for a command
/// with subcommands.
pub fn exit_statuses(command: &str) -> Option<&'static [ExitStatus]> {
    let found = STATUSES.iter().find(|(name, _)| *name == command);
    found.map(|(_, statuses)| *statuses)
}

/// Adds the statuses and variables to the help of each command.
pub(super) fn document(root: clap::Command) -> clap::Command {
    let mut environment = String::from("Environment:\n");
    for Variable { name, meaning } in ENVIRONMENT {
        // Writing to a string cannot fail.
        let _ = writeln!(environment, "  {name}\n          {meaning}");
    }
    below(root.after_long_help(environment), "")
}

fn below(command: clap::Command, within: &str) -> clap::Command {
    command.mut_subcommands(|command| {
        let name = format!("{within} {}", command.get_name()).trim().to_owned();
        let command = match exit_statuses(&name) {
            Some(statuses) => command.after_help(text(statuses)),
            None => command,
        };
        below(command, &name)
    })
}

fn text(statuses: &[ExitStatus]) -> String {
    let mut text = String::from("Exit status:\n");
    for ExitStatus { code, meaning } in statuses {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {code:<12} {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(command: &clap::Command, within: &str, call: &mut impl FnMut(&str, &clap::Command)) {
        for command in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let name = format!("{within} {}", command.get_name()).trim().to_owned();
            call(&name, command);
            each(command, &name, call);
        }
    }

    #[test]
    fn every_command_says_what_its_exit_status_means_and_no_other_does() {
        let mut known: Vec<&str> = STATUSES.iter().map(|(name, _)| *name).collect();
        each(&crate::cli::command(), "", &mut |name, command| {
            let is_leaf = !command.has_subcommands();
            assert_eq!(exit_statuses(name).is_some(), is_leaf, "{name}");
            let help = command.clone().render_help().to_string();
            assert_eq!(help.contains("Exit status:"), is_leaf, "{name}: {help}");
            known.retain(|it| *it != name);
        });
        assert!(known.is_empty(), "of no command: {known:?}");
    }

    #[test]
    fn every_command_and_every_argument_has_a_help_text() {
        each(&crate::cli::command(), "", &mut |name, command| {
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{name}: {id}");
                for value in argument.get_possible_values() {
                    let is_plain = value.get_help().is_none()
                        && id != "shell"
                        && argument.get_action().takes_values();
                    assert!(!is_plain, "{name}: {id} {}", value.get_name());
                }
            }
        });
    }
}
