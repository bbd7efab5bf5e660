//! The inputs of the workloads: the same bytes on every machine and in every run, in
//! memory, so that no disk is measured.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::step;

/// Folders of the source tree, about as many as a middle-sized service has.
const FOLDERS: usize = 40;
const FILES_A_FOLDER: usize = 20;
const LINES_A_FILE: usize = 400;
/// Files that differ between the repository's two branches.
const FILES_CHANGED: usize = 150;
/// Files of the C project besides its `main.c`.
const C_FILES: usize = 12;

/// The folder of the inputs, which is removed with this value.
pub(super) struct Inputs {
    folder: TempDir,
}

impl Inputs {
    /// Makes all of them.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or git or tar fails.
    pub(super) fn make() -> Result<Self> {
        let parent = in_memory();
        let folder = tempfile::Builder::new()
            .prefix("agent-recorder-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        let path = folder.path();
        make_tree(&path.join("tree"), "")?;
        make_c_project(&path.join("c"))?;
        step::output(
            Command::new("tar")
                .args(["cf", "tree.tar", "tree"])
                .current_dir(path),
        )?;
        make_repository(&path.join("repository"))?;
        Ok(Self { folder })
    }

    /// The folder of the inputs, in which the workloads run.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A tmpfs where there is one for every user (shm_overview(7)).
fn in_memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() {
        shared
    } else {
        std::env::temp_dir()
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))
}

/// Creates the source tree. `tail` is appended to the files that the second branch
/// changes.
fn make_tree(tree: &Path, tail: &str) -> Result<()> {
    let mut words = Words::default();
    for folder in 0..FOLDERS {
        let folder_path = tree.join(format!("module{folder:02}"));
        make_folder(&folder_path)?;
        for file in 0..FILES_A_FOLDER {
            let mut text = words.text(LINES_A_FILE);
            if folder * FILES_A_FOLDER + file < FILES_CHANGED {
                text.push_str(tail);
            }
            write(&folder_path.join(format!("part{file:02}.rs")), &text)?;
        }
    }
    Ok(())
}

/// Lines of made-up words by a fixed linear congruential sequence (Knuth's MMIX constants).
#[derive(Default)]
struct Words(u64);

impl Words {
    fn text(&mut self, lines: usize) -> String {
        let mut text = String::new();
        for _ in 0..lines {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let number = self.0 >> 20;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "let value_{:05} = compute({:08x}, {:06x});",
                number % 99_991,
                number >> 8,
                number % 0xff_ffff
            );
        }
        text
    }
}

fn make_c_project(folder: &Path) -> Result<()> {
    make_folder(folder)?;
    let (mut declarations, mut calls) = (String::new(), String::new());
    for i in 0..C_FILES {
        let source = format!(
            "#include <pthread.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/socket.h>\n\
             int f{i}(int x)\n{{\n\tchar b[64];\n\tsnprintf(b, sizeof b, \"%d\", x * {i});\n\treturn (int)strlen(b) + x;\n}}\n"
        );
        write(&folder.join(format!("f{i}.c")), &source)?;
        let _ = writeln!(declarations, "int f{i}(int);");
        let _ = writeln!(calls, "\ts += f{i}(s);");
    }
    write(
        &folder.join("main.c"),
        &format!("{declarations}int main(void)\n{{\n\tint s = 0;\n{calls}\treturn s == 0;\n}}\n"),
    )?;
    let makefile = "OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\n\
        app: $(OBJECTS)\n\tgcc -o $@ $(OBJECTS)\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n";
    write(&folder.join("Makefile"), makefile)
}

/// Two branches, `main` and `feature`, whose trees differ in some files.
fn make_repository(folder: &Path) -> Result<()> {
    make_tree(folder, "")?;
    git(folder, &["init", "-q", "-b", "main"])?;
    git(folder, &["add", "."])?;
    git(folder, &["commit", "-q", "-m", "one"])?;
    git(folder, &["checkout", "-q", "-b", "feature"])?;
    make_tree(folder, "// changed\n")?;
    git(folder, &["commit", "-q", "-a", "-m", "two"])?;
    git(folder, &["checkout", "-q", "main"])
}

fn git(folder: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new("git");
    command
        .args(words)
        .current_dir(folder)
        .envs(ENVIRONMENT.iter().copied());
    step::output(&mut command).map(drop)
}

/// An environment without the machine's settings, version managers' shims and the
/// time.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_AUTHOR_NAME", "bench"),
    ("GIT_AUTHOR_EMAIL", "bench@localhost"),
    ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
    ("GIT_COMMITTER_NAME", "bench"),
    ("GIT_COMMITTER_EMAIL", "bench@localhost"),
    ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_come_every_time() {
        let (one, two) = (Words::default().text(3), Words::default().text(3));
        assert_eq!(one, two);
        assert_eq!(one.lines().count(), 3);
        let mut words = Words::default();
        assert_ne!(words.text(1), words.text(1));
    }
}
