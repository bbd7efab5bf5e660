//! Signals, attaches, sets limits, takes descriptors and calls bpf(2), through both
//! ABIs, and reports which of these acts reach out of the session.
//!
//! `stimulus controls DIRECTORY`; the directory is not used.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use agent_recorder_tests::stimuli::{Abi, Argument, Outcome, Script, syscall};
use anyhow::Context as _;
use serde_json::{Value, json};

/// Harmless, because it is ignored by default (signal(7)).
const SIGNAL: i64 = libc::SIGWINCH as i64;
/// No process has this number (`PID_MAX_LIMIT`).
const NOBODY: i64 = i32::MAX as i64;
/// A command that bpf(2) does not have.
const NO_COMMAND: i64 = 9999;

struct Stimulus {
    /// The parent process, which is outside the session.
    outside: i64,
    script: Script,
}

pub(crate) fn run() -> anyhow::Result<()> {
    let mut stimulus = Stimulus {
        outside: std::os::unix::process::parent_id().into(),
        script: Script::default(),
    };
    for abi in [Abi::Native, Abi::Compat] {
        abi.enter();
        stimulus.signals()?;
        stimulus.among_themselves()?;
        stimulus.attaches()?;
        stimulus.limits()?;
        stimulus.descriptors()?;
        stimulus.other();
    }
    stimulus.script.tell()?;
    Ok(())
}

/// A child that waits for its end, in a process group of its own: a neighbour
/// signals the common one, and a tracee stops at any signal.
fn child() -> anyhow::Result<i64> {
    // SAFETY: the process has one thread, and the child only waits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the call takes two numbers. It ties the child to this process, so
        // that a failing stimulus leaves none behind.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            // SAFETY: the call takes nothing.
            unsafe { libc::pause() };
        }
    }
    anyhow::ensure!(child > 0, "fork: {}", std::io::Error::last_os_error());
    // SAFETY: the call takes two numbers.
    let moved = unsafe { libc::setpgid(child, child) };
    anyhow::ensure!(moved == 0, "setpgid: {}", std::io::Error::last_os_error());
    Ok(child.into())
}

/// Ends a child: a signal that stays in the session.
fn end(child: i64) -> anyhow::Result<()> {
    let killed = syscall(libc::SYS_kill, [child, libc::SIGKILL.into(), 0, 0, 0, 0]);
    killed.map_err(anyhow::Error::msg)?;
    let child = i32::try_from(child)?;
    // SAFETY: the child is this process's; its status is not asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    Ok(())
}

