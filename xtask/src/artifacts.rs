//! The programs that cargo built, by its messages for programs
//! (doc.rust-lang.org/cargo/reference/external-tools.html).

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::step;
use crate::workspace;

/// The option by which cargo writes its messages to stdout, and its output for people
/// to stderr.
const MESSAGES: &str = "--message-format=json-render-diagnostics";

/// A program that cargo built, or found up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// Kind of its target: `bin`, `lib`, `test`.
    pub kind: String,
    /// Name of its target.
    pub name: String,
    /// Whether it is the target's test program, and not the target itself.
    pub is_test: bool,
    /// The folder of its package, in which cargo runs tests.
    pub package: PathBuf,
    /// The program.
    pub path: PathBuf,
}

impl Artifact {
    /// Whether it is the program of this name, and not its test program.
    pub(crate) fn is_bin(&self, name: &str) -> bool {
        self.kind == "bin" && !self.is_test && self.name == name
    }
}

/// Runs a building cargo command, and returns the programs.
///
/// # Errors
///
/// Something does not compile.
pub(crate) fn built(cargo: &mut Command) -> Result<Vec<Artifact>> {
    Ok(messages(cargo)?.lines().filter_map(read).collect())
}

/// What a build made, and whether the lints had anything to say.
pub(crate) struct Linted {
    /// The programs.
    pub programs: Vec<Artifact>,
    /// How many warnings the workspace's packages have; cargo repeats those of packages
    /// that are up to date.
    pub warnings: usize,
}

/// Runs a building cargo command with clippy as the compiler of the workspace's packages.
/// A lint of its own (`cargo clippy`) would check all packages that these depend on, and
/// a build after it would compile the same packages once more.
///
/// # Errors
///
/// Something does not compile.
pub(crate) fn built_and_linted(cargo: &mut Command) -> Result<Linted> {
    let messages = messages(workspace::with_lints(cargo))?;
    Ok(Linted {
        programs: messages.lines().filter_map(read).collect(),
        warnings: messages.lines().filter(|line| is_warning(line)).count(),
    })
}

/// What cargo says to programs, a message a line.
fn messages(cargo: &mut Command) -> Result<String> {
    let child = cargo
        .arg(MESSAGES)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{}`", step::shown(cargo)))?;
    let output = child
        .wait_with_output()
        .with_context(|| format!("wait for `{}`", step::shown(cargo)))?;
    if !output.status.success() {
        bail!("`{}` ended with {}", step::shown(cargo), output.status);
    }
    String::from_utf8(output.stdout).context("read cargo's messages")
}

/// Whether a message is a warning of a compiler. cargo shows those of the workspace's
/// packages alone.
fn is_warning(message: &str) -> bool {
    serde_json::from_str(message).is_ok_and(|message: serde_json::Value| {
        message["reason"] == "compiler-message" && message["message"]["level"] == "warning"
    })
}

/// A message about a program.
fn read(message: &str) -> Option<Artifact> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    Some(Artifact {
        kind: message["target"]["kind"][0].as_str()?.to_owned(),
        name: message["target"]["name"].as_str()?.to_owned(),
        is_test: message["profile"]["test"].as_bool()?,
        package: manifest.parent()?.to_owned(),
        path: message["executable"].as_str()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_a_program_from_its_tests_and_from_a_library() {
        let message = |executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/x/Cargo.toml","target":{{"kind":["bin"],"name":"x"}},"profile":{{"test":true}},"executable":{executable}}}"#
            )
        };
        let expected = Artifact {
            kind: "bin".into(),
            name: "x".into(),
            is_test: true,
            package: "/w/x".into(),
            path: "/t/x-1".into(),
        };
        assert_eq!(read(&message(r#""/t/x-1""#)), Some(expected));
        assert_eq!(read(&message("null")), None);
        assert_eq!(read("not json"), None);
    }

    #[test]
    fn a_warning_is_told_from_a_note_and_from_a_program() {
        let message = |reason: &str, level: &str| {
            format!(r#"{{"reason":"{reason}","message":{{"level":"{level}"}}}}"#)
        };
        assert!(is_warning(&message("compiler-message", "warning")));
        assert!(!is_warning(&message("compiler-message", "note")));
        assert!(!is_warning(&message("compiler-artifact", "warning")));
        assert!(!is_warning("not json"));
    }
}
