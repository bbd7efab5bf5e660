//! The compiler and the linker of the BPF object: finding them, and installing
//! missing ones.
//!
//! `core` is built from source for BPF, so a compiler is usable only with its library
//! sources; bpf-linker reads the compiler's bitcode, so its LLVM has to be that of
//! the compiler or a newer one. There are two ways: Debian's rustc-web, and a rustup
//! nightly with rust-src.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::step::{self, say};
use crate::{apt, workspace};

/// Debian's compiler by its path, because rustup's comes first on PATH.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The version of bpf-linker to build, and the LLVM versions that it supports.
const LINKER_VERSION: &str = "0.13.0";
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;
/// The workspace's `rust-version`: aya-ebpf takes no older compiler.
const OLDEST_RUST: Version = Version {
    major: 1,
    minor: 95,
};
/// A sufficient alternative where there is no apt.
const OTHER_WAY: &str = "`rustup toolchain install nightly --component rust-src` and `cargo install bpf-linker` are enough, too";

/// The compiler and linker of the BPF object.
#[derive(Debug)]
pub(crate) struct Toolchain {
    compiler: Compiler,
    linker: PathBuf,
}

#[derive(Debug)]
struct Compiler {
    origin: Origin,
    about: About,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Debian,
    Nightly,
}

/// The output of `rustc -vV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    release: String,
    version: Version,
    llvm: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Toolchain {
    /// Whether [`Toolchain::ready`] has nothing to install, which takes minutes.
    pub(crate) fn is_here() -> bool {
        find_compiler().is_some_and(|compiler| find_linker(compiler.about.llvm).is_some())
    }

    /// The toolchain of this machine, after missing parts were installed.
    ///
    /// # Errors
    ///
    /// Something is missing and cannot be installed: the line says what and how to get it.
    pub(crate) fn ready() -> Result<Self> {
        // The check comes before any installation.
        architecture(ARCH)?;
        let compiler = find_compiler().map_or_else(install_compiler, Ok)?;
        let linker =
            find_linker(compiler.about.llvm).map_or_else(|| install_linker(&compiler), Ok)?;
        let toolchain = Self { compiler, linker };
        say(&format!("BPF toolchain: {}", toolchain.describe()));
        Ok(toolchain)
    }

    /// For people: compiler, its LLVM, linker.
    pub(crate) fn describe(&self) -> String {
        let Compiler { origin, about } = &self.compiler;
        let origin = match origin {
            Origin::Debian => DEBIAN_RUSTC,
            Origin::Nightly => "rustup's nightly",
        };
        format!(
            "{origin} {} with LLVM {}, {}",
            about.release,
            about.llvm.major,
            self.linker.display()
        )
    }

    /// The linker, for rustc's `-Clinker`.
    pub(crate) fn linker(&self) -> &Path {
        &self.linker
    }

    /// A cargo that compiles with this compiler, without the environment's settings
    /// for the host.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self.compiler.origin {
            Origin::Debian => Command::new(workspace::cargo_program()),
            Origin::Nightly => nightly("cargo"),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(steers_compilation) {
                command.env_remove(name);
            }
        }
        if matches!(self.compiler.origin, Origin::Debian) {
            // Without this a stable compiler refuses build-std and features.
            command
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// Whether a variable changes the inputs, the compiler or the output of cargo. `cargo
/// run` sets some of them for xtask; LD_LIBRARY_PATH would load rustup's libraries
/// into another compiler.
fn steers_compilation(name: &str) -> bool {
    let kept = [
        "CARGO_HOME",
        "CARGO_NET_OFFLINE",
        "CARGO_TERM_COLOR",
        "CARGO_TERM_PROGRESS_WHEN",
        "CARGO_INCREMENTAL",
    ];
    let prefixes = [
        "CARGO_BUILD_",
        "CARGO_ENCODED_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
    ];
    let names = [
        "RUSTC",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTUP_TOOLCHAIN",
        "LD_LIBRARY_PATH",
    ];
    !kept.contains(&name)
        && (names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix)))
}