fn owned(outcome: Outcome) -> anyhow::Result<OwnedFd> {
    let number = i32::try_from(outcome.map_err(anyhow::Error::msg)?)?;
    // SAFETY: the descriptor was just opened, and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

impl Stimulus {
    fn control(&mut self, fields: Value, outcome: Outcome) {
        self.script.did("control", fields, outcome);
    }

    fn signalled(&mut self, target: i64, outcome: Outcome) {
        let fields = json!({"op": "SIGNAL", "targetPid": target, "signal": SIGNAL});
        self.control(fields, outcome);
    }

    fn signals(&mut self) -> anyhow::Result<()> {
        let outside = self.outside;
        // struct siginfo: si_signo, si_errno, and SI_QUEUE as si_code.
        let mut about = [0; 128];
        about[0] = libc::SIGWINCH as u8;
        about[8..12].copy_from_slice(&(-1_i32).to_ne_bytes());
        let about = Argument::new(&about).as_ptr() as i64;
        for (number, arguments) in [
            (libc::SYS_kill, [outside, SIGNAL, 0, 0, 0, 0]),
            (libc::SYS_tkill, [outside, SIGNAL, 0, 0, 0, 0]),
            (libc::SYS_tgkill, [outside, outside, SIGNAL, 0, 0, 0]),
            (libc::SYS_rt_sigqueueinfo, [outside, SIGNAL, about, 0, 0, 0]),
            (
                libc::SYS_rt_tgsigqueueinfo,
                [outside, outside, SIGNAL, about, 0, 0],
            ),
            (libc::SYS_kill, [NOBODY, SIGNAL, 0, 0, 0, 0]),
            (libc::SYS_kill, [0, SIGNAL, 0, 0, 0, 0]),
        ] {
            let outcome = syscall(number, arguments);
            self.signalled(arguments[0], outcome);
        }
        let pidfd = owned(syscall(libc::SYS_pidfd_open, [outside, 0, 0, 0, 0, 0]))?;
        let arguments = [pidfd.as_raw_fd().into(), SIGNAL, 0, 0, 0, 0];
        let outcome = syscall(libc::SYS_pidfd_send_signal, arguments);
        self.signalled(outside, outcome);
        let outcome = syscall(libc::SYS_pidfd_send_signal, [-1, SIGNAL, 0, 0, 0, 0]);
        self.signalled(0, outcome);
        Ok(())
    }

    /// Acts within the session, and signal 0: none is recorded.
    fn among_themselves(&mut self) -> anyhow::Result<()> {
        let this = i64::from(std::process::id());
        let child = child()?;
        for (target, signal) in [(this, SIGNAL), (child, SIGNAL), (self.outside, 0)] {
            let sent = syscall(libc::SYS_kill, [target, signal, 0, 0, 0, 0]);
            sent.map_err(anyhow::Error::msg)
                .context("a signal that nothing forbids")?;
        }
        end(child)
    }

    fn attaches(&mut self) -> anyhow::Result<()> {
        let child = child()?;
        let this = i64::from(std::process::id());
        for (request, target) in [
            (libc::PTRACE_SEIZE, child),
            (libc::PTRACE_ATTACH, this),
            (libc::PTRACE_SEIZE, NOBODY),
        ] {
            let request = i64::from(request);
            let outcome = syscall(libc::SYS_ptrace, [request, target, 0, 0, 0, 0]);
            let fields = json!({"op": "PTRACE", "targetPid": target, "command": request});
            self.control(fields, outcome);
        }
        // Only the attach is recorded of a tracer's requests.
        let options = syscall(
            libc::SYS_ptrace,
            [libc::PTRACE_SETOPTIONS.into(), child, 0, 0, 0, 0],
        );
        assert!(options.is_err(), "a running tracee took options");
        end(child)
    }

    /// Sets each limit to the value of the parent process, which thereby keeps it.
    fn limits(&mut self) -> anyhow::Result<()> {
        let resource = i64::from(libc::RLIMIT_CORE);
        // struct rlimit64 of every ABI.
        let limits = Argument::new(&[0; 16]).as_ptr() as i64;
        let this = i64::from(std::process::id());
        for target in [this, self.outside] {
            let asked = syscall(libc::SYS_prlimit64, [target, resource, 0, limits, 0, 0]);
            asked.map_err(anyhow::Error::msg)?;
        }
        for target in [0, this, self.outside, NOBODY] {
            let set = syscall(libc::SYS_prlimit64, [target, resource, limits, 0, 0, 0]);
            if target == self.outside || target == NOBODY {
                let fields = json!({"op": "LIMIT", "targetPid": target, "command": resource});
                self.control(fields, set);
            }
        }
        Ok(())
    }

    fn descriptors(&mut self) -> anyhow::Result<()> {
        let outside = self.outside;
        let pidfd = owned(syscall(libc::SYS_pidfd_open, [outside, 0, 0, 0, 0, 0]))?;
        for (pidfd, target, number) in [
            (pidfd.as_raw_fd().into(), outside, 0),
            // EBADF can mean either descriptor, so that no target is recorded.
            (pidfd.as_raw_fd().into(), 0, NOBODY),
            (-1, 0, 0),
        ] {
            let taken = syscall(libc::SYS_pidfd_getfd, [pidfd, number, 0, 0, 0, 0]);
            let fields = json!({"op": "DESCRIPTOR", "targetPid": target, "command": number});
            self.control(fields, taken.map(|_| 0));
            if taken.is_ok() {
                owned(taken)?;
            }
        }
        Ok(())
    }

    fn other(&mut self) {
        // struct iovec of either ABI: an address and one byte.
        let byte = Argument::new(b"x");
        let vector = if Abi::current() == Abi::Compat {
            Argument::words(&[byte.low(), 1])
        } else {
            Argument::words(&[byte.low(), 0, 1, 0])
        };
        let vector = vector.as_ptr() as i64;
        let arguments = [NOBODY, vector, 1, vector, 1, 0];
        let outcome = syscall(libc::SYS_process_vm_writev, arguments);
        let fields = json!({"op": "PTRACE", "targetPid": NOBODY, "command": 5});
        self.control(fields, outcome);
        let outcome = syscall(libc::SYS_bpf, [NO_COMMAND, 0, 0, 0, 0, 0]);
        self.control(json!({"op": "BPF", "command": NO_COMMAND}), outcome);
    }
}
