//! Every limit of the kernel side, with its reason.

/// Bytes of one path of a caller with its terminator: PATH_MAX
/// (`include/uapi/linux/limits.h`), and one more, which distinguishes a cut path from
/// the longest one that a call accepts.
pub const USER_PATH_BYTES: usize = 4096 + 1;
/// Bytes of one path that is walked in the kernel: the longest that a call can name
/// (PATH_MAX), and the component that the walk reads last. Of a deeper path the tail
/// is recorded.
pub const WALKED_PATH_BYTES: usize = 4096 + COMPONENT_BYTES;
/// Directory levels of one walk. 4,096 bytes contain at most 2,048 levels; further
/// ones are walked only to count the path's bytes.
pub const WALKED_LEVELS: u32 = 8192;
/// Bytes of one component with its terminator: NAME_MAX + 1.
pub const COMPONENT_BYTES: usize = 256;
/// Bytes of all arguments of one exec that are recorded. Build tools reach some 4
/// KiB; 2 MiB (ARG_MAX) would let one exec fill a ring.
pub const ARGV_BYTES: usize = 8192;
/// Arguments that are recorded of a failed exec: its argv is still an array of
/// pointers, and the verifier follows each.
pub const FAILED_EXEC_ARGS: u32 = 32;
/// Bytes of one argument that are recorded of a failed exec.
pub const FAILED_EXEC_ARG_BYTES: usize = 256;
/// Environment entries of one exec that are compared with agent rules.
pub const ENVIRONMENT_ENTRIES: u32 = 256;
/// First arguments that are compared with script rules (`node cli.js`, `python -m` …).
pub const SCRIPT_ARGS: u32 = 4;
/// Arguments of a gated program that are searched for a word of a rule; a program
/// with more is stopped.
pub const GATE_ARGS: u32 = 64;
/// Gated programs: each has one key for its name as a program, and one as a script.
pub const MAX_GATED: u32 = 256;
/// Bytes of a rule's pattern with its terminator: one map key.
pub const PATTERN_BYTES: usize = 48;
/// Agent rules: a host with more agents than this needs another design.
pub const MAX_RULES: u32 = 256;
/// Bytes of one UDP payload that are searched for DNS questions: RFC 1035 section
/// 4.2.1 allows 512 for a whole message.
pub const DNS_BYTES: usize = 512;
/// Bytes of one socket address: `struct sockaddr_un` has 110, the largest that is decoded.
pub const SOCKADDR_BYTES: usize = 112;
/// Messages of one sendmmsg(2) that are examined; a resolver sends two.
pub const SENDMMSG_MESSAGES: u32 = 4;
/// Bytes of one extended attribute's name with its terminator: XATTR_NAME_MAX + 1,
/// and one more for the reason of [`USER_PATH_BYTES`].
pub const XATTR_NAME_BYTES: usize = 256 + 1;

/// Bytes of the scratch area of one event. The largest event (two walked and two user
/// paths, or an exec's) fits into less than half of it, so that the verifier's bound
/// of "offset + length" stays inside.
pub const SCRATCH_BYTES: usize = 32 * 1024;
/// Scratch areas of one CPU: as many hooks can run there at one time, each
/// interrupting the one before (`with_area`). Usually there are at most two.
pub const AREAS: u32 = 8;
/// Largest offset of an event's next segment; the rest of the area has room for that
/// segment.
pub const EVENT_BYTES: usize = 24 * 1024 - 1;

