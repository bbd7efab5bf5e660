//! The judge in user space: whether it lives, and the objects that it is told of.
//!
//! At a limit a session is stopped, and the judge decides by what it knows of the counted
//! objects. Each is sent as an event of its own, by the path that it has in its file system.
//! Not here: counting (`budget`), and stopping (`enforce`).

use agent_recorder_abi::event::{COUNTED_CHANGED, CountedBody, Kind};
use agent_recorder_abi::limits::JUDGE_SILENT_NS;
use agent_recorder_abi::policy::Victim;
use agent_recorder_abi::state::{SessionNumber, Tag};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

use crate::context::areas::with_area;
use crate::context::call::global;
use crate::context::maps;
use crate::context::scratch::Scratch;
use crate::event::dentry_walk;
use crate::event::writer::Writer;
use crate::guard::foreseen::{at, foreseen};
use crate::kernel::types::{Dentry, Inode, KernelPath, Mount};

/// Whether a judge has given a sign of life lately.
#[inline(always)]
pub(crate) fn lives() -> bool {
    let Some(sign) = maps::JUDGE.get_ptr(0) else {
        return false;
    };
    // SAFETY: `sign` is a map value, checked not null; the helper takes nothing.
    unsafe {
        let sign = core::ptr::read_volatile(sign);
        sign != 0 && bpf_ktime_get_boot_ns().wrapping_sub(sign) <= JUDGE_SILENT_NS
    }
}

global! {
    /// The victim of this index counts: an object that loses a name, or has lost it.
    pub(crate) fn report_victim(
        area: ScratchId as scratch,
        session: SessionNumber,
        index: u64,
        dentry: Dentry,
        effect: u32,
    ) {
        if !lives() {
            return;
        }
        let victim: *const Victim = at(foreseen(scratch), index);
        // SAFETY: `victim` is in a map value.
        let body = unsafe {
            CountedBody {
                bytes: (*victim).bytes,
                size: (*victim).size,
                modified_s: (*victim).modified_s,
                modified_ns: (*victim).modified_ns,
                mode: (*victim).mode,
                ino: Inode::at((*victim).inode).number(),
                dev: Inode::at((*victim).inode).device(),
                effect,
                ..CountedBody::default()
            }
        };
        send(scratch, session, dentry, body);
    }
}

global! {
    /// A file counts that keeps its name, and lost what it held. Its state is the new one.
    pub(crate) fn report_contents(session: SessionNumber, dentry: Dentry, bytes: u64) {
        if !lives() {
            return;
        }
        let inode = dentry.inode();
        let body = CountedBody {
            bytes,
            size: inode.size(),
            modified_s: inode.modified_s(),
            modified_ns: inode.modified_ns(),
            mode: inode.mode(),
            ino: inode.number(),
            dev: inode.device(),
            effect: COUNTED_CHANGED,
            ..CountedBody::default()
        };
        with_area!(|scratch| send(scratch, session, dentry, body));
    }
}

/// Without the event, the judge knows by the session's count that an object is missing,
/// and takes it for lost.
#[inline(always)]
fn send(scratch: *mut Scratch, session: SessionNumber, dentry: Dentry, body: CountedBody) {
    let mut writer = Writer::begin::<CountedBody>(scratch);
    // SAFETY: `begin` left room for the body.
    unsafe { *writer.body::<CountedBody>() = body };
    let inside = KernelPath {
        mount: Mount::NONE,
        dentry,
    };
    let path = dentry_walk::append(&mut writer, inside);
    // SAFETY: as above.
    unsafe {
        (*writer.body::<CountedBody>()).path_len = path.len;
        (*writer.body::<CountedBody>()).is_cut = u16::from(path.is_cut());
    }
    writer.header(Kind::Counted, Tag::new(session, 0));
    writer.submit(Kind::Counted, false);
}
