//! Areas of a CPU: taking one, handing pointers through it, and loops over it.
//!
//! Not here: what lies in one (`scratch`).

use core::ptr;

use agent_recorder_abi::limits::AREAS;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;

use crate::context::maps;
use crate::context::scratch::Scratch;
use crate::kernel::compat::add_here;
use crate::kernel::counters::add;
use crate::kernel::global::{Scalar, global_function};
use crate::kernel::read::bound;

const _: () = assert!(AREAS.is_power_of_two());

/// An object whose type the verifier knows, as a number: global functions take
/// no pointers (see `call`), and one is a pointer until it comes out of the area.
#[inline(always)]
pub(crate) fn untyped<T: Scalar<Number = u64>>(scratch: *mut Scratch, object: T) -> T {
    // SAFETY: a field of a map value.
    unsafe {
        ptr::write_volatile(&raw mut (*scratch).end, object.into_number());
        T::from_number(ptr::read_volatile(&raw const (*scratch).end))
    }
}

/// Runs code with an area of this CPU that nobody else uses meanwhile.
///
/// Hooks stay on their CPU, but others can run on top of them: softirq on a
/// task's, another task's where preemption is on (trampolines, and all
/// tracepoints of Linux 7). Where all areas are taken, the event is counted as
/// not made. A macro: a closure that several programs use becomes a function
/// of its own, and the stack of all that call each other ends at 512 bytes.
macro_rules! with_area {
    (|$area:ident| $work:expr) => {
        match $crate::context::maps::SCRATCH.get_ptr_mut($crate::context::areas::take_area() as u32)
        {
            Some($area) => {
                $work;
                // SAFETY: a map value, checked not null.
                $crate::kernel::counters::add(unsafe { &raw mut (*$area).taken }, u64::MAX);
            }
            None => {
                $crate::kernel::counters::trouble(agent_recorder_abi::event::Trouble::AreasTaken)
            }
        }
    };
}
pub(crate) use with_area;

global_function! {
    /// Takes a free area of this CPU: its number, or one that no area has. On
    /// its own, so that the verifier does not follow all that comes after
    /// it once for each area.
    pub(crate) fn take_area() -> u64 {
        // SAFETY: the helper takes nothing.
        let first = AREAS * unsafe { bpf_get_smp_processor_id() };
        let mut nth = 0;
        while nth < AREAS {
            // Bounded where the verifier sees it, or the loop would count from a number that it does not know.
            let index = first + bound::<{ AREAS as u64 - 1 }>(u64::from(nth)) as u32;
            if let Some(area) = maps::SCRATCH.get_ptr_mut(index) {
                // SAFETY: a map value, checked not null.
                let taken = unsafe { &raw mut (*area).taken };
                if add_here(taken, 1) == 0 {
                    // SAFETY: as above.
                    unsafe { (*area).index = index };
                    return u64::from(index);
                }
                add(taken, u64::MAX);
            }
            nth += 1;
        }
        u64::from(u32::MAX)
    }
}

/// Names and entries are compared in the area that the event is put together in afterwards.
#[inline(always)]
pub(crate) fn buffer_of(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: `scratch` is a map value.
    unsafe { (&raw mut (*scratch).buffer).cast() }
}

/// Bytes of a name that are looked at for its last components.
pub(crate) const NAME_BYTES: u64 = 1024;

/// Defines a function that calls its body with an area and 0, 1, 2 … up to a
/// count, until the body answers 1: as the kernel can (`kernel::compat`).
macro_rules! repeated {
    ($(#[$doc:meta])* fn $name:ident[$one:ident, $many:ident]($scratch:ident, $index:ident) $body:block) => {
        $crate::kernel::compat::rounds! {
            [$crate::context::scratch::Scratch, $crate::context::maps::SCRATCH]
            $(#[$doc])* fn $name[$one, $many]($scratch, $index) $body
        }
    };
}
pub(crate) use repeated;
