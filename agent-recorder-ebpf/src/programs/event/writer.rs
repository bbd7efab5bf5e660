//! Putting one event together and handing it over: header, body, segments,
//! one copy into a ring.
//!
//! Not here: segments that are more than a string (`dentry_walk`, `location`, `address`).

use core::ptr;

use agent_recorder_abi::event::{Header, Kind};
use agent_recorder_abi::limits::COMPONENT_BYTES;
use agent_recorder_abi::state::{SessionNumber, Tag};
use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::helpers::bpf_get_current_uid_gid;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_ktime_get_boot_ns,
    bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{Location, NameWalk, POSITION, Scratch, ScratchId};
use crate::kernel::compat::{Task, current, walk};
use crate::kernel::counters;
use crate::kernel::read::{bound, offset};

/// One event under construction.
pub(crate) struct Writer {
    scratch: *mut Scratch,
    at: u64,
}

impl Writer {
    /// Begins an event with room for its header and body `B`.
    #[inline(always)]
    pub(crate) fn begin<B>(scratch: *mut Scratch) -> Self {
        Self {
            scratch,
            at: (size_of::<Header>() + size_of::<B>()) as u64,
        }
    }

    /// Goes on with an event in another function: a `Writer` itself cannot be passed on.
    #[inline(always)]
    pub(crate) fn resume(scratch: *mut Scratch, at: u64) -> Self {
        Self { scratch, at }
    }

    /// The body; its address does not change.
    #[inline(always)]
    pub(crate) fn body<B>(&self) -> *mut B {
        // SAFETY: `begin` left room for header and body.
        unsafe { self.buffer().add(size_of::<Header>()).cast() }
    }

    /// Bytes so far.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The area.
    #[inline(always)]
    pub(crate) fn scratch(&self) -> *mut Scratch {
        self.scratch
    }

    /// Room for a walk up a path.
    #[inline(always)]
    pub(crate) fn ascent(&self) -> *mut NameWalk {
        // SAFETY: `scratch` is a map value, checked not null by `scratch()`.
        unsafe { &raw mut (*self.scratch).ascent }
    }

