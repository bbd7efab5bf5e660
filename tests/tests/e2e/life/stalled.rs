//! A daemon that gets no CPU time for a while: the kernel's side continues without
//! it, and afterwards each event is recorded, or counted as lost.

use std::fs;
use std::io::Write as _;

use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::recorder::GUARDING_TEMPORARY;
use agent_recorder_tests::lab::wait::wait_for;
use agent_recorder_tests::lab::worker::{
    OPENED, SMALL_RING, Worker, balanced, each_once, opened_in,
};
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// A stopped daemon, which continues when this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn stop(daemon: &Daemon) -> anyhow::Result<Self> {
        let pid = i32::try_from(daemon.pid())?;
        let stopped = Self(Pid::from_raw(pid).context("no process")?);
        kill_process(stopped.0, Signal::STOP)?;
        wait_for("it to stop", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            Ok(status.contains("\nState:\tT").then_some(()))
        })?;
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It fails only when it has been killed meanwhile.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// K2, and K1's lanes: deletes have a ring of their own, and none of them is
/// lost while opens overrun theirs.
#[test]
fn what_a_stopped_daemon_could_not_take_is_told_when_it_goes_on() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let folder = work.path().join("files");
    let opened = opened_in(&folder);
    fs::create_dir(&folder)?;
    fs::create_dir(&opened)?;
    let daemon = Daemon::start_with(&format!("[recorder]\ncanary = \"0s\"\n{SMALL_RING}"))?;
    let mut worker = Worker::session(&daemon, &folder)?;
    worker.work(20)?;
    let stopped = Stopped::stop(&daemon)?;
    for number in 0..OPENED {
        fs::write(opened.join(number.to_string()), "words\n")?;
    }
    worker.work(20)?;
    drop(stopped);
    worker.work(20)?;
    worker.end()?;
    let records = daemon.last_session()?;
    each_once(&records, &folder, 60)?;
    let starts = records.iter().filter(|it| it.get("sessionStart").is_some());
    assert_eq!(starts.count(), 1);
    let lost = balanced(&records)?;
    assert!(lost["open"] > 0, "the ring was large enough: {lost:?}");
    for kind in ["exec", "exit", "fork", "delete"] {
        assert_eq!(lost[kind], 0, "{kind}");
    }
    daemon.stop()?;
    Ok(())
}

/// The guard's verdict is in the ring of deletes, beside one that overruns.
#[test]
fn the_guard_strikes_while_the_daemon_is_stopped() -> anyhow::Result<()> {
    const FILES: usize = 2000;
    let tree = tempfile::tempdir()?;
    for number in 0..FILES {
        fs::write(tree.path().join(number.to_string()), "words")?;
    }
    let ring = "[kernel]\nbulk_ring_bytes = 65536\n";
    let daemon = Daemon::start_with(&format!(
        "[recorder]\ncanary = \"0s\"\n{ring}{GUARDING_TEMPORARY}"
    ))?;
    let script = r#"read -r _; for f in "$1"/*; do read -r _ < "$f"; done; rm "$1"/*; sleep 600"#;
    let mut command = daemon.command("run")?;
    command
        .args(["--", "sh", "-c", script, "sh"])
        .arg(tree.path());
    let mut session = Worker::start(command)?;
    wait_for("the session", || Ok(daemon.sessions()?.pop()))?;
    let stopped = Stopped::stop(&daemon)?;
    writeln!(session.orders)?;
    let left = || fs::read_dir(tree.path()).map_or(0, Iterator::count);
    wait_for("the strike", || Ok((left() <= FILES - 64).then_some(())))?;
    let at_the_strike = left();
    drop(stopped);
    assert_eq!(session.process.wait()?.code(), Some(128 + 9));
    assert_eq!((at_the_strike, left()), (FILES - 64, FILES - 64));
    let records = daemon.last_session()?;
    let told = records.iter().filter(|it| it.get("enforcement").is_some());
    assert_eq!(told.count(), 1);
    let end = records.iter().find_map(|it| it.get("sessionEnd"));
    assert_eq!(end.context("no end")?["reason"], "KILLED");
    let lost = balanced(&records)?;
    assert!(lost["open"] > 0, "the ring was large enough: {lost:?}");
    daemon.stop()?;
    Ok(())
}
