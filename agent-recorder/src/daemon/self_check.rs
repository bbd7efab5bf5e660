//! The recorder verifies that its hooks still fire. At intervals a canary process
//! does one of each act that the hooks see, in a session that makes no records. Its
//! events, and the kernel's answers to it, must match those of the first canaries.
//!
//! Not here: the acts (`cli::canary`), the attached programs (`bpf`), and attaching
//! them anew (`recorder`).

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_recorder_abi::event::{FILE_KERNEL_PATH, KINDS, Kind, Op, VIA_URING};
use agent_recorder_abi::state::{SessionNumber, Tag, USER_SESSION};

use super::core::Core;
use super::exec_gate::CARRIED_NS;
use crate::bpf::{Body, Event, FileEvent};
use crate::record::{RecorderEvent, SessionId, proto};
use crate::session::boot_ns;

/// The canary's session. Numbers of other sessions begin after it.
pub(super) const CANARY: SessionNumber = USER_SESSION;

/// A canary that takes longer is ended, and proves nothing.
const LONGEST: Duration = Duration::from_secs(10);
/// Longest wait before the first canary: a recorder that just begins has other work.
const FIRST: Duration = Duration::from_secs(5);
/// Number of first canaries whose common findings every later canary must show.
const LESSONS: u32 = 2;
/// Intervals without the end of any canary after which nothing is proven.
const PATIENCE: u32 = 3;

/// Prefix of a canary's line about an act that it could not do; the finding follows.
pub const WITHOUT: &str = "without ";
/// Suffix of the findings of io_uring.
pub const BY_URING: &str = "by io_uring";

/// The observations of a canary, in words.
type Findings = BTreeSet<String>;

/// The check that the hooks fire.
#[derive(Debug)]
pub(super) struct SelfCheck {
    /// Interval between canaries; zero: no canaries.
    every: Duration,
    /// The recorder's state directory; a canary tries to write there.
    state: Option<PathBuf>,
    due: Instant,
    flight: Option<Flight>,
    /// Whether the next canary comes at once, to confirm the last.
    hurried: bool,
    expected: Expected,
    /// When the last canary ended. A failed canary shows nothing about the hooks, but
    /// that the recorder runs.
    landed: Instant,
    /// Events of canaries, by kind.
    events: [u64; KINDS],
    /// Whether it was recorded that no canary can be started.
    failed: bool,
}

/// A running canary.
#[derive(Debug)]
struct Flight {
    canary: Child,
    /// The canary's directory, which is removed when it ends.
    directory: PathBuf,
    begun: Instant,
    /// Records lost before the canary started.
    lost: u64,
    seen: Findings,
    /// When its end was noticed, CLOCK_BOOTTIME ns.
    ended: Option<u64>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        // The canary has ended or is abandoned. Whatever it left is in a directory of
        // files that may go.
        let _ = self.canary.kill();
        let _ = self.canary.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The expected findings, and those that have ceased.
#[derive(Debug, Default)]
struct Expected {
    lessons: u32,
    always: Findings,
    /// Findings that the last canary lacked.
    missing: Findings,
    /// Findings that the last two canaries lacked.
    silent: Findings,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// These findings have ceased.
    Silent,
    /// All findings are back.
    Back,
}

impl Expected {
    fn judge(&mut self, said: Findings) -> Option<Change> {
        let (left_out, seen): (Findings, Findings) =
            said.into_iter().partition(|it| it.starts_with(WITHOUT));
        if self.lessons < LESSONS {
            self.always = match self.lessons {
                0 => seen,
                _ => self.always.intersection(&seen).cloned().collect(),
            };
            self.lessons += 1;
            return None;
        }
        let is_left_out = |finding: &&String| {
            let mut left_out = left_out.iter().map(|it| &it[WITHOUT.len()..]);
            left_out.any(|what| finding.contains(what))
        };
        let missing = self.always.difference(&seen);
        let missing: Findings = missing.filter(|it| !is_left_out(it)).cloned().collect();
        // One canary without a finding is not enough: a full disk or a busy moment
        // can be the reason.
        let silent: Findings = missing.intersection(&self.missing).cloned().collect();
        self.missing = missing;
        if self.missing.is_empty() && !self.silent.is_empty() {
            self.silent.clear();
            return Some(Change::Back);
        }
        if silent.is_empty() || silent == self.silent {
            return None;
        }
        self.silent = silent;
        Some(Change::Silent)
    }

    /// Whether the next canary should come soon.
    fn is_in_doubt(&self) -> bool {
        self.lessons < LESSONS || self.missing != self.silent
    }
}

impl SelfCheck {
    /// `every`: the interval; zero for no canaries.
    pub(super) fn new(every: Duration, state: Option<PathBuf>) -> Self {
        let now = Instant::now();
        Self {
            every,
            state,
            due: now + every.min(FIRST),
            flight: None,
            hurried: false,
            expected: Expected::default(),
            landed: now,
            events: [0; KINDS],
            failed: false,
        }
    }

