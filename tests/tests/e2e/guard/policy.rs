//! The acts that the guard counts as destroying: real tools in sessions of their own,
//! on files from outside the sessions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_recorder_tests::lab::file_systems::{Mounted, in_own_namespace, tmpfs};
use agent_recorder_tests::lab::programs::missing;
use agent_recorder_tests::lab::recorder::{Recorder, doctor};
use agent_recorder_tests::oracle::compare;
use agent_recorder_tests::{skip, skip_part};
use serde_json::Value;
use tempfile::TempDir;

/// More than the limit, so that an unstopped session destroys more than it may.
const FILES: usize = 100;
const LIMIT: usize = 64;
const CONTENTS: &str = "somebody else's words, which nobody has elsewhere\n";

/// Files that the sessions did not create.
struct Tree {
    scratch: TempDir,
}

impl Tree {
    fn new() -> anyhow::Result<Self> {
        let tree = Self {
            scratch: tempfile::tempdir()?,
        };
        fs::create_dir(tree.path())?;
        for number in 0..FILES {
            fs::write(tree.path().join(format!("doc-{number}.txt")), CONTENTS)?;
        }
        Ok(tree)
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    /// Number of files anywhere below that begin with the first quarter of their contents.
    fn intact(&self) -> anyhow::Result<usize> {
        count_intact(self.scratch.path())
    }
}

fn count_intact(directory: &Path) -> anyhow::Result<usize> {
    let mut intact = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            intact += count_intact(&entry.path())?;
        } else if entry.file_name().to_string_lossy().starts_with("doc-")
            && fs::read(entry.path())?.starts_with(&CONTENTS.as_bytes()[..CONTENTS.len() / 4])
        {
            intact += 1;
        }
    }
    Ok(intact)
}

fn enforcements(recorder: &Recorder) -> anyhow::Result<Vec<Value>> {
    let records = recorder.replay()?;
    Ok(compare::enforcements(&records)
        .into_iter()
        .cloned()
        .collect())
}

/// Runs a script on a tree, whose path is `$1`.
fn session(recorder: &Recorder, tree: &Tree, script: &str) -> anyhow::Result<std::process::Output> {
    let path = tree.path();
    recorder.run([
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        path.as_os_str(),
    ])
}

/// Whether inodes can be seen before they go: by hooks, or by the tracepoints of their times.
pub(super) fn sees_victims() -> anyhow::Result<bool> {
    Ok(doctor()?["seesVictims"] == true)
}

/// Reason of a skip where the profile does not see the object.
pub(super) const ONLY_NAMES: &str = "this profile sees only names on this kernel";

/// The one way below that removes no name and opens no file that the session did not create.
const UNSEEN_BY_NAMES: &str = "move over";

