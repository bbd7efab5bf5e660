//! Putting one event together and handing it over: header, body, segments,
//! one copy into a ring, and the counts that make loss exact.

use core::ptr;

use agent_recorder_abi::address::Address;
use agent_recorder_abi::event::{Header, Kind, Trouble};
use agent_recorder_abi::limits::{AREAS, COMPONENT_BYTES, SCRATCH_BYTES, USER_PATH_BYTES};
use agent_recorder_abi::policy::{Cut, Foreseen};
use agent_recorder_abi::state::{Given, SessionNumber, Socket, Tag, UringRequest};
use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::helpers::bpf_get_current_uid_gid;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_smp_processor_id,
    bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};

use crate::context::call::Kept;
use crate::context::maps;
use crate::event::dentry_walk::Ascent;
use crate::kernel::compat::add_here;
use crate::kernel::read::{Task, bound, current, offset, walk};
use crate::operations::datagram::Datagram;
use crate::operations::exec_match::Program;
use crate::operations::file_exit::Location;
use crate::operations::socket_table::Open;

/// Positions in the buffer are masked with this, so that the verifier knows them.
pub(crate) const POSITION: u64 = SCRATCH_BYTES as u64 - 1;
/// The largest single segment: what may follow the largest position.
const SEGMENT_BYTES: usize = agent_recorder_abi::limits::ARGV_BYTES;
const _: () = assert!(AREAS.is_power_of_two());
const _: () = assert!(SEGMENT_BYTES >= USER_PATH_BYTES && SCRATCH_BYTES.is_power_of_two());

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
    pub(crate) kept: Kept,
    /// The socket that it is about.
    pub(crate) open: Open,
    /// The program that it started.
    pub(crate) program: Program,
    /// The datagram that it sent.
    pub(crate) datagram: Datagram,
    /// What is remembered of the socket.
    pub(crate) socket: Socket,
    /// Addresses that the call gave.
    pub(crate) given: Given,
    /// A walk up a path.
    pub(crate) ascent: Ascent,
    /// A walk over descriptors.
    pub(crate) walk: crate::operations::fd_table::Walk,
    /// A gated program's arguments.
    pub(crate) words: crate::guard::exec_gate::Words,
    /// What is searched for in the strings of a program.
    pub(crate) search: crate::operations::exec_match::Search,
    /// A request of io_uring.
    pub(crate) request: UringRequest,
    /// Whether something may be thrown away.
    pub(crate) inquiry: crate::guard::ownership::Inquiry,
    /// Whether something is the recorder's own.
    pub(crate) climb: crate::guard::self_protection::Climb,
    /// What an operation is about to destroy.
    pub(crate) foreseen: Foreseen,
    /// An open that succeeded.
    pub(crate) opened: crate::guard::overwrite::Opened,
    /// A file that it could destroy.
    pub(crate) cut: Cut,
    /// A location that was just appended, and where the event ends since.
    pub(crate) location: Location,
    /// See `location`.
    pub(crate) end: u64,
    /// Whose files are looked at.
    pub(crate) kept_session: u64,
    /// Address of the table that they are open in.
    pub(crate) kept_files: u64,
    /// Not 0: all of them end.
    pub(crate) kept_end: u64,
    /// Which of all areas it is: functions that the verifier checks on their own find it by that.
    pub(crate) index: u32,
    /// Not 0 while a hook uses the area.
    pub(crate) taken: u64,
    /// The event.
    pub(crate) buffer: [u8; SCRATCH_BYTES + SEGMENT_BYTES],
}

/// A pointer as a number: global functions take none (see `call`), and the
/// verifier knows what is one until it comes out of the area.
#[inline(always)]
pub(crate) fn number_of(scratch: *mut Scratch, pointer: u64) -> u64 {
    // SAFETY: a field of a map value.
    unsafe {
        ptr::write_volatile(&raw mut (*scratch).end, pointer);
        ptr::read_volatile(&raw const (*scratch).end)
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
        match $crate::context::maps::SCRATCH.get_ptr_mut($crate::event::writer::take_area() as u32)
        {
            Some($area) => {
                $work;
                // SAFETY: a map value, checked not null.
                $crate::event::writer::add(unsafe { &raw mut (*$area).taken }, u64::MAX);
            }
            None => $crate::event::writer::trouble(agent_recorder_abi::event::Trouble::AreasTaken),
        }
    };
}
pub(crate) use with_area;

/// Takes a free area of this CPU: its number, or one that no area has. A
/// global function (see `call`), so that the verifier does not follow all that
/// comes after it once for each area.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn take_area() -> u64 {
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
    pub(crate) fn ascent(&self) -> *mut Ascent {
        // SAFETY: `scratch` is a map value, checked not null by `scratch()`.
        unsafe { &raw mut (*self.scratch).ascent }
    }

    #[inline(always)]
    fn buffer(&self) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.scratch).buffer).cast() }
    }

    /// Takes over a position that `path::append` gave.
    #[inline(always)]
    pub(crate) fn move_to(&mut self, position: u64) {
        self.at = position;
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
        // SAFETY: a field of a map value.
        describe_running(unsafe { (*self.scratch).index }, tag.session, kind as u32);
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
        count(&maps::PRODUCED, kind as u32);
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
            count(&maps::LOST, kind as u32);
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

/// A global function (see `call`): at each pointer that is followed from a typed
/// one, kernels before 6.19 search all their types several times, so the
/// verifier goes through this once a program and not once an event.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn describe_running(area: u32, session: SessionNumber, kind: u32) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
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
    0
}

/// Adds one to this CPU's counter. Atomic, for softirq can come in between.
#[inline(always)]
pub(crate) fn count(counters: &aya_ebpf::maps::PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        add(counter, 1);
    }
}

/// Counts what could not be done.
#[inline(always)]
pub(crate) fn trouble(trouble: Trouble) {
    count(&maps::TROUBLE, trouble as u32);
}

/// Atomic addition, for whoever does not ask what stood there before.
#[inline(always)]
pub(crate) fn add(value: *mut u64, addend: u64) {
    // SAFETY: `value` is in a map value that was checked not null.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            value, addend,
        );
    }
}