/// The machine of the kernel programs, by aya-ebpf's name for it. The table of system
/// calls and the registers of their arguments are those of x86-64: on another machine
/// the programs would load, and read wrong calls and arguments.
///
/// # Errors
///
/// The machine is another one.
pub(crate) fn architecture(host: &str) -> Result<&str> {
    if host != "x86_64" {
        bail!(
            "agent-recorder builds on x86_64 only: its kernel programs know neither the system calls nor the registers of {host}"
        );
    }
    Ok(host)
}

fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    // The question whether it is installed must not install it.
    command
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn find_compiler() -> Option<Compiler> {
    [Origin::Debian, Origin::Nightly]
        .into_iter()
        .find_map(|origin| {
            let rustc = || match origin {
                Origin::Debian => {
                    let mut command = Command::new(DEBIAN_RUSTC);
                    command.env_remove("LD_LIBRARY_PATH");
                    command
                }
                Origin::Nightly => nightly("rustc"),
            };
            let about = About::parse(&step::output(rustc().arg("-vV")).ok()?)?;
            let sysroot = step::output(rustc().args(["--print", "sysroot"])).ok()?;
            let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
            (about.version >= OLDEST_RUST && sources.is_dir()).then_some(Compiler { origin, about })
        })
}

fn install_compiler() -> Result<Compiler> {
    say("no compiler with the sources of its library: getting Debian's");
    apt::install(&["rustc-web".into(), "rust-web-src".into()])
        .with_context(|| format!("no compiler that can build for BPF; {OTHER_WAY}"))?;
    find_compiler().with_context(|| {
        let Version { major, minor } = OLDEST_RUST;
        format!("{DEBIAN_RUSTC} is older than {major}.{minor} or lacks its sources (rust-web-src); {OTHER_WAY}")
    })
}

/// The linker under `target/tools`, otherwise one on PATH, if it can read `llvm`'s
/// bitcode.
fn find_linker(llvm: Version) -> Option<PathBuf> {
    let ours = workspace::target("tools/bin/bpf-linker");
    let anyones = which::which("bpf-linker").ok();
    std::iter::once(ours)
        .chain(anyones)
        .find(|linker| linker_llvm(linker).is_some_and(|held| held.major >= llvm.major))
}

/// The LLVM of a bpf-linker, by LLVM's own option, since bpf-linker has none.
fn linker_llvm(linker: &Path) -> Option<Version> {
    let mut command = Command::new(linker);
    command
        .args(["--llvm-args=--version", "-o", "/dev/null", "/dev/null"])
        .stdin(Stdio::null());
    parse_llvm_answer(&step::output(&mut command).ok()?)
}

fn install_linker(compiler: &Compiler) -> Result<PathBuf> {
    let llvm = compiler.about.llvm;
    let major = llvm.major;
    if !LINKER_LLVM.contains(&major) {
        bail!(
            "bpf-linker {LINKER_VERSION} has no feature for LLVM {major}, the compiler's; put a bpf-linker that has it on PATH"
        );
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    let packages = linker_packages(major, |path| Path::new(path).exists());
    if !packages.is_empty() {
        apt::install(&packages).with_context(|| {
            format!("building bpf-linker needs LLVM {major}'s development files; {OTHER_WAY}")
        })?;
    }
    let root = workspace::target("tools");
    say(&format!(
        "building bpf-linker {LINKER_VERSION} for LLVM {major} into {} (about a minute)",
        root.display()
    ));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(prefix.join("bin")).chain(std::env::split_paths(&path));
    let mut cargo = workspace::cargo();
    for name in [
        "RUSTC",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
    ] {
        cargo.env_remove(name);
    }
    cargo
        .args([
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
            "--force",
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{major}"),
            "--root",
        ])
        .arg(&root)
        // llvm-sys calls its version for LLVM 22 "221": LLVM's releases begin at minor 1.
        .env(format!("LLVM_SYS_{major}1_PREFIX"), &prefix)
        .env("LLVM_PREFIX", &prefix)
        .env(
            "PATH",
            std::env::join_paths(places).context("put LLVM's programs on PATH")?,
        );
    step::run(&mut cargo)?;
    find_linker(llvm).with_context(|| {
        format!(
            "the bpf-linker just built under {} does not start",
            root.display()
        )
    })
}

/// The Debian packages that building bpf-linker needs and this machine lacks.
fn linker_packages(llvm: u32, is_here: impl Fn(&str) -> bool) -> Vec<String> {
    let wanted = [
        (
            format!("llvm-{llvm}-dev"),
            format!("/usr/lib/llvm-{llvm}/include/llvm-c/Core.h"),
        ),
        (
            format!("libpolly-{llvm}-dev"),
            format!("/usr/lib/llvm-{llvm}/lib/libPolly.a"),
        ),
        ("zlib1g-dev".to_owned(), "/usr/include/zlib.h".to_owned()),
        ("libzstd-dev".to_owned(), "/usr/include/zstd.h".to_owned()),
    ];
    wanted
        .into_iter()
        .filter(|(_, file)| !is_here(file))
        .map(|(package, _)| package)
        .collect()
}

impl About {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let release = field("release:")?;
        Some(Self {
            release: release.to_owned(),
            version: Version::parse(release)?,
            llvm: Version::parse(field("LLVM version:")?)?,
        })
    }
}

