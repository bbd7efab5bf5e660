//! `keys`: a small private CA, a collector's certificate, hosts' certificates.

use std::path::PathBuf;
use std::process::ExitCode;

use super::Error;
use crate::identity::{self, HostId};

/// Arguments of `keys`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to make.
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Make a CA
    ///
    /// Keep its ca.key on a machine where no agent runs.
    Ca {
        /// Directory for ca.pem and ca.key
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Days for which the CA's certificate is valid, from 1 to 36500
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Make a collector's certificate and key, for `collect --keys DIR`
    Collector {
        #[command(flatten)]
        signing: Signing,
        /// DNS name or address by which hosts reach the collector; may be given more than once
        #[arg(long = "name", required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Make a host's certificate and key, for `[stream] keys = "DIR"`
    Host {
        #[command(flatten)]
        signing: Signing,
        /// Id of the host, which never changes: 1 to 253 letters, digits, `.`, `-` and `_` [default: the content of /etc/machine-id]
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Signing {
    /// Directory for the certificate, the key and a copy of ca.pem
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Directory that `keys ca` filled
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Days for which the certificate is valid, from 1 to 36500
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// Prints the files that were made.
pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let made = match &args.command {
        KeysCommand::Ca { directory, days } => identity::make_ca(directory, *days)?,
        KeysCommand::Collector { signing, names } => {
            identity::make_collector(&signing.ca, &signing.directory, names, signing.days)?
        }
        KeysCommand::Host { signing, id } => {
            let id = match id {
                Some(id) => id.clone(),
                None => std::fs::read_to_string("/etc/machine-id").unwrap_or_default(),
            };
            let id: HostId = id.trim().parse()?;
            identity::make_host(&signing.ca, &signing.directory, &id, signing.days)?
        }
    };
    for file in made.files {
        println!("{}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
