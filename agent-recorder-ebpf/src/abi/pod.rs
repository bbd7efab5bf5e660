//! Plain types: user space writes them into maps and reads them from rings as bytes.

/// A type of integers only, without padding.
///
/// # Safety
///
/// The type is `repr(C)`, every bit pattern is valid, and no byte is padding.
pub unsafe trait Pod: Copy + 'static {
    /// The value's bytes in memory.
    #[cfg(not(target_arch = "bpf"))]
    fn bytes(&self) -> &[u8] {
        // SAFETY: the slice covers exactly `self`, and no byte is padding.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// The value of bytes of its size; `None` for another length.
    #[cfg(not(target_arch = "bpf"))]
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: `bytes` has the type's size, and every bit pattern is valid.
        (bytes.len() == size_of::<Self>())
            .then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

macro_rules! pod {
    ($($name:ty = $size:literal),* $(,)?) => {
        $(
            const _: () = assert!(core::mem::size_of::<$name>() == $size);
            // SAFETY: repr(C) with integers and their arrays only; the asserted size is the sum of
            // the fields.
            unsafe impl $crate::pod::Pod for $name {}
            // SAFETY: aya asks for the same as `pod::Pod`.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $name {}
        )*
    };
}
pub(crate) use pod;

macro_rules! pod_integer {
    ($($name:ty),*) => {
        $(
            // SAFETY: every bit pattern of an integer is valid.
            unsafe impl Pod for $name {}
        )*
    };
}
pod_integer!(u8, u16, u32, u64, i32, i64);
