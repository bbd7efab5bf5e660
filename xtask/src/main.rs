//! `cargo xtask`: sets the machine up, builds, records a demonstration, tests
//! and measures. Everything about the recorder itself is in the other crates.

mod agents;
mod apt;
mod artifacts;
mod backlog;
mod bench;
mod build;
mod crash_loop;
mod guard_report;
mod leftovers;
mod libtest;
mod reference;
mod run;
mod setup;
mod skips;
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
    ///
    /// Debian's packages come by apt; a BPF linker is built under target/tools.
    /// Five minutes on a new machine, seconds where everything is there.
    Setup,
    /// Build the BPF object and the agent-recorder binary
    ///
    /// Six minutes the first time on 2 cores, after that what a change takes.
    Build {
        /// Optimise the binary (the BPF object always is); twice as long
        #[arg(long)]
        release: bool,
    },
    /// Record CMD as a session and replay it; a small demonstration without CMD
    ///
    /// Builds first, which takes as long as `build --release`; then as long as CMD.
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
    ///
    /// Formatting, lints, unit, documentation and end-to-end tests, these as
    /// root, and a quick part of them on two other kernels in guests. An
    /// end-to-end test that fails is run once more, alone; what then passes is
    /// listed as unstable. A run that passes whole on a clean work tree leaves
    /// its commit in target/passed-commit. Meant to end within 20 minutes on 2
    /// cores, 25 with set-up; with --full it takes hours.
    Test(test::Args),
    /// Try the recorder on real agents, each installed from npm
    ///
    /// Installs each from the npm registry, which takes most of its time: name
    /// those that you want.
    Agents(agents::Args),
    /// Try on real programs what the guard stops and what not, and write the table
    ///
    /// Tries some hundred cases one after the other, and where a case passes a
    /// time limit waits for that. In guests a case takes up to half a minute,
    /// emulated: most of an hour a guest.
    GuardReport(guard_report::Args),
    /// Kill daemon and collector at named points, over and over, and see what is left
    ///
    /// Starts everything anew after each crash: its time is that of --crashes.
    CrashLoop(crash_loop::Args),
    /// Have a collector come back after six hours of 2,000 records a second
    ///
    /// Not six hours: the backlog is written beforehand, as fast as the disk
    /// takes it, and streamed in minutes.
    Backlog(backlog::Args),
    /// Measure what recording costs a workload, and what the recorder costs its neighbours
    ///
    /// Wants a machine that does nothing else, and time for each of --rounds;
    /// --quick is a twentieth of it, and measures nothing.
    Bench(bench::Args),
    /// Write docs/reference anew from the command line, the configuration and the protocol
    Reference,
    /// Boot another kernel in a guest, or run the end-to-end tests on all of them
    ///
    /// A kernel boots in half a minute, emulated. With --matrix, 5 to 26 minutes
    /// a row, as many rows at a time as there are cores.
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
        Command::Test(args) => test::command(&args),
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
