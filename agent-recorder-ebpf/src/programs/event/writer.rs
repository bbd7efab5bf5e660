//! The event writer: header, body and segments, then one copy into a ring.
//!
//! Not here: segments of more than a string (`dentry_walk`, `location`, `address`).

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

    /// Continues an event in another function: a `Writer` cannot be passed to a global one.
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

    #[inline(always)]
    pub(crate) fn scratch(&self) -> *mut Scratch {
        self.scratch
    }

    /// Frame of a walk up a path.
    #[inline(always)]
    pub(crate) fn ascent(&self) -> *mut NameWalk {
        // SAFETY: `scratch` is a map value, checked for null.
        unsafe { &raw mut (*self.scratch).ascent }
    }

    #[inline(always)]
    fn buffer(&self) -> *mut u8 {
        // SAFETY: `scratch` is a map value, checked for null.
        unsafe { (&raw mut (*self.scratch).buffer).cast() }
    }

    /// Moves to the end that a global function returned.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, position: u64) {
        self.at = position;
    }

    /// Takes a location that a global function left by [`Call::leave`].
    #[inline(always)]
    pub(crate) fn take_location(&mut self, call: &Call) -> Location {
        // SAFETY: `call.scratch` is a map value, checked for null.
        let (location, end) = unsafe { ((*call.scratch).location, (*call.scratch).end) };
        self.move_to(bound::<POSITION>(end));
        location
    }

    #[inline(always)]
    fn end(&self) -> *mut u8 {
        // SAFETY: the mask keeps the position SEGMENT_BYTES away from the buffer's end.
        unsafe { self.buffer().add(bound::<POSITION>(self.at) as usize) }
    }

    /// Appends a string of the caller's memory without its terminator. `None` where it is
    /// unreadable.
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

    /// Appends a string of the kernel's memory without its terminator.
    #[inline(always)]
    pub(crate) fn kernel_string<const MAX: usize>(&mut self, address: u64) -> Option<u16> {
        // SAFETY: `end` leaves SEGMENT_BYTES, and MAX is at most that.
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

    /// Appends a name with its terminator, the form of walked paths.
    #[inline(always)]
    pub(crate) fn component(&mut self, address: u64) {
        // SAFETY: `end` leaves SEGMENT_BYTES, more than COMPONENT_BYTES.
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

    /// Appends `length` bytes of the caller's memory, at most `MASK` (a power of two less one), and
    /// returns how many.
    #[inline(always)]
    pub(crate) fn user_bytes<const MASK: u64>(&mut self, address: u64, length: u64) -> u16 {
        let wanted = bound::<MASK>(if length > MASK { MASK } else { length });
        // SAFETY: `end` leaves SEGMENT_BYTES, more than MASK.
        let failed =
            unsafe { bpf_probe_read_user(self.end().cast(), wanted as u32, address as *const _) };
        if failed != 0 {
            return 0;
        }
        self.at += wanted;
        wanted as u16
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self, byte: u8) {
        // SAFETY: `end` leaves SEGMENT_BYTES.
        unsafe { ptr::write_volatile(self.end(), byte) };
        self.at += 1;
    }

    /// Appends a value of WORDS words.
    #[inline(always)]
    pub(crate) fn words<const WORDS: usize>(&mut self, words: *const u64) {
        let end = self.end().cast::<u64>();
        let mut index = 0;
        while index < WORDS {
            // SAFETY: `end` leaves SEGMENT_BYTES; the caller's value has WORDS words.
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

    /// The header, for events about another task than the running one.
    #[inline(always)]
    pub(crate) fn header_ptr(&self) -> *mut Header {
        self.buffer().cast()
    }

    /// Submits and counts the event. Without `wake` the kernel wakes a caught-up reader.
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
        // SAFETY: `length` is within the buffer; gaps hold bytes of an earlier event.
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

    /// Submits the event to the gate's ring and wakes the reader. False where the ring is full.
    #[inline(always)]
    pub(crate) fn submit_to_gate(self) -> bool {
        // SAFETY: the length is within the buffer; gaps hold bytes of an earlier event.
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
    /// A global function: the verifier checks it once a program, not once an event. Kernels before
    /// 6.19 search all their types several times for each load through a typed pointer.
    fn describe_running(area: ScratchId as scratch, session: SessionNumber, kind: u32) {
        let task = current();
        // SAFETY: `buffer` begins with room for the header; `task`, `leader` and `parent` are
        // typed.
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
