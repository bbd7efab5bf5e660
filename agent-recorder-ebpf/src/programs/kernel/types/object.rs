//! The common part of all types of kernel objects: the address.
//!
//! Not here: any object (`inode`, `path`, `file`, `socket`, `task`).

/// Defines the type of an object: an address, 0 for none.
macro_rules! kernel_object {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq)]
        #[repr(transparent)]
        pub(crate) struct $name(u64);

        impl $name {
            pub(crate) const NONE: Self = Self(0);

            /// The object at an address, 0 for none.
            #[inline(always)]
            pub(crate) const fn at(address: u64) -> Self {
                Self(address)
            }

            /// The address, by which maps name the object.
            #[inline(always)]
            pub(crate) const fn address(self) -> u64 {
                self.0
            }

            #[inline(always)]
            pub(crate) const fn is_none(self) -> bool {
                self.0 == 0
            }

            /// Reads a field at its offset.
            #[inline(always)]
            fn field<T: agent_recorder_abi::Pod + Default>(self, offset: usize) -> T {
                $crate::kernel::read::read(self.0, offset)
            }
        }

        // Every type has all of these methods, used or not.
        const _: fn($name, usize) -> u64 = $name::field::<u64>;
        const _: () = assert!($name::NONE.is_none() && $name::at(1).address() == 1);

        // SAFETY: the type is `repr(transparent)` around a u64.
        unsafe impl agent_recorder_abi::Pod for $name {}

        $crate::kernel::global::scalar_newtype!($name(u64));
    };
}
pub(super) use kernel_object;
