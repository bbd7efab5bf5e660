//! A scripted model on loopback, alone in a network namespace of its own.
//!
//! It prints its process id once it listens. The starter of an agent joins
//! `/proc/PID/ns/net` first, so that nothing of the agent leaves the machine.

use std::fs;
use std::path::PathBuf;

use agent_recorder_tests::lab::model::{Script, log::Log, server};
use agent_recorder_tests::lab::netns;
use anyhow::Context;

#[derive(Debug, clap::Parser)]
struct Args {
    /// The script, as JSON.
    #[arg(long)]
    script: PathBuf,
    /// Where to write the log, as JSON lines.
    #[arg(long)]
    log: PathBuf,
    /// A folder for the body of each request.
    #[arg(long)]
    keep_requests: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = <Args as clap::Parser>::parse();
    let text = fs::read(&args.script)
        .with_context(|| format!("read the script {}", args.script.display()))?;
    let script: Script = serde_json::from_slice(&text)
        .with_context(|| format!("read the script {}", args.script.display()))?;
    let model = server::Model::new(script, Log::create(&args.log)?, args.keep_requests);
    // Before any other thread exists: a namespace belongs to the thread that made it.
    netns::isolate()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = tokio::net::TcpListener::bind(server::ADDRESS)
                .await
                .with_context(|| format!("listen on {}", server::ADDRESS))?;
            println!("{}", std::process::id());
            model.serve(listener).await
        })
}
