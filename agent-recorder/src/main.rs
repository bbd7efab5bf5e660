//! The `agent-recorder` binary: parses the command line and leaves the rest to `agent_recorder::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_recorder::cli::main()
}
