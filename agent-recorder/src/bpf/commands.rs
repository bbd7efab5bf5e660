//! The few bpf(2) commands that aya 0.14 has no call for: elements of task
//! storage (by pidfd), what the kernel says of a program, pins of any object,
//! and fmod_ret programs.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use agent_recorder_abi::Pod;
use aya_obj::Function;
use aya_obj::generated::bpf_attach_type::BPF_MODIFY_RETURN;
use aya_obj::generated::bpf_attr__bindgen_ty_4 as LoadAttributes;
use aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_TRACING;

/// `BPF_MAP_LOOKUP_ELEM` and its kin (enum bpf_cmd, include/uapi/linux/bpf.h).
const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;

/// `union bpf_attr` for element commands.
#[repr(C)]
struct ElementAttributes {
    map_fd: u32,
    spare: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn element<K: Pod, V: Pod>(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    key: K,
    value: Option<&mut V>,
) -> io::Result<()> {
    let mut attributes = ElementAttributes {
        map_fd: map.as_raw_fd().cast_unsigned(),
        spare: 0,
        key: (&raw const key) as u64,
        value: value.map_or(0, |value| (&raw mut *value) as u64),
        flags: 0,
    };
    // SAFETY: key and value have the sizes that the map was made with, as the callers see to.
    unsafe { self::command(command, &mut attributes)? };
    Ok(())
}

/// An element of a map with keys `K` and values `V`, `None` where there is none.
pub(super) fn look_up<K: Pod, V: Pod + Default>(
    map: BorrowedFd<'_>,
    key: K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    match element(LOOKUP, map, key, Some(&mut value)) {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets one.
pub(super) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: K, mut value: V) -> io::Result<()> {
    element(UPDATE, map, key, Some(&mut value))
}

/// Takes one away, if it is there.
pub(super) fn delete<K: Pod>(map: BorrowedFd<'_>, key: K) -> io::Result<()> {
    match element::<K, u8>(DELETE, map, key, None) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// `BPF_MAP_GET_FD_BY_ID`.
const MAP_BY_NUMBER: libc::c_long = 14;

/// A descriptor of a map that somebody made, by the kernel's number for it (bpf(2)).
///
/// # Errors
///
/// There is none, or the caller may not have it.
pub fn map_by_number(number: u32) -> io::Result<OwnedFd> {
    let mut attributes = [number, 0, 0];
    // SAFETY: it takes numbers, and gives a new descriptor.
    unsafe { open(MAP_BY_NUMBER, &mut attributes) }
}

/// Where BPF objects are pinned.
pub const BPFFS: &str = "/sys/fs/bpf";

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
const PIN: libc::c_long = 6;
const OPEN_PINNED: libc::c_long = 7;

/// `union bpf_attr` for both.
#[repr(C)]
struct PinAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Gives an object a name on a bpffs (bpf(2)).
pub(super) fn pin(path: &Path, object: BorrowedFd<'_>) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PinAttributes {
        path: path.as_ptr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: the path is a string, and lives.
    unsafe { command(PIN, &mut attributes)? };
    Ok(())
}

/// A descriptor of a named object.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PinAttributes {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: as above; the command makes a descriptor.
    unsafe { open(OPEN_PINNED, &mut attributes) }
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
const INFO: libc::c_long = 15;

/// `union bpf_attr` for it.
#[repr(C)]
struct InfoAttributes {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to `attach_btf_obj_id` (5.16), in 64-bit words;
/// an older kernel leaves at 0 what it does not know.
const INFO_WORDS: usize = 28;
/// Since 5.12.
const RECURSION_MISSES: usize = 26;
/// In its lower half, since 5.16.
const VERIFIED_INSTRUCTIONS: usize = 27;

/// How often the kernel skipped a program because it was under way on that CPU
/// already, in a task that was preempted in it. 0 from kernels that do not count.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(info(program)?[RECURSION_MISSES])
}

/// Instructions that the verifier went through for a program, `None` from
/// kernels that do not say.
pub(super) fn verified_instructions(program: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let count = info(program)?[VERIFIED_INSTRUCTIONS] as u32;
    Ok((count != 0).then_some(count))
}

/// `struct bpf_link_info` up to `prog_id`: type and id in the first word.
const LINK_WORDS: usize = 2;
/// `struct bpf_prog_info` begins with type and id.
const NUMBER: usize = 0;

/// Whether a link holds this program at a hook.
pub(super) fn are_linked(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<bool> {
    let linked = information::<LINK_WORDS>(link)?[1] as u32;
    let number = (info(program)?[NUMBER] >> 32) as u32;
    Ok(linked == number)
}

fn info(program: BorrowedFd<'_>) -> io::Result<[u64; INFO_WORDS]> {
    information(program)
}

fn information<const WORDS: usize>(object: BorrowedFd<'_>) -> io::Result<[u64; WORDS]> {
    let mut info = [0u64; WORDS];
    let mut attributes = InfoAttributes {
        fd: object.as_raw_fd().cast_unsigned(),
        length: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: `info` has the length that the attributes say.
    unsafe { command(INFO, &mut attributes)? };
    Ok(info)
}

/// # Safety
///
/// What the attributes point to must be as long as they say, through the call.
unsafe fn command<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are of this size, the rest is the caller's word.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// # Safety
///
/// As [`command`], and the command's result is a new descriptor.
unsafe fn open<T>(number: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's word; a descriptor is an int, and nobody else has it.
    unsafe {
        let descriptor = command(number, attributes)?;
        Ok(OwnedFd::from_raw_fd(descriptor as RawFd))
    }
}

/// `BPF_BTF_LOAD`.
const LOAD_TYPES: libc::c_long = 18;

/// `union bpf_attr` for it, without a log.
#[repr(C)]
struct TypesAttributes {
    types: u64,
    log: u64,
    length: u32,
    log_length: u32,
    log_level: u32,
    spare: u32,
}

/// Gives the kernel an object's type information.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = TypesAttributes {
        types: types.as_ptr() as u64,
        log: 0,
        length: u32::try_from(types.len()).unwrap_or(u32::MAX),
        log_length: 0,
        log_level: 0,
        spare: 0,
    };
    // SAFETY: `types` has that length; the command makes a descriptor.
    unsafe { open(LOAD_TYPES, &mut attributes) }
}

/// `BPF_RAW_TRACEPOINT_OPEN`.
const ATTACH: libc::c_long = 17;

/// `union bpf_attr` for it.
#[repr(C)]
struct AttachAttributes {
    name: u64,
    program: u32,
    spare: u32,
}

/// Attaches a program that knows since it was loaded to what; closing the link detaches it.
pub(super) fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = AttachAttributes {
        name: 0,
        program: program.as_raw_fd().cast_unsigned(),
        spare: 0,
    };
    // SAFETY: they point nowhere; the command makes a descriptor.
    unsafe { open(ATTACH, &mut attributes) }
}

/// `BPF_PROG_LOAD`.
const LOAD: libc::c_long = 5;
/// A log of each instruction that the verifier looks at.
const LOG_INSTRUCTIONS: u32 = 1;
/// Bytes of such a log: some 60 for each of 10,000 instructions, and room. Of a
/// longer one the kernel writes the end, or (before 6.4) the beginning.
const LOG_BYTES: usize = 1 << 20;

/// An fmod_ret program before it is loaded.
pub(super) struct ModifyReturn<'a> {
    /// The kernel keeps its first 15 bytes.
    pub name: &'a str,
    pub license: &'a CStr,
    /// Instructions with the functions that they call.
    pub body: &'a Function,
    /// The object's.
    pub types: BorrowedFd<'a>,
    /// The kernel's function, by its number in the kernel's type information.
    pub attach_to: u32,
}

/// The verifier's answer.
pub(super) enum Verified {
    Program(OwnedFd),
    Refused { source: io::Error, log: String },
}

impl ModifyReturn<'_> {
    /// Has the kernel verify it; a second time, for the log, when it refuses.
    pub(super) fn load(&self) -> Verified {
        let source = match self.try_load(&mut []) {
            Ok(program) => return Verified::Program(program),
            Err(source) => source,
        };
        let mut log = vec![0; LOG_BYTES];
        match self.try_load(&mut log) {
            Ok(program) => Verified::Program(program),
            Err(_) => Verified::Refused {
                source,
                log: CStr::from_bytes_until_nul(&log)
                    .map(|log| log.to_string_lossy().into_owned())
                    .unwrap_or_default(),
            },
        }
    }

