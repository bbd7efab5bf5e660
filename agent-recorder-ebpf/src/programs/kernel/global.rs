//! Global functions, which the verifier checks on their own (5.6), and the values that pass through
//! them.
//!
//! The verifier takes integers as arguments and refuses structures, even of one integer: BTF keeps
//! the structure that `repr(transparent)` removes from the calling convention ("Arg#0 type STRUCT
//! is not supported yet", `btf_prepare_func_args()`). Each type of the programs therefore declares
//! the number that it passes as, and the macro converts on both sides of the call. Nowhere else is
//! an object a bare number.
//!
//! Not here: functions on an area or on a call (`context::call`).

/// A value that passes through a global function as a number.
pub(crate) trait Scalar: Copy {
    /// The number, which the verifier sees.
    type Number;

    /// Converts for the call.
    fn into_number(self) -> Self::Number;

    /// Converts back; only numbers of [`Scalar::into_number`] arrive here.
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

/// A function without a result returns a number for the verifier.
impl Scalar for () {
    type Number = u64;

    #[inline(always)]
    fn into_number(self) -> u64 {
        0
    }

    #[inline(always)]
    fn from_number(_: u64) {}
}

/// Implements [`Scalar`] for a type around one integer.
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

/// Defines a function that the verifier checks once, on its own, and a typed one of the same name
/// that calls it. The name must be unique among all programs' global functions.
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