#[test]
fn every_way_of_destroying_ends_at_the_limit() -> anyhow::Result<()> {
    for (name, script) in [
        (
            "empty by the shell",
            r#"for f in "$1"/*; do : > "$f"; done"#,
        ),
        ("truncate", r#"truncate -s 0 "$1"/*"#),
        (
            "copy nothing over",
            r#"for f in "$1"/*; do cp /dev/null "$f"; done"#,
        ),
        (
            "write over in place",
            r#"for f in "$1"/*; do dd if=/dev/zero of="$f" bs=50 count=1 conv=notrunc status=none; done"#,
        ),
        ("shred", r#"shred "$1"/*"#),
        (
            "move over",
            r#"for f in "$1"/*; do echo > "$1.new"; mv -f "$1.new" "$f"; done"#,
        ),
        (
            "move as much over and remove",
            r#"for f in "$1"/*; do seq 100 > "$1.new"; mv -f "$1.new" "$f"; rm "$f"; done"#,
        ),
        (
            "link away, move little over and remove",
            r#"for f in "$1"/*; do ln "$f" "$f.old"; echo > "$1.new"; mv -f "$1.new" "$f"; rm "$f.old"; done"#,
        ),
        (
            "link away, move as much over and remove both",
            r#"for f in "$1"/*; do ln "$f" "$f.old"; seq 100 > "$1.new"; mv -f "$1.new" "$f"; rm "$f.old" "$f"; done"#,
        ),
        (
            "remove and make an empty one",
            r#"for f in "$1"/*; do rm "$f"; : > "$f"; done"#,
        ),
        (
            "remove, make as much and remove",
            r#"for f in "$1"/*; do rm "$f"; seq 100 > "$f"; rm "$f"; done"#,
        ),
        (
            "punch",
            r#"for f in "$1"/*; do fallocate -p -o 0 -l 4096 "$f"; done"#,
        ),
        (
            "rename to build and remove",
            r#"mv "$1" "$(dirname "$1")/build" && rm -rf "$(dirname "$1")/build""#,
        ),
        (
            "move into build and remove",
            r#"mkdir "$1/build" && mv "$1"/*.txt "$1/build/" && rm -rf "$1/build""#,
        ),
        (
            "link into build and remove",
            r#"mkdir "$1/build"; for f in "$1"/*.txt; do ln "$f" "$1/build/"; rm -f "$f"; done; rm -rf "$1/build""#,
        ),
        (
            "short-lived shells",
            r#"for f in "$1"/*; do sh -c 'rm -f "$1"' sh "$f"; done"#,
        ),
        (
            "by way of a link",
            r#"ln -s "$1" "$1.link"; rm -rf "$1.link"/*"#,
        ),
    ] {
        // An emulated guest needs more than the default window to start so many programs.
        let recorder = Recorder::with_guard("window = \"2m\"\n")?;
        if name == UNSEEN_BY_NAMES && !sees_victims()? {
            skip_part!(name, "{ONLY_NAMES}");
            continue;
        }
        let tree = Tree::new()?;
        let output = session(&recorder, &tree, script)?;
        let destroyed = FILES - tree.intact()?;
        let told = enforcements(&recorder)?;
        if destroyed == 0 && told.is_empty() && output.status.code() == Some(1) {
            let why = String::from_utf8_lossy(&output.stderr);
            skip_part!(name, "its program fails: {}", why.trim_end());
            continue;
        }
        assert_eq!(told.len(), 1, "{name}: {destroyed} files are destroyed");
        assert!(
            destroyed <= LIMIT,
            "{name}: {destroyed} files are destroyed"
        );
        assert_eq!(told[0]["policy"], "bulk-delete", "{name}");
    }
    Ok(())
}

#[test]
fn ordinary_work_on_other_peoples_files_is_not_stopped() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    for (name, script) in [
        (
            "remove what it made itself",
            r#"mkdir "$1/new"; for i in $(seq 200); do echo x > "$1/new/$i"; done; rm -r "$1/new""#,
        ),
        (
            "make, move and remove",
            r#"mkdir "$1/a"; for i in $(seq 100); do echo x > "$1/a/$i"; done; mv "$1/a" "$1/b"; rm -r "$1/b""#,
        ),
        ("sed -i", r#"sed -i s/words/thoughts/ "$1"/*"#),
        (
            "rewrite in place",
            r#"for f in "$1"/*; do c=$(cat "$f"); echo "$c, changed" > "$f"; done"#,
        ),
        (
            "rewrite by renaming",
            r#"for f in "$1"/*; do tr a-z A-Z < "$f" > "$f.new"; mv -f "$f.new" "$f"; done"#,
        ),
        (
            "temporary files",
            r#"for i in $(seq 200); do t=$(mktemp "$1/XXXXXX"); echo x > "$t"; rm "$t"; done"#,
        ),
        (
            "remove and write anew",
            r#"for f in "$1"/*; do c=$(cat "$f"); rm "$f"; echo "$c, changed" > "$f"; done"#,
        ),
        (
            "replace as a package manager does, which keeps the old file until all went well",
            r#"for f in "$1"/*; do ln "$f" "$f.old"; tr a-z A-Z < "$f" > "$f.new"; mv -f "$f.new" "$f"; done; rm "$1"/*.old"#,
        ),
        ("append", r#"for f in "$1"/*; do echo more >> "$f"; done"#),
        (
            "hard links go, files stay",
            r#"cp -al "$1" "$1.links"; rm -r "$1.links""#,
        ),
    ] {
        let recorder = Recorder::with_guard("")?;
        let tree = Tree::new()?;
        let output = session(&recorder, &tree, script)?;
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(enforcements(&recorder)?.is_empty(), "{name}");
    }
    Ok(())
}

#[test]
fn what_is_made_to_be_thrown_away_may_go() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    for name in ["node_modules", "build", "__pycache__", ".venv"] {
        let recorder = Recorder::with_guard("")?;
        let tree = Tree::new()?;
        let named = tree.scratch.path().join(name);
        fs::rename(tree.path(), &named)?;
        let output = recorder.run(["rm".as_ref(), "-r".as_ref(), named.as_os_str()])?;
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(
            !named.exists() && enforcements(&recorder)?.is_empty(),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn the_first_delete_in_a_protected_path_is_refused_or_the_last() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    let tree = Tree::new()?;
    let path = tree.path();
    let policy = format!("[[guard.protect]]\npath = {path:?}\n");
    for script in [r#"rm -r "$1""#, r#"mv "$1" "$1.gone"; rm -r "$1.gone""#] {
        let recorder = Recorder::with_guard(&policy)?;
        let before = tree.intact()?;
        let output = session(&recorder, &tree, script)?;
        assert!(!output.status.success(), "{script}");
        let told = enforcements(&recorder)?;
        assert_eq!(told.len(), 1, "{script}");
        assert_eq!(told[0]["policy"], "protected-path", "{script}");
        assert!(before - tree.intact()? <= 1, "{script}");
        let _ = fs::rename(tree.scratch.path().join("tree.gone"), &path);
    }
    Ok(())
}

#[test]
fn a_slow_deleter_meets_the_long_budget() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("limit = 10\nwindow = \"100ms\"\nlong_limit = 60\n")?;
    let tree = Tree::new()?;
    let script = r#"n=0; for f in "$1"/*; do rm "$f"; n=$((n+1)); [ $((n % 5)) = 0 ] && sleep 0.12; done; true"#;
    session(&recorder, &tree, script)?;
    let told = enforcements(&recorder)?;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["policy"], "slow-delete");
    let gone = FILES - tree.intact()?;
    assert_eq!(gone, 60);
    Ok(())
}

#[test]
fn what_an_overlay_hides_counts_and_what_was_made_in_it_does_not() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    let tree = Tree::new()?;
    let layers = tempfile::tempdir()?;
    let mounted = Command::new("sh")
        .args(["-c", r#"mount -t tmpfs none "$2" && mkdir "$2/u" "$2/w" "$2/m" && mount -t overlay -o "lowerdir=$1,upperdir=$2/u,workdir=$2/w" none "$2/m""#, "sh"])
        .args([&tree.path(), layers.path()])
        .status()?;
    let merged = layers.path().join("m");
    let result = (|| -> anyhow::Result<()> {
        if !mounted.success() {
            skip!("no overlay can be mounted");
        }
        let own = r#"for i in $(seq 100); do echo x > "$1/own$i"; done; rm "$1"/own*"#;
        for (script, stopped) in [(own, false), (r#"rm "$1"/doc*"#, true)] {
            let recorder = Recorder::with_guard("")?;
            recorder.run([
                "sh".as_ref(),
                "-c".as_ref(),
                script.as_ref(),
                "sh".as_ref(),
                merged.as_os_str(),
            ])?;
            assert_eq!(
                enforcements(&recorder)?.len(),
                usize::from(stopped),
                "{script}"
            );
        }
        assert_eq!(count_intact(&merged)?, FILES - LIMIT);
        Ok(())
    })();
    for at in [&merged, layers.path()] {
        Command::new("umount").arg(at).status()?;
    }
    result
}

#[test]
fn unmounting_what_others_mounted_counts_and_ones_own_mounts_may_go() -> anyhow::Result<()> {
    const MOUNTS: usize = 6;
    let scratch = tempfile::tempdir()?;
    in_own_namespace(|| {
        let theirs: Vec<Mounted> = (0..MOUNTS)
            .map(|number| tmpfs(&scratch.path().join(number.to_string())))
            .collect::<anyhow::Result<_>>()?;
        let own = r#"mkdir "$1/own"; for i in $(seq 10); do mount -t tmpfs none "$1/own" && mount -o remount,ro "$1/own" && umount "$1/own" || exit; done"#;
        let in_a_namespace =
            r#"exec unshare -m sh -c 'for d in "$1"/?; do umount "$d" || exit; done' sh "$1""#;
        let others = r#"for d in "$1"/?; do umount "$d"; done"#;
        for (script, stopped, left) in [
            (own, false, MOUNTS),
            (in_a_namespace, false, MOUNTS),
            (others, true, MOUNTS - 4),
        ] {
            let recorder = Recorder::with_guard("")?;
            let output = recorder.run([
                "sh".as_ref(),
                "-c".as_ref(),
                script.as_ref(),
                "sh".as_ref(),
                scratch.path().as_os_str(),
            ])?;
            assert_eq!(output.status.success(), !stopped, "{script}: {output:?}");
            assert_eq!(
                enforcements(&recorder)?.len(),
                usize::from(stopped),
                "{script}"
            );
            let mounts = fs::read_to_string("/proc/thread-self/mounts")?;
            let there = theirs
                .iter()
                .filter(|mount| mounts.contains(&format!(" {} ", mount.directory.display())))
                .count();
            assert_eq!(there, left, "{script}");
        }
        Ok(())
    })
}

#[test]
fn an_alert_is_told_once_and_stops_nothing() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("action = \"alert\"\n")?;
    let tree = Tree::new()?;
    let output = session(&recorder, &tree, r#"rm -r "$1""#)?;
    assert!(output.status.success(), "{output:?}");
    let told = enforcements(&recorder)?;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["action"], "ALERT");
    Ok(())
}

#[test]
fn git_may_remove_what_it_keeps_and_nothing_else() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let recorder = Recorder::with_guard("")?;
    let tree = Tree::new()?;
    let git = |arguments: &[&str]| -> anyhow::Result<()> {
        let status = Command::new("git")
            .arg("-C")
            .arg(tree.path())
            .args(["-c", "user.name=n", "-c", "user.email=e"])
            .args(arguments)
            .status()?;
        anyhow::ensure!(status.success(), "git {arguments:?}");
        Ok(())
    };
    git(&["init", "-q", "-b", "full"])?;
    git(&["commit", "-q", "--allow-empty", "-m", "empty"])?;
    git(&["branch", "empty"])?;
    git(&["add", "."])?;
    git(&["commit", "-q", "-m", "full"])?;
    let output = session(
        &recorder,
        &tree,
        r#"git -C "$1" checkout -q empty && git -C "$1" checkout -q full"#,
    )?;
    assert!(output.status.success(), "{output:?}");
    assert!(enforcements(&recorder)?.is_empty());
    assert_eq!(tree.intact()?, FILES);
    // The stash has what was never committed; a git that the stash's git starts removes it.
    let script = r#"cd "$1" && for i in *.txt; do mv "$i" "new-$i"; done && git -c user.name=n -c user.email=e stash -qu && git stash pop -q && for i in *.txt; do mv "$i" "${i#new-}"; done"#;
    let output = session(&recorder, &tree, script)?;
    assert!(output.status.success(), "{output:?}");
    assert!(enforcements(&recorder)?.is_empty());
    // A program that calls itself git is none.
    let script = r#"cp "$(command -v rm)" "$1/git"; "$1/git" -r -- "$1"/checkout "$1"/*.txt"#;
    session(&recorder, &tree, script)?;
    assert_eq!(enforcements(&recorder)?.len(), 1);
    Ok(())
}
