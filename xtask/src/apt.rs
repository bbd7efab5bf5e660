//! Debian's packages through apt: installing them, and reading suites that
//! the machine's own sources do not name, with lists and a cache apart, so
//! that the machine's stay as they are.
//!
//! Not here: which packages are needed (`tools`), and which kernels (`vm::kernels`).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, say};

/// The keys of all of Debian's suites, which `tools` sees to.
pub(crate) const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where the machine's own lists are (apt.conf(5), Dir::State::Lists).
const LISTS: &str = "/var/lib/apt/lists/partial";
/// What is installed here (apt.conf(5), Dir::State::status).
const STATUS: &str = "/var/lib/dpkg/status";
/// Package lists older than this are refreshed before anything is installed: by
/// stale ones apt installs what was newest when they were made, an old compiler for instance.
const LISTS_KEEP: Duration = Duration::from_secs(24 * 3600);
/// `--no-remove`: rustc-web conflicts with Debian's rustc and rustup, which
/// are not ours to take away.
const INSTALL: &[&str] = &[
    "install",
    "-y",
    "-q",
    "--no-install-recommends",
    "--no-remove",
];

/// Whether packages come by apt here.
pub(crate) fn is_here() -> bool {
    which::which("apt-get").is_ok()
}

/// Installs Debian packages, refreshing the package lists when they are old or
/// do not know one. Where that would take something away, as a package of a
/// machine with another of the same sources from backports does, it takes
/// them from there, too.
///
/// # Errors
///
/// There is no apt, no root and no sudo, or apt fails: the line names the packages.
pub(crate) fn install(packages: &[String]) -> Result<()> {
    let names = packages.join(" ");
    if !is_here() {
        bail!(
            "missing: {names} (Debian's names); there is no apt-get here: install them by this system's own means"
        );
    }
    if !lists_are_fresh() || !packages.iter().all(|package| knows(package)) {
        say("apt-get update");
        run(&["update", "-q"])?;
    }
    say(&format!("apt-get install {names}"));
    let arguments: Vec<&str> = INSTALL
        .iter()
        .copied()
        .chain(packages.iter().map(String::as_str))
        .collect();
    let Err(refused) = run(&arguments) else {
        return Ok(());
    };
    say("that failed; once more with Debian's backports");
    install_with_backports(&arguments)
        .with_context(|| format!("without backports: {refused:#}"))
        .with_context(|| {
            format!(
                "missing: {names}; as root, `apt-get install {names}` says what stands in the way"
            )
        })
}

fn install_with_backports(arguments: &[&str]) -> Result<()> {
    let release = release().context("/etc/os-release names no VERSION_CODENAME")?;
    let mirrors = Mirrors::of_this_machine()?;
    let backports = format!("{release}-backports");
    let sources = source(&mirrors.main, &release)
        + &source(&mirrors.main, &backports)
        + &source(&mirrors.security, &format!("{release}-security"));
    let folder = tempfile::tempdir().context("make a folder for package lists")?;
    let apt = Apt::new(folder.path(), &sources, Installed::AsHere)?;
    step::output(&mut apt.update())?;
    let install = apt.command("apt-get");
    step::run(
        step::as_root("env")?
            .arg("DEBIAN_FRONTEND=noninteractive")
            .arg(install.get_program())
            .args(install.get_args())
            .args(arguments)
            .args(["--target-release", &backports]),
    )
}

/// This machine's release of Debian (os-release(5)).
fn release() -> Option<String> {
    let about = fs::read_to_string("/etc/os-release").ok()?;
    about
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
}

/// Whether `apt-get update` ran lately: it works in this folder.
fn lists_are_fresh() -> bool {
    let changed = fs::metadata(LISTS).and_then(|lists| lists.modified());
    // A clock that was set back makes an age of its own: refreshed, too.
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < LISTS_KEEP))
}

fn run(arguments: &[&str]) -> Result<()> {
    // Through env(1), since sudo does not pass our environment on.
    step::run(
        step::as_root("env")?
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .args(arguments),
    )
}

fn knows(package: &str) -> bool {
    step::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
        .is_ok_and(|text| !text.is_empty())
}

/// Where Debian's packages come from here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    pub(crate) main: String,
    pub(crate) security: String,
}

impl Mirrors {
    /// Those of the machine's own sources.
    ///
    /// # Errors
    ///
    /// They name none, or were never read.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let targets = step::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(LABEL)|$(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
        ]))?;
        Self::read(&targets).context(
            "apt's sources here name no Debian mirror with its security suite, or their lists are not there: run `apt-get update` as root, or add the two to the sources",
        )
    }

    /// The first of each label.
    pub(crate) fn read(targets: &str) -> Option<Self> {
        let labelled = |wanted: &str| {
            targets
                .lines()
                .filter_map(|target| target.split_once('|'))
                .find(|(label, _)| *label == wanted)
                .map(|(_, address)| address.to_owned())
        };
        Some(Self {
            main: labelled("Debian")?,
            security: labelled("Debian-Security")?,
        })
    }
}

/// A line of sources.list(5).
pub(crate) fn source(mirror: &str, suite: &str) -> String {
    format!("deb [signed-by={KEYS}] {mirror} {suite} main\n")
}

/// What an [`Apt`] takes for installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// What is.
    AsHere,
    /// Nothing, so that every package is one to fetch.
    Nothing,
}

/// apt with sources, lists and cache of its own in one folder.
pub(crate) struct Apt {
    folder: PathBuf,
    status: PathBuf,
}

impl Apt {
    /// In a folder, which may hold what an earlier one left.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn new(folder: &Path, sources: &str, installed: Installed) -> Result<Self> {
        for inner in ["lists/partial", "cache/archives/partial"] {
            let inner = folder.join(inner);
            fs::create_dir_all(&inner).with_context(|| format!("create {}", inner.display()))?;
        }
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        write("sources.list", sources)?;
        Ok(Self {
            status: match installed {
                Installed::AsHere => STATUS.into(),
                Installed::Nothing => write("status", "")?,
            },
            folder: folder.to_owned(),
        })
    }

    /// What fetches the lists. By itself apt is content with those that it could not fetch.
    pub(crate) fn update(&self) -> Command {
        let mut command = self.command("apt-get");
        command.args(["update", "-q", "--error-on=any"]);
        command
    }

    /// Fetches a package and unpacks what it holds into a folder.
    ///
    /// # Errors
    ///
    /// It is not there or cannot be unpacked.
    pub(crate) fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        say(&format!("fetching {package}"));
        let fetched = tempfile::tempdir_in(&self.folder).context("make a folder to fetch to")?;
        step::output(
            self.command("apt-get")
                .current_dir(fetched.path())
                .args(["download", "-q", package]),
        )?;
        let archive = only_with_extension(fetched.path(), "deb")?;
        step::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(root))?;
        Ok(())
    }

    /// One of apt's programs, with what is its own.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, value) in [
            ("Dir::Etc::sourcelist", self.folder.join("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("Dir::State::status", self.status.clone()),
            ("Dir::State::lists", self.folder.join("lists")),
            ("Dir::Cache", self.folder.join("cache")),
            ("Acquire::Languages", "none".into()),
            // The user that root's apt fetches as cannot look into a home folder.
            ("APT::Sandbox::User", "root".into()),
        ] {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        }
        command
    }
}

fn only_with_extension(folder: &Path, extension: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            return Ok(path);
        }
    }
    bail!(
        "apt-get download left no .{extension} in {}",
        folder.display()
    )
}
