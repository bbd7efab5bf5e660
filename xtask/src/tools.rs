//! Programs and packages that building and testing need, and the missing ones.
//!
//! Not here: installing them (`apt`), and the compiler and linker of the BPF object
//! (`toolchain`).

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::apt;
use crate::step::say;

/// A requirement of building or testing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The Debian package that has it.
    pub package: &'static str,
    /// The sign that the machine has it, however it was installed.
    pub sign: Sign,
    /// The steps that need it.
    pub used_by: &'static str,
}

/// A sign that a requirement is met.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sign {
    /// A program on PATH.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// A command that succeeds.
    Succeeds(&'static [&'static str]),
}

/// The programs that tests run; the recorder needs none of them.
pub(crate) const FOR_TESTS: &[Need] = &[
    need(
        "strace",
        Sign::Program("strace"),
        "real programs: the witness that the records are compared with",
    ),
    need(
        "gcc",
        Sign::Program("gcc"),
        "real programs and bench: a C build",
    ),
    need(
        "libc6-dev",
        Sign::File("/usr/include/stdio.h"),
        "real programs and bench: a C build",
    ),
    need(
        "make",
        Sign::Program("make"),
        "real programs and bench: a C build",
    ),
    need(
        "python3",
        Sign::Program("python3"),
        "real programs, guard (shutil.rmtree), agents, bench",
    ),
    need(
        "python3-venv",
        Sign::Succeeds(&["python3", "-c", "import venv, ensurepip"]),
        "real programs: a virtual environment",
    ),
    need(
        "nodejs",
        Sign::Program("node"),
        "agents, real programs: npm's own interpreter",
    ),
    need(
        "npm",
        Sign::Program("npm"),
        "agents, real programs: npm install",
    ),
    need(
        "curl",
        Sign::Program("curl"),
        "real programs: a request to a local server",
    ),
    need(
        "git",
        Sign::Program("git"),
        "real programs, guard (git clean), bench",
    ),
    need(
        "tmux",
        Sign::Program("tmux"),
        "hand-offs: a terminal multiplexer that was there before",
    ),
    need(
        "at",
        Sign::Program("at"),
        "hand-offs: a job that the session gives away",
    ),
    need(
        "cron",
        Sign::Program("crontab"),
        "hand-offs: a table that the session leaves",
    ),
    need("tar", Sign::Program("tar"), "real programs, bench"),
    need(
        "xz-utils",
        Sign::Program("xz"),
        "real programs: tar's compressor",
    ),
    need(
        "rsync",
        Sign::Program("rsync"),
        "real programs: a copy of a tree",
    ),
    need(
        "bindfs",
        Sign::Program("bindfs"),
        "guard: a file system in user space",
    ),
    need(
        "findutils",
        Sign::Program("find"),
        "guard (find -delete, xargs -P), bench",
    ),
    need(
        "iproute2",
        Sign::Program("ip"),
        "agents: a network namespace with loopback only",
    ),
];

/// The programs that boot other kernels; the recorder needs none of them.
pub(crate) const FOR_GUESTS: &[Need] = &[
    need(
        "qemu-system-x86",
        Sign::Program("qemu-system-x86_64"),
        "vm and test: the machine that another kernel runs on",
    ),
    need(
        "busybox-static",
        // The binary of the package busybox needs libraries, which a guest lacks.
        Sign::Succeeds(&[
            "sh",
            "-c",
            "program=$(command -v busybox) && ! ldd \"$program\"",
        ]),
        "vm and test: the guest's shell and tools",
    ),
    need(
        "xz-utils",
        Sign::Program("xz"),
        "vm and test: the modules of the guests' kernels",
    ),
    need(
        "e2fsprogs",
        Sign::Succeeds(&["sh", "-c", "PATH=$PATH:/usr/sbin:/sbin command -v mke2fs"]),
        "vm and test: an ext4 in the guests",
    ),
    need(
        "btrfs-progs",
        Sign::Succeeds(&[
            "sh",
            "-c",
            "PATH=$PATH:/usr/sbin:/sbin command -v mkfs.btrfs",
        ]),
        "vm and test: a btrfs in the guests",
    ),
    need(
        "debian-archive-keyring",
        Sign::File(apt::KEYS),
        "vm and test: the keys of Debian's kernels",
    ),
];

