//! Work that leaves a session: the record names the way, and the process that starts
//! what the session wrote is its heir.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use agent_recorder_tests::lab::daemon::{Daemon, Heir, Record};
use agent_recorder_tests::lab::file_systems::{Mounted, in_own_namespace, tmpfs};
use agent_recorder_tests::lab::programs::missing;
use agent_recorder_tests::lab::wait::wait_for;
use agent_recorder_tests::skip;
use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::stimulus;

/// A folder in which a session and other processes work.
struct Place {
    directory: TempDir,
    daemon: Daemon,
}

impl Place {
    fn new(configuration: &str) -> anyhow::Result<Self> {
        Ok(Self {
            directory: tempfile::tempdir()?,
            daemon: Daemon::start_with(configuration)?,
        })
    }

    fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(fs::canonicalize(self.directory.path())?.join(name))
    }

    /// Runs a script in a session of its own.
    fn session(&self, script: &str) -> anyhow::Result<()> {
        let output = self
            .prepare(self.daemon.command("run")?.arg("--"), script)
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    fn begin_session(&self, script: &str) -> anyhow::Result<Child> {
        Ok(self
            .prepare(self.daemon.command("run")?.arg("--"), script)
            .spawn()?)
    }

    fn prepare<'a>(&self, command: &'a mut Command, script: &str) -> &'a mut Command {
        command
            .args(["/bin/sh", "-c", script])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
    }

    /// Runs a script in a process outside every session.
    fn outsider(&self, script: &str) -> anyhow::Result<Output> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let output = command.current_dir(self.directory.path()).output()?;
        Ok(output)
    }

    fn heirs(&self) -> anyhow::Result<Vec<(Record, Heir)>> {
        let records = self.daemon.records()?;
        let heirs = records
            .into_iter()
            .filter_map(|record| record.heir.clone().map(|heir| (record, heir)));
        Ok(heirs.collect())
    }

    /// Waits for an heir that satisfies `is_it`.
    fn heir(&self, what: &str, is_it: impl Fn(&Heir) -> bool) -> anyhow::Result<(Record, Heir)> {
        wait_for(what, || {
            Ok(self.heirs()?.into_iter().find(|(_, heir)| is_it(heir)))
        })
    }

    fn handed(&self) -> anyhow::Result<Vec<(String, String)>> {
        let records = self.daemon.records()?;
        let handed = records.into_iter().filter_map(|record| record.hand_off);
        Ok(handed.map(|it| (it.way, it.to)).collect())
    }
}

/// Waits until a session's last write is recorded: the recorder knows written files by
/// their records.
fn written(place: &Place, path: &Path) -> anyhow::Result<()> {
    wait_for("the write to be recorded", || {
        let records = place.daemon.records()?;
        let path = path.display().to_string();
        let is_it = |record: &Record| {
            let file = record.file.as_ref();
            file.is_some_and(|file| file.path == path || file.new_path.as_ref() == Some(&path))
        };
        Ok(records.iter().any(is_it).then_some(()))
    })
}

const SCRIPT: &str = "printf '#!/bin/sh\\n: > ran\\n' > job.sh && chmod +x job.sh";

#[test]
fn who_starts_what_a_session_wrote_is_its_heir() -> anyhow::Result<()> {
    let place = Place::new("")?;
    fs::create_dir(place.path("sub")?)?;
    place.session(&format!(
        "{SCRIPT}; cp /bin/true tool; ln -s job.sh link.sh; mv job.sh moved.sh; cp moved.sh job.sh"
    ))?;
    written(&place, &place.path("moved.sh")?)?;
    let ways = [
        ("./tool", "tool", false),
        ("cd sub && exec ../tool", "tool", false),
        ("./job.sh", "job.sh", true),
        ("sh job.sh", "job.sh", true),
        ("sh -e ./sub/../job.sh", "job.sh", true),
        ("cd sub && exec sh ../moved.sh", "moved.sh", true),
        ("sh link.sh", "link.sh", true),
        ("env ./moved.sh", "moved.sh", true),
    ];
    for (way, name, is_script) in ways {
        let before = place.heirs()?.len();
        place.outsider(way)?;
        let heirs = wait_for(way, || {
            let heirs = place.heirs()?;
            Ok((heirs.len() > before).then_some(heirs))
        })?;
        let (record, heir) = &heirs[heirs.len() - 1];
        assert_eq!(heir.script, is_script, "{way}: {heir:?}");
        assert!(heir.file.ends_with(name), "{way}: {heir:?}");
        assert!(!heir.file.contains("/./"), "{way}: {heir:?}");
        assert!(
            record.session_id.is_some() && heir.joined.is_none(),
            "{way}: {record:?}"
        );
    }
    Ok(())
}

