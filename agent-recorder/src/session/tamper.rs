//! Tamper records: acts of a session against the recorder, recognised by their
//! records.
//!
//! Not here: refusing them, which the kernel programs do.

use std::ffi::OsStr;
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::path::KnownPath;
use crate::bpf::BPFFS;
use crate::record::{OpenFlags, proto};
use proto::record::Body;

/// bpf(2) commands that open or change objects of other processes
/// (include/uapi/linux/bpf.h): OBJ_GET, PROG_DETACH, PROG_, MAP_ and
/// LINK_GET_FD_BY_ID, LINK_UPDATE, LINK_DETACH.
const REACHING: [u32; 7] = [7, 9, 13, 14, 30, 29, 34];

/// The processes and files of the recorder.
#[derive(Clone, Debug, Default)]
pub struct Own {
    pid: u32,
    group: Option<NonZeroU32>,
    files: Vec<PathBuf>,
    switches: Vec<PathBuf>,
    /// Directory with an entry for each of its threads (proc_pid_task(5)).
    threads: PathBuf,
    /// Whether its pid namespace is the initial one. Pids in other namespaces are
    /// different numbers.
    is_outermost: bool,
    /// `st_dev` of its /proc: each pid namespace has its own procfs.
    procfs: u64,
}

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the initial pid namespace.
const INITIAL: &str = "pid:[4026531836]";

/// The recorder's process group. `None` where the group has no number here: it is of
/// another pid namespace, or the kernel's own, as for what an init starts (getpgrp(2)
/// returns 0, for which rustix has no value).
fn own_group() -> Option<NonZeroU32> {
    // SAFETY: getpgrp(2) takes no argument, and always succeeds.
    let group = unsafe { libc::getpgrp() };
    NonZeroU32::new(group.cast_unsigned())
}

impl Own {
    /// The recorder of this process, with its state directory, its configuration, and
    /// the files that freeze or kill its cgroup.
    pub fn of_this(
        files: impl IntoIterator<Item = PathBuf>,
        switches: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let real = |path: PathBuf| fs::canonicalize(&path).unwrap_or(path);
        Self {
            pid: std::process::id(),
            group: own_group(),
            files: files.into_iter().map(real).collect(),
            switches: switches.into_iter().map(real).collect(),
            threads: "/proc/self/task".into(),
            is_outermost: fs::read_link("/proc/self/ns/pid")
                .is_ok_and(|namespace| namespace == Path::new(INITIAL)),
            procfs: fs::metadata("/proc").map_or(0, |about| about.dev()),
        }
    }

    /// The act against the recorder that a record shows, by a process whose working
    /// directory is `cwd`.
    pub fn in_record(&self, body: &Body, cwd: &KnownPath) -> Option<proto::Tamper> {
        let (act, path) = match body {
            Body::Control(control) => (self.by_control(control)?, &[][..]),
            Body::File(file) => self.by_file(file, cwd)?,
            _ => return None,
        };
        Some(proto::Tamper {
            act: act.into(),
            path: path.to_vec(),
            ..Default::default()
        })
    }

    fn by_control(&self, control: &proto::ControlAct) -> Option<proto::TamperAct> {
        let target = i64::from(control.target_pid);
        let is_own = !(control.nested && self.is_outermost) && self.is_this(target);
        match control.op() {
            // Signal 0 only tests whether the process exists (kill(2)).
            proto::ControlOp::Signal if control.signal != 0 => {
                let ours = self.group.map(|group| -i64::from(group.get()));
                let is_group = !control.nested && (target == -1 || Some(target) == ours);
                let meets = is_own || is_group;
                meets.then_some(proto::TamperAct::RecorderSignalled)
            }
            proto::ControlOp::Ptrace | proto::ControlOp::Descriptor => {
                is_own.then_some(proto::TamperAct::RecorderTraced)
            }
            proto::ControlOp::Limit => is_own.then_some(proto::TamperAct::RecorderLimited),
            proto::ControlOp::Bpf => REACHING
                .contains(&control.command)
                .then_some(proto::TamperAct::BpfReachedFor),
            _ => None,
        }
    }

