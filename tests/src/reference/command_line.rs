//! The page of the command line, from clap's definition of it.

use std::fmt::Write as _;

use agent_recorder::cli::{self, ENVIRONMENT};
use anyhow::Result;
use clap::{Arg, Command};

use super::markdown::{code, head, row, sentence};

const INTRODUCTION: &str = "\
# Command line

Data goes to standard output, everything else to standard error. When a command fails, one line on standard error says
what failed and what helps.

";

/// The page.
///
/// # Errors
///
/// None: writing to a string cannot fail.
pub(super) fn page() -> Result<String> {
    let mut root = cli::command();
    root.build();
    let mut page = String::from(INTRODUCTION);
    page += &head(["command", "what it does"]);
    for command in shown(&root) {
        page += &row([
            &format!(
                "[{}](#{}-{})",
                code(command.get_name()),
                root.get_name(),
                command.get_name()
            ),
            &about(command),
        ]);
    }
    writeln!(page, "\n## Common options\n\nEvery command takes these.\n")?;
    for option in root.get_arguments().filter(|option| option.is_global_set()) {
        argument(option, &mut page)?;
    }
    writeln!(page, "\n## Environment\n")?;
    for variable in ENVIRONMENT {
        writeln!(page, "- {}: {}", code(variable.name), variable.meaning)?;
    }
    page.push('\n');
    for sub in shown(&root) {
        command(sub, &mut Vec::new(), &mut page)?;
    }
    Ok(page)
}

/// The commands that are for people to call.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    let is_shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    command.get_subcommands().filter(is_shown)
}

/// A section on a command, and one on each of its subcommands.
fn command<'a>(of: &'a Command, within: &mut Vec<&'a str>, page: &mut String) -> Result<()> {
    within.push(of.get_name());
    let name = within.join(" ");
    let level = "#".repeat(within.len() + 1);
    writeln!(
        page,
        "{level} {}\n",
        code(&format!("agent-recorder {name}"))
    )?;
    let text = of.get_long_about().or(of.get_about());
    writeln!(page, "{}\n", text.map(paragraphs).unwrap_or_default())?;
    let usage = of.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage).trim();
    writeln!(page, "```\n{usage}\n```\n")?;
    let own = |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set() && !is_standard(arg);
    let mut lines = String::new();
    for positional in of.get_positionals().filter(own) {
        argument(positional, &mut lines)?;
    }
    for option in of.get_arguments().filter(own) {
        if !option.is_positional() {
            argument(option, &mut lines)?;
        }
    }
    if !lines.is_empty() {
        writeln!(page, "{lines}")?;
    }
    if let Some(statuses) = cli::exit_statuses(&name) {
        *page += &head(["exit status", "meaning"]);
        for status in statuses {
            *page += &row([status.code, &sentence(status.meaning)]);
        }
        page.push('\n');
    }
    for sub in shown(of) {
        command(sub, within, page)?;
    }
    within.pop();
    Ok(())
}

/// `--help` and `--version`, which every command has.
fn is_standard(argument: &Arg) -> bool {
    ["help", "version"].contains(&argument.get_id().as_str())
}

/// An item of a list: form, meaning and values of an argument.
fn argument(arg: &Arg, page: &mut String) -> Result<()> {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    // A default that clap does not know is a part of the text.
    let (help, default) = help.split_once(" [default: ").unwrap_or((&help, ""));
    write!(page, "- {}: {}", code(&form(arg)), sentence(help))?;
    if !default.is_empty() {
        write!(page, " Default: {}.", default.trim_end_matches(']'))?;
    }
    if arg.is_required_set() && !arg.is_positional() {
        page.push_str(" Required.");
    }
    let defaults = arg.get_default_values();
    let takes_values = arg.get_action().takes_values();
    if takes_values && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        let defaults: Vec<_> = defaults
            .iter()
            .map(|value| code(&value.to_string_lossy()))
            .collect();
        write!(page, " Default: {}.", defaults.join(", "))?;
    }
    if let Some(variable) = arg.get_env() {
        write!(page, " Environment: {}.", code(&variable.to_string_lossy()))?;
    }
    page.push('\n');
    if takes_values {
        for value in arg.get_possible_values() {
            let help = value.get_help().map(ToString::to_string);
            write!(page, "  - {}", code(value.get_name()))?;
            if let Some(help) = help {
                write!(page, ": {}", sentence(&help))?;
            }
            page.push('\n');
        }
    }
    Ok(())
}

/// As it is written: `--option VALUE`, `VALUE`, `VALUE…`.
fn form(argument: &Arg) -> String {
    let mut form = argument
        .get_long()
        .map(|long| format!("--{long}"))
        .unwrap_or_default();
    if argument.get_action().takes_values() {
        for name in argument.get_value_names().unwrap_or_default() {
            form = format!("{form} {name}");
        }
    }
    let many = argument
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    format!("{}{}", form.trim(), if many { "…" } else { "" })
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map(|text| sentence(&text.to_string()))
        .unwrap_or_default()
}

/// Each paragraph on one line, with a full stop.
fn paragraphs(text: &clap::builder::StyledStr) -> String {
    let text = text.to_string();
    let paragraphs = text
        .split("\n\n")
        .map(|paragraph| sentence(&paragraph.split_whitespace().collect::<Vec<_>>().join(" ")));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
