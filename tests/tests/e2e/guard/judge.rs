//! Sessions that meet the limit are stopped and judged: they go on where something holds
//! what they removed, and end at exactly the limit where nothing does.
//!
//! Not here: what holds an object, one by one (the unit tests of `guard::judge`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_recorder_tests::lab::programs::missing;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare;
use agent_recorder_tests::skip;
use anyhow::ensure;
use serde_json::Value;
use tempfile::TempDir;

use super::policy::{ONLY_NAMES, sees_victims};

/// More than two limits, so that a session that goes on is judged more than once.
const FILES: usize = 150;
const LIMIT: usize = 64;
/// In an emulated guest a shell takes longer than the default window for so many programs.
const WINDOW: &str = "window = \"2m\"\n";
const JUDGED: &str = "window = \"2m\"\njudge = true\n";

/// A project of `FILES` files from outside the sessions, made by `make` for each.
fn project(make: impl Fn(&Path, usize) -> std::io::Result<()>) -> anyhow::Result<TempDir> {
    let scratch = tempfile::tempdir()?;
    fs::create_dir(tree(&scratch))?;
    for number in 0..FILES {
        make(&tree(&scratch).join(format!("doc-{number}.txt")), number)?;
    }
    Ok(scratch)
}

fn tree(scratch: &TempDir) -> PathBuf {
    scratch.path().join("tree")
}

fn document(path: &Path, number: usize) -> std::io::Result<()> {
    fs::write(path, format!("document {number}, which is written once\n"))
}

