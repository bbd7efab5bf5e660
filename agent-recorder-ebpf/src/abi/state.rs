//! State of the programs between two events: the values and keys of their maps.

use crate::address::Address;
use crate::limits::{MAX_LIMIT, MAX_PROTECTED, MAX_STEPS, SENDMMSG_MESSAGES};
use crate::pod::pod;

/// The kernel's number of a session, until user space gives it a UUID.
///
/// The kernel counts from 1. Numbers of user space (`run`, adoption) have the top bit set, so that
/// both allocate independently.
pub type SessionNumber = u64;

/// Bit of session numbers that user space allocates.
pub const USER_SESSION: SessionNumber = 1 << 63;

/// A task's tag (task storage): freed with the task, copied at fork.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Session of the task; 0 in the storage of a task that was released.
    pub session: SessionNumber,
    /// Number of the process's program: new at each exec, and in each child.
    pub image: u64,
    /// Request of io_uring (address of its `io_kiocb`) that the task submitted last, 0 for none.
    pub request: u64,
    /// Not 0: the program can restore what it removes (`policy::PROGRAM_RESTORES`).
    pub restores: u32,
    /// Per kind of event, the replica that ran last for this task (`replica` among the programs).
    pub handled: u32,
    /// Not 0: [`SockaddrSnapshot`] has addresses of the task's call.
    pub copied_sockaddr: u32,
    /// Not 0: the program waits to be judged, and must not run (`exec_gate`).
    pub held: u32,
}

impl Tag {
    /// A tag without a request, an address or a hold.
    pub const fn new(session: SessionNumber, image: u64) -> Self {
        Self {
            session,
            image,
            request: 0,
            restores: 0,
            handled: 0,
            copied_sockaddr: 0,
            held: 0,
        }
    }
}

/// A tag by thread id, on kernels without task storage for the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaggedTask {
    /// The tag.
    pub tag: Tag,
    /// The thread's `start_boottime`, ns, which shows a reused id; 0 until the first look-up.
    pub start: u64,
}

/// A session, shared by its processes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Files destroyed.
    pub destroyed: u64,
    /// Bytes of the destroyed files.
    pub bytes: u64,
    /// Rewritten files, of which `criteria::PARTS_PER_FILE` count as one destroyed file.
    pub rewritten: u64,
    /// Not 0: every member is struck at its next recorded call, and for a while after a limit was
    /// met (`limits::STRIKING_NS`) at its next call.
    pub condemned: u64,
    /// What a condemned session receives: `FROZEN_…`.
    pub frozen: u64,
    /// CLOCK_BOOTTIME of the session's last guard event, ns.
    pub limit_emitted: u64,
    /// Not 0: a UDP socket was connected to port 53, so plain writes are examined.
    pub resolver: u64,
    /// Not 0: the session has used a socket, so closes are examined.
    pub sockets: u64,
    /// Not 0: the session has opened files of others to write in place: its writes are examined.
    pub writes_in_place: u64,
    /// Open files that the session has emptied, or created where it had removed one; while
    /// there are any, its closes are examined.
    pub pending_cuts: u64,
    /// Not 0: the judge has spared directories for the session.
    pub spares: u64,
    /// How often the session was judged and went on. What was counted before a judgement is
    /// settled by it.
    pub judgements: u32,
    /// Always 0.
    pub spare: u32,
    /// Mounts that the session made in the recorder's namespace, less those that it removed.
    pub mounts: u64,
    /// Files destroyed below each protected path.
    pub protected: [u64; MAX_PROTECTED],
    /// CLOCK_BOOTTIME of the last `MAX_LIMIT` files destroyed, ns; number n is at n % limit.
    pub times: [u64; MAX_LIMIT],
    /// CLOCK_BOOTTIME of the last steps, ns: rows for the long budget of files and both of bytes.
    pub steps: [[u64; MAX_STEPS]; 3],
}

/// [`Session::frozen`]: SIGKILL.
pub const FROZEN_NOT: u64 = 0;
/// [`Session::frozen`]: SIGSTOP, until a person decides.
pub const FROZEN_FOR_PERSON: u64 = 1;
/// [`Session::frozen`]: SIGSTOP, until user space has judged what the session destroyed.
pub const FROZEN_FOR_JUDGE: u64 = 2;

impl Session {
    /// A session without acts.
    pub const NEW: Self = Self {
        destroyed: 0,
        bytes: 0,
        rewritten: 0,
        condemned: 0,
        frozen: 0,
        limit_emitted: 0,
        resolver: 0,
        sockets: 0,
        writes_in_place: 0,
        pending_cuts: 0,
        spares: 0,
        judgements: 0,
        spare: 0,
        mounts: 0,
        protected: [0; MAX_PROTECTED],
        times: [0; MAX_LIMIT],
        steps: [[0; MAX_STEPS]; 3],
    };
}

