//! The objects that the running operation could destroy, in the call's scratch area.
//!
//! Not here: how they are seen (`pre_op`), and what became of them (`post_op`).

use agent_recorder_abi::policy::{Foreseen, VICTIMS, Victim};

use crate::context::scratch::Scratch;
use crate::kernel::read::bound;

#[inline(always)]
pub(crate) fn foreseen(scratch: *mut Scratch) -> *mut Foreseen {
    // SAFETY: `scratch` is a map value.
    unsafe { &raw mut (*scratch).foreseen }
}

/// Masks the index of a victim.
pub(crate) const INDEX: u64 = VICTIMS as u64 - 1;
const _: () = assert!(VICTIMS.is_power_of_two());

/// One of the victims. They are in the area: the stack has room for one at most.
#[inline(always)]
pub(crate) fn at(known: *mut Foreseen, index: u64) -> *mut Victim {
    // SAFETY: the mask keeps the index inside the array of a map value.
    unsafe {
        (&raw mut (*known).victims)
            .cast::<Victim>()
            .add(bound::<INDEX>(index) as usize)
    }
}
