//! Scratch areas of a CPU: taking one, passing pointers through it, and loops over it.
//!
//! Not here: the contents of an area (`scratch`).

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

/// A typed object as a number, for global functions, which take no pointers (see `call`): the
/// verifier forgets its type on the way through the area.
#[inline(always)]
pub(crate) fn untyped<T: Scalar<Number = u64>>(scratch: *mut Scratch, object: T) -> T {
    // SAFETY: `scratch` is a map value, checked for null.
    unsafe {
        ptr::write_volatile(&raw mut (*scratch).end, object.into_number());
        T::from_number(ptr::read_volatile(&raw const (*scratch).end))
    }
}

/// Runs code with an area of this CPU that no other hook uses meanwhile.
///
/// A hook stays on its CPU, but another can run on top of it: softirq on a task's, another task's
/// where preemption is on (trampolines, and all tracepoints of Linux 7). Where all areas are taken,
/// the event is counted as not made. A macro, because a closure of several programs becomes a
/// function, and functions that call each other share 512 bytes of stack.
macro_rules! with_area {
    (|$area:ident| $work:expr) => {
        match $crate::context::maps::SCRATCH.get_ptr_mut($crate::context::areas::take_area() as u32)
        {
            Some($area) => {
                $work;
                // SAFETY: `$area` is a map value, checked for null above.
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
    /// Takes a free area of this CPU. Returns its number, or one without an area. A global
    /// function, so that the verifier does not follow the rest of the program once for each area.
    pub(crate) fn take_area() -> u64 {
        // SAFETY: the helper takes no argument.
        let first = AREAS * unsafe { bpf_get_smp_processor_id() };
        let mut nth = 0;
        while nth < AREAS {
            // Bounded visibly for the verifier, or the loop would count from an unknown number.
            let index = first + bound::<{ AREAS as u64 - 1 }>(u64::from(nth)) as u32;
            if let Some(area) = maps::SCRATCH.get_ptr_mut(index) {
                // SAFETY: `area` is a map value, checked for null above.
                let taken = unsafe { &raw mut (*area).taken };
                if add_here(taken, 1) == 0 {
                    // SAFETY: `area` is a map value, checked for null above.
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

/// The event's buffer, in which names and entries are compared before the event begins.
#[inline(always)]
pub(crate) fn buffer_of(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: `scratch` is a map value, checked for null.
    unsafe { (&raw mut (*scratch).buffer).cast() }
}

/// Bytes of a name in which its last components are searched.
pub(crate) const NAME_BYTES: u64 = 1024;

/// Defines a function that calls its body with an area and 0, 1, 2 … up to a count, until the body
/// returns 1. The form of the loop depends on the kernel (`kernel::compat`).
macro_rules! repeated {
    ($(#[$doc:meta])* fn $name:ident[$one:ident, $many:ident]($scratch:ident, $index:ident) $body:block) => {
        $crate::kernel::compat::rounds! {
            [$crate::context::scratch::Scratch, $crate::context::maps::SCRATCH]
            $(#[$doc])* fn $name[$one, $many]($scratch, $index) $body
        }
    };
}
pub(crate) use repeated;
