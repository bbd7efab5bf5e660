//! Heirs: processes that start a file which another session than theirs wrote.
//!
//! A program's file is known by its inode. A script's inode is out of reach once its
//! interpreter runs, so a script with a name that a session gave is left to user space.

use agent_recorder_abi::agent_rule::{EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::exec_gate::WRITTEN_NAME;
use agent_recorder_abi::limits::PATTERN_BYTES;
use agent_recorder_abi::state::SessionNumber;
use agent_recorder_abi::written_file::{EmittedHeir, HEIR_BY_FILE, HEIR_BY_NAME, Written};
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
        // LRU: fails only without memory; the file's heirs are then not recorded.
        let _ = maps::WRITTEN.insert(&key, &written, 0);
        if before.is_none_or(|before| before.generation != written.generation) {
            name_written(file.path().dentry.name());
        }
    }
}

global! {
    /// Adds the name to the rules, so that a script of this name is reported. User space
    /// adds it, too, and removes the oldest names; this is for scripts that start at once.
    fn name_written(name: u64) {
        let mut key = RuleKey {
            kind: EXECUTABLE,
            len: 0,
            pattern: [0; PATTERN_BYTES],
        };
        // SAFETY: `pattern` has PATTERN_BYTES bytes.
        let read = unsafe {
            bpf_probe_read_kernel_str(
                key.pattern.as_mut_ptr().cast(),
                PATTERN_BYTES as u32,
                name as *const _,
            )
        };
        // A longer name cannot be a key.
        if read <= 1 || read >= PATTERN_BYTES as i64 {
            return;
        }
        key.len = read as u32 - 1;
        // User space adds this to the entry of a rule or a gated program that has
        // the name. Without room in the map, the script's heirs are not recorded.
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

/// Whether an earlier replica of this program has emitted this exec; from now
/// on it counts as emitted. `replica` knows tagged tasks only.
#[inline(always)]
pub(crate) fn is_emitted(task: Task) -> bool {
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
    let heir = EmittedHeir {
        start,
        exec: u64::from(exec),
    };
    // SAFETY: the value is copied at once.
    if unsafe { maps::EMITTED_HEIRS.get(&key).copied() } == Some(heir) {
        return true;
    }
    // LRU: fails only without memory; the exec is then emitted twice.
    let _ = maps::EMITTED_HEIRS.insert(&key, &heir, 0);
    false
}

/// The session whose heir this program makes a process of the session `own` (0: outside
/// sessions), and how that is known. `found` is the result of `exec_match::match_rules`.
#[inline(always)]
pub(crate) fn met(exe: File, found: u64, own: SessionNumber) -> Option<(SessionNumber, u32)> {
    let writer = writer_of(exe);
    if writer != 0 {
        return (writer != own).then_some((writer, HEIR_BY_FILE));
    }
    // Inside a session, a script with the name of a written file is ordinary work.
    (own == 0 && found & u64::from(WRITTEN_NAME) != 0).then_some((0, HEIR_BY_NAME))
}
