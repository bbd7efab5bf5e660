//! Every cap of the kernel side, with its reason.

/// Bytes of one path that a caller gives, terminator included: PATH_MAX
/// (`include/uapi/linux/limits.h`), and one more that tells a path that was cut
/// from the longest that a call takes.
pub const USER_PATH_BYTES: usize = 4096 + 1;
/// Bytes of one path that is walked in the kernel: whatever a call can name
/// (PATH_MAX), and the component that the walk looks at last. A deeper one keeps its tail.
pub const WALKED_PATH_BYTES: usize = 4096 + COMPONENT_BYTES;
/// Directory levels of one walk. 4,096 bytes hold at most 2,048; those beyond
/// are walked to tell how long the path was.
pub const WALKED_LEVELS: u32 = 8192;
/// Bytes of one component with its terminator: NAME_MAX + 1.
pub const COMPONENT_BYTES: usize = 256;
/// Bytes of all arguments of one exec that are kept. Build tools reach some
/// 4 KiB; 2 MiB (ARG_MAX) would let one exec fill a ring.
pub const ARGV_BYTES: usize = 8192;
/// Arguments that are kept of an exec that failed: its argv is still an array
/// of pointers, each to be followed by the verifier.
pub const FAILED_EXEC_ARGS: u32 = 32;
/// Bytes of one argument that are kept of an exec that failed.
pub const FAILED_EXEC_ARG_BYTES: usize = 256;
/// Environment entries that are searched for an agent's mark at one exec.
pub const ENVIRONMENT_ENTRIES: u32 = 256;
/// First arguments that are compared with script rules (`node cli.js`, `python -m` …).
pub const SCRIPT_ARGS: u32 = 4;
/// Arguments of a gated program that are searched for a word that has it stopped; with more, it is.
pub const GATE_ARGS: u32 = 64;
/// Gated programs: each has a key for its name and one for it as a script.
pub const MAX_GATED: u32 = 256;
/// Bytes of a rule's pattern with its terminator: one map key.
pub const PATTERN_BYTES: usize = 48;
/// Rules in all: a host with more agents than this needs another design.
pub const MAX_RULES: u32 = 256;
/// Bytes of one UDP payload that are kept to read DNS questions from: RFC 1035 section 4.2.1 has 512 for a whole message.
pub const DNS_BYTES: usize = 512;
/// Bytes of one socket address: `struct sockaddr_un` has 110, the largest that is decoded.
pub const SOCKADDR_BYTES: usize = 112;
/// Messages of one sendmmsg(2) that are looked at; a resolver sends two.
pub const SENDMMSG_MESSAGES: u32 = 4;
/// Bytes of one extended attribute's name with its terminator: XATTR_NAME_MAX + 1,
/// and one more as in [`USER_PATH_BYTES`].
pub const XATTR_NAME_BYTES: usize = 256 + 1;

/// Bytes of the scratch area that one event is put together in: the largest
/// event (two walked and two user paths, or an exec's) fits below half of it,
/// so that the verifier's "offset + length" stays inside.
pub const SCRATCH_BYTES: usize = 32 * 1024;
/// Scratch areas of one CPU: so many hooks can be under way there at one time,
/// each on top of the one before (`with_area`). Two are the usual most.
pub const AREAS: u32 = 8;
/// An event may grow to here; what a segment may add beyond fits in the rest.
pub const EVENT_BYTES: usize = 24 * 1024 - 1;