    /// Whether a canary is running.
    pub(super) fn is_pressing(&self) -> bool {
        self.flight.is_some()
    }

    /// Adds an event that the kernel programs emitted about the canary.
    pub(super) fn see(&mut self, event: &Event<'_>) {
        if let Some(count) = self.events.get_mut(usize::from(event.header.kind)) {
            *count += 1;
        }
        if let (Some(flight), Some(finding)) = (&mut self.flight, finding(event)) {
            flight.seen.insert(finding);
        }
    }

    /// Events of canaries, by kind.
    pub(super) fn events(&self) -> &[u64; KINDS] {
        &self.events
    }

    /// Continues from the count of an earlier recorder.
    pub(super) fn go_on_from(&mut self, events: [u64; KINDS]) {
        self.events = events;
    }

    /// Subtracts the canaries' events from a count of all events: they are in no
    /// record.
    pub(super) fn leave_out(&self, produced: &mut [u64; KINDS]) {
        for (count, own) in produced.iter_mut().zip(self.events) {
            *count = count.saturating_sub(own);
        }
    }

    fn is_due(&self) -> bool {
        !self.every.is_zero() && Instant::now() >= self.due
    }

    /// Whether canaries show that records arrive; without canaries, that the recorder
    /// answers.
    pub(super) fn is_proven(&self) -> bool {
        self.every.is_zero()
            || self.expected.silent.is_empty() && self.landed.elapsed() < self.every * PATIENCE
    }

    /// Starts the canary when it is time, and judges its findings. True when hooks
    /// are silent, and have to be attached anew. Events are carried until `carried`,
    /// ns; `lost` is the number of records lost so far.
    pub(super) fn on_tick(&mut self, core: &mut Core, carried: u64, lost: u64) -> bool {
        let result = if let Some(flight) = &mut self.flight {
            flight.has_landed(carried)
        } else if self.is_due() {
            self.send(core, lost).map(|flight| {
                self.flight = Some(flight);
                false
            })
        } else {
            return false;
        };
        match result {
            Ok(false) => false,
            Ok(true) => self.judge(core, lost),
            Err(why) => {
                self.flight = None;
                self.landed = Instant::now();
                self.due = Instant::now() + self.every;
                if !std::mem::replace(&mut self.failed, true) {
                    core.record_event(RecorderEvent::CanaryFailed, &why.to_string());
                }
                false
            }
        }
    }

    fn send(&self, core: &mut Core, lost: u64) -> io::Result<Flight> {
        // The canary's acts count for its own session only, and from zero.
        core.kernel
            .begin_session(CANARY)
            .map_err(io::Error::other)?;
        let directory =
            std::env::temp_dir().join(format!("agent-recorder-{}", SessionId::generate()));
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let started = command(&directory, self.state.as_deref(), core.kernel.own_map()).spawn();
        let mut canary = started.inspect_err(|_| {
            // The failure to start the canary is recorded; the directory may be gone
            // already.
            let _ = fs::remove_dir(&directory);
        })?;
        let gate = canary.stdin.take();
        let flight = Flight {
            directory,
            begun: Instant::now(),
            lost,
            seen: Findings::new(),
            ended: None,
            canary,
        };
        core.kernel
            .tags()
            .set_process(flight.canary.id(), Tag::new(CANARY, boot_ns()))
            .map_err(io::Error::other)?;
        if let Some(mut gate) = gate {
            gate.write_all(b"\n")?;
        }
        Ok(flight)
    }

    fn judge(&mut self, core: &mut Core, lost: u64) -> bool {
        let Some(mut flight) = self.flight.take() else {
            return false;
        };
        self.landed = Instant::now();
        self.failed = false;
        let seen = std::mem::take(&mut flight.seen);
        // A finding that is missing may be one of the lost events.
        let nothing_lost = lost == flight.lost;
        let change = if nothing_lost {
            self.expected.judge(seen)
        } else {
            None
        };
        self.plan_next(nothing_lost);
        match change {
            Some(Change::Silent) => {
                let silent: Vec<_> = self.expected.silent.iter().cloned().collect();
                core.record_tamper(proto::TamperAct::HookSilent, silent.join(", "));
            }
            Some(Change::Back) => core.record_event(RecorderEvent::HooksBack, ""),
            None => {}
        }
        !self.expected.silent.is_empty()
    }