    fn try_load(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        let functions = self.body.func_info.func_info_bytes();
        let lines = self.body.line_info.line_info_bytes();
        // SAFETY: numbers only, for which 0 is a value: the kernel's default.
        let mut attributes: LoadAttributes = unsafe { std::mem::zeroed() };
        attributes.prog_type = BPF_PROG_TYPE_TRACING as u32;
        attributes.expected_attach_type = BPF_MODIFY_RETURN as u32;
        attributes.attach_btf_id = self.attach_to;
        let last = attributes.prog_name.len() - 1;
        for (to, &from) in attributes.prog_name[..last]
            .iter_mut()
            .zip(self.name.as_bytes())
        {
            *to = from.cast_signed();
        }
        attributes.license = self.license.as_ptr() as u64;
        attributes.insns = self.body.instructions.as_ptr() as u64;
        attributes.insn_cnt = self.body.instructions.len() as u32;
        attributes.prog_btf_fd = self.types.as_raw_fd().cast_unsigned();
        attributes.func_info = functions.as_ptr() as u64;
        attributes.func_info_cnt = self.body.func_info.len() as u32;
        attributes.func_info_rec_size = self.body.func_info_rec_size as u32;
        attributes.line_info = lines.as_ptr() as u64;
        attributes.line_info_cnt = self.body.line_info.len() as u32;
        attributes.line_info_rec_size = self.body.line_info_rec_size as u32;
        if !log.is_empty() {
            attributes.log_level = LOG_INSTRUCTIONS;
            attributes.log_buf = log.as_mut_ptr() as u64;
            attributes.log_size = log.len() as u32;
        }
        // SAFETY: each count is that of what it stands beside, and all of it lives; the command makes a descriptor.
        unsafe { open(LOAD, &mut attributes) }
    }
}
