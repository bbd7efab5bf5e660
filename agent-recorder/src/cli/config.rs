//! `config check` and `config show`.

use std::process::ExitCode;

use serde::Serialize;

use super::setup::Setting;
use super::{Common, Error};
use crate::config::{AgentRules, CommandLine, Config, ExecGate, HandOffWays, Runner, Throwaway};

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Check the configuration, and name the line of what is wrong
    Check,
    /// Print the configuration in force as TOML, and what is built in as comments
    Show,
}

/// Exits with 0, or with 2 and one line that names the error and its position.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let setting = Setting::load(common)?;
    match args.command {
        ConfigCommand::Check => println!("ok"),
        ConfigCommand::Show => print!(
            "{}{}",
            setting.config.to_toml(),
            built_in_policy(&setting.config)
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is built into the gate beside its rules.
#[derive(Serialize)]
struct CommandLines {
    command_line: &'static [CommandLine],
    runner: &'static [Runner],
}

/// The built-in policy in use as comments, because the output is a configuration.
fn built_in_policy(config: &Config) -> String {
    let mut out = String::new();
    if config.guard.builtin {
        out += &comment(
            "Built into [guard]; `keep` takes names out, `throwaway` and `temporary` add some.",
            &toml(Throwaway::built_in()),
        );
    }
    out += &comment(
        "Built into [gate], after its own; `disable` takes some out by name.",
        &config.gate.built_in_toml(),
    );
    out += &comment(
        "What those rules find programs and scripts by.",
        &toml(&ExecGate::built_in().programs),
    );
    if config.gate.builtin {
        out += &comment(
            "How those rules read command lines, and programs that run others.",
            &toml(&CommandLines {
                command_line: &ExecGate::built_in().command_lines,
                runner: &ExecGate::built_in().runners,
            }),
        );
    }
    let rules: Vec<_> = config.agents.built_in().cloned().collect();
    if !rules.is_empty() {
        out += &comment(
            "Built into [agents], after each [[agent]]; `disable` takes some out by name.",
            &toml(&AgentRules { rules }),
        );
    }
    if config.handoff.builtin {
        out += &comment(
            "Built into [handoff], after its own `sockets` and `files`.",
            &toml(HandOffWays::built_in()),
        );
    }
    out
}

fn toml(part: &impl Serialize) -> String {
    // The policy consists of strings and tables that were read from TOML, so writing
    // it cannot fail.
    toml::to_string(part).unwrap_or_default()
}

/// A heading and a text as comment lines; empty where there is no text.
fn comment(heading: &str, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let lines = std::iter::once(heading).chain(text.lines());
    let commented = lines.map(|line| format!("# {line}").trim_end().to_owned() + "\n");
    std::iter::once("\n".to_owned()).chain(commented).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_row_is_shown_and_is_a_comment() {
        let shown = built_in_policy(&Config::default());
        let is_comment = |line: &str| line.is_empty() || line.starts_with('#');
        assert!(shown.lines().all(is_comment), "{shown}");
        let agents = AgentRules::built_in().rules.iter().map(|rule| &rule.name);
        let gate = ExecGate::built_in().rules.iter().map(|it| &it.rule.name);
        let files = HandOffWays::built_in()
            .ways
            .iter()
            .flat_map(|way| &way.files);
        let throwaway = &Throwaway::built_in().directories;
        for name in agents.chain(gate).chain(files).chain(throwaway) {
            assert!(shown.contains(&format!("\"{name}\"")), "{name} in {shown}");
        }
    }

    #[test]
    fn what_is_taken_out_is_not_shown() {
        let mut config = Config::default();
        config.agents.disable.push("aider".to_owned());
        config.gate.builtin = false;
        config.guard.builtin = false;
        config.handoff.builtin = false;
        let shown = built_in_policy(&config);
        assert!(
            shown.contains("\"codex\"") && !shown.contains("aider"),
            "{shown}"
        );
        assert!(
            !shown.contains("[gate]") && !shown.contains("[guard]"),
            "{shown}"
        );
    }
}