/// Key of "this program has opened this file".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenFile {
    /// [`Tag::image`].
    pub image: u64,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// Thread group id.
    pub pid: u32,
    /// `inode.i_generation`, which differs between files that had one number.
    pub generation: u32,
    /// Zero.
    pub spare: u32,
}

/// Key of a socket while it lives: another one at its address has another inode number in sockfs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketKey {
    /// Address of the `struct sock`.
    pub sock: u64,
    /// `SOCK_INODE(sock->sk_socket)->i_ino`.
    pub ino: u64,
}

/// A socket that a session uses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Session of the socket.
    pub session: SessionNumber,
    /// Bytes that sendmsg accepted.
    pub sent: u64,
    /// Bytes that recvmsg returned.
    pub received: u64,
    /// Address of `socket_alloc.socket`, which shows whether the socket still lives.
    pub socket: u64,
    /// Pid of the process that used the socket first.
    pub pid: u32,
    /// Tid of that process's thread.
    pub tid: u32,
    /// `start_boottime` of that thread's leader, ns.
    pub start_time: u64,
    /// Pid of that process's parent.
    pub ppid: u32,
    /// Real uid of that process.
    pub uid: u32,
    /// `comm` of that thread.
    pub comm: [u8; 16],
    /// [`crate::event::SOCKET_PENDING`] and the flags after it.
    pub flags: u32,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// This side's last known address, for the record of the socket's end.
    pub local: Address,
    /// The peer's last known address.
    pub peer: Address,
}

/// The kernel's copies of a call's addresses, by thread, from the security hook to the call's exit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SockaddrSnapshot {
    /// Address of the `struct sock`.
    pub sock: u64,
    /// [`crate::event::NetOp`].
    pub op: u32,
    /// Number of addresses; sendmmsg(2) has several.
    pub count: u32,
    /// The addresses; family 0 for a message without one.
    pub addresses: [Address; SENDMMSG_MESSAGES as usize],
}

/// Key of a descriptor, whose value is its socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorKey {
    /// Address of the `struct files_struct`.
    pub files: u64,
    /// Descriptor number.
    pub fd: u64,
}

/// A datagram destination that was recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenPeer {
    /// The socket.
    pub socket: SocketKey,
    /// A fold of address, family and port; a second peer with an equal fold is unrecorded.
    pub peer: [u64; 4],
}

/// Key of a process that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedKey {
    /// `start_boottime` of the process, ns.
    pub start: u64,
    /// Pid of the process.
    pub pid: u32,
    /// Zero.
    pub spare: u32,
}

/// A running request of io_uring, by the address of its `io_kiocb`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UringRequest {
    /// Token that the events of submission and completion share.
    pub token: u64,
    /// `IORING_OP_*`.
    pub opcode: u32,
    /// `io_close.fd`, else -1.
    pub fd: i32,
    /// `io_kiocb.file` at submission.
    pub file: u64,
    /// Flags of an open or an unlink.
    pub flags: u64,
    /// Address of a connect.
    pub address: Address,
}

pod! {
    SockaddrSnapshot = 496, Tag = 40, TaggedTask = 48, SeenFile = 32, SocketKey = 16, DescriptorKey = 16,
    SeenPeer = 48, EndedKey = 16, Socket = 320, UringRequest = 152,
}
const _: () = assert!(
    core::mem::size_of::<Session>() == 104 + 8 * (MAX_PROTECTED + MAX_LIMIT + 3 * MAX_STEPS)
);
// SAFETY: repr(C) with u64 fields only; the assertion above proves that none is padding.
unsafe impl crate::pod::Pod for Session {}
// SAFETY: aya asks for the same as `pod::Pod`, which `Session` implements.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Session {}

/// Hooks in use beside the tracepoints, frozen before load.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Not 0: security hooks see each object before the act.
    pub see: u64,
    /// Not 0: security hooks refuse acts over the guard's limit.
    pub refuse: u64,
    /// Not 0: programs on tracepoints have replicas.
    pub copied: u64,
    /// Not 0: results of calls count sent bytes, because the kernel lacks the tracepoint.
    pub count: u64,
    /// Not 0: changes of inode times show what an operation is about to destroy.
    pub touch: u64,
    /// Not 0: the kernel uses the results of programs on security hooks.
    pub decide: u64,
}

impl Hooks {
    /// Tracepoints only.
    pub const NONE: Self = Self {
        see: 0,
        refuse: 0,
        copied: 0,
        count: 0,
        touch: 0,
        decide: 0,
    };
}

pod! { Hooks = 48 }