    #[inline(always)]
    fn buffer(&self) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.scratch).buffer).cast() }
    }

    /// Takes over a position that `dentry_walk::append` gave.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, position: u64) {
        self.at = position;
    }

    /// Takes over what a global function appended, and left by [`Call::leave`].
    #[inline(always)]
    pub(crate) fn take_location(&mut self, call: &Call) -> Location {
        // SAFETY: fields of a map value.
        let (location, end) = unsafe { ((*call.scratch).location, (*call.scratch).end) };
        self.move_to(bound::<POSITION>(end));
        location
    }

    #[inline(always)]
    fn end(&self) -> *mut u8 {
        // SAFETY: the mask keeps the position SEGMENT_BYTES away from the buffer's end.
        unsafe { self.buffer().add(bound::<POSITION>(self.at) as usize) }
    }

    /// A string in the caller's memory, without its terminator. Its length, or `None` where it cannot be read.
    #[inline(always)]
    pub(crate) fn user_string<const MAX: usize>(&mut self, address: u64) -> Option<u16> {
        // SAFETY: `end` leaves SEGMENT_BYTES, and MAX is not above it.
        let read =
            unsafe { bpf_probe_read_user_str(self.end().cast(), MAX as u32, address as *const _) };
        if read <= 0 {
            return None;
        }
        let length = (read as u64) - 1;
        self.at += bound::<POSITION>(length);
        Some(length as u16)
    }

    /// A string in the kernel's memory, without its terminator.
    #[inline(always)]
    pub(crate) fn kernel_string<const MAX: usize>(&mut self, address: u64) -> Option<u16> {
        // SAFETY: as above.
        let read = unsafe {
            bpf_probe_read_kernel_str(self.end().cast(), MAX as u32, address as *const _)
        };
        if read <= 0 {
            return None;
        }
        let length = (read as u64) - 1;
        self.at += bound::<POSITION>(length);
        Some(length as u16)
    }

    /// One name with its terminator, as walked paths have them.
    #[inline(always)]
    pub(crate) fn component(&mut self, address: u64) {
        // SAFETY: as above.
        let read = unsafe {
            bpf_probe_read_kernel_str(
                self.end().cast(),
                COMPONENT_BYTES as u32,
                address as *const _,
            )
        };
        if read > 0 {
            self.at += bound::<{ 2 * COMPONENT_BYTES as u64 - 1 }>(read as u64);
        }
    }

    /// `length` bytes of the caller's memory, at most `MASK`, which is one less than a power of two. How many there are now.
    #[inline(always)]
    pub(crate) fn user_bytes<const MASK: u64>(&mut self, address: u64, length: u64) -> u16 {
        let wanted = bound::<MASK>(if length > MASK { MASK } else { length });
        // SAFETY: as above, MASK being below SEGMENT_BYTES.
        let failed =
            unsafe { bpf_probe_read_user(self.end().cast(), wanted as u32, address as *const _) };
        if failed != 0 {
            return 0;
        }
        self.at += wanted;
        wanted as u16
    }

    /// One byte.
    #[inline(always)]
    pub(crate) fn byte(&mut self, byte: u8) {
        // SAFETY: `end` is inside.
        unsafe { ptr::write_volatile(self.end(), byte) };
        self.at += 1;
    }

    /// A value of fixed size.
    #[inline(always)]
    pub(crate) fn words<const WORDS: usize>(&mut self, words: *const u64) {
        let end = self.end().cast::<u64>();
        let mut index = 0;
        while index < WORDS {
            // SAFETY: `end` leaves SEGMENT_BYTES, the source has WORDS words by the caller's type.
            unsafe { ptr::write_unaligned(end.add(index), ptr::read(words.add(index))) };
            index += 1;
        }
        self.at += 8 * WORDS as u64;
    }

    /// Fills the header from the running task.
    #[inline(always)]
    pub(crate) fn header(&self, kind: Kind, tag: Tag) {
        describe_running(ScratchId::of(self.scratch), tag.session, kind as u32);
    }

    /// The header itself, for those that are not of the running task.
    #[inline(always)]
    pub(crate) fn header_ptr(&self) -> *mut Header {
        self.buffer().cast()
    }

    /// Hands the event over and counts it. Without a wake-up the reader still
    /// comes when it had caught up (ring buffer's default), so it is woken once a batch.
    #[inline(always)]
    pub(crate) fn submit(self, kind: Kind, wake: bool) {
        let flags = if wake {
            u64::from(BPF_RB_FORCE_WAKEUP)
        } else {
            0
        };
        counters::count(&counters::PRODUCED, kind as u32);
        let length = bound::<POSITION>(self.at);
        let ring = if kind.is_priority() {
            &maps::PRIORITY
        } else {
            &maps::BULK
        };
        // SAFETY: `length` bytes of the buffer are initialised or hold what an earlier event of this CPU left.
        let failed = unsafe {
            aya_ebpf::helpers::generated::bpf_ringbuf_output(
                ptr::from_ref(ring).cast_mut().cast(),
                self.buffer().cast(),
                length,
                flags,
            )
        };
        if failed != 0 {
            counters::count(&counters::LOST, kind as u32);
        }
    }

    /// Hands the event to the gate and wakes its reader. False where there is no room.
    #[inline(always)]
    pub(crate) fn submit_to_gate(self) -> bool {
        // SAFETY: as in `submit`.
        let failed = unsafe {
            aya_ebpf::helpers::generated::bpf_ringbuf_output(
                ptr::from_ref(&maps::GATES).cast_mut().cast(),
                self.buffer().cast(),
                bound::<POSITION>(self.at),
                u64::from(BPF_RB_FORCE_WAKEUP),
            )
        };
        failed == 0
    }
}

global! {
    /// On its own: at each pointer that is followed from a typed
    /// one, kernels before 6.19 search all their types several times, so the
    /// verifier goes through this once a program and not once an event.
    fn describe_running(area: ScratchId as scratch, session: SessionNumber, kind: u32) {
        let task = current();
        // SAFETY: the buffer of a map value begins with room for it; `task` is typed.
        unsafe {
            let header: *mut Header = (&raw mut (*scratch).buffer).cast();
            let leader: Task = walk(task, offset!(task_leader));
            let parent: Task = walk(task, offset!(task_parent));
            (*header).time = bpf_ktime_get_boot_ns();
            (*header).session = session;
            (*header).start_time = walk(leader, offset!(task_start));
            (*header).pid = walk(task, offset!(task_tgid));
            (*header).tid = walk(task, offset!(task_pid));
            (*header).ppid = walk(parent, offset!(task_tgid));
            (*header).uid = bpf_get_current_uid_gid() as u32;
            let loginuid = offset!(task_loginuid);
            (*header).loginuid = if loginuid == agent_recorder_abi::kernel_fields::ABSENT as usize {
                u32::MAX
            } else {
                walk(task, loginuid)
            };
            (*header).kind = kind as u16;
            (*header).spare = 0;
            (*header).cgroup = bpf_get_current_cgroup_id();
            bpf_get_current_comm(ptr::addr_of_mut!((*header).comm).cast(), 16);
        }
    }
}
