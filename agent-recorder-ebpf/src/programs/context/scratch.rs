//! The scratch area: the event under construction, and frames that are too large for the stack or
//! that global functions have to find again.
//!
//! Not here: the choice of an area (`areas`), and code that works on a frame.

use agent_recorder_abi::address::Address;
use agent_recorder_abi::limits::{COMPONENT_BYTES, SCRATCH_BYTES, USER_PATH_BYTES};
use agent_recorder_abi::policy::{Cut, Foreseen, NameKey};
use agent_recorder_abi::state::{
    self, SessionNumber, SockaddrSnapshot, SocketKey, Tag, UringRequest,
};

use crate::kernel::global::scalar_newtype;
use crate::kernel::types::{Dentry, File, FileTable, Mount, Socket};

/// Mask of positions in the buffer, which bounds them for the verifier.
pub(crate) const POSITION: u64 = SCRATCH_BYTES as u64 - 1;
/// Bytes of the largest segment, which may follow the largest position.
const SEGMENT_BYTES: usize = agent_recorder_abi::limits::ARGV_BYTES;
const _: () = assert!(SEGMENT_BYTES >= USER_PATH_BYTES && SCRATCH_BYTES.is_power_of_two());

/// This side's address, of the two in an area.
pub(crate) const LOCAL: u32 = 0;
/// The peer's address.
pub(crate) const PEER: u32 = 1;

#[repr(C)]
pub(crate) struct Scratch {
    /// Arguments of the call; eight, so that a masked index of three bits is always inside.
    pub(crate) arguments: [u64; 8],
    /// This side's address of the socket.
    pub(crate) local: Address,
    /// The peer's address.
    pub(crate) peer: Address,
    /// The call, for global functions.
    pub(crate) kept: KeptCall,
    /// The socket of the call.
    pub(crate) open: OpenSocket,
    /// The program that the call started.
    pub(crate) program: Program,
    /// The datagram that the call sent.
    pub(crate) datagram: Datagram,
    /// The map's value of the socket.
    pub(crate) socket: state::Socket,
    /// Addresses of the call as security hooks saw them.
    pub(crate) sockaddrs: SockaddrSnapshot,
    pub(crate) ascent: NameWalk,
    pub(crate) walk: DescriptorWalk,
    /// A search in a gated program's arguments.
    pub(crate) words: WordSearch,
    /// A search in a program's strings for agent rules.
    pub(crate) search: RuleSearch,
    pub(crate) request: UringRequest,
    /// A walk that decides whether an object may be thrown away.
    pub(crate) inquiry: OwnershipWalk,
    /// A walk that decides whether an object is the recorder's own.
    pub(crate) climb: ProtectionWalk,
    /// Objects that an operation is about to destroy.
    pub(crate) foreseen: Foreseen,
    /// An open that succeeded.
    pub(crate) opened: OpenedFile,
    /// A file that an open could destroy.
    pub(crate) cut: Cut,
    pub(crate) location: Location,
    /// End of the event after `location`.
    pub(crate) end: u64,
    /// A walk over the descriptors of files in `CUTS`.
    pub(crate) cut_walk: CutWalk,
    /// Number of the area, by which global functions find it.
    pub(crate) index: u32,
    /// Not 0 while a hook uses the area.
    pub(crate) taken: u64,
    /// The event under construction.
    pub(crate) buffer: [u8; SCRATCH_BYTES + SEGMENT_BYTES],
}

/// Number of an area, by which a global function finds it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct ScratchId(u32);

impl ScratchId {
    #[inline(always)]
    pub(crate) fn of(scratch: *mut Scratch) -> Self {
        // SAFETY: `scratch` is a map value, checked for null.
        Self(unsafe { (*scratch).index })
    }

    /// Index in the map of areas.
    #[inline(always)]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }
}

scalar_newtype!(ScratchId(u32));

/// A walk up a path that appends its names. In a map the verifier does not track its fields, so the
/// second round looks like the first and verification ends.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct NameWalk {
    pub(crate) at: u64,
    /// Largest end of the segment.
    pub(crate) end: u64,
    pub(crate) mount: Mount,
    pub(crate) dentry: Dentry,
    pub(crate) leaf: Dentry,
    /// The mount's root dentry.
    pub(crate) root: Dentry,
    /// Bytes of names for which the segment had no room.
    pub(crate) omitted: u64,
    /// 1 until the top is reached.
    pub(crate) unfinished: u64,
}

