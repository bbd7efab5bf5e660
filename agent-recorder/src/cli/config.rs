//! `config check` and `config show`.

use std::process::ExitCode;

use super::setup::Setting;
use super::{Common, Error};
use crate::config::built_in::BUILT_IN;

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

/// 0, or 2 with one line that says what is wrong and where.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let setting = Setting::load(common)?;
    match args.command {
        ConfigCommand::Check => println!("ok"),
        ConfigCommand::Show => {
            print!("{}", setting.config.to_toml());
            if setting.config.guard.builtin {
                show_built_in();
            }
            show_rules(&setting.config.gate.built_in_toml());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As comments, for the output is a configuration.
fn show_built_in() {
    println!(
        "\n# Built into [guard]; `keep` takes names out, `throwaway` and `temporary` add some."
    );
    for (what, names) in BUILT_IN {
        println!("# {what}:\n#   {}", names.join(" "));
    }
}

/// The rules that are built into `[gate]`, as comments.
fn show_rules(rules: &str) {
    if !rules.is_empty() {
        println!("\n# Built into [gate], after its own; `disable` takes some out by name.");
    }
    for line in rules.lines() {
        println!("{}", format!("# {line}").trim_end());
    }
}