/// Runs git(1) on the project, without the configuration of whoever runs the tests.
fn git(scratch: &TempDir, words: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost"])
        .args(words)
        .current_dir(scratch.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .status()?;
    ensure!(status.success(), "git {words:?}: {status}");
    Ok(())
}

/// Commits the project. The index is of a later second than the files: git(1) itself does
/// not believe an entry that was written in the second of its index.
fn commit(scratch: &TempDir) -> anyhow::Result<()> {
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for entry in fs::read_dir(tree(scratch))? {
        fs::File::options()
            .write(true)
            .open(entry?.path())?
            .set_modified(before)?;
    }
    git(scratch, &["init", "-q"])?;
    git(scratch, &["add", "-A"])?;
    git(scratch, &["commit", "-q", "-m", "all"])
}

/// What became of a session.
struct Outcome {
    /// Exit status of its command, as a shell has it.
    status: i32,
    /// Files of the project that are left.
    left: usize,
    /// Enforcement records, oldest first.
    enforcements: Vec<Value>,
    /// Records of removed names.
    removed: usize,
}

impl Outcome {
    fn actions(&self) -> Vec<&str> {
        self.enforcements
            .iter()
            .map(|it| it["action"].as_str().unwrap_or_default())
            .collect()
    }

    /// Objects with this holder, of all judgements.
    fn held(&self, holder: &str) -> u64 {
        let held = self
            .enforcements
            .iter()
            .filter_map(|it| it["judgement"]["held"].as_array());
        held.flatten()
            .filter(|held| held["holder"] == holder)
            .filter_map(|held| held["objects"].as_u64())
            .sum()
    }
}

/// Runs a script as a session; `$1` is the project's directory of files, `$2` that of the
/// project.
fn run(scratch: &TempDir, script: &str) -> anyhow::Result<Outcome> {
    let recorder = Recorder::with_guard(JUDGED)?;
    let path = tree(scratch);
    let words = ["sh", "-c", script, "sh"].map(std::ffi::OsStr::new);
    let paths = [path.as_os_str(), scratch.path().as_os_str()];
    let output = recorder.run(words.into_iter().chain(paths))?;
    let records = recorder.replay()?;
    let removed = records
        .iter()
        .filter(|it| it["file"]["op"] == "DELETE" && it["file"]["error"].is_null())
        .count();
    Ok(Outcome {
        status: output.status.code().unwrap_or(-1),
        left: fs::read_dir(&path).map_or(0, Iterator::count),
        enforcements: compare::enforcements(&records)
            .into_iter()
            .cloned()
            .collect(),
        removed,
    })
}

/// Removes every file by one program each time, so that the shell sees each of its ends.
const ONE_BY_ONE: &str = r#"for f in "$1"/*; do rm "$f" || exit 3; done"#;

fn goes_on(outcome: &Outcome) {
    let told = &outcome.enforcements;
    assert_eq!(outcome.status, 0, "{told:?}");
    assert_eq!(outcome.left, 0, "{told:?}");
    assert!(
        outcome.actions().iter().all(|it| *it == "SPARE"),
        "{told:?}"
    );
    assert!(!told.is_empty(), "it met no limit");
    // A call that waits for its judgement is one record, and is done once.
    assert_eq!(outcome.removed, FILES, "{told:?}");
}

#[test]
fn links_and_empty_directories_are_no_loss() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    let links = project(|path, _| symlink("/etc/hostname", path))?;
    let outcome = run(&links, r#"rm "$1"/*"#)?;
    goes_on(&outcome);
    assert_eq!(outcome.held("link"), 2 * LIMIT as u64);
    let directories = project(|path, _| fs::create_dir(path))?;
    let outcome = run(&directories, r#"rmdir "$1"/*"#)?;
    assert_eq!((outcome.status, outcome.left), (0, 0));
    assert_eq!(outcome.held("directory"), 2 * LIMIT as u64);
    Ok(())
}

#[test]
fn what_a_cache_tag_covers_goes_after_one_look() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    let cache = project(document)?;
    fs::write(
        tree(&cache).join("CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55\n",
    )?;
    let outcome = run(&cache, r#"rm "$1"/doc-*"#)?;
    assert_eq!((outcome.status, outcome.left), (0, 1));
    assert_eq!(outcome.actions(), ["SPARE"]);
    assert_eq!(outcome.held("cache-tag"), LIMIT as u64);
    Ok(())
}

#[test]
fn committed_files_may_go_by_whatever_program() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    for script in [r#"rm "$1"/*"#, ONE_BY_ONE] {
        let committed = project(document)?;
        commit(&committed)?;
        let outcome = run(&committed, script)?;
        goes_on(&outcome);
        assert_eq!(outcome.held("git"), 2 * LIMIT as u64, "{script}");
    }
    Ok(())
}

#[test]
fn of_committed_and_changed_files_the_changed_ones_count() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let changed = project(document)?;
    commit(&changed)?;
    let is_changed = |number: usize| number >= FILES - 100;
    for number in (0..FILES).filter(|number| is_changed(*number)) {
        let path = tree(&changed).join(format!("doc-{number}.txt"));
        fs::write(path, format!("changed since, and nowhere else {number}\n"))?;
    }
    let outcome = run(&changed, r#"rm "$1"/*"#)?;
    let told = &outcome.enforcements;
    assert_eq!(outcome.status, 128 + 9, "{told:?}");
    assert!(
        matches!(outcome.actions().last(), Some(&("KILL" | "DENY"))),
        "{told:?}"
    );
    let lost = (0..FILES)
        .filter(|number| is_changed(*number))
        .filter(|number| !tree(&changed).join(format!("doc-{number}.txt")).exists());
    assert_eq!(lost.count(), LIMIT, "{told:?}");
    Ok(())
}

#[test]
fn uncommitted_work_that_git_throws_away_ends_at_the_limit() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let untracked = project(document)?;
    git(&untracked, &["init", "-q"])?;
    let outcome = run(&untracked, r#"cd "$1" && rm -rf ."/"*"#)?;
    let told = &outcome.enforcements;
    assert_eq!(outcome.status, 128 + 9, "{told:?}");
    assert_eq!(outcome.left, FILES - LIMIT, "{told:?}");
    assert_eq!(outcome.held("lost"), LIMIT as u64);
    Ok(())
}

/// A project of a tool, with what the tool made in `tree`.
fn built() -> anyhow::Result<TempDir> {
    let built = project(document)?;
    git(&built, &["init", "-q"])?;
    fs::write(built.path().join("mkdocs.yml"), "site_name: judged\n")?;
    fs::write(built.path().join("package.json"), "{}\n")?;
    fs::rename(tree(&built), built.path().join("site"))?;
    fs::create_dir(tree(&built))?;
    Ok(built)
}

#[test]
fn build_output_goes_by_its_own_name_and_by_that_to_which_it_was_moved() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    for script in [
        r#"rm -rf "$2/site""#,
        r#"mv "$2/site" "$1/old" && rm -rf "$1/old""#,
    ] {
        let outcome = run(&built()?, script)?;
        assert_eq!((outcome.status, outcome.left), (0, 0), "{script}");
        assert!(
            outcome.actions().iter().all(|it| *it == "SPARE"),
            "{script}"
        );
        assert!(outcome.held("build-output") > 0, "{script}");
    }
    Ok(())
}

#[test]
fn what_a_session_plants_or_moves_lets_nothing_go() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let moved_in = r#"mv "$1" "$2/site/" && rm -rf "$2/site/tree""#;
    let planted = r#"echo > "$2/setup.py"; mv "$1" "$2/build"; rm -rf "$2/build""#;
    let tagged = r#"printf 'Signature: 8a477f597d28d172789f06886806bc55' > "$1/CACHEDIR.TAG"
        rm -rf "$1""#;
    for script in [moved_in, planted, tagged] {
        let project = built()?;
        for number in 0..FILES {
            document(&tree(&project).join(format!("work-{number}.txt")), number)?;
        }
        let outcome = run(&project, script)?;
        let told = &outcome.enforcements;
        assert_eq!(outcome.status, 128 + 9, "{script}: {told:?}");
        assert_eq!(outcome.held("lost"), LIMIT as u64, "{script}: {told:?}");
    }
    Ok(())
}

