//! `run`: runs a command as a session, which the daemon or this process records.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, waitpid};

use super::setup::Setting;
use super::{Common, Error};
use crate::control::{self, Client};
use crate::daemon::Recorder;
use crate::record::SessionId;

/// Wait for a new daemon after the command's end, when its daemon was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the session in records
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Name of the agent in records [default: CMD's file name]
    #[arg(long, default_value = "", hide_default_value = true)]
    agent: String,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

/// Exits with the command's status, or with 128 + signal when it was killed.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let setting = Setting::load(common)?;
    let socket = control::socket_path(&setting.config.recorder.state_dir);
    match Client::connect(&socket) {
        Ok(client) => run_with_daemon(args, client),
        Err(control::Error::NoDaemon { .. }) => run_alone(args, &setting),
        Err(error) => Err(error.into()),
    }
}

fn run_with_daemon(args: &Args, mut client: Client) -> Result<ExitCode, Error> {
    let child = Child::spawn(&args.command)?;
    let registered = client.register(child.pid(), agent_name(args), &args.name)?;
    let id = registered.session;
    let status = child.release()?.wait()?;
    if registered.joined {
        // The session ends with its own first process, which may wait for this one.
        eprintln!("agent-recorder: part of session {id}, in which it was started");
        return Ok(exit_code(status));
    }
    match client.wait(id, PATIENCE) {
        Ok(session) => summarise(id, session.records, session.files_destroyed, &session.cause),
        // The status is the command's even if the session's end is unknown.
        Err(why) => eprintln!("agent-recorder: session {id}: {why}"),
    }
    Ok(exit_code(status))
}

fn run_alone(args: &Args, setting: &Setting) -> Result<ExitCode, Error> {
    let mut recorder = Recorder::start(setting.recorder(false))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::System {
            what: "start the asynchronous runtime".to_owned(),
            source,
        })?;
    let mut streams = setting.start_streams(&runtime, recorder.spool());
    let child = Child::spawn(&args.command)?;
    let registered = recorder.register(child.pid(), agent_name(args), &args.name)?;
    let id = registered.session;
    let child = child.release()?;
    recorder.watch(child.process.as_fd())?;
    while !recorder.step()? {
        if let Some(streams) = &mut streams {
            streams.exchange(&mut recorder);
        }
    }
    let status = child.wait()?;
    recorder.finish()?;
    setting.drain(&runtime, streams, &recorder);
    if let Some(session) = recorder.sessions().ended().find(|session| session.id == id) {
        let totals = session.totals;
        summarise(id, totals.records, totals.files_destroyed, &session.cause);
    }
    Ok(exit_code(status))
}

/// Says how the session went and, if it was ended, why.
fn summarise(id: SessionId, records: u64, destroyed: u64, cause: &str) {
    eprintln!("agent-recorder: session {id}: {records} records, {destroyed} files destroyed");
    if !cause.is_empty() {
        eprintln!("agent-recorder: {cause}; `agent-recorder replay {id}` shows each act");
    }
}

/// The agent's name, by default that of the command.
fn agent_name(args: &Args) -> &str {
    if !args.agent.is_empty() {
        return &args.agent;
    }
    let command = args
        .command
        .first()
        .and_then(|command| command.to_str())
        .unwrap_or_default();
    command.rsplit('/').next().unwrap_or_default()
}

fn exit_code(status: WaitStatus) -> ExitCode {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// A child that waits before its exec, so that it is tagged first.
struct Child {
    pid: Pid,
    process: OwnedFd,
    gate: OwnedFd,
}

impl Child {
    /// Forks a child, which reads one byte from a pipe before its exec.
    fn spawn(command: &[OsString]) -> Result<Self, Error> {
        let system = |what: &str| {
            let what = what.to_owned();
            move |errno: rustix::io::Errno| Error::System {
                what,
                source: errno.into(),
            }
        };
        let strings: Vec<CString> = command
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::Usage("an argument holds a NUL byte".to_owned()))?;
        let program = find_program(&strings[0]);
        let mut argv: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        argv.push(std::ptr::null());
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(system("make a pipe"))?;
        // SAFETY: the child calls async-signal-safe functions only, on memory that
        // was allocated before the fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: this is the forked child; `argv` ends with a null pointer, and
            // its strings were allocated before the fork.
            unsafe { exec_when_released(&read, &write, &program, &argv) }
        }
        let pid = Pid::from_raw(pid)
            .ok_or(rustix::io::Errno::AGAIN)
            .map_err(system("fork"))?;
        let process =
            pidfd_open(pid, PidfdFlags::empty()).map_err(system("open the child's pidfd"))?;
        Ok(Self {
            pid,
            process,
            gate: write,
        })
    }

    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Lets the child call exec.
    fn release(self) -> Result<Released, Error> {
        rustix::io::write(&self.gate, b"x").map_err(waiting)?;
        Ok(Released {
            pid: self.pid,
            process: self.process,
        })
    }
}

/// A child that was released.
struct Released {
    pid: Pid,
    /// Pidfd of the child, readable once it has ended.
    process: OwnedFd,
}

impl Released {
    fn wait(self) -> Result<WaitStatus, Error> {
        loop {
            if let Some((_, status)) =
                waitpid(Some(self.pid), WaitOptions::empty()).map_err(waiting)?
            {
                return Ok(status);
            }
        }
    }
}

fn waiting(errno: rustix::io::Errno) -> Error {
    Error::System {
        what: "wait for the command".to_owned(),
        source: errno.into(),
    }
}

/// The path that execvp(3) would find. It is searched here, so that failed attempts
/// are no acts of the session.
fn find_program(name: &CString) -> CString {
    if name.as_bytes().contains(&b'/') {
        return name.clone();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|directory| directory.join(std::ffi::OsStr::from_bytes(name.as_bytes())))
        .find(|candidate| {
            rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
                && candidate.is_file()
        })
        .and_then(|found| CString::new(found.into_os_string().into_encoded_bytes()).ok())
        .unwrap_or_else(|| name.clone())
}

/// # Safety
///
/// The caller is a forked child. This function allocates nothing and takes no lock.
unsafe fn exec_when_released(
    gate: &OwnedFd,
    other_end: &OwnedFd,
    program: &CString,
    argv: &[*const libc::c_char],
) -> ! {
    let mut byte = [0u8; 1];
    let gate = std::os::fd::AsRawFd::as_raw_fd(gate);
    let other_end = std::os::fd::AsRawFd::as_raw_fd(other_end);
    // SAFETY: these system calls use memory of this frame and of `argv` only.
    unsafe {
        // An open write end would hide the recorder's death from this child.
        libc::close(other_end);
        // End of file means that the recorder died: nothing runs unrecorded.
        if libc::read(gate, byte.as_mut_ptr().cast(), 1) == 1 {
            libc::execv(program.as_ptr(), argv.as_ptr());
            let reason = if *libc::__errno_location() == libc::ENOENT {
                127
            } else {
                126
            };
            let message = b"agent-recorder: the command cannot be run\n";
            libc::write(2, message.as_ptr().cast(), message.len());
            libc::_exit(reason);
        }
        libc::_exit(125)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_nobody_releases_ends_and_runs_nothing() {
        let Child { pid, gate, .. } = Child::spawn(&["true".into()]).unwrap();
        drop(gate);
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(125));
    }
}
