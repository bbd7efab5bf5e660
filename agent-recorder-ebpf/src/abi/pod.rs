//! Types that are plain bytes: user space writes them into maps and reads them out of rings.

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
            unsafe impl $crate::pod::Pod for $name {}
            // SAFETY: as above, which is what aya asks for.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $name {}
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
