//! One event to one record's body. Pure but for the resolving of paths.
//!
//! Not here: which session it belongs to, and its number.

use agent_recorder_abi::address::Address;
use agent_recorder_abi::event::{
    CONTROL_NESTED, ControlBody, ControlOp, EXEC_ARGV_CUT, EXEC_FILELESS, ExecBody,
    FILE_DESCRIPTOR, FILE_FOLLOWS, FILE_KERNEL_PATH, FILE_OWNER, FILE_PATH_CUT, FILE_WALK_CUT, Op,
};

use super::mounts;
use super::observed::Observed;
use super::path::{self, Resolver, Whose};
use crate::bpf::{FileEvent, NetworkEvent};
use crate::record::{OpenFlags, proto};

const AF_UNIX: u16 = libc::AF_UNIX as u16;

/// What paths mean to the process that acted.
pub(super) struct View<'a> {
    pub(super) resolver: &'a mut Resolver,
    pub(super) whose: Whose<'a>,
}

impl View<'_> {
    /// A location: its base alone, or the caller's path from there.
    fn location(&mut self, base: &[u8], path: &[u8], follow: bool) -> Vec<u8> {
        // Of a descriptor that is not open: there is no more of a path than was given.
        if base.is_empty() && !path.starts_with(b"/") {
            return path.to_vec();
        }
        let base = path::from_walk(base);
        if path.is_empty() {
            base
        } else {
            self.resolver.resolve(self.whose, &base, path, follow)
        }
    }
}

/// A started program, or one that failed to start.
pub fn exec(body: &ExecBody, exe: &[u8], filename: &[u8], cwd: &[u8], argv: &[u8]) -> proto::Exec {
    let argv = match argv.strip_suffix(b"\0") {
        Some(arguments) => arguments
            .split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect(),
        None if argv.is_empty() => Vec::new(),
        // Cut in the middle of an argument.
        None => argv.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect(),
    };
    proto::Exec {
        exe: if exe.is_empty() {
            filename.to_vec()
        } else {
            path::from_walk(exe)
        },
        argv,
        argv_truncated: body.flags & EXEC_ARGV_CUT != 0,
        cwd: path::from_walk(cwd),
        error: body.error,
        filename: filename.to_vec(),
        dev: device(body.dev),
        ino: body.ino,
        argv_bytes: body.argv_bytes,
        fileless: body.flags & EXEC_FILELESS != 0,
        agent: String::new(),
        path_source: path_source(!exe.is_empty()),
    }
}

fn path_source(of_kernel: bool) -> i32 {
    if of_kernel {
        proto::PathSource::Kernel
    } else {
        proto::PathSource::User
    }
    .into()
}

/// The program that an exec was about to start when it failed.
pub(super) fn set_program(exec: &mut proto::Exec, program: &Observed) {
    exec.exe = path::from_walk(program.walked());
    exec.dev = device(program.body().dev);
    exec.ino = program.body().ino;
    exec.path_source = path_source(true);
}

/// The object whose attribute was set or removed, of those that were seen: what
/// is known of the file until now is by its descriptor, or the caller's path.
pub(super) fn set_attributed(file: &mut proto::File, seen: &[Observed], pid: u32) {
    let device_of = |seen: &Observed| (device(seen.body().dev), seen.body().ino);
    if file.path_source() == proto::PathSource::Kernel
        && seen
            .iter()
            .any(|sight| device_of(sight) == (file.dev, file.ino))
    {
        return;
    }
    let places: Vec<_> = seen
        .iter()
        .flat_map(|sight| {
            let inside = path::from_walk_inside(sight.walked());
            let paths = mounts::paths_of(pid, device(sight.body().dev), &inside);
            paths.into_iter().map(move |path| (sight, path))
        })
        .collect();
    let agrees = places.iter().find(|(_, path)| *path == file.path);
    let Some((sight, path)) = agrees.or(places.first()) else {
        return;
    };
    (file.dev, file.ino) = device_of(sight);
    file.path_truncated = sight.body().marks & FILE_WALK_CUT != 0;
    file.path_bytes = if file.path_truncated {
        path.len() as u64 + u64::from(sight.body().omitted)
    } else {
        0
    };
    file.path.clone_from(path);
    file.path_source = path_source(true);
}

/// A file operation whose result is known.
pub(super) fn file(event: &FileEvent<'_>, view: &mut View<'_>) -> proto::File {
    let body = &event.body;
    let marks = body.marks;
    let kernel = marks & FILE_KERNEL_PATH != 0;
    let op = proto::FileOp::try_from(i32::from(body.op)).unwrap_or(proto::FileOp::Unspecified);
    // A name that leads nowhere is the name itself.
    let follow = marks & FILE_FOLLOWS != 0 && body.error != libc::ENOENT.cast_unsigned();
    let path = match marks & FILE_DESCRIPTOR {
        0 => view.location(event.base, event.path, follow),
        // Under another root, /proc can be anything: the descriptor is not looked at there.
        _ if view.whose.root.is_some() => view.location(b"", event.path, false),
        _ => view.location(event.base, b"", false),
    };
    let has_owner = marks & FILE_OWNER != 0;
    let owner = |id: u32| (has_owner && id != u32::MAX).then_some(id);
    let cut = marks & (FILE_PATH_CUT | FILE_WALK_CUT) != 0;
    // One number of the kernel's, which each operation has another name for.
    let of_op = |has| if has { body.length } else { 0 };
    proto::File {
        op: op.into(),
        path_bytes: if cut {
            (event.base.len() + event.path.len()) as u64 + u64::from(body.omitted)
        } else {
            0
        },
        path,
        new_path: second_path(event, view),
        flags: body.flags,
        mode: body.mode,
        dev: device(body.dev),
        ino: body.ino,
        replaced: false,
        error: body.error,
        via: i32::from(body.via),
        path_source: path_source(kernel),
        path_truncated: cut,
        uid: owner(body.uid),
        gid: owner(body.gid),
        length: of_op(op == proto::FileOp::Truncate || op == proto::FileOp::Device),
        xattr: if body.op == Op::Xattr as u8 {
            event.extra.to_vec()
        } else {
            Vec::new()
        },
        subvolume: of_op(op == proto::FileOp::SubvolumeDelete),
        attributes: of_op(op == proto::FileOp::Attributes),
        read_only: body.op == Op::Open as u8 && !OpenFlags(body.flags).writes(),
    }
}

