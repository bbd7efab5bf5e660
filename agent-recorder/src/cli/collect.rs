//! `collect`: a collector.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Error};
use crate::collector::{Collector, Options};
use crate::config::Config;

/// Arguments of `collect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR", help = listen_help())]
    listen: Option<SocketAddr>,
    /// Directory in which to store the streams; required here or in the configuration
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Directory of ca.pem, collector.pem and collector.key, as `keys collector` makes them: takes hosts of that CA only
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

fn listen_help() -> String {
    let default = crate::config::Collector::default().listen;
    format!("Address and port to listen on [default: {default}]")
}

impl Args {
    fn options(&self, common: &Common) -> Result<Options, Error> {
        let config = Config::load(common.config.as_deref())?.collector;
        let store = self.store.clone().or(config.store).ok_or_else(|| {
            Error::Usage("name a directory for the streams with --store DIR".to_owned())
        })?;
        Ok(Options {
            listen: self.listen.unwrap_or(config.listen),
            store,
            keys: self.keys.clone().or(config.keys),
            connections: config.connections,
            streams: config.streams,
        })
    }
}

/// Until SIGTERM or SIGINT.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let options = args.options(common)?;
    let system = |source| Error::System {
        what: "start the collector".to_owned(),
        source,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system)?;
    runtime.block_on(async {
        let collector = Collector::bind(options).await?;
        if let Some(address) = collector.address() {
            eprintln!("agent-recorder: collecting at {address}");
        }
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        collector
            .serve(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await?;
        Ok(ExitCode::SUCCESS)
    })
}
