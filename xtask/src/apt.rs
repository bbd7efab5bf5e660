//! Debian's packages through apt: installing them, and reading suites that the
//! machine's own sources lack. The latter uses separate lists and a separate cache,
//! so that the machine's stay as they are.
//!
//! Not here: the list of needed packages (`tools`), and the kernels (`vm::kernels`).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::step::{self, say};

/// The keys of all of Debian's suites, which `tools` installs.
pub(crate) const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Directory of the machine's own package lists (apt.conf(5), Dir::State::Lists).
const LISTS: &str = "/var/lib/apt/lists/partial";
/// File of the installed packages (apt.conf(5), Dir::State::status).
const STATUS: &str = "/var/lib/dpkg/status";
/// Age beyond which package lists are refreshed before an installation: with stale
/// lists apt installs old versions, for instance an old compiler.
const LISTS_KEEP: Duration = Duration::from_secs(24 * 3600);
/// `--no-remove`: rustc-web conflicts with Debian's rustc and rustup, which belong to
/// the machine's owner.
const INSTALL: &[&str] = &[
    "install",
    "-y",
    "-q",
    "--no-install-recommends",
    "--no-remove",
];

/// Whether this machine has apt.
pub(crate) fn is_here() -> bool {
    which::which("apt-get").is_ok()
}

/// Installs Debian packages. The package lists are refreshed when they are old or
/// lack one. If the installation would remove a package, because the machine has
/// another version from backports, it is repeated with backports.
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

/// Whether `apt-get update` ran recently: it changes this folder.
fn lists_are_fresh() -> bool {
    let changed = fs::metadata(LISTS).and_then(|lists| lists.modified());
    // A clock that was set back makes the age an error: the lists are refreshed, too.
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < LISTS_KEEP))
}

fn run(arguments: &[&str]) -> Result<()> {
    // env(1) passes the variables, because sudo drops the environment.
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

/// Debian's mirrors of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    pub(crate) main: String,
    pub(crate) security: String,
}

impl Mirrors {
    /// The mirrors of the machine's own sources.
    ///
    /// # Errors
    ///
    /// The sources name no mirror, or their lists were never fetched.
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

    /// The first mirror of each label.
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

/// The packages that an [`Apt`] takes as installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// The packages of this machine.
    AsHere,
    /// No package, so that every package is fetched.
    Nothing,
}

/// apt with its own sources, lists and cache in one folder.
pub(crate) struct Apt {
    folder: PathBuf,
    status: PathBuf,
}

impl Apt {
    /// Sets apt up in a folder, which may contain the files of an earlier one.
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

    /// The command that fetches the lists. By default apt ignores lists that it could
    /// not fetch.
    pub(crate) fn update(&self) -> Command {
        let mut command = self.command("apt-get");
        command.args(["update", "-q", "--error-on=any"]);
        command
    }

    /// Fetches a package and unpacks its contents into a folder.
    ///
    /// # Errors
    ///
    /// The package does not exist or cannot be unpacked.
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

    /// A command of one of apt's programs with these settings.
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
            // The user as which root's apt fetches cannot read a home folder.
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
