//! Agent rules in the kernel: exact keys of a hash map.

use crate::limits::PATTERN_BYTES;
use crate::pod::pod;

/// Kind of a pattern for the last component of the exec'd file's name.
pub const EXECUTABLE: u32 = 1;
/// Kind of a pattern for the last one or two components of one of the first arguments.
pub const SCRIPT: u32 = 2;
/// Kind of a pattern for a whole environment entry, `NAME=value`.
pub const ENVIRONMENT: u32 = 3;
/// Kind of a pattern for the name of an environment entry.
pub const ENVIRONMENT_NAME: u32 = 4;

/// A pattern; unused bytes are 0, so that equal patterns are equal keys.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleKey {
    /// [`EXECUTABLE`], [`SCRIPT`], [`ENVIRONMENT`] or [`ENVIRONMENT_NAME`].
    pub kind: u32,
    /// Bytes of `pattern` in use.
    pub len: u32,
    /// Bytes of the pattern.
    pub pattern: [u8; PATTERN_BYTES],
}

/// First eight bytes of an environment pattern as a little-endian number; most entries differ from
/// all of them.
pub type EnvironmentPrefix = u64;

pod! { RuleKey = 56 }
