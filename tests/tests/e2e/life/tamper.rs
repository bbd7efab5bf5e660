//! Acts of a session against the recorder have tamper records, and are refused where
//! the kernel's hooks can refuse.

use std::fs;
use std::path::PathBuf;

use agent_recorder_tests::lab::cgroup::Cgroup;
use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::recorder::refuses;
use agent_recorder_tests::lab::wait::wait_for;
use agent_recorder_tests::oracle::compare::said;
use agent_recorder_tests::{skip, skip_part};
use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::STIMULUS;

/// The stimulus that sets the flags of a file.
const FLAGS: &str = concat!(env!("CARGO_BIN_EXE_stimulus"), " flags");

type Acts = Vec<(String, Option<String>)>;

/// A daemon, and the number of its sessions' records that were read.
struct Trial {
    daemon: Daemon,
    state: PathBuf,
    told: usize,
}

/// The result of a script.
struct Outcome {
    succeeded: bool,
    said: String,
    acts: Acts,
}

impl Trial {
    fn start() -> anyhow::Result<Self> {
        Self::of(Daemon::start()?)
    }

    fn of(daemon: Daemon) -> anyhow::Result<Self> {
        let state = fs::canonicalize(daemon.state())?;
        Ok(Self {
            daemon,
            state,
            told: 0,
        })
    }

    /// Runs a script as a session. `$DAEMON` is the recorder's pid, `$STATE` its
    /// directory and `$STIMULUS` the recorded programs.
    fn run(&mut self, script: &str) -> anyhow::Result<Outcome> {
        let pid = fs::read_to_string(self.state.join("daemon.lock"))?;
        let output = self
            .daemon
            .command("run")?
            .args(["--", "/bin/sh", "-c", script])
            .env("DAEMON", pid.trim())
            .env("STATE", &self.state)
            .env("STIMULUS", STIMULUS)
            .output()?;
        let records = wait_for("every session to end", || {
            let records = self.daemon.records()?;
            let begun = records.iter().filter(|it| it.session_start.is_some());
            let ended = records.iter().filter(|it| it.session_end.is_some());
            Ok((begun.count() == ended.count()).then_some(records))
        })
        .with_context(|| script.to_owned())?;
        let tampers = records.into_iter().filter_map(|record| record.tamper);
        let acts: Acts = tampers
            .skip(self.told)
            .map(|it| (it.act, it.path))
            .collect();
        self.told += acts.len();
        Ok(Outcome {
            succeeded: output.status.success(),
            said: String::from_utf8(output.stdout)?,
            acts,
        })
    }

    fn own(&self, act: &str, name: &str) -> (String, Option<String>) {
        let path = self.state.join(name);
        (
            act.to_owned(),
            Some(path.display().to_string().trim_end_matches('/').to_owned()),
        )
    }
}

#[test]
fn what_harms_nobody_is_no_tamper() -> anyhow::Result<()> {
    let mut trial = Trial::start()?;
    for script in [
        "cat \"$STATE/config.toml\"",
        "kill -0 $DAEMON",
        "sh -c 'kill -WINCH $PPID'",
        "d=$(mktemp -d); echo > $d/config.toml; mv $d $d.b; rm -r $d.b",
        "d=$(mktemp -d); unshare -m mount -t tmpfs none $d; rmdir $d",
        "cat /proc/self/oom_score_adj > /proc/self/oom_score_adj",
        &format!("f=$(mktemp); {FLAGS} $f; rm $f"),
    ] {
        let outcome = trial.run(script)?;
        ensure!(outcome.succeeded, "{script}: {}", outcome.said);
        ensure!(outcome.acts.is_empty(), "{script}: {:?}", outcome.acts);
    }
    // It may open its own map, although that has a tamper record.
    let outcome = trial.run("$STIMULUS tamper")?;
    assert_eq!(outcome.said, "map_id done\n");
    trial.daemon.stop()?;
    Ok(())
}

#[test]
fn what_is_done_to_the_recorder_is_told_and_refused_where_that_can_be() -> anyhow::Result<()> {
    let mut trial = Trial::start()?;
    let refuses = refuses()?;
    let config = fs::read(trial.state.join("config.toml"))?;
    let signalled = ("RECORDER_SIGNALLED".to_owned(), None);
    let touched = |name: &str| trial.own("FILE_TOUCHED", name);
    let mounted = trial.own("MOUNT_CHANGED", "");
    let scripts = [
        ("kill -WINCH $DAEMON", vec![signalled]),
        (": > \"$STATE/note\"", vec![touched("note")]),
        ("mkdir \"$STATE/notes\"", vec![touched("notes")]),
        ("chmod 755 \"$STATE\"", vec![touched("")]),
        (
            "echo >> \"$STATE/config.toml\"",
            vec![touched("config.toml")],
        ),
        (
            "cd \"$STATE\" && mv config.toml b && mv b config.toml",
            vec![touched("config.toml"), touched("b")],
        ),
        (
            "mount -t tmpfs none \"$STATE\" && umount \"$STATE\"",
            vec![mounted; 2],
        ),
    ];
    for (script, acts) in scripts {
        let outcome = trial.run(script)?;
        let tried = if refuses { 1 } else { acts.len() };
        assert_eq!(outcome.acts, acts[..tried], "{script}");
        assert_eq!(outcome.succeeded, !refuses, "{script}");
    }
    let kept = fs::read(trial.state.join("config.toml")).ok();
    assert_eq!(kept == Some(config), refuses);
    trial.daemon.stop()?;
    Ok(())
}

