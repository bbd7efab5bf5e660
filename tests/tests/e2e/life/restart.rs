//! A daemon takes over after another was killed: the sessions continue, events in
//! between are recorded, and the guard works all the time (D2 of the faults; programs
//! of another layout: D3).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::file_systems::{Mounted, bpffs, in_own_namespace};
use agent_recorder_tests::lab::recorder::GUARDING_TEMPORARY;
use agent_recorder_tests::lab::wait::wait_for;
use agent_recorder_tests::lab::worker::{
    NO_GUARD, OPENED, SMALL_RING, WORKER, Worker, balanced, counts, deleted, each_once, not_once,
    nothing_lost, opened_in,
};
use agent_recorder_tests::oracle::compare::said;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// A bpffs of the test's own, and a folder to work in.
struct Place {
    pins: Mounted,
    work: TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let work = tempfile::tempdir()?;
        Ok(Self {
            pins: bpffs(&work.path().join("pins"))?,
            work,
        })
    }

    fn configuration(&self, more: &str) -> String {
        let pins = self.pins.directory.display();
        let usual = format!("pins = \"{pins}/recorder\"\n");
        let pins = if more.contains("pins =") { "" } else { &usual };
        format!("[recorder]\ncanary = \"0s\"\n{pins}{more}")
    }

    fn start(&self, more: &str) -> anyhow::Result<Daemon> {
        Daemon::start_with(&self.configuration(more))
    }

    /// Starts a daemon in the place of a killed one.
    fn start_again(&self, state: TempDir, more: &str) -> anyhow::Result<Daemon> {
        Daemon::start_in(state, &self.configuration(more))
    }

    /// Pinned sets of programs: one folder each.
    fn generations(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let recorder = self.pins.directory.join("recorder");
        for of_state in folders(&recorder)? {
            found.extend(folders(&of_state)?);
        }
        Ok(found)
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.work.path().join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}

fn folders(of: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(of)?.map(|entry| Ok(entry?.path()));
    entries.collect()
}

/// Waits until the daemon has stored `count` deletes.
fn stored(daemon: &Daemon, count: usize) -> anyhow::Result<()> {
    wait_for("the deletes to be recorded", || {
        let output = daemon
            .command("replay")?
            .args(["last", "--format", "json"])
            .output()?;
        let records = said(&output.stdout)?;
        Ok((deleted(&records).len() >= count).then_some(()))
    })
}

fn all(daemon: &Daemon) -> anyhow::Result<Vec<String>> {
    use agent_recorder::record::proto::record::Body;
    let events = daemon
        .stored()?
        .into_iter()
        .filter_map(|record| match record.body {
            Some(Body::StreamEvent(event)) => Some(event.event),
            _ => None,
        });
    Ok(events.collect())
}

/// Records of one session whose daemon was killed between the first and the
/// second part of its work, and was started again before the third.
fn over_a_crash(
    place: &Place,
    parts: [usize; 3],
    before: &str,
    after: &str,
) -> anyhow::Result<(Daemon, PathBuf, Vec<Value>)> {
    over(Daemon::kill, place, parts, before, after)
}

/// As [`over_a_crash`], with a daemon that `end` ends.
fn over(
    end: impl FnOnce(Daemon) -> anyhow::Result<TempDir>,
    place: &Place,
    parts: [usize; 3],
    before: &str,
    after: &str,
) -> anyhow::Result<(Daemon, PathBuf, Vec<Value>)> {
    let folder = place.folder("files")?;
    let daemon = place.start(before)?;
    let mut worker = Worker::session(&daemon, &folder)?;
    worker.work(parts[0])?;
    stored(&daemon, parts[0])?;
    let session = wait_for("a session", || Ok(daemon.sessions()?.pop()))?.to_string();
    let state = end(daemon)?;
    worker.work(parts[1])?;
    let daemon = place.start_again(state, after)?;
    worker.work(parts[2])?;
    worker.end()?;
    let records = daemon.ended_session(&session)?;
    Ok((daemon, folder, records))
}