#[test]
fn who_only_reads_it_or_starts_another_of_its_name_is_none() -> anyhow::Result<()> {
    let place = Place::new("")?;
    fs::create_dir(place.path("sub")?)?;
    let other = place.path("sub/job.sh")?;
    fs::write(&other, "#!/bin/sh\n:\n")?;
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755))?;
    place.session(&format!("{SCRIPT}; cp /bin/true tool"))?;
    written(&place, &place.path("tool")?)?;
    for way in [
        "cat job.sh",
        "sub/job.sh",
        "sh sub/job.sh",
        "sh -c true job.sh",
        "ls tool",
    ] {
        ensure!(place.outsider(way)?.status.success(), "{way}");
    }
    place.outsider("./tool")?;
    place.heir("the last heir", |heir| heir.file.ends_with("tool"))?;
    let heirs = place.heirs()?;
    ensure!(heirs.len() == 1, "{heirs:#?}");
    Ok(())
}

/// More files than the recorder remembers, and than the kernel's map has room for.
const MANY: &str = "i=0; while [ $i -lt 20000 ]; do : > $i; i=$((i+1)); done";

#[test]
fn who_has_written_many_files_is_known_by_the_last_ones() -> anyhow::Result<()> {
    let place = Place::new("")?;
    place.session(&format!("{MANY}; {SCRIPT}"))?;
    written(&place, &place.path("job.sh")?)?;
    place.outsider("sh job.sh")?;
    place.heir("an heir", |heir| heir.file.ends_with("job.sh"))?;
    Ok(())
}

/// Waits, in the shell itself, and then makes a file.
const PATIENT: &str = "printf 'until [ -e go ]; do :; done\\n: > made\\n' > job.sh";

#[test]
fn by_configuration_an_heir_joins_the_session() -> anyhow::Result<()> {
    let place = Place::new("[handoff]\nheirs = \"join\"\n")?;
    let session = place.begin_session(&format!(
        "{PATIENT}; : > written; until [ -e end ]; do :; done"
    ))?;
    written(&place, &place.path("written")?)?;
    let job = begin_outsider(&place, "sh job.sh")?;
    let (record, heir) = place.heir("an heir that joins", |heir| heir.file.ends_with("job.sh"))?;
    assert_eq!(heir.joined, record.session_id, "{heir:?}");
    made_in(&place, job, record.session_id.as_deref())?;
    fs::write(place.path("end")?, "")?;
    ensure!(wait(session)?.success());
    Ok(())
}

#[test]
fn an_heir_of_a_session_that_has_ended_has_one_of_its_own() -> anyhow::Result<()> {
    let place = Place::new("[handoff]\nheirs = \"join\"\n")?;
    place.session(PATIENT)?;
    let job = begin_outsider(&place, "sh job.sh")?;
    let (record, heir) = place.heir("an heir that joins", |heir| heir.file.ends_with("job.sh"))?;
    let writer = record.session_id.context("no writer")?;
    let own = heir.joined.context("it did not join")?;
    ensure!(own != writer);
    made_in(&place, job, Some(&own))?;
    let records = place.daemon.records()?;
    let start = records
        .iter()
        .find(|record| record.session_id.as_ref() == Some(&own) && record.session_start.is_some());
    let start = start.and_then(|record| record.session_start.as_ref());
    assert_eq!(start.map(|start| start.rule.as_str()), Some("heir"));
    Ok(())
}

