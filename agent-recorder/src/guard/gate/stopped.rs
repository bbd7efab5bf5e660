//! A program that the kernel has stopped before its first instruction: reading its
//! arguments, releasing it, ending it.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use agent_recorder_abi::exec_gate::{BY_SCRIPT, Held};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::rules::{Started, interprets};
use super::stopped_files::StoppedFiles;
use crate::bpf::Tags;
use crate::guard::members::poll_end;
use crate::guard::script::after_script;

/// A stopped program.
#[derive(Debug)]
pub struct Stopped {
    pid: u32,
    image: u64,
    process: OwnedFd,
}

impl Stopped {
    /// Opens the process of an event; `None` when it has ended.
    pub(super) fn open(tags: &Tags, held: &Held) -> Option<Self> {
        let pid = held.header.pid;
        let process = pidfd_open(
            Pid::from_raw(i32::try_from(pid).ok()?)?,
            PidfdFlags::empty(),
        );
        let stopped = Self {
            pid,
            image: held.body.image,
            process: process.ok()?,
        };
        stopped.is_it(tags).then_some(stopped)
    }

    /// Opens the process of this pid, if any program of it is held.
    pub fn held(tags: &Tags, pid: u32) -> Option<Self> {
        let id = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let process = pidfd_open(id, PidfdFlags::empty()).ok()?;
        let image = tags.held_image(pid, process.as_fd()).ok()??;
        Some(Self {
            pid,
            image,
            process,
        })
    }

    /// Whether the process is still held at this program. The tag's image is unique
    /// to it.
    fn is_it(&self, tags: &Tags) -> bool {
        let held = tags.held_image(self.pid, self.process.as_fd());
        held.is_ok_and(|image| image == Some(self.image)) && !self.has_ended()
    }

    /// Whether the process was ended by somebody else.
    pub fn has_ended(&self) -> bool {
        poll_end(self.process.as_fd(), Duration::ZERO)
    }

    /// Releases the program. False when it has ended.
    pub fn let_go(&self, tags: &Tags) -> bool {
        tags.release(self.pid, self.process.as_fd(), self.image)
            .is_ok_and(|released| released)
            && pidfd_send_signal(&self.process, Signal::CONT).is_ok()
    }

    /// Ends the process. A process that has ended already needs nothing.
    pub fn end(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// The file that the process runs.
    pub(super) fn file(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.pid))
    }

    /// The files of the program.
    pub(super) fn files(&self) -> StoppedFiles {
        StoppedFiles { pid: self.pid }
    }

    /// The program's arguments as rules see them, and all its arguments. `None` when
    /// the program's name is only a word among others there.
    pub(super) fn read(&self, program: &str, known_by: u32) -> Option<(Started, Vec<Vec<u8>>)> {
        let of = |file: &str| fs::read(format!("/proc/{}/{file}", self.pid)).unwrap_or_default();
        let argv: Vec<Vec<u8>> = split(&of("cmdline")).map(<[u8]>::to_vec).collect();
        let environ = of("environ");
        let environment = split(&environ).map(|entry| {
            let entry = String::from_utf8_lossy(entry);
            let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
            (name.to_owned(), value.to_owned())
        });
        let file = fs::read_link(self.file()).unwrap_or_default();
        let interpreter = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let begin = if known_by == BY_SCRIPT {
            after_script(&interpreter, &argv, program.as_bytes())?
        } else if interprets(&interpreter) {
            after_script(&interpreter, &argv, program.as_bytes()).unwrap_or(1)
        } else {
            1
        };
        let arguments = argv.iter().skip(begin);
        let started = Started {
            program: program.to_owned(),
            interpreter,
            arguments: arguments
                .map(|it| String::from_utf8_lossy(it).into_owned())
                .collect(),
            environment: environment.collect(),
        };
        Some((started, argv))
    }
}

/// Splits strings that end with a NUL each (proc_pid_cmdline(5)).
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let all = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let is_empty = all.is_empty() && bytes.is_empty();
    all.split(|&byte| byte == 0).filter(move |_| !is_empty)
}
