//! Programs that are stopped before their first instruction, until user space
//! has judged them: how the kernel knows them, and what it says of each.
//!
//! Not here: by which rules they are judged (`guard::gate` in user space).

use crate::event::Header;
use crate::pod::pod;
use crate::state::SessionNumber;

/// A value of the rules' map, of programs and of sizes: in its low half an
/// agent rule's number (or `PROGRAM_…`), above it a gated program's, from 1.
pub const LOW: u32 = 0xffff;
/// Where a gated program's number begins.
pub const PROGRAM: u32 = 16;
/// The bits of that number, once it is shifted down.
pub const PROGRAM_NUMBER: u32 = 0x3fff;
/// Set: it is stopped whatever its arguments are, not only by the words of `policy::NAME_GATE_WORD`.
pub const ALWAYS: u32 = 1 << 31;
/// Set: a session has a file of this name (`written_file`).
pub const WRITTEN_NAME: u32 = 1 << 30;
/// Not 0 in a value: a gated program.
pub const GATED: u32 = ALWAYS | PROGRAM_NUMBER << PROGRAM;

/// Known by the name that it was started by, or by its file's own.
pub const BY_NAME: u32 = 1;
/// By the name of a script that an interpreter was given.
pub const BY_SCRIPT: u32 = 2;
/// By its file, whatever that is called now.
pub const BY_FILE: u32 = 3;
/// By its file's size: a copy, if the contents are the same.
pub const BY_SIZE: u32 = 4;

/// What lies in the gate's ring, behind a [`Header`] whose kind says nothing.
/// Heirs are told of there, too, by whole events of an exec ([`crate::written_file`]): they are longer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBody {
    /// As in [`crate::state::Tag::image`]: which of a process's programs it is.
    pub image: u64,
    /// The gated program's number, from 1.
    pub program: u32,
    /// `BY_…`.
    pub known_by: u32,
}

/// A whole event of the gate's ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Who was stopped, and when.
    pub header: Header,
    /// As what.
    pub body: HeldBody,
}

impl Held {
    /// Whose it is.
    pub const fn session(&self) -> SessionNumber {
        self.header.session
    }
}

pod! { HeldBody = 16, Held = 88 }
