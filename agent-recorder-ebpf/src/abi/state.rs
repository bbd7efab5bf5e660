//! What the programs keep in maps between two events.

use crate::address::Address;
use crate::limits::{MAX_LIMIT, MAX_PROTECTED, MAX_STEPS, SENDMMSG_MESSAGES};
use crate::pod::pod;

/// The kernel's name of a session, until user space gives it a UUID.
///
/// The kernel counts from 1; numbers that user space hands out (`run`,
/// adoption) have the top bit set, so that both can allocate without asking.
pub type SessionNumber = u64;

/// Set in a session number that user space handed out.
pub const USER_SESSION: SessionNumber = 1 << 63;

/// A task's mark (task storage): freed with the task, copied at fork.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// 0 is "no session": the storage of a task that was released.
    pub session: SessionNumber,
    /// Changes at each exec and differs between processes: "first open by this program".
    pub image: u64,
    /// The request of io_uring (address of its `io_kiocb`) that this task was last seen to submit, 0 for none.
    pub request: u64,
    /// Not 0: what this program removes it keeps elsewhere (`policy::PROGRAM_RESTORES`).
    pub restores: u32,
    /// Of each kind of event, the replica of its program that last met one of this task (see `replica` among the programs).
    pub handled: u32,
    /// Not 0: [`Given`] has addresses of the call that the task is in.
    pub given: u32,
    /// Not 0: its program waits to be judged, and does nothing (`exec_gate`).
    pub held: u32,
}

impl Tag {
    /// Of a task that is in the middle of nothing.
    pub const fn new(session: SessionNumber, image: u64) -> Self {
        Self {
            session,
            image,
            request: 0,
            restores: 0,
            handled: 0,
            given: 0,
            held: 0,
        }
    }
}

/// A tag where it is kept by the thread's id (kernels without task storage for the programs).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaggedTask {
    /// The tag.
    pub tag: Tag,
    /// The thread's `start_boottime`, ns: another's tag is none. 0 until the thread is first looked up.
    pub start: u64,
}

/// A session, shared by all its processes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Files destroyed so far.
    pub destroyed: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that were rewritten and kept their size.
    pub rewritten: u64,
    /// Not 0: every member is struck at its next recorded call, and for a while
    /// after a limit was met (`limits::STRIKING_NS`) at its next call.
    pub condemned: u64,
    /// Not 0: with SIGSTOP, not SIGKILL.
    pub frozen: u64,
    /// CLOCK_BOOTTIME at which a limit was last told of, ns.
    pub told: u64,
    /// Not 0: a UDP socket was connected to port 53, so plain writes are looked at.
    pub resolver: u64,
    /// Not 0: the session has used a socket, so closes are looked at.
    pub sockets: u64,
    /// Not 0: it has opened files that it could destroy, so closes and writes are looked at.
    pub cuts: u64,
    /// Files that are emptied, and not yet closed or written again.
    pub emptied: u64,
    /// Mounts that it made in the recorder's namespace, less those that it took away.
    pub mounts: u64,
    /// Files destroyed below each protected path.
    pub protected: [u64; MAX_PROTECTED],
    /// CLOCK_BOOTTIME of the last `MAX_LIMIT` files destroyed; number n is at n % limit.
    pub times: [u64; MAX_LIMIT],
    /// The same of the steps of the long budget of files, and those of bytes.
    pub steps: [[u64; MAX_STEPS]; 3],
}

impl Session {
    /// One that has done nothing.
    pub const NEW: Self = Self {
        destroyed: 0,
        bytes: 0,
        rewritten: 0,
        condemned: 0,
        frozen: 0,
        told: 0,
        resolver: 0,
        sockets: 0,
        cuts: 0,
        emptied: 0,
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
    /// As in [`Tag::image`].
    pub image: u64,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// Thread group.
    pub pid: u32,
    /// `inode.i_generation`: the number of a deleted file is soon another's, its generation differs then.
    pub generation: u32,
    /// Zero.
    pub spare: u32,
}

/// Names a socket for as long as it lives: its memory can be used again, its
/// sockfs inode number differs then.
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
    /// Whose it is.
    pub session: SessionNumber,
    /// Bytes that sendmsg took, as its callers were told.
    pub sent: u64,
    /// Bytes that recvmsg gave.
    pub received: u64,
    /// `socket_alloc.socket`'s address, to see whether it still lives.
    pub socket: u64,
    /// The process that used it first.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// `start_boottime` of its leader.
    pub start_time: u64,
    /// Parent of that process.
    pub ppid: u32,
    /// Real uid of that process.
    pub uid: u32,
    /// `comm` of that thread.
    pub comm: [u8; 16],
    /// One of [`crate::event::SOCKET_PENDING`] ….
    pub flags: u32,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// The addresses as last known, for the record of its end.
    pub local: Address,
    /// The other side.
    pub peer: Address,
}

/// Addresses that a call gave, as the kernel copied them: kept by the thread, from the security hook to the call's exit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Address of the `struct sock`.
    pub sock: u64,
    /// [`crate::event::NetOp`].
    pub op: u32,
    /// How many there are: several of sendmmsg(2).
    pub count: u32,
    /// Without a family where none was given.
    pub addresses: [Address; SENDMMSG_MESSAGES as usize],
}

/// Key of "this descriptor is that socket".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorKey {
    /// Address of the `struct files_struct`.
    pub files: u64,
    /// Descriptor number.
    pub fd: u64,
}

/// A datagram destination that was recorded once.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenPeer {
    /// The socket.
    pub socket: SocketKey,
    /// Address, family and port, folded: an equal fold of two peers of one socket hides the second.
    pub peer: [u64; 4],
}

/// A process that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedKey {
    /// When it began, CLOCK_BOOTTIME ns.
    pub start: u64,
    /// Its pid.
    pub pid: u32,
    /// Zero.
    pub spare: u32,
}

/// A request of io_uring under way (keyed by the address of its `io_kiocb`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct UringRequest {
    /// Pairs the event of its submission with that of its completion.
    pub token: u64,
    /// `IORING_OP_*`.
    pub opcode: u32,
    /// `io_close.fd`, else -1.
    pub fd: i32,
    /// `io_kiocb.file` at submission.
    pub file: u64,
    /// The flags of an open or an unlink.
    pub flags: u64,
    /// The address of a connect.
    pub address: Address,
}

pod! {
    Given = 496, Tag = 40, TaggedTask = 48, SeenFile = 32, SocketKey = 16, DescriptorKey = 16,
    SeenPeer = 48, EndedKey = 16, Socket = 320, UringRequest = 152,
}
const _: () = assert!(
    core::mem::size_of::<Session>() == 88 + 8 * (MAX_PROTECTED + MAX_LIMIT + 3 * MAX_STEPS)
);
// SAFETY: repr(C), eight-byte integers only; the size assertion above shows there is no padding.
unsafe impl crate::pod::Pod for Session {}
// SAFETY: as above, which is what aya asks for.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Session {}

/// Which hooks are in use beside the tracepoints, frozen before load.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Not 0: security hooks see each object before it is acted on.
    pub see: u64,
    /// Not 0: they refuse what would go over the guard's limit.
    pub refuse: u64,
    /// Not 0: programs on tracepoints are attached several times.
    pub copied: u64,
    /// Not 0: what calls return tells what they sent, for no tracepoint does.
    pub count: u64,
    /// Not 0: changes of inodes show what an operation is about to destroy.
    pub touch: u64,
    /// Not 0: what programs on security hooks answer is the kernel's answer.
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
