//! The record: its types, its number and its chain value.
//!
//! Not here: the source of a record (`bpf`, `session`) and its storage (`spool`).

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

pub mod chain;
mod errno;
pub(crate) mod kinds;
mod open_flags;
mod vocabulary;

pub use errno::errno_name;
pub use kinds::{DropClass, Facts, RecordKind};
pub use open_flags::OpenFlags;
pub use vocabulary::{LossStage, RecorderEvent};

/// The protocol as `proto/` defines it.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::doc_markdown,
    clippy::large_enum_variant,
    reason = "generated from proto/"
)]
pub mod proto {
    tonic::include_proto!("agent_recorder.v1");
}

/// A record's number in its stream: dense, from 1; 0 stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of one agent and all its descendants: a UUIDv7 (RFC 9562).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Uuid);

/// The records of one daemon: a UUIDv7 (RFC 9562).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(Uuid);

macro_rules! uuid_newtype {
    ($name:ident) => {
        impl $name {
            /// A new id of the present time.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id in the wire's 16 bytes; `None` for any other length.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }

            /// The 16 bytes of the wire.
            pub fn to_bytes(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

uuid_newtype!(SessionId);
uuid_newtype!(StreamId);

/// A process, distinct from every later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// CLOCK_BOOTTIME nanoseconds at which the group's leader started (`task_struct.start_boottime`).
    pub start_time: u64,
}