fn begin_outsider(place: &Place, script: &str) -> anyhow::Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    Ok(command.current_dir(place.directory.path()).spawn()?)
}

fn wait(mut process: Child) -> anyhow::Result<std::process::ExitStatus> {
    Ok(process.wait()?)
}

/// Lets the job continue, and checks that its file is recorded in this session.
fn made_in(place: &Place, job: Child, session: Option<&str>) -> anyhow::Result<()> {
    fs::write(place.path("go")?, "")?;
    ensure!(wait(job)?.success());
    let made = place.path("made")?.display().to_string();
    let record = wait_for("what it made to be recorded", || {
        let records = place.daemon.records()?;
        Ok(records.into_iter().find(|record| {
            let file = record.file.as_ref();
            file.is_some_and(|file| file.op == "CREATE" && file.path == made)
        }))
    })?;
    assert_eq!(record.session_id.as_deref(), session);
    Ok(())
}

#[test]
fn a_hook_that_a_session_writes_is_handed_on_and_who_commits_is_the_heir() -> anyhow::Result<()> {
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let place = Place::new("")?;
    let git = "git -c user.name=a -c user.email=a@localhost";
    ensure!(place.outsider("git init -q .")?.status.success());
    let hook = place.path(".git/hooks/post-commit")?;
    place.session(
        "printf '#!/bin/sh\\n: > ran\\n' > .git/hooks/post-commit; chmod +x .git/hooks/post-commit",
    )?;
    written(&place, &hook)?;
    let output = place.outsider(&format!("{git} commit -q --allow-empty -m x"))?;
    ensure!(
        output.status.success() && place.path("ran")?.exists(),
        "{output:?}"
    );
    place.heir("git to run the hook", |heir| {
        heir.file.ends_with("post-commit") && heir.script
    })?;
    let handed = place.handed()?;
    let expected = ("HOOK_FILE".to_owned(), hook.display().to_string());
    ensure!(handed == [expected], "{handed:?}");
    Ok(())
}

#[test]
fn a_terminal_multiplexer_works_for_a_session() -> anyhow::Result<()> {
    if let Some(why) = missing("tmux") {
        skip!("{why}");
    }
    let place = Place::new("")?;
    fs::create_dir(place.path("tmux-0")?)?;
    let socket = place.path("tmux-0/default")?.display().to_string();
    let started = place.outsider(&format!("tmux -S {socket} -f /dev/null new-session -d sh"))?;
    ensure!(started.status.success(), "{started:?}");
    let result = place
        .session(&format!(
            "{SCRIPT}; tmux -S {socket} new-window -d ./job.sh"
        ))
        .and_then(|()| {
            place.heir("tmux to start it", |heir| heir.file.ends_with("job.sh"))?;
            let handed = place.handed()?;
            ensure!(
                handed.contains(&("TERMINAL_MULTIPLEXER".to_owned(), socket.clone())),
                "{handed:?}"
            );
            Ok(())
        });
    place.outsider(&format!("tmux -S {socket} kill-server"))?;
    result
}

/// atd(8) or cron(8), with spool and pid file of its own: their names are compiled in.
struct Scheduler {
    process: Option<Child>,
    _directories: [Mounted; 2],
}

impl Scheduler {
    fn prepare(script: &str) -> anyhow::Result<Self> {
        let directories = [
            tmpfs(Path::new("/run"))?,
            tmpfs(Path::new("/var/spool/cron"))?,
        ];
        let prepare = format!("cd /var/spool/cron && {script}");
        let prepared = Command::new("sh").args(["-c", &prepare]).output()?;
        ensure!(prepared.status.success(), "{prepared:?}");
        Ok(Self {
            process: None,
            _directories: directories,
        })
    }

