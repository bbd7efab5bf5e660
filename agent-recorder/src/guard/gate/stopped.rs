//! A program that the kernel has stopped before its first instruction: reading
//! what it was started with, letting it go, ending it.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use agent_recorder_abi::held::{BY_SCRIPT, Held};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::rules::{Started, interprets};
use crate::guard::members::poll_end;
use crate::kernel::Tags;

/// Arguments among which a script is looked for: an interpreter, its options, the script.
const SCRIPT_WITHIN: usize = 8;

/// One of them.
#[derive(Debug)]
pub struct Stopped {
    pid: u32,
    image: u64,
    process: OwnedFd,
}

impl Stopped {
    /// The process of an event; `None` when it has ended meanwhile.
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

    /// Whether the process is still at this program, and held: by its tag, which no other has.
    fn is_it(&self, tags: &Tags) -> bool {
        let held = tags.held_image(self.pid, self.process.as_fd());
        held.is_ok_and(|image| image == Some(self.image)) && !self.has_ended()
    }

    /// Whether it ended by somebody else's hand.
    pub fn has_ended(&self) -> bool {
        poll_end(self.process.as_fd(), Duration::ZERO)
    }

    /// Lets it run. False when it has ended.
    pub fn let_go(&self, tags: &Tags) -> bool {
        tags.release(self.pid, self.process.as_fd(), self.image)
            .is_ok_and(|released| released)
            && pidfd_send_signal(&self.process, Signal::CONT).is_ok()
    }

    /// Ends it; that there is nobody to end is as good.
    pub fn end(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// The file that runs.
    pub(super) fn file(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.pid))
    }

    /// What it was started with, as rules see it, and all its arguments. `None`
    /// when the program's name is a word among others there.
    pub(super) fn read(&self, program: &str, known_by: u32) -> Option<(Started, Vec<Vec<u8>>)> {
        let of = |file: &str| fs::read(format!("/proc/{}/{file}", self.pid)).unwrap_or_default();
        let argv: Vec<Vec<u8>> = split(&of("cmdline")).map(<[u8]>::to_vec).collect();
        let names = split(&of("environ"))
            .map(|entry| entry.split(|&byte| byte == b'=').next().unwrap_or_default())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let file = fs::read_link(self.file()).unwrap_or_default();
        let interpreter = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let begin = if known_by == BY_SCRIPT {
            after_script(&argv, program)?
        } else if interprets(&interpreter) {
            after_script(&argv, program).unwrap_or(1)
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
            environment: names,
        };
        Some((started, argv))
    }
}

/// Where the arguments of a script of this name begin; `None` where an
/// interpreter was given something else to run. As everywhere, an option may
/// have a value or none.
fn after_script(argv: &[Vec<u8>], program: &str) -> Option<usize> {
    let mut may_be_a_value = false;
    for (position, argument) in argv.iter().enumerate().take(SCRIPT_WITHIN).skip(1) {
        let name = argument.rsplit(|&byte| byte == b'/').next();
        if name == Some(program.as_bytes()) {
            return Some(position + 1);
        }
        if is_inline(argument) {
            return None;
        }
        let is_option = argument.starts_with(b"-");
        // env(1): `NAME=value` before the command.
        if !is_option && !may_be_a_value && !argument.contains(&b'=') {
            return None;
        }
        may_be_a_value = is_option;
    }
    None
}

/// Whether an option has the program in its argument: `-c`, `-lc`, `-e`, `--eval`.
fn is_inline(argument: &[u8]) -> bool {
    match argument.strip_prefix(b"-") {
        Some(long) if long.starts_with(b"-") => [&b"-eval"[..], b"-print"].contains(&long),
        Some(letters) => {
            letters.iter().all(u8::is_ascii_alphabetic) && {
                letters.last().is_some_and(|last| b"ceEpr".contains(last))
            }
        }
        None => false,
    }
}

/// NUL-ended strings (proc_pid_cmdline(5)).
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let all = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let is_empty = all.is_empty() && bytes.is_empty();
    all.split(|&byte| byte == 0).filter(move |_| !is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(line: &str) -> Option<usize> {
        let argv: Vec<_> = line
            .split(' ')
            .map(|word| word.as_bytes().to_vec())
            .collect();
        after_script(&argv, "cdk")
    }

    #[test]
    fn a_script_is_what_an_interpreter_runs_and_no_word_of_another() {
        for (line, begin) in [
            ("sh /usr/bin/cdk destroy", 2),
            ("node --max-old-space-size 4096 /opt/cdk destroy", 4),
            ("node --require=x /opt/cdk destroy", 3),
            ("env -S node /usr/bin/cdk destroy", 4),
            ("env A=1 cdk destroy", 3),
            ("python3 -m cdk destroy", 3),
        ] {
            assert_eq!(after(line), Some(begin), "{line}");
        }
        for line in [
            "sh -c echo cdk destroy",
            "bash -lc true cdk",
            "python3 -c pass cdk",
            "node --eval 1 cdk",
            "perl script.pl cdk destroy",
            "sh",
        ] {
            assert_eq!(after(line), None, "{line}");
        }
    }
}