/// Checks that each delete of such a session is recorded once, and nothing is lost.
fn whole_over(
    end: impl FnOnce(Daemon) -> anyhow::Result<TempDir>,
    place: &Place,
) -> anyhow::Result<Daemon> {
    let (daemon, folder, records) = over(end, place, [20, 20, 20], NO_GUARD, NO_GUARD)?;
    each_once(&records, &folder, 60)?;
    nothing_lost(&records)?;
    Ok(daemon)
}

#[test]
fn a_session_outlives_its_daemon_and_all_that_it_did_is_recorded_once() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let (daemon, folder, records) = over_a_crash(&place, [40, 40, 40], NO_GUARD, NO_GUARD)?;
        each_once(&records, &folder, 120)?;
        let starts = records.iter().filter(|it| it.get("sessionStart").is_some());
        assert_eq!(starts.count(), 1);
        nothing_lost(&records)?;
        let totals = records
            .iter()
            .find_map(|it| it.get("sessionEnd"))
            .unwrap_or(&Value::Null);
        assert_eq!(totals["totals"]["filesDestroyed"], 120);
        assert_eq!(
            totals["totals"]["records"].as_u64(),
            u64::try_from(records.len()).ok()
        );
        let events = all(&daemon)?;
        assert!(
            events.iter().any(|it| it == "recorder_goes_on"),
            "{events:?}"
        );
        let verified = daemon.command("verify")?.output()?;
        assert!(verified.status.success(), "{verified:?}");
        daemon.stop()?;
        assert!(place.generations()?.is_empty(), "after a clean stop");
        Ok(())
    })
}

#[test]
fn what_a_run_records_by_itself_meanwhile_is_not_the_daemons() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let by_itself = |daemon: Daemon| {
            let mut command = daemon.command("run")?;
            let state = daemon.kill()?;
            // It records into a stream of its own: the next daemon takes over the killed one's.
            let many = "for f in 1 2 3 4 5; do cat /dev/null; done";
            let status = command.args(["--", "sh", "-c", many]).status()?;
            ensure!(status.success(), "{status}");
            Ok(state)
        };
        whole_over(by_itself, &place)?.stop()?;
        Ok(())
    })
}

#[test]
fn a_run_by_itself_that_goes_on_is_beside_the_next_daemon() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let mut meanwhile = None;
        let by_itself = |daemon: Daemon| {
            let mut command = daemon.command("run")?;
            let state = daemon.kill()?;
            command.args(["--", "sh", "-c", WORKER, "sh"]);
            command.arg(place.folder("other")?).arg(place.work.path());
            let mut worker = Worker::start(command)?;
            worker.work(1)?;
            meanwhile = Some(worker);
            Ok(state)
        };
        let daemon = whole_over(by_itself, &place)?;
        let mut meanwhile = meanwhile.context("it ran")?;
        meanwhile.work(1)?;
        meanwhile.end()?;
        daemon.stop()?;
        Ok(())
    })
}

#[test]
fn a_daemon_that_is_to_leave_its_sessions_is_stopped_and_they_go_on() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let leave = format!("on_stop = \"leave\"\n{NO_GUARD}");
        let (daemon, folder, records) = over(Daemon::stop, &place, [20, 20, 20], &leave, NO_GUARD)?;
        each_once(&records, &folder, 60)?;
        nothing_lost(&records)?;
        daemon.stop()?;
        assert!(place.generations()?.is_empty(), "after a clean stop");
        Ok(())
    })
}