    /// at(1) finds the process to wake in the pid file.
    fn start(&mut self, program: &str, pid_file: &str) -> anyhow::Result<()> {
        let process = Command::new(program)
            .arg("-f")
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let pid = process.id().to_string();
        self.process = Some(process);
        wait_for("its pid file", || {
            let told = fs::read_to_string(pid_file).unwrap_or_default();
            Ok((told.trim() == pid).then_some(()))
        })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Another process starts a session's job and is its heir, and the file that orders
/// the job is a hand-off.
fn job_is_inherited(place: &Place, spool: &str) -> anyhow::Result<()> {
    wait_for("the job to run", || {
        Ok(place.path("ran")?.exists().then_some(()))
    })?;
    place.heir("the job to be an heir", |heir| {
        heir.file.ends_with("job.sh")
    })?;
    let handed = place.handed()?;
    let is_it = |(way, to): &(String, String)| way == "SCHEDULER" && to.starts_with(spool);
    ensure!(handed.iter().any(is_it), "{handed:?}");
    Ok(())
}

#[test]
fn a_job_that_a_session_gives_to_at_is_handed_on_and_what_it_starts_is_the_heir()
-> anyhow::Result<()> {
    if let Some(why) = missing("at").or_else(|| missing("atd")) {
        skip!("{why}");
    }
    in_own_namespace(|| {
        let mut scheduler = Scheduler::prepare(
            "install -d -o daemon -g daemon -m 1770 atjobs atspool && install -o daemon -g daemon -m 600 /dev/null atjobs/.SEQ",
        )?;
        scheduler.start("/usr/sbin/atd", "/run/atd.pid")?;
        let place = Place::new("")?;
        place.session(&format!("{SCRIPT}; echo ./job.sh | at now"))?;
        job_is_inherited(&place, "/var/spool/cron/atjobs/")
    })
}

/// At its start cron(8) runs the jobs of a boot; other jobs could take up to a minute.
#[test]
fn a_crontab_that_a_session_leaves_is_handed_on_and_what_cron_starts_is_the_heir()
-> anyhow::Result<()> {
    // busybox has a crontab(1), but no cron(8) that knows who left a table there.
    if let Some(why) = missing("cron").or_else(|| missing("crontab")) {
        skip!("{why}");
    }
    in_own_namespace(|| {
        let mut scheduler = Scheduler::prepare("install -d -g crontab -m 1730 crontabs")?;
        let place = Place::new("")?;
        let job = "echo \"@reboot cd $PWD && ./job.sh\" | crontab -";
        place.session(&format!("{SCRIPT}; {job}"))?;
        scheduler.start("/usr/sbin/cron", "/run/crond.pid")?;
        job_is_inherited(&place, "/var/spool/cron/crontabs/")
    })
}

#[test]
fn sockets_and_files_of_the_configuration_are_known_by_any_name() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let real = fs::canonicalize(directory.path())?;
    let configuration = format!(
        "[handoff]\nsockets = [\"{0}/helper\"]\nfiles = [\"{0}/queue/*\"]\n",
        real.display()
    );
    let place = Place::new(&configuration)?;
    let _listener = std::os::unix::net::UnixListener::bind(real.join("helper"))?;
    fs::create_dir(real.join("queue"))?;
    std::os::unix::fs::symlink(real.join("helper"), real.join("link"))?;
    let connect = stimulus("connect").join(" ");
    for name in ["helper", "link", "queue/../helper"] {
        place.session(&format!("cd {} && exec {connect} {name}", real.display()))?;
    }
    place.session(&format!(
        "cd {} && : > job && mv job queue/job",
        real.display()
    ))?;
    let handed = place.handed()?;
    let helper = (
        "CONFIGURED".to_owned(),
        real.join("helper").display().to_string(),
    );
    let job = (
        "CONFIGURED".to_owned(),
        real.join("queue/job").display().to_string(),
    );
    assert_eq!(handed, [helper.clone(), helper.clone(), helper, job]);
    Ok(())
}