/// Sessions alive at one time on one host.
pub const MAX_SESSIONS: u32 = 512;
/// The guard's largest limit: a session stores one time stamp for each file.
pub const MAX_LIMIT: usize = 1024;
/// Steps of a session's longer budgets, with one time stamp each.
pub const MAX_STEPS: usize = 64;
/// Protected paths with a limit of their own; a session has one counter for each.
pub const MAX_PROTECTED: usize = 32;
/// Inodes that sessions created or moved. The oldest are forgotten, and count as
/// foreign files again.
pub const KNOWN_INODES: u32 = 262_144;
/// Bytes of the ring of stopped programs: some 2,700 entries, each a waiting process.
pub const GATE_RING_BYTES: u32 = 256 << 10;
/// Files that sessions wrote, and whose heirs are recognised. The oldest are
/// forgotten, and their heirs stay unrecorded.
pub const MAX_WRITTEN: u32 = 65_536;
/// Names of written files, by which scripts are recognised: an agent writes as many
/// in days.
pub const MAX_WRITTEN_NAMES: u32 = 4096;
/// Execs of heirs at about one time: a replica of the program looks up which events
/// the previous replica has emitted.
pub const MAX_EMITTED_HEIRS: u32 = 4096;
/// The recorder's own objects: its programs, maps and links, some 300 where most
/// programs have three replicas, and its files with their parent directories.
pub const MAX_OWN: u32 = 1024;
/// Directories of the policy, including the parents of protected ones.
pub const MAX_PLACES: u32 = 4096;
/// Names in the policy.
pub const MAX_NAMES: u32 = 512;
/// Bytes of a name in the policy; with the key's kind, 32.
pub const NAME_KEY_BYTES: usize = 28;
/// Bytes of a file's suffix with its dot: `.class` has six.
pub const SUFFIX_BYTES: usize = 12;
/// Operations of sessions that are running at one time.
pub const MAX_FORESEEN: u32 = 16_384;
/// Names from which sessions removed files, and at which they may create new ones:
/// programs that unpack remove a file and create it again at once.
pub const MAX_REMOVED: u32 = 4096;
/// Open files that sessions have emptied or created again, and the descriptors that
/// lead to them, at one time.
pub const MAX_CUTS: u32 = 16_384;
/// Files whose length sessions have seen. The oldest are forgotten, and their length is
/// unknown when they are emptied.
pub const MAX_CONTENTS: u32 = 65_536;
/// Files that a session may have emptied and not written again yet: programs that
/// rewrite a tree open as many as they have descriptors (RLIMIT_NOFILE).
pub const MAX_PENDING_CUTS: u64 = 1024;
/// Age of the judge's last sign of life, ns, beyond which a session that meets a limit
/// ends at once: nobody would let it go on. The recorder gives a sign twice a second.
pub const JUDGE_SILENT_NS: u64 = 2_000_000_000;
/// Directories that the judge has spared. The oldest are forgotten, and are judged again.
pub const MAX_SPARED: u32 = 4096;
/// Time after a limit was met in which every call of the session's processes is their
/// last, ns. Later the daemon has ended them, or their recorded calls do; a longer
/// time would cost all other processes.
pub const STRIKING_NS: u64 = 10_000_000_000;

/// Pairs of process image and file, for "first open only". The oldest are forgotten,
/// and their next open is recorded once more.
pub const SEEN_FILES: u32 = 65_536;
/// Sockets of sessions whose bytes are counted at one time.
pub const MAX_SOCKETS: u32 = 16_384;
/// Processes that have just ended, which are remembered while the last of their
/// threads end. No more threads do so at one time than there are CPUs.
pub const MAX_ENDED: u32 = 4096;
/// Requests of io_uring of sessions at one time: four full rings of the usual size.
pub const MAX_URING_REQUESTS: u32 = 16_384;
/// Descriptors that are examined when a process of a session with sockets forks,
/// execs or ends, and by close_range(2): the usual limit of a process
/// (RLIMIT_NOFILE).
pub const DESCRIPTORS_WALKED: u32 = 1024;
/// Sockets of a process that io_uring requests keep open after their close, at one
/// time. They do so for a moment, so these are few.
pub const HELD_SOCKETS: u32 = 8;

/// Threads in a call with an address, at one time. The oldest are forgotten, and
/// their addresses are read from the caller's memory.
pub const MAX_SOCKADDRS: u32 = 4096;

/// System call numbers in one table; Linux 7.2 ends below 480.
pub const SYSCALL_NUMBERS: u32 = 512;

/// Threads of all sessions with a tag at one time, on kernels that store tags in a
/// map: twice the kernel's default number of processes (`PID_MAX_DEFAULT`).
pub const MAX_TAGGED: u32 = 65_536;
/// Attempts to take the lock for counting a session's delete, on kernels whose atomic
/// additions return no value: some 100 µs, hundreds of times the length of one count.
pub const LOCK_TRIES: u32 = 1024;

/// Forks that are stored while running agents are adopted: those of one second on a
/// busy host.
pub const LINEAGE_FORKS: u32 = 16_384;