/// A walk over the descriptors of files in `CUTS`.
#[derive(Clone, Copy)]
pub(crate) struct CutWalk {
    pub(crate) session: SessionNumber,
    /// The table that they are in.
    pub(crate) files: FileTable,
    /// The table of a new process, which has a copy of each.
    pub(crate) copies: FileTable,
    /// Not 0: all of them are closed by the end of the process.
    pub(crate) ends: u64,
}

/// A datagram: user addresses and lengths from the call.
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) name: u64,
    pub(crate) name_length: u64,
    pub(crate) payload: u64,
    pub(crate) length: u64,
    /// Bytes that were sent.
    pub(crate) sent: u64,
    /// Index among the call's messages.
    pub(crate) nth: u32,
}

#[derive(Clone, Copy)]
pub(crate) struct OpenSocket {
    pub(crate) key: SocketKey,
    /// `struct socket`.
    pub(crate) socket: Socket,
    pub(crate) family: u16,
    pub(crate) kind: u16,
}

/// Strings of a new program: user addresses in its `mm_struct`.
#[derive(Clone, Copy)]
pub(crate) struct Strings {
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_start: u64,
    pub(crate) env_end: u64,
}

#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) strings: Strings,
    /// `mm_struct.exe_file`.
    pub(crate) exe: File,
    /// `linux_binprm.filename`.
    pub(crate) filename: u64,
}

impl Program {
    #[inline(always)]
    pub(crate) fn arguments(&self) -> (u64, u64) {
        (self.strings.arg_start, self.strings.arg_end)
    }
}

/// A search from round to round: for the last components of a name, byte by byte, or through the
/// environment, entry by entry.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RuleSearch {
    /// Bytes of the name.
    pub(crate) length: u64,
    /// Position after the last slash of the name; `before` is after the slash before it.
    pub(crate) last: u64,
    pub(crate) before: u64,
    /// The next entry.
    pub(crate) address: u64,
    pub(crate) end: u64,
    pub(crate) rule: u64,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Location {
    pub(crate) base_len: u16,
    pub(crate) path_len: u16,
    pub(crate) marks: u16,
    /// `dentry_walk::Walked::omitted`.
    pub(crate) omitted: u32,
}

/// A walk over a range of descriptors.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DescriptorWalk {
    pub(crate) tag: Tag,
    pub(crate) files: FileTable,
    pub(crate) first: u64,
    /// Descriptor table that receives copies.
    pub(crate) copies: FileTable,
    pub(crate) via: u64,
}

/// A walk up from a dentry that decides whether an object is the recorder's own.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ProtectionWalk {
    pub(crate) dentry: Dentry,
    pub(crate) is_own: u64,
}

/// A walk up from a dentry that decides whether an object may be thrown away.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct OwnershipWalk {
    pub(crate) session: SessionNumber,
    pub(crate) dentry: Dentry,
    /// Not 0: from here on up, names and temporary directories do not count.
    pub(crate) foreign: u64,
    pub(crate) verdict: u64,
    /// Not 0: the judge has spared directories for the session.
    pub(crate) spares: u64,
    /// Not 0: a judge lives, so names with `policy::NAME_JUDGED` say nothing.
    pub(crate) judge: u64,
    /// A name whose suffix is searched.
    pub(crate) name: [u8; COMPONENT_BYTES],
}

/// A successful open, as its exit showed it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct OpenedFile {
    pub(crate) file: File,
    pub(crate) flags: u64,
    pub(crate) created: u64,
}

/// A search for a word among a program's arguments.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WordSearch {
    pub(crate) key: NameKey,
    /// The next argument.
    pub(crate) address: u64,
    pub(crate) end: u64,
    /// Not 0: a word was found, or an argument is unreadable.
    pub(crate) found: u64,
}

/// A [`Call`](super::call::Call) in its area, for global functions.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct KeptCall {
    pub(crate) tag: Tag,
    pub(crate) result: i64,
    pub(crate) row: u32,
    pub(crate) compat: u16,
    pub(crate) via: u16,
}
