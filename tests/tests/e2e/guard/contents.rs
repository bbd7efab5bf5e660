//! Contents that go while their file keeps its name: what is left of a file is
//! compared with the length that it had, however it was changed and by whom.
//!
//! Not here: names that are removed or replaced (`policy`).

use std::fs;
use std::path::PathBuf;

use agent_recorder_tests::lab::programs::missing;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare;
use agent_recorder_tests::skip_part;
use tempfile::TempDir;

/// More than the limit, so that what is not stopped destroys more than it may.
const FILES: usize = 100;
const LIMIT: usize = 64;

/// What each file holds: longer than a file that is let pass whatever it held.
const CONTENTS: &str = "This line was written outside every session, and no other file has it. \
    This second one makes the file long enough for several cuts, one after the other.\n";

/// Files from outside the sessions.
struct Tree {
    scratch: TempDir,
}

impl Tree {
    fn new() -> anyhow::Result<Self> {
        Self::of(CONTENTS)
    }

    fn of(contents: &str) -> anyhow::Result<Self> {
        let tree = Self {
            scratch: tempfile::tempdir()?,
        };
        fs::create_dir(tree.path())?;
        for number in 0..FILES {
            fs::write(tree.path().join(format!("doc-{number}.txt")), contents)?;
        }
        Ok(tree)
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    /// Files that were changed.
    fn changed(&self) -> anyhow::Result<usize> {
        let mut changed = 0;
        for entry in fs::read_dir(self.path())? {
            changed += usize::from(fs::read(entry?.path())? != CONTENTS.as_bytes());
        }
        Ok(changed)
    }
}

/// Runs a script on a tree, whose path is its first argument: the number of enforcements.
fn enforcements(program: &[&str], tree: &Tree) -> anyhow::Result<usize> {
    // In an emulated guest a shell takes longer than the default window for so many programs.
    let recorder = Recorder::with_guard("window = \"2m\"\n")?;
    let path = tree.path();
    let mut words: Vec<_> = program.iter().map(std::ffi::OsStr::new).collect();
    words.push(path.as_os_str());
    recorder.run(words)?;
    Ok(compare::enforcements(&recorder.replay()?).len())
}

const SHELL: [&str; 2] = ["sh", "-c"];
const BASH: [&str; 2] = ["bash", "-c"];
const PYTHON: [&str; 2] = ["python3", "-c"];

/// Runs each and checks it. Returns those that are left out, with the reason: their
/// program is not here.
fn each<'a>(
    ways: &[(&'a str, [&str; 2], &str)],
    check: impl Fn(&str, usize, &Tree) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<(&'a str, String)>> {
    let mut left_out = Vec::new();
    for (name, interpreter, script) in ways {
        if let Some(why) = missing(interpreter[0]) {
            left_out.push((*name, why));
            continue;
        }
        let tree = Tree::new()?;
        let mut program = vec![interpreter[0], interpreter[1], script];
        if interpreter[0] != PYTHON[0] {
            program.push(interpreter[0]);
        }
        let told = enforcements(&program, &tree)?;
        check(name, told, &tree)?;
    }
    Ok(left_out)
}

#[test]
fn what_leaves_little_of_a_file_ends_at_the_limit() -> anyhow::Result<()> {
    let left_out = each(
        &[
            (
                "one byte is left",
                SHELL,
                r#"for f in "$1"/*; do echo > "$f"; done"#,
            ),
            (
                "the output of a program that fails",
                SHELL,
                r#"for f in "$1"/*; do no-such-program > "$f" 2>/dev/null; done"#,
            ),
            (
                "a child has the file that its parent emptied and closed",
                PYTHON,
                "import glob, subprocess, sys\n\
                 for f in glob.glob(sys.argv[1] + '/*'):\n    \
                 subprocess.Popen(['false'], stdout=open(f, 'w')).wait()",
            ),
            (
                "a quarter is left, and of that a quarter",
                SHELL,
                r#"for f in "$1"/*; do truncate -s 76 "$f"; truncate -s 38 "$f"; truncate -s 19 "$f"; done"#,
            ),
            (
                "overwritten in place from the second byte on",
                SHELL,
                r#"for f in "$1"/*; do dd if=/dev/zero of="$f" bs=1 seek=1 count=150 conv=notrunc status=none; done"#,
            ),
            (
                "overwritten in place from the end, in several opens",
                SHELL,
                r#"for f in "$1"/*; do for at in 2 1 0; do dd if=/dev/zero of="$f" bs=50 seek=$at count=1 conv=notrunc status=none; done; done"#,
            ),
        ],
        |name, told, tree| {
            let changed = tree.changed()?;
            assert_eq!(told, 1, "{name}: {changed} files are changed");
            assert!(changed <= LIMIT + 1, "{name}: {changed} files are changed");
            Ok(())
        },
    )?;
    for (name, why) in left_out {
        skip_part!(name, "{why}");
    }
    Ok(())
}

#[test]
fn what_writes_a_file_anew_goes_on() -> anyhow::Result<()> {
    let left_out = each(
        &[
            (
                "a log that two descriptors lead to, and a formatter",
                BASH,
                r#"/bin/true > "$1/doc-0.txt" 2>&1; for f in "$1"/*; do c=$(cat "$f"); echo "$c, changed" > "$f"; done"#,
            ),
            (
                "logs of many programs, and a formatter",
                PYTHON,
                "import glob, os, subprocess, sys\n\
                 log = sys.argv[1] + '/doc-0.txt'\n\
                 for n in range(300):\n    \
                 subprocess.run(['true'], stdout=open(log, 'w'), stderr=subprocess.STDOUT)\n\
                 for f in glob.glob(sys.argv[1] + '/*'):\n    \
                 text = open(f).read()\n    \
                 open(f, 'w').write(text.upper())",
            ),
            (
                "a child writes what its parent emptied",
                PYTHON,
                "import glob, subprocess, sys\n\
                 for f in glob.glob(sys.argv[1] + '/*'):\n    \
                 text = open(f).read()\n    \
                 subprocess.Popen(['echo', text.upper()], stdout=open(f, 'w')).wait()",
            ),
            (
                "the header of each file is changed in place",
                SHELL,
                r#"for f in "$1"/*; do printf 'This LINE' | dd of="$f" conv=notrunc status=none; done"#,
            ),
        ],
        |name, told, _| {
            assert_eq!(told, 0, "{name}");
            Ok(())
        },
    )?;
    for (name, why) in left_out {
        skip_part!(name, "{why}");
    }
    Ok(())
}

#[test]
fn a_short_file_that_the_session_has_read_may_stay_as_short() -> anyhow::Result<()> {
    let tree = Tree::of("1.2.3\n")?;
    let script = r#"for f in "$1"/*; do v=$(cat "$f"); echo "1.3.0" > "$f"; done"#;
    assert_eq!(enforcements(&["sh", "-c", script, "sh"], &tree)?, 0);
    Ok(())
}
