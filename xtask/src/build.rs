//! `cargo xtask build`: the BPF object, then the binary that embeds it.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::artifacts::{self, Linted};
use crate::stack;
use crate::step::{self, Steps, say};
use crate::toolchain::{self, Toolchain};
use crate::workspace;

/// The package of the kernel programs, and its binary.
const PROGRAMS: &str = "agent-recorder-ebpf";
/// The target: BPF is little-endian on all supported hosts.
const BPF_TARGET: &str = "bpfel-unknown-none";
/// Below v3, LLVM refuses an atomic addition whose result is used ("Invalid
/// usage of the XADD return value").
const BPF_CPU: &str = "v3";

/// The profile of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Toolchain, object, binary.
///
/// # Errors
///
/// Whatever is missing or does not compile.
pub(crate) fn command(release: bool) -> Result<()> {
    let mut steps = Steps::new(3);
    let binary = recorder(
        &mut steps,
        if release {
            Profile::Release
        } else {
            Profile::Debug
        },
    )?;
    say(&format!("built {}", binary.display()));
    Ok(())
}

/// The three steps from nothing to the `agent-recorder` binary, and its path.
pub(crate) fn recorder(steps: &mut Steps, profile: Profile) -> Result<PathBuf> {
    let toolchain = steps.run("BPF toolchain", Toolchain::ready)?;
    steps.run("BPF object", || object(&toolchain))?;
    steps.run("agent-recorder", || {
        binary("agent-recorder", "agent-recorder", profile)
    })
}

/// The objects: cargo's features, and the path from which `agent-recorder/build.rs`
/// takes each.
const OBJECTS: [(&str, &str); 2] = [
    ("programs", "bpf/agent-recorder.bpf.o"),
    ("old-kernel", "bpf/agent-recorder-old.bpf.o"),
];

/// Compiles the kernel programs, once for new and once for old kernels, and copies
/// the objects to where `agent-recorder/build.rs` takes them.
///
/// # Errors
///
/// The programs do not compile, or a file cannot be read or written.
pub(crate) fn object(toolchain: &Toolchain) -> Result<()> {
    for (features, place) in OBJECTS {
        one_object(toolchain, features, &workspace::target(place))?;
    }
    Ok(())
}

fn one_object(toolchain: &Toolchain, features: &str, place: &Path) -> Result<()> {
    let built_in = workspace::target("bpf-build");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(workspace::root().join(PROGRAMS))
        .args([
            "build",
            "--release",
            "-Zbuild-std=core",
            "--target",
            BPF_TARGET,
        ])
        .args(["--features", features])
        .args(["-p", PROGRAMS, "--bin", PROGRAMS, "--target-dir"])
        .arg(&built_in)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rust_flags(toolchain.linker(), toolchain::architecture(ARCH)?)?,
        );
    step::run(&mut cargo)?;
    let object = built_in.join(BPF_TARGET).join("release").join(PROGRAMS);
    let bytes = fs::read(&object).with_context(|| format!("read {}", object.display()))?;
    stack::check(&bytes)?;
    let news = write_if_changed(place, &bytes)?;
    say(&format!(
        "{} {}",
        place.display(),
        if news { "is new" } else { "is unchanged" }
    ));
    Ok(())
}

/// Flags of the kernel programs, separated as CARGO_ENCODED_RUSTFLAGS wants them.
fn rust_flags(linker: &Path, bpf_arch: &str) -> Result<String> {
    let linker = linker
        .to_str()
        .with_context(|| format!("{} is not UTF-8", linker.display()))?;
    let flags = [
        format!("-Clinker={linker}"),
        // bpf_loop and typed loads need BTF, and BTF is made from debug information.
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        format!("-Ctarget-cpu={BPF_CPU}"),
        format!("--cfg=bpf_target_arch=\"{bpf_arch}\""),
    ];
    Ok(flags.join("\u{1f}"))
}

/// Writes a file unless it has these bytes already, so that nothing is rebuilt
/// because of it. True when it wrote.
pub(crate) fn write_if_changed(to: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))?;
    Ok(true)
}

/// Builds and lints all programs of the workspace, with their tests. A filter selects the tests
/// to run, never the programs to build, so nothing is built twice with other
/// features.
///
/// # Errors
///
/// Something does not compile.
pub(crate) fn everything() -> Result<Linted> {
    artifacts::built_and_linted(workspace::cargo().args(["build", "--workspace", "--all-targets"]))
}

/// Builds one binary of the workspace and says where cargo put it.
///
/// # Errors
///
/// It does not compile, or cargo names no executable.
pub(crate) fn binary(package: &str, name: &str, profile: Profile) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "-p", package, "--bin", name]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let programs = artifacts::built(&mut cargo)?;
    let found = programs.into_iter().find(|program| program.is_bin(name));
    found
        .map(|program| program.path)
        .with_context(|| format!("`{}` names no executable {name}", step::shown(&cargo)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_the_linker_and_the_hosts_registers() -> Result<()> {
        let flags = rust_flags(Path::new("/a b/bpf-linker"), "x86_64")?;
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert!(flags.contains(&"-Clinker=/a b/bpf-linker"), "{flags:?}");
        assert!(
            flags.contains(&"--cfg=bpf_target_arch=\"x86_64\""),
            "{flags:?}"
        );
        Ok(())
    }

    #[test]
    fn an_unchanged_object_is_left_alone() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let to = folder.path().join("new/to");
        assert!(write_if_changed(&to, b"one")?);
        let written = fs::metadata(&to)?.modified()?;
        assert!(!write_if_changed(&to, b"one")?);
        assert_eq!(fs::metadata(&to)?.modified()?, written);
        assert!(write_if_changed(&to, b"two")?);
        assert_eq!(fs::read(&to)?, b"two");
        Ok(())
    }
}