    /// Plans one canary at once where there is doubt, but not one after the other.
    fn plan_next(&mut self, nothing_lost: bool) {
        let is_second = std::mem::take(&mut self.hurried);
        self.hurried = nothing_lost && !is_second && self.expected.is_in_doubt();
        self.due = Instant::now();
        if !self.hurried {
            self.due += self.every;
        }
    }
}

impl Flight {
    /// Whether the canary has ended, and all its events were carried.
    fn has_landed(&mut self, carried: u64) -> io::Result<bool> {
        if let Some(ended) = self.ended {
            return Ok(carried >= ended + CARRIED_NS);
        }
        let Some(status) = self.canary.try_wait()? else {
            if self.begun.elapsed() > LONGEST {
                return Err(io::Error::other(format!(
                    "it did not end within {} s",
                    LONGEST.as_secs()
                )));
            }
            return Ok(false);
        };
        let mut said = String::new();
        if let Some(mut output) = self.canary.stdout.take() {
            output.read_to_string(&mut said)?;
        }
        if !status.success() {
            return Err(io::Error::other(format!("it ended with {status}")));
        }
        self.seen.extend(said.lines().map(str::to_owned));
        self.ended = Some(boot_ns());
        Ok(false)
    }
}

fn command(directory: &Path, state: Option<&Path>, map: Option<u64>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("canary").arg(directory);
    if let Some(state) = state {
        command.arg("--own").arg(state);
    }
    if let Some(map) = map {
        command.arg("--map").arg(map.to_string());
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// An event as a finding, without the parts that differ each time.
fn finding(event: &Event<'_>) -> Option<String> {
    let kind = Kind::from_number(event.header.kind)?.name();
    Some(match &event.body {
        Body::File(file) | Body::Uring(file) | Body::Object(file) => {
            format!("{kind} {}", file_finding(file))
        }
        Body::Network(network) => {
            let body = &network.body;
            let op = proto::NetworkOp::try_from(i32::from(body.op));
            let mut words = vec![kind, op.map_or("?", |op| op.as_str_name())];
            words.extend((i32::from(body.socket_kind) == libc::SOCK_DGRAM).then_some("datagram"));
            words.extend((body.sent > 0).then_some("sent"));
            words.extend((body.received > 0).then_some("received"));
            words.join(" ")
        }
        Body::Control(control) => {
            let op = proto::ControlOp::try_from(control.op.cast_signed());
            let op = op.map_or("?", |op| op.as_str_name());
            format!("{kind} {op}")
        }
        Body::Exec { .. } | Body::Exit(_) | Body::Fork(_) => kind.to_owned(),
        Body::Session(_) | Body::Guard(_) | Body::Counted(_) | Body::Dns { .. } => return None,
    })
}

fn file_finding(file: &FileEvent<'_>) -> String {
    let op = file.body.op;
    let name = match proto::FileOp::try_from(i32::from(op)) {
        _ if op == Op::Exec as u8 => "EXEC",
        Ok(op) => op.as_str_name(),
        Err(_) => "?",
    };
    let by_uring = file.body.via == VIA_URING;
    let by_kernel = file.body.marks & FILE_KERNEL_PATH != 0;
    let mut words = vec![name];
    words.extend(by_uring.then_some(BY_URING));
    words.extend(by_kernel.then_some("on an object"));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(names: &str) -> Findings {
        names.split_whitespace().map(str::to_owned).collect()
    }

    fn taught() -> Expected {
        let mut expected = Expected::default();
        assert_eq!(expected.judge(findings("a b c")), None);
        assert!(expected.is_in_doubt());
        assert_eq!(expected.judge(findings("a b")), None);
        assert!(!expected.is_in_doubt());
        expected
    }

    #[test]
    fn what_is_missing_twice_is_silent_and_told_once() {
        let mut expected = taught();
        assert_eq!(expected.judge(findings("a")), None);
        assert!(expected.is_in_doubt());
        assert_eq!(expected.judge(findings("a")), Some(Change::Silent));
        assert_eq!(expected.silent, findings("b"));
        assert!(!expected.is_in_doubt());
        assert_eq!(expected.judge(findings("a")), None);
        assert_eq!(expected.judge(findings("a b")), Some(Change::Back));
        assert_eq!(expected.judge(findings("a b")), None);
    }

    #[test]
    fn what_was_missing_once_or_never_seen_by_both_first_is_no_news() {
        let mut expected = taught();
        for seen in ["a", "b", "a", "a b", "b", "a b c"] {
            assert_eq!(expected.judge(findings(seen)), None, "{seen}");
        }
    }

    #[test]
    fn what_a_canary_cannot_do_is_not_missed() {
        let mut expected = Expected::default();
        let finding = |more: &str| Findings::from(["exec".to_owned(), more.to_owned()]);
        let done = format!("open OPEN {BY_URING}");
        let not_done = format!("{WITHOUT}{BY_URING}");
        for seen in [&done, &done, &not_done, &not_done] {
            assert_eq!(expected.judge(finding(seen)), None, "{seen}");
        }
        assert_eq!(expected.judge(finding("")), None);
        assert_eq!(expected.judge(finding("")), Some(Change::Silent));
    }

    #[test]
    fn more_silence_is_news() {
        let mut expected = taught();
        expected.judge(findings("a"));
        assert_eq!(expected.judge(findings("a")), Some(Change::Silent));
        assert_eq!(expected.judge(findings("")), None);
        assert_eq!(expected.judge(findings("")), Some(Change::Silent));
        assert_eq!(expected.silent, findings("a b"));
    }
}
