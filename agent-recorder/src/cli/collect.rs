//! `collect`: a collector.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::Error;
use crate::collector::Collector;

/// Arguments of `collect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; without mutual TLS, anything but loopback is for networks that are trusted.
    #[arg(long, default_value = "127.0.0.1:4319", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where to keep the streams.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

/// Until SIGTERM or SIGINT.
pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
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
        let collector = Collector::bind(args.listen, args.store.clone()).await?;
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