/// Sessions alive at one time on one host.
pub const MAX_SESSIONS: u32 = 512;
/// The guard's largest limit: a session keeps one time stamp for each.
pub const MAX_LIMIT: usize = 1024;
/// Marks of a session's longer budgets: so many steps a budget is divided into at most.
pub const MAX_STEPS: usize = 64;
/// Protected paths with a limit of their own; a session keeps one counter for each.
pub const MAX_PROTECTED: usize = 32;
/// Inodes that sessions are known to have made or moved. The oldest fall out,
/// and count as somebody else's again.
pub const KNOWN_INODES: u32 = 262_144;
/// Bytes of the ring that stopped programs are told of in: some 2,700, each of which is a process that waits.
pub const GATE_RING_BYTES: u32 = 256 << 10;
/// Files that sessions wrote and that are remembered, to know who starts them.
/// The oldest fall out, and who starts those is not told of.
pub const MAX_WRITTEN: u32 = 65_536;
/// Names of such files by which scripts are known: as many as an agent gives in days.
pub const MAX_WRITTEN_NAMES: u32 = 4096;
/// Execs of heirs that are told of at about one time: a replica of the program
/// looks for what the one before it told a moment ago.
pub const MAX_TOLD: u32 = 4096;
/// What is the recorder's own: its programs, maps and links, some 300 where most
/// are there three times, and its files with the directories above.
pub const MAX_OWN: u32 = 1024;
/// Directories that the policy names, those above protected ones included.
pub const MAX_PLACES: u32 = 4096;
/// Names that the policy knows.
pub const MAX_NAMES: u32 = 512;
/// Bytes of such a name; with the key's kind, 32.
pub const NAME_KEY_BYTES: usize = 28;
/// Bytes of a file's suffix with its dot: `.class` has six.
pub const SUFFIX_BYTES: usize = 12;
/// Operations under way in sessions at one time.
pub const MAX_FORESEEN: u32 = 16_384;
/// Names that sessions took files from, and may give to new ones: programs that
/// unpack remove a file and make it anew at once.
pub const MAX_REMOVED: u32 = 4096;
/// Open files of sessions that were cut, or may be written over, at one time.
pub const MAX_CUTS: u32 = 16_384;
/// Files that a session may have emptied and not written again yet: programs
/// that rewrite a tree at once open as many as they have descriptors (RLIMIT_NOFILE).
pub const MAX_PENDING_CUTS: u64 = 1024;
/// So many files that keep their size when they are rewritten weigh as one that is destroyed.
pub const REWRITES_PER_FILE: u64 = 64;
/// For so long after a limit was met every call of the session's processes is
/// their last, ns. By then the daemon has ended them, or there is none and their
/// recorded calls end them: nobody else should pay for longer.
pub const STRIKING_NS: u64 = 10_000_000_000;
/// A mount that a session takes away and did not make weighs as so many files: four meet the usual limit.
pub const UNMOUNT_FILES: u64 = 16;
/// A rewritten file that keeps less than one part in so many of its length is destroyed.
pub const KEPT_PART: u64 = 4;

/// Remembered pairs of process image and file, for "first open only". The
/// oldest fall out, and their next open is recorded once more.
pub const SEEN_FILES: u32 = 65_536;
/// Sockets of sessions whose bytes are counted at one time.
pub const MAX_SOCKETS: u32 = 16_384;
/// Processes that have just ended: remembered while the last of their threads
/// end, which no more are in than there are CPUs.
pub const MAX_ENDED: u32 = 4096;
/// Requests of io_uring that are under way in sessions at one time: four full rings of the usual size.
pub const MAX_URING_REQUESTS: u32 = 16_384;
/// Descriptors looked at when a process of a session with sockets forks, execs
/// or ends, and by close_range(2): the usual limit of a process (RLIMIT_NOFILE).
pub const DESCRIPTORS_WALKED: u32 = 1024;
/// Sockets of a process that requests of io_uring hold beyond their close, at
/// one time: they do so for a moment, so a few.
pub const HELD_SOCKETS: u32 = 8;

/// Threads that are in a call which gives an address, at one time: the oldest
/// fall out, and what they gave is read from their memory.
pub const MAX_GIVEN: u32 = 4096;

/// System call numbers in one table; Linux 7.2 ends below 480.
pub const SYSCALL_NUMBERS: u32 = 512;

/// Threads of all sessions that can have a tag at one time, on kernels that
/// keep tags in a map: twice what the kernel lets run by default (`PID_MAX_DEFAULT`).
pub const MAX_TAGGED: u32 = 65_536;
/// Tries to be the only one that counts a session's delete, on kernels without
/// atomic additions that answer: some 100 µs, hundreds of times what one takes.
pub const LOCK_TRIES: u32 = 1024;

/// Forks that are remembered while running agents are adopted: a second of a busy host.
pub const LINEAGE_FORKS: u32 = 16_384;
