//! The guard's actions at a limit, and operators' actions on a session: every member
//! is ended or stopped, no other process is, and each survivor is named.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent_recorder_tests::lab::cgroup::Cgroup;
use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::file_systems::{btrfs, in_own_namespace};
use agent_recorder_tests::lab::files::fill;
use agent_recorder_tests::lab::recorder::{GUARDING_TEMPORARY, Recorder};
use agent_recorder_tests::lab::wait::until;
use agent_recorder_tests::oracle::compare::{enforcement, enforcements};
use agent_recorder_tests::skip;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// More than the limit, less than two of them.
const FILES: usize = 100;
const LIMIT: usize = 64;

/// A process outside every session.
struct Neighbour(Child);

impl Neighbour {
    fn sleeping() -> anyhow::Result<Self> {
        Ok(Self(Command::new("sleep").arg("1000").spawn()?))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Files that the session did not create.
fn tree() -> anyhow::Result<TempDir> {
    let tree = tempfile::tempdir()?;
    fill(tree.path(), FILES)?;
    Ok(tree)
}

fn left(tree: &TempDir) -> usize {
    fs::read_dir(tree.path()).map_or(0, Iterator::count)
}

/// Runs a script as a session that ends at the limit; `$1` is the cgroup, `$2` the tree.
/// A program that waited at the gate just then is told of, too, in a record of its own.
fn ended(script: &str, cgroup: &Path) -> anyhow::Result<Value> {
    let (recorder, tree) = (Recorder::with_guard("")?, tree()?);
    let words = ["sh", "-c", script, "sh"].map(std::ffi::OsStr::new);
    let paths = [cgroup.as_os_str(), tree.path().as_os_str()];
    recorder.run(words.into_iter().chain(paths))?;
    let records = recorder.replay()?;
    let told = enforcements(&records);
    let met: Vec<_> = told.iter().filter(|it| it["policy"] != "gate").collect();
    ensure!(met.len() == 1, "not one limit: {told:#?}");
    Ok((*met[0]).clone())
}

fn is_killed(told: &Value, pid: &Value) -> bool {
    told["killed"]
        .as_array()
        .is_some_and(|killed| killed.contains(pid))
}

#[test]
fn a_cgroup_that_is_the_sessions_own_is_ended_as_a_whole() -> anyhow::Result<()> {
    let Some(cgroup) = Cgroup::unified()? else {
        skip!("no cgroups of version 2 that can be ended as a whole");
    };
    // Who still starts ends at his next call, before the cgroup does.
    let script = r#"
        asleep() { until grep -qs sleep "/proc/$1/comm" && grep -q '^State:.S' "/proc/$1/status"
            do :; done; }
        echo $$ > "$1/cgroup.procs"; mkdir "$1/below"; sleep 1000 & asleep $!
        sh -c 'echo $$ > "$1/below/cgroup.procs"; exec sleep 1000' sh "$1" & asleep $!
        rm "$2"/*; true"#;
    let told = ended(script, cgroup.path())?;
    assert_eq!(told["survivors"], 0, "{told}");
    assert_eq!(
        told["cgroups"],
        serde_json::json!([cgroup.path()]),
        "{told}"
    );
    until("nobody is in it", || {
        cgroup.read("cgroup.events").contains("populated 0")
    })?;
    fs::remove_dir(cgroup.path().join("below"))?;
    Ok(())
}

#[test]
fn a_cgroup_that_somebody_else_is_in_is_not_ended() -> anyhow::Result<()> {
    let Some(cgroup) = Cgroup::unified()? else {
        skip!("no cgroups of version 2 that can be ended as a whole");
    };
    let mut neighbour = Neighbour::sleeping()?;
    fs::write(
        cgroup.path().join("cgroup.procs"),
        neighbour.0.id().to_string(),
    )?;
    let script = r#"echo $$ > "$1/cgroup.procs"; sleep 1000 & rm "$2"/*; true"#;
    let told = ended(script, cgroup.path())?;
    assert_eq!(told["survivors"], 0, "{told}");
    assert_eq!(told.get("cgroups"), None, "{told}");
    assert!(neighbour.0.try_wait()?.is_none(), "the neighbour has ended");
    Ok(())
}

#[test]
fn nobody_survives_who_forks_all_along_or_is_stopped() -> anyhow::Result<()> {
    let script = r#"for i in 1 2 3 4 5 6 7 8; do (while :; do sh -c : & sh -c :; wait; done) & done
        sleep 1000 & kill -STOP $!; setsid sleep 1000 & rm "$2"/*; true"#;
    let told = ended(script, Path::new("none"))?;
    assert_eq!(told["survivors"], 0, "{told}");
    Ok(())
}

#[test]
fn who_survives_is_told_with_the_reason() -> anyhow::Result<()> {
    let Some(cgroup) = Cgroup::freezer()? else {
        skip!("no cgroup freezer of version 1");
    };
    let script = r#"sleep 1000 > /dev/null 2>&1 & echo $! > "$1/cgroup.procs"
        echo FROZEN > "$1/freezer.state"
        until [ "$(cat "$1/freezer.state")" = FROZEN ]; do :; done; rm "$2"/*; true"#;
    let told = ended(script, cgroup.path());
    fs::write(cgroup.path().join("freezer.state"), "THAWED")?;
    let told = told?;
    assert_eq!(told["survivors"], 1, "{told}");
    assert_eq!(told["survivor"][0]["reason"], "FROZEN", "{told}");
    assert_eq!(told["survivor"][0]["state"], "D", "{told}");
    assert!(!is_killed(&told, &told["survivor"][0]["pid"]), "{told}");
    // SIGKILL is pending: it ends as soon as it can.
    until("it has ended", || cgroup.read("cgroup.procs").is_empty())
}

/// Writes to a frozen file system wait until it thaws, whatever signal comes.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn freeze(directory: &'a Path) -> anyhow::Result<Self> {
        let status = Command::new("fsfreeze").arg("-f").arg(directory).status()?;
        ensure!(status.success(), "fsfreeze: {status}");
        Ok(Self(directory))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(self.0).status();
    }
}

/// E7
#[test]
fn who_waits_for_a_disk_and_hears_no_signal_is_told_as_uninterruptible() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let mounted = match btrfs(scratch.path())? {
            Ok(mounted) => mounted,
            Err(why) => skip!("btrfs: {why}"),
        };
        let writer = scratch.path().join("writer");
        let script = format!(
            r#"(echo x > "$1/file") > /dev/null 2>&1 & echo $! > {}
            until grep -q '^State:.D' /proc/$!/status; do :; done; rm "$2"/*; true"#,
            writer.display()
        );
        let frozen = Frozen::freeze(&mounted.directory)?;
        let told = ended(&script, &mounted.directory)?;
        let pid: u64 = fs::read_to_string(writer)?.trim().parse()?;
        assert_eq!(told["survivors"], 1, "{told}");
        assert_eq!(told["survivor"][0]["pid"], pid, "{told}");
        assert_eq!(told["survivor"][0]["reason"], "UNINTERRUPTIBLE", "{told}");
        assert_eq!(told["survivor"][0]["state"], "D", "{told}");
        assert!(!is_killed(&told, &Value::from(pid)), "{told}");
        drop(frozen);
        until("it has ended", || {
            !Path::new(&format!("/proc/{pid}/status")).exists()
        })
    })
}

#[test]
fn the_first_process_of_a_namespace_that_waits_for_a_frozen_one_is_dying() -> anyhow::Result<()> {
    let Some(cgroup) = Cgroup::freezer()? else {
        skip!("no cgroup freezer of version 1");
    };
    let script = r#"unshare -pf sh -c 'sleep 1000 > /dev/null 2>&1 & echo $! > "$1/cgroup.procs"; wait' sh "$1" &
        until grep -q . "$1/cgroup.procs"; do :; done; echo FROZEN > "$1/freezer.state"
        until [ "$(cat "$1/freezer.state")" = FROZEN ]; do :; done; rm "$2"/*; true"#;
    let told = ended(script, cgroup.path());
    fs::write(cgroup.path().join("freezer.state"), "THAWED")?;
    let told = told?;
    let survivors = told["survivor"].as_array().context("nobody survives")?;
    let mut seen: Vec<_> = survivors
        .iter()
        .map(|it| (it["namespacePid"].as_u64(), it["reason"].as_str()))
        .collect();
    seen.sort_unstable();
    let expected = [(Some(1), Some("DYING")), (Some(2), Some("FROZEN"))];
    assert_eq!(seen, expected, "{told}");
    until("it has ended", || cgroup.read("cgroup.procs").is_empty())
}

#[test]
fn who_is_kept_at_its_exit_by_a_tracer_is_told_as_traced() -> anyhow::Result<()> {
    let (recorder, tree) = (Recorder::with_guard("")?, tree()?);
    let scratch = tempfile::tempdir()?;
    let (pid_file, go) = (scratch.path().join("pid"), scratch.path().join("go"));
    let script = r#"sleep 1000 > /dev/null 2>&1 & echo $! > "$1.new"; mv "$1.new" "$1"
        until [ -e "$2" ]; do :; done; rm "$3"/*; true"#;
    let mut run = recorder
        .command("run")?
        .args(["--", "sh", "-c", script, "sh"])
        .args([&pid_file, &go, tree.path()])
        .stderr(Stdio::null())
        .spawn()?;
    until("it sleeps", || pid_file.exists())?;
    let pid: libc::pid_t = fs::read_to_string(&pid_file)?.trim().parse()?;
    // SAFETY: the arguments are numbers.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, libc::PTRACE_O_TRACEEXIT) };
    let seized = (seized == 0)
        .then_some(())
        .ok_or_else(std::io::Error::last_os_error);
    fs::write(&go, "")?;
    seized.context("seize it")?;
    // It stops before its end, and only its tracer lets it continue.
    let mut status = 0;
    // SAFETY: `status` is a local variable that the call writes.
    let stopped = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    let told = (|| {
        ensure!(stopped == pid, "no stop at its exit");
        until("its end is told", || {
            recorder.replay().is_ok_and(|records| {
                records
                    .iter()
                    .any(|record| record["enforcement"]["survivors"].as_u64() == Some(1))
            })
        })
    })();
    // SAFETY: the arguments are numbers.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
    run.wait()?;
    told?;
    let records = recorder.replay()?;
    let told = enforcement(&records)?;
    assert_eq!(told["survivor"][0]["reason"], "TRACED", "{told}");
    assert_eq!(told["survivor"][0]["pid"], pid, "{told}");
    Ok(())
}

/// A session beside a daemon, whose guard stops it at the limit.
struct Stopped {
    daemon: Daemon,
    run: Child,
    tree: TempDir,
}

impl Stopped {
    /// `$1` is the cgroup, `$2` the tree.
    fn by(script: &str, cgroup: &Path) -> anyhow::Result<Self> {
        let guard = format!("{GUARDING_TEMPORARY}action = \"freeze\"\n");
        let (daemon, tree) = (Daemon::start_with(&guard)?, tree()?);
        let run = daemon
            .command("run")?
            .args(["--", "sh", "-c", script, "sh"])
            .args([cgroup, tree.path()])
            .stderr(Stdio::null())
            .spawn()?;
        let stopped = Self { daemon, run, tree };
        until("the session is stopped", || {
            stopped.session().is_some_and(|it| it["frozen"] == true)
        })?;
        Ok(stopped)
    }

    fn session(&self) -> Option<Value> {
        let mut command = self.daemon.command("sessions").ok()?;
        let output = command.args(["--format", "json"]).output().ok()?;
        serde_json::from_slice(output.stdout.split(|it| *it == b'\n').next()?).ok()
    }

    fn order(&self, what: &str) -> anyhow::Result<()> {
        let output = self.daemon.command(what)?.arg("last").output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{what}: {said}");
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if matches!(self.run.try_wait(), Ok(None)) {
            let _ = self.order("kill");
            let _ = self.run.wait();
        }
    }
}

#[test]
fn who_is_stopped_at_the_limit_goes_on_when_told_so() -> anyhow::Result<()> {
    let mut stopped = Stopped::by(r#"rm "$2"/*"#, Path::new("none"))?;
    let gone = FILES - left(&stopped.tree);
    assert!(gone <= LIMIT, "{gone} files are gone");
    stopped.order("resume")?;
    assert!(stopped.run.wait()?.success());
    assert_eq!(left(&stopped.tree), 0);
    Ok(())
}

#[test]
fn a_cgroup_that_is_the_sessions_own_is_stopped_and_goes_on_as_a_whole() -> anyhow::Result<()> {
    let Some(cgroup) = Cgroup::unified()? else {
        skip!("no cgroups of version 2 that can be stopped as a whole");
    };
    let script = r#"echo $$ > "$1/cgroup.procs"; sleep 1000 & rm "$2"/*; kill $!"#;
    let mut stopped = Stopped::by(script, cgroup.path())?;
    until("the kernel says so", || {
        cgroup.read("cgroup.events").contains("frozen 1")
    })?;
    stopped.order("resume")?;
    assert!(stopped.run.wait()?.success());
    assert_eq!(left(&stopped.tree), 0);
    Ok(())
}

#[test]
fn who_is_stopped_at_the_limit_ends_when_told_so() -> anyhow::Result<()> {
    let cgroup = Cgroup::unified()?;
    let none = Path::new("none");
    let at = cgroup.as_ref().map_or(none, Cgroup::path);
    let script = r#"test ! -d "$1" || echo $$ > "$1/cgroup.procs"; sleep 1000 & rm "$2"/*"#;
    let mut stopped = Stopped::by(script, at)?;
    stopped.order("kill")?;
    assert!(!stopped.run.wait()?.success());
    assert!(left(&stopped.tree) >= FILES - LIMIT);
    Ok(())
}