#[test]
fn who_reaches_for_the_recorder_through_the_kernel_is_told_and_refused_where_that_can_be()
-> anyhow::Result<()> {
    let mut trial = Trial::start()?;
    let end = if refuses()? { "EPERM" } else { "done" };
    let outcome = trial.run("$STIMULUS tamper $DAEMON")?;
    let told = [
        ("attach", "RECORDER_TRACED"),
        ("limit", "RECORDER_LIMITED"),
        ("descriptor", "RECORDER_TRACED"),
        ("procfs", "FILE_TOUCHED"),
        ("link_id", "BPF_REACHED_FOR"),
        ("map_id", "BPF_REACHED_FOR"),
        ("prog_id", "BPF_REACHED_FOR"),
    ];
    assert_eq!(
        outcome.said,
        told.map(|(what, _)| format!("{what} {end}\n")).concat()
    );
    let acts: Vec<_> = outcome.acts.iter().map(|(act, _)| act.as_str()).collect();
    assert_eq!(acts, told.map(|(_, act)| act));
    trial.daemon.stop()?;
    Ok(())
}

/// With the flag `i` of chattr(1), the recorder itself could not write its files.
#[test]
fn flags_of_its_files_are_its_own() -> anyhow::Result<()> {
    let mut trial = Trial::start()?;
    let refuses = refuses()?;
    let config = trial.state.join("config.toml");
    let outcome = trial.run(&format!("{FLAGS} {}", config.display()))?;
    let touched = trial.own("FILE_TOUCHED", "config.toml");
    let said: Vec<Value> = said(outcome.said.as_bytes())?;
    assert_eq!(outcome.acts, vec![touched; said.len()]);
    let is_refused = |act: &&Value| act["file"]["error"] == "EPERM";
    // file_setattr(2) and its hook exist since 6.17.
    let ways = said.iter().filter(|act| act["file"]["error"] != "ENOSYS");
    let refused = said.iter().filter(is_refused).count();
    assert_eq!(refused, if refuses { ways.count() } else { 0 }, "{said:?}");
    trial.daemon.stop()?;
    Ok(())
}

#[test]
fn the_recorder_is_not_stopped_by_its_cgroup_where_that_can_be_refused() -> anyhow::Result<()> {
    let (unified, freezer) = (Cgroup::unified()?, Cgroup::freezer()?);
    let kinds = [
        (unified, "cgroup.freeze", "0"),
        (freezer, "freezer.state", "THAWED"),
    ];
    for (cgroup, switch, on) in kinds {
        let Some(cgroup) = cgroup else {
            skip_part!(switch, "no cgroups of this version");
            continue;
        };
        let mut trial = Trial::of(Daemon::start_within(cgroup.path())?)?;
        let refuses = refuses()?;
        let switch = cgroup.path().join(switch);
        let outcome = trial.run(&format!("echo {on} > {}", switch.display()))?;
        let act = (
            "FILE_TOUCHED".to_owned(),
            Some(switch.display().to_string()),
        );
        assert_eq!(outcome.acts, [act]);
        assert_eq!(outcome.succeeded, !refuses);
        let outcome = trial.run(&format!("cat {}", switch.display()))?;
        assert!(outcome.succeeded && outcome.acts.is_empty());
        trial.daemon.stop()?;
    }
    Ok(())
}

/// Another name leads to the same object.
#[test]
fn a_detour_leads_to_the_same_answer() -> anyhow::Result<()> {
    let mut trial = Trial::start()?;
    let refuses = refuses()?;
    let touched = trial.own("FILE_TOUCHED", "config.toml");
    for script in [
        "ln \"$STATE/config.toml\" \"$STATE.link\" && rm \"$STATE.link\"",
        "echo >> /proc/self/root/\"$STATE\"/config.toml",
        "ln -s \"$STATE/config.toml\" \"$STATE.s\"; echo >> \"$STATE.s\"",
    ] {
        let outcome = trial.run(script)?;
        assert_eq!(outcome.acts, std::slice::from_ref(&touched), "{script}");
        assert_eq!(outcome.succeeded, !refuses, "{script}");
    }
    fs::remove_file(format!("{}.s", trial.state.display()))?;
    trial.daemon.stop()?;
    Ok(())
}

/// The tamper record of a mount has the mount's place. busybox calls mount(2); mount(8)
/// since util-linux 2.39 attaches a detached copy.
#[test]
fn to_mount_the_state_elsewhere_is_told() -> anyhow::Result<()> {
    let mut trial = Trial::start()?;
    let script =
        "mkdir $STATE.b && unshare -m busybox mount --bind \"$STATE\" $STATE.b; rmdir $STATE.b";
    let outcome = trial.run(script)?;
    let at = (
        "MOUNT_CHANGED".to_owned(),
        Some(format!("{}.b", trial.state.display())),
    );
    assert_eq!(outcome.acts, [at]);
    trial.daemon.stop()?;
    Ok(())
}

/// Acts that would take a recorder's files away.
#[test]
fn what_moves_or_removes_the_state_is_refused_where_that_can_be() -> anyhow::Result<()> {
    let mut trial = Trial::start()?;
    if !refuses()? {
        trial.daemon.stop()?;
        skip!("no hook refuses in this profile");
    }
    let before = fs::read(trial.state.join("config.toml"))?;
    for script in [
        "mv \"$STATE\" \"$STATE.moved\"",
        "unshare -m sh -c 'mkdir $STATE.b; mount --bind \"$STATE\" $STATE.b && rm $STATE.b/config.toml'",
    ] {
        let outcome = trial.run(script)?;
        ensure!(!outcome.succeeded, "{script}: {}", outcome.said);
    }
    assert_eq!(fs::read(trial.state.join("config.toml"))?, before);
    fs::remove_dir(format!("{}.b", trial.state.display()))?;
    trial.daemon.stop()?;
    Ok(())
}
