//! Agent rules as the kernel compares them: exact keys of a hash map.

use crate::limits::PATTERN_BYTES;
use crate::pod::pod;

/// The last component of the exec'd file's name.
pub const EXECUTABLE: u32 = 1;
/// The last one or two components of one of the first arguments.
pub const SCRIPT: u32 = 2;
/// A whole environment entry, `NAME=value`.
pub const ENVIRONMENT: u32 = 3;
/// The name of an environment entry.
pub const ENVIRONMENT_NAME: u32 = 4;

/// One pattern; unused bytes are 0, so that equal patterns are equal keys.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleKey {
    /// [`EXECUTABLE`] ….
    pub kind: u32,
    /// Bytes of `pattern` in use.
    pub len: u32,
    /// The bytes.
    pub pattern: [u8; PATTERN_BYTES],
}

/// First eight bytes of a pattern that is searched for in the environment, as
/// a little-endian number: what most entries fail at.
pub type EnvironmentPrefix = u64;

pod! { RuleKey = 56 }
