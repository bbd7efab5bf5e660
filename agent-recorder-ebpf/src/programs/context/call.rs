//! A system call, or a request of io_uring, while its events are constructed.
//!
//! The verifier follows every path through a program, and a static function once for every state
//! that it is called in. Large code is therefore a global function (5.6), verified once, for any
//! arguments. These can only be numbers (`kernel::global`), so a global function receives the
//! number of a scratch area and finds there what it works on.

use agent_recorder_abi::address::Address;
use agent_recorder_abi::state::Tag;
use agent_recorder_abi::syscall::{NO_ARG, Spec};

use crate::context::maps;
use crate::context::scratch::{KeptCall, Location, OpenSocket, PEER, Scratch, ScratchId};
use crate::kernel::compat::{Task, current};
use crate::kernel::read::bound;
use crate::kernel::types::Fd;

/// Row of a request of io_uring, which the table lacks.
const NO_ROW: u32 = u32::MAX;

/// A call or request, as operations receive it.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) scratch: *mut Scratch,
    pub(crate) task: Task,
    pub(crate) tag: Tag,
    /// Row in the table of system calls.
    pub(crate) row: u32,
    pub(crate) result: i64,
    pub(crate) compat: bool,
    /// `VIA_…` of events.
    pub(crate) via: u8,
}

impl Call {
    /// A call without a row: a request of io_uring, or a call whose row does not matter.
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

    /// Leaves the call in its area, for global functions.
    #[inline(always)]
    pub(crate) fn keep(&self) {
        // SAFETY: `scratch` is a map value, checked for null.
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

    /// The call that the running task has left in an area.
    #[inline(always)]
    pub(crate) fn kept(area: ScratchId) -> Option<Self> {
        let scratch = maps::SCRATCH.get_ptr_mut(area.number())?;
        // SAFETY: `scratch` is a map value, checked for null above.
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

    #[inline(always)]
    pub(crate) fn area(&self) -> ScratchId {
        ScratchId::of(self.scratch)
    }

    /// An argument that is a descriptor.
    #[inline(always)]
    pub(crate) fn fd_argument(&self, index: u8) -> Fd {
        Fd::of_argument(self.argument(index))
    }

    /// Row of the call; an empty row where the table has none.
    #[inline(always)]
    pub(crate) fn spec(&self) -> Spec {
        match maps::SYSCALLS.get_ptr(self.row) {
            // SAFETY: `spec` is a map value, checked for null above.
            Some(spec) => unsafe { *spec },
            None => Spec::handle(agent_recorder_abi::syscall::HANDLE_NONE),
        }
    }

    /// Leaves an appended location and the event's end for the caller of a global function.
    #[inline(always)]
    pub(crate) fn leave(&self, location: Location, end: u64) {
        // SAFETY: `scratch` is a map value, checked for null.
        unsafe {
            (*self.scratch).location = location;
            (*self.scratch).end = end;
        }
    }

    /// Socket of the call.
    #[inline(always)]
    pub(crate) fn open(&self) -> OpenSocket {
        // SAFETY: `scratch` is a map value, checked for null.
        unsafe { (*self.scratch).open }
    }

    /// Sets the socket of the call.
    #[inline(always)]
    pub(crate) fn is_about(&self, open: OpenSocket) {
        // SAFETY: `scratch` is a map value, checked for null.
        unsafe { (*self.scratch).open = open };
    }

    /// Room for this side's address.
    #[inline(always)]
    pub(crate) fn local(&self) -> *mut Address {
        // SAFETY: `scratch` is a map value, checked for null.
        unsafe { &raw mut (*self.scratch).local }
    }

    /// Room for the peer's address.
    #[inline(always)]
    pub(crate) fn peer(&self) -> *mut Address {
        // SAFETY: `scratch` is a map value, checked for null.
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

    /// An argument that the row may lack.
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

/// Defines a function that the verifier checks once, on its own: on a call (`call: &Call`), on an
/// area (`area: ScratchId as scratch`), or on its arguments only. The value after `else` is the
/// result where the area does not exist. The name must be unique among all programs' global
/// functions.
macro_rules! global {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($call:ident: &Call $(, $arg:ident: $type:ty)* $(,)?) $body:block) => {
        $crate::context::call::global! {
            $(#[$doc])* $vis fn $name($call: &Call $(, $arg: $type)*) -> () [else ()] $body
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($call:ident: &Call $(, $arg:ident: $type:ty)* $(,)?) -> $result:ty [else $none:expr] $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name($call: &$crate::context::call::Call $(, $arg: $type)*) -> $result {
            $crate::kernel::global::global_function! {
                fn $name(area: $crate::context::scratch::ScratchId $(, $arg: $type)*) -> $result {
                    #[inline(always)]
                    fn on_call($call: &$crate::context::call::Call $(, $arg: $type)*) -> $result $body

                    match $crate::context::call::Call::kept(area) {
                        Some(call) => on_call(&call $(, $arg)*),
                        None => $none,
                    }
                }
            }
            $name($call.area() $(, $arg)*)
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($area:ident: ScratchId as $scratch:ident $(, $arg:ident: $type:ty)* $(,)?) $body:block) => {
        $crate::context::call::global! {
            $(#[$doc])* $vis fn $name($area: ScratchId as $scratch $(, $arg: $type)*) -> () [else ()] $body
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($area:ident: ScratchId as $scratch:ident $(, $arg:ident: $type:ty)* $(,)?) -> $result:ty [else $none:expr] $body:block) => {
        $crate::kernel::global::global_function! {
            $(#[$doc])*
            $vis fn $name($area: $crate::context::scratch::ScratchId $(, $arg: $type)*) -> $result {
                match $crate::context::maps::SCRATCH.get_ptr_mut($area.number()) {
                    Some($scratch) => $body,
                    None => $none,
                }
            }
        }
    };
    ($($function:tt)*) => {
        $crate::kernel::global::global_function! { $($function)* }
    };
}
pub(crate) use global;
