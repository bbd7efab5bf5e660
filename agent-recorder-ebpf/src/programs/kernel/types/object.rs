//! What the types of all kernel objects have in common: the address.
//!
//! Not here: any object (`inode`, `path`, `file`, `socket`, `task`).

/// Defines the type of an object: its address, 0 for none.
macro_rules! kernel_object {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq)]
        #[repr(transparent)]
        pub(crate) struct $name(u64);

        impl $name {
            /// No object.
            pub(crate) const NONE: Self = Self(0);

            /// The object at an address, 0 for none.
            #[inline(always)]
            pub(crate) const fn at(address: u64) -> Self {
                Self(address)
            }

            /// Its address: what names it in maps.
            #[inline(always)]
            pub(crate) const fn address(self) -> u64 {
                self.0
            }

            /// Whether there is none.
            #[inline(always)]
            pub(crate) const fn is_none(self) -> bool {
                self.0 == 0
            }

            /// A field, by its offset.
            #[inline(always)]
            fn field<T: agent_recorder_abi::Pod + Default>(self, offset: usize) -> T {
                $crate::kernel::read::read(self.0, offset)
            }
        }

        // Each object has all of these, whether or not it is asked for all.
        const _: fn($name, usize) -> u64 = $name::field::<u64>;
        const _: () = assert!($name::NONE.is_none() && $name::at(1).address() == 1);

        // SAFETY: an integer.
        unsafe impl agent_recorder_abi::Pod for $name {}

        $crate::kernel::global::scalar_newtype!($name(u64));
    };
}
pub(super) use kernel_object;
