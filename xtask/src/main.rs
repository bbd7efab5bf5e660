//! `cargo xtask`: sets the machine up, builds, records a demonstration, tests
//! and measures. Everything about the recorder itself is in the other crates.

mod agents;
mod apt;
mod backlog;
mod bench;
mod build;
mod crash_loop;
mod guard_report;
mod leftovers;
mod reference;
mod run;
mod setup;
mod stack;
mod step;
mod test;
mod toolchain;
mod tools;
mod vm;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// agent-recorder's own build commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what building and testing need, and only what is missing
    Setup,
    /// Build the BPF object and the agent-recorder binary
    Build {
        /// Optimise the binary (the BPF object always is)
        #[arg(long)]
        release: bool,
    },
    /// Record CMD as a session and replay it; a small demonstration without CMD
    Run {
        /// The command to record, with its arguments
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "CMD"
        )]
        command: Vec<OsString>,
    },
    /// Run every check and every test, and see that nothing is left behind
    Test {
        /// Only tests whose name contains this; leaves out formatting and lints
        filter: Option<String>,
    },
    /// Try the recorder on real agents, each installed from npm
    Agents(agents::Args),
    /// Try on real programs what the guard stops and what not, and write the table
    GuardReport(guard_report::Args),
    /// Kill daemon and collector at named points, over and over, and see what is left
    CrashLoop(crash_loop::Args),
    /// Have a collector come back after six hours of 2,000 records a second
    Backlog(backlog::Args),
    /// Measure what recording costs a workload, and what the recorder costs its neighbours
    Bench(bench::Args),
    /// Write docs/reference anew from the command line, the configuration and the protocol
    Reference,
    /// Boot another kernel in a guest, or run the test suite on all of them
    Vm(vm::Args),
    /// Print what of BPF, mounts, namespaces and cgroups is there now, as JSON
    #[command(hide = true)]
    Snapshot,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::everything().map(|()| ExitCode::SUCCESS),
        Command::Build { release } => build::command(release).map(|()| ExitCode::SUCCESS),
        Command::Run { command } => run::command(&command),
        Command::Test { filter } => test::command(filter.as_deref()),
        Command::Agents(args) => agents::command(&args),
        Command::GuardReport(args) => guard_report::command(&args),
        Command::CrashLoop(args) => crash_loop::command(&args),
        Command::Backlog(args) => backlog::command(&args),
        Command::Bench(args) => bench::command(&args).map(|()| ExitCode::SUCCESS),
        Command::Reference => reference::command(),
        Command::Vm(args) => vm::command(&args),
        Command::Snapshot => leftovers::print().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
