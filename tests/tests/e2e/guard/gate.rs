//! The gate: a program that would destroy something outside this host's files does
//! nothing until it was judged, in whatever way it is started. A program that only
//! mentions such a command runs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use agent_recorder_tests::lab::daemon::{Daemon, Enforcement};
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::lab::wait::until;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// A host with programs that have the names of gated ones.
struct Host {
    directory: TempDir,
}

impl Host {
    fn new() -> anyhow::Result<Self> {
        let host = Self {
            directory: tempfile::tempdir()?,
        };
        fs::create_dir(host.bin())?;
        fs::copy(
            env!("CARGO_BIN_EXE_stim_gated"),
            host.bin().join("terraform"),
        )?;
        host.script("cdk", "#!/bin/sh")?;
        host.script("pulumi", "#!/usr/bin/env sh")?;
        Ok(host)
    }

    /// A script that logs as the program does.
    fn script(&self, name: &str, first: &str) -> anyhow::Result<()> {
        let file = self.bin().join(name);
        fs::write(&file, format!("{first}\necho \"$@\" >> \"$GATED_LOG\"\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    fn path(&self) -> anyhow::Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.bin()).chain(std::env::split_paths(&path));
        Ok(std::env::join_paths(all)?)
    }

    fn daemon(&self, configuration: &str) -> anyhow::Result<Daemon> {
        Daemon::start_on_path(configuration, &self.path()?)
    }

    /// The arguments of the gated programs, for each time that one ran.
    fn done(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn prepare<'a>(
        &self,
        command: &'a mut Command,
        script: &str,
    ) -> anyhow::Result<&'a mut Command> {
        Ok(command
            .args(["--", "/bin/sh", "-c", script])
            .env("PATH", self.path()?)
            .env("GATED_LOG", self.directory.path().join("log"))
            .env("B", self.bin())
            .current_dir(self.directory.path())
            .stdin(Stdio::null()))
    }

    fn run(&self, daemon: &Daemon, script: &str) -> anyhow::Result<Output> {
        Ok(self
            .prepare(&mut daemon.command("run")?, script)?
            .output()?)
    }

    fn begin(&self, daemon: &Daemon, script: &str) -> anyhow::Result<Child> {
        Ok(self.prepare(&mut daemon.command("run")?, script)?.spawn()?)
    }
}

fn answer(daemon: &Daemon, command: &str, hold: &str) -> anyhow::Result<()> {
    let output = daemon.command(command)?.arg(hold).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// The records about the gate.
fn told(daemon: &Daemon) -> anyhow::Result<Vec<(Enforcement, Value)>> {
    let records = daemon.records()?;
    let all = records.into_iter().filter_map(|record| record.enforcement);
    Ok(all
        .filter_map(|it| it.gate.clone().map(|gate| (it, gate)))
        .collect())
}

fn ended(mut session: Child) -> anyhow::Result<i32> {
    let status = session.wait()?;
    status.code().context("the session was killed")
}

const HOLD: &str = "";
const KILL: &str = r#"
[[gate.rule]]
name = "test"
programs = ["terraform", "cdk", "pulumi"]
words = ["destroy"]
action = "kill"
"#;

#[test]
fn a_held_program_does_nothing_until_it_is_approved() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(HOLD)?;
    let session = host.begin(&daemon, "terraform destroy -auto-approve")?;
    let hold = daemon.held()?;
    ensure!(host.done().is_empty(), "it ran before it was approved");
    answer(&daemon, "approve", &hold)?;
    ensure!(ended(session)? == 0);
    ensure!(
        host.done() == ["destroy -auto-approve"],
        "{:?}",
        host.done()
    );
    let told = told(&daemon)?;
    let [(first, asked), (second, answered)] = &told[..] else {
        anyhow::bail!("{told:?}");
    };
    assert_eq!(
        (first.action.as_str(), second.action.as_str()),
        ("HOLD", "HOLD")
    );
    assert_eq!(asked["rule"], "terraform-destroy");
    assert_eq!(asked["argv"][1], "destroy");
    assert!(asked.get("answer").is_none() && asked["hold"] == hold.as_str());
    assert_eq!(answered["answer"], "APPROVED");
    assert_eq!(answered["decidedByUid"], 0);
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_denied_program_has_done_nothing_and_its_session_goes_on() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(HOLD)?;
    let session = host.begin(
        &daemon,
        "terraform destroy; test $? = 137 && echo on >> $GATED_LOG",
    )?;
    let hold = daemon.held()?;
    answer(&daemon, "deny", &hold)?;
    ensure!(
        ended(session)? == 0 && host.done() == ["on"],
        "{:?}",
        host.done()
    );
    let told = told(&daemon)?;
    let (last, gate) = told.last().context("nothing was told")?;
    ensure!(
        last.action == "KILL" && last.killed.len() == 1 && gate["answer"] == "DENIED",
        "{told:?}"
    );
    let again = daemon.command("approve")?.arg(&hold).output()?;
    ensure!(!again.status.success(), "it was answered twice");
    daemon.stop()?;
    Ok(())
}

#[test]
fn nobodys_answer_is_the_configured_one() -> anyhow::Result<()> {
    for (configured, runs) in [("deny", false), ("approve", true)] {
        let host = Host::new()?;
        let configuration = format!("[gate]\ntimeout = \"1s\"\nanswer = \"{configured}\"\n");
        let daemon = host.daemon(&configuration)?;
        host.run(&daemon, "terraform destroy; true")?;
        ensure!(
            host.done().is_empty() != runs,
            "{configured}: {:?}",
            host.done()
        );
        let told = told(&daemon)?;
        let (_, gate) = told.last().context("nothing was told")?;
        ensure!(gate["answer"] == "TIMED_OUT", "{told:?}");
        daemon.stop()?;
        // Without a daemon there is no answer to wait for.
        let alone = Recorder::alone(&configuration)?;
        let output = host
            .prepare(&mut alone.command("run")?, "terraform destroy; true")?
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(
            host.done().len() == 2 * usize::from(runs),
            "{:?}",
            host.done()
        );
        let records = alone.replay()?;
        let mut gates = records
            .iter()
            .filter_map(|it| it["enforcement"].get("gate"));
        ensure!(gates.any(|gate| gate["answer"] == "NOBODY"), "{records:?}");
    }
    Ok(())
}

/// A shell's status for a program that is not there.
const NOT_FOUND: i32 = 127;

/// Ways to start it; a command before `&&` may be absent.
const WAYS: &[&str] = &[
    "terraform destroy",
    "\"$B/terraform\" -chdir=prod destroy",
    "env A=1 terraform destroy",
    "echo destroy | xargs terraform",
    "timeout 60 terraform destroy",
    "nohup terraform destroy",
    "nice terraform destroy",
    "setsid -w true && setsid -w terraform destroy",
    "sh -c 'terraform destroy'",
    "sh -c 'sh -c \"exec terraform destroy\"'",
    "command -v sudo && sudo -E env PATH=\"$PATH\" terraform destroy",
    "command -v bash && bash -c 'exec -a harmless terraform destroy'",
    "command -v python3 && python3 -c 'import os; os.execv(os.environ[\"B\"] + \"/terraform\", [\"ls\", \"destroy\"])'",
    "command -v perl && perl -e 'system(\"terraform\", \"destroy\")'",
    "ln -s \"$B/terraform\" link; ./link destroy",
    "ln \"$B/terraform\" hard; ./hard destroy",
    "cp \"$B/terraform\" copy; ./copy destroy",
    "cp \"$B/terraform\" moved; mv moved other; ./other DESTROY",
    "terraform --unknown value destroy",
    "cdk destroy",
    "sh \"$B/cdk\" destroy",
    "sh -e \"$B/cdk\" destroy",
    "pulumi destroy",
    "env sh \"$B/pulumi\" destroy",
];

#[test]
fn every_way_to_start_it_is_judged() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(KILL)?;
    // The last way runs the file itself, under another name.
    let ways = WAYS
        .iter()
        .chain(&["mv \"$B/terraform\" renamed; ./renamed destroy"]);
    let mut judged = 0;
    for way in ways {
        let output = host.run(&daemon, way)?;
        ensure!(host.done().is_empty(), "{way}: it ran");
        // Some ways pass by two gated programs: env(1) is stopped for its script.
        let now = told(&daemon)?.len();
        let is_missing = output.status.code() == Some(NOT_FOUND)
            || way.contains(" && ") && !output.status.success() && now == judged;
        ensure!(now > judged || is_missing, "{way}: {output:?}");
        judged = now;
    }
    let told = told(&daemon)?;
    ensure!(told.iter().all(|(it, _)| it.action == "KILL"), "{told:?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn what_only_speaks_of_it_runs() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(KILL)?;
    let harmless = [
        "echo terraform destroy >> $GATED_LOG",
        "terraform plan -destroy",
        "terraform workspace select destroy",
        "sh -c 'echo destroy' terraform destroy >> $GATED_LOG",
        "cat \"$B/cdk\" destroy 2>&1 | tail -n 1 >> $GATED_LOG",
        "cp \"$B/terraform\" longer; echo >> longer; ./longer destroy",
        "cdk list destroy",
        "GATED_LOG=$GATED_LOG env -i sh -c 'true; echo x >> \"$0\"' \"$GATED_LOG\"",
    ];
    for (number, way) in (1..).zip(harmless) {
        let output = host.run(&daemon, way)?;
        ensure!(
            host.done().len() == number,
            "{way}: {output:?} {:?}",
            host.done()
        );
    }
    // A program that no rule names, with a destroying verb, is recorded and runs.
    let told = told(&daemon)?;
    let is_longer = |gate: &Value| gate["argv"][0] == "./longer";
    ensure!(
        told.iter()
            .all(|(it, gate)| it.action == "ALERT" && is_longer(gate)),
        "{told:?}"
    );
    daemon.stop()?;
    Ok(())
}

#[test]
fn an_alert_lets_it_run_and_is_recorded() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(&KILL.replace("kill", "alert"))?;
    let output = host.run(&daemon, "terraform destroy")?;
    ensure!(
        output.status.success() && host.done() == ["destroy"],
        "{output:?}"
    );
    let told = told(&daemon)?;
    ensure!(told.len() == 1 && told[0].0.action == "ALERT", "{told:?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_wrapper_that_starts_it_again_is_asked_for_once() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(HOLD)?;
    // Started by its name, and again by env(1) as a script of sh.
    let session = host.begin(&daemon, "pulumi destroy")?;
    let hold = daemon.held()?;
    answer(&daemon, "approve", &hold)?;
    ensure!(
        ended(session)? == 0 && host.done() == ["destroy"],
        "{:?}",
        host.done()
    );
    ensure!(told(&daemon)?.len() == 2, "{:?}", told(&daemon)?);
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_session_can_neither_wake_what_is_held_nor_answer_for_it() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(HOLD)?;
    let stopped = r#"until grep -q '^State:.T' "/proc/$!/status"; do :; done"#;
    let script = format!("terraform destroy & {stopped}; kill -CONT $!; wait $!; test $? = 137");
    ensure!(host.run(&daemon, &script)?.status.success());
    ensure!(host.done().is_empty(), "it ran");
    let (_, gate) = told(&daemon)?.pop().context("nothing was told")?;
    ensure!(gate["answer"] == "ENDED", "{gate}");

    let session = host.begin(
        &daemon,
        &format!("terraform destroy & {stopped}; touch ready; wait"),
    )?;
    let hold = daemon.held()?;
    let approve = daemon.command("approve")?;
    let words = std::iter::once(approve.get_program()).chain(approve.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    let output = host.run(&daemon, &format!("{} {hold}", words.join(" ")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && said.contains("member of a session"),
        "{said}"
    );

    // The session's own resume does not start it either.
    until("it to have stopped", || {
        host.directory.path().join("ready").exists()
    })?;
    let output = daemon.command("resume")?.arg("last").output()?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(daemon.holding()? == Some(hold.clone()) && host.done().is_empty());
    answer(&daemon, "deny", &hold)?;
    ended(session)?;
    ensure!(host.done().is_empty(), "it ran");
    daemon.stop()?;
    Ok(())
}

#[test]
fn what_is_held_when_the_daemon_stops_is_answered() -> anyhow::Result<()> {
    let host = Host::new()?;
    let daemon = host.daemon(HOLD)?;
    let session = host.begin(&daemon, "terraform destroy; true")?;
    daemon.held()?;
    let _state = daemon.stop()?;
    // The session's `run` has lost its daemon; what was held has ended.
    let mut session = session;
    session.wait()?;
    ensure!(host.done().is_empty(), "it ran");
    Ok(())
}

/// Commands that rules of this binary hold, with what their programs would log.
const HELD: &[&str] = &[
    "psql -c 'drop table users'",
    "psql -c\"DROP TABLE users\"",
    "psql -f drop.sql",
    "psql --file=\"$PWD/drop.sql\"",
    "psql < drop.sql",
    "psql <<EOF\ndrop table users\nEOF",
    "echo 'drop table users' | psql",
    "docker exec pg psql -c 'delete from users'",
    "docker exec -it c sh -c 'cd /data && rm -rf .'",
    "ssh host \"sudo rm -rf /srv\"",
    "TF_CLI_ARGS_apply=-destroy terraform apply",
    "terraform apply saved.plan",
    "terraform destroy -refresh",
    "psql-15 -c 'drop table users'",
    "npx prisma migrate reset",
];

/// Commands of the same programs that run at once.
const HARMLESS: &[&str] = &[
    "psql -c \"select 'drop table users'\"",
    "psql -c 'delete from users where id = 7'",
    "psql -f harmless.sql",
    "psql -f missing.sql",
    "psql < harmless.sql",
    "echo 'select 1' | psql",
    "docker exec pg psql -c 'select 1'",
    "docker exec c rm x",
    "ssh host 'echo rm -rf /srv'",
    "TF_CLI_ARGS_plan=-destroy terraform apply",
    "terraform destroy -help",
];

#[test]
fn what_really_runs_is_read_from_the_command_line() -> anyhow::Result<()> {
    let host = Host::new()?;
    for name in ["psql", "psql-15", "docker", "ssh", "npx"] {
        host.script(name, "#!/bin/sh")?;
    }
    let directory = host.directory.path();
    fs::write(directory.join("drop.sql"), "begin;\ndrop table users;\n")?;
    fs::write(directory.join("harmless.sql"), "-- drop table\nselect 1;\n")?;
    let daemon = host.daemon("[gate]\ntimeout = \"1s\"\n")?;
    for line in HELD {
        let before = told(&daemon)?.len();
        let output = host.run(&daemon, &format!("{line}; true"))?;
        ensure!(host.done().is_empty(), "{line}: it ran: {output:?}");
        ensure!(told(&daemon)?.len() > before, "{line}: {output:?}");
    }
    let before = told(&daemon)?.len();
    for (number, line) in (1..).zip(HARMLESS) {
        let output = host.run(&daemon, &format!("{line}; true"))?;
        ensure!(host.done().len() == number, "{line}: {output:?}");
    }
    let told = told(&daemon)?;
    ensure!(told.len() == before, "{told:?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_destroying_verb_of_an_unknown_program_is_recorded() -> anyhow::Result<()> {
    let host = Host::new()?;
    host.script("unknowncli", "#!/bin/sh")?;
    let daemon = host.daemon(HOLD)?;
    let output = host.run(
        &daemon,
        "unknowncli db destroy prod; unknowncli list destroy",
    )?;
    ensure!(
        output.status.success() && host.done() == ["db destroy prod", "list destroy"],
        "{output:?} {:?}",
        host.done()
    );
    let told = told(&daemon)?;
    let [(alert, gate)] = &told[..] else {
        anyhow::bail!("{told:?}");
    };
    ensure!(
        alert.action == "ALERT" && gate["rule"] == "destroying-verb",
        "{told:?}"
    );
    daemon.stop()?;
    Ok(())
}
