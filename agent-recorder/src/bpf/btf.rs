//! Resolves field offsets from the running kernel's BTF (Documentation/bpf/btf.rst).

use std::path::Path;

use agent_recorder_abi::kernel_fields::{ABSENT, FIELDS, Field};
use aya::Btf;
use aya_obj::btf::BtfKind;
use btfparse::{Error as ParseError, ErrorKind, Offset, Readable, TypeInformation, TypeVariant};

use super::Error;

/// Where the kernel shows its BTF.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Values of the kernel programs' global variables, found in BTF.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Every field's offset in bytes, in the order of [`FIELDS`].
    pub(super) values: Vec<u32>,
    /// Value of the kernel's `file_count` for one reference.
    pub(super) file_one_reference: u64,
    /// Whether `io_uring_complete` passes the completion by pointer (6.15).
    pub(super) completion_by_pointer: bool,
    /// Whether the tracepoints of io_uring pass the request itself (6.0).
    pub(super) uring: bool,
    /// Whether the kernel has the helpers that the current programs call (5.17).
    pub(super) has_helpers: bool,
    /// Whether tasks can be preempted in programs on trampolines (5.11).
    pub(super) preempts_trampolines: bool,
}

/// Resolves every field. `path` and `btf` are the same file: aya finds a structure by
/// name and kind, the parser by name alone.
///
/// # Errors
///
/// The file cannot be read or parsed, or a mandatory field is missing.
pub(super) fn resolve(path: &Path, btf: &Btf) -> Result<Resolved, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::NoBtf {
        path: path.to_owned(),
        source,
    })?;
    let types = TypeInformation::new(&Bytes(bytes)).map_err(|error| Error::BadBtf {
        path: path.to_owned(),
        message: error.message().to_owned(),
    })?;
    let kernel = KernelTypes { types, btf };
    let completion = kernel
        .parameters_of("btf_trace_io_uring_complete")
        .map_or(0, |parameters| parameters.len());
    Ok(Resolved {
        values: FIELDS
            .iter()
            .map(|field| kernel.offset(field))
            .collect::<Result<_, _>>()?,
        file_one_reference: u64::from(kernel.member("file", "f_ref").is_none()),
        completion_by_pointer: completion == COMPLETE_BY_POINTER,
        uring: kernel.shows_requests(completion),
        has_helpers: kernel.has_value("bpf_func_id", "BPF_FUNC_loop"),
        preempts_trampolines: kernel.member("task_struct", "migration_disabled").is_some(),
    })
}

/// Fields of a request that every record of a request needs.
const REQUEST_FIELDS: [&str; 2] = ["cmd", "cqe.fd"];
/// The tracepoint of a submission, by its older and its newer name.
const SUBMISSIONS: [&str; 2] = [
    "btf_trace_io_uring_submit_req",
    "btf_trace_io_uring_submit_sqe",
];

/// Number of arguments of the tracepoint that passes the completion by pointer: `void
/// *, struct io_ring_ctx *, void *, struct io_uring_cqe *`.
const COMPLETE_BY_POINTER: usize = 4;

struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ParseError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = offset.checked_add(buffer.len());
        let source = end.and_then(|end| self.0.get(offset..end)).ok_or_else(|| {
            ParseError::new(ErrorKind::IOError, "the type information ends too early")
        })?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}

struct KernelTypes<'a> {
    types: TypeInformation,
    btf: &'a Btf,
}

impl KernelTypes<'_> {
    fn offset(&self, field: &Field) -> Result<u32, Error> {
        let found = field
            .path
            .split('|')
            .find_map(|path| self.member(field.type_name, path));
        match found {
            Some(offset) => Ok(offset),
            None if field.optional => Ok(ABSENT),
            None => Err(Error::NoField {
                type_name: field.type_name,
                path: field.path,
            }),
        }
    }

    fn member(&self, type_name: &str, path: &str) -> Option<u32> {
        let id = self
            .btf
            .id_by_type_name_kind(type_name, BtfKind::Struct)
            .ok()?;
        match self.types.offset_of(id, path).ok()? {
            (_, Offset::ByteOffset(offset)) => Some(offset),
            (_, Offset::BitOffsetAndSize(..)) => None,
        }
    }

    /// Whether an enumeration has a value of this name.
    fn has_value(&self, enumeration: &str, value: &str) -> bool {
        let id = self.btf.id_by_type_name_kind(enumeration, BtfKind::Enum);
        let Some(TypeVariant::Enum(found)) = id.ok().and_then(|id| self.types.from_id(id)) else {
            return false;
        };
        let mut values = found.named_value_list().iter();
        values.any(|named| named.name == value)
    }

    /// Types of the parameters of the function that a `typedef void (*name)(…)` points to.
    fn parameters_of(&self, name: &str) -> Option<Vec<u32>> {
        let id = self.btf.id_by_type_name_kind(name, BtfKind::Typedef).ok()?;
        let TypeVariant::Typedef(typedef) = self.types.from_id(id)? else {
            return None;
        };
        let TypeVariant::Ptr(pointer) = self.types.from_id(*typedef.tid())? else {
            return None;
        };
        let TypeVariant::FuncProto(function) = self.types.from_id(*pointer.tid())? else {
            return None;
        };
        Some(
            function
                .parameter_list()
                .iter()
                .map(|it| it.tid())
                .collect(),
        )
    }

    /// Whether the tracepoints of io_uring pass the request itself and the fields
    /// that the programs read. Before 6.0 they pass only some numbers of the request.
    fn shows_requests(&self, completion: usize) -> bool {
        let has_fields = REQUEST_FIELDS
            .iter()
            .all(|path| self.member("io_kiocb", path).is_some());
        let passes_request = SUBMISSIONS.iter().any(|name| {
            let parameters = self.parameters_of(name).unwrap_or_default();
            // The first parameter is the tracepoint's own context.
            let pointer = parameters.get(1).and_then(|id| self.types.from_id(*id));
            let request = self.btf.id_by_type_name_kind("io_kiocb", BtfKind::Struct);
            match (pointer, request) {
                (Some(TypeVariant::Ptr(pointer)), Ok(request)) => *pointer.tid() == request,
                _ => false,
            }
        });
        has_fields && passes_request && completion >= COMPLETE_BY_POINTER
    }
}
