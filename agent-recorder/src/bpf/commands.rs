//! The few bpf(2) commands that aya 0.14 lacks: elements of task storage (by pidfd),
//! information about a program, pins of any object, and fmod_ret programs.

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

/// `BPF_MAP_LOOKUP_ELEM`, `…_UPDATE_ELEM` and `…_DELETE_ELEM` (enum bpf_cmd,
/// include/uapi/linux/bpf.h).
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
    // SAFETY: `key` and `value` are alive through the call, and every caller passes
    // types of the sizes that the map was created with.
    unsafe { self::command(command, &mut attributes)? };
    Ok(())
}

/// An element of a map with keys `K` and values `V`; `None` where the map lacks the
/// key.
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

/// Sets an element.
pub(super) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: K, mut value: V) -> io::Result<()> {
    element(UPDATE, map, key, Some(&mut value))
}

/// Removes an element, if the map has it.
pub(super) fn delete<K: Pod>(map: BorrowedFd<'_>, key: K) -> io::Result<()> {
    match element::<K, u8>(DELETE, map, key, None) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// `BPF_MAP_GET_FD_BY_ID`.
const MAP_BY_NUMBER: libc::c_long = 14;

/// Opens a map of any process by the kernel's id of the map (bpf(2)).
///
/// # Errors
///
/// No map has this id, or the caller lacks the right to open it (CAP_SYS_ADMIN).
pub fn map_by_number(number: u32) -> io::Result<OwnedFd> {
    let mut attributes = [number, 0, 0];
    // SAFETY: the attributes hold numbers only, and the command returns a new
    // descriptor.
    unsafe { open(MAP_BY_NUMBER, &mut attributes) }
}

/// Where BPF objects are pinned.
pub const BPFFS: &str = "/sys/fs/bpf";

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
const PIN: libc::c_long = 6;
const OPEN_PINNED: libc::c_long = 7;

/// `union bpf_attr` for both commands.
#[repr(C)]
struct PinAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Pins an object at a path on a bpffs (bpf(2)).
pub(super) fn pin(path: &Path, object: BorrowedFd<'_>) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PinAttributes {
        path: path.as_ptr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: `path` is terminated by a NUL and alive through the call.
    unsafe { command(PIN, &mut attributes)? };
    Ok(())
}

/// Opens a pinned object.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PinAttributes {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: `path` is terminated by a NUL and alive through the call, and the
    // command returns a new descriptor.
    unsafe { open(OPEN_PINNED, &mut attributes) }
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
const INFO: libc::c_long = 15;

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttributes {
    fd: u32,
    length: u32,
    info: u64,
}

/// Length of `struct bpf_prog_info` up to `attach_btf_obj_id` (5.16) in 64-bit words.
/// An older kernel leaves the fields that it lacks at 0.
const INFO_WORDS: usize = 28;
/// Word of `recursion_misses` (5.12).
const RECURSION_MISSES: usize = 26;
/// Word with `verified_insns` in its lower half (5.16).
const VERIFIED_INSTRUCTIONS: usize = 27;

/// How often the kernel skipped a program because a preempted task was inside it on
/// the same CPU. 0 from kernels that do not count.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(info(program)?[RECURSION_MISSES])
}

/// Instructions that the verifier visited for a program; `None` from kernels that do
/// not count.
pub(super) fn verified_instructions(program: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let count = info(program)?[VERIFIED_INSTRUCTIONS] as u32;
    Ok((count != 0).then_some(count))
}

/// Length of `struct bpf_link_info` up to `prog_id` in 64-bit words: type and id are
/// the first.
const LINK_WORDS: usize = 2;
/// Word of `struct bpf_prog_info` with type and id.
const NUMBER: usize = 0;

/// Whether a link attaches this program.
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
    // SAFETY: `attributes` states the length of `info`, which is alive through the
    // call.
    unsafe { command(INFO, &mut attributes)? };
    Ok(info)
}

/// # Safety
///
/// Every pointer in the attributes is valid for the length that they state, through
/// the call.
unsafe fn command<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the pointer and the size are those of `attributes`; the caller vouches
    // for the pointers inside.
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
/// As for [`command`]; and the command returns a new descriptor.
unsafe fn open<T>(number: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the attributes; a new descriptor is an int, and
    // has no other owner.
    unsafe {
        let descriptor = command(number, attributes)?;
        Ok(OwnedFd::from_raw_fd(descriptor as RawFd))
    }
}

/// `BPF_BTF_LOAD`.
const LOAD_TYPES: libc::c_long = 18;

/// `union bpf_attr` for `BPF_BTF_LOAD`, without a log.
#[repr(C)]
struct TypesAttributes {
    types: u64,
    log: u64,
    length: u32,
    log_length: u32,
    log_level: u32,
    spare: u32,
}

/// Loads an object's type information into the kernel.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = TypesAttributes {
        types: types.as_ptr() as u64,
        log: 0,
        length: u32::try_from(types.len()).unwrap_or(u32::MAX),
        log_length: 0,
        log_level: 0,
        spare: 0,
    };
    // SAFETY: `types` has the stated length and is alive through the call, and the
    // command returns a new descriptor.
    unsafe { open(LOAD_TYPES, &mut attributes) }
}

/// `BPF_RAW_TRACEPOINT_OPEN`.
const ATTACH: libc::c_long = 17;

/// `union bpf_attr` for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct AttachAttributes {
    name: u64,
    program: u32,
    spare: u32,
}

/// Attaches a program to the function that it was loaded for. Closing the link
/// detaches it.
pub(super) fn attach_tracing(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = AttachAttributes {
        name: 0,
        program: program.as_raw_fd().cast_unsigned(),
        spare: 0,
    };
    // SAFETY: the attributes hold no pointer, and the command returns a new
    // descriptor.
    unsafe { open(ATTACH, &mut attributes) }
}

/// `BPF_PROG_LOAD`.
const LOAD: libc::c_long = 5;
/// Log level: each instruction that the verifier visits.
const LOG_INSTRUCTIONS: u32 = 1;
/// Bytes of a verifier's log: some 60 for each of 10,000 instructions, and a reserve.
/// The kernel returns the end of a longer log; before 6.4, its beginning.
const LOG_BYTES: usize = 1 << 20;

/// An fmod_ret program before it is loaded.
pub(super) struct ModifyReturn<'a> {
    /// Name; the kernel stores the first 15 bytes.
    pub name: &'a str,
    pub license: &'a CStr,
    /// Instructions of the program and of the functions that it calls.
    pub body: &'a Function,
    /// Descriptor of the object's type information.
    pub types: BorrowedFd<'a>,
    /// The function to attach to, as its number in the kernel's type information.
    pub attach_to: u32,
}

/// The verifier's answer.
pub(super) enum Verified {
    Program(OwnedFd),
    Refused { source: io::Error, log: String },
}

impl ModifyReturn<'_> {
    /// Has the kernel verify and load the program. After a refusal it tries again
    /// with a log.
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
        // SAFETY: every field is a number, and 0 is the kernel's default for each.
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
        // SAFETY: each count is the length of the slice that its pointer comes from,
        // the slices are alive through the call, and the command returns a new
        // descriptor.
        unsafe { open(LOAD, &mut attributes) }
    }
}