fn second_path(event: &FileEvent<'_>, view: &mut View<'_>) -> Vec<u8> {
    let op = event.body.op;
    if op == Op::Symlink as u8 || op == Op::Mount as u8 && !event.extra.is_empty() {
        return event.extra.to_vec();
    }
    if event.base2.is_empty() && event.path2.is_empty() {
        return Vec::new();
    }
    view.location(event.base2, event.path2, false)
}

/// Something done to another process, or to the kernel's programs.
pub(super) fn control(body: &ControlBody) -> proto::ControlAct {
    let is_signal = body.op == ControlOp::Signal as u32;
    proto::ControlAct {
        op: body.op.cast_signed(),
        target_pid: body.target,
        signal: if is_signal { body.command } else { 0 },
        command: if is_signal { 0 } else { body.command },
        error: body.error,
        nested: body.marks & CONTROL_NESTED != 0,
    }
}

/// A socket operation.
pub(super) fn network(event: &NetworkEvent) -> proto::Network {
    let body = &event.body;
    proto::Network {
        op: i32::from(body.op),
        transport: transport(body.family, body.socket_kind).into(),
        local: address(&event.local),
        peer: address(&event.peer),
        bytes_sent: body.sent,
        bytes_received: body.received,
        error: body.error,
        via: i32::from(body.via),
    }
}

fn transport(family: u16, kind: u16) -> proto::Transport {
    match (i32::from(family), i32::from(kind)) {
        (libc::AF_UNIX, libc::SOCK_STREAM) => proto::Transport::UnixStream,
        (libc::AF_UNIX, libc::SOCK_DGRAM) => proto::Transport::UnixDgram,
        (libc::AF_UNIX, libc::SOCK_SEQPACKET) => proto::Transport::UnixSeqpacket,
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => proto::Transport::Tcp,
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => proto::Transport::Udp,
        _ => proto::Transport::Other,
    }
}

fn address(address: &Address) -> Option<proto::Address> {
    let bytes = address.bytes.get(..usize::from(address.len))?;
    let kind = match address.family {
        0 => return None,
        // unix(7): a path may or may not be ended by a NUL; an abstract name begins with one and has its full length.
        AF_UNIX if bytes.first() == Some(&0) => proto::address::Kind::Unix(bytes.to_vec()),
        AF_UNIX => {
            let path = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            if path.is_empty() {
                return None;
            }
            proto::address::Kind::Unix(path.to_vec())
        }
        _ => proto::address::Kind::Inet(proto::Inet {
            addr: bytes.to_vec(),
            port: address.port.into(),
        }),
    };
    Some(proto::Address { kind: Some(kind) })
}

/// Questions of a DNS message (RFC 1035 section 4.1); empty for what is none.
pub(super) fn questions(server: &Address, payload: &[u8]) -> Vec<proto::Dns> {
    let Ok(packet) = simple_dns::Packet::parse(payload) else {
        return Vec::new();
    };
    packet
        .questions
        .iter()
        .map(|question| proto::Dns {
            query: question.qname.to_string(),
            r#type: question_type(question.qtype),
            server: address(server),
        })
        .collect()
}

fn question_type(kind: simple_dns::QTYPE) -> String {
    match kind {
        simple_dns::QTYPE::TYPE(simple_dns::TYPE::Unknown(number)) => format!("TYPE{number}"),
        simple_dns::QTYPE::TYPE(known) => format!("{known:?}"),
        other => format!("{other:?}"),
    }
}

/// The kernel's dev_t (`MAJOR << 20 | MINOR`, include/linux/kdev_t.h) as stat(2) gives it.
fn device(dev: u32) -> u64 {
    libc::makedev(dev >> 20, dev & 0xf_ffff)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn argv_of(bytes: &[u8]) -> Vec<Vec<u8>> {
        exec(&ExecBody::default(), b"sh\0", b"sh", b"\0", bytes).argv
    }

    #[test]
    fn empty_arguments_are_arguments() {
        assert_eq!(
            argv_of(b"a\0\0b\0"),
            [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]
        );
        assert_eq!(argv_of(b"\0"), [b"".to_vec()]);
        assert_eq!(argv_of(b""), Vec::<Vec<u8>>::new());
        assert_eq!(argv_of(b"a\0cut"), [b"a".to_vec(), b"cut".to_vec()]);
    }

    #[test]
    fn a_question_is_read_from_its_datagram() {
        let payload = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x1c\0\x01";
        let found = questions(&Address::NONE, payload);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].query.as_str(), found[0].r#type.as_str()),
            ("example.com", "AAAA")
        );
        assert!(questions(&Address::NONE, b"\0\x01").is_empty());
    }

    #[test]
    fn an_abstract_address_keeps_its_leading_nul() {
        let mut raw = Address {
            family: AF_UNIX,
            len: 3,
            ..Address::NONE
        };
        raw.bytes[1..3].copy_from_slice(b"ab");
        let kind = address(&raw).unwrap().kind.unwrap();
        assert_eq!(kind, proto::address::Kind::Unix(b"\0ab".to_vec()));
    }
}
