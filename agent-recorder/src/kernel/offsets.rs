//! Resolves field offsets from the running kernel's BTF (Documentation/bpf/btf.rst).

use std::path::Path;

use agent_recorder_abi::offsets::{ABSENT, FIELDS, Field};
use aya::Btf;
use aya_obj::btf::BtfKind;
use btfparse::{Error as ParseError, ErrorKind, Offset, Readable, TypeInformation, TypeVariant};

use super::Error;

/// Where the kernel shows its BTF.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What the programs' globals are set to.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Every field's offset in bytes, in the order of [`FIELDS`].
    pub(super) values: Vec<u32>,
    /// What `file_count` holds for one reference.
    pub(super) file_one_reference: u64,
    /// Whether `io_uring_complete` passes the completion by pointer (6.15).
    pub(super) completion_by_pointer: bool,
}

/// Resolves every field. `btf` is the same file as aya reads it: it finds a
/// structure by name and kind, the parser by name alone.
///
/// # Errors
///
/// The file cannot be read or parsed, or a field that is not optional is missing.
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
    Ok(Resolved {
        values: FIELDS
            .iter()
            .map(|field| kernel.offset(field))
            .collect::<Result<_, _>>()?,
        file_one_reference: u64::from(kernel.member("file", "f_ref").is_none()),
        completion_by_pointer: kernel.parameters_of("btf_trace_io_uring_complete")
            == Some(COMPLETE_BY_POINTER),
    })
}

/// `void *, struct io_ring_ctx *, void *, struct io_uring_cqe *`.
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

    /// Parameters of the function that a `typedef void (*name)(…)` points to.
    fn parameters_of(&self, name: &str) -> Option<usize> {
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
        Some(function.parameter_list().len())
    }
}