    fn by_file<'a>(
        &self,
        file: &'a proto::File,
        cwd: &KnownPath,
    ) -> Option<(proto::TamperAct, &'a [u8])> {
        let is_mount = matches!(file.op(), proto::FileOp::Mount | proto::FileOp::Umount);
        if is_mount {
            let at = Path::new(OsStr::from_bytes(whole(&file.path, file.path_truncated)));
            // A mount hides the files below it, and gives its source another name.
            let meets = self.is_inside(at)
                || self.is_above(at)
                || is_above(at, Path::new(BPFFS))
                || self.is_inside(&source(file, cwd));
            return meets.then_some((proto::TamperAct::MountChanged, file.path.as_slice()));
        }
        let flags = OpenFlags(file.flags);
        let changes = match file.op() {
            proto::FileOp::Open => flags.writes() || flags.truncates() || flags.creates(),
            proto::FileOp::Chdir => false,
            _ => true,
        };
        if !changes {
            return None;
        }
        // The second path of a symbolic link is its target, which the act does not
        // touch.
        let second = (file.op() != proto::FileOp::Symlink)
            .then(|| whole(&file.new_path, file.new_path_truncated));
        let mut paths = std::iter::once(whole(&file.path, file.path_truncated)).chain(second);
        let moves = file.op() == proto::FileOp::Rename;
        let path = paths.find(|path| {
            let path = Path::new(OsStr::from_bytes(path));
            // An act on a directory is one on every file in it.
            self.is_inside(path)
                || self.is_about_this(path, file.dev)
                || moves && self.is_above(path)
                || self.switches.iter().any(|switch| path == switch)
        })?;
        Some((proto::TamperAct::FileTouched, path))
    }

    fn is_above(&self, path: &Path) -> bool {
        self.files.iter().any(|own| is_above(path, own))
    }

    fn is_inside(&self, path: &Path) -> bool {
        self.files.iter().any(|own| path.starts_with(own))
    }

    /// Whether the path is a file of procfs about this process or one of its threads.
    /// The device of a failed open is unknown.
    fn is_about_this(&self, path: &Path, device: u64) -> bool {
        let Ok(rest) = path.strip_prefix("/proc") else {
            return false;
        };
        if device != 0 && device != self.procfs {
            return false;
        }
        let number = rest
            .iter()
            .next()
            .and_then(|name| name.to_str()?.parse().ok());
        number.is_some_and(|number| self.is_this(number))
    }

    /// Whether a pid or thread id is that of this process.
    fn is_this(&self, number: i64) -> bool {
        let is_thread = || number > 0 && self.threads.join(number.to_string()).exists();
        number == i64::from(self.pid) || is_thread()
    }
}

/// The path, if it is whole, else an empty one. The recorder's own paths are short,
/// so a cut path is another one, although its tail could look alike.
fn whole(path: &[u8], is_truncated: bool) -> &[u8] {
    if is_truncated { &[] } else { path }
}

/// The source of a mount, as mount(2) received it.
fn source(file: &proto::File, cwd: &KnownPath) -> PathBuf {
    let given = whole(&file.new_path, file.new_path_truncated);
    Path::new(OsStr::from_bytes(whole(&cwd.bytes, cwd.truncated)))
        .join(OsStr::from_bytes(given))
        .components()
        .collect()
}

