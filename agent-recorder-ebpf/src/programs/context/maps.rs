//! Every map, with its size and who writes it.
//!
//! Not here: those of which there are two kinds (`kernel::compat`), and those
//! that count events (`kernel::counters`).

use agent_recorder_abi::agent_rule::{EnvironmentPrefix, RuleKey};
use agent_recorder_abi::limits::{
    AREAS, EVENT_BYTES, GATE_RING_BYTES, KNOWN_INODES, MAX_CUTS, MAX_ENDED, MAX_FORESEEN,
    MAX_GATED, MAX_GIVEN, MAX_NAMES, MAX_OWN, MAX_PLACES, MAX_REMOVED, MAX_RULES, MAX_SESSIONS,
    MAX_SOCKETS, MAX_TOLD, MAX_URING_REQUESTS, MAX_WRITTEN, MAX_WRITTEN_NAMES, SCRATCH_BYTES,
    SEEN_FILES, SYSCALL_NUMBERS,
};
use agent_recorder_abi::policy::{
    Cut, Foreseen, KnownKey, NameKey, Place, PlaceKey, Removed, RemovedKey,
};
use agent_recorder_abi::self_protection::OwnKey;
use agent_recorder_abi::state::{
    DescriptorKey, EndedKey, Given, SeenFile, SeenPeer, Session, SessionNumber, Socket, SocketKey,
    UringRequest,
};
use agent_recorder_abi::syscall::Spec;
use agent_recorder_abi::written_file::{Told, Written};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};

use crate::context::operation::OperationKey;
use crate::context::scratch::Scratch;

/// Default sizes of the rings, bytes; user space sets the real ones.
const PRIORITY_RING_BYTES: u32 = 8 << 20;
const BULK_RING_BYTES: u32 = 16 << 20;
const _: () = assert!(EVENT_BYTES < SCRATCH_BYTES);

/// exec, exit, fork, deletes, the guard.
#[map]
pub(crate) static PRIORITY: RingBuf = RingBuf::with_byte_size(PRIORITY_RING_BYTES, 0);

/// All else.
#[map]
pub(crate) static BULK: RingBuf = RingBuf::with_byte_size(BULK_RING_BYTES, 0);

/// Programs that were stopped, each until user space has judged it.
#[map]
pub(crate) static GATES: RingBuf = RingBuf::with_byte_size(GATE_RING_BYTES, 0);

/// Where one event is put together: [`AREAS`] for each CPU, see `scratch`. Not a
/// per-CPU map: the kernel ends those at 32 KiB a value
/// (`PCPU_MIN_UNIT_SIZE`). User space sets the size.
#[map]
pub(crate) static SCRATCH: Array<Scratch> = Array::with_max_entries(AREAS, 0);

/// 64-bit calls from 0, 32-bit ones from [`SYSCALL_NUMBERS`]; user space fills it before anything is attached.
#[map]
pub(crate) static SYSCALLS: Array<Spec> = Array::with_max_entries(2 * SYSCALL_NUMBERS, 0);

/// Agent rules, gated programs, and names of files that sessions wrote
/// (`agent_recorder_abi::exec_gate`);
/// user space fills it, and these programs add names: there is room for as many
/// again as it keeps.
#[map]
pub(crate) static RULES: HashMap<RuleKey, u32> =
    HashMap::with_max_entries(MAX_RULES + 2 * MAX_GATED + 4 * MAX_WRITTEN_NAMES, 0);

/// Files that sessions wrote.
#[map]
pub(crate) static WRITTEN: LruHashMap<PlaceKey, Written> =
    LruHashMap::with_max_entries(MAX_WRITTEN, 0);

/// The last execs that were told of as heirs', by the address of the task.
#[map]
pub(crate) static TOLD: LruHashMap<u64, Told> = LruHashMap::with_max_entries(MAX_TOLD, 0);

/// Beginnings of the rules' environment patterns; user space fills it.
#[map]
pub(crate) static ENVIRONMENT: HashMap<EnvironmentPrefix, u32> =
    HashMap::with_max_entries(MAX_RULES, 0);

/// Sessions; made here or by user space, removed by user space when they end.
#[map]
pub(crate) static SESSIONS: HashMap<SessionNumber, Session> =
    HashMap::with_max_entries(MAX_SESSIONS, 0);

