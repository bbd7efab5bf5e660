//! Paths that are longer than a call can name, or than a record stores.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use agent_recorder_abi::limits::WALKED_PATH_BYTES;
use agent_recorder_tests::lab::recorder::Recorder;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use serde_json::Value;

/// Makes a chain of directories, each within the last, and returns its path.
fn chain(top: &Path, name: &str, levels: usize) -> anyhow::Result<PathBuf> {
    let mut path = top.to_owned();
    let mut at = openat(rustix::fs::CWD, top, OFlags::DIRECTORY, Mode::empty())?;
    for _ in 0..levels {
        mkdirat(&at, name, Mode::RWXU)?;
        at = openat(&at, name, OFlags::DIRECTORY, Mode::empty())?;
        path.push(name);
    }
    Ok(path)
}

/// Removes the chain: the standard library would need a descriptor for each level.
fn unchain(top: &Path, name: &str, levels: usize) -> anyhow::Result<()> {
    let mut at = vec![openat(
        rustix::fs::CWD,
        top,
        OFlags::DIRECTORY,
        Mode::empty(),
    )?];
    for _ in 0..levels {
        let Some(last) = at.last() else { break };
        at.push(openat(last, name, OFlags::DIRECTORY, Mode::empty())?);
    }
    for directory in at.iter().rev().skip(1) {
        unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// The records of a session that worked at the end of a long chain of directories.
struct Deep {
    /// The end of the chain.
    end: PathBuf,
    /// The beginning of the chain.
    top: PathBuf,
    records: Vec<Value>,
}

impl Deep {
    fn record(name: &str, levels: usize) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let top = std::fs::canonicalize(scratch.path())?;
        let end = chain(&top, name, levels)?;
        std::fs::write(top.join("above"), "")?;
        let recorder = Recorder::new()?;
        let output = recorder.run([
            crate::STIMULUS.as_ref(),
            "deep".as_ref(),
            top.as_os_str(),
            name.as_ref(),
            levels.to_string().as_ref(),
        ])?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        let records = recorder.replay()?;
        unchain(&top, name, levels)?;
        Ok(Self { end, top, records })
    }

    /// The session whose paths are longer than a record holds, shared by all tests.
    fn beyond_the_cap() -> anyhow::Result<&'static Self> {
        static RECORDED: Mutex<Option<&'static Deep>> = Mutex::new(None);
        let mut recorded = RECORDED
            .lock()
            .map_err(|_| anyhow::anyhow!("another test could not record it"))?;
        if let Some(deep) = *recorded {
            return Ok(deep);
        }
        let deep = Self::record(&"deep".repeat(50), 60)?;
        anyhow::ensure!(deep.end.as_os_str().len() > 12_000);
        Ok(*recorded.insert(Box::leak(Box::new(deep))))
    }

    /// The one record of its kind that satisfies `is_it`.
    fn one(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<&Value> {
        let found: Vec<_> = self
            .records
            .iter()
            .filter(|record| record.get(kind).is_some_and(&is_it))
            .collect();
        anyhow::ensure!(found.len() == 1, "{} of {kind}: {found:#?}", found.len());
        Ok(found[0])
    }

    /// The record of a file operation by the last names of its paths.
    fn file(&self, op: &str, name: &str, new_name: &str) -> anyhow::Result<&Value> {
        let ends = |path: &Value, name: &str| {
            name.is_empty() || path.as_str().is_some_and(|path| path.ends_with(name))
        };
        let record = self.one("file", |file| {
            file["op"] == op && ends(&file["path"], name) && ends(&file["newPath"], new_name)
        })?;
        Ok(&record["file"])
    }

    fn deep(&self, name: &str) -> PathBuf {
        self.end.join(name)
    }
}

/// Checks that the path `name` of a message is the marked tail of a longer one, with the
/// whole length where the message has no `comm`.
#[track_caller]
fn is_marked_tail(message: &Value, name: &str, whole: &Path) {
    let whole = whole.as_os_str().as_bytes();
    let kept = message[name].as_str().unwrap_or_default().as_bytes();
    assert!(
        (4_096 - 256..=WALKED_PATH_BYTES).contains(&kept.len()),
        "{name}: {}",
        kept.len()
    );
    assert!(whole.ends_with(kept), "{name} is not the tail");
    assert_eq!(message[format!("{name}Truncated")], true, "{name}");
    if message.get("comm").is_none() {
        assert_eq!(message[format!("{name}Bytes")], whole.len(), "{name}");
    }
}

/// Checks that a path is whole, with no mark of a cut.
#[track_caller]
fn is_whole(message: &Value, name: &str, whole: &Path) {
    assert_eq!(message[name].as_str(), whole.to_str(), "{name}");
    assert_eq!(message[format!("{name}Truncated")], Value::Null, "{name}");
    assert_eq!(message[format!("{name}Bytes")], Value::Null, "{name}");
}

/// Checks that a path is the marked beginning of one that no call takes.
#[track_caller]
fn is_marked_beginning(message: &Value, name: &str) {
    let kept = message[name].as_str().unwrap_or_default();
    assert!(kept.len() >= 4_095 && "/l".repeat(2_100).starts_with(kept));
    assert_eq!(message[format!("{name}Truncated")], true, "{name}");
    assert_eq!(message[format!("{name}Bytes")], Value::Null, "{name}");
}

#[test]
fn a_path_of_a_thousand_levels_is_whole() -> anyhow::Result<()> {
    let deep = Deep::record("d", 1000)?;
    is_whole(
        deep.file("CREATE", "/leaf", "")?,
        "path",
        &deep.deep("leaf"),
    );
    let record = deep.one("exec", |exec| exec["filename"] == "./program")?;
    is_whole(&record["exec"], "exe", &deep.deep("program"));
    is_whole(&record["exec"], "cwd", &deep.end);
    Ok(())
}

#[test]
fn of_a_path_beyond_the_cap_the_tail_and_the_length_are_recorded() -> anyhow::Result<()> {
    let deep = Deep::beyond_the_cap()?;
    let created = deep.file("CREATE", "/leaf", "");
    is_marked_tail(created?, "path", &deep.deep("leaf"));
    let led: Vec<_> = deep
        .records
        .iter()
        .map(|record| &record["file"])
        .filter(|file| file["op"] == "CHDIR")
        .collect();
    let last = led.last().copied();
    is_marked_tail(last.unwrap_or(&Value::Null), "path", &deep.end);
    is_whole(led[1], "path", &deep.top.join("deep".repeat(50)));
    Ok(())
}

#[test]
fn the_program_and_the_directory_of_an_exec_are_marked_where_they_were_cut() -> anyhow::Result<()> {
    let deep = Deep::beyond_the_cap()?;
    let record = deep.one("exec", |exec| exec["filename"] == "./program")?;
    is_marked_tail(&record["exec"], "exe", &deep.deep("program"));
    is_marked_tail(&record["exec"], "cwd", &deep.end);
    is_marked_tail(&record["process"], "exe", &deep.deep("program"));
    is_marked_tail(&record["process"], "cwd", &deep.end);
    let above = deep.one("exec", |exec| {
        exec["argv"].as_array().is_some_and(|argv| argv.len() == 5)
    })?;
    for name in ["exe", "cwd", "filename"] {
        let whole = PathBuf::from(above["exec"][name].as_str().unwrap_or_default());
        is_whole(&above["exec"], name, &whole);
    }
    Ok(())
}

#[test]
fn an_exec_that_failed_is_marked_where_it_was_cut() -> anyhow::Result<()> {
    let deep = Deep::beyond_the_cap()?;
    let absent = deep.one("exec", |exec| exec["filename"] == "./absent")?;
    is_whole(&absent["exec"], "exe", Path::new("./absent"));
    is_marked_tail(&absent["exec"], "cwd", &deep.end);
    let long = deep.one("exec", |exec| exec["error"] == "ENAMETOOLONG")?;
    is_marked_beginning(&long["exec"], "filename");
    is_marked_beginning(&long["exec"], "exe");
    is_marked_tail(&long["exec"], "cwd", &deep.end);
    Ok(())
}

#[test]
fn of_two_paths_each_has_its_own_mark_and_its_own_length() -> anyhow::Result<()> {
    let deep = Deep::beyond_the_cap()?;
    let renamed = deep.file("RENAME", "/first", "/renamed")?;
    is_marked_tail(renamed, "path", &deep.deep("first"));
    is_marked_tail(renamed, "newPath", &deep.deep("renamed"));
    let linked = deep.file("LINK", "/renamed", "/linked")?;
    is_marked_tail(linked, "path", &deep.deep("renamed"));
    is_marked_tail(linked, "newPath", &deep.deep("linked"));
    let down = deep.file("RENAME", "/above", "/moved down")?;
    is_whole(down, "path", &deep.top.join("above"));
    is_marked_tail(down, "newPath", &deep.deep("moved down"));
    let up = deep.file("RENAME", "/moved down", "/moved up")?;
    is_marked_tail(up, "path", &deep.deep("moved down"));
    is_whole(up, "newPath", &deep.top.join("moved up"));
    let soft = deep.file("SYMLINK", "/soft", "")?;
    is_marked_tail(soft, "path", &deep.deep("soft"));
    is_marked_beginning(soft, "newPath");
    Ok(())
}

#[test]
fn what_was_connected_to_below_a_directory_that_was_cut_is_marked() -> anyhow::Result<()> {
    let deep = Deep::beyond_the_cap()?;
    let handed = deep.one("handOff", |handed| handed["way"] == "CONTAINER_ENGINE")?;
    let to = handed["handOff"]["to"].as_str().unwrap_or_default();
    let whole = deep.deep("docker.sock");
    assert!(whole.to_str().is_some_and(|whole| whole.ends_with(to)));
    assert_eq!(handed["handOff"]["toTruncated"], true);
    is_marked_tail(&handed["process"], "cwd", &deep.end);
    let connected = deep.one("network", |network| network["op"] == "CONNECT")?;
    assert_eq!(connected["network"]["peer"], "docker.sock");
    Ok(())
}
