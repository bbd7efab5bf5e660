//! What the kernel programs and user space share: plain `repr(C)` types,
//! no dependencies, built and tested on the host.
//!
//! Not here: any code that runs in the kernel (the `agent-recorder-ebpf`
//! binary) and the meaning of a record (`agent_recorder::record`).
//!
//! Integers are in host order: the rings never leave the machine. User space
//! decodes by copy and checks every length, so a damaged event is an error
//! and never undefined behaviour.

#![cfg_attr(target_arch = "bpf", no_std)]

pub mod address;
pub mod agent_rule;
pub mod event;
pub mod exec_gate;
pub mod kernel_fields;
pub mod kernel_symbols;
pub mod limits;
pub mod policy;
pub mod self_protection;
pub mod state;
pub mod syscall;
pub mod written_file;

/// Implemented by types of integers only: any bytes are a value, no byte is padding.
///
/// # Safety
///
/// The type is `repr(C)`, every bit pattern is valid and it has no padding.
pub unsafe trait Pod: Copy + 'static {
    /// As it lies in memory.
    #[cfg(not(target_arch = "bpf"))]
    fn bytes(&self) -> &[u8] {
        // SAFETY: its own memory, without padding.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// From bytes of its size.
    #[cfg(not(target_arch = "bpf"))]
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: of the type's size, and any bytes are a value of it.
        (bytes.len() == size_of::<Self>())
            .then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

macro_rules! pod {
    ($($name:ty = $size:literal),* $(,)?) => {
        $(
            const _: () = assert!(core::mem::size_of::<$name>() == $size);
            // SAFETY: repr(C), integers and arrays of them only; the size assertion is the sum of its fields, so no padding.
            unsafe impl $crate::Pod for $name {}
        )*
    };
}
pub(crate) use pod;

macro_rules! pod_integer {
    ($($name:ty),*) => {
        $(
            // SAFETY: an integer.
            unsafe impl Pod for $name {}
        )*
    };
}
pod_integer!(u8, u16, u32, u64, i32, i64);
