//! The area that one event is put together in, and the frames that functions
//! leave there: what is too large for the stack, or what a function that the
//! verifier checks on its own has to find again.
//!
//! Not here: which area a program gets (`areas`), and what works on a frame.

use agent_recorder_abi::address::Address;
use agent_recorder_abi::limits::{COMPONENT_BYTES, SCRATCH_BYTES, USER_PATH_BYTES};
use agent_recorder_abi::policy::{Cut, Foreseen, NameKey};
use agent_recorder_abi::state::{self, Given, SessionNumber, SocketKey, Tag, UringRequest};

use crate::kernel::global::scalar_newtype;
use crate::kernel::types::{Dentry, File, FileTable, Mount, Socket};

/// Positions in the buffer are masked with this, so that the verifier knows them.
pub(crate) const POSITION: u64 = SCRATCH_BYTES as u64 - 1;
/// The largest single segment: what may follow the largest position.
const SEGMENT_BYTES: usize = agent_recorder_abi::limits::ARGV_BYTES;
const _: () = assert!(SEGMENT_BYTES >= USER_PATH_BYTES && SCRATCH_BYTES.is_power_of_two());

/// The two sides whose addresses an area has room for.
pub(crate) const LOCAL: u32 = 0;
/// The other side.
pub(crate) const PEER: u32 = 1;

/// The area that one event is put together in.
#[repr(C)]
pub(crate) struct Scratch {
    /// Arguments of the call that is looked at; eight, so that three bits of index are always inside.
    pub(crate) arguments: [u64; 8],
    /// This side's address of the socket that is looked at: too large for the stack, as are the next two.
    pub(crate) local: Address,
    /// The other side's.
    pub(crate) peer: Address,
    /// The call that is looked at.
    pub(crate) kept: KeptCall,
    /// The socket that it is about.
    pub(crate) open: OpenSocket,
    /// The program that it started.
    pub(crate) program: Program,
    /// The datagram that it sent.
    pub(crate) datagram: Datagram,
    /// What is remembered of the socket.
    pub(crate) socket: state::Socket,
    /// Addresses that the call gave.
    pub(crate) given: Given,
    /// A walk up a path.
    pub(crate) ascent: NameWalk,
    /// A walk over descriptors.
    pub(crate) walk: DescriptorWalk,
    /// A gated program's arguments.
    pub(crate) words: WordSearch,
    /// What is searched for in the strings of a program.
    pub(crate) search: RuleSearch,
    /// A request of io_uring.
    pub(crate) request: UringRequest,
    /// Whether something may be thrown away.
    pub(crate) inquiry: OwnershipWalk,
    /// Whether something is the recorder's own.
    pub(crate) climb: ProtectionWalk,
    /// What an operation is about to destroy.
    pub(crate) foreseen: Foreseen,
    /// An open that succeeded.
    pub(crate) opened: OpenedFile,
    /// A file that it could destroy.
    pub(crate) cut: Cut,
    /// A location that was just appended, and where the event ends since.
    pub(crate) location: Location,
    /// See `location`.
    pub(crate) end: u64,
    /// Whose files are looked at.
    pub(crate) kept_session: u64,
    /// The table that they are open in.
    pub(crate) kept_files: FileTable,
    /// Not 0: all of them end.
    pub(crate) kept_end: u64,
    /// Which of all areas it is: functions that the verifier checks on their own find it by that.
    pub(crate) index: u32,
    /// Not 0 while a hook uses the area.
    pub(crate) taken: u64,
    /// The event.
    pub(crate) buffer: [u8; SCRATCH_BYTES + SEGMENT_BYTES],
}

/// The number of an area, by which a global function finds it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct ScratchId(u32);

impl ScratchId {
    /// Of an area.
    #[inline(always)]
    pub(crate) fn of(scratch: *mut Scratch) -> Self {
        // SAFETY: `scratch` is a map value.
        Self(unsafe { (*scratch).index })
    }

    /// Its place in the map.
    #[inline(always)]
    pub(crate) const fn number(self) -> u32 {
        self.0
    }
}

scalar_newtype!(ScratchId(u32));