/// The programs that the report on the guard tries, beside those of the tests. A row
/// without its program says so.
pub(crate) const FOR_GUARD_REPORT: &[Need] = &[
    need("ruby", Sign::Program("ruby"), GUARD_REPORT),
    need("perl", Sign::Program("perl"), GUARD_REPORT),
    need("zip", Sign::Program("zip"), GUARD_REPORT),
    need("unzip", Sign::Program("unzip"), GUARD_REPORT),
    need("sqlite3", Sign::Program("sqlite3"), GUARD_REPORT),
    need("procps", Sign::Program("pgrep"), GUARD_REPORT),
    need("patch", Sign::Program("patch"), GUARD_REPORT),
    need("cmake", Sign::Program("cmake"), GUARD_REPORT),
    need("ccache", Sign::Program("ccache"), GUARD_REPORT),
    need("sccache", Sign::Program("sccache"), GUARD_REPORT),
    need("logrotate", Sign::Program("logrotate"), GUARD_REPORT),
    need("latexmk", Sign::Program("latexmk"), GUARD_REPORT),
    need("debootstrap", Sign::Program("debootstrap"), GUARD_REPORT),
    need("postgresql", Sign::Program("psql"), GUARD_REPORT),
];
const GUARD_REPORT: &str = "guard-report";

const fn need(package: &'static str, sign: Sign, used_by: &'static str) -> Need {
    Need {
        package,
        sign,
        used_by,
    }
}

impl Sign {
    /// Whether this machine shows the sign.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            Self::Program(name) => which::which(name).is_ok(),
            Self::File(path) => Path::new(path).exists(),
            Self::Succeeds(words) => succeeds(words),
        }
    }
}

fn succeeds(words: &[&str]) -> bool {
    let Some((program, args)) = words.split_first() else {
        return false;
    };
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The requirements that `is_here` denies, in their order.
pub(crate) fn missing(needs: &[Need], is_here: impl Fn(&Sign) -> bool) -> Vec<Need> {
    needs
        .iter()
        .filter(|need| !is_here(&need.sign))
        .copied()
        .collect()
}

/// Installs the missing ones of `needs`. False when none was missing.
///
/// # Errors
///
/// Something is missing and cannot be installed: the line names it.
pub(crate) fn install_missing(needs: &[Need]) -> Result<bool> {
    let missing = missing(needs, Sign::is_here);
    if missing.is_empty() {
        return Ok(false);
    }
    for Need {
        package, used_by, ..
    } in &missing
    {
        say(&format!("missing: {package} (for {used_by})"));
    }
    let packages: Vec<_> = missing.iter().map(|need| need.package.to_owned()).collect();
    apt::install(&packages)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing_and_keeps_its_order() {
        let absent = ["gcc", "rsync"];
        let found = missing(
            FOR_TESTS,
            |sign| !matches!(sign, Sign::Program(name) if absent.contains(name)),
        );
        assert_eq!(
            found.iter().map(|need| need.package).collect::<Vec<_>>(),
            absent
        );
    }

    #[test]
    fn nothing_is_missing_where_everything_is_there() {
        assert!(missing(FOR_TESTS, |_| true).is_empty());
    }

    #[test]
    fn a_sign_is_read_off_this_machine() {
        assert!(Sign::Program("sh").is_here());
        assert!(!Sign::Program("no-such-program-here").is_here());
        assert!(Sign::File("/proc/self/status").is_here());
        assert!(Sign::Succeeds(&["sh", "-c", "exit 0"]).is_here());
        assert!(!Sign::Succeeds(&["sh", "-c", "exit 1"]).is_here());
        assert!(!Sign::Succeeds(&["no-such-program-here"]).is_here());
    }
}
