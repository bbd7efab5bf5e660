//! Functions that the verifier checks on their own (global functions, since
//! 5.6), and the values that pass through them.
//!
//! The verifier takes integers there and refuses structures, also a structure
//! of one integer: BTF keeps what `repr(transparent)` takes from the calling
//! convention ("Arg#0 type STRUCT is not supported yet", `btf_prepare_func_args()`).
//! So each type of these programs says here as which number it passes, and the
//! macro converts on both sides of the call: this is the one place where an
//! object is a bare number.
//!
//! Not here: functions that work on an area, or on a call (`context::call`).

/// A value that passes as a number.
pub(crate) trait Scalar: Copy {
    /// What the verifier sees.
    type Number;

    /// For the call.
    fn into_number(self) -> Self::Number;

    /// On the other side of it; only numbers that [`Scalar::into_number`] made arrive there.
    fn from_number(number: Self::Number) -> Self;
}

macro_rules! scalar_integer {
    ($($name:ty),*) => {
        $(
            impl Scalar for $name {
                type Number = Self;

                #[inline(always)]
                fn into_number(self) -> Self {
                    self
                }

                #[inline(always)]
                fn from_number(number: Self) -> Self {
                    number
                }
            }
        )*
    };
}
scalar_integer!(u32, u64, i32);

impl Scalar for bool {
    type Number = u64;

    #[inline(always)]
    fn into_number(self) -> u64 {
        u64::from(self)
    }

    #[inline(always)]
    fn from_number(number: u64) -> Self {
        number != 0
    }
}

/// A function without a result has one for the verifier.
impl Scalar for () {
    type Number = u64;

    #[inline(always)]
    fn into_number(self) -> u64 {
        0
    }

    #[inline(always)]
    fn from_number(_: u64) {}
}

/// For a type around one integer, which it passes as.
macro_rules! scalar_newtype {
    ($name:ident($number:ty)) => {
        impl $crate::kernel::global::Scalar for $name {
            type Number = $number;

            #[inline(always)]
            fn into_number(self) -> $number {
                self.0
            }

            #[inline(always)]
            fn from_number(number: $number) -> Self {
                Self(number)
            }
        }
    };
}
pub(crate) use scalar_newtype;

/// Defines a function that the verifier checks once, on its own, and a typed
/// one of the same name that calls it. Its name must be the only one of its
/// kind in all programs.
macro_rules! global_function {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $crate::kernel::global::global_function! {
            $(#[$doc])* $vis fn $name($($arg: $type),*) -> () $body
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name($($arg: $type),*) -> $result {
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(
                $($arg: <$type as $crate::kernel::global::Scalar>::Number),*
            ) -> <$result as $crate::kernel::global::Scalar>::Number {
                #[inline(always)]
                fn body($($arg: $type),*) -> $result $body

                $crate::kernel::global::Scalar::into_number(body(
                    $($crate::kernel::global::Scalar::from_number($arg)),*
                ))
            }
            $crate::kernel::global::Scalar::from_number($name(
                $($crate::kernel::global::Scalar::into_number($arg)),*
            ))
        }
    };
}
pub(crate) use global_function;