/// Parses `Debian LLVM version 22.1.8` or `LLVM version 22.1.8-rust-1.96.0-stable` on
/// a line of its own.
fn parse_llvm_answer(text: &str) -> Option<Version> {
    text.lines()
        .find_map(|line| Version::parse(line.split_once("LLVM version ")?.1))
}

impl Version {
    /// The first two numbers of `22.1.8`, `1.97.0-nightly`, `22.1`.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    const DEBIAN: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
        host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    #[test]
    fn a_machine_whose_calls_and_registers_are_unknown_is_refused_in_one_line() {
        assert_eq!(architecture("x86_64").ok(), Some("x86_64"));
        for host in ["aarch64", "mips"] {
            let refusal = architecture(host).map(drop).map_err(|e| format!("{e:#}"));
            let refusal = refusal.expect_err("refused");
            assert!(refusal.contains(host), "{refusal}");
            assert_eq!(refusal.lines().count(), 1);
        }
    }

    #[test]
    fn the_compilers_llvm_is_read_from_its_verbose_version() {
        let about = About::parse(DEBIAN);
        assert_eq!(
            about,
            Some(About {
                release: "1.96.0".into(),
                version: version(1, 96),
                llvm: version(22, 1)
            })
        );
    }

    #[test]
    fn a_nightly_counts_as_its_number() {
        let about = About::parse("release: 1.98.0-nightly\nLLVM version: 23.0.1\n");
        assert_eq!(about.map(|about| about.version), Some(version(1, 98)));
    }

    #[test]
    fn a_compiler_without_llvm_is_none_of_ours() {
        assert_eq!(About::parse("release: 1.96.0\n"), None);
        assert_eq!(
            About::parse("release: 1.96.0\nLLVM version: unknown\n"),
            None
        );
    }

    #[test]
    fn the_linkers_llvm_is_read_from_llvms_own_answer() {
        assert_eq!(
            parse_llvm_answer("Debian LLVM version 22.1.8\n  Optimized build.\n"),
            Some(version(22, 1))
        );
        assert_eq!(
            parse_llvm_answer(
                "LLVM (http://llvm.org/):\n  LLVM version 19.1.7-rust-1.86.0-stable\n"
            ),
            Some(version(19, 1))
        );
        assert_eq!(parse_llvm_answer("bpf-linker 0.13.0\n"), None);
    }

    #[test]
    fn only_absent_files_ask_for_their_packages() {
        assert!(linker_packages(22, |_| true).is_empty());
        assert_eq!(
            linker_packages(22, |path| path.contains("llvm-22")),
            ["zlib1g-dev", "libzstd-dev"]
        );
        assert_eq!(
            linker_packages(23, |path| !path.contains("llvm-23")),
            ["llvm-23-dev", "libpolly-23-dev"]
        );
    }

    #[test]
    fn what_the_outer_cargo_says_about_compiling_is_forgotten_and_its_home_is_not() {
        for name in [
            "RUSTC",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
            "CARGO_PROFILE_RELEASE_LTO",
        ] {
            assert!(steers_compilation(name), "{name}");
        }
        for name in [
            "CARGO",
            "CARGO_HOME",
            "PATH",
            "HOME",
            "RUSTUP_HOME",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
        ] {
            assert!(!steers_compilation(name), "{name}");
        }
    }
}
