//! System calls of both ABIs of x86-64: the native one, and the 32-bit one that
//! `int 0x80` enters also from 64-bit code.

use std::cell::Cell;
use std::io;

use super::{Outcome, named, outcome};

/// Bytes of arguments that one process makes.
const ARENA: usize = 8 << 20;

/// Which ABI [`syscall`] calls through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// `syscall`.
    Native,
    /// `int 0x80`.
    Compat,
}

thread_local! {
    static ABI: Cell<Abi> = const { Cell::new(Abi::Native) };
    static ARENA_LEFT: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

impl Abi {
    /// Makes this the ABI of the running thread.
    pub fn enter(self) {
        ABI.set(self);
    }

    /// The ABI of the running thread.
    pub fn current() -> Self {
        ABI.get()
    }
}

/// Bytes at an address that a 32-bit caller can name. They are never freed: stimulus programs are short.
#[derive(Clone, Copy, Debug)]
pub struct Argument(usize);

impl Argument {
    /// Copies `bytes` to such an address.
    ///
    /// # Panics
    ///
    /// There is no memory below 2 GiB, or more is asked for than a stimulus has any use for.
    pub fn new(bytes: &[u8]) -> Self {
        let (mut at, mut left) = ARENA_LEFT.get();
        if left < bytes.len() {
            (at, left) = (map_low(), ARENA);
        }
        assert!(bytes.len() <= left, "an argument of {} bytes", bytes.len());
        // SAFETY: `left` bytes from `at` on belong to this thread, and nothing refers to them yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        let used = bytes.len().next_multiple_of(8).min(left);
        ARENA_LEFT.set((at + used, left - used));
        Self(at)
    }

    /// Little-endian 32-bit words: an array of a 32-bit caller.
    pub fn words(words: &[u32]) -> Self {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Self::new(&bytes)
    }

    /// Its address.
    pub fn as_ptr(&self) -> *const u8 {
        self.0 as *const u8
    }

    /// Its address, as a 32-bit caller has it.
    pub fn low(&self) -> u32 {
        self.0 as u32
    }
}

fn map_low() -> usize {
    // SAFETY: without MAP_FIXED, a new anonymous mapping replaces no other.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            ARENA,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert!(
        mapped != libc::MAP_FAILED,
        "no memory below 2 GiB: {}",
        io::Error::last_os_error()
    );
    mapped as usize
}

/// Calls the kernel, past the C library, through the thread's ABI; the number is the native one.
pub fn syscall(number: libc::c_long, arguments: [i64; 6]) -> Outcome {
    if Abi::current() == Abi::Compat {
        return compat(compat_number(number), arguments);
    }
    // SAFETY: arguments are numbers, or addresses of memory that the caller keeps for the call's time.
    let result = unsafe {
        libc::syscall(
            number,
            arguments[0],
            arguments[1],
            arguments[2],
            arguments[3],
            arguments[4],
            arguments[5],
        )
    };
    outcome(result)
}

/// Calls the kernel by its 32-bit number.
#[cfg(target_arch = "x86_64")]
pub fn compat(number: i64, arguments: [i64; 6]) -> Outcome {
    let result: i32;
    // SAFETY: arguments are numbers, or addresses that stay valid; rbx and rbp, which the
    // compiler reserves, are restored. Before 6.7 the kernel clears r8 to r11 here.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "push rbp",
            "mov ebp, {last:e}",
            "int 0x80",
            "pop rbp",
            "xchg rbx, {first}",
            last = in(reg) arguments[5] as i32,
            first = inout(reg) arguments[0] & 0xffff_ffff => _,
            inlateout("eax") number as i32 => result,
            in("ecx") arguments[1] as i32,
            in("edx") arguments[2] as i32,
            in("esi") arguments[3] as i32,
            in("edi") arguments[4] as i32,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result >= 0 {
        Ok(result.into())
    } else {
        Err(named(result.unsigned_abs()))
    }
}

/// The 32-bit number of a call (arch/x86/entry/syscalls/syscall_32.tbl).
///
/// # Panics
///
/// The table below lacks the call.
fn compat_number(number: i64) -> i64 {
    const NUMBERS: &[(i64, i64)] = &[
        (libc::SYS_open, 5),
        (libc::SYS_close, 6),
        (libc::SYS_creat, 8),
        (libc::SYS_link, 9),
        (libc::SYS_unlink, 10),
        (libc::SYS_execve, 11),
        (libc::SYS_chdir, 12),
        (libc::SYS_mknod, 14),
        (libc::SYS_chmod, 15),
        (libc::SYS_mount, 21),
        (libc::SYS_ptrace, 26),
        (libc::SYS_kill, 37),
        (libc::SYS_rename, 38),
        (libc::SYS_mkdir, 39),
        (libc::SYS_rmdir, 40),
        (libc::SYS_umount2, 52),
        (libc::SYS_ioctl, 54),
        (libc::SYS_symlink, 83),
        (libc::SYS_truncate, 92),
        (libc::SYS_ftruncate, 93),
        (libc::SYS_fchmod, 94),
        (libc::SYS_rt_sigqueueinfo, 178),
        (libc::SYS_lchown, 198),
        (libc::SYS_fchown, 207),
        (libc::SYS_chown, 212),
        (libc::SYS_setxattr, 226),
        (libc::SYS_lsetxattr, 227),
        (libc::SYS_fsetxattr, 228),
        (libc::SYS_removexattr, 235),
        (libc::SYS_lremovexattr, 236),
        (libc::SYS_fremovexattr, 237),
        (libc::SYS_tkill, 238),
        (libc::SYS_tgkill, 270),
        (libc::SYS_openat, 295),
        (libc::SYS_mkdirat, 296),
        (libc::SYS_mknodat, 297),
        (libc::SYS_fchownat, 298),
        (libc::SYS_unlinkat, 301),
        (libc::SYS_renameat, 302),
        (libc::SYS_linkat, 303),
        (libc::SYS_symlinkat, 304),
        (libc::SYS_fchmodat, 306),
        (libc::SYS_rt_tgsigqueueinfo, 335),
        (libc::SYS_prlimit64, 340),
        (libc::SYS_name_to_handle_at, 341),
        (libc::SYS_open_by_handle_at, 342),
        (libc::SYS_process_vm_writev, 348),
        (libc::SYS_renameat2, 353),
        (libc::SYS_bpf, 357),
        (libc::SYS_execveat, 358),
    ];
    // Younger calls have one number everywhere.
    if number >= libc::SYS_pidfd_send_signal {
        return number;
    }
    match NUMBERS.iter().find(|(native, _)| *native == number) {
        Some((_, compat)) => *compat,
        None => panic!("call {number} has no 32-bit number here"),
    }
}
