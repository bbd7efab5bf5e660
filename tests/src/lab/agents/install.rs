//! Installs an agent from npm into a cache under `target/`, once.
//!
//! The one step with a network. Of an agent, only the scripts of its package run here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::build_folder;
use super::catalog::Agent;
use crate::lab::child::ended_within;

/// The largest package is 400 MB unpacked and takes some ten seconds here.
const LIMIT: Duration = Duration::from_secs(300);

/// An agent that can be started.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The agent.
    pub agent: &'static Agent,
    /// Its installed version.
    pub version: String,
    /// Its executable.
    pub program: PathBuf,
}

/// Installs `agent`, at the catalogue's version or at the latest.
pub fn install(agent: &'static Agent, latest: bool) -> anyhow::Result<Installed> {
    let version = if latest { "latest" } else { agent.version };
    let folder = cache()?.join(format!("{}-{version}", agent.name));
    // The latest is asked for each time; a version never changes.
    if latest || !folder.exists() {
        fetch(agent, version, &folder).with_context(|| format!("install {}", agent.package))?;
    }
    let modules = folder.join("node_modules");
    Ok(Installed {
        agent,
        version: installed_version(&modules.join(agent.package).join("package.json"))?,
        program: modules.join(".bin").join(agent.program),
    })
}

/// `target/agents`, which cargo leaves alone.
fn cache() -> anyhow::Result<PathBuf> {
    let mut folder = build_folder()?;
    folder.set_file_name("agents");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Installs beside `folder` and moves it there whole.
fn fetch(agent: &Agent, version: &str, folder: &Path) -> anyhow::Result<()> {
    let parent = folder.parent().context("the cache has a parent folder")?;
    let scratch = tempfile::tempdir_in(parent).context("make a folder in the cache")?;
    let log = folder.with_extension("log");
    let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let mut npm = Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-progress",
            "--prefix",
        ])
        .arg(scratch.path())
        .arg(format!("{}@{version}", agent.package))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("start npm (apt-get install npm)")?;
    if !ended_within(&npm, LIMIT)? {
        npm.kill()?;
        npm.wait()?;
        bail!("npm took more than {} s", LIMIT.as_secs());
    }
    if !npm.wait()?.success() {
        bail!("npm failed: {}", last_error(&log));
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::rename(scratch.keep(), folder).with_context(|| format!("make {}", folder.display()))
}

/// The most useful line of npm's log: the first error with a message.
fn last_error(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let said = |line: &&str| line.starts_with("npm error") && line.contains(' ');
    let errors: Vec<&str> = text.lines().filter(said).take(6).collect();
    if errors.is_empty() {
        return format!("see {}", log.display());
    }
    errors.join("; ")
}

fn installed_version(package: &Path) -> anyhow::Result<String> {
    let text = fs::read(package).with_context(|| format!("read {}", package.display()))?;
    let package: Value = serde_json::from_slice(&text)?;
    let version = package["version"].as_str();
    Ok(version.context("package.json has no version")?.to_owned())
}
