//! Translates one event into one record's body. Only resolving paths has side
//! effects.
//!
//! Not here: the event's session, and the record's number.

use agent_recorder_abi::address::Address;
use agent_recorder_abi::event::{
    CONTROL_NESTED, ControlBody, ControlOp, EXEC_ARGV_CUT, EXEC_FILELESS, EXEC_FILENAME_CUT,
    ExecBody, FILE_DESCRIPTOR, FILE_EXTRA_CUT, FILE_FOLLOWS, FILE_KERNEL_PATH, FILE_OWNER,
    FILE_PATH_CUT, FILE_SECOND_PATH_CUT, FILE_SECOND_WALK_CUT, FILE_WALK_CUT, FileBody, Op,
    REPLACED_NOTHING, REPLACED_SOMETHING,
};

use super::mounts;
use super::observed::Observed;
use super::path::{self, Resolver, Whose};
use crate::bpf::{FileEvent, NetworkEvent};
use crate::record::{OpenFlags, proto};

const AF_UNIX: u16 = libc::AF_UNIX as u16;

/// The process's view of paths.
pub(super) struct View<'a> {
    pub(super) resolver: &'a mut Resolver,
    pub(super) whose: Whose<'a>,
}

impl View<'_> {
    /// Resolves a location: its base alone, or the caller's path from its base.
    fn location(&mut self, place: &Place<'_>, follow: bool) -> Located {
        let Place {
            base,
            omitted,
            path,
            path_is_cut,
        } = *place;
        // An absolute path does not begin at its base.
        let omitted = if path.starts_with(b"/") { 0 } else { omitted };
        let bytes = if base.is_empty() && !path.starts_with(b"/") {
            // The descriptor is not open, so the path has no base.
            path.to_vec()
        } else if path.is_empty() {
            path::from_walk(base)
        } else if omitted != 0 {
            // Nothing below a tail of a path can be looked up.
            path::join(&path::from_walk(base), path)
        } else {
            let base = path::from_walk(base);
            self.resolver.resolve(self.whose, &base, path, follow)
        };
        let truncated = omitted != 0 || path_is_cut;
        Located {
            length: if truncated && !path_is_cut {
                bytes.len() as u64 + u64::from(omitted)
            } else {
                0
            },
            bytes,
            truncated,
        }
    }
}

/// A location in an event.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    base: &'a [u8],
    /// Bytes that the base lacks.
    omitted: u32,
    path: &'a [u8],
    path_is_cut: bool,
}

/// A location in a record.
#[derive(Default)]
struct Located {
    bytes: Vec<u8>,
    truncated: bool,
    /// Bytes before the path was cut; 0 where that is unknown or the path is whole.
    length: u64,
}

impl Located {
    /// A caller's path that was not looked up.
    fn given(bytes: &[u8], truncated: bool) -> Self {
        Self {
            bytes: bytes.to_vec(),
            truncated,
            length: 0,
        }
    }
}

/// A program that was started, or failed to start.
pub fn exec(body: &ExecBody, exe: &[u8], filename: &[u8], cwd: &[u8], argv: &[u8]) -> proto::Exec {
    let argv = match argv.strip_suffix(b"\0") {
        Some(arguments) => arguments
            .split(|&byte| byte == 0)
            .map(<[u8]>::to_vec)
            .collect(),
        None if argv.is_empty() => Vec::new(),
        // The arguments were cut in the middle of one.
        None => argv.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect(),
    };
    let filename_truncated = body.flags & EXEC_FILENAME_CUT != 0;
    let is_asked = exe.is_empty();
    proto::Exec {
        exe: if is_asked {
            filename.to_vec()
        } else {
            path::from_walk(exe)
        },
        exe_truncated: body.exe_omitted != 0 || is_asked && filename_truncated,
        exe_bytes: length_before_cut(exe, body.exe_omitted),
        argv,
        argv_truncated: body.flags & EXEC_ARGV_CUT != 0,
        cwd: path::from_walk(cwd),
        cwd_truncated: body.cwd_omitted != 0,
        cwd_bytes: length_before_cut(cwd, body.cwd_omitted),
        error: body.error,
        filename: filename.to_vec(),
        filename_truncated,
        dev: device(body.dev),
        ino: body.ino,
        argv_bytes: body.argv_bytes,
        fileless: body.flags & EXEC_FILELESS != 0,
        agent: String::new(),
        path_source: path_source(!is_asked),
    }
}

