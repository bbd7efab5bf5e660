//! `config check` and `config show`.

use std::process::ExitCode;

use super::setup::Setting;
use super::{Common, Error};

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

/// What to do with it.
#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration is right.
    Check,
    /// Print the configuration in force, as TOML.
    Show,
}

/// 0, or 2 with one line that says what is wrong and where.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let setting = Setting::load(common)?;
    match args.command {
        ConfigCommand::Check => println!("ok"),
        ConfigCommand::Show => print!("{}", setting.config.to_toml()),
    }
    Ok(ExitCode::SUCCESS)
}
