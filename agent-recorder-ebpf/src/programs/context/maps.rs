//! Every map, with its size and its writer.
//!
//! Not here: maps that differ between kernels (`kernel::compat`), and counters of events
//! (`kernel::counters`).

use agent_recorder_abi::agent_rule::{EnvironmentPrefix, RuleKey};
use agent_recorder_abi::limits::{
    AREAS, EVENT_BYTES, GATE_RING_BYTES, KNOWN_INODES, MAX_CONTENTS, MAX_CUTS, MAX_EMITTED_HEIRS,
    MAX_ENDED, MAX_FORESEEN, MAX_GATED, MAX_NAMES, MAX_OWN, MAX_PLACES, MAX_REMOVED, MAX_RULES,
    MAX_SESSIONS, MAX_SOCKADDRS, MAX_SOCKETS, MAX_SPARED, MAX_URING_REQUESTS, MAX_WRITTEN,
    MAX_WRITTEN_NAMES, SCRATCH_BYTES, SEEN_FILES, SYSCALL_NUMBERS,
};
use agent_recorder_abi::policy::{
    Content, Cut, CutKey, Foreseen, KnownKey, NameKey, Place, PlaceKey, Removed, RemovedKey,
    SparedKey,
};
use agent_recorder_abi::self_protection::OwnKey;
use agent_recorder_abi::state::{
    DescriptorKey, EndedKey, SeenFile, SeenPeer, Session, SessionNumber, SockaddrSnapshot, Socket,
    SocketKey, UringRequest,
};
use agent_recorder_abi::syscall::Spec;
use agent_recorder_abi::written_file::{EmittedHeir, Written};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};

use crate::context::operation::OperationKey;
use crate::context::scratch::Scratch;

/// Default sizes of the rings, bytes; user space sets the sizes in use.
const PRIORITY_RING_BYTES: u32 = 8 << 20;
const BULK_RING_BYTES: u32 = 16 << 20;
const _: () = assert!(EVENT_BYTES < SCRATCH_BYTES);

/// Events of the kinds in `Kind::is_priority`.
#[map]
pub(crate) static PRIORITY: RingBuf = RingBuf::with_byte_size(PRIORITY_RING_BYTES, 0);

/// Events of all other kinds.
#[map]
pub(crate) static BULK: RingBuf = RingBuf::with_byte_size(BULK_RING_BYTES, 0);

/// Stopped programs, each until user space has judged it, and execs of heirs.
#[map]
pub(crate) static GATES: RingBuf = RingBuf::with_byte_size(GATE_RING_BYTES, 0);

/// Scratch areas, [`AREAS`] for each CPU (see `scratch`); user space sets the size. A per-CPU map
/// ends at 32 KiB a value (`PCPU_MIN_UNIT_SIZE`).
#[map]
pub(crate) static SCRATCH: Array<Scratch> = Array::with_max_entries(AREAS, 0);

/// 64-bit calls from 0, 32-bit calls from [`SYSCALL_NUMBERS`]; user space fills the map before it
/// attaches programs.
#[map]
pub(crate) static SYSCALLS: Array<Spec> = Array::with_max_entries(2 * SYSCALL_NUMBERS, 0);

/// Agent rules, gated programs, and names of files that sessions wrote
/// (`agent_recorder_abi::exec_gate`). User space fills it, and the programs add names; the room for
/// names is twice what user space keeps.
#[map]
pub(crate) static RULES: HashMap<RuleKey, u32> =
    HashMap::with_max_entries(MAX_RULES + 2 * MAX_GATED + 4 * MAX_WRITTEN_NAMES, 0);

/// Files that sessions wrote.
#[map]
pub(crate) static WRITTEN: LruHashMap<PlaceKey, Written> =
    LruHashMap::with_max_entries(MAX_WRITTEN, 0);

/// The last execs of heirs that were emitted, by the address of the task.
#[map]
pub(crate) static EMITTED_HEIRS: LruHashMap<u64, EmittedHeir> =
    LruHashMap::with_max_entries(MAX_EMITTED_HEIRS, 0);

/// Beginnings of the rules' environment patterns; user space fills it.
#[map]
pub(crate) static ENVIRONMENT: HashMap<EnvironmentPrefix, u32> =
    HashMap::with_max_entries(MAX_RULES, 0);

/// Sessions; created by the programs or by user space, removed by user space when they end.
#[map]
pub(crate) static SESSIONS: HashMap<SessionNumber, Session> =
    HashMap::with_max_entries(MAX_SESSIONS, 0);

/// Initial value of a session, which is too large for the stack. Never written.
#[map]
pub(crate) static NEW_SESSION: Array<Session> = Array::with_max_entries(1, 0);

/// Time of the guard's last condemnation, CLOCK_BOOTTIME ns; 0 for none.
#[map]
pub(crate) static CONDEMNED: Array<u64> = Array::with_max_entries(1, 0);

