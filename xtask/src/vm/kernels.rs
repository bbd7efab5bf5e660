//! Debian's kernels: finds the newest package of a line, and fetches it by apt with
//! separate lists and a separate cache, so that the machine's stay as they are.
//!
//! The mirrors are those of the machine's own sources. Point releases leave the
//! archive when the next one appears, so no version is named here.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::modules;
use crate::apt::{Apt, Installed, Mirrors, source};
use crate::step;
use crate::workspace;

/// A kernel, by its number on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 11's
    #[value(name = "5.10")]
    Bullseye,
    /// Debian 12's
    #[value(name = "6.1")]
    Bookworm,
    /// Debian 13's, as Debian 12 has it too
    #[value(name = "6.12")]
    Trixie,
    /// The newest
    #[value(name = "7")]
    Sid,
}

/// The source of a kernel's packages, and the common part of their names.
struct Line {
    number: &'static str,
    suite: Option<&'static str>,
    security: Option<&'static str>,
    prefix: &'static str,
    /// The common part of the names of the package with the modules, where that is
    /// another one.
    modules: Option<&'static str>,
}

/// A kernel on this machine.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// Its image.
    pub image: PathBuf,
    /// An archive of its modules, for a guest's memory.
    pub modules: PathBuf,
}

/// The flavour without drivers of real hardware, which is the smallest.
const FLAVOUR: &str = "-cloud-amd64";

impl Kernel {
    /// All, the oldest first.
    pub(crate) const ALL: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Sid];

    /// The number on the command line.
    pub(crate) fn number(self) -> &'static str {
        self.line().number
    }

    const fn line(self) -> Line {
        match self {
            Self::Bullseye => Line {
                number: "5.10",
                suite: Some("bullseye"),
                security: Some("bullseye-security"),
                prefix: "linux-image-5.10.0-",
                modules: None,
            },
            Self::Bookworm => Line {
                number: "6.1",
                suite: Some("bookworm"),
                security: Some("bookworm-security"),
                prefix: "linux-image-6.1.0-",
                modules: None,
            },
            Self::Trixie => Line {
                number: "6.12",
                suite: None,
                security: Some("bookworm-security"),
                prefix: "linux-image-6.12.",
                modules: None,
            },
            Self::Sid => Line {
                number: "7",
                suite: Some("sid"),
                security: None,
                prefix: "linux-binary-7.",
                modules: Some("linux-modules-7."),
            },
        }
    }

    /// Fetches the kernel with its modules, unless that was done before.
    ///
    /// # Errors
    ///
    /// It is not on the mirror, or cannot be fetched or unpacked.
    pub(super) fn fetched(self) -> Result<Fetched> {
        let folder = workspace::target("vm/kernels").join(self.number());
        let kernel = Fetched {
            image: folder.join("vmlinuz"),
            modules: folder.join("modules.cpio"),
        };
        if !kernel.image.exists() || !kernel.modules.exists() {
            self.fetch(&folder, &kernel)
                .with_context(|| format!("fetch Debian's kernel {}", self.number()))?;
        }
        Ok(kernel)
    }

    fn fetch(self, folder: &Path, kernel: &Fetched) -> Result<()> {
        // The empty status file hides the installed kernels, so that apt fetches
        // these packages as well.
        let sources = self.sources(&Mirrors::of_this_machine()?);
        let apt = Apt::new(folder, &sources, Installed::Nothing)?;
        step::output(&mut apt.update())?;
        let known = step::output(apt.command("apt-cache").arg("pkgnames"))?;
        let line = self.line();
        let package = newest(&known, line.prefix).with_context(|| {
            format!(
                "the mirror has no package {}*{FLAVOUR}: when Debian has moved on, change the line in xtask/src/vm/kernels.rs",
                line.prefix
            )
        })?;
        let unpacked = tempfile::tempdir_in(folder).context("make a folder to unpack in")?;
        apt.unpack(package, unpacked.path())?;
        if let Some(prefix) = line.modules {
            let modules = package.replacen(line.prefix, prefix, 1);
            apt.unpack(&modules, unpacked.path())?;
        }
        let modules = modules::archive(unpacked.path())?;
        fs::write(&kernel.modules, modules)
            .with_context(|| format!("write {}", kernel.modules.display()))?;
        let found = find_image(unpacked.path())?
            .with_context(|| format!("{package} holds no file that is named vmlinuz"))?;
        fs::rename(&found, &kernel.image)
            .with_context(|| format!("keep {}", kernel.image.display()))
    }

    fn sources(self, mirrors: &Mirrors) -> String {
        let Line {
            suite, security, ..
        } = self.line();
        let main = suite.map(|suite| source(&mirrors.main, suite));
        let security = security.map(|suite| source(&mirrors.security, suite));
        main.into_iter().chain(security).collect()
    }
}

/// The newest package of one line among the names of all packages.
fn newest<'a>(known: &'a str, prefix: &str) -> Option<&'a str> {
    known
        .lines()
        .filter(|name| name.starts_with(prefix) && name.ends_with(FLAVOUR))
        .max_by(|one, other| by_version(one, other))
}

/// The order of `sort -V`: runs of digits by their number, all else by its bytes.
fn by_version(one: &str, other: &str) -> Ordering {
    parts(one).cmp(&parts(other))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Text(&'a str),
    Number(u64),
}

fn parts(name: &str) -> Vec<Part<'_>> {
    let mut rest = name;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|character: char| character.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        found.push(part.parse().map_or(Part::Text(part), Part::Number));
        rest = tail;
    }
    found
}

/// Old packages have the image under boot, new ones with the modules.
fn find_image(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find_image(&path)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::KEYS;

    #[test]
    fn the_newest_is_by_number_and_of_the_flavour() {
        let known = "linux-image-6.1.0-9-cloud-amd64\n\
            linux-image-6.1.0-10-cloud-amd64\n\
            linux-image-6.1.0-11-amd64\n\
            linux-image-6.1.0-11-cloud-amd64-dbg\n\
            linux-image-6.12.9+deb12-cloud-amd64\n";
        assert_eq!(
            newest(known, "linux-image-6.1.0-"),
            Some("linux-image-6.1.0-10-cloud-amd64")
        );
        assert_eq!(newest(known, "linux-image-5.10.0-"), None);
    }

    #[test]
    fn mirrors_are_read_by_their_labels() {
        let targets = "Debian|http://mirror.invalid/debian/\n\
            Debian|http://other.invalid/debian/\n\
            Debian-Security|http://mirror.invalid/security/\n";
        let read = Mirrors::read(targets).map(|mirrors| Kernel::Bookworm.sources(&mirrors));
        let expected = format!(
            "deb [signed-by={KEYS}] http://mirror.invalid/debian/ bookworm main\n\
            deb [signed-by={KEYS}] http://mirror.invalid/security/ bookworm-security main\n"
        );
        assert_eq!(read, Some(expected));
        assert_eq!(Mirrors::read("Ubuntu|http://mirror.invalid/\n"), None);
    }
}