#[test]
fn the_guard_stops_a_session_while_no_daemon_runs() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let tree = place.folder("tree")?;
        for number in 0..2000 {
            fs::write(tree.join(number.to_string()), "words")?;
        }
        let daemon = place.start(GUARDING_TEMPORARY)?;
        let mut command = daemon.command("run")?;
        let script = r#"read -r _; rm -r "$1"; sleep 600"#;
        command.args(["--", "sh", "-c", script, "sh"]).arg(&tree);
        let mut session = Worker::start(command)?;
        wait_for("the session", || {
            let listed = daemon.command("sessions")?.output()?;
            Ok((String::from_utf8_lossy(&listed.stdout).lines().count() > 1).then_some(()))
        })?;
        let state = daemon.kill()?;
        writeln!(session.orders)?;
        // The kernel programs kill the deleting process.
        wait_for("the strike", || {
            let left = fs::read_dir(&tree)?.count();
            Ok((left < 2000).then_some(()))
        })?;
        let daemon = place.start_again(state, GUARDING_TEMPORARY)?;
        let status = session.process.wait()?;
        assert_eq!(status.code(), Some(128 + 9), "{status}");
        let left = fs::read_dir(&tree)?.count();
        assert!((2000 - 64 - 1..2000).contains(&left), "{left} are left");
        let records = daemon.last_session()?;
        let enforcement = records.iter().find_map(|it| it.get("enforcement"));
        let enforcement = enforcement.context("no enforcement is recorded")?;
        assert!(
            ["KILL", "DENY"].contains(&enforcement["action"].as_str().unwrap_or_default()),
            "{enforcement}"
        );
        let end = records.iter().find_map(|it| it.get("sessionEnd"));
        assert_eq!(end.context("no end")?["reason"], "KILLED");
        daemon.stop()?;
        Ok(())
    })
}

#[test]
fn what_did_not_fit_in_the_rings_while_no_daemon_ran_is_told() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let opened = place.folder("opened")?;
        for number in 0..OPENED {
            fs::write(opened.join(number.to_string()), "words\n")?;
        }
        let (daemon, folder, records) = over_a_crash(&place, [0, 20, 20], SMALL_RING, SMALL_RING)?;
        // Deletes have a ring of their own.
        each_once(&records, &folder, 40)?;
        let lost = balanced(&records)?;
        assert!(lost["open"] > 0, "the ring was large enough: {lost:?}");
        let verified = daemon.command("verify")?.output()?;
        assert_eq!(verified.status.code(), Some(3), "{verified:?}");
        daemon.stop()?;
        Ok(())
    })
}

/// Kills a session's daemon. The next one has programs of its own: they replace the old
/// ones, and the session moves to them.
fn moves_over(place: &Place, after: &str) -> anyhow::Result<Daemon> {
    let (daemon, folder, records) = over_a_crash(place, [40, 40, 40], NO_GUARD, after)?;
    let starts = records.iter().filter(|it| it.get("sessionStart").is_some());
    ensure!(starts.count() == 1, "it has begun once");
    let wrong = not_once(&records, &folder, 120);
    // Between the daemons the old programs saw the session; their events cannot be read any more.
    let is_between = |&(number, times): &(usize, usize)| (40..80).contains(&number) && times == 0;
    ensure!(
        wrong.iter().all(is_between),
        "recorded otherwise than once: {wrong:?}"
    );
    let losses = records.iter().filter_map(|it| it.get("loss"));
    let crash = losses.filter(|loss| loss["stage"] == "crash");
    let told: u64 = crash
        .filter_map(|loss| counts(&loss["kinds"]).get("delete").copied())
        .sum();
    ensure!(told == 40, "{told} deletes are told as lost");
    let events = all(&daemon)?;
    ensure!(
        events.iter().any(|it| it == "recorder_rebuilds"),
        "{events:?}"
    );
    Ok(daemon)
}

#[test]
fn programs_of_another_layout_are_replaced_and_their_sessions_move_over() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        // A limit is part of the programs.
        let daemon = moves_over(&place, "[guard]\naction = \"off\"\nlimit = 50\n")?;
        assert_eq!(place.generations()?.len(), 1, "the old programs are gone");
        daemon.stop()?;
        Ok(())
    })
}

