//! The exec gate: how the kernel recognises the programs that it stops before their first
//! instruction, and what it reports of each.
//!
//! Not here: the rules by which user space judges them (its `guard::gate`).

use crate::event::Header;
use crate::pod::pod;
use crate::state::SessionNumber;

/// Low half of a value in the maps of rules, programs and sizes: an agent rule's number, or
/// `PROGRAM_…`. A gated program's number, from 1, is above it.
pub const LOW: u32 = 0xffff;
/// First bit of a gated program's number.
pub const PROGRAM: u32 = 16;
/// Mask of that number, after the shift.
pub const PROGRAM_NUMBER: u32 = 0x3fff;
/// The program is stopped even without a word of `policy::NAME_GATE_WORD`.
pub const ALWAYS: u32 = 1 << 31;
/// A session has a file of this name (`written_file`).
pub const WRITTEN_NAME: u32 = 1 << 30;
/// Bits of a value that are not 0 for a gated program.
pub const GATED: u32 = ALWAYS | PROGRAM_NUMBER << PROGRAM;

/// The program is known by the name that started it, or by its file's name.
pub const BY_NAME: u32 = 1;
/// The program is known by the name of a script, the argument of an interpreter.
pub const BY_SCRIPT: u32 = 2;
/// The program is known by its file, whatever the file's name.
pub const BY_FILE: u32 = 3;
/// The program is known by its file's size: a copy, if the contents are the same.
pub const BY_SIZE: u32 = 4;

/// Body of an event in the gate's ring; its [`Header`]'s kind has no meaning. Events of heirs in
/// this ring are whole execs ([`crate::written_file`]), which are longer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBody {
    /// [`crate::state::Tag::image`] of the stopped program.
    pub image: u64,
    /// Number of the gated program, from 1.
    pub program: u32,
    /// `BY_…`.
    pub known_by: u32,
}

/// An event of the gate's ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// The stopped process, and the time.
    pub header: Header,
    /// The stopped program.
    pub body: HeldBody,
}

impl Held {
    /// Session of the stopped process.
    pub const fn session(&self) -> SessionNumber {
        self.header.session
    }
}

pod! { HeldBody = 16, Held = 88 }
