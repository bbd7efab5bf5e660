//! The guard's answer before an act.
//!
//! Not here: who decides it (`pre_op`, `budget`), and what a hook returns for it (`enforce`).

use crate::kernel::global::Scalar;

/// Whether an act may be done.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Verdict {
    Refused = 0,
    Admitted = 1,
}

impl Verdict {
    /// The verdict of a rule that only refuses.
    #[inline(always)]
    pub(crate) fn refused_if(refused: bool) -> Self {
        if refused {
            Self::Refused
        } else {
            Self::Admitted
        }
    }
}

impl Scalar for Verdict {
    type Number = u64;

    #[inline(always)]
    fn into_number(self) -> u64 {
        self as u64
    }

    #[inline(always)]
    fn from_number(number: u64) -> Self {
        Self::refused_if(number == Self::Refused as u64)
    }
}
