//! A system call, or a request of io_uring, while its events are put together.
//!
//! The verifier follows every path through a program, and through each
//! function once for every state that it is called in. What is large is
//! therefore a function of its own for the verifier, too (a global function,
//! since 5.6): checked once, for any arguments. Those can only be numbers, so
//! all that such a function works on lies in the scratch area, which it finds
//! by its number.

use agent_recorder_abi::address::Address;
use agent_recorder_abi::state::Tag;
use agent_recorder_abi::syscall::{NO_ARG, Spec};

use crate::context::maps;
use crate::context::scratch::{KeptCall, Location, OpenSocket, PEER, Scratch};
use crate::kernel::compat::{Task, current};
use crate::kernel::read::bound;

/// Of no row of the table: a request of io_uring.
const NO_ROW: u32 = u32::MAX;

/// What a handler gets.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) scratch: *mut Scratch,
    pub(crate) task: Task,
    pub(crate) tag: Tag,
    /// Its row in the table of system calls.
    pub(crate) row: u32,
    pub(crate) result: i64,
    pub(crate) compat: bool,
    /// How the call was made, as events name it.
    pub(crate) via: u8,
}

impl Call {
    /// What is no system call, or none whose row matters.
    #[inline(always)]
    pub(crate) fn without_row(scratch: *mut Scratch, task: Task, tag: Tag, via: u8) -> Self {
        Self {
            scratch,
            task,
            tag,
            row: NO_ROW,
            result: 0,
            compat: false,
            via,
        }
    }

    /// Leaves it in its area, for global functions.
    #[inline(always)]
    pub(crate) fn keep(&self) {
        // SAFETY: a map value.
        unsafe {
            (*self.scratch).kept = KeptCall {
                tag: self.tag,
                result: self.result,
                row: self.row,
                compat: self.compat as u16,
                via: u16::from(self.via),
            };
        }
    }

    /// The call that was left in an area by the task that runs now.
    #[inline(always)]
    pub(crate) fn kept(area: u32) -> Option<Self> {
        let scratch = maps::SCRATCH.get_ptr_mut(area)?;
        // SAFETY: a map value, checked not null.
        let kept = unsafe { (*scratch).kept };
        Some(Self {
            scratch,
            task: current(),
            tag: kept.tag,
            row: kept.row,
            result: kept.result,
            compat: kept.compat != 0,
            via: kept.via as u8,
        })
    }

    /// The number of its area.
    #[inline(always)]
    pub(crate) fn area(&self) -> u32 {
        // SAFETY: a map value.
        unsafe { (*self.scratch).index }
    }

    /// What the table says of it; nothing, where it has no row.
    #[inline(always)]
    pub(crate) fn spec(&self) -> Spec {
        match maps::SYSCALLS.get_ptr(self.row) {
            // SAFETY: an element of an array map.
            Some(spec) => unsafe { *spec },
            None => Spec::handle(agent_recorder_abi::syscall::HANDLE_NONE),
        }
    }

    /// Leaves a location that was appended, and the event's end, for the caller of a global function.
    #[inline(always)]
    pub(crate) fn leave(&self, location: Location, end: u64) {
        // SAFETY: fields of a map value.
        unsafe {
            (*self.scratch).location = location;
            (*self.scratch).end = end;
        }
    }

    /// The socket that it is about.
    #[inline(always)]
    pub(crate) fn open(&self) -> OpenSocket {
        // SAFETY: a field of a map value.
        unsafe { (*self.scratch).open }
    }

    /// Says which socket it is about.
    #[inline(always)]
    pub(crate) fn is_about(&self, open: OpenSocket) {
        // SAFETY: as above.
        unsafe { (*self.scratch).open = open };
    }

    /// Room for this side's address.
    #[inline(always)]
    pub(crate) fn local(&self) -> *mut Address {
        // SAFETY: a field of a map value.
        unsafe { &raw mut (*self.scratch).local }
    }

    /// Room for the other side's.
    #[inline(always)]
    pub(crate) fn peer(&self) -> *mut Address {
        // SAFETY: as above.
        unsafe { &raw mut (*self.scratch).peer }
    }

    /// Room for the address of [`LOCAL`] or [`PEER`].
    #[inline(always)]
    pub(crate) fn side(&self, side: u32) -> *mut Address {
        if side == PEER {
            self.peer()
        } else {
            self.local()
        }
    }

    /// An argument by its number.
    #[inline(always)]
    pub(crate) fn argument(&self, index: u8) -> u64 {
        let index = bound::<7>(u64::from(index));
        // SAFETY: the mask keeps the index inside the eight elements.
        unsafe {
            core::ptr::read_volatile(
                (&raw const (*self.scratch).arguments)
                    .cast::<u64>()
                    .add(index as usize),
            )
        }
    }

    /// An argument that the table may not have.
    #[inline(always)]
    pub(crate) fn optional(&self, index: u8) -> Option<u64> {
        if index == NO_ARG {
            None
        } else {
            Some(self.argument(index))
        }
    }

    /// The result as an errno, 0 for success.
    #[inline(always)]
    pub(crate) fn error(&self) -> u32 {
        if self.result < 0 {
            (-self.result) as u32
        } else {
            0
        }
    }
}

/// Defines a function on a call that the verifier checks once, on its own.
/// Its name must be the only one of its kind in all programs.
macro_rules! global {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($call:ident: &Call $(, $arg:ident: $type:ty)* $(,)?) $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name($call: &$crate::context::call::Call $(, $arg: $type)*) {
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(area: u32 $(, $arg: $type)*) -> u64 {
                #[inline(always)]
                fn body($call: &$crate::context::call::Call $(, $arg: $type)*) $body

                if let Some(call) = $crate::context::call::Call::kept(area) {
                    body(&call $(, $arg)*);
                }
                0
            }
            $name($call.area() $(, $arg)*);
        }
    };
}
pub(crate) use global;