#[test]
fn sessions_move_over_from_where_programs_were_pinned_before() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let other = place.pins.directory.join("other");
        let pinned_there = format!("pins = \"{}\"\n{NO_GUARD}", other.display());
        let daemon = moves_over(&place, &pinned_there)?;
        assert!(place.generations()?.is_empty(), "the old programs are gone");
        assert_eq!(folders(&other)?.len(), 1);
        daemon.stop()?;
        Ok(())
    })
}

#[test]
fn sessions_move_over_to_a_daemon_that_pins_nothing() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let daemon = moves_over(&place, &format!("pins = \"\"\n{NO_GUARD}"))?;
        assert!(place.generations()?.is_empty(), "the old programs are gone");
        daemon.stop()?;
        Ok(())
    })
}

#[test]
fn a_session_that_began_while_no_daemon_ran_is_recorded_from_its_first_exec() -> anyhow::Result<()>
{
    in_own_namespace(|| {
        let place = Place::new()?;
        let agent = place.work.path().join("an-agent");
        symlink("/bin/sh", &agent)?;
        let rule =
            "[guard]\naction = \"off\"\n[[agent]]\nname = \"ours\"\nexecutables = [\"an-agent\"]\n";
        let daemon = place.start(rule)?;
        let state = daemon.kill()?;
        let folder = place.folder("files")?;
        let mut command = Command::new(&agent);
        // A program of many names, such as busybox, acts by argv[0].
        command
            .arg0("sh")
            .args(["-c", WORKER, "sh"])
            .arg(&folder)
            .arg(opened_in(&folder));
        let mut worker = Worker::start(command)?;
        worker.work(20)?;
        let daemon = place.start_again(state, rule)?;
        worker.work(20)?;
        worker.end()?;
        let records = daemon.last_session()?;
        let start = records.iter().find_map(|it| it.get("sessionStart"));
        assert_eq!(start.context("no start")?["agent"], "ours");
        assert!(
            records.get(1).is_some_and(|it| it.get("exec").is_some()),
            "{:?}",
            records.get(1)
        );
        each_once(&records, &folder, 40)?;
        daemon.stop()?;
        Ok(())
    })
}

/// A session with a held program, whose daemon is then killed.
fn held_by_one_that_is_killed(place: &Place, rule: &str) -> anyhow::Result<(Child, TempDir)> {
    let program = place.work.path().join("destroyer");
    fs::write(&program, "#!/bin/sh\nexit 0\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let daemon = place.start(rule)?;
    let mut session = daemon.command("run")?.arg("--").arg(&program).spawn()?;
    daemon.held()?;
    let state = daemon.kill()?;
    ensure!(session.try_wait()?.is_none(), "it ran unjudged");
    Ok((session, state))
}

const HOLDING: &str = r#"
[gate]
timeout = "10m"
answer = "approve"

[[gate.rule]]
name = "ours"
programs = ["destroyer"]
action = "hold"
"#;

#[test]
fn who_is_held_when_the_daemon_dies_waits_for_the_next_one() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let (mut session, state) = held_by_one_that_is_killed(&place, HOLDING)?;
        let daemon = place.start_again(state, HOLDING)?;
        let hold = daemon.held()?;
        let approved = daemon.command("approve")?.arg(&hold).output()?;
        assert!(approved.status.success(), "{approved:?}");
        assert!(session.wait()?.success());
        daemon.stop()?;
        Ok(())
    })
}

#[test]
fn who_is_held_when_the_programs_are_replaced_gets_the_configured_answer() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let place = Place::new()?;
        let (mut session, state) = held_by_one_that_is_killed(&place, HOLDING)?;
        let other = format!("{HOLDING}\n[guard]\nlimit = 50\n");
        let daemon = place.start_again(state, &other)?;
        assert!(session.wait()?.success(), "it was not let go");
        let records = daemon.last_session()?;
        let mut acts = records.iter().filter_map(|it| it.get("enforcement"));
        let answer = acts.next_back().context("nothing is recorded of it")?;
        assert_eq!(answer["gate"]["answer"], "NOBODY", "{answer}");
        daemon.stop()?;
        Ok(())
    })
}