/// What a new session begins as: a value of this size does not fit on the stack. Never written.
#[map]
pub(crate) static NEW_SESSION: Array<Session> = Array::with_max_entries(1, 0);

/// When the guard last condemned a session, ns since boot; 0: never.
#[map]
pub(crate) static CONDEMNED: Array<u64> = Array::with_max_entries(1, 0);

/// How many sessions began on each CPU, in element 0.
#[map]
pub(crate) static BEGUN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Files that a program has opened for reading.
#[map]
pub(crate) static SEEN: LruHashMap<SeenFile, u8> = LruHashMap::with_max_entries(SEEN_FILES, 0);

/// Sockets of sessions. The oldest fall out: their end is then told without bytes.
#[map]
pub(crate) static SOCKETS: LruHashMap<SocketKey, Socket> =
    LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// Which descriptor is which socket.
#[map]
pub(crate) static DESCRIPTORS: LruHashMap<DescriptorKey, SocketKey> =
    LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// Datagram destinations that were told of.
#[map]
pub(crate) static PEERS: LruHashMap<SeenPeer, u8> = LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// What sessions are known to have done to inodes: `KNOWN_…`.
#[map]
pub(crate) static KNOWN: LruHashMap<KnownKey, u32> = LruHashMap::with_max_entries(KNOWN_INODES, 0);

/// Directories that the policy names; user space fills it, and again when they change.
#[map]
pub(crate) static PLACES: HashMap<PlaceKey, Place> = HashMap::with_max_entries(MAX_PLACES, 0);

/// What is the recorder's own; user space fills it.
#[map]
pub(crate) static OWN: HashMap<OwnKey, u32> = HashMap::with_max_entries(MAX_OWN, 0);

/// Names that the policy knows; user space fills it.
#[map]
pub(crate) static NAMES: HashMap<NameKey, u32> = HashMap::with_max_entries(MAX_NAMES, 0);

/// Programs that the policy knows, by their file: `PROGRAM_…`, and gated ones; user space fills it.
#[map]
pub(crate) static PROGRAMS: HashMap<PlaceKey, u32> = HashMap::with_max_entries(MAX_NAMES, 0);

/// Gated programs by their size; user space fills it.
#[map]
pub(crate) static SIZES: HashMap<u64, u32> = HashMap::with_max_entries(MAX_NAMES, 0);

/// What operations under way are about to destroy, by thread or request of io_uring.
#[map]
pub(crate) static FORESEEN: LruHashMap<OperationKey, Foreseen> =
    LruHashMap::with_max_entries(MAX_FORESEEN, 0);

/// Open files that sessions cut, or may write over.
#[map]
pub(crate) static CUTS: LruHashMap<DescriptorKey, Cut> = LruHashMap::with_max_entries(MAX_CUTS, 0);

/// Names that sessions took somebody else's files from.
#[map]
pub(crate) static REMOVED: LruHashMap<RemovedKey, Removed> =
    LruHashMap::with_max_entries(MAX_REMOVED, 0);

/// Addresses of calls under way, by thread (pid and tid, as bpf_get_current_pid_tgid() has them).
#[map]
pub(crate) static GIVEN: LruHashMap<u64, Given> = LruHashMap::with_max_entries(MAX_GIVEN, 0);

/// Processes of sessions whose end was told of.
#[map]
pub(crate) static ENDED: LruHashMap<EndedKey, u8> = LruHashMap::with_max_entries(MAX_ENDED, 0);

/// Requests of io_uring under way, by the address of their `io_kiocb`.
#[map]
pub(crate) static URING: HashMap<u64, UringRequest> =
    HashMap::with_max_entries(MAX_URING_REQUESTS, 0);

/// While user space adopts running agents: child → parent of every fork outside sessions.
#[map]
pub(crate) static LINEAGE: LruHashMap<u32, u32> =
    LruHashMap::with_max_entries(agent_recorder_abi::limits::LINEAGE_FORKS, 0);

/// Not 0 in element 0 while user space adopts running agents.
#[map]
pub(crate) static ADOPTING: Array<u32> = Array::with_max_entries(1, 0);

/// In element 0, the process that wants to know whether programs of a kind are
/// called; 0 once they were. In element 1, how deep preemption was off then.
#[map]
pub(crate) static PROBE: Array<u32> = Array::with_max_entries(2, 0);
