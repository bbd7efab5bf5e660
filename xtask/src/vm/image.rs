//! The contents of a guest's memory at its start: busybox and an init, the binaries
//! under test, and the command to run. The kernel unpacks them.

use std::collections::BTreeSet;
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
use crate::artifacts::{self, Artifact};
use crate::{build, step, workspace};

/// File systems that are made on the host, because a guest cannot, each with the
/// program that makes it of an empty file. They are small, and compressed they take
/// almost no space.
const FILE_SYSTEMS: [(&str, u64, &[&str]); 2] = [
    ("ext4", 16 << 20, &["mke2fs", "-q", "-F", "-t", "ext4"]),
    // Data and metadata are mixed: otherwise a btrfs takes more than 100 MiB.
    ("btrfs", 32 << 20, &["mkfs.btrfs", "-q", "--mixed"]),
];

const INIT: &str = include_str!("init.sh");
const PROFILE: &str = "guest";
const RECORDER: &str = "agent-recorder";
/// Prefix of the stimuli's names.
const STIMULI: &str = "stim";
/// Directory of the integration tests in the image.
pub(super) const TESTS: &str = "/tests";

/// The program of the report on the guard, and the program that destroys for it.
pub(super) const GUARD_REPORT: &str = "guard_report";
pub(super) const DESTROY: &str = "/bin/destroy";
const DESTROY_SOURCE: &str = "tests/src/reports/guard_report/destroy.c";

/// The archives that all guests share.
pub(crate) struct Image {
    base: PathBuf,
    binaries: PathBuf,
}

impl Image {
    /// An image with the recorder, and the stimuli and end-to-end tests among these
    /// programs.
    ///
    /// # Errors
    ///
    /// One is missing, or a file cannot be read or written.
    pub(super) fn of(programs: &[Artifact]) -> Result<Self> {
        Ok(Self {
            base: keep("base.cpio", &base()?)?,
            binaries: keep("binaries.cpio", &binaries(programs)?.finish())?,
        })
    }

    /// An image with the programs of the report on the guard, and no tests.
    ///
    /// # Errors
    ///
    /// As [`Image::of`], or there is no C compiler.
    pub(super) fn for_guard_report() -> Result<Self> {
        let targets = [("--bin", GUARD_REPORT), ("--bin", "stimulus")];
        let mut archive = binaries(&optimised(&targets)?)?;
        archive.program(Path::new(DESTROY), &destroy()?);
        Ok(Self {
            base: keep("base.cpio", &base()?)?,
            binaries: keep("guard-report.cpio", &archive.finish())?,
        })
    }

    /// One file with all that a guest with this kernel needs to run a shell script,
    /// or to offer a shell.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn with_command(
        &self,
        kernel: &Fetched,
        script: Option<&[u8]>,
    ) -> Result<NamedTempFile> {
        // The file is in a folder that `cargo clean` removes, in case xtask is killed
        // first.
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

/// A script that runs a command's words.
pub(super) fn script(words: &[OsString]) -> Vec<u8> {
    let quoted: Vec<Vec<u8>> = words.iter().map(|word| quoted(word.as_bytes())).collect();
    [quoted.join(&b' '), b"\n".to_vec()].concat()
}

/// The word in single quotes, in which the shell changes only those quotes.
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

/// The file system is made once, because each has an identity of its own.
fn file_system(name: &str, bytes: u64, maker: &[&str]) -> Result<Vec<u8>> {
    let folder = workspace::target("vm");
    let kept = folder.join(format!("{name}.gz"));
    if !kept.exists() {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let image = NamedTempFile::new_in(&folder)?;
        image.as_file().set_len(bytes)?;
        // These directories have the programs of administrators where PATH lacks
        // them.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let mut command = Command::new("env");
        command.arg(format!("PATH={path}")).args(maker);
        step::output(command.arg(image.path()))?;
        let compressed = step::output_bytes(Command::new("gzip").arg("-9c").arg(image.path()))?;
        build::write_if_changed(&kept, &compressed)?;
    }
    fs::read(&kept).with_context(|| format!("read {}", kept.display()))
}

/// Builds the recorder and these targets of the tests optimised, for the speed of a
/// guest, in a separate target folder.
///
/// # Errors
///
/// Something does not compile.
pub(super) fn optimised(targets: &[(&str, &str)]) -> Result<Vec<Artifact>> {
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--profile", PROFILE])
        .args(["-p", "agent-recorder", "-p", "agent-recorder-tests"])
        .args(["--bin", RECORDER]);
    for (kind, name) in targets {
        cargo.args([kind, name]);
    }
    artifacts::built(&mut cargo)
}

/// Compiles the report's C program, which is statically linked.
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

fn binaries(programs: &[Artifact]) -> Result<Archive> {
    let mut archive = Archive::default();
    let mut libraries = BTreeSet::new();
    let mut place = |program: &Artifact, path: &Path| {
        archive.program(path, &stripped(&program.path)?);
        libraries.extend(loaded(&program.path)?);
        anyhow::Ok(())
    };
    let named = |name: &str| programs.iter().find(|program| program.is_bin(name));
    let recorder = named(RECORDER).with_context(|| format!("{RECORDER} was not built"))?;
    place(recorder, &Path::new("/bin").join(RECORDER))?;
    for program in programs.iter().filter(|program| program.kind == "test") {
        let name = program.path.file_name().unwrap_or_default();
        place(program, &Path::new(TESTS).join(name))?;
    }
    // Tests find the stimuli by their build path, and people by their name.
    let others: Vec<_> = programs
        .iter()
        .filter(|program| program.is_bin(&program.name))
        .filter(|program| program.name.starts_with(STIMULI) || program.name == GUARD_REPORT)
        .collect();
    for program in &others {
        place(program, &program.path)?;
    }
    for program in others {
        archive.link(&Path::new("/bin").join(&program.name), &program.path);
    }
    for library in libraries {
        let bytes = fs::read(&library).with_context(|| format!("read {}", library.display()))?;
        archive.program(&library, &bytes);
    }
    Ok(archive)
}

/// A program without debug information, which would take most of a guest's memory.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let file = NamedTempFile::new_in(workspace::target("vm"))?;
    let mut strip = Command::new("strip");
    step::output(strip.arg("-o").arg(file.path()).arg(program))?;
    fs::read(file.path()).with_context(|| format!("read what strip made of {}", program.display()))
}

/// The libraries that a program loads on this host, and its loader, by their paths;
/// empty for a statically linked program.
fn loaded(program: &Path) -> Result<Vec<PathBuf>> {
    let said = Command::new("ldd").arg(program).output();
    let said = said.with_context(|| format!("start `ldd {}`", program.display()))?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(
        !text.contains("not found"),
        "ldd {}: {text}",
        program.display()
    );
    Ok(libraries(&text))
}

/// Parses the output of ldd(1): `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` of the
/// loader. The vdso has no path.
fn libraries(said: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let found = line.split_once(" => ").map_or(line, |(_, found)| found);
        let (path, _) = found.trim().rsplit_once(" (")?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    said.lines().filter_map(path).collect()
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
    fn libraries_are_those_with_a_path() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f12)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f45)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(said), expected.map(PathBuf::from));
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