/// A walk up a path that appends its names. In a map and not on the stack:
/// there the verifier knows nothing of it, so that the second round looks like the first and it stops.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct NameWalk {
    pub(crate) at: u64,
    /// Where the segment must end at the latest.
    pub(crate) end: u64,
    pub(crate) mount: Mount,
    pub(crate) dentry: Dentry,
    pub(crate) leaf: Dentry,
    /// The mount's root dentry.
    pub(crate) root: Dentry,
    /// Bytes of names that had no room.
    pub(crate) omitted: u64,
    /// 1 until the top is reached.
    pub(crate) unfinished: u64,
}

/// One datagram as a call describes it, in the caller's memory.
#[derive(Clone, Copy)]
pub(crate) struct Datagram {
    pub(crate) name: u64,
    pub(crate) name_length: u64,
    pub(crate) payload: u64,
    pub(crate) length: u64,
    /// Bytes that were sent.
    pub(crate) sent: u64,
    /// Which of the call's messages it is.
    pub(crate) nth: u32,
}

/// A socket behind a descriptor.
#[derive(Clone, Copy)]
pub(crate) struct OpenSocket {
    pub(crate) key: SocketKey,
    /// `struct socket`.
    pub(crate) socket: Socket,
    pub(crate) family: u16,
    pub(crate) kind: u16,
}

/// Where a new program keeps its strings: user addresses in its `mm_struct`.
#[derive(Clone, Copy)]
pub(crate) struct Strings {
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_start: u64,
    pub(crate) env_end: u64,
}

/// A program that was just started, in the scratch area.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) strings: Strings,
    /// `mm_struct.exe_file`.
    pub(crate) exe: File,
    /// `linux_binprm.filename`.
    pub(crate) filename: u64,
}

impl Program {
    /// Where its arguments begin and end.
    #[inline(always)]
    pub(crate) fn arguments(&self) -> (u64, u64) {
        (self.strings.arg_start, self.strings.arg_end)
    }
}

/// What a search carries from round to round: for the last components of a
/// name, byte by byte, or through the environment, entry by entry.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RuleSearch {
    /// Bytes of the name.
    pub(crate) length: u64,
    /// Position after the last slash, and after the one before.
    pub(crate) last: u64,
    pub(crate) before: u64,
    /// The entry that is looked at next.
    pub(crate) address: u64,
    pub(crate) end: u64,
    pub(crate) rule: u64,
}

/// One location while it is appended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Location {
    pub(crate) base_len: u16,
    pub(crate) path_len: u16,
    pub(crate) marks: u16,
    /// Of `dentry_walk::Walked`.
    pub(crate) omitted: u32,
}

/// What a walk over a range of descriptors carries along.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DescriptorWalk {
    pub(crate) tag: Tag,
    pub(crate) files: FileTable,
    pub(crate) first: u64,
    /// The descriptor table that gets copies.
    pub(crate) copies: FileTable,
    pub(crate) via: u64,
}

/// A walk up from a dentry that asks whether something is the recorder's own.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ProtectionWalk {
    pub(crate) dentry: Dentry,
    pub(crate) is_own: u64,
}

/// A walk up from a dentry that asks whether something may be thrown away.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct OwnershipWalk {
    pub(crate) session: SessionNumber,
    pub(crate) dentry: Dentry,
    /// Not 0: names and temporary directories from here on up say nothing.
    pub(crate) foreign: u64,
    pub(crate) verdict: u64,
    /// A name, to find its suffix in.
    pub(crate) name: [u8; COMPONENT_BYTES],
}

/// An open that succeeded, as its exit showed it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct OpenedFile {
    pub(crate) file: File,
    pub(crate) flags: u64,
    pub(crate) created: u64,
}

/// A search for a word among a program's arguments, in the scratch area.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct WordSearch {
    pub(crate) key: NameKey,
    /// The argument that is looked at next.
    pub(crate) address: u64,
    pub(crate) end: u64,
    /// Not 0: one was found, or an argument cannot be read.
    pub(crate) found: u64,
}

/// What is kept of a call, for global functions.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct KeptCall {
    pub(crate) tag: Tag,
    pub(crate) result: i64,
    pub(crate) row: u32,
    pub(crate) compat: u16,
    pub(crate) via: u16,
}
