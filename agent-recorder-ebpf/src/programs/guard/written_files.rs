//! Heirs: who starts a file that somebody else's session wrote.
//!
//! A program's file is known by its inode. A script's is not at hand once its
//! interpreter runs: there a name that the session gave has user space look.

use agent_recorder_abi::agent_rule::{EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::exec_gate::WRITTEN_NAME;
use agent_recorder_abi::limits::PATTERN_BYTES;
use agent_recorder_abi::state::SessionNumber;
use agent_recorder_abi::written_file::{HEIR_BY_FILE, HEIR_BY_NAME, Told, Written};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;

use crate::context::call::global;
use crate::context::maps;
use crate::kernel::compat::{Task, walk};
use crate::kernel::read::{hooks, offset};
use crate::kernel::types::File;

global! {
    /// Remembers a file that a session made, or opened for writing.
    pub(crate) fn wrote(session: SessionNumber, file: File) {
        let inode = file.inode();
        let written = Written {
            session,
            // SAFETY: the helper takes nothing.
            time: unsafe { bpf_ktime_get_boot_ns() },
            generation: inode.generation(),
            spare: 0,
        };
        let key = inode.place_key();
        // SAFETY: the value is copied at once.
        let before = unsafe { maps::WRITTEN.get(&key).copied() };
        // LRU: fails only without memory; who starts the file is then not told of.
        let _ = maps::WRITTEN.insert(&key, &written, 0);
        if before.is_none_or(|before| before.generation != written.generation) {
            name_written(file.path().dentry.name());
        }
    }
}

global! {
    /// Has a script of this name be told of. User space does so, too, and takes
    /// the oldest names out; this is for who is started at once.
    fn name_written(name: u64) {
        let mut key = RuleKey {
            kind: EXECUTABLE,
            len: 0,
            pattern: [0; PATTERN_BYTES],
        };
        // SAFETY: the pattern is of the size that is named.
        let read = unsafe {
            bpf_probe_read_kernel_str(
                key.pattern.as_mut_ptr().cast(),
                PATTERN_BYTES as u32,
                name as *const _,
            )
        };
        // A longer one is not known.
        if read <= 1 || read >= PATTERN_BYTES as i64 {
            return;
        }
        key.len = read as u32 - 1;
        // Where a rule or a gated program has the name, user space adds this to it.
        // If there is no room, who starts the script is not told of.
        let _ = maps::RULES.insert(&key, &WRITTEN_NAME, u64::from(BPF_NOEXIST));
        key.kind = SCRIPT;
        let _ = maps::RULES.insert(&key, &WRITTEN_NAME, u64::from(BPF_NOEXIST));
    }
}

/// The session that wrote a file; 0 for none.
#[inline(always)]
fn writer_of(file: File) -> SessionNumber {
    let inode = file.inode();
    let generation = inode.generation();
    // SAFETY: the value is copied at once.
    match unsafe { maps::WRITTEN.get(&inode.place_key()).copied() } {
        Some(written) if written.generation == generation => written.session,
        _ => 0,
    }
}

/// Whether an earlier replica of this program has told of this exec, and notes
/// that it is told of now. Of a task without a tag `replica` knows nothing.
#[inline(always)]
pub(crate) fn is_told(task: Task) -> bool {
    if hooks().copied == 0 {
        return false;
    }
    let key = task as u64;
    // SAFETY: `task` is typed; so is its leader.
    let (start, exec) = unsafe {
        let leader: Task = walk(task, offset!(task_leader));
        (
            walk::<u64>(leader, offset!(task_start)),
            walk::<u32>(task, offset!(task_exec_id)),
        )
    };
    let told = Told {
        start,
        exec: u64::from(exec),
    };
    // SAFETY: the value is copied at once.
    if unsafe { maps::TOLD.get(&key).copied() } == Some(told) {
        return true;
    }
    // LRU: fails only without memory; then it is told of twice.
    let _ = maps::TOLD.insert(&key, &told, 0);
    false
}

/// Whose heir the program makes a process of the session `own` (0: of none),
/// and how that is known. `found` is what `exec_match::match_rules` answered.
#[inline(always)]
pub(crate) fn met(exe: File, found: u64, own: SessionNumber) -> Option<(SessionNumber, u32)> {
    let writer = writer_of(exe);
    if writer != 0 {
        return (writer != own).then_some((writer, HEIR_BY_FILE));
    }
    // Within sessions it is ordinary work to start what one wrote.
    (own == 0 && found & u64::from(WRITTEN_NAME) != 0).then_some((0, HEIR_BY_NAME))
}