/// Sessions that began on each CPU, in element 0.
#[map]
pub(crate) static BEGUN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Files that a program has opened for reading.
#[map]
pub(crate) static SEEN: LruHashMap<SeenFile, u8> = LruHashMap::with_max_entries(SEEN_FILES, 0);

/// Sockets of sessions. The oldest are forgotten, and their end is emitted without bytes.
#[map]
pub(crate) static SOCKETS: LruHashMap<SocketKey, Socket> =
    LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// The socket of each descriptor.
#[map]
pub(crate) static DESCRIPTORS: LruHashMap<DescriptorKey, SocketKey> =
    LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// Datagram destinations that were recorded.
#[map]
pub(crate) static PEERS: LruHashMap<SeenPeer, u8> = LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// Known acts of sessions on inodes: `KNOWN_…`.
#[map]
pub(crate) static KNOWN: LruHashMap<KnownKey, u32> = LruHashMap::with_max_entries(KNOWN_INODES, 0);

/// Element 0 is the judge's last sign of life, CLOCK_BOOTTIME ns, 0 without a judge. User
/// space writes it.
#[map]
pub(crate) static JUDGE: Array<u64> = Array::with_max_entries(1, 0);

/// Directories whose contents sessions may remove; user space fills it.
#[map]
pub(crate) static SPARED: LruHashMap<SparedKey, u32> = LruHashMap::with_max_entries(MAX_SPARED, 0);

/// Directories of the policy; user space fills it, and again when they change.
#[map]
pub(crate) static PLACES: HashMap<PlaceKey, Place> = HashMap::with_max_entries(MAX_PLACES, 0);

/// Objects of the recorder; user space fills it.
#[map]
pub(crate) static OWN: HashMap<OwnKey, u32> = HashMap::with_max_entries(MAX_OWN, 0);

/// Names of the policy; user space fills it.
#[map]
pub(crate) static NAMES: HashMap<NameKey, u32> = HashMap::with_max_entries(MAX_NAMES, 0);

/// Programs of the policy by their file: `PROGRAM_…`, and gated ones; user space fills it.
#[map]
pub(crate) static PROGRAMS: HashMap<PlaceKey, u32> = HashMap::with_max_entries(MAX_NAMES, 0);

/// Gated programs by their size; user space fills it.
#[map]
pub(crate) static SIZES: HashMap<u64, u32> = HashMap::with_max_entries(MAX_NAMES, 0);

/// Objects that running operations are about to destroy, by thread or request of io_uring.
#[map]
pub(crate) static FORESEEN: LruHashMap<OperationKey, Foreseen> =
    LruHashMap::with_max_entries(MAX_FORESEEN, 0);

/// What sessions found in files before they changed them.
#[map]
pub(crate) static CONTENTS: LruHashMap<KnownKey, Content> =
    LruHashMap::with_max_entries(MAX_CONTENTS, 0);

/// Open files that sessions have emptied, or created where they had removed one.
#[map]
pub(crate) static CUTS: LruHashMap<CutKey, Cut> = LruHashMap::with_max_entries(MAX_CUTS, 0);

/// Descriptors that lead to a file in `CUTS`: its address.
#[map]
pub(crate) static CUT_DESCRIPTORS: LruHashMap<DescriptorKey, u64> =
    LruHashMap::with_max_entries(MAX_CUTS, 0);

/// Names from which sessions removed files that they did not create.
#[map]
pub(crate) static REMOVED: LruHashMap<RemovedKey, Removed> =
    LruHashMap::with_max_entries(MAX_REMOVED, 0);

/// Addresses of running calls, by thread (bpf_get_current_pid_tgid()).
#[map]
pub(crate) static SOCKADDRS: LruHashMap<u64, SockaddrSnapshot> =
    LruHashMap::with_max_entries(MAX_SOCKADDRS, 0);

/// Processes of sessions whose exit was emitted.
#[map]
pub(crate) static ENDED: LruHashMap<EndedKey, u8> = LruHashMap::with_max_entries(MAX_ENDED, 0);

/// Running requests of io_uring, by the address of their `io_kiocb`.
#[map]
pub(crate) static URING: HashMap<u64, UringRequest> =
    HashMap::with_max_entries(MAX_URING_REQUESTS, 0);

/// Child → parent of every fork outside sessions, while user space adopts running agents.
#[map]
pub(crate) static LINEAGE: LruHashMap<u32, u32> =
    LruHashMap::with_max_entries(agent_recorder_abi::limits::LINEAGE_FORKS, 0);

/// Element 0 is not 0 while user space adopts running agents.
#[map]
pub(crate) static ADOPTING: Array<u32> = Array::with_max_entries(1, 0);

/// Element 0 is the process that asks whether programs of a kind are called, 0 after the answer.
/// Element 1 is the preemption count at the answer.
#[map]
pub(crate) static PROBE: Array<u32> = Array::with_max_entries(2, 0);
