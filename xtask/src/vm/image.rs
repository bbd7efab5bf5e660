//! What a guest's memory holds when it starts: busybox and an init, the
//! binaries under test, and what to run. Who unpacks it is the kernel.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::NamedTempFile;

use super::archive::Archive;
use super::kernels::Fetched;
use crate::workspace;
use crate::{build, step};

/// File systems that are made here, for a guest cannot, and what makes each of
/// an empty file. Small, and compressed they are next to nothing.
const FILE_SYSTEMS: [(&str, u64, &[&str]); 2] = [
    ("ext4", 16 << 20, &["mke2fs", "-q", "-F", "-t", "ext4"]),
    // Data and metadata in one: otherwise it takes more than 100 MiB.
    ("btrfs", 32 << 20, &["mkfs.btrfs", "-q", "--mixed"]),
];

const INIT: &str = include_str!("init.sh");
/// Statically linked, a program needs nothing else of the image.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const STATIC: &str = "-Ctarget-feature=+crt-static";
const PROFILE: &str = "guest";
/// Where the image has the integration tests.
pub(super) const TESTS: &str = "/tests";

/// What makes the report on the guard, and the program that destroys for it.
pub(super) const GUARD_REPORT: &str = "guard_report";
pub(super) const DESTROY: &str = "/bin/destroy";
const DESTROY_SOURCE: &str = "tests/src/reports/guard_report/destroy.c";

/// The archives that all guests share.
pub(crate) struct Image {
    base: PathBuf,
    binaries: PathBuf,
}

impl Image {
    /// Builds what it holds of this workspace, with these of the integration tests.
    ///
    /// # Errors
    ///
    /// The workspace does not compile, or a file cannot be read or written.
    pub(super) fn build(tests: &[&str]) -> Result<Self> {
        // Cargo builds the package's own programs with a test: the stimuli are among them.
        let targets: Vec<_> = tests.iter().map(|test| ("--test", *test)).collect();
        Ok(Self {
            base: keep("base.cpio", &base()?)?,
            binaries: keep("binaries.cpio", &binaries(&compiled(&targets)?)?.finish())?,
        })
    }

    /// The same with what the report on the guard takes, and no test.
    ///
    /// # Errors
    ///
    /// As [`Image::build`], or there is no C compiler.
    pub(super) fn for_guard_report() -> Result<Self> {
        let targets = [("--bin", GUARD_REPORT), ("--bin", "stimulus")];
        let mut archive = binaries(&compiled(&targets)?)?;
        archive.program(Path::new(DESTROY), &destroy()?);
        Ok(Self {
            base: keep("base.cpio", &base()?)?,
            binaries: keep("guard-report.cpio", &archive.finish())?,
        })
    }

    /// One file of all that a guest with this kernel needs to run a shell script, or to give a shell.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn with_command(
        &self,
        kernel: &Fetched,
        script: Option<&[u8]>,
    ) -> Result<NamedTempFile> {
        // Among what `cargo clean` removes, should we be killed before we can.
        let mut file = NamedTempFile::new_in(workspace::target("vm"))
            .context("make a file for the guest's memory")?;
        for part in [&self.base, &self.binaries, &kernel.modules] {
            let bytes = fs::read(part).with_context(|| format!("read {}", part.display()))?;
            file.write_all(&bytes)?;
        }
        if let Some(script) = script {
            let mut archive = Archive::default();
            archive.file(Path::new("/command"), script);
            file.write_all(&archive.finish())?;
        }
        file.flush().context("write the guest's memory")?;
        Ok(file)
    }
}

/// A command's words as a script that runs just it.
pub(super) fn script(words: &[OsString]) -> Vec<u8> {
    let quoted: Vec<Vec<u8>> = words.iter().map(|word| quoted(word.as_bytes())).collect();
    [quoted.join(&b' '), b"\n".to_vec()].concat()
}

