//! The authority of an agent: the facts in /proc about its starter (proc(5)).
//!
//! A process that has ended yields the facts that were read, never an error:
//! recording continues.

use std::os::unix::ffi::OsStrExt as _;

use crate::record::{ProcessKey, proto};

/// Most ancestors that are listed; a login has fewer than ten.
const MAX_ANCESTORS: usize = 32;

/// The authority of a session's first process.
pub fn of_process(pid: u32) -> proto::Authority {
    let status = Status::read(pid);
    let ancestors = ancestors_of(status.ppid);
    let environment = |name: &[u8]| {
        std::iter::once(pid)
            .chain(ancestors.iter().map(|ancestor| ancestor.pid))
            .find_map(|pid| environment_of(pid, name))
            .unwrap_or_default()
    };
    proto::Authority {
        uid: status.uid,
        gid: status.gid,
        user: user_name(status.uid),
        loginuid: status.loginuid,
        login_user: status.loginuid.map(user_name).unwrap_or_default(),
        tty: tty_of(pid),
        ssh_connection: environment(b"SSH_CONNECTION"),
        sudo_user: environment(b"SUDO_USER"),
        capabilities: status.capabilities,
        ancestors,
    }
}

#[derive(Default)]
struct Status {
    comm: Vec<u8>,
    ppid: u32,
    uid: u32,
    gid: u32,
    capabilities: u64,
    loginuid: Option<u32>,
}

impl Status {
    fn read(pid: u32) -> Self {
        let mut status = Self::default();
        let text = std::fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
        for line in text.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let value = line[colon + 1..].trim_ascii();
            let word = std::str::from_utf8(value)
                .unwrap_or_default()
                .split_ascii_whitespace()
                .next()
                .unwrap_or_default();
            match &line[..colon] {
                b"Name" => status.comm = value.to_vec(),
                b"PPid" => status.ppid = word.parse().unwrap_or_default(),
                b"Uid" => status.uid = word.parse().unwrap_or_default(),
                b"Gid" => status.gid = word.parse().unwrap_or_default(),
                b"CapEff" => {
                    status.capabilities = u64::from_str_radix(word, 16).unwrap_or_default()
                }
                _ => {}
            }
        }
        let loginuid = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).unwrap_or_default();
        status.loginuid = loginuid.trim().parse().ok().filter(|&uid| uid != u32::MAX);
        status
    }
}

fn ancestors_of(mut pid: u32) -> Vec<proto::Ancestor> {
    let mut ancestors = Vec::new();
    while pid != 0 && ancestors.len() < MAX_ANCESTORS {
        let status = Status::read(pid);
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"))
            .map(|path| path.as_os_str().as_bytes().to_vec());
        ancestors.push(proto::Ancestor {
            pid,
            start_time_ns: start_time_of(pid).unwrap_or_default(),
            uid: status.uid,
            comm: status.comm,
            exe: exe.unwrap_or_default(),
        });
        pid = status.ppid;
    }
    ancestors
}

/// Fields of /proc/PID/stat after the name, which can contain any byte. The first one
/// is field 3.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let behind = text.iter().rposition(|&byte| byte == b')')?;
    let rest = String::from_utf8_lossy(text.get(behind + 1..)?).into_owned();
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Start time of a process, ns of CLOCK_BOOTTIME, with the precision of a clock tick
/// (field 22 of proc_pid_stat(5)).
pub fn start_time_of(pid: u32) -> Option<u64> {
    let ticks: u64 = stat_fields(pid)?.get(22 - 3)?.parse().ok()?;
    Some(ticks.saturating_mul(1_000_000_000) / rustix::param::clock_ticks_per_second())
}

/// Most generations that [`descends`] goes back.
const GENERATIONS: usize = 32;

/// Whether a process is this one, or was started by it or by what it started. A
/// generation that has ended is not seen.
pub fn descends(pid: u32, of: ProcessKey) -> bool {
    let parent = |pid: &u32| stat_fields(*pid)?.get(4 - 3)?.parse::<u32>().ok();
    let mut line = std::iter::successors(Some(pid), parent).take(GENERATIONS);
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    line.any(|pid| {
        pid == of.pid && start_time_of(pid).is_some_and(|it| it == of.start_time / tick * tick)
    })
}

/// The controlling terminal (field 7 of proc_pid_stat(5)), with the device numbers of
/// Documentation/admin-guide/devices.txt.
fn tty_of(pid: u32) -> Vec<u8> {
    let Some(device) = stat_fields(pid).and_then(|fields| fields.get(7 - 3)?.parse::<u64>().ok())
    else {
        return Vec::new();
    };
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    match major {
        136..=143 => format!("/dev/pts/{}", (major - 136) * 256 + minor).into_bytes(),
        4 if minor < 64 => format!("/dev/tty{minor}").into_bytes(),
        4 => format!("/dev/ttyS{}", minor - 64).into_bytes(),
        _ => Vec::new(),
    }
}

fn environment_of(pid: u32, name: &[u8]) -> Option<String> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name)?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// The name in passwd(5). A user of another source has only a number.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
        })
        .unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_its_own_user_and_parent() {
        let authority = of_process(std::process::id());
        assert_eq!(authority.uid, rustix::process::geteuid().as_raw());
        assert_eq!(
            authority.ancestors[0].pid,
            std::os::unix::process::parent_id()
        );
        assert!(start_time_of(std::process::id()).is_some_and(|start| start > 0));
    }

    #[test]
    fn a_child_descends_from_its_parent_and_from_no_other_start() {
        let own = std::process::id();
        let of = |start_time| ProcessKey {
            pid: own,
            start_time,
        };
        let start = start_time_of(own).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let (is, is_not) = (descends(child.id(), of(start)), descends(child.id(), of(0)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is && !is_not && descends(own, of(start)));
    }
}