/// Whether `own` lies at or below a path that is not the root directory: the root
/// cannot be moved, and a mount there only changes propagation (mount --make-rprivate
/// /).
fn is_above(path: &Path, own: &Path) -> bool {
    path.parent().is_some() && own.starts_with(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        Own {
            pid: 100,
            group: NonZeroU32::new(90),
            files: vec![
                "/var/lib/agent-recorder".into(),
                "/etc/agent-recorder".into(),
            ],
            switches: vec!["/sys/fs/cgroup/a/cgroup.kill".into()],
            threads: PathBuf::default(),
            is_outermost: true,
            procfs: 7,
        }
    }

    fn control(op: proto::ControlOp, target: i32, number: u32) -> Option<proto::TamperAct> {
        let body = Body::Control(proto::ControlAct {
            op: op.into(),
            target_pid: target,
            signal: number,
            command: number,
            ..proto::ControlAct::default()
        });
        own()
            .in_record(&body, &KnownPath::new(b"/var/lib", false))
            .map(|tamper| tamper.act())
    }

    /// The tamper act of a process that works in /var/lib.
    fn told_of(file: proto::File) -> Option<proto::TamperAct> {
        let cwd = KnownPath::new(b"/var/lib", false);
        let told = own().in_record(&Body::File(file), &cwd);
        told.map(|tamper| tamper.act())
    }

    fn file(op: proto::FileOp, path: &str, flags: i32) -> Option<proto::TamperAct> {
        told_of(proto::File {
            op: op.into(),
            path: path.into(),
            flags: u64::from(flags.cast_unsigned()),
            ..proto::File::default()
        })
    }

    fn with_second(op: proto::FileOp, path: &str, second: &str) -> Option<proto::TamperAct> {
        told_of(proto::File {
            op: op.into(),
            path: path.into(),
            new_path: second.into(),
            ..proto::File::default()
        })
    }

    #[test]
    fn a_signal_to_the_senders_own_group_is_no_act_against_a_recorder_without_a_number() {
        let without = Own {
            group: None,
            ..own()
        };
        let body = Body::Control(proto::ControlAct {
            op: proto::ControlOp::Signal.into(),
            target_pid: 0,
            signal: 15,
            ..proto::ControlAct::default()
        });
        let cwd = KnownPath::new(b"/var/lib", false);
        assert_eq!(without.in_record(&body, &cwd), None);
    }

    #[test]
    fn signals_attaches_and_bpf_calls_that_reach_the_recorder_are_told_of() {
        use proto::{ControlOp as Op, TamperAct as Act};
        for target in [100, -90, -1] {
            let act = control(Op::Signal, target, 15);
            assert_eq!(act, Some(Act::RecorderSignalled), "{target}");
        }
        for (target, signal) in [(101, 9), (-100, 9), (100, 0)] {
            assert_eq!(control(Op::Signal, target, signal), None, "{target}");
        }
        assert_eq!(control(Op::Ptrace, 100, 16), Some(Act::RecorderTraced));
        assert_eq!(control(Op::Ptrace, 7, 16), None);
        assert_eq!(control(Op::Descriptor, 100, 3), Some(Act::RecorderTraced));
        assert_eq!(control(Op::Limit, 100, 1), Some(Act::RecorderLimited));
        assert_eq!(control(Op::Limit, 7, 1), None);
        let to_a_thread = Body::Control(proto::ControlAct {
            op: Op::Signal.into(),
            target_pid: rustix::thread::gettid().as_raw_nonzero().get(),
            signal: 9,
            ..proto::ControlAct::default()
        });
        let of_this = Own::of_this([], []);
        let told = of_this.in_record(&to_a_thread, &KnownPath::default());
        assert_eq!(told.map(|it| it.act()), Some(Act::RecorderSignalled));
        let of_others = Body::Control(proto::ControlAct {
            op: Op::Signal.into(),
            target_pid: 100,
            signal: 9,
            nested: true,
            ..proto::ControlAct::default()
        });
        assert_eq!(own().in_record(&of_others, &KnownPath::default()), None);
        assert_eq!(control(Op::Bpf, 0, 14), Some(Act::BpfReachedFor));
        // BPF_PROG_LOAD.
        assert_eq!(control(Op::Bpf, 0, 5), None);
    }

    #[test]
    fn its_files_and_the_mounts_around_them_are_its_own() {
        use proto::{FileOp as Op, TamperAct as Act};
        let spool = "/var/lib/agent-recorder/spool/x";
        for (op, flags) in [
            (Op::Delete, 0),
            (Op::Open, libc::O_WRONLY),
            (Op::Rename, 0),
            (Op::Truncate, 0),
            (Op::Chmod, 0),
        ] {
            assert_eq!(file(op, spool, flags), Some(Act::FileTouched), "{op:?}");
        }
        assert_eq!(file(Op::Rename, "/var/lib", 0), Some(Act::FileTouched));
        assert_eq!(file(Op::Chmod, "/var/lib", 0), None);
        assert_eq!(file(Op::Rename, "", 0), None);
        let link = |op| with_second(op, "/tmp/x", spool);
        assert_eq!(link(Op::Symlink), None);
        assert_eq!(link(Op::Link), Some(Act::FileTouched));
        assert_eq!(file(Op::Open, spool, libc::O_RDONLY), None);
        assert_eq!(file(Op::Delete, "/var/lib/agent-recorder-2/x", 0), None);
        let switch = "/sys/fs/cgroup/a/cgroup.kill";
        let told = file(Op::Open, switch, libc::O_WRONLY);
        assert_eq!(told, Some(Act::FileTouched));
        assert_eq!(file(Op::Open, switch, libc::O_RDONLY), None);
        assert_eq!(file(Op::Mount, "/proc", 0), None);
        assert_eq!(file(Op::Mount, "/sys/fs/cgroup", 0), None);
        for at in ["/sys/fs/bpf", "/var/lib/agent-recorder", "/var/lib", spool] {
            assert_eq!(file(Op::Mount, at, 0), Some(Act::MountChanged), "{at}");
            assert_eq!(file(Op::Umount, at, 0), Some(Act::MountChanged), "{at}");
        }
        let bound = |from| with_second(Op::Mount, "/mnt", from);
        assert_eq!(bound("/var/lib/agent-recorder"), Some(Act::MountChanged));
        assert_eq!(bound("agent-recorder/."), Some(Act::MountChanged));
        assert_eq!(bound("/"), None);
        assert_eq!(bound("none"), None);
        for at in ["/mnt", "/"] {
            assert_eq!(file(Op::Mount, at, 0), None, "{at}");
        }
    }

    #[test]
    fn what_its_own_procfs_has_of_it_is_its_own() {
        use proto::{FileOp as Op, TamperAct as Act};
        for (path, told) in [
            ("/proc/100/oom_score_adj", Some(Act::FileTouched)),
            ("/proc/100/task/100/oom_score_adj", Some(Act::FileTouched)),
            ("/proc/1000/oom_score_adj", None),
            ("/proc/sys/vm/swappiness", None),
        ] {
            assert_eq!(file(Op::Open, path, libc::O_WRONLY), told, "{path}");
        }
        assert_eq!(file(Op::Open, "/proc/100/stat", libc::O_RDONLY), None);
        for (dev, told) in [(7, Some(Act::FileTouched)), (8, None)] {
            let act = told_of(proto::File {
                op: Op::Open.into(),
                path: "/proc/100/oom_score_adj".into(),
                flags: 1,
                dev,
                ..proto::File::default()
            });
            assert_eq!(act, told, "of the procfs on {dev}");
        }
    }
}