/// In single quotes, where the shell takes everything but those as it is.
fn quoted(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in word {
        if byte == b'\'' {
            quoted.extend(b"'\\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

fn base() -> Result<Vec<u8>> {
    let busybox = which::which("busybox").context("find busybox: run `cargo xtask setup`")?;
    let busybox = fs::read(&busybox).with_context(|| format!("read {}", busybox.display()))?;
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "dev", "tmp", "run", "root", "var/lib", "usr"] {
        archive.directory(Path::new(directory));
    }
    archive.program(Path::new("/bin/busybox"), &busybox);
    archive.link(Path::new("/bin/sh"), Path::new("busybox"));
    archive.link(Path::new("/usr/bin"), Path::new("../bin"));
    archive.file(Path::new("/etc/passwd"), b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file(Path::new("/etc/group"), b"root:x:0:\n");
    archive.file(Path::new("/etc/hosts"), b"127.0.0.1 localhost\n");
    archive.program(Path::new("/init"), INIT.as_bytes());
    for (name, bytes, maker) in FILE_SYSTEMS {
        let image = file_system(name, bytes, maker)
            .with_context(|| format!("make an image of {name}: run `cargo xtask setup`"))?;
        archive.file(&Path::new("/images").join(format!("{name}.gz")), &image);
    }
    Ok(archive.finish())
}

/// Made once: each has an identity of its own.
fn file_system(name: &str, bytes: u64, maker: &[&str]) -> Result<Vec<u8>> {
    let folder = workspace::target("vm");
    let kept = folder.join(format!("{name}.gz"));
    if !kept.exists() {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let image = NamedTempFile::new_in(&folder)?;
        image.as_file().set_len(bytes)?;
        // Where programs of administrators are not on PATH, they are here.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let mut command = Command::new("env");
        command.arg(format!("PATH={path}")).args(maker);
        step::output(command.arg(image.path()))?;
        let compressed = step::output_bytes(Command::new("gzip").arg("-9c").arg(image.path()))?;
        build::write_if_changed(&kept, &compressed)?;
    }
    fs::read(&kept).with_context(|| format!("read {}", kept.display()))
}

/// A program that cargo built, with the name of its target.
struct Compiled {
    kind: String,
    name: String,
    path: PathBuf,
}

fn compiled(targets: &[(&str, &str)]) -> Result<Vec<Compiled>> {
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--message-format=json-render-diagnostics",
        "--profile",
        PROFILE,
        "--target",
        TARGET,
        "-p",
        "agent-recorder",
        "-p",
        "agent-recorder-tests",
        "--bin",
        "agent-recorder",
    ]);
    for (kind, name) in targets {
        cargo.args([kind, name]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", STATIC);
    let messages = build::printed(&mut cargo)?;
    let compiled: Vec<_> = messages.lines().filter_map(executable).collect();
    ensure!(
        compiled
            .iter()
            .any(|program| program.name == "agent-recorder"),
        "`{}` names no agent-recorder",
        step::shown(&cargo)
    );
    Ok(compiled)
}

/// What one of cargo's messages says of a program.
fn executable(message: &str) -> Option<Compiled> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    Some(Compiled {
        kind: message["target"]["kind"][0].as_str()?.to_owned(),
        name: message["target"]["name"].as_str()?.to_owned(),
        path: message["executable"].as_str()?.into(),
    })
}

/// The report's C program, which needs nothing else of the image.
fn destroy() -> Result<Vec<u8>> {
    let program = workspace::target("vm/destroy");
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-O1", "-Wall", "-o"]);
    step::output(
        compiler
            .arg(&program)
            .arg(workspace::root().join(DESTROY_SOURCE)),
    )?;
    fs::read(&program).with_context(|| format!("read {}", program.display()))
}

fn binaries(compiled: &[Compiled]) -> Result<Archive> {
    let mut archive = Archive::default();
    for Compiled { kind, name, path } in compiled {
        let content = || fs::read(path).with_context(|| format!("read {}", path.display()));
        match kind.as_str() {
            "test" => archive.program(&Path::new(TESTS).join(name), &content()?),
            "bin" if name == "agent-recorder" => {
                archive.program(Path::new("/bin/agent-recorder"), &content()?);
            }
            // The tests know them by the path that they were built at; a person by their name.
            "bin" if name.starts_with("stim") || name == GUARD_REPORT => {
                archive.program(path, &content()?);
                archive.link(&Path::new("/bin").join(name), path);
            }
            _ => {}
        }
    }
    Ok(archive)
}

fn keep(name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let place = workspace::target("vm").join(name);
    build::write_if_changed(&place, bytes)?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_guest_as_they_are() {
        let words = ["echo", "it's", "$HOME a"].map(OsString::from);
        assert_eq!(script(&words), b"'echo' 'it'\\''s' '$HOME a'\n");
    }

    #[test]
    fn a_message_of_cargo_tells_a_test_from_a_program() {
        let message = r#"{"target":{"kind":["test"],"name":"x"},"executable":"/t/x-1"}"#;
        let found = executable(message).map(|found| (found.kind, found.name, found.path));
        assert_eq!(found, Some(("test".into(), "x".into(), "/t/x-1".into())));
        let library = r#"{"target":{"kind":["lib"],"name":"x"},"executable":null}"#;
        assert!(executable(library).is_none());
    }
}