/// Bytes of a walked path before it was cut to this segment; 0 where it is whole.
fn length_before_cut(segment: &[u8], omitted: u32) -> u64 {
    match omitted {
        0 => 0,
        omitted => segment.len() as u64 + u64::from(omitted),
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

/// Sets the program that a failed exec was about to start.
pub(super) fn set_program(exec: &mut proto::Exec, program: &Observed) {
    let omitted = program.body().omitted;
    exec.exe = path::from_walk(program.walked());
    exec.exe_truncated = omitted != 0;
    exec.exe_bytes = length_before_cut(program.walked(), omitted);
    exec.dev = device(program.body().dev);
    exec.ino = program.body().ino;
    exec.path_source = path_source(true);
}

/// Sets the object whose attribute was changed, among those that hooks saw. Until
/// then the file has the path of a descriptor, or the caller's path.
pub(super) fn set_attributed(file: &mut proto::File, seen: &[Observed], pid: u32) {
    let device_of = |seen: &Observed| (device(seen.body().dev), seen.body().ino);
    if file.path_source() == proto::PathSource::Kernel
        && seen
            .iter()
            .any(|sight| device_of(sight) == (file.dev, file.ino))
    {
        return;
    }
    // Of a cut path only the tail is known, which no mount leads to.
    let is_whole = |sight: &&Observed| sight.body().marks & FILE_WALK_CUT == 0;
    let places: Vec<_> = seen
        .iter()
        .filter(is_whole)
        .flat_map(|sight| {
            let inside = path::from_walk_inside(sight.walked());
            let paths = mounts::paths_of(pid, device(sight.body().dev), &inside);
            paths.into_iter().map(move |path| (sight, path))
        })
        .collect();
    let agrees = places.iter().find(|(_, path)| *path == file.path);
    let Some((sight, path)) = agrees.or(places.first()) else {
        if let Some(sight) = seen.iter().find(|sight| !is_whole(sight)) {
            (file.dev, file.ino) = device_of(sight);
        }
        return;
    };
    (file.dev, file.ino) = device_of(sight);
    (file.path_truncated, file.path_bytes) = (false, 0);
    file.path.clone_from(path);
    file.path_source = path_source(true);
}

/// A file operation whose result is known.
pub(super) fn file(event: &FileEvent<'_>, view: &mut View<'_>) -> proto::File {
    let body = &event.body;
    let marks = body.marks;
    let kernel = marks & FILE_KERNEL_PATH != 0;
    let op = proto::FileOp::try_from(i32::from(body.op)).unwrap_or(proto::FileOp::Unspecified);
    // A dangling link is itself the object.
    let follow = marks & FILE_FOLLOWS != 0 && body.error != libc::ENOENT.cast_unsigned();
    let asked = Place {
        base: event.base,
        omitted: if marks & FILE_WALK_CUT != 0 {
            body.omitted
        } else {
            0
        },
        path: event.path,
        path_is_cut: marks & FILE_PATH_CUT != 0,
    };
    let first = match marks & FILE_DESCRIPTOR {
        0 => view.location(&asked, follow),
        // Under another root, /proc can be any directory, so the descriptor is not
        // read there.
        _ if view.whose.root.is_some() => {
            let given = Place {
                path: event.path,
                ..Place::default()
            };
            view.location(&given, false)
        }
        _ => view.location(&Place { path: b"", ..asked }, false),
    };
    let second = second_path(event, view);
    let has_owner = marks & FILE_OWNER != 0;
    let owner = |id: u32| (has_owner && id != u32::MAX).then_some(id);
    // The kernel programs send one number, which has another name for each operation.
    let of_op = |has| if has { body.length } else { 0 };
    proto::File {
        op: op.into(),
        path: first.bytes,
        path_truncated: first.truncated,
        path_bytes: first.length,
        new_path: second.bytes,
        new_path_truncated: second.truncated,
        new_path_bytes: second.length,
        flags: body.flags,
        mode: body.mode,
        dev: device(body.dev),
        ino: body.ino,
        replaced: replaced(body),
        error: body.error,
        via: i32::from(body.via),
        path_source: path_source(kernel),
        uid: owner(body.uid),
        gid: owner(body.gid),
        length: of_op(op == proto::FileOp::Truncate || op == proto::FileOp::Device),
        xattr: if body.op == Op::Xattr as u8 {
            event.extra.to_vec()
        } else {
            Vec::new()
        },
        xattr_truncated: body.op == Op::Xattr as u8 && marks & FILE_EXTRA_CUT != 0,
        subvolume: of_op(op == proto::FileOp::SubvolumeDelete),
        attributes: of_op(op == proto::FileOp::Attributes),
        read_only: body.op == Op::Open as u8 && !OpenFlags(body.flags).writes(),
    }
}

/// Whether a rename that succeeded replaced a file at the new name.
fn replaced(body: &FileBody) -> Option<bool> {
    if body.op != Op::Rename as u8 || body.error != 0 {
        return None;
    }
    // rename(2): an exchange keeps both files, and NOREPLACE fails where there is a
    // file.
    let keeps = u64::from(libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE);
    match body.replaced {
        _ if body.flags & keeps != 0 => Some(false),
        REPLACED_NOTHING => Some(false),
        REPLACED_SOMETHING => Some(true),
        _ => None,
    }
}

fn second_path(event: &FileEvent<'_>, view: &mut View<'_>) -> Located {
    let (op, marks) = (event.body.op, event.body.marks);
    if op == Op::Symlink as u8 || op == Op::Mount as u8 && !event.extra.is_empty() {
        return Located::given(event.extra, marks & FILE_EXTRA_CUT != 0);
    }
    if event.base2.is_empty() && event.path2.is_empty() {
        return Located::default();
    }
    let asked = Place {
        base: event.base2,
        omitted: if marks & FILE_SECOND_WALK_CUT != 0 {
            event.body.omitted2
        } else {
            0
        },
        path: event.path2,
        path_is_cut: marks & FILE_SECOND_PATH_CUT != 0,
    };
    view.location(&asked, false)
}

/// An act on another process, or on the kernel's programs.
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
        // unix(7): a path may end with a NUL; an abstract name begins with one, and
        // has its full length.
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

/// Questions of a DNS message (RFC 1035 section 4.1); empty for other datagrams.
pub(super) fn questions(server: &Address, payload: &[u8]) -> Vec<proto::Dns> {
    let mut asked = payload.to_vec();
    // Answers, authority and additional records are left out (section 4.1.1): a long
    // message is cut, as padded ones are (RFC 7830), and a cut message does not
    // parse.
    if let Some(counts) = asked.get_mut(6..12) {
        counts.fill(0);
    }
    let Ok(packet) = simple_dns::Packet::parse(&asked) else {
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
pub(super) fn device(dev: u32) -> u64 {
    libc::makedev(dev >> 20, dev & 0xf_ffff)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use agent_recorder_abi::event::REPLACED_UNKNOWN;

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
    fn a_question_is_read_where_what_follows_it_is_cut() {
        let mut payload =
            b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x07example\x03com\0\0\x1c\0\x01".to_vec();
        // An OPT record (RFC 6891) with 600 bytes of padding. The event has the first
        // 512 bytes.
        payload.extend(b"\0\0\x29\x10\0\0\0\0\0\x02\x5c\0\x0c\x02\x58");
        payload.resize(512, 0);
        let found = questions(&Address::NONE, &payload);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].query, "example.com");
    }

    const WHOSE: Whose<'static> = Whose {
        root: None,
        pid: 1,
        tid: 1,
        used_unix_ns: i64::MAX,
    };

    fn renamed(body: FileBody, base: &[u8], base2: &[u8], path2: &[u8]) -> proto::File {
        let event = FileEvent {
            body: FileBody {
                op: Op::Rename as u8,
                ..body
            },
            base,
            path: b"",
            base2,
            path2,
            extra: b"",
        };
        let mut resolver = Resolver::default();
        let mut view = View {
            resolver: &mut resolver,
            whose: WHOSE,
        };
        file(&event, &mut view)
    }

    #[test]
    fn each_path_of_two_is_cut_on_its_own() {
        let second = FileBody {
            marks: FILE_KERNEL_PATH | FILE_SECOND_WALK_CUT,
            omitted2: 100,
            ..FileBody::default()
        };
        let file = renamed(second, b"old\0", b"new\0dir\0", b"");
        assert_eq!((file.path_truncated, file.path_bytes), (false, 0));
        assert_eq!((file.new_path_truncated, file.new_path_bytes), (true, 108));
        let first = FileBody {
            marks: FILE_KERNEL_PATH | FILE_WALK_CUT,
            omitted: 100,
            ..FileBody::default()
        };
        let file = renamed(first, b"old\0", b"new\0dir\0", b"");
        assert_eq!((file.path_truncated, file.path_bytes), (true, 104));
        assert_eq!((file.new_path_truncated, file.new_path_bytes), (false, 0));
    }

    #[test]
    fn a_name_below_a_directory_that_was_cut_counts_with_its_slash() {
        let body = FileBody {
            marks: FILE_SECOND_WALK_CUT,
            omitted2: 100,
            ..FileBody::default()
        };
        let file = renamed(body, b"old\0", b"dir\0", b"./new");
        assert_eq!(file.new_path, b"/dir/new");
        assert_eq!(file.new_path_bytes, 108);
        // An absolute path does not begin at its base.
        let file = renamed(body, b"old\0", b"\0", b"/no/such/new");
        assert_eq!(file.new_path, b"/no/such/new");
        assert!(!file.new_path_truncated);
    }

    #[test]
    fn of_a_path_that_no_call_takes_the_length_is_not_known() {
        let body = FileBody {
            marks: FILE_SECOND_PATH_CUT,
            ..FileBody::default()
        };
        let file = renamed(body, b"old\0", b"\0", b"/no/such");
        assert_eq!((file.new_path_truncated, file.new_path_bytes), (true, 0));
    }

    #[test]
    fn a_rename_says_what_it_replaced_only_where_that_is_known() {
        let said = |replaced, flags: u32, error| {
            let body = FileBody {
                replaced,
                flags: flags.into(),
                error,
                ..FileBody::default()
            };
            renamed(body, b"old\0", b"new\0", b"").replaced
        };
        assert_eq!(said(REPLACED_SOMETHING, 0, 0), Some(true));
        assert_eq!(said(REPLACED_NOTHING, 0, 0), Some(false));
        assert_eq!(said(REPLACED_UNKNOWN, 0, 0), None);
        assert_eq!(
            said(REPLACED_UNKNOWN, libc::RENAME_NOREPLACE, 0),
            Some(false)
        );
        assert_eq!(
            said(REPLACED_SOMETHING, libc::RENAME_EXCHANGE, 0),
            Some(false)
        );
        assert_eq!(said(REPLACED_SOMETHING, 0, 13), None);
    }

    #[test]
    fn each_path_of_an_exec_is_cut_on_its_own() {
        let exec_of = |exe_omitted, cwd_omitted, flags, exe: &[u8]| {
            let body = ExecBody {
                flags,
                exe_omitted,
                cwd_omitted,
                ..ExecBody::default()
            };
            exec(&body, exe, b"name", b"work\0", b"name\0")
        };
        let exe = exec_of(10, 0, 0, b"sh\0bin\0");
        assert_eq!((exe.exe_truncated, exe.exe_bytes), (true, 17));
        assert!(!exe.cwd_truncated && !exe.filename_truncated);
        let cwd = exec_of(0, 10, 0, b"sh\0bin\0");
        assert_eq!((cwd.cwd_truncated, cwd.cwd_bytes), (true, 15));
        assert!(!cwd.exe_truncated && !cwd.filename_truncated);
        let asked = exec_of(0, 0, EXEC_FILENAME_CUT, b"");
        assert!(asked.exe_truncated && asked.filename_truncated && !asked.cwd_truncated);
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
