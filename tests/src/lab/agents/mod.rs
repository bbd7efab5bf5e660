//! Real agents, driven by the scripted model, recorded, and compared with
//! what was ordered and with what strace saw.
//!
//! [`catalog`] says how each agent is started → [`install`] gets it from npm →
//! [`stage`] lays out a project and runs it in a [`super::netns`] with loopback
//! only, under strace → [`super::daemon`] is the daemon beside it →
//! [`crate::oracle::check`] compares the three accounts → [`trial`] does all this
//! for one agent.
//! The agents are test tools: nothing of theirs is committed or shipped.

pub mod catalog;
pub mod install;
pub mod neighbour;
pub mod stage;
pub mod trial;

use std::path::PathBuf;

use anyhow::{Context, ensure};

/// The folder of this build's executables, such as `target/debug`.
fn build_folder() -> anyhow::Result<PathBuf> {
    let mut folder = std::env::current_exe().context("find this executable")?;
    folder.pop();
    // Test executables lie one folder deeper.
    if folder.ends_with("deps") {
        folder.pop();
    }
    Ok(folder)
}

/// An executable of this workspace, as cargo built it beside the running one.
fn built(name: &str) -> anyhow::Result<PathBuf> {
    let path = build_folder()?.join(name);
    ensure!(
        path.exists(),
        "{} is not built: `cargo build --workspace` makes it",
        path.display()
    );
    Ok(path)
}