#[test]
fn what_git_kept_is_lost_when_its_repository_goes_too() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let before = r#"rm -rf "$2/.git" "$1"; sleep 5"#;
    let after = r#"rm -rf "$1" "$2/.git"; sleep 5"#;
    for script in [before, after] {
        let committed = project(document)?;
        commit(&committed)?;
        let outcome = run(&committed, script)?;
        let told = &outcome.enforcements;
        assert_eq!(outcome.status, 128 + 9, "{script}: {told:?}");
        assert!(outcome.held("lost") > 0, "{script}: {told:?}");
    }
    Ok(())
}

#[test]
fn what_was_let_go_may_be_made_again_and_go_again() -> anyhow::Result<()> {
    if !sees_victims()? {
        skip!("{ONLY_NAMES}");
    }
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let committed = project(document)?;
    commit(&committed)?;
    // A file that is written again is taken back from the count, but for what a judgement
    // has settled: the count would go below zero.
    let script = r#"cd "$2"; for _ in 1 2 3; do rm tree/*; git checkout -q .; done; rm .git/index"#;
    let outcome = run(&committed, script)?;
    assert_eq!(
        (outcome.status, outcome.left),
        (0, FILES),
        "{:?}",
        outcome.enforcements
    );
    Ok(())
}

#[test]
fn without_the_judge_the_kernel_ends_at_the_limit() -> anyhow::Result<()> {
    let links = project(|path, _| symlink("/etc/hostname", path))?;
    let recorder = Recorder::with_guard(WINDOW)?;
    let path = tree(&links);
    let words = ["sh", "-c", r#"rm "$1"/*"#, "sh"].map(std::ffi::OsStr::new);
    let output = recorder.run(words.into_iter().chain([path.as_os_str()]))?;
    assert_eq!(output.status.code(), Some(128 + 9));
    assert_eq!(fs::read_dir(&path)?.count(), FILES - LIMIT);
    let records = recorder.replay()?;
    assert!(compare::enforcement(&records)?.get("judgement").is_none());
    Ok(())
}
